//! The table of all metrics: what each is called, what it counts, and where on the board it
//! stands. `docs/METRICS.md` is generated from it.
//!
//! The labels are a flow's name and destination and words that stand in the code, never the name
//! of a file or anything else that a server or a user could make up without end.

use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::observe::board::{Board, FlowBoard};
use crate::observe::counter::{ByWord, Histogram};
use crate::observe::kinds::{LossReason, RotationKind};

/// One metric, with all its labels.
#[derive(Clone, Copy)]
pub struct Family {
    /// As it is exposed, without the suffixes that its type adds (`_total`, `_bucket`, `_info`).
    pub name: &'static str,
    pub kind: Type,
    /// The name ends with it.
    pub unit: Option<Unit>,
    /// A sentence. It is what Prometheus shows.
    pub help: &'static str,
    /// What else an operator should know.
    pub more: &'static str,
    pub group: Group,
    pub source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
    Info,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Seconds,
}

/// Which question it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Agent,
    Working,
    Throughput,
    Requests,
    Batches,
    Files,
    Losses,
    Checkpoints,
}

impl Group {
    pub const ALL: [Group; 8] = [
        Group::Working,
        Group::Throughput,
        Group::Requests,
        Group::Batches,
        Group::Files,
        Group::Losses,
        Group::Checkpoints,
        Group::Agent,
    ];
}

