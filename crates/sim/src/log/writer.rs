//! Writes the simulated log.

use super::state::State;
use super::transactions::Due;
use super::{SimLog, unavailable};
use crate::bug::Bug;
use crate::trouble::{Call, Trouble};
use headwater::core::{Error, Position, Records, Result, TopicPartition};
use headwater::log::{CommitOutcome, Committed, Ends, PositionsOf, Producer, Transactor};
use std::sync::Arc;
use std::time::Duration;

/// How long a transaction waits for the markers of the one before it.
const PATIENCE: Duration = Duration::from_secs(20);

/// See [`Producer`].
pub(super) struct SimProducer {
    log: Arc<SimLog>,
    queued: Vec<(TopicPartition, Records)>,
}

impl SimProducer {
    pub(super) fn new(log: Arc<SimLog>) -> SimProducer {
        SimProducer {
            log,
            queued: Vec::new(),
        }
    }
}

impl Producer for SimProducer {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        self.log.state().partition(partition)?;
        self.queued.push((partition.clone(), records));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.log.ask(Call::Append, self.queued.len() as u64)?;
        let mut state = self.log.state();
        let is_dropped = state.has_bug(Bug::DroppedUnflushed) && state.seed.hits(3);
        for (partition, records) in std::mem::take(&mut self.queued) {
            if !is_dropped {
                state.append(&partition, &records, None)?;
            }
        }
        Ok(())
    }
}

/// See [`Transactor`].
pub(super) struct SimTransactor {
    log: Arc<SimLog>,
    identity: String,
    epoch: u64,
    group: String,
    member: u64,
    buffered: Vec<(TopicPartition, Records)>,
    bytes: usize,
    transaction: Option<u64>,
    ends: Ends,
    /// What a request that was sent early was answered with.
    early: Option<Error>,
}

impl SimTransactor {
    pub(super) fn new(
        log: Arc<SimLog>,
        identity: String,
        epoch: u64,
        group: &str,
        member: u64,
    ) -> SimTransactor {
        SimTransactor {
            log,
            identity,
            epoch,
            group: group.to_owned(),
            member,
            buffered: Vec::new(),
            bytes: 0,
            transaction: None,
            ends: Ends::new(),
            early: None,
        }
    }

    /// Begins a transaction, if none is open.
    fn begin(&mut self) -> Result<u64> {
        if let Some(transaction) = self.transaction {
            return Ok(transaction);
        }
        let world = Arc::clone(&self.log.world);
        let deadline = world.now() + PATIENCE;
        loop {
            let mut state = self.log.state();
            state.check_epoch(&self.identity, self.epoch)?;
            state.abort_open(&self.identity);
            if !state.is_settling(&self.identity) {
                let id = state.begin(&self.identity, self.epoch, &self.group);
                self.transaction = Some(id);
                return Ok(id);
            }
            drop(state);
            if deadline <= world.now() {
                return Err(unavailable());
            }
            world.wait(Duration::from_millis(3), false);
        }
    }

    /// Sends what is buffered.
    fn send(&mut self) -> Result<()> {
        let transaction = self.begin()?;
        let mut state = self.log.state();
        state.check_epoch(&self.identity, self.epoch)?;
        let is_ignored = state.has_bug(Bug::DeliveryFailureIgnored);
        for (partition, records) in self.buffered.drain(..) {
            if is_ignored && state.seed.hits(10) {
                continue;
            }
            if records.is_empty() {
                state.partition(&partition)?;
                continue;
            }
            if let Some(known) = state.transactions.get_mut(&transaction) {
                if known.decision.is_some() {
                    return Err(timed_out());
                }
                known.partitions.insert(partition.clone());
            } else {
                return Err(timed_out());
            }
            state.append(&partition, &records, Some(transaction))?;
            let end = state.partition(&partition)?.next;
            self.ends.insert(partition, Position::from_offset(end));
        }
        Ok(())
    }

    fn drop_all(&mut self) {
        self.buffered.clear();
        self.bytes = 0;
        self.ends.clear();
        if let Some(transaction) = self.transaction.take() {
            self.log.state().decide(transaction, false);
        }
    }

