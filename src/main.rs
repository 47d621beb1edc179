//! The program: parses the command line and does what it says.

use std::process::ExitCode;

use clap::Parser;
use kinesis_agent::command_line::{Command, CommandLine};
use kinesis_agent::commands;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match line.command.unwrap_or(Command::Run(line.run)) {
        Command::Run(arguments) if arguments.dry_run => commands::dry_run(&arguments),
        Command::Run(arguments) => commands::run(&arguments),
        Command::Schema => commands::schema(),
        Command::Check(arguments) => commands::check(&arguments),
    }
}
