//! What a flow has done so far. Everything is a total since the agent started unless it says
//! otherwise; nothing is reset.

use std::sync::atomic::{AtomicI64, AtomicU64};

use super::counter::{Counter, Gauge, Shards};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub struct FlowCounters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Bytes of the flow's files that are not settled yet: now, not a total.
            pub lag_bytes: AtomicI64,
            /// Requests that wait for their answer: now.
            pub requests_in_flight: Gauge,
            /// Files that are held open, as of the last second: now.
            pub open_files: Gauge,
            /// Files that are followed, open or not, as of the last second: now.
            pub files_followed: Gauge,
            /// The shards that took records.
            pub shards: Shards,
            /// The age of the oldest of them in milliseconds: now.
            pub lag_millis: AtomicU64,
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
