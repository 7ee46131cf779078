//! What a run did, counted when it is committed.
//!
//! A run that starts again from its last commit processes again what it had not
//! committed. So a worker counts for itself while its epoch is open, and adds it
//! to the run's totals when the epoch is committed. An epoch of which it is not
//! known whether it was committed waits until the log has said. Where instances share
//! a group, another may have gone on with the partition by then; such an epoch is not
//! counted.

use crate::run::CommittedMap;
use crate::settings::{Ended, Report};
use headwater_connect::Delivery;
use headwater_core::TopicPartition;
use headwater_log::Committed;

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) records_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) records_out: u64,
    pub(crate) late: u64,
    pub(crate) skipped: u64,
    pub(crate) dead_lettered: u64,
    /// Rows that reached the end of a frame, if they are wanted.
    pub(crate) collected: Vec<Delivery>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.records_in += other.records_in;
        self.rows_out += other.rows_out;
        self.records_out += other.records_out;
        self.late += other.late;
        self.skipped += other.skipped;
        self.dead_lettered += other.dead_lettered;
        self.collected.extend(other.collected);
    }
}

/// What a run has committed so far, over all its beginnings.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) committed: Tally,
    /// The number of commits that are known to have happened.
    pub(crate) commits: u64,
    uncertain: Vec<(Vec<(TopicPartition, Committed)>, Tally)>,
}

impl Totals {
    /// An epoch has been committed.
    pub(crate) fn add(&mut self, tally: Tally) {
        self.committed.add(tally);
        self.commits += 1;
    }

    /// An epoch has perhaps been committed, with these positions.
    pub(crate) fn doubt(&mut self, positions: Vec<(TopicPartition, Committed)>, tally: Tally) {
        self.uncertain.push((positions, tally));
    }

    /// What the run did, at its end.
    pub(crate) fn report(&mut self, ended: Ended) -> Report {
        let done = std::mem::take(&mut self.committed);
        Report {
            ended,
            records_in: done.records_in,
            rows_out: done.rows_out,
            records_out: done.records_out,
            late: done.late,
            skipped: done.skipped,
            dead_lettered: done.dead_lettered,
            collected: done.collected,
        }
    }

    /// The log has said what is committed: the epochs in doubt count or do not.
    pub(crate) fn resolve(&mut self, committed: &CommittedMap) {
        for (positions, tally) in std::mem::take(&mut self.uncertain) {
            let is_there = |(partition, position): &(TopicPartition, Committed)| {
                committed.get(partition) == Some(position)
            };
            if positions.iter().all(is_there) {
                self.committed.add(tally);
            }
        }
    }
}
