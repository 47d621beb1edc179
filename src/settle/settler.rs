//! The task of this stage: hears who the tails are and what of them is settled, stores it
//! several times a second, and writes what is given up.
//!
//! Notes are always heard before what is settled, since a tail must be known before its first
//! bytes count. The database and the dead-letter file block, so they are written on threads of
//! their own while the task goes on listening. It ends when everybody who tells it something
//! is gone, after a last commit.

use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::arrivals::Moment;
use super::book::Book;
use super::dead_letters::{DeadLetterError, DeadLetters, Letter};
use super::resume::{FlowIdentity, Resumed};
use super::store::{Changes, Store, StoreError};
use crate::file::{KnownTail, Settled, Stored, TailNote};
use crate::observe::survey::Question;
use crate::observe::{Checkpoints, FlowCounters, Repeated, crash_point};
use crate::record::Dead;
use crate::send::{DeadLetter, Entry, Part, Records};

/// A commit follows the one before after this, or so much later that commits take one part in
/// [`COMMIT_SHARE`] of the time: what is not stored is sent again after a crash.
const COMMIT_SOONEST: Duration = Duration::from_millis(250);
const COMMIT_LATEST: Duration = Duration::from_secs(1);
const COMMIT_SHARE: u32 = 50;
const TICK: Duration = Duration::from_secs(1);
const BACKUP_EVERY: Duration = Duration::from_secs(600);
/// How often rows say that their files are still there.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Until then the file stage has said which files are gone.
const FIRST_HOUSEKEEPING: Duration = Duration::from_secs(3600);
/// How often a dead-letter file that could not be written is tried again.
const LETTERS_RETRY: Duration = Duration::from_secs(10);
/// While so many letters wait, no more are taken in.
const MAX_LETTERS: usize = 500;

/// A flow, as this stage knows it. Notes and letters name it by its key.
#[derive(Debug)]
pub struct SettlerFlow {
    pub key: Arc<str>,
    pub name: String,
    /// For the dead-letter file.
    pub destination: String,
    pub counters: Arc<FlowCounters>,
    /// What [`Store::resume`] gave out for it.
    pub known: Vec<KnownTail>,
}

/// What each flow goes on from, in the order in which it was asked.
pub type FlowsResumed = Result<Vec<Resumed>, Arc<StoreError>>;

/// Flows that end and flows that begin, at one moment. Those that end have said all they will.
#[derive(Debug)]
pub struct FlowChange {
    pub removed: Vec<Arc<str>>,
    /// All that are configured from now on.
    pub flows: Vec<FlowIdentity>,
    /// The new ones among them, of which nothing is known here yet.
    pub added: Vec<SettlerFlow>,
    /// Gets what each of `flows` goes on from. If it fails nothing is changed.
    pub reply: oneshot::Sender<FlowsResumed>,
}

/// Where the stage hears from the others.
#[derive(Debug)]
pub struct Inlets {
    pub notes: mpsc::Receiver<TailNote>,
    pub settled: mpsc::Receiver<Vec<Settled>>,
    /// Entries that were given up.
    pub dead: mpsc::Receiver<DeadLetter>,
    /// Lines that are too long to be sent, with the keys of their flows.
    pub oversized: mpsc::Receiver<(Arc<str>, Dead)>,
    pub changes: mpsc::Receiver<FlowChange>,
    /// What somebody wants to know of the files.
    pub questions: mpsc::Receiver<Question>,
}

/// How the stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether the last commit succeeded.
    pub stored: bool,
    /// Entries that could not be written to the dead-letter file; the next start reads them
    /// again.
    pub unwritten_letters: usize,
}

/// The bell is rung when a start position was stored, so that the file stage looks again.
pub type Bell = Box<dyn Fn() + Send + Sync>;

pub struct Settler {
    book: Book,
    commits: Commits,
    letters: Letters,
    bell: Bell,
    checkpoints: Arc<Checkpoints>,
    began: Instant,
    /// Waits until nothing is being written.
    change: Option<FlowChange>,
}

struct Commits {
    /// Not there while it is written to.
    store: Option<Store>,
    running: Option<JoinHandle<Committed>>,
    /// Set when the next commit succeeds, which must be durable then.
    waiting: Vec<Stored>,
    /// Set when the commit that is running succeeds.
    written: Vec<Stored>,
    /// The next commit is not begun before this.
    due: Instant,
    began: Instant,
    backup_due: Instant,
    housekeeping_due: Instant,
    failures: Repeated,
}

