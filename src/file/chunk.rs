//! A chunk is a piece of one tail: complete lines from one position of one file. It is what
//! moves between the stages, so that nothing is done for each line on the way.
//!
//! Its buffer begins up to [`ANCHOR_BYTES`] before its span, so that the anchor of every
//! offset in it can be computed without the file. The buffer is an owned allocation that gives
//! its bytes back to the budget when the last slice of it is dropped.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// How many bytes before an offset its anchor covers.
pub const ANCHOR_BYTES: usize = 256;

/// One life of one file, from its first byte to its end. Persisted, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TailId(pub u64);

impl std::fmt::Display for TailId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The bytes `[start, end)` of one tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

impl Span {
    pub fn new(start: u64, end: u64) -> Self {
        debug_assert!(start <= end);
        Span { start, end }
    }

    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// The hash (XXH3, 64 bits) of the bytes before an offset: the last [`ANCHOR_BYTES`] of them,
/// or all where there are fewer. It tells whether a file still holds what was read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub offset: u64,
    pub hash: u64,
}

impl Anchor {
    /// How many bytes before `offset` the anchor covers.
    pub fn length(offset: u64) -> usize {
        offset.min(ANCHOR_BYTES as u64) as usize
    }

    /// `before` is what stands before `offset`: [`Anchor::length`] bytes or more.
    pub fn of(offset: u64, before: &[u8]) -> Self {
        let covered = &before[before.len() - Self::length(offset)..];
        Anchor { offset, hash: xxh3_64(covered) }
    }

    /// Whether nothing but zeros stands before the offset, as behind a hole: any other hole agrees.
    pub fn is_of_zeros(&self) -> bool {
        *self == Self::of(self.offset, &[0; ANCHOR_BYTES])
    }
}

/// Bytes of one tail. Cheap to clone: the buffer is shared.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub tail: TailId,
    /// The bytes that the chunk stands for; what the buffer holds before them is only there
    /// for the anchors.
    pub span: Span,
    base: u64,
    buffer: Bytes,
    home: Option<Arc<Path>>,
}

impl Chunk {
    /// `buffer` holds the file's bytes from offset `base` to `base + buffer.len()`; the chunk
    /// stands for those from `start` on. At least [`Anchor::length`] bytes precede `start`.
    pub fn new(tail: TailId, base: u64, buffer: Bytes, start: u64) -> Self {
        let end = base + buffer.len() as u64;
        assert!(base + Anchor::length(start) as u64 <= start && start <= end);
        Chunk { tail, span: Span::new(start, end), base, buffer, home: None }
    }

    /// The same of a file that has, or first had, this path.
    pub fn of_home(self, home: Option<Arc<Path>>) -> Self {
        Chunk { home, ..self }
    }

    /// The path under which the file was written: it stays when the file is rotated, and the next
    /// one has it, too.
    pub fn home(&self) -> Option<&Arc<Path>> {
        self.home.as_ref()
    }

    /// The bytes of `span`, which lies in the chunk's own. Shares the buffer.
    pub fn slice(&self, span: Span) -> Bytes {
        assert!(self.span.start <= span.start && span.end <= self.span.end);
        let from = (span.start - self.base) as usize;
        self.buffer.slice(from..from + span.len() as usize)
    }

    /// All bytes of the chunk. Shares the buffer.
    pub fn bytes(&self) -> Bytes {
        self.slice(self.span)
    }

    /// The bytes of `span`, which lies in the chunk's own, and before them what the anchor of
    /// its start covers: what a copy needs to become a chunk of its own.
    pub fn with_lead(&self, span: Span) -> &[u8] {
        assert!(self.span.start <= span.start && span.end <= self.span.end);
        let from = (span.start - self.base) as usize;
        &self.buffer[from - Anchor::length(span.start)..from + span.len() as usize]
    }

    /// The anchor at `offset`, which lies in the chunk's span (its end included).
    pub fn anchor_at(&self, offset: u64) -> Anchor {
        assert!(self.span.start <= offset && offset <= self.span.end);
        Anchor::of(offset, &self.buffer[..(offset - self.base) as usize])
    }
}

/// A span that is safe: delivered, filtered by the configuration, or fsynced in the
/// dead-letter file. `anchor` is the one at the span's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub tail: TailId,
    pub span: Span,
    pub anchor: Anchor,
}

impl Settled {
    /// The last byte of `span` lies in `chunk`.
    pub fn new(chunk: &Chunk, span: Span) -> Self {
        Settled { tail: chunk.tail, span, anchor: chunk.anchor_at(span.end) }
    }
}

/// The length of `bytes` without a character that has begun but is not complete.
pub fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len()) {
        let at = bytes.len() - back;
        let needs = match bytes[at] {
            0b1000_0000..=0b1011_1111 => continue,
            0b1100_0000..=0b1101_1111 => 2,
            0b1110_0000..=0b1110_1111 => 3,
            0b1111_0000..=0b1111_0111 => 4,
            _ => 1,
        };
        return if needs > back { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_stay_whole() {
        assert_eq!(whole_characters(&"😀".as_bytes()[..3]), 0);
        assert_eq!(whole_characters("x😀".as_bytes()), 5);
        assert_eq!(whole_characters(&[0x80; 9]), 9);
    }
}
