//! The agent of a case: the real cores of the four stages, with the real database, wired by hand
//! as `agent.rs` wires them with channels and tasks. What passes between the stages waits in
//! queues until a step moves it on. It decides nothing of its own.
//!
//! What an onlooker could see of it, it writes down for the oracle.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kinesis_agent::file::handover::HeldFiles;
use kinesis_agent::file::listing::{Listing, is_of};
use kinesis_agent::file::pattern::Patterns;
use kinesis_agent::file::removed::Removed;
use kinesis_agent::file::tailers::{Parts, Past, TailIds, Tailers};
use kinesis_agent::file::turns::Turn;
use kinesis_agent::file::{
    self, Budget, FlowBudget, InitialPosition, Settled, Stored, TailEvent, TailId, TailNote, TailState,
};
use kinesis_agent::record::{self, Block, MultiLine, Output, Oversized, Recorder};
use kinesis_agent::send::batch::Batcher;
use kinesis_agent::send::outcome::{Answer, Failure, FailureClass, outcomes};
use kinesis_agent::send::pieces::{Piece, Pieces};
use kinesis_agent::send::receipt::Receipt;
use kinesis_agent::send::{
    self, Aggregation, Credentials, Destination, Entry, Flush, FlushReason, PartitionKey, ShardLimits,
};
use kinesis_agent::settle::arrivals::Moment;
use kinesis_agent::settle::book::Book;
use kinesis_agent::settle::{FlowIdentity, Resumed, SettlerFlow, Store};

use super::setup::Setup;

const KEY: &str = "kinesis:stream#flow";

/// What an onlooker sees.
#[derive(Debug)]
pub enum Sight {
    /// A tail begins, or has another file now.
    Tail { tail: TailId, path: PathBuf, inode: u64, start: Option<u64> },
    /// A tail's file is no longer kept open.
    LetGo { tail: TailId },
    /// Bytes of a tail that reach to `end`.
    Read { tail: TailId, end: u64, bytes: Vec<u8> },
    /// An entry is sent.
    Attempted(Vec<u8>),
    /// The destination has it. Whether the agent knows.
    Delivered(Vec<u8>, bool),
    /// It is in the dead-letter file.
    Dead(Vec<u8>),
    /// What the database holds of a tail from now on.
    Row { tail: TailId, offset: u64, modified: i64, over: bool },
}

pub struct Agent {
    setup: Setup,
    patterns: Vec<String>,
    started: i64,
    ids: Arc<TailIds>,
    tailers: Tailers,
    listing: Option<Listing>,
    total: usize,
    budget: Arc<FlowBudget>,
    recorder: Recorder,
    blocks: VecDeque<Block>,
    batcher: Batcher,
    deliveries: Vec<Delivery>,
    accepted: u64,
    notes: VecDeque<TailNote>,
    settled: VecDeque<Settled>,
    book: Book,
    store: Store,
    waiting: Vec<Stored>,
    pub sights: Vec<Sight>,
}

struct Delivery {
    pieces: Pieces,
    /// What waits for its answer.
    asked: Option<Piece>,
}

/// No step takes so many rounds: whoever goes on for ever is to be found, not waited for.
#[derive(Default)]
struct Rounds(u32);

impl Rounds {
    const MOST: u32 = 10_000;

    fn count(&mut self, until: &str) {
        self.0 += 1;
        assert!(self.0 < Self::MOST, "no progress until {until}");
    }
}

fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs())
}

impl Agent {
    pub fn start(setup: Setup, folder: &Path, database: &Path, wall: i64) -> Self {
        let (mut store, warnings) = Store::open(database, time(wall)).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let patterns = setup.patterns(folder);
        let resumed = resume(&mut store, &patterns, wall);
        let ids = Arc::new(TailIds::starting_at(store.first_tail().0));
        let total = if setup.small_budget { 4096 } else { 1 << 20 };
        let budget = Budget::new(total, 1).flow();
        let known = resumed.known.clone();
        let tailers = tailers(setup, &patterns, ids.clone(), resumed);
        Agent {
            ids,
            tailers,
            listing: None,
            total,
            budget,
            recorder: Recorder::new(record_options(setup), 64 << 10),
            blocks: VecDeque::new(),
            batcher: Batcher::new(&send_options(setup)),
            deliveries: Vec::new(),
            accepted: 0,
            notes: VecDeque::new(),
            settled: VecDeque::new(),
            book: Book::new(vec![settler_flow(known)], moment(wall)),
            store,
            waiting: Vec::new(),
            sights: Vec::new(),
            started: wall,
            patterns,
            setup,
        }
    }

    /// The agent's own clock.
    fn now(&self, wall: i64) -> Duration {
        Duration::from_millis((wall - self.started).unsigned_abs() + 1000)
    }

