//! Reads partitions outside any group.
//!
//! Each partition has a queue of its own in one client. A poll hands out what has
//! arrived; a partition without anything is asked about at a broker, by another
//! client, whose questions no fetch holds up.
//!
//! # How a partition is known to be at its end
//!
//! `position` is where reading goes on, control records and aborted ones passed. A
//! partition is at its end if a broker has just said that nothing stands at or after
//! `position`, not even records of an open transaction:
//!
//! - with records, if the answer that brought them said so;
//! - without, if an answer to a question of its own does. While nothing at all is at
//!   hand, a poll waits for that answer, so a poll that begins after an append was
//!   acknowledged sees it; beside other records the question is asked now and then
//!   and its answer used when it is there.
//!
//! An unreachable broker answers nothing, and its partitions are not returned.

use super::cluster::Cluster;
use super::errors::{self, is_about_topic};
use super::ffi::{
    Client, Consumed, Fault, Isolation, Kind, OffsetSpec, OffsetsAsked, PartitionQueue, code,
};
use super::timestamps;
use super::wake::Wake;
use crate::{FetchLimits, Fetched, Positions, Reader};
use headwater_core::{Class, Error, Position, RecordsBuilder, Result, TopicPartition};
use std::sync::Arc;
use std::time::Duration;

/// How long a poll with nothing at hand waits for a broker's answer, however short
/// the wait that was asked for.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often idle partitions are asked about beside busy ones.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// How many messages are taken from a queue at once.
const TAKE_MAX: usize = 10_000;

/// See [`Reader`].
pub(super) struct KafkaReader {
    cluster: Arc<Cluster>,
    inputs: Vec<Input>,
    /// The input whose turn it is.
    turn: usize,
    /// A question that is on its way, and about what.
    asked: Option<Asked>,
    asked_at: Duration,
    wake: Arc<Wake>,
    client: Arc<Client>,
}

struct Input {
    partition: TopicPartition,
    topic_id: u64,
    /// Where reading goes on.
    position: u64,
    /// Where it goes on once what is at hand has been handed out.
    position_after: u64,
    queue: PartitionQueue,
    /// Whether a broker has been asked about it since it was last sought.
    was_asked: bool,
    /// Why it cannot be read on, until it is sought elsewhere.
    fault: Option<(Class, String)>,
}

struct Asked {
    offsets: OffsetsAsked,
    isolation: Isolation,
    /// The inputs asked about and where they stood.
    about: Vec<(usize, u64)>,
}

/// What is left of a poll's limits.
struct Left {
    records: usize,
    bytes: usize,
    is_untouched: bool,
}

