//! Stage 3, which requests: packs records into entries and entries into requests, sends them
//! until every entry has an outcome, and tells the settle stage.

/// What AWS counts as a record, and the request that carries many.
pub mod entry;
/// What this stage is told to do.
pub mod options;

pub use entry::{Batch, DeadLetter, Entry, FlushReason, Part};
pub use options::{Aggregation, Credentials, Destination, Options, PartitionKey};
