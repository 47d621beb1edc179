//! Which shard records go to, and how a destination that takes less slows what goes there, and
//! nothing else.
//!
//! Where shards are known, ferrokinesis has them; see `real_servers.rs` for streams whose shards
//! change. The scripted endpoint tells its two shards only where it is asked to.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::support::answer;
use crate::support::endpoint::{ACCESS_KEY, REGION, SECRET_KEY};
use crate::support::inquiry::status_when;
use crate::support::request::Service;
use crate::support::{
    AgentProcess, Config, Destination, Endpoint, Ferrokinesis, Flow, Oracle, Scene, Shape, Step, World,
    eventually,
};

use Destination::{Firehose, Kinesis};

const SOON: Duration = Duration::from_secs(60);

/// The key of each record that was stored, in a flow whose keys are made like this.
fn keys(option: Value, lines: &[(&str, &str)]) -> HashMap<String, String> {
    let mut scene = Scene::with_flow(Kinesis, "*.log", |flow| flow.with("partitionKeyOption", option));
    for (file, line) in lines {
        scene.world.append(file, format!("{line}\n"));
    }
    scene.start();
    scene.delivers_everything_once();
    let records = scene.endpoint.calls().into_iter().flat_map(|call| call.records);
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap().trim().to_owned();
    let folder = scene.world.path("").display().to_string();
    let key = |key: Option<String>| key.expect("records of a stream have keys").replace(&folder, "");
    records.map(|record| (text(&record.data), key(record.key))).collect()
}

