//! Partition keys: what decides on the shard that an entry of a Data Stream goes to. Kinesis
//! takes the MD5 of the key as a number and looks up the shard whose range holds it.
//!
//! Firehose has none.

use std::sync::Arc;

use md5::{Digest, Md5};

use super::entry::Entry;
use super::options::{Aggregation, Destination, Options, PartitionKey};

/// Two billion keys spread evenly over as many shards as a stream can have; a longer one
/// would only cost bytes, since keys count against the limits.
const RANDOM_KEY_BYTES: usize = 6;
const RANDOM_KEYS: u32 = 36u32.pow(RANDOM_KEY_BYTES as u32);

/// AWS allows 256 characters, of which one may take four bytes.
const LONGEST_KEY_BYTES: usize = 256;

/// The MD5 as hex digits.
const DETERMINISTIC_KEY_BYTES: usize = 32;

/// What decides on the shard of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub partition: String,
    /// Where it is given, it counts instead of the MD5 of `partition`.
    pub explicit_hash: Option<u128>,
}

/// A partition key that is the same at each attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedKey {
    pub text: Arc<str>,
    /// Its MD5 as a number, by which Kinesis chooses the shard.
    pub hash: u128,
}

impl FixedKey {
    /// A text that is longer than a key may be stands there as its MD5 in hex digits.
    pub fn new(text: &str) -> Self {
        if text.len() > LONGEST_KEY_BYTES {
            return FixedKey::new(&hex(Md5::digest(text.as_bytes()).as_slice()));
        }
        FixedKey { text: text.into(), hash: hash(text) }
    }
}

/// The hash key that Kinesis makes of a partition key.
pub fn hash(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// Gives `entry` the key that follows from its own bytes, if the flow's keys do.
pub fn fix(partition_key: &PartitionKey, entry: &mut Entry) {
    if *partition_key == PartitionKey::Deterministic {
        entry.key = Some(FixedKey::new(&md5_hex(entry)));
    }
}

/// How long the keys of a flow's entries are, so that entries can be filled before their keys
/// are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRoom {
    /// The partition key. Bytes.
    pub partition: usize,
    /// Whether there may be an explicit hash key beside it.
    pub explicit_hash: bool,
}

pub fn key_room(options: &Options) -> KeyRoom {
    let partition = match &options.destination {
        Destination::Firehose(_) => 0,
        Destination::Kinesis(_) => longest_key(&options.partition_key),
    };
    // What shards are chosen by where keys are random and nothing is aggregated.
    let explicit_hash = partition > 0
        && options.partition_key == PartitionKey::Random
        && options.aggregation != Aggregation::Kpl;
    KeyRoom { partition, explicit_hash }
}

/// How long keys of this kind may be. Bytes.
pub fn longest_key(partition_key: &PartitionKey) -> usize {
    match partition_key {
        PartitionKey::Random => RANDOM_KEY_BYTES,
        PartitionKey::Deterministic => DETERMINISTIC_KEY_BYTES,
        PartitionKey::Value(value) => value.len().clamp(1, LONGEST_KEY_BYTES),
        PartitionKey::File | PartitionKey::Host | PartitionKey::Field(_) | PartitionKey::Capture(_) => {
            LONGEST_KEY_BYTES
        }
    }
}

/// A key for an entry whose shard is not chosen. All records of an entry share it.
pub fn key(partition_key: &PartitionKey, entry: &Entry) -> Key {
    let mut entry = entry.clone();
    fix(partition_key, &mut entry);
    let partition = entry.key.map_or_else(random, |key| key.text.to_string());
    Key { partition, explicit_hash: None }
}

/// A key that falls to any shard.
pub fn random() -> String {
    key_of(random_number())
}

/// The number of a random key.
pub fn random_number() -> u32 {
    fastrand::u32(..RANDOM_KEYS)
}

/// The random key with this number.
pub fn key_of(mut number: u32) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let digit = |_| {
        let digit = DIGITS[(number % 36) as usize] as char;
        number /= 36;
        digit
    };
    (0..RANDOM_KEY_BYTES).map(digit).collect()
}

fn md5_hex(entry: &Entry) -> String {
    let mut md5 = Md5::new();
    for part in &entry.parts {
        md5.update(&part.payload);
    }
    hex(md5.finalize().as_slice())
}

/// Lower-case digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("a nibble is a hex digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::testing::entry;

    #[test]
    fn a_deterministic_key_is_the_md5_of_all_parts() {
        let key = |parts: &[&[u8]]| {
            let mut entry = entry(parts);
            fix(&PartitionKey::Deterministic, &mut entry);
            entry.key.unwrap()
        };
        assert_eq!(&*key(&[b"hello\n"]).text, "b1946ac92492d2347c6235b4d2611184");
        assert_eq!(key(&[b"he", b"llo\n"]), key(&[b"hello\n"]));
        assert_eq!(key(&[b"hello\n"]).text.len(), DETERMINISTIC_KEY_BYTES);
        // `printf b1946ac92492d2347c6235b4d2611184 | md5sum`
        assert_eq!(key(&[b"hello\n"]).hash, 0x57ae7aad_8abe2f31_7e460c92_d3ed1178);
    }

    #[test]
    fn random_keys_spread_evenly_over_the_shards() {
        let mut shards = [0u32; 16];
        for _ in 0..16_000 {
            let key = random();
            assert_eq!(key.len(), RANDOM_KEY_BYTES);
            shards[usize::from(Md5::digest(key.as_bytes())[0] >> 4)] += 1;
        }
        // The standard deviation is 31: eight of them never happen.
        assert!(shards.iter().all(|n| (750..1250).contains(n)), "{shards:?}");
    }
}
