//! The top of the file: what all flows share, and the list of the flows.
//!
//! Problems go into the report, and the settings that come back are only good if it holds none.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::{self, Access};
use super::destination;
use super::flow;
use super::keys::Level;
use super::raw::{Entry, Node, Value};
use super::section::{Report, Section, quoted};
use super::shares::Shares;
use super::{Flow, Settings, status};

const DEFAULT_CHECKPOINT_FILE: &str = "/var/lib/kinesis-agent/checkpoints.db";
const DEFAULT_MEMORY_BUDGET: u64 = 40 << 20;
const MIN_MEMORY_BUDGET: u64 = 8 << 20;
/// So that the reserved share of a flow holds lines of 175 KiB, or of 95 KiB that are compressed.
const MIN_MEMORY_BUDGET_PER_FLOW: u64 = 512 << 10;
const DAY_SECONDS: u64 = 24 * 60 * 60;
const HOUR_MILLIS: u64 = 60 * 60 * 1000;

/// What a flow needs to know of the rest of the file.
pub struct Shared {
    pub kinesis: Service,
    pub firehose: Service,
    pub access: Access,
    pub scan_interval: Duration,
    pub use_events: bool,
    /// Bytes of the whole agent.
    pub memory_budget: usize,
    /// Flows in the file, those with problems included; at least 1.
    pub flows: usize,
}

pub struct Service {
    pub endpoint: Option<String>,
    pub region: Option<String>,
}

impl Shared {
    /// The largest record that a flow can always read and send. Bytes.
    pub fn largest_record(&self, compressed: bool) -> usize {
        Shares::of(self.memory_budget, self.flows).largest_record(self.flows, compressed)
    }

    /// The budget with which a flow can always read and send such a record, in MiB.
    fn budget_mib_for(&self, record: usize, compressed: bool) -> usize {
        Shares::budget_for(record, self.flows, compressed).div_ceil(1 << 20)
    }
}

/// `exposed` says that other users may read the file.
pub fn settings(report: &mut Report<'_>, entries: Vec<Entry>, exposed: bool) -> Settings {
    let mut top = Section::new(report, Level::Agent, String::new(), 1, entries);
    let nodes = flow_nodes(&mut top);
    let memory_budget = memory_budget(&mut top, nodes.len());
    let scan_interval = top.millis("scanIntervalMillis", 100..=60_000).unwrap_or(10_000);
    let shared = Shared {
        kinesis: service(&mut top, "kinesis.endpoint", "kinesis.region"),
        firehose: service(&mut top, "firehose.endpoint", "firehose.region"),
        access: access::at_top(&mut top, exposed),
        scan_interval: Duration::from_millis(scan_interval),
        use_events: top.flag("useFileEvents").unwrap_or(true),
        memory_budget: usize::try_from(memory_budget).unwrap_or(usize::MAX),
        flows: nodes.len().max(1),
    };
    let checkpoint_file = path(&mut top, "checkpointFile").unwrap_or_else(|| DEFAULT_CHECKPOINT_FILE.into());
    let dead_letter_file = path(&mut top, "deadLetterFile")
        .unwrap_or_else(|| checkpoint_file.parent().unwrap_or(Path::new("/")).join("dead-letters.jsonl"));
    if dead_letter_file == checkpoint_file {
        let line = top.line_of("deadLetterFile").or(top.line_of("checkpointFile")).unwrap_or(top.line);
        top.problem(line, "deadLetterFile", "is the same file as checkpointFile; give each its own");
    }
    let dead_letter_max_bytes = top.bytes("deadLetterMaxBytes", 1024..=u64::MAX);
    let kept_days = top.number("checkpointTimeToLiveDays", 1..=3650).unwrap_or(30);
    let max_open_removed_bytes = top.bytes("maxOpenRemovedBytes", 0..=u64::MAX);
    let shutdown_timeout = top.millis("shutdownTimeoutMillis", 0..=HOUR_MILLIS).unwrap_or(10_000);
    let status = status::options(&mut top);
    let flows_line = top.line_of("flows").unwrap_or(top.line);
    let memory_line = top.line_of("memoryBudget").unwrap_or(flows_line);
    let flows = flows(report, nodes, &shared);
    warn_of_short_lines(report, memory_line, &flows, &shared);
    warn_of_different_limits(report, flows_line, &flows);
    Settings {
        flows,
        checkpoint_file,
        dead_letter_file,
        dead_letter_max_bytes: dead_letter_max_bytes.map_or(64 << 20, |given| given.value),
        checkpoint_time_to_live: Duration::from_secs(kept_days * DAY_SECONDS),
        max_open_removed_bytes: max_open_removed_bytes.map(|given| given.value),
        shutdown_timeout: Duration::from_millis(shutdown_timeout),
        memory_budget: shared.memory_budget,
        status,
        warnings: Vec::new(),
    }
}