impl KafkaReader {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        from: &[(TopicPartition, Position)],
    ) -> Result<KafkaReader> {
        let client = cluster.start(Kind::Consumer, &cluster.options.reader())?;
        let wake = Arc::<Wake>::default();
        let input = |(partition, position): &(TopicPartition, Position)| {
            let topic = cluster.check(partition)?;
            let offset = crate::offset_of(partition, *position)?;
            let queue = PartitionQueue::start(
                &client,
                &partition.topic,
                partition.partition,
                offset,
                &wake,
            );
            let doing = format!("reading {partition}");
            Ok(Input {
                partition: partition.clone(),
                topic_id: topic.id,
                position: offset,
                position_after: offset,
                queue: queue.map_err(|fault| errors::error(&doing, &fault))?,
                was_asked: false,
                fault: None,
            })
        };
        Ok(KafkaReader {
            inputs: from.iter().map(input).collect::<Result<_>>()?,
            turn: 0,
            asked: None,
            asked_at: Duration::ZERO,
            wake,
            client,
            cluster,
        })
    }

    fn now(&self) -> Duration {
        self.cluster.options.env.clock.monotonic()
    }

    /// Hands out what has arrived, each input in turn, until the limits are reached.
    fn hand_out(&mut self, left: &mut Left, fetched: &mut Vec<Fetched>) {
        let count = self.inputs.len();
        if count == 0 {
            return;
        }
        for turn in 0..count {
            if left.records == 0 || (left.bytes == 0 && !left.is_untouched) {
                break;
            }
            let input = &mut self.inputs[(self.turn + turn) % count];
            if let Some(fault) = input.hand_out(left, fetched) {
                self.on_fault((self.turn + turn) % count, &fault);
            }
        }
        self.turn = (self.turn + 1) % count;
    }

    /// An input's queue has said that it cannot go on.
    fn on_fault(&mut self, index: usize, fault: &Fault) {
        let is_about_place = matches!(
            fault.code,
            code::AUTO_OFFSET_RESET | code::OFFSET_OUT_OF_RANGE
        );
        if is_about_place || is_about_topic(fault) {
            self.verify(index);
        } else if errors::class_of(fault) != Class::Unavailable {
            let input = &mut self.inputs[index];
            let doing = format!("reading {} position=`{}`", input.partition, input.position);
            let error = errors::error(&doing, fault);
            input.fault = Some((error.class(), error.to_string()));
        }
    }

    /// Finds out why an input cannot be read on; without a lasting reason it is sent
    /// for again.
    fn verify(&mut self, index: usize) {
        let limit = self.cluster.options.request_timeout;
        let input = &mut self.inputs[index];
        let found = match self.cluster.describe(&input.partition.topic) {
            Ok(found) => found,
            // Nobody knows now; it is asked about again.
            Err(_) => return,
        };
        let is_same = found.is_some_and(|topic| {
            topic.id == input.topic_id && input.partition.partition < topic.partitions
        });
        let ask = |spec| {
            self.cluster
                .offset(&input.partition, spec, Isolation::Uncommitted)
        };
        let error = if is_same {
            match (ask(OffsetSpec::Earliest), ask(OffsetSpec::Latest)) {
                (Ok(start), _) if input.position < start => {
                    crate::retention_has_passed(&input.partition, input.position, start)
                }
                (_, Ok(end)) if end < input.position => {
                    crate::position_after_end(&input.partition, input.position, end)
                }
                _ => {
                    let position = input.position;
                    let _ = input.queue.seek(position, limit);
                    return;
                }
            }
        } else {
            crate::topic_deleted(&input.partition.topic)
        };
        input.fault = Some((error.class(), error.to_string()));
    }

    /// The inputs about which nothing is at hand and no fault is known.
    fn idle(&self, fetched: &[Fetched]) -> Vec<usize> {
        let is_idle = |index: &usize| {
            let input = &self.inputs[*index];
            input.fault.is_none()
                && !input.queue.has_taken()
                && fetched.iter().all(|part| part.partition != input.partition)
        };
        (0..self.inputs.len()).filter(is_idle).collect()
    }

    /// Asks where some inputs end; the answer comes to `asked`.
    fn ask(&mut self, about: &[usize], isolation: Isolation) {
        let partitions: Vec<_> = about
            .iter()
            .map(|&index| (&self.inputs[index].partition, OffsetSpec::Latest))
            .collect();
        let limit = self.cluster.options.request_timeout;
        let asked = self
            .cluster
            .admin()
            .ask_offsets(&partitions, isolation, limit, &self.wake);
        self.asked = asked.ok().map(|offsets| Asked {
            offsets,
            isolation,
            about: about
                .iter()
                .map(|&index| (index, self.inputs[index].position))
                .collect(),
        });
        self.asked_at = self.now();
        for &index in about {
            self.inputs[index].was_asked = true;
        }
    }

    /// Takes an answer that has arrived: the end of each input that has not moved
    /// since it was asked about. `None` while none has.
    fn answer(&mut self) -> Option<(Isolation, Vec<(usize, u64)>)> {
        let answer = self.asked.as_ref()?.offsets.answer()?;
        let asked = self.asked.take().expect("it was just there");
        let mut ends = Vec::new();
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => {
                if is_about_topic(&fault) {
                    asked
                        .about
                        .iter()
                        .for_each(|(index, _)| self.verify(*index));
                }
                Vec::new()
            }
        };
        for (partition, offset) in answer {
            let place = asked
                .about
                .iter()
                .find(|(index, _)| self.inputs[*index].partition == partition);
            let Some(&(index, position)) = place else {
                continue;
            };
            match offset {
                Ok(end) if end < position => self.verify(index),
                Ok(end) if self.inputs[index].position == position => ends.push((index, end)),
                Ok(_) => {}
                Err(fault) if is_about_topic(&fault) => self.verify(index),
                Err(_) => {}
            }
        }
        Some((asked.isolation, ends))
    }

    /// Beside records of others: which idle inputs are at their end, by an answer
    /// that is there; and asks anew from time to time.
    fn glance(&mut self, fetched: &mut Vec<Fetched>) {
        let idle = self.idle(fetched);
        if let Some((Isolation::Uncommitted, ends)) = self.answer() {
            for (index, end) in ends {
                if idle.contains(&index) && self.inputs[index].position == end {
                    fetched.push(self.inputs[index].quiet());
                }
            }
        }
        let is_due = self.asked_at + ASK_INTERVAL <= self.now();
        if self.asked.is_none() && is_due && !idle.is_empty() {
            self.ask(&idle, Isolation::Uncommitted);
        }
    }

    /// Waits for brokers' answers about idle inputs, and for what they say is there.
    /// Returns early with records, unless some input is new: so that all partitions
    /// take part from the first poll on.
    fn settle(&mut self, left: &mut Left, fetched: &mut Vec<Fetched>) {
        let deadline = self.now() + ANSWER_WAIT_MAX;
        let idle = self.idle(fetched);
        if idle.is_empty() {
            return;
        }
        let is_first = idle.iter().any(|index| !self.inputs[*index].was_asked);
        self.asked = None;
        self.ask(&idle, Isolation::Uncommitted);
        // Inputs whose end is not their position, with the visible end once known.
        let mut behind: Vec<(usize, u64, Option<u64>)> = Vec::new();
        loop {
            match self.answer() {
                Some((Isolation::Uncommitted, ends)) => {
                    for (index, end) in ends {
                        if self.inputs[index].position == end {
                            fetched.push(self.inputs[index].quiet());
                        } else {
                            behind.push((index, end, None));
                        }
                    }
                    if !behind.is_empty() {
                        let about: Vec<usize> = behind.iter().map(|(index, ..)| *index).collect();
                        self.ask(&about, Isolation::Committed);
                    }
                }
                Some((Isolation::Committed, ends)) => {
                    for (index, _, visible) in &mut behind {
                        let end = ends.iter().find(|(about, _)| about == index);
                        // One that has moved on since is being read.
                        *visible = Some(end.map_or(0, |(_, end)| *end));
                    }
                }
                None => {}
            }
            self.hand_out(left, fetched);
            behind.retain(|&(index, end, visible)| {
                let input = &mut self.inputs[index];
                let is_full = left.records == 0 || left.bytes == 0;
                let has_more = input.queue.has_taken() || (is_full && input.queue.has_arrived());
                if input.fault.is_some() || has_more {
                    return false;
                }
                if fetched.iter().any(|part| part.partition == input.partition) {
                    return false;
                }
                if input.position == end {
                    fetched.push(input.quiet());
                    return false;
                }
                visible.is_none_or(|visible| input.position < visible)
            });
            let has_records = fetched.iter().any(|part| !part.records.is_empty());
            let now = self.now();
            let is_done = behind.is_empty() || (has_records && !is_first);
            if (self.asked.is_none() && is_done) || deadline <= now {
                return;
            }
            self.wake.wait(deadline - now);
        }
    }

    fn fault(&self) -> Option<Error> {
        let faults = self.inputs.iter().find_map(|input| input.fault.as_ref());
        faults.map(|(class, text)| Error::new(*class, text.clone()))
    }
}

