//! Which file waits for another: where order is asked for, what took the place of a rotated file
//! is read once that one was read to its end.
//!
//! The end is where it was when its successor was first found to hold something: who writes to
//! both has written it by then. What is written behind it later is not waited for, nor is a file
//! that cannot be read or found: one old file must not hold up all that follow.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::body::is_compressed;
use super::budget::FlowBudget;
use super::chunk::TailId;
use super::listing::Listing;
use super::note::{TailEvent, TailState};
use super::rotation::Seen;
use super::tailers::{Tailers, open};

/// What is known of files that have a successor.
#[derive(Debug, Default)]
pub struct Succession {
    /// They wait for files before them.
    followers: BTreeSet<TailId>,
    /// How far each has to be read before its successor is.
    ends: HashMap<TailId, u64>,
    /// They were read so far.
    passed: HashSet<TailId>,
    /// They were empty, and no look saw all since; but names never rest.
    impatient: HashSet<TailId>,
}

impl Succession {
    /// Whether files wait for others.
    pub fn waits(&self) -> bool {
        !self.followers.is_empty()
    }

    pub fn waits_for_others(&self, id: TailId) -> bool {
        self.followers.contains(&id)
    }

    pub fn followers(&self) -> impl Iterator<Item = &TailId> {
        self.followers.iter()
    }

    /// Keeps those of the waiting for which `wanted` holds.
    pub fn retain(&mut self, wanted: impl Fn(&TailId) -> bool) {
        self.followers.retain(wanted);
    }

    pub fn forget(&mut self, id: TailId) {
        self.followers.remove(&id);
        self.ends.remove(&id);
        self.passed.remove(&id);
        self.impatient.remove(&id);
    }
}

impl Tailers {
    /// Whether the tail may be read now. One that may not waits; one that holds nothing yet has
    /// nobody to wait for.
    pub(super) fn may_follow(&mut self, id: TailId, now: Duration) -> bool {
        if !self.options.in_order {
            return true;
        }
        let Some(tail) = self.tails.get_mut(id) else { return true };
        // How much is in a compressed one shows only as it is read, and what is the matter with any
        // other, too.
        let is_seen = !is_compressed(&tail.path) && matches!(open(tail, now), Ok(true));
        let is_empty = is_seen && tail.unread() == 0;
        let was_cut = tail.unread_for_sure() > 0 || tail.size < tail.position;
        if tail.was_empty && !is_empty && !self.succession.impatient.contains(&id) {
            // What was in it first may have been copied and cut since: the next look tells.
            self.scan_due = true;
            self.have_wait(id);
            return false;
        }
        let before = self.predecessors(id);
        if before.is_empty() || (is_empty && was_cut) {
            return true;
        }
        if is_empty {
            return false;
        }
        // All of them are asked, since where each ends is noted now.
        let waits = before.iter().filter(|before| self.is_to_be_read(**before, now)).count() > 0;
        if waits {
            self.have_wait(id);
            return false;
        }
        for before in before {
            self.succession.ends.remove(&before);
            self.succession.passed.insert(before);
            if self.tails.get(before).is_some_and(|tail| tail.announced) {
                self.events.push_back(TailEvent::Followed { tail: before });
            }
        }
        true
    }

    /// What is in a file that was empty at the last look, and was not read, may be a later life than what
    /// was copied from it meanwhile: it begins anew, behind the copies.
    pub(super) fn put_behind_copies(&mut self, appeared: &mut Vec<Seen>, listing: &Listing, now: Duration) {
        if !self.options.in_order {
            return;
        }
        let unread = self.tails.lively_where(|tail| tail.was_empty && tail.is_untouched());
        let has_changed =
            |id: &TailId| self.tails.get(*id).is_some_and(|tail| self.has_changed_since_listed(&tail.home));
        if unread.iter().any(has_changed) {
            // A copy that was made since is not among what appeared.
            self.names_move(now);
        }
        if !self.sure {
            return;
        }
        for id in unread {
            let Some(tail) = self.tails.get(id).filter(|tail| tail.state == TailState::Live) else {
                continue;
            };
            let (home, key) = (tail.home.clone(), tail.key());
            let was_copied = appeared.iter().any(|seen| self.leads_to(&seen.path, &home));
            let is_itself = |seen: &&Seen| seen.matched && seen.path == home;
            let Some(seen) = listing.find(key).filter(is_itself).filter(|_| was_copied) else { continue };
            self.end(id, None);
            self.reborn.insert(key, home);
            self.emptied.insert(key);
            appeared.push(seen.clone());
        }
    }

