//! The anchors that are kept of a tail: the one at its position, and a few older ones at
//! growing distances. When a file lost its last pages in a power cut, the newest anchor that
//! still agrees says how much of it is left.

use smallvec::SmallVec;

use super::chunk::Anchor;

/// The borders of the distances behind the newest anchor, in bytes: of the anchors between two
/// borders only the oldest is kept, which is the next to cross into the following range.
const BORDERS: [u64; 9] =
    [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 256 << 20, 4 << 30];

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ladder {
    /// The newest first; at most two more than there are [`BORDERS`].
    anchors: SmallVec<[Anchor; 1]>,
}

impl Ladder {
    pub fn new(mut anchors: Vec<Anchor>) -> Self {
        anchors.sort_by_key(|anchor| std::cmp::Reverse(anchor.offset));
        anchors.dedup_by_key(|anchor| anchor.offset);
        Ladder { anchors: anchors.into() }
    }

    /// `anchor` stands at the new position, behind all others.
    pub fn push(&mut self, anchor: Anchor) {
        if self.anchors.first().is_some_and(|newest| newest.offset >= anchor.offset) {
            return;
        }
        self.anchors.insert(0, anchor);
        self.thin();
    }

    fn thin(&mut self) {
        let newest = self.anchors[0].offset;
        let range =
            |anchor: &Anchor| BORDERS.iter().filter(|&&border| newest - anchor.offset >= border).count();
        let older: SmallVec<[Anchor; 12]> = self.anchors.drain(1..).collect();
        for (number, anchor) in older.iter().enumerate() {
            if older.get(number + 1).is_none_or(|next| range(next) != range(anchor)) {
                self.anchors.push(*anchor);
            }
        }
    }

    pub fn newest(&self) -> Option<Anchor> {
        self.anchors.first().copied()
    }

    /// The newest first.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_few_anchors_and_one_of_them_not_far_behind() {
        let mut ladder = Ladder::default();
        for offset in (1000..40_000_000).step_by(1000) {
            ladder.push(Anchor { offset, hash: offset });
            let offsets: Vec<u64> = ladder.anchors().iter().map(|anchor| anchor.offset).collect();
            assert!(offsets.len() <= BORDERS.len() + 2 && offsets[0] == offset);
            assert!(offsets.windows(2).all(|pair| pair[0] > pair[1]));
            assert!(offset < 20_000 || offset - offsets[2] <= 16 << 10, "{offsets:?}");
        }
        assert!(ladder.anchors().len() >= 5);
    }
}
