//! The agent against servers that somebody else wrote: what it believes about the services, its
//! own scripted endpoint believes too; these do not.
//!
//! ferrokinesis throttles each shard as AWS does, so that requests fail in part. ministack
//! checks signatures, policies and external ids, gives credentials as an instance does, and
//! puts what Firehose takes into S3.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::kpl::hash_of;
use crate::support::{AgentProcess, Config, Destination, Ferrokinesis, Flow, Ministack, World, eventually};

const SOON: Duration = Duration::from_secs(90);
/// A new map of the shards is asked for after 30 s and a jitter of 5 s.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);
const ANYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const ONLY_ASSUME_ROLE: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#;

/// What was written and what arrived, as counts for each line.
struct Compared {
    missing: usize,
    repeated: usize,
    invented: usize,
}

fn compare(world: &World, records: &[Vec<u8>]) -> Compared {
    let mut counts: HashMap<Bytes, i64> = HashMap::new();
    for line in records.iter().flat_map(|record| record.split_inclusive(|&byte| byte == b'\n')) {
        *counts.entry(Bytes::copy_from_slice(line)).or_default() += 1;
    }
    let mut compared = Compared { missing: 0, repeated: 0, invented: 0 };
    for line in &world.journal().lines {
        match counts.remove(&line.bytes) {
            None => compared.missing += 1,
            Some(times) => compared.repeated += times as usize - 1,
        }
    }
    compared.invented = counts.len();
    compared
}

/// Waits until nothing is missing.
#[track_caller]
fn wait_for_all(world: &World, records: impl Fn() -> Vec<Vec<u8>>) -> Compared {
    eventually("every line is in the server", SOON, || {
        let compared = compare(world, &records());
        if compared.missing == 0 { Ok(compared) } else { Err(format!("{} lines missing", compared.missing)) }
    })
}

#[track_caller]
fn stop(mut agent: AgentProcess) {
    agent.terminate();
    let status = agent.wait_exit(SOON);
    assert!(status.success(), "{status}");
}

/// What the agent says about its trouble, and that it lives on.
#[track_caller]
fn wait_until_it_complains(agent: &mut AgentProcess, word: &str) {
    eventually("the agent names the error", SOON, || {
        assert!(agent.is_alive(), "the agent ended");
        if agent.log_text().contains(word) { Ok(()) } else { Err(format!("no {word} in its log")) }
    });
}

fn all_shards(server: &Ferrokinesis) -> Vec<Vec<u8>> {
    server.records("test-stream").into_values().flatten().collect()
}

fn kinesis_config(world: &World, server: &Ferrokinesis) -> Config {
    Config::for_server(world, &server.url())
        .with("awsAccessKeyId", "test")
        .with("awsSecretAccessKey", "test")
        .flow(Flow::new(world, Destination::Kinesis, "*.log"))
}

#[test]
fn throttled_shards_get_every_line_once() {
    let world = World::new();
    let server = Ferrokinesis::start(&world);
    server.create_stream("test-stream", 2);
    world.lines("a.log", 3000);
    world.lines("b.log", 3000);
    let begin = Instant::now();
    let agent = AgentProcess::start(&world, &kinesis_config(&world, &server));
    let compared = wait_for_all(&world, || all_shards(&server));
    // 1,000 records a second and shard: two shards cannot take 6,000 at once.
    assert!(begin.elapsed() > Duration::from_secs(1), "nothing was throttled");
    stop(agent);
    assert_eq!((compared.repeated, compared.invented), (0, 0));
    assert_eq!(compare(&world, &all_shards(&server)).repeated, 0);
    let per_shard: Vec<usize> = server.records("test-stream").values().map(Vec::len).collect();
    assert!(per_shard.iter().all(|&records| records > 2000), "uneven: {per_shard:?}");
}

/// Writes until the open shards get equal parts of what is new, and all of it once.
#[track_caller]
fn evens_out(world: &World, server: &Ferrokinesis) {
    const NEW: usize = 240;
    let mut before = server.open_shards("test-stream");
    eventually("the open shards get equal parts", KNOWN_WITHIN, || {
        world.lines("a.log", NEW);
        wait_for_all(world, || all_shards(server));
        let after = server.open_shards("test-stream");
        let new: Vec<usize> = after.iter().map(|(shard, count)| count - before[shard]).collect();
        before = after;
        let fair = NEW / new.len();
        let even = new.iter().all(|new| (fair * 4 / 5..=fair * 6 / 5).contains(new));
        if even { Ok(()) } else { Err(format!("{new:?}")) }
    });
    let compared = compare(world, &all_shards(server));
    assert_eq!((compared.missing, compared.repeated, compared.invented), (0, 0, 0));
}

