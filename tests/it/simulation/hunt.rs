//! Runs many cases, and makes the one that fails as short as it can be.

use std::path::Path;
use std::time::{Duration, Instant};

use super::case::{Case, Tally};

/// How long a case that fails is made shorter.
const SHRINKING: Duration = Duration::from_secs(60);

pub struct Found {
    pub seed: u64,
    pub case: Case,
    pub error: String,
}

/// Runs cases from `seed` on, until one fails, as many as `most`, or for so long.
pub fn hunt(seed: u64, exact: bool, most: u64, time: Duration) -> (Tally, Option<Found>) {
    let (began, mut tally) = (Instant::now(), Tally::default());
    for seed in seed..seed.saturating_add(most) {
        if began.elapsed() >= time {
            break;
        }
        let case = Case::draw(seed, exact);
        match attempt(&case) {
            Ok(counted) => tally.add(counted),
            Err(error) => {
                println!("seed {seed}: {error}; it is made shorter");
                let (case, error) = shrink(case, error);
                return (tally, Some(Found { seed, case, error }));
            }
        }
    }
    (tally, None)
}

/// Runs the case in a folder of its own: in memory, so that no commit waits for a disk and inodes
/// are the same on each machine, unless TMPDIR says where.
pub fn attempt(case: &Case) -> Result<Tally, String> {
    let memory = Path::new("/dev/shm");
    let folder = match std::env::var_os("TMPDIR").is_none() && memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let folder = folder.unwrap();
    case.run(folder.path())
}

/// Leaves out what the failure does not need.
fn shrink(mut case: Case, mut error: String) -> (Case, String) {
    let began = Instant::now();
    // A panic is said once.
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let kind = |error: &str| error.split(' ').next().unwrap_or_default().to_owned();
    let fails = |shorter: &Case, error: &mut String| match attempt(shorter) {
        Err(other) if kind(&other) == kind(error) => {
            *error = other;
            true
        }
        _ => false,
    };
    let mut size = case.steps.len() / 2;
    while size > 0 && began.elapsed() < SHRINKING {
        let (mut at, mut shorter_by_some) = (0, false);
        while at < case.steps.len() && began.elapsed() < SHRINKING {
            let mut shorter = case.clone();
            shorter.steps.drain(at..(at + size).min(shorter.steps.len()));
            if fails(&shorter, &mut error) {
                case = shorter;
                shorter_by_some = true;
            } else {
                at += size;
            }
        }
        if !(shorter_by_some && size == 1) {
            size /= 2;
        }
    }
    for at in 0..case.steps.len() {
        for simplify in [
            |case: &mut Case, at: usize| case.steps[at].a = 0,
            |case: &mut Case, at: usize| case.steps[at].b = 0,
        ] {
            let mut simpler = case.clone();
            simplify(&mut simpler, at);
            if began.elapsed() < SHRINKING && fails(&simpler, &mut error) {
                case = simpler;
            }
        }
    }
    std::panic::set_hook(said);
    (case, error)
}
