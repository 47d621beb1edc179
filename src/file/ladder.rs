//! The anchors that are kept of a tail: the one at its position, and a few older ones at
//! growing distances. When a file lost its last pages in a power cut, the newest anchor that
//! still agrees says how much of it is left.

use super::chunk::Anchor;

/// How far behind the newest anchor the older ones stand, at least. Bytes.
const STEPS: [u64; 4] = [4 << 10, 64 << 10, 1 << 20, 16 << 20];

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ladder {
    /// The newest first; at most one more than there are [`STEPS`].
    anchors: Vec<Anchor>,
}

impl Ladder {
    pub fn new(mut anchors: Vec<Anchor>) -> Self {
        anchors.sort_by_key(|anchor| std::cmp::Reverse(anchor.offset));
        anchors.dedup_by_key(|anchor| anchor.offset);
        Ladder { anchors }
    }

    /// `anchor` stands at the new position, behind all others.
    pub fn push(&mut self, anchor: Anchor) {
        if self.anchors.first().is_some_and(|newest| newest.offset >= anchor.offset) {
            return;
        }
        self.anchors.insert(0, anchor);
        self.thin();
    }

    /// Keeps of the older anchors the newest one that is far enough behind for each step, and
    /// the one before it, which will be far enough soon.
    fn thin(&mut self) {
        let newest = self.anchors[0].offset;
        let mut kept = vec![self.anchors[0]];
        let mut rest = self.anchors[1..].iter().copied().peekable();
        for step in STEPS {
            let mut nearest = None;
            while let Some(anchor) = rest.peek() {
                nearest = Some(*anchor);
                let far_enough = newest - anchor.offset >= step;
                rest.next();
                if far_enough {
                    break;
                }
            }
            kept.extend(nearest);
        }
        self.anchors = kept;
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
    fn it_keeps_few_anchors_and_some_of_them_far_behind() {
        let mut ladder = Ladder::default();
        for offset in (0..40_000_000).step_by(10_000) {
            ladder.push(Anchor { offset, hash: offset });
            assert!(ladder.anchors().len() <= 5);
        }
        let newest = ladder.newest().unwrap().offset;
        assert_eq!(newest, 39_990_000);
        assert!(ladder.anchors().windows(2).all(|pair| pair[0].offset > pair[1].offset));
        assert!(newest - ladder.anchors().last().unwrap().offset >= 4 << 10);
    }
}
