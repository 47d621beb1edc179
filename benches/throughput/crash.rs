//! kill -9 at random moments, while three files are written and rotated: what is lost (it must be
//! nothing), and what is sent twice.
//!
//! A writer rotates its own file, between two of its writes, so that no line falls between the
//! copy and the truncation. Every generation is kept: nothing may be lost that could be read.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::agent::Agent;
use crate::endpoint::Endpoint;
use crate::line::{Line, now_micros};
use crate::{in_folder, setting};

const FILES: usize = 3;
const LINES_PER_TICK: u64 = 50;
const TICK: Duration = Duration::from_millis(10);
const LIFE_MILLIS: std::ops::RangeInclusive<u64> = 200..=2000;
const ROTATE_EACH_MILLIS: std::ops::RangeInclusive<u64> = 1000..=4000;
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);

pub fn run() -> Result<()> {
    let lives = setting("BENCH_LIVES", 50)?;
    let seed = setting("BENCH_SEED", fastrand::u64(..1 << 32))?;
    println!(
        "\nkill -9 after 0.2 to 2 s, {lives} lives (BENCH_SEED={seed}): {FILES} files of 5,000 lines a second"
    );
    in_folder(|folder| measure(folder, lives, fastrand::Rng::with_seed(seed)))
}

fn measure(folder: &Path, lives: u64, mut random: fastrand::Rng) -> Result<()> {
    let logs = folder.join("logs");
    let mut endpoint = Endpoint::start(true)?;

    let end = AtomicBool::new(false);
    let (written, agent) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..FILES)
            .map(|file| {
                let writer = Writer::new(&logs, file, random.fork());
                let end = &end;
                scope.spawn(move || writer?.run(end))
            })
            .collect();
        let agent = live_and_die(folder, &endpoint.url, lives, &mut random);
        end.store(true, Ordering::Release);
        let written: Result<Vec<Written>> =
            writers.into_iter().map(|writer| writer.join().expect("a writer panicked")).collect();
        anyhow::Ok((written?, agent?))
    })?;
    let lost = report(&mut endpoint, agent, &written)?;
    if lost > 0 {
        bail!("{lost} lines were lost or invented");
    }
    Ok(())
}

/// Returns the agent of the last life, which nobody kills.
fn live_and_die(folder: &Path, url: &str, lives: u64, random: &mut fastrand::Rng) -> Result<Agent> {
    for _life in 0..lives {
        let mut agent = Agent::start(folder, url, "kinesisStream: bench")?;
        std::thread::sleep(Duration::from_millis(random.u64(LIFE_MILLIS)));
        agent.check_alive()?;
        agent.kill()?;
    }
    Agent::start(folder, url, "kinesisStream: bench")
}

/// Waits until everything arrived, or nothing more does. Returns how many lines are missing, or
/// arrived without having been written.
fn report(endpoint: &mut Endpoint, mut agent: Agent, written: &[Written]) -> Result<u64> {
    let lines: u64 = written.iter().map(|file| file.lines).sum();
    let started = Instant::now();
    while endpoint.tally()?.distinct < lines && started.elapsed() < CAUGHT_UP_WITHIN {
        agent.check_alive()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let caught_up = started.elapsed().as_secs_f64();
    agent.stop()?;
    let tally = endpoint.tally()?;
    let lost = lines - tally.distinct;
    let repeated = tally.repeated as f64 * 100.0 / lines as f64;
    let sum = |count: fn(&Written) -> u64| -> u64 { written.iter().map(count).sum() };
    println!("  lines written    {lines:>10}");
    println!("  rotations        {:>10}", format!("{} + {}", sum(|f| f.renames), sum(|f| f.copytruncates)));
    println!("                   (renamed + copied and truncated)");
    println!("  lost             {lost:>10}");
    println!("  repeated         {:>10} ({repeated:.2} %)", tally.repeated);
    println!("  not written      {:>10}", tally.invented);
    println!("  caught up after  {caught_up:>10.1} s");
    Ok(lost + tally.invented)
}

struct Writer {
    log: PathBuf,
    file: usize,
    out: File,
    random: fastrand::Rng,
    written: Written,
}

#[derive(Default)]
struct Written {
    lines: u64,
    renames: u64,
    copytruncates: u64,
}

impl Writer {
    fn new(logs: &Path, file: usize, random: fastrand::Rng) -> Result<Writer> {
        let log = logs.join(format!("app-{file}.log"));
        let out = append_to(&log)?;
        Ok(Writer { log, file, out, random, written: Written::default() })
    }

    fn run(mut self, end: &AtomicBool) -> Result<Written> {
        let started = Instant::now();
        let mut rotate_at = Duration::from_millis(self.random.u64(ROTATE_EACH_MILLIS));
        let mut lines = Vec::new();
        for tick in 1.. {
            if started.elapsed() > rotate_at {
                self.rotate().context("cannot rotate")?;
                rotate_at += Duration::from_millis(self.random.u64(ROTATE_EACH_MILLIS));
            }
            lines.clear();
            for _ in 0..LINES_PER_TICK {
                let line = Line { file: self.file, number: self.written.lines, micros: now_micros() };
                line.append_to(&mut lines);
                self.written.lines += 1;
            }
            self.out.write_all(&lines)?;
            if end.load(Ordering::Acquire) {
                break;
            }
            std::thread::sleep((TICK * tick).saturating_sub(started.elapsed()));
        }
        Ok(self.written)
    }

    fn rotate(&mut self) -> Result<()> {
        let mut oldest = 1;
        while self.generation(oldest).exists() {
            oldest += 1;
        }
        for number in (1..oldest).rev() {
            fs::rename(self.generation(number), self.generation(number + 1))?;
        }
        if self.random.bool() {
            fs::rename(&self.log, self.generation(1))?;
            self.out = append_to(&self.log)?;
            self.written.renames += 1;
        } else {
            fs::copy(&self.log, self.generation(1))?;
            self.out.set_len(0)?;
            self.written.copytruncates += 1;
        }
        Ok(())
    }

    fn generation(&self, number: u64) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.log.display()))
    }
}

fn append_to(log: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(log)?)
}
