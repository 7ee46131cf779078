//! Logs: where records are kept, and what a stream processor may rely on.
//!
//! [`Log`] is what every backend promises; [`conformance`] is the same promise
//! as tests, run unchanged on every backend. Two backends today: [`embedded`],
//! a durable log on SQLite that any number of processes on one host share, and
//! [`memory`], the same promise without a disk.
//!
//! # What a log promises
//!
//! 1. A topic has a fixed number of partitions; within one, records keep the
//!    order in which they were appended, and each has a [`Position`]. Positions
//!    may have gaps.
//! 2. What an append or a commit acknowledged is durable ([`Durability`]) and
//!    is seen by every reader that polls afterwards, in any process.
//! 3. A transaction is atomic: its appends and the committed positions of its
//!    group become visible together or not at all. A reader sees committed
//!    records only.
//! 4. A partition of a group has one owner at a time. A backend on one host gives
//!    all of them to one member; one that scales out shares them among its members
//!    and says when that changes ([`Member::is_changing`]). A commit of an owner
//!    that has been replaced fails, with
//!    [`Class::Fenced`](headwater_core::Class::Fenced) where another has taken its
//!    identity and [`Class::Unavailable`](headwater_core::Class::Unavailable) where
//!    the group has moved on without it, and leaves nothing behind.
//! 5. A commit whose outcome cannot be known answers [`CommitOutcome::Unknown`].
//!    The caller re-opens its membership, which fences, and reads what is
//!    committed; it never guesses and never retries.
//! 6. Of a compacted topic, older records of a key may be missing, and one whose
//!    newest record is a tombstone may be missing as a whole. Who reads on sees no
//!    older record of a key after a newer one, misses no newest one, and finds each
//!    record at the position that it has always had.
//! 7. Positions are opaque: to go on, hand back [`Fetched::resume`] or a
//!    committed position.
//! 8. [`Bounds::end`] is where reading ends now: the first record of an open
//!    transaction ends it. A transaction may reach partition after partition: that
//!    its positions are seen does not say that its records are. So a commit can name
//!    the [`Ends`] of its own appends, and who depends on them waits for the
//!    bounds to reach those.

mod checks;
pub mod conformance;
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod record_batch;
mod stretch;

use checks::{
    all_partitions, check_metadata, check_more_partitions, check_same_partitions, check_topic,
    no_such_partition, no_such_topic, offset_of, position_after_end, retention_has_passed,
    tombstones_gone, topic_deleted,
};
pub use headwater_core::Positions;
use headwater_core::{Position, Records, Result, TimestampMs, TopicPartition};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
pub use stretch::each_record;
use stretch::first_at;

/// How a topic is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// The number of partitions, from 1.
    pub partitions: u32,
    /// Records older than this may be deleted, in milliseconds; `None` keeps them for
    /// ever. Their age counts from the append; on Kafka from their own time, so that
    /// a replay of old records needs `None`.
    pub retention_ms: Option<u64>,
    /// The oldest records of a partition beyond this many bytes may be deleted.
    pub retention_bytes: Option<u64>,
    /// Whether only the newest record of each key needs to be kept (changelogs).
    /// Retention does not apply to such a topic, and records without a key are
    /// all kept.
    pub compacted: bool,
    /// How many copies brokers keep; `None` is their default. A log that is one file
    /// has one.
    pub replicas: Option<u16>,
}

impl Default for TopicConfig {
    /// One partition, seven days, at most 4 GiB a partition.
    fn default() -> Self {
        TopicConfig {
            partitions: 1,
            retention_ms: Some(7 * 24 * 3_600_000),
            retention_bytes: Some(4 << 30),
            compacted: false,
            replicas: None,
        }
    }
}

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Tells a topic from a deleted one of the same name.
    pub id: u64,
    /// How it is kept.
    pub config: TopicConfig,
}

/// The readable range of a partition: `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first readable position.
    pub start: Position,
    /// The position that the next record will have.
    pub end: Position,
}

/// Records of one partition, as one poll returned them.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where they stand.
    pub partition: TopicPartition,
    /// The records, perhaps none.
    pub records: Records,
    /// The position of each record; as long as `records`.
    pub positions: Positions,
    /// Where to go on after these records.
    pub resume: Position,
    /// When the log stored the newest of them, or `None` if it does not say. All
    /// were stored within one [minute](Fetched::append_minute): what is judged by
    /// that minute does not depend on how records were fetched.
    pub append_time_ms: Option<TimestampMs>,
    /// Whether `resume` was the end of the log when it was read, every open
    /// transaction counted: only then is a partition known to be quiet.
    pub at_end: bool,
}

impl Fetched {
    /// The minute of a time at which the log stored something, counted from 1970.
    pub fn append_minute(append_time_ms: TimestampMs) -> i64 {
        append_time_ms.div_euclid(60_000)
    }
}

/// How much one poll may return.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// Records of all partitions together. A stored batch that reaches across
    /// the limit is cut there.
    pub records_max: usize,
    /// Bytes of all partitions together; at least one record is returned.
    pub bytes_max: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        FetchLimits {
            records_max: 10_000,
            bytes_max: 16 << 20,
        }
    }
}