type Words = Vec<(&'static str, u64)>;

/// Where the values come from. What has no value now is not shown.
#[derive(Clone, Copy)]
pub enum Source {
    Build,
    Agent(fn(&Board) -> Option<f64>),
    /// A value for each word of a label.
    AgentWords(&'static str, fn(&Board) -> Words),
    Flow(fn(&FlowBoard) -> Option<f64>),
    FlowWords(&'static str, fn(&FlowBoard) -> Words),
    /// With what its values are divided by.
    FlowHistogram(fn(&FlowBoard) -> &Histogram, f64),
}

impl Family {
    /// The name without its unit.
    pub fn base(&self) -> &'static str {
        let unit = match self.unit {
            None => return self.name,
            Some(Unit::Bytes) => "_bytes",
            Some(Unit::Seconds) => "_seconds",
        };
        self.name.strip_suffix(unit).expect("a name ends with its unit")
    }

    pub fn labels(&self) -> Vec<&'static str> {
        match self.source {
            Source::Build => vec!["version"],
            Source::Agent(_) => Vec::new(),
            Source::AgentWords(label, _) => vec![label],
            Source::Flow(_) | Source::FlowHistogram(..) => vec!["flow", "destination"],
            Source::FlowWords(label, _) => vec!["flow", "destination", label],
        }
    }

    /// The names of the series that it is made of.
    pub fn series(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            Type::Counter => &["_total"],
            Type::Gauge => &[""],
            Type::Histogram => &["_bucket", "_sum", "_count"],
            Type::Info => &["_info"],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
    }
}

const fn family(group: Group, name: &'static str, kind: Type, help: &'static str, source: Source) -> Family {
    Family { name, kind, unit: None, help, more: "", group, source }
}

impl Family {
    const fn bytes(self) -> Self {
        Family { unit: Some(Unit::Bytes), ..self }
    }

    const fn seconds(self) -> Self {
        Family { unit: Some(Unit::Seconds), ..self }
    }

    const fn more(self, more: &'static str) -> Self {
        Family { more, ..self }
    }
}

use Group::{Agent, Batches, Checkpoints, Files, Losses, Requests, Throughput, Working};
use Type::{Counter, Gauge, Info};

/// All of them, in the order in which they are shown.
#[rustfmt::skip]
pub static FAMILIES: &[Family] = &[
    family(Working, "kinesis_agent_lag_bytes", Gauge,
        "Bytes that were written to the flow's files and are not delivered yet.",
        Source::Flow(|flow| Some(flow.counters.lag_bytes.load(Ordering::Relaxed).max(0) as f64))).bytes()
        .more("Everything up to the watermark is delivered, left out by the configuration, or in the dead-letter file."),
    family(Working, "kinesis_agent_lag_seconds", Gauge,
        "The age of the oldest byte of the flow's files that is not delivered yet.",
        Source::Flow(|flow| Some(flow.counters.lag_millis.load(Ordering::Relaxed) as f64 / 1000.0))).seconds()
        .more("0 if nothing waits. Up to a few seconds are normal, and up to a minute to Firehose, where requests are held back for `maxBufferAgeMillis`."),
    family(Working, "kinesis_agent_failing_seconds", Gauge,
        "For how long the flow's destination has accepted nothing that it was sent.",
        Source::Flow(|flow| Some(flow.health.report().failing_for.unwrap_or_default().as_secs_f64()))).seconds()
        .more("0 once something was accepted."),
    family(Working, "kinesis_agent_errors", Counter,
        "Requests that failed, and causes for which an answer refused some entries.",
        Source::Flow(|flow| Some(flow.health.report().errors as f64))),
    family(Working, "kinesis_agent_last_error_timestamp_seconds", Gauge,
        "When the flow's last error was, in seconds since the epoch.",
        Source::Flow(|flow| flow.health.report().last_error.map(|error| seconds_since_epoch(error.at)))).seconds()
        .more("Not shown before the first. `kinesis-agent status` and the log tell what it was."),
    family(Working, "kinesis_agent_unreadable_files", Gauge,
        "Files of the flow that cannot be read now.",
        Source::Flow(|flow| Some(flow.troubles.report().count as f64))),

    family(Throughput, "kinesis_agent_read_bytes", Counter,
        "Bytes read from files, once for each read.",
        Source::Flow(|flow| count(flow.counters.bytes_read.get()))).bytes(),
    family(Throughput, "kinesis_agent_records_read", Counter,
        "Records that were cut from what was read.",
        Source::Flow(|flow| count(flow.counters.records_read.get())))
        .more("Counted when their request is made up, or when they are left out or given up before. What is not delivered, filtered or dead of them is on its way."),
    family(Throughput, "kinesis_agent_delivered_bytes", Counter,
        "Payload bytes that the destination acknowledged.",
        Source::Flow(|flow| count(flow.counters.bytes_delivered.get()))).bytes(),
    family(Throughput, "kinesis_agent_records_delivered", Counter,
        "Records that the destination acknowledged.",
        Source::Flow(|flow| count(flow.counters.records_delivered.get()))),
    family(Throughput, "kinesis_agent_records_filtered", Counter,
        "Records that the configuration leaves out, such as header lines.",
        Source::Flow(|flow| count(flow.counters.records_filtered.get()))),
    family(Throughput, "kinesis_agent_records_oversized", Counter,
        "Records that were longer than the destination takes.",
        Source::Flow(|flow| count(flow.counters.records_oversized.get())))
        .more("The key `oversizedRecords` says what becomes of them."),

    family(Requests, "kinesis_agent_requests", Counter,
        "Requests that were sent, repeated ones included.",
        Source::Flow(|flow| count(flow.counters.requests.get()))),
    family(Requests, "kinesis_agent_requests_in_flight", Gauge,
        "Requests that wait for their answer.",
        Source::Flow(|flow| count(flow.counters.requests_in_flight.get())))
        .more("At most `maxInFlight` of each flow."),
    family(Requests, "kinesis_agent_request_limit", Gauge,
        "How many requests the flow's destination may have to answer at a time, for all flows that send to it.",
        Source::Flow(|flow| count(flow.counters.request_limit.get())))
        .more("It grows while requests wait, and is halved when a whole request is refused because of a rate limit or gets no answer in time. At most the sum of the flows' `maxInFlight`."),
    family(Requests, "kinesis_agent_entries_held", Gauge,
        "Entries that wait until their shard, or the stream, takes more.",
        Source::Flow(|flow| count(flow.counters.entries_held.get())))
        .more("If it stays above zero, the stream has too few shards, or with keys one shard gets too much."),
    family(Requests, "kinesis_agent_requests_failed", Counter,
        "Requests of which nothing was accepted because they failed as a whole.",
        Source::FlowWords("code", |flow| words(&flow.counters.requests_failed)))
        .more("`code` is AWS's error code where it is known, else `HTTP 4xx`, `HTTP 5xx`, `KMS` or `other`; without an answer it is `network`, `no answer in time` or `no credentials`."),
    family(Requests, "kinesis_agent_request_duration_seconds", Type::Histogram,
        "How long requests took, from sending to the answer or to the time-out.",
        Source::FlowHistogram(|flow| &flow.counters.request_micros, 1e6)).seconds(),
    family(Requests, "kinesis_agent_entries_retried", Counter,
        "Entries that were sent again.",
        Source::Flow(|flow| count(flow.counters.entries_retried.get())))
        .more("An entry is what AWS counts as a record: one record of ours, or several with `aggregation`."),
    family(Requests, "kinesis_agent_entries_throttled", Counter,
        "Entries that the destination refused because of a rate limit.",
        Source::FlowWords("code", |flow| words(&flow.counters.entries_throttled)))
        .more("They are sent again. `code` is AWS's error code."),
    family(Requests, "kinesis_agent_shards_seen", Gauge,
        "Shards of the Data Stream that took records since the agent started.",
        Source::Flow(|flow| flow.destination.starts_with("kinesis:").then(|| flow.counters.shards.count() as f64)))
        .more("Shards that were split or merged meanwhile are counted too. Not shown for Firehose."),
    family(Requests, "kinesis_agent_shards_open", Gauge,
        "Open shards of the Data Stream, over which records are spread.",
        Source::Flow(|flow| flow.destination.starts_with("kinesis:").then(|| flow.counters.shards_open.get() as f64)))
        .more("0 if the stream does not tell them, because `kinesis:ListShards` is not allowed. Not shown for Firehose."),

    family(Batches, "kinesis_agent_batches", Counter,
        "Requests that were made up, by why they left when they did.",
        Source::FlowWords("reason", batches))
        .more("`entries`, `bytes`: full. `age`: the oldest record had waited for `maxBufferAgeMillis`. `eager`: a request slot was free, with `flush: eager`. `memory`: the memory budget was short. `shutdown`: the flow was stopped."),
    family(Batches, "kinesis_agent_batch_entries", Type::Histogram,
        "How many entries the requests held when they left.",
        Source::FlowHistogram(|flow| &flow.counters.batch_entries, 1.0)),
    family(Batches, "kinesis_agent_batch_size_bytes", Type::Histogram,
        "How many payload bytes and partition keys the requests held when they left.",
        Source::FlowHistogram(|flow| &flow.counters.batch_bytes, 1.0)).bytes(),

    family(Files, "kinesis_agent_files", Gauge,
        "Files that the flow follows, open or not.",
        Source::Flow(|flow| count(flow.counters.files_followed.get()))),
    family(Files, "kinesis_agent_open_files", Gauge,
        "Files that the flow holds open.",
        Source::Flow(|flow| count(flow.counters.open_files.get()))),
    family(Files, "kinesis_agent_deleted_files_bytes", Gauge,
        "Bytes of the disk that deleted files hold because they are not read to their ends.",
        Source::Flow(|flow| count(flow.counters.removed_bytes.get()))).bytes()
        .more("`maxOpenRemovedBytes` is the limit for each file system; beyond it the oldest are let go, and counted in `kinesis_agent_lost_bytes_total` with the reason `space`."),
    family(Files, "kinesis_agent_rotations", Counter,
        "What happened to files, as one look after another showed it.",
        Source::FlowWords("kind", |flow| {
            all_words(RotationKind::ALL.map(RotationKind::word), &flow.counters.rotations)
        }))
        .more("`renamed`; `copytruncated`: truncated, with the unread rest in a copy; `truncated`: without one; `cut`: it lost its last bytes; `replaced`: another file has its name; `removed`; `compressed`; `copied`; `unseen`: born and rotated away between two looks. One rotation may be several of these."),
    family(Files, "kinesis_agent_folder_scans", Counter,
        "Looks at all folders of the flow.",
        Source::Flow(|flow| count(flow.counters.scans.get())))
        .more("It looks for what file-system events missed, each `scanIntervalMillis` or seldom enough to cost under half a percent of a core."),
    family(Files, "kinesis_agent_file_event_overflows", Counter,
        "How often there were more file-system events than the system holds.",
        Source::Flow(|flow| count(flow.counters.event_overflows.get())))
        .more("Nothing is missed: all folders are looked at instead. Where it happens often, raise `fs.inotify.max_queued_events`."),

    family(Losses, "kinesis_agent_lost_bytes", Counter,
        "Bytes that were gone before they could be read.",
        Source::FlowWords("reason", |flow| {
            all_words(LossReason::ALL.map(LossReason::word), &flow.counters.bytes_lost)
        })).bytes()
        .more("`truncated`: overwritten, and there was no copy; `cut`: the file lost its last bytes; `removed`; `not_found_at_start`: removed while the agent did not run; `shutdown`: the agent had to stop before it could read all of a deleted file; `space`: deleted files held more than `maxOpenRemovedBytes`; `unreadable`: compressed while the agent did not run, in a way that it cannot read (the size of the compressed file)."),
    family(Losses, "kinesis_agent_repeated_bytes", Counter,
        "Bytes that were read twice because a file could not be told from a copy.",
        Source::Flow(|flow| count(flow.counters.bytes_repeated.get()))).bytes(),
    family(Losses, "kinesis_agent_records_dead", Counter,
        "Records that were given up and written to the dead-letter file.",
        Source::Flow(|flow| count(flow.counters.records_dead.get()))),
    family(Losses, "kinesis_agent_dead_letter_file_bytes", Gauge,
        "The size of the dead-letter files.",
        Source::Agent(|board| board.dead_letters().map(|file| file.size() as f64))).bytes()
        .more("0 while there are none. Send them again with redrive, or move them away."),
    family(Losses, "kinesis_agent_dead_letter_file_limit_bytes", Gauge,
        "How large the dead-letter files may become together.",
        Source::Agent(|board| board.dead_letters().map(|file| file.max_bytes as f64))).bytes(),

    family(Checkpoints, "kinesis_agent_checkpoint_age_seconds", Gauge,
        "The age of the oldest progress that is not stored yet.",
        Source::Agent(|board| Some(board.checkpoints.report().age.as_secs_f64()))).seconds()
        .more("0 if everything is stored; normally less than 2. What is not stored is sent again after a crash."),
    family(Checkpoints, "kinesis_agent_checkpoint_commits", Counter,
        "How often positions were stored.",
        Source::Agent(|board| count(board.checkpoints.report().commits))),
    family(Checkpoints, "kinesis_agent_checkpoint_failures", Counter,
        "How often positions could not be stored.",
        Source::Agent(|board| count(board.checkpoints.report().failures))),
    family(Checkpoints, "kinesis_agent_checkpoint_last_failure_timestamp_seconds", Gauge,
        "When positions could not be stored the last time, in seconds since the epoch.",
        Source::Agent(|board| {
            board.checkpoints.report().last_error.map(|error| seconds_since_epoch(error.at))
        })).seconds()
        .more("Not shown before the first."),

    family(Agent, "kinesis_agent_build", Info, "The version that runs.", Source::Build),
    family(Agent, "kinesis_agent_start_time_seconds", Gauge,
        "When the agent was started, in seconds since the epoch.",
        Source::Agent(|board| Some(seconds_since_epoch(board.started_at)))).seconds(),
    family(Agent, "kinesis_agent_memory_budget_bytes", Gauge,
        "The memory that the agent may use for data: `memoryBudget`.",
        Source::Agent(|board| count(board.memory_budget.load(Ordering::Relaxed)))).bytes(),
    family(Agent, "kinesis_agent_memory_used_bytes", Gauge,
        "What the flow holds of the memory budget for bytes that are read and not settled.",
        Source::Flow(|flow| count((flow.memory_used)()))).bytes()
        .more("Three eighths of the budget are for this; the rest is for requests and copies. When they are used up, reading waits."),
    family(Agent, "kinesis_agent_config_loaded_timestamp_seconds", Gauge,
        "When the configuration that is used was loaded, in seconds since the epoch.",
        Source::Agent(|board| Some(seconds_since_epoch(board.configuration().loaded_at)))).seconds(),
    family(Agent, "kinesis_agent_config_reloads", Counter,
        "How often the configuration was read anew, and whether it could be used.",
        Source::AgentWords("result", reloads)).more("`ok` or `failed`."),
    family(Agent, "kinesis_agent_config_stale", Gauge,
        "1 if the configuration file was changed and could not be used, so that the one before still is.",
        Source::Agent(|board| Some(f64::from(u8::from(board.configuration().last_error.is_some()))))),
];

fn count(n: u64) -> Option<f64> {
    Some(n as f64)
}

fn words(counter: &ByWord) -> Words {
    counter.words().into_iter().collect()
}

/// Also those that are still 0: Prometheus sees only then that one begins to grow.
fn all_words<const N: usize>(all: [&'static str; N], counter: &ByWord) -> Words {
    let counted = counter.words();
    all.into_iter().map(|word| (word, counted.get(word).copied().unwrap_or(0))).collect()
}

fn batches(flow: &FlowBoard) -> Words {
    let counters = &flow.counters;
    vec![
        ("entries", counters.batches_full_of_entries.get()),
        ("bytes", counters.batches_full_of_bytes.get()),
        ("age", counters.batches_aged.get()),
        ("eager", counters.batches_eager.get()),
        ("memory", counters.batches_for_budget.get()),
        ("shutdown", counters.batches_at_shutdown.get()),
    ]
}

fn reloads(board: &Board) -> Words {
    let configuration = board.configuration();
    vec![("ok", configuration.reloads), ("failed", configuration.failed_reloads)]
}

fn seconds_since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
