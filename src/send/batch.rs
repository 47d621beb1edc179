//! The batcher packs blocks into entries and entries into batches, within the limits of the
//! destination. It is a pure core: it knows no tokio and no clock.
//!
//! It accepts blocks until its batch is full, so that the batches grow for as long as no
//! request slot is free. What did not fit of the last block waits uncut and is continued in the
//! next batch. Nothing is copied: an entry holds slices of what was read, cut at newlines.

use std::time::Duration;

use super::entry::{Batch, Entry, FlushReason, Part};
use super::options::{Aggregation, Options};
use super::partition;
use crate::file::{Chunk, Span};
use crate::record::{Block, Shape};

#[derive(Debug)]
pub struct Batcher {
    /// With aggregation: how large an entry may become. Bytes.
    aggregate: Option<usize>,
    key_bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    max_age: Duration,
    entries: Vec<Entry>,
    bytes: usize,
    /// The last entry may take more.
    open: bool,
    /// When the oldest record of the batch was pushed.
    since: Duration,
    rest: Option<Rest>,
    full: Option<FlushReason>,
}

/// What is left of a block, and when it was pushed.
#[derive(Debug)]
struct Rest {
    block: Block,
    since: Duration,
}

/// Where the next bytes of a block go.
enum Step {
    Append(usize),
    /// `open`: the new entry may take more.
    Start {
        length: usize,
        open: bool,
    },
    Full(FlushReason),
}

impl Batcher {
    pub fn new(options: &Options) -> Self {
        Batcher {
            aggregate: match options.aggregation {
                Aggregation::None => None,
                Aggregation::Lines => Some(options.aggregation_max_bytes),
            },
            key_bytes: partition::key_bytes(options),
            max_entries: options.max_batch_entries.max(1),
            max_bytes: options.max_batch_bytes,
            max_age: options.max_age,
            entries: Vec::new(),
            bytes: 0,
            open: false,
            since: Duration::ZERO,
            rest: None,
            full: None,
        }
    }

    /// Whether a block may be pushed.
    pub fn accepts(&self) -> bool {
        self.full.is_none()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes `block`, which arrived at `now`. Only while it [accepts](Self::accepts) one.
    pub fn push(&mut self, block: Block, now: Duration) {
        assert!(self.accepts(), "a full batch takes no blocks");
        self.rest = Some(Rest { block, since: now });
        self.fill();
    }

    /// When the oldest record has waited for as long as it may.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| self.since + self.max_age)
    }

    /// Why the batch should leave now, if it should.
    pub fn ready(&self, now: Duration) -> Option<FlushReason> {
        self.full.or_else(|| self.deadline().is_some_and(|at| at <= now).then_some(FlushReason::Age))
    }

    /// The batch, if anything is in it; the next one begins with what did not fit.
    pub fn take(&mut self, reason: FlushReason) -> Option<Batch> {
        if self.is_empty() {
            return None;
        }
        let batch = Batch { entries: std::mem::take(&mut self.entries), bytes: self.bytes, reason };
        self.bytes = 0;
        self.open = false;
        self.full = None;
        self.fill();
        Some(batch)
    }

    fn fill(&mut self) {
        while let Some(mut rest) = self.rest.take() {
            let step = self.step(&rest.block);
            let length = match step {
                Step::Append(length) | Step::Start { length, .. } => length,
                Step::Full(reason) => {
                    self.rest = Some(rest);
                    self.full = Some(reason);
                    return;
                }
            };
            if self.is_empty() {
                self.since = rest.since;
            }
            let (part, records, more) = cut(&mut rest.block, length);
            self.bytes += length;
            match step {
                Step::Append(_) => append(self.entries.last_mut().expect("an open entry"), part, records),
                Step::Start { open, .. } => self.start(part, records, open),
                Step::Full(_) => unreachable!("returned above"),
            }
            if more {
                self.rest = Some(rest);
            }
        }
        if self.entries.len() == self.max_entries && self.aggregate.is_none() {
            self.full = Some(FlushReason::Records);
        }
    }

