//! What a flow has done so far. Everything is a total since the agent started unless it says
//! otherwise; nothing is reset.
//!
//! Each is written in one place, by the stage that does what it counts.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use super::counter::{ByWord, Counter, Gauge, Histogram, Shards};

/// Up to the longest time that an attempt may take for a full request. Microseconds.
const REQUEST_MICROS: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 25_000_000, 60_000_000,
];

/// Up to the 500 entries that a request may hold.
const BATCH_ENTRIES: &[u64] = &[1, 2, 5, 10, 25, 50, 100, 200, 350, 499, 500];

/// Up to the 10 MiB that a request may hold. Bytes.
const BATCH_BYTES: &[u64] =
    &[1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20, 5 << 20, 10 << 20];

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)*) => {
        #[derive(Debug)]
        pub struct FlowCounters {
            $($(#[$doc])* pub $name: $kind,)*
            /// How long requests took from the first byte to the answer, or to the end of our
            /// patience. Microseconds.
            pub request_micros: Histogram,
            /// How many entries the batches held when they left.
            pub batch_entries: Histogram,
            /// How many payload bytes and partition keys the batches held when they left.
            pub batch_bytes: Histogram,
        }

        impl Default for FlowCounters {
            fn default() -> Self {
                FlowCounters {
                    $($name: <$kind>::default(),)*
                    request_micros: Histogram::new(REQUEST_MICROS),
                    batch_entries: Histogram::new(BATCH_ENTRIES),
                    batch_bytes: Histogram::new(BATCH_BYTES),
                }
            }
        }
    };
}

counters! {
    /// Bytes read from files, once for each read.
    bytes_read: Counter,
    /// Records that were cut from what was read: when their batch is made up, or when they are
    /// left out or given up before. So it is what was delivered, filtered and dead, and what is
    /// on its way.
    records_read: Counter,
    /// Records that were acknowledged.
    records_delivered: Counter,
    /// Payload bytes that were acknowledged.
    bytes_delivered: Counter,
    /// Requests that were sent, retries included.
    requests: Counter,
    /// Requests that wait for their answer: now.
    requests_in_flight: Gauge,
    /// How many requests the destination may have to answer at a time, for all flows that send to
    /// it: now.
    request_limit: Gauge,
    /// Entries that wait until their shard, or the stream, takes more: now.
    entries_held: Gauge,
    /// Open shards of the stream, each of which has a limiter of its own; 0 if they are not known:
    /// now.
    shards_open: Gauge,
    /// Entries that were sent again.
    entries_retried: Counter,
    /// Entries that were refused because of a rate limit, by AWS's code.
    entries_throttled: ByWord,
    /// Requests that failed as a whole, by AWS's code or ours.
    requests_failed: ByWord,
    /// Batches that left because they held as many entries as a request may.
    batches_full_of_entries: Counter,
    /// Batches that left because they held as many bytes as a request may.
    batches_full_of_bytes: Counter,
    /// Batches that left because their oldest record had waited long enough.
    batches_aged: Counter,
    /// Batches that left because a request slot was free.
    batches_eager: Counter,
    /// Batches that left because the memory budget was short.
    batches_for_budget: Counter,
    /// Batches that left because the agent stopped.
    batches_at_shutdown: Counter,
    /// Records that the configuration leaves out.
    records_filtered: Counter,
    /// Records that were cut into pieces or truncated because they were too long.
    records_oversized: Counter,
    /// Records that went to the dead-letter file.
    records_dead: Counter,
    /// Bytes that were gone before they could be read, by [`LossReason`](super::LossReason).
    bytes_lost: ByWord,
    /// Bytes that were read twice because a file could not be told from a copy.
    bytes_repeated: Counter,
    /// What happened to files, by [`RotationKind`](super::RotationKind).
    rotations: ByWord,
    /// How often the system had more file-system events than it could hold, and all folders
    /// were looked at instead.
    event_overflows: Counter,
    /// Looks at all folders of the flow.
    scans: Counter,
    /// Files that are held open, as of the last second: now.
    open_files: Gauge,
    /// Bytes of the disk that are held by deleted files with unread bytes, as of the last second:
    /// now.
    removed_bytes: Gauge,
    /// Files that are followed, open or not, as of the last second: now.
    files_followed: Gauge,
    /// Bytes of the flow's files that are not settled yet: now.
    lag_bytes: AtomicI64,
    /// The age of the oldest of them, in milliseconds: now.
    lag_millis: AtomicU64,
    /// Whether all that the file stage knows of has been read: now.
    caught_up: AtomicBool,
    /// The shards that took records.
    shards: Shards,
}