fn flow_nodes(top: &mut Section<'_, '_>) -> Vec<Node> {
    let Some(line) = top.line_of("flows") else {
        top.missing(&["flows"], "; it is the list of what is read and where it goes");
        return Vec::new();
    };
    match top.node("flows").map(|given| given.value) {
        Some(Value::List(nodes)) => {
            if nodes.is_empty() {
                top.warning(line, "flows", "no flow is configured, so nothing is read");
            }
            return nodes;
        }
        Some(_) => {
            top.problem(
                line,
                "flows",
                "is not a list; in YAML each flow begins with `- `, in JSON they stand in [ ]",
            );
        }
        None => {}
    }
    Vec::new()
}

fn flows(report: &mut Report<'_>, nodes: Vec<Node>, shared: &Shared) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    for (at, Node { line, value }) in nodes.into_iter().enumerate() {
        let Value::Map(entries) = value else {
            report.problem(
                line,
                &format!("flows[{at}]"),
                "is not a flow; it must hold keys such as filePattern",
            );
            continue;
        };
        let before = report.problems.len();
        let mut section = Section::new(report, Level::Flow, format!("flows[{at}]."), line, entries);
        let flow = flow::flow(&mut section, shared);
        if report.problems.len() > before {
            continue;
        }
        if let Some((other, other_line)) = seen.insert(flow.key.clone(), (at, line)) {
            let text = format!(
                "sends the same files to the same place as flows[{other}] on line {other_line}; \
                 remove one, or give each its own `name`"
            );
            report.problem(line, &format!("flows[{at}]"), text);
        }
        flows.push(flow);
    }
    flows
}

fn memory_budget(top: &mut Section<'_, '_>, flows: usize) -> u64 {
    let least = MIN_MEMORY_BUDGET.max(MIN_MEMORY_BUDGET_PER_FLOW.saturating_mul(flows as u64));
    match top.bytes("memoryBudget", least..=u64::MAX) {
        Some(given) => given.value,
        None => {
            if top.line_of("memoryBudget").is_none() && least > DEFAULT_MEMORY_BUDGET {
                let text = format!(
                    "its default of 40MiB is too small for {flows} flows; allowed: {}MiB or more",
                    least.div_ceil(1 << 20)
                );
                top.problem(top.line, "memoryBudget", text);
            }
            least.max(DEFAULT_MEMORY_BUDGET)
        }
    }
}

/// Flows share the shards of a stream, but each limits them as it is told.
fn warn_of_different_limits(report: &mut Report<'_>, line: usize, flows: &[Flow]) {
    for (at, flow) in flows.iter().enumerate() {
        let same_stream = |other: &&Flow| other.send.address() == flow.send.address();
        let Some(other) = flows[..at].iter().find(same_stream) else { continue };
        if other.send.shard_limits != flow.send.shard_limits {
            let text = format!(
                "flows to {} set different shardBytesPerSecond or shardRecordsPerSecond, so each limits the \
                 shards by itself and together they may send the sum; set them alike in all of them",
                flow.send.destination
            );
            report.warning(line, "flows", text);
        }
    }
}

/// With many flows the share of each may be smaller than the largest record that AWS takes.
fn warn_of_short_lines(report: &mut Report<'_>, line: usize, flows: &[Flow], shared: &Shared) {
    let limits = flows.iter().filter_map(|flow| {
        let limit = flow::record_limit(
            &flow.send.destination,
            flow.asked.record_bytes,
            flow.send.compression,
            &flow.send.partition_key,
        );
        (flow.record.max_record_bytes < limit).then_some((limit, flow.send.compression.is_some()))
    });
    if let Some((limit, compressed)) =
        limits.max_by_key(|(limit, compressed)| shared.budget_mib_for(*limit, *compressed))
    {
        let text = format!(
            "each of {} flows may hold {} bytes in one piece, so a longer record is treated as `oversizedRecords` \
             says although AWS takes {limit}; {}MiB would be enough for those",
            shared.flows,
            shared.largest_record(compressed),
            shared.budget_mib_for(limit, compressed),
        );
        report.warning(line, "memoryBudget", text);
    }
}

fn service(top: &mut Section<'_, '_>, endpoint: &str, region: &str) -> Service {
    Service { endpoint: self::endpoint(top, endpoint), region: self::region(top, region) }
}

/// A URL under the key `name`.
pub fn endpoint(section: &mut Section<'_, '_>, name: &str) -> Option<String> {
    let given = section.text(name)?;
    destination::endpoint_url(&given.value)
        .map_err(|wrong| section.problem(given.line, name, format!("{} {wrong}", quoted(&given.value))))
        .ok()
}

/// A region's name under the key `name`.
pub fn region(section: &mut Section<'_, '_>, name: &str) -> Option<String> {
    let given = section.text(name)?;
    match destination::check_region(&given.value) {
        Ok(()) => Some(given.value),
        Err(wrong) => {
            section.problem(given.line, name, format!("{} {wrong}", quoted(&given.value)));
            None
        }
    }
}

/// The absolute path of a file under the key `name`.
pub fn path(top: &mut Section<'_, '_>, name: &str) -> Option<PathBuf> {
    let given = top.text(name)?;
    if given.value.starts_with('/') && !given.value.ends_with('/') && !given.value.contains('\0') {
        return Some(given.value.into());
    }
    let text = format!(
        "{} is not the path of a file; allowed: an absolute path such as /var/lib/x",
        quoted(&given.value)
    );
    top.problem(given.line, name, text);
    None
}
