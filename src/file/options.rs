//! What the file stage of one flow is told to do.

use std::time::Duration;

/// Where reading starts in a file that was there before the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialPosition {
    StartOfFile,
    EndOfFile,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Absolute globs: `*`, `?`, `[..]`, `{a,b}` and `**`, in folders too.
    pub patterns: Vec<String>,
    pub excludes: Vec<String>,
    pub initial_position: InitialPosition,
    /// A line that is longer leaves in several chunks. Bytes.
    pub max_line_bytes: usize,
    /// How often the folders are looked at although no event came.
    pub scan_interval: Duration,
    /// Whether file-system events may wake the stage early.
    pub use_events: bool,
    /// A rotated or deleted file is finished once nothing was written to it for so long: then
    /// its last line is sent although it has no newline.
    pub finished_after: Duration,
    /// What took the place of a rotated file is read once that one was read to its end.
    pub in_order: bool,
    /// No file takes all of the flow's memory: what its records go to may take nothing, while what
    /// those of others go to does.
    pub shares_memory: bool,
}
