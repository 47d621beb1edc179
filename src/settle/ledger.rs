//! How far the contiguous settled prefix of each tail reaches: its watermark, the only offset
//! that is ever stored. Spans settle in any order, and more than once.
//!
//! Beside the anchor at the watermark it keeps a few older ones, at growing distances, so that
//! a file that lost its last pages in a power cut is still recognised. Pure; what it does not
//! know (a tail that was forgotten) it ignores.

use std::collections::{BTreeMap, HashMap};

use crate::file::ladder::Ladder;
use crate::file::{Anchor, Settled, TailId};

#[derive(Debug, Default)]
pub struct Ledger {
    tails: HashMap<TailId, Account>,
    /// What is settled beyond the watermarks; most tails have nothing there.
    beyond: HashMap<TailId, Beyond>,
}

#[derive(Debug)]
struct Account {
    watermark: u64,
    /// The newest is the one at the watermark, unless that is 0.
    ladder: Ladder,
}

/// Spans of one tail: start -> end, apart from each other.
#[derive(Debug, Default)]
struct Beyond(BTreeMap<u64, (u64, Anchor)>);

impl Ledger {
    pub fn reserve(&mut self, tails: usize) {
        self.tails.reserve(tails);
    }

    /// Everything before `watermark` is settled.
    pub fn open(&mut self, tail: TailId, watermark: u64, anchors: &[Anchor]) {
        let ladder = Ladder::new(anchors.to_vec());
        self.tails.insert(tail, Account { watermark, ladder });
        self.beyond.remove(&tail);
    }

    pub fn forget(&mut self, tail: TailId) {
        self.tails.remove(&tail);
        self.beyond.remove(&tail);
    }

    /// Whether the watermark moved.
    pub fn settle(&mut self, settled: Settled) -> bool {
        let Some(account) = self.tails.get_mut(&settled.tail) else { return false };
        if settled.span.end <= account.watermark {
            return false;
        }
        let beyond = self.beyond.entry(settled.tail).or_default();
        beyond.add(settled);
        let reached = beyond.take_from(account.watermark);
        if beyond.0.is_empty() {
            self.beyond.remove(&settled.tail);
        }
        let Some((end, anchor)) = reached else { return false };
        account.watermark = end;
        account.ladder.push(anchor);
        true
    }

    /// 0 for a tail that is not known.
    pub fn watermark(&self, tail: TailId) -> u64 {
        self.tails.get(&tail).map_or(0, |account| account.watermark)
    }

    /// The newest first; the first is the one at the watermark, unless that is 0.
    pub fn anchors(&self, tail: TailId) -> &[Anchor] {
        self.tails.get(&tail).map_or(&[], |account| account.ladder.anchors())
    }
}

impl Beyond {
    /// Merges the span with those that it overlaps or touches.
    fn add(&mut self, settled: Settled) {
        let mut start = settled.span.start;
        let (mut end, mut anchor) = (settled.span.end, settled.anchor);
        while let Some((&other, &(other_end, other_anchor))) = self.0.range(..=end).next_back()
            && other_end >= start
        {
            self.0.remove(&other);
            start = start.min(other);
            if other_end > end {
                (end, anchor) = (other_end, other_anchor);
            }
        }
        self.0.insert(start, (end, anchor));
    }

    /// Takes the first span, if nothing is missing between `watermark` and it.
    fn take_from(&mut self, watermark: u64) -> Option<(u64, Anchor)> {
        let (&start, &reached) = self.0.first_key_value()?;
        if start > watermark {
            return None;
        }
        self.0.remove(&start);
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::file::Span;

    const TAIL: TailId = TailId(1);

    fn settled(start: u64, end: u64) -> Settled {
        Settled { tail: TAIL, span: Span::new(start, end), anchor: Anchor { offset: end, hash: !end } }
    }

    fn ledger(start: u64) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.open(TAIL, start, &[]);
        ledger
    }

    proptest! {
        #[test]
        fn the_watermark_is_where_the_first_unsettled_byte_is(
            start in 0u64..10, spans in proptest::collection::vec((0u64..60, 0u64..12), 0..40),
        ) {
            let mut ledger = ledger(start);
            let mut bytes = [false; 80];
            bytes[..start as usize].fill(true);
            let mut ends = vec![start];
            for (from, length) in spans {
                let before = ledger.watermark(TAIL);
                let moved = ledger.settle(settled(from, from + length));
                bytes[from as usize..(from + length) as usize].fill(true);
                ends.push(from + length);
                let watermark = ledger.watermark(TAIL);
                prop_assert_eq!(watermark, bytes.iter().position(|settled| !settled).unwrap() as u64);
                prop_assert_eq!(moved, watermark > before, "and it never goes back");
                prop_assert!(ends.contains(&watermark));
                if watermark > start {
                    let anchor = Anchor { offset: watermark, hash: !watermark };
                    prop_assert_eq!(ledger.anchors(TAIL)[0], anchor);
                }
                let beyond = ledger.beyond.get(&TAIL).into_iter().flat_map(|beyond| &beyond.0);
                let beyond: Vec<_> = beyond.map(|(s, (e, _))| (*s, *e)).collect();
                prop_assert!(beyond.windows(2).all(|pair| pair[0].1 < pair[1].0), "{beyond:?}");
            }
        }
    }

    #[test]
    fn a_tail_that_is_not_known_is_ignored() {
        let mut ledger = ledger(0);
        ledger.forget(TAIL);
        assert!(!ledger.settle(settled(0, 10)));
        assert_eq!(ledger.watermark(TAIL), 0);
    }
}
