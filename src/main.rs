//! The program: parses the command line and does what it says.

use std::process::ExitCode;

use clap::Parser;
use kinesis_agent::command_line::{Command, CommandLine};
use kinesis_agent::commands;

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        // For whoever runs `status` as a check, clap's 2 would mean that the agent is in trouble.
        Err(error) if error.use_stderr() && std::env::args().nth(1).as_deref() == Some("status") => {
            eprint!("{}", error.render());
            return ExitCode::from(3);
        }
        Err(error) => error.exit(),
    };
    match line.command.unwrap_or(Command::Run(line.run)) {
        Command::Run(arguments) if arguments.dry_run => commands::dry_run(&arguments),
        Command::Run(arguments) => commands::run(&arguments),
        Command::Schema => commands::schema(),
        Command::Check(arguments) => commands::check(&arguments),
        Command::Completions(arguments) => commands::completions(&arguments),
        Command::Status(arguments) => commands::status(&arguments),
        Command::Redrive(arguments) => commands::redrive(&arguments),
        Command::Reload(arguments) => commands::reload(&arguments),
    }
}
