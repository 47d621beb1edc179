//! The program: parses the command line and does what it says.

use std::process::ExitCode;

use clap::Parser;
use kinesis_agent::command_line::{Command, CommandLine};
use kinesis_agent::commands;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match line.command.unwrap_or(Command::Run(line.run)) {
        Command::Run(arguments) => commands::run(&arguments),
        Command::Check(arguments) => commands::check(&arguments),
        Command::Completions(arguments) => commands::completions(&arguments),
    }
}
