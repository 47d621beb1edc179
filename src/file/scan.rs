//! How a flow acts on what a look at its folders shows: each row of the table of rotations.
//!
//! `rotation` says from names and inodes what may have happened; here it is verified on the open
//! files, and tails begin, move and end.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::body::is_compressed;
use super::chunk::TailId;
use super::identity::{FileKey, Verdict, verify};
use super::listing::Listing;
use super::note::TailState;
use super::replaced::holds_what_was_read;
use super::rest::is_filled;
use super::rotation::{FileEvent, Known, Seen, diff, is_sibling, may_be_renamed};
use super::tail::Tail;
use super::tailers::{Tailers, open_file};
use crate::observe::{RotationKind, crash_point};

impl Tailers {
    /// Looks at all folders and acts on what changed. Gives back the folders, to be watched.
    /// At most `unsettled` bytes of the flow are read and not settled.
    pub fn scan(&mut self, now: Duration, unsettled: usize) -> Vec<PathBuf> {
        self.scan_due = false;
        let listing = self.list();
        crash_point("scan.after_list");
        let folders = self.act_on(listing, now, unsettled);
        crash_point("scan.after_act");
        folders
    }

    /// The files may have changed since they were listed.
    pub fn act_on(&mut self, mut listing: Listing, now: Duration, unsettled: usize) -> Vec<PathBuf> {
        self.attic.clear();
        self.entries = std::mem::take(&mut listing.entries);
        self.cut_before.clone_from(&self.foreign);
        let old_folders = self.old_folders.clone();
        for (path, error) in &listing.errors {
            self.complain(path, now, &error.to_string());
        }
        self.verify_those_that_wait(now);
        let mut appeared = self.act_on_events(&listing, now);
        self.verify_origins(&appeared, now);
        // Nothing tells whether a life of an empty file was copied away meanwhile.
        let empty = self.tails.lively().filter(|tail| tail.was_empty).map(|tail| tail.home.clone());
        self.rotated.extend(empty);
        (self.sure, self.impatient) = (true, false);
        if listing.in_motion {
            self.names_move(now);
        }
        self.seen_again(&listing);
        self.miss_foreign(&listing);
        let replaced = self.judge_foreign(&mut appeared, &listing, unsettled as u64, now);
        self.settle_absent(&mut appeared, &listing, now);
        for (id, present) in replaced {
            self.replaced(id, &present, &mut appeared, now);
        }
        if self.old_folders != old_folders {
            // What else rotation moved there is held against what was known before this look.
            self.look_again(&mut appeared, now);
        }
        self.put_behind_copies(&mut appeared, &listing, now);
        // What became of the files that are known is stored before, or with, what begins in their
        // place: after a crash the new life alone would hide the older one's rest.
        self.take_changes();
        let strangers = self.judge_newcomers(appeared, &listing, now);
        if !self.scanned {
            self.open_backlog();
        }
        self.finish_scan(strangers, &listing);
        self.held.retain(|key, _| listing.find(*key).is_some());
        self.compressing.retain(|key, _| !self.sure || listing.find(*key).is_some());
        self.forbidden.retain(|key, _| !self.sure || listing.find(*key).is_some());
        self.folders = listing.folders;
        self.folders.iter().cloned().collect()
    }

    /// Begins with the files that are no tail's. Gives back those that are left alone.
    fn judge_newcomers(
        &mut self,
        mut appeared: Vec<Seen>,
        listing: &Listing,
        now: Duration,
    ) -> HashMap<FileKey, Seen> {
        let mut strangers = HashMap::new();
        self.doubt_homes(&appeared);
        // In the order of time. What took the place of rotated files comes last: only what is older
        // tells of them.
        appeared.sort_by_key(|seen| (self.rotated.contains(&seen.path), seen.modified_millis));
        let newcomers = appeared.iter().map(|seen| (&*seen.path, seen)).collect();
        for seen in &appeared {
            if !self.sure && self.may_hide_another(seen) {
                // A generation before it may have been missed, and with the row of a later one
                // nothing would tell of it after a crash.
                continue;
            }
            // What is at a home now may have been copied there a moment ago.
            let held = self.is_copy_of_newcomer(seen, &newcomers);
            if held {
                self.copies.push(seen.clone());
            }
            // What comes into an empty file is new.
            if !held && !self.appeared(seen, listing, now) && seen.size > 0 {
                strangers.insert(seen.key, seen.clone());
            }
        }
        strangers
    }

