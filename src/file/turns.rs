//! Whose turn it is to be read: each tail that has something to read gets a chunk in turn, what was
//! just written before the backlogs, and of the compressed files one at a time.
//!
//! What is read is left in the tailers' `events`, for the stage to pass on.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::body::is_compressed;
use super::budget::FlowBudget;
use super::chunk::{Chunk, TailId};
use super::note::{ChunkEnd, TailEvent, TailState};
use super::tail::{QUANTUM_BYTES, Read, Tail};
use super::tailers::{Tailers, open};
use crate::observe::crash_point;

/// Where files share the memory: less than this is not worth a read, unless a file holds nothing.
const WORTH_A_READ: usize = QUANTUM_BYTES / 4;
/// A read is allowed so much in any case.
const LEAST_READ: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There may be more to read.
    Progress,
    /// Everything that is known to be there has been read.
    Idle,
    /// The budget is short.
    Blocked,
}

impl Tailers {
    /// Tells the counters whether anything is left to be read as far as is known.
    pub fn tell_caught_up(&self) {
        let nothing_left = !self.has_turns() && self.waiting.is_empty() && !self.succession.waits();
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
        let (was_open, absent) = (tail.is_open(), tail.absent);
        if !tail.may_be_read() {
            // The settle stage wakes us once the position is stored.
            self.waiting.push(id);
        } else if !self.may_take_more(id, budget) {
            return self.put_off(id, budget);
        } else if !self.foreign.contains(&id) && !absent && self.may_follow(id, now) {
            if self.may_unpack(id) {
                return self.read(id, was_open, now, budget);
            }
            self.to_unpack.insert(id);
        }
        self.bound_open(id, was_open);
        Turn::Progress
    }

    /// Whether the tail's file, with what it was rotated to, may take more of the memory, and how much at a
    /// time. One that holds nothing may always try.
    fn may_take_more(&mut self, id: TailId, budget: &FlowBudget) -> bool {
        if !self.options.shares_memory {
            return true;
        }
        let Some(tail) = self.tails.get(id) else { return false };
        let holding = tail.holding.clone().unwrap_or_else(|| {
            let family = self.tails.family(&tail.home);
            family.filter_map(|id| self.tails.get(id)?.holding.clone()).next().unwrap_or_default()
        });
        let left = budget.left_for(&holding, WORTH_A_READ);
        let may = left >= WORTH_A_READ || holding.bytes() == 0;
        if let Some(tail) = self.tails.get_mut(id) {
            tail.allowance = left.clamp(LEAST_READ, QUANTUM_BYTES);
            tail.holding = Some(holding);
        }
        may
    }

    /// It has its turn again behind all others. They are blocked when none of them may be read.
    fn put_off(&mut self, id: TailId, budget: &FlowBudget) -> Turn {
        self.queued.insert(id);
        self.backlogs.push_back(id);
        if self.unpacking == Some(id) && !self.to_unpack.is_empty() {
            // It is unpacked again up to its position when it has its turn.
            if let Some(tail) = self.tails.get_mut(id) {
                tail.close();
            }
            self.unpacked(id);
        }
        self.put_off += 1;
        if self.put_off < self.queue.len() + self.backlogs.len() {
            return Turn::Progress;
        }
        self.put_off = 0;
        if std::mem::take(&mut self.reached_share) {
            // What waits for more of it to fill a request should leave; but only once.
            budget.run_short();
        }
        Turn::Blocked
    }

    /// A file that was opened stays so only while not too many are.
    pub(super) fn bound_open(&mut self, id: TailId, was_open: bool) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        if !was_open && tail.is_open() && !tail.deleted {
            self.open_files += 1;
            // The one that is unpacked must stay open to be finished, or the others would wait for ever.
            if self.open_files > self.max_open.load(Ordering::Relaxed) && self.unpacking != Some(id) {
                tail.close();
                self.open_files -= 1;
            }
        }
    }

    fn read(&mut self, id: TailId, was_open: bool, now: Duration, budget: &Arc<FlowBudget>) -> Turn {
        let max_line = self.options.max_line_bytes;
        let Some(tail) = self.tails.get_mut(id) else { return Turn::Progress };
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
        if matches!(read, Ok(Read::Chunk { .. } | Read::CaughtUp)) && !self.troubles.is_empty() {
            self.troubles.mended(&tail.path);
        }
        self.bound_open(id, was_open);
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
            Ok(Read::Chunk { chunk, end, caught_up }) => {
                self.give_out(id, chunk, end, caught_up);
                let holding = self.tails.get(id).and_then(|tail| tail.holding.as_ref());
                self.reached_share |=
                    holding.is_some_and(|holding| budget.left_for(holding, 0) < WORTH_A_READ);
            }
            // Nothing is ever added to a compressed file.
            Ok(Read::CaughtUp) if self.unpacking == Some(id) => self.finish(id, now, budget, true),
            Ok(Read::CaughtUp) => {}
            Ok(Read::NoBudget) if self.options.shares_memory => return self.put_off(id, budget),
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

    pub(super) fn give_out(&mut self, id: TailId, chunk: Chunk, end: ChunkEnd, caught_up: bool) {
        crash_point("tail.after_read");
        self.counters.bytes_read.add(chunk.span.len());
        self.put_off = 0;
        self.announce(id);
        if let Some(tail) = self.tails.get_mut(id) {
            // The status shows how far the file is read.
            tail.note_due = true;
        }
        self.events.push_back(TailEvent::Chunk { chunk, end, caught_up });
        self.wake_followers_of(id);
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
    pub(super) fn unpacked(&mut self, id: TailId) {
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

    pub(super) fn read_failed(&mut self, id: TailId, error: &io::Error, now: Duration) {
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

    #[cfg(test)]
    pub fn has_followers(&self) -> bool {
        self.succession.waits()
    }

    pub fn has_turns(&self) -> bool {
        !self.queued.is_empty()
    }
}
