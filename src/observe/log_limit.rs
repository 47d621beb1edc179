//! Says whether a log line that may come thousands of times should be written now: the first
//! of its cause at once, then one for each period, with the number of those that were not.
//!
//! One limit stands for one cause; who has several keeps several. It has no clock.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct LogLimit {
    every: Duration,
    written: Option<Duration>,
    left_out: u64,
}

impl LogLimit {
    pub fn new(every: Duration) -> Self {
        LogLimit { every, written: None, left_out: 0 }
    }

    /// Something happened at `now` (since some start). Where it should be logged: how many
    /// times it happened without being logged since the last time that it was.
    pub fn hit(&mut self, now: Duration) -> Option<u64> {
        if self.written.is_some_and(|written| now < written + self.every) {
            self.left_out += 1;
            return None;
        }
        self.written = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_period_with_the_number_of_the_others() {
        let mut limit = LogLimit::new(Duration::from_secs(60));
        let hits = [0, 1, 59, 60, 61, 200].map(|second| limit.hit(Duration::from_secs(second)));
        assert_eq!(hits, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
