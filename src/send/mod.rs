//! Stage 3, which requests: packs records into entries and entries into requests, sends them
//! until every entry has an outcome, and tells the settle stage.

/// Blocks -> entries -> batches, within the limits.
pub mod batch;
/// What AWS counts as a record, and the request that carries many.
pub mod entry;
/// What this stage is told to do.
pub mod options;
/// What became of an entry, and of a request.
pub mod outcome;
/// Which shard an entry goes to.
pub mod partition;
/// How long to wait before the next attempt.
pub mod retry;

pub use entry::{Batch, DeadLetter, Entry, FlushReason, Part};
pub use options::{Aggregation, Credentials, Destination, Options, PartitionKey};

#[cfg(test)]
mod testing;
