//! Where the entries for one destination go, and when: over the shards of a stream that tells
//! them, each with a limiter of its own; else with one limiter for all. Pure: `now` and random
//! numbers are given.
//!
//! It also decides when the stream is to be asked for its shards. It does not ask.

use std::time::Duration;

use super::limiter::{Amount, Limiter, Turn};
use super::options::ShardLimits;
use super::shards::{OpenShard, ShardId, Shards};

/// The shards are asked for at most so often,
const ASKED_EVERY: Duration = Duration::from_secs(30);
/// by several agents not all at once,
const JITTER: Duration = Duration::from_secs(5);
/// and where that is not allowed, to see whether it is allowed now.
const ASKED_AGAIN: Duration = Duration::from_secs(30 * 60);

/// After so long of refusals there may be other shards.
const REFUSALS_PERSIST: Duration = Duration::from_secs(5);

/// Where an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Shard(ShardId),
    /// To the shard that its partition key falls to.
    Anywhere,
}

/// What became of an entry, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With the shard, if the answer names it.
    Accepted(Option<ShardId>),
    /// Too much is sent.
    Throttled,
}

/// Why there is no list of open shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoShards {
    /// It will not be told; why, if that is worth saying.
    Never(Option<String>),
    /// It may be told later.
    Now,
}

#[derive(Debug)]
pub struct Spread {
    limits: ShardLimits,
    ways: Ways,
    question: Question,
}

#[derive(Debug)]
enum Ways {
    Shards(Shards),
    Stream(Limiter),
}

/// When the shards are asked for.
#[derive(Debug)]
struct Question {
    wanted: bool,
    running: bool,
    not_before: Duration,
}

impl Spread {
    /// `has_shards`: a Data Stream.
    pub fn new(has_shards: bool, limits: ShardLimits, now: Duration) -> Self {
        Spread {
            limits,
            ways: Ways::Stream(Limiter::of_stream(amount(limits), now)),
            question: Question { wanted: has_shards, running: false, not_before: now },
        }
    }

    /// How many open shards are known.
    pub fn shards(&self) -> Option<usize> {
        match &self.ways {
            Ways::Shards(shards) => Some(shards.count()),
            Ways::Stream(_) => None,
        }
    }

    /// Where an entry goes now, or how long it has to wait. `hash` is that of its key if it is
    /// fixed, `bytes` what it counts with its key.
    pub fn admit(
        &mut self,
        hash: Option<u128>,
        bytes: usize,
        turn: Turn,
        now: Duration,
    ) -> Result<Place, Duration> {
        let entry = Amount::of_entry(bytes);
        let shards = match &mut self.ways {
            Ways::Shards(shards) => shards,
            Ways::Stream(limiter) => {
                let wait = limiter.wait(entry, turn, now);
                if !wait.is_zero() {
                    return Err(wait);
                }
                limiter.take(entry, now);
                return Ok(Place::Anywhere);
            }
        };
        let id = match hash {
            None => shards.place(entry, turn, now)?,
            // No shard takes this hash key as far as we know: the stream knows better.
            Some(hash) => {
                let Some(id) = shards.of_hash(hash) else { return Ok(Place::Anywhere) };
                let wait = shards.wait(id, entry, turn, now);
                if !wait.is_zero() {
                    return Err(wait);
                }
                id
            }
        };
        shards.take(id, entry, now);
        Ok(Place::Shard(id))
    }

    /// The explicit hash key of an entry whose key is not fixed.
    pub fn hash_in(&self, place: Place, random: u128) -> Option<u128> {
        match (&self.ways, place) {
            (Ways::Shards(shards), Place::Shard(id)) => shards.hash_in(id, random),
            _ => None,
        }
    }

    /// A partition key, by its number, that goes to this place by itself, where that is known;
    /// none if any is as good. `draw` gives the number of any and its hash key.
    pub fn key_to(&mut self, place: Place, draw: impl FnMut() -> (u32, u128)) -> Option<u32> {
        match (&mut self.ways, place) {
            (Ways::Shards(shards), Place::Shard(id)) => shards.key_to(id, draw),
            _ => None,
        }
    }

    /// What became of an entry that was admitted.
    pub fn answered(&mut self, place: Place, bytes: usize, verdict: Verdict, now: Duration, random: f64) {
        let entry = Amount::of_entry(bytes);
        let accepted = verdict != Verdict::Throttled;
        match (&mut self.ways, place) {
            (Ways::Shards(shards), Place::Shard(id)) => {
                let refusing = shards.answered(id, entry, accepted, now);
                let elsewhere = matches!(verdict, Verdict::Accepted(Some(shard)) if shard != id);
                if elsewhere || refusing >= REFUSALS_PERSIST {
                    self.question.want(now, random);
                }
            }
            (Ways::Shards(_), Place::Anywhere) => self.question.want(now, random),
            (Ways::Stream(limiter), _) if accepted => limiter.accepted(entry, now),
            (Ways::Stream(limiter), _) => limiter.refused(entry, now),
        }
    }

    /// Whether the stream should be asked for its shards now. Who is told so asks, and says what
    /// came of it by [`told`](Self::told).
    pub fn should_ask(&mut self, now: Duration) -> bool {
        let question = &mut self.question;
        let due = question.wanted && !question.running && question.not_before <= now;
        question.running |= due;
        due
    }

