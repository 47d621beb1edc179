//! `check`: says whether the configuration is good, or all that is wrong in it.

use std::process::ExitCode;

use crate::command_line::Check;
use crate::config::{self, Settings};

/// Something is wrong.
const CHECK_FAILED: u8 = 2;

pub fn check(arguments: &Check) -> ExitCode {
    let file = &arguments.config.path;
    match config::load(file) {
        Ok(settings) => {
            for warning in &settings.warnings {
                println!("warning: {warning}");
            }
            println!("{}: good, {}", file.display(), flows(&settings));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(CHECK_FAILED)
        }
    }
}

fn flows(settings: &Settings) -> String {
    match settings.flows.len() {
        1 => "1 flow".to_owned(),
        flows => format!("{flows} flows"),
    }
}
