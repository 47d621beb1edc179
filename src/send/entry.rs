//! An entry is what AWS counts as a record: one record of ours, or an aggregate of many. A
//! batch is the entries of one request.
//!
//! An entry is only slices of what was read, and knows where its records end. What is sent for
//! it is made at each attempt, by its [envelope](super::envelope).

use std::sync::Arc;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::partition::FixedKey;
use crate::file::{Chunk, Span};

/// Consecutive bytes of one tail in an entry.
#[derive(Clone, Debug)]
pub struct Part {
    /// The chunk that holds the last byte of `span`.
    pub chunk: Chunk,
    pub span: Span,
    pub payload: Bytes,
    pub records: Records,
}

/// Where the records in a part's payload end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Behind each newline.
    Lines,
    /// After so many bytes each, whatever these are.
    Lengths(SmallVec<[u32; 4]>),
}

impl Records {
    /// One record of so many bytes.
    pub fn one(bytes: usize) -> Self {
        Records::Lengths(smallvec![u32::try_from(bytes).expect("a record fits into a request")])
    }

    /// Adds those that follow, if both are written down in the same way.
    pub fn join(&mut self, more: &Records) -> bool {
        match (self, more) {
            (Records::Lines, Records::Lines) => true,
            (Records::Lengths(lengths), Records::Lengths(more)) => {
                lengths.extend_from_slice(more);
                true
            }
            _ => false,
        }
    }
}

impl Part {
    /// The records, each with its newline if it has one.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let (mut number, mut byte) = (0, 0);
        std::iter::from_fn(move || {
            let length = self.record_at(number, byte)?;
            let record = &self.payload[byte..byte + length];
            (number, byte) = (number + 1, byte + length);
            Some(record)
        })
    }

    /// How long the record of this number is, which begins at this byte. None behind the last.
    pub fn record_at(&self, number: usize, byte: usize) -> Option<usize> {
        let rest = &self.payload[byte..];
        match &self.records {
            Records::Lengths(lengths) => lengths.get(number).map(|length| *length as usize),
            Records::Lines if rest.is_empty() => None,
            Records::Lines => Some(memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1)),
        }
    }
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
    /// What AWS gets for it at most, its key not counted. Bytes.
    pub size: usize,
}

impl Entry {
    /// An entry of one part that is sent as it is.
    pub fn of(part: Part, records: u32) -> Self {
        let bytes = part.payload.len();
        Entry { parts: smallvec![part], bytes, records, key: None, size: bytes }
    }

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
