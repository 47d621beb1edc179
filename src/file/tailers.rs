//! All tails of one flow: which are read next, and what becomes of them while they are read.
//!
//! It does I/O on the files of its tails alone; what it finds out it leaves in `events` and
//! `notes`, for its stage to pass on. It has no thread and no clock, so that a test can lead it
//! step by step. How it acts on what a look at the folders shows stands in `scan`.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::attic::Attic;
use super::body::{Body, is_compressed};
use super::budget::FlowBudget;
use super::chunk::{Chunk, TailId};
use super::identity::{FileKey, Verdict, verify};
use super::listing::{Places, home_of};
use super::lives::newest_lives;
use super::note::{ChunkEnd, KnownTail, Lost, TailEvent, TailNote, TailState};
use super::options::Options;
use super::pattern::{PatternError, Patterns};
use super::removed::{Removed, Space};
use super::rotation::{Seen, is_sibling, origins};
use super::scan::holds_what_was_read;
use super::tail::{Read, Tail};
use super::tails::Tails;
use crate::observe::{FlowCounters, LossReason, Repeated, Troubles, crash_point};

/// A file that is read to its end and was quiet for so long is closed, and verified when it
/// is opened again.
const IDLE: Duration = Duration::from_secs(60);

/// A file that no known name leads to cannot be opened again: it is let go when it was quiet for
/// so long.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Gives every tail of the agent a number of its own, for ever.
#[derive(Debug)]
pub struct TailIds(AtomicU64);

impl TailIds {
    /// `next` was never given out.
    pub fn starting_at(next: u64) -> Self {
        TailIds(AtomicU64::new(next))
    }

