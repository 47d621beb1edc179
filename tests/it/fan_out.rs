//! The same file in several flows, each with a destination of its own: tailed and acknowledged
//! for each by itself, whatever happens to the others.

use std::collections::BTreeMap;

use crate::support::inquiry::{get, status};
use crate::support::request::Service;
use crate::support::scene::SOON;
use crate::support::{Destination, Flow, Scene, Step, eventually};

/// A stream, a delivery stream, and the stream once more under another name and shape.
const STREAMS: [&str; 3] = ["test-stream", "test-delivery-stream", "packed"];

fn scene() -> Scene {
    let mut scene = Scene::with_flow(Destination::Kinesis, "*.log", |flow| flow.with("name", "down"));
    scene.add_flow(firehose(&scene));
    scene.add_flow(packed(&scene));
    scene
}

fn firehose(scene: &Scene) -> Flow {
    Flow::new(&scene.world, Destination::Firehose, "*.log").with("name", "firehose")
}

fn packed(scene: &Scene) -> Flow {
    Flow::new(&scene.world, Destination::Kinesis, "*.log")
        .with("kinesisStream", "packed")
        .with("aggregation", "lines")
        .with("name", "packed")
}

/// How often each line is stored in `stream`.
fn lines(scene: &Scene, stream: &str) -> BTreeMap<Vec<u8>, usize> {
    let mut lines = BTreeMap::new();
    let calls = scene.endpoint.calls();
    let records = calls.iter().filter(|call| call.stream == stream).flat_map(|call| &call.records);
    for record in records.filter(|record| record.stored) {
        for line in record.data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            *lines.entry(line.to_vec()).or_default() += 1;
        }
    }
    lines
}

#[track_caller]
fn wait_for(scene: &Scene, stream: &str, count: usize) {
    eventually(&format!("{count} lines are in {stream}"), SOON * 2, || match lines(scene, stream).len() {
        n if n == count => Ok(()),
        n => Err(format!("{n}")),
    });
}

#[track_caller]
fn assert_once(scene: &Scene, stream: &str) {
    let repeated = lines(scene, stream).into_values().filter(|times| *times > 1).count();
    assert_eq!(repeated, 0, "lines that are in {stream} more than once");
}

/// What of its file each flow has settled, by the flow's name.
fn settled(scene: &Scene) -> BTreeMap<String, u64> {
    let status = status(&scene.world);
    let files = status["files"]["items"].as_array().cloned().unwrap_or_default();
    let one = |file: &serde_json::Value| {
        (file["flow"].as_str().unwrap().to_owned(), file["settled"].as_u64().unwrap())
    };
    files.iter().map(one).collect()
}

#[test]
fn each_destination_gets_each_line_once() {
    let mut scene = scene();
    scene.world.lines("a.log", 500);
    scene.start();
    scene.world.lines("b.log", 500);
    for stream in STREAMS {
        wait_for(&scene, stream, 1000);
    }
    scene.world.rename("a.log", "a.1");
    scene.world.lines("a.log", 100);
    scene.restart();
    for stream in STREAMS {
        wait_for(&scene, stream, 1100);
    }
    scene.stop();
    STREAMS.iter().for_each(|stream| assert_once(&scene, stream));
}

#[test]
fn one_that_is_down_holds_up_no_other_and_gets_what_it_missed() {
    let mut scene = scene();
    let down = |request: &crate::support::request::Request| match request.stream.as_str() {
        "test-stream" => Step::Throttle,
        _ => Step::Ok,
    };
    scene.endpoint.always(down);
    // More than the share of a flow, so that reading for the one that is down stops.
    scene.set("memoryBudget", "8MiB");
    scene.world.long_lines("a.log", 5000, 1000);
    scene.start();
    for stream in &STREAMS[1..] {
        wait_for(&scene, stream, 5000);
    }
    assert_eq!(lines(&scene, "test-stream").len(), 0);
    let all = 5000 * 1000;
    let expected = [("down", 0), ("firehose", all), ("packed", all)].map(|(flow, at)| (flow.to_owned(), at));
    eventually("the positions are each flow's own", SOON, || match settled(&scene) {
        settled if settled == expected.clone().into() => Ok(()),
        other => Err(format!("{other:?}")),
    });

    eventually("all of it is stored", SOON, || {
        let metrics = get(&scene.world, "/metrics").1;
        let age = metrics.lines().find(|line| line.starts_with("kinesis_agent_checkpoint_age_seconds "));
        match age.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok()) {
            Some(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });

    // Neither a death nor a reload loses what the first one missed, nor repeats it for the others.
    scene.kill9();
    scene.world.long_lines("a.log", 100, 1000);
    scene.start();
    for stream in &STREAMS[1..] {
        wait_for(&scene, stream, 5100);
        assert_once(&scene, stream);
    }
    let changed = packed(&scene).with("maxBufferAgeMillis", 50);
    let flows = [
        Flow::new(&scene.world, Destination::Kinesis, "*.log").with("name", "down"),
        firehose(&scene),
        changed,
    ];
    scene.config = scene.config.clone().with_flows(flows);
    scene.reload();
    scene.world.long_lines("a.log", 100, 1000);
    for stream in &STREAMS[1..] {
        wait_for(&scene, stream, 5200);
        assert_once(&scene, stream);
    }
    scene.endpoint.heal();
    wait_for(&scene, "test-stream", 5200);
    scene.stop();
    STREAMS.iter().for_each(|stream| assert_once(&scene, stream));
}

#[test]
fn a_rotated_file_is_kept_for_the_one_that_is_behind() {
    let mut scene = scene();
    scene.endpoint.always(|request| match request.service {
        Service::Firehose => Step::ServerError(503, crate::support::script::Body::Empty),
        Service::Kinesis => Step::Ok,
    });
    scene.world.lines("a.log", 100);
    scene.start();
    for stream in ["test-stream", "packed"] {
        wait_for(&scene, stream, 100);
    }
    scene.world.delete("a.log");
    scene.world.lines("a.log", 100);
    for stream in ["test-stream", "packed"] {
        wait_for(&scene, stream, 200);
    }
    scene.endpoint.heal();
    wait_for(&scene, "test-delivery-stream", 200);
    scene.stop();
    STREAMS.iter().for_each(|stream| assert_once(&scene, stream));
}
