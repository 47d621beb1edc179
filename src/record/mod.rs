//! Stage 2, which records: cuts chunks into records (lines, or events of several lines) and
//! says of every byte either which record it belongs to or why it is left out.

/// Records of one tail, still in one piece.
pub mod block;
/// What this stage is told to do.
pub mod options;

pub use block::{Block, FilterReason, Output, Shape};
pub use options::{MultiLine, Options, Oversized};
