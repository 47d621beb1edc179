//! How long a request is waited for, as far as it is known how fast the destination takes bodies.
//!
//! A request gets 10 s, and besides as long as its body takes: on a link of which nothing is known
//! at 50 KB/s, else at a twentieth of the fastest that was seen. So a destination that hangs is
//! found out soon where the link is fast, and slow links get through. What times out is waited for
//! longer the next time, since the link may have become slow. Pure: the delivery measures and waits.

use std::time::Duration;

use super::entry::Entry;

/// An attempt on any link gets this long.
const BASE: Duration = Duration::from_secs(10);
/// No link is taken for slower. Bytes a second.
const SLOWEST_LINK: f64 = 50_000.0;
/// A link that was seen to be so much faster may take as long as at `1 / MARGIN` of that.
const MARGIN: f64 = 20.0;
/// After a time-out it is taken for so much slower.
const SLOWER: f64 = 4.0;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Patience {
    /// The fastest that was seen, in bytes a second. A lower bound of what the link can do: small
    /// bodies say little of it, and do no harm.
    rate: f64,
}

impl Patience {
    /// How long an attempt with a body of so many bytes may take.
    pub fn limit(self, body: usize) -> Duration {
        let rate = (self.rate / MARGIN).max(SLOWEST_LINK);
        BASE + Duration::from_secs_f64(body as f64 / rate)
    }

    pub fn answered(&mut self, body: usize, took: Duration) {
        // A clock may stand still for a moment.
        let took = took.max(Duration::from_millis(1));
        self.rate = self.rate.max(body as f64 / took.as_secs_f64());
    }

    /// `before` is what was known when the attempt began. If others were answered faster since,
    /// the link is not slow.
    pub fn timed_out(&mut self, before: Patience) {
        if self.rate <= before.rate {
            self.rate = self.rate.min(before.rate / SLOWER);
        }
    }
}

/// About how long the body of a request with these entries is. Bytes.
pub fn body_bytes(entries: &[Entry]) -> usize {
    // Each entry has its key, its field names and their punctuation around it.
    entries.iter().map(|entry| entry.bytes.div_ceil(3) * 4 + 64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::testing::entry;

    const MEGABYTE: usize = 1_000_000;

    #[test]
    fn a_large_body_gets_more_time() {
        let limit = |payload: &[u8]| Patience::default().limit(body_bytes(&[entry(&[payload])])).as_secs();
        assert_eq!(limit(b"x"), 10);
        assert_eq!(limit(&vec![b'x'; 1 << 20]), 37);
    }

    #[test]
    fn a_link_that_was_fast_gets_less_time_until_it_times_out() {
        let mut patience = Patience::default();
        patience.answered(MEGABYTE, Duration::from_millis(100));
        patience.answered(100, Duration::from_millis(100));
        let mut limits = Vec::new();
        for _ in 0..4 {
            limits.push(patience.limit(MEGABYTE).as_secs());
            patience.timed_out(patience);
        }
        assert_eq!(limits, [12, 18, 30, 30]);
    }

    #[test]
    fn attempts_that_time_out_together_count_once_and_not_if_others_are_answered() {
        let mut before = Patience::default();
        before.answered(MEGABYTE, Duration::from_secs(1));
        let mut patience = before;
        patience.timed_out(before);
        let once = patience;
        patience.timed_out(before);
        assert_eq!(patience, once);
        patience.answered(2 * MEGABYTE, Duration::from_secs(1));
        let mut after = patience;
        after.timed_out(before);
        assert_eq!(after, patience);
    }
}
