//! The thread of one flow's file stage: waits for mail, looks at the folders when that is due,
//! reads in turns, and passes on what it finds. It may block on a disk; nothing else waits for it.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::budget::{FlowBudget, MAX_BUFFERS};
use super::handover::HeldFiles;
use super::mailbox::{Mail, Mailbox};
use super::note::{TailEvent, TailNote};
use super::tailers::Tailers;
use super::turns::Turn;
use super::watch::{Watch, Watched};
use crate::observe::{LossReason, Pulse, crash_point};

/// What is waiting in the channel is also held by the budget, so that the channel never fills
/// before it; the rest is for the events that hold no bytes.
pub const CHANNEL_CAPACITY: usize = 2 * MAX_BUFFERS;

/// How often a folder without events is looked at.
const POLLED_SCAN: Duration = Duration::from_secs(1);
/// How often the active files of a busy folder are looked at.
const BUSY_POLL: Duration = Duration::from_millis(5);
/// These looks may take one part in so many of the time.
const POLL_SHARE: u32 = 4;
/// A busy folder's files that changed within this time are its active ones.
const ACTIVE: Duration = Duration::from_secs(10);
/// A folder is calm again when at most a quarter of this many looks in a row found something.
const CALM_LOOKS: u32 = 400;
/// What is due with time is done this often.
const TEND: Duration = Duration::from_secs(1);
/// So many chunks of files with a backlog may wait for the next stage: what comes fresh to
/// another file waits behind them.
const AHEAD: usize = 4;
/// While they wait it is looked this often whether they still do.
const AHEAD_POLL: Duration = Duration::from_millis(4);
/// The mail is looked at after this many chunks.
const TURNS: usize = 64;
/// Scans may take one part in so many of the time: while events are healthy, and when one asks.
const SCAN_SHARE_HEALTHY: u32 = 200;
const SCAN_SHARE: u32 = 4;

#[derive(Debug)]
pub struct Stage {
    pub tailers: Tailers,
    pub mailbox: Arc<Mailbox>,
    pub watch: Arc<Watch>,
    pub budget: Arc<FlowBudget>,
    pub outlet: mpsc::Sender<TailEvent>,
    pub notes: mpsc::Sender<TailNote>,
    pub pulse: Arc<Pulse>,
    pub ahead: Ahead,
}

/// What the stage knows of time and folders.
struct Clockwork {
    started: Instant,
    scanned: Duration,
    scan_cost: Duration,
    tended: Duration,
    /// Folders that are polled because they have no events.
    polled: bool,
    folders: HashMap<PathBuf, bool>,
    busy: HashMap<PathBuf, Busy>,
    /// When the busy folders are looked at again.
    poll_due: Duration,
    blocked: bool,
}

/// How many chunks of backlogs wait in the channel to the next stage.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Events that were ever sent.
    sent: u64,
    /// Which of them were chunks of backlogs, as far as they are not taken yet.
    backlogs: VecDeque<u64>,
}

impl Ahead {
    fn sends(&mut self, event: &TailEvent) {
        self.sent += 1;
        if matches!(event, TailEvent::Chunk { caught_up: false, .. }) {
            self.backlogs.push_back(self.sent);
        }
    }

    /// `waiting` events are in the channel.
    fn count(&mut self, waiting: usize) -> usize {
        let taken = self.sent - waiting as u64;
        while self.backlogs.front().is_some_and(|&number| number <= taken) {
            self.backlogs.pop_front();
        }
        self.backlogs.len()
    }
}

#[derive(Default)]
struct Busy {
    looks: u32,
    finds: u32,
}

/// The stages behind are gone.
struct Closed;

