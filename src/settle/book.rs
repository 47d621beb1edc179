//! All that is known of the tails of every flow: who they are (from the file stage), how far
//! they are settled (the ledger), and what of that is not stored yet.
//!
//! Pure. A change that could not be stored is given back and comes with the next one.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{debug, warn};

use super::ledger::Ledger;
use super::settler::SettlerFlow;
use super::store::{Changes, TailRow};
use crate::file::{KnownTail, Settled, Stored, TailId, TailNote, TailState};
use crate::observe::FlowCounters;

#[derive(Debug)]
pub struct Book {
    flows: HashMap<Arc<str>, FlowPage>,
    tails: Tails,
    ledger: Ledger,
    dirty: HashSet<TailId>,
}

#[derive(Debug)]
pub struct FlowPage {
    pub name: String,
    pub destination: String,
    pub counters: Arc<FlowCounters>,
}

/// `offset` and `anchors` are those of when a tail was opened; the ledger knows better.
type Tails = HashMap<TailId, TailRow>;

impl Book {
    pub fn new(flows: Vec<SettlerFlow>) -> Self {
        let mut book = Book {
            flows: HashMap::new(),
            tails: HashMap::new(),
            ledger: Ledger::default(),
            dirty: HashSet::new(),
        };
        flows.into_iter().for_each(|flow| book.add_flow(flow));
        book
    }

    pub fn add_flow(&mut self, flow: SettlerFlow) {
        for known in flow.known {
            self.open(flow.key.clone(), known);
        }
        let page = FlowPage { name: flow.name, destination: flow.destination, counters: flow.counters };
        self.flows.insert(flow.key, page);
    }

    /// Forgets the flow and its tails; what of them is not taken as a change is not stored.
    pub fn remove_flow(&mut self, key: &str) {
        self.flows.remove(key);
        let gone: Vec<TailId> =
            self.tails.iter().filter(|(_, row)| *row.flow == *key).map(|(tail, _)| *tail).collect();
        for tail in gone {
            self.tails.remove(&tail);
            self.ledger.forget(tail);
            self.dirty.remove(&tail);
        }
    }

    /// Returns what must be set once the tail is durably stored. A tail that starts again
    /// keeps what is settled of it.
    pub fn note(&mut self, note: TailNote) -> Option<Stored> {
        match note {
            TailNote::Started { flow, known, stored } => {
                if self.tails.contains_key(&known.tail) {
                    self.change(known);
                } else {
                    self.dirty.insert(known.tail);
                    self.open(flow, known);
                }
                stored
            }
            TailNote::Changed { known } => {
                self.change(known);
                None
            }
            TailNote::Gone { tail, lost } => {
                self.lose(tail, lost);
                None
            }
            TailNote::Ended { tail, lost } => {
                self.lose(tail, lost);
                if let Some(entry) = self.tails.get_mut(&tail) {
                    entry.known.state = TailState::Over;
                }
                None
            }
        }
    }

    pub fn settle(&mut self, settled: Settled) {
        if self.ledger.settle(settled) {
            self.dirty.insert(settled.tail);
        }
    }

    pub fn flow(&self, key: &str) -> Option<&FlowPage> {
        self.flows.get(key)
    }

    pub fn path(&self, tail: TailId) -> Option<&Path> {
        self.tails.get(&tail).map(|entry| &*entry.known.path)
    }

    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes what is not stored yet. A tail that is gone and settled is forgotten with it.
    pub fn changes(&mut self) -> Changes {
        let mut rows = Vec::with_capacity(self.dirty.len());
        let mut over = Vec::new();
        for tail in self.dirty.drain() {
            let Some(entry) = self.tails.get(&tail) else { continue };
            let mut row = entry.clone();
            row.known.offset = self.ledger.watermark(tail);
            row.known.anchors = self.ledger.anchors(tail).to_vec();
            if !row.present && (row.known.offset >= row.known.size || row.known.state == TailState::Over) {
                over.push(tail);
            }
            rows.push(row);
        }
        for tail in over {
            self.tails.remove(&tail);
            self.ledger.forget(tail);
        }
        Changes { rows, ..Changes::default() }
    }

    /// `changes` could not be stored. What is known better by now stays.
    pub fn give_back(&mut self, changes: Changes) {
        for row in changes.rows {
            let tail = row.known.tail;
            if !self.tails.contains_key(&tail) {
                self.ledger.open(tail, row.known.offset, &row.known.anchors);
                self.tails.insert(tail, row);
            }
            self.dirty.insert(tail);
        }
    }

    /// The tails whose files are still there, as far as is known.
    pub fn present(&self) -> Vec<TailId> {
        self.tails.iter().filter(|(_, entry)| entry.present).map(|(tail, _)| *tail).collect()
    }

