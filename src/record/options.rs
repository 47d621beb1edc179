//! What the record stage of one flow is told to do.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub multi_line: Option<MultiLine>,
    /// Lines at the start of each file that are not sent.
    pub skip_header_lines: u64,
    pub oversized: Oversized,
    /// Stands at the end of a record that was cut.
    pub truncated_record_terminator: Vec<u8>,
    /// A longer record is oversized. Bytes, newline included.
    pub max_record_bytes: usize,
    /// Whether the missing newline of a finished file's last line is added.
    pub add_missing_newline: bool,
}

#[derive(Clone, Debug)]
pub struct MultiLine {
    /// A line whose beginning matches starts a new event.
    pub start: regex::bytes::Regex,
    /// An event is sent when its file was quiet for so long.
    pub flush_after: Duration,
    /// An event is cut before it grows beyond this. Bytes.
    pub max_bytes: usize,
}

impl PartialEq for MultiLine {
    fn eq(&self, other: &Self) -> bool {
        let parts = |this: &Self| (this.start.as_str().to_owned(), this.flush_after, this.max_bytes);
        parts(self) == parts(other)
    }
}

/// What is done with a record that is longer than its destination takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversized {
    /// It is sent in several records, cut between two characters.
    Split,
    /// Its beginning is sent, with `truncatedRecordTerminator` at the end.
    Truncate,
    /// It is written to the dead-letter file.
    DeadLetter,
}
