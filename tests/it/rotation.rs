//! Every way of rotating a log, at every bad moment, with and without file-system events.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use crate::support::agent_process::log_file;
use crate::support::scene::SOON;
use crate::support::script::Body;
use crate::support::{Destination, Repeats, Rotator, Scene, Step, eventually, happens_within};

use Destination::{Firehose, Kinesis};

/// When the log is rotated.
#[derive(Clone, Copy, Debug)]
enum When {
    /// After lines that the agent has not seen yet.
    BeforeALook,
    /// After the first half of a line.
    MidLine,
    /// While no agent runs.
    WhileStopped,
    /// While nothing can be delivered.
    WhileTheEndpointFails,
    /// Twice, without a look in between.
    TwiceBetweenLooks,
}

const ALL: [When; 5] = [
    When::BeforeALook,
    When::MidLine,
    When::WhileStopped,
    When::WhileTheEndpointFails,
    When::TwiceBetweenLooks,
];

const UNAVAILABLE: Step = Step::ServerError(503, Body::Html);

/// The whole matrix of one rotator, all cells at the same time.
fn check(rotator: Rotator) {
    std::thread::scope(|scope| {
        for when in ALL {
            for events in [true, false] {
                let cell = std::thread::Builder::new()
                    .name(format!("{rotator:?}, {when:?}, events {}", if events { "on" } else { "off" }));
                cell.spawn_scoped(scope, move || check_cell(rotator, when, events)).unwrap();
            }
        }
    });
}

fn check_cell(rotator: Rotator, when: When, events: bool) {
    let mut scene = Scene::new(Kinesis, rotator.pattern());
    scene.set("useFileEvents", events);
    rotator.prepare(&scene.world);
    scene.world.lines("app.log", 20);
    scene.start();
    scene.wait_for_all();
    match when {
        When::BeforeALook => {
            scene.agent().pause();
            rotate_with_unread(&scene, rotator, 1);
            scene.agent().resume();
        }
        When::MidLine => {
            scene.world.append_partial("app.log", "the first half of a line");
            let file = rotator.rotate(&scene.world, "app.log");
            scene.world.append(&file, " and the second\n");
            scene.world.lines(&file, 20);
        }
        When::WhileStopped => {
            scene.stop();
            rotate_with_unread(&scene, rotator, 1);
            scene.start();
        }
        When::WhileTheEndpointFails => rotate_during_outage(&scene, rotator),
        When::TwiceBetweenLooks => {
            scene.agent().pause();
            rotate_with_unread(&scene, rotator, 2);
            scene.agent().resume();
        }
    }
    scene.delivers_everything_once();
}

/// Lines that nobody has read, a rotation, and lines behind it, several times.
fn rotate_with_unread(scene: &Scene, rotator: Rotator, times: usize) {
    let mut file = "app.log".to_owned();
    for generation in 0..times {
        let unread = scene.world.lines(&file, 20);
        let kept = if generation == 0 { rotator.keeps_unread() } else { rotator.keeps_unseen() };
        if !kept {
            scene.world.excuse(unread);
        }
        file = rotator.rotate(&scene.world, &file);
    }
    scene.world.lines(&file, 20);
}

/// The agent knows of the lines, but could not deliver them when the log is rotated.
fn rotate_during_outage(scene: &Scene, rotator: Rotator) {
    let before = scene.endpoint.call_count();
    scene.endpoint.always(|_| UNAVAILABLE);
    let unread = scene.world.lines("app.log", 20);
    scene.wait_for_calls_after(before, 1);
    if !rotator.keeps_open() {
        scene.world.excuse(unread);
    }
    let file = rotator.rotate(&scene.world, "app.log");
    scene.world.lines(&file, 20);
    scene.wait_for_calls_after(before, 3);
    scene.endpoint.heal();
}

#[test]
fn rename_loses_and_repeats_nothing() {
    check(Rotator::Rename);
}

#[test]
fn rename_with_shifted_numbers_loses_and_repeats_nothing() {
    check(Rotator::RenameShift);
}

