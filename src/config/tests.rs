//! What a file becomes, and the messages that an operator gets for the mistakes in it.

mod documents;
mod mistakes;
mod properties;
mod schema;
mod settings;

use std::path::Path;

use super::{ConfigError, Settings};

/// The environment of all these tests.
fn env(name: &str) -> Option<String> {
    match name {
        "STREAM" => Some("s".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Settings, ConfigError> {
    super::parse(text, Path::new("c.yaml"), &env)
}

/// The settings of a good text.
fn good(text: &str) -> Settings {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What is said about a bad text.
fn said(text: &str) -> String {
    parse(text).expect_err("it must not be accepted").to_string()
}
