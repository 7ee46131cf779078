//! One step of a task, as its operators see it.
//!
//! A step is a batch of inputs, or one tick. Operators read times from it and
//! leave failures and outputs in it. Nothing in it depends on how inputs were
//! cut into steps: times are kept by input, not by step.

use headwater_core::{
    Batch, Cause, DataError, Positions, Records, RowError, TimestampMs, TopicPartition,
};
use headwater_state::KeyedStore;

/// What operators share while a step runs.
#[derive(Debug)]
pub struct Step<'a> {
    /// The watermark before and after each input.
    pub times: &'a StepTimes,
    /// The state of stateful record functions of this task.
    pub keyed: &'a mut KeyedStore,
    /// Causes that failed so far.
    pub failures: Vec<Failure>,
    /// What is to leave if the step succeeds.
    pub outputs: Outputs,
    /// The operator that is running, as the plan numbers it.
    pub operator: usize,
    /// The partition whose records the step processes.
    pub partition: &'a TopicPartition,
    /// The latest event time that a row may have; a later one is a data error.
    pub latest_ms: TimestampMs,
    /// The position of each input, where they are records.
    pub positions: Option<&'a Positions>,
    /// In a step that is a tick: the event time after which a silent key's
    /// windows close, which is the `idle_timeout`. `None` where a record moves
    /// the watermark.
    pub tick_timeout_ms: Option<i64>,
    /// How many of the failures are results that a closing window could not give,
    /// and not rows that came in.
    pub failed_emissions: u64,
    emissions: u32,
}

/// The watermark while the inputs of a step pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTimes {
    /// Before the first input; [`TimestampMs::MIN`] if there is none yet.
    pub before: TimestampMs,
    /// After each input; never decreases. [`TimestampMs::MAX`] is the end of the
    /// input, which closes everything.
    pub after: Vec<TimestampMs>,
}

impl StepTimes {
    /// The watermark when input number `at` arrived, itself not counted.
    pub fn before(&self, at: usize) -> TimestampMs {
        if at == 0 {
            self.before
        } else {
            self.after[at - 1]
        }
    }

    /// The watermark after input number `at`.
    pub fn after(&self, at: usize) -> TimestampMs {
        self.after[at]
    }
}

/// A row that failed.
#[derive(Debug)]
pub struct Failure {
    /// What the row descends from.
    pub cause: Cause,
    /// The operator at which it failed.
    pub operator: usize,
    /// Why.
    pub error: DataError,
    /// The row itself, where a closing window emitted it: it has no record to go
    /// back to.
    pub row: Option<Batch>,
}

/// What leaves at the end of a step.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Records for topics.
    pub appended: Vec<Appended>,
    /// Rows for sinks, tables and callers.
    pub delivered: Vec<Delivered>,
    /// What the user is told.
    pub warnings: Vec<Warning>,
}

/// A line for the user's log.
#[derive(Debug)]
pub struct Warning {
    /// The operator that warns.
    pub operator: usize,
    /// What it warns of.
    pub cause: Cause,
    /// The line.
    pub text: String,
}

/// Records for one partition.
#[derive(Debug)]
pub struct Appended {
    /// The operator that appends them.
    pub operator: usize,
    /// Where to.
    pub partition: TopicPartition,
    /// The records.
    pub records: Records,
    /// What each descends from.
    pub causes: Vec<Cause>,
}

/// Rows for something other than a topic.
#[derive(Debug)]
pub struct Delivered {
    /// The operator that delivers them.
    pub operator: usize,
    /// The rows.
    pub batch: Batch,
}

impl<'a> Step<'a> {
    /// A step whose operators have not run yet.
    pub fn new(
        times: &'a StepTimes,
        keyed: &'a mut KeyedStore,
        partition: &'a TopicPartition,
    ) -> Self {
        Step {
            times,
            keyed,
            failures: Vec::new(),
            outputs: Outputs::default(),
            operator: 0,
            partition,
            latest_ms: TimestampMs::MAX,
            positions: None,
            tick_timeout_ms: None,
            failed_emissions: 0,
            emissions: 0,
        }
    }

    /// Marks a row as failed; the caller leaves it out.
    pub fn fail(&mut self, batch: &Batch, row: usize, error: DataError) {
        let cause = batch.cause(row);
        let row = cause.is_emission().then(|| batch.take(&[row as u32]));
        self.failures.push(Failure {
            cause,
            operator: self.operator,
            error,
            row,
        });
    }

    /// Marks rows as failed and returns the batch without them.
    #[must_use]
    pub fn fail_rows(&mut self, batch: Batch, errors: Vec<RowError>) -> Batch {
        if errors.is_empty() {
            return batch;
        }
        let kept = batch.clone().without(&errors);
        for RowError { row, error } in errors {
            self.fail(&batch, row as usize, error);
        }
        kept
    }

    /// The cause of the next row that a window emits because it closes at input
    /// `at`.
    pub fn next_emission(&mut self, at: usize) -> Cause {
        self.emissions += 1;
        Cause::emission(at, self.emissions)
    }
}
