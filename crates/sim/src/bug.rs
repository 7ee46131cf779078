//! Bugs that are planted to see whether the oracle finds them.
//!
//! Each is a mistake that somebody has made or could make here. Those that a wrong log
//! or disk can play are wrappers in this crate; the others are `fault!` points in the
//! engine, which compile to nothing in a product.
//!
//! | The mistake, and who has made it | Here |
//! |---|---|
//! | positions committed before a flush | [`Bug::PositionsBeforeRecords`] |
//! | a failed delivery report is ignored | [`Bug::DeliveryFailureIgnored`] |
//! | what was written counts as restored (KAFKA-16017) | [`Bug::RestoredTooFar`] |
//! | a store outlives an epoch that did not commit (KAFKA-20685) | [`Bug::SpilledBeforeCommit`] |
//! | a changelog of one record counts as empty (Quix Streams 769) | [`Bug::OneChangelogRecordMissed`] |
//! | contiguous offsets are expected (Quix Streams 1017) | [`Bug::ContiguousOffsets`] |
//! | a commit in doubt is tried again (Jepsen) | [`Bug::UnknownRetried`] |
//! | a commit in doubt is taken for one that happened: its state stays | [`Bug::UnknownTakenForDone`] |
//! | nobody compares epochs: zombies | [`Bug::NoFencing`], [`Bug::KeptAfterComeback`] |
//! | a failed sync is tried again | [`Bug::SyncRetried`] |
//! | a file, a folder is not synced | [`Bug::NoSync`], [`Bug::NoDirectorySync`] |
//! | the watermark is not kept (KAFKA-7994) | [`Bug::WatermarkForgotten`] |
//! | what was fetched before a revoke is used (Quix Streams 1146) | [`Bug::FetchedBeforeRevoke`] |
//! | dead letters leave outside the transaction | [`Bug::DeadLetterOutside`] |
//! | a producer is dropped before it is flushed | [`Bug::DroppedUnflushed`] |
//! | a key goes to another worker after a change of scale (Bytewax 0.14) | [`Bug::WrongPartitionAfterRestart`] |
//! | uncommitted records are read | [`Bug::ReadUncommitted`] |
//! | a restore stops at the last stable offset | [`Bug::RestoreToStableEnd`] |
//! | a tick outside the commit | [`Bug::TickOutsideCommit`] |
//! | a batch that runs again keeps its first overlay | [`Bug::RerunKeepsState`] |
//! | at least once: a changelog before its outputs | [`Bug::ChangelogBeforeOutputs`] |
//! | a closed-mark is forgotten at a restart | [`Bug::ClosedMarkForgotten`] |
//! | floats summed per batch | [`Bug::PartialFloatSums`] |
//! | no producer is replaced after a hidden timeout; sequences start anew (librdkafka) | what one client library does: `crates/log/tests/kafka` |

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
    /// A delivery that failed is passed over.
    DeliveryFailureIgnored,
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
    /// A store that has been restored in part is marked as restored.
    RestoredTooFar,
    /// What an epoch did to a store goes to disk before the epoch commits.
    SpilledBeforeCommit,
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
        Bug::DeliveryFailureIgnored,
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
        Bug::RestoredTooFar,
        Bug::SpilledBeforeCommit,
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
            Bug::RestoredTooFar => Some("restored-too-far"),
            Bug::SpilledBeforeCommit => Some("spilled-before-commit"),
            Bug::KeptAfterComeback => Some("kept-after-comeback"),
            _ => None,
        }
    }
}
