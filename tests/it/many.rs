//! Very many files, and limits of the system that they reach.

use std::time::Duration;

use crate::support::Destination::{Firehose, Kinesis};
use crate::support::{Scene, eventually};

/// How long many files may take in an unoptimised build on a busy machine.
const LONG: Duration = Duration::from_secs(180);

#[test]
fn twenty_thousand_files_are_followed_with_256_descriptors_and_across_a_restart() {
    const FILES: usize = 20_000;
    const DESCRIPTORS: u32 = 256;
    let mut scene = Scene::new(Firehose, "*.log");
    let write = |scene: &Scene, each: usize| {
        for file in (0..FILES).step_by(each) {
            scene.world.lines(&format!("{file}.log"), 1);
        }
    };
    write(&scene, 1);
    scene.start_with_descriptors(DESCRIPTORS);
    let bounded = |scene: &mut Scene| {
        let open = scene.agent().open_files();
        assert!(open < DESCRIPTORS as usize, "{open} descriptors");
    };
    scene.wait_for_all_within(LONG);
    bounded(&mut scene);
    write(&scene, 100);
    scene.wait_for_all_within(LONG);
    bounded(&mut scene);
    scene.stop();
    // Some grow while the agent is stopped, some after it has come back.
    write(&scene, 70);
    scene.start_with_descriptors(DESCRIPTORS);
    scene.wait_for_all_within(LONG);
    write(&scene, 100);
    scene.wait_for_all_within(LONG);
    bounded(&mut scene);
    scene.delivers_everything_once();
}

#[test]
fn folders_beyond_the_limit_of_watches_are_polled() {
    without_enough_events("max_inotify_watches", 1);
}

#[test]
fn without_an_inotify_instance_all_folders_are_polled() {
    without_enough_events("max_inotify_instances", 0);
}

/// The limits are those of a user namespace of the agent's own.
fn without_enough_events(limit: &str, value: u32) {
    let mut scene = Scene::new(Kinesis, "*/*.log");
    scene.set("scanIntervalMillis", 60_000);
    scene.set("useFileEvents", true);
    let folders = ["a", "b", "c"].map(|folder| format!("{folder}/app.log"));
    for file in &folders {
        scene.world.lines(file, 1);
    }
    scene.start_in_user_namespace(&format!("echo {value} > /proc/sys/user/{limit}"));
    scene.wait_for_all();
    eventually("the agent says which folders it polls", LONG, || {
        match scene.agent().log_text().matches("no file-system events for this folder").count() {
            0 => Err("it does not".into()),
            _ => Ok(()),
        }
    });
    for round in 0..3 {
        for file in &folders {
            scene.world.lines(file, 1 + round);
        }
        // Long before the next look that would be due with events.
        scene.wait_for_all();
    }
    scene.delivers_everything_once();
}
