//! Puts the [`Status`] together from what the stages have put on the [`Board`] and a page of the
//! files, which only the settle stage knows and must be asked for.
//!
//! It reads and waits for nothing. What is wrong stands in `problems`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::board::{Board, FlowBoard};
use super::health::LastError;
use super::problems;
use super::status::{
    Checkpoints, Configuration, ErrorStatus, FilePage, FilesQuery, FlowState, FlowStatus, Memory, Status,
    Unreadable,
};

/// Somebody wants to know of files; the settle stage answers.
#[derive(Debug)]
pub struct Question {
    pub query: FilesQuery,
    pub reply: oneshot::Sender<FilePage>,
}

/// `files`, or for how long the settle stage has not told them. A flow that fails for longer than
/// `unready_after` is critical.
pub fn status(board: &Board, files: Result<FilePage, Duration>, unready_after: Duration) -> Status {
    let flows: Vec<FlowStatus> = board.flows().iter().map(|flow| flow_status(flow)).collect();
    let configuration = board.configuration();
    let checkpoints = board.checkpoints.report();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: millis(board.started_at),
        uptime_seconds: board.started.elapsed().as_secs(),
        problems: problems::all(board, files.as_ref().err().copied(), unready_after),
        configuration: Configuration {
            file: text(&board.config_file),
            loaded_at: millis(configuration.loaded_at),
            reloads: configuration.reloads,
            failed_reloads: configuration.failed_reloads,
            last_reload_error: configuration.last_error.map(error_status),
        },
        memory: Memory {
            budget: board.memory_budget.load(std::sync::atomic::Ordering::Relaxed),
            used: flows.iter().map(|flow| flow.memory_used).sum(),
        },
        checkpoints: Checkpoints {
            file: text(&board.checkpoint_file),
            age_seconds: checkpoints.age.as_secs_f64(),
            last_error: checkpoints.last_error.map(error_status),
        },
        flows,
        files: files.ok(),
    }
}

/// Why the agent is not ready: the flows that deliver nothing, for longer than `unready_after`.
pub fn unready(board: &Board, unready_after: Duration) -> Vec<String> {
    let failing = |flow: &FlowBoard| {
        let report = flow.health.report();
        (report.failing_for? > unready_after).then(|| problems::failing(flow, &report))?
    };
    board.flows().iter().filter_map(|flow| failing(flow)).collect()
}

fn flow_status(flow: &FlowBoard) -> FlowStatus {
    let (counters, health) = (&flow.counters, flow.health.report());
    let lag_bytes = u64::try_from(counters.lag_bytes.load(std::sync::atomic::Ordering::Relaxed)).unwrap_or(0);
    let lag_millis = counters.lag_millis.load(std::sync::atomic::Ordering::Relaxed);
    let troubles = flow.troubles.report();
    let state = if flow.is_draining() {
        FlowState::Draining
    } else if health.failing_since.is_some() {
        FlowState::Failing
    } else if lag_bytes == 0 {
        FlowState::UpToDate
    } else {
        FlowState::Delivering
    };
    FlowStatus {
        name: flow.name.clone(),
        destination: flow.destination.clone(),
        state,
        lag_bytes,
        lag_seconds: lag_millis as f64 / 1000.0,
        records_delivered: counters.records_delivered.get(),
        bytes_delivered: counters.bytes_delivered.get(),
        bytes_read: counters.bytes_read.get(),
        records_dead: counters.records_dead.get(),
        bytes_lost: counters.bytes_lost.get(),
        requests_in_flight: counters.requests_in_flight.get(),
        memory_used: (flow.memory_used)(),
        open_files: counters.open_files.get(),
        failing_since: health.failing_since.map(millis),
        errors: health.errors,
        last_error: health.last_error.map(error_status),
        credentials: flow.credentials.status(),
        shards_seen: flow.destination.starts_with("kinesis:").then(|| counters.shards.count()),
        unreadable_files: troubles.count,
        unreadable: troubles
            .named
            .into_iter()
            .map(|(path, error)| Unreadable { path: text(&path), error })
            .collect(),
    }
}

fn error_status(error: LastError) -> ErrorStatus {
    ErrorStatus { text: error.text, at: millis(error.at) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Since the epoch.
fn millis(time: SystemTime) -> u64 {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX)
}
