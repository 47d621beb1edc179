//! Bytes that had to be copied out of their chunks because what they belong to crosses a
//! chunk's border: events of several lines, and a character in the middle of a cut line.
//!
//! A copy pins no chunk: it carries the few bytes that its anchors need and becomes a chunk of
//! its own. All copies of a flow are counted, from the first byte until the record is settled,
//! so that the task that makes them can wait while there are too many.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::file::{Anchor, Chunk, Span, TailId};

/// How many copied bytes of a flow are in memory.
#[derive(Debug, Default)]
pub struct Copies {
    held: AtomicUsize,
    limit: AtomicUsize,
    freed: Notify,
}

impl Copies {
    pub fn new(limit: usize) -> Self {
        Copies { limit: limit.into(), ..Copies::default() }
    }

    /// How many bytes of events may wait for more lines, and how many copied bytes may be on
    /// their way beside them.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.freed.notify_one();
    }

    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Resolves when no more than the limit is on its way, beside `pending` bytes that wait.
    pub async fn room(&self, pending: usize) {
        loop {
            let freed = self.freed.notified();
            if self.held() <= pending + self.limit() {
                return;
            }
            freed.await;
        }
    }

    fn changed(&self, from: usize, to: usize) {
        if to >= from {
            self.held.fetch_add(to - from, Ordering::AcqRel);
        } else {
            self.held.fetch_sub(from - to, Ordering::AcqRel);
            self.freed.notify_one();
        }
    }
}

/// Consecutive bytes of one tail, in a buffer of their own.
#[derive(Debug)]
pub struct Copied {
    tail: TailId,
    home: Option<Arc<Path>>,
    span: Span,
    counted: Counted,
}

#[derive(Debug)]
struct Counted {
    /// What the anchor of the span's start covers, and then the bytes of the span.
    data: Vec<u8>,
    /// What the copies were told of `data`.
    size: usize,
    copies: Arc<Copies>,
}

impl Counted {
    fn recount(&mut self) {
        self.copies.changed(self.size, self.data.capacity());
        self.size = self.data.capacity();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.copies.changed(self.size, 0);
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Copied {
    /// A copy of `span`, which lies in `chunk`.
    pub fn new(chunk: &Chunk, span: Span, copies: &Arc<Copies>) -> Self {
        let data = chunk.with_lead(span).to_vec();
        let mut counted = Counted { data, size: 0, copies: copies.clone() };
        counted.recount();
        Copied { tail: chunk.tail, home: chunk.home().cloned(), span, counted }
    }

    /// Adds `span`, which follows what is there and lies in `chunk`.
    pub fn append(&mut self, chunk: &Chunk, span: Span) {
        debug_assert_eq!(self.span.end, span.start);
        self.counted.data.extend_from_slice(&chunk.slice(span));
        self.span.end = span.end;
        self.counted.recount();
    }

    pub fn span(&self) -> Span {
        self.span
    }

    pub fn bytes(&self) -> &[u8] {
        &self.counted.data[Anchor::length(self.span.start)..]
    }

    /// What the copy costs. Bytes.
    pub fn size(&self) -> usize {
        self.counted.size
    }

    pub fn into_chunk(mut self) -> Chunk {
        self.counted.data.shrink_to_fit();
        self.counted.recount();
        let base = self.span.start - Anchor::length(self.span.start) as u64;
        Chunk::new(self.tail, base, Bytes::from_owner(self.counted), self.span.start).of_home(self.home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_anchors_of_the_file_and_is_counted_until_it_is_dropped() {
        let text: Vec<u8> = (0..2000u32).map(|i| i as u8).collect();
        let chunk = |from: usize, to: usize| {
            let base = from.saturating_sub(256);
            Chunk::new(TailId(1), base as u64, Bytes::copy_from_slice(&text[base..to]), from as u64)
        };
        let copies = Arc::new(Copies::default());
        let mut copied = Copied::new(&chunk(100, 700), Span::new(650, 700), &copies);
        copied.append(&chunk(700, 900), Span::new(700, 710));
        assert_eq!(copied.bytes(), &text[650..710]);
        let made = copied.into_chunk();
        assert_eq!(made.span, Span::new(650, 710));
        assert_eq!(made.anchor_at(710), Anchor::of(710, &text[..710]));
        assert_eq!(made.anchor_at(650), Anchor::of(650, &text[..650]));
        assert_eq!(copies.held(), 256 + 60);
        drop(made);
        assert_eq!(copies.held(), 0);
    }
}
