//! `status`: asks the agent on this host how it is doing and prints it: problems, flows, files.
//! Made to be looked at, and to be run by Nagios and its kin: the first line and the exit code
//! say it all.
//!
//! It never hangs: what is not answered in time is unknown.

/// Asks the agent.
pub(super) mod client;
/// The words for what it answered.
mod report;
/// Columns that fit the terminal.
mod table;

use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::command_line::{ConfigFile, StatusArguments};
use crate::config::{self, DEFAULT_SOCKET};
use crate::observe::status::{Severity, Status};
use client::Asked;
use report::{Look, Verdict};

const WATCH_EVERY: Duration = Duration::from_secs(2);

pub fn status(arguments: &StatusArguments) -> ExitCode {
    let (socket, doubt) = socket(&arguments.config, arguments.socket.as_deref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime.context("the async runtime cannot be started") {
        Ok(runtime) => runtime,
        Err(error) => return unknown(arguments, &format!("{error:#}")),
    };
    let ask = || runtime.block_on(client::ask(&socket, &client::query(arguments)));
    if !arguments.watch {
        return match ask() {
            Ok(asked) => print(arguments, &asked),
            Err(error) => unknown(arguments, &format!("{error}{doubt}")),
        };
    }
    if stdout().is_terminal() {
        put("\x1b[2J");
    }
    loop {
        let text = match ask() {
            Ok(asked) => report::lines(&asked.status, arguments, Look::of_stdout()),
            Err(error) => vec![unknown_line(&format!("{error}{doubt}"))],
        };
        if !put(&screen(&text)) {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// Where the agent is asked, and what is to be said if nobody answers there.
pub(super) fn socket(config: &ConfigFile, socket: Option<&Path>) -> (PathBuf, String) {
    if let Some(socket) = socket {
        return (socket.to_owned(), String::new());
    }
    let file = &config.path;
    match config::load(file) {
        Ok(settings) => (settings.status.socket, String::new()),
        Err(_) => {
            let doubt = format!(
                " ({} cannot be used to find the socket; name it with --socket if it is another)",
                file.display()
            );
            (Path::new(DEFAULT_SOCKET).to_owned(), doubt)
        }
    }
}

fn print(arguments: &StatusArguments, asked: &Asked) -> ExitCode {
    if arguments.json {
        put(&asked.json);
        put("\n");
    } else {
        put(&(report::lines(&asked.status, arguments, Look::of_stdout()).join("\n") + "\n"));
    }
    Verdict::of(&asked.status).exit_code()
}

fn unknown_line(text: &str) -> String {
    format!("UNKNOWN - {}", report::printable(text))
}

fn unknown(arguments: &StatusArguments, text: &str) -> ExitCode {
    let line = unknown_line(text);
    if arguments.json {
        eprintln!("{line}");
    } else {
        put(&(line + "\n"));
    }
    Verdict::Unknown.exit_code()
}

/// The lines in place of those that are on the terminal, as many as it has.
fn screen(lines: &[String]) -> String {
    if !stdout().is_terminal() {
        return lines.join("\n") + "\n\n";
    }
    let height = table::terminal().map_or(lines.len(), |(_, height)| height.saturating_sub(1));
    let lines: Vec<String> = lines.iter().take(height).map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{}\x1b[J", lines.concat())
}

/// Whether somebody still reads.
fn put(text: &str) -> bool {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

impl Verdict {
    fn of(status: &Status) -> Self {
        match status.problems.first().map(|problem| problem.severity) {
            None => Verdict::Ok,
            Some(Severity::Warning) => Verdict::Warning,
            Some(Severity::Critical) => Verdict::Critical,
        }
    }

    fn exit_code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
