//! Blocks that wait, uncut, because enough records of their file wait for its shard already: there
//! they take no more memory than what was read. Where the key of a file decides on the shard, the
//! records of one whose shard takes little would else be all that a sender holds.
//!
//! Pure. Blocks of one file keep their order; which file has its turn is decided anew each time.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use crate::file::Span;
use crate::record::{Block, Shape};

/// How many records of a file may wait where so many wait in all, which should not be more than `most`:
/// a quarter of what is left, so that something is left for another file.
pub fn share(waiting: usize, most: usize) -> usize {
    (most.saturating_sub(waiting) / 4).clamp(1, 500)
}

/// The file whose key a block's records have. What has none is of one.
type Home = Option<Arc<Path>>;

#[derive(Debug, Default)]
pub struct Shelf {
    blocks: HashMap<Home, VecDeque<Block>>,
    /// The files, in the order of their turns.
    turns: VecDeque<Home>,
}

impl Shelf {
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub fn put(&mut self, block: Block) {
        let home = block.chunk.home().cloned();
        let blocks = self.blocks.entry(home.clone()).or_default();
        if blocks.is_empty() {
            self.turns.push_back(home);
        }
        blocks.push_back(block);
    }

    /// The next block of a file of which fewer records wait than may, cut to so many. `waiting` says
    /// how many wait of a file.
    pub fn take(&mut self, may_wait: usize, waiting: impl Fn(&Block) -> usize) -> Option<Block> {
        for _ in 0..self.turns.len() {
            let home = self.turns.pop_front()?;
            let Some(blocks) = self.blocks.get_mut(&home) else { continue };
            let room = blocks.front().map_or(0, |block| may_wait.saturating_sub(waiting(block)));
            let taken = if room > 0 { take_records(blocks, room) } else { None };
            if blocks.is_empty() {
                self.blocks.remove(&home);
            } else {
                self.turns.push_back(home);
            }
            if taken.is_some() {
                return taken;
            }
        }
        None
    }
}

/// At most so many records off the first of the blocks.
fn take_records(blocks: &mut VecDeque<Block>, most: usize) -> Option<Block> {
    let first = blocks.front_mut()?;
    let end = match first.shape {
        Shape::Lines => memchr::memchr_iter(b'\n', &first.payload).nth(most - 1).map(|newline| newline + 1),
        Shape::One | Shape::Piece => None,
    };
    let Some(end) = end.filter(|end| *end < first.payload.len()) else { return blocks.pop_front() };
    let border = first.span.start + end as u64;
    let (span, payload) = (Span::new(first.span.start, border), first.payload.split_to(end));
    first.span.start = border;
    Some(Block { span, payload, ..first.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::testing::block;
    use proptest::prelude::*;

    fn of(home: &str, start: u64, text: &str) -> Block {
        let block = block(1, start, text.as_bytes());
        Block { chunk: block.chunk.of_home(Some(Path::new(home).into())), ..block }
    }

    fn text(block: &Block) -> &str {
        std::str::from_utf8(&block.payload).unwrap()
    }

    #[test]
    fn each_file_has_its_turn_while_few_of_its_records_wait() {
        let mut shelf = Shelf::default();
        shelf.put(of("/a", 0, "1\n2\n3\n"));
        shelf.put(of("/a", 6, "4\n"));
        shelf.put(of("/b", 0, "5\n"));
        let mut next = |waiting: usize| {
            let block =
                shelf.take(3, |block| if block.chunk.home().unwrap().ends_with("a") { waiting } else { 0 });
            block.map(|block| (text(&block).to_owned(), block.span.start))
        };
        assert_eq!(next(1), Some(("1\n2\n".into(), 0)));
        assert_eq!(next(1), Some(("5\n".into(), 0)));
        assert_eq!(next(3), None);
        assert_eq!(next(0), Some(("3\n".into(), 4)));
        assert_eq!(next(0), Some(("4\n".into(), 6)));
        assert!(next(0).is_none() && shelf.is_empty());
    }

    #[test]
    fn however_many_files_wait_the_next_has_a_share() {
        let (mut waiting, most) = (0, 10_000);
        for file in 0..1_000 {
            let share = share(waiting, most);
            assert_eq!(share, [500, share][usize::from(file >= 16)], "{file}");
            assert!(share > 0);
            waiting += share;
        }
        assert!(waiting < most + 1_000, "{waiting}");
    }

    proptest! {
        #[test]
        fn what_is_taken_of_a_file_is_what_was_put_in_its_order(
            puts in prop::collection::vec((0usize..3, 1usize..9), 1..30),
            takes in prop::collection::vec((1usize..6, 0usize..4), 1..60),
        ) {
            let mut shelf = Shelf::default();
            let (mut put, mut taken) = ([const { String::new() }; 3], [const { String::new() }; 3]);
            for (file, lines) in puts {
                let start = put[file].len() as u64;
                let lines: String = (0..lines).map(|line| format!("{start}-{line}\n")).collect();
                shelf.put(of(&file.to_string(), start, &lines));
                put[file].push_str(&lines);
            }
            let mut take = |most: usize, waiting: usize| {
                let Some(block) = shelf.take(most, |_| waiting) else { return false };
                let file: usize = block.chunk.home().unwrap().to_str().unwrap().parse().unwrap();
                assert_eq!(block.span.start, taken[file].len() as u64);
                assert!(text(&block).lines().count() <= most - waiting);
                taken[file].push_str(text(&block));
                true
            };
            for (most, waiting) in takes {
                take(most, waiting);
            }
            while take(2, 0) {}
            prop_assert_eq!(put, taken);
        }
    }
}
