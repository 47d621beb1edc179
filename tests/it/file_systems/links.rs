//! Links: hard ones, loops, and the ones that Kubernetes makes.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::rotator::compress;
use crate::support::scene::with_and_without_events;
use crate::support::{Destination, Scene, World};

use Destination::Kinesis;

/// Rotation by `ln app.log app.log.1; rm app.log`, and a second name that comes and goes.
#[test]
fn hard_links_that_come_and_go_repeat_nothing() {
    for pattern in ["app.log", "app.log*", "*"] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, pattern);
            scene.set("useFileEvents", events);
            let path = |world: &World, name: &str| world.path(name);
            scene.start();
            for n in 1..=3 {
                scene.world.lines("app.log", 20);
                scene.wait_for_all();
                let name = format!("app.log.{n}");
                fs::hard_link(path(&scene.world, "app.log"), path(&scene.world, &name)).unwrap();
                scene.world.lines("app.log", 20);
                scene.wait_for_all();
                if n == 2 {
                    // Only the second name goes.
                    fs::remove_file(path(&scene.world, &name)).unwrap();
                } else {
                    scene.world.delete("app.log");
                }
            }
            scene.world.lines("app.log", 20);
            scene.delivers_everything_once();
        });
    }
}

#[test]
fn loops_of_links_to_folders_do_not_hold_up_or_repeat_what_is_in_them() {
    for pattern in ["**/*.log", "*/*.log", "*/*/*.log"] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, pattern);
            scene.set("useFileEvents", events);
            scene.world.lines("a/b/app.log", 20);
            symlink(scene.world.path(""), scene.world.path("a/up")).unwrap();
            symlink(scene.world.path("a"), scene.world.path("a/b/self")).unwrap();
            symlink("circle", scene.world.path("a/circle")).unwrap();
            symlink(scene.world.path("a/b"), scene.world.path("c")).unwrap();
            scene.start();
            scene.wait_for_all();
            scene.world.lines("a/b/app.log", 20);
            scene.world.rename("a/b/app.log", "a/b/app.log.1");
            scene.world.lines("a/b/app.log", 20);
            scene.delivers_everything_once();
        });
    }
}

const CONTAINER: &str = "containers/app-7d4b_default_web-0123.log";
const POD: &str = "pods/default_app-7d4b_0123/web/0.log";

/// What a container's runtime and the kubelet do with `/var/log`: the name that a flow watches is
/// a link to a link; the file is renamed to its time, written anew, and compressed by and by.
#[test]
fn the_logs_of_containers_survive_the_kubelets_rotation() {
    for stopped in [false, true] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, "containers/*.log");
            scene.set("useFileEvents", events);
            scene.world.lines(POD, 20);
            scene.world.symlink(POD, CONTAINER);
            scene.start();
            scene.wait_for_all();
            let mut rotated: Vec<String> = Vec::new();
            for n in 1..=4 {
                if stopped {
                    scene.stop();
                }
                scene.world.lines(POD, 20);
                let to = format!("{POD}.2026010{n}-120000");
                scene.world.rename(POD, &to);
                scene.world.append(POD, "");
                // All but the latest are compressed, under another name first.
                if let Some(older) = rotated.last() {
                    compress_as_the_kubelet_does(&scene.world, older);
                }
                rotated.push(to);
                scene.world.lines(POD, 20);
                if stopped {
                    scene.start();
                }
                scene.wait_for_all();
            }
            // The pod is deleted, and all that it left.
            let last = scene.world.lines(POD, 20);
            if stopped {
                scene.wait_for_all();
            }
            scene.world.delete(POD);
            fs::remove_file(scene.world.path(CONTAINER)).unwrap();
            if !events {
                scene.world.excuse(last);
            }
            scene.delivers_everything_once();
        });
    }
}

fn compress_as_the_kubelet_does(world: &World, file: &str) {
    let copy = format!("{file}.tmp");
    world.copy(file, &copy);
    compress(world, &copy);
    fs::rename(world.path(&format!("{copy}.gz")), world.path(&format!("{file}.gz"))).unwrap();
    world.delete(file);
}

/// Docker keeps the file elsewhere, the pod's name is a link to it, and the container's to that.
#[test]
fn a_link_to_a_link_is_followed_to_the_file_and_to_the_one_that_takes_its_place() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "containers/*.log");
        scene.set("useFileEvents", events);
        let json = "docker/0123/0123-json.log";
        scene.world.lines(json, 20);
        scene.world.symlink(json, POD);
        scene.world.symlink(POD, CONTAINER);
        scene.start();
        scene.wait_for_all();
        for _ in 0..3 {
            scene.world.lines(json, 20);
            for n in [2, 1] {
                let name = |n: u32| format!("{json}.{n}");
                if scene.world.path(&name(n)).exists() {
                    scene.world.rename(&name(n), &name(n + 1));
                }
            }
            scene.world.rename(json, &format!("{json}.1"));
            scene.world.lines(json, 20);
            scene.wait_for_all();
        }
        // A new container of the pod.
        let next = "docker/4567/4567-json.log";
        scene.world.lines(next, 20);
        scene.world.symlink(next, POD);
        scene.wait_for_all();
        scene.restart();
        scene.world.lines(next, 20);
        scene.delivers_everything_once();
    });
}
