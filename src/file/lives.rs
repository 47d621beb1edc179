//! Which of several rows with one inode is the file's that has it now.
//!
//! An inode is free again when its file is deleted, and rows outlive their files. What the file
//! holds decides, where a row's path leads to it; else the row that was seen last. A tail that moved
//! into a copy may be older than one whose inode the copy got, so the rows' numbers say little.

use std::collections::HashMap;

use super::identity::{FileKey, Verdict, verify};
use super::ladder::Ladder;
use super::note::{KnownTail, TailState};
use super::tailers::open_file;

/// No file has it.
const NO_INODE: u64 = 0;

/// Leaves each inode to one row. The others are what had it before, and are known by their content
/// alone.
pub(super) fn keep_newest_lives(known: &mut [KnownTail]) {
    known.sort_unstable_by_key(|row| row.tail);
    let mut lives: HashMap<FileKey, Vec<&mut KnownTail>> = HashMap::with_capacity(known.len());
    for row in known {
        lives.entry(row.identity.key()).or_default().push(row);
    }
    lives.into_values().filter(|lives| lives.len() > 1).for_each(keep_newest);
}

fn keep_newest(mut lives: Vec<&mut KnownTail>) {
    let key = lives[0].identity.key();
    // What cannot be opened now is dealt with by the first look.
    let mut body = lives.iter().find_map(|row| open_file(&row.path, key).ok().flatten());
    let mut holds = |row: &KnownTail| {
        let verdict = verify(body.as_mut()?, &row.identity, &Ladder::new(row.anchors.clone()));
        Some(!matches!(verdict, Ok(Verdict::Different)) && row.identity.head_length > 0)
    };
    lives.sort_by_cached_key(|row| (holds(row), row.state != TailState::Over, row.modified_millis, row.tail));
    lives.pop();
    lives.into_iter().for_each(|row| row.identity.inode = NO_INODE);
}
