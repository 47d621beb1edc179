//! A block is a run of records of one tail that are still in one piece, so that lines that
//! are sent as they are need no work for each of them.

use bytes::Bytes;

use crate::file::{Chunk, Settled, Span};

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
    /// One record that ends with a newline. `payload.len()` may differ from the span's length.
    One,
    /// One record that is a part of a line, or has no newline at its end: it must not share
    /// an entry with anything else, or its line would run into a foreign one.
    Piece,
}

/// What the record stage says of the bytes that it was given. The spans of all outputs of a
/// tail follow each other without a gap, in order.
#[derive(Clone, Debug)]
pub enum Output {
    Block(Block),
    /// Left out by the configuration: settled at once.
    Filtered {
        settled: Settled,
        reason: FilterReason,
    },
    Dead(Dead),
}

/// Bytes that cannot be sent as a record: they go to the dead-letter file.
#[derive(Clone, Debug)]
pub struct Dead {
    /// The chunk that holds the last byte of `span`.
    pub chunk: Chunk,
    pub span: Span,
    pub payload: Bytes,
    pub reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterReason {
    /// The first `skipHeaderLines` lines of a file.
    Header,
    /// The rest of a record that was cut at the size limit, with `oversizedRecords: truncate`.
    Truncated,
    /// What a power cut left zeros of.
    Zeros,
}
