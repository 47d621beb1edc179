//! What the destination never takes: kept within a bound, and sent again by `redrive`, also
//! while the agent runs, also after redrive was killed.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::agent_process::{command, output};
use crate::support::kpl;
use crate::support::request::{Record, Request};
use crate::support::scene::SOON;
use crate::support::{Destination, Endpoint, Flow, Scene, Step, eventually};

fn has(record: &Record, word: &str) -> bool {
    memchr::memmem::find(&record.data, word.as_bytes()).is_some()
}

/// Refuses the records that hold `word`, in the answer to the request that brings them.
fn refuse(scene: &Scene, word: &'static str) {
    scene.endpoint.always(move |_: &Request| {
        Step::fail_where("InvalidArgumentException", move |_, record| has(record, word))
    });
}

/// A record that is refused among others that are not.
fn poison(scene: &Scene, text: &str) {
    let lines = scene.world.append("app.log", format!("{text}\n"));
    scene.world.excuse(lines);
    scene.world.lines("app.log", 3);
}

fn files(scene: &Scene) -> BTreeMap<String, u64> {
    let folder = fs::read_dir(scene.world.dead_letter_file().parent().unwrap()).unwrap();
    let files = folder.map(|entry| entry.unwrap());
    // One may be rotated while it is looked at.
    let named =
        files.filter_map(|file| Some((file.file_name().into_string().unwrap(), file.metadata().ok()?.len())));
    named.filter(|(name, _)| name.starts_with("dead-letters.jsonl")).collect()
}

