//! Stage 1, which bytes: finds the files, follows each through every rotation, and hands
//! out chunks of complete lines with their positions.

/// Where a file may be that is not at its path.
pub mod attic;
/// Where a tail's bytes are read from.
pub mod body;
/// The byte budget for all that is read and not yet settled.
pub mod budget;
/// Bytes of one tail, from one position.
pub mod chunk;
/// Where reading would begin.
pub mod forecast;
/// What becomes of the open files when the tailers end.
pub mod handover;
/// Whether an open file is the one that was known.
pub mod identity;
/// The anchors that are kept of a tail.
pub mod ladder;
/// What the folders of a flow hold.
pub mod listing;
/// Which of several rows with one inode is the file's.
mod lives;
/// Where the stage of a flow is woken.
pub mod mailbox;
/// What is done with a file that is no tail's.
pub mod newcomer;
/// What the stage tells the others about a tail.
pub mod note;
/// What this stage is told to do.
pub mod options;
/// The globs of a flow.
pub mod pattern;
/// The disk that deleted files hold.
pub mod removed;
/// Tails whose file holds something else by now.
mod replaced;
/// Where a tail's unread rest is.
mod rest;
/// What happened between two looks.
pub mod rotation;
/// How a flow acts on what a look shows.
pub mod scan;
/// The thread of one flow.
pub mod stage;
/// Which file waits for another.
mod succession;
/// One tail, read in chunks of complete lines.
pub mod tail;
/// All tails of one flow.
pub mod tailers;
/// How a tail is found.
pub mod tails;
/// What is done with the tails each second.
mod tending;
/// Which tail is read next.
pub mod turns;
/// Decompressed bytes of a rotated file.
pub mod unpacked;
/// File-system events.
pub mod watch;

pub use budget::{Budget, FlowBudget};
pub use chunk::{Anchor, Chunk, Settled, Span, TailId};
pub use note::{ChunkEnd, Identity, KnownTail, Lost, Stored, TailEvent, TailNote, TailState};
pub use options::{InitialPosition, Options};
