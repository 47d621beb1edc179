//! All that is known of the tails of every flow: who they are (from the file stage), how far
//! they are settled (the ledger), and what of that is not stored yet.
//!
//! Pure. A change that could not be stored is given back and comes with the next one.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{debug, warn};

use super::arrivals::{Arrivals, Moment};
use super::inquiry::{self, Line};
use super::ledger::Ledger;
use super::settler::SettlerFlow;
use super::store::{Changes, TailRow};
use crate::file::{KnownTail, Lost, Settled, Stored, TailId, TailNote, TailState};
use crate::observe::FlowCounters;
use crate::observe::status::{FilePage, FilesQuery};

#[derive(Debug)]
pub struct Book {
    flows: HashMap<Arc<str>, FlowPage>,
    tails: Tails,
    ledger: Ledger,
    arrivals: Arrivals,
    dirty: HashSet<TailId>,
}

#[derive(Debug)]
pub struct FlowPage {
    pub name: String,
    pub destination: String,
    pub counters: Arc<FlowCounters>,
}

type Tails = HashMap<TailId, Entry>;

#[derive(Debug)]
struct Entry {
    /// Without anchors, and `offset` is the one of when a tail was opened: the ledger knows.
    row: TailRow,
    /// Read up to here, as of the last note; not stored.
    read: u64,
}

impl Book {
    pub fn new(flows: Vec<SettlerFlow>, now: Moment) -> Self {
        let mut book = Book {
            flows: HashMap::new(),
            tails: HashMap::new(),
            ledger: Ledger::default(),
            arrivals: Arrivals::default(),
            dirty: HashSet::new(),
        };
        flows.into_iter().for_each(|flow| book.add_flow(flow, now));
        book
    }

    pub fn add_flow(&mut self, flow: SettlerFlow, now: Moment) {
        self.open_all(&flow.key, &flow.known, now);
        let page = FlowPage { name: flow.name, destination: flow.destination, counters: flow.counters };
        self.flows.insert(flow.key, page);
    }

    /// What a flow goes on from.
    pub fn open_all(&mut self, flow: &Arc<str>, known: &[KnownTail], now: Moment) {
        self.tails.reserve(known.len());
        self.ledger.reserve(known.len());
        known.iter().for_each(|known| self.open(flow.clone(), known, now));
    }

    /// Forgets the flow and its tails; what of them is not taken as a change is not stored.
    pub fn remove_flow(&mut self, key: &str) {
        self.flows.remove(key);
        let gone: Vec<TailId> =
            self.tails.iter().filter(|(_, entry)| *entry.row.flow == *key).map(|(tail, _)| *tail).collect();
        for tail in gone {
            self.tails.remove(&tail);
            self.ledger.forget(tail);
            self.arrivals.forget(tail);
            self.dirty.remove(&tail);
        }
    }

    /// Returns what must be set once the tail is durably stored. A tail that starts again
    /// keeps what is settled of it.
    pub fn note(&mut self, note: TailNote, now: Moment) -> Option<Stored> {
        match note {
            TailNote::Started { flow, known, stored } => {
                if self.tails.contains_key(&known.tail) {
                    self.change(known, now);
                } else {
                    self.dirty.insert(known.tail);
                    self.open(flow, &known, now);
                }
                stored
            }
            TailNote::Changed { known } => {
                self.change(known, now);
                None
            }
            TailNote::Gone { tail, lost } => {
                self.lose(tail, lost);
                None
            }
            TailNote::Ended { tail, lost } => {
                self.lose(tail, lost);
                if let Some(entry) = self.tails.get_mut(&tail) {
                    entry.row.known.state = TailState::Over;
                }
                None
            }
        }
    }

    pub fn settle(&mut self, settled: Settled) {
        if self.ledger.settle(settled) {
            self.arrivals.settled(settled.tail, self.ledger.watermark(settled.tail));
            self.dirty.insert(settled.tail);
        }
    }

    pub fn flow(&self, key: &str) -> Option<&FlowPage> {
        self.flows.get(key)
    }

