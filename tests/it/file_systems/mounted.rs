//! Overlays, tmpfs, bind mounts, mounts that come late and inodes that are given twice.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::support::inquiry::status_when;
use crate::support::mounts::{Mount, in_own_mounts};
use crate::support::scene::with_and_without_events;
use crate::support::{Destination, Rotator, Scene, World};

use Destination::Kinesis;

/// A folder beside that of the logs.
fn beside(world: &World, name: &str) -> PathBuf {
    world.root().join(name)
}

/// What is in the folder of the logs becomes the lower layer of an overlay that is mounted there.
/// The upper one is on the same file system, as in a container, or on another, as on a host whose
/// root is read-only.
fn overlay(world: &World, other_file_system: bool) -> (Option<Mount>, Mount) {
    let lower = beside(world, "lower");
    fs::rename(world.path(""), &lower).unwrap();
    let layers = beside(world, "layers");
    let tmpfs = other_file_system.then(|| Mount::tmpfs(&layers));
    let merged = Mount::overlay(&lower, &layers.join("upper"), &layers.join("work"), &world.path(""));
    (tmpfs, merged)
}

#[test]
fn on_an_overlay_lines_come_once_also_after_their_file_was_copied_up() {
    in_own_mounts(|| {
        for other_file_system in [false, true] {
            with_and_without_events(|events| {
                let mut scene = Scene::new(Kinesis, "*.log");
                scene.set("useFileEvents", events);
                scene.world.lines("image.log", 20);
                scene.world.lines("stopped.log", 20);
                let _mounts = overlay(&scene.world, other_file_system);
                scene.world.lines("fresh.log", 20);
                scene.start();
                scene.wait_for_all();
                // The first write copies the file into the upper layer.
                for _ in 0..3 {
                    scene.world.lines("image.log", 20);
                    scene.wait_for_all();
                }
                scene.stop();
                scene.world.lines("stopped.log", 20);
                scene.start();
                for file in ["image.log", "stopped.log", "fresh.log"] {
                    scene.world.lines(file, 20);
                }
                scene.delivers_everything_once();
            });
        }
    });
}

#[test]
fn on_an_overlay_rotation_loses_and_repeats_nothing() {
    in_own_mounts(|| {
        for rotator in [Rotator::RenameShift, Rotator::CopyTruncate, Rotator::DeleteRecreate] {
            with_and_without_events(|events| {
                let mut scene = Scene::new(Kinesis, rotator.pattern());
                scene.set("useFileEvents", events);
                scene.world.lines("app.log", 20);
                let _mounts = overlay(&scene.world, true);
                scene.start();
                for _ in 0..3 {
                    scene.world.lines("app.log", 20);
                    scene.wait_for_all();
                    rotator.rotate(&scene.world, "app.log");
                }
                scene.world.lines("app.log", 20);
                scene.delivers_everything_once();
            });
        }
    });
}

/// Nobody announces what is written to a lower layer behind the overlay's back.
#[test]
fn what_comes_without_any_event_is_found_by_the_scan() {
    in_own_mounts(|| {
        let mut scene = Scene::new(Kinesis, "*.log");
        scene.set("useFileEvents", true);
        scene.world.lines("app.log", 20);
        let _mounts = overlay(&scene.world, false);
        scene.start();
        scene.wait_for_all();
        scene.world.lines("../lower/app.log", 20);
        scene.world.lines("../lower/new.log", 20);
        scene.delivers_everything_once();
    });
}

#[test]
fn on_tmpfs_every_rotation_loses_and_repeats_nothing() {
    in_own_mounts(|| {
        for rotator in [Rotator::RenameShift, Rotator::CopyTruncate, Rotator::DeleteRecreate] {
            with_and_without_events(|events| {
                let mut scene = Scene::new(Kinesis, rotator.pattern());
                scene.set("useFileEvents", events);
                let _tmpfs = Mount::tmpfs(&scene.world.path(""));
                scene.start();
                for round in 0..4 {
                    scene.world.lines("app.log", 20);
                    scene.wait_for_all();
                    if round == 2 {
                        scene.restart();
                    }
                    rotator.rotate(&scene.world, "app.log");
                }
                scene.world.lines("app.log", 20);
                scene.delivers_everything_once();
            });
        }
    });
}

