//! Producers, members and transactors of the memory log.

use super::log::Shared;
use super::state::{Pending, byte_count};
use crate::{CommitOutcome, Committed, Member, PositionsOf, Producer, Transactor};
use headwater_core::{Error, Records, Result, TopicPartition};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// See [`Producer`]. It has no queue: what is appended is in the log.
pub(super) struct MemoryProducer {
    shared: Arc<Shared>,
}

impl MemoryProducer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        MemoryProducer { shared }
    }
}

impl Producer for MemoryProducer {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        let now_ms = self.shared.env.clock.wall_ms();
        self.shared
            .state()
            .append(&vec![(partition.clone(), records)], now_ms)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// See [`Member`].
pub(super) struct MemoryMember {
    shared: Arc<Shared>,
    group: Arc<str>,
    leads: BTreeSet<Arc<str>>,
    generation: u64,
    /// How many partitions it has been assigned.
    assigned: Cell<Option<usize>>,
}

impl MemoryMember {
    pub(super) fn join(shared: Arc<Shared>, group: &str, leads: &[Arc<str>]) -> Result<Self> {
        if group.is_empty() {
            return Err(Error::invalid("the name of an application is empty"));
        }
        let mut state = shared.state();
        if !state.owned.insert(group.into()) {
            return Err(already_running(group));
        }
        let entry = state.groups.entry(group.into()).or_default();
        entry.generation += 1;
        let generation = entry.generation;
        drop(state);
        Ok(MemoryMember {
            shared,
            group: group.into(),
            leads: leads.iter().cloned().collect(),
            generation,
            assigned: Cell::new(None),
        })
    }

    /// How many partitions its lead topics have, of those that are there.
    fn partition_count(&self) -> usize {
        let state = self.shared.state();
        let topics = self
            .leads
            .iter()
            .filter_map(|lead| state.topics.get(&**lead));
        topics.map(|topic| topic.partitions.len()).sum()
    }
}

pub(super) fn already_running(group: &str) -> Error {
    Error::invalid(format!(
        "application `{group}` is already running in this process\n\
         hint: run it under another name, stop it, or use Kafka to scale out"
    ))
}

impl Drop for MemoryMember {
    fn drop(&mut self) {
        self.shared.state().owned.remove(&*self.group);
    }
}

impl Member for MemoryMember {
    fn assignment(&mut self) -> Result<Vec<TopicPartition>> {
        let state = self.shared.state();
        let all = crate::all_partitions(&self.leads, |topic| Ok(state.info(topic)))?;
        self.assigned.set(Some(all.len()));
        Ok(all)
    }

    fn is_changing(&self) -> bool {
        // A topic that is deleted is told by whoever reads it.
        self.assigned
            .get()
            .is_some_and(|assigned| assigned < self.partition_count())
    }

    fn committed(&self) -> Result<Vec<(TopicPartition, Committed)>> {
        let state = self.shared.state();
        let Some(group) = state.groups.get(&*self.group) else {
            return Ok(Vec::new());
        };
        Ok(group
            .positions
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn transactor(&self, _worker: usize) -> Result<Box<dyn Transactor>> {
        Ok(Box::new(MemoryTransactor {
            shared: self.shared.clone(),
            group: self.group.clone(),
            generation: self.generation,
            pending: Pending::new(),
        }))
    }
}

/// See [`Transactor`].
struct MemoryTransactor {
    shared: Arc<Shared>,
    group: Arc<str>,
    generation: u64,
    pending: Pending,
}

impl Transactor for MemoryTransactor {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        self.shared.state().partition(partition)?;
        self.pending.push((partition.clone(), records));
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.pending
            .iter()
            .map(|(_, records)| byte_count(records) as usize)
            .sum()
    }

    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        let pending = std::mem::take(&mut self.pending);
        let now_ms = self.shared.env.clock.wall_ms();
        let mut state = self.shared.state();
        let current = state
            .groups
            .get(&*self.group)
            .map_or(0, |group| group.generation);
        if current != self.generation {
            return Err(Error::fenced(format!(
                "application `{}` has been started again generation=`{}` current=`{current}`",
                self.group, self.generation
            )));
        }
        let positions = positions(&state.ends_of(&pending)?)?;
        crate::check_metadata(&positions)?;
        state.append(&pending, now_ms)?;
        let group = state
            .groups
            .get_mut(&*self.group)
            .expect("it was just read");
        group.positions.extend(positions);
        Ok(CommitOutcome::Committed)
    }

    fn abort(&mut self) -> Result<()> {
        self.pending.clear();
        Ok(())
    }
}
