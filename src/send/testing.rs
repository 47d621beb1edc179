//! What the tests of this stage are made of.

use std::time::Duration;

use bytes::Bytes;

use super::entry::{Entry, Part};
use super::options::{Aggregation, Credentials, Destination, Options, PartitionKey};
use crate::file::{Chunk, Span, TailId};
use crate::record::{Block, Shape};

pub fn options() -> Options {
    Options {
        destination: Destination::Kinesis("stream".into()),
        region: Some("eu-central-1".into()),
        endpoint: None,
        credentials: Credentials::default(),
        aggregation: Aggregation::None,
        aggregation_max_bytes: 250 * 1024,
        partition_key: PartitionKey::Random,
        max_batch_entries: 500,
        max_batch_bytes: 10 << 20,
        max_age: Duration::from_secs(1),
        retry_initial_backoff: Duration::from_millis(100),
        retry_max_backoff: Duration::from_secs(10),
        max_in_flight: 2,
    }
}

/// The bytes of `tail` from `start` on, behind as many made-up ones as the anchors want.
pub fn chunk(tail: u64, start: u64, bytes: &[u8]) -> Chunk {
    let before = start.min(256);
    let mut buffer = vec![b'.'; before as usize];
    buffer.extend_from_slice(bytes);
    Chunk::new(TailId(tail), start - before, Bytes::from(buffer), start)
}

pub fn lines(chunk: &Chunk, span: Span) -> Block {
    Block { chunk: chunk.clone(), span, payload: chunk.slice(span), shape: Shape::Lines }
}

/// A block of all lines of one chunk.
pub fn block(tail: u64, start: u64, bytes: &[u8]) -> Block {
    let chunk = chunk(tail, start, bytes);
    lines(&chunk, chunk.span)
}

/// An entry of consecutive parts of one tail.
pub fn entry(payloads: &[&[u8]]) -> Entry {
    let mut entry = Entry::default();
    for payload in payloads {
        let chunk = chunk(1, entry.bytes as u64, payload);
        entry.bytes += payload.len();
        entry.records += 1;
        entry.parts.push(Part { span: chunk.span, payload: chunk.bytes(), chunk });
    }
    entry
}
