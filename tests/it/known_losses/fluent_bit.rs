//! What Fluent Bit loses or repeats: it stores how far it has read, not what was delivered; it
//! knows a file by its inode and 32 bytes, leaves renamed files after five seconds, and forgets
//! the positions of all that it does not see at its start.

use std::fs;

use crate::support::scene::{SOON, with_and_without_events};
use crate::support::script::Body;
use crate::support::{Destination, Flow, Repeats, Rotator, Scene, Step, eventually};

use super::start_and_heal;
use Destination::{Firehose, Kinesis};

const UNAVAILABLE: Step = Step::ServerError(503, Body::Html);

/// A thousand lines of a new file are skipped where the inode is the same and the lines end alike.
#[test]
fn a_file_with_the_inode_of_another_whose_lines_end_alike_is_read_from_its_beginning() {
    let padded = |from: usize, to: usize| {
        (from..to).map(|n| format!("{n:06} {}\n", "x".repeat(100))).collect::<String>()
    };
    for lines in [500, 1000, 1500] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, "app.log");
            scene.set("useFileEvents", events);
            scene.world.append("app.log", padded(0, 1000));
            scene.start();
            scene.wait_for_all();
            scene.stop();
            // As good as a new file that got the inode, and does not depend on luck.
            scene.world.truncate("app.log");
            scene.world.append("app.log", padded(1000, 1000 + lines));
            scene.start();
            scene.delivers_everything_once();
        });
    }
}

/// Without inotify 27,500 of 35,500 lines are lost.
#[test]
fn five_rounds_of_copytruncate_lose_and_repeat_nothing() {
    for rotator in [Rotator::CopyTruncate, Rotator::CopyTruncateOutOfPattern] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, rotator.pattern());
            scene.set("useFileEvents", events);
            scene.world.lines("app.log", 500);
            scene.start();
            scene.wait_for_all();
            for round in 1..=5 {
                scene.world.lines("app.log", 500);
                rotator.rotate(&scene.world, "app.log");
                // More than before, so that the size alone tells nothing.
                scene.world.lines("app.log", 500 + round * 500);
                if round == 3 {
                    scene.wait_for_all();
                }
            }
            scene.delivers_everything_once();
        });
    }
}

/// Two inputs with one database delete each other's rows, and a folder that is missing at one
/// start costs all positions in it.
#[test]
fn a_folder_that_is_missing_at_one_start_costs_no_position_of_any_flow() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "a/*.log");
        scene.set("useFileEvents", events);
        let other = Flow::new(&scene.world, Kinesis, "b/*.log").with("kinesisStream", "another-stream");
        scene.add_flow(other);
        scene.world.lines("a/app.log", 1000);
        scene.world.lines("b/app.log", 1000);
        scene.start();
        scene.wait_for_all();
        scene.stop();
        let (here, away) = (scene.world.path("a"), scene.world.root().join("away"));
        fs::rename(&here, &away).unwrap();
        scene.start();
        scene.world.lines("b/app.log", 10);
        scene.wait_for_all();
        fs::rename(&away, &here).unwrap();
        scene.world.lines("a/app.log", 10);
        scene.wait_for_all();
        scene.restart();
        scene.world.lines("a/app.log", 10);
        scene.delivers_everything_once();
    });
}

/// With `*.log` 156,827 of 201,000 lines are lost, with `*.log*` 28,861 come twice.
#[test]
fn a_backlog_survives_a_rename_whatever_the_pattern() {
    for pattern in ["*.log", "*.log*"] {
        with_and_without_events(|events| {
            let mut scene = backlog(pattern, events);
            scene.world.rename("app.log", "app.log.1");
            scene.world.long_lines("app.log", 1000, 1000);
            scene.endpoint.heal();
            scene.delivers_everything_once();
        });
    }
}

/// The same while nobody reads, which Vector loses too.
#[test]
fn a_backlog_survives_a_rename_while_stopped_and_after_kill_9() {
    for pattern in ["*.log", "*.log*"] {
        for killed in [false, true] {
            let mut scene = backlog(pattern, true);
            wait_for_a_row(&scene);
            match killed {
                true => scene.kill9(),
                false => scene.stop(),
            }
            scene.world.rename("app.log", "app.log.1");
            scene.world.long_lines("app.log", 1000, 1000);
            start_and_heal(&mut scene);
            scene.delivers_everything_once();
        }
    }
}

/// Only a file that was remembered can be found under another name outside the pattern.
fn wait_for_a_row(scene: &Scene) {
    eventually("the file is remembered", SOON, || {
        let count = || {
            let database = rusqlite::Connection::open(scene.world.checkpoint_file())?;
            database.query_row("SELECT count(*) FROM tails", [], |row| row.get::<_, u32>(0))
        };
        match count() {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// More than the memory may hold, of which nothing was delivered.
fn backlog(pattern: &str, events: bool) -> Scene {
    let mut scene = Scene::new(Firehose, pattern);
    scene.set("useFileEvents", events);
    scene.set("memoryBudget", "8MiB");
    scene.set("shutdownTimeoutMillis", 300);
    scene.endpoint.always(|_| UNAVAILABLE);
    scene.world.long_lines("app.log", 8000, 1000);
    scene.start();
    scene.wait_for_calls(2);
    scene
}

#[test]
fn a_line_that_is_half_written_at_a_stop_or_kill_9_is_delivered_whole() {
    for killed in [false, true] {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.start();
        scene.world.lines("app.log", 10);
        scene.world.append_partial("app.log", "the first half ");
        scene.wait_for_all();
        match killed {
            true => scene.kill9(),
            false => scene.stop(),
        }
        scene.start();
        scene.world.append("app.log", "and the second\n");
        scene.delivers_everything(if killed { Repeats::Allowed } else { Repeats::None });
        let halves = scene.endpoint.stored().iter().filter(|data| data.starts_with(b"the first")).count();
        assert_eq!(halves, 1);
    }
}

/// All 20,000 lines are lost, and by Vector too.
#[test]
fn sigterm_while_nothing_can_be_delivered_loses_and_repeats_nothing() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "app.log");
        scene.set("shutdownTimeoutMillis", 300);
        scene.endpoint.always(|_| UNAVAILABLE);
        scene.world.lines("app.log", 20_000);
        scene.start();
        scene.wait_for_calls(2);
        scene.stop();
        start_and_heal(&mut scene);
        scene.delivers_everything_once();
    }
}
