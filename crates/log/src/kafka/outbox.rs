//! Records on their way to the brokers, and what became of them.

use super::cluster::Cluster;
use super::errors;
use super::ffi::{Client, Deliveries, Fault, Message, Topic, code};
use super::timestamps;
use super::wake::Wake;
use crate::Ends;
use headwater_core::{Error, Position, Records, Result, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long one look at the delivery reports may wait for the next.
const SERVE_WAIT: Duration = Duration::from_millis(20);

/// A producing client with a count of what was sent and what has arrived.
pub(super) struct Outbox {
    cluster: Arc<Cluster>,
    /// One for each partition appended to; its index is the tag of its messages.
    slots: Vec<Slot>,
    index: BTreeMap<TopicPartition, usize>,
    /// The slot of the last append: appends come in runs.
    last: Option<usize>,
    topics: BTreeMap<Arc<str>, (Arc<Topic>, u32)>,
    deliveries: Deliveries,
    client: Arc<Client>,
}

struct Slot {
    partition: TopicPartition,
    topic: Arc<Topic>,
    sent: usize,
    stored: usize,
    failed: usize,
    /// The offset after the last record that was stored.
    end: Option<u64>,
    fault: Option<Fault>,
}

/// How far records could be queued.
pub(super) enum Queued {
    /// All of them.
    All,
    /// Those before this one: the queue is full.
    Until(usize),
}

impl Outbox {
    pub(super) fn new(cluster: Arc<Cluster>, client: Arc<Client>) -> Outbox {
        Outbox {
            cluster,
            slots: Vec::new(),
            index: BTreeMap::new(),
            last: None,
            topics: BTreeMap::new(),
            deliveries: Deliveries::new(&client, &Arc::<Wake>::default()),
            client,
        }
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The slot of a partition that exists.
    ///
    /// # Errors
    /// `Invalid` if it does not.
    pub(super) fn slot(&mut self, partition: &TopicPartition) -> Result<usize> {
        let is_last = |&slot: &usize| self.slots[slot].partition == *partition;
        if let Some(slot) = self.last.filter(is_last) {
            return Ok(slot);
        }
        let slot = match self.index.get(partition) {
            Some(slot) => *slot,
            None => self.add_slot(partition)?,
        };
        self.last = Some(slot);
        Ok(slot)
    }

    fn add_slot(&mut self, partition: &TopicPartition) -> Result<usize> {
        let known = self.topics.get(&partition.topic);
        let topic = match known.filter(|(_, count)| partition.partition < *count) {
            Some((topic, _)) => topic.clone(),
            None => {
                let found = self.cluster.check(partition)?;
                let topic = Topic::new(&self.client, &partition.topic)
                    .map_err(|fault| errors::error("opening a topic", &fault))?;
                let topic = Arc::new(topic);
                let entry = (topic.clone(), found.partitions);
                self.topics.insert(partition.topic.clone(), entry);
                topic
            }
        };
        let slot = self.slots.len();
        self.index.insert(partition.clone(), slot);
        self.slots.push(Slot {
            partition: partition.clone(),
            topic,
            sent: 0,
            stored: 0,
            failed: 0,
            end: None,
            fault: None,
        });
        Ok(slot)
    }

    /// Queues records from `start` on.
    ///
    /// # Errors
    /// `Invalid` for a record that is larger than the client takes; those before it
    /// are queued.
    pub(super) fn queue(&mut self, slot: usize, records: &Records, start: usize) -> Result<Queued> {
        let entry = &mut self.slots[slot];
        for index in start..records.len() {
            let headers = records.headers(index);
            let (timestamp, own) = timestamps::sent(records.timestamps[index], headers);
            let message = Message {
                key: records.key(index),
                value: records.value(index),
                timestamp,
                headers: own.as_deref().unwrap_or(headers),
            };
            match entry
                .topic
                .produce(entry.partition.partition, &message, slot)
            {
                Ok(()) => entry.sent += 1,
                Err(fault) if fault.code == code::QUEUE_FULL => {
                    self.serve(Duration::ZERO);
                    return Ok(Queued::Until(index));
                }
                Err(fault) => {
                    let partition = entry.partition.clone();
                    return Err(self.why_failed(&partition, &fault));
                }
            }
        }
        self.serve(Duration::ZERO);
        Ok(Queued::All)
    }

    /// Queues records whole, waiting while the queue is full.
    ///
    /// # Errors
    /// As [`Outbox::queue`], and `Unavailable` after `limit`; some are queued then.
    pub(super) fn queue_all(
        &mut self,
        partition: &TopicPartition,
        records: &Records,
        limit: Duration,
    ) -> Result<()> {
        let slot = self.slot(partition)?;
        let clock = self.cluster.options.env.clock.clone();
        let deadline = clock.monotonic() + limit;
        let mut start = 0;
        loop {
            match self.queue(slot, records, start)? {
                Queued::All => return Ok(()),
                Queued::Until(_) if deadline <= clock.monotonic() => {
                    return Err(self.full());
                }
                Queued::Until(next) => {
                    start = next;
                    self.serve(SERVE_WAIT);
                }
            }
        }
    }

    pub(super) fn full(&self) -> Error {
        let last = self.client.events().last_line().unwrap_or_default();
        Error::unavailable(format!(
            "the queue to kafka is full and the brokers take nothing last=`{last}`"
        ))
    }

    /// Counts the delivery reports that have arrived, waiting so long for the first.
    pub(super) fn serve(&mut self, wait: Duration) {
        let slots = &mut self.slots;
        self.deliveries.serve(wait, |delivered| {
            let slot = &mut slots[delivered.tag];
            match delivered.offset {
                Ok(offset) => {
                    slot.stored += 1;
                    let end = offset as u64 + 1;
                    slot.end = Some(slot.end.map_or(end, |last| last.max(end)));
                }
                Err(fault) => {
                    slot.failed += 1;
                    slot.fault.get_or_insert(fault);
                }
            }
        });
    }

    /// The records whose delivery is not known yet.
    pub(super) fn outstanding(&self) -> usize {
        let open = |slot: &Slot| slot.sent - slot.stored - slot.failed;
        self.slots.iter().map(open).sum()
    }

    /// Waits until the delivery of every record is known; `false` if the time is up.
    pub(super) fn settle(&mut self, limit: Duration) -> bool {
        let clock = self.cluster.options.env.clock.clone();
        let deadline = clock.monotonic() + limit;
        self.serve(Duration::ZERO);
        while 0 < self.outstanding() {
            if deadline <= clock.monotonic() {
                return false;
            }
            self.client.push_out();
            self.serve(SERVE_WAIT);
        }
        true
    }

    /// Forgets the counts of what is settled and gives the ends of what was stored.
    ///
    /// # Errors
    /// Why a record was not stored: `Invalid` for a topic that is gone or a record
    /// that the topic does not take.
    pub(super) fn take_ends(&mut self) -> Result<Ends> {
        let mut ends = Ends::new();
        let mut failed = None;
        for slot in &mut self.slots {
            assert_eq!(
                slot.sent,
                slot.stored + slot.failed,
                "what is settled is known"
            );
            (slot.sent, slot.stored, slot.failed) = (0, 0, 0);
            if let Some(end) = slot.end.take() {
                ends.insert(slot.partition.clone(), Position::from_offset(end));
            }
            if let Some(fault) = slot.fault.take() {
                failed.get_or_insert((slot.partition.clone(), fault));
            }
        }
        match failed {
            None => Ok(ends),
            Some((partition, fault)) => Err(self.why_failed(&partition, &fault)),
        }
    }

    /// A record that was not stored: is its topic gone, or is it only a matter of time?
    fn why_failed(&mut self, partition: &TopicPartition, fault: &Fault) -> Error {
        if let Ok(None) = self.cluster.describe(&partition.topic) {
            self.index.retain(|at, _| at.topic != partition.topic);
            self.topics.remove(&partition.topic);
            self.last = None;
            return crate::topic_deleted(&partition.topic);
        }
        let doing = format!("appending to {partition}");
        errors::client_error(&doing, &self.client, fault)
    }
}
