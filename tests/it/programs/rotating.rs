//! Docker's `json-file` driver and Log4j's rolling appenders, which cannot be run here: their
//! renames in their order, with the compression that follows by and by.

use std::fs::{self, File};
use std::io::Write as _;

use crate::support::scene::with_and_without_events;
use crate::support::{Destination, Scene, World};

use Destination::Kinesis;

/// How much is kept: more than is rotated here, so that nothing is deleted unread.
const KEPT: u32 = 8;

/// Both write the packed file beside the other, whose times they do not keep, and remove that.
fn gzip(world: &World, from: &str, to: &str) {
    let out = File::create(world.path(to)).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    encoder.write_all(&fs::read(world.path(from)).unwrap()).unwrap();
    encoder.finish().unwrap();
    world.delete(from);
}

fn rename_if_there(world: &World, from: &str, to: &str) {
    if world.path(from).exists() {
        world.rename(from, to);
    }
}

/// `max-file`, with or without `compress`: the numbers go up, then the log becomes `.1`, a new one
/// is made, and `.1` is compressed.
fn docker(world: &World, file: &str, compressed: bool) {
    let ending = if compressed { ".gz" } else { "" };
    for n in (2..=KEPT).rev() {
        rename_if_there(world, &format!("{file}.{}{ending}", n - 1), &format!("{file}.{n}{ending}"));
    }
    world.rename(file, &format!("{file}.1"));
    world.append(file, "");
    if compressed {
        gzip(world, &format!("{file}.1"), &format!("{file}.1.gz"));
    }
}

/// `fileIndex="min"`: the newest has the number 1.
fn log4j_min(world: &World, file: &str, compressed: bool) {
    let ending = if compressed { ".gz" } else { "" };
    let name = |n: u32| format!("{}-{n}.log{ending}", file.trim_end_matches(".log"));
    for n in (1..KEPT).rev() {
        rename_if_there(world, &name(n), &name(n + 1));
    }
    log4j_roll(world, file, &name(1));
}

/// `fileIndex="max"`: the newest has the highest number; once there are three, all move down.
fn log4j_max(world: &World, file: &str, compressed: bool) {
    const FULL: u32 = 3;
    let ending = if compressed { ".gz" } else { "" };
    let name = |n: u32| format!("{}-{n}.log{ending}", file.trim_end_matches(".log"));
    let free = (1..=FULL).find(|n| !world.path(&name(*n)).exists());
    if free.is_none() {
        fs::remove_file(world.path(&name(1))).unwrap();
        (2..=FULL).for_each(|n| world.rename(&name(n), &name(n - 1)));
    }
    log4j_roll(world, file, &name(free.unwrap_or(FULL)));
}

/// The log is renamed, without the ending of what it will be packed into; the new one is made at
/// the next line.
fn log4j_roll(world: &World, file: &str, to: &str) {
    let plain = to.trim_end_matches(".gz");
    world.rename(file, plain);
    if plain != to {
        gzip(world, plain, to);
    }
}

fn check(file: &str, pattern: &str, rotate: fn(&World, &str, bool)) {
    for compressed in [false, true] {
        for stopped in [false, true] {
            with_and_without_events(|events| {
                let mut scene = Scene::new(Kinesis, pattern);
                scene.set("useFileEvents", events);
                scene.world.lines(file, 20);
                scene.start();
                scene.wait_for_all();
                for round in 0..5 {
                    if stopped {
                        scene.stop();
                    } else {
                        scene.agent().pause();
                    }
                    for _ in 0..=round % 2 {
                        scene.world.lines(file, 20);
                        rotate(&scene.world, file, compressed);
                    }
                    scene.world.lines(file, 20);
                    if stopped {
                        scene.start();
                    } else {
                        scene.agent().resume();
                    }
                    scene.wait_for_all();
                }
                scene.delivers_everything_once();
            });
        }
    }
}

#[test]
fn dockers_json_file_driver_loses_and_repeats_nothing() {
    check("0123-json.log", "*-json.log", docker);
    check("0123-json.log", "*-json.log*", docker);
}

#[test]
fn log4js_rolling_appender_counting_from_the_newest_loses_and_repeats_nothing() {
    check("app.log", "app.log", log4j_min);
    check("app.log", "app*.log", log4j_min);
}

#[test]
fn log4js_rolling_appender_counting_to_the_newest_loses_and_repeats_nothing() {
    check("app.log", "app.log", log4j_max);
    check("app.log", "app*.log", log4j_max);
}
