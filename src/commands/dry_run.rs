//! `run --dry-run`: the real agent, except that its records are printed and that it works on a
//! copy of its state, which is thrown away. AWS, the checkpoint file, the dead-letter file and
//! the status of an agent that runs are not touched.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::run::{BAD_CONFIGURATION, end_on_panic, log_format};
use crate::agent::Agent;
use crate::command_line::Run;
use crate::config::{self, Settings};
use crate::observe::{Board, logging};
use crate::send::{Clients, DryRun};
use crate::settle::Store;

/// What waits for a fuller request is printed after this time at the latest: a dry run is
/// watched by somebody. Where records and requests end may differ for slow files.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// Whoever reads the output may be slow.
const DRAINED_WITHIN: Duration = Duration::from_secs(3600);
const POLL: Duration = Duration::from_millis(20);

pub fn dry_run(arguments: &Run) -> ExitCode {
    let settings = match config::load(&arguments.config.path) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    end_on_panic();
    match try_dry_run(arguments, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinesis-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_dry_run(arguments: &Run, mut settings: Settings) -> anyhow::Result<()> {
    // What the agent says of itself at info, such as that positions are stored, is not true here.
    let level = match arguments.log_level {
        tracing::Level::INFO => tracing::Level::WARN,
        level => level,
    };
    logging::init(level, log_format(arguments.log_format))?;
    let folder = tempfile::Builder::new()
        .prefix("kinesis-agent-dry-run-")
        .tempdir()
        .context("no folder for a copy of the state can be made")?;
    rehearse(&mut settings, folder.path())?;
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let ended = runtime.block_on(serve(arguments, settings));
    runtime.shutdown_background();
    ended
}

/// Makes the settings those of a dry run whose state is in `folder`.
fn rehearse(settings: &mut Settings, folder: &Path) -> anyhow::Result<()> {
    let copy = folder.join("checkpoints.db");
    Store::copy(&settings.checkpoint_file, &copy)?;
    settings.checkpoint_file = copy;
    settings.dead_letter_file = folder.join("dead-letters.jsonl");
    settings.shutdown_timeout = DRAINED_WITHIN;
    for flow in &mut settings.flows {
        flow.send.max_age = flow.send.max_age.min(SHOWN_WITHIN);
        // So that the records of a file are printed in their order.
        flow.send.max_in_flight = 1;
    }
    Ok(())
}

async fn serve(arguments: &Run, settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let board = Arc::new(Board::new(
        arguments.config.path.clone(),
        settings.checkpoint_file.clone(),
        settings.memory_budget as u64,
    ));
    // An event of several lines is complete when its file was quiet for so long.
    let flushes = settings.flows.iter().filter_map(|flow| flow.record.multi_line.as_ref());
    let quiet = flushes.map(|multi_line| multi_line.flush_after + POLL * 5).max().unwrap_or_default();
    let dry_run = Arc::new(DryRun::new(Box::new(std::io::stdout())));
    let clients = Arc::new(Clients::of_dry_run(dry_run.clone()));
    let agent = Agent::start(settings, board.clone(), clients).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = dry_run.closed.cancelled() => {}
        () = end_of_files(&board, quiet), if arguments.until_end => {}
    }
    // What is still on its way is printed, unless a second signal comes.
    tokio::select! {
        _ = agent.stop() => summarize(&board),
        () = dry_run.closed.cancelled() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Resolves when all that was in the files has been read, and nothing more came for `quiet`.
async fn end_of_files(board: &Board, quiet: Duration) {
    let mut since = tokio::time::Instant::now();
    let mut read = 0;
    loop {
        tokio::time::sleep(POLL).await;
        let flows = board.flows();
        let now: u64 = flows.iter().map(|flow| flow.counters.bytes_read.get()).sum();
        if now != read || !flows.iter().all(|flow| flow.counters.caught_up.load(Ordering::Acquire)) {
            read = now;
            since = tokio::time::Instant::now();
        } else if since.elapsed() >= quiet {
            return;
        }
    }
}

fn summarize(board: &Board) {
    for flow in board.flows() {
        let counters = &flow.counters;
        eprintln!(
            "dry run: {} records, {} bytes in {} requests would go to {} (flow {}); {} left out, {} dead letters",
            counters.records_delivered.get(),
            counters.bytes_delivered.get(),
            counters.requests.get(),
            flow.destination,
            flow.name,
            counters.records_filtered.get(),
            counters.records_dead.get(),
        );
    }
}