impl Stage {
    /// Runs until it is told to stop, then as long as only an open descriptor keeps unread bytes.
    /// Gives back the files that are still open.
    pub fn run(mut self) -> HeldFiles {
        self.pulse.is_of_this_thread();
        let mut clock = Clockwork {
            started: Instant::now(),
            scanned: Duration::ZERO,
            scan_cost: Duration::ZERO,
            tended: Duration::ZERO,
            polled: !self.tailers.options.use_events,
            folders: HashMap::new(),
            busy: HashMap::new(),
            poll_due: Duration::ZERO,
            blocked: false,
        };
        let mut mail = Mail::default();
        loop {
            if mail.stop {
                self.drain(mail, &clock);
                return self.tailers.into_held();
            }
            if self.step(&mail, &mut clock).is_err() {
                return self.tailers.into_held();
            }
            let wait = self.until_next(&clock);
            self.pulse.rests();
            mail = self.mailbox.wait(wait);
            self.pulse.works();
        }
    }

    fn step(&mut self, mail: &Mail, clock: &mut Clockwork) -> Result<(), Closed> {
        let now = clock.started.elapsed();
        mail.written.iter().for_each(|path| self.tailers.written(path));
        mail.renamed.iter().for_each(|path| self.tailers.renamed(path));
        self.tailers.scan_due |= mail.overflow;
        self.tailers.counters.event_overflows.add(u64::from(mail.overflow));
        for folder in &mail.busy {
            tracing::debug!(flow = &*self.tailers.flow, folder = %folder.display(), "very many writes: the folder is polled until it calms down");
            self.watch.unwatch(folder);
            clock.busy.insert(folder.clone(), Busy::default());
            clock.folders.remove(folder);
        }
        if now >= self.next_scan(clock) {
            self.scan(clock);
        }
        self.tailers.release_stored();
        self.poll_busy(clock, now);
        let mut turns = 0;
        clock.blocked = false;
        while turns < TURNS {
            turns += 1;
            let waiting = self.outlet.max_capacity() - self.outlet.capacity();
            self.tailers.hold_backlogs = self.ahead.count(waiting) >= AHEAD;
            match self.tailers.turn(now, &self.budget) {
                Turn::Progress => self.pass_on()?,
                Turn::Idle => break,
                Turn::Blocked => {
                    clock.blocked = true;
                    break;
                }
            }
        }
        if now >= clock.tended + TEND || clock.tended.is_zero() {
            clock.tended = now.max(Duration::from_nanos(1));
            self.tailers.tend(now, &self.budget);
            self.tailers.take_changes();
        }
        self.tailers.tell_caught_up();
        self.pass_on()
    }

    fn pass_on(&mut self) -> Result<(), Closed> {
        if self.outlet.is_closed() {
            // Its flow has ended without it; the next one with this name has notes of its own.
            return Err(Closed);
        }
        self.pulse.rests();
        // The notes first: who gets a tail's bytes must find it known.
        while let Some(note) = self.tailers.notes.pop_front() {
            self.notes.blocking_send(note).map_err(|_| Closed)?;
        }
        while let Some(event) = self.tailers.events.pop_front() {
            crash_point("file.after_notes");
            self.ahead.sends(&event);
            self.outlet.blocking_send(event).map_err(|_| Closed)?;
        }
        self.pulse.works();
        Ok(())
    }

    fn scan(&mut self, clock: &mut Clockwork) {
        let before = clock.started.elapsed();
        let folders = self.tailers.scan(before, self.budget.used());
        clock.scanned = clock.started.elapsed();
        clock.scan_cost = clock.scanned - before;
        self.tailers.counters.scans.add(1);
        if !self.tailers.options.use_events {
            return;
        }
        clock.polled = false;
        for folder in &folders {
            clock.polled |= !self.is_watched(folder, clock);
        }
        clock.folders.retain(|folder, _| folders.binary_search(folder).is_ok());
    }