#[test]
fn keys_follow_the_file_the_host_a_text_a_field_or_a_capture() {
    let lines = [
        ("a.log", r#"{"user":"ann","n":1}"#),
        ("b.log", r#"{"n":2,"user":"bob"}"#),
        ("a.log", r#"{"user":"bob","n":3}"#),
        ("b.log", r#"{"user":7,"n":4}"#),
        ("a.log", "no JSON, no user"),
    ];
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let cases = [
        (json!("FILE"), ["a.log", "b.log", "a.log", "b.log", "a.log"]),
        (json!("HOST"), [host.as_str(); 5]),
        (json!({ "value": "one key" }), ["one key"; 5]),
        (json!({ "field": "user" }), ["ann", "bob", "bob", "7", ""]),
        (json!({ "regex": r#""n":(\d)"# }), ["1", "2", "3", "4", ""]),
    ];
    for (option, expected) in cases {
        let keys = keys(option.clone(), &lines);
        for ((_, line), expected) in lines.iter().zip(expected) {
            let key = keys[*line].trim_start_matches('/');
            match expected {
                // A random one.
                "" => assert_eq!(key.len(), 6, "{option} {line}"),
                expected => assert_eq!(key, expected, "{option} {line}"),
            }
        }
    }
}

#[test]
fn a_stream_that_does_not_tell_its_shards_is_said_once_and_gets_another_key_at_each_attempt() {
    let mut scene = Scene::new(Kinesis, "app.log");
    let throttled = Step::throttle_code(Service::Kinesis);
    scene.endpoint.script(vec![Step::fail_every(2, throttled); 12]);
    scene.world.lines("app.log", 2000);
    scene.start();
    scene.wait_for_all_within(SOON);
    let said = scene.agent().log_text().matches("does not tell its shards").count();
    assert_eq!(said, 1);
    let mut attempts: HashMap<Bytes, Vec<String>> = HashMap::new();
    for record in scene.endpoint.calls().into_iter().flat_map(|call| call.records) {
        attempts.entry(record.data).or_default().push(record.key.expect("a key"));
    }
    let again: Vec<_> = attempts.values().filter(|keys| keys.len() > 1).collect();
    assert!(again.len() > 500, "{} were sent again", again.len());
    for keys in again {
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "a key was used again: {keys:?}");
    }
    scene.delivers_everything_once();
}

/// Records, and those of them that were refused.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    all: usize,
    refused: usize,
}

#[test]
fn a_delivery_stream_that_takes_less_is_sent_less() {
    const TAKES: usize = 500;
    let mut scene = Scene::with_flow(Firehose, "app.log", |flow| flow.with("aggregation", "none"));
    scene.oracle = Oracle::new(Shape::LinePerRecord);
    let (mut began, mut taken) = (Instant::now(), 0);
    scene.endpoint.always(move |request| {
        if began.elapsed() > Duration::from_secs(1) {
            (began, taken) = (Instant::now(), 0);
        }
        let room = TAKES - taken;
        taken += request.records.len().min(room);
        Step::fail_where(Step::throttle_code(Service::Firehose), move |index, _| index >= room)
    });
    scene.world.lines("app.log", 20 * TAKES);
    scene.start();
    scene.wait_for_all_within(SOON);
    let calls = scene.endpoint.calls();
    let middle = calls[0].received + (calls[calls.len() - 1].received - calls[0].received) / 2;
    let mut halves = [Tries::default(); 2];
    for call in &calls {
        let half = &mut halves[usize::from(call.received > middle)];
        half.all += call.records.len();
        half.refused += call.records.iter().filter(|record| !record.stored).count();
    }
    println!("{halves:?}");
    assert!(halves[0].refused > 0, "it never took less");
    assert!(halves[1].refused * 3 < halves[1].all, "{halves:?}: what it refuses makes no difference");
    scene.delivers_everything_once();
}

/// How many of these lines there are among the records.
fn stored(world: &World, lines: &Range<usize>, records: &HashSet<Vec<u8>>) -> usize {
    world.journal().lines[lines.clone()].iter().filter(|line| records.contains(&line.bytes[..])).count()
}

#[test]
fn a_key_that_fills_its_shard_slows_no_other_flow_and_no_other_destination() {
    // Eight seconds of a shard.
    const HOT: usize = 8000;
    const QUIET: usize = 300;
    let (world, endpoint) = (World::new(), Endpoint::start());
    let server = Ferrokinesis::start(&world);
    server.create_stream("test-stream", 2);
    let firehose = json!({ "endpoint": endpoint.url(), "region": REGION });
    let one_key = Flow::new(&world, Kinesis, "hot.log").with("partitionKeyOption", json!({ "value": "hot" }));
    let config = Config::for_server(&world, &server.url())
        .with("awsAccessKeyId", ACCESS_KEY)
        .with("awsSecretAccessKey", SECRET_KEY)
        .with("firehose", firehose)
        .flow(one_key)
        .flow(Flow::new(&world, Kinesis, "quiet.log"))
        .flow(Flow::new(&world, Firehose, "elsewhere.log"));
    let hot = world.lines("hot.log", HOT);
    let mut agent = AgentProcess::start(&world, &config);
    let in_stream = |quiet: &Range<usize>| {
        let records = server.records("test-stream").into_values().flatten().collect();
        [&hot, quiet].map(|lines| stored(&world, lines, &records))
    };
    eventually("the shard is filled", SOON, || match in_stream(&(0..0)) {
        [hot, _] if hot >= 1000 => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
    let quiet = world.lines("quiet.log", QUIET);
    world.lines("elsewhere.log", QUIET);
    let meanwhile = eventually("the others go on", SOON, || {
        let elsewhere = endpoint.stored_text().lines().count();
        match in_stream(&quiet) {
            [hot, QUIET] if elsewhere == QUIET => Ok(hot),
            counts => Err(format!("{counts:?}, {elsewhere} in the delivery stream")),
        }
    });
    assert!(meanwhile < HOT, "the others waited for the hot key");
    eventually("the hot key's lines arrive, too", SOON, || match in_stream(&quiet) {
        [HOT, QUIET] => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
    agent.terminate();
    assert!(agent.wait_exit(SOON).success());
}

#[test]
fn files_whose_shard_takes_nothing_hold_up_no_other_file() {
    const MANY: usize = 3000;
    let mut scene = Scene::with_flow(Kinesis, "*.log", |flow| flow.with("partitionKeyOption", "FILE"));
    scene.set("memoryBudget", "8MiB");
    scene.endpoint.tell_shards();
    let is_upper = |name: &str| Md5::digest(scene.world.path(name).display().to_string())[0] >= 0x80;
    let names = |upper| (0..).map(|n| format!("{n}.log")).filter(move |name| is_upper(name) == upper);
    let (dead, other) = (names(true).take(3).collect::<Vec<_>>(), names(false).next().unwrap());
    let throttled = Step::throttle_code(Service::Kinesis);
    scene.endpoint.always(move |_| Step::fail_where(throttled, |_, record| answer::is_upper(record)));
    scene.start();
    for name in &dead {
        // More than each may hold.
        scene.world.long_lines(name, 1200, 4000);
        let (before, times) = (Cell::new(0), Cell::new(0));
        status_when(&scene.world, "as much is read as may be", |status| {
            let used = status["memory"]["used"].as_u64().unwrap();
            times.set(if before.replace(used) == used { times.get() + 1 } else { 0 });
            used > 1 << 20 && times.get() > 20
        });
    }
    let lines = scene.world.lines(&other, MANY);
    eventually("the other file is delivered", SOON, || {
        match stored(&scene.world, &lines, &scene.endpoint.stored().into_iter().map(Vec::from).collect()) {
            MANY => Ok(()),
            some => Err(format!("{some} of {MANY} lines are there")),
        }
    });
    scene.endpoint.always(|_| Step::Ok);
    scene.wait_for_all_within(SOON);
    scene.delivers_everything_once();
}
