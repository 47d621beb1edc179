//! Stage 3, which requests: packs records into entries and entries into requests, sends them
//! until every entry has an outcome, and tells the settle stage.

/// The aggregated format of the Kinesis Producer Library.
pub mod aggregate;
/// Base64 of bytes that come in pieces.
mod base64;
/// Blocks -> entries -> batches, within the limits.
pub mod batch;
/// The body of a request, in the place of the SDK's.
mod body;
/// The clients of the destinations, and where their credentials come from.
pub mod clients;
/// Entries as gzip or Zstandard.
pub mod compress;
/// How many requests a destination has to answer at a time.
pub mod controller;
/// Tells where credentials came from.
mod credentials;
/// One batch, until each of its entries is settled.
mod delivery;
/// What a destination says of itself.
mod description;
/// Prints what would be sent.
pub mod dry_run;
/// What AWS counts as a record, and the request that carries many.
pub mod entry;
/// What stands around the records of an entry.
pub mod envelope;
/// The SDK's errors, as we see them.
mod failure;
/// PutRecordBatch.
mod firehose;
/// The HTTP client below the SDK.
mod http;
/// Asks a destination whether it would take records.
pub mod inquiry;
/// Finds the keys of records.
pub mod keyer;
/// PutRecords.
mod kinesis;
/// The way to one destination, shared by its flows.
pub mod lane;
/// How much may be under way.
pub mod limit;
/// How fast entries may go to a shard or a stream.
pub mod limiter;
/// What the deliveries of one flow share.
mod link;
/// What this stage is told to do.
pub mod options;
/// Which keys have an entry under way.
pub mod order;
/// What became of an entry, and of a request.
pub mod outcome;
/// How long one attempt may take.
pub mod pace;
/// Which shard an entry goes to.
pub mod partition;
/// A batch as it falls into pieces.
pub mod pieces;
/// What was delivered, merged per tail.
pub mod receipt;
/// Sends what was given up once more.
pub mod redelivery;
/// When a client is made anew.
mod renewal;
/// How long to wait before the next attempt.
pub mod retry;
/// The loop of one flow: blocks in, settled spans out.
pub mod sender;
/// The open shards of a stream, and where the next entry goes.
pub mod shards;
/// The files that a client was made from.
mod sources;
/// Where entries go, and when.
pub mod spread;
/// What compression leaves.
pub mod squeeze;
/// The body of a request, written piece by piece.
pub mod text;
/// The body of a request on its way to the socket.
mod upload;

pub use clients::{Client, ClientError, Clients};
pub use dry_run::DryRun;
pub use entry::{Batch, DeadLetter, Entry, FlushReason, Part, Records};
pub use lane::{Lane, Lanes};
pub use limit::{Accepted, Bodies};
pub use options::{
    Address, Aggregation, Capture, Compression, Credentials, Destination, Flush, Network, Options,
    PartitionKey, Proxy, ShardLimits,
};
pub use sender::{Ending, Sender, Setup};

/// Why a destination cannot be asked.
mod trouble;

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod testing;
