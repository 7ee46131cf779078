//! What the log stores.

use super::Nature;
use super::groups::Group;
use super::transactions::{Due, Transaction};
use crate::bug::Bug;
use crate::seed::Seed;
use headwater::core::{Error, Headers, Position, Records, Result, TopicPartition};
use headwater::log::{Committed, TopicConfig, TopicInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long compaction keeps a tombstone.
const TOMBSTONE_MS: i64 = 1_000;

pub(super) struct State {
    pub(super) nature: Nature,
    pub(super) seed: Seed,
    /// The time of the call that is being answered.
    pub(super) now: Duration,
    pub(super) wall_ms: i64,
    pub(super) topics: BTreeMap<String, Topic>,
    topics_made: u64,
    pub(super) transactions: BTreeMap<u64, Transaction>,
    pub(super) transactions_made: u64,
    /// The newest epoch of each identity.
    pub(super) epochs: BTreeMap<String, u64>,
    pub(super) groups: BTreeMap<String, Group>,
    /// What will happen by itself.
    pub(super) due: BTreeMap<(Duration, u64), Due>,
    pub(super) coordinator_back: Duration,
    /// What was committed, in order: group, partition, position.
    pub(super) history: Vec<(String, TopicPartition, Committed)>,
    /// What a process has fetched last, for [`Bug::FetchedBeforeRevoke`].
    pub(super) stale: BTreeMap<(usize, TopicPartition), headwater::log::Fetched>,
    /// Whether records became visible since the last look.
    pub(super) has_news: bool,
}

pub(super) struct Topic {
    pub(super) id: u64,
    pub(super) config: TopicConfig,
    pub(super) partitions: Vec<Partition>,
}

/// One partition: `[start, next)`, with gaps.
#[derive(Default)]
pub(super) struct Partition {
    pub(super) start: u64,
    pub(super) next: u64,
    pub(super) records: Vec<Record>,
    /// The transactions that have records here and no marker, with their first offset.
    pub(super) open: BTreeMap<u64, u64>,
    /// Compaction has removed tombstones before it.
    pub(super) tombstones_to: u64,
    /// What retention and compaction have deleted, for the oracle.
    pub(super) deleted: Vec<Record>,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) offset: u64,
    pub(super) key: Option<Box<[u8]>>,
    pub(super) value: Option<Box<[u8]>>,
    pub(super) timestamp: i64,
    pub(super) headers: Headers,
    pub(super) append_ms: i64,
    /// The transaction that it is part of, until its marker comes.
    pub(super) transaction: Option<u64>,
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its offset.
    pub offset: u64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its event time.
    pub timestamp: i64,
    /// Its headers.
    pub headers: Headers,
}

impl State {
    pub(super) fn new(seed: Seed, nature: Nature) -> State {
        State {
            nature,
            seed,
            now: Duration::ZERO,
            wall_ms: 0,
            topics: BTreeMap::new(),
            topics_made: 0,
            transactions: BTreeMap::new(),
            transactions_made: 0,
            epochs: BTreeMap::new(),
            groups: BTreeMap::new(),
            due: BTreeMap::new(),
            coordinator_back: Duration::ZERO,
            history: Vec::new(),
            stale: BTreeMap::new(),
            has_news: false,
        }
    }

    pub(super) fn has_bug(&self, bug: Bug) -> bool {
        self.nature.bug == Some(bug)
    }

    pub(super) fn create_topic(&mut self, name: &str, config: &TopicConfig) -> Result<bool> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 249 || !name.bytes().all(is_allowed) {
            return Err(Error::invalid(format!(
                "a topic's name has 1 to 249 letters, digits, `.`, `_` and `-` name=`{name}`"
            )));
        }
        if config.partitions == 0 || config.partitions > 10_000 {
            return Err(Error::invalid(format!(
                "a topic has 1 to 10000 partitions topic=`{name}` partitions=`{}`",
                config.partitions
            )));
        }
        if let Some(topic) = self.topics.get(name) {
            return match topic.config.partitions == config.partitions {
                true => Ok(false),
                false => Err(Error::invalid(format!(
                    "the topic exists with another number of partitions topic=`{name}` \
                     partitions=`{}` wanted=`{}`",
                    topic.config.partitions, config.partitions
                ))),
            };
        }
        self.topics_made += 1;
        let topic = Topic {
            id: self.topics_made,
            config: config.clone(),
            partitions: (0..config.partitions)
                .map(|_| Partition::default())
                .collect(),
        };
        self.topics.insert(name.to_owned(), topic);
        Ok(true)
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> bool {
        for group in self.groups.values_mut() {
            group
                .positions
                .retain(|partition, _| *partition.topic != *name);
        }
        self.topics.remove(name).is_some()
    }

