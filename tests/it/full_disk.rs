//! The disk of the checkpoints is full, or cannot be written, before and while the agent runs.
//! Delivery goes on, it is said loudly, and nothing is lost; what was not stored is sent again.

use std::fs;
use std::time::Duration;

use crate::content::dead_data;
use crate::support::mounts::in_own_mounts;
use crate::support::request::Record;
use crate::support::scene::SOON;
use crate::support::small_disk::SmallDisk;
use crate::support::{Destination, Flow, Repeats, Scene, Step, eventually, happens_within};

use Destination::Kinesis;

/// A flow whose state lies on a small disk, and an agent that has delivered 50 lines.
fn scene() -> (Scene, SmallDisk) {
    let end_of_file = |flow: Flow| flow.with("initialPosition", "END_OF_FILE");
    let mut scene = Scene::with_flow(Kinesis, "*.log", end_of_file);
    let disk = SmallDisk::mount(&scene.world.root().join("state"), 1 << 20);
    scene.start();
    scene.probe("ready.log");
    scene.world.lines("a.log", 50);
    scene.wait_for_all();
    (scene, disk)
}

#[track_caller]
fn says(scene: &mut Scene, text: &str) {
    eventually(&format!("the agent says: {text}"), SOON, || match scene.agent().log_text().contains(text) {
        true => Ok(()),
        false => Err("not yet".into()),
    });
}

/// So many files that their rows need more room than the database has in itself.
fn write_many(scene: &Scene) {
    for n in 0..300 {
        scene.world.lines(&format!("many-{n}.log"), 2);
    }
}

/// The trouble passes while the agent runs: nothing is sent twice.
fn passes(begin: impl Fn(&SmallDisk), end: impl Fn(&SmallDisk)) {
    let (mut scene, disk) = scene();
    begin(&disk);
    write_many(&scene);
    scene.wait_for_all();
    says(&mut scene, "checkpoints cannot be stored");
    end(&disk);
    scene.world.lines("a.log", 50);
    scene.wait_for_all();
    scene.stop();
    scene.world.lines("a.log", 50);
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn a_full_disk_that_is_freed_loses_and_repeats_nothing() {
    in_own_mounts(|| {
        passes(SmallDisk::fill, SmallDisk::free);
    });
}

/// A start on a full disk may succeed, since the database has room in itself.
#[test]
fn kill_9_on_a_full_disk_loses_nothing() {
    in_own_mounts(|| {
        let (mut scene, disk) = scene();
        disk.fill();
        write_many(&scene);
        scene.wait_for_all();
        says(&mut scene, "checkpoints cannot be stored");
        scene.kill9();
        scene.world.lines("a.log", 500);
        scene.world.lines("new.log", 500);
        scene.start();
        if happens_within(Duration::from_secs(2), || !scene.agent().is_alive()) {
            names_the_database(&mut scene);
        } else {
            scene.kill9();
        }
        disk.free();
        scene.start();
        scene.delivers_everything(Repeats::Allowed);
    });
}

/// It does not run without its positions.
#[test]
fn an_agent_whose_state_is_read_only_does_not_start_and_loses_nothing() {
    in_own_mounts(|| {
        let (mut scene, disk) = scene();
        scene.kill9();
        scene.world.lines("a.log", 500);
        scene.world.lines("new.log", 500);
        disk.remount("ro");
        scene.start();
        let status = scene.agent().wait_exit(SOON);
        assert!(!status.success(), "the agent ends with {status}");
        names_the_database(&mut scene);
        disk.remount("rw");
        scene.start();
        let counts = scene.delivers_everything(Repeats::Allowed);
        assert!(counts.repeated <= 120, "more than was not stored: {counts}");
    });
}

#[track_caller]
fn names_the_database(scene: &mut Scene) {
    let log = scene.agent().log_text();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("checkpoints.db"), "the file is not named: {last}");
    scene.forget_agent();
}

#[test]
fn an_outage_on_a_full_disk_loses_nothing() {
    in_own_mounts(|| {
        let (mut scene, disk) = scene();
        scene.endpoint.always(|_| Step::Throttle);
        disk.fill();
        let before = scene.endpoint.call_count();
        for n in 1..10 {
            scene.world.lines("a.log", 500);
            scene.world.rename("a.log", &format!("a-{n}.log"));
        }
        scene.wait_for_calls_after(before, 3);
        scene.kill9();
        disk.free();
        scene.start();
        scene.wait_for_calls_after(before, 6);
        disk.fill();
        scene.world.lines("a.log", 500);
        scene.endpoint.heal();
        scene.wait_for_all();
        disk.free();
        scene.delivers_everything(Repeats::Allowed);
    });
}

/// It waits, with its file's position; other records go on.
#[test]
fn a_dead_letter_waits_for_room_on_the_disk() {
    in_own_mounts(|| {
        for kill in [false, true] {
            let (mut scene, disk) = scene();
            let poison = |_: usize, record: &Record| record.data.starts_with(b"poison");
            scene.endpoint.always(move |_| Step::fail_where("InvalidArgumentException", poison));
            disk.fill();
            let poisoned = scene.world.append("a.log", "poison\n");
            scene.world.excuse(poisoned);
            scene.world.lines("a.log", 50);
            scene.world.lines("b.log", 50);
            scene.wait_for_all();
            says(&mut scene, "until the dead-letter file can be written");
            let letters = scene.world.dead_letter_file();
            let written = || fs::read(&letters).is_ok_and(|text| text.contains(&b'\n'));
            assert!(!happens_within(Duration::from_millis(100), written));
            if kill {
                scene.kill9();
            }
            disk.free();
            if kill {
                scene.start();
            }
            eventually(
                "the dead letter is written",
                SOON,
                || if written() { Ok(()) } else { Err("no".into()) },
            );
            scene.delivers_everything(if kill { Repeats::Allowed } else { Repeats::None });
            let text = fs::read_to_string(&letters).unwrap();
            let data = text.lines().map(|line| dead_data(&serde_json::from_str(line).unwrap()));
            assert_eq!(data.collect::<Vec<_>>(), [b"poison\n"]);
        }
    });
}
