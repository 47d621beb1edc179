//! Stage 1, which bytes: finds the files, follows each through every rotation, and hands
//! out chunks of complete lines with their positions.

/// The byte budget for all that is read and not yet settled.
pub mod budget;
/// Bytes of one tail, from one position.
pub mod chunk;
/// What the stage tells the others about a tail.
pub mod note;
/// What this stage is told to do.
pub mod options;

pub use budget::{Budget, FlowBudget};
pub use chunk::{Anchor, Chunk, Settled, Span, TailId};
pub use note::{ChunkEnd, Identity, KnownTail, Stored, TailEvent, TailNote, TailState};
pub use options::{InitialPosition, Options};
