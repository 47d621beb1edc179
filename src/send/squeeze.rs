//! How much of the size that compressed entries may have they really have, so that a shard is
//! charged with what it gets. Pure.
//!
//! Entries are compressed at each attempt, after their place in a shard's second was taken; until
//! one was, they count in full. What fits into a request is not its business: that has to hold for
//! lines that cannot be compressed at all.

/// How much the latest request counts.
const LATEST: f64 = 0.3;

/// No log is squeezed more than this.
const LEAST: f64 = 0.001;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Squeeze {
    /// None until something was compressed.
    ratio: Option<f64>,
}

impl Squeeze {
    pub const NONE: Squeeze = Squeeze { ratio: None };

    /// Entries that might have taken `most` bytes took `sealed`.
    pub fn learn(&mut self, most: usize, sealed: usize) {
        if most == 0 {
            return;
        }
        let latest = (sealed as f64 / most as f64).clamp(LEAST, 1.0);
        let known = self.ratio.unwrap_or(latest);
        self.ratio = Some(known + LATEST * (latest - known));
    }

    /// What an entry that takes at most `most` bytes is likely to take. Bytes.
    pub fn of(self, most: usize) -> usize {
        (most as f64 * self.ratio.unwrap_or(1.0)).ceil() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_count_in_full_until_one_was_compressed() {
        let mut squeeze = Squeeze::NONE;
        assert_eq!(squeeze.of(1000), 1000);
        squeeze.learn(0, 0);
        assert_eq!(squeeze.of(1000), 1000);
        squeeze.learn(10_000, 500);
        assert_eq!(squeeze.of(1000), 50);
        (0..30).for_each(|_| squeeze.learn(10_000, 2000));
        assert!((199..=201).contains(&squeeze.of(1000)), "{}", squeeze.of(1000));
        squeeze.learn(10, 0);
        assert!(squeeze.of(1000) > 0);
    }
}
