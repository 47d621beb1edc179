//! Stage 4, what is safe: follows what is settled of each tail and stores how far its
//! contiguous prefix reaches.

/// Since when the unsettled bytes of each tail have been there.
pub mod arrivals;
/// All that is known of the tails, and what of it is not stored yet.
pub mod book;
/// Records that were given up, in a file for the operator.
pub mod dead_letters;
/// The answer to a question about files.
pub mod inquiry;
/// How far the contiguous settled prefix of each tail reaches.
pub mod ledger;
/// Keeps a second agent away.
pub mod lock;
/// What a damaged or missing database is replaced with.
pub mod recovery;
/// A dead-letter file whose lines are sent again.
pub mod redrive;
/// Which stored tails belong to which flow.
pub mod resume;
/// The task of this stage.
pub mod settler;
/// The database.
pub mod store;

pub use dead_letters::DeadLetters;
pub use resume::{FlowIdentity, Resumed};
pub use settler::{FlowChange, Inlets, Settler, SettlerFlow, Summary};
pub use store::{Store, StoreError};
