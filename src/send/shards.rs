//! The open shards of a Data Stream: which part of the hash keys each takes, how fast entries may
//! go to it, and where the next entry goes that may go anywhere. Pure.
//!
//! Entries are spread evenly by bytes over the shards that may take one now. Where their keys are
//! fixed, the MD5 of the key says which shard it is, as in Kinesis itself. Nothing is lost with a
//! map that is out of date: a hash key always has an open shard, only not the one that we thought.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use smallvec::SmallVec;

use super::limiter::{Amount, Limiter, Turn};

/// A shard that was not ready for long does not get all that the others got meanwhile; nor the
/// others what one got whose keys are fixed. Bytes.
const MOST_APART: f64 = 1e6;

/// Keys that were drawn and go elsewhere are kept, so that each is nearly always of use.
const SPARE_KEYS: usize = 4;

/// A draw takes a tenth of a microsecond, and the largest streams have 10,000 shards or more.
const MOST_DRAWS: usize = 100_000;

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
    /// Where each stands among them.
    at: HashMap<ShardId, usize>,
    /// Where the search for the next entry's shard begins,
    next: usize,
    /// and what a shard may have got to be found. Bytes.
    level: f64,
}

#[derive(Debug)]
struct Shard {
    open: OpenShard,
    limiter: Limiter,
    /// What went there, compared with the other shards. Bytes.
    load: f64,
    /// Partition keys that were drawn for others and go to this one.
    spare: SmallVec<[u32; SPARE_KEYS]>,
}

impl Shards {
    /// None without shards. `limits` are those of each shard, for this agent. `random` is drawn
    /// from `0.0..1.0`.
    pub fn new(open: Vec<OpenShard>, limits: Amount, now: Duration, random: f64) -> Option<Self> {
        let next = (open.len() as f64 * random) as usize;
        let mut shards = Shards { limits, shards: Vec::new(), at: HashMap::new(), next, level: 0.0 };
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
        let known = std::mem::take(&mut self.shards).into_iter().map(|shard| (shard.open.id, shard));
        let mut known: HashMap<_, _> = known.collect();
        let limits = self.limits;
        let shard = |open: OpenShard| match known.remove(&open.id).filter(|shard| shard.open == open) {
            // A new one is not behind.
            Some(shard) => Shard { load: 0.0, ..shard },
            None => Shard::new(open, limits, now),
        };
        self.shards = open.into_iter().map(shard).collect();
        self.at = self.shards.iter().enumerate().map(|(at, shard)| (shard.open.id, at)).collect();
        self.level = 0.0;
        true
    }

    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// The shard that takes entries with this hash key.
    pub fn of_hash(&self, hash: u128) -> Option<ShardId> {
        self.at_hash(hash).map(|at| self.shards[at].open.id)
    }

    fn at_hash(&self, hash: u128) -> Option<usize> {
        let behind = self.shards.partition_point(|shard| *shard.open.hashes.start() <= hash);
        let at = behind.checked_sub(1)?;
        self.shards[at].open.hashes.contains(&hash).then_some(at)
    }

    /// The shard for an entry that may go anywhere; else how long until there is
    /// one. They take turns: in each round those that are ready and did not get more than the
    /// others, so that not all have to be compared for each entry.
    pub fn place(&mut self, entry: Amount, turn: Turn, now: Duration) -> Result<ShardId, Duration> {
        let (count, level) = (self.shards.len(), self.level);
        let mut soonest = Duration::MAX;
        let mut least: Option<(f64, usize)> = None;
        for step in 0..count {
            let at = (self.next + step) % count;
            let shard = &mut self.shards[at];
            let wait = shard.limiter.wait(entry, turn, now);
            if !wait.is_zero() {
                soonest = soonest.min(wait);
                continue;
            }
            shard.load = shard.load.clamp(level - MOST_APART, level + MOST_APART);
            if shard.load <= level {
                self.next = at + 1;
                return Ok(shard.open.id);
            }
            if least.is_none_or(|(load, _)| shard.load < load) {
                least = Some((shard.load, at));
            }
        }
        let (load, at) = least.ok_or(soonest)?;
        self.level = load + entry.bytes;
        self.next = at + 1;
        Ok(self.shards[at].open.id)
    }

    /// How long until this entry may go to this shard. One that is not known has no limits.
    pub fn wait(&mut self, id: ShardId, entry: Amount, turn: Turn, now: Duration) -> Duration {
        self.find(id).map_or(Duration::ZERO, |shard| shard.limiter.wait(entry, turn, now))
    }

    /// An entry goes to this shard.
    pub fn take(&mut self, id: ShardId, entry: Amount, now: Duration) {
        if let Some(shard) = self.find(id) {
            shard.limiter.take(entry, now);
            shard.load += entry.bytes;
        }
    }