    pub fn next(&self) -> TailId {
        TailId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// What was stored of a flow, or what stands for it the first time.
#[derive(Clone, Debug)]
pub struct Past {
    pub known: Vec<KnownTail>,
    /// When the flow was first started, in milliseconds since the epoch.
    pub first_start_millis: i64,
    /// Whether that is now.
    pub is_first_start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There may be more to read.
    Progress,
    /// Everything that is known to be there has been read.
    Idle,
    /// The budget is short.
    Blocked,
}

#[derive(Debug)]
pub struct Tailers {
    pub(super) options: Options,
    pub(super) patterns: Patterns,
    /// What the flow's rows are stored under.
    pub(super) key: Arc<str>,
    /// For the logs.
    pub(super) flow: Arc<str>,
    pub(super) ids: Arc<TailIds>,
    pub(super) past: Past,
    pub(super) tails: Tails,
    /// Tails whose file no longer holds what was read from it: settled at the next scan.
    pub(super) foreign: BTreeSet<TailId>,
    /// Folders into which rotation was seen to move files, by the folder that they came from.
    pub(super) old_folders: HashMap<PathBuf, BTreeSet<PathBuf>>,
    /// The homes whose files were renamed, removed or replaced since the last look, or were gone
    /// already then.
    pub(super) rotated: HashSet<Arc<Path>>,
    /// When the tails that ended since the last look were known to be written, by their homes: what
    /// is older was no file between two looks.
    pub(super) departed: HashMap<Arc<Path>, i64>,
    /// The folders that the last look went through.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Files that hold something else than they did at the last look.
    pub(super) reborn: HashSet<FileKey>,
    /// Files of the flow that could not be read yet, and where they were first.
    pub(super) forbidden: HashMap<FileKey, Arc<Path>>,
    /// Files that may be copies in the making, and since when.
    pub(super) held: HashMap<FileKey, Duration>,
    /// Compressed files that hold what an open file does, which may be deleted by now.
    pub(super) compressions: HashMap<TailId, Seen>,
    /// Files that were there at the last scan and are no tail's: as they were then.
    pub(super) strangers: HashMap<FileKey, Seen>,
    /// Absent tails whose bytes may be in a file that cannot be read, and since when.
    pub(super) awaited: HashMap<TailId, Duration>,
    pub(super) attic: Attic,
    pub(super) scanned: bool,
    /// Whether the last look saw all that was there.
    pub(super) sure: bool,
    /// Until a look has seen all since the start: what was written later than this, in milliseconds
    /// since the epoch, may have come and gone while the agent was away.
    pub(super) away_since: Option<i64>,
    /// Since when each look found names that moved while it was taken.
    pub(super) moving_since: Option<Duration>,
    queue: VecDeque<TailId>,
    /// Those that are known to have more than was read in their last turn: they take turns with
    /// the queue, so that neither waits for all of the other.
    backlogs: VecDeque<TailId>,
    backlog_is_next: bool,
    backlog_was_last: bool,
    /// In one of the two.
    queued: HashSet<TailId>,
    /// Could not be opened or read: tried again after the next scan.
    failed: Vec<TailId>,
    /// Their start position is not stored yet.
    waiting: Vec<TailId>,
    /// Enough of the backlogs is on its way: only what is fresh has a turn.
    pub hold_backlogs: bool,
    /// The one compressed body that is being read: each costs memory beside the budget.
    unpacking: Option<TailId>,
    /// Those that wait until it is read; the oldest comes first.
    to_unpack: BTreeSet<TailId>,
    /// A look at the folders is due.
    pub scan_due: bool,
    pub events: VecDeque<TailEvent>,
    pub notes: VecDeque<TailNote>,
    pub(super) counters: Arc<FlowCounters>,
    pub(super) complaints: Repeated,
    pub(super) troubles: Arc<Troubles>,
    max_open: Arc<AtomicUsize>,
    removed: Arc<Removed>,
    /// How many are open, as far as is known without counting.
    pub(super) open_files: usize,
}

/// What the stage of a flow is made of, beside its options.
#[derive(Debug)]
pub struct Parts {
    /// What the flow's rows are stored under.
    pub key: Arc<str>,
    /// For the logs.
    pub flow: Arc<str>,
    pub ids: Arc<TailIds>,
    pub past: Past,
    pub counters: Arc<FlowCounters>,
    pub troubles: Arc<Troubles>,
    /// How many files a flow may hold open for longer than it reads them.
    pub max_open: Arc<AtomicUsize>,
    /// What the deleted files of all flows hold.
    pub removed: Arc<Removed>,
}

/// An open file of a flow that has ended, for one that goes on with it: no name may lead to it.
#[derive(Debug)]
pub struct HeldFile {
    pub path: PathBuf,
    /// What nobody could read any more without it.
    pub nameless_bytes: u64,
    body: Body,
}

pub type HeldFiles = HashMap<FileKey, HeldFile>;

impl Tailers {
    pub fn try_new(options: Options, parts: Parts) -> Result<Self, PatternError> {
        let patterns = Patterns::try_new(&options.patterns, &options.excludes)?;
        let mut tailers = Tailers {
            options,
            patterns,
            key: parts.key,
            flow: parts.flow,
            ids: parts.ids,
            past: parts.past,
            tails: Tails::default(),
            foreign: BTreeSet::new(),
            old_folders: HashMap::new(),
            rotated: HashSet::new(),
            departed: HashMap::new(),
            folders: BTreeSet::new(),
            reborn: HashSet::new(),
            forbidden: HashMap::new(),
            held: HashMap::new(),
            compressions: HashMap::new(),
            strangers: HashMap::new(),
            awaited: HashMap::new(),
            attic: Attic::default(),
            scanned: false,
            sure: false,
            moving_since: None,
            away_since: None,
            queue: VecDeque::new(),
            backlogs: VecDeque::new(),
            backlog_is_next: false,
            backlog_was_last: false,
            hold_backlogs: false,
            queued: HashSet::new(),
            failed: Vec::new(),
            waiting: Vec::new(),
            unpacking: None,
            to_unpack: BTreeSet::new(),
            scan_due: true,
            events: VecDeque::new(),
            notes: VecDeque::new(),
            counters: parts.counters,
            complaints: Repeated::default(),
            troubles: parts.troubles,
            max_open: parts.max_open,
            removed: parts.removed,
            open_files: 0,
        };
        tailers.away_since = tailers.past.away_since();
        let known = std::mem::take(&mut tailers.past.known);
        tailers.take_up(newest_lives(known));
        Ok(tailers)
    }

    fn take_up(&mut self, all: Vec<KnownTail>) {
        let live = all.iter().filter(|known| known.state == TailState::Live);
        let live: HashSet<Arc<Path>> = live.map(|known| known.path.clone()).collect();
        for mut known in all {
            let home = match known.state {
                TailState::Live => known.path.clone(),
                // A file that a link leads to matches no pattern.
                _ => rotated_from(&known.path, &live).unwrap_or_else(|| home_of(&known.path, &self.patterns)),
            };
            let unread = known.size > known.offset;
            let was_cut = known.size < known.offset.max(known.identity.head_length.into())
                && !is_compressed(&known.path);
            if unread && known.state == TailState::Finished {
                // It was read to its end, but not all of that was settled.
                known.state = TailState::Rotated;
            }
            let id = known.tail;
            let mut tail = Tail::new(known, home, Duration::ZERO);
            tail.known_modified_millis = Some(tail.modified_millis);
            self.tails.insert(tail);
            // A file that was seen to be cut is no other than then: no look finds it changed.
            if unread || was_cut {
                self.enqueue(id);
            }
        }
        // Where no file was at the stop, one may have been born and rotated away since.
        self.rotated = self.tails.take_vacant_homes();
    }

    #[cfg(test)]
    pub fn tails(&self) -> impl Iterator<Item = &Tail> {
        self.tails.iter()
    }

    /// Whether rotation may have made `path` from the file at `home`.
    pub(super) fn leads_to(&self, path: &Path, home: &Path) -> bool {
        let (Some(name), Some(home_name)) = (path.file_name(), home.file_name()) else { return false };
        let (Some(folder), Some(home_folder)) = (path.parent(), home.parent()) else { return false };
        let old = || self.old_folders.get(home_folder).is_some_and(|folders| folders.contains(folder));
        (folder == home_folder || old()) && origins(name).iter().any(|origin| origin == home_name)
    }

    /// The paths that rotation may have made `path` from.
    pub(super) fn possible_homes(&self, path: &Path) -> Vec<PathBuf> {
        let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else { return Vec::new() };
        let came_from =
            self.old_folders.iter().filter(|(_, old)| old.contains(folder)).map(|(from, _)| from.as_path());
        let folders: Vec<&Path> = came_from.chain([folder]).collect();
        let names = origins(name);
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).collect()
    }

    /// The tails that rotation may have made `path` from.
    pub(super) fn family(&self, path: &Path) -> Vec<TailId> {
        let homes = self.possible_homes(path);
        homes.iter().flat_map(|home| self.tails.family(home)).collect()
    }

    /// The tails without a name that rotation may have made `path` from under any of the names
    /// that it gives: a file that was first seen as `app.log.1` is in `app.log.2.gz` by now.
    pub(super) fn nameless_siblings(&self, path: &Path) -> Vec<TailId> {
        self.tails.lively_where(|tail| tail.is_nameless() && is_sibling(path, &tail.path))
    }

    /// Where a look at the folders finds what is known.
    pub(super) fn places(&self) -> Places<'_> {
        Places {
            tails: &self.tails,
            rotated: &self.rotated,
            forbidden: &self.forbidden,
            old_folders: &self.old_folders,
            away: self.away_since.is_some(),
        }
    }

