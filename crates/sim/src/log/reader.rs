//! Reads the simulated log.

use super::SimLog;
use super::state::{Record, State, offset_of};
use crate::bug::Bug;
use crate::trouble::Call;
use headwater::core::{Error, Position, Records, RecordsBuilder, Result, TopicPartition};
use headwater::log::{FetchLimits, Fetched, Positions, Reader};
use std::sync::Arc;
use std::time::Duration;

/// See [`Reader`].
pub(super) struct SimReader {
    log: Arc<SimLog>,
    inputs: Vec<Input>,
    /// The input whose turn it is.
    turn: usize,
}

struct Input {
    partition: TopicPartition,
    topic_id: u64,
    offset: u64,
    /// `tombstones_to` of the partition when this was at its start.
    tombstones_seen: u64,
    /// What a former reader of this process has fetched, for the bug of that name.
    stale: Option<Fetched>,
}

impl SimReader {
    pub(super) fn new(log: Arc<SimLog>, from: &[(TopicPartition, Position)]) -> Result<Self> {
        let process = log.world.life().map(|life| log.world.process_of(life));
        let mut state = log.state();
        let input = |(partition, position): &(TopicPartition, Position)| {
            state.partition(partition)?;
            let stale =
                process.and_then(|process| state.stale.remove(&(process, partition.clone())));
            Ok(Input {
                partition: partition.clone(),
                topic_id: state.topics[&*partition.topic].id,
                offset: offset_of(*position)?,
                tombstones_seen: 0,
                stale,
            })
        };
        let inputs = from.iter().map(input).collect::<Result<_>>()?;
        drop(state);
        Ok(SimReader {
            log,
            inputs,
            turn: 0,
        })
    }

    /// Reads what is there, each input in turn, until the limits are reached.
    fn fetch(&mut self, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let log = Arc::clone(&self.log);
        let mut state = log.state();
        let count = self.inputs.len();
        let (mut records, mut bytes) = (limits.records_max.max(1), limits.bytes_max);
        let short = state.nature.short_fetch_one_in;
        if state.seed.hits(short) {
            records = 1 + state.seed.below(records.min(20) as u64) as usize;
        }
        let mut fetched: Vec<Fetched> = Vec::new();
        for turn in 0..count {
            let index = (self.turn + turn) % count;
            let input = &mut self.inputs[index];
            if let Some(stale) = input.stale.take() {
                fetched.push(stale);
            }
            loop {
                let is_first = fetched.iter().all(|fetched| fetched.records.is_empty());
                if records == 0 || (bytes == 0 && !is_first) {
                    self.turn = (self.turn + 1) % count;
                    return Ok(fetched);
                }
                let part = match input.take(&state, records, bytes, is_first) {
                    // What was read must be handed out; this one fails again.
                    Err(_) if !fetched.is_empty() => {
                        self.turn = index;
                        return Ok(fetched);
                    }
                    part => part?,
                };
                let Some((part, part_bytes, is_last)) = part else {
                    bytes = 0;
                    continue;
                };
                records -= part.records.len();
                bytes = bytes.saturating_sub(part_bytes);
                fetched.push(part);
                if is_last {
                    break;
                }
            }
        }
        Ok(fetched)
    }

    fn keep_stale(&self, fetched: &[Fetched]) {
        let Some(life) = self.log.world.life() else {
            return;
        };
        let process = self.log.world.process_of(life);
        let mut state = self.log.state();
        if state.has_bug(Bug::FetchedBeforeRevoke) {
            for part in fetched.iter().filter(|part| !part.records.is_empty()) {
                let key = (process, part.partition.clone());
                state.stale.insert(key, part.clone());
            }
        }
    }
}