    fn step(&self, block: &Block) -> Step {
        let room = self.max_bytes.saturating_sub(self.bytes);
        // A piece of a line would run into its neighbours.
        let aggregate = self.aggregate.filter(|_| block.shape != Shape::Piece);
        if let (true, Some(max), Some(last)) = (self.open, aggregate, self.entries.last())
            && let Some(length) = fitting(block, room.min(max.saturating_sub(last.bytes)))
        {
            return Step::Append(length);
        }
        if self.entries.len() == self.max_entries {
            return Step::Full(FlushReason::Records);
        }
        let room = room.saturating_sub(self.key_bytes);
        if let Some(max) = aggregate
            && let Some(length) = fitting(block, room.min(max))
        {
            return Step::Start { length, open: true };
        }
        // A record goes alone where nothing is packed, and where it is larger than a packed
        // entry may be. In an empty batch it goes in any case: waiting would not shrink it.
        let length = first_record(block);
        let alone = aggregate.is_none_or(|max| length > max);
        if self.is_empty() || (alone && length <= room && self.bytes + self.key_bytes <= self.max_bytes) {
            return Step::Start { length, open: false };
        }
        Step::Full(FlushReason::Bytes)
    }

    fn start(&mut self, part: Part, records: u32, open: bool) {
        let bytes = part.payload.len();
        self.entries.push(Entry { parts: smallvec::smallvec![part], bytes, records, key: None });
        self.bytes += self.key_bytes;
        self.open = open;
    }
}

/// How many of the block's first bytes fit into `room` and are complete records, if any.
fn fitting(block: &Block, room: usize) -> Option<usize> {
    if block.payload.len() <= room {
        return Some(block.payload.len());
    }
    match block.shape {
        Shape::One | Shape::Piece => None,
        Shape::Lines => memchr::memrchr(b'\n', &block.payload[..room]).map(|at| at + 1),
    }
}

/// The length of the block's first record. Bytes.
fn first_record(block: &Block) -> usize {
    let newline = match block.shape {
        Shape::One | Shape::Piece => None,
        Shape::Lines => memchr::memchr(b'\n', &block.payload),
    };
    newline.map_or(block.payload.len(), |at| at + 1)
}

/// Takes the first `length` bytes, which are complete records, off the block: they, how many
/// records they are, and whether anything is left.
fn cut(block: &mut Block, length: usize) -> (Part, u32, bool) {
    if length == block.payload.len() {
        let records = match block.shape {
            Shape::One | Shape::Piece => 1,
            Shape::Lines => newlines(&block.payload),
        };
        let payload = std::mem::take(&mut block.payload);
        return (Part { chunk: block.chunk.clone(), span: block.span, payload }, records, false);
    }
    let payload = block.payload.split_to(length);
    let border = block.span.start + length as u64;
    let span = Span::new(block.span.start, border);
    block.span.start = border;
    let records = newlines(&payload);
    (Part { chunk: block.chunk.clone(), span, payload }, records, true)
}

fn newlines(payload: &[u8]) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', payload).count()).expect("no request holds so many lines")
}

/// Adds `part` to `entry`; bytes that stand side by side in one chunk become one slice.
fn append(entry: &mut Entry, part: Part, records: u32) {
    entry.bytes += part.payload.len();
    entry.records += records;
    match entry.parts.last_mut() {
        Some(last) if adjacent(last, &part) => {
            last.span.end = part.span.end;
            last.payload = last.chunk.slice(last.span);
        }
        _ => entry.parts.push(part),
    }
}

fn adjacent(a: &Part, b: &Part) -> bool {
    a.chunk.tail == b.chunk.tail
        && a.span.end == b.span.start
        && is_slice(&b.chunk, a)
        && is_slice(&b.chunk, b)
}

/// Whether the payload is the very memory of `chunk` that the span names.
fn is_slice(chunk: &Chunk, part: &Part) -> bool {
    let whole = chunk.span;
    whole.start <= part.span.start
        && part.span.end <= whole.end
        && part.payload.len() as u64 == part.span.len()
        && chunk.slice(part.span).as_ptr() == part.payload.as_ptr()
}

#[cfg(test)]
mod tests;
