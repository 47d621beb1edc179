//! The batcher packs blocks into entries and entries into batches, within the limits of the
//! destination. It is a pure core: it knows no tokio and no clock.
//!
//! It accepts blocks until its batch is full, so that the batches grow for as long as no
//! request slot is free. What did not fit of the last block waits uncut and is continued in the
//! next batch. Records of one key share entries of their own. Nothing is copied: an entry holds slices of what was read, cut at newlines. How
//! much fits into an entry is known by its [`Envelope`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use super::entry::{Batch, Entry, FlushReason, Part, Records};
use super::envelope::{Envelope, Fit, Limits};
use super::keyer::Keyer;
use super::options::{Aggregation, Options};
use super::partition::{self, FixedKey};
use crate::file::{Chunk, Span};
use crate::record::{Block, Shape};

#[derive(Debug)]
pub struct Batcher {
    envelope: Envelope,
    /// Records share entries.
    packs: bool,
    limits: Limits,
    max_entries: usize,
    max_bytes: usize,
    max_age: Duration,
    entries: Vec<Entry>,
    bytes: usize,
    keyer: Keyer,
    /// The entry of each key that may take more, by its place; that of random keys has none.
    open: HashMap<Option<u128>, usize>,
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
    /// To the entry at this place.
    Append(usize, Fit),
    /// `open`: the new entry may take more.
    Start {
        fit: Fit,
        open: bool,
    },
    Full(FlushReason),
}

impl Batcher {
    pub fn new(options: &Options) -> Self {
        Batcher {
            envelope: Envelope::of(options),
            packs: options.aggregation != Aggregation::None,
            limits: Limits {
                bytes: options.aggregation_max_bytes,
                records: options.aggregation_max_records.unwrap_or(u32::MAX),
                key_bytes: partition::key_room(options).partition,
            },
            max_entries: options.max_batch_entries.max(1),
            max_bytes: options.max_batch_bytes,
            max_age: options.max_age,
            entries: Vec::new(),
            bytes: 0,
            keyer: Keyer::new(options),
            open: HashMap::new(),
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

    /// What the batch holds so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Takes only those entries that are `wanted`; the others go on growing. Not of a full batch.
    pub fn take_some(&mut self, reason: FlushReason, wanted: impl Fn(&Entry) -> bool) -> Option<Batch> {
        assert!(self.accepts(), "what waits behind a full batch would pass what stays in it");
        let (mut entries, mut moved) = (Vec::new(), HashMap::new());
        for (at, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if wanted(&entry) {
                entries.push(entry);
            } else {
                moved.insert(at, self.entries.len());
                self.entries.push(entry);
            }
        }
        self.open = self.open.drain().filter_map(|(key, at)| Some((key, *moved.get(&at)?))).collect();
        let bytes = entries.iter().map(|entry| entry.size + self.limits.key_bytes).sum();
        self.bytes -= bytes;
        (!entries.is_empty()).then_some(Batch { entries, bytes, reason })
    }

    /// The batch, if anything is in it; the next one begins with what did not fit.
    pub fn take(&mut self, reason: FlushReason) -> Option<Batch> {
        if self.is_empty() {
            return None;
        }
        let batch = Batch { entries: std::mem::take(&mut self.entries), bytes: self.bytes, reason };
        self.bytes = 0;
        self.open.clear();
        self.full = None;
        self.fill();
        Some(batch)
    }

    fn fill(&mut self) {
        while let Some(mut rest) = self.rest.take() {
            let (length, key) = self.keyer.run(&rest.block);
            let hash = key.as_ref().map(|key| key.hash);
            let (fit, start) = match self.step(&first(&rest.block, length), hash) {
                Step::Append(at, fit) => (fit, Err(at)),
                Step::Start { fit, open } => (fit, Ok(open)),
                Step::Full(reason) => {
                    self.rest = Some(rest);
                    self.full = Some(reason);
                    return;
                }
            };
            if self.is_empty() {
                self.since = rest.since;
            }
            let at = start.map_or_else(|at| at, |open| self.start(key, open));
            let (part, records, more) = cut(&mut rest.block, fit.length);
            let entry = &mut self.entries[at];
            self.bytes += fit.size - entry.size;
            append(entry, part, records, fit.size);
            if more {
                self.rest = Some(rest);
            }
        }
        if self.entries.len() == self.max_entries && !self.packs {
            self.full = Some(FlushReason::Records);
        }
    }

    /// Begins an entry; `open`: others may join it. Where it stands.
    fn start(&mut self, key: Option<FixedKey>, open: bool) -> usize {
        let (at, hash) = (self.entries.len(), key.as_ref().map(|key| key.hash));
        match open {
            true => self.open.insert(hash, at),
            false => self.open.remove(&hash),
        };
        self.entries.push(Entry { key, ..Entry::default() });
        self.bytes += self.limits.key_bytes;
        at
    }

    fn step(&self, block: &Block, key: Option<u128>) -> Step {
        let Batcher { envelope, limits, .. } = *self;
        let packs = self.packs && envelope.joins(block.shape);
        let room = self.max_bytes.saturating_sub(self.bytes);
        if packs
            && let Some(&at) = self.open.get(&key)
            && let Some(fit) = envelope.fit(&self.entries[at], block, limits, self.entries[at].size + room)
        {
            return Step::Append(at, fit);
        }
        if self.entries.len() == self.max_entries {
            return Step::Full(FlushReason::Records);
        }
        let room = room.saturating_sub(limits.key_bytes);
        if packs && let Some(fit) = envelope.fit(&Entry::default(), block, limits, room) {
            return Step::Start { fit, open: true };
        }
        // A record goes alone where nothing is packed, and where it is larger than a packed
        // entry may be. In an empty batch it goes in any case: waiting would not shrink it.
        let length = first_record(block);
        let fit = Fit { length, size: envelope.alone(length) };
        let alone = !packs || !envelope.holds(length, limits);
        if self.is_empty() || (alone && fit.size <= room && self.bytes + limits.key_bytes <= self.max_bytes) {
            return Step::Start { fit, open: false };
        }
        Step::Full(FlushReason::Bytes)
    }
}

/// The block's first bytes, which are complete records.
fn first(block: &Block, length: usize) -> Cow<'_, Block> {
    if length == block.payload.len() {
        return Cow::Borrowed(block);
    }
    let span = Span::new(block.span.start, block.span.start + length as u64);
    Cow::Owned(Block { span, payload: block.payload.slice(..length), ..block.clone() })
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
    let more = length < block.payload.len();
    let (payload, span) = if more {
        let border = block.span.start + length as u64;
        let span = Span::new(block.span.start, border);
        block.span.start = border;
        (block.payload.split_to(length), span)
    } else {
        (std::mem::take(&mut block.payload), block.span)
    };
    let (records, count) = match block.shape {
        Shape::Lines => (Records::Lines, newlines(&payload)),
        Shape::One | Shape::Piece => (Records::one(payload.len()), 1),
    };
    (Part { chunk: block.chunk.clone(), span, payload, records }, count, more)
}

fn newlines(payload: &[u8]) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', payload).count()).expect("no request holds so many lines")
}

/// Adds `part` to `entry`; bytes that stand side by side in one chunk become one slice.
fn append(entry: &mut Entry, part: Part, records: u32, size: usize) {
    entry.bytes += part.payload.len();
    entry.records += records;
    entry.size = size;
    if let Some(last) = entry.parts.last_mut()
        && adjacent(last, &part)
        && last.records.join(&part.records)
    {
        last.span.end = part.span.end;
        last.payload = last.chunk.slice(last.span);
        return;
    }
    entry.parts.push(part);
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
