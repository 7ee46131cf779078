//! Transactions of a group: outputs, changelog and positions in one.

use super::append::Queue;
use super::connection::Connection;
use super::group::{check_generation, save_position};
use super::shared::{Shared, Written};
use crate::{CommitOutcome, PositionsOf, Transactor};
use headwater_core::{Records, Result, TopicPartition};
use std::sync::Arc;

/// See [`Transactor`].
pub(super) struct EmbeddedTransactor {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    group: Arc<str>,
    generation: i64,
    queue: Queue,
}

impl EmbeddedTransactor {
    pub(super) fn new(shared: Arc<Shared>, group: Arc<str>, generation: i64) -> Result<Self> {
        let connection = Some(shared.connect()?);
        Ok(EmbeddedTransactor {
            shared,
            connection,
            group,
            generation,
            queue: Queue::default(),
        })
    }
}

impl Transactor for EmbeddedTransactor {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        let (shared, connection) = (&self.shared, &self.connection);
        self.queue.push(partition, &records, || {
            let connection = connection.as_ref().expect("a transactor has a connection");
            shared.place(connection.get()?, partition)
        })
    }

    fn pending_bytes(&self) -> usize {
        self.queue.byte_count()
    }

    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        let (shared, group, queue) = (&self.shared, &*self.group, &mut self.queue);
        let connection = self
            .connection
            .as_ref()
            .expect("a transactor has a connection");
        let written = shared.write(connection, |sqlite| {
            check_generation(shared, sqlite, group, self.generation)?;
            let ends = queue.store(shared, sqlite)?;
            let positions = positions(&ends)?;
            crate::check_metadata(&positions)?;
            for (partition, committed) in &positions {
                save_position(shared, sqlite, group, partition, committed)?;
            }
            Ok(())
        });
        queue.clear();
        Ok(match written? {
            Written::Committed(()) => CommitOutcome::Committed,
            Written::Unknown(error) => CommitOutcome::Unknown {
                reason: error.to_string(),
            },
        })
    }

    fn abort(&mut self) -> Result<()> {
        self.queue.clear();
        Ok(())
    }
}

impl Drop for EmbeddedTransactor {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.shared.give_back(connection);
        }
    }
}
