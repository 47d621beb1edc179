//! Stage 2, which records: cuts chunks into records (lines, or events of several lines) and
//! says of every byte either which record it belongs to or why it is left out.

/// Records of one tail, still in one piece.
pub mod block;
/// The bytes that had to be copied out of their chunks.
pub mod copies;
/// Which bytes of a chunk are lines, and which are too long.
pub mod frame;
/// What becomes of a line that is too long.
pub mod long_line;
/// Events of several lines.
pub mod multiline;
/// What this stage is told to do.
pub mod options;
/// Chunks of all tails of a flow -> outputs.
pub mod recorder;
/// The task around the recorder.
pub mod stage;
/// What a power cut left of lines.
pub mod zeros;

pub use block::{Block, Dead, FilterReason, Output, Shape};
pub use options::{MultiLine, Options, Oversized};
pub use recorder::Recorder;
