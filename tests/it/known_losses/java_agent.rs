//! What the Java agent loses or repeats: it tails one file of a pattern at a time, knows it by
//! its inode and by sizes that are up to ten seconds old, and goes on with the newest file
//! whenever it is at a loss.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::{end_of_file, start_and_heal};
use crate::support::scene::{SOON, with_and_without_events};
use crate::support::script::Body;
use crate::support::{Destination, Rotator, Scene, Step, eventually, happens_within};

use Destination::{Firehose, Kinesis};

/// It reads the newest file alone, and cannot put files of one time and size into an order.
#[test]
fn forty_files_of_the_same_time_and_size_are_all_read() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "*.log");
        scene.set("useFileEvents", events);
        let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
        for n in 0..40 {
            let name = format!("{n}.log");
            scene.world.lines(&name, 5);
            let file = File::options().append(true).open(scene.world.path(&name)).unwrap();
            file.set_modified(yesterday).unwrap();
        }
        scene.start();
        scene.delivers_everything_once();
    });
}

/// It goes on with the newest file and skips those between.
#[test]
fn retention_that_deletes_the_file_being_read_costs_neither_its_rest_nor_the_files_between() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Firehose, "app.log*");
        scene.set("useFileEvents", events);
        scene.set("memoryBudget", "8MiB");
        scene.endpoint.always(|_| Step::ServerError(503, Body::Html));
        scene.world.long_lines("app.log.3", 8000, 1000);
        for file in ["app.log.2", "app.log.1", "app.log"] {
            scene.world.long_lines(file, 500, 1000);
        }
        scene.start();
        scene.wait_for_calls(2);
        scene.world.delete("app.log.3");
        scene.endpoint.heal();
        scene.delivers_everything_once();
    });
}

/// It applies `initialPosition` to the newest file, and so begins at its end.
#[test]
fn a_file_that_was_truncated_while_stopped_is_read_from_its_beginning_beside_older_siblings() {
    with_and_without_events(|events| {
        let mut scene = Scene::with_flow(Kinesis, "app.log*", end_of_file);
        scene.set("useFileEvents", events);
        scene.world.append_unseen("app.log.1", "older 1\nolder 2\n");
        scene.world.append_unseen("app.log", "old\n");
        scene.start();
        scene.probe("app.log");
        scene.world.lines("app.log", 50);
        scene.wait_for_all();
        scene.stop();
        scene.world.truncate("app.log");
        scene.world.lines("app.log", 20);
        scene.start();
        scene.delivers_everything_once();
    });
}

/// It has left the old file by then.
#[test]
fn late_lines_of_the_previous_period_are_delivered() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "app*.log");
        scene.set("useFileEvents", events);
        scene.start();
        let mut late = scene.world.writer("app-20260101.log");
        late.long_lines(20, 60);
        scene.oracle.wait_for_all(&scene.world, &scene.endpoint, SOON);
        scene.world.lines("app-20260102.log", 20);
        scene.oracle.wait_for_all(&scene.world, &scene.endpoint, SOON);
        late.long_lines(20, 60);
        drop(late);
        scene.delivers_everything_once();
    });
}

/// It reads the other file from 0 each time it changes over: 4077 records of 2050 lines.
#[test]
fn two_files_that_are_written_in_turn_are_not_read_again() {
    with_and_without_events(|events| {
        let mut scene = Scene::with_flow(Kinesis, "*.log", end_of_file);
        scene.set("useFileEvents", events);
        for file in ["a.log", "b.log"] {
            let old: String = (0..1000).map(|n| format!("{file} {n}\n")).collect();
            scene.world.append_unseen(file, old);
        }
        scene.start();
        scene.probe("a.log");
        scene.probe("b.log");
        for _ in 0..10 {
            scene.world.lines("a.log", 1);
            scene.wait_for_all();
            scene.world.lines("b.log", 1);
            scene.wait_for_all();
        }
        scene.delivers_everything_once();
    });
}

