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

/// The MD5 of the message.
pub type Checksum = [u8; DIGEST_BYTES];

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

/// The aggregate of all records of an entry, which is written piece by piece.
#[derive(Debug)]
pub struct Writer {
    at: At,
    message: Md5,
    /// It costs most of an aggregate, and is known when it was written once.
    pub checksum: Option<Checksum>,
}

/// What is written next.
#[derive(Clone, Copy, Debug)]
enum At {
    Tables,
    /// The record of this number of this part, which begins at this byte of it.
    Record {
        part: usize,
        number: usize,
        byte: usize,
    },
    /// So many bytes of a record, and then the next one.
    Data {
        part: usize,
        number: usize,
        byte: usize,
        left: usize,
    },
    Checksum,
    Done,
}

impl Writer {
    pub fn new(checksum: Option<Checksum>) -> Self {
        Writer { at: At::Tables, message: Md5::new(), checksum }
    }

    /// Makes `out` the next bytes: about as many as `most`; none at the end.
    pub fn next(&mut self, entry: &Entry, key: &Key, most: usize, out: &mut Vec<u8>) {
        out.clear();
        let begins = matches!(self.at, At::Tables);
        while out.len() < most && !matches!(self.at, At::Checksum | At::Done) {
            self.at = step(self.at, entry, key, most, out);
        }
        if self.checksum.is_none() {
            self.message.update(&out[if begins { MAGIC.len() } else { 0 }..]);
        }
        if matches!(self.at, At::Checksum) {
            let message = &mut self.message;
            let checksum = *self.checksum.get_or_insert_with(|| message.finalize_reset().into());
            out.extend_from_slice(&checksum);
            self.at = At::Done;
        }
    }
}

fn step(at: At, entry: &Entry, key: &Key, most: usize, out: &mut Vec<u8>) -> At {
    let explicit_hash = key.explicit_hash.is_some();
    match at {
        At::Tables => {
            out.extend_from_slice(&MAGIC);
            put_field(out, PARTITION_KEY_TABLE, key.partition.as_bytes());
            if let Some(hash) = key.explicit_hash {
                put_field(out, EXPLICIT_HASH_KEY_TABLE, hash.to_string().as_bytes());
            }
            At::Record { part: 0, number: 0, byte: 0 }
        }
        At::Record { part, number, byte } => {
            let Some(records) = entry.parts.get(part) else { return At::Checksum };
            let Some(length) = records.record_at(number, byte) else {
                return At::Record { part: part + 1, number: 0, byte: 0 };
            };
            out.push(RECORD);
            put_varint(out, inner_size(explicit_hash, length));
            out.extend_from_slice(&PARTITION_KEY_INDEX);
            if explicit_hash {
                out.extend_from_slice(&EXPLICIT_HASH_KEY_INDEX);
            }
            out.push(DATA);
            put_varint(out, length);
            At::Data { part, number, byte, left: length }
        }
        At::Data { part, number, byte, left } => {
            let now = left.min(most.saturating_sub(out.len()));
            out.extend_from_slice(&entry.parts[part].payload[byte..byte + now]);
            match now < left {
                true => At::Data { part, number, byte: byte + now, left: left - now },
                false => At::Record { part, number: number + 1, byte: byte + now },
            }
        }
        At::Checksum | At::Done => at,
    }
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
    use crate::send::Records;
    use crate::send::testing::entry;

    /// By hand, from the description of the format.
    const OF_TWO_RECORDS: &[u8] = b"\xf3\x89\x9a\xc2\x0a\x03key\x12\x02\x34\x32\
        \x1a\x08\x08\x00\x10\x00\x1a\x02a\n\x1a\x07\x08\x00\x10\x00\x1a\x01\n";

    fn whole(writer: &mut Writer, entry: &Entry, key: &Key, most: usize) -> Vec<u8> {
        let (mut whole, mut piece) = (Vec::new(), Vec::new());
        loop {
            writer.next(entry, key, most, &mut piece);
            if piece.is_empty() {
                return whole;
            }
            whole.extend_from_slice(&piece);
        }
    }

    #[test]
    fn pieces_of_any_size_are_the_same_aggregate() {
        let lines = b"a\n\nbc\n".repeat(50);
        let mut entry = entry(&[&lines, b"an\nevent", &[b'y'; 1000], b"\n\n"]);
        entry.parts[1].records = Records::one(8);
        let key = Key { partition: "key".into(), explicit_hash: None };
        let mut first = Writer::new(None);
        let expected = whole(&mut first, &entry, &key, usize::MAX);
        assert_eq!(&Md5::digest(&expected[4..expected.len() - 16])[..], &expected[expected.len() - 16..]);
        for most in 1..400 {
            assert_eq!(whole(&mut Writer::new(None), &entry, &key, most), expected);
            assert_eq!(whole(&mut Writer::new(first.checksum), &entry, &key, most), expected);
        }
    }

    #[test]
    fn an_aggregate_is_magic_message_and_digest() {
        let key = Key { partition: "key".into(), explicit_hash: Some(42) };
        let entry = entry(&[b"a\n", b"\n"]);
        let made = whole(&mut Writer::new(None), &entry, &key, usize::MAX);
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
