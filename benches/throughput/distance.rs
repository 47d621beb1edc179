//! What a distant endpoint costs: the same backlog of packed lines to one that answers at once and
//! to one whose answers take 100 ms longer, and how much gets through a link of 300 KB/s.
//!
//! The endpoint knows no limits and tells no shards, so that what is left is the number of
//! requests under way and the memory that they may take. What is measured is the middle of the
//! backlog: before it the number of requests grows from two, and the very last bytes wait for
//! their age.
//!
//! `BENCH_MB` is the size of the backlog, `SECONDS` how long the slow link is looked at (0: not at
//! all), `MEMORY` the agent's `memoryBudget`, which bounds what is under way.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::{Agent, metrics, sum};
use crate::endpoint::{Endpoint, Pace};
use crate::line::LENGTH;
use crate::throughput::write_backlog;
use crate::{in_folder, setting};

const DELAY_MILLIS: u64 = 100;
const SLOW_LINK: u64 = 300_000;
const AT_MOST: Duration = Duration::from_secs(300);

/// What is asked of the agent beside the destination.
const FLOWS: [(&str, &str); 4] = [
    ("Kinesis, lines", "kinesisStream: bench\naggregation: lines"),
    ("Kinesis, kpl", "kinesisStream: bench\naggregation: kpl"),
    ("Firehose, lines", "deliveryStream: bench\nmaxBufferAgeMillis: 1000"),
    ("Kinesis, a record each line", "kinesisStream: bench"),
];

pub fn run() -> Result<()> {
    let megabytes = setting("BENCH_MB", 2500)?;
    let lines = megabytes * 1_000_000 / LENGTH as u64;
    println!("\nBacklog of {megabytes} MB to an endpoint that is near, and to one {DELAY_MILLIS} ms away");
    println!("  {:<32} {:>10} {:>10} {:>8} {:>12}", "", "near MB/s", "far MB/s", "far %", "RSS MB, far");
    for (name, flow) in FLOWS {
        let [near, far] = [0, DELAY_MILLIS].map(|delay_millis| {
            in_folder(|folder| speed(folder, flow, Pace { delay_millis, ..Pace::default() }, lines))
        });
        let ((near, _), (far, rss)) = (near?, far?);
        println!("  {name:<32} {near:>10.0} {far:>10.0} {:>8.0} {rss:>12.0}", 100.0 * far / near);
    }
    let seconds = setting("SECONDS", 120)?;
    if seconds == 0 {
        return Ok(());
    }
    println!("\nA link of {} KB/s for {seconds} s, with a backlog", SLOW_LINK / 1000);
    println!("  {:<32} {:>10} {:>12} {:>10}", "", "KB/s", "of link %", "failures");
    for (name, flow) in FLOWS {
        in_folder(|folder| slow_link(folder, name, flow, seconds))?;
    }
    Ok(())
}

/// MB/s between a tenth and 95 % of the lines, and the most memory.
fn speed(folder: &Path, flow: &str, pace: Pace, lines: u64) -> Result<(f64, f64)> {
    write_backlog(&folder.join("logs/app.log"), lines)?;
    let mut endpoint = Endpoint::start_paced(false, pace)?;
    let (bytes, started) = (lines * LENGTH as u64, Instant::now());
    let mut agent = Agent::start(folder, &endpoint.url, flow)?;
    let mut first = None;
    let (moved, time) = loop {
        let (arrived, now) = (endpoint.tally()?.payload_bytes, Instant::now());
        if arrived >= bytes / 10 {
            let (before, began) = *first.get_or_insert((arrived, now));
            if arrived >= bytes / 100 * 95 {
                break (arrived - before, now - began);
            }
        }
        agent.check_alive()?;
        if started.elapsed() > AT_MOST {
            bail!("only {arrived} of {bytes} bytes arrived");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let rss = agent.peak_rss_mb()?;
    agent.stop()?;
    Ok((moved as f64 / 1e6 / time.as_secs_f64(), rss))
}

fn slow_link(folder: &Path, name: &str, flow: &str, seconds: u64) -> Result<()> {
    write_backlog(&folder.join("logs/app.log"), 2 * SLOW_LINK * seconds / LENGTH as u64)?;
    let endpoint = Endpoint::start_paced(false, Pace { bytes_per_second: SLOW_LINK, ..Pace::default() })?;
    let agent = Agent::start(folder, &endpoint.url, flow)?;
    std::thread::sleep(Duration::from_secs(seconds));
    let metrics = metrics(folder)?;
    agent.kill()?;
    let delivered = sum(&metrics, "kinesis_agent_delivered_bytes_total{") / seconds as f64;
    println!(
        "  {name:<32} {:>10.0} {:>12.0} {:>10}",
        delivered / 1e3,
        // Base64 takes a third more.
        100.0 * delivered * 4.0 / 3.0 / SLOW_LINK as f64,
        sum(&metrics, "kinesis_agent_requests_failed_total{"),
    );
    Ok(())
}
