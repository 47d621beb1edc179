//! What stands around the records of an entry: nothing, the framing of the Kinesis Producer
//! Library, or a compressed frame. How many records fit into it is known before it is made, and
//! it is made at each attempt, since a key that is drawn anew stands in it.
//!
//! Pure. It does not decide where records go, that is the batcher's business.

use super::aggregate::{self, MAGIC};
use super::compress;
use super::entry::Entry;
use super::options::{Aggregation, Compression, Options};
use super::partition::{self, KeyRoom};
use super::text::Data;
use crate::record::{Block, Shape};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    Plain,
    Kpl(KeyRoom),
    Compressed(Compression),
}

/// How much an entry of several records may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// With its partition key, or before it is compressed. Bytes.
    pub bytes: usize,
    pub records: u32,
    /// Of the partition key. Bytes.
    pub key_bytes: usize,
}

/// The first records of a block that fit into an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// How many bytes of the block they are.
    pub length: usize,
    /// The size that the entry has with them.
    pub size: usize,
}

impl Envelope {
    pub fn of(options: &Options) -> Self {
        match (options.compression, options.aggregation) {
            (Some(compression), _) => Envelope::Compressed(compression),
            (None, Aggregation::Kpl) => Envelope::Kpl(partition::key_room(options)),
            (None, Aggregation::None | Aggregation::Lines) => Envelope::Plain,
        }
    }

    /// Whether a record of this shape may share an entry. Without framing a piece of a line would
    /// run into its neighbours.
    pub fn joins(self, shape: Shape) -> bool {
        shape != Shape::Piece || matches!(self, Envelope::Kpl(_))
    }

    /// How many of the block's first records fit beside those of `entry`, if any, while the
    /// entry stays within `limits` and its size within `room`.
    pub fn fit(self, entry: &Entry, block: &Block, limits: Limits, room: usize) -> Option<Fit> {
        let records = limits.records.checked_sub(entry.records)?;
        let framed = room.min(limits.bytes.saturating_sub(limits.key_bytes));
        match self {
            Envelope::Plain => {
                let length = prefix(block, framed.checked_sub(entry.bytes)?, records)?;
                Some(Fit { length, size: entry.bytes + length })
            }
            Envelope::Compressed(_) => {
                let bytes = limits.bytes.min(compress::certain(room));
                let length = prefix(block, bytes.checked_sub(entry.bytes)?, records)?;
                Some(Fit { length, size: compress::bound(entry.bytes + length) })
            }
            Envelope::Kpl(keys) => {
                let size = if entry.records == 0 { aggregate::empty_size(keys) } else { entry.size };
                let (length, added) = framed_prefix(block, framed.checked_sub(size)?, records, keys)?;
                Some(Fit { length, size: size + added })
            }
        }
    }

    /// Whether a record of so many bytes fits into an entry that others may join.
    pub fn holds(self, length: usize, limits: Limits) -> bool {
        match self {
            Envelope::Plain => length + limits.key_bytes <= limits.bytes,
            Envelope::Compressed(_) => length <= limits.bytes,
            Envelope::Kpl(keys) => {
                let size = aggregate::empty_size(keys) + aggregate::record_size(keys, length);
                size + limits.key_bytes <= limits.bytes
            }
        }
    }

    /// The size of an entry of one record of so many bytes that none may join.
    pub fn alone(self, length: usize) -> usize {
        match self {
            Envelope::Plain | Envelope::Kpl(_) => length,
            Envelope::Compressed(_) => compress::bound(length),
        }
    }

    /// The size of an entry that holds these records.
    pub fn size(self, entry: &Entry) -> usize {
        match self {
            Envelope::Plain => entry.bytes,
            Envelope::Compressed(_) => compress::bound(entry.bytes),
            Envelope::Kpl(keys) => {
                let records = entry.parts.iter().flat_map(|part| part.records());
                let framed = records.map(|record| aggregate::record_size(keys, record.len()));
                aggregate::empty_size(keys) + framed.sum::<usize>()
            }
        }
    }

    /// What is sent for `entry`: no more than its size. A record that is alone goes without the
    /// framing, as the library does it, unless it would be taken for an aggregate itself.
    pub fn data(self, entry: Entry) -> Data {
        match self {
            Envelope::Compressed(compression) => Data::Made(compress::compress(&entry, compression)),
            Envelope::Kpl(_) if is_framed(&entry) => Data::Aggregate(entry, None),
            Envelope::Kpl(_) | Envelope::Plain => Data::Plain(entry),
        }
    }
}

fn is_framed(entry: &Entry) -> bool {
    let looks_framed = || entry.parts.first().is_some_and(|part| part.payload.starts_with(&MAGIC));
    entry.size > entry.bytes && (entry.records > 1 || looks_framed())
}

/// How many of the block's first bytes fit into `room` and are at most so many complete records.
fn prefix(block: &Block, room: usize, records: u32) -> Option<usize> {
    let payload = &block.payload;
    match block.shape {
        Shape::One | Shape::Piece => (payload.len() <= room && records > 0).then_some(payload.len()),
        Shape::Lines if records == u32::MAX && payload.len() <= room => Some(payload.len()),
        Shape::Lines if records == u32::MAX => memchr::memrchr(b'\n', &payload[..room]).map(|at| at + 1),
        Shape::Lines => {
            let within = &payload[..room.min(payload.len())];
            memchr::memchr_iter(b'\n', within).take(records as usize).last().map(|at| at + 1)
        }
    }
}

/// The same where each record is framed; and what they take with their frames. Bytes.
fn framed_prefix(block: &Block, room: usize, records: u32, keys: KeyRoom) -> Option<(usize, usize)> {
    let (mut length, mut size) = (0, 0);
    let mut take = |end: usize| {
        let with = size + aggregate::record_size(keys, end - length);
        let fits = with <= room;
        if fits {
            (length, size) = (end, with);
        }
        fits
    };
    match block.shape {
        Shape::One | Shape::Piece if records > 0 => {
            take(block.payload.len());
        }
        Shape::One | Shape::Piece => {}
        Shape::Lines => {
            let ends = memchr::memchr_iter(b'\n', &block.payload).map(|newline| newline + 1);
            let _first_that_does_not_fit = ends.take(records as usize).find(|end| !take(*end));
        }
    }
    (size > 0).then_some((length, size))
}