impl Reader for KafkaReader {
    fn poll(&mut self, wait: Duration, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let deadline = self.now().saturating_add(wait);
        let mut left = Left {
            records: limits.records_max.max(1),
            bytes: limits.bytes_max,
            is_untouched: true,
        };
        let mut fetched = Vec::new();
        loop {
            self.hand_out(&mut left, &mut fetched);
            let now = self.now();
            if !fetched.is_empty() || deadline <= now || self.fault().is_some() {
                break;
            }
            self.wake.wait(deadline - now);
        }
        self.client.serve_errors();
        if let Some(refused) = self.client.events().refused() {
            return Err(errors::error("reading", &refused));
        }
        let is_new = |index: &usize| !self.inputs[*index].was_asked;
        if fetched.is_empty() || self.idle(&fetched).iter().any(is_new) {
            self.settle(&mut left, &mut fetched);
        } else {
            self.glance(&mut fetched);
        }
        let has_records = fetched.iter().any(|part| !part.records.is_empty());
        match self.fault() {
            // What was read must be handed out; the fault is told next time.
            Some(error) if !has_records => Err(error),
            _ => Ok(fetched),
        }
    }

    fn seek(&mut self, partition: &TopicPartition, to: Position) -> Result<()> {
        let offset = crate::offset_of(partition, to)?;
        let limit = self.cluster.options.request_timeout;
        let found = self
            .inputs
            .iter_mut()
            .find(|input| input.partition == *partition);
        let Some(input) = found else {
            return Err(Error::invalid(format!(
                "the reader does not read this partition topic=`{}` partition=`{}`",
                partition.topic, partition.partition
            )));
        };
        let doing = format!("seeking in {partition}");
        input
            .queue
            .seek(offset, limit)
            .map_err(|fault| errors::client_error(&doing, &self.client, &fault))?;
        (input.position, input.position_after) = (offset, offset);
        (input.fault, input.was_asked) = (None, false);
        Ok(())
    }
}