    /// Whether the file took the place of a rotated one, or may be a generation in between.
    fn may_hide_another(&self, seen: &Seen) -> bool {
        let is_log = seen.matched && !is_compressed(&seen.path);
        let is_rotated = |home: &PathBuf| self.rotated.contains(home.as_path());
        self.rotated.contains(&seen.path)
            || (!is_log && self.possible_homes(&seen.path).iter().any(is_rotated))
    }

    /// Gives back the files that are no tail's.
    fn act_on_events(&mut self, listing: &Listing, now: Duration) -> Vec<Seen> {
        let (mut appeared, mut gone) = (Vec::new(), HashSet::new());
        for event in self.compare(listing) {
            match event {
                FileEvent::Changed { tail } if gone.contains(&tail) => {}
                FileEvent::Changed { tail } => self.changed(tail, listing, now),
                FileEvent::Renamed { tail, to } if self.got_its_inode(tail, &to) => {
                    gone.insert(tail);
                    self.foreign.remove(&tail);
                    self.lose_sight(tail, now);
                    appeared.extend(listing.files.iter().filter(|seen| seen.path == to).cloned());
                }
                FileEvent::Renamed { tail, to } => self.moved(tail, to),
                FileEvent::Missing { tail } => self.lose_sight(tail, now),
                FileEvent::Appeared { seen } => appeared.push(seen),
            }
        }
        appeared
    }

    /// What the folders hold now.
    pub fn list(&self) -> Listing {
        Listing::take(&self.patterns, self.places())
    }

    /// Names move while they are looked at: a file that was not found may be there, and one that
    /// is new may have been there before. The next look comes at once; where the names never
    /// rest, such a look must do.
    pub(super) fn names_move(&mut self, now: Duration) {
        const PATIENCE: Duration = Duration::from_secs(10);
        self.scan_due = true;
        self.sure = now.saturating_sub(*self.moving_since.get_or_insert(now)) >= PATIENCE;
        self.impatient = self.sure;
    }

    /// Files that could not be seen for a while are what they were before.
    fn seen_again(&mut self, listing: &Listing) {
        for id in self.tails.lively_where(|tail| tail.out_of_sight) {
            let Some(tail) = self.tails.get_mut(id) else { continue };
            if listing.find(tail.key()).is_some() {
                tail.out_of_sight = false;
                tail.note_due = true;
                if tail.path == tail.home {
                    tail.state = TailState::Live;
                }
            }
        }
    }

    fn look_again(&mut self, appeared: &mut Vec<Seen>, now: Duration) {
        let listing = self.list();
        if listing.in_motion {
            self.names_move(now);
        }
        for event in self.compare(&listing) {
            if let FileEvent::Appeared { seen } = event
                && !appeared.iter().any(|other| other.key == seen.key)
            {
                appeared.push(seen);
            }
        }
        appeared.sort_by_key(|seen| seen.modified_millis);
    }

    fn compare(&self, listing: &Listing) -> Vec<FileEvent> {
        let known = self.tails.iter().map(|tail| Known {
            tail: tail.id,
            path: &tail.path,
            key: tail.key(),
            size: tail.size,
            modified_millis: tail.modified_millis,
        });
        diff(known, &listing.files, &listing.by_key)
    }

