//! What the counters of a flow are made of: totals, gauges, totals for each of a few words,
//! histograms with fixed borders, and a set of shards.
//!
//! Whoever does the work writes to them, so they cost it an atomic addition; only what happens
//! seldom (a word for an error) takes a lock. They are read when somebody asks.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A total, which only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How much of something there is now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more until what it returns is dropped, however that comes about.
    #[must_use]
    pub fn hold(&self) -> Holding<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Holding(self)
    }
}

/// One of what a [`Gauge`] counts.
#[derive(Debug)]
pub struct Holding<'a>(&'a Gauge);

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A total for each of a few words. The words stand in the code, so that there are never many.
#[derive(Debug, Default)]
pub struct ByWord(Mutex<BTreeMap<&'static str, u64>>);

impl ByWord {
    pub fn add(&self, word: &'static str, n: u64) {
        *self.0.lock().unwrap().entry(word).or_default() += n;
    }

    /// Of all words.
    pub fn get(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }

    /// In the order of the words; those that were never added are not there.
    pub fn words(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap().clone()
    }
}

/// How often a value lay below each of a few borders.
#[derive(Debug)]
pub struct Histogram {
    borders: &'static [u64],
    /// One more than there are borders: the last is for what lies above them all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// `borders` grow; a value that equals one lies below it.
    pub fn new(borders: &'static [u64]) -> Self {
        let buckets = (0..=borders.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { borders, buckets, sum: AtomicU64::new(0) }
    }

    pub fn add(&self, value: u64) {
        let bucket = self.borders.partition_point(|&border| border < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The borders and how many values lay between each and the one before it; the last has no
    /// border.
    pub fn buckets(&self) -> Vec<(Option<u64>, u64)> {
        let borders = self.borders.iter().copied().map(Some).chain([None]);
        borders.zip(self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))).collect()
    }
}

/// Which shards a stream was seen to have: a bit for each, since every record of an answer is
/// looked at.
#[derive(Debug)]
pub struct Shards {
    seen: Box<[AtomicU64]>,
    count: AtomicU64,
}

/// Shards whose numbers differ by this are not told apart. A stream has at most 20,000 unless
/// AWS was asked for more, but those that were split or merged keep their numbers.
const SHARD_NUMBERS: u64 = 1 << 16;

impl Default for Shards {
    fn default() -> Self {
        let seen = (0..SHARD_NUMBERS / 64).map(|_| AtomicU64::new(0)).collect();
        Shards { seen, count: AtomicU64::new(0) }
    }
}

impl Shards {
    /// Takes the ids of an answer, such as `shardId-000000000007`. Others are passed over.
    pub fn saw<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        for number in ids.filter_map(shard_number) {
            let number = number % SHARD_NUMBERS;
            let (word, bit) = (&self.seen[(number / 64) as usize], 1 << (number % 64));
            if word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

fn shard_number(id: &str) -> Option<u64> {
    let digits = id.strip_prefix("shardId-")?.as_bytes();
    let number =
        |number: u64, digit: &u8| Some(number.checked_mul(10)? + u64::from(digit.checked_sub(b'0')?));
    digits.iter().try_fold(0, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let gauge = Gauge::default();
        let (first, second) = (gauge.hold(), gauge.hold());
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert_eq!(gauge.get(), 1);
        drop(second);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn words_have_totals_of_their_own() {
        let counter = ByWord::default();
        counter.add("b", 2);
        counter.add("a", 1);
        counter.add("b", 3);
        assert_eq!(counter.words(), BTreeMap::from([("a", 1), ("b", 5)]));
        assert_eq!(counter.get(), 6);
    }

    #[test]
    fn a_value_on_a_border_lies_below_it() {
        let histogram = Histogram::new(&[10, 100]);
        for value in [0, 10, 11, 100, 101, 5000] {
            histogram.add(value);
        }
        assert_eq!(histogram.buckets(), [(Some(10), 2), (Some(100), 2), (None, 2)]);
        assert_eq!(histogram.sum(), 5222);
    }

    #[test]
    fn each_shard_counts_once_and_there_are_never_too_many() {
        let shards = Shards::default();
        shards.saw(["shardId-000000000000", "shardId-000000000007", "shardId-000000000000"].into_iter());
        shards.saw(
            ["shardId-000000000007", "nonsense", "shardId-12,", "shardId-99999999999999999999"].into_iter(),
        );
        assert_eq!(shards.count(), 2);
        let ids: Vec<String> = (0..SHARD_NUMBERS + 5).map(|n| format!("shardId-{n:012}")).collect();
        shards.saw(ids.iter().map(String::as_str));
        assert_eq!(shards.count(), SHARD_NUMBERS);
    }
}