struct Committed {
    store: Store,
    changes: Changes,
    result: Result<(), Arc<StoreError>>,
    backup: Result<(), StoreError>,
    change: Option<(FlowChange, FlowsResumed)>,
}

struct Letters {
    file: DeadLetters,
    waiting: Vec<Letter>,
    running: Option<JoinHandle<Written>>,
    retry_at: Option<Instant>,
    failures: Repeated,
}

struct Written {
    letters: Vec<Letter>,
    count: usize,
    error: Option<DeadLetterError>,
}

impl Settler {
    pub fn new(
        store: Store,
        dead_letters: DeadLetters,
        flows: Vec<SettlerFlow>,
        bell: Bell,
        checkpoints: Arc<Checkpoints>,
    ) -> Self {
        let now = Instant::now();
        let commits = Commits {
            store: Some(store),
            running: None,
            waiting: Vec::new(),
            written: Vec::new(),
            due: now,
            began: now,
            backup_due: now + BACKUP_EVERY,
            housekeeping_due: now + FIRST_HOUSEKEEPING,
            failures: Repeated::default(),
        };
        let letters = Letters {
            file: dead_letters,
            waiting: Vec::new(),
            running: None,
            retry_at: None,
            failures: Repeated::default(),
        };
        Settler {
            book: Book::new(flows, moment(now)),
            commits,
            letters,
            bell,
            checkpoints,
            began: now,
            change: None,
        }
    }

