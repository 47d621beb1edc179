//! A simulation: the real cores of all four stages, stepped by hand over a real folder and a real
//! database, against a model that shares no code with them. No task, no thread, no clock.
//!
//! `make simulate SECONDS=600` runs it for longer, `make simulate SEED=17 EXACT=1` repeats one
//! case, and `RACES=1` also lets files change between the listing of a folder and what is done
//! about it. A failure is made short and written to `proptest-regressions/simulation/`, where
//! every case is run as a test from then on; `CASE=file` shows what happens in it.

/// The cores, wired by hand.
mod agent;
/// One case from its first step to its end.
mod case;
/// The files, on the disk and in the model.
mod disk;
/// Many cases, and the shortest that fails.
mod hunt;
/// The promises.
mod oracle;
/// What a case is made of.
mod setup;
/// What may happen.
mod step;
/// What was written.
mod text;
/// What is done to the files.
mod world;

use std::path::Path;
use std::time::Duration;

use case::Case;
use hunt::{attempt, hunt};

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/simulation");

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[track_caller]
fn check(seed: u64, exact: bool, most: u64, time: Duration) {
    let (tally, found) = hunt(seed, exact, most, time);
    println!("seeds from {seed}, exact: {exact}: {tally:?}");
    let Some(found) = found else {
        // An oracle that excuses everything would find nothing.
        let may_be_judged = tally.cases >= CI_CASES;
        assert!(!may_be_judged || tally.excused * 100 <= tally.units * 35, "{tally:?}");
        return;
    };
    let name = format!("seed-{}{}.txt", found.seed, if exact { "-exact" } else { "" });
    let path = Path::new(REGRESSIONS).join(name);
    std::fs::create_dir_all(REGRESSIONS).unwrap();
    std::fs::write(&path, format!("# {}\n{}", found.error, found.case)).unwrap();
    panic!("seed {}: {}\n{}(written to {})", found.seed, found.error, found.case, path.display());
}

/// For CI: the same cases each time, however fast the machine is.
const CI_CASES: u64 = 170;

#[test]
fn nothing_is_lost_and_nothing_repeated() {
    check(1, true, CI_CASES, Duration::MAX);
}

#[test]
fn nothing_is_lost_where_files_cannot_be_told_from_copies() {
    check(1_000_001, false, CI_CASES, Duration::MAX);
}

#[test]
fn what_failed_once_does_not_fail_again() {
    let Ok(folder) = std::fs::read_dir(REGRESSIONS) else { return };
    for entry in folder.map(Result::unwrap) {
        let case: Case = std::fs::read_to_string(entry.path()).unwrap().parse().unwrap();
        if let Err(error) = attempt(&case) {
            panic!("{}: {error}", entry.path().display());
        }
    }
}

/// `make simulate`. `CASE` runs what a failure left behind, and says what the agent says.
#[test]
#[ignore = "runs for as long as SECONDS says"]
fn simulate() {
    if let Some(path) = std::env::var_os("CASE") {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time();
        log.with_writer(std::io::stdout).init();
        let case: Case = std::fs::read_to_string(path).unwrap().parse().unwrap();
        if let Err(error) = attempt(&case) {
            panic!("{error}");
        }
        return;
    }
    let kinds = match number("EXACT") {
        Some(exact) => vec![exact != 0],
        None => vec![true, false],
    };
    let (most, seed) = match number("SEED") {
        Some(seed) => (1, seed),
        None => (
            number("CASES").unwrap_or(u64::MAX),
            number("SEED_FROM").unwrap_or_else(|| fastrand::u64(..1 << 40)),
        ),
    };
    let seconds = number("SECONDS").unwrap_or(60) / kinds.len() as u64;
    for exact in kinds {
        check(seed, exact, most, Duration::from_secs(seconds));
    }
}
