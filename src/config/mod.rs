//! What was typed (`raw`), and what is used of it: each stage's own `Options`.

use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub flows: Vec<Flow>,
    pub checkpoint_file: PathBuf,
    /// By default `dead-letters.jsonl` beside the checkpoint file.
    pub dead_letter_file: PathBuf,
    /// The dead-letter file does not grow beyond this. Bytes.
    pub dead_letter_max_bytes: u64,
    pub shutdown_timeout: Duration,
    /// Bytes for all that is read and not yet settled, request bodies included.
    pub memory_budget: usize,
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
}
