//! Every key that a configuration may hold, in one table.
//!
//! The table decides what an unknown key is and which known one was meant; the tests hold
//! `config.example.yaml` and `docs/CONFIGURATION.md` against it. All keys of the Java agent are
//! in it: a key that changes what is delivered, and that this version does not know how to
//! follow, must not be passed over in silence. Defaults and ranges are not here but where the key
//! is read, because they depend on the destination and on the language of the file.

use Level::{Agent, Flow};
use Role::{NoEffect, Unsupported, Used};

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// At the top of the file.
    Agent,
    /// In an entry of `flows`.
    Flow,
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Used,
    /// A key of the Java agent that can be left out: what to do instead, if anything.
    NoEffect(&'static str),
    /// A key of the Java agent without which other data would be delivered, or by somebody else:
    /// why, and what to do instead.
    Unsupported(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub level: Level,
    /// With dots, as the Java agent writes it; nesting is the same.
    pub name: &'static str,
    pub role: Role,
}

const fn key(level: Level, name: &'static str, role: Role) -> Key {
    Key { level, name, role }
}

const THREADS: Role = NoEffect("`maxInFlight` in a flow bounds its requests");
const HTTP: Role = NoEffect("connections are kept and timed out by the agent itself");
const LOGS: Role = NoEffect("what is logged is set on the command line");
const CLOUDWATCH: Role = NoEffect("this version publishes no metrics to CloudWatch");
const CHECKPOINTS: Role = NoEffect("positions are kept as long as their files may come back");
const PROVIDER: Role = Unsupported(
    "no Java class can be loaded; remove the key and use the SDK's own chain (environment, profile, \
     `credential_process`, web identity, container, instance) or `assumeRoleARN`",
);

pub const KEYS: &[Key] = &[
    key(Agent, "flows", Used),
    key(Agent, "checkpointFile", Used),
    key(Agent, "checkpointTimeToLiveDays", Used),
    key(Agent, "maxOpenRemovedBytes", Used),
    key(Agent, "deadLetterFile", Used),
    key(Agent, "deadLetterMaxBytes", Used),
    key(Agent, "kinesis.endpoint", Used),
    key(Agent, "kinesis.region", Used),
    key(Agent, "firehose.endpoint", Used),
    key(Agent, "firehose.region", Used),
    key(Agent, "sts.endpoint", Used),
    key(Agent, "awsProfile", Used),
    key(Agent, "awsAccessKeyId", Used),
    key(Agent, "awsSecretAccessKey", Used),
    key(Agent, "assumeRoleARN", Used),
    key(Agent, "assumeRoleExternalId", Used),
    key(Agent, "proxy", Used),
    key(Agent, "noProxy", Used),
    key(Agent, "caBundle", Used),
    key(Agent, "useFipsEndpoint", Used),
    key(Agent, "useDualStackEndpoint", Used),
    key(Agent, "shutdownTimeoutMillis", Used),
    key(Agent, "memoryBudget", Used),
    key(Agent, "scanIntervalMillis", Used),
    key(Agent, "useFileEvents", Used),
    key(Agent, "status.socket", Used),
    key(Agent, "status.listen", Used),
    key(Agent, "status.unreadyAfterMillis", Used),
    key(Flow, "name", Used),
    key(Flow, "filePattern", Used),
    key(Flow, "excludePattern", Used),
    key(Flow, "kinesisStream", Used),
    key(Flow, "deliveryStream", Used),
    key(Flow, "region", Used),
    key(Flow, "endpoint", Used),
    key(Flow, "awsProfile", Used),
    key(Flow, "assumeRoleARN", Used),
    key(Flow, "assumeRoleExternalId", Used),
    key(Flow, "proxy", Used),
    key(Flow, "noProxy", Used),
    key(Flow, "caBundle", Used),
    key(Flow, "useFipsEndpoint", Used),
    key(Flow, "useDualStackEndpoint", Used),
    key(Flow, "initialPosition", Used),
    key(Flow, "maxBufferAgeMillis", Used),
    key(Flow, "maxBufferSizeRecords", Used),
    key(Flow, "maxBufferSizeBytes", Used),
    key(Flow, "maxInFlight", Used),
    key(Flow, "partitionKeyOption", Used),
    key(Flow, "ordering", Used),
    key(Flow, "shardBytesPerSecond", Used),
    key(Flow, "shardRecordsPerSecond", Used),
    key(Flow, "flush", Used),
    key(Flow, "retryInitialBackoffMillis", Used),
    key(Flow, "retryMaxBackoffMillis", Used),
    key(Flow, "multiLineStartPattern", Used),
    key(Flow, "multiLineFlushMillis", Used),
    key(Flow, "multiLineMaxBytes", Used),
    key(Flow, "skipHeaderLines", Used),
    key(Flow, "finishedAfterMillis", Used),
    key(Flow, "maxRecordBytes", Used),
    key(Flow, "oversizedRecords", Used),
    key(Flow, "truncatedRecordTerminator", Used),
    key(Flow, "aggregation", Used),
    key(Flow, "aggregationMaxBytes", Used),
    key(Flow, "aggregationMaxRecords", Used),
    key(Flow, "compression", Used),
    key(Flow, "forceCompression", Used),
    key(Agent, "userDefinedCredentialsProvider.classname", PROVIDER),
    key(Agent, "userDefinedCredentialsProvider.location", PROVIDER),
    key(
        Flow,
        "dataProcessingOptions",
        Unsupported(
            "without it the records would hold other data; remove the key, and convert behind the stream",
        ),
    ),
    key(
        Flow,
        "fileFooterPattern",
        Unsupported(
            "without it the footer would be sent; remove the key, and drop the footer behind the stream",
        ),
    ),
    key(Agent, "checkpoints.queryTimeoutSeconds", CHECKPOINTS),
    key(Agent, "checkpoints.connectionTimeoutSeconds", CHECKPOINTS),
    key(Agent, "maxSendingThreads", THREADS),
    key(Agent, "maxSendingThreadsPerCore", THREADS),
    key(Agent, "sendingThreadsKeepAliveMillis", THREADS),
    key(Agent, "sendingThreadsMaxQueueSize", THREADS),
    key(Agent, "maxConnections", HTTP),
    key(Agent, "connectionTimeoutMillis", HTTP),
    key(Agent, "connectionTTLMillis", HTTP),
    key(Agent, "socketTimeoutMillis", HTTP),
    key(Agent, "useTcpKeepAlive", HTTP),
    key(Agent, "useHttpGzip", HTTP),
    key(Agent, "userAgent", HTTP),
    key(Agent, "userAgentOverride", HTTP),
    key(Agent, "cloudwatch.endpoint", CLOUDWATCH),
    key(Agent, "cloudwatch.emitMetrics", CLOUDWATCH),
    key(Agent, "cloudwatch.namespace", CLOUDWATCH),
    key(Agent, "cloudwatch.metricsBufferTimeMillis", CLOUDWATCH),
    key(Agent, "cloudwatch.metricsQueueSize", CLOUDWATCH),
    key(Agent, "cloudwatch.tagInstance", CLOUDWATCH),
    key(Agent, "log.emitMetrics", LOGS),
    key(Agent, "log.emitInternalMetrics", LOGS),
    key(Agent, "log.statusReportingPeriodSeconds", LOGS),
    key(Agent, "log.level", LOGS),
    key(Agent, "log.file", LOGS),
    key(Agent, "log.maxBackupIndex", LOGS),
    key(Agent, "log.maxFileSize", LOGS),
    key(Flow, "log.emitInternalMetrics", LOGS),
    key(Flow, "publishQueueCapacity", NoEffect("`memoryBudget` bounds what waits to be sent")),
    key(Flow, "waitOnFullPublishQueueMillis", NoEffect("")),
    key(Flow, "waitOnEmptyPublishQueueMillis", NoEffect("")),
    key(Flow, "waitOnFullRetryQueueMillis", NoEffect("")),
    key(Flow, "minTimeBetweenFilePollsMillis", NoEffect("files are read when they change")),
    key(
        Flow,
        "maxTimeBetweenFileTrackerRefreshMillis",
        NoEffect("use `scanIntervalMillis` at the top level"),
    ),
    key(Flow, "aggregatedRecordSizeBytes", NoEffect("use `aggregation: lines` and `aggregationMaxBytes`")),
];

/// The key `name`, with dots, if it may stand there.
pub fn find(level: Level, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.level == level && key.name == name)
}

