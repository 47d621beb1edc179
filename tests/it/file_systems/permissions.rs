//! Rights that are taken away and given back, from an agent that has none of root's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::scene::{SOON, with_and_without_events};
use crate::support::{Destination, Scene, eventually};

use Destination::Kinesis;

fn set_mode(scene: &Scene, name: &str, mode: u32) {
    fs::set_permissions(scene.world.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// Waits until the agent has complained of what it may not do.
#[track_caller]
fn wait_for_a_complaint(scene: &mut Scene) {
    eventually("the agent says what it may not read", SOON, || {
        let log = scene.agent().log_text();
        if log.contains("Permission denied") { Ok(()) } else { Err("nothing".to_owned()) }
    });
}

#[test]
fn a_file_that_may_not_be_read_waits_and_the_others_do_not() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "*.log");
        scene.set("useFileEvents", events);
        scene.world.lines("secret.log", 20);
        set_mode(&scene, "secret.log", 0o000);
        scene.start_without_rights();
        wait_for_a_complaint(&mut scene);
        scene.world.lines("good.log", 20);
        eventually("the other file is delivered", SOON, || {
            match scene.oracle.missing(&scene.world, &scene.endpoint) {
                20 => Ok(()),
                missing => Err(format!("{missing} lines are missing")),
            }
        });
        set_mode(&scene, "secret.log", 0o600);
        scene.delivers_everything_once();
    });
}

/// Logrotate's `create 0600` under an agent that is not root: nothing of the new file is read, and
/// then it is rotated, too.
#[test]
fn a_file_that_may_not_be_read_is_not_forgotten_when_it_is_rotated() {
    for pattern in ["app.log*", "app.log"] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, pattern);
            scene.set("useFileEvents", events);
            scene.world.lines("app.log", 20);
            scene.start_without_rights();
            scene.wait_for_all();
            // It has no moment in which it may be read.
            scene.world.append("new", "");
            set_mode(&scene, "new", 0o000);
            scene.world.rename("app.log", "app.log.1");
            scene.world.rename("new", "app.log");
            wait_for_a_complaint(&mut scene);
            set_mode(&scene, "app.log", 0o200);
            scene.world.lines("app.log", 20);
            scene.world.rename("app.log.1", "app.log.2");
            scene.world.rename("app.log", "app.log.1");
            scene.world.lines("app.log", 20);
            eventually("the new file is delivered", SOON, || {
                match scene.oracle.missing(&scene.world, &scene.endpoint) {
                    20 => Ok(()),
                    missing => Err(format!("{missing} lines are missing")),
                }
            });
            set_mode(&scene, "app.log.1", 0o600);
            scene.delivers_everything_once();
        });
    }
}

/// All of them: not even the names, the names alone, and what the names lead to but not they.
#[test]
fn a_folder_whose_rights_are_taken_away_and_given_back_costs_no_position() {
    for (mode, stopped) in [(0o000, true), (0o000, false), (0o400, false), (0o400, true), (0o100, false)] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, "sub/*.log");
            scene.set("useFileEvents", events);
            scene.world.lines("sub/a.log", 20);
            scene.world.lines("sub/b.log", 20);
            scene.start_without_rights();
            scene.wait_for_all();
            if stopped {
                scene.stop();
            }
            scene.world.lines("sub/a.log", 20);
            set_mode(&scene, "sub", mode);
            if stopped {
                scene.start_without_rights();
            }
            wait_for_a_complaint(&mut scene);
            set_mode(&scene, "sub", 0o700);
            scene.world.lines("sub/a.log", 20);
            scene.world.lines("sub/b.log", 20);
            scene.wait_for_all();
            scene.restart();
            scene.world.lines("sub/b.log", 20);
            scene.delivers_everything_once();
        });
    }
}
