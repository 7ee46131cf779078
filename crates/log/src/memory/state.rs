//! All that the log knows, behind one mutex.

use crate::{Committed, Ends, TopicConfig, TopicInfo};
use headwater_core::{Position, Records, Result, TimestampMs, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Default)]
pub(super) struct State {
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) topics_made: u64,
    pub(super) groups: BTreeMap<String, Group>,
    /// The groups that have an owner.
    pub(super) owned: BTreeSet<String>,
}

pub(super) struct Topic {
    pub(super) id: u64,
    pub(super) config: TopicConfig,
    pub(super) partitions: Vec<Partition>,
}

/// The batches of `[start, end)`.
#[derive(Default)]
pub(super) struct Partition {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) batches: VecDeque<Batch>,
}

pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) records: Records,
    pub(super) append_ms: TimestampMs,
}

#[derive(Default)]
pub(super) struct Group {
    pub(super) generation: u64,
    pub(super) positions: BTreeMap<TopicPartition, Committed>,
}

/// Records that are not in the log yet, in the order of their appends.
pub(super) type Pending = Vec<(TopicPartition, Records)>;

impl State {
    pub(super) fn info(&self, name: &str) -> Option<TopicInfo> {
        let topic = self.topics.get(name)?;
        Some(TopicInfo {
            name: name.into(),
            id: topic.id,
            config: topic.config.clone(),
        })
    }

    /// # Errors
    /// `Invalid` if there is no such topic or partition.
    pub(super) fn partition(&self, partition: &TopicPartition) -> Result<(&Partition, u64)> {
        let Some(topic) = self.topics.get(&*partition.topic) else {
            return Err(crate::no_such_topic(&partition.topic));
        };
        match topic.partitions.get(partition.partition as usize) {
            Some(found) => Ok((found, topic.id)),
            None => Err(crate::no_such_partition(partition, topic.config.partitions)),
        }
    }

    /// Where the partitions will end once `pending` has been appended.
    ///
    /// # Errors
    /// `Invalid` if there is no such topic or partition.
    pub(super) fn ends_of(&self, pending: &Pending) -> Result<Ends> {
        let mut counts: BTreeMap<&TopicPartition, u64> = BTreeMap::new();
        for (partition, records) in pending {
            *counts.entry(partition).or_default() += records.len() as u64;
        }
        counts.retain(|_, count| *count > 0);
        let end = |(partition, count): (&TopicPartition, u64)| {
            let end = self.partition(partition)?.0.end + count;
            Ok((partition.clone(), Position::from_offset(end)))
        };
        counts.into_iter().map(end).collect()
    }

    /// Appends all of `pending`, or nothing.
    pub(super) fn append(&mut self, pending: &Pending, now_ms: TimestampMs) -> Result<()> {
        for (partition, _) in pending {
            self.partition(partition)?;
        }
        for (partition, records) in pending {
            if records.is_empty() {
                continue;
            }
            let topic = self
                .topics
                .get_mut(&*partition.topic)
                .expect("it was just checked");
            let found = &mut topic.partitions[partition.partition as usize];
            let batch = Batch {
                first: found.end,
                records: records.clone(),
                append_ms: now_ms,
            };
            found.end += records.len() as u64;
            found.batches.push_back(batch);
            found.retain(&topic.config, now_ms);
        }
        Ok(())
    }
}

impl Partition {
    /// Applies retention: to whole batches, and never to the newest.
    fn retain(&mut self, config: &TopicConfig, now_ms: TimestampMs) {
        if config.compacted {
            return;
        }
        let mut bytes: u64 = self
            .batches
            .iter()
            .map(|batch| byte_count(&batch.records))
            .sum();
        while self.batches.len() > 1 {
            let oldest = &self.batches[0];
            let age_ms = now_ms.saturating_sub(oldest.append_ms).max(0) as u64;
            let left = bytes - byte_count(&oldest.records);
            let is_old = config.retention_ms.is_some_and(|bound| age_ms > bound);
            let is_over = config.retention_bytes.is_some_and(|bound| left >= bound);
            if !is_old && !is_over {
                return;
            }
            bytes = left;
            self.batches.pop_front();
            self.start = self.batches[0].first;
        }
    }
}

/// The bytes of keys and values.
pub(super) fn byte_count(records: &Records) -> u64 {
    records
        .keys
        .iter()
        .chain(&records.values)
        .map(|span| u64::from(span.len))
        .sum()
}
