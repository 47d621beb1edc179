//! The open shards of a Data Stream: which part of the hash keys each takes, how fast entries may
//! go to it, and where the next entry goes that may go anywhere. Pure.
//!
//! Entries are spread evenly by bytes over the shards that may take one now. Where their keys are
//! fixed, the MD5 of the key says which shard it is, as in Kinesis itself. Nothing is lost with a
//! map that is out of date: a hash key always has an open shard, only not the one that we thought.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::limiter::{Amount, Limiter, Turn};

/// A shard that was not ready for long does not get all that the others got meanwhile. Bytes.
const MOST_BEHIND: f64 = 1e6;

/// The number in a shard's name, such as 7 of `shardId-000000000007`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardId(pub u64);

impl ShardId {
    /// None if it is not a name as AWS gives them.
    pub fn parse(name: &str) -> Option<Self> {
        name.strip_prefix("shardId-")?.parse().ok().map(ShardId)
    }
}

/// What the stream says of an open shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenShard {
    pub id: ShardId,
    pub hashes: RangeInclusive<u128>,
}

#[derive(Debug)]
pub struct Shards {
    limits: Amount,
    /// By their hash keys.
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    open: OpenShard,
    limiter: Limiter,
    /// What went there, compared with the other shards. Bytes.
    load: f64,
}

impl Shards {
    /// None without shards. `limits` are those of each shard, for this agent.
    pub fn new(open: Vec<OpenShard>, limits: Amount, now: Duration) -> Option<Self> {
        let mut shards = Shards { limits, shards: Vec::new() };
        shards.replace(open, now);
        (!shards.shards.is_empty()).then_some(shards)
    }

    /// What the stream says now; whether that is anything new. Shards that are still open go on
    /// with what is known of them.
    pub fn replace(&mut self, mut open: Vec<OpenShard>, now: Duration) -> bool {
        open.sort_by_key(|shard| *shard.hashes.start());
        if open.is_empty() || self.shards.iter().map(|shard| &shard.open).eq(&open) {
            return false;
        }
        let mut old = std::mem::take(&mut self.shards);
        let limits = self.limits;
        let shard = |open: OpenShard| match old.iter().position(|shard| shard.open == open) {
            Some(at) => old.swap_remove(at),
            None => Shard { open, limiter: Limiter::of_shard(limits, now), load: 0.0 },
        };
        self.shards = open.into_iter().map(shard).collect();
        // A new one is not behind.
        self.shards.iter_mut().for_each(|shard| shard.load = 0.0);
        true
    }

    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// The shard that takes entries with this hash key.
    pub fn of_hash(&self, hash: u128) -> Option<ShardId> {
        let behind = self.shards.partition_point(|shard| *shard.open.hashes.start() <= hash);
        let shard = &self.shards.get(behind.checked_sub(1)?)?.open;
        shard.hashes.contains(&hash).then_some(shard.id)
    }

    /// The shard for an entry that may go anywhere; else how long until there is one. Of those
    /// that are ready, the one that got the least; of those that got as much, by `random`.
    pub fn place(&mut self, turn: Turn, now: Duration, random: u64) -> Result<ShardId, Duration> {
        let count = self.shards.len();
        let first = (random % count as u64) as usize;
        let mut best: Option<(f64, usize)> = None;
        let mut soonest = Duration::MAX;
        for at in (first..count).chain(0..first) {
            let shard = &mut self.shards[at];
            let wait = shard.limiter.wait(turn, now);
            soonest = soonest.min(wait);
            if wait.is_zero() && best.is_none_or(|(least, _)| shard.load < least) {
                best = Some((shard.load, at));
            }
        }
        best.map(|(_, at)| self.shards[at].open.id).ok_or(soonest)
    }

    /// How long until an entry may go to this shard. One that is not known has no limits.
    pub fn wait(&mut self, id: ShardId, turn: Turn, now: Duration) -> Duration {
        self.find(id).map_or(Duration::ZERO, |shard| shard.limiter.wait(turn, now))
    }

    /// An entry goes to this shard.
    pub fn take(&mut self, id: ShardId, entry: Amount, now: Duration) {
        let Some(shard) = self.find(id) else { return };
        shard.limiter.take(entry, now);
        shard.load += entry.bytes;
        let (least, most) = self
            .shards
            .iter()
            .fold((f64::MAX, f64::MIN), |(least, most), shard| (least.min(shard.load), most.max(shard.load)));
        if most - least > MOST_BEHIND || least > MOST_BEHIND {
            let floor = most - MOST_BEHIND;
            self.shards.iter_mut().for_each(|shard| shard.load = shard.load.max(floor) - floor);
        }
    }

    /// A hash key that goes to this shard; `random` is any number.
    pub fn hash_in(&self, id: ShardId, random: u128) -> Option<u128> {
        let hashes = &self.shards.iter().find(|shard| shard.open.id == id)?.open.hashes;
        let width = hashes.end() - hashes.start();
        let offset = if width == u128::MAX { random } else { random % (width + 1) };
        Some(hashes.start() + offset)
    }

    /// Whether entries with this hash key go to this shard.
    pub fn holds(&self, id: ShardId, hash: u128) -> bool {
        self.of_hash(hash) == Some(id)
    }