    /// Where names never rest, a look that may have missed something must do.
    pub(super) fn let_impatient_go(&mut self) {
        if self.options.in_order && self.impatient {
            let unread = self.tails.lively_where(|tail| tail.was_empty && tail.unread() > 0);
            self.succession.impatient.extend(unread);
        }
    }

    fn have_wait(&mut self, id: TailId) {
        self.succession.followers.insert(id);
        if self.unpacking == Some(id) {
            // One before it may have to be unpacked.
            if let Some(tail) = self.tails.get_mut(id) {
                tail.close();
            }
            self.unpacked(id);
        }
    }

    /// The files that had the tail's name before it, and were not passed yet.
    fn predecessors(&self, id: TailId) -> Vec<TailId> {
        let Some(tail) = self.tails.get(id) else { return Vec::new() };
        let family = self.tails.family(&tail.home).take_while(|other| *other < id);
        family.filter(|other| !self.succession.passed.contains(other)).collect()
    }

    /// Whether something of a rotated file is to be read before its successor is.
    fn is_to_be_read(&mut self, id: TailId, now: Duration) -> bool {
        let Some(tail) = self.tails.get_mut(id) else { return false };
        if matches!(tail.state, TailState::Live | TailState::Finished | TailState::Over) {
            return false;
        }
        if self.foreign.contains(&id) {
            // The next look at the folders tells what became of it.
            self.scan_due = true;
            return true;
        }
        if tail.absent {
            // How much it holds by now is not known.
            return self.scan_due || !self.sure || (self.awaited.contains_key(&id) && tail.unread() > 0);
        }
        if self.failed.contains(&id) {
            // It may only have another name by now.
            return self.scan_due;
        }
        if is_compressed(&tail.path) {
            return true;
        }
        if let Some(end) = self.succession.ends.get(&id) {
            let waits = tail.position < *end;
            let rests = !tail.is_open() && !self.queued.contains(&id);
            if waits && rests && matches!(open(tail, now), Ok(true)) {
                // However many are open: only then is its last line ever finished.
                self.open_files += 1;
            }
            return waits;
        }
        let was_open = tail.is_open();
        match open(tail, now) {
            Ok(true) => {}
            Ok(false) => {
                self.foreign.insert(id);
                self.scan_due = true;
                return true;
            }
            Err(error) => {
                let too_many = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
                let is_for_a_while = too_many.contains(&error.raw_os_error());
                self.read_failed(id, &error, now);
                return self.scan_due || is_for_a_while;
            }
        }
        let (position, end) = (tail.position, tail.size.max(tail.position + tail.unread_for_sure()));
        self.succession.ends.insert(id, end);
        self.enqueue(id);
        self.bound_open(id, was_open);
        position < end
    }

    /// The tail was read further: what waits for it looks again.
    pub(super) fn wake_followers_of(&mut self, id: TailId) {
        let Some(tail) = self.tails.get(id).filter(|_| self.succession.waits()) else { return };
        let family: Vec<TailId> = self.tails.family(&tail.home).collect();
        for id in family {
            if self.succession.followers.remove(&id) {
                self.enqueue(id);
            }
        }
    }

    /// What else may have freed them is found by looking.
    pub(super) fn wake_followers(&mut self) {
        for id in std::mem::take(&mut self.succession.followers) {
            self.enqueue(id);
        }
    }

    /// At the end nothing waits any longer: what is in files without a name would be lost.
    pub(super) fn let_followers_go(&mut self, now: Duration, budget: &Arc<FlowBudget>) {
        self.finish_deleted(now, budget);
        self.options.in_order = false;
        self.wake_followers();
    }
}
