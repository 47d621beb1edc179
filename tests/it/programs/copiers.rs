//! What copies logs to where the agent reads them, or beside them: rsync and cp.

use std::ffi::OsStr;
use std::fs;

use super::{delivers_with_repeats, new_lines};
use crate::support::program::run;
use crate::support::scene::with_and_without_events;
use crate::support::{Destination, Scene};

use Destination::Kinesis;

/// A log of another host grows and is fetched four times; so many lines come twice.
fn check_rsync(pattern: &str, options: &[&str], repeated: usize) {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, pattern);
        scene.set("useFileEvents", events);
        scene.start();
        let source = scene.world.root().join("app.log");
        let mut text = Vec::new();
        for _ in 0..4 {
            text.extend(new_lines(&scene, 100));
            fs::write(&source, &text).unwrap();
            let paths = [source.clone(), scene.world.path("app.log")];
            run(&["rsync"], options.iter().map(OsStr::new).chain(paths.iter().map(AsRef::as_ref)));
            scene.wait_for_all();
        }
        delivers_with_repeats(&mut scene, repeated);
    });
}

#[test]
fn rsync_makes_a_new_file_each_time_which_is_sent_again() {
    for pattern in ["app.log", "*.log", "*"] {
        check_rsync(pattern, &["-a", "--ignore-times"], 100 + 200 + 300);
    }
}

#[test]
fn rsync_in_place_repeats_nothing() {
    check_rsync("app.log", &["-a", "--ignore-times", "--inplace"], 0);
    check_rsync("app.log", &["--inplace", "--no-whole-file"], 0);
}

#[test]
fn rsync_that_appends_repeats_nothing() {
    check_rsync("app.log", &["-a", "--append"], 0);
    check_rsync("app.log", &["-a", "--append-verify"], 0);
}

/// Rotation by hand: on some file systems the copy shares its blocks with the original.
#[test]
fn cp_with_reflinks_and_a_truncation_lose_and_repeat_nothing() {
    for pattern in ["app.log", "app.log*"] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, pattern);
            scene.set("useFileEvents", events);
            scene.start();
            for n in 1..=3 {
                scene.world.lines("app.log", 50);
                scene.wait_for_all();
                scene.agent().pause();
                scene.world.lines("app.log", 50);
                let (from, to) = (scene.world.path("app.log"), scene.world.path(&format!("app.log.{n}")));
                run(&["cp"], ["--reflink=auto".as_ref(), from.as_os_str(), to.as_os_str()]);
                scene.world.truncate("app.log");
                scene.world.lines("app.log", 50);
                scene.agent().resume();
                scene.wait_for_all();
            }
            delivers_with_repeats(&mut scene, 0);
        });
    }
}

#[test]
fn a_copy_under_a_name_of_its_own_is_sent_as_a_file_of_its_own() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "*.log");
        scene.set("useFileEvents", events);
        scene.world.lines("app.log", 50);
        scene.start();
        scene.wait_for_all();
        run(&["cp"], [scene.world.path("app.log"), scene.world.path("mine.log")]);
        scene.world.lines("mine.log", 10);
        scene.world.lines("app.log", 10);
        delivers_with_repeats(&mut scene, 50);
    });
}
