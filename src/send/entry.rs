//! An entry is what AWS counts as a record: one record of ours, or an aggregate of many. A
//! batch is the entries of one request.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::partition::FixedKey;
use crate::file::{Chunk, Span};

/// Consecutive bytes of one tail in an entry.
#[derive(Clone, Debug)]
pub struct Part {
    /// The chunk that holds the last byte of `span`.
    pub chunk: Chunk,
    pub span: Span,
    pub payload: Bytes,
}

#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub parts: SmallVec<[Part; 1]>,
    /// The sum of the payloads. Bytes.
    pub bytes: usize,
    /// How many records of ours it holds.
    pub records: u32,
    /// None if any shard will do.
    pub key: Option<FixedKey>,
}

impl Entry {
    /// A copy of the payloads in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes);
        for part in &self.parts {
            bytes.extend_from_slice(&part.payload);
        }
        bytes
    }
}

#[derive(Clone, Debug)]
pub struct Batch {
    pub entries: Vec<Entry>,
    /// What the entries count against the request limit (keys included). Bytes.
    pub bytes: usize,
    pub reason: FlushReason,
}

/// Why a batch left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlushReason {
    Records,
    Bytes,
    Age,
    /// A request slot was free.
    Eager,
    /// The memory budget was short.
    Budget,
    Shutdown,
}

/// An entry, or an oversized record, that is given up: it settles once it is on disk.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub flow: Arc<str>,
    pub entry: Entry,
    pub reason: String,
}
