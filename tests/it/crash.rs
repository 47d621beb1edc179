//! Kill -9 at random moments while three files are written and rotated: nothing may be lost.
//!
//! `LIVES` is the number of lives (8 by default), `RATE` the lines a second and file (2,000),
//! `SEED` replays a schedule; the timing is not deterministic, so that a seed that failed once
//! may need several runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Destination, Repeats, Rotator, Scene, World, let_pass};

/// How many lines are written between two pauses of a writer.
const BURST: u64 = 20;

fn setting(name: &str, default: impl FnOnce() -> u64) -> u64 {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name} is a number"));
    std::env::var(name).map_or_else(|_| default(), parse)
}

/// Writes and rotates one log until it is told to stop.
fn write_log(world: &World, file: &str, rotator: Rotator, seed: u64, stop: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let begin = Instant::now();
    let rate = setting("RATE", || 2000);
    let mut next_rotation = random.u64(200..1500);
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        world.lines(file, BURST as usize);
        written += BURST;
        let elapsed = begin.elapsed();
        if elapsed.as_millis() as u64 > next_rotation {
            rotator.rotate(world, file);
            next_rotation += random.u64(200..1500);
        }
        let due = Duration::from_secs_f64(written as f64 / rate as f64);
        let_pass(due.saturating_sub(elapsed));
    }
}

/// Ends the writers, also when the script fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lives(destination: Destination) {
    let seed = setting("SEED", || fastrand::u64(..));
    let count = setting("LIVES", || 8);
    println!("SEED={seed} LIVES={count}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut scene = Scene::new(destination, "*.log*");
    let stop = AtomicBool::new(false);
    let logs =
        [("a.log", Rotator::Rename), ("b.log", Rotator::RenameShift), ("c.log", Rotator::CopyTruncate)];
    let (world, endpoint, config) = (&scene.world, &scene.endpoint, &scene.config);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for (file, rotator) in logs {
            let (seed, stop) = (random.u64(..), &stop);
            scope.spawn(move || write_log(world, file, rotator, seed, stop));
        }
        for _ in 0..count {
            let agent = crate::support::AgentProcess::start(world, config);
            let_pass(Duration::from_millis(random.u64(200..2000)));
            agent.kill9();
        }
    });
    println!("{} calls before the last life", endpoint.call_count());
    scene.start();
    scene.wait_for_all_within(Duration::from_secs(60));
    let counts = scene.delivers_everything(Repeats::Allowed);
    println!("{counts}, none lost");
}

#[test]
fn kill_9_at_random_moments_under_rotation_loses_nothing_to_a_stream() {
    lives(Destination::Kinesis);
}

#[test]
fn kill_9_at_random_moments_under_rotation_loses_nothing_to_a_delivery_stream() {
    lives(Destination::Firehose);
}
