//! `completions`: prints what a shell needs to complete this program's commands and options. The
//! packages install the same texts where each shell looks.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::command_line::{CommandLine, Completions};

pub fn completions(arguments: &Completions) -> ExitCode {
    let mut command = CommandLine::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut command, name, &mut std::io::stdout());
    ExitCode::SUCCESS
}
