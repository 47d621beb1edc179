//! What survives the end of the agent, however it ends, and a damaged memory.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::request::Record;
use crate::support::scene::SOON;
use crate::support::script::Body;
use crate::support::{
    AgentProcess, Destination, Flow, Repeats, Scene, Step, eventually, happens_within, let_pass,
};

use Destination::{Firehose, Kinesis};

fn end_of_file(flow: Flow) -> Flow {
    flow.with("initialPosition", "END_OF_FILE")
}

#[test]
fn a_clean_restart_loses_and_repeats_nothing() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "*.log");
        scene.start();
        for round in 0..3 {
            scene.world.lines("a.log", 700);
            scene.world.lines(&format!("{round}.log"), 100);
            scene.wait_for_all();
            scene.stop();
            scene.world.lines("a.log", 100);
            scene.world.lines("while-stopped.log", 100);
            scene.start();
        }
        scene.delivers_everything_once();
    }
}

#[test]
fn a_restart_under_load_repeats_nothing() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "*.log");
        // What is under way at a stop is sent again only where the time for it was over.
        scene.set("shutdownTimeoutMillis", 60_000);
        scene.endpoint.always(|_| Step::Latency(Duration::from_millis(50)));
        scene.world.lines("a.log", 30_000);
        scene.world.lines("b.log", 30_000);
        scene.start();
        for _ in 0..3 {
            let before = scene.endpoint.call_count();
            scene.world.lines("a.log", 10_000);
            scene.wait_for_calls_after(before, 1);
            scene.restart();
        }
        scene.wait_for_all_within(Duration::from_secs(60));
        scene.delivers_everything_once();
    }
}

#[test]
fn kill_9_loses_nothing() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "*.log");
        scene.start();
        for _ in 0..5 {
            let calls = scene.endpoint.call_count();
            scene.world.lines("a.log", 3000);
            scene.world.lines("b.log", 3000);
            scene.wait_for_calls_after(calls, 1);
            scene.kill9();
            scene.world.lines("a.log", 100);
            scene.start();
        }
        scene.delivers_everything(Repeats::Allowed);
    }
}

