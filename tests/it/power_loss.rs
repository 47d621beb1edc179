//! What a power cut leaves of the database, and of the logs themselves.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::oracle::Counts;
use crate::support::scene::SOON;
use crate::support::{Destination, Flow, Repeats, Scene, eventually};

use Destination::Kinesis;

/// What is left of a file.
#[derive(Clone, Copy, Debug)]
enum Left {
    All,
    Nothing,
    Empty,
    /// Its first bytes, in hundredths.
    First(usize),
    /// Zeros instead of the bytes from here to there, in hundredths.
    Zeros(usize, usize),
    Garbage(usize, usize),
}

/// The database, its log, and what is expected to be said of it.
const CASES: [(Left, Left, Option<&str>); 15] = [
    (Left::All, Left::Nothing, None),
    (Left::All, Left::Empty, None),
    (Left::All, Left::First(99), None),
    (Left::All, Left::First(50), None),
    (Left::All, Left::Zeros(50, 100), None),
    (Left::All, Left::Garbage(0, 100), None),
    (Left::Nothing, Left::All, Some("is gone")),
    (Left::Empty, Left::All, Some("is damaged")),
    (Left::First(10), Left::Nothing, Some("is damaged")),
    (Left::First(60), Left::Nothing, Some("is damaged")),
    (Left::Zeros(0, 100), Left::Nothing, Some("is damaged")),
    (Left::Zeros(0, 10), Left::Nothing, Some("is damaged")),
    (Left::Zeros(20, 100), Left::Nothing, Some("is damaged")),
    (Left::Garbage(0, 10), Left::Nothing, Some("is damaged")),
    (Left::Garbage(20, 100), Left::Nothing, Some("is damaged")),
];

