//! A backlog of 200-byte lines is delivered as fast as it goes: CPU seconds, speed, memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::Agent;
use crate::endpoint::Endpoint;
use crate::line::{LENGTH, Line, now_micros};
use crate::{in_folder, setting};

/// A checkpoint is written each second: what it costs after the last byte belongs to the run.
const AFTER_THE_LAST: Duration = Duration::from_millis(1200);
const AT_MOST: Duration = Duration::from_secs(600);

pub fn run() -> Result<()> {
    let megabytes = setting("BENCH_MB", 1000)?;
    let bytes = megabytes * 1_000_000 / LENGTH as u64 * LENGTH as u64;
    println!("\nBacklog of {megabytes} MB in {LENGTH}-byte lines, one file, plain HTTP");
    println!(
        "  {:<28} {:>10} {:>12} {:>8} {:>14} {:>10} {:>9}",
        "", "CPU s", "CPU s a GB", "MB/s", "peak RSS MB", "entries", "requests"
    );
    in_folder(|folder| {
        write_backlog(&folder.join("logs/app.log"), bytes / LENGTH as u64)?;
        measure(folder, "Firehose, lines packed", "deliveryStream: bench\nmaxBufferAgeMillis: 1000", bytes)?;
        forget_positions(folder)?;
        measure(folder, "Kinesis, a record each line", "kinesisStream: bench", bytes)
    })
}

/// The second run reads the same backlog.
pub fn forget_positions(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_none_or(|extension| extension != "log") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

pub fn write_backlog(log: &Path, lines: u64) -> Result<()> {
    let mut file = File::create(log)?;
    let mut buffer = Vec::with_capacity(1 << 20);
    for number in 0..lines {
        Line { file: 0, number, micros: now_micros() }.append_to(&mut buffer);
        if buffer.len() + LENGTH > 1 << 20 || number + 1 == lines {
            file.write_all(&buffer)?;
            buffer.clear();
        }
    }
    // Else the kernel would write it back while the agent is measured.
    Ok(file.sync_all()?)
}

fn measure(folder: &Path, name: &str, flow: &str, bytes: u64) -> Result<()> {
    let mut endpoint = Endpoint::start(false)?;
    let started = Instant::now();
    let mut agent = Agent::start(folder, &endpoint.url, flow)?;
    while endpoint.tally()?.payload_bytes < bytes {
        agent.check_alive()?;
        if started.elapsed() > AT_MOST {
            bail!("only {} of {bytes} bytes arrived", endpoint.tally()?.payload_bytes);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = started.elapsed().as_secs_f64();
    std::thread::sleep(AFTER_THE_LAST);
    let (cpu, rss) = (agent.cpu_seconds()?, agent.peak_rss_mb()?);
    agent.stop()?;
    let tally = endpoint.tally()?;
    if tally.payload_bytes != bytes {
        bail!("{} bytes were written, {} arrived", bytes, tally.payload_bytes);
    }
    let gigabytes = bytes as f64 / 1e9;
    println!(
        "  {name:<28} {cpu:>10.2} {:>12.2} {:>8.0} {rss:>14.1} {:>10} {:>9}",
        cpu / gigabytes,
        bytes as f64 / 1e6 / seconds,
        tally.entries,
        tally.requests,
    );
    Ok(())
}
