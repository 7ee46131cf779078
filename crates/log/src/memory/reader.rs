//! Reads the memory log.

use super::log::Shared;
use super::state::{Partition, State};
use crate::{FetchLimits, Fetched, Positions, Reader};
use headwater_core::{Error, Position, Records, Result, TopicPartition};
use std::sync::Arc;
use std::time::Duration;

/// How often an idle reader looks. By the clock of the environment, so that a
/// clock that is moved by hand can wait too.
const IDLE_PAUSE: Duration = Duration::from_millis(1);

/// See [`Reader`].
pub(super) struct MemoryReader {
    shared: Arc<Shared>,
    inputs: Vec<Input>,
    /// The input whose turn it is.
    turn: usize,
}

struct Input {
    partition: TopicPartition,
    topic_id: u64,
    offset: u64,
}

impl MemoryReader {
    pub(super) fn new(shared: Arc<Shared>, from: &[(TopicPartition, Position)]) -> Result<Self> {
        let state = shared.state();
        let inputs = from
            .iter()
            .map(|(partition, position)| {
                let (_, topic_id) = state.partition(partition)?;
                let offset = crate::offset_of(partition, *position)?;
                Ok(Input {
                    partition: partition.clone(),
                    topic_id,
                    offset,
                })
            })
            .collect::<Result<_>>()?;
        drop(state);
        Ok(MemoryReader {
            shared,
            inputs,
            turn: 0,
        })
    }

    /// Reads what is there, each input in turn, until the limits are reached.
    fn fetch(&mut self, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let shared = self.shared.clone();
        let state = shared.state();
        let count = self.inputs.len();
        let (mut records, mut bytes) = (limits.records_max.max(1), limits.bytes_max);
        let mut fetched: Vec<Fetched> = Vec::new();
        for turn in 0..count {
            let index = (self.turn + turn) % count;
            let input = &mut self.inputs[index];
            loop {
                let untouched = fetched.iter().all(|fetched| fetched.records.is_empty());
                if records == 0 || (bytes == 0 && !untouched) {
                    self.turn = (self.turn + 1) % count;
                    return Ok(fetched);
                }
                let part = match input.take(&state, records, bytes, untouched) {
                    // What was read must be handed out; this one fails again.
                    Err(_) if !fetched.is_empty() => {
                        self.turn = index;
                        return Ok(fetched);
                    }
                    part => part?,
                };
                let Some((part, part_bytes)) = part else {
                    bytes = 0;
                    continue;
                };
                records -= part.records.len();
                bytes = bytes.saturating_sub(part_bytes);
                let at_end = part.at_end;
                fetched.push(part);
                if at_end {
                    break;
                }
            }
        }
        Ok(fetched)
    }
}

impl Input {
    /// The next records of one batch with their size in bytes, or `None` if not
    /// one of them fits.
    fn take(
        &mut self,
        state: &State,
        records_max: usize,
        bytes_max: usize,
        takes_any: bool,
    ) -> Result<Option<(Fetched, usize)>> {
        let partition = self.check(state)?;
        let Some(batch) = partition
            .batches
            .iter()
            .find(|batch| self.offset < batch.end())
        else {
            let nothing = Fetched {
                partition: self.partition.clone(),
                records: Records::default(),
                positions: Positions::From(self.offset),
                resume: Position::from_offset(self.offset),
                append_time_ms: None,
                at_end: true,
            };
            return Ok(Some((nothing, 0)));
        };
        let start = batch.offsets.index_from(self.offset);
        let end_max = batch.records.len().min(start.saturating_add(records_max));
        let (mut end, mut bytes) = (start, 0);
        while end < end_max {
            let size = (batch.records.keys[end].len + batch.records.values[end].len) as usize;
            if bytes + size > bytes_max && !(takes_any && end == start) {
                break;
            }
            bytes += size;
            end += 1;
        }
        if end == start {
            return Ok(None);
        }
        self.offset = batch.offsets.get(end - 1) + 1;
        let fetched = Fetched {
            partition: self.partition.clone(),
            records: batch.records.slice(start, end),
            positions: batch.offsets.positions(start, end),
            resume: Position::from_offset(self.offset),
            append_time_ms: Some(batch.append_ms),
            at_end: self.offset == partition.end,
        };
        Ok(Some((fetched, bytes)))
    }

    fn check<'a>(&self, state: &'a State) -> Result<&'a Partition> {
        let topic = state.topics.get(&*self.partition.topic);
        let Some(topic) = topic.filter(|topic| topic.id == self.topic_id) else {
            return Err(crate::topic_deleted(&self.partition.topic));
        };
        let found = &topic.partitions[self.partition.partition as usize];
        if self.offset < found.start {
            return Err(crate::retention_has_passed(
                &self.partition,
                self.offset,
                found.start,
            ));
        }
        if found.end < self.offset {
            return Err(crate::position_after_end(
                &self.partition,
                self.offset,
                found.end,
            ));
        }
        Ok(found)
    }
}

impl Reader for MemoryReader {
    fn poll(&mut self, wait: Duration, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let clock = self.shared.env.clock.clone();
        let deadline = clock.monotonic().saturating_add(wait);
        loop {
            let fetched = self.fetch(limits)?;
            let now = clock.monotonic();
            if deadline <= now || fetched.iter().any(|fetched| !fetched.records.is_empty()) {
                return Ok(fetched);
            }
            clock.sleep(IDLE_PAUSE.min(deadline - now));
        }
    }

    fn seek(&mut self, partition: &TopicPartition, to: Position) -> Result<()> {
        let offset = crate::offset_of(partition, to)?;
        match self
            .inputs
            .iter_mut()
            .find(|input| input.partition == *partition)
        {
            Some(input) => input.offset = offset,
            None => {
                return Err(Error::invalid(format!(
                    "the reader does not read this partition topic=`{}` partition=`{}`",
                    partition.topic, partition.partition
                )));
            }
        }
        Ok(())
    }
}
