//! Bugs that are planted to see whether the oracle finds them.
//!
//! Each is a mistake that somebody has made (`reference`: an issue of another
//! project) or could make here. Those that a wrong log or disk can play are
//! wrappers in this crate; the others are `fault!` points in the engine, which
//! compile to nothing in a product.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    // ---- played by the log ----
    /// A commit whose outcome is unknown is taken for one that happened.
    UnknownTakenForDone,
    /// A commit whose outcome is unknown is sent again.
    UnknownRetried,
    /// Positions are committed before the records that belong to them.
    PositionsBeforeRecords,
    /// Dead letters leave outside the transaction.
    DeadLetterOutside,
    /// A changelog of one record counts as empty.
    OneChangelogRecordMissed,
    /// The next position is computed: the last one and the number of records.
    ContiguousOffsets,
    /// Nobody compares generations and epochs: zombies commit.
    NoFencing,
    /// What was fetched before a revoke is handed out after it.
    FetchedBeforeRevoke,
    /// A later life writes a key to another partition.
    WrongPartitionAfterRestart,
    /// A producer is dropped before it is flushed.
    DroppedUnflushed,
    /// Readers see records of open and aborted transactions.
    ReadUncommitted,
    /// Under at-least-once, a changelog is sent before the outputs are acknowledged.
    ChangelogBeforeOutputs,
    // ---- played by the disk ----
    /// A file's bytes are not synced before the commit.
    NoSync,
    /// A failed sync is tried again.
    SyncRetried,
    /// A folder is not synced after a file was made in it.
    NoDirectorySync,
    // ---- points in the engine ----
    /// A restore ends at the last stable offset.
    RestoreToStableEnd,
    /// A tick's time is not in the commit that holds its effects.
    TickOutsideCommit,
    /// A batch that runs again keeps what its first run did to state.
    RerunKeepsState,
    /// The end of closed windows is forgotten at a restart.
    ClosedMarkForgotten,
    /// Floats are summed per batch first.
    PartialFloatSums,
    /// The watermark is not restored.
    WatermarkForgotten,
    /// A task is kept although another instance has had its partition meanwhile.
    KeptAfterComeback,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Bug] = &[
        Bug::UnknownTakenForDone,
        Bug::UnknownRetried,
        Bug::PositionsBeforeRecords,
        Bug::DeadLetterOutside,
        Bug::OneChangelogRecordMissed,
        Bug::ContiguousOffsets,
        Bug::NoFencing,
        Bug::FetchedBeforeRevoke,
        Bug::WrongPartitionAfterRestart,
        Bug::DroppedUnflushed,
        Bug::ReadUncommitted,
        Bug::ChangelogBeforeOutputs,
        Bug::NoSync,
        Bug::SyncRetried,
        Bug::NoDirectorySync,
        Bug::RestoreToStableEnd,
        Bug::TickOutsideCommit,
        Bug::RerunKeepsState,
        Bug::ClosedMarkForgotten,
        Bug::PartialFloatSums,
        Bug::WatermarkForgotten,
        Bug::KeptAfterComeback,
    ];

    /// The name of its point in the engine, if it has one.
    pub fn point(self) -> Option<&'static str> {
        match self {
            Bug::RestoreToStableEnd => Some("restore-to-stable-end"),
            Bug::TickOutsideCommit => Some("tick-outside-commit"),
            Bug::RerunKeepsState => Some("rerun-keeps-state"),
            Bug::ClosedMarkForgotten => Some("closed-mark-forgotten"),
            Bug::PartialFloatSums => Some("partial-float-sums"),
            Bug::WatermarkForgotten => Some("watermark-forgotten"),
            Bug::KeptAfterComeback => Some("kept-after-comeback"),
            _ => None,
        }
    }
}
