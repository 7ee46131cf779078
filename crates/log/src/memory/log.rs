//! The memory log behind the [`Log`] trait.

use super::reader::MemoryReader;
use super::state::{Partition, State, Topic};
use super::writer::{MemoryMember, MemoryProducer};
use crate::{Bounds, Committed, Log, Member, Producer, Reader, TopicConfig, TopicInfo};
use headwater_core::env::Env;
use headwater_core::{Position, Result, TimestampMs, TopicPartition};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log in memory. Clone the [`Arc`] to share it.
pub struct MemoryLog {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) env: Env,
}

impl Shared {
    /// Held for one call, never while waiting.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryLog {
    /// An empty log that waits by the clock of `env`.
    pub fn new(env: Env) -> Arc<MemoryLog> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            env,
        });
        Arc::new(MemoryLog { shared })
    }
}

impl std::fmt::Debug for MemoryLog {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("MemoryLog")
    }
}

impl Log for MemoryLog {
    fn describe(&self) -> String {
        "log in memory".into()
    }

    fn create_topic(&self, name: &str, config: &TopicConfig) -> Result<bool> {
        crate::check_topic(name, config)?;
        let mut state = self.shared.state();
        if let Some(topic) = state.info(name) {
            return crate::check_same_partitions(&topic, config).map(|()| false);
        }
        state.topics_made += 1;
        let id = state.topics_made;
        let partitions = (0..config.partitions)
            .map(|_| Partition::default())
            .collect();
        state.topics.insert(
            name.into(),
            Topic {
                id,
                config: config.clone(),
                partitions,
            },
        );
        Ok(true)
    }

    fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        Ok(self.shared.state().info(name))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        let state = self.shared.state();
        Ok(state
            .topics
            .keys()
            .filter_map(|name| state.info(name))
            .collect())
    }

    fn delete_topic(&self, name: &str) -> Result<bool> {
        let mut state = self.shared.state();
        for group in state.groups.values_mut() {
            group
                .positions
                .retain(|partition, _| *partition.topic != *name);
        }
        Ok(state.topics.remove(name).is_some())
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<Bounds> {
        let state = self.shared.state();
        let (found, _) = state.partition(partition)?;
        let (start, end) = (found.start, found.end);
        Ok(Bounds {
            start: Position::from_offset(start),
            end: Position::from_offset(end),
        })
    }

    fn position_at(&self, partition: &TopicPartition, time_ms: TimestampMs) -> Result<Position> {
        let state = self.shared.state();
        let (found, _) = state.partition(partition)?;
        let offset = found.batches.iter().find_map(|batch| {
            let mut times = batch.records.timestamps.iter();
            let index = times.position(|time| time_ms <= *time)?;
            Some(batch.offsets.get(index))
        });
        Ok(Position::from_offset(offset.unwrap_or(found.end)))
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<bool> {
        let mut state = self.shared.state();
        let Some(found) = state.topics.get_mut(topic) else {
            return Err(crate::no_such_topic(topic));
        };
        let is_new = crate::check_more_partitions(topic, found.config.partitions, partitions)?;
        found.config.partitions = partitions;
        found
            .partitions
            .resize_with(partitions as usize, Partition::default);
        Ok(is_new)
    }

    fn delete_before(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        let offset = crate::offset_of(partition, position)?;
        let mut state = self.shared.state();
        let keep_from = state
            .first_needed(partition)
            .map_or(offset, |at| at.min(offset));
        state.partition_mut(partition)?.delete_before(keep_from);
        Ok(())
    }

    fn waiting(&self, partition: &TopicPartition, from: Position) -> Result<u64> {
        let state = self.shared.state();
        let (found, _) = state.partition(partition)?;
        Ok(found
            .end
            .saturating_sub(crate::offset_of(partition, from)?.max(found.start)))
    }

    fn reader(&self, from: &[(TopicPartition, Position)]) -> Result<Box<dyn Reader>> {
        Ok(Box::new(MemoryReader::new(self.shared.clone(), from)?))
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        Ok(Box::new(MemoryProducer::new(self.shared.clone())))
    }

    fn join(&self, group: &str, leads: &[Arc<str>]) -> Result<Box<dyn Member>> {
        let member = MemoryMember::join(self.shared.clone(), group, leads)?;
        Ok(Box::new(member))
    }

    fn committed(&self, group: &str) -> Result<Vec<(TopicPartition, Committed)>> {
        let state = self.shared.state();
        let Some(group) = state.groups.get(group) else {
            return Ok(Vec::new());
        };
        Ok(group
            .positions
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn groups(&self) -> Result<Vec<String>> {
        let state = self.shared.state();
        let committed = state
            .groups
            .iter()
            .filter(|(_, group)| !group.positions.is_empty());
        Ok(committed.map(|(name, _)| name.clone()).collect())
    }

    fn forget_group(&self, group: &str) -> Result<()> {
        let mut state = self.shared.state();
        if state.owned.contains(group) {
            return Err(super::writer::already_running(group));
        }
        let group = state.groups.entry(group.into()).or_default();
        // The generation goes on, so that an earlier membership stays fenced.
        group.generation += 1;
        group.positions.clear();
        Ok(())
    }
}