    /// Files of an earlier run with unread bytes are held from the first look on: their turn may
    /// only come after an outage.
    fn open_backlog(&mut self) {
        let has_backlog =
            |tail: &&Tail| tail.unread() > 0 && !tail.is_open() && !tail.absent && !is_compressed(&tail.path);
        let backlog: Vec<TailId> = self.tails.iter().filter(has_backlog).map(|tail| tail.id).collect();
        for id in backlog {
            let may_stay_open = self.may_stay_open();
            let Some(tail) = self.tails.get_mut(id).filter(|_| may_stay_open) else { return };
            match tail.open() {
                Ok(Some(Verdict::Same)) => self.open_files += 1,
                Ok(Some(Verdict::UpTo(_) | Verdict::Different)) => drop(self.foreign.insert(id)),
                // It shows again when it is read.
                Ok(None) | Err(_) => {}
            }
        }
    }

    fn finish_scan(&mut self, strangers: HashMap<FileKey, Seen>, listing: &Listing) {
        if self.sure {
            self.moving_since = None;
        }
        // What an impatient look missed is still told from what was known before it.
        let saw_all = self.sure && !self.impatient;
        if saw_all || (self.past.is_first_start && !self.scanned) {
            self.strangers = strangers;
        }
        if saw_all {
            self.rotated.clear();
            self.departed.clear();
            self.away_since = None;
        }
        // Where no file is now, one may be born and rotated away before the next look.
        self.rotated.extend(self.tails.take_vacant_homes());
        let begun = std::mem::take(&mut self.begun);
        self.entries.clear();
        self.copies.clear();
        self.reborn.clear();
        self.emptied.clear();
        self.awaited.retain(|id, _| self.tails.get(*id).is_some_and(|tail| tail.absent));
        self.scanned = true;
        if saw_all {
            for id in self.tails.lively_where(|_| true) {
                let Some(tail) = self.tails.get_mut(id) else { continue };
                // What was seen after the listing may be of a life behind one that was copied away.
                let listed = listing.find(tail.key()).map(|seen| seen.modified_millis);
                let known = listed.or(tail.known_modified_millis).unwrap_or(tail.modified_millis);
                tail.known_modified_millis = Some(known.min(tail.modified_millis));
                tail.note_due |= std::mem::take(&mut tail.was_empty);
                if !begun.contains(&tail.home) {
                    tail.note_due |= tail.listed_millis.take().is_some();
                }
            }
        }
        self.rotated.extend(begun);
        self.let_impatient_go();
        self.retry_failed();
        self.wake_followers();
    }

