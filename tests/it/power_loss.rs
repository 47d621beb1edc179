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
