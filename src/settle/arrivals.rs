//! Since when the unsettled bytes of each tail have been there: for each tail with a lag a few
//! marks that say up to where its file reached at which moment.
//!
//! In a full list two neighbours are joined, and their bytes count as old as the older of the
//! two, so an age is never understated; while a tail lags steadily it is overstated by less than
//! a third. A tail without a lag has no entry and costs nothing. Pure: it is given the
//! time, as a moment on a clock that cannot jump.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::file::TailId;

/// More are joined.
const MAX_MARKS: usize = 16;

/// Now, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the stage began, which only grow.
    pub uptime: i64,
    /// Milliseconds since the epoch, which may jump.
    pub wall: i64,
}

impl Moment {
    pub fn new(uptime: Duration, wall: SystemTime) -> Self {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Moment { uptime: millis(uptime), wall: millis(wall.duration_since(UNIX_EPOCH).unwrap_or_default()) }
    }
}

#[derive(Debug, Default)]
pub struct Arrivals {
    tails: HashMap<TailId, Vec<Mark>>,
}

/// The bytes before `end`, and after the mark before, have been there since `since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    end: u64,
    /// As [`Moment::uptime`]; below zero for what was there before the stage began.
    since: i64,
}

impl Arrivals {
    /// A tail is seen for the first time, and `size` bytes are there of which `watermark` are
    /// settled. When they came is not known, but the last one was written when the file was
    /// modified, so the oldest is at least that old.
    pub fn found(&mut self, tail: TailId, watermark: u64, size: u64, modified_millis: i64, now: Moment) {
        // A time in the future is the work of a clock that was wrong.
        let age = now.wall.saturating_sub(modified_millis).max(0);
        self.push(tail, watermark, Mark { end: size, since: now.uptime.saturating_sub(age) });
    }

    /// The tail's file reaches to `size` now.
    pub fn grown(&mut self, tail: TailId, watermark: u64, size: u64, now: Moment) {
        self.push(tail, watermark, Mark { end: size, since: now.uptime });
    }

    /// Everything before `watermark` is settled.
    pub fn settled(&mut self, tail: TailId, watermark: u64) {
        let Some(marks) = self.tails.get_mut(&tail) else { return };
        let settled = marks.iter().take_while(|mark| mark.end <= watermark).count();
        marks.drain(..settled);
        if marks.is_empty() {
            self.tails.remove(&tail);
        }
    }

    /// Those with a lag, and maybe others.
    pub fn tails(&self) -> impl Iterator<Item = TailId> {
        self.tails.keys().copied()
    }

    pub fn forget(&mut self, tail: TailId) {
        self.tails.remove(&tail);
    }

    /// The age of the tail's oldest unsettled byte; zero if there is none.
    pub fn age(&self, tail: TailId, now: Moment) -> Duration {
        let oldest = self.tails.get(&tail).and_then(|marks| marks.first());
        let millis = oldest.map_or(0, |mark| now.uptime.saturating_sub(mark.since));
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    fn push(&mut self, tail: TailId, watermark: u64, mark: Mark) {
        if mark.end <= watermark {
            return;
        }
        let marks = self.tails.entry(tail).or_default();
        if marks.last().is_some_and(|last| mark.end <= last.end) {
            return;
        }
        if marks.len() == MAX_MARKS {
            join_two(marks);
        }
        marks.push(mark);
    }
}

/// Joins the two neighbours whose bytes came within the shortest time, so that all marks come to
/// stand for times of about the same length.
fn join_two(marks: &mut Vec<Mark>) {
    let spans = marks.windows(3).map(|three| three[2].since.saturating_sub(three[0].since));
    if let Some((at, _)) = spans.enumerate().min_by_key(|(_, span)| *span) {
        marks[at].end = marks[at + 1].end;
        marks.remove(at + 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAIL: TailId = TailId(1);

    fn at(seconds: i64) -> Moment {
        Moment { uptime: seconds * 1000, wall: 1_000_000_000 + seconds * 1000 }
    }

    fn age(arrivals: &Arrivals, seconds: i64) -> u64 {
        arrivals.age(TAIL, at(seconds)).as_secs()
    }

    #[test]
    fn the_age_is_that_of_the_oldest_byte_that_is_not_settled() {
        let mut arrivals = Arrivals::default();
        arrivals.grown(TAIL, 0, 100, at(10));
        arrivals.grown(TAIL, 0, 150, at(20));
        assert_eq!(age(&arrivals, 30), 20);
        arrivals.settled(TAIL, 99);
        assert_eq!(age(&arrivals, 30), 20);
        arrivals.settled(TAIL, 100);
        assert_eq!(age(&arrivals, 30), 10);
        arrivals.settled(TAIL, 150);
        assert_eq!(age(&arrivals, 30), 0);
        arrivals.grown(TAIL, 200, 180, at(40));
        assert!(arrivals.tails.is_empty(), "a tail without a lag holds no memory");
    }

    #[test]
    fn what_was_there_before_is_as_old_as_the_file_says_and_never_from_the_future() {
        let mut arrivals = Arrivals::default();
        arrivals.found(TAIL, 5, 100, at(-50).wall, at(10));
        assert_eq!(age(&arrivals, 10), 60);
        arrivals.found(TailId(2), 0, 1, at(999).wall, at(10));
        assert_eq!(arrivals.age(TailId(2), at(13)).as_secs(), 3);
        arrivals.found(TailId(3), 0, 1, i64::MIN, at(10));
        assert!(arrivals.age(TailId(3), at(10)).as_millis() > 0);
    }

    #[test]
    fn a_clock_that_jumps_changes_no_age() {
        let mut arrivals = Arrivals::default();
        arrivals.grown(TAIL, 0, 100, at(10));
        let jumped = Moment { uptime: 15_000, wall: -1_000_000 };
        assert_eq!(arrivals.age(TAIL, jumped).as_secs(), 5);
        let earlier = Moment { uptime: 9_000, wall: 0 };
        assert_eq!(arrivals.age(TAIL, earlier), Duration::ZERO);
    }

    #[test]
    fn a_steady_lag_is_told_to_a_third() {
        for lag in [5, 60, 600, 7200] {
            let mut arrivals = Arrivals::default();
            for second in 0..lag * 20 {
                let settled = (second - lag).max(0) as u64 * 10;
                arrivals.grown(TAIL, settled, second as u64 * 10 + 10, at(second));
                arrivals.settled(TAIL, settled);
                assert!(arrivals.tails[&TAIL].len() <= MAX_MARKS);
                if second > 2 * lag {
                    let told = age(&arrivals, second) as i64;
                    assert!((lag..=lag + lag / 3 + 1).contains(&told), "{told} for {lag}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn an_age_is_never_understated(
            steps in proptest::collection::vec((0u64..30, 0u64..30, 0i64..5), 0..200),
        ) {
            let mut arrivals = Arrivals::default();
            let (mut size, mut watermark, mut now) = (0, 0, 0);
            let mut written = Vec::new();
            for (grows, settles, passes) in steps {
                now += passes;
                size += grows;
                written.resize(size as usize, now);
                arrivals.grown(TAIL, watermark, size, at(now));
                watermark = size.min(watermark + settles);
                arrivals.settled(TAIL, watermark);
                let told = age(&arrivals, now) as i64;
                match written.get(watermark as usize) {
                    Some(since) => prop_assert!(told >= now - since && told <= now),
                    None => prop_assert_eq!(told, 0),
                }
            }
        }
    }
}