/// The exit code of `redrive`, and what it said.
#[track_caller]
fn redrive(scene: &Scene, file: &str, more: &[&str]) -> (i32, String) {
    let path = scene.world.dead_letter_file().with_file_name(file);
    let mut arguments = vec!["redrive", path.to_str().unwrap()];
    arguments.extend(more);
    let output = output(&scene.world, &scene.config, &arguments, &[]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn stored(scene: &Scene, word: &str) -> usize {
    let stored = scene.endpoint.stored();
    stored.iter().filter(|data| memchr::memmem::find(data, word.as_bytes()).is_some()).count()
}

#[track_caller]
fn wait_for_letters(scene: &Scene, count: usize) {
    eventually("dead letters", SOON, || {
        let letters: usize = files(scene)
            .keys()
            .map(|name| scene.world.dead_letter_file().with_file_name(name))
            .map(|path| fs::read_to_string(path).map_or(0, |text| text.lines().count()))
            .sum();
        if letters == count { Ok(()) } else { Err(format!("{letters}")) }
    });
}

#[test]
fn records_are_sent_again_while_the_agent_runs_and_writes_more() {
    let mut scene = Scene::new(Destination::Kinesis, "*.log");
    refuse(&scene, "poison");
    scene.start();
    poison(&scene, "poison 1");
    poison(&scene, "poison 2");
    wait_for_letters(&scene, 2);

    let (code, said) = redrive(&scene, "dead-letters.jsonl", &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("sent again: 0 records"), "{said}");
    assert_eq!(files(&scene).into_keys().collect::<Vec<_>>(), ["dead-letters.jsonl.1.refused"]);

    poison(&scene, "poison 3");
    wait_for_letters(&scene, 3);
    refuse(&scene, "nothing");
    for file in ["dead-letters.jsonl.1.refused", "dead-letters.jsonl"] {
        let (code, said) = redrive(&scene, file, &[]);
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(stored(&scene, "poison"), 3);
    assert_eq!(files(&scene).len(), 0);

    refuse(&scene, "poison");
    poison(&scene, "poison 4");
    wait_for_letters(&scene, 1);
    scene.wait_for_all();
    let (code, said) = redrive(&scene, "no-such-file", &[]);
    assert!(code == 1 && said.contains("No such file"), "{code}: {said}");
}

#[test]
fn records_of_an_aggregate_are_sent_again_as_records_and_with_the_key_of_their_file() {
    let keys = |flow: Flow| flow.with("aggregation", "kpl").with("partitionKeyOption", "FILE");
    let mut scene = Scene::with_flow(Destination::Kinesis, "*.log", keys);
    refuse(&scene, "poison");
    scene.start();
    let lines = scene.world.append("app.log", "poison 1\npoison 2\npoison 3\n");
    scene.world.excuse(lines);
    scene.world.lines("other.log", 1);
    wait_for_letters(&scene, 1);
    scene.wait_for_all();
    refuse(&scene, "nothing");
    let before = scene.endpoint.call_count();
    let (code, said) = redrive(&scene, "dead-letters.jsonl", &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("sent again: 3 records"), "{said}");
    let call = scene.endpoint.calls()[before..].last().unwrap().clone();
    let [aggregate] = &call.records[..] else { panic!("{call:?}") };
    assert_eq!(kpl::unpack(&aggregate.data), ["poison 1\n", "poison 2\n", "poison 3\n"]);
    assert_eq!(aggregate.key.as_deref(), scene.world.path("app.log").to_str());
}

#[test]
fn a_record_of_a_rotated_file_is_sent_again_with_the_key_that_it_had() {
    let keys = |flow: Flow| flow.with("aggregation", "kpl").with("partitionKeyOption", "FILE");
    let mut scene = Scene::with_flow(Destination::Kinesis, "*.log", keys);
    refuse(&scene, "poison");
    scene.start();
    scene.world.lines("app.log", 1);
    scene.wait_for_all();
    scene.stop();
    let lines = scene.world.append("app.log", "poison 1\n");
    scene.world.excuse(lines);
    scene.world.rename("app.log", "app.log.1");
    scene.world.lines("other.log", 1);
    scene.start();
    wait_for_letters(&scene, 1);
    refuse(&scene, "nothing");
    let before = scene.endpoint.call_count();
    let (code, said) = redrive(&scene, "dead-letters.jsonl", &[]);
    assert_eq!(code, 0, "{said}");
    let calls = scene.endpoint.calls();
    let again = calls[before..].iter().flat_map(|call| &call.records).find(|record| has(record, "poison"));
    assert_eq!(again.unwrap().key.as_deref(), scene.world.path("app.log").to_str());
}

/// A file of so many letters.
fn letters(scene: &Scene, count: usize, destination: &str) {
    let letter = |n: usize| {
        let data = STANDARD.encode(format!("letter {n:06}\n"));
        json!({ "flow": "gone", "destination": destination, "reason": "x", "data": data }).to_string() + "\n"
    };
    let path = scene.world.dead_letter_file().with_file_name("dead-letters.jsonl.7");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, (0..count).map(letter).collect::<String>()).unwrap();
}

#[test]
fn a_redrive_that_is_killed_repeats_at_most_a_request() {
    let scene = Scene::new(Destination::Kinesis, "*.log");
    letters(&scene, 4000, "kinesis:test-stream");
    let config = scene.world.root().join("config.yaml");
    fs::write(&config, scene.config.to_yaml()).unwrap();
    let mut kills = 0;
    let before = scene.endpoint.call_count();
    scene.endpoint.always(|_| Step::Latency(Duration::from_millis(200)));
    for calls in [2, 4] {
        let mut process = command(&scene.world)
            .args(["redrive", "--config"])
            .arg(&config)
            .arg(scene.world.dead_letter_file().with_file_name("dead-letters.jsonl.7"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        scene.wait_for_calls_after(before, calls);
        process.kill().unwrap();
        process.wait().unwrap();
        kills += 1;
    }
    scene.endpoint.heal();
    let (code, said) = redrive(&scene, "dead-letters.jsonl.7", &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("going on at byte"), "{said}");
    let mut times = BTreeMap::<Vec<u8>, usize>::new();
    scene.endpoint.stored().iter().for_each(|data| *times.entry(data.to_vec()).or_default() += 1);
    assert_eq!(times.len(), 4000);
    let repeated = times.values().map(|times| times - 1).sum::<usize>();
    assert!(repeated <= kills * 500, "{repeated} repeats after {kills} kills");
    assert_eq!(files(&scene).len(), 0);
}

#[test]
fn letters_of_a_destination_that_is_no_longer_configured_go_where_they_are_told_to() {
    let mut scene = Scene::with_flow(Destination::Firehose, "*.log", |flow| flow.with("name", "web"));
    scene.world.lines("a.log", 1);
    letters(&scene, 5, "kinesis:no-longer-here");
    let (code, said) = redrive(&scene, "dead-letters.jsonl.7", &[]);
    assert!(
        code == 1 && said.contains("no flow of the configuration sends to kinesis:no-longer-here"),
        "{said}"
    );
    let (code, said) = redrive(&scene, "dead-letters.jsonl.7", &["--flow", "wbe"]);
    assert!(code == 1 && said.contains("has no flow `wbe`"), "{said}");
    let (code, said) = redrive(&scene, "dead-letters.jsonl.7", &["--flow", "web"]);
    assert!(code == 0 && said.contains("sent again: 5 records, 70 bytes"), "{said}");
    assert_eq!(stored(&scene, "letter"), 5);
    scene.set("memoryBudget", "much");
    assert_eq!(redrive(&scene, "dead-letters.jsonl.7", &[]).0, 2);
}

#[test]
fn what_is_given_up_stays_within_its_bound_and_nothing_of_it_is_lost() {
    const BOUND: u64 = 4096;
    let mut scene = Scene::new(Destination::Kinesis, "*.log");
    scene.set("deadLetterMaxBytes", BOUND);
    refuse(&scene, "poison");
    scene.start();
    for n in 0..40 {
        poison(&scene, &format!("poison {n}"));
    }
    eventually("the bound is reached", SOON, || {
        let log = scene.agent().log_text();
        if log.contains("would grow beyond 4096 bytes together") {
            Ok(())
        } else {
            Err(format!("{:?}", files(&scene)))
        }
    });
    let full = files(&scene);
    assert!(full.values().sum::<u64>() <= BOUND && full.len() > 4, "{full:?}");
    scene.wait_for_all();
    // Those that wait are not settled, so they are read again after a death.
    scene.kill9();
    scene.endpoint.heal();
    for name in full.keys() {
        let (code, said) = redrive(&scene, name, &[]);
        assert_eq!(code, 0, "{name}: {said}");
    }
    assert_eq!(files(&scene).len(), 0);
    scene.start();
    eventually("all of them arrive", SOON, || {
        let missing = (0..40).filter(|n| stored(&scene, &format!("poison {n}\n")) == 0).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing")) }
    });
}

/// Streams of one name in two places: what the one accepts says nothing of the other.
#[test]
fn a_stream_of_the_same_name_elsewhere_is_no_witness() {
    let bad = Endpoint::start();
    bad.always(|_| Step::error("ValidationException"));
    let mut scene = Scene::new(Destination::Kinesis, "good.log");
    let flow = Flow::new(&scene.world, Destination::Kinesis, "bad.log")
        .with("endpoint", bad.url())
        .with("name", "bad");
    scene.add_flow(flow);
    let waiting = scene.world.lines("bad.log", 5);
    scene.start();
    eventually("each of them was refused by itself, and again", SOON, || {
        scene.probe("good.log");
        let calls = bad.call_count();
        if calls > 30 { Ok(()) } else { Err(format!("{calls}")) }
    });
    assert_eq!(files(&scene).len(), 0, "nothing is given up");
    scene.world.excuse(waiting);
    bad.heal();
    eventually("all of it arrives", SOON, || match bad.stored().len() {
        5 => Ok(()),
        n => Err(format!("{n}")),
    });
    scene.delivers_everything_once();
}
