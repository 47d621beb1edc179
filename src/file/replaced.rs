//! Tails whose file holds something else than what was read from it: it was cut, truncated, or
//! replaced by another with its inode.
//!
//! Where it still agrees reading goes on; else the tail's rest is looked for, and a new life begins.

use std::io;
use std::time::Duration;

use super::attic::{is_as_listed, seen_at};
use super::body::{Body, is_compressed};
use super::chunk::{Anchor, TailId};
use super::identity::{Verdict, anchor_agrees, verify};
use super::listing::Listing;
use super::newcomer::Start;
use super::note::Lost;
use super::rest::Rest;
use super::rotation::Seen;
use super::tail::Tail;
use super::tailers::{Tailers, open_file};
use crate::observe::{LossReason, RotationKind};

impl Tailers {
    /// Files that were cut, and that no name leads to: their rest is looked for at once, before
    /// its copy is taken for a new file.
    pub(super) fn miss_foreign(&mut self, listing: &Listing) {
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

    /// Tails whose file no longer holds what was read from it. Gives back those that were replaced:
    /// a file that was overwritten may be the copy that another one's rest is in.
    pub(super) fn judge_foreign(
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
            let was_open = tail.is_open();
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
                    self.reborn.insert(present.key, tail.home.clone());
                    if was_open && present.size == 0 {
                        self.emptied.insert(present.key);
                    }
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
    pub(super) fn replaced(&mut self, id: TailId, present: &Seen, appeared: &mut Vec<Seen>, now: Duration) {
        let Some(tail) = self.tails.get_mut(id) else { return };
        self.rotated.insert(tail.home.clone());
        tail.close();
        let (unread, read) = (tail.unread_for_sure(), tail.position);
        let mut rest = self.find_rest(id, appeared, now);
        if let Rest::Nowhere = rest
            && self.may_have_missed_its_copy(id, present, now)
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

    /// Whether the file may have been truncated after its folder was listed: then its copy is not in
    /// the listing.
    fn may_have_missed_its_copy(&mut self, id: TailId, present: &Seen, now: Duration) -> bool {
        if !self.cut_before.contains(&id) && !is_as_listed(present) {
            self.names_move(now);
        }
        !self.sure
    }
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
pub(super) fn holds_prefix(body: &mut Body, tail: &Tail, size: u64) -> io::Result<bool> {
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
