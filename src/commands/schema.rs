//! `schema`: prints the JSON Schema of the configuration.

use std::io::Write;
use std::process::ExitCode;

use crate::config;

pub fn schema() -> ExitCode {
    let text = serde_json::to_string_pretty(&config::schema()).expect("a JSON value can be written");
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the schema cannot be printed: {error}");
            ExitCode::FAILURE
        }
    }
}
