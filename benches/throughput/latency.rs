//! How long a line takes from its write to its receipt by the endpoint, at several speeds, with
//! and without `flush: eager`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::Agent;
use crate::endpoint::{Endpoint, TIMED_FILE};
use crate::in_folder;
use crate::line::{Line, now_micros};

/// Lines a second.
const SPEEDS: [u64; 3] = [1, 1000, 100_000];
const SECONDS: u64 = 10;
/// Faster writers write several lines at a time.
const WRITES_PER_SECOND: u64 = 1000;

pub fn run() -> Result<()> {
    println!("\nLatency from write() to receipt, {SECONDS} s, Kinesis, packed by lines where there are many");
    println!("  {:<40} {:>10} {:>10} {:>10} {:>9}", "", "p50 ms", "p99 ms", "max ms", "requests");
    for speed in SPEEDS {
        // 10 is the shortest age that the configuration allows.
        for flush in ["flush: aged", "maxBufferAgeMillis: 10", "flush: eager"] {
            let packing = if speed > 1000 { "lines" } else { "none" };
            in_folder(|folder| measure(folder, speed, flush, packing))?;
        }
    }
    Ok(())
}

fn measure(folder: &Path, speed: u64, flush: &str, packing: &str) -> Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).open(folder.join("logs/app.log"))?;
    let mut endpoint = Endpoint::start(true)?;
    let flow = format!("kinesisStream: bench\naggregation: {packing}\n{flush}");
    let mut agent = Agent::start(folder, &endpoint.url, &flow)?;

    write_lines(&mut log, 0, 0..1)?;
    wait_for(&mut endpoint, &mut agent, 1)?;
    let (started, at_a_time) = (Instant::now(), speed.div_ceil(WRITES_PER_SECOND));
    for first in (0..speed * SECONDS).step_by(at_a_time as usize) {
        write_lines(&mut log, TIMED_FILE, first..first + at_a_time)?;
        let next = Duration::from_micros((first + at_a_time) * 1_000_000 / speed);
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    wait_for(&mut endpoint, &mut agent, 1 + speed * SECONDS)?;
    agent.stop()?;

    let tally = endpoint.tally()?;
    let millis = |micros: u64| micros as f64 / 1e3;
    println!(
        "  {:<40} {:>10.1} {:>10.1} {:>10.1} {:>9}",
        format!("{speed} lines/s, {flush}"),
        millis(tally.micros_p50),
        millis(tally.micros_p99),
        millis(tally.micros_max),
        tally.requests,
    );
    Ok(())
}

fn write_lines(log: &mut File, file: usize, numbers: Range<u64>) -> Result<()> {
    let mut lines = Vec::new();
    numbers.for_each(|number| Line { file, number, micros: now_micros() }.append_to(&mut lines));
    Ok(log.write_all(&lines)?)
}

fn wait_for(endpoint: &mut Endpoint, agent: &mut Agent, lines: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        agent.check_alive()?;
        let arrived = endpoint.tally()?.distinct;
        if arrived >= lines {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{arrived} of {lines} lines arrived within 30 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