    /// Tells the counters whether anything is left to be read as far as is known.
    pub fn tell_caught_up(&self) {
        let nothing_left = !self.has_turns() && self.waiting.is_empty();
        let caught_up = self.scanned && !self.scan_due && nothing_left;
        self.counters.caught_up.store(caught_up, Ordering::Release);
    }

    pub fn enqueue(&mut self, id: TailId) {
        if self.tails.contains(id) && self.queued.insert(id) {
            self.queue.push_back(id);
        }
    }

    /// A file of this name was written to.
    pub fn written(&mut self, path: &Path) {
        match self.tails.at(path).map(|tail| tail.id) {
            Some(id) => self.enqueue(id),
            None => self.scan_due |= self.patterns.matches(path),
        }
    }

    /// Something came to this name or went from it.
    pub fn renamed(&mut self, path: &Path) {
        let concerns_us = self.tails.at(path).is_some()
            || self.patterns.matches(path)
            || !self.family(path).is_empty()
            || self.folders.contains(path)
            || path.is_dir();
        self.scan_due |= concerns_us;
    }

    /// Reads one chunk of the tail whose turn it is.
    pub fn turn(&mut self, now: Duration, budget: &Arc<FlowBudget>) -> Turn {
        let Some(id) = self.take_turn() else {
            return if self.has_turns() { Turn::Blocked } else { Turn::Idle };
        };
        self.queued.remove(&id);
        let Some(tail) = self.tails.get(id) else { return Turn::Progress };
        if !tail.may_be_read() {
            // The settle stage wakes us once the position is stored.
            self.waiting.push(id);
        } else if !self.foreign.contains(&id) && !tail.absent {
            if self.may_unpack(id) {
                return self.read(id, now, budget);
            }
            self.to_unpack.insert(id);
        }
        Turn::Progress
    }

