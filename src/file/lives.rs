//! Which of several rows with one inode is the file's that has it now.
//!
//! An inode is free again when its file is deleted, and rows outlive their files. What the file
//! holds decides, where a row's path leads to it; else the row that was seen last. A tail that moved
//! into a copy may be older than one whose inode the copy got, so the rows' numbers say little.

use std::collections::HashMap;

use super::chunk::TailId;
use super::identity::{FileKey, Verdict, verify};
use super::ladder::Ladder;
use super::note::{KnownTail, TailState};
use super::tailers::open_file;

/// No file has it.
const NO_INODE: u64 = 0;

/// All rows, in the order of their numbers. Those whose inode is another's by now have none: their
/// rest may be in a compressed file, and is known by its content alone.
pub(super) fn newest_lives(known: Vec<KnownTail>) -> Vec<KnownTail> {
    let mut lives: HashMap<FileKey, Vec<KnownTail>> = HashMap::with_capacity(known.len());
    for row in known {
        lives.entry(row.identity.key()).or_default().push(row);
    }
    let mut all: Vec<KnownTail> = lives.into_values().flat_map(leave_it_to_the_newest).collect();
    all.sort_unstable_by_key(|row| row.tail);
    all
}

fn leave_it_to_the_newest(mut lives: Vec<KnownTail>) -> Vec<KnownTail> {
    let Some(newest) = newest(&lives) else { return lives };
    lives.retain(|row| row.tail == newest || row.state != TailState::Over);
    for row in lives.iter_mut().filter(|row| row.tail != newest) {
        row.identity.inode = NO_INODE;
    }
    lives
}

/// Of several.
fn newest(lives: &[KnownTail]) -> Option<TailId> {
    if lives.len() < 2 {
        return None;
    }
    let key = lives[0].identity.key();
    // What cannot be opened now is dealt with by the first look.
    let mut body = lives.iter().find_map(|row| open_file(&row.path, key).ok().flatten());
    let mut holds = |row: &KnownTail| {
        let verdict = verify(body.as_mut()?, &row.identity, &Ladder::new(row.anchors.clone()));
        Some(!matches!(verdict, Ok(Verdict::Different)) && row.identity.head_length > 0)
    };
    let newest = lives
        .iter()
        .max_by_key(|row| (holds(row), row.state != TailState::Over, row.modified_millis, row.tail));
    newest.map(|row| row.tail)
}
