//! The writer of at-least-once: what was in flight in a crash is repeated, and
//! nothing is lost.
//!
//! Outputs leave as they are appended. A commit then goes in this order, each step
//! only when the one before is stored:
//!
//! 1. the outputs;
//! 2. the changelogs (topics that are compacted), but of this epoch only what is not
//!    null, after what was null in the epoch before;
//! 3. the positions, by the member: a stale one is refused.
//!
//! A crash before step 3 repeats the epoch, on state that holds it already: that
//! counts records twice, and no more. A removal waits for the epoch after, because
//! one that was stored before its positions would be missed by the repeated epoch.
//! What is held back when a writer ends in good order is written then; after a crash
//! it is lost, and what it would have removed is removed again by the repeated epoch
//! or expires.

use super::errors;
use super::ffi::{Kind, code};
use super::member::Membership;
use super::outbox::Outbox;
use super::transactor::byte_count;
use crate::{CommitOutcome, Ends, PositionsOf, Transactor};
use headwater_core::{Class, Error, Records, RecordsBuilder, Result, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See [`Transactor`].
pub(super) struct RepeatingTransactor {
    membership: Arc<Membership>,
    outbox: Outbox,
    /// Whether a topic is compacted.
    compacted: BTreeMap<Arc<str>, bool>,
    /// Changelog records of this epoch.
    changes: Vec<(TopicPartition, Records)>,
    /// Removals of the epoch before.
    removals: Vec<(TopicPartition, Records)>,
    pending_bytes: usize,
}

impl RepeatingTransactor {
    pub(super) fn new(membership: Arc<Membership>) -> Result<RepeatingTransactor> {
        membership.check()?;
        let cluster = membership.cluster.clone();
        let client = cluster.start(Kind::Producer, &cluster.options.writer(None))?;
        Ok(RepeatingTransactor {
            outbox: Outbox::new(cluster, client),
            membership,
            compacted: BTreeMap::new(),
            changes: Vec::new(),
            removals: Vec::new(),
            pending_bytes: 0,
        })
    }

    fn is_compacted(&mut self, topic: &Arc<str>) -> Result<bool> {
        if let Some(known) = self.compacted.get(topic) {
            return Ok(*known);
        }
        let found = self.membership.cluster.topics(Some(&[topic]))?;
        let is_compacted = found.first().is_some_and(|topic| topic.config.compacted);
        self.compacted.insert(topic.clone(), is_compacted);
        Ok(is_compacted)
    }

    /// Waits until all that was queued is stored.
    fn store(&mut self) -> Result<Ends> {
        let limit = self.membership.cluster.options.request_timeout;
        if !self.outbox.settle(limit) {
            return Err(Error::unavailable(format!(
                "the brokers have not stored records in time records=`{}` last=`{}`",
                self.outbox.outstanding(),
                self.outbox
                    .client()
                    .events()
                    .last_line()
                    .unwrap_or_default()
            )));
        }
        self.outbox.take_ends()
    }

    fn queue(&mut self, all: &[(TopicPartition, Records)]) -> Result<()> {
        let limit = self.membership.cluster.options.request_timeout;
        for (partition, records) in all {
            self.outbox.queue_all(partition, records, limit)?;
        }
        Ok(())
    }

    fn try_commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        self.membership.check()?;
        let mut ends = self.store()?;
        let (changes, removals) = split(std::mem::take(&mut self.changes));
        let before = std::mem::replace(&mut self.removals, removals);
        self.queue(&before)?;
        self.queue(&changes)?;
        ends.append(&mut self.store()?);
        let committed = positions(&ends)?;
        let offsets = self.membership.offsets(&committed)?;
        self.membership.check()?;
        if offsets.is_empty() {
            return Ok(CommitOutcome::Committed);
        }
        match self.membership.commit_offsets(&offsets) {
            Ok(()) => Ok(CommitOutcome::Committed),
            Err(fault) if fault.code == code::TIMED_OUT => {
                Ok(CommitOutcome::Unknown { reason: fault.text })
            }
            Err(fault) => {
                let error = errors::error("committing positions", &fault);
                // Whose generation is gone begins again with another.
                Err(match error.class() {
                    Class::Invalid | Class::Fenced => error,
                    _ => Error::unavailable(error.to_string()),
                })
            }
        }
    }
}

/// What is not null, and what is.
fn split(
    changes: Vec<(TopicPartition, Records)>,
) -> (
    Vec<(TopicPartition, Records)>,
    Vec<(TopicPartition, Records)>,
) {
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for (partition, records) in changes {
        let mut parts = [RecordsBuilder::default(), RecordsBuilder::default()];
        for index in 0..records.len() {
            let value = records.value(index);
            let headers = records.headers.get(index).cloned().flatten();
            parts[usize::from(value.is_none())].push(
                records.key(index),
                value,
                records.timestamps[index],
                headers,
            );
        }
        let [values, nulls] = parts.map(RecordsBuilder::finish);
        kept.push((partition.clone(), values));
        removed.push((partition, nulls));
    }
    let has_records = |all: &mut Vec<(TopicPartition, Records)>| {
        all.retain(|(_, records)| !records.is_empty());
    };
    has_records(&mut kept);
    has_records(&mut removed);
    (kept, removed)
}

impl Transactor for RepeatingTransactor {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.outbox.slot(partition)?;
        let bytes = byte_count(&records);
        if self.is_compacted(&partition.topic)? {
            self.changes.push((partition.clone(), records));
        } else {
            self.queue(&[(partition.clone(), records)])?;
        }
        self.pending_bytes += bytes;
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        let result = self.try_commit(positions);
        self.changes.clear();
        self.pending_bytes = 0;
        if !matches!(result, Ok(CommitOutcome::Committed)) {
            // The epoch is repeated, and makes its removals again.
            self.removals.clear();
        }
        result
    }

    /// Outputs that have left stay: they are what at-least-once repeats.
    fn abort(&mut self) -> Result<()> {
        self.changes.clear();
        self.pending_bytes = 0;
        let _ = self.store();
        Ok(())
    }
}

impl Drop for RepeatingTransactor {
    fn drop(&mut self) {
        let removals = std::mem::take(&mut self.removals);
        let is_done = self.changes.is_empty() && !removals.is_empty();
        // Who has its partitions now may have set these keys again.
        if is_done && self.membership.check().is_ok() && self.queue(&removals).is_ok() {
            let _ = self.store();
        }
    }
}
