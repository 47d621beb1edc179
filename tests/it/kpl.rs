//! Aggregates of the agent's, byte by byte: read by a decoder of our own, made and read by the
//! libraries that AWS publishes for Python and for node, and put before the check by which the
//! client library drops what does not belong to its shard.

use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kinesis_agent::config::parse;
use kinesis_agent::file::{Chunk, TailId};
use kinesis_agent::record::{Block, Shape};
use kinesis_agent::send::batch::Batcher;
use kinesis_agent::send::envelope::Envelope;
use kinesis_agent::send::partition::{self, Key, KeyRoom};
use kinesis_agent::send::text::Data;
use kinesis_agent::send::{Entry, FlushReason, Options, aggregate};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::kpl::{self, hash_of};
use crate::support::ministack::{peers, peers_folder};

/// The options of a flow to a stream with these keys.
fn options(keys: &str) -> Options {
    let text = format!("flows:\n- {{filePattern: /a, kinesisStream: s, {keys}}}\n");
    parse(&text, Path::new("c.yaml"), &|_| None).unwrap().flows.remove(0).send
}

/// A record for each, each of a file of its own.
fn blocks(records: &[Vec<u8>]) -> Vec<Block> {
    let block = |(file, record): (usize, &Vec<u8>)| {
        let chunk = Chunk::new(TailId(file as u64), 0, Bytes::copy_from_slice(record), 0);
        Block { span: chunk.span, payload: chunk.bytes(), chunk, shape: Shape::One }
    };
    records.iter().enumerate().map(block).collect()
}

fn entries(options: &Options, records: &[Vec<u8>]) -> Vec<Entry> {
    let mut batcher = Batcher::new(options);
    let mut entries = Vec::new();
    for block in blocks(records) {
        while !batcher.accepts() {
            entries.extend(batcher.take(FlushReason::Bytes).expect("it is full").entries);
        }
        batcher.push(block, Duration::ZERO);
    }
    while let Some(batch) = batcher.take(FlushReason::Shutdown) {
        entries.extend(batch.entries);
    }
    entries
}

fn entry(records: &[Vec<u8>]) -> Entry {
    let mut entries = entries(&options("aggregation: kpl, aggregationMaxBytes: 1MB"), records);
    assert_eq!(entries.len(), 1, "the records fit into one entry");
    entries.remove(0)
}

/// What the agent makes of the entry, also of one record.
fn aggregate(entry: &Entry, key: &Key) -> Vec<u8> {
    Data::Aggregate(entry.clone(), None).to_vec(key)
}

/// Lines of all kinds: empty, with NUL bytes, not UTF-8, long enough for varints of each length.
fn odd_records() -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> =
        [&b"\n"[..], b"plain\n", b"\0\0\n", b"\xff\xfe\xc3\n", b"event\n  of two lines\n", b"no newline"]
            .map(<[u8]>::to_vec)
            .into();
    for length in [122, 123, 124, 125, 126, 127, 128, 129, 16_376, 16_380, 16_384, 16_390, 300_000] {
        let mut line: Vec<u8> = (0..length - 1).map(|at| b'a' + (at % 26) as u8).collect();
        line.push(b'\n');
        records.push(line);
    }
    records
}

const LARGEST: &str = "340282366920938463463374607431768211455";

/// Cases with what the agent makes of them.
fn cases() -> Value {
    let records = odd_records();
    let keys = [
        Key { partition: "k7x0qz".into(), explicit_hash: None },
        Key { partition: "b1946ac92492d2347c6235b4d2611184".into(), explicit_hash: None },
        Key { partition: "schlüssel/日志".repeat(9), explicit_hash: Some(0) },
        Key { partition: "k7x0qz".into(), explicit_hash: Some(u128::MAX) },
    ];
    let case = |key: &Key, records: &[Vec<u8>]| {
        json!({
            "partitionKey": key.partition,
            "explicitHashKey": key.explicit_hash.map(|hash| hash.to_string()),
            "records": records.iter().map(|record| STANDARD.encode(record)).collect::<Vec<_>>(),
            "aggregate": STANDARD.encode(aggregate(&entry(records), key)),
        })
    };
    // The one for Python refuses more: it counts the partition key for each record.
    let thousands = vec![b"0123456789\n".to_vec(); 3000];
    keys.iter()
        .flat_map(|key| [case(key, &records), case(key, &records[..2]), case(key, &thousands)])
        .collect()
}

#[track_caller]
fn is_made_and_read_alike(mut peer: Command) {
    let cases = cases();
    assert_eq!(cases[10]["explicitHashKey"], LARGEST);
    let mut process = peer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
    let mut input = process.stdin.take().expect("it is piped");
    let text = cases.to_string();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "the peer failed, see its words above");
    writer.join().unwrap().unwrap();
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (number, case) in cases.as_array().unwrap().iter().enumerate() {
        assert!(results[number]["made"] == case["aggregate"], "case {number}: the peer makes other bytes");
        let read = |data: &Value| json!({ "partitionKey": case["partitionKey"], "explicitHashKey": case["explicitHashKey"], "data": data });
        let expected: Value = case["records"].as_array().unwrap().iter().map(read).collect();
        assert!(results[number]["read"] == expected, "case {number}: the peer reads other records");
    }
}

fn peer_script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers").join(name)
}