    /// Runs until all inlets are closed and empty, or until `abandon` is cancelled.
    pub async fn run(mut self, mut inlets: Inlets, abandon: CancellationToken) -> Summary {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut notes, mut dead, mut oversized, mut settled) = (true, true, true, true);
        while notes || dead || oversized || settled {
            if self.change.is_some() {
                self.hear_out(&mut inlets);
                self.commit_change();
            }
            let room = self.letters.waiting.len() < MAX_LETTERS;
            tokio::select! {
                biased;
                // First, since an operator waits, and since it changes nothing.
                Some(question) = inlets.questions.recv() => self.answer(question),
                note = inlets.notes.recv(), if notes => match note {
                    Some(note) => self.note(note),
                    None => notes = false,
                },
                () = abandon.cancelled() => break,
                done = finished(&mut self.commits.running) => self.committed(done),
                done = finished(&mut self.letters.running) => self.letters_written(done),
                _ = tick.tick() => self.tick(),
                () = sleep_until(self.commits.due), if self.commits.store.is_some() && self.book.is_dirty() => {
                    self.commit();
                }
                Some(change) = inlets.changes.recv(), if self.change.is_none() => self.change = Some(change),
                letter = inlets.dead.recv(), if dead && (room || inlets.dead.is_closed()) => match letter {
                    Some(letter) => self.give_up(letter),
                    None => dead = false,
                },
                line = inlets.oversized.recv(), if oversized && (room || inlets.oversized.is_closed()) => match line {
                    Some((flow, line)) => self.give_up(letter_of(flow, line)),
                    None => oversized = false,
                },
                spans = inlets.settled.recv(), if settled => match spans {
                    Some(spans) => {
                        while let Ok(note) = inlets.notes.try_recv() {
                            self.note(note);
                        }
                        self.settle(spans);
                    }
                    None => settled = false,
                },
            }
            if self.book.is_dirty() {
                self.checkpoints.wait();
            }
        }
        self.hear_out(&mut inlets);
        self.end().await
    }

    /// Takes in what has been said so far.
    fn hear_out(&mut self, inlets: &mut Inlets) {
        while let Ok(note) = inlets.notes.try_recv() {
            self.note(note);
        }
        while let Ok(settled) = inlets.settled.try_recv() {
            self.settle(settled);
        }
        while let Ok(letter) = inlets.dead.try_recv() {
            self.give_up(letter);
        }
        while let Ok((flow, line)) = inlets.oversized.try_recv() {
            self.give_up(letter_of(flow, line));
        }
    }

    fn note(&mut self, note: TailNote) {
        if let Some(stored) = self.book.note(note, moment(self.began)) {
            self.commits.waiting.push(stored);
            self.commit();
        }
    }

    fn answer(&self, question: Question) {
        if question.reply.is_closed() {
            return;
        }
        // The flows are shown with their files, and should not contradict them.
        self.book.update_lag(moment(self.began));
        let page = self.book.files(&question.query, moment(self.began));
        // Whoever asked may have stopped waiting.
        let _ = question.reply.send(page);
    }

    fn settle(&mut self, settled: Vec<Settled>) {
        for settled in settled {
            self.book.settle(settled);
        }
    }

    fn tick(&mut self) {
        let due = self.commits.housekeeping_due.min(self.commits.backup_due);
        if Instant::now() >= due {
            self.commit();
        }
        self.book.update_lag(moment(self.began));
        self.write_letters();
    }

    /// Starts a commit of all that is not stored, unless one is running: the next begins when
    /// that is done if somebody waits for it, else with the next tick.
    fn commit(&mut self) {
        self.commit_with(None);
    }

    /// Starts the commit with which flows end and begin, unless something is still being
    /// written: letters that cannot be written now are written when the flow is there again.
    fn commit_change(&mut self) {
        let letters_wait = !self.letters.waiting.is_empty() && self.letters.retry_at.is_none();
        if self.commits.store.is_some() && self.letters.running.is_none() && !letters_wait {
            let change = self.change.take();
            self.commit_with(change);
        }
    }

    fn commit_with(&mut self, change: Option<FlowChange>) {
        let Some(mut store) = self.commits.store.take() else { return };
        let now = Instant::now();
        self.commits.began = now;
        self.book.update_lag(moment(self.began));
        let housekeeping = now >= self.commits.housekeeping_due;
        let backup = now >= self.commits.backup_due;
        let mut changes = self.book.changes();
        changes.durable = !self.commits.waiting.is_empty();
        if housekeeping {
            changes.seen = self.book.present();
            self.commits.housekeeping_due = now + HOUSEKEEPING_EVERY;
        }
        if backup {
            self.commits.backup_due = now + BACKUP_EVERY;
        }
        self.checkpoints.begin();
        self.commits.written = take(&mut self.commits.waiting);
        self.commits.running = Some(tokio::task::spawn_blocking(move || {
            let time = SystemTime::now();
            let start = changes.durable;
            crash_point(if start { "settle.before_start_position" } else { "settle.before_commit" });
            let mut result = store.commit(&changes, time);
            crash_point(if start { "settle.after_start_position" } else { "settle.after_commit" });
            if housekeeping && result.is_ok() {
                result = store.purge(time).map(|_| ());
            }
            let backup = if backup && result.is_ok() { store.backup() } else { Ok(()) };
            let result = result.map_err(Arc::new);
            let change = change.map(|change| {
                // What was settled last must be in the rows that are resumed.
                let resumed =
                    result.clone().and_then(|()| store.resume(&change.flows, time).map_err(Arc::new));
                (change, resumed)
            });
            Committed { store, changes, result, backup, change }
        }));
    }

    fn committed(&mut self, done: Committed) {
        self.commits.store = Some(done.store);
        let now = Instant::now();
        let pause = ((now - self.commits.began) * COMMIT_SHARE).clamp(COMMIT_SOONEST, COMMIT_LATEST);
        self.commits.due = now + if done.result.is_ok() { pause } else { COMMIT_LATEST };
        let written = take(&mut self.commits.written);
        if let Err(problem) = done.backup {
            warn!(%problem, "the backup copy of the checkpoint file could not be made, the checkpoints themselves are stored; it is tried again in 10 minutes; check the space and the permissions of the state folder");
        }
        match done.result {
            Ok(()) => {
                self.checkpoints.stored(self.book.is_dirty());
                for stored in &written {
                    stored.set();
                }
                if !written.is_empty() {
                    (self.bell)();
                }
                if !self.commits.waiting.is_empty() {
                    self.commit();
                }
            }
            Err(problem) => {
                self.book.give_back(done.changes);
                self.checkpoints.failed(problem.to_string());
                self.commits.waiting.extend(written);
                if let Some(more) = self.commits.failures.ask("commit", self.began.elapsed()) {
                    error!(
                        %problem,
                        more_since_the_last_such_line = more,
                        "checkpoints cannot be stored; delivery goes on, but lines are sent again if the agent is \
                         restarted now; it is tried again each second; check the disk and its permissions"
                    );
                }
            }
        }
        if let Some((change, resumed)) = done.change {
            self.changed(change, resumed);
        }
    }

    fn changed(&mut self, change: FlowChange, resumed: FlowsResumed) {
        if let Ok(resumed) = &resumed {
            change.removed.iter().for_each(|key| self.book.remove_flow(key));
            for flow in change.added {
                let (key, now) = (flow.key.clone(), moment(self.began));
                self.book.add_flow(flow, now);
                let at = change.flows.iter().position(|identity| *identity.key == *key);
                let known = at.map_or(&[][..], |at| &resumed[at].known);
                self.book.open_all(&key, known, now);
            }
            // Were the backup used, it should know of the new flows' first starts.
            self.commits.backup_due = Instant::now();
        }
        // Whoever asked may have stopped waiting because the agent ends.
        let _ = change.reply.send(resumed);
    }

    fn give_up(&mut self, letter: DeadLetter) {
        let (name, destination) = match self.book.flow(&letter.flow) {
            Some(page) => (page.name.clone(), page.destination.clone()),
            None => (letter.flow.to_string(), String::new()),
        };
        let path = |part: &Part| {
            self.book.path(part.chunk.tail).map_or_else(PathBuf::new, |path| path.to_path_buf())
        };
        let parts = letter.entry.parts.into_iter().map(|part| (path(&part), part)).collect();
        let records = letter.entry.records.into();
        let (key, reason) = (letter.flow, letter.reason);
        let partition_key = letter.entry.key.map(|key| key.text);
        let letter = Letter { key, flow: name, destination, reason, parts, partition_key, records };
        self.letters.waiting.push(letter);
        self.write_letters();
    }

    /// Starts to write the letters that wait. Those that come meanwhile share the next fsync.
    fn write_letters(&mut self) {
        let letters = &mut self.letters;
        let early = letters.retry_at.is_some_and(|at| Instant::now() < at);
        if letters.waiting.is_empty() || letters.running.is_some() || early {
            return;
        }
        let (file, waiting) = (letters.file.clone(), take(&mut letters.waiting));
        letters.running = Some(tokio::task::spawn_blocking(move || {
            let (count, error) = file.write(&waiting, SystemTime::now());
            Written { letters: waiting, count, error }
        }));
    }

    fn letters_written(&mut self, mut done: Written) {
        let rest = done.letters.split_off(done.count);
        for letter in &done.letters {
            self.settle(letter.settled().collect());
            if let Some(page) = self.book.flow(&letter.key) {
                page.counters.records_dead.add(letter.records);
            }
        }
        self.letters.waiting.splice(0..0, rest);
        self.letters.retry_at = done.error.is_some().then(|| Instant::now() + LETTERS_RETRY);
        if let Some(problem) = done.error
            && let Some(more) = self.letters.failures.ask("dead letters", self.began.elapsed())
        {
            error!(
                %problem,
                waiting = self.letters.waiting.len(),
                more_since_the_last_such_line = more,
                "records that the destination refuses wait, and so do their files, until the dead-letter file \
                 can be written; it is tried again every 10 seconds; make room, or move the file away"
            );
        }
        self.write_letters();
    }

    async fn end(mut self) -> Summary {
        self.letters.retry_at = None;
        loop {
            if self.letters.running.is_some() {
                let done = finished(&mut self.letters.running).await;
                let failed = done.error.is_some();
                self.letters_written(done);
                if failed {
                    break;
                }
            } else if self.letters.waiting.is_empty() {
                break;
            }
            self.write_letters();
        }
        while self.commits.running.is_some() {
            let done = finished(&mut self.commits.running).await;
            self.committed(done);
        }
        crash_point("settle.before_last_commit");
        self.commits.housekeeping_due = Instant::now();
        self.commit();
        let last = finished(&mut self.commits.running).await;
        let stored = last.result.is_ok();
        self.committed(last);
        if stored {
            info!("the positions of all files are stored for the next start");
        }
        Summary { stored, unwritten_letters: self.letters.waiting.len() }
    }
}

/// Now, as the book counts time.
fn moment(began: Instant) -> Moment {
    Moment::new(began.elapsed(), SystemTime::now())
}

/// Waits for ever where nothing is running. Cancelling it loses nothing.
async fn finished<T>(running: &mut Option<JoinHandle<T>>) -> T {
    let Some(handle) = running else { return std::future::pending().await };
    let result = handle.await;
    *running = None;
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn letter_of(flow: Arc<str>, dead: Dead) -> DeadLetter {
    let records = Records::one(dead.payload.len());
    let part = Part { chunk: dead.chunk, span: dead.span, payload: dead.payload, records };
    DeadLetter { flow, entry: Entry::of(part, 1), reason: dead.reason.into() }
}

#[cfg(test)]
#[path = "settler_tests.rs"]
mod tests;
