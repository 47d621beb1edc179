//! `check`: says whether the configuration is good, or all that is wrong in it; with `--online`
//! also whether it would work here and now.

use std::process::ExitCode;

use super::online::online;
use crate::command_line::Check;
use crate::config::{self, Settings};

/// Something is wrong.
pub(super) const CHECK_FAILED: u8 = 2;

pub fn check(arguments: &Check) -> ExitCode {
    let file = &arguments.config.path;
    match config::load(file) {
        Ok(settings) => {
            for warning in &settings.warnings {
                println!("warning: {warning}");
            }
            println!("{}: good, {}", file.display(), flows(&settings));
            match arguments.online {
                true => online(&settings),
                false => ExitCode::SUCCESS,
            }
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
