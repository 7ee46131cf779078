//! Writes the simulated log at least once.
//!
//! ```text
//! appended ──▶ outputs: sent now or later
//!         └──▶ changes: held until the commit
//! commit       outputs sent ─▶ removals of the epoch before, changes ─▶ positions
//! ```
//!
//! Between any two steps the process may die. What was sent stays, so that the epoch
//! is repeated; what was not is lost. A writer that ends in good order sends the removals
//! that it holds, if its member is still one of the group's generation.

use super::SimLog;
use super::writer::check_metadata;
use crate::bug::Bug;
use crate::trouble::{Call, Trouble};
use headwater::core::{Position, Records, RecordsBuilder, Result, TopicPartition};
use headwater::log::{CommitOutcome, Ends, PositionsOf, Transactor};
use std::sync::Arc;

type Appends = Vec<(TopicPartition, Records)>;

/// See the module.
pub(super) struct SimRepeating {
    log: Arc<SimLog>,
    group: String,
    member: u64,
    life: Option<usize>,
    outputs: Appends,
    changes: Appends,
    /// Removals wait for the epoch after: one that was stored before its positions
    /// would be missed by the repeated epoch.
    removals: Appends,
    bytes: usize,
    ends: Ends,
}

impl SimRepeating {
    pub(super) fn new(
        log: Arc<SimLog>,
        group: &str,
        member: u64,
        life: Option<usize>,
    ) -> SimRepeating {
        SimRepeating {
            log,
            group: group.to_owned(),
            member,
            life,
            outputs: Vec::new(),
            changes: Vec::new(),
            removals: Vec::new(),
            bytes: 0,
            ends: Ends::new(),
        }
    }

    fn send(&mut self, appends: Appends) -> Result<()> {
        let mut state = self.log.state();
        for (partition, records) in appends {
            state.append(&partition, &records, None)?;
            let end = state.partition(&partition)?.next;
            self.ends.insert(partition, Position::from_offset(end));
        }
        Ok(())
    }

    fn send_outputs(&mut self) -> Result<()> {
        let outputs = std::mem::take(&mut self.outputs);
        self.send(outputs)
    }

    fn send_changes(&mut self) -> Result<()> {
        let (changes, removals) = split(std::mem::take(&mut self.changes));
        let before = std::mem::replace(&mut self.removals, removals);
        self.send(before)?;
        self.send(changes)
    }

    fn try_commit(
        &mut self,
        positions: &mut PositionsOf<'_>,
        trouble: Option<Trouble>,
    ) -> Result<CommitOutcome> {
        let state = self.log.state();
        state.check_generation(&self.group, self.member)?;
        let is_early = state.has_bug(Bug::ChangelogBeforeOutputs);
        drop(state);
        if is_early {
            self.send_changes()?;
            self.log.ask(Call::InCommit, 1)?;
        }
        self.send_outputs()?;
        self.log.ask(Call::InCommit, 1)?;
        self.send_changes()?;
        self.log.ask(Call::InCommit, 2)?;
        let committed = positions(&self.ends)?;
        check_metadata(&committed)?;
        self.log.ask(Call::InCommit, 3)?;
        let mut state = self.log.state();
        state.check_generation(&self.group, self.member)?;
        if trouble != Some(Trouble::RequestLost) {
            state.commit_positions(&self.group, committed);
        }
        Ok(match trouble.is_some_and(Trouble::is_doubt) {
            false => CommitOutcome::Committed,
            true => CommitOutcome::Unknown {
                reason: "the simulated reply was lost".into(),
            },
        })
    }
}

/// What is not null, and what is.
fn split(changes: Appends) -> (Appends, Appends) {
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for (partition, records) in changes {
        let mut parts = [RecordsBuilder::default(), RecordsBuilder::default()];
        for index in 0..records.len() {
            let value = records.value(index);
            let headers = records.headers.get(index).cloned().flatten();
            let time = records.timestamps[index];
            parts[usize::from(value.is_none())].push(records.key(index), value, time, headers);
        }
        let [values, nulls] = parts.map(RecordsBuilder::finish);
        kept.push((partition.clone(), values));
        removed.push((partition, nulls));
    }
    (kept, removed)
}

impl Transactor for SimRepeating {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        self.log.ask(Call::Append, records.len() as u64)?;
        let mut state = self.log.state();
        state.partition(partition)?;
        self.bytes += records.bytes.len();
        if state.topics[&*partition.topic].config.compacted {
            self.changes.push((partition.clone(), records));
            return Ok(());
        }
        self.outputs.push((partition.clone(), records));
        let is_sent = state.seed.hits(3);
        drop(state);
        match is_sent {
            true => self.send_outputs(),
            false => Ok(()),
        }
    }

    fn pending_bytes(&self) -> usize {
        self.bytes
    }

    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        let trouble = self.log.ask_coordinator(Call::Commit, self.bytes as u64);
        let outcome = trouble.and_then(|trouble| self.try_commit(positions, trouble));
        self.bytes = 0;
        self.ends.clear();
        self.outputs.clear();
        self.changes.clear();
        if !matches!(outcome, Ok(CommitOutcome::Committed)) {
            // The epoch is repeated, and makes its removals again.
            self.removals.clear();
        }
        outcome
    }

    fn abort(&mut self) -> Result<()> {
        self.outputs.clear();
        self.changes.clear();
        self.bytes = 0;
        Ok(())
    }
}

impl Drop for SimRepeating {
    fn drop(&mut self) {
        let removals = std::mem::take(&mut self.removals);
        let is_done = self.changes.is_empty() && !removals.is_empty();
        if !is_done || std::thread::panicking() || !self.log.world.is_alive(self.life) {
            return;
        }
        // Who has its partitions now may have set these keys again.
        let current = self.log.state().check_generation(&self.group, self.member);
        if current.is_ok() {
            let _ = self.send(removals);
        }
    }
}
