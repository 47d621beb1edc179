//! The line that says each 30 s how a flow is doing: what was delivered since the last line
//! and in total, how far it is behind, and how often it had to try again.
//!
//! It only reads the counters; the wiring calls it in time.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::counters::FlowCounters;

/// How often the line is due.
pub const EVERY: Duration = Duration::from_secs(30);

/// What the counters were when the last line was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    records: u64,
    bytes: u64,
    retries: u64,
}

/// How a flow is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub records: u64,
    pub records_total: u64,
    /// Payload bytes.
    pub bytes: u64,
    pub bytes_total: u64,
    /// Bytes of the flow's files that are not settled.
    pub lag_bytes: u64,
    /// Entries that were sent again, and requests that failed as a whole.
    pub retries: u64,
    pub retries_total: u64,
    /// Bytes that were gone before they could be read, since the agent started.
    pub lost_bytes_total: u64,
    /// Records in the dead-letter file, since the agent started.
    pub dead_total: u64,
}

impl Progress {
    /// What happened since the last report, and in total.
    pub fn report(&mut self, counters: &FlowCounters) -> Report {
        let now = Progress {
            records: counters.records_delivered.get(),
            bytes: counters.bytes_delivered.get(),
            retries: counters.entries_retried.get() + counters.requests_failed.get(),
        };
        let before = std::mem::replace(self, now);
        Report {
            records: now.records - before.records,
            records_total: now.records,
            bytes: now.bytes - before.bytes,
            bytes_total: now.bytes,
            lag_bytes: counters.lag_bytes.load(Ordering::Relaxed).max(0).unsigned_abs(),
            retries: now.retries - before.retries,
            retries_total: now.retries,
            lost_bytes_total: counters.bytes_lost.get(),
            dead_total: counters.records_dead.get(),
        }
    }
}

impl Report {
    /// Writes the line.
    pub fn log(&self, flow: &str) {
        tracing::info!(
            flow,
            records = self.records,
            records_total = self.records_total,
            bytes = self.bytes,
            bytes_total = self.bytes_total,
            lag_bytes = self.lag_bytes,
            retries = self.retries,
            retries_total = self.retries_total,
            lost_bytes_total = self.lost_bytes_total,
            dead_total = self.dead_total,
            "{self}"
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delivered {} records ({})", self.records, Size(self.bytes))?;
        match self.lag_bytes {
            0 => write!(f, ", nothing is left to send")?,
            lag => write!(f, ", {} are left to send", Size(lag))?,
        }
        if self.retries > 0 {
            write!(f, ", {} retries", self.retries)?;
        }
        if self.dead_total > 0 {
            write!(f, ", {} records in the dead-letter file so far", self.dead_total)?;
        }
        if self.lost_bytes_total > 0 {
            write!(f, ", {} lost so far", Size(self.lost_bytes_total))?;
        }
        Ok(())
    }
}

/// A number of bytes for people: three digits or so, in binary units.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut size = self.0 as f64;
        let mut unit = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
            if size < 1024.0 {
                break;
            }
            size /= 1024.0;
            unit = larger;
        }
        write!(f, "{size:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_what_is_new() {
        let counters = FlowCounters::default();
        let mut progress = Progress::default();
        counters.records_delivered.add(10);
        counters.bytes_delivered.add(2048);
        counters.lag_bytes.store(-5, Ordering::Relaxed);
        let first = progress.report(&counters);
        assert_eq!(first.to_string(), "delivered 10 records (2.0 KiB), nothing is left to send");
        counters.records_delivered.add(1);
        counters.entries_retried.add(3);
        counters.requests_failed.add("network", 1);
        counters.lag_bytes.store(5 << 30, Ordering::Relaxed);
        let second = progress.report(&counters);
        assert_eq!((second.records, second.records_total, second.bytes), (1, 11, 0));
        assert_eq!(second.to_string(), "delivered 1 records (0 B), 5.0 GiB are left to send, 4 retries");
        counters.records_dead.add(2);
        counters.bytes_lost.add("removed", 3);
        let third = progress.report(&counters).to_string();
        assert!(third.ends_with(", 2 records in the dead-letter file so far, 3 B lost so far"), "{third}");
    }
}
