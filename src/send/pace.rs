//! How long one attempt may take: ten seconds, and the time that its body needs.
//!
//! A body for which nothing is known gets the time that a slow link needs. Where answers came
//! faster lately it gets a multiple of what they took, so that a destination that hangs is given
//! up, and asked again, in seconds and not in minutes. Each time-out makes the pace slower again:
//! a link that became slow gets its time after a few. Pure: it is told how long requests took.

use std::time::Duration;

use super::entry::Entry;

/// An attempt on any link gets this long,
const BASE: Duration = Duration::from_secs(10);
/// and besides as long as its body takes at this rate, on a link of which nothing better is known.
/// Bytes a second.
const SLOWEST_LINK: u64 = 50_000;
/// How much slower than before a body may become.
const PATIENCE: u64 = 4;
/// A time-out makes the pace so much slower.
const BRAKE: u64 = 8;
/// Smaller bodies tell of the distance, not of the rate. Bytes.
const TELLING_BODY: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// At what rate bodies were answered lately. Bytes a second; 0: not known.
    rate: u64,
}

impl Pace {
    /// How long an attempt with a body of so many bytes may take.
    pub fn time_for(&self, body: u64) -> Duration {
        let rate = (self.rate / PATIENCE).max(SLOWEST_LINK);
        BASE + Duration::from_millis(body.saturating_mul(1000) / rate)
    }

    /// A slower answer counts at once, faster ones by and by.
    pub fn answered(&mut self, body: u64, after: Duration) {
        if body < TELLING_BODY {
            return;
        }
        let rate = u64::try_from(u128::from(body) * 1000 / after.as_millis().max(1)).unwrap_or(u64::MAX);
        self.rate = match self.rate {
            0 => rate,
            known => rate.min(known.saturating_add(rate.saturating_sub(known) / 8)),
        };
    }

    /// An attempt for which this was the pace when it began got no answer in time. Attempts that
    /// began together make it slower once, and one that others overtook since does not.
    pub fn timed_out(&mut self, when_it_began: Pace) {
        if self.rate <= when_it_began.rate {
            self.rate = self.rate.min(when_it_began.rate / BRAKE);
        }
    }
}

/// About how many bytes the body of a request with these entries has.
pub fn body_bytes(entries: &[Entry]) -> u64 {
    // Each entry has its key, its field names and their punctuation around it.
    entries.iter().map(|entry| entry.size.div_ceil(3) as u64 * 4 + 64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::testing::entry;

    const MB: u64 = 1 << 20;

    #[test]
    fn a_large_body_gets_more_time_on_an_unknown_link() {
        let pace = Pace::default();
        assert_eq!(pace.time_for(body_bytes(&[entry(&[b"x"])])).as_secs(), 10);
        let megabyte = entry(&[&vec![b'x'; 1 << 20]]);
        assert_eq!(pace.time_for(body_bytes(&[megabyte])).as_secs(), 37);
    }

    #[test]
    fn a_destination_that_was_fast_is_given_up_soon() {
        let mut pace = Pace::default();
        (0..10).for_each(|_| pace.answered(4 * MB, Duration::from_millis(100)));
        assert_eq!(pace.time_for(4 * MB).as_secs(), 10);
        pace.answered(100, Duration::from_secs(9));
        assert_eq!(pace.time_for(4 * MB).as_secs(), 10);
    }

    #[test]
    fn a_link_that_became_slow_gets_its_time_after_a_few_time_outs() {
        let mut pace = Pace::default();
        pace.answered(4 * MB, Duration::from_millis(50));
        for _ in 0..4 {
            // All that are under way time out together.
            let began = pace;
            (0..4).for_each(|_| pace.timed_out(began));
        }
        assert_eq!(pace.time_for(4 * MB), Pace::default().time_for(4 * MB));
        pace.answered(4 * MB, Duration::from_secs(60));
        assert_eq!(pace.time_for(4 * MB), Pace::default().time_for(4 * MB));
    }

    #[test]
    fn what_was_overtaken_does_not_make_the_pace_slower() {
        let began = Pace::default();
        let mut pace = began;
        pace.answered(MB, Duration::from_millis(10));
        let faster = pace;
        pace.timed_out(began);
        assert_eq!(pace, faster);
    }

    #[test]
    fn one_slow_answer_counts_and_fast_ones_only_by_and_by() {
        let mut pace = Pace::default();
        pace.answered(MB, Duration::from_millis(10));
        pace.answered(MB, Duration::from_secs(10));
        assert_eq!(pace.time_for(10 * MB).as_secs(), 10 + 209);
        (0..4).for_each(|_| pace.answered(MB, Duration::from_secs(1)));
        assert!(pace.time_for(10 * MB).as_secs() > 20, "{pace:?}");
    }
}
