//! What is done with the tails each second, beside reading: what is idle is closed, what is deleted is
//! read to its end and let go, and what changed is noted for the settle stage.
//!
//! It goes through those that are open or changed, however many tails there are.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::body::is_compressed;
use super::budget::FlowBudget;
use super::chunk::TailId;
use super::identity::{Verdict, verify};
use super::note::{Lost, TailEvent, TailNote, TailState};
use super::removed::Space;
use super::replaced::holds_what_was_read;
use super::rotation::Seen;
use super::tail::{Read, Tail};
use super::tailers::{Tailers, open_file};
use crate::observe::LossReason;

/// A file that is read to its end and was quiet for so long is closed, and verified when it
/// is opened again.
const IDLE: Duration = Duration::from_secs(60);

/// A file that no known name leads to cannot be opened again: it is let go when it was quiet for
/// so long.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

impl Tailers {
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
                && !self.succession.waits_for_others(tail.id)
        });
        for id in finished {
            if !self.foreign.contains(&id) {
                self.finish(id, now, budget, true);
            }
        }
        self.close_idle(now);
        self.wake_followers();
        self.tails.calm_down();
    }

    /// No event announces what is written to a file without a name.
    pub fn look_at_the_nameless(&mut self, now: Duration) {
        self.look_at_those(Tail::is_nameless, now);
    }

    /// Those that wait for their turn may have been looked at since the folders were: then nothing in
    /// a folder shows that a file was cut meanwhile.
    pub(super) fn verify_those_that_wait(&mut self, now: Duration) {
        let waiting = self.queued.iter().chain(self.succession.followers()).copied();
        let open: Vec<TailId> = waiting.filter(|id| self.tails.get(*id).is_some_and(Tail::is_open)).collect();
        self.verify_content(open, now);
    }

    /// A file that was copied, cut and written to again may be as large and as old as before, since
    /// the times of files move in steps: what appears beside it tells that it is to be looked at.
    pub(super) fn verify_origins(&mut self, appeared: &[Seen], now: Duration) {
        let copies = appeared.iter().filter(|seen| !self.strangers.contains_key(&seen.key));
        let origins: Vec<TailId> = copies.flat_map(|seen| self.family(&seen.path)).collect();
        self.verify_content(origins, now);
    }

    fn verify_content(&mut self, ids: Vec<TailId>, now: Duration) {
        for id in ids {
            let tail = self.tails.get_mut(id).filter(|tail| !tail.absent && !is_compressed(&tail.path));
            let Some(tail) = tail else { continue };
            let was_open = tail.is_open();
            if !holds_what_was_read(tail, now) {
                self.foreign.insert(id);
            }
            self.bound_open(id, was_open);
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
    pub(super) fn finish(&mut self, id: TailId, now: Duration, budget: &Arc<FlowBudget>, lets_go: bool) {
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
            // Only a look that saw all shows its compression.
            Ok(Read::CaughtUp) if deleted && lets_go && out_of_sight && self.sure => self.let_go(id, now),
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
            Ok(None) => self.names_move(now),
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
        self.wake_followers_of(id);
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
        self.wake_followers_of(id);
        let Some(tail) = self.tails.remove(id) else { return false };
        self.foreign.remove(&id);
        self.compressions.remove(&id);
        self.succession.forget(id);
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
}