/// A log: topics, readers, producers and groups.
pub trait Log: Send + Sync {
    /// What the log is and where, for people: `embedded log at ./.headwater`.
    fn describe(&self) -> String;

    /// How long an epoch should last where the user has not said; `None` where
    /// commits are so cheap that the load decides.
    fn commit_interval(&self) -> Option<Duration> {
        None
    }

    /// Whether the log is elsewhere, so that it may be gone for a while and come
    /// back: whoever has worked with it waits for that.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether an epoch whose commit fails may leave its appends behind, and is repeated
    /// (at-least-once).
    fn repeats_epochs(&self) -> bool {
        false
    }

    /// Where this log keeps its files on this host, if it does: the state of
    /// applications stands beside them.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// Makes a topic; `false` if it existed with this number of partitions.
    ///
    /// # Errors
    /// `Invalid` if it exists with another number of partitions, or the name is
    /// empty, longer than 249 bytes, or has characters other than letters,
    /// digits, `.`, `_` and `-`.
    fn create_topic(&self, name: &str, config: &TopicConfig) -> Result<bool>;

    /// A topic, if it exists.
    fn topic(&self, name: &str) -> Result<Option<TopicInfo>>;

    /// All topics by name.
    fn topics(&self) -> Result<Vec<TopicInfo>>;

    /// Deletes a topic, its records and what groups have committed in it; `false`
    /// if there was none. Who has it open gets `Invalid` from then on.
    fn delete_topic(&self, name: &str) -> Result<bool>;

    /// The readable range of a partition.
    ///
    /// # Errors
    /// `Invalid` for a topic or partition that does not exist.
    fn bounds(&self, partition: &TopicPartition) -> Result<Bounds>;

    /// Where reading begins that is to skip what is older than a time: the position of
    /// the first record whose timestamp is `time_ms` or later, or the end if there is
    /// none. What stands after it may be older: records need not be in order.
    ///
    /// # Errors
    /// `Invalid` for a topic or partition that does not exist.
    fn position_at(&self, partition: &TopicPartition, time_ms: TimestampMs) -> Result<Position>;

    /// Adds partitions to a topic until it has `partitions`; `false` if it had them.
    ///
    /// # Errors
    /// `Invalid` if there is no such topic, or it has more.
    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<bool>;

    /// Lets go of records before a position, which nobody needs any more. Some of them
    /// may stay for a while: those that stand in one batch with others, and, where the
    /// log knows it, those that a group has yet to read.
    ///
    /// # Errors
    /// `Invalid` for a topic or partition that does not exist.
    fn delete_before(&self, partition: &TopicPartition, position: Position) -> Result<()>;

    /// How many records stand in `[from, end)`; for people, so an estimate is
    /// allowed.
    fn waiting(&self, partition: &TopicPartition, from: Position) -> Result<u64>;

    /// A reader at the given positions, outside any group.
    ///
    /// # Errors
    /// `Invalid` for a topic or partition that does not exist.
    fn reader(&self, from: &[(TopicPartition, Position)]) -> Result<Box<dyn Reader>>;

    /// An appender outside any transaction.
    fn producer(&self) -> Result<Box<dyn Producer>>;

    /// Becomes a member of a group that shares out the partitions of `leads`, its
    /// lead topics.
    ///
    /// # Errors
    /// `Invalid` if it has an owner, in this process or another, and this backend
    /// cannot share. Dropping the [`Member`] gives it up; its transactors are
    /// fenced by the next join.
    fn join(&self, group: &str, leads: &[Arc<str>]) -> Result<Box<dyn Member>>;

    /// What a group has committed, by partition; needs no membership.
    fn committed(&self, group: &str) -> Result<Vec<(TopicPartition, Committed)>>;

    /// The groups that have committed anything.
    fn groups(&self) -> Result<Vec<String>>;

    /// Forgets all that a group has committed, its metadata included.
    ///
    /// # Errors
    /// As [`Log::join`]: a running application keeps its positions.
    fn forget_group(&self, group: &str) -> Result<()>;
}

/// A committed position with what was stored beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where reading resumes.
    pub position: Position,
    /// Bytes of the committer, at most [`Committed::METADATA_BYTES_MAX`].
    pub metadata: Vec<u8>,
}

impl Committed {
    /// What a commit may store beside one position.
    pub const METADATA_BYTES_MAX: usize = 2560;
}

/// Reads partitions in order.
pub trait Reader: Send {
    /// The next records, at most `limits`, waiting up to `wait` for the first.
    ///
    /// A partition may be returned in several parts, in order. All of them show
    /// one state of the log: a transaction is seen whole, unless the limits cut it.
    /// A partition that was read and had nothing new is returned too, without
    /// records and with `at_end` set: that is how a quiet partition is told from
    /// one that could not be read. Partitions take turns; none starves.
    ///
    /// # Errors
    /// `Invalid` if retention has passed a partition's position: the message
    /// names both. `Invalid` if compaction has removed tombstones after a position
    /// that is not the start: whoever keeps a table of the newest records by key
    /// must begin it anew. `Invalid` too for a position after the end, which is one of
    /// another topic or log, and for a deleted topic. `Internal` for damaged
    /// records. No other partition loses records by it: the error is returned
    /// again until that partition is sought elsewhere.
    fn poll(&mut self, wait: Duration, limits: FetchLimits) -> Result<Vec<Fetched>>;

