//! How a flow acts on what a look at its folders shows: each row of the table of rotations.
//!
//! `rotation` says from names and inodes what may have happened; here it is verified on the open
//! files, and tails begin, move and end.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::attic::seen_at;
use super::body::{Body, is_compressed, is_unpackable};
use super::chunk::{Anchor, TailId};
use super::identity::{FileKey, HEAD_BYTES, Verdict, anchor_agrees, verify};
use super::listing::Listing;
use super::newcomer::Start;
use super::note::{Lost, TailState};
use super::rotation::{FileEvent, Known, Seen, diff, is_sibling, may_be_renamed};
use super::tail::Tail;
use super::tailers::{Tailers, open_file};
use crate::observe::{LossReason, RotationKind, crash_point};

/// A file that may hold a missed tail's bytes and cannot be read is tried again for so long: it may
/// still be being compressed, or its permissions be mended.
const UNREADABLE: Duration = Duration::from_secs(600);

/// Where the unread rest of a tail is.
enum Rest {
    In(Seen),
    /// A file that may hold it went from its name after the folder was listed.
    Moved,
    /// Perhaps in one that cannot be read.
    Unreadable,
    Nowhere,
}

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
    pub fn act_on(&mut self, listing: Listing, now: Duration, unsettled: usize) -> Vec<PathBuf> {
        self.attic.clear();
        let old_folders = self.old_folders.clone();
        for (path, error) in &listing.errors {
            self.complain(path, now, &error.to_string());
        }
        self.verify_those_that_wait(now);
        let (mut appeared, mut gone) = (Vec::new(), HashSet::new());
        for event in self.compare(&listing) {
            match event {
                FileEvent::Changed { tail } if gone.contains(&tail) => {}
                FileEvent::Changed { tail } => self.changed(tail, &listing, now),
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
        // Nothing tells whether a life of an empty file was copied away meanwhile.
        let empty = self.tails.lively().filter(|tail| tail.was_empty).map(|tail| tail.home.clone());
        self.rotated.extend(empty);
        self.sure = true;
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
            self.look_again(&mut appeared);
        }
        // What became of the files that are known is stored before, or with, what begins in their
        // place: after a crash the new life alone would hide the older one's rest.
        self.take_changes();
        let strangers = self.judge_newcomers(appeared, &listing, now);
        if !self.scanned {
            self.open_backlog();
        }
        self.finish_scan(strangers);
        self.held.retain(|key, _| listing.find(*key).is_some());
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
        // What took the place of rotated files comes last: only what is older tells of them.
        appeared.sort_by_key(|seen| self.rotated.contains(&seen.path));
        let newcomers = appeared.iter().map(|seen| (&*seen.path, seen)).collect();
        for seen in &appeared {
            if !self.sure && self.rotated.contains(&seen.path) {
                // A generation before it may have been missed, and with the row of a file that is
                // at its home nothing would tell of it after a crash.
                continue;
            }
            // What is at a home now may have been copied there a moment ago.
            let held = self.is_copy_of_newcomer(seen, &newcomers);
            // What comes into an empty file is new.
            if !held && !self.appeared(seen, listing, now) && seen.size > 0 {
                strangers.insert(seen.key, seen.clone());
            }
        }
        strangers
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

    fn look_again(&self, appeared: &mut Vec<Seen>) {
        for event in self.compare(&self.list()) {
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

    fn finish_scan(&mut self, strangers: HashMap<FileKey, Seen>) {
        if self.sure {
            self.strangers = strangers;
            self.rotated.clear();
            self.departed.clear();
            self.moving_since = None;
            self.away_since = None;
        }
        // Where no file is now, one may be born and rotated away before the next look.
        self.rotated.extend(self.tails.take_vacant_homes());
        self.reborn.clear();
        self.awaited.retain(|id, _| self.tails.get(*id).is_some_and(|tail| tail.absent));
        self.scanned = true;
        if self.sure {
            for id in self.tails.lively_where(|_| true) {
                if let Some(tail) = self.tails.get_mut(id) {
                    tail.known_modified_millis = Some(tail.modified_millis);
                    tail.was_empty = false;
                }
            }
        }
        self.retry_failed();
    }

    fn changed(&mut self, id: TailId, listing: &Listing, now: Duration) {
        let Some(tail) = self.tails.get_mut(id) else { return };
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
    fn got_its_inode(&self, id: TailId, to: &Path) -> bool {
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
    fn may_be_the_empty_one(&self, tail: &Tail, path: &Path) -> bool {
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
    fn remember_old_folder(&mut self, id: TailId, path: &Path) {
        let home = self.tails.get(id).map(|tail| tail.home.clone());
        if let (Some(home), Some(folder)) = (home, path.parent())
            && let Some(home_folder) = home.parent()
            && home_folder != folder
        {
            self.old_folders.entry(home_folder.to_owned()).or_default().insert(folder.to_owned());
        }
    }

    /// Files that were cut, and that no name leads to: their rest is looked for at once, before
    /// its copy is taken for a new file.
    fn miss_foreign(&mut self, listing: &Listing) {
        let tails = &mut self.tails;
        self.foreign.retain(|id| {
            let missed = tails.get_mut(*id).filter(|tail| present(tail, listing).is_none());
            missed.is_none_or(|tail| {
                tail.close();
                tail.absent = true;
                false
            })
        });
    }

    /// Tails whose file was not found: under another inode, as a copy, compressed, or gone.
    fn settle_absent(&mut self, appeared: &mut Vec<Seen>, listing: &Listing, now: Duration) {
        for id in self.tails.lively_where(|tail| tail.absent) {
            let Some(tail) = self.tails.get(id) else { continue };
            let there = listing.find(tail.key()).filter(|seen| may_be_renamed(&tail.path, &seen.path));
            if there.is_some_and(|seen| !self.got_its_inode(id, &seen.path)) {
                continue;
            }
            let (path, key, unread) = (tail.path.clone(), tail.key(), tail.unread_for_sure());
            let was_in_sight = !tail.out_of_sight;
            match self.find_rest(id, appeared, now) {
                Rest::In(rest) => {
                    self.count_rotation(match (is_compressed(&rest.path), rest.key == key) {
                        (true, _) => RotationKind::Compressed,
                        (false, true) => RotationKind::Renamed,
                        (false, false) => RotationKind::Copied,
                    });
                    continue;
                }
                Rest::Moved => continue,
                Rest::Unreadable if self.is_waited_for(id, now) => continue,
                Rest::Unreadable | Rest::Nowhere => {}
            }
            let may_be_there = !self.sure || listing.is_hidden(&path);
            if may_be_there || !path.parent().is_some_and(holds_something) {
                // Or the folder itself is gone, or not mounted yet: nothing is forgotten.
                continue;
            }
            if unread > 0 {
                self.report_lost(
                    &path,
                    unread,
                    "it is gone, and neither its inode nor its content was found",
                );
            }
            if was_in_sight {
                self.count_rotation(RotationKind::Removed);
            }
            let reason = match self.scanned {
                true => LossReason::Removed,
                false => LossReason::NotFoundAtStart,
            };
            self.give_up(id, Lost::of(unread, reason));
        }
    }

    /// Tails whose file no longer holds what was read from it. Gives back those that were replaced:
    /// a file that was overwritten may be the copy that another one's rest is in.
    fn judge_foreign(
        &mut self,
        appeared: &mut Vec<Seen>,
        listing: &Listing,
        unsettled: u64,
        now: Duration,
    ) -> Vec<(TailId, Seen)> {
        let mut replaced = Vec::new();
        for id in std::mem::take(&mut self.foreign) {
            let Some(tail) = self.tails.get_mut(id) else { continue };
            let Some(present) = present(tail, listing) else { continue };
            match judge(tail, &present) {
                Ok(Some(Verdict::Same)) => {
                    if is_compressed(&tail.path) {
                        tail.modified_millis = present.modified_millis;
                    }
                    tail.note_due = true;
                    self.enqueue(id);
                }
                Ok(Some(Verdict::UpTo(anchor))) => self.go_on_from(id, &present, anchor, unsettled, now),
                Ok(Some(Verdict::Different)) => {
                    self.reborn.insert(present.key);
                    appeared.push(present.clone());
                    replaced.push((id, present));
                }
                Ok(None) => self.scan_due = true,
                Err(error) => {
                    self.complain(&present.path, now, &error.to_string());
                    self.foreign.insert(id);
                }
            }
        }
        replaced
    }

    /// The file lost its last bytes: what is before the anchor has been read. What of it may not
    /// be settled yet is read again, since nobody could read it after a crash.
    fn go_on_from(&mut self, id: TailId, present: &Seen, anchor: Anchor, unsettled: u64, now: Duration) {
        let Some(tail) = self.tails.get(id) else { return };
        let (position, unread) = (tail.position, tail.unread_for_sure());
        let start = anchor.offset.min(position.saturating_sub(unsettled));
        tracing::warn!(
            flow = &*self.flow, file = %present.path.display(), offset = start,
            "the file's end is not what was read from it (cut, or lost in a power failure); reading goes on where it still agrees"
        );
        if unread > 0 {
            self.report_lost(&present.path, unread, "the file was cut before they were read");
        }
        self.count_rotation(RotationKind::Cut);
        self.counters.bytes_repeated.add(position.min(present.size).saturating_sub(start));
        self.end(id, Lost::of(unread, LossReason::Cut));
        self.begin(present, Start::Before(start), now);
    }

    /// The file was truncated, or replaced by another with the same inode: the unread rest is
    /// in its copy, if there is one, and a new life begins.
    fn replaced(&mut self, id: TailId, present: &Seen, appeared: &mut Vec<Seen>, now: Duration) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        self.rotated.insert(tail.home.clone());
        tail.close();
        let (unread, read) = (tail.unread_for_sure(), tail.position);
        let mut rest = self.find_rest(id, appeared, now);
        if let Rest::Nowhere = rest
            && self.may_have_missed_its_copy(present, now)
        {
            rest = Rest::Moved;
        }
        if let Rest::Moved = rest {
            // The next look tells it again.
            self.foreign.insert(id);
            self.scan_due = true;
            self.reborn.remove(&present.key);
            appeared.retain(|seen| seen.key != present.key);
            return;
        }
        tracing::info!(
            flow = &*self.flow, file = %present.path.display(), read,
            "the file was truncated or replaced; what is in it now is read as a new file"
        );
        if let Rest::In(_) = rest {
            self.count_rotation(RotationKind::CopyTruncated);
        } else {
            self.count_rotation(RotationKind::Truncated);
            if unread > 0 {
                self.report_lost(
                    &present.path,
                    unread,
                    "it was truncated before they were read, and no copy was found",
                );
            }
            self.end(id, Lost::of(unread, LossReason::Truncated));
        }
    }

    /// Whether the file was truncated after its folder was listed, so that its copy is not in the
    /// listing.
    fn may_have_missed_its_copy(&mut self, present: &Seen, now: Duration) -> bool {
        let size = std::fs::metadata(&present.path).map_or(0, |metadata| metadata.len());
        if size < present.size {
            self.names_move(now);
        }
        !self.sure
    }

    pub(super) fn count_rotation(&self, kind: RotationKind) {
        self.counters.rotations.add(kind.word(), 1);
    }

    fn report_lost(&self, path: &Path, bytes: u64, why: &str) {
        tracing::error!(
            flow = &*self.flow, file = %path.display(), bytes,
            "bytes of the file are lost: {why}; keep rotated files until they are delivered, or rotate by renaming"
        );
    }

    /// Looks for a file that holds the tail's bytes and goes on in it.
    fn find_rest(&mut self, id: TailId, appeared: &mut Vec<Seen>, now: Duration) -> Rest {
        let (candidates, mut moved) = self.candidates(id, appeared);
        let mut unreadable = false;
        for seen in candidates {
            match self.take_over(id, &seen, now) {
                Ok(Some(true)) => {
                    appeared.retain(|other| other.key != seen.key);
                    self.remember_old_folder(id, &seen.path);
                    return Rest::In(seen);
                }
                Ok(Some(false)) => {}
                Ok(None) => moved = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => moved = true,
                Err(error) => {
                    unreadable = true;
                    self.complain(&seen.path, now, &error.to_string());
                }
            }
        }
        self.scan_due |= moved;
        match (moved, unreadable) {
            (true, _) => Rest::Moved,
            (false, true) => Rest::Unreadable,
            (false, false) => Rest::Nowhere,
        }
    }

    /// Files that may hold the tail's bytes: those with its inode first, then those whose names
    /// lead to it, what need not be decompressed before the others; then any that begins alike.
    /// Also whether one went from its name meanwhile.
    fn candidates(&mut self, id: TailId, appeared: &[Seen]) -> (Vec<Seen>, bool) {
        let Some(tail) = self.tails.get(id) else { return (Vec::new(), false) };
        let (home, identity) = (&tail.home, &tail.identity);
        let (mut candidates, moved) = self.attic.bodies(home, identity.inode);
        // A file that was first seen as `app.log.1` may be in `app.log.2.gz` by now.
        let related = |seen: &&Seen| {
            seen.key.1 == identity.inode
                || self.leads_to(&seen.path, home)
                || is_sibling(&seen.path, &tail.path)
        };
        candidates.extend(appeared.iter().filter(related).cloned());
        candidates.sort_by_key(|seen| (seen.key.1 != identity.inode, is_compressed(&seen.path)));
        // Bytes behind the head must tell them apart: many files begin with the same banner.
        let beyond_the_head = tail.ladder().newest().is_some_and(|anchor| anchor.offset > HEAD_BYTES as u64);
        // What was written while the agent was stopped is not known yet.
        if beyond_the_head && (tail.unread_for_sure() > 0 || !self.scanned) {
            candidates.extend(self.attic.alike(home, identity));
        }
        // Unless it was just seen to hold something else than the other's bytes, or is not where the
        // other was: then only the numbers of inode and device are the same.
        let is_anothers = |seen: &Seen| {
            !self.reborn.contains(&seen.key)
                && self.tails.iter().any(|tail| tail.key() == seen.key && tail.id != id && !tail.absent)
        };
        candidates.retain(|seen| !is_compressed(&seen.path) || is_unpackable(&seen.path));
        // Of a file that was empty no content is known: any would agree with it.
        let may_be_it =
            |seen: &Seen| seen.key.1 == identity.inode && self.may_be_the_empty_one(tail, &seen.path);
        candidates.retain(|seen| identity.head_length > 0 || may_be_it(seen));
        candidates.retain(|seen| !is_anothers(seen));
        (candidates, moved)
    }

    /// A decoder that has to wait would only cost memory.
    pub(super) fn close_unless_it_may_be_unpacked(&mut self, id: TailId) {
        if !self.may_unpack(id)
            && let Some(tail) = self.tails.get_mut(id)
        {
            tail.close();
        }
    }

    /// Whether a file that may hold the tail's bytes may still become readable.
    fn is_waited_for(&mut self, id: TailId, now: Duration) -> bool {
        let since = *self.awaited.entry(id).or_insert(now);
        now.saturating_sub(since) < UNREADABLE
    }

    /// Goes on in the file at `seen` if it holds what was read of the tail. None if another file
    /// is there by now.
    pub(super) fn take_over(&mut self, id: TailId, seen: &Seen, now: Duration) -> io::Result<Option<bool>> {
        let Some(mut body) = open_file(&seen.path, seen.key)? else { return Ok(None) };
        let Some(tail) = self.tails.get_mut(id) else { return Ok(Some(false)) };
        let packed = is_compressed(&seen.path);
        if tail.identity.head_length == 0
            && (tail.identity.inode != seen.key.1 || (packed && is_filled(&mut body)?))
        {
            // Every file begins as an empty one, but nothing is ever added to a compressed one.
            return Ok(Some(false));
        }
        if verify(&mut body, &tail.identity, tail.ladder())? == Verdict::Same {
            let is_itself = tail.identity.inode == seen.key.1 && seen.path == tail.path;
            tracing::info!(
                flow = &*self.flow, file = %tail.path.display(), from = %seen.path.display(), offset = tail.position,
                "the rest of the file is read from where rotation left it"
            );
            let size = if packed { tail.size.max(tail.position) } else { seen.size };
            tail.move_to(seen.key, body, size, seen.modified_millis);
            tail.changed_at = now;
            if is_itself {
                tail.state = TailState::Live;
            }
            self.tails.relocate(id, seen.path.clone());
            self.close_unless_it_may_be_unpacked(id);
            self.enqueue(id);
            return Ok(Some(true));
        }
        // The file itself, where it was cut, is no copy: what it held may not be delivered yet. Nor is
        // what came to its name, however alike it begins.
        let took_its_place = seen.key == tail.key() || seen.path == tail.home;
        if packed || took_its_place || !holds_prefix(&mut body, tail, seen.size)? {
            return Ok(Some(false));
        }
        // A copy that is shorter than what was read: nothing in it is unread, but what was read may
        // not be settled yet, and after a crash only the copy has it.
        tail.move_to(seen.key, body, seen.size, seen.modified_millis);
        tail.begin_again_at(seen.size)?;
        tail.changed_at = now;
        self.tails.relocate(id, seen.path.clone());
        Ok(Some(true))
    }
}

/// Whether the file holds anything.
fn is_filled(body: &mut Body) -> io::Result<bool> {
    Ok(body.available(0, 1)?.is_some_and(|holds| holds.bytes > 0))
}

/// The tail's file as it was listed, or as it is at the name that it was found under since.
fn present(tail: &Tail, listing: &Listing) -> Option<Seen> {
    let found = || seen_at(&tail.path).filter(|seen| seen.key == tail.key());
    listing.find(tail.key()).cloned().or_else(found)
}

/// Whether an open tail's file still holds what was read from it. What cannot be told now shows
/// when it is read.
pub(super) fn holds_what_was_read(tail: &mut Tail, now: Duration) -> bool {
    if !tail.is_open() {
        return !matches!(tail.open(), Ok(Some(Verdict::UpTo(_) | Verdict::Different)));
    }
    let _ = tail.look(now);
    tail.size >= tail.position && tail.verify_content().unwrap_or(true)
}

/// What the file at its path says about the tail now. None if another file is there.
fn judge(tail: &mut Tail, present: &Seen) -> io::Result<Option<Verdict>> {
    let Some(mut body) = open_file(&present.path, present.key)? else { return Ok(None) };
    let verdict = verify(&mut body, &tail.identity, tail.ladder())?;
    if verdict != Verdict::Different || present.size >= u64::from(tail.identity.head_length) {
        return Ok(Some(verdict));
    }
    // It was cut within its head. What stands behind an anchor there may be another file, which
    // begins with the same line.
    let at_its_end = tail.ladder().anchors().iter().find(|anchor| anchor.offset == present.size);
    match at_its_end {
        Some(anchor) if anchor_agrees(&mut body, anchor)? => Ok(Some(Verdict::UpTo(*anchor))),
        _ => Ok(Some(verdict)),
    }
}

/// Whether the file is a copy of less than was read of the tail, as far as the head and the
/// anchors in it tell. Of what is shorter than the head all must be told by an anchor: many files
/// begin with the same line.
fn holds_prefix(body: &mut Body, tail: &Tail, size: u64) -> io::Result<bool> {
    let head_length = u64::from(tail.identity.head_length);
    if size >= tail.position || head_length == 0 {
        return Ok(false);
    }
    let within: Vec<&Anchor> = tail.ladder().anchors().iter().filter(|at| at.offset <= size).collect();
    let reaches_its_end = within.first().is_some_and(|newest| newest.offset == size);
    if size < head_length && !reaches_its_end {
        return Ok(false);
    }
    if size >= head_length && !tail.identity.head_agrees(body)? {
        return Ok(false);
    }
    for anchor in within {
        if !anchor_agrees(body, anchor)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the folder is there and has something in it: an empty one may be a mount point.
fn holds_something(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