#[test]
fn what_was_stored_before_kill_9_is_not_repeated() {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.world.lines("app.log", 1000);
    scene.start();
    scene.wait_for_all();
    // The positions are stored each second.
    let_pass(Duration::from_secs(3));
    scene.kill9();
    scene.world.lines("app.log", 100);
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn kill_9_after_failures_loses_nothing() {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.endpoint.always(|_| Step::fail_every(2, "InternalFailure"));
    scene.world.lines("app.log", 5000);
    scene.start();
    scene.wait_for_calls(5);
    let_pass(Duration::from_millis(1500));
    scene.kill9();
    scene.endpoint.heal();
    scene.start();
    scene.delivers_everything(Repeats::Allowed);
}

/// The lines behind it are delivered; the stored position must stay before it all the same.
#[test]
fn the_checkpoint_does_not_pass_a_line_that_keeps_failing() {
    for clean in [true, false] {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.set("shutdownTimeoutMillis", 1000);
        let stuck = |_: usize, record: &Record| record.data.starts_with(b"0000000100 ");
        scene.endpoint.always(move |_| Step::fail_where("InternalFailure", stuck));
        scene.world.lines("app.log", 2000);
        scene.start();
        eventually("all but one are delivered", SOON, || {
            match scene.oracle.missing(&scene.world, &scene.endpoint) {
                1 => Ok(()),
                missing => Err(format!("{missing} lines are missing")),
            }
        });
        // Long enough for a position to be stored.
        let_pass(Duration::from_millis(2500));
        if clean {
            scene.stop()
        } else {
            scene.kill9()
        }
        assert_eq!(scene.oracle.missing(&scene.world, &scene.endpoint), 1);
        scene.endpoint.heal();
        scene.start();
        scene.delivers_everything(Repeats::Allowed);
    }
}

/// Whatever the first request held was read after the start position was stored: the next life
/// must begin at the same place.
#[test]
fn the_start_position_is_on_disk_before_the_first_request() {
    let mut scene = Scene::with_flow(Kinesis, "app.log", end_of_file);
    scene.endpoint.always(|_| Step::Hang);
    scene.world.append_unseen("app.log", "old\n".repeat(100));
    scene.start();
    let first = eventually("a request", SOON, || {
        let line = scene.world.lines("app.log", 1);
        let called = happens_within(Duration::from_millis(20), || scene.endpoint.call_count() > 0);
        if called { Ok(line) } else { Err("none".to_owned()) }
    });
    scene.kill9();
    let sent = scene.endpoint.calls()[0].records[0].data.clone();
    let first_sent = scene.world.journal().lines.iter().position(|line| line.bytes == sent);
    scene.world.excuse(0..first_sent.expect("the first record is a line that was written"));
    assert!(first.start >= first_sent.unwrap());
    scene.world.lines("app.log", 50);
    scene.endpoint.heal();
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn lines_that_were_written_while_stopped_count_although_the_flow_starts_at_the_end() {
    let mut scene = Scene::with_flow(Kinesis, "*.log", end_of_file);
    scene.start();
    scene.probe("ready.log");
    scene.world.lines("a.log", 50);
    scene.wait_for_all();
    scene.stop();
    scene.world.lines("a.log", 50);
    scene.world.lines("b.log", 50);
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn a_second_agent_on_the_same_state_is_refused() {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.world.lines("app.log", 10);
    scene.start();
    scene.wait_for_all();
    let mut second = AgentProcess::start(&scene.world, &scene.config);
    let status = second.wait_exit(SOON);
    assert!(!status.success(), "the second agent ends with {status}");
    scene.world.lines("app.log", 10);
    scene.wait_for_all();
    // A lock that outlives its holder would refuse the next one, too.
    scene.kill9();
    scene.start();
    scene.world.lines("app.log", 10);
    scene.delivers_everything(Repeats::Allowed);
}

/// A flow from the end of its files, which has found its place, delivered 50 lines, is stopped, and has 50 more
/// to deliver.
fn stopped_scene() -> Scene {
    let mut scene = Scene::with_flow(Firehose, "*.log", end_of_file);
    scene.start();
    scene.probe("ready.log");
    scene.world.lines("a.log", 50);
    scene.wait_for_all();
    scene.stop();
    scene.world.lines("a.log", 50);
    scene
}

fn state_files(scene: &Scene) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.world.root().join("state")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The damaged file is kept under another name, the agent says so, and no line is lost.
fn survives_damage(damage: impl Fn(&[u8]) -> Vec<u8>) {
    let mut scene = stopped_scene();
    let database = scene.world.checkpoint_file();
    assert_eq!(scene.oracle.missing(&scene.world, &scene.endpoint), 50);
    let before = scene.oracle.counts().delivered;
    let damaged = damage(&fs::read(&database).unwrap());
    fs::write(&database, &damaged).unwrap();
    scene.start();
    scene.wait_for_all();
    let kept = state_files(&scene).into_iter().filter(|path| *path != database);
    let kept = kept.filter(|path| fs::read(path).is_ok_and(|content| content == damaged));
    assert_eq!(kept.count(), 1, "{:?}", state_files(&scene));
    let log = scene.agent().log_text();
    assert!(log.contains("checkpoints.db"), "nothing is said of the damaged file:\n{log}");
    scene.delivers_everything(Repeats::Allowed);
    let counts = scene.oracle.counts();
    assert!(counts.repeated <= before, "{counts}, of which {before} before the damage");
}

#[test]
fn a_database_of_garbage_is_moved_aside() {
    survives_damage(|_| b"this is not a database".repeat(100));
}

#[test]
fn a_database_that_was_cut_is_moved_aside() {
    survives_damage(|content| content[..content.len() / 2 + 100].to_vec());
}

#[test]
fn a_database_with_a_damaged_page_is_moved_aside() {
    survives_damage(|content| {
        let mut content = content.to_vec();
        let half = content.len() / 2;
        content[half..].fill(0xa5);
        content
    });
}

#[test]
fn an_empty_database_loses_nothing() {
    let mut scene = stopped_scene();
    fs::write(scene.world.checkpoint_file(), "").unwrap();
    scene.start();
    scene.delivers_everything(Repeats::Allowed);
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let mut scene = stopped_scene();
    let database = scene.world.checkpoint_file();
    let set_version = |version: i32| {
        let connection = rusqlite::Connection::open(&database).unwrap();
        let before: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
        before
    };
    let version = set_version(9999);
    let content = fs::read(&database).unwrap();
    scene.start();
    let status = scene.agent().wait_exit(SOON);
    assert!(!status.success(), "the agent ends with {status}");
    assert_eq!(fs::read(&database).unwrap(), content);
    let log = scene.agent().log_text();
    assert!(log.contains("9999"), "the version is not named:\n{log}");
    scene.forget_agent();
    set_version(version);
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn a_state_folder_that_cannot_be_made_is_an_error_at_the_start() {
    let mut scene = Scene::new(Kinesis, "app.log");
    fs::write(scene.world.root().join("occupied"), "").unwrap();
    let file = scene.world.root().join("occupied/checkpoints.db");
    scene.set("checkpointFile", file.display().to_string());
    scene.start();
    let status = scene.agent().wait_exit(SOON);
    assert!(!status.success());
    assert!(scene.agent().log_text().contains("/occupied"));
}

#[test]
fn a_flow_that_is_added_does_not_disturb_the_others() {
    let mut scene = Scene::new(Kinesis, "a.log");
    scene.world.lines("a.log", 50);
    scene.start();
    scene.wait_for_all();
    scene.stop();
    scene.world.lines("b.log", 50);
    let added = Flow::new(&scene.world, Kinesis, "b.log").with("kinesisStream", "another-stream");
    scene.add_flow(added);
    scene.start();
    scene.world.lines("a.log", 50);
    scene.delivers_everything_once();
}

#[test]
fn an_outage_over_several_lives_loses_and_repeats_nothing() {
    let mut scene = Scene::new(Kinesis, "app.log*");
    scene.endpoint.always(|_| Step::ServerError(503, Body::Empty));
    scene.world.lines("app.log", 100);
    for n in 1..4 {
        scene.start();
        scene.wait_for_calls_after(scene.endpoint.call_count(), 1);
        scene.kill9();
        scene.world.rename("app.log", &format!("app.log.{n}"));
        scene.world.lines("app.log", 100);
    }
    scene.endpoint.heal();
    scene.start();
    scene.delivers_everything_once();
}