    fn changed(&mut self, id: TailId, listing: &Listing, now: Duration) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        if self.options.in_order && self.away_since.is_some() && tail.is_untouched() {
            // It may have been empty when it was stored, or was filled a moment before.
            let listed = listing.find(tail.key());
            tail.was_empty |= listed.is_some_and(|seen| seen.modified_millis != tail.modified_millis);
        }
        if is_compressed(&tail.path) {
            // It is finished, and its size says nothing of the bytes in it: what was written at
            // another time is another file with its inode.
            if listing.find(tail.key()).is_some_and(|seen| seen.modified_millis != tail.modified_millis) {
                tail.close();
                self.foreign.insert(id);
            } else if !self.scanned && tail.state != TailState::Finished {
                self.enqueue(id);
            }
            return;
        }
        if !tail.is_open()
            && let Some(seen) = listing.find(tail.key())
        {
            tail.update(seen.size, seen.modified_millis, now);
        }
        tail.absent = false;
        if tail.identity.head_length == 0 {
            // Whether it was rotated since it was empty cannot be seen in it.
            self.rotated.insert(tail.home.clone());
        }
        // A truncation must be seen before its copy is taken for a new file.
        if holds_what_was_read(tail, now) {
            self.enqueue(id);
        } else {
            self.foreign.insert(id);
        }
    }

    /// Whether the file at `to` is another than the tail's, which is gone: its inode was free again.
    pub(super) fn got_its_inode(&self, id: TailId, to: &Path) -> bool {
        let Some(tail) = self.tails.get(id).filter(|tail| !tail.is_open()) else { return false };
        if tail.identity.head_length == 0 && !self.may_be_the_empty_one(tail, to) {
            return true;
        }
        // What cannot be read now is dealt with under its new name.
        let Some(mut body) = open_file(to, tail.key()).ok().flatten() else { return false };
        if tail.identity.head_length == 0 && is_compressed(to) {
            return is_filled(&mut body).unwrap_or(false);
        }
        let verdict = verify(&mut body, &tail.identity, tail.ladder());
        matches!(verdict, Ok(Verdict::Different))
    }

    /// Whether the file at `path`, which has the inode of a tail of which no content is known, can
    /// be the tail's: its name says so, or explains it in no other way.
    pub(super) fn may_be_the_empty_one(&self, tail: &Tail, path: &Path) -> bool {
        // Also of one that begins at this look.
        let is_anothers = || {
            let homes = self.possible_homes(path);
            self.patterns.matches(path) || homes.iter().any(|home| self.tails.is_home(home) || home.exists())
        };
        let is_its_name = *path == *tail.path || is_sibling(path, &tail.path);
        may_be_renamed(&tail.path, path) && (is_its_name || self.leads_to(path, &tail.home) || !is_anothers())
    }

    fn moved(&mut self, id: TailId, to: Arc<Path>) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        tracing::info!(
            flow = &*self.flow, file = %tail.path.display(), to = %to.display(),
            "the file was renamed; it is read to its end under its new name"
        );
        self.counters.rotations.add(RotationKind::Renamed.word(), 1);
        tail.state = if to == tail.home { TailState::Live } else { TailState::Rotated };
        self.rotated.insert(tail.home.clone());
        tail.out_of_sight = false;
        tail.absent = false;
        tail.note_due = true;
        self.tails.relocate(id, to);
        self.enqueue(id);
    }

    /// No name leads to the tail's file. An open one is read on.
    fn lose_sight(&mut self, id: TailId, now: Duration) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        self.rotated.insert(tail.home.clone());
        if !tail.is_open() {
            tail.absent = true;
            return;
        }
        // It may have been copied and cut before: its copy may be there now, but not for long.
        if !holds_what_was_read(tail, now) {
            self.foreign.insert(id);
        }
        if !tail.deleted && !tail.out_of_sight {
            let (elsewhere, _) = self.attic.bodies(&tail.home, tail.identity.inode);
            if let Some(seen) = elsewhere.into_iter().find(|seen| seen.key == tail.key()) {
                self.remember_old_folder(id, &seen.path);
                self.moved(id, seen.path);
                return;
            }
        }
        let Some(tail) = self.tails.get_mut(id) else { return };
        if !std::mem::replace(&mut tail.out_of_sight, true) {
            // A name that is taken again hides that the file itself is gone.
            let kind = match (tail.deleted, tail.path.exists()) {
                (true, true) => RotationKind::Replaced,
                (true, false) => RotationKind::Removed,
                (false, _) => RotationKind::Renamed,
            };
            self.counters.rotations.add(kind.word(), 1);
        }
        if tail.state == TailState::Live {
            tail.state = TailState::Rotated;
            tail.changed_at = now;
            tail.note_due = true;
        }
        // Nobody else announces what is still written to it.
        self.enqueue(id);
    }

    /// Rotation moved a file of this tail's to another folder; others may have gone there too.
    pub(super) fn remember_old_folder(&mut self, id: TailId, path: &Path) {
        let home = self.tails.get(id).map(|tail| tail.home.clone());
        if let (Some(home), Some(folder)) = (home, path.parent())
            && let Some(home_folder) = home.parent()
            && home_folder != folder
        {
            self.old_folders.entry(home_folder.to_owned()).or_default().insert(folder.to_owned());
        }
    }

    pub(super) fn count_rotation(&self, kind: RotationKind) {
        self.counters.rotations.add(kind.word(), 1);
    }

    pub(super) fn report_lost(&self, path: &Path, bytes: u64, why: &str) {
        tracing::error!(
            flow = &*self.flow, file = %path.display(), bytes,
            "bytes of the file are lost: {why}; keep rotated files until they are delivered, or rotate by renaming"
        );
    }
}
