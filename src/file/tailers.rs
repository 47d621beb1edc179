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
use super::chunk::TailId;
use super::identity::{FileKey, Verdict};
use super::listing::{Entries, Places, home_of};
use super::lives::newest_lives;
use super::note::{KnownTail, TailEvent, TailNote, TailState};
use super::options::Options;
use super::pattern::{PatternError, Patterns};
use super::removed::Removed;
use super::rotation::{Seen, is_sibling, origins};
use super::succession::Succession;
use super::tail::Tail;
use super::tails::Tails;
use crate::observe::{FlowCounters, Repeated, Troubles};

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
    /// Those of them that were known when the last look began: the copies of all others may have
    /// been made behind it.
    pub(super) cut_before: BTreeSet<TailId>,
    /// Folders into which rotation was seen to move files, by the folder that they came from.
    pub(super) old_folders: HashMap<PathBuf, BTreeSet<PathBuf>>,
    /// The homes whose files were renamed, removed or replaced since the last look, or were gone
    /// already then.
    pub(super) rotated: HashSet<Arc<Path>>,
    /// The homes of what began in the present look: what was listed there may have been copied and cut
    /// before it was opened.
    pub(super) begun: HashSet<Arc<Path>>,
    /// What the folders held when the present look began.
    pub(super) entries: HashMap<PathBuf, Arc<Entries>>,
    /// Files that may be copies of what begins in the present look.
    pub(super) copies: Vec<Seen>,
    /// When the tails that ended since the last look were known to be written, by their homes: what
    /// is older was no file between two looks.
    pub(super) departed: HashMap<Arc<Path>, i64>,
    /// The folders that the last look went through.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Files that hold something else than they did at the last look, and where they were first.
    pub(super) reborn: HashMap<FileKey, Arc<Path>>,
    /// Those of them that were open all the time, and are empty: no copies that got an inode that
    /// was free.
    pub(super) emptied: HashSet<FileKey>,
    /// Files of the flow that could not be read yet, and where they were first.
    pub(super) forbidden: HashMap<FileKey, Arc<Path>>,
    /// Files that may be copies in the making, and since when.
    pub(super) held: HashMap<FileKey, Duration>,
    /// Files that other files were still being compressed into, and when their families were known
    /// to be written when they were first seen.
    pub(super) compressing: HashMap<FileKey, Option<i64>>,
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
    /// Whether it was taken for such a one only because names never rest.
    pub(super) impatient: bool,
    /// Until a look has seen all since the start: what was written later than this, in milliseconds
    /// since the epoch, may have come and gone while the agent was away.
    pub(super) away_since: Option<i64>,
    /// Since when each look found names that moved while it was taken.
    pub(super) moving_since: Option<Duration>,
    pub(super) queue: VecDeque<TailId>,
    /// Those that are known to have more than was read in their last turn: they take turns with
    /// the queue, so that neither waits for all of the other.
    pub(super) backlogs: VecDeque<TailId>,
    pub(super) backlog_is_next: bool,
    pub(super) backlog_was_last: bool,
    /// How many in a row were not read since they hold their share of the memory.
    pub(super) put_off: usize,
    /// One of them was read up to its share, and nobody was told yet.
    pub(super) reached_share: bool,
    /// In one of the two.
    pub(super) queued: HashSet<TailId>,
    /// Could not be opened or read: tried again after the next scan.
    pub(super) failed: Vec<TailId>,
    /// Their start position is not stored yet.
    pub(super) waiting: Vec<TailId>,
    /// Enough of the backlogs is on its way: only what is fresh has a turn.
    pub hold_backlogs: bool,
    /// The one compressed body that is being read: each costs memory beside the budget.
    pub(super) unpacking: Option<TailId>,
    /// Those that wait until it is read; the oldest comes first.
    pub(super) to_unpack: BTreeSet<TailId>,
    pub(super) succession: Succession,
    /// A look at the folders is due.
    pub scan_due: bool,
    pub events: VecDeque<TailEvent>,
    pub notes: VecDeque<TailNote>,
    pub(super) counters: Arc<FlowCounters>,
    pub(super) complaints: Repeated,
    pub(super) troubles: Arc<Troubles>,
    pub(super) max_open: Arc<AtomicUsize>,
    pub(super) removed: Arc<Removed>,
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
            cut_before: BTreeSet::new(),
            old_folders: HashMap::new(),
            rotated: HashSet::new(),
            begun: HashSet::new(),
            entries: HashMap::new(),
            copies: Vec::new(),
            departed: HashMap::new(),
            folders: BTreeSet::new(),
            reborn: HashMap::new(),
            emptied: HashSet::new(),
            forbidden: HashMap::new(),
            held: HashMap::new(),
            compressing: HashMap::new(),
            compressions: HashMap::new(),
            strangers: HashMap::new(),
            awaited: HashMap::new(),
            attic: Attic::default(),
            scanned: false,
            sure: false,
            impatient: false,
            moving_since: None,
            away_since: None,
            queue: VecDeque::new(),
            backlogs: VecDeque::new(),
            backlog_is_next: false,
            backlog_was_last: false,
            hold_backlogs: false,
            put_off: 0,
            reached_share: false,
            queued: HashSet::new(),
            failed: Vec::new(),
            waiting: Vec::new(),
            unpacking: None,
            to_unpack: BTreeSet::new(),
            succession: Succession::default(),
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
            let path = tail.path.clone();
            self.tails.insert(tail);
            // What was rotated there meanwhile is looked for there, too.
            self.remember_old_folder(id, &path);
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
}

/// The one of these files that rotation may have made `path` from.
fn rotated_from(path: &Path, files: &HashSet<Arc<Path>>) -> Option<Arc<Path>> {
    let homes = origins(path.file_name()?).into_iter().map(|name| path.with_file_name(name));
    homes.into_iter().find_map(|home| files.get(&*home).cloned())
}

/// Opens the tail's file if it is not, and looks at it. False if it is another file's content.
pub(super) fn open(tail: &mut Tail, now: Duration) -> io::Result<bool> {
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
#[path = "tailers_tests/mod.rs"]
mod tests;