    /// The stream was asked for its shards. Whether there is another map now.
    pub fn told(&mut self, told: Result<Vec<OpenShard>, NoShards>, now: Duration, random: f64) -> bool {
        self.question.running = false;
        self.question.wanted = false;
        self.question.not_before = now + ASKED_EVERY;
        match told {
            Ok(open) => match &mut self.ways {
                Ways::Shards(shards) => shards.replace(open, now),
                Ways::Stream(_) => match Shards::new(open, amount(self.limits), now, random) {
                    Some(shards) => {
                        self.ways = Ways::Shards(shards);
                        true
                    }
                    None => false,
                },
            },
            Err(why) => {
                let again = match why {
                    NoShards::Never(_) => ASKED_AGAIN,
                    NoShards::Now => ASKED_EVERY,
                };
                self.question.want(now + again, random);
                false
            }
        }
    }
}

impl Question {
    fn want(&mut self, now: Duration, random: f64) {
        if !self.wanted {
            self.wanted = true;
            self.not_before = self.not_before.max(now) + JITTER.mul_f64(random);
        }
    }
}

fn amount(limits: ShardLimits) -> Amount {
    Amount { bytes: limits.bytes_per_second as f64, records: limits.records_per_second as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::{Digest, Md5};

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn halves() -> Vec<OpenShard> {
        let middle = 1u128 << 127;
        vec![
            OpenShard { id: ShardId(0), hashes: 0..=middle - 1 },
            OpenShard { id: ShardId(1), hashes: middle..=u128::MAX },
        ]
    }

    fn spread() -> Spread {
        let mut spread = Spread::new(true, ShardLimits::default(), secs(0));
        assert!(spread.should_ask(secs(0)) && !spread.should_ask(secs(0)));
        assert!(spread.told(Ok(halves()), secs(1), 0.0));
        spread
    }

    #[test]
    fn an_entry_without_a_key_goes_where_its_hash_key_says() {
        let mut spread = spread();
        let mut places = [0, 0];
        for step in 0..1000 {
            let now = secs(2) + Duration::from_millis(10 * step);
            let place = spread.admit(None, 200, Turn::Fresh, now).unwrap();
            let hash = spread.hash_in(place, fastrand::u128(..)).unwrap();
            assert_eq!(place, Place::Shard(ShardId(u64::from(hash >> 127 == 1))));
            places[(hash >> 127) as usize] += 1;
        }
        assert_eq!(places, [500, 500]);
    }

    #[test]
    fn an_entry_with_a_key_waits_for_its_own_shard() {
        let mut spread = spread();
        let hash = u128::from_be_bytes(Md5::digest(b"a key").into());
        let own = ShardId(u64::from(hash >> 127 == 1));
        let now = secs(5);
        assert_eq!(spread.admit(Some(hash), 2_000_000, Turn::Fresh, now), Ok(Place::Shard(own)));
        let wait = spread.admit(Some(hash), 1, Turn::Fresh, now).unwrap_err();
        assert!(wait > secs(1));
        assert!(spread.admit(Some(!hash), 1, Turn::Fresh, now).is_ok());
        assert!(spread.admit(None, 1, Turn::Fresh, now).is_ok());
    }

    #[test]
    fn the_shards_are_asked_for_when_an_answer_surprises_and_not_more_often_than_each_30_s() {
        let mut spread = spread();
        let place = Place::Shard(ShardId(0));
        spread.answered(place, 10, Verdict::Accepted(Some(ShardId(0))), secs(2), 0.5);
        assert!(!spread.should_ask(secs(100)));
        spread.answered(place, 10, Verdict::Accepted(Some(ShardId(7))), secs(3), 0.5);
        assert!(!spread.should_ask(secs(30)));
        assert!(spread.should_ask(secs(34)));
        spread.answered(place, 10, Verdict::Accepted(Some(ShardId(7))), secs(35), 0.5);
        assert!(!spread.told(Ok(halves()), secs(36), 0.5));
        assert!(!spread.should_ask(secs(1000)), "it was asked after the surprise");
    }

    #[test]
    fn refusals_that_persist_raise_the_question_too() {
        let mut spread = spread();
        for second in 1..20 {
            spread.answered(Place::Shard(ShardId(0)), 10, Verdict::Throttled, secs(second), 0.0);
        }
        assert!(spread.should_ask(secs(31)));
    }

    #[test]
    fn without_a_list_there_is_one_limiter_and_it_is_asked_for_again_later() {
        let mut spread = Spread::new(true, ShardLimits::default(), secs(0));
        assert!(spread.should_ask(secs(0)));
        spread.told(Err(NoShards::Now), secs(0), 0.0);
        assert!(!spread.should_ask(secs(29)) && spread.should_ask(secs(60)));
        spread.told(Err(NoShards::Never(None)), secs(60), 0.0);
        assert!(!spread.should_ask(secs(60 + 1799)));
        assert_eq!(spread.admit(None, 10, Turn::Fresh, secs(60)), Ok(Place::Anywhere));
        assert_eq!(spread.hash_in(Place::Anywhere, 1), None);
        spread.answered(Place::Anywhere, 10, Verdict::Throttled, secs(61), 0.0);
        assert!(spread.admit(None, 10, Turn::Fresh, secs(61)).is_err());
        assert!(spread.should_ask(secs(60 + 1900)));
        assert!(spread.told(Ok(halves()), secs(2000), 0.0));
        assert_eq!(spread.shards(), Some(2));
    }

    #[test]
    fn a_delivery_stream_is_never_asked_for_shards() {
        assert!(!Spread::new(false, ShardLimits::default(), secs(0)).should_ask(secs(100)));
    }
}