    /// Asks for the events of a folder. Whether there are any.
    fn is_watched(&mut self, folder: &Path, clock: &mut Clockwork) -> bool {
        if clock.busy.contains_key(folder) {
            return false;
        }
        // Asked again at each scan: a folder that was removed and made anew has lost its watch.
        let before = clock.folders.get(folder).copied();
        match self.watch.watch(folder, &self.mailbox) {
            Watched::Events => {
                if before != Some(true) {
                    // What came between the look and the watch was announced to nobody.
                    self.tailers.scan_due = true;
                }
                clock.folders.insert(folder.to_owned(), true);
                true
            }
            Watched::Polled(why) => {
                if before != Some(false) && folder.exists() {
                    tracing::warn!(
                        flow = &*self.tailers.flow, folder = %folder.display(), why,
                        "no file-system events for this folder; it is looked at every second instead (see fs.inotify.max_user_watches if a limit was reached)"
                    );
                }
                clock.folders.insert(folder.to_owned(), false);
                false
            }
        }
    }

    fn poll_busy(&mut self, clock: &mut Clockwork, now: Duration) {
        if clock.busy.is_empty() || now < clock.poll_due {
            return;
        }
        let mut calm = Vec::new();
        for (folder, busy) in &mut clock.busy {
            busy.looks += 1;
            busy.finds += u32::from(self.tailers.poll(folder, ACTIVE, now) > 0);
            if busy.looks >= CALM_LOOKS {
                if busy.finds * 4 <= busy.looks {
                    calm.push(folder.clone());
                }
                *busy = Busy::default();
            }
        }
        let after = clock.started.elapsed();
        clock.poll_due = after + BUSY_POLL.max((after - now) * POLL_SHARE);
        for folder in calm {
            clock.busy.remove(&folder);
            // The scan asks for its events again and finds what happened meanwhile.
            self.tailers.scan_due = true;
        }
    }

    fn next_scan(&self, clock: &Clockwork) -> Duration {
        if clock.scanned.is_zero() {
            return Duration::ZERO;
        }
        if self.tailers.scan_due {
            return clock.scanned + clock.scan_cost * SCAN_SHARE;
        }
        let (interval, share) = match clock.polled || !clock.busy.is_empty() {
            true => (self.tailers.options.scan_interval.min(POLLED_SCAN), SCAN_SHARE * 10),
            false => (self.tailers.options.scan_interval, SCAN_SHARE_HEALTHY),
        };
        clock.scanned + interval.max(clock.scan_cost * share)
    }

    /// How long nothing is due unless mail comes.
    fn until_next(&self, clock: &Clockwork) -> Duration {
        if self.tailers.has_turns() && !clock.blocked {
            return Duration::ZERO;
        }
        let mut next = self.next_scan(clock).min(clock.tended + TEND);
        let now = clock.started.elapsed();
        if !clock.busy.is_empty() {
            next = next.min(clock.poll_due);
        }
        if self.tailers.hold_backlogs {
            next = next.min(now + AHEAD_POLL);
        }
        next.saturating_sub(now)
    }