    pub(super) fn info(&self, name: &str) -> Option<TopicInfo> {
        let topic = self.topics.get(name)?;
        Some(TopicInfo {
            name: name.to_owned(),
            id: topic.id,
            config: topic.config.clone(),
        })
    }

    /// # Errors
    /// `Invalid` if there is no such topic or partition.
    pub(super) fn partition(&self, partition: &TopicPartition) -> Result<&Partition> {
        let topic = self.topics.get(&*partition.topic).ok_or_else(|| {
            Error::invalid(format!(
                "there is no such topic topic=`{}`",
                partition.topic
            ))
        })?;
        let found = topic.partitions.get(partition.partition as usize);
        found.ok_or_else(|| {
            Error::invalid(format!(
                "there is no such partition topic=`{}` partition=`{}` partitions=`{}`",
                partition.topic, partition.partition, topic.config.partitions
            ))
        })
    }

    pub(super) fn partition_mut(&mut self, partition: &TopicPartition) -> Option<&mut Partition> {
        let topic = self.topics.get_mut(&*partition.topic)?;
        topic.partitions.get_mut(partition.partition as usize)
    }

    /// Where reading ends now.
    pub(super) fn readable_end(&self, partition: &Partition) -> u64 {
        match self.has_bug(Bug::ReadUncommitted) {
            true => partition.next,
            false => partition.stable_end(),
        }
    }

    /// Appends records, of a transaction or not.
    ///
    /// # Errors
    /// `Invalid` if there is no such topic or partition.
    pub(super) fn append(
        &mut self,
        partition: &TopicPartition,
        records: &Records,
        transaction: Option<u64>,
    ) -> Result<()> {
        self.partition(partition)?;
        let append_ms = self.wall_ms;
        let topic = self
            .topics
            .get_mut(&*partition.topic)
            .expect("it was just found");
        let found = &mut topic.partitions[partition.partition as usize];
        if let Some(transaction) = transaction.filter(|_| !records.is_empty()) {
            found.open.entry(transaction).or_insert(found.next);
        }
        for index in 0..records.len() {
            found.records.push(Record {
                offset: found.next,
                key: records.key(index).map(Into::into),
                value: records.value(index).map(Into::into),
                timestamp: records.timestamps[index],
                headers: records.headers.get(index).cloned().flatten(),
                append_ms,
                transaction,
            });
            found.next += 1;
        }
        if let Some(bytes_max) = topic.config.retention_bytes {
            found.keep_bytes(bytes_max);
        }
        self.has_news |= transaction.is_none();
        Ok(())
    }

    /// Removes what newer records of the same key supersede, and tombstones after a
    /// while, in all changelogs.
    pub(super) fn compact(&mut self) {
        let old_ms = self.wall_ms - TOMBSTONE_MS;
        let compacted = self
            .topics
            .values_mut()
            .filter(|topic| topic.config.compacted);
        for found in compacted.flat_map(|topic| &mut topic.partitions) {
            let end = found.stable_end();
            let mut seen = BTreeSet::new();
            let mut kept = Vec::with_capacity(found.records.len());
            for record in std::mem::take(&mut found.records).into_iter().rev() {
                // What is not committed supersedes nothing.
                let is_settled = record.offset < end;
                let is_newest = !is_settled || seen.insert(record.key.clone());
                let is_over = is_settled && record.value.is_none() && record.append_ms < old_ms;
                if is_newest && is_over {
                    found.tombstones_to = found.tombstones_to.max(record.offset + 1);
                }
                match is_newest && !is_over {
                    true => kept.push(record),
                    false => found.deleted.push(record),
                }
            }
            kept.reverse();
            found.records = kept;
        }
    }