    fn read(&mut self, id: TailId, now: Duration, budget: &Arc<FlowBudget>) -> Turn {
        let max_line = self.options.max_line_bytes;
        let Some(tail) = self.tails.get_mut(id) else { return Turn::Progress };
        let was_open = tail.is_open();
        let read = match open(tail, now) {
            Ok(true) if tail.position == 0 && !tail.announced && tail.size > 0 => {
                match tail.first_written() {
                    Ok(0) => tail.read(max_line, budget),
                    Ok(written) => {
                        self.skip_hole(id, written, now);
                        return Turn::Progress;
                    }
                    Err(error) => Err(error),
                }
            }
            Ok(true) => tail.read(max_line, budget),
            Ok(false) => Ok(Read::Foreign),
            Err(error) => Err(error),
        };
        if !was_open && tail.is_open() && !tail.deleted {
            self.open_files += 1;
            // The one that is unpacked must stay open to be finished, or the others would wait for ever.
            if self.open_files > self.max_open.load(Ordering::Relaxed) && self.unpacking != Some(id) {
                tail.close();
                self.open_files -= 1;
            }
        }
        if matches!(read, Ok(Read::Chunk { .. } | Read::CaughtUp)) && !self.troubles.is_empty() {
            self.troubles.mended(&tail.path);
        }
        self.act_on_read(id, read, now, budget)
    }

    fn act_on_read(
        &mut self,
        id: TailId,
        read: io::Result<Read>,
        now: Duration,
        budget: &Arc<FlowBudget>,
    ) -> Turn {
        match read {
            Ok(Read::Chunk { chunk, end, caught_up }) => self.give_out(id, chunk, end, caught_up),
            // Nothing is ever added to a compressed file.
            Ok(Read::CaughtUp) if self.unpacking == Some(id) => self.finish(id, now, budget, true),
            Ok(Read::CaughtUp) => {}
            Ok(Read::NoBudget) => {
                self.queued.insert(id);
                match self.backlog_was_last {
                    true => self.backlogs.push_front(id),
                    false => self.queue.push_front(id),
                }
                self.backlog_is_next = self.backlog_was_last;
                return Turn::Blocked;
            }
            Ok(Read::Foreign) => {
                self.foreign.insert(id);
                self.scan_due = true;
            }
            Err(error) => self.read_failed(id, &error, now),
        }
        Turn::Progress
    }

    fn take_turn(&mut self) -> Option<TailId> {
        let of_backlogs = self.backlog_is_next || self.queue.is_empty();
        if of_backlogs
            && !self.hold_backlogs
            && let Some(id) = self.backlogs.pop_front()
        {
            (self.backlog_is_next, self.backlog_was_last) = (false, true);
            return Some(id);
        }
        (self.backlog_is_next, self.backlog_was_last) = (true, false);
        self.queue.pop_front()
    }

    fn give_out(&mut self, id: TailId, chunk: Chunk, end: ChunkEnd, caught_up: bool) {
        crash_point("tail.after_read");
        self.counters.bytes_read.add(chunk.span.len());
        self.announce(id);
        if let Some(tail) = self.tails.get_mut(id) {
            // The status shows how far the file is read.
            tail.note_due = true;
        }
        self.events.push_back(TailEvent::Chunk { chunk, end, caught_up });
        if self.unpacking == Some(id) && caught_up {
            self.enqueue(id);
        } else if !caught_up && self.queued.insert(id) {
            self.backlogs.push_back(id);
            self.backlog_is_next = false;
        }
    }

