//! Kill -9 and SIGSTOP at random moments while logs are written and rotated in every way: nothing
//! may be lost, no stored position may pass a line that is not safe, and what was stored as safe
//! is not sent again.
//!
//! `LIVES` is the number of lives (8 by default), `LIFE` the longest in milliseconds (1500; a short
//! one hits the start), `RATE` the lines a second and file (600),
//! `SEED` replays a schedule; the timing is not deterministic, so that a seed that failed once
//! may need several runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    AgentProcess, Destination, Positions, Repeats, Rotator, Scene, World, is_first_start_stored, let_pass,
};

/// How many lines are written between two pauses of a writer.
const BURST: u64 = 20;

/// With the names that rotation makes, and without.
const PATTERNS: [&str; 2] = ["*.log*", "*.log"];

/// Each log with its way of rotation.
const LOGS: [(&str, Rotator); 8] = [
    ("a.log", Rotator::Rename),
    ("b.log", Rotator::RenameShift),
    ("c.log", Rotator::CopyTruncate),
    ("d.log", Rotator::RenameDated),
    ("e.log", Rotator::RenameThenCompress),
    ("f.log", Rotator::CopyTruncateOutOfPattern),
    ("app.log", Rotator::CreateDated),
    ("g.log", Rotator::DeleteRecreate),
];

fn setting(name: &str, default: impl FnOnce() -> u64) -> u64 {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name} is a number"));
    std::env::var(name).map_or_else(|_| default(), parse)
}

/// Writers stand still while it is locked.
type Gate = Mutex<()>;

/// What the writers share.
struct Script<'a> {
    world: &'a World,
    stop: AtomicBool,
    gate: Gate,
    pattern: &'static str,
    hidden: Hidden,
}

/// The lives of files that were compressed or rotated to names that the pattern does not match:
/// nothing tells those from before the first look that the flow ever took from those before the
/// agent.
#[derive(Default)]
struct Hidden(Mutex<Vec<usize>>);

impl Hidden {
    /// `file` is about to be rotated away.
    fn add(&self, world: &World, file: &str) {
        self.0.lock().unwrap().push(world.life_of(file));
    }

    fn excuse(&self, world: &World) {
        let lives = std::mem::take(&mut *self.0.lock().unwrap());
        println!("{} rotated files may be older than the first look", lives.len());
        world.excuse_lives(&lives);
    }
}

/// Writes and rotates one log until it is told to stop.
fn write_log(log: (&str, Rotator), script: &Script<'_>, seed: u64) {
    let (file, rotator) = log;
    let Script { world, stop, gate, pattern, hidden } = script;
    let mut random = fastrand::Rng::with_seed(seed);
    let begin = Instant::now();
    let rate = setting("RATE", || 600);
    let mut next_rotation = random.u64(200..1500);
    let (mut written, mut file) = (0, file.to_owned());
    while !stop.load(Ordering::Relaxed) {
        let open = gate.lock().unwrap();
        world.lines(&file, BURST as usize);
        written += BURST;
        let elapsed = begin.elapsed();
        if elapsed.as_millis() as u64 > next_rotation {
            if !rotator.keeps_unread() {
                // Nobody else has them once the agent is killed.
                world.excuse_file(&file);
            }
            if rotator == Rotator::RenameThenCompress || *pattern == "*.log" {
                hidden.add(world, &file);
            }
            file = rotator.rotate(world, &file);
            next_rotation += random.u64(200..1500);
        }
        drop(open);
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

/// It runs, stands still for a while or until its end, or both, and is killed.
fn live(agent: AgentProcess, random: &mut fastrand::Rng) {
    let longest = setting("LIFE", || 1500);
    let_pass(Duration::from_millis(random.u64(longest / 8..longest)));
    if random.bool() {
        agent.pause();
        let_pass(Duration::from_millis(random.u64(50..1000)));
        if random.bool() {
            agent.resume();
            let_pass(Duration::from_millis(random.u64(0..500)));
        }
    }
    agent.kill9();
}

fn lives(destination: Destination) {
    let seed = setting("SEED", || fastrand::u64(..));
    let count = setting("LIVES", || 8);
    let mut random = fastrand::Rng::with_seed(seed);
    let pattern = PATTERNS[random.usize(..PATTERNS.len())];
    println!("SEED={seed} LIVES={count} {pattern}");
    let mut scene = Scene::new(destination, pattern);
    let mut stored = Vec::new();
    let Scene { world, endpoint, config, oracle, .. } = &mut scene;
    let world = &*world;
    let (stop, gate, hidden) = Default::default();
    let script = &Script { world, stop, gate, pattern, hidden };
    let mut was_started = false;
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&script.stop);
        for log in LOGS {
            let seed = random.u64(..);
            scope.spawn(move || write_log(log, script, seed));
        }
        for _ in 0..count {
            live(AgentProcess::start(world, config), &mut random);
            // What is written to a file stands in the journal then, and the other way round.
            let _still = script.gate.lock().unwrap();
            stored.push(Positions::check(world, endpoint, oracle));
            if !was_started {
                script.hidden.excuse(world);
                was_started = is_first_start_stored(world);
            }
        }
    });
    println!("{} calls before the last life", endpoint.call_count());
    if !was_started {
        script.hidden.excuse(world);
    }
    scene.start();
    scene.wait_for_all_within(Duration::from_secs(60));
    let counts = scene.delivers_everything(Repeats::Allowed);
    for positions in stored {
        positions.were_kept(&scene.world, &scene.endpoint, &mut scene.oracle);
    }
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
