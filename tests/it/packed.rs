//! Lines in aggregates and in compressed entries, through the whole agent: each arrives once,
//! whatever is in it and whatever happens on the way.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use crate::support::endpoint::Call;
use crate::support::request::Service;
use crate::support::{AgentProcess, Config, Destination, Ferrokinesis, Flow, Oracle, Repeats, Scene};
use crate::support::{Shape, Step, World, eventually, kpl};

const SOON: Duration = Duration::from_secs(40);
/// A new map of the shards is asked for after 30 s and a jitter of 5 s.
const KNOWN_WITHIN: Duration = Duration::from_secs(90);

/// A flow to a stream with this packing.
fn scene(shape: Shape, pattern: &str, keys: &[(&str, &str)]) -> Scene {
    let packing: &[(&str, &str)] = match shape {
        Shape::Kpl => &[("aggregation", "kpl")],
        Shape::Gzip => &[("aggregation", "lines"), ("compression", "gzip")],
        Shape::Zstd => &[("aggregation", "lines"), ("compression", "zstd")],
        Shape::Packed => &[("aggregation", "lines")],
        Shape::LinePerRecord => &[],
    };
    let mut scene = Scene::with_flow(Destination::Kinesis, pattern, |flow| {
        packing.iter().chain(keys).fold(flow, |flow, (key, value)| flow.with(key, *value))
    });
    scene.oracle = Oracle::new(shape);
    scene
}

#[test]
fn lines_of_all_kinds_arrive_once_in_aggregates() {
    for shape in [Shape::Kpl, Shape::Packed, Shape::Gzip, Shape::Zstd] {
        let mut scene = scene(shape, "*.log", &[]);
        for line in [&b"\n"[..], b"\0\0 nul \0\n", b"\xff\xfe\xc3\n", b"\r\n", b"\xf3\x89\x9a\xc2\n", b"\n"] {
            scene.world.append("odd.log", line);
        }
        scene.world.lines("a.log", 3000);
        // Longer than an aggregate may be, and shorter than a record may be.
        scene.world.long_lines("a.log", 3, 400_000);
        scene.world.lines("a.log", 3000);
        for file in 0..50 {
            scene.world.lines(&format!("slow-{file}.log"), 2);
        }
        scene.start();
        scene.delivers_everything_once();
        let records = scene.endpoint.stored().len();
        assert!(records <= 20, "{records} records in {shape:?}");
    }
}

#[test]
fn pieces_of_a_line_that_no_record_holds_are_records_of_an_aggregate_where_they_fit() {
    let mut scene = scene(Shape::Kpl, "app.log", &[("maxBufferAgeMillis", "100"), ("maxInFlight", "1")]);
    scene.config = scene.config.clone().with("memoryBudget", "64MiB");
    let mut text = vec![b'x'; 2_200_000];
    text.extend_from_slice(b"\nnext\nand no newline");
    scene.world.append_unseen("app.log", &text);
    scene.start();
    let read = || -> Vec<Bytes> { scene.endpoint.stored().iter().flat_map(kpl::unpack).collect() };
    let complete = text.len() - b"and no newline".len();
    eventually("the lines arrive", SOON, || {
        scene.endpoint.assert_no_violations();
        let bytes: usize = read().iter().map(Bytes::len).sum();
        if bytes == complete { Ok(()) } else { Err(format!("{bytes} of {complete} bytes")) }
    });
    assert!(read().concat() == text[..complete], "other bytes arrived");
    assert_eq!(read().last().unwrap(), &b"next\n"[..]);
    assert!(scene.endpoint.stored().iter().any(|data| kpl::open(data).is_some()), "no aggregate");
}

#[test]
fn no_aggregate_holds_more_than_the_flow_allows() {
    for (key, limit) in [("aggregationMaxRecords", 7), ("aggregationMaxBytes", 2000)] {
        for shape in [Shape::Kpl, Shape::Packed] {
            let mut scene = scene(shape, "app.log", &[(key, &limit.to_string())]);
            scene.world.lines("app.log", 1000);
            scene.start();
            scene.delivers_everything_once();
            for record in scene.endpoint.calls().iter().flat_map(|call| &call.records) {
                let lines: usize = kpl::unpack(&record.data).iter().map(newlines).sum();
                let size = if key == "aggregationMaxRecords" { lines } else { record.size() };
                assert!(size <= limit, "{key} is {limit}, but a record has {size}");
                assert!(lines > 1, "a record of {} bytes is not packed", record.size());
            }
        }
    }
}

fn newlines(data: &Bytes) -> usize {
    memchr::memchr_iter(b'\n', data).count()
}