impl Input {
    /// The next records with their size in bytes, and whether they reach the end of
    /// what can be read; `None` if not one of them fits.
    fn take(
        &mut self,
        state: &State,
        records_max: usize,
        bytes_max: usize,
        takes_any: bool,
    ) -> Result<Option<(Fetched, usize, bool)>> {
        self.check(state)?;
        let found = state.partition(&self.partition)?;
        let end = state.readable_end(found);
        let first = found
            .records
            .partition_point(|record| record.offset < self.offset);
        let mut waiting: Vec<&Record> = found.records[first..]
            .iter()
            .take_while(|record| record.offset < end)
            .take(records_max.saturating_add(1))
            .collect();
        let is_changelog = state.topics[&*self.partition.topic].config.compacted;
        if state.has_bug(Bug::OneChangelogRecordMissed) && is_changelog && found.records.len() == 1
        {
            waiting.clear();
        }
        let (mut taken, mut bytes) = (0, 0);
        let minute = |record: &Record| Fetched::append_minute(record.append_ms);
        while taken < waiting.len().min(records_max) {
            let record = waiting[taken];
            let size = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
            let size = size(&record.key) + size(&record.value);
            if minute(record) != minute(waiting[0]) {
                break;
            }
            if bytes + size > bytes_max && !(takes_any && taken == 0) {
                break;
            }
            bytes += size;
            taken += 1;
        }
        if taken == 0 && !waiting.is_empty() {
            return Ok(None);
        }
        let is_last = taken == waiting.len();
        waiting.truncate(taken);
        let last = waiting.last().map(|record| record.offset + 1);
        self.offset = match (is_last, last, waiting.first()) {
            (_, _, Some(first)) if state.has_bug(Bug::ContiguousOffsets) => {
                first.offset + taken as u64
            }
            (false, Some(last), _) => last,
            _ => end.max(self.offset),
        };
        let fetched = Fetched {
            partition: self.partition.clone(),
            records: build(&waiting),
            positions: positions(&waiting),
            resume: Position::from_offset(self.offset),
            append_time_ms: waiting.last().map(|record| record.append_ms),
            at_end: is_last && end == found.next,
        };
        Ok(Some((fetched, bytes, is_last)))
    }

    fn check(&mut self, state: &State) -> Result<()> {
        let topic = &self.partition.topic;
        let known = state.topics.get(&**topic);
        if known.is_none_or(|known| known.id != self.topic_id) {
            return Err(Error::invalid(format!(
                "the topic has been deleted topic=`{topic}`"
            )));
        }
        let found = state.partition(&self.partition)?;
        let (partition, offset) = (self.partition.partition, self.offset);
        if offset < found.start {
            return Err(Error::invalid(format!(
                "retention has deleted records that were to be read topic=`{topic}` \
                 partition=`{partition}` position=`{offset}` start=`{}`",
                found.start
            )));
        }
        if offset == found.start {
            self.tombstones_seen = found.tombstones_to;
        } else if offset.max(self.tombstones_seen) < found.tombstones_to {
            return Err(Error::invalid(format!(
                "compaction has removed tombstones that were to be read topic=`{topic}` \
                 partition=`{partition}` position=`{offset}` tombstones_to=`{}`",
                found.tombstones_to
            )));
        }
        if found.next < offset {
            return Err(Error::invalid(format!(
                "the position lies after the end of the partition topic=`{topic}` \
                 partition=`{partition}` position=`{offset}` end=`{}`",
                found.next
            )));
        }
        Ok(())
    }
}

fn build(records: &[&Record]) -> Records {
    let mut builder = RecordsBuilder::default();
    for record in records {
        builder.push(
            record.key.as_deref(),
            record.value.as_deref(),
            record.timestamp,
            record.headers.clone(),
        );
    }
    builder.finish()
}

fn positions(records: &[&Record]) -> Positions {
    let is_dense = records
        .windows(2)
        .all(|pair| pair[0].offset + 1 == pair[1].offset);
    match records.first() {
        Some(first) if is_dense => Positions::From(first.offset),
        _ => Positions::Each(
            records
                .iter()
                .map(|record| Position::from_offset(record.offset))
                .collect(),
        ),
    }
}

impl Reader for SimReader {
    fn poll(&mut self, wait: Duration, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let deadline = self.log.world.now().saturating_add(wait);
        loop {
            self.log.ask(Call::Poll, self.inputs.len() as u64)?;
            let fetched = self.fetch(limits)?;
            let now = self.log.world.now();
            if deadline <= now || fetched.iter().any(|fetched| !fetched.records.is_empty()) {
                self.keep_stale(&fetched);
                return Ok(fetched);
            }
            self.log.world.wait(deadline - now, true);
        }
    }

    fn seek(&mut self, partition: &TopicPartition, to: Position) -> Result<()> {
        let offset = offset_of(to)?;
        let known = self
            .inputs
            .iter_mut()
            .find(|input| input.partition == *partition);
        match known {
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