    /// From the check of the identity to the moment before the end is asked for.
    fn prepare(&mut self, positions: &mut PositionsOf<'_>) -> Result<u64> {
        if let Some(error) = self.early.take() {
            return Err(error);
        }
        self.log.state().check_epoch(&self.identity, self.epoch)?;
        self.send()?;
        let transaction = self.begin()?;
        let positions = positions(&self.ends)?;
        check_metadata(&positions)?;
        self.log.ask(Call::InCommit, 1)?;
        let mut state = self.log.state();
        state.check_epoch(&self.identity, self.epoch)?;
        state.check_generation(&self.group, self.member)?;
        if state.has_bug(Bug::PositionsBeforeRecords) {
            let early = state.begin(&self.identity, self.epoch, &self.group);
            state.add_positions(early, positions);
            state.decide(early, true);
        } else if !positions.is_empty() {
            state.add_positions(transaction, positions);
        }
        drop(state);
        self.log.ask(Call::InCommit, 2)?;
        let state = self.log.state();
        state.check_epoch(&self.identity, self.epoch)?;
        match state.transactions.get(&transaction) {
            Some(known) if known.decision.is_none() => Ok(transaction),
            _ => Err(timed_out()),
        }
    }
}

fn timed_out() -> Error {
    Error::unavailable("the transaction was open for too long and has been aborted")
}

pub(super) fn check_metadata(positions: &[(TopicPartition, Committed)]) -> Result<()> {
    let len = |committed: &Committed| committed.metadata.len();
    let is_long = |(_, committed): &&(TopicPartition, Committed)| {
        len(committed) > Committed::METADATA_BYTES_MAX
    };
    match positions.iter().find(is_long) {
        None => Ok(()),
        Some((partition, committed)) => Err(Error::invalid(format!(
            "the metadata of a commit is too long partition=`{partition}` bytes=`{}`",
            len(committed)
        ))),
    }
}

/// Where a record goes by a mistake of that name.
fn misled(state: &State, partition: &TopicPartition, epoch: u64) -> TopicPartition {
    let Some(topic) = state.topics.get(&*partition.topic) else {
        return partition.clone();
    };
    let is_own = !topic.config.compacted && !partition.topic.ends_with(".dead-letter");
    match is_own && epoch > 1 {
        true => TopicPartition::new(
            Arc::clone(&partition.topic),
            (partition.partition + 1) % topic.config.partitions,
        ),
        false => partition.clone(),
    }
}

impl Transactor for SimTransactor {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        self.log.ask(Call::Append, records.len() as u64)?;
        let mut state = self.log.state();
        state.partition(partition)?;
        let mut partition = partition.clone();
        if state.has_bug(Bug::WrongPartitionAfterRestart) {
            partition = misled(&state, &partition, self.epoch);
        }
        if state.has_bug(Bug::DeadLetterOutside) && partition.topic.ends_with(".dead-letter") {
            return state.append(&partition, &records, None);
        }
        self.bytes += records.bytes.len().min(
            records
                .keys
                .iter()
                .chain(&records.values)
                .map(|span| span.len as usize)
                .sum(),
        );
        self.buffered.push((partition, records));
        let is_early = state.nature.has_markers && state.seed.hits(3);
        drop(state);
        if is_early && self.early.is_none() {
            self.early = self.send().err();
        }
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.bytes
    }

    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        let trouble = match self.log.ask_coordinator(Call::Commit, self.bytes as u64) {
            Ok(trouble) => trouble,
            Err(error) => {
                self.drop_all();
                return Err(error);
            }
        };
        let copies = self.buffered.clone();
        let mut known = Vec::new();
        let prepared = self.prepare(&mut |ends: &Ends| {
            known = positions(ends)?;
            Ok(known.clone())
        });
        let transaction = match prepared {
            Ok(transaction) => transaction,
            Err(error) => {
                self.drop_all();
                return Err(error);
            }
        };
        self.bytes = 0;
        self.ends.clear();
        self.transaction = None;
        let world = &self.log.world;
        world.say(&format!(
            "{} commits {known:?} ({trouble:?})",
            self.identity
        ));
        let mut state = self.log.state();
        match trouble {
            Some(Trouble::RequestLost) => {}
            Some(Trouble::RequestLate(ms)) => {
                let delay = Duration::from_millis(ms);
                state.happen_after(delay, Due::LateEnd { transaction });
            }
            _ => state.decide(transaction, true),
        }
        let is_taken_for_done = state.has_bug(Bug::UnknownTakenForDone);
        let is_retried = state.has_bug(Bug::UnknownRetried);
        drop(state);
        self.log.ask(Call::InCommit, 3)?;
        let is_unknown = trouble.is_some_and(Trouble::is_doubt);
        if !is_unknown || is_taken_for_done {
            return Ok(CommitOutcome::Committed);
        }
        if is_retried {
            self.buffered = copies;
            self.prepare(&mut |_: &Ends| Ok(known.clone()))
                .map(|again| self.log.state().decide(again, true))?;
            self.transaction = None;
            return Ok(CommitOutcome::Committed);
        }
        Ok(CommitOutcome::Unknown {
            reason: "the simulated reply was lost".into(),
        })
    }

    fn abort(&mut self) -> Result<()> {
        self.drop_all();
        Ok(())
    }
}