    pub fn hint(&mut self, path: &Path, renamed: bool) {
        match renamed {
            true => self.tailers.renamed(path),
            false => self.tailers.written(path),
        }
    }

    pub fn list(&mut self) {
        self.listing = Some(self.tailers.list());
    }

    /// Acts on what was listed before, or lists now. Whether it saw what is there now.
    pub fn scan(&mut self, wall: i64) -> bool {
        let now = self.now(wall);
        let listing = self.listing.take();
        let is_fresh = listing.is_none();
        self.tailers.scan_due = false;
        let listing = listing.unwrap_or_else(|| self.tailers.list());
        self.tailers.act_on(listing, now, self.budget.used());
        self.pass_on(wall);
        is_fresh
    }

    pub fn turns(&mut self, most: usize, wall: i64) {
        self.tailers.release_stored();
        for _ in 0..most {
            let turn = self.tailers.turn(self.now(wall), &self.budget);
            self.pass_on(wall);
            if turn != Turn::Progress {
                break;
            }
        }
    }

    pub fn tend(&mut self, wall: i64) {
        self.tailers.tend(self.now(wall), &self.budget);
        self.tailers.take_changes();
        self.pass_on(wall);
        let mut out = Vec::new();
        self.recorder.tick(self.now(wall), &mut out);
        self.take_outputs(out);
    }

    fn pass_on(&mut self, wall: i64) {
        let mut let_go = Vec::new();
        for note in std::mem::take(&mut self.tailers.notes) {
            if let TailNote::Gone { tail, .. } = note {
                let_go.push(Sight::LetGo { tail });
            }
            if let TailNote::Started { known, .. } | TailNote::Changed { known } = &note {
                let start = matches!(note, TailNote::Started { .. }).then_some(known.offset);
                let (tail, path, inode) = (known.tail, known.path.clone(), known.identity.inode);
                self.sights.push(Sight::Tail { tail, path: path.to_path_buf(), inode, start });
            }
            self.notes.push_back(note);
        }
        let mut out = Vec::new();
        for event in std::mem::take(&mut self.tailers.events) {
            if let TailEvent::Chunk { chunk, .. } = &event {
                let (tail, end) = (chunk.tail, chunk.span.end);
                self.sights.push(Sight::Read { tail, end, bytes: chunk.bytes().to_vec() });
            }
            self.recorder.push(event, self.now(wall), &mut out);
        }
        self.sights.extend(let_go);
        self.take_outputs(out);
    }