#[test]
fn a_split_and_a_merge_lose_nothing_and_the_new_shards_are_used_evenly() {
    let world = World::new();
    let server = Ferrokinesis::start(&world);
    server.create_stream("test-stream", 3);
    let agent = AgentProcess::start(&world, &kinesis_config(&world, &server));
    evens_out(&world, &server);
    world.lines("a.log", 500);
    server.split_unevenly("test-stream", "shardId-000000000000");
    world.lines("a.log", 500);
    server.merge("test-stream", "shardId-000000000001", "shardId-000000000002");
    world.lines("a.log", 500);
    assert_eq!(server.open_shards("test-stream").len(), 3);
    evens_out(&world, &server);
    stop(agent);
}

#[test]
fn more_shards_and_fewer_lose_nothing_and_are_used_evenly() {
    let world = World::new();
    let server = Ferrokinesis::start(&world);
    server.create_stream("test-stream", 2);
    let agent = AgentProcess::start(&world, &kinesis_config(&world, &server));
    evens_out(&world, &server);
    for count in [3, 2] {
        world.lines("a.log", 500);
        server.update_shard_count("test-stream", count);
        world.lines("a.log", 500);
        assert_eq!(server.open_shards("test-stream").len(), count as usize);
        evens_out(&world, &server);
    }
    stop(agent);
}

#[test]
fn a_file_with_a_key_of_its_own_fills_its_shard_and_holds_up_no_other_file() {
    let world = World::new();
    let server = Ferrokinesis::start(&world);
    server.create_stream("test-stream", 2);
    let is_low = |name: &str| hash_of(world.path(name).to_str().unwrap()) >> 127 == 0;
    let quiet =
        (0..).map(|number| format!("b{number}.log")).find(|name| is_low(name) != is_low("a.log")).unwrap();
    // Six seconds of a shard.
    world.lines("a.log", 6000);
    world.lines(&quiet, 200);
    let by_file = Flow::new(&world, Destination::Kinesis, "*.log").with("partitionKeyOption", "FILE");
    let config = kinesis_config(&world, &server).with_flows([by_file]);
    let agent = AgentProcess::start(&world, &config);
    let mut sizes = Vec::new();
    eventually("the quiet file is in its shard", SOON, || {
        sizes = server.records("test-stream").values().map(Vec::len).collect();
        sizes.sort_unstable();
        if sizes[0] == 200 { Ok(()) } else { Err(format!("{sizes:?}")) }
    });
    assert!(sizes[1] < 6000, "the quiet file waited for the busy one");
    let compared = wait_for_all(&world, || all_shards(&server));
    assert_eq!((compared.repeated, compared.invented), (0, 0));
    stop(agent);
}

#[test]
fn a_server_that_is_killed_and_comes_back_gets_every_line() {
    let world = World::new();
    let mut server = Ferrokinesis::start(&world);
    server.create_stream("test-stream", 4);
    let agent = AgentProcess::start(&world, &kinesis_config(&world, &server));
    // Names outside the pattern are only followed from files that the agent has seen.
    world.lines("a.log", 1);
    wait_for_all(&world, || all_shards(&server));
    for outage in 1..=3 {
        world.lines("a.log", 500);
        server.kill9();
        world.lines("a.log", 300);
        world.rename("a.log", &format!("a.log.{outage}"));
        world.lines("a.log", 200);
        server.come_up();
    }
    let compared = wait_for_all(&world, || all_shards(&server));
    assert_eq!(compared.invented, 0);
    stop(agent);
    // Only requests whose answers died with the server may have been repeated.
    assert!(compared.repeated < 1500, "{} lines were repeated", compared.repeated);
}

