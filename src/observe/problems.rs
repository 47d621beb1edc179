//! What an operator has to know, as sentences: what is wrong, since when, what the agent does
//! about it, and what is to be done. The worst stands first.
//!
//! It judges what is on the board and nothing else, so that it can be asked at any time.

use std::time::Duration;

use super::board::{Board, FlowBoard};
use super::health::Report;
use super::human::{bytes, count, duration};
use super::status::{Problem, Severity};

/// Positions are stored at least each second unless the disk is slow.
const STORED_LATE: Duration = Duration::from_secs(10);

/// A stage makes a step in much less.
const STUCK: Duration = Duration::from_secs(10);

/// All problems there are. `files_known`: the settle stage answered.
pub fn all(board: &Board, files_known: bool, unready_after: Duration) -> Vec<Problem> {
    let mut problems = Vec::new();
    let flows = board.flows();
    for flow in &flows {
        of_delivery(flow, unready_after, &mut problems);
    }
    of_stages(board, &mut problems);
    of_positions(board, files_known, &mut problems);
    if let Some(error) = board.configuration().last_error {
        let text = format!(
            "The changed configuration is not used, the one before still is. Mend {} and reload again: {}",
            board.config_file.display(),
            error.text
        );
        problems.push(Problem { severity: Severity::Warning, flow: None, text });
    }
    if flows.is_empty() {
        let text = format!(
            "No flow is configured, so nothing is read. Add `flows` to {} and reload the agent",
            board.config_file.display()
        );
        problems.push(Problem { severity: Severity::Warning, flow: None, text });
    }
    for flow in &flows {
        of_files(flow, &mut problems);
    }
    problems.sort_by_key(|problem| problem.severity);
    problems
}

/// None if the flow does not fail.
pub fn failing(flow: &FlowBoard, report: &Report) -> Option<String> {
    let error = report.last_error.as_ref().map_or("the reason is not known", |error| &error.text);
    Some(format!(
        "Flow `{}` has delivered nothing to {} for {}: {}. Nothing is lost and it is tried again for \
         ever; check what the error names",
        flow.name,
        flow.destination,
        duration(report.failing_for?),
        error.trim_end_matches('.'),
    ))
}

fn of_delivery(flow: &FlowBoard, unready_after: Duration, problems: &mut Vec<Problem>) {
    let report = flow.health.report();
    if let Some(text) = failing(flow, &report) {
        let long = report.failing_for.is_some_and(|time| time > unready_after);
        let severity = if long { Severity::Critical } else { Severity::Warning };
        problems.push(Problem { severity, flow: Some(flow.name.clone()), text });
    }
}

fn of_stages(board: &Board, problems: &mut Vec<Problem>) {
    for stuck in board.stuck(STUCK) {
        let time = duration(stuck.time);
        let text = match stuck.in_kernel {
            true => format!(
                "The stage that {} has waited for a disk or a file server for {time}. The other flows go on; \
                 check the mounts that this flow reads from",
                stuck.stage
            ),
            false => format!(
                "The stage that {} has made no progress for {time}. Under systemd the agent is started again \
                 by its watchdog; elsewhere restart it. Nothing is lost by it",
                stuck.stage
            ),
        };
        problems.push(Problem { severity: Severity::Critical, flow: stuck.flow, text });
    }
}

fn of_positions(board: &Board, files_known: bool, problems: &mut Vec<Problem>) {
    let mut critical = |text| problems.push(Problem { severity: Severity::Critical, flow: None, text });
    let report = board.checkpoints.report();
    if report.age >= STORED_LATE {
        let error =
            report.last_error.map_or_else(String::new, |error| format!(" The last error: {}.", error.text));
        critical(format!(
            "Positions have not been stored in {} for {}.{error} Delivery goes on, but lines are sent again if \
             the agent is restarted now; check the disk and its permissions",
            board.checkpoint_file.display(),
            duration(report.age),
        ));
    }
    if !files_known {
        critical(
            "The stage that stores positions does not answer, so the files are not known. If this stays, the \
             agent is stuck: look at its log, and restart it"
                .to_owned(),
        );
    }
}

fn of_files(flow: &FlowBoard, problems: &mut Vec<Problem>) {
    let name = &flow.name;
    let mut warn = |text| {
        problems.push(Problem { severity: Severity::Warning, flow: Some(name.clone()), text });
    };
    let lost = flow.counters.bytes_lost.get();
    if lost > 0 {
        warn(format!(
            "{} of flow `{name}` were gone before they could be read, since the agent started. The log names \
             the files; keep rotated files for longer",
            bytes(lost)
        ));
    }
    let dead = flow.counters.records_dead.get();
    if dead > 0 {
        warn(format!(
            "{} of flow `{name}` went to the dead-letter file since the agent started, because the destination \
             will never take them. The reason stands with each",
            count(dead, "record", "records")
        ));
    }
    let troubles = flow.troubles.report();
    if let Some((path, error)) = troubles.named.first() {
        warn(format!(
            "{} of flow `{name}` cannot be read, such as {}: {error}. It is tried again at each look at the \
             folder; check the agent's permissions",
            count(troubles.count, "file", "files"),
            path.display()
        ));
    }
}