    fn take_outputs(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Block(block) => self.blocks.push_back(block),
                Output::Filtered { settled, .. } => self.settled.push_back(settled),
                Output::Dead(dead) => {
                    self.sights.push(Sight::Dead(dead.payload.to_vec()));
                    self.settled.push_back(Settled::new(&dead.chunk, dead.span));
                }
            }
        }
    }

    /// Fills the batch with at most so many blocks.
    pub fn fill(&mut self, most: usize, wall: i64) -> bool {
        let mut taken = false;
        for _ in 0..most {
            if !self.batcher.accepts() {
                break;
            }
            let Some(block) = self.blocks.pop_front() else { break };
            self.batcher.push(block, self.now(wall));
            taken = true;
        }
        taken
    }

    pub fn send(&mut self) -> bool {
        let most = if self.setup.one_request { 1 } else { 3 };
        if self.deliveries.len() >= most {
            return false;
        }
        let Some(batch) = self.batcher.take(FlushReason::Age) else { return false };
        self.deliveries.push(Delivery { pieces: Pieces::new(batch.entries), asked: None });
        self.ask(self.deliveries.len() - 1);
        true
    }

    /// Sends the next request of a delivery; ends it if there is none.
    fn ask(&mut self, at: usize) {
        let delivery = &mut self.deliveries[at];
        delivery.asked = delivery.pieces.pop();
        match &delivery.asked {
            Some(piece) => {
                self.sights.extend(piece.entries.iter().map(|entry| Sight::Attempted(entry.to_vec())));
            }
            None => drop(self.deliveries.remove(at)),
        }
    }

    /// The `which`th request is answered, or sent again if it failed before.
    pub fn answer(&mut self, which: usize, how: u8) -> bool {
        if self.deliveries.is_empty() {
            return false;
        }
        let at = which % self.deliveries.len();
        let Some(piece) = self.deliveries[at].asked.take() else {
            self.ask(at);
            return true;
        };
        let mask = how >> 4;
        let failed = |index: usize| mask & (1 << (index % 4)) != 0;
        match how % 16 {
            0..=7 => self.answered(at, piece, |_| None),
            8 => self.answered(at, piece, |index| failed(index).then_some("InternalFailure")),
            9 => self.answered(at, piece, |_| Some("ProvisionedThroughputExceededException")),
            10 => self.answered(at, piece, |index| failed(index).then_some("InvalidArgumentException")),
            11 => self.failed(at, piece, FailureClass::Transient, false),
            12 => self.failed(at, piece, FailureClass::Waiting { authentication: true }, false),
            13 => self.failed(at, piece, FailureClass::Invalid, false),
            14 => self.failed(at, piece, FailureClass::TimedOut, true),
            _ => self.failed(at, piece, FailureClass::WrongAnswer, true),
        }
        true
    }

    fn answered(&mut self, at: usize, piece: Piece, code: impl Fn(usize) -> Option<&'static str>) {
        let answers = (0..piece.entries.len()).map(|index| Answer {
            accepted: code(index).is_none(),
            code: code(index),
            message: None,
        });
        let outcomes = outcomes(piece.entries.len(), answers).expect("there is an answer for each");
        for (index, entry) in piece.entries.iter().enumerate() {
            if code(index).is_none() {
                self.sights.push(Sight::Delivered(entry.to_vec(), true));
            }
        }
        let before = self.accepted;
        let receipt = piece.receipt(&outcomes);
        self.accepted += receipt.entries;
        self.settled.extend(receipt.settled());
        drop(receipt);
        let after = self.deliveries[at].pieces.answered(piece, outcomes, before, self.accepted);
        self.give_up(after.given_up);
        self.end_if_done(at);
    }

    /// `stored`: the destination has it, and the answer was lost.
    fn failed(&mut self, at: usize, piece: Piece, class: FailureClass, stored: bool) {
        if stored {
            let payloads = piece.entries.iter().map(|entry| Sight::Delivered(entry.to_vec(), false));
            self.sights.extend(payloads);
        }
        let failure = Failure { class, code: "failure".into(), message: "simulated".into() };
        let after = self.deliveries[at].pieces.failed(piece, &failure, self.accepted);
        self.give_up(after.given_up);
        self.end_if_done(at);
    }

    /// The dead-letter file takes them at once.
    fn give_up(&mut self, entries: Vec<(Entry, String)>) {
        for (entry, _) in entries {
            self.sights.push(Sight::Dead(entry.to_vec()));
            let mut receipt = Receipt::default();
            receipt.add(&entry);
            self.settled.extend(receipt.settled());
        }
    }

    fn end_if_done(&mut self, at: usize) {
        if self.deliveries[at].pieces.is_empty() {
            self.deliveries.remove(at);
        }
    }

    /// Notes first, as the settle stage does it.
    pub fn hear(&mut self, wall: i64) {
        for note in std::mem::take(&mut self.notes) {
            self.waiting.extend(self.book.note(note, moment(wall)));
        }
        for settled in std::mem::take(&mut self.settled) {
            self.book.settle(settled);
        }
    }

    pub fn commit(&mut self, wall: i64, fails: bool) {
        let mut changes = self.book.changes();
        changes.durable = !self.waiting.is_empty();
        if fails {
            self.book.give_back(changes);
            return;
        }
        self.store.commit(&changes, time(wall)).unwrap();
        for row in &changes.rows {
            let over = row.known.state == TailState::Over;
            let (tail, offset, modified) = (row.known.tail, row.known.offset, row.known.modified_millis);
            self.sights.push(Sight::Row { tail, offset, modified, over });
        }
        std::mem::take(&mut self.waiting).iter().for_each(Stored::set);
        self.tailers.release_stored();
    }

    /// What the file threads do at a stop; what the others do if there is time.
    pub fn drain(&mut self, in_time: bool, wall: i64) {
        let now = self.now(wall);
        self.tailers.look_at_the_nameless(now);
        let mut rounds = Rounds::default();
        while self.tailers.only_nameless(now, &self.budget) {
            rounds.count("what only descriptors lead to is read");
            let turn = self.tailers.turn(now, &self.budget);
            self.pass_on(wall);
            if turn == Turn::Blocked {
                if !in_time {
                    break;
                }
                self.deliver_all(wall);
            }
        }
        if in_time {
            self.deliver_all(wall);
        }
        self.tailers.finish_deleted(now, &self.budget);
        self.tailers.take_changes();
        self.pass_on(wall);
        self.recorder.finish();
        if in_time {
            self.deliver_all(wall);
        }
        self.hear(wall);
    }

    pub fn deliver_all(&mut self, wall: i64) {
        let mut rounds = Rounds::default();
        while self.fill(usize::MAX, wall) | self.send() | self.answer(0, 0) {
            rounds.count("all is delivered");
        }
    }

    /// The flow ends, and one with the same files begins.
    pub fn reload(mut self, in_time: bool, wall: i64) -> Self {
        self.drain(in_time, wall);
        self.commit(wall, false);
        let resumed = resume(&mut self.store, &self.patterns, wall);
        let mut held: HeldFiles = self.tailers.into_held();
        let known = resumed.known.clone();
        self.tailers = tailers(self.setup, &self.patterns, self.ids.clone(), resumed);
        self.tailers.go_on_with(&mut held);
        self.listing = None;
        self.recorder = Recorder::new(record_options(self.setup), 64 << 10);
        self.blocks.clear();
        self.batcher = Batcher::new(&send_options(self.setup));
        self.deliveries.clear();
        self.book.remove_flow(KEY);
        self.book.add_flow(settler_flow(known), moment(wall));
        self.waiting.clear();
        self.started = wall;
        self
    }

    /// What is in memory, and how much may be. Bytes.
    pub fn memory(&self) -> (usize, usize) {
        (self.budget.used(), self.total)
    }

    pub fn copied(&self) -> usize {
        self.recorder.copies().held()
    }

    pub fn is_idle(&self) -> bool {
        let empty = self.blocks.is_empty() && self.deliveries.is_empty() && self.batcher.is_empty();
        empty && self.notes.is_empty() && self.settled.is_empty() && !self.tailers.has_turns()
    }
}

