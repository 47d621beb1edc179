//! What one answer settles: the spans of the delivered entries, those of a tail that follow
//! each other merged into one, so that the settle stage is told little of a large request.

use std::collections::HashMap;

use super::entry::Entry;
use crate::file::{Chunk, Settled, Span, TailId};

#[derive(Debug, Default)]
pub struct Receipt<'a> {
    /// The spans, each with the chunk that holds its last byte.
    spans: Vec<(&'a Chunk, Span)>,
    /// The last span of each tail.
    last: HashMap<TailId, usize>,
    pub records: u64,
    pub bytes: u64,
    pub entries: u64,
}

impl<'a> Receipt<'a> {
    pub fn add(&mut self, entry: &'a Entry) {
        self.entries += 1;
        self.records += u64::from(entry.records);
        self.bytes += entry.bytes as u64;
        for part in &entry.parts {
            self.add_span(&part.chunk, part.span);
        }
    }

    fn add_span(&mut self, chunk: &'a Chunk, span: Span) {
        // Most requests are of one tail: its span is the last one.
        let last = match self.spans.last() {
            Some((last, _)) if last.tail == chunk.tail => Some(self.spans.len() - 1),
            _ => self.last.get(&chunk.tail).copied(),
        };
        if let Some(index) = last
            && self.spans[index].1.end == span.start
        {
            self.spans[index] = (chunk, Span::new(self.spans[index].1.start, span.end));
            return;
        }
        self.last.insert(chunk.tail, self.spans.len());
        self.spans.push((chunk, span));
    }

    pub fn settled(&self) -> Vec<Settled> {
        self.spans.iter().map(|(chunk, span)| Settled::new(chunk, *span)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::entry::{Part, Records};
    use crate::send::testing::chunk;

    fn entry(parts: &[(&Chunk, u64, u64)]) -> Entry {
        let mut entry = Entry { records: 1, ..Entry::default() };
        for &(chunk, start, end) in parts {
            let span = Span::new(start, end);
            entry.bytes += span.len() as usize;
            let (chunk, payload) = (chunk.clone(), chunk.slice(span));
            entry.parts.push(Part { chunk, span, payload, records: Records::Lines });
        }
        entry
    }

    #[test]
    fn neighbours_are_merged_also_over_chunks_and_between_other_tails() {
        let (a, b) = (chunk(1, 0, b"aaaa"), chunk(1, 4, b"bbbb"));
        let other = chunk(2, 100, b"xx");
        let entries = [
            entry(&[(&a, 0, 2), (&other, 100, 101), (&a, 2, 4)]),
            entry(&[(&b, 4, 5)]),
            entry(&[(&b, 6, 8)]),
        ];
        let mut receipt = Receipt::default();
        entries.iter().for_each(|entry| receipt.add(entry));
        let expected = [
            Settled::new(&b, Span::new(0, 5)),
            Settled::new(&other, Span::new(100, 101)),
            Settled::new(&b, Span::new(6, 8)),
        ];
        assert_eq!(receipt.settled(), expected);
        assert_eq!((receipt.entries, receipt.records, receipt.bytes), (3, 3, 8));
    }
}