impl Left {
    fn damage(self, path: &Path) {
        let content = fs::read(path).unwrap();
        let at = |hundredths: usize| content.len() * hundredths / 100;
        let overwritten = |from: usize, to: usize, byte: u8| {
            let mut content = content.clone();
            content[at(from)..at(to)].fill(byte);
            content
        };
        match self {
            Left::All => {}
            Left::Nothing => fs::remove_file(path).unwrap(),
            Left::Empty => fs::write(path, "").unwrap(),
            Left::First(part) => fs::write(path, &content[..at(part)]).unwrap(),
            Left::Zeros(from, to) => fs::write(path, overwritten(from, to, 0)).unwrap(),
            Left::Garbage(from, to) => fs::write(path, overwritten(from, to, 0xa5)).unwrap(),
        }
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", database.display()))
}

/// A flow from the end of its files. Some lines are settled, others were written since.
fn survives(database_left: Left, log_left: Left, said: Option<&str>, with_backup: bool) -> Counts {
    let end_of_file = |flow: Flow| flow.with("initialPosition", "END_OF_FILE");
    let mut scene = Scene::with_flow(Kinesis, "*.log", end_of_file);
    scene.start();
    scene.probe("ready.log");
    scene.world.lines("a.log", 50);
    scene.wait_for_all();
    let database = scene.world.checkpoint_file();
    let backup = beside(&database, ".backup");
    eventually("there is a backup", SOON, || if backup.exists() { Ok(()) } else { Err("none".into()) });
    scene.kill9();
    scene.world.lines("a.log", 50);
    scene.world.lines("b.log", 50);
    if !with_backup {
        fs::remove_file(backup).unwrap();
    }
    database_left.damage(&database);
    log_left.damage(&beside(&database, "-wal"));
    scene.start();
    let counts = scene.delivers_everything(Repeats::Allowed);
    scene.start();
    let log = scene.agent().log_text();
    if let Some(said) = said {
        assert!(log.contains(said), "it is not said that the database {said}:\n{log}");
        let instead = if with_backup { "backup copy is used" } else { "no good backup copy" };
        assert!(log.contains(instead), "it is not said that {instead}:\n{log}");
    }
    counts
}

fn survive_all(with_backup: bool) {
    let next = std::sync::Mutex::new(CASES.iter());
    let run = || {
        while let Some(&(database, log, said)) = { next.lock().unwrap().next() } {
            let name = format!("database {database:?}, log {log:?}, backup {with_backup}");
            println!("{name}");
            let counts = survives(database, log, said, with_backup);
            println!("{name}: 0 lost, {counts}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(run);
        }
    });
}

#[test]
fn a_database_that_a_power_cut_damaged_loses_nothing_with_a_backup() {
    survive_all(true);
}

#[test]
fn a_database_that_a_power_cut_damaged_loses_nothing_without_a_backup() {
    survive_all(false);
}

/// A log that was written and delivered in steps, so that anchors stand in it.
fn delivered_in_steps() -> (Scene, PathBuf) {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.start();
    for _ in 0..20 {
        scene.world.lines("app.log", LINES);
        scene.wait_for_all();
    }
    let log = scene.world.path("app.log");
    (scene, log)
}

/// In a step; a line has 60 bytes.
const LINES: usize = 100;

/// Lines between the newest anchor that agrees and the end may come twice, others may not.
#[track_caller]
fn repeats_only_the_end(scene: &mut Scene, lost_bytes: usize) {
    let counts = scene.delivers_everything(Repeats::Allowed);
    println!("{counts}");
    let may_repeat = (lost_bytes + 16 * 1024) / 60 + LINES;
    assert!(counts.repeated <= may_repeat, "{counts}, of which {may_repeat} may be");
}

fn zero_the_last(log: &Path, bytes: usize) {
    let mut content = fs::read(log).unwrap();
    let from = content.len() - bytes;
    content[from..].fill(0);
    // In place, as the file system leaves it: the inode stays.
    fs::write(log, content).unwrap();
}

#[test]
fn a_log_whose_last_pages_are_gone_goes_on_from_the_anchor_that_agrees() {
    for clean in [true, false] {
        // Whole lines: what is behind a torn one would be joined to it.
        for bytes in [4080, 8220] {
            let (mut scene, log) = delivered_in_steps();
            if clean {
                scene.stop()
            } else {
                scene.kill9()
            }
            let size = fs::metadata(&log).unwrap().len();
            fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(size - bytes).unwrap();
            scene.world.lines("app.log", LINES);
            scene.start();
            repeats_only_the_end(&mut scene, bytes as usize);
        }
    }
}

#[test]
fn a_log_whose_last_pages_are_zeros_goes_on_from_the_anchor_that_agrees() {
    for clean in [true, false] {
        for bytes in [4096, 8192 + 30] {
            let (mut scene, log) = delivered_in_steps();
            if clean {
                scene.stop()
            } else {
                scene.kill9()
            }
            zero_the_last(&log, bytes);
            scene.world.lines("app.log", LINES);
            scene.start();
            repeats_only_the_end(&mut scene, bytes);
        }
    }
}

/// Zeros in what was not yet read: what is lost is said, what is behind is sent.
#[test]
fn zeros_in_what_was_not_read_are_left_out() {
    let (mut scene, log) = delivered_in_steps();
    scene.stop();
    let unread = scene.world.lines("app.log", LINES);
    zero_the_last(&log, 4096);
    scene.world.excuse(unread);
    scene.world.lines("app.log", LINES);
    scene.start();
    scene.wait_for_all();
    assert!(scene.agent().log_text().contains("blocks of zeros"));
    scene.delivers_everything_once();
}

#[test]
fn a_reboot_that_changes_device_numbers_repeats_nothing() {
    let mut scene = Scene::new(Kinesis, "*.log*");
    for n in 0..5 {
        scene.world.lines(&format!("{n}.log"), LINES);
    }
    scene.start();
    scene.wait_for_all();
    scene.world.rename("0.log", "0.log.1");
    scene.world.lines("0.log", LINES);
    scene.wait_for_all();
    scene.stop();
    let connection = rusqlite::Connection::open(scene.world.checkpoint_file()).unwrap();
    let changed = connection.execute("UPDATE tails SET device = device + 77", []).unwrap();
    assert!(changed >= 6, "only {changed} rows");
    drop(connection);
    scene.world.lines("1.log", LINES);
    scene.world.rename("2.log", "2.log.1");
    scene.world.lines("2.log", LINES);
    scene.start();
    scene.delivers_everything_once();
}
