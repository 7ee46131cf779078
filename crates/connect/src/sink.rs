//! The contract of a sink.

use headwater_core::env::Env;
use headwater_core::{Batch, Position, Result, TopicPartition};

/// Where rows leave for something other than a topic.
///
/// At the end of an epoch, and not before, the engine hands a sink the epoch's
/// rows, flushes it, and commits its position with everything else. A sink that
/// can be cut back to a position (a file) is therefore exactly-once; one that
/// can't is at-least-once: the rows of an epoch that was flushed but not
/// committed come again.
pub trait Sink: Send {
    /// Starts after what `position` stands for, removing whatever was written
    /// after it; `None` is a sink that has never been committed.
    ///
    /// # Errors
    /// `Invalid` if what stands there is not the sink's own.
    fn open(&mut self, env: &Env, position: Option<&[u8]>) -> Result<()>;

    /// Takes rows, in order.
    ///
    /// # Errors
    /// `Unavailable` if it cannot take them now: the epoch is repeated.
    fn write(&mut self, delivery: &Delivery) -> Result<()>;

    /// Makes all rows taken durable and returns the position after them, at most
    /// 4,000 bytes; `None` for a sink that cannot be cut back.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self) -> Result<Option<Vec<u8>>>;

    /// Releases what it holds; the job is stopping.
    fn close(&mut self) {}
}

/// Rows on their way out, with where they came from.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The rows. JSON rows are ready to be written.
    pub batch: Batch,
    /// The partition whose records they descend from.
    pub partition: TopicPartition,
    /// For each row, the position of the record that it descends from, or that
    /// moved the time that emitted it.
    pub positions: Vec<Position>,
}