impl Input {
    /// Hands out what is at hand within the limits, in parts of one append minute.
    /// Returns what stopped the queue.
    fn hand_out(&mut self, left: &mut Left, fetched: &mut Vec<Fetched>) -> Option<Fault> {
        if self.fault.is_some() {
            return None;
        }
        if !self.queue.has_taken()
            && let Some(position) = self.queue.take(left.records.min(TAKE_MAX))
        {
            self.position_after = self.position_after.max(position);
        }
        let mut part = Part::new(self.queue.taken_count().min(left.records));
        let mut fault = None;
        while let Some(consumed) = self.queue.front() {
            match consumed {
                Consumed::End(offset) => {
                    self.position_after = self.position_after.max(offset);
                }
                Consumed::Failed(failed) => {
                    fault = Some(failed);
                    self.queue.pop();
                    break;
                }
                Consumed::Record {
                    offset,
                    key,
                    value,
                    timestamp,
                    is_append_time,
                    headers,
                } => {
                    let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                    let is_full =
                        left.records == 0 || RecordsBuilder::BYTES_MAX < part.bytes + size;
                    if is_full || (left.bytes < size && !left.is_untouched) {
                        break;
                    }
                    let append_time = is_append_time.then_some(timestamp);
                    if !part.takes(append_time) {
                        let done = std::mem::replace(&mut part, Part::new(0));
                        fetched.push(done.finish(&self.partition, offset, false));
                    }
                    let (timestamp, headers) = timestamps::received(timestamp, headers);
                    part.builder.push(key, value, timestamp, headers);
                    part.offsets.push(offset);
                    part.append_time = append_time;
                    part.bytes += size;
                    left.records -= 1;
                    left.bytes = left.bytes.saturating_sub(size);
                    left.is_untouched = false;
                    self.position = offset + 1;
                }
            }
            self.queue.pop();
        }
        if !self.queue.has_taken() {
            self.position = self.position.max(self.position_after);
        }
        self.position_after = self.position_after.max(self.position);
        if !part.builder.is_empty() {
            let at_end = self.queue.end_seen() == Some(self.position);
            fetched.push(part.finish(&self.partition, self.position, at_end));
        }
        fault
    }

    /// Says that nothing is there, as a broker has just confirmed.
    fn quiet(&self) -> Fetched {
        Part::new(0).finish(&self.partition, self.position, true)
    }
}

/// Records of one partition that are handed out together.
struct Part {
    builder: RecordsBuilder,
    offsets: Vec<u64>,
    append_time: Option<i64>,
    bytes: usize,
}

impl Part {
    /// A usual record's size, to begin with.
    const RECORD_BYTES: usize = 256;

    fn new(records: usize) -> Part {
        Part {
            builder: RecordsBuilder::with_capacity(records, records * Self::RECORD_BYTES),
            offsets: Vec::with_capacity(records),
            append_time: None,
            bytes: 0,
        }
    }

    /// Whether a record stored at this time belongs with those before it.
    fn takes(&self, append_time: Option<i64>) -> bool {
        let minute = |time: Option<i64>| time.map(Fetched::append_minute);
        self.builder.is_empty() || minute(self.append_time) == minute(append_time)
    }

    fn finish(self, partition: &TopicPartition, resume: u64, at_end: bool) -> Fetched {
        let first = self.offsets.first().copied().unwrap_or(resume);
        let is_dense = self
            .offsets
            .last()
            .is_none_or(|last| last - first + 1 == self.offsets.len() as u64);
        let positions = if is_dense {
            Positions::From(first)
        } else {
            let each = self.offsets.into_iter().map(Position::from_offset);
            Positions::Each(each.collect())
        };
        Fetched {
            partition: partition.clone(),
            records: self.builder.finish(),
            positions,
            resume: Position::from_offset(resume),
            append_time_ms: self.append_time,
            at_end,
        }
    }
}
