//! The rules that are worth waking somebody for: `packaging/prometheus/alerts.yaml` and the
//! alerts in `docs/METRICS.md` are generated from this table.
//!
//! Each names its cause and what to do. What mends itself has no rule.

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Alert {
    pub name: &'static str,
    /// The metric that it is documented with.
    pub family: &'static str,
    /// PromQL.
    pub expr: &'static str,
    /// How long it must hold, as Prometheus writes it.
    pub hold: &'static str,
    pub severity: Severity,
    pub summary: &'static str,
    pub cause: &'static str,
    pub cure: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Lines are late, lost, or about to be: now.
    Critical,
    /// Somebody should look at it in working hours.
    Warning,
}

impl Severity {
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        }
    }
}

use Severity::{Critical, Warning};

#[rustfmt::skip]
pub static ALERTS: &[Alert] = &[
    Alert {
        name: "KinesisAgentFailing",
        family: "kinesis_agent_failing_seconds",
        expr: "kinesis_agent_failing_seconds > 300",
        hold: "1m",
        severity: Critical,
        summary: "Flow {{ $labels.flow }} on {{ $labels.instance }} delivers nothing to {{ $labels.destination }}.",
        cause: "The destination has accepted nothing for more than five minutes: credentials, permissions, a missing stream, a key, or the network. kinesis_agent_requests_failed_total tells the code.",
        cure: "Run kinesis-agent status on the host: it shows the last error. Nothing is lost while the files stay on the disk; keep rotation from removing them.",
    },
    Alert {
        name: "KinesisAgentLagging",
        family: "kinesis_agent_lag_seconds",
        expr: "kinesis_agent_lag_seconds > 600",
        hold: "10m",
        severity: Warning,
        summary: "Flow {{ $labels.flow }} on {{ $labels.instance }} is {{ $value | humanizeDuration }} behind.",
        cause: "More is written than is delivered: throttling, a slow network, too small a memoryBudget or maxInFlight, a file that cannot be read, or a file that waits for the dead-letter file.",
        cure: "kinesis-agent status names the files that are behind. Look at kinesis_agent_entries_throttled_total (add shards) and kinesis_agent_request_duration_seconds (the network) first.",
    },
    Alert {
        name: "KinesisAgentWillNotCatchUp",
        family: "kinesis_agent_lag_bytes",
        expr: "kinesis_agent_lag_bytes > 1e9 and deriv(kinesis_agent_lag_bytes[30m]) > 0",
        hold: "30m",
        severity: Critical,
        summary: "Flow {{ $labels.flow }} on {{ $labels.instance }} is {{ $value | humanize1024 }}B behind, and it is getting worse.",
        cause: "For half an hour more was written than was delivered, and more than a gigabyte waits on the disk.",
        cure: "As for KinesisAgentLagging. See that rotation keeps the files until they are delivered.",
    },
    Alert {
        name: "KinesisAgentUnreadableFiles",
        family: "kinesis_agent_unreadable_files",
        expr: "kinesis_agent_unreadable_files > 0",
        hold: "10m",
        severity: Warning,
        summary: "{{ $value }} files of flow {{ $labels.flow }} on {{ $labels.instance }} cannot be read.",
        cause: "The agent has no permission to read them or their folders, or the disk does not answer.",
        cure: "kinesis-agent status names the files and the errors. Give the agent's user, or CAP_DAC_READ_SEARCH, the right to read them.",
    },
    Alert {
        name: "KinesisAgentThrottled",
        family: "kinesis_agent_entries_throttled",
        expr: "sum without (code) (rate(kinesis_agent_entries_throttled_total[10m])) > 0.1 * rate(kinesis_agent_batch_entries_sum[10m])",
        hold: "15m",
        severity: Warning,
        summary: "{{ $labels.destination }} throttles flow {{ $labels.flow }} on {{ $labels.instance }}.",
        cause: "More than one in ten records is refused because the stream has too few shards, or the delivery stream too small a quota.",
        cure: "Add shards, switch the stream to on-demand, ask AWS for a larger Firehose quota, or pack lines with aggregation.",
    },
    Alert {
        name: "KinesisAgentSlowRequests",
        family: "kinesis_agent_request_duration_seconds",
        expr: "histogram_quantile(0.9, sum without (instance) (rate(kinesis_agent_request_duration_seconds_bucket[10m]))) > 5",
        hold: "15m",
        severity: Warning,
        summary: "One in ten requests of flow {{ $labels.flow }} takes longer than five seconds.",
        cause: "The network to AWS is slow or full, or a proxy stands in between.",
        cure: "Check the host's uplink and the VPC endpoint. Requests that get no answer are halved by themselves.",
    },
    Alert {
        name: "KinesisAgentLostBytes",
        family: "kinesis_agent_lost_bytes",
        expr: "sum without (reason) (increase(kinesis_agent_lost_bytes_total[15m])) > 0",
        hold: "0m",
        severity: Critical,
        summary: "Flow {{ $labels.flow }} on {{ $labels.instance }} lost {{ $value | humanize1024 }}B that were never read.",
        cause: "A file was removed, truncated or overwritten before the agent could read all of it.",
        cure: "The log names the files. Keep rotated files for longer, and rotate by renaming in place of copytruncate.",
    },
    Alert {
        name: "KinesisAgentDeadLetters",
        family: "kinesis_agent_records_dead",
        expr: "increase(kinesis_agent_records_dead_total[1h]) > 0",
        hold: "0m",
        severity: Warning,
        summary: "{{ $value | humanize }} records of flow {{ $labels.flow }} on {{ $labels.instance }} went to the dead-letter file.",
        cause: "The destination refuses these records and accepts others, or they are too long and oversizedRecords says so.",
        cure: "Look at the reasons in the dead-letter file, mend what they name, and send the records again with kinesis-agent redrive, or move the file away.",
    },
    Alert {
        name: "KinesisAgentDeadLetterFileFull",
        family: "kinesis_agent_dead_letter_file_bytes",
        expr: "kinesis_agent_dead_letter_file_bytes > 0.8 * kinesis_agent_dead_letter_file_limit_bytes",
        hold: "5m",
        severity: Critical,
        summary: "The dead-letter files on {{ $labels.instance }} are nearly full.",
        cause: "Nobody has sent them again or moved them away. When they are full, files with refused records wait.",
        cure: "Send them again with kinesis-agent redrive, move them away (the agent makes a new one), or raise deadLetterMaxBytes.",
    },
    Alert {
        name: "KinesisAgentCheckpointsNotStored",
        family: "kinesis_agent_checkpoint_age_seconds",
        expr: "kinesis_agent_checkpoint_age_seconds > 60",
        hold: "1m",
        severity: Critical,
        summary: "The agent on {{ $labels.instance }} has not stored its positions for {{ $value | humanizeDuration }}.",
        cause: "The disk with the state folder is full, slow, read-only or broken. Delivery goes on.",
        cure: "Make room on the disk or mend it before the agent is restarted: a restart now sends lines again.",
    },
    Alert {
        name: "KinesisAgentConfigurationStale",
        family: "kinesis_agent_config_stale",
        expr: "kinesis_agent_config_stale == 1",
        hold: "5m",
        severity: Warning,
        summary: "The agent on {{ $labels.instance }} could not load its changed configuration.",
        cause: "The file has a mistake. The configuration before it is still used, but a restart would fail.",
        cure: "Run kinesis-agent check, mend what it names, and reload.",
    },
    Alert {
        name: "KinesisAgentRestarts",
        family: "kinesis_agent_start_time_seconds",
        expr: "changes(kinesis_agent_start_time_seconds[1h]) > 3",
        hold: "0m",
        severity: Warning,
        summary: "The agent on {{ $labels.instance }} was started {{ $value }} times in an hour.",
        cause: "It crashes, is killed for want of memory, or its watchdog shoots it.",
        cure: "journalctl -u kinesis-agent tells why it ended. Compare MemoryMax with memoryBudget.",
    },
];
