//! What the agent says of itself: the JSON of `/status`, which the page and `kinesis-agent
//! status` show. Sizes and positions are bytes, times are milliseconds since the epoch.
//!
//! Data alone. The names of the fields are an interface that other programs rely on.

use serde::{Deserialize, Serialize};

/// Everything, with one page of the files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub started_at: u64,
    pub uptime_seconds: u64,
    /// What an operator has to know, the worst first. Nothing is wrong if it is empty.
    pub problems: Vec<Problem>,
    pub configuration: Configuration,
    pub memory: Memory,
    pub checkpoints: Checkpoints,
    pub flows: Vec<FlowStatus>,
    /// None while the stage that knows the files does not answer.
    pub files: Option<FilePage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Nothing is delivered, or something does not work any more.
    Critical,
    /// It works, but somebody should look at it.
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    pub severity: Severity,
    pub flow: Option<String>,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    pub file: String,
    pub loaded_at: u64,
    /// How often it was read anew since the start.
    pub reloads: u64,
    /// How often it could not be used then.
    pub failed_reloads: u64,
    /// Why the last attempt to read it anew changed nothing.
    pub last_reload_error: Option<ErrorStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorStatus {
    pub text: String,
    pub at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    pub budget: u64,
    pub used: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoints {
    pub file: String,
    /// Seconds since the positions were last stored while there was something to store; 0 if
    /// nothing waits.
    pub age_seconds: f64,
    pub last_error: Option<ErrorStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowStatus {
    pub name: String,
    /// `kinesis:NAME` or `firehose:NAME`.
    pub destination: String,
    pub state: FlowState,
    /// Bytes that were written and are not settled.
    pub lag_bytes: u64,
    /// The age of the oldest of them.
    pub lag_seconds: f64,
    pub records_delivered: u64,
    pub bytes_delivered: u64,
    pub bytes_read: u64,
    pub records_dead: u64,
    pub bytes_lost: u64,
    pub requests_in_flight: u64,
    pub memory_used: u64,
    pub open_files: u64,
    /// Nothing was accepted since.
    pub failing_since: Option<u64>,
    /// Failed requests, and answers that refused some entries, since the agent started.
    pub errors: u64,
    pub last_error: Option<ErrorStatus>,
    pub credentials: Option<CredentialsStatus>,
    /// How many shards took records so far; none for a delivery stream.
    pub shards_seen: Option<u64>,
    /// How many files cannot be read, and the first of them.
    pub unreadable_files: u64,
    pub unreadable: Vec<Unreadable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FlowState {
    /// Everything that was written is settled.
    UpToDate,
    Delivering,
    /// Nothing was accepted lately.
    Failing,
    /// It is being stopped by a reload.
    Draining,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsStatus {
    /// Where they came from, such as `instance role (IMDSv2)`; none while none were found.
    pub source: Option<String>,
    /// None for those that do not expire.
    pub expires_at: Option<u64>,
    /// Why the last attempt to get some failed; none if it succeeded.
    pub last_error: Option<ErrorStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    pub path: String,
    pub error: String,
}

/// Which files are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilesQuery {
    /// The name of a flow.
    pub flow: Option<String>,
    /// A part of the path, or a glob if it holds `*`, `?`, `[` or `{`, of which there are at most
    /// [`MAX_WILDCARDS`](Self::MAX_WILDCARDS).
    pub file: Option<String>,
    pub sort: Sort,
    pub offset: usize,
    /// At most [`MAX_FILES`](Self::MAX_FILES).
    pub limit: usize,
}

impl FilesQuery {
    pub const MAX_FILES: usize = 1000;
    /// Of `*`, `?`, `[` and `{` in [`file`](Self::file): each costs time for each of the files, and
    /// thousands of braces in each other would take more stack than there is.
    pub const MAX_WILDCARDS: usize = 16;
}

impl Default for FilesQuery {
    fn default() -> Self {
        FilesQuery { flow: None, file: None, sort: Sort::Lag, offset: 0, limit: 100 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sort {
    /// The most bytes that are not settled first.
    #[default]
    Lag,
    /// The oldest byte that is not settled first.
    Age,
    Path,
    /// The largest first.
    Size,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilePage {
    /// How many files the agent follows.
    pub total: usize,
    /// How many of them the query asks for.
    pub matching: usize,
    pub items: Vec<FileStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    pub flow: String,
    pub path: String,
    pub state: FileState,
    pub size: u64,
    /// Read up to here.
    pub read: u64,
    /// Everything before it is delivered, left out by the configuration, or given up.
    pub settled: u64,
    pub lag_bytes: u64,
    pub lag_seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileState {
    Live,
    /// Renamed by rotation; it is followed until it is gone or quiet for long.
    Rotated,
    /// Read to its end for good.
    Finished,
    /// The file is gone; what was read of it is still on its way.
    Gone,
}