    /// An entry was accepted, or refused because too much is sent.
    pub fn answered(&mut self, id: ShardId, entry: Amount, accepted: bool, now: Duration) {
        let Some(shard) = self.find(id) else { return };
        match accepted {
            true => shard.limiter.accepted(entry, now),
            false => shard.limiter.refused(entry, now),
        }
    }

    /// For how long a shard has refused something again and again.
    pub fn refusing(&self) -> Duration {
        self.shards.iter().map(|shard| shard.limiter.refusing()).max().unwrap_or_default()
    }

    fn find(&mut self, id: ShardId) -> Option<&mut Shard> {
        self.shards.iter_mut().find(|shard| shard.open.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const LIMITS: Amount = Amount { bytes: 1e6, records: 1000.0 };

    /// Open shards with these numbers, in the order of their hash keys, as wide as `weights` say.
    fn open(ids: &[u64], weights: &[u32]) -> Vec<OpenShard> {
        let all: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let unit = u128::MAX / all;
        let (mut start, mut shards) = (0u128, Vec::new());
        for (at, (&id, &weight)) in ids.iter().zip(weights).enumerate() {
            let end = if at + 1 == ids.len() { u128::MAX } else { start + unit * u128::from(weight) };
            shards.push(OpenShard { id: ShardId(id), hashes: start..=end });
            start = end.wrapping_add(1);
        }
        shards
    }

    fn shards(ids: &[u64]) -> Shards {
        Shards::new(open(ids, &vec![1; ids.len()]), LIMITS, Duration::ZERO).unwrap()
    }

    #[test]
    fn a_shard_is_known_by_its_number() {
        assert_eq!(ShardId::parse("shardId-000000000012"), Some(ShardId(12)));
        assert_eq!(ShardId::parse("shard-12"), None);
        assert_eq!(ShardId::parse("shardId-"), None);
    }

    #[test]
    fn entries_of_any_size_are_spread_evenly_by_bytes() {
        let mut shards = shards(&[0, 1, 2, 3, 4]);
        let (mut bytes, mut now) = (HashMap::<ShardId, f64>::new(), Duration::from_secs(10));
        for entry in 0..5000u64 {
            now += Duration::from_millis(50);
            let size = Amount::of_entry(1000 + (entry as usize * 7919) % 9000);
            let id = shards.place(Turn::Fresh, now, fastrand::u64(..)).unwrap();
            shards.take(id, size, now);
            *bytes.entry(id).or_default() += size.bytes;
        }
        let mean = bytes.values().sum::<f64>() / 5.0;
        assert!(bytes.values().all(|bytes| (bytes - mean).abs() < 20_000.0), "{bytes:?}");
    }

    #[test]
    fn a_shard_that_refuses_slows_nobody_else() {
        let mut shards = shards(&[0, 1]);
        let now = Duration::from_secs(1);
        shards.answered(ShardId(0), Amount::of_entry(100), false, now);
        for _ in 0..100 {
            assert_eq!(shards.place(Turn::Again, now, fastrand::u64(..)), Ok(ShardId(1)));
        }
        assert!(!shards.wait(ShardId(0), Turn::Again, now).is_zero());
        shards.take(ShardId(1), Amount::of_entry(2_000_000), now);
        let wait = shards.place(Turn::Again, now, 0).unwrap_err();
        assert_eq!(wait, shards.wait(ShardId(0), Turn::Again, now));
    }

    #[test]
    fn what_stays_open_keeps_its_debts_in_a_new_map() {
        let mut shards = shards(&[0, 1]);
        let now = Duration::from_secs(1);
        shards.take(ShardId(0), Amount::of_entry(2_000_000), now);
        shards.take(ShardId(1), Amount::of_entry(2_000_000), now);
        let mut after = open(&[0, 2, 3], &[2, 1, 1]);
        after[0].hashes = shards.shards[0].open.hashes.clone();
        after[1].hashes = after[0].hashes.end() + 1..=*after[1].hashes.end();
        assert!(shards.replace(after.clone(), now));
        assert!(!shards.replace(after, now), "nothing new");
        assert!(!shards.replace(Vec::new(), now), "no map is no news");
        assert!(shards.wait(ShardId(0), Turn::Fresh, now) > Duration::from_secs(1));
        assert!(shards.wait(ShardId(2), Turn::Fresh, now) < Duration::from_secs(1));
        assert_eq!(shards.count(), 3);
    }

    proptest! {
        #[test]
        fn every_hash_key_has_the_shard_whose_range_holds_it(
            weights in prop::collection::vec(1u32..1000, 1..40),
            randoms in prop::collection::vec(any::<u128>(), 1..50),
        ) {
            let ids: Vec<u64> = (0..weights.len() as u64).rev().collect();
            let shards = Shards::new(open(&ids, &weights), LIMITS, Duration::ZERO).unwrap();
            for random in randoms {
                let id = shards.of_hash(random).unwrap();
                let hash = shards.hash_in(id, random.rotate_left(64)).unwrap();
                prop_assert_eq!(shards.of_hash(hash), Some(id));
            }
            for shard in &shards.shards {
                for hash in [*shard.open.hashes.start(), *shard.open.hashes.end()] {
                    prop_assert_eq!(shards.of_hash(hash), Some(shard.open.id));
                }
            }
        }
    }
}