    /// Removes what every group that reads a partition has committed.
    pub(super) fn delete_what_is_committed(&mut self) {
        let mut safe: BTreeMap<TopicPartition, u64> = BTreeMap::new();
        for group in self.groups.values() {
            for (partition, committed) in &group.positions {
                if let Some(offset) = committed.position.offset() {
                    let safe = safe.entry(partition.clone()).or_insert(offset);
                    *safe = (*safe).min(offset);
                }
            }
        }
        for (partition, offset) in safe {
            self.delete_before(&partition, offset);
        }
    }

    /// Removes the records before an offset.
    pub(super) fn delete_before(&mut self, partition: &TopicPartition, offset: u64) {
        let Some(found) = self.partition_mut(partition) else {
            return;
        };
        let offset = offset.min(found.stable_end());
        found.start = found.start.max(offset);
        let at = found
            .records
            .partition_point(|record| record.offset < found.start);
        let deleted: Vec<Record> = found.records.drain(..at).collect();
        found.deleted.extend(deleted);
    }

    /// # Errors
    /// `Invalid` if there is no such topic, or it has more partitions.
    pub(super) fn add_partitions(&mut self, topic: &str, partitions: u32) -> Result<bool> {
        let has = self.info(topic).map(|info| info.config.partitions);
        let Some(found) = self
            .topics
            .get_mut(topic)
            .filter(|_| has <= Some(partitions))
        else {
            return Err(Error::invalid(format!(
                "a topic keeps its partitions topic=`{topic}` partitions=`{has:?}` \
                 wanted=`{partitions}`"
            )));
        };
        found.config.partitions = partitions;
        found
            .partitions
            .resize_with(partitions as usize, Partition::default);
        let is_larger = has < Some(partitions);
        if is_larger {
            self.share_out_all();
        }
        Ok(is_larger)
    }

    pub(super) fn stored(&self, partition: &TopicPartition) -> Vec<Stored> {
        let Ok(found) = self.partition(partition) else {
            return Vec::new();
        };
        let end = found.stable_end();
        let seen = found.deleted.iter().chain(&found.records);
        let seen = seen.filter(|record| record.offset < end && record.transaction.is_none());
        let mut stored: Vec<Stored> = seen
            .map(|record| Stored {
                offset: record.offset,
                key: record.key.as_deref().map(<[u8]>::to_vec),
                value: record.value.as_deref().map(<[u8]>::to_vec),
                timestamp: record.timestamp,
                headers: record.headers.clone(),
            })
            .collect();
        stored.sort_by_key(|record| record.offset);
        stored
    }

    pub(super) fn is_at_end(&self, group: &str, topic: &str) -> bool {
        let Some(found) = self.topics.get(topic) else {
            return true;
        };
        let positions = self.groups.get(group).map(|group| &group.positions);
        found.partitions.iter().enumerate().all(|(number, found)| {
            let partition = TopicPartition::new(topic, number as u32);
            let committed = positions.and_then(|positions| positions.get(&partition));
            let committed = committed.and_then(|known| known.position.offset());
            // What tasks say to each other of their time never ends.
            let is_row = |record: &&Record| record.headers.is_none();
            let last = found.records.iter().rev().find(is_row);
            let last = last.map(|record| record.offset);
            found.open.is_empty() && last.is_none_or(|last| committed.is_some_and(|at| last < at))
        })
    }
}

impl Partition {
    /// The last stable offset: before the first record of any open transaction.
    pub(super) fn stable_end(&self) -> u64 {
        self.open.values().copied().min().unwrap_or(self.next)
    }

    /// Deletes the oldest records, never the newest.
    fn keep_bytes(&mut self, bytes_max: u64) {
        let size = |record: &Record| {
            let len = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
            (len(&record.key) + len(&record.value)) as u64
        };
        let mut bytes: u64 = self.records.iter().map(size).sum();
        let mut gone = 0;
        while gone + 1 < self.records.len() && bytes - size(&self.records[gone]) >= bytes_max {
            bytes -= size(&self.records[gone]);
            gone += 1;
        }
        if gone > 0 {
            let deleted: Vec<Record> = self.records.drain(..gone).collect();
            self.deleted.extend(deleted);
            self.start = self.records[0].offset;
        }
    }
}

pub(super) fn offset_of(position: Position) -> Result<u64> {
    position.offset().ok_or_else(|| {
        Error::invalid(format!(
            "the position is of another kind of log position=`{position}`"
        ))
    })
}
