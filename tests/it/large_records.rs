//! Streams that take records of more than 1 MiB: as they say themselves, or as the configuration
//! says, within the memory; and what becomes of records when a stream changes its mind.

use serde_json::json;

use crate::support::{Destination, Repeats, Scene, Step, eventually};

const MIB: usize = 1 << 20;

fn scene(allowed: Option<&str>) -> Scene {
    let mut scene = Scene::with_flow(Destination::Kinesis, "*.log", |flow| match allowed {
        Some(bytes) => flow.with("maxRecordBytes", bytes),
        None => flow,
    });
    scene.set("memoryBudget", "64MiB");
    scene
}

/// The lengths of the records that were stored, the longest first.
fn lengths(scene: &Scene) -> Vec<usize> {
    let mut lengths: Vec<usize> = scene.endpoint.stored().iter().map(|data| data.len()).collect();
    lengths.sort_by(|a, b| b.cmp(a));
    lengths
}

#[test]
fn a_stream_that_says_so_gets_them_whole() {
    let mut scene = scene(None);
    scene.endpoint.take_records_of(10 * 1024, true);
    scene.world.lines("a.log", 10);
    // The longest that there is, with its key.
    scene.world.long_lines("a.log", 1, 10 * MIB - 32);
    scene.world.long_lines("a.log", 2, 3 * MIB);
    scene.world.lines("a.log", 10);
    scene.start();
    scene.delivers_everything_once();
    assert_eq!(lengths(&scene)[..3], [10 * MIB - 32, 3 * MIB, 3 * MIB]);
}

#[test]
fn a_stream_that_must_not_be_asked_gets_what_the_configuration_says() {
    let mut scene = scene(Some("4MiB"));
    scene.endpoint.take_records_of(4 * 1024, false);
    scene.endpoint.describe(400, json!({ "__type": "AccessDeniedException", "message": "no" }));
    scene.world.long_lines("a.log", 2, 3 * MIB);
    scene.start();
    scene.delivers_everything_once();
    assert_eq!(lengths(&scene), [3 * MIB, 3 * MIB]);
    assert_eq!(scene.endpoint.described(), 0);
}

#[test]
fn a_stream_that_says_nothing_gets_them_in_pieces() {
    for answer in [json!({ "__type": "AccessDeniedException", "message": "no" }), json!({})] {
        let mut scene = scene(None);
        scene.endpoint.describe(400, answer);
        scene.world.long_lines("a.log", 1, 3 * MIB);
        scene.start();
        eventually("all bytes are stored", crate::support::scene::SOON, || {
            match scene.endpoint.stored().iter().map(|data| data.len()).sum::<usize>() {
                bytes if bytes == 3 * MIB => Ok(()),
                bytes => Err(format!("{bytes}")),
            }
        });
        assert!(lengths(&scene).iter().all(|length| *length < MIB), "{:?}", lengths(&scene));
    }
}

#[test]
fn what_is_too_long_after_a_change_is_kept_and_all_else_goes_on() {
    let mut scene = scene(None);
    scene.endpoint.take_records_of(4 * 1024, true);
    scene.start();
    scene.world.long_lines("a.log", 1, 3 * MIB);
    scene.wait_for_all();
    scene.endpoint.always(|request| match request.records.iter().any(|record| record.size() > MIB) {
        true => Step::error("ValidationException"),
        false => Step::Ok,
    });
    let long = scene.world.long_lines("a.log", 1, 3 * MIB);
    scene.world.excuse(long);
    // Only what is accepted after it was refused shows that it is at fault itself.
    eventually("the long one is refused", crate::support::scene::SOON, || {
        let log = scene.agent().log_text();
        if log.contains("refuses a record and accepts no other") { Ok(()) } else { Err("not yet".into()) }
    });
    scene.world.lines("a.log", 20);
    scene.wait_for_all();
    eventually("the long one is a dead letter", crate::support::scene::SOON, || {
        let text = std::fs::read_to_string(scene.world.dead_letter_file()).unwrap_or_default();
        let letter: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        match letter["length"].as_u64() {
            Some(length) if length == 3 * MIB as u64 => Ok(()),
            _ => Err(format!("{} bytes", text.len())),
        }
    });
    scene.delivers_everything(Repeats::None);
}
