//! Appends outside transactions: a bounded queue, and one transaction for all
//! that is in it.

use super::append::Queue;
use super::connection::Connection;
use super::shared::{Shared, Written};
use crate::Producer;
use headwater_core::{Class, Records, Result, TopicPartition};
use std::sync::Arc;

/// A queue beyond either bound is stored without waiting for a flush.
const QUEUE_BYTES_MAX: usize = 4 << 20;
const QUEUE_RECORDS_MAX: usize = 10_000;

/// See [`Producer`].
pub(super) struct EmbeddedProducer {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    queue: Queue,
}

impl EmbeddedProducer {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self> {
        let connection = Some(shared.connect()?);
        Ok(EmbeddedProducer {
            shared,
            connection,
            queue: Queue::default(),
        })
    }

    fn is_full(&self) -> bool {
        self.queue.byte_count() >= QUEUE_BYTES_MAX || self.queue.record_count() >= QUEUE_RECORDS_MAX
    }
}

impl Producer for EmbeddedProducer {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        if self.is_full() {
            // The last store failed. These records are queued once it succeeds.
            self.flush()?;
        }
        let (shared, connection) = (&self.shared, &self.connection);
        self.queue.push(partition, &records, || {
            let connection = connection.as_ref().expect("a producer has a connection");
            shared.place(connection.get()?, partition)
        })?;
        if self.is_full() {
            match self.flush() {
                // The records are queued, so the call has succeeded; whoever
                // appends or flushes next is told.
                Err(error) if error.class() == Class::Unavailable => {}
                flushed => flushed?,
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let shared = self.shared.clone();
        let connection = self.connection.take().expect("a producer has a connection");
        let stored = shared.write(&connection, |sqlite| self.queue.store(&shared, sqlite));
        self.connection = Some(connection);
        // An open end counts as a failure: nothing was acknowledged, and the next
        // flush overwrites what this one may have left in the WAL.
        stored.and_then(Written::certain)?;
        self.queue.clear();
        Ok(())
    }
}

impl Drop for EmbeddedProducer {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.shared.give_back(connection);
        }
    }
}
