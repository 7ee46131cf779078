//! What an application can be told.

use headwater_connect::Delivery;
use headwater_core::{DataError, Position, Result, TimestampMs, TopicPartition};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How an application runs. Settings are data; components are passed beside them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The application's name: its consumer group, and the prefix of its
    /// internal topics.
    pub name: String,
    /// Where a partition is read from that the application has never committed.
    pub auto_offset_reset: OffsetReset,
    /// The longest an epoch lasts while records wait; `None` is the log's own
    /// default (50 ms on the embedded log, 100 ms on Kafka under exactly-once and
    /// 1 s under at-least-once).
    pub commit_interval: Option<Duration>,
    /// Ends an epoch after this many records too; 0 is never.
    pub commit_every: u64,
    /// The number of worker threads; `None` is one for each core, but one where
    /// the plan calls a user's function for each record.
    pub workers: Option<usize>,
    /// What happens to a record that cannot be processed.
    pub on_data_error: ErrorPolicy,
    /// How long a partition must be known to be quiet before time goes on
    /// without it; `None` never.
    pub idle_timeout: Option<Duration>,
    /// How far records may be out of order before the watermark counts them late.
    pub max_out_of_orderness_ms: i64,
    /// How far ahead of the log's append time a record's event time may be.
    pub max_future_ms: i64,
    /// The most records in one step.
    pub batch_rows_max: usize,
    /// An epoch ends when its outputs, and its rows that wait for sinks, have this
    /// many bytes; one poll reads at most as much. So a worker holds about three
    /// times this, however slow a sink is and however long an epoch may last.
    pub epoch_bytes_max: usize,
    /// How long a run that has worked waits for a remote log that is gone, before
    /// it ends with an error; `None` is for ever.
    pub broker_availability_timeout: Option<Duration>,
    /// How a missing topic is made: the number of its partitions; `None` never.
    pub auto_create_partitions: Option<u32>,
    /// The memory, in bytes, that the state of all tasks may take together. What
    /// does not fit is kept on disk, and read when it is needed.
    pub state_memory_max: usize,
    /// Where state that does not fit into memory is kept; `None` is beside the
    /// log, if that is on this host, and else nowhere: then all state stays in
    /// memory.
    pub state_directory: Option<PathBuf>,
}

impl Settings {
    /// The defaults for an application of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Settings {
            name: name.into(),
            auto_offset_reset: OffsetReset::Earliest,
            commit_interval: None,
            commit_every: 0,
            workers: None,
            on_data_error: ErrorPolicy::Stop,
            idle_timeout: Some(Duration::from_secs(10)),
            max_out_of_orderness_ms: 0,
            max_future_ms: 24 * 3_600_000,
            batch_rows_max: 10_000,
            epoch_bytes_max: 32 << 20,
            broker_availability_timeout: None,
            auto_create_partitions: Some(1),
            state_memory_max: 512 << 20,
            state_directory: None,
        }
    }
}

/// Where to begin in a partition without a committed position.
///
/// It holds for a topic from which the application has never committed anything: a
/// partition that is added later is read from its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the first record.
    #[default]
    Earliest,
    /// At the next record to come.
    Latest,
    /// Nowhere: it is an error.
    Error,
    /// At the first record of this time or later.
    Time(TimestampMs),
}

/// Places in the partitions of the topics that a run reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// The first records.
    Beginning,
    /// The ends, as they stand when the run begins.
    End,
    /// In each partition the first record of this time or later; its end if there is
    /// none.
    Time(TimestampMs),
    /// These. Partitions that are not named are left out of the run.
    Positions(BTreeMap<TopicPartition, Position>),
}

/// What happens to a record that cannot be processed. In every case it leaves
/// no effect of its own.
#[derive(Clone, Default)]
pub enum ErrorPolicy {
    /// The job stops at the record, after three more tries.
    #[default]
    Stop,
    /// The record is counted and left out.
    Skip,
    /// The record goes to `<topic>.dead-letter`, in the epoch's transaction.
    DeadLetter,
    /// The callback decides.
    Callback(DecisionCallback),
}