    /// Reads what only an open descriptor keeps, until there is nothing left or no more time.
    fn drain(&mut self, mut mail: Mail, clock: &Clockwork) {
        self.tailers.look_at_the_nameless(clock.started.elapsed());
        self.tailers.hold_backlogs = false;
        while !mail.abandon && self.tailers.only_nameless(clock.started.elapsed(), &self.budget) {
            let now = clock.started.elapsed();
            let turn = self.tailers.turn(now, &self.budget);
            if self.pass_on().is_err() {
                return;
            }
            let wait = if turn == Turn::Blocked { TEND } else { Duration::ZERO };
            self.pulse.rests();
            mail = self.mailbox.wait(wait);
            self.pulse.works();
        }
        if mail.keep && mail.abandon {
            return;
        }
        self.tailers.finish_deleted(clock.started.elapsed(), &self.budget);
        for (path, bytes) in self.tailers.unread_nameless() {
            self.tailers.counters.bytes_lost.add(LossReason::Shutdown.word(), bytes);
            tracing::error!(
                flow = &*self.tailers.flow, file = %path.display(), bytes,
                "the agent stops before it could read the rest of a file that was deleted or moved away: these bytes are lost"
            );
        }
        self.tailers.take_changes();
        // If the stages behind are gone there is nobody to tell.
        let _ = self.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Budget;
    use crate::file::options::{InitialPosition, Options};
    use crate::file::tailers::{Parts, Past, TailIds};
    use crate::observe::FlowCounters;

    /// A running stage over one folder.
    struct Running {
        folder: tempfile::TempDir,
        mailbox: Arc<Mailbox>,
        counters: Arc<FlowCounters>,
        thread: std::thread::JoinHandle<HeldFiles>,
        _behind: (mpsc::Receiver<TailEvent>, mpsc::Receiver<TailNote>),
    }

    /// Reads `*.log` with a budget of so many bytes.
    fn start(folder: tempfile::TempDir, budget: usize) -> Running {
        let options = Options {
            patterns: vec![format!("{}/*.log", folder.path().display())],
            excludes: Vec::new(),
            initial_position: InitialPosition::EndOfFile,
            max_line_bytes: 1 << 20,
            scan_interval: Duration::from_secs(10),
            use_events: false,
            finished_after: Duration::from_secs(30),
            in_order: false,
            shares_memory: false,
        };
        let (mailbox, counters) = (Arc::<Mailbox>::default(), Arc::<FlowCounters>::default());
        let parts = Parts {
            key: "key".into(),
            flow: "flow".into(),
            ids: Arc::new(TailIds::starting_at(1)),
            past: Past { known: Vec::new(), first_start_millis: 0, is_first_start: false },
            counters: counters.clone(),
            troubles: Arc::default(),
            max_open: Arc::new(100.into()),
            removed: Arc::default(),
        };
        let (outlet, events) = mpsc::channel(100);
        let (notes, notes_end) = mpsc::channel(100);
        let stage = Stage {
            tailers: Tailers::try_new(options, parts).unwrap(),
            mailbox: mailbox.clone(),
            watch: Watch::new(),
            budget: Budget::new(budget, 1).flow(),
            outlet,
            notes,
            pulse: Arc::default(),
            ahead: Ahead::default(),
        };
        let thread = std::thread::spawn(move || stage.run());
        Running { folder, mailbox, counters, thread, _behind: (events, notes_end) }
    }

    #[test]
    fn chunks_of_backlogs_are_counted_until_they_are_taken() {
        let chunk = |caught_up| TailEvent::Chunk {
            chunk: crate::file::Chunk::new(crate::file::TailId(1), 0, bytes::Bytes::new(), 0),
            end: crate::file::ChunkEnd::Line,
            caught_up,
        };
        let mut ahead = Ahead::default();
        for caught_up in [false, true, false, true, true] {
            ahead.sends(&chunk(caught_up));
        }
        assert_eq!([5, 4, 3, 2].map(|waiting| ahead.count(waiting)), [2, 1, 1, 0]);
        ahead.sends(&chunk(false));
        assert_eq!([3, 1, 0].map(|waiting| ahead.count(waiting)), [1, 1, 0]);
    }

    #[track_caller]
    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < until, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_overflow_of_events_is_counted_and_makes_it_look() {
        let stage = start(tempfile::tempdir().unwrap(), 1 << 20);
        std::fs::write(stage.folder.path().join("a.log"), "1\n").unwrap();
        stage.mailbox.overflow();
        wait_until("the file is not read", || stage.counters.bytes_read.get() == 2);
        wait_until("the overflow is not counted", || stage.counters.event_overflows.get() == 1);
        stage.mailbox.stop();
        stage.thread.join().unwrap();
    }

    #[test]
    fn what_a_stop_leaves_unread_of_a_deleted_file_is_counted_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.log");
        std::fs::write(&file, "never read\n").unwrap();
        let stage = start(folder, 0);
        wait_until("the file is not found", || stage.counters.files_followed.get() == 1);
        std::fs::remove_file(&file).unwrap();
        stage.mailbox.renamed(&file);
        wait_until("it is not missed", || stage.counters.rotations.words().contains_key("removed"));
        stage.mailbox.abandon();
        stage.thread.join().unwrap();
        assert_eq!(stage.counters.bytes_lost.words(), [("shutdown", 11)].into());
    }
}
