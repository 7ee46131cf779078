//! The log on a Kafka cluster, through librdkafka.
//!
//! What a [`Log`](crate::Log) promises, in Kafka's words:
//!
//! - A **reader** fetches partitions by itself, outside any group, and sees committed
//!   transactions only. It keeps its positions itself, and counts control records
//!   and gaps of compaction. It says that a partition is at its end only when a broker
//!   has just said so, open transactions counted (`reader`).
//! - A **member** belongs to the group for the sake of the assignment alone: its
//!   partitions are paused and a thread of its own keeps it alive, so that a slow
//!   function or a breakpoint loses nothing (`member`).
//! - A **transactor** has a stable transactional id, and every commit carries the
//!   member's generation, so a predecessor and a stale owner are refused by the
//!   brokers. A commit in doubt is told as such, and its client is never used again
//!   (`transactor`).
//! - What is no offset of a topic (positions of sources and sinks, metadata) is kept
//!   beside offsets (`positions`).
//!
//! The one key decision: batches in, batches out. librdkafka is called for many
//! records at once where it can be (consuming) and its settings are ours, because
//! its defaults stall (`options`). All unsafe code stands in `ffi`.

mod cluster;
mod errors;
mod ffi;
mod instance;
mod log;
mod member;
mod options;
mod outbox;
mod positions;
mod producer;
mod reader;
mod repeating;
mod timestamps;
mod transactor;
mod wake;

pub use ffi::{Token, TokenSource};
pub use instance::Instance;
pub use log::KafkaLog;
pub use options::{GroupProtocol, Guarantee, Options};
