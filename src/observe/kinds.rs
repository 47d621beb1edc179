//! The words by which the counters of a flow's files are told apart: what a look found to have
//! happened to a file, and why bytes were never read.
//!
//! They are labels of metrics, so they are few and never change their names.

/// What happened to a file, as one look after another shows it. One rotation may show as two:
/// a copy in the making, then a truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationKind {
    /// It has another name now, in its folder or in another.
    Renamed,
    /// It was truncated (or replaced, with its inode used again), and the unread rest was found
    /// in a copy.
    CopyTruncated,
    /// It was truncated (or replaced, with its inode used again), and there was no copy.
    Truncated,
    /// It lost its last bytes.
    Cut,
    /// Another file has its name, and none leads to it.
    Replaced,
    /// No name leads to it.
    Removed,
    /// It is gone, and a compressed file holds it; or a compressed copy of it appeared.
    Compressed,
    /// A copy of it appeared, or it is gone and a copy holds it.
    Copied,
    /// A file was born and rotated away between two looks.
    Unseen,
}

impl RotationKind {
    pub const ALL: [RotationKind; 9] = [
        RotationKind::Renamed,
        RotationKind::CopyTruncated,
        RotationKind::Truncated,
        RotationKind::Cut,
        RotationKind::Replaced,
        RotationKind::Removed,
        RotationKind::Compressed,
        RotationKind::Copied,
        RotationKind::Unseen,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            RotationKind::Renamed => "renamed",
            RotationKind::CopyTruncated => "copytruncated",
            RotationKind::Truncated => "truncated",
            RotationKind::Cut => "cut",
            RotationKind::Replaced => "replaced",
            RotationKind::Removed => "removed",
            RotationKind::Compressed => "compressed",
            RotationKind::Copied => "copied",
            RotationKind::Unseen => "unseen",
        }
    }
}

/// Why bytes of a file were never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// The file was truncated or overwritten, and no copy was found.
    Truncated,
    /// The file lost its last bytes.
    Cut,
    /// The file was removed while it was not held open, and its content was not found.
    Removed,
    /// The file was not found when the agent started, nor was its content.
    NotFoundAtStart,
    /// The agent had to stop before it could read the rest of a file that has no name.
    Shutdown,
    /// The file was deleted, and deleted files held too much of the disk.
    Space,
    /// While the agent was stopped the file was compressed in a way that it cannot read. Counted is
    /// the size of the compressed file.
    Unreadable,
}

impl LossReason {
    pub const ALL: [LossReason; 7] = [
        LossReason::Truncated,
        LossReason::Cut,
        LossReason::Removed,
        LossReason::NotFoundAtStart,
        LossReason::Shutdown,
        LossReason::Space,
        LossReason::Unreadable,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            LossReason::Truncated => "truncated",
            LossReason::Cut => "cut",
            LossReason::Removed => "removed",
            LossReason::NotFoundAtStart => "not_found_at_start",
            LossReason::Shutdown => "shutdown",
            LossReason::Space => "space",
            LossReason::Unreadable => "unreadable",
        }
    }
}