#[test]
fn firehose_puts_packed_lines_into_s3() {
    let world = World::new();
    let server = Ministack::start(&world, &[]);
    server.aws(&["bucket", "log-bucket"]);
    server.aws(&["delivery-stream", "test-delivery-stream", "log-bucket"]);
    world.lines("a.log", 2000);
    world.lines("b.log", 2000);
    world.append("b.log", [b"\xff\xfe \"quoted\" \\ \t\x1b \xc3\xa9\n".as_slice(), b"\n"].concat());
    let config = Config::for_server(&world, &server.url())
        .with("awsAccessKeyId", "test")
        .with("awsSecretAccessKey", "test")
        .flow(Flow::new(&world, Destination::Firehose, "*.log"));
    let agent = AgentProcess::start(&world, &config);
    let compared = wait_for_all(&world, || server.contents("objects", "log-bucket"));
    stop(agent);
    assert_eq!((compared.repeated, compared.invented), (0, 0));
    let objects = server.contents("objects", "log-bucket");
    assert!(objects.iter().all(|object| object.ends_with(b"\n")), "an object ends in mid-line");
    assert!(objects.len() < 100, "{} objects for 4,002 lines are not packed", objects.len());
}

/// A strict server with a stream, and the configuration of a user who may do what `policy` says.
fn strict_server(world: &World, policy: &str) -> (Ministack, Config, Value) {
    let server = Ministack::start(world, &[("AUTH", "true")]);
    server.aws(&["stream", "test-stream", "2"]);
    let user = server.aws(&["user", "shipper", policy]);
    let config = Config::for_server(world, &server.url())
        .with("awsAccessKeyId", user["id"].clone())
        .with("awsSecretAccessKey", user["secret"].clone())
        .flow(Flow::new(world, Destination::Kinesis, "*.log"));
    (server, config, user)
}

#[test]
fn a_wrong_secret_is_refused_and_the_right_one_delivers_all() {
    let world = World::new();
    let (server, config, _user) = strict_server(&world, ANYTHING);
    world.lines("a.log", 800);
    let wrong = config.clone().with("awsSecretAccessKey", "not-the-secret");
    let mut agent = AgentProcess::start(&world, &wrong);
    wait_until_it_complains(&mut agent, "InvalidSignatureException");
    assert_eq!(server.contents("records", "test-stream").len(), 0);
    stop(agent);
    let agent = AgentProcess::start(&world, &config);
    let compared = wait_for_all(&world, || server.contents("records", "test-stream"));
    stop(agent);
    assert_eq!((compared.repeated, compared.invented), (0, 0));
}

#[test]
fn a_role_is_assumed_with_its_external_id_and_not_without() {
    let world = World::new();
    let (server, config, _user) = strict_server(&world, ONLY_ASSUME_ROLE);
    let role = server.aws(&["role", "writer", "shipper", "open-sesame", ANYTHING]);
    let config = config.with("assumeRoleARN", role).with("sts", json!({ "endpoint": server.url() }));
    world.lines("a.log", 800);

    let mut agent = AgentProcess::start(&world, &config.clone().with("assumeRoleExternalId", "close-sesame"));
    wait_until_it_complains(&mut agent, "AssumeRole");
    assert_eq!(server.contents("records", "test-stream").len(), 0);
    stop(agent);

    let agent = AgentProcess::start(&world, &config.with("assumeRoleExternalId", "open-sesame"));
    let compared = wait_for_all(&world, || server.contents("records", "test-stream"));
    stop(agent);
    assert_eq!((compared.repeated, compared.invented), (0, 0));
}

#[test]
fn a_denied_action_is_waited_out() {
    let world = World::new();
    let (server, config, _user) = strict_server(&world, ONLY_ASSUME_ROLE);
    world.lines("a.log", 100);
    let mut agent = AgentProcess::start(&world, &config);
    wait_until_it_complains(&mut agent, "AccessDenied");
    server.aws(&["allow", "shipper", ANYTHING]);
    let compared = wait_for_all(&world, || server.contents("records", "test-stream"));
    stop(agent);
    assert_eq!((compared.repeated, compared.invented), (0, 0));
}

#[test]
fn credentials_and_region_come_from_the_instance_metadata() {
    let world = World::new();
    let server = Ministack::start(&world, &[("MINISTACK_IMDS_V2_REQUIRED", "1")]);
    server.aws(&["stream", "test-stream", "1"]);
    world.lines("a.log", 300);
    let config = Config::for_server(&world, &server.url())
        .with("kinesis", json!({ "endpoint": server.url() }))
        .flow(Flow::new(&world, Destination::Kinesis, "*.log"));
    let metadata =
        [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url())];
    let agent = AgentProcess::start_with_env(&world, &config, &metadata);
    let compared = wait_for_all(&world, || server.contents("records", "test-stream"));
    stop(agent);
    assert_eq!((compared.repeated, compared.invented), (0, 0));
}
