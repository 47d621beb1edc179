//! A backlog in one file, and lines that are written to another meanwhile: how long each of
//! those takes from its write to its receipt. It lasts until the backlog is gone, or `SECONDS`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::Agent;
use crate::endpoint::{Endpoint, Pace, TIMED_FILE};
use crate::line::{LENGTH, Line, now_micros};
use crate::throughput::write_backlog;
use crate::{in_folder, setting};

const EACH: Duration = Duration::from_millis(20);
/// The last fresh lines are waited for so long.
const LAST_LINE: Duration = Duration::from_secs(60);

pub fn run() -> Result<()> {
    let megabytes = setting("BENCH_MB", 4000)?;
    let lines = megabytes * 1_000_000 / LENGTH as u64;
    println!("\nA line each 20 ms in one file beside a backlog of {megabytes} MB in another, same flow");
    println!("  {:<40} {:>10} {:>10} {:>10} {:>10}", "", "MB/s", "p50 ms", "p99 ms", "max ms");
    let packed = "deliveryStream: bench\nmaxBufferAgeMillis: 100";
    let plain = "kinesisStream: bench\nmaxBufferAgeMillis: 100";
    for (name, flow, pace) in [
        ("Firehose, as fast as it goes", packed, Pace::default()),
        ("Kinesis, as fast as it goes", plain, Pace::default()),
        ("Kinesis, each answer after 50 ms", plain, Pace { delay_millis: 50, ..Pace::default() }),
        ("Kinesis, 5 MB/s", plain, Pace { bytes_per_second: 5_000_000, ..Pace::default() }),
    ] {
        in_folder(|folder| measure(folder, name, flow, pace, lines))?;
    }
    Ok(())
}

fn measure(folder: &Path, name: &str, flow: &str, pace: Pace, lines: u64) -> Result<()> {
    write_backlog(&folder.join("logs/backlog.log"), lines)?;
    let mut fresh = OpenOptions::new().create(true).append(true).open(folder.join("logs/fresh.log"))?;
    let mut endpoint = Endpoint::start_paced(true, pace)?;
    let began = Instant::now();
    let mut agent = Agent::start(folder, &endpoint.url, flow)?;
    let (mut written, at_most) = (0, Duration::from_secs(setting("SECONDS", 30)?));
    while endpoint.tally()?.distinct < lines + written && began.elapsed() < at_most {
        agent.check_alive()?;
        let mut line = Vec::new();
        Line { file: TIMED_FILE, number: written, micros: now_micros() }.append_to(&mut line);
        fresh.write_all(&line)?;
        written += 1;
        std::thread::sleep(EACH);
    }
    let (seconds, backlog) = (began.elapsed().as_secs_f64(), endpoint.tally()?);
    let deadline = Instant::now() + LAST_LINE;
    while endpoint.tally()?.timed < written {
        agent.check_alive()?;
        if Instant::now() > deadline {
            println!("  {} of {written} fresh lines arrived", endpoint.tally()?.timed);
            break;
        }
        std::thread::sleep(EACH);
    }
    let tally = endpoint.tally()?;
    agent.kill()?;
    if tally.repeated + tally.invented > 0 {
        bail!("{} lines were repeated, {} invented", tally.repeated, tally.invented);
    }
    let millis = |micros: u64| micros as f64 / 1e3;
    println!(
        "  {name:<40} {:>10.1} {:>10.0} {:>10.0} {:>10.0}",
        backlog.payload_bytes as f64 / 1e6 / seconds,
        millis(tally.micros_p50),
        millis(tally.micros_p99),
        millis(tally.micros_max),
    );
    Ok(())
}