/// The keys that may be nested in `name`.
pub fn in_group(level: Level, name: &str) -> impl Iterator<Item = &'static str> {
    let prefix = format!("{name}.");
    KEYS.iter().filter(move |key| key.level == level && key.name.starts_with(&prefix)).map(|key| key.name)
}

/// What is to be said about `name`, which is not a key of `level`, and the key that was meant.
pub fn unknown(level: Level, name: &str) -> (String, Option<&'static str>) {
    let (here, there) = match level {
        Agent => ("at the top level", "in a flow, that is in an entry of `flows`"),
        Flow => ("in a flow", "at the top level, beside `flows`"),
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    if let Some(key) = KEYS.iter().find(|key| key.level != level && key.name == name) {
        return (format!("does not belong {here}; `{}` belongs {there}", key.name), None);
    }
    if let Some(key) = KEYS.iter().find(|key| key.name == last && last != name) {
        let place = if key.level == level { here } else { there };
        return (format!("no such key; `{last}` belongs {place}"), None);
    }
    let best = KEYS
        .iter()
        .map(|key| (likeness(name, key.name), key))
        // Of two that are as alike, the one that may stand here.
        .max_by(|(a, x), (b, y)| a.total_cmp(b).then((x.level == level).cmp(&(y.level == level))));
    match best {
        Some((likeness, key)) if likeness >= 0.87 && key.level == level => {
            (format!("no such key {here}; did you mean `{}`?", key.name), Some(key.name))
        }
        Some((likeness, key)) if likeness >= 0.87 => {
            (format!("no such key {here}; did you mean `{}`? It belongs {there}", key.name), None)
        }
        _ => (format!("no such key {here}; every key is explained in docs/CONFIGURATION.md"), None),
    }
}

/// The one of `allowed` that was probably meant.
pub fn meant<'a>(typed: &str, allowed: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = allowed.map(|word| (likeness(typed, word), word)).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= 0.8).then_some(best.1)
}

/// 1 for the same word in any case, 0 for words that have nothing in common.
fn likeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(&a.to_lowercase(), &b.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice_and_none_is_also_a_group() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(!KEYS[..at].iter().any(|k| k.level == key.level && k.name == key.name), "{}", key.name);
            assert_eq!(in_group(key.level, key.name).count(), 0, "{}", key.name);
        }
    }
}
