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

/// A stage makes a step, or answers, in much less.
const STUCK: Duration = Duration::from_secs(10);

/// All problems there are. `silence` is for how long the settle stage has not answered, if so.
pub fn all(board: &Board, silence: Option<Duration>, unready_after: Duration) -> Vec<Problem> {
    let mut problems = Vec::new();
    let flows = board.flows();
    for flow in &flows {
        of_delivery(flow, unready_after, &mut problems);
    }
    of_stages(board, &mut problems);
    of_positions(board, silence, &mut problems);
    if let Some(error) = board.waiting() {
        let text = format!(
            "The new flows of the changed configuration cannot begin, because {} cannot be read and written: \
             {error}. It is tried again every 2 seconds; check the disk and its permissions",
            board.checkpoint_file.display()
        );
        problems.push(Problem { severity: Severity::Critical, flow: None, text });
    }
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

fn of_positions(board: &Board, silence: Option<Duration>, problems: &mut Vec<Problem>) {
    let mut say = |severity, text| problems.push(Problem { severity, flow: None, text });
    let report = board.checkpoints.report();
    if report.age >= STORED_LATE {
        let error =
            report.last_error.map_or_else(String::new, |error| format!(" The last error: {}.", error.text));
        let text = format!(
            "Positions have not been stored in {} for {}.{error} Delivery goes on, but lines are sent again if \
             the agent is restarted now; check the disk and its permissions",
            board.checkpoint_file.display(),
            duration(report.age),
        );
        say(Severity::Critical, text);
    }
    match silence {
        None => {}
        Some(silence) if silence < STUCK => say(
            Severity::Warning,
            "The stage that stores positions is too busy to say which files there are; ask again".to_owned(),
        ),
        Some(silence) => say(
            Severity::Critical,
            format!(
                "The stage that stores positions has not answered for {}, so the files are not known. The agent \
                 is stuck: look at its log, and restart it",
                duration(silence)
            ),
        ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_is_busy_is_a_warning_and_one_that_is_stuck_comes_first() {
        let board = Board::new("/etc/c.yaml".into(), "/var/c.db".into(), 1 << 20);
        board.reload_failed("line 7".to_owned());
        let said = |silence: u64| {
            let problems = all(&board, Some(Duration::from_secs(silence)), Duration::from_secs(60));
            problems.into_iter().map(|problem| (problem.severity, problem.text)).collect::<Vec<_>>()
        };
        let busy = said(1);
        assert!(busy.iter().all(|(severity, _)| *severity == Severity::Warning), "{busy:?}");
        assert!(busy[0].1.contains("too busy") && busy[1].1.ends_with("line 7"), "{busy:?}");
        assert!(busy[2].1.starts_with("No flow is configured"), "{busy:?}");
        let stuck = said(11);
        assert_eq!((stuck[0].0, stuck.len()), (Severity::Critical, 3));
        assert!(stuck[0].1.contains("for 11 s"), "{stuck:?}");
        assert_eq!(all(&board, None, Duration::from_secs(60)).len(), 2);
    }
}