/// It tells files apart by times of whole seconds.
#[test]
fn thirty_rotations_within_a_moment_lose_and_repeat_nothing() {
    for rotator in [Rotator::Rename, Rotator::RenameShift, Rotator::CreateDated] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, rotator.pattern());
            scene.set("useFileEvents", events);
            let mut file = "app.log".to_owned();
            scene.world.lines(&file, 3);
            scene.start();
            scene.wait_for_all();
            for _ in 0..30 {
                scene.world.lines(&file, 3);
                file = rotator.rotate(&scene.world, &file);
            }
            scene.world.lines(&file, 3);
            scene.delivers_everything_once();
        });
    }
}

#[test]
fn a_renamed_file_is_read_on_until_a_new_one_comes_and_after_it() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.set("useFileEvents", events);
        scene.start();
        let mut daemon = scene.world.writer("app.log");
        daemon.long_lines(5, 60);
        scene.oracle.wait_for_all(&scene.world, &scene.endpoint, SOON);
        scene.world.rename("app.log", "app.log.1");
        daemon.long_lines(5, 60);
        scene.oracle.wait_for_all(&scene.world, &scene.endpoint, SOON);
        scene.world.lines("app.log", 5);
        scene.oracle.wait_for_all(&scene.world, &scene.endpoint, SOON);
        daemon.long_lines(5, 60);
        drop(daemon);
        scene.delivers_everything_once();
    });
}

/// A stored position that fits no file makes it begin at the end of the newest.
#[test]
fn a_position_that_fits_no_file_does_not_make_new_files_begin_at_their_ends() {
    for there_at_the_start in [true, false] {
        with_and_without_events(|events| {
            let mut scene = Scene::with_flow(Kinesis, "app.log", end_of_file);
            scene.set("useFileEvents", events);
            scene.start();
            scene.probe("app.log");
            scene.stop();
            scene.world.delete("app.log");
            if there_at_the_start {
                scene.world.lines("app.log", 20);
            }
            scene.start();
            scene.world.lines("app.log", 20);
            scene.delivers_everything_once();
        });
    }
}

#[test]
fn new_files_are_read_after_all_were_deleted() {
    with_and_without_events(|events| {
        let mut scene = Scene::with_flow(Kinesis, "*.log", end_of_file);
        scene.set("useFileEvents", events);
        scene.start();
        scene.probe("a.log");
        for round in 0..3 {
            for file in ["a.log", "b.log", "c.log"] {
                scene.world.lines(file, 5 + round);
            }
            scene.wait_for_all();
            for file in ["a.log", "b.log", "c.log"] {
                scene.world.delete(file);
            }
        }
        scene.world.lines("b.log", 5);
        scene.delivers_everything_once();
    });
}

/// It stores no position before its first successful batch, and then begins at the new end.
#[test]
fn what_was_written_before_the_first_answer_survives_a_stop() {
    let mut scene = Scene::with_flow(Kinesis, "app.log", end_of_file);
    scene.set("shutdownTimeoutMillis", 300);
    scene.endpoint.always(|_| Step::ServerError(503, Body::Html));
    scene.world.append_unseen("app.log", "old\n");
    scene.start();
    eventually("a line is tried", SOON, || {
        scene.world.lines("app.log", 1);
        let called = happens_within(Duration::from_millis(20), || scene.endpoint.call_count() > 0);
        if called { Ok(()) } else { Err("no call".to_owned()) }
    });
    scene.world.lines("app.log", 50);
    scene.stop();
    let tried = scene.endpoint.calls()[0].records[0].data.clone();
    let first = scene.world.journal().lines.iter().position(|line| line.bytes == tried);
    scene.world.excuse(0..first.expect("what was tried was written"));
    scene.world.lines("app.log", 50);
    start_and_heal(&mut scene);
    scene.delivers_everything_once();
}