#[test]
fn copytruncate_loses_and_repeats_nothing() {
    check(Rotator::CopyTruncate);
}

#[test]
fn copytruncate_with_a_copy_outside_the_pattern_loses_and_repeats_nothing() {
    check(Rotator::CopyTruncateOutOfPattern);
}

#[test]
fn a_new_dated_file_loses_and_repeats_nothing() {
    check(Rotator::CreateDated);
}

#[test]
fn rename_to_a_date_loses_and_repeats_nothing() {
    check(Rotator::RenameDated);
}

#[test]
fn rename_and_compress_loses_and_repeats_nothing() {
    check(Rotator::RenameThenCompress);
}

#[test]
fn truncation_in_place_loses_only_what_was_gone() {
    check(Rotator::TruncateInPlace);
}

#[test]
fn delete_and_recreate_loses_only_what_was_gone() {
    check(Rotator::DeleteRecreate);
}

#[test]
fn a_swapped_symlink_loses_and_repeats_nothing() {
    check(Rotator::SymlinkSwap);
}

#[test]
fn rename_into_another_folder_loses_only_what_was_out_of_sight() {
    check(Rotator::RenameOutOfPattern);
}

#[test]
fn ten_rotations_in_a_row_lose_and_repeat_nothing() {
    for rotator in [Rotator::RenameShift, Rotator::CopyTruncate, Rotator::RenameDated] {
        let mut scene = Scene::new(Firehose, rotator.pattern());
        scene.start();
        for _ in 0..10 {
            scene.world.lines("app.log", 200);
            scene.wait_for_all();
            rotator.rotate(&scene.world, "app.log");
        }
        scene.world.lines("app.log", 200);
        scene.delivers_everything_once();
    }
}

#[test]
fn a_copy_in_the_making_is_held_back() {
    let mut scene = Scene::new(Kinesis, "app.log*");
    scene.world.lines("app.log", 1000);
    scene.start();
    scene.wait_for_all();
    let calls = scene.endpoint.call_count();
    let content = fs::read(scene.world.path("app.log")).unwrap();
    let mut copy = fs::File::create(scene.world.path("app.log.1")).unwrap();
    let (early, late) = content.split_at(content.len() / 2);
    copy.write_all(early).unwrap();
    let sent = || scene.endpoint.call_count() > calls;
    assert!(!happens_within(Duration::from_secs(1), sent), "half a copy is sent");
    copy.write_all(late).unwrap();
    assert!(!happens_within(Duration::from_secs(1), sent), "a whole copy is sent");
    scene.world.truncate("app.log");
    scene.world.lines("app.log", 20);
    scene.delivers_everything_once();
}

#[test]
fn a_copy_that_goes_on_differently_is_a_file_of_its_own() {
    let mut scene = Scene::new(Kinesis, "app.log*");
    scene.world.append("app.log", "the same beginning\n");
    scene.start();
    scene.wait_for_all();
    scene.world.append("app.log.1", "the same beginning\n");
    scene.world.lines("app.log.1", 20);
    scene.world.lines("app.log", 20);
    scene.delivers_everything_once();
}

#[test]
fn a_file_that_regrew_beyond_the_offset_is_read_from_its_beginning() {
    for stopped in [true, false] {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.world.lines("app.log", 100);
        scene.start();
        scene.wait_for_all();
        if stopped {
            scene.stop();
        } else {
            scene.agent().pause();
        }
        scene.world.truncate("app.log");
        scene.world.lines("app.log", 300);
        if stopped {
            scene.start();
        } else {
            scene.agent().resume();
        }
        scene.delivers_everything_once();
    }
}

/// A flow whose backlog does not fit into the memory budget, and 20 MB in it, of which the
/// agent knows.
fn backlog(pattern: &str) -> Scene {
    let mut scene = Scene::new(Firehose, pattern);
    scene.set("memoryBudget", "8MiB");
    scene.set("maxOpenRemovedBytes", "30MB");
    scene.endpoint.always(|_| UNAVAILABLE);
    scene.world.long_lines("app.log", 20_000, 1000);
    scene.start();
    scene.wait_for_calls(2);
    scene
}

