//! What was typed (`raw`), and what is used of it: each stage's own `Options`.
//!
//! [`load`] reads a file and gives either [`Settings`] in which everything is checked, or every
//! problem of the file at once. A key goes through `raw` (text to tree), `section` (tree to
//! typed values, one level at a time), and `agent` or `flow` (values to options). Nothing here
//! touches the network, and the environment only through what the caller hands in.

mod access;
mod agent;
mod destination;
mod error;
mod flow;
mod keys;
mod marks;
mod quantity;
mod raw;
mod schema;
mod section;
mod shares;
mod status;
mod variables;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, Problem};
pub use schema::schema;
pub use shares::{Needs, Shares};
pub use status::DEFAULT_SOCKET;

use raw::{Format, Node, Value};
use section::Report;

/// A larger file is not a configuration. Bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub flows: Vec<Flow>,
    pub checkpoint_file: PathBuf,
    /// By default `dead-letters.jsonl` beside the checkpoint file.
    pub dead_letter_file: PathBuf,
    /// All dead-letter files together do not grow beyond this. Bytes.
    pub dead_letter_max_bytes: u64,
    /// How long the position of a file is kept after the file was last seen.
    pub checkpoint_time_to_live: Duration,
    /// What deleted files may hold of each file system. None is a tenth of it. Bytes.
    pub max_open_removed_bytes: Option<u64>,
    pub shutdown_timeout: Duration,
    /// Bytes for all that is read and not yet settled, request bodies included.
    pub memory_budget: usize,
    pub status: crate::observe::server::StatusOptions,
    /// What is allowed but looks wrong, to be logged at start.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Flow {
    /// Shown in logs: the `name`, else the first pattern.
    pub name: String,
    /// What the flow's positions are stored under: its destination, and its name or pattern.
    pub key: String,
    pub file: crate::file::Options,
    pub record: crate::record::Options,
    pub send: crate::send::Options,
    asked: Asked,
    /// The longest record that the flow's share of the memory can hold. Bytes.
    largest_record: usize,
}

/// What limits would be if the flow had all of the memory. Bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    /// None: what the stream says of itself.
    record_bytes: Option<usize>,
    event_bytes: usize,
    aggregation_bytes: usize,
    batch_bytes: usize,
}

impl Flow {
    /// Whether the stream itself decides how long a record may be.
    pub fn follows_stream(&self) -> bool {
        matches!(self.send.destination, crate::send::Destination::Kinesis(_))
            && self.asked.record_bytes.is_none()
    }

    /// The stream allows records of so many bytes, partition key included. Returns the longest
    /// record that the flow makes from now on.
    pub fn allow_records(&mut self, allowed: usize) -> usize {
        let limit = flow::record_limit(
            &self.send.destination,
            Some(allowed),
            self.send.compression,
            &self.send.partition_key,
        )
        .min(self.largest_record);
        self.file.max_line_bytes = limit;
        self.record.max_record_bytes = limit;
        self.send.aggregation_max_bytes = self.asked.aggregation_bytes.min(limit);
        if let Some(multi_line) = &mut self.record.multi_line {
            multi_line.max_bytes = self.asked.event_bytes.min(limit);
        }
        limit
    }

    /// Whether the user asks for the same. The number of the other flows may differ, and with it
    /// this flow's share of the memory and the limits that follow from it.
    pub fn is_asked_as(&self, other: &Flow) -> bool {
        let alone = |flow: &Flow| {
            let mut flow = flow.clone();
            flow.file.max_line_bytes = 0;
            flow.record.max_record_bytes = flow.asked.record_bytes.unwrap_or(0);
            if let Some(multi_line) = &mut flow.record.multi_line {
                multi_line.max_bytes = flow.asked.event_bytes;
            }
            flow.send.aggregation_max_bytes = flow.asked.aggregation_bytes;
            flow.send.max_batch_bytes = flow.asked.batch_bytes;
            flow
        };
        let (this, other) = (alone(self), alone(other));
        (this.name, this.key, this.file, this.record, this.send)
            == (other.name, other.key, other.file, other.record, other.send)
    }
}

/// The settings in the file at `path`, with variables from the process's environment.
///
/// # Errors
/// [`ConfigError`]: the file cannot be read, or all that is wrong in it.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(io::Error::other("it is larger than 16 MiB")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        invalid(path, 1 + memchr::memchr_iter(b'\n', good).count(), "is not valid UTF-8; save it as UTF-8")
    })?;
    let env = |name: &str| std::env::var(name).ok();
    read(&text, path, &env, mode & 0o007 != 0)
}

/// The settings in `text`; `path` is for messages only.
///
/// # Errors
/// [`ConfigError::Invalid`]: all that is wrong.
pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
    read(text, path, env, false)
}

/// `exposed` says that other users may read the file.
fn read(
    text: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    exposed: bool,
) -> Result<Settings, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let format = Format::of(text);
    let root: Node = raw::parse(text, format).map_err(|error| invalid(path, error.line, error.text))?;
    let entries = match root.value {
        Value::Map(entries) => entries,
        Value::Null => return Err(invalid(path, 1, "the file is empty; it must hold `flows`")),
        _ => return Err(invalid(path, root.line, "the file must hold keys with values, such as `flows:`")),
    };
    let mut report = Report { file: path, format, env, problems: Vec::new(), warnings: Vec::new() };
    let mut settings = agent::settings(&mut report, entries, exposed);
    if !report.problems.is_empty() {
        report.problems.sort_by_key(|problem| problem.line);
        return Err(ConfigError::Invalid(report.problems));
    }
    report.warnings.sort_by_key(|warning| warning.line);
    settings.warnings = report.warnings.iter().map(Problem::to_string).collect();
    Ok(settings)
}

fn invalid(path: &Path, line: usize, text: impl Into<String>) -> ConfigError {
    let problem = Problem { file: path.to_owned(), line, key: String::new(), text: text.into() };
    ConfigError::Invalid(vec![problem])
}

#[cfg(test)]
mod tests;