    pub fn path(&self, tail: TailId) -> Option<&Path> {
        self.tails.get(&tail).map(|entry| &*entry.row.known.path)
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
            let mut row = entry.row.clone();
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
            self.arrivals.forget(tail);
        }
        Changes { rows, ..Changes::default() }
    }

    /// `changes` could not be stored. What is known better by now stays.
    pub fn give_back(&mut self, changes: Changes) {
        for mut row in changes.rows {
            let tail = row.known.tail;
            if !self.tails.contains_key(&tail) {
                self.ledger.open(tail, row.known.offset, &std::mem::take(&mut row.known.anchors));
                self.tails.insert(tail, Entry { read: row.known.offset, row });
            }
            self.dirty.insert(tail);
        }
    }

    /// The tails whose files are still there, as far as is known.
    pub fn present(&self) -> Vec<TailId> {
        self.tails.iter().filter(|(_, entry)| entry.row.present).map(|(tail, _)| *tail).collect()
    }

    /// Writes to each flow's counters how many bytes of its files are not settled, and the age
    /// of the oldest of them.
    pub fn update_lag(&self, now: Moment) {
        let mut lags: HashMap<&str, (u64, Duration)> =
            self.flows.keys().map(|key| (&**key, Default::default())).collect();
        // Several times a second, so that it goes through those with a lag alone.
        let lagging = self.arrivals.tails().filter_map(|tail| Some((tail, self.tails.get(&tail)?)));
        for line in self.lines_of(lagging, now) {
            if let Some((lag, age)) = lags.get_mut(&*line.row.flow) {
                *lag += line.lag;
                *age = line.age.max(*age);
            }
        }
        for (key, (lag, age)) in lags {
            let counters = &self.flows[key].counters;
            counters.lag_bytes.store(i64::try_from(lag).unwrap_or(i64::MAX), Ordering::Relaxed);
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            counters.lag_millis.store(age, Ordering::Relaxed);
        }
    }

    /// The files that `query` asks for.
    pub fn files(&self, query: &FilesQuery, now: Moment) -> FilePage {
        inquiry::page(query, self.lines(now))
    }

    /// All tails of the flows but those whose lives are over: their bytes are no part of any
    /// file.
    fn lines(&self, now: Moment) -> impl Iterator<Item = Line<'_>> {
        self.lines_of(self.tails.iter().map(|(tail, entry)| (*tail, entry)), now)
    }

    fn lines_of<'a>(
        &'a self,
        tails: impl Iterator<Item = (TailId, &'a Entry)>,
        now: Moment,
    ) -> impl Iterator<Item = Line<'a>> {
        // Neighbours are often of one flow, and a look-up by name costs more than all the rest.
        let mut last: Option<(&Arc<str>, &str)> = None;
        let living = tails.filter(|(_, entry)| entry.row.known.state != TailState::Over);
        living.filter_map(move |(tail, entry)| {
            let row = &entry.row;
            let flow = match last {
                Some((key, name)) if Arc::ptr_eq(key, &row.flow) => name,
                _ => &*self.flows.get(&row.flow)?.name,
            };
            last = Some((&row.flow, flow));
            let settled = self.ledger.watermark(tail);
            // The size of a compressed body says nothing of the bytes in it.
            let end = if row.known.state == TailState::Finished { entry.read } else { row.known.size };
            let lag = end.saturating_sub(settled);
            let age = if lag > 0 { self.arrivals.age(tail, now) } else { Duration::ZERO };
            Some(Line { row, flow, read: entry.read.max(settled), settled, lag, age })
        })
    }

    fn open(&mut self, flow: Arc<str>, known: &KnownTail, now: Moment) {
        let tail = known.tail;
        self.ledger.open(tail, known.offset, &known.anchors);
        self.arrivals.found(tail, known.offset, known.size, known.modified_millis, now);
        // The ledger keeps the anchors.
        let (path, identity) = (known.path.clone(), known.identity.clone());
        let known = KnownTail { path, identity, anchors: Vec::new(), ..*known };
        self.tails.insert(tail, Entry { read: known.offset, row: TailRow { flow, known, present: true } });
    }

    fn change(&mut self, known: KnownTail, now: Moment) {
        let tail = known.tail;
        let Some(entry) = self.tails.get_mut(&tail) else {
            debug!(%tail, path = %known.path.display(), "a file that was forgotten has changed");
            return;
        };
        self.arrivals.grown(tail, self.ledger.watermark(tail), known.size, now);
        entry.read = known.offset;
        let row = &mut entry.row;
        let is_stored = |a: &KnownTail, b: &KnownTail| {
            (a.size, a.modified_millis, a.state) == (b.size, b.modified_millis, b.state)
                && a.identity == b.identity
                && a.path == b.path
        };
        if !row.present || !is_stored(&row.known, &known) {
            self.dirty.insert(tail);
        }
        row.known = KnownTail { anchors: Vec::new(), ..known };
        row.present = true;
    }

    /// From now on the lost bytes do not count as a part of the file, so that the next start
    /// does not find them missing again.
    fn lose(&mut self, tail: TailId, lost: Option<Lost>) {
        let Some(entry) = self.tails.get_mut(&tail) else { return };
        let row = &mut entry.row;
        row.present = false;
        self.dirty.insert(tail);
        let Some(lost) = lost else { return };
        row.known.size = row.known.size.saturating_sub(lost.bytes);
        let (flow, path) = (&row.flow, row.known.path.display());
        let Some(page) = self.flows.get(flow) else {
            warn!(%flow, %path, bytes = lost.bytes, "bytes of a file are lost whose flow is no longer configured, so no metric counts them; put the flow back if its files still matter");
            return;
        };
        page.counters.bytes_lost.add(lost.reason.word(), lost.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Anchor, Identity, Span};
    use crate::observe::LossReason;
    use crate::observe::status::FileState;

    fn known(tail: u64, size: u64) -> KnownTail {
        KnownTail {
            tail: TailId(tail),
            path: Path::new(&format!("/{tail}.log")).into(),
            identity: Identity::default(),
            offset: 0,
            anchors: Vec::new(),
            size,
            modified_millis: 0,
            state: TailState::Live,
        }
    }

    fn at(seconds: i64) -> Moment {
        Moment { uptime: seconds * 1000, wall: seconds * 1000 }
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
        (Book::new(vec![flow], at(0)), counters)
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
        book.note(started(2, 30), at(1));
        book.settle(settled(1, 6, 10));
        assert_eq!(stored(&book.changes()), [(2, 0, 30)]);
        book.settle(settled(1, 4, 6));
        book.note(TailNote::Changed { known: KnownTail { offset: 999, ..known(2, 40) } }, at(1));
        let changes = book.changes();
        assert_eq!(stored(&changes), [(1, 10, 10), (2, 0, 40)]);
        assert!(!book.is_dirty());
        book.update_lag(at(3));
        assert_eq!(counters.lag_bytes.load(Ordering::Relaxed), 40);
        book.settle(settled(2, 0, 5));
        book.give_back(changes);
        assert_eq!(stored(&book.changes()), [(1, 10, 10), (2, 5, 40)]);
    }

    #[test]
    fn a_file_that_is_gone_is_reported_once_and_forgotten_when_it_is_settled() {
        let (mut book, counters) = book();
        book.note(started(2, 30), at(1));
        book.note(TailNote::Gone { tail: TailId(2), lost: Lost::of(10, LossReason::Removed) }, at(2));
        assert_eq!(counters.bytes_lost.words(), [("removed", 10)].into());
        assert_eq!(stored(&book.changes()), [(2, 0, 20)]);
        assert_eq!(book.present(), [TailId(1)]);
        book.settle(settled(2, 0, 20));
        let last = book.changes();
        assert_eq!(stored(&last), [(2, 20, 20)]);
        assert_eq!(book.path(TailId(2)), None);
        book.give_back(last);
        assert_eq!(stored(&book.changes()), [(2, 20, 20)], "it is written although it was forgotten");
    }

    #[test]
    fn a_file_is_told_with_what_is_read_settled_and_waiting_and_since_when() {
        let (mut book, counters) = book();
        book.note(started(2, 30), at(10));
        book.note(TailNote::Changed { known: KnownTail { offset: 8, ..known(2, 40) } }, at(20));
        book.settle(settled(2, 0, 5));
        book.settle(settled(1, 4, 10));
        let files = book.files(&FilesQuery::default(), at(25));
        assert_eq!((files.total, files.matching), (2, 2));
        let file = &files.items[0];
        assert_eq!(
            (file.flow.as_str(), file.path.as_str(), file.state),
            ("access", "/2.log", FileState::Live)
        );
        assert_eq!((file.size, file.read, file.settled, file.lag_bytes), (40, 8, 5, 35));
        assert!((file.lag_seconds - 25.0).abs() < 1e-9, "the file is as old as it says: {file:?}");
        assert_eq!((files.items[1].lag_bytes, files.items[1].lag_seconds), (0, 0.0));
        book.update_lag(at(30));
        assert_eq!(counters.lag_millis.load(Ordering::Relaxed), 30_000);
        book.settle(settled(2, 5, 30));
        book.update_lag(at(30));
        assert_eq!(counters.lag_millis.load(Ordering::Relaxed), 10_000, "since the file grew");
        book.note(TailNote::Gone { tail: TailId(2), lost: Lost::of(8, LossReason::Removed) }, at(30));
        let files = book.files(&FilesQuery { file: Some("2".into()), ..FilesQuery::default() }, at(31));
        assert_eq!((files.items[0].state, files.items[0].lag_bytes), (FileState::Gone, 2));
        book.note(TailNote::Ended { tail: TailId(2), lost: None }, at(32));
        assert_eq!(book.files(&FilesQuery::default(), at(33)).total, 1, "no file holds its bytes any more");
    }

    #[test]
    fn a_flow_that_is_removed_leaves_nothing_behind() {
        let (mut book, _) = book();
        book.note(started(2, 30), at(1));
        book.remove_flow("k");
        assert!(book.flows.is_empty() && book.tails.is_empty() && !book.is_dirty());
        assert_eq!(book.arrivals.age(TailId(2), at(99)), Duration::ZERO);
    }

    #[test]
    fn what_was_read_is_told_without_being_stored() {
        let (mut book, _) = book();
        book.note(TailNote::Changed { known: KnownTail { offset: 7, ..known(1, 10) } }, at(1));
        assert!(!book.is_dirty());
        assert_eq!(book.files(&FilesQuery::default(), at(1)).items[0].read, 7);
        book.note(TailNote::Changed { known: known(1, 11) }, at(1));
        assert!(book.is_dirty());
    }

    #[test]
    fn a_hundred_thousand_files_are_paged_through_in_order() {
        let (mut book, _) = book();
        for tail in 2..=100_000 {
            book.note(started(tail, tail % 1000), at(1));
        }
        let mut seen = HashSet::new();
        let mut lags = Vec::new();
        let begin = std::time::SystemTime::now();
        for offset in (0..100_000).step_by(20_000) {
            let query = FilesQuery { offset, limit: 1000, ..FilesQuery::default() };
            let files = book.files(&query, at(2));
            assert_eq!((files.total, files.matching, files.items.len()), (100_000, 100_000, 1000));
            lags.extend(files.items.iter().map(|file| file.lag_bytes));
            seen.extend(files.items.into_iter().map(|file| file.path));
        }
        println!("five pages in {:?}", begin.elapsed().unwrap());
        assert_eq!(seen.len(), 5000);
        assert!(lags.is_sorted_by(|a, b| a >= b));
        let query = FilesQuery { file: Some("99999.log".into()), ..FilesQuery::default() };
        assert_eq!(book.files(&query, at(2)).matching, 1);
    }
}
