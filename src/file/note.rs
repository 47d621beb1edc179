//! What the file stage says: to the record stage, the bytes of its tails in order
//! ([`TailEvent`]); to the settle stage, who those tails are ([`TailNote`]), so that they are
//! found again after a restart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chunk::{Anchor, Chunk, TailId};
use crate::observe::LossReason;

/// The bytes of a flow's tails. Events of one tail arrive in the order of its bytes.
#[derive(Clone, Debug)]
pub enum TailEvent {
    /// Reading of this tail begins at `start` (0, or a position that was stored).
    Opened { tail: TailId, path: Arc<Path>, start: u64 },
    Chunk {
        chunk: Chunk,
        end: ChunkEnd,
        /// Nothing was behind the chunk when it was read. While this is false more bytes
        /// are on their way, and nothing should be flushed for want of them.
        caught_up: bool,
    },
    /// From now on the file after this one is read: what is held back of this tail goes before.
    Followed { tail: TailId },
    /// The tail's life is over: no more bytes will come.
    Ended { tail: TailId },
}

/// What the last byte of a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEnd {
    /// The newline that ends a line.
    Line,
    /// The middle of a line that is longer than a chunk may be; the line goes on in the
    /// next chunk of this tail.
    MidLine,
    /// The last byte of a finished file whose last line has no newline.
    Unterminated,
}

/// Who a file is, as far as its content tells, on its own file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// A hint only: device numbers change over reboots.
    pub device: u64,
    pub inode: u64,
    /// How many of the first bytes `head_hash` covers (up to 1 KiB, growing with the file).
    pub head_length: u32,
    /// XXH3, 64 bits.
    pub head_hash: u64,
}

/// What became of a tail's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailState {
    /// At a path that the flow watches.
    Live,
    /// Renamed, or its unread rest is taken from a copy: nothing more is expected, but
    /// watched until it is gone or was quiet for long.
    Rotated,
    /// A compressed body that was read to its end. The row stays for as long as the file
    /// does, so that the file is not taken for a new one.
    Finished,
    /// No file holds it any more: it was deleted, truncated or replaced.
    Over,
}

/// What was stored of a tail, given back to the file stage when the agent starts.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownTail {
    pub tail: TailId,
    pub path: Arc<Path>,
    pub identity: Identity,
    /// The watermark: everything before it is safe.
    pub offset: u64,
    /// The newest first; the first is the one at `offset` unless `offset` is 0.
    pub anchors: Vec<Anchor>,
    /// The file's size when it was last looked at.
    pub size: u64,
    /// The file's modification time then, in milliseconds since the epoch.
    pub modified_millis: i64,
    pub state: TailState,
}

/// What the settle stage must know of a tail.
#[derive(Clone, Debug)]
pub enum TailNote {
    /// A new tail. Nothing is read before `stored` is set, where there is one: a start
    /// other than 0 must survive a crash. `flow` is the flow's key.
    Started { flow: Arc<str>, known: KnownTail, stored: Option<Stored> },
    /// The tail's path, identity, size or state changed. `known.offset` and `.anchors`
    /// mean nothing here: the settle stage knows better.
    Changed { known: KnownTail },
    /// The file can no longer be found. Should it come back, it is known.
    Gone { tail: TailId, lost: Option<Lost> },
    /// The tail's life is over for good.
    Ended { tail: TailId, lost: Option<Lost> },
}

/// Bytes of a tail that were never read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub bytes: u64,
    pub reason: LossReason,
}

impl Lost {
    /// None if no bytes are lost.
    pub fn of(bytes: u64, reason: LossReason) -> Option<Self> {
        (bytes > 0).then_some(Lost { bytes, reason })
    }
}

/// Set by the settle stage once a start position is on disk.
#[derive(Clone, Debug, Default)]
pub struct Stored(Arc<AtomicBool>);

impl Stored {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
