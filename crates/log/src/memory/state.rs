//! All that the log knows, behind one mutex.

use crate::record_batch::Offsets;
use crate::{Committed, Ends, TopicConfig, TopicInfo};
use headwater_core::{Position, Records, RecordsBuilder, Result, TimestampMs, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A compacted partition is compacted once it has so many records, and twice as
/// many as the last time left. Tombstones stay: nothing here lasts long.
const COMPACTION_RECORDS: usize = 4_096;

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
    /// The records that are there, and how many compaction left.
    record_count: usize,
    compacted_count: usize,
}

pub(super) struct Batch {
    /// Where its records stand.
    pub(super) offsets: Offsets,
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

    /// As [`State::partition`], to change it.
    pub(super) fn partition_mut(&mut self, partition: &TopicPartition) -> Result<&mut Partition> {
        self.partition(partition)?;
        let topic = self.topics.get_mut(&*partition.topic);
        let topic = topic.expect("it was just found");
        Ok(&mut topic.partitions[partition.partition as usize])
    }

    /// The first offset of a partition that some group has yet to read.
    pub(super) fn first_needed(&self, partition: &TopicPartition) -> Option<u64> {
        let positions = self
            .groups
            .values()
            .filter_map(|group| group.positions.get(partition));
        positions.filter_map(|at| at.position.offset()).min()
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
                offsets: Offsets::From(found.end),
                records: records.clone(),
                append_ms: now_ms,
            };
            found.end += records.len() as u64;
            found.record_count += records.len();
            found.batches.push_back(batch);
            match topic.config.compacted {
                true => found.compact(),
                false => found.retain(&topic.config, now_ms),
            }
        }
        Ok(())
    }
}

impl Partition {
    /// Applies retention: to whole batches, and never to the newest.
    fn retain(&mut self, config: &TopicConfig, now_ms: TimestampMs) {
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
            self.record_count -= oldest.records.len();
            self.batches.pop_front();
            self.start = self.batches[0].offsets.get(0);
        }
    }

    /// Lets go of whole batches before an offset.
    pub(super) fn delete_before(&mut self, offset: u64) {
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.end() <= offset)
        {
            let gone = self.batches.pop_front().expect("it is there");
            self.record_count -= gone.records.len();
            self.start = gone.end();
        }
    }

    /// Drops records that have a newer one of their key, but none of the newest
    /// batch.
    fn compact(&mut self) {
        if self.record_count < COMPACTION_RECORDS.max(2 * self.compacted_count) {
            return;
        }
        let newest = self.batches.pop_back();
        let mut last = BTreeMap::new();
        for batch in &self.batches {
            for index in 0..batch.records.len() {
                let key = batch.records.key(index).map(<[u8]>::to_vec);
                last.insert(key, batch.offsets.get(index));
            }
        }
        self.batches.retain_mut(|batch| {
            let stays = |index: &usize| {
                let key = batch.records.key(*index).map(<[u8]>::to_vec);
                key.is_none() || last[&key] == batch.offsets.get(*index)
            };
            let kept: Vec<usize> = (0..batch.records.len()).filter(stays).collect();
            *batch = batch.only(&kept);
            !kept.is_empty()
        });
        self.batches.extend(newest);
        self.record_count = self.batches.iter().map(|batch| batch.records.len()).sum();
        self.compacted_count = self.record_count;
    }
}

impl Batch {
    /// The batch with some of its records.
    fn only(&self, kept: &[usize]) -> Batch {
        let (records, mut builder) = (&self.records, RecordsBuilder::default());
        for &index in kept {
            let headers = records.headers.get(index).cloned().flatten();
            let (key, value) = (records.key(index), records.value(index));
            builder.push(key, value, records.timestamps[index], headers);
        }
        let offsets = kept.iter().map(|&index| self.offsets.get(index));
        Batch {
            offsets: Offsets::Each(offsets.collect()),
            records: builder.finish(),
            append_ms: self.append_ms,
        }
    }

    /// The offset after its last record.
    pub(super) fn end(&self) -> u64 {
        self.offsets.get(self.records.len() - 1) + 1
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