fn moment(wall: i64) -> Moment {
    Moment { uptime: wall, wall }
}

fn resume(store: &mut Store, patterns: &[String], wall: i64) -> Resumed {
    let patterns = Patterns::try_new(patterns, &[]).unwrap();
    let flow = FlowIdentity {
        key: KEY.into(),
        destination_prefix: "kinesis:stream#".into(),
        begins: true,
        matches: Box::new(move |tail| is_of(tail, &patterns)),
        lets_go: Box::new(|_| false),
    };
    store.resume(&[flow], time(wall)).unwrap().remove(0)
}

fn settler_flow(known: Vec<file::KnownTail>) -> SettlerFlow {
    SettlerFlow {
        key: KEY.into(),
        name: "flow".into(),
        destination: "kinesis:stream".into(),
        counters: Arc::default(),
        known,
    }
}

fn tailers(setup: Setup, patterns: &[String], ids: Arc<TailIds>, resumed: Resumed) -> Tailers {
    let options = file::Options {
        patterns: patterns.to_vec(),
        excludes: Vec::new(),
        initial_position: InitialPosition::EndOfFile,
        max_line_bytes: if setup.small_chunks { 128 } else { 1 << 20 },
        scan_interval: Duration::from_secs(10),
        use_events: false,
        finished_after: Duration::from_secs(30),
        in_order: setup.in_order,
        shares_memory: setup.in_order,
    };
    let first_start = resumed.first_start.duration_since(UNIX_EPOCH).unwrap();
    let past = Past {
        known: resumed.known,
        first_start_millis: i64::try_from(first_start.as_millis()).unwrap(),
        is_first_start: resumed.is_first,
    };
    let removed = Arc::<Removed>::default();
    removed.set_limit(Some(1 << 40));
    let parts = Parts {
        key: KEY.into(),
        flow: "flow".into(),
        ids,
        past,
        counters: Arc::default(),
        troubles: Arc::default(),
        removed,
        max_open: Arc::new(if setup.few_open { 1 } else { 1000 }.into()),
    };
    Tailers::try_new(options, parts).unwrap()
}

fn record_options(setup: Setup) -> record::Options {
    // A line begins with its number.
    let events = || MultiLine {
        start: regex::bytes::Regex::new("^[0-9]").unwrap(),
        flush_after: Duration::from_secs(1),
        max_bytes: 1024,
    };
    record::Options {
        multi_line: setup.events.then(events),
        skip_header_lines: 0,
        oversized: Oversized::Split,
        truncated_record_terminator: Vec::new(),
        max_record_bytes: 1 << 20,
        add_missing_newline: setup.packed,
    }
}

fn send_options(setup: Setup) -> send::Options {
    send::Options {
        destination: Destination::Kinesis("stream".into()),
        region: None,
        endpoint: None,
        credentials: Credentials::default(),
        network: kinesis_agent::send::Network::default(),
        in_order: false,
        aggregation: if setup.packed { Aggregation::Lines } else { Aggregation::None },
        aggregation_max_bytes: 100,
        aggregation_max_records: None,
        compression: None,
        partition_key: PartitionKey::Random,
        shard_limits: ShardLimits::default(),
        max_batch_entries: 4,
        max_batch_bytes: 400,
        max_age: Duration::from_secs(1),
        flush: Flush::Aged,
        retry_initial_backoff: Duration::from_millis(100),
        retry_max_backoff: Duration::from_secs(10),
        max_in_flight: 3,
    }
}
