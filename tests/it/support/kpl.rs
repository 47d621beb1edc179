//! The aggregated record format as its consumers read it, written apart from the agent's encoder:
//! a reader of protobuf messages of any kind, and what the Kinesis Client Library does with what
//! it finds.
//!
//! The format stands in `aggregation-format.md` of the repository awslabs/amazon-kinesis-producer;
//! the check is that of `AggregatorUtil.deaggregate` in awslabs/amazon-kinesis-client.

use std::ops::RangeInclusive;

use bytes::Bytes;
use md5::{Digest as _, Md5};

const MAGIC: &[u8] = &[0xf3, 0x89, 0x9a, 0xc2];

/// A record inside an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    pub partition_key: String,
    pub explicit_hash: Option<String>,
    pub data: Bytes,
}

/// The records of an aggregate; none if the data is no aggregate.
///
/// # Panics
/// With magic number and digest in their places, the message must be good.
pub fn open(data: &[u8]) -> Option<Vec<Inner>> {
    let message = data.strip_prefix(MAGIC)?;
    let (message, digest) = message.split_at_checked(message.len().checked_sub(16)?)?;
    if Md5::digest(message)[..] != *digest {
        return None;
    }
    let (mut keys, mut hashes, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for (number, field) in fields(message) {
        match number {
            1 => keys.push(text(field)),
            2 => hashes.push(text(field)),
            3 => records.push(field.bytes()),
            other => panic!("field {other} in an aggregate"),
        }
    }
    Some(records.into_iter().map(|record| inner(record, &keys, &hashes)).collect())
}

/// The records of an aggregate, or the data as the one record that it is.
pub fn unpack(data: &Bytes) -> Vec<Bytes> {
    let records = open(data).map(|records| records.into_iter().map(|record| record.data).collect());
    records.unwrap_or_else(|| vec![data.clone()])
}

/// What the client library hands to its application of an aggregate that it read from a shard
/// with these hash keys: all of its records, or none if one belongs elsewhere.
pub fn handed_out(data: &[u8], shard: &RangeInclusive<u128>) -> Vec<Inner> {
    let records = open(data).unwrap_or_default();
    let all_belong = records.iter().all(|record| shard.contains(&effective_hash(record)));
    if all_belong { records } else { Vec::new() }
}

fn effective_hash(record: &Inner) -> u128 {
    match &record.explicit_hash {
        Some(hash) => hash.parse().expect("a hash key is a number below 2^128"),
        None => hash_of(&record.partition_key),
    }
}

/// Where a partition key alone leads.
pub fn hash_of(partition_key: &str) -> u128 {
    let digest = Md5::digest(partition_key.as_bytes());
    digest.iter().fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

fn inner(record: &[u8], keys: &[String], hashes: &[String]) -> Inner {
    let (mut key, mut hash, mut data) = (None, None, None);
    for (number, field) in fields(record) {
        match number {
            1 => key = Some(keys[field.number()].clone()),
            2 => hash = Some(hashes[field.number()].clone()),
            3 => data = Some(Bytes::copy_from_slice(field.bytes())),
            other => panic!("field {other} in a record"),
        }
    }
    Inner { partition_key: key.expect("a key"), explicit_hash: hash, data: data.expect("data") }
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(self) -> usize {
        match self {
            Field::Number(number) => usize::try_from(number).unwrap(),
            Field::Bytes(_) => panic!("bytes where an integer belongs"),
        }
    }

    fn bytes(self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Number(_) => panic!("an integer where bytes belong"),
        }
    }
}

fn text(field: Field<'_>) -> String {
    String::from_utf8(field.bytes().to_vec()).expect("keys are text")
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)),
            2 => {
                let length = usize::try_from(varint(&mut message)).unwrap();
                let bytes;
                (bytes, message) = message.split_at(length);
                Field::Bytes(bytes)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().expect("the message goes on");
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("a varint of more than ten bytes")
}