/// Its folder is watched, wherever the writer finds it; and a file that is found in both places
/// is one file.
#[test]
fn through_a_bind_mount_lines_come_once() {
    in_own_mounts(|| {
        for pattern in ["bound/*.log", "*/*.log"] {
            let mut scene = Scene::new(Kinesis, pattern);
            scene.set("useFileEvents", true);
            scene.set("scanIntervalMillis", 60_000);
            scene.world.lines("real/app.log", 20);
            let bound = Mount::bind(&scene.world.path("real"), &scene.world.path("bound"));
            scene.start();
            scene.wait_for_all();
            scene.world.lines("real/app.log", 20);
            scene.wait_for_all();
            scene.world.rename("real/app.log", "real/app.log.1");
            scene.world.lines("real/app.log", 20);
            scene.world.lines("bound/new.log", 20);
            scene.wait_for_all();
            if pattern.starts_with('*') {
                bound.unmount();
                scene.restart();
                scene.world.lines("real/app.log", 20);
            }
            scene.delivers_everything_once();
        }
    });
}

/// Two file systems that hold files of the same inode, and the device numbers that a restart of
/// the system may give to the wrong one.
#[test]
fn two_file_systems_with_the_same_inode_numbers_are_told_apart() {
    in_own_mounts(|| {
        for swapped in [false, true] {
            with_and_without_events(|events| {
                let mut scene = Scene::new(Kinesis, "*/app.log");
                scene.set("useFileEvents", events);
                let _mounts = ["a", "b"].map(|name| Mount::tmpfs(&scene.world.path(name)));
                let header = "a header of both\n".repeat(100);
                for file in ["a/app.log", "b/app.log"] {
                    scene.world.append(file, &header);
                    scene.world.lines(file, 50);
                }
                let inode = |file: &str| fs::metadata(scene.world.path(file)).unwrap().ino();
                assert_eq!(inode("a/app.log"), inode("b/app.log"));
                scene.start();
                scene.wait_for_all();
                scene.stop();
                if swapped {
                    swap_devices(&scene);
                }
                scene.world.lines("a/app.log", 10);
                scene.start();
                scene.world.lines("b/app.log", 10);
                scene.wait_for_all();
                scene.world.rename("a/app.log", "a/app.log.1");
                scene.world.lines("a/app.log", 10);
                scene.delivers_everything_once();
            });
        }
    });
}

/// What is stored of each of the two files gets the device of the other.
fn swap_devices(scene: &Scene) {
    let database = rusqlite::Connection::open(scene.world.checkpoint_file()).unwrap();
    let sum = "(SELECT sum(device) FROM tails)";
    let changed = database.execute(&format!("UPDATE tails SET device = {sum} - device"), []).unwrap();
    assert_eq!(changed, 2);
}

#[test]
fn a_file_system_that_is_mounted_late_or_again_forgets_no_position() {
    in_own_mounts(|| with_and_without_events(mounted_late));
}

fn mounted_late(events: bool) {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.set("useFileEvents", events);
    let disk = beside(&scene.world, "disk");
    fs::create_dir(&disk).unwrap();
    let mount = |scene: &Scene| Mount::bind(&disk, &scene.world.path(""));
    let mounted = mount(&scene);
    scene.world.lines("app.log", 100);
    scene.start();
    scene.wait_for_all();
    scene.stop();
    scene.world.lines("app.log", 20);
    mounted.unmount();
    for _ in 0..2 {
        scene.start();
        status_when(&scene.world, "it has looked", |status| status["flows"][0]["state"] == "upToDate");
        scene.stop();
    }
    let mounted = mount(&scene);
    scene.start();
    scene.wait_for_all();
    // And while it runs.
    mounted.unmount();
    scene.world.lines("stray.log", 5);
    scene.wait_for_all();
    let _mounted = mount(&scene);
    scene.world.lines("app.log", 20);
    scene.delivers_everything_once();
}

/// An application that does not wait for the mount writes to the folder under it.
#[test]
fn what_is_written_under_a_mount_that_comes_late_costs_no_position_in_it() {
    in_own_mounts(|| {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, "*.log");
            scene.set("useFileEvents", events);
            let disk = beside(&scene.world, "disk");
            fs::create_dir(&disk).unwrap();
            let mounted = Mount::bind(&disk, &scene.world.path(""));
            scene.world.lines("app.log", 100);
            scene.start();
            scene.wait_for_all();
            scene.stop();
            mounted.unmount();
            scene.world.lines("stray.log", 5);
            scene.start();
            scene.wait_for_all();
            scene.stop();
            let _mounted = Mount::bind(&disk, &scene.world.path(""));
            scene.world.lines("app.log", 20);
            scene.start();
            scene.delivers_everything_once();
        });
    });
}