    /// Whether the tail may be read now: a plain file always, a compressed one alone.
    pub(super) fn may_unpack(&mut self, id: TailId) -> bool {
        let is_packed = |id: &TailId| {
            self.tails
                .get(*id)
                .is_some_and(|tail| is_compressed(&tail.path) && tail.state != TailState::Finished)
        };
        if !is_packed(&id) {
            return true;
        }
        if self.unpacking.is_none_or(|other| !is_packed(&other)) {
            self.unpacking = Some(id);
        }
        self.unpacking == Some(id)
    }

    /// The tail's body was closed: the next compressed one may be read.
    fn unpacked(&mut self, id: TailId) {
        if self.unpacking == Some(id) {
            self.unpacking = None;
            std::mem::take(&mut self.to_unpack).into_iter().for_each(|id| self.enqueue(id));
        }
    }

    /// The stages behind hear of a tail before its first bytes.
    pub(super) fn announce(&mut self, id: TailId) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        if !tail.announced {
            tail.announced = true;
            let (path, start) = (tail.path.clone(), tail.start);
            self.events.push_back(TailEvent::Opened { tail: id, path, start });
        }
    }

    fn read_failed(&mut self, id: TailId, error: &io::Error, now: Duration) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        tail.close();
        self.unpacked(id);
        self.failed.push(id);
        if error.kind() == io::ErrorKind::NotFound {
            self.scan_due = true;
            return;
        }
        let Some(file) = self.tails.get(id).map(|tail| tail.path.clone()) else { return };
        self.complain(&file, now, &error.to_string());
    }

    /// One line a minute for each kind of trouble, however many files have it.
    pub(super) fn complain(&mut self, file: &Path, now: Duration, error: &str) {
        self.troubles.failed(file, error);
        if let Some(suppressed) = self.complaints.ask(error, now) {
            tracing::warn!(
                flow = &*self.flow, file = %file.display(), error, suppressed,
                "a file cannot be read; its position stays where it is and it is tried again at each scan; check the agent's permissions"
            );
        }
    }

    /// Tails that could not be read are tried again. What nobody complained of since the last
    /// look, and nobody has yet to try, is no trouble any more.
    pub(super) fn retry_failed(&mut self) {
        if !self.troubles.is_empty() {
            let untried = self
                .failed
                .iter()
                .chain(&self.queue)
                .chain(&self.backlogs)
                .filter_map(|id| self.tails.get(*id));
            untried.for_each(|tail| self.troubles.remains(&tail.path));
        }
        self.troubles.end_round();
        for id in std::mem::take(&mut self.failed) {
            self.enqueue(id);
        }
    }

    /// Tails whose start position has been stored meanwhile may be read.
    pub fn release_stored(&mut self) {
        let tails = &self.tails;
        let is_stored = |id: &TailId| tails.get(*id).is_none_or(Tail::may_be_read);
        let (stored, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(is_stored);
        self.waiting = waiting;
        let stored: Vec<TailId> = stored;
        stored.into_iter().for_each(|id| self.enqueue(id));
    }

    pub fn has_turns(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Does what is due with time: finishes rotated and deleted files that were quiet for long
    /// enough, closes idle ones.
    pub fn tend(&mut self, now: Duration, budget: &Arc<FlowBudget>) {
        self.look_at_the_nameless(now);
        self.bound_the_removed(now);
        let quiet_for = self.options.finished_after;
        let finished = self.tails.lively_where(|tail| {
            tail.is_open()
                && (tail.deleted || tail.state == TailState::Rotated)
                && now.saturating_sub(tail.changed_at) >= quiet_for
                && !self.queued.contains(&tail.id)
        });
        for id in finished {
            if !self.foreign.contains(&id) {
                self.finish(id, now, budget, true);
            }
        }
        self.close_idle(now);
        self.tails.calm_down();
    }

    /// No event announces what is written to a file without a name.
    pub fn look_at_the_nameless(&mut self, now: Duration) {
        self.look_at_those(Tail::is_nameless, now);
    }

    /// Those that wait for their turn may have been looked at since the folders were: then nothing in
    /// a folder shows that a file was cut meanwhile.
    pub(super) fn verify_those_that_wait(&mut self, now: Duration) {
        for id in &self.queued {
            let tail = self.tails.get_mut(*id).filter(|tail| tail.is_open() && !is_compressed(&tail.path));
            if tail.is_some_and(|tail| !holds_what_was_read(tail, now)) {
                self.foreign.insert(*id);
            }
        }
    }

    /// Looks at the open files of the lively tails for which `wanted` holds; how many changed.
    fn look_at_those(&mut self, wanted: impl Fn(&Tail) -> bool, now: Duration) -> usize {
        let mut changed = 0;
        for id in self.tails.lively_where(wanted) {
            let Some(tail) = self.tails.get_mut(id) else { continue };
            if matches!(tail.look(now), Ok(true) | Err(_)) {
                self.enqueue(id);
                changed += 1;
            }
        }
        changed
    }

    /// Deleted files may hold only so much of a disk.
    fn bound_the_removed(&mut self, now: Duration) {
        let mut holds: Vec<(TailId, Space)> = Vec::new();
        for tail in self.tails.lively().filter(|tail| tail.deleted) {
            match tail.held_space() {
                Ok(space) => holds.extend(space.map(|space| (tail.id, space))),
                Err(error) => tracing::debug!(file = %tail.path.display(), %error, "its size is not known"),
            }
        }
        self.counters.removed_bytes.set(holds.iter().map(|(_, space)| space.bytes).sum());
        let verdict = self.removed.hold(&self.key, &holds);
        if let Some(fill) = verdict.nearly_full
            && let Some(suppressed) = self.complaints.ask("deleted files", now)
        {
            tracing::warn!(
                flow = &*self.flow,
                bytes = fill.bytes,
                limit = fill.limit,
                suppressed,
                "deleted files that are not read to their ends hold much of the disk; beyond the limit the oldest are let go and what is unread of them is lost; find out why delivery is behind, or raise `maxOpenRemovedBytes`"
            );
        }
        for id in verdict.let_go {
            let Some(tail) = self.tails.get(id) else { continue };
            let unread = tail.unread();
            tracing::error!(
                flow = &*self.flow, file = %tail.path.display(), bytes = unread,
                "a deleted file is let go before it was read to its end, since deleted files hold more of the disk than `maxOpenRemovedBytes` allows: these bytes are lost"
            );
            self.end(id, Lost::of(unread, LossReason::Space));
        }
    }

    /// Sends the unterminated last line of a finished file; then `lets_go` of a deleted one.
    fn finish(&mut self, id: TailId, now: Duration, budget: &Arc<FlowBudget>, lets_go: bool) {
        let max_line = self.options.max_line_bytes;
        let Some(tail) = self.tails.get_mut(id).filter(|tail| tail.is_open()) else { return };
        if !tail.may_be_read() || !matches!(tail.look(now), Ok(false)) {
            self.enqueue(id);
            return;
        }
        // Complete lines first: what is left then has no newline.
        let read = match tail.read(max_line, budget) {
            Ok(Read::CaughtUp) => tail.read_rest(budget),
            other => other,
        };
        let (deleted, out_of_sight, packed) = (tail.deleted, tail.out_of_sight, is_compressed(&tail.path));
        match read {
            Ok(Read::Chunk { chunk, end, caught_up }) => {
                self.give_out(id, chunk, end, caught_up);
            }
            // Only a look at the folders shows its compression.
            Ok(Read::CaughtUp) if deleted && lets_go && out_of_sight => self.let_go(id, now),
            Ok(Read::CaughtUp) if deleted || (out_of_sight && !packed) => {}
            Ok(Read::CaughtUp) => match self.goes_on_compressed(id, now) {
                Ok(true) => {}
                Ok(false) => self.put_away(id),
                Err(error) => self.read_failed(id, &error, now),
            },
            Ok(Read::NoBudget) => {}
            Ok(Read::Foreign) => {
                self.foreign.insert(id);
                self.scan_due = true;
            }
            Err(error) => self.read_failed(id, &error, now),
        }
    }

    /// Goes on in a compressed file that holds what was read and more: the tail's own was a copy of
    /// less, as somebody makes one by hand.
    fn goes_on_compressed(&mut self, id: TailId, now: Duration) -> io::Result<bool> {
        let Some(packed) = self.compressions.remove(&id) else { return Ok(false) };
        let Some(tail) = self.tails.get(id).filter(|tail| tail.state == TailState::Rotated) else {
            return Ok(false);
        };
        let mut body = match open_file(&packed.path, packed.key) {
            Ok(Some(body)) => body,
            // Without it there is no more.
            _ => return Ok(false),
        };
        let holds_it = verify(&mut body, &tail.identity, tail.ladder())? == Verdict::Same;
        let more = holds_it && body.available(tail.position, 1)?.is_some_and(|more| more.bytes > 0);
        Ok(more && self.take_over(id, &packed, now)? == Some(true))
    }

    /// A deleted file was read to its end. Its compression must not be taken for another file, but
    /// it may hold more.
    fn let_go(&mut self, id: TailId, now: Duration) {
        let goes_on = match self.compressions.remove(&id) {
            Some(packed) => self.take_over(id, &packed, now),
            None => Ok(Some(false)),
        };
        match goes_on {
            Ok(Some(true)) => {}
            // The next look finds it where it is by then.
            Ok(None) => self.scan_due = true,
            // Its row says how far it is settled, should we be killed before the rest is.
            Ok(Some(false)) => self.give_up(id, None),
            Err(error) => self.read_failed(id, &error, now),
        }
    }

    /// A rotated file that was read to its end: only looked at from now on.
    fn put_away(&mut self, id: TailId) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        tail.close();
        if is_compressed(&tail.path) {
            tail.state = TailState::Finished;
            tail.note_due = true;
            self.unpacked(id);
        }
    }

    /// The tail's life is over.
    pub(super) fn end(&mut self, id: TailId, lost: Option<Lost>) {
        if self.remove(id) {
            self.notes.push_back(TailNote::Ended { tail: id, lost });
        }
    }

    /// The tail's file was not found.
    pub(super) fn give_up(&mut self, id: TailId, lost: Option<Lost>) {
        if self.remove(id) {
            self.notes.push_back(TailNote::Gone { tail: id, lost });
        }
    }

    fn remove(&mut self, id: TailId) -> bool {
        let Some(tail) = self.tails.remove(id) else { return false };
        self.foreign.remove(&id);
        self.compressions.remove(&id);
        self.unpacked(id);
        if let Some(known) = tail.known_modified_millis {
            let latest = self.departed.entry(tail.home.clone()).or_insert(known);
            *latest = known.max(*latest);
        }
        if tail.announced {
            self.events.push_back(TailEvent::Ended { tail: id });
        }
        true
    }

    /// Closes files that are read to their ends: those that were quiet for long, and, where too
    /// many are open, those that were quiet for longest.
    fn close_idle(&mut self, now: Duration) {
        let mut idle: Vec<(Duration, TailId)> = Vec::new();
        let mut open = 0_usize;
        for tail in self.tails.lively().filter(|tail| tail.is_open()) {
            open += 1;
            let in_use = self.queued.contains(&tail.id) || self.unpacking == Some(tail.id);
            if tail.unread() == 0 && !tail.deleted && !in_use {
                idle.push((tail.changed_at, tail.id));
            }
        }
        self.open_files = open;
        self.counters.files_followed.set(self.tails.len() as u64);
        idle.sort_unstable();
        let too_many = open.saturating_sub(self.max_open.load(Ordering::Relaxed));
        for (number, (changed_at, id)) in idle.into_iter().enumerate() {
            let out_of_sight = self.tails.get(id).is_some_and(|tail| tail.out_of_sight);
            let idle = if out_of_sight { FORGOTTEN } else { IDLE };
            if number >= too_many && now.saturating_sub(changed_at) < idle {
                continue;
            }
            if let Some(tail) = self.tails.get_mut(id) {
                tail.close();
                self.open_files -= 1;
            }
        }
        self.counters.open_files.set(self.open_files as u64);
    }

    /// Looks at the open files in `folder` that changed lately; how many changed.
    pub fn poll(&mut self, folder: &Path, lately: Duration, now: Duration) -> usize {
        let active = |tail: &Tail| tail.is_open() && now.saturating_sub(tail.changed_at) < lately;
        self.look_at_those(|tail| active(tail) && tail.path.parent() == Some(folder), now)
    }

    /// Notes of what changed since they were last taken. What is seen of a file that is no longer
    /// the tail's says nothing of the tail, and the next run has to find it changed.
    pub fn take_changes(&mut self) {
        for id in self.tails.lively_where(|tail| tail.note_due) {
            let is_foreign = self.foreign.contains(&id);
            let Some(tail) = self.tails.get_mut(id) else { continue };
            tail.note_due = false;
            let known = if is_foreign { tail.known_for_sure() } else { tail.known() };
            self.notes.push_back(TailNote::Changed { known });
        }
    }

    /// Whether one more file may stay open.
    pub(super) fn may_stay_open(&self) -> bool {
        self.open_files < self.max_open.load(Ordering::Relaxed)
    }

    /// When no more is read: the last lines of deleted files that were read to their ends. They
    /// are not let go: what was read of them may not be settled in time, and what holds their
    /// bytes may be found by whoever goes on.
    pub fn finish_deleted(&mut self, now: Duration, budget: &Arc<FlowBudget>) {
        for id in self.tails.lively_where(|tail| tail.is_open() && tail.deleted) {
            self.finish(id, now, budget, false);
        }
    }

    /// From now on only files are read that no later start could find again: deleted ones, and
    /// those that were moved out of sight. Whether there are any left.
    pub fn only_nameless(&mut self) -> bool {
        let tails = &self.tails;
        let nameless = |id: &TailId| tails.get(*id).is_some_and(Tail::is_nameless);
        self.queue.retain(nameless);
        self.backlogs.retain(nameless);
        self.queued.retain(nameless);
        self.has_turns()
    }

    /// The open files, for the flow that goes on with them.
    pub fn into_held(self) -> HeldFiles {
        self.removed.hold(&self.key, &[]);
        let held = self.tails.into_all().filter_map(|tail| {
            let (key, path) = (tail.key(), tail.path.to_path_buf());
            let nameless_bytes = if tail.is_nameless() { tail.unread() } else { 0 };
            Some((key, HeldFile { path, nameless_bytes, body: tail.into_body()? }))
        });
        held.collect()
    }

    /// Goes on with those of the open files that are tails of this flow.
    pub fn go_on_with(&mut self, held: &mut HeldFiles) {
        if held.is_empty() {
            return;
        }
        let known: Vec<(TailId, FileKey)> = self.tails.iter().map(|tail| (tail.id, tail.key())).collect();
        for (id, key) in known {
            let (Some(file), Some(tail)) = (held.remove(&key), self.tails.get_mut(id)) else { continue };
            match tail.take_over(file.body, Duration::ZERO) {
                Ok(true) => {
                    self.open_files += 1;
                    self.enqueue(id);
                }
                // The first look finds out what became of it.
                Ok(false) => {}
                Err(error) => tracing::debug!(file = %file.path.display(), %error, "cannot be read on"),
            }
        }
    }

    /// Files without a name that have unread bytes, and how many, when the agent must stop.
    pub fn unread_nameless(&self) -> Vec<(PathBuf, u64)> {
        let unread = self.tails.lively().filter(|tail| tail.is_nameless() && tail.unread() > 0);
        unread.map(|tail| (tail.path.to_path_buf(), tail.unread())).collect()
    }
}

/// The one of these files that rotation may have made `path` from.
fn rotated_from(path: &Path, files: &HashSet<Arc<Path>>) -> Option<Arc<Path>> {
    let homes = origins(path.file_name()?).into_iter().map(|name| path.with_file_name(name));
    homes.into_iter().find_map(|home| files.get(&*home).cloned())
}

/// Opens the tail's file if it is not, and looks at it. False if it is another file's content.
fn open(tail: &mut Tail, now: Duration) -> io::Result<bool> {
    if !tail.is_open() {
        match tail.open()? {
            Some(Verdict::Same) => {}
            Some(_) => return Ok(false),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
    }
    tail.look(now)?;
    Ok(true)
}

/// A body of a file at `path`, if it is the one with this key.
pub(super) fn open_file(path: &Path, key: FileKey) -> io::Result<Option<Body>> {
    let (body, metadata) = Body::open(path)?;
    Ok((super::identity::file_key(&metadata) == key).then_some(body))
}

#[cfg(test)]
#[path = "tailers_tests.rs"]
mod tests;
