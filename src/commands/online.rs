//! `check --online`: asks each destination whether it would take the records of a flow, and the
//! file system what the flow would read and from where. Nothing is sent and nothing is written,
//! but for a copy of the stored positions that is thrown away.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::check::CHECK_FAILED;
use super::reader::{Reader, current_user, owner_and_mode};
use crate::agent;
use crate::config::{Flow, Settings};
use crate::file::forecast::{self, Begin, Forecast, Foreseen};
use crate::file::tailers::Past;
use crate::observe::finding::{Finding, Grade};
use crate::send::{Clients, inquiry};
use crate::settle::recovery::Warning;
use crate::settle::{Store, StoreError};

/// As the packages name it.
const SERVICE_USER: &str = "kinesis-agent";
/// So many files of a flow are told one by one.
const SHOWN: usize = 5;
/// Files are opened for so long; what is left is counted.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

const FILES: &str = "files";
const BEGIN: &str = "begin";
const POSITIONS: &str = "positions";

/// One flow, with all that was found out about it.
struct Checked {
    headline: String,
    findings: Vec<Finding>,
}

pub fn online(settings: &Settings) -> ExitCode {
    let checked = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(check_all(settings)),
        Err(error) => {
            eprintln!("the async runtime cannot be started: {error}");
            return ExitCode::from(CHECK_FAILED);
        }
    };
    let (text, worst) = report(&checked);
    print!("{text}");
    if worst == Grade::Failed { ExitCode::from(CHECK_FAILED) } else { ExitCode::SUCCESS }
}

async fn check_all(settings: &Settings) -> Vec<Checked> {
    let (of_positions, pasts) = pasts(settings);
    let clients = Arc::new(Clients::default());
    let service = (current_user() == "root").then(|| Reader::named(SERVICE_USER)).flatten().map(Arc::new);
    let mut checks = Vec::new();
    for (flow, past) in settings.flows.iter().cloned().zip(pasts) {
        let (clients, service) = (clients.clone(), service.clone());
        checks.push(tokio::spawn(async move {
            let file = flow.file.clone();
            let files = tokio::task::spawn_blocking(move || of_files(&file, &past, service.as_deref()));
            let mut findings = inquiry::inquire(&clients, &flow.name, &flow.send).await;
            findings.extend(files.await.expect("looking at files does not panic"));
            Checked { headline: headline(&flow), findings }
        }));
    }
    let mut checked = vec![Checked { headline: "this host".into(), findings: of_positions }];
    for check in checks {
        checked.push(check.await.expect("a check does not panic"));
    }
    checked
}

fn headline(flow: &Flow) -> String {
    format!("flow {} -> {}", flow.name, inquiry::headline(&flow.send))
}

/// Who looks, what is stored, and what each flow would go on from.
fn pasts(settings: &Settings) -> (Vec<Finding>, Vec<Past>) {
    let user = current_user();
    let mut findings = vec![match (user.as_str(), Reader::named(SERVICE_USER)) {
        ("root", Some(_)) => Finding::note(
            "user",
            format!(
                "checked as root; files that the service's user {SERVICE_USER} may not read are named below"
            ),
        ),
        (user, _) if user != SERVICE_USER => Finding::note(
            "user",
            format!(
                "checked as {user}; what the service may read, and which credentials it has, depends on its own user and environment"
            ),
        ),
        _ => Finding::good("user", format!("checked as {user}")),
    }];
    let pasts = match resumed(settings, &mut findings) {
        Ok(pasts) => pasts,
        Err(error) => {
            let text = format!("{error:#}; below, nothing is taken for stored");
            findings.push(match error.downcast_ref::<StoreError>() {
                Some(StoreError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    Finding::warning(POSITIONS, format!("{text}; check as root or as the service's user"))
                }
                _ => Finding::failed(POSITIONS, text),
            });
            let first = Past { known: Vec::new(), first_start_millis: i64::MAX, is_first_start: true };
            vec![first; settings.flows.len()]
        }
    };
    (findings, pasts)
}

/// From a copy of the stored positions, as an agent that starts now would do.
fn resumed(settings: &Settings, findings: &mut Vec<Finding>) -> anyhow::Result<Vec<Past>> {
    let folder = tempfile::Builder::new().prefix("kinesis-agent-check-").tempdir()?;
    let copy = folder.path().join("checkpoints.db");
    let file = &settings.checkpoint_file;
    Store::copy(file, &copy)?;
    let is_there = file.exists();
    let now = SystemTime::now();
    let (mut store, warnings) = Store::open(&copy, now)?;
    for warning in &warnings {
        findings.push(Finding::warning(POSITIONS, lost(file, warning)));
    }
    if is_there {
        findings.push(Finding::good(POSITIONS, format!("stored in {}", file.display())));
    } else if warnings.is_empty() {
        findings.push(Finding::note(
            POSITIONS,
            format!("none yet: {} is made at the first start", file.display()),
        ));
    }
    Ok(agent::resume(settings, &mut store, now)?)
}

