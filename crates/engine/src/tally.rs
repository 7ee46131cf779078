//! What a run did, counted when it is committed.
//!
//! A run that starts again from its last commit processes again what it had not
//! committed. So a worker counts for itself while its epoch is open, and adds it
//! to the run's totals when the epoch is committed. An epoch of which it is not
//! known whether it was committed waits until the log has said. Where instances share
//! a group, another may have gone on with the partition by then; such an epoch is not
//! counted.
//!
//! There is one tally: the report of a run and the [metrics](crate::Metrics) of the
//! application are made of it. Nothing is counted by the record: operators count their
//! batches, and are asked when an epoch ends.

use crate::metrics::Metrics;
use crate::run::CommittedMap;
use crate::settings::{Ended, Report};
use headwater_connect::Delivery;
use headwater_core::TopicPartition;
use headwater_log::Committed;
use headwater_plan::NodeId;
use std::collections::BTreeMap;

/// One operator of a subtopology: the number of its node, and whether it stands for
/// the node's topic. A change of key is two: rows leave by one and come back by the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OperatorId {
    pub(crate) node: NodeId,
    pub(crate) is_input: bool,
}

/// What an operator has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    /// Rows that came in late for all their windows.
    pub(crate) late: u64,
    /// Rows that came in and could not be processed.
    pub(crate) failed: u64,
    /// Results of windows that could not be given.
    pub(crate) failed_emissions: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.late += other.late;
        self.failed += other.failed;
        self.failed_emissions += other.failed_emissions;
    }
}

/// What was done with the records of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionCounts {
    pub(crate) records_in: u64,
    pub(crate) late: u64,
    pub(crate) skipped: u64,
    pub(crate) dead_lettered: u64,
}

impl PartitionCounts {
    /// A record could not be processed.
    pub(crate) fn count_failure(&mut self, is_dead_letter: bool) {
        match is_dead_letter {
            true => self.dead_lettered += 1,
            false => self.skipped += 1,
        }
    }

    pub(crate) fn add(&mut self, other: PartitionCounts) {
        self.records_in += other.records_in;
        self.late += other.late;
        self.skipped += other.skipped;
        self.dead_lettered += other.dead_lettered;
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Records from outside: those of repartition topics are not among them.
    pub(crate) records_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) records_out: u64,
    pub(crate) partitions: BTreeMap<TopicPartition, PartitionCounts>,
    pub(crate) operators: BTreeMap<OperatorId, Counts>,
    /// Rows that reached the end of a frame, if they are wanted.
    pub(crate) collected: Vec<Delivery>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.records_in += other.records_in;
        self.rows_out += other.rows_out;
        self.records_out += other.records_out;
        for (partition, counts) in other.partitions {
            self.partitions.entry(partition).or_default().add(counts);
        }
        for (operator, counts) in other.operators {
            self.operators.entry(operator).or_default().add(counts);
        }
        self.collected.extend(other.collected);
    }

    /// The counts of one partition.
    pub(crate) fn of(&mut self, partition: &TopicPartition) -> &mut PartitionCounts {
        if !self.partitions.contains_key(partition) {
            self.partitions
                .insert(partition.clone(), PartitionCounts::default());
        }
        self.partitions
            .get_mut(partition)
            .expect("it was just inserted")
    }
}

/// What a run has committed so far, over all its beginnings.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) committed: Tally,
    /// The number of commits that are known to have happened.
    pub(crate) commits: u64,
    uncertain: Vec<(Vec<(TopicPartition, Committed)>, Tally)>,
    /// What the application has done in all its runs.
    metrics: Metrics,
}

impl Totals {
    /// Those of a run that has done nothing yet.
    pub(crate) fn new(metrics: Metrics) -> Totals {
        Totals {
            metrics,
            ..Totals::default()
        }
    }

    /// An epoch has been committed.
    pub(crate) fn add(&mut self, tally: Tally) {
        self.count(tally);
        self.commits += 1;
    }

    fn count(&mut self, tally: Tally) {
        self.metrics.count(&tally);
        self.committed.add(tally);
    }

    /// An epoch has perhaps been committed, with these positions.
    pub(crate) fn doubt(&mut self, positions: Vec<(TopicPartition, Committed)>, tally: Tally) {
        self.uncertain.push((positions, tally));
    }

    /// What the run did, at its end.
    pub(crate) fn report(&mut self, ended: Ended) -> Report {
        let done = std::mem::take(&mut self.committed);
        let sum = |of: fn(&PartitionCounts) -> u64| done.partitions.values().map(of).sum();
        Report {
            ended,
            records_in: done.records_in,
            rows_out: done.rows_out,
            records_out: done.records_out,
            late: sum(|counts| counts.late),
            skipped: sum(|counts| counts.skipped),
            dead_lettered: sum(|counts| counts.dead_lettered),
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
                self.count(tally);
            }
        }
    }
}