    /// Goes on elsewhere in one partition.
    fn seek(&mut self, partition: &TopicPartition, to: Position) -> Result<()>;
}

/// Appends outside transactions.
pub trait Producer: Send {
    /// Queues records. Within one producer, records of a partition keep their order.
    /// Records that were not flushed may be lost when the producer is dropped.
    ///
    /// # Errors
    /// `Invalid` for a topic or partition that does not exist. `Unavailable` if the
    /// queue is full and the log cannot take it now. These records are not queued
    /// then; the ones before them stay.
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()>;

    /// Waits until everything queued is durable.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot take it now (a full disk): what was
    /// queued stays queued, and a later flush tries it again. `Invalid` if a topic
    /// has been deleted: its records are dropped, the others stay queued.
    fn flush(&mut self) -> Result<()>;
}

/// A membership of a group: it alone may commit positions of the partitions that
/// it owns.
///
/// ```text
/// join ─▶ assignment ─▶ transactors (fence) ─▶ committed ─▶ work ─┐
///             ▲                                                   │ is_changing
///             └────────── the epoch is committed or dropped ◀─────┘
/// ```
pub trait Member: Send {
    /// The partitions of the lead topics that this member owns now, in order.
    ///
    /// The first call waits for the group's first assignment. Once
    /// [`Member::is_changing`] has said so, a call gives up what the group takes
    /// away, so the caller has committed or dropped its work there, and waits for
    /// the new assignment. Where a group has one owner it is always all of them.
    ///
    /// # Errors
    /// `Unavailable` if no assignment comes in time; `Invalid` for a lead topic
    /// that does not exist.
    fn assignment(&mut self) -> Result<Vec<TopicPartition>>;

    /// Whether the assignment is about to change: the owner ends its epoch and
    /// asks for the [assignment](Member::assignment). Cheap: asked between steps.
    fn is_changing(&self) -> bool;

    /// What the group has committed so far: stable positions only, so it waits, for
    /// a bounded time, for a transaction in doubt. An owner asks for it after it
    /// has opened its transactors, which fences those before it.
    ///
    /// # Errors
    /// `Unavailable` while a transaction stays in doubt.
    fn committed(&self) -> Result<Vec<(TopicPartition, Committed)>>;

    /// Opens the writer for transactions of worker number `worker`, from 0. Several
    /// may be open, one for each worker; each commits positions of its own
    /// partitions. The number makes its identity stable: to open it fences who had
    /// it before and settles what that one left open.
    fn transactor(&self, worker: usize) -> Result<Box<dyn Transactor>>;
}

/// Writes transactions: appends, then one commit.
pub trait Transactor: Send {
    /// Adds records to the transaction. They may leave the process before the
    /// commit, but no reader sees them.
    ///
    /// # Errors
    /// `Invalid` for a topic or partition that does not exist.
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()>;

    /// The bytes appended and not yet committed.
    fn pending_bytes(&self) -> usize;

    /// Makes the appends and some positions visible together.
    ///
    /// Once every append has its place in the log, `positions` is called, at most
    /// once, with the end of each partition appended to, and returns what to commit:
    /// so the metadata of a position can name the ends of its own epoch. Positions
    /// may be those of names that are not topics: sources and sinks keep theirs so.
    /// A transaction that never asked for them has not been committed.
    /// Whatever the outcome, nothing is pending afterwards. [`fixed`] makes
    /// `positions` of some that are known.
    ///
    /// # Errors
    /// Those of `positions`, and nothing is committed then; `Fenced` if another
    /// has taken this identity; `Unavailable` if the transaction is certain not to
    /// have happened, and the caller should begin again from what is committed.
    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome>;

    /// Drops what was appended since the last commit.
    fn abort(&mut self) -> Result<()>;
}

/// The position after the last record of each partition that a transaction appended to.
pub type Ends = BTreeMap<TopicPartition, Position>;

/// What a transaction commits, given where its appends end.
pub type PositionsOf<'a> = dyn FnMut(&Ends) -> Result<Vec<(TopicPartition, Committed)>> + 'a;

/// Positions that do not depend on where the appends end.
pub fn fixed(
    positions: &[(TopicPartition, Committed)],
) -> impl FnMut(&Ends) -> Result<Vec<(TopicPartition, Committed)>> {
    move |_| Ok(positions.to_vec())
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is durable, and visible or about to be.
    Committed,
    /// It may or may not have happened.
    Unknown {
        /// Why, for the log.
        reason: String,
    },
}

/// What a successful append or commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut (`synchronous=FULL`).
    #[default]
    PowerCut,
    /// A crash of the process, but not of the machine: the last commits before
    /// a power cut may be missing, whole (`synchronous=NORMAL`).
    ProcessCrash,
}