    /// A hash key that goes to this shard; `random` is any number.
    pub fn hash_in(&self, id: ShardId, random: u128) -> Option<u128> {
        let hashes = &self.shards[*self.at.get(&id)?].open.hashes;
        let width = hashes.end() - hashes.start();
        let offset = if width == u128::MAX { random } else { random % (width + 1) };
        Some(hashes.start() + offset)
    }

    /// A partition key, by its number, that goes to this shard by itself; none if too many have
    /// to be drawn. `draw` gives the number of any and its hash key.
    pub fn key_to(&mut self, id: ShardId, mut draw: impl FnMut() -> (u32, u128)) -> Option<u32> {
        let wanted = *self.at.get(&id)?;
        let spare = self.shards[wanted].spare.pop();
        spare.or_else(|| {
            (0..MOST_DRAWS).find_map(|_| {
                let (key, hash) = draw();
                let at = self.at_hash(hash)?;
                if at == wanted {
                    return Some(key);
                }
                let spare = &mut self.shards[at].spare;
                if spare.len() < SPARE_KEYS {
                    spare.push(key);
                }
                None
            })
        })
    }

    /// An entry was accepted, or refused because too much is sent. For how long the shard has
    /// refused something again and again.
    pub fn answered(&mut self, id: ShardId, entry: Amount, accepted: bool, now: Duration) -> Duration {
        let Some(shard) = self.find(id) else { return Duration::ZERO };
        match accepted {
            true => shard.limiter.accepted(entry, now),
            false => shard.limiter.refused(entry, now),
        }
        shard.limiter.refusing()
    }

    fn find(&mut self, id: ShardId) -> Option<&mut Shard> {
        self.at.get(&id).map(|&at| &mut self.shards[at])
    }
}

impl Shard {
    fn new(open: OpenShard, limits: Amount, now: Duration) -> Self {
        Shard { open, limiter: Limiter::of_shard(limits, now), load: 0.0, spare: SmallVec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        Shards::new(open(ids, &vec![1; ids.len()]), LIMITS, Duration::ZERO, 0.0).unwrap()
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
            let id = shards.place(size, Turn::Fresh, now).unwrap();
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
            assert_eq!(shards.place(Amount::of_entry(100), Turn::Again, now), Ok(ShardId(1)));
        }
        assert!(!shards.wait(ShardId(0), Amount::of_entry(100), Turn::Again, now).is_zero());
        shards.take(ShardId(1), Amount::of_entry(2_000_000), now);
        let wait = shards.place(Amount::of_entry(100), Turn::Again, now).unwrap_err();
        assert_eq!(wait, shards.wait(ShardId(0), Amount::of_entry(100), Turn::Again, now));
    }

    #[test]
    fn keys_for_a_thousand_shards_are_drawn_about_once_each() {
        let ids: Vec<u64> = (0..1000).collect();
        let (mut shards, mut random, mut draws) = (shards(&ids), fastrand::Rng::with_seed(7), 0);
        for round in 0..20 {
            for &id in &ids {
                let mut of_key = HashMap::new();
                let key = shards.key_to(ShardId(id), || {
                    draws += 1;
                    let (key, hash) = (random.u32(..), random.u128(..));
                    of_key.insert(key, hash);
                    (key, hash)
                });
                // One that was kept from before is not among those that were drawn now.
                let hash = of_key.get(&key.unwrap());
                assert!(hash.is_none_or(|hash| shards.of_hash(*hash) == Some(ShardId(id))), "round {round}");
            }
        }
        assert!(draws < 3 * 20 * 1000, "{draws}");
    }

    #[test]
    fn a_shard_that_was_filled_by_keys_is_not_left_out_for_long() {
        let mut shards = shards(&[0, 1]);
        let now = Duration::from_secs(1_000_000);
        shards.find(ShardId(0)).unwrap().load = 1e12;
        let mut turns = [0, 0];
        for entry in 0..10_000u64 {
            let now = now + Duration::from_millis(entry);
            let id = shards.place(Amount::of_entry(500), Turn::Fresh, now).unwrap();
            shards.take(id, Amount::of_entry(500), now);
            turns[id.0 as usize] += 1;
        }
        assert!((3500..4500).contains(&turns[0]), "{turns:?}");
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
        assert!(shards.wait(ShardId(0), Amount::of_entry(100), Turn::Fresh, now) > Duration::from_secs(1));
        assert!(shards.wait(ShardId(2), Amount::of_entry(100), Turn::Fresh, now) < Duration::from_secs(1));
        assert_eq!(shards.count(), 3);
    }

    proptest! {
        #[test]
        fn every_hash_key_has_the_shard_whose_range_holds_it(
            weights in prop::collection::vec(1u32..1000, 1..40),
            randoms in prop::collection::vec(any::<u128>(), 1..50),
        ) {
            let ids: Vec<u64> = (0..weights.len() as u64).rev().collect();
            let shards = Shards::new(open(&ids, &weights), LIMITS, Duration::ZERO, 0.0).unwrap();
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