/// Decides about one record that failed.
pub type DecisionCallback = Arc<dyn Fn(&DataError) -> Result<Decision> + Send + Sync>;

impl std::fmt::Debug for ErrorPolicy {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            ErrorPolicy::Stop => "stop",
            ErrorPolicy::Skip => "skip",
            ErrorPolicy::DeadLetter => "dead-letter",
            ErrorPolicy::Callback(_) => "callback",
        })
    }
}

/// What a callback decides about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// See [`ErrorPolicy::Stop`].
    Stop,
    /// See [`ErrorPolicy::Skip`].
    Skip,
    /// See [`ErrorPolicy::DeadLetter`].
    DeadLetter,
}

/// How one run begins and ends.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Ends after this many rows have reached the end of a frame.
    pub count: Option<u64>,
    /// Ends when no record has come for this long.
    pub timeout: Option<Duration>,
    /// Where to begin.
    pub start: Start,
    /// Where to end: in each partition before this place. Only for a run that commits
    /// nothing. What reaches its end closes all windows, once.
    pub until: Option<Places>,
    /// Whether positions, outputs and state are kept. A run that commits nothing
    /// works on scratch state, takes no lock and leaves sinks alone.
    pub commit: bool,
    /// Whether a run that commits nothing writes to topics all the same: at least
    /// once, if it fails on the way.
    pub writes_topics: bool,
    /// Whether the rows that reach the end of a frame are returned.
    pub collect: bool,
    /// Whether state that this plan no longer has may be left behind.
    pub confirm_lost_state: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            count: None,
            timeout: None,
            start: Start::Committed,
            until: None,
            commit: true,
            writes_topics: false,
            collect: false,
            confirm_lost_state: false,
        }
    }
}

/// Where a run begins.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// Where the application's last commit ended, else by
    /// [`Settings::auto_offset_reset`].
    #[default]
    Committed,
    /// At these places. Only for a run that commits nothing.
    At(Places),
}

/// How a run ended and what it did.
#[derive(Debug)]
pub struct Report {
    /// Why it ended.
    pub ended: Ended,
    /// Records processed.
    pub records_in: u64,
    /// Rows that reached the end of a frame.
    pub rows_out: u64,
    /// Records appended to topics.
    pub records_out: u64,
    /// Records dropped because their windows had closed.
    pub late: u64,
    /// Records left out by policy.
    pub skipped: u64,
    /// Records sent to dead-letter topics.
    pub dead_lettered: u64,
    /// The rows that reached the end of a frame, if they were wanted.
    pub collected: Vec<Delivery>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// [`RunOptions::count`] was reached.
    Count,
    /// [`RunOptions::timeout`] passed.
    Timeout,
    /// All inputs have ended and are processed.
    EndOfInput,
}

/// The process that an application lives in, as far as the engine needs it.
pub trait Host: Send + Sync {
    /// Called on the thread that runs the application, between steps and at
    /// least every 50 ms: lets the language look at its signals. `true` asks the
    /// run to end after its epoch.
    ///
    /// # Errors
    /// An error ends the run without the epoch.
    fn check(&self) -> Result<bool>;

    /// Shows text to the user.
    fn print(&self, text: &str);

    /// Says something about the run that is no result: on the error output.
    fn log(&self, text: &str);

    /// As [`Host::log`], for what the user should look at.
    fn warn(&self, text: &str) {
        self.log(text);
    }

    /// Whether [`Host::print`] reaches a terminal, where a table may be redrawn
    /// in place.
    fn is_terminal(&self) -> bool {
        false
    }

    /// Runs `work` on a thread of its own, made so that the language's tools
    /// see it. The result waits for its end.
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>)
    -> Result<Box<dyn FnOnce() + Send>>;
}