/// The warning about the copy, said of the file itself.
fn lost(file: &Path, warning: &Warning) -> String {
    let file = file.display();
    match warning {
        Warning::Damaged { problem, instead, .. } => {
            format!("{file} is damaged ({problem}) and will be moved aside. {instead}")
        }
        Warning::Gone { instead, .. } => format!("{file} is gone. {instead}"),
    }
}

fn of_files(options: &crate::file::Options, past: &Past, service: Option<&Reader>) -> Vec<Finding> {
    match forecast::forecast(options, past, OPENED_WITHIN) {
        Ok(forecast) => findings(&forecast, &options.patterns, service),
        Err(error) => vec![Finding::failed(FILES, format!("filePattern: {error}"))],
    }
}

fn findings(forecast: &Forecast, patterns: &[String], service: Option<&Reader>) -> Vec<Finding> {
    let mut findings = vec![matching(forecast, patterns)];
    for (path, error) in &forecast.errors {
        let text = format!("{} cannot be listed: {error} ({}); {CURE}", path.display(), owner_and_mode(path));
        findings.push(Finding::failed(FILES, text));
    }
    let (readable, refused): (Vec<_>, Vec<_>) = forecast.files.iter().partition(|file| file.begin.is_ok());
    findings.extend(readable.iter().take(SHOWN).map(|file| Finding::good(BEGIN, begin(file))));
    findings.extend(rest(&readable));
    findings.extend(refused.iter().take(SHOWN).map(|file| unreadable(file)));
    if refused.len() > SHOWN {
        findings.push(Finding::failed(FILES, format!("{} more files cannot be read", refused.len() - SHOWN)));
    }
    findings.extend(service.and_then(|service| hidden_from(service, &readable)));
    findings.extend(missing(forecast));
    findings
}

const CURE: &str = "add the agent's user to that group, or run it with CAP_DAC_READ_SEARCH as the packaged \
                    service does";

fn matching(forecast: &Forecast, patterns: &[String]) -> Finding {
    let patterns = patterns.join(", ");
    let packed = match forecast.compressed {
        0 => String::new(),
        packed => format!("; {packed} compressed, which are not followed"),
    };
    match forecast.files.len() + forecast.skipped {
        0 => Finding::warning(
            FILES,
            format!("nothing matches {patterns} now{packed}; what appears there later will be read"),
        ),
        files => {
            let skipped = match forecast.skipped {
                0 => String::new(),
                skipped => format!("; {skipped} of them were not opened for want of time"),
            };
            Finding::good(FILES, format!("{files} to be followed for {patterns}{packed}{skipped}"))
        }
    }
}

fn begin(file: &Foreseen) -> String {
    let (path, size) = (file.path.display(), file.size);
    match file.begin.as_ref().expect("only readable files are asked") {
        Begin::Stored(offset) if *offset >= size => format!("{path}: delivered up to its end at {size}"),
        Begin::Stored(offset) => {
            format!("{path}: from the stored position {offset} of {size} ({} bytes behind)", size - offset)
        }
        Begin::Cut(offset) => format!("{path}: from {offset}, up to where it still is what was read"),
        Begin::Anew => format!("{path}: from 0, as it was truncated or replaced since it was read"),
        Begin::End => format!("{path}: from its end at {size} (initialPosition: END_OF_FILE)"),
        Begin::Start => format!("{path}: from 0 of {size}"),
    }
}

/// The files that are not told one by one.
fn rest(readable: &[&Foreseen]) -> Option<Finding> {
    let more = readable.get(SHOWN..).filter(|more| !more.is_empty())?;
    let count =
        |wanted: fn(&Begin) -> bool| more.iter().filter(|file| file.begin.as_ref().is_ok_and(wanted)).count();
    let behind = more.iter().map(|file| match file.begin {
        Ok(Begin::Stored(offset)) => file.size.saturating_sub(offset),
        _ => 0,
    });
    let text = format!(
        "{} more: {} from stored positions ({} bytes behind), {} from their ends, {} from 0",
        more.len(),
        count(|begin| matches!(begin, Begin::Stored(_) | Begin::Cut(_))),
        behind.sum::<u64>(),
        count(|begin| matches!(begin, Begin::End)),
        count(|begin| matches!(begin, Begin::Anew | Begin::Start)),
    );
    Some(Finding::good(BEGIN, text))
}

fn unreadable(file: &Foreseen) -> Finding {
    let path = &file.path;
    let error = file.begin.as_ref().expect_err("only refused files are asked");
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Finding::failed(
            FILES,
            format!(
                "{} cannot be read by {}: {}; {CURE}",
                path.display(),
                current_user(),
                owner_and_mode(path)
            ),
        ),
        _ => Finding::failed(FILES, format!("{} cannot be read: {error}", path.display())),
    }
}