    /// Writes to each flow's counters how many bytes of its files are not settled.
    pub fn update_lag(&self) {
        let mut lags: HashMap<&str, u64> = self.flows.keys().map(|key| (&**key, 0)).collect();
        for (tail, entry) in self.tails.iter().filter(|(_, entry)| entry.present) {
            if let Some(lag) = lags.get_mut(&*entry.flow) {
                *lag += entry.known.size.saturating_sub(self.ledger.watermark(*tail));
            }
        }
        for (key, lag) in lags {
            let lag = i64::try_from(lag).unwrap_or(i64::MAX);
            self.flows[key].counters.lag_bytes.store(lag, Ordering::Relaxed);
        }
    }

    fn open(&mut self, flow: Arc<str>, known: KnownTail) {
        self.ledger.open(known.tail, known.offset, &known.anchors);
        self.tails.insert(known.tail, TailRow { flow, known, present: true });
    }

    fn change(&mut self, known: KnownTail) {
        let tail = known.tail;
        let Some(entry) = self.tails.get_mut(&tail) else {
            debug!(%tail, path = %known.path.display(), "A file that was forgotten has changed");
            return;
        };
        entry.known = known;
        entry.present = true;
        self.dirty.insert(tail);
    }

    /// From now on the lost bytes do not count as a part of the file, so that the next start
    /// does not find them missing again.
    fn lose(&mut self, tail: TailId, lost: u64) {
        let Some(entry) = self.tails.get_mut(&tail) else { return };
        entry.present = false;
        entry.known.size = entry.known.size.saturating_sub(lost);
        self.dirty.insert(tail);
        let (flow, path) = (&entry.flow, entry.known.path.display());
        let Some(page) = self.flows.get(flow) else {
            warn!(%flow, %path, lost, "A file of a flow that is not known is gone");
            return;
        };
        page.counters.bytes_lost.add(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Anchor, Identity, Span};

    fn known(tail: u64, size: u64) -> KnownTail {
        KnownTail {
            tail: TailId(tail),
            path: format!("/{tail}.log").into(),
            identity: Identity::default(),
            offset: 0,
            anchors: Vec::new(),
            size,
            modified_millis: 0,
            state: TailState::Live,
        }
    }

    fn settled(tail: u64, start: u64, end: u64) -> Settled {
        Settled { tail: TailId(tail), span: Span::new(start, end), anchor: Anchor { offset: end, hash: end } }
    }

    fn book() -> (Book, Arc<FlowCounters>) {
        let counters = Arc::<FlowCounters>::default();
        let flow = SettlerFlow {
            key: "k".into(),
            name: "access".into(),
            destination: "firehose:web".into(),
            counters: counters.clone(),
            known: vec![KnownTail { offset: 4, ..known(1, 10) }],
        };
        (Book::new(vec![flow]), counters)
    }

    fn started(tail: u64, size: u64) -> TailNote {
        TailNote::Started { flow: "k".into(), known: known(tail, size), stored: None }
    }

    fn stored(changes: &Changes) -> Vec<(u64, u64, u64)> {
        let mut rows: Vec<_> =
            changes.rows.iter().map(|row| (row.known.tail.0, row.known.offset, row.known.size)).collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn only_the_contiguous_prefix_is_stored_and_only_what_changed() {
        let (mut book, counters) = book();
        assert!(!book.is_dirty());
        book.note(started(2, 30));
        book.settle(settled(1, 6, 10));
        assert_eq!(stored(&book.changes()), [(2, 0, 30)]);
        book.settle(settled(1, 4, 6));
        book.note(TailNote::Changed { known: KnownTail { offset: 999, ..known(2, 40) } });
        let changes = book.changes();
        assert_eq!(stored(&changes), [(1, 10, 10), (2, 0, 40)]);
        assert!(!book.is_dirty());
        book.update_lag();
        assert_eq!(counters.lag_bytes.load(Ordering::Relaxed), 40);
        book.settle(settled(2, 0, 5));
        book.give_back(changes);
        assert_eq!(stored(&book.changes()), [(1, 10, 10), (2, 5, 40)]);
    }

    #[test]
    fn a_file_that_is_gone_is_reported_once_and_forgotten_when_it_is_settled() {
        let (mut book, counters) = book();
        book.note(started(2, 30));
        book.note(TailNote::Gone { tail: TailId(2), lost: 10 });
        assert_eq!(counters.bytes_lost.get(), 10);
        assert_eq!(stored(&book.changes()), [(2, 0, 20)]);
        assert_eq!(book.present(), [TailId(1)]);
        book.settle(settled(2, 0, 20));
        let last = book.changes();
        assert_eq!(stored(&last), [(2, 20, 20)]);
        assert_eq!(book.path(TailId(2)), None);
        book.give_back(last);
        assert_eq!(stored(&book.changes()), [(2, 20, 20)], "it is written although it was forgotten");
    }
}
