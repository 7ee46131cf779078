//! Transactions of a producing client.

use super::{Client, Fault, GroupMetadata, Partitions, millis, sys};
use headwater_core::TopicPartition;
use std::time::Duration;

impl Client {
    /// Takes over the transactional identity: fences its predecessor and settles
    /// what that left open.
    pub(in super::super) fn init_transactions(&self, limit: Duration) -> Result<(), Fault> {
        // SAFETY: the client lives.
        unsafe { Fault::take(sys::rd_kafka_init_transactions(self.raw(), millis(limit))) }
    }

    /// Begins a transaction; nothing is sent.
    pub(in super::super) fn begin_transaction(&self) -> Result<(), Fault> {
        // SAFETY: the client lives.
        unsafe { Fault::take(sys::rd_kafka_begin_transaction(self.raw())) }
    }

    /// Adds a group's offsets, each with metadata, to the transaction.
    pub(in super::super) fn send_offsets(
        &self,
        offsets: &[(TopicPartition, u64, String)],
        group: &GroupMetadata,
        limit: Duration,
    ) -> Result<(), Fault> {
        let mut list = Partitions::new(offsets.len());
        for (partition, offset, metadata) in offsets {
            list.push_with_metadata(partition, *offset as i64, metadata)?;
        }
        // SAFETY: all live; nothing is kept.
        unsafe {
            Fault::take(sys::rd_kafka_send_offsets_to_transaction(
                self.raw(),
                list.raw(),
                group.raw(),
                millis(limit),
            ))
        }
    }

    /// Commits the transaction.
    pub(in super::super) fn commit_transaction(&self, limit: Duration) -> Result<(), Fault> {
        // SAFETY: the client lives.
        unsafe { Fault::take(sys::rd_kafka_commit_transaction(self.raw(), millis(limit))) }
    }

    /// Aborts the transaction.
    pub(in super::super) fn abort_transaction(&self, limit: Duration) -> Result<(), Fault> {
        // SAFETY: the client lives.
        unsafe { Fault::take(sys::rd_kafka_abort_transaction(self.raw(), millis(limit))) }
    }
}
