//! What is wrong with a configuration: every problem at once, each on one line that names the
//! file, the line, the key, what is wrong with it and what is allowed.
//!
//! The operator who reads this has a text editor open and wants to repair all of it in one go;
//! editors and terminals make `FILE:LINE:` a link. Values of secret keys are never repeated.

use std::fmt::{self, Write};
use std::io;
use std::path::PathBuf;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {source}; give the path of a readable file with --config", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// In the order of the lines, one a line when displayed. Never empty.
    #[error("{}", joined(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong, or that is allowed but looks wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// The path of the key, such as `flows[0].filePattern`; empty if it is about the whole file.
    pub key: String,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        let line = format!("{}:{}: {key}{}", self.file.display(), self.line, self.text);
        // What was typed may hold line ends; a problem is one line all the same.
        line.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

fn joined(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
