//! The aggregated record format of the Kinesis Producer Library, by which consumers take the
//! records of one entry apart again: a magic number, a protobuf message, the MD5 of the message.
//! Its sizes are known before anything is encoded.
//!
//! Source: `aggregation-format.md` in the repository awslabs/amazon-kinesis-producer. The message
//! is `AggregatedRecord { repeated string partition_key_table = 1; repeated string
//! explicit_hash_key_table = 2; repeated Record records = 3; }` with `Record { required uint64
//! partition_key_index = 1; optional uint64 explicit_hash_key_index = 2; required bytes data = 3;
//! }`. Here the tables hold one key each, that of the entry: consumers drop an aggregate of which
//! any record's own key belongs to another shard.

use md5::{Digest, Md5};

use super::entry::Entry;
use super::partition::{Key, KeyRoom};

/// What the data of an aggregate begins with.
pub const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

const DIGEST_BYTES: usize = 16;

/// The largest hash key is 2^128 - 1.
const EXPLICIT_HASH_DIGITS: usize = 39;

/// Protobuf's tags: the number of the field, and that a length and so many bytes follow,
const PARTITION_KEY_TABLE: u8 = 0x0a;
const EXPLICIT_HASH_KEY_TABLE: u8 = 0x12;
const RECORD: u8 = 0x1a;
const DATA: u8 = 0x1a;
/// or an integer. That is 0, the index of the only key.
const PARTITION_KEY_INDEX: [u8; 2] = [0x08, 0];
const EXPLICIT_HASH_KEY_INDEX: [u8; 2] = [0x10, 0];

/// What an aggregate without records takes. Bytes.
pub fn empty_size(keys: KeyRoom) -> usize {
    let explicit_hash = if keys.explicit_hash { field_size(EXPLICIT_HASH_DIGITS) } else { 0 };
    MAGIC.len() + field_size(keys.partition) + explicit_hash + DIGEST_BYTES
}

/// What a record of so many bytes adds to it. Bytes.
pub fn record_size(keys: KeyRoom, length: usize) -> usize {
    field_size(inner_size(keys.explicit_hash, length))
}

/// The aggregate of all records of `entry`.
pub fn encode(entry: &Entry, key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.size);
    out.extend_from_slice(&MAGIC);
    put_field(&mut out, PARTITION_KEY_TABLE, key.partition.as_bytes());
    if let Some(hash) = key.explicit_hash {
        put_field(&mut out, EXPLICIT_HASH_KEY_TABLE, hash.to_string().as_bytes());
    }
    for record in entry.parts.iter().flat_map(|part| part.records()) {
        out.push(RECORD);
        put_varint(&mut out, inner_size(key.explicit_hash.is_some(), record.len()));
        out.extend_from_slice(&PARTITION_KEY_INDEX);
        if key.explicit_hash.is_some() {
            out.extend_from_slice(&EXPLICIT_HASH_KEY_INDEX);
        }
        put_field(&mut out, DATA, record);
    }
    let digest = Md5::digest(&out[MAGIC.len()..]);
    out.extend_from_slice(&digest);
    out
}

fn inner_size(explicit_hash: bool, length: usize) -> usize {
    let index = if explicit_hash { EXPLICIT_HASH_KEY_INDEX.len() } else { 0 };
    PARTITION_KEY_INDEX.len() + index + field_size(length)
}

fn field_size(length: usize) -> usize {
    1 + varint_size(length) + length
}

/// Seven bits a byte.
fn varint_size(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}

fn put_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::testing::entry;

    /// By hand, from the description of the format.
    const OF_TWO_RECORDS: &[u8] = b"\xf3\x89\x9a\xc2\x0a\x03key\x12\x02\x34\x32\
        \x1a\x08\x08\x00\x10\x00\x1a\x02a\n\x1a\x07\x08\x00\x10\x00\x1a\x01\n";

    #[test]
    fn an_aggregate_is_magic_message_and_digest() {
        let key = Key { partition: "key".into(), explicit_hash: Some(42) };
        let made = encode(&entry(&[b"a\n", b"\n"]), &key);
        let (message, digest) = made.split_at(made.len() - DIGEST_BYTES);
        assert_eq!(message, OF_TWO_RECORDS);
        assert_eq!(digest, &Md5::digest(&OF_TWO_RECORDS[MAGIC.len()..])[..]);
    }

    #[test]
    fn sizes_are_those_of_the_varints() {
        for (number, size) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (2_097_152, 4)] {
            assert_eq!(varint_size(number), size, "{number}");
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(out.len(), size, "{number}");
        }
    }
}