#[test]
fn a_file_that_regrew_while_there_was_a_backlog_is_read_from_its_beginning() {
    let mut scene = backlog("app.log");
    scene.world.excuse_file("app.log");
    scene.world.truncate("app.log");
    scene.world.long_lines("app.log", 25_000, 1000);
    scene.endpoint.heal();
    scene.delivers_everything_once();
}

#[test]
fn a_backlog_survives_the_deletion_of_its_file() {
    let mut scene = backlog("app.log");
    scene.world.delete("app.log");
    scene.world.long_lines("app.log", 1000, 1000);
    scene.endpoint.heal();
    scene.delivers_everything_once();
}

#[test]
fn deleted_files_beyond_the_limit_are_let_go_the_oldest_first_and_said() {
    let mut scene = backlog("*.log");
    let before = scene.agent().open_files();
    scene.world.long_lines("young.log", 20_000, 1000);
    eventually("the second file is opened when it is found", SOON, || {
        let open = scene.agent().open_files();
        if open > before { Ok(()) } else { Err(format!("{open} descriptors")) }
    });
    scene.world.excuse_file("app.log");
    scene.world.delete("app.log");
    scene.world.delete("young.log");
    let message = "a deleted file is let go before it was read to its end";
    eventually("the older file is let go", SOON, || {
        let log = scene.agent().log_text();
        if log.contains(message) { Ok(()) } else { Err(log) }
    });
    scene.endpoint.heal();
    scene.delivers_everything_once();
    let log = fs::read_to_string(log_file(&scene.world)).unwrap();
    let let_go: Vec<&str> = log.lines().filter(|line| line.contains(message)).collect();
    assert!(let_go.len() == 1 && let_go[0].contains("app.log"), "{let_go:#?}");
    assert!(log.contains("hold much of the disk"), "{log}");
}

#[test]
fn a_backlog_survives_copytruncate() {
    let mut scene = backlog("app.log*");
    Rotator::CopyTruncate.rotate(&scene.world, "app.log");
    scene.world.long_lines("app.log", 1000, 1000);
    scene.endpoint.heal();
    scene.delivers_everything_once();
}

#[test]
fn lines_that_are_written_to_a_renamed_file_are_delivered() {
    for pattern in ["app.log*", "app.log"] {
        let mut scene = Scene::new(Kinesis, pattern);
        scene.start();
        let mut daemon = scene.world.writer("app.log");
        daemon.long_lines(20, 60);
        scene.oracle.wait_for_all(&scene.world, &scene.endpoint, Duration::from_secs(20));
        scene.world.rename("app.log", "app.log.1");
        scene.world.lines("app.log", 20);
        scene.oracle.wait_for_all(&scene.world, &scene.endpoint, Duration::from_secs(20));
        daemon.long_lines(20, 60);
        drop(daemon);
        scene.delivers_everything_once();
    }
}

#[test]
fn a_new_file_that_got_the_inode_of_an_old_one_is_a_new_file() {
    for regrown in [10, 100] {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.world.lines("app.log", 50);
        scene.start();
        scene.wait_for_all();
        scene.stop();
        let path = scene.world.path("app.log");
        let inode = fs::metadata(&path).unwrap().ino();
        // Whether the file system gives the inode out again is its own affair.
        for _ in 0..100 {
            scene.world.delete("app.log");
            scene.world.append("app.log", "");
            if fs::metadata(&path).unwrap().ino() == inode {
                break;
            }
        }
        scene.world.lines("app.log", regrown);
        scene.start();
        scene.delivers_everything_once();
    }
}

#[test]
fn a_restart_in_the_middle_of_copytruncate_loses_nothing() {
    let mut scene = Scene::new(Kinesis, "app.log*");
    scene.world.lines("app.log", 100);
    scene.start();
    scene.wait_for_all();
    scene.world.copy("app.log", "app.log.1");
    scene.restart();
    scene.world.truncate("app.log");
    scene.world.lines("app.log", 100);
    scene.delivers_everything(Repeats::None);
}
