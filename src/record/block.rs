//! A block is a run of records of one tail that are still in one piece, so that lines that
//! are sent as they are need no work for each of them.

use bytes::Bytes;

use crate::file::{Chunk, Span};

#[derive(Clone, Debug)]
pub struct Block {
    /// The chunk that holds the last byte of `span`.
    pub chunk: Chunk,
    /// The bytes of the tail that the block stands for.
    pub span: Span,
    /// What is sent for them. With [`Shape::Lines`] it is exactly the bytes of `span`.
    pub payload: Bytes,
    pub shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Complete lines, each with its newline; each line is a record, none is longer than
    /// `max_record_bytes`. The payload is never empty.
    Lines,
    /// One record. `payload.len()` may differ from the span's length.
    One,
}

/// What the record stage says of the bytes that it was given. The spans of all outputs of a
/// tail follow each other without a gap, in order.
#[derive(Clone, Debug)]
pub enum Output {
    Block(Block),
    /// Left out by the configuration: settled at once. `chunk` holds the last byte of `span`.
    Filtered {
        chunk: Chunk,
        span: Span,
        reason: FilterReason,
    },
    /// Cannot be sent as a record: goes to the dead-letter file.
    Dead {
        chunk: Chunk,
        span: Span,
        payload: Bytes,
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterReason {
    /// One of the first `skipHeaderLines` lines of a file.
    Header,
    /// The rest of a record that was cut at the size limit, with `oversizedRecords: truncate`.
    Truncated,
}
