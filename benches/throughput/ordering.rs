//! What order costs: a backlog in eight files, packed for the client library, with
//! `ordering: strict` and without, in turns: the median of what strict order left of the speed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::Agent;
use crate::endpoint::Endpoint;
use crate::line::LENGTH;
use crate::throughput::{forget_positions, write_backlog};
use crate::{in_folder, setting};

const FILES: u64 = 8;
const ROUNDS: usize = 3;
const AT_MOST: Duration = Duration::from_secs(300);
const UNORDERED: &str = "kinesisStream: bench\naggregation: kpl";
const STRICT: &str = "kinesisStream: bench\naggregation: kpl\nordering: strict";

pub fn run() -> Result<()> {
    let megabytes = setting("BENCH_MB", 1000)?;
    let lines = megabytes * 1_000_000 / LENGTH as u64 / FILES;
    let bytes = lines * FILES * LENGTH as u64;
    println!("\nBacklog of {megabytes} MB in {FILES} files, {LENGTH}-byte lines, aggregation: kpl");
    println!("  {:<12} {:>10} {:>10} {:>10}", "", "MB/s", "CPU s a GB", "requests");
    in_folder(|folder| {
        for file in 0..FILES {
            write_backlog(&folder.join(format!("logs/app{file}.log")), lines)?;
        }
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let unordered = measure(folder, "unordered", UNORDERED, bytes)?;
            forget_positions(folder)?;
            let strict = measure(folder, "strict", STRICT, bytes)?;
            forget_positions(folder)?;
            ratios.push(100.0 * strict / unordered);
        }
        ratios.sort_by(f64::total_cmp);
        println!("  strict, of the unordered beside it: {:.0} % (median)", ratios[ROUNDS / 2]);
        Ok(())
    })
}

/// MB of lines a second.
fn measure(folder: &std::path::Path, name: &str, flow: &str, bytes: u64) -> Result<f64> {
    let mut endpoint = Endpoint::start(false)?;
    let started = Instant::now();
    let mut agent = Agent::start(folder, &endpoint.url, flow)?;
    // What frames the lines makes the payload larger than they are.
    while crate::agent::bytes_delivered(folder)? < bytes {
        agent.check_alive()?;
        if started.elapsed() > AT_MOST {
            bail!("only {} of {bytes} bytes arrived", endpoint.tally()?.payload_bytes);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let speed = bytes as f64 / 1e6 / started.elapsed().as_secs_f64();
    let cpu = agent.cpu_seconds()?;
    agent.stop()?;
    let requests = endpoint.tally()?.requests;
    println!("  {name:<12} {speed:>10.0} {:>10.2} {requests:>10}", cpu / (bytes as f64 / 1e9));
    Ok(speed)
}