/// The keys of the aggregates of a call, which stand inside them, too.
fn keys(call: &Call) -> HashSet<String> {
    let mut keys = HashSet::new();
    for record in &call.records {
        let outer = record.key.clone().expect("a stream's records have keys");
        for inner in kpl::open(&record.data).expect("an aggregate") {
            assert_eq!((&inner.partition_key, inner.explicit_hash), (&outer, None));
        }
        keys.insert(outer);
    }
    keys
}

#[test]
fn an_aggregate_that_is_refused_is_sent_again_with_another_key_inside() {
    let mut scene = scene(Shape::Kpl, "app.log", &[("aggregationMaxBytes", "4000")]);
    let throttled = Step::throttle_code(Service::Kinesis);
    scene.endpoint.script([Step::fail_all(throttled), Step::fail_every(2, throttled)]);
    scene.world.lines("app.log", 1000);
    scene.start();
    scene.delivers_everything_once();
    let calls = scene.endpoint.calls();
    assert!(calls.len() >= 3);
    let first = keys(&calls[0]);
    assert!(calls[1..].iter().all(|call| keys(call).is_disjoint(&first)), "a key was used again");
}

#[test]
fn a_kill_loses_nothing_of_an_aggregate() {
    for shape in [Shape::Kpl, Shape::Zstd] {
        let mut scene =
            scene(shape, "*.log", &[("aggregationMaxBytes", "5000"), ("maxBufferAgeMillis", "50")]);
        scene.endpoint.always(|_| Step::fail_every(2, "InternalFailure"));
        for life in 0..4 {
            scene.world.lines("a.log", 500);
            scene.world.lines("b.log", 500);
            scene
                .endpoint
                .script([Step::fail_every(3, "InternalFailure"), Step::fail_every(2, "InternalFailure")]);
            let calls = scene.endpoint.call_count();
            scene.start();
            scene.wait_for_calls_after(calls, 1 + life);
            scene.kill9();
        }
        scene.endpoint.heal();
        scene.start();
        scene.delivers_everything(Repeats::Allowed);
    }
}

#[test]
fn a_real_stream_gives_every_line_to_the_client_library_while_its_shards_change() {
    let world = World::new();
    let server = Ferrokinesis::start(&world);
    server.create_stream("test-stream", 2);
    let flow = Flow::new(&world, Destination::Kinesis, "*.log");
    let flow = flow.with("aggregation", "kpl").with("aggregationMaxBytes", "3000");
    let config = Config::for_server(&world, &server.url())
        .with("awsAccessKeyId", "test")
        .with("awsSecretAccessKey", "test")
        .flow(flow);
    world.lines("a.log", 3000);
    let mut agent = AgentProcess::start(&world, &config);
    let handed_out = || -> Vec<Bytes> {
        let ranges = server.hash_keys("test-stream");
        let of_shard = |(shard, records): (String, Vec<Vec<u8>>)| {
            let range = ranges[&shard].clone();
            records.into_iter().flat_map(move |data| kpl::handed_out(&data, &range))
        };
        let records = server.records("test-stream").into_iter().flat_map(of_shard);
        records.map(|record| record.data).collect()
    };
    let wait_for = |lines: usize| {
        eventually("the lines are handed out", SOON, || {
            let read = handed_out().len();
            if read == lines { Ok(()) } else { Err(format!("{read} of {lines}")) }
        });
    };
    wait_for(3000);
    world.lines("b.log", 2000);
    server.split("test-stream", 0);
    eventually("the shard is split", SOON, || match server.hash_keys("test-stream").len() {
        4 => Ok(()),
        shards => Err(format!("{shards} shards")),
    });
    world.lines("a.log", 2000);
    wait_for(7000);
    server.merge("test-stream", "shardId-000000000002", "shardId-000000000003");
    world.lines("a.log", 1000);
    wait_for(8000);
    server.update_shard_count("test-stream", 4);
    world.lines("b.log", 1000);
    wait_for(9000);
    let (mut lines, mut before) = (9000, server.open_shards("test-stream"));
    assert_eq!(before.len(), 4);
    eventually("each open shard gets its part", KNOWN_WITHIN, || {
        world.lines("a.log", 1000);
        lines += 1000;
        wait_for(lines);
        let after = server.open_shards("test-stream");
        let new: Vec<usize> = after.iter().map(|(shard, count)| count - before[shard]).collect();
        before = after;
        let fair = new.iter().sum::<usize>() / new.len();
        if new.iter().all(|new| *new * 2 >= fair) { Ok(()) } else { Err(format!("{new:?}")) }
    });
    let mut read: Vec<_> = handed_out();
    let mut written: Vec<_> = world.journal().lines.iter().map(|line| line.bytes.clone()).collect();
    read.sort_unstable();
    written.sort_unstable();
    assert!(read == written, "other lines than were written");
    agent.terminate();
    assert!(agent.wait_exit(SOON).success());
}
