//! What the agent costs and keeps: `cargo bench`, or `make bench`.
//!
//! Measurements against an endpoint that only counts, in a process of its own so that its CPU
//! time is not the agent's: `throughput` (CPU, speed and memory for a backlog), `latency` (from
//! the write of a line to its receipt), `crash` (lines lost and repeated under kill -9 and
//! rotation), `bill` (what AWS bills for each way of packing), and, only where an argument asks
//! for them, `many` (start, memory and CPU with very many files), `fair` (a fresh line beside a
//! backlog), `shards` (how much of a stream's limits is used), `ordering` (what order
//! costs), `distance` (what a distant endpoint costs) and `outage` (minutes in which nothing can be delivered). An argument picks one.
//! `BENCH_MB`, `BENCH_LIVES`, `BENCH_SEED`, `FILES`, `ACTIVE`, `SECONDS` change the sizes; `MEMORY` is the agent's
//! `memoryBudget`, `KINESIS_AGENT` names another binary. It is plain HTTP: TLS would be measured with it otherwise.

mod agent;
mod bill;
mod crash;
mod distance;
mod endpoint;
mod fair;
mod latency;
mod line;
mod many;
mod ordering;
mod outage;
mod shards;
mod throughput;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

fn main() -> ExitCode {
    // cargo adds `--bench` of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if arguments.first().is_some_and(|argument| argument == endpoint::ARGUMENT) {
        return exit_code(endpoint::serve());
    }
    if arguments.first().is_some_and(|argument| argument == shards::ARGUMENT) {
        return exit_code(shards::serve());
    }
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    exit_code(run(asked, arguments.is_empty()))
}

fn run(asked: impl Fn(&str) -> bool, all: bool) -> Result<()> {
    if all || asked("throughput") {
        throughput::run()?;
    }
    if all || asked("latency") {
        latency::run()?;
    }
    if all || asked("crash") {
        crash::run()?;
    }
    if all || asked("bill") {
        bill::run()?;
    }
    if asked("many") {
        many::run()?;
    }
    if asked("outage") {
        outage::run()?;
    }
    if asked("shards") {
        shards::run()?;
    }
    if asked("ordering") {
        ordering::run()?;
    }
    if asked("distance") {
        distance::run()?;
    }
    if asked("fair") {
        fair::run()?;
    }
    Ok(())
}

fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a measurement in a new folder, which is removed unless the measurement fails.
fn in_folder<T>(measure: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = tempfile::Builder::new().prefix("kinesis-agent-bench-").tempdir()?;
    fs::create_dir(folder.path().join("logs"))?;
    measure(folder.path()).map_err(|error| {
        let kept = folder.keep();
        error.context(format!("the logs, and what the agent said, are kept in {}", kept.display()))
    })
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| anyhow::anyhow!("{name}={text} is not a number")),
        Err(_) => Ok(default),
    }
}
