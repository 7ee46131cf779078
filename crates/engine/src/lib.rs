//! Headwater: stream processing for people who think in data frames.
//!
//! A topic is an infinite virtual table: a record is a row, a property a column,
//! the key names the stream. Write the operations once; the engine runs them on
//! every record, in your own process, and keeps outputs, state and positions
//! together whatever fails.
//!
//! ```
//! use headwater::{Application, DataFrame, Settings, col, core::env::Env, log::memory::MemoryLog};
//!
//! # fn main() -> headwater::Result<()> {
//! let log = MemoryLog::new(Env::system());
//! headwater::produce(&*log, "telemetry", [("car-1", r#"{"speed": 12.5}"#, 0)])?;
//!
//! let frame = DataFrame::topic("telemetry")
//!     .filter(col("speed").gt(10.0))
//!     .assign("speed_kmh", col("speed") * 3.6);
//!
//! let mut application = Application::in_process(log, Settings::new("example"));
//! let report = application.run_frames(&[frame], &headwater::RunOptions {
//!     count: Some(1),
//!     collect: true,
//!     ..Default::default()
//! })?;
//! assert_eq!(report.rows_as_json()?, [r#"{"speed": 12.5,"speed_kmh":45.0}"#]);
//! # Ok(())
//! # }
//! ```
//!
//! # How a record travels
//!
//! ```text
//! worker     polls the log, feeds tasks, ends epochs          `worker`
//!   input    record → batch: format, event time, watermark    `input`, `quiet`
//!   task     runs the operators, keeps effects atomic          `task`, `tree`
//!   effects  outputs, deliveries, dead letters                 `delivery`, `dead_letter`
//!   time     what later subtopologies are told             `upstream`
//!            ticks, ends of ranges, trimming                `passing`
//!   commit   positions + outputs + changelogs in one           `checkpoint`
//! restore    changelogs → state, at start and after trouble    `restore`, `replay`
//! ```
//!
//! Only [`checkpoint`] commits positions. A task owns its state and shares none.

mod aging;
mod application;
mod begin;
mod checkpoint;
mod consume;
mod crew;
mod dead_letter;
mod dead_letters;
mod delivery;
mod input;
mod internal_topics;
mod lowering;
mod metadata;
mod metrics;
mod passing;
mod patterns;
mod produce;
mod quiet;
mod replay;
mod reposition;
mod restore;
mod retime;
mod run;
mod scratch;
mod settings;
mod source_task;
mod stored_state;
mod tally;
mod task;
mod tree;
mod unseen;
mod upstream;
mod worker;

pub use application::{Application, Stopper, StreamHost};
pub use consume::Consumer;
pub use dead_letter::dead_letter_topic;
pub use dead_letters::{
    DeadLetter, REPLAYED_HEADER, Replay, Replayed, dead_letter_topics, is_replay_group,
    replay_dead_letters, visit_dead_letters,
};
pub use headwater_connect as connect;
pub use headwater_core as core;
pub use headwater_core::{Class, DataError, Error, Position, Result, TopicPartition, Value};
pub use headwater_log as log;
pub use headwater_operators as operators;
pub use headwater_plan as plan;
pub use headwater_plan::explain;
pub use headwater_plan::{
    Aggregate, AggregateFunction, Closing, DataFrame, Emit, Expr, LogicalPlan, TopicRef,
    WindowLength, WindowSpec, col, lit, timestamp,
};
pub use headwater_state as state;
pub use input::is_control;
pub use internal_topics::{orphaned_topics, owner_of_topic};
#[doc(hidden)]
pub use metadata::check_any_bytes;
pub use metrics::{
    COMMIT_BUCKETS, Durations, Metrics, OperatorMetrics, PartitionMetrics, Phase, RestoreMetrics,
    Snapshot,
};
pub use produce::produce;
pub use reposition::move_positions;
pub use restore::reset;
pub use settings::{
    Decision, DecisionCallback, Ended, ErrorPolicy, Host, OffsetReset, Places, Report, RunOptions,
    Settings, Start,
};
pub use stored_state::{StoredStore, stored_stores};