/// What root reads and the service's user does not, without a capability.
fn hidden_from(service: &Reader, readable: &[&Foreseen]) -> Option<Finding> {
    let hidden: Vec<&PathBuf> =
        readable.iter().map(|file| &file.path).filter(|path| !service.may_read(path)).collect();
    let first = hidden.first()?;
    let text = format!(
        "{} of these the user {} reads only with CAP_DAC_READ_SEARCH (the packaged service has it), such as {} ({})",
        hidden.len(),
        service.name,
        first.display(),
        owner_and_mode(first)
    );
    Some(Finding::note(FILES, text))
}

fn missing(forecast: &Forecast) -> Option<Finding> {
    let first = forecast.missing.first()?;
    let bytes: u64 = forecast.missing.iter().map(|known| known.size - known.offset).sum();
    let text = format!(
        "{} known files, such as {}, are not where they were, and {bytes} bytes of them were not delivered; \
         the agent looks for them under the names that rotation gives",
        forecast.missing.len(),
        first.path.display(),
    );
    Some(Finding::warning(FILES, text))
}

/// The text, and the worst that is in it.
fn report(checked: &[Checked]) -> (String, Grade) {
    let all = || checked.iter().flat_map(|checked| &checked.findings);
    let width = all().map(|finding| finding.subject.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Checked { headline, findings } in checked {
        text.push_str(&format!("\n{headline}\n"));
        for Finding { grade, subject, text: what } in findings {
            text.push_str(&format!("  {:<7}  {subject:<width$}  {what}\n", word(*grade)));
        }
    }
    let count = |grade| all().filter(|finding| finding.grade == grade).count();
    let (failed, warnings) = (count(Grade::Failed), count(Grade::Warning));
    let counted = |number, thing: &str| format!("{number} {thing}{}", if number == 1 { "" } else { "s" });
    text.push_str(&match (failed, warnings) {
        (0, 0) => "\nall good\n".to_owned(),
        (0, warnings) => format!("\ngood, with {}\n", counted(warnings, "warning")),
        (failed, warnings) => {
            format!("\nnot good: {}, {}\n", counted(failed, "failure"), counted(warnings, "warning"))
        }
    });
    (text, all().map(|finding| finding.grade).max().unwrap_or(Grade::Good))
}

fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Good => "ok",
        Grade::Note => "note",
        Grade::Warning => "WARNING",
        Grade::Failed => "FAILED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreseen(name: &str, begin: Begin) -> Foreseen {
        Foreseen { path: format!("/logs/{name}").into(), size: 100, begin: Ok(begin) }
    }

    #[test]
    fn the_first_files_are_told_one_by_one_and_the_others_counted() {
        let begins = [Begin::Stored(100), Begin::Stored(40), Begin::Cut(7), Begin::Anew, Begin::End];
        let mut files: Vec<_> =
            begins.iter().enumerate().map(|(n, begin)| foreseen(&format!("{n}.log"), *begin)).collect();
        files.extend([
            foreseen("5.log", Begin::Stored(90)),
            foreseen("6.log", Begin::End),
            foreseen("7.log", Begin::Start),
        ]);
        let forecast = Forecast { files, compressed: 2, ..Forecast::default() };
        let findings = findings(&forecast, &["/logs/*.log".into()], None);
        let checked = [Checked { headline: "flow f".into(), findings }];
        let (text, worst) = report(&checked);
        assert_eq!(worst, Grade::Good);
        insta::assert_snapshot!(text.trim(), @r"
        flow f
          ok       files  8 to be followed for /logs/*.log; 2 compressed, which are not followed
          ok       begin  /logs/0.log: delivered up to its end at 100
          ok       begin  /logs/1.log: from the stored position 40 of 100 (60 bytes behind)
          ok       begin  /logs/2.log: from 7, up to where it still is what was read
          ok       begin  /logs/3.log: from 0, as it was truncated or replaced since it was read
          ok       begin  /logs/4.log: from its end at 100 (initialPosition: END_OF_FILE)
          ok       begin  3 more: 1 from stored positions (10 bytes behind), 1 from their ends, 1 from 0

        all good
        ");
    }

    #[test]
    fn one_failure_is_enough_and_warnings_are_none() {
        let with = |findings: Vec<Finding>| report(&[Checked { headline: "x".into(), findings }]);
        let (text, worst) = with(vec![Finding::good("a", ""), Finding::warning("b", "w")]);
        assert!(text.ends_with("good, with 1 warning\n") && worst == Grade::Warning, "{text}");
        let (text, worst) = with(vec![Finding::failed("a", "f"), Finding::warning("b", "w")]);
        assert!(text.ends_with("not good: 1 failure, 1 warning\n") && worst == Grade::Failed, "{text}");
    }
}