#[test]
fn the_library_for_python_makes_the_same_bytes_and_reads_them() {
    let mut python = Command::new(peers().join("bin/python"));
    python.arg(peer_script("kpl.py"));
    is_made_and_read_alike(python);
}

#[test]
fn the_library_for_node_makes_the_same_bytes_and_reads_them() {
    let modules = peers_folder();
    let ready = modules.join("node_modules/aws-kinesis-agg").exists();
    assert!(ready, "no aws-kinesis-agg in {}: run `make peers`", modules.display());
    let mut node = Command::new("node");
    node.arg(peer_script("kpl.mjs")).env("PEERS_MODULES", modules);
    is_made_and_read_alike(node);
}

/// A stream's shards: this many equal parts of all hash keys, the last with the rest.
fn shards(number: u128) -> Vec<RangeInclusive<u128>> {
    let width = u128::MAX / number;
    let end = |shard| if shard + 1 == number { u128::MAX } else { (shard + 1) * width - 1 };
    (0..number).map(|shard| shard * width..=end(shard)).collect()
}

/// The shard that Kinesis puts an entry with this key in.
fn shard_of<'a>(key: &Key, shards: &'a [RangeInclusive<u128>]) -> &'a RangeInclusive<u128> {
    let hash = key.explicit_hash.unwrap_or_else(|| hash_of(&key.partition));
    shards.iter().find(|shard| shard.contains(&hash)).expect("the shards hold every key")
}

#[test]
fn the_client_library_hands_out_every_record_also_after_a_reshard() {
    let records = odd_records();
    let entry = entry(&records);
    let options = options("aggregation: kpl");
    for number in [1, 2, 3, 7, 64] {
        let shards = shards(number);
        for shard in &shards {
            // Keys of the ends of the shard, and a random one that leads anywhere.
            let drawn = partition::key(&options.partition_key, &entry);
            for explicit_hash in [Some(*shard.start()), Some(*shard.end()), None] {
                let key = Key { explicit_hash, ..drawn.clone() };
                let shard = shard_of(&key, &shards);
                let handed_out = kpl::handed_out(&aggregate(&entry, &key), shard);
                let data: Vec<_> = handed_out.iter().map(|record| record.data.clone()).collect();
                assert_eq!(data, records, "{key:?} in {shard:?}");
            }
        }
    }
}

#[test]
fn what_was_encoded_for_a_shard_that_was_split_is_dropped_unless_it_is_encoded_anew() {
    let entry = entry(&odd_records());
    let stale = Key { partition: "k7x0qz".into(), explicit_hash: Some(u128::MAX / 4 * 3) };
    let old = aggregate(&entry, &stale);
    let halves = shards(2);
    // The stale bytes under a new hash key beside them, which the other half is reached by: the
    // records inside belong elsewhere, and the library drops them all.
    assert_eq!(kpl::handed_out(&old, &halves[0]), []);
    let anew = Key { explicit_hash: Some(7), ..stale };
    let handed_out = kpl::handed_out(&aggregate(&entry, &anew), &halves[0]);
    assert_eq!(handed_out.len(), odd_records().len());
}

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let record = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        2 => prop::collection::vec(any::<u8>(), 100..200),
        1 => prop::collection::vec(any::<u8>(), 16_000..17_000),
    ];
    prop::collection::vec(record, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_encoded_is_decoded_and_as_large_as_was_said(
        records in records(),
        partition in ".{1,80}",
        explicit_hash in prop::option::of(any::<u128>()),
    ) {
        let entry = entry(&records);
        let key = Key { partition, explicit_hash };
        let made = aggregate(&entry, &key);
        let room = KeyRoom { partition: key.partition.len(), explicit_hash: explicit_hash.is_some() };
        let said: usize = records.iter().map(|record| aggregate::record_size(room, record.len())).sum();
        let spare = explicit_hash.map_or(0, |hash| 39 - hash.to_string().len());
        prop_assert_eq!(made.len(), aggregate::empty_size(room) + said - spare);

        let read = kpl::open(&made).expect("an aggregate");
        prop_assert_eq!(read.len(), records.len());
        for (read, record) in read.iter().zip(&records) {
            prop_assert_eq!(&read.data[..], &record[..]);
            prop_assert_eq!(&read.partition_key, &key.partition);
            prop_assert_eq!(&read.explicit_hash, &explicit_hash.map(|hash| hash.to_string()));
        }
    }

    #[test]
    fn all_records_of_a_flow_come_out_of_its_entries_in_order(
        records in records(),
        max_bytes in 1usize..40_000,
        max_records in 1usize..100,
        key in prop::sample::select(vec!["RANDOM", "DETERMINISTIC"]),
    ) {
        let options = options(&format!(
            "aggregation: kpl, aggregationMaxBytes: {max_bytes}, aggregationMaxRecords: {max_records}, \
             partitionKeyOption: {key}"
        ));
        let mut read = Vec::new();
        for entry in entries(&options, &records) {
            let key = partition::key(&options.partition_key, &entry);
            let data = Bytes::from(Envelope::of(&options).data(entry.clone()).to_vec(&key));
            prop_assert!(entry.records == 1 || data.len() + key.partition.len() <= max_bytes);
            prop_assert!(entry.records as usize <= max_records);
            read.extend(kpl::unpack(&data));
        }
        prop_assert_eq!(read, records);
    }
}
