//! What a flow has done so far. Everything is a total since the agent started unless it says
//! otherwise; nothing is reset.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub struct FlowCounters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Bytes of the flow's files that are not settled yet: now, not a total.
            pub lag_bytes: AtomicI64,
            /// Whether all that the file stage knows of has been read: now.
            pub caught_up: AtomicBool,
        }
    };
}

counters! {
    /// Bytes read from files, once for each read.
    bytes_read,
    /// Records that were acknowledged.
    records_delivered,
    /// Payload bytes that were acknowledged.
    bytes_delivered,
    /// Requests that were sent, retries included.
    requests,
    /// Entries that were sent again.
    entries_retried,
    /// Entries that were refused because of a rate limit.
    entries_throttled,
    /// Requests that failed as a whole.
    requests_failed,
    /// Batches that left because they held as many entries as a request may.
    batches_full_of_entries,
    /// Batches that left because they held as many bytes as a request may.
    batches_full_of_bytes,
    /// Batches that left because their oldest record had waited long enough.
    batches_aged,
    /// Batches that left because the memory budget was short.
    batches_for_budget,
    /// Batches that left because the agent stopped.
    batches_at_shutdown,
    /// Records that the configuration leaves out.
    records_filtered,
    /// Records that were cut into pieces or truncated because they were too long.
    records_oversized,
    /// Records that went to the dead-letter file.
    records_dead,
    /// Bytes that were gone before they could be read.
    bytes_lost,
    /// Bytes that were read twice because a file could not be told from a copy.
    bytes_repeated,
}

impl FlowCounters {
    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
