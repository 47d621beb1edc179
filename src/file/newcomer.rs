//! What is done with a file that is no tail's: whether it is a copy of one, a generation that was
//! born and rotated away between two looks, or a file of its own, and where reading begins in it.
//!
//! Where a file cannot be told from a copy it is held back, but not for ever.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::attic::is_as_listed;
use super::body::{Body, is_compressed, is_unpackable};
use super::chunk::TailId;
use super::identity::is_copy_so_far;
use super::listing::{Listing, home_of};
use super::note::{Identity, KnownTail, Stored, TailNote, TailState};
use super::options::InitialPosition;
use super::replaced::holds_what_was_read;
use super::rotation::{Seen, is_sibling};
use super::tail::Tail;
use super::tailers::{Past, Tailers, open_file};
use crate::observe::{LossReason, RotationKind};

/// A file's time may be a little behind the clock that the first start was read from.
const CLOCK_SLACK_MILLIS: i64 = 2000;
/// What a look found is stored within this time.
const STORED_WITHIN_MILLIS: i64 = 60_000;
/// How long a file is held back because it may be a copy in the making.
const HELD: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// At the first byte.
    Beginning,
    /// At this offset, where a line begins.
    At(u64),
    /// Behind the last complete line before this offset, or before the end.
    Before(u64),
}

impl Past {
    /// Whether the file was there before the flow.
    pub fn was_there(&self, seen: &Seen, at_first_look: bool) -> bool {
        let at_first_start = self.is_first_start && at_first_look;
        at_first_start || seen.modified_millis + CLOCK_SLACK_MILLIS < self.first_start_millis
    }

    /// Since when files may have come and gone unseen, unless the flow is new or nothing is known
    /// of its past.
    pub fn away_since(&self) -> Option<i64> {
        let began = !self.is_first_start && self.first_start_millis > 0;
        let latest = self.known.iter().map(|known| known.modified_millis).max();
        began.then(|| latest.map_or(0, |latest| latest - STORED_WITHIN_MILLIS))
    }
}

