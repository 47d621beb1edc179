//! What Vector loses or repeats: it knows a file by its first line or by its inode, never holds
//! its position against the size, and leaves a renamed file at its first end.

use std::time::Duration;

use crate::support::scene::{SOON, with_and_without_events};
use crate::support::{Destination, Flow, Scene, eventually, let_pass};

use super::finished_soon;
use Destination::Kinesis;

const HEADER: &str = "#Fields: date time c-ip cs-method cs-uri-stem sc-status\n";

/// The new file is the old one for it, until it is started anew and loses its beginning.
#[test]
fn a_new_file_with_the_header_of_the_one_before_it_is_read() {
    for stopped in [false, true] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, "app.log");
            scene.set("useFileEvents", events);
            scene.world.append("app.log", HEADER);
            scene.world.lines("app.log", 20);
            scene.start();
            scene.wait_for_all();
            for n in 1..=3 {
                if stopped {
                    scene.stop();
                }
                scene.world.lines("app.log", 5);
                scene.world.rename("app.log", &format!("app.log.{n}"));
                scene.world.append("app.log", HEADER);
                if stopped {
                    scene.start();
                }
                scene.world.lines("app.log", 20);
                scene.wait_for_all();
            }
            scene.delivers_everything_once();
        });
    }
}

/// It does not see the truncation: 29 lines lost, then half a line.
#[test]
fn a_truncated_file_with_the_same_first_line_is_read_from_its_beginning() {
    for regrown in [5, 20, 40] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, "app.log");
            scene.set("useFileEvents", events);
            scene.world.append("app.log", HEADER);
            scene.world.lines("app.log", 20);
            scene.start();
            scene.wait_for_all();
            for _ in 0..3 {
                scene.agent().pause();
                scene.world.truncate("app.log");
                scene.world.append("app.log", HEADER);
                scene.world.lines("app.log", regrown);
                scene.agent().resume();
                scene.wait_for_all();
            }
            scene.delivers_everything_once();
        });
    }
}

/// It is too small for a fingerprint, and never read.
#[test]
fn a_last_message_without_a_newline_is_delivered_although_it_is_all_that_the_file_holds() {
    for renamed in [false, true] {
        with_and_without_events(|events| {
            let mut scene = Scene::with_flow(Kinesis, "*.log", finished_soon);
            scene.set("useFileEvents", events);
            scene.world.append_partial("crash.log", "panic: the disk is on fire");
            scene.world.lines("other.log", 1);
            scene.start();
            scene.wait_for_all();
            match renamed {
                true => scene.world.rename("crash.log", "crash.log.1"),
                false => scene.world.delete("crash.log"),
            }
            eventually("the message is delivered", SOON, || {
                let text = scene.endpoint.stored_text();
                if text.contains("on fire") { Ok(()) } else { Err(text) }
            });
            scene.delivers_everything_once();
        });
    }
}

/// An empty file makes it spin, read nothing else, and ignore SIGTERM.
#[test]
fn a_file_that_is_shorter_than_the_header_that_is_left_out_does_not_hold_up_the_others() {
    let mut scene = Scene::with_flow(Kinesis, "*.log", |flow| flow.with("skipHeaderLines", 2));
    scene.world.append("empty.log", "");
    scene.world.append_unseen("short.log", "abc");
    scene.world.append_unseen("good.log", "header 1\nheader 2\n");
    scene.start();
    scene.world.lines("good.log", 20);
    scene.wait_for_all();
    scene.world.append_unseen("short.log", " is header 1\nheader 2\n");
    scene.world.lines("short.log", 5);
    scene.delivers_everything_once();
}

/// Whatever is written to a renamed file more than a second later is lost.
#[test]
fn late_lines_of_a_renamed_file_are_delivered_also_after_it_was_finished() {
    for to in ["app.log.1", "old/app.log.1"] {
        with_and_without_events(|events| {
            let mut scene = Scene::with_flow(Kinesis, "app.log", finished_soon);
            scene.set("useFileEvents", events);
            scene.start();
            let mut daemon = scene.world.writer("app.log");
            daemon.long_lines(5, 60);
            scene.oracle.wait_for_all(&scene.world, &scene.endpoint, SOON);
            scene.world.rename("app.log", to);
            scene.world.lines("app.log", 5);
            scene.oracle.wait_for_all(&scene.world, &scene.endpoint, SOON);
            for _ in 0..2 {
                // Longer than it takes until the file is called finished, and looked at.
                let_pass(Duration::from_millis(1500));
                daemon.long_lines(2, 60);
                scene.oracle.wait_for_all(&scene.world, &scene.endpoint, SOON);
            }
            drop(daemon);
            scene.delivers_everything_once();
        });
    }
}

/// It puts the lines of the old and the new file together, since both have the same name.
#[test]
fn an_event_of_several_lines_does_not_reach_over_a_rotation() {
    const EVENTS: [&str; 4] = [
        "  of c, whose start is in no file\n",
        "2026-01-01 a\n  of a\n",
        "2026-01-02 b\n  of b\n",
        "2026-01-03 d\n",
    ];
    let multi_line =
        |flow: Flow| flow.with("multiLineStartPattern", r"^\d{4}-").with("multiLineFlushMillis", 1000);
    for to in ["app.log.1", "app-1.log"] {
        with_and_without_events(|events| {
            let mut scene = Scene::with_flow(Kinesis, "*.log", multi_line);
            scene.set("useFileEvents", events);
            scene.start();
            scene.world.append_unseen("app.log", format!("{}{}", EVENTS[1], EVENTS[2]));
            scene.wait_for_calls(1);
            scene.world.rename("app.log", to);
            scene.world.append_unseen("app.log", format!("{}{}", EVENTS[0], EVENTS[3]));
            let mut stored = eventually("all events are delivered", SOON, || {
                let stored = scene.endpoint.stored();
                if stored.len() >= 4 { Ok(stored) } else { Err(format!("{stored:?}")) }
            });
            stored.sort();
            assert_eq!(stored, EVENTS);
        });
    }
}
