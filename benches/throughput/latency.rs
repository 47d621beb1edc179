//! How long a line takes from its write to its receipt by the endpoint, at 1,000 lines a second.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::Agent;
use crate::endpoint::{Endpoint, TIMED_FILE};
use crate::in_folder;
use crate::line::{Line, now_micros};

const PER_SECOND: u64 = 1000;
const SECONDS: u64 = 10;

pub fn run() -> Result<()> {
    println!("\nLatency from write() to receipt, {PER_SECOND} lines a second for {SECONDS} s, Kinesis");
    println!("  {:<28} {:>10} {:>10} {:>10} {:>9}", "", "p50 ms", "p99 ms", "max ms", "requests");
    // 10 is the shortest that the configuration allows.
    for age_millis in [1000, 10] {
        in_folder(|folder| measure(folder, age_millis))?;
    }
    Ok(())
}

fn measure(folder: &Path, age_millis: u64) -> Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).open(folder.join("logs/app.log"))?;
    let mut endpoint = Endpoint::start(true)?;
    let flow = format!("kinesisStream: bench\nmaxBufferAgeMillis: {age_millis}");
    let mut agent = Agent::start(folder, &endpoint.url, &flow)?;

    write_line(&mut log, 0, 0)?;
    wait_for(&mut endpoint, &mut agent, 1)?;
    let started = Instant::now();
    for number in 0..PER_SECOND * SECONDS {
        write_line(&mut log, TIMED_FILE, number)?;
        let next = Duration::from_micros((number + 1) * 1_000_000 / PER_SECOND);
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    wait_for(&mut endpoint, &mut agent, 1 + PER_SECOND * SECONDS)?;
    agent.stop()?;

    let tally = endpoint.tally()?;
    let millis = |micros: u64| micros as f64 / 1e3;
    println!(
        "  {:<28} {:>10.1} {:>10.1} {:>10.1} {:>9}",
        format!("maxBufferAgeMillis: {age_millis}"),
        millis(tally.micros_p50),
        millis(tally.micros_p99),
        millis(tally.micros_max),
        tally.requests,
    );
    Ok(())
}

fn write_line(log: &mut File, file: usize, number: u64) -> Result<()> {
    let mut line = Vec::new();
    Line { file, number, micros: now_micros() }.append_to(&mut line);
    Ok(log.write_all(&line)?)
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
