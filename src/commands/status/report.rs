//! The words for a status: one line for all of it, then the problems, the flows and the files.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use crate::command_line::StatusArguments;
use crate::observe::human::{bytes, count, duration};
use crate::observe::status::{FilePage, FileState, FlowState, FlowStatus, Severity, Status};

use super::table::{self, Cell, Table, wrapped};

/// The exit codes of Nagios's plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

/// What the output is shown on.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// None where nothing limits it.
    pub width: Option<usize>,
    pub colours: bool,
}

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

impl Look {
    pub fn of_stdout() -> Self {
        let is_terminal = stdout().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Look {
            width: table::terminal().filter(|_| is_terminal).map(|(width, _)| width),
            colours: is_terminal && !unwanted,
        }
    }
}

pub fn lines(status: &Status, arguments: &StatusArguments, look: Look) -> Vec<String> {
    let mut lines = vec![first_line(status, look)];
    let width = look.width.unwrap_or(100).max(20);
    for problem in &status.problems {
        let (name, colour) = match problem.severity {
            Severity::Critical => ("CRITICAL", RED),
            Severity::Warning => ("WARNING", YELLOW),
        };
        let text = wrapped(&printable(&problem.text), width - 2);
        lines.push(String::new());
        lines.push(coloured(name, colour, look));
        lines.extend(text.into_iter().map(|line| format!("  {line}")));
    }
    let flows: Vec<&FlowStatus> = status
        .flows
        .iter()
        .filter(|flow| arguments.flow.as_ref().is_none_or(|name| *name == flow.name))
        .collect();
    if !flows.is_empty() {
        lines.push(String::new());
        lines.extend(flow_table(&flows).lines(look.width, look.colours));
    }
    lines.push(String::new());
    match &status.files {
        Some(files) => lines.extend(file_lines(files, look)),
        None => lines.push("The agent does not say which files there are.".to_owned()),
    }
    lines
}

/// Fit for Nagios, which shows it and nothing else.
fn first_line(status: &Status, look: Look) -> String {
    let verdict = match status.problems.first().map(|problem| problem.severity) {
        None => coloured("OK", GREEN, look),
        Some(Severity::Warning) => coloured("WARNING", YELLOW, look),
        Some(Severity::Critical) => coloured("CRITICAL", RED, look),
    };
    let lag: u64 = status.flows.iter().map(|flow| flow.lag_bytes).sum();
    let age = status.flows.iter().map(|flow| flow.lag_seconds).fold(0.0, f64::max);
    let failing = status.flows.iter().filter(|flow| flow.state == FlowState::Failing).count() as u64;
    let mut parts = vec![count(status.flows.len() as u64, "flow", "flows")];
    if failing > 0 {
        parts.push(format!("{failing} failing"));
    }
    parts.push(format!("lag {}", bytes(lag)));
    if lag > 0 {
        parts.push(format!("oldest {}", seconds(age)));
    }
    if let Some(files) = &status.files {
        parts.push(count(files.total as u64, "file", "files"));
    }
    parts.push(format!("up {}", duration(Duration::from_secs(status.uptime_seconds))));
    let problems = status.problems.len() as u64;
    if problems > 0 {
        parts.push(count(problems, "problem", "problems"));
    }
    format!("{verdict} - {}", parts.join(", "))
}

fn flow_table(flows: &[&FlowStatus]) -> Table {
    let mut table = Table::new(&[
        ("FLOW", 0),
        ("<DESTINATION", 6),
        ("<STATE", 0),
        ("LAG", 0),
        ("OLDEST", 1),
        ("DELIVERED", 3),
        ("IN FLIGHT", 5),
        ("ERRORS", 2),
        ("DEAD", 4),
    ]);
    for flow in flows {
        let (state, colour) = match flow.state {
            FlowState::UpToDate => ("up to date", GREEN),
            FlowState::Delivering => ("delivering", GREEN),
            FlowState::Failing => ("failing", RED),
            FlowState::Draining => ("stopping", YELLOW),
        };
        table.push(vec![
            printable(&flow.name).into(),
            printable(&flow.destination).into(),
            Cell { text: state.to_owned(), colour: Some(colour) },
            bytes(flow.lag_bytes).into(),
            age(flow.lag_bytes, flow.lag_seconds).into(),
            bytes(flow.bytes_delivered).into(),
            flow.requests_in_flight.to_string().into(),
            flow.errors.to_string().into(),
            flow.records_dead.to_string().into(),
        ]);
    }
    table
}

fn file_lines(files: &FilePage, look: Look) -> Vec<String> {
    let mut table = Table::new(&[
        ("FILE", 0),
        ("<FLOW", 6),
        ("<STATE", 3),
        ("SIZE", 2),
        ("READ", 5),
        ("SETTLED", 4),
        ("LAG", 0),
        ("OLDEST", 1),
    ]);
    for file in &files.items {
        let state = match file.state {
            FileState::Live => "live",
            FileState::Rotated => "rotated",
            FileState::Finished => "finished",
            FileState::Gone => "gone",
        };
        let lag = Cell { text: bytes(file.lag_bytes), colour: (file.lag_bytes > 0).then_some(YELLOW) };
        table.push(vec![
            printable(&file.path).into(),
            printable(&file.flow).into(),
            state.to_owned().into(),
            bytes(file.size).into(),
            bytes(file.read).into(),
            bytes(file.settled).into(),
            lag,
            age(file.lag_bytes, file.lag_seconds).into(),
        ]);
    }
    if files.items.is_empty() {
        let why = if files.total > 0 { "No file matches" } else { "No file is followed yet" };
        return vec![format!("{why}.")];
    }
    let mut lines = table.lines(look.width, look.colours);
    let more = files.matching.saturating_sub(files.items.len()) as u64;
    if more > 0 {
        lines.push(format!("and {} with less lag; --limit shows more", count(more, "file", "files")));
    }
    lines
}

fn age(lag: u64, time: f64) -> String {
    if lag > 0 { seconds(time) } else { "-".to_owned() }
}

fn seconds(time: f64) -> String {
    duration(Duration::try_from_secs_f64(time).unwrap_or_default())
}

/// A file's name may hold what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn coloured(text: &str, colour: u8, look: Look) -> String {
    if look.colours { format!("\x1b[1;{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_printed() {
        assert_eq!(printable("/a\u{1b}[2J\n\u{9b}é"), "/a\u{fffd}[2J\u{fffd}\u{fffd}é");
    }
}
