//! `run --dry-run`: prints what would be sent, and touches nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::agent_process::{command, output};
use crate::support::scene::SOON;
use crate::support::{Config, Destination, Flow, Scene, World, eventually};

use Destination::{Firehose, Kinesis};

const UNTIL_END: [&str; 3] = ["run", "--dry-run", "--until-end"];

/// A configuration without a region, credentials or an endpoint.
fn config(world: &World, flows: impl IntoIterator<Item = Flow>) -> Config {
    let config = Config::bare(world);
    flows.into_iter().fold(config, Config::flow)
}

#[track_caller]
fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(!said.contains("ERROR"), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// All files of the state, with their contents.
fn state(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn everything_is_printed_once_in_order_without_aws_and_without_a_trace() {
    for destination in Destination::BOTH {
        let world = World::new();
        let config = config(&world, [Flow::new(&world, destination, "*.log")]);
        world.append("a.log", "one\ntwo\n\u{e4}\n");
        world.append("b.log", "no newline");
        let output = output(&world, &config, &UNTIL_END, &[]);
        assert_eq!(printed(&output), "one\ntwo\n\u{e4}\n");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("3 records, 11 bytes in 1 requests"), "{said}");
        assert_eq!(state(&world.root().join("state")), []);
    }
}

#[test]
fn many_lines_come_out_as_they_were_written() {
    let world = World::new();
    world.lines("a.log", 30_000);
    let written = fs::read_to_string(world.path("a.log")).unwrap();
    for destination in Destination::BOTH {
        let config = config(&world, [Flow::new(&world, destination, "*.log")]);
        assert!(printed(&output(&world, &config, &UNTIL_END, &[])) == written, "{destination:?}");
    }
}

#[test]
fn events_of_several_lines_are_whole_and_headers_left_out() {
    let world = World::new();
    let flow = Flow::new(&world, Kinesis, "a.log")
        .with("multiLineStartPattern", "\\d")
        .with("multiLineFlushMillis", 300)
        .with("skipHeaderLines", 1);
    world.append("a.log", "header\n1 a\n  b\n2 c\n");
    let config = config(&world, [flow]);
    let output = output(&world, &config, &UNTIL_END, &[]);
    assert_eq!(printed(&output), "1 a\n  b\n2 c\n");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("2 records") && said.contains("1 left out"), "{said}");
}

#[test]
fn the_initial_position_counts() {
    let world = World::new();
    let flow = Flow::new(&world, Kinesis, "*.log").with("initialPosition", "END_OF_FILE");
    world.append("a.log", "old\n");
    assert_eq!(printed(&output(&world, &config(&world, [flow]), &UNTIL_END, &[])), "");
}

#[test]
fn stored_positions_count_and_are_not_changed_nor_those_of_an_agent_that_runs() {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.world.lines("a.log", 100);
    scene.start();
    scene.wait_for_all();
    // While it runs, what it has stored is seen, or a little less.
    scene.endpoint.go_down();
    let dry = printed(&output(&scene.world, &scene.config, &UNTIL_END, &[]));
    let written = fs::read_to_string(scene.world.path("a.log")).unwrap();
    assert!(written.ends_with(&dry));
    scene.endpoint.come_up();
    scene.stop();

    let calls = scene.endpoint.call_count();
    scene.world.append("a.log", "new\n");
    let before = state(&scene.world.root().join("state"));
    for _ in 0..2 {
        assert_eq!(printed(&output(&scene.world, &scene.config, &UNTIL_END, &[])), "new\n");
    }
    assert_eq!(state(&scene.world.root().join("state")), before);
    assert_eq!(scene.endpoint.call_count(), calls, "the endpoint was asked");
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn live_files_are_followed_until_it_is_interrupted() {
    let world = World::new();
    let config = config(&world, [Flow::new(&world, Firehose, "a.log").with("maxBufferAgeMillis", "5m")]);
    let config_file = world.root().join("config.yaml");
    fs::write(&config_file, config.to_yaml()).unwrap();
    world.append("a.log", "first\n");
    let mut command = command(&world);
    command.args(["--dry-run", "--config"]).arg(&config_file).stdin(Stdio::null());
    let mut agent = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    world.append("a.log", "second\n");
    assert_eq!(lines.next().unwrap().unwrap(), "second");
    kill_process(Pid::from_child(&agent), Signal::INT).unwrap();
    let ended = eventually("the dry run ends", SOON, || agent.try_wait().unwrap().ok_or("it runs".into()));
    assert!(ended.success(), "{ended}");
}

#[test]
fn an_oversized_record_is_not_written_to_the_dead_letter_file() {
    let world = World::new();
    let flow = Flow::new(&world, Kinesis, "a.log").with("oversizedRecords", "deadLetter");
    let config = config(&world, [flow]);
    world.append("a.log", format!("{}\nsmall\n", "x".repeat(1_100_000)));
    let output = output(&world, &config, &UNTIL_END, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "small\n");
    // A letter for each piece of the line.
    assert!(said.contains("2 dead letters"), "{said}");
    assert_eq!(state(&world.root().join("state")), []);
}

#[test]
fn requests_and_entries_are_shown_on_stderr_at_debug() {
    let world = World::new();
    let config = config(&world, [Flow::new(&world, Kinesis, "a.log")]);
    world.append("a.log", "one\ntwo\n");
    let arguments = [&UNTIL_END[..], &["--log-level", "debug"]].concat();
    let output = output(&world, &config, &arguments, &[]);
    assert_eq!(printed(&output), "one\ntwo\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("a request would be sent") && said.contains("partition_key"), "{said}");
}

#[test]
fn whoever_stops_reading_ends_it() {
    let world = World::new();
    let config = config(&world, [Flow::new(&world, Kinesis, "a.log")]);
    let config_file = world.root().join("config.yaml");
    fs::write(&config_file, config.to_yaml()).unwrap();
    world.lines("a.log", 20_000);
    let mut command = command(&world);
    command.args(["run", "--dry-run", "--config"]).arg(&config_file);
    let mut agent = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, agent.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let ended = eventually("the dry run ends", SOON, || agent.try_wait().unwrap().ok_or("it runs".into()));
    assert!(ended.success(), "{ended}");
}
