//! Where the unread rest of a tail is whose file is not where it was, or holds something else now:
//! under another name, in a copy, in a compressed file, or nowhere.
//!
//! Names and inodes say which files to look at; what they hold decides.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::body::{Body, is_compressed, is_unpackable};
use super::chunk::TailId;
use super::identity::{HEAD_BYTES, Verdict, is_content_known, verify};
use super::listing::Listing;
use super::note::{Lost, TailState};
use super::replaced::holds_prefix;
use super::rotation::{Seen, is_sibling, may_be_renamed};
use super::tailers::{Tailers, open_file};
use crate::observe::{LossReason, RotationKind};

/// A file that may hold a missed tail's bytes and cannot be read is tried again for so long: it may
/// still be being compressed, or its permissions be mended.
const UNREADABLE: Duration = Duration::from_secs(600);

/// Where the unread rest of a tail is.
pub(super) enum Rest {
    In(Seen),
    /// A file that may hold it went from its name after the folder was listed.
    Moved,
    /// Perhaps in one that cannot be read.
    Unreadable,
    Nowhere,
}

impl Tailers {
    /// Tails whose file was not found: under another inode, as a copy, compressed, or gone.
    pub(super) fn settle_absent(&mut self, appeared: &mut Vec<Seen>, listing: &Listing, now: Duration) {
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

    /// Looks for a file that holds the tail's bytes and goes on in it.
    pub(super) fn find_rest(&mut self, id: TailId, appeared: &mut Vec<Seen>, now: Duration) -> Rest {
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
            !self.reborn.contains_key(&seen.key)
                && self.tails.iter().any(|tail| tail.key() == seen.key && tail.id != id && !tail.absent)
        };
        candidates.retain(|seen| !is_compressed(&seen.path) || is_unpackable(&seen.path));
        // Of a file that was empty no content is known: any would agree with it.
        let may_be_it =
            |seen: &Seen| seen.key.1 == identity.inode && self.may_be_the_empty_one(tail, &seen.path);
        candidates.retain(|seen| is_content_known(identity, tail.ladder()) || may_be_it(seen));
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
        if !is_content_known(&tail.identity, tail.ladder())
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
pub(super) fn is_filled(body: &mut Body) -> io::Result<bool> {
    Ok(body.available(0, 1)?.is_some_and(|holds| holds.bytes > 0))
}

/// Whether the folder is there and has something in it: an empty one may be a mount point.
fn holds_something(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