impl Tailers {
    /// A file that is no tail's. Whether it is to be looked at as a new one next time too.
    pub(super) fn appeared(&mut self, seen: &Seen, listing: &Listing, now: Duration) -> bool {
        if is_compressed(&seen.path) && !is_unpackable(&seen.path) {
            return self.cannot_be_unpacked(seen, listing);
        }
        let mut family = self.family(&seen.path);
        let reborn = self.reborn.contains_key(&seen.key);
        let matched = seen.matched || self.forbidden.contains_key(&seen.key);
        let own = (matched || reborn) && !is_compressed(&seen.path);
        // What was held back is judged by what was known when it came.
        let was_held = self.held.contains_key(&seen.key) && !is_compressed(&seen.path);
        if !own && !was_held && !self.is_generation(seen, &family, listing) {
            return false;
        }
        if is_compressed(&seen.path) && listing.has(&seen.path.with_extension("")) {
            // It is being compressed right now: its origin is still there. It is judged by what was
            // known when it came: the file that took the origin's place is younger.
            let known = self.known_of(seen, &family);
            self.compressing.entry(seen.key).or_insert(known);
            return true;
        }
        if is_compressed(&seen.path) {
            family.extend(self.nameless_siblings(&seen.path));
        }
        // An emptied file that is written to again is no copy, though it is the beginning of all.
        let is_known = if self.emptied.contains(&seen.key) {
            Ok(false)
        } else {
            self.is_known_content(seen, &family, now)
        };
        match is_known {
            Ok(true) if !self.held_for_too_long(seen, now) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.left_its_name(seen, now);
                return true;
            }
            Err(error) => {
                self.cannot_read(seen, &error, now);
                return true;
            }
        }
        self.held.remove(&seen.key);
        if !own {
            self.count_rotation(RotationKind::Unseen);
            tracing::info!(
                flow = &*self.flow, file = %seen.path.display(),
                "a file was born and rotated away between two looks; it is read from 0"
            );
        }
        let start = if own && !reborn { self.start_of(seen) } else { Start::Beginning };
        self.begin(seen, start, now);
        true
    }

    /// What was compressed while the agent was stopped may hold lines that nobody has read. Whether
    /// it is still being compressed.
    fn cannot_be_unpacked(&mut self, seen: &Seen, listing: &Listing) -> bool {
        let family = self.family(&seen.path);
        // What was only compressed since is as old as it was when it was read.
        let is_news = self.last_written(seen, &family).is_none_or(|latest| latest < seen.modified_millis);
        if self.away_since.is_none() || !is_news || !self.is_generation(seen, &family, listing) {
            return false;
        }
        if listing.has(&seen.path.with_extension("")) {
            return true;
        }
        tracing::error!(
            flow = &*self.flow, file = %seen.path.display(), bytes = seen.size,
            "a file was rotated and compressed while the agent was stopped, in a way that it cannot read: what is in it and was not delivered before is lost; compress with gzip or zstd, and use logrotate's delaycompress"
        );
        self.counters.bytes_lost.add(LossReason::Unreadable.word(), seen.size);
        false
    }

    /// Whether the file holds nothing but bytes of another one that begins at this look, and whose
    /// name it may be derived from. The next look holds it against that one's tail.
    pub(super) fn is_copy_of_newcomer(&self, seen: &Seen, newcomers: &HashMap<&Path, &Seen>) -> bool {
        let homes = self.possible_homes(&seen.path);
        let origins = homes.iter().filter_map(|home| newcomers.get(home.as_path()));
        let mut origins = origins.filter(|other| other.matched && other.key != seen.key);
        // What cannot be opened here is dealt with where it begins.
        let is_copy = |origin: &Seen| -> io::Result<bool> {
            let (Some(mut copy), Some(mut origin)) =
                (open_file(&seen.path, seen.key)?, open_file(&origin.path, origin.key)?)
            else {
                return Ok(false);
            };
            is_copy_so_far(&mut copy, &mut origin)
        };
        origins.any(|origin| is_copy(origin).unwrap_or(false) || self.may_be_cut_since(origin, seen))
    }

    /// Whether the newcomer at `origin` may have been cut since it was listed, so that only `copy`
    /// holds what it was. What the patterns match is read in any case.
    fn may_be_cut_since(&self, origin: &Seen, copy: &Seen) -> bool {
        !copy.matched
            && origin.size > 0
            && !is_compressed(&copy.path)
            && copy.modified_millis >= origin.modified_millis
            && matches!(self.start_of(origin), Start::Beginning)
            && !is_as_listed(origin)
    }

    /// A file that cannot be told from a copy is sent all the same after a while: better twice
    /// than not at all.
    fn held_for_too_long(&mut self, seen: &Seen, now: Duration) -> bool {
        if self.scanned && !self.held.contains_key(&seen.key) {
            self.count_rotation(match is_compressed(&seen.path) {
                true => RotationKind::Compressed,
                false => RotationKind::Copied,
            });
        }
        let since = *self.held.entry(seen.key).or_insert(now);
        if is_compressed(&seen.path) || seen.size == 0 || now.saturating_sub(since) < HELD {
            return false;
        }
        tracing::warn!(
            flow = &*self.flow, file = %seen.path.display(), bytes = seen.size,
            "the file holds the same bytes as the beginning of another and does not change; it is sent although it may be a copy; exclude copies by excludePattern"
        );
        self.counters.bytes_repeated.add(seen.size);
        true
    }

    /// While the agent was away, a file of any name that is the flow's may have been rotated, also
    /// of one of which nothing is stored yet.
    pub(super) fn doubt_homes(&mut self, appeared: &[Seen]) {
        if self.away_since.is_none() {
            return;
        }
        let bodies = appeared.iter().filter(|seen| !seen.matched || is_compressed(&seen.path));
        let homes = bodies.flat_map(|seen| self.possible_homes(&seen.path));
        let homes = homes.filter(|home| self.tails.is_home(home) || self.patterns.matches(home));
        let homes: Vec<Arc<Path>> = homes.map(Into::into).collect();
        self.rotated.extend(homes);
    }

    /// Whether a file outside the patterns may be one that had the name of a tail between two
    /// looks: its name says so, the tail's file was rotated since the last look, and it was not
    /// written earlier than any of the family was known to be. The times of files move in steps.
    fn is_generation(&self, seen: &Seen, family: &[TailId], listing: &Listing) -> bool {
        let is_rotated = || {
            let homes = self.possible_homes(&seen.path);
            homes.iter().any(|home| self.rotated.contains(home.as_path()))
        };
        let known = match self.compressing.get(&seen.key) {
            Some(known) => *known,
            None if is_rotated() => self.known_of(seen, family),
            None => return false,
        };
        known.is_none_or(|latest| latest <= seen.modified_millis)
            && seen.modified_millis + CLOCK_SLACK_MILLIS >= self.past.first_start_millis
            && !self.is_stranger(seen)
            && !self.is_of_stranger(seen, listing)
            && !self.patterns.excluded(&seen.path)
    }

    /// What a generation is not older than.
    fn known_of(&self, seen: &Seen, family: &[TailId]) -> Option<i64> {
        self.last_written(seen, family).or(self.away_since)
    }

    /// When the family was known to be written last.
    fn last_written(&self, seen: &Seen, family: &[TailId]) -> Option<i64> {
        let homes = self.possible_homes(&seen.path);
        let departed = homes.iter().filter_map(|home| self.departed.get(home.as_path()).copied());
        let present = family.iter().filter_map(|id| self.tails.get(*id)?.known_modified_millis);
        present.chain(departed).max()
    }

    /// Whether the file was there at the last look and no tail's. One that was written to since may
    /// be another file with its inode.
    fn is_stranger(&self, seen: &Seen) -> bool {
        self.strangers.get(&seen.key).is_some_and(|known| known.looks_like(seen))
    }

    /// Whether the file was compressed from one that was there before the flow, and is gone: it is as
    /// old.
    fn is_of_stranger(&self, seen: &Seen, listing: &Listing) -> bool {
        let is_its = |known: &Seen| {
            known.modified_millis == seen.modified_millis
                && !is_compressed(&known.path)
                && is_sibling(&known.path, &seen.path)
                && listing.find(known.key).is_none_or(|now| now.modified_millis != known.modified_millis)
        };
        let may_be_older = seen.modified_millis <= self.past.first_start_millis + CLOCK_SLACK_MILLIS;
        may_be_older && is_compressed(&seen.path) && self.strangers.values().any(is_its)
    }

    /// Whether the file holds nothing but bytes of a known one: a copy, complete or in the making.
    fn is_known_content(&mut self, seen: &Seen, family: &[TailId], now: Duration) -> io::Result<bool> {
        if family.is_empty() {
            return Ok(false);
        }
        // Once for all: what is unpacked of it is kept, and rotation may have made thousands.
        let Some(mut body) = open_file(&seen.path, seen.key)? else {
            self.left_its_name(seen, now);
            return Ok(true);
        };
        for id in family {
            let Some(tail) = self.tails.get_mut(*id) else { continue };
            if is_compressed(&seen.path) {
                if tail.identity.head_length > 0 && tail.identity.head_agrees(&mut body)? {
                    self.compressions.insert(*id, seen.clone());
                    self.compressing.remove(&seen.key);
                    return Ok(true);
                }
                continue;
            }
            let mut reopened;
            let origin = match tail.is_open() {
                true => tail.body(),
                false => {
                    reopened = open_file(&tail.path, tail.key()).ok().flatten();
                    reopened.as_mut()
                }
            };
            let Some(origin) = origin else { continue };
            if is_copy_so_far(&mut body, origin)? {
                return Ok(true);
            }
            // If the origin was truncated since the folder was listed, this may be its copy.
            if !holds_what_was_read(tail, now) {
                self.foreign.insert(*id);
                self.scan_due = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `initialPosition` counts for files that were there before the flow; others are new.
    fn start_of(&self, seen: &Seen) -> Start {
        match self.options.initial_position {
            InitialPosition::EndOfFile if self.past.was_there(seen, !self.scanned) => Start::Before(u64::MAX),
            _ => Start::Beginning,
        }
    }

    /// Begins anew where something was written: nobody wrote what a hole reads as.
    pub(super) fn skip_hole(&mut self, id: TailId, written: u64, now: Duration) {
        let Some(tail) = self.tails.get(id) else { return };
        let seen = Seen {
            path: tail.path.clone(),
            key: tail.key(),
            size: tail.size,
            modified_millis: tail.modified_millis,
            matched: tail.state == TailState::Live,
        };
        tracing::info!(
            flow = &*self.flow, file = %seen.path.display(), bytes = written,
            "the file begins with a hole, which is skipped; its writer does not append (O_APPEND), which copytruncate needs"
        );
        self.end(id, None);
        self.begin(&seen, Start::At(written), now);
    }

    /// It was listed, and is not there any more: rotation renamed or compressed it, and the next
    /// look finds it by the name that it had.
    fn left_its_name(&mut self, seen: &Seen, now: Duration) {
        self.rotated.insert(home_of(&seen.path, &self.patterns));
        self.names_move(now);
    }

    /// A new tail for the file at `seen`.
    pub(super) fn begin(&mut self, seen: &Seen, start: Start, now: Duration) {
        match self.try_begin(seen, start, now) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.left_its_name(seen, now),
            Err(error) => self.cannot_read(seen, &error, now),
        }
    }

    /// It is the flow's all the same, also where it is rotated before it may be read.
    fn cannot_read(&mut self, seen: &Seen, error: &io::Error, now: Duration) {
        self.complain(&seen.path, now, &error.to_string());
        if seen.matched {
            self.forbidden.insert(seen.key, seen.path.clone());
        }
    }

    fn try_begin(&mut self, seen: &Seen, start: Start, now: Duration) -> io::Result<()> {
        let Some(mut body) = open_file(&seen.path, seen.key)? else {
            self.left_its_name(seen, now);
            return Ok(());
        };
        if body.metadata()?.is_some_and(|metadata| metadata.len() < seen.size) {
            // It was cut since: what it held may be in a copy that is not listed.
            self.left_its_name(seen, now);
            return Ok(());
        }
        if self.may_be_cut_after(seen, &mut body, now)? {
            return Ok(());
        }
        let packed = is_compressed(&seen.path);
        let identity = Identity::of(&mut body, seen.key)?;
        // What a rotated file was cut to is no log, though the patterns match its name.
        let rotated_from = self.reborn.get(&seen.key).filter(|home| self.leads_to(&seen.path, home));
        let (home, state) = match (rotated_from, seen.matched && !packed) {
            (Some(home), _) => (home.clone(), TailState::Rotated),
            (None, true) => (seen.path.clone(), TailState::Live),
            (None, false) => (home_of(&seen.path, &self.patterns), TailState::Rotated),
        };
        let is_first =
            self.away_since.is_none() && !self.tails.is_home(&home) && !self.departed.contains_key(&home);
        let mut tail = Tail::new(self.known(seen, identity, state), home.clone(), now);
        // What was written earlier is from before the first that was seen of this name.
        tail.known_modified_millis = is_first.then_some(seen.modified_millis);
        tail.adopt(body, 0)?;
        match start {
            Start::Beginning => {}
            Start::At(offset) => tail.begin_at(offset)?,
            Start::Before(limit) => {
                tail.look(now)?;
                tail.start_before(limit.min(tail.size), self.options.max_line_bytes)?;
            }
        }
        if !matches!(start, Start::Before(u64::MAX)) {
            tail.listed_millis = Some(seen.modified_millis);
            self.begun.insert(home);
        }
        if tail.position > 0 {
            tail.awaiting = Some(Stored::default());
        }
        tracing::debug!(flow = &*self.flow, file = %seen.path.display(), tail = tail.id.0, start = tail.position, "new tail");
        if self.may_stay_open() {
            self.open_files += 1;
        } else {
            tail.close();
        }
        let stored = tail.awaiting.clone();
        self.notes.push_back(TailNote::Started { flow: self.key.clone(), known: tail.known(), stored });
        let id = tail.id;
        self.forbidden.remove(&seen.key);
        self.compressing.remove(&seen.key);
        self.tails.insert(tail);
        self.close_unless_it_may_be_unpacked(id);
        self.enqueue(id);
        Ok(())
    }

    /// Whether what took the place of a rotated file may have been copied and cut between its listing
    /// and its opening as `body`. Where order is asked for its copy has to begin before it does.
    fn may_be_cut_after(&mut self, seen: &Seen, body: &mut Body, now: Duration) -> io::Result<bool> {
        // What only a link leads to may be found by nobody at the next look.
        let is_found_again = self.patterns.matches(&seen.path);
        if !self.options.in_order || !is_found_again || !self.rotated.contains(&seen.path) {
            return Ok(false);
        }
        let mut is_cut = self.has_changed_since_listed(&seen.path);
        for copy in self.copies.iter().filter(|copy| self.leads_to(&copy.path, &seen.path)) {
            // What cannot be opened here is dealt with where it begins.
            let copy = open_file(&copy.path, copy.key).ok().flatten();
            is_cut |= copy.is_some_and(|mut copy| !is_copy_so_far(&mut copy, body).unwrap_or(true));
        }
        if is_cut {
            self.names_move(now);
        }
        Ok(is_cut && !self.sure)
    }

    /// Whether names came or went since the look began where rotation leaves what was at `home`.
    pub(super) fn has_changed_since_listed(&self, home: &Path) -> bool {
        let Some(folder) = home.parent() else { return false };
        let old = self.old_folders.get(folder).into_iter().flatten().map(PathBuf::as_path);
        let has_changed = |folder: &Path| self.entries.get(folder).is_some_and(|held| held.changed(folder));
        old.chain([folder]).any(has_changed)
    }

    pub(super) fn known(&self, seen: &Seen, identity: Identity, state: TailState) -> KnownTail {
        KnownTail {
            tail: self.ids.next(),
            path: seen.path.clone(),
            identity,
            offset: 0,
            anchors: Vec::new(),
            // The size of a compressed file says nothing of the bytes in it.
            size: if is_compressed(&seen.path) { 0 } else { seen.size },
            modified_millis: seen.modified_millis,
            state,
        }
    }
}
