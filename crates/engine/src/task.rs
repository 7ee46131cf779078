//! A task: the operators of one input on one partition, their state, their time.
//!
//! A task is driven by [`Task::step`]: inputs in, effects out. It has no thread,
//! no clock and no log, so a test or a simulation can drive it as well as a
//! worker.
//!
//! # A row's effects are atomic
//!
//! The unit is a cause: one input record, or one row that a closing window
//! emitted. Such a row is a cause of its own even where a record of its key has
//! closed the window: if it fails below, the record has not failed, and the window
//! stays closed. Otherwise every later record of the key would fail by it too.
//!
//! 1. The batch runs as a whole. Operators mark rows that fail and go on.
//! 2. Nothing failed: done.
//! 3. Something failed, and the task has no state: what failed causes sent out is
//!    masked.
//! 4. Otherwise the stores go back to where they were, what left the stateless
//!    operators is kept (their functions are not called again), and what entered
//!    the first stateful ones passes again, one input at a time under a savepoint,
//!    in the times that operators above have set. A cause that fails is undone; an
//!    input that fails moves no clock.

use crate::input::Input;
use crate::retime::Moves;
use crate::tree::{Entered, Marks, OutputLengths, Pass, Recount, Tree};
use crate::upstream::Upstream;
use headwater_core::{Batch, Cause, Positions, Result, TimestampMs, TopicPartition, fault};
use headwater_operators::{Appended, Delivered, Failure, Outputs, Step, StepTimes};
use headwater_state::KeyedStore;
use std::collections::BTreeSet;

/// How many expired entries are removed after one step beside twice as many as
/// were changed: so sweeping keeps up with any step, and catches up.
const SWEPT_MORE: usize = 1_000;

/// One input on one partition.
pub(crate) struct Task {
    pub(crate) partition: TopicPartition,
    pub(crate) input: Input,
    pub(crate) tree: Tree,
    pub(crate) keyed: KeyedStore,
    /// What the tasks have said that fill its input, where that is a repartition
    /// topic.
    pub(crate) upstream: Option<Upstream>,
    /// The watermark after the last input; `MIN` before the first.
    pub(crate) watermark: TimestampMs,
    /// Where everything stood before the open step.
    pub(crate) before_step: Option<BeforeStep>,
}

/// Where a task stood before its open step.
pub(crate) struct BeforeStep {
    marks: Marks,
    watermark: TimestampMs,
    clocks: Vec<TimestampMs>,
    upstream: Option<Upstream>,
}

/// The inputs of one step, ready for the operators.
pub(crate) struct Prepared {
    /// The rows that are well-formed.
    pub(crate) batch: Batch,
    /// The event time of each input, and whether it moves the clock.
    pub(crate) clocks: Vec<ClockMove>,
    /// Inputs that failed before any operator saw them.
    pub(crate) failures: Vec<Failure>,
    /// Where the inputs stand in the log, if they are records.
    pub(crate) positions: Option<Positions>,
    /// The latest event time that a row may be given.
    pub(crate) latest_ms: TimestampMs,
    /// What the tasks before this one have said, after these inputs.
    pub(crate) upstream: Option<Upstream>,
    /// Whether time passes by itself: a tick of this task, or of all those before it.
    pub(crate) is_tick: bool,
}

/// What a pass needs to know of the inputs beside their rows.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    clocks: &'a [ClockMove],
    positions: Option<&'a Positions>,
    latest_ms: TimestampMs,
    /// For a tick, how long a key must be silent for its windows to close.
    tick_timeout_ms: Option<i64>,
    moves: Moves,
}

/// What an input does to the watermark unless it fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClockMove {
    /// Moves it to at least this.
    To(TimestampMs),
    /// The end of the input: moves it past everything for as long as this input
    /// is processed, so that windows close. It is the last of its step.
    End,
    /// Leaves it.
    None,
}

/// What a step did.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) outputs: Outputs,
    /// Rows that reached the end of a frame.
    pub(crate) leaves: Vec<Delivered>,
    /// One failure for each cause that failed, in order.
    pub(crate) failures: Vec<Failure>,
}

impl Task {
    /// Processes inputs. With failures the effects are those of all other causes.
    /// The step stays open until [`Task::accept`] or [`Task::undo`].
    ///
    /// # Errors
    /// What ends the run; the stores are then unusable.
    pub(crate) fn step(&mut self, prepared: Prepared) -> Result<Effects> {
        let Prepared {
            batch,
            clocks,
            mut failures,
            positions,
            latest_ms,
            upstream,
            is_tick,
        } = prepared;
        failures.sort_by_key(|failure| failure.cause);
        let inputs = Inputs {
            clocks: &clocks,
            positions: positions.as_ref(),
            latest_ms,
            tick_timeout_ms: self.input.idle_timeout_ms.filter(|_| is_tick),
            moves: Moves {
                is_tick,
                max_out_of_orderness_ms: self.input.max_out_of_orderness_ms,
            },
        };
        self.open_step();
        self.upstream = upstream;
        let input = &mut self.tree.branches[0].counts;
        input.rows_in += (batch.len() + failures.len()) as u64;
        input.failed += failures.len() as u64;
        if self.tree.is_always_careful {
            let entered = Entered {
                rows: vec![(0, batch)],
                times: Vec::new(),
            };
            return self.step_carefully(&entered, inputs, failures, Effects::default());
        }
        let excluded: BTreeSet<Cause> = failures.iter().map(|failure| failure.cause).collect();
        let times = times_of(self.watermark, &clocks, &excluded);
        let is_stateful = self.tree.is_stateful();
        let retimed = self.tree.retimed();
        let mut step = Step::new(&times, &mut self.keyed, &self.partition);
        step.positions = inputs.positions;
        step.latest_ms = inputs.latest_ms;
        step.tick_timeout_ms = inputs.tick_timeout_ms;
        let mut pass = Pass::new(&mut step, &retimed, inputs.moves);
        pass.entered = is_stateful.then(Entered::default);
        self.tree.push(0, batch, &mut pass)?;
        self.tree.advance(0, &mut pass)?;
        let (leaves, entered) = (pass.leaves, pass.entered);
        let (failed, outputs) = (step.failures, step.outputs);
        let mut effects = Effects {
            outputs,
            leaves,
            failures,
        };
        if failed.is_empty() {
            self.watermark = settled(&times, &clocks);
            self.tree.keep_clocks(&retimed);
            return Ok(effects);
        }
        if !is_stateful {
            effects.failures.extend(failed);
            self.watermark = self.watermark_without(&clocks, &effects.failures);
            return Ok(effects.masked(|_| true));
        }
        if let Some(before) = &self.before_step
            && !fault!("rerun-keeps-state")
        {
            self.tree
                .roll_back(&mut self.keyed, &before.marks, Recount::AfterState);
        }
        self.step_again(effects, failed, &entered.unwrap_or_default(), inputs)
    }

    /// Opens the savepoint to which [`Task::undo`] goes back.
    fn open_step(&mut self) {
        self.before_step = Some(BeforeStep {
            marks: self.tree.mark(&mut self.keyed),
            watermark: self.watermark,
            clocks: self.tree.clocks(),
            upstream: self.upstream.clone(),
        });
    }

    /// Keeps what stateless operators did, and sends what entered the first
    /// stateful ones through them again.
    fn step_again(
        &mut self,
        mut effects: Effects,
        failed: Vec<Failure>,
        entered: &Entered,
        inputs: Inputs<'_>,
    ) -> Result<Effects> {
        let is_after_state = |id| {
            let mut branches = self.tree.branches.iter();
            branches.any(|branch| branch.plan_id == id && branch.is_after_state)
        };
        let early = failed
            .into_iter()
            .filter(|failure| !is_after_state(failure.operator));
        effects.failures.extend(early);
        let mut so_far = effects.masked(|operator| !is_after_state(operator));
        let failures = std::mem::take(&mut so_far.failures);
        self.step_carefully(entered, inputs, failures, so_far)
    }

    /// Keeps what the last step did.
    pub(crate) fn accept(&mut self) {
        self.before_step = None;
        self.tree.release(&mut self.keyed);
    }

    /// Removes state whose time to live has passed.
    pub(crate) fn sweep(&mut self) {
        let entries_max = 2 * self.keyed.changed_count() + SWEPT_MORE;
        self.keyed.sweep(self.watermark, entries_max);
    }

    /// Puts state and time back to where they were before the last step.
    pub(crate) fn undo(&mut self) {
        if let Some(before) = self.before_step.take() {
            self.tree
                .roll_back(&mut self.keyed, &before.marks, Recount::All);
            self.tree.set_clocks(&before.clocks);
            self.watermark = before.watermark;
            self.upstream = before.upstream;
        }
        self.tree.release(&mut self.keyed);
    }

    /// Sends what entered some nodes through them again, one input at a time.
    fn step_carefully(
        &mut self,
        entered: &Entered,
        inputs: Inputs<'_>,
        failures: Vec<Failure>,
        so_far: Effects,
    ) -> Result<Effects> {
        let mut effects = so_far;
        let clocks = inputs.clocks;
        let excluded: BTreeSet<Cause> = failures.iter().map(|failure| failure.cause).collect();
        effects.failures = failures;
        let mut times = StepTimes {
            before: self.watermark,
            after: Vec::with_capacity(clocks.len()),
        };
        for (at, clock) in clocks.iter().enumerate() {
            let before = times.before(at);
            times.after.push(before);
            if excluded.contains(&Cause::input(at)) {
                continue;
            }
            times.after[at] = clock.apply(before);
            if !self.run_input(at, entered, &times, inputs, &mut effects)? {
                times.after[at] = before;
            }
        }
        self.watermark = settled(&times, clocks);
        // What stateless operators had sent before a cause failed elsewhere goes too.
        let mut effects = effects.masked(|_| true);
        effects.sort_outputs();
        Ok(effects)
    }

    /// Runs one input; `false` if it failed and was undone.
    fn run_input(
        &mut self,
        at: usize,
        entered: &Entered,
        times: &StepTimes,
        inputs: Inputs<'_>,
        effects: &mut Effects,
    ) -> Result<bool> {
        let marks = self.tree.mark(&mut self.keyed);
        let retimed = self.tree.retimed();
        let mut step = Step::new(times, &mut self.keyed, &self.partition);
        step.positions = inputs.positions;
        step.latest_ms = inputs.latest_ms;
        step.tick_timeout_ms = inputs.tick_timeout_ms;
        let mut pass = Pass::new(&mut step, &retimed, inputs.moves);
        pass.is_careful = true;
        let nothing = OutputLengths::of(&pass);
        self.tree.push_again(0, entered, at, &mut pass)?;
        self.tree.advance(0, &mut pass)?;
        let is_failed = pass
            .step
            .failures
            .iter()
            .any(|failure| failure.cause == Cause::input(at));
        if is_failed {
            nothing.cut(&mut pass);
        }
        let Pass { leaves, .. } = pass;
        let Step {
            failures, outputs, ..
        } = step;
        if is_failed {
            self.tree.roll_back(&mut self.keyed, &marks, Recount::Late);
            let own = failures
                .into_iter()
                .filter(|failure| failure.cause == Cause::input(at));
            effects.failures.extend(own);
        } else {
            self.tree.keep_clocks(&retimed);
            effects.failures.extend(failures);
        }
        effects.outputs.appended.extend(outputs.appended);
        effects.outputs.delivered.extend(outputs.delivered);
        effects.outputs.warnings.extend(outputs.warnings);
        effects.leaves.extend(leaves);
        Ok(!is_failed)
    }

    fn watermark_without(&self, clocks: &[ClockMove], failures: &[Failure]) -> TimestampMs {
        let excluded = failures.iter().map(|failure| failure.cause).collect();
        let times = times_of(self.watermark, clocks, &excluded);
        settled(&times, clocks)
    }
}

impl ClockMove {
    fn apply(self, watermark: TimestampMs) -> TimestampMs {
        match self {
            ClockMove::To(time) => watermark.max(time),
            ClockMove::End => TimestampMs::MAX,
            ClockMove::None => watermark,
        }
    }
}

/// The watermark after a step: the end of the input is not a time, and what
/// follows it, from a file that has grown, is judged by the times before it.
fn settled(times: &StepTimes, clocks: &[ClockMove]) -> TimestampMs {
    match clocks.split_last() {
        None => times.before,
        Some((ClockMove::End, earlier)) => times.before(earlier.len()),
        Some((_, earlier)) => times.after(earlier.len()),
    }
}

fn times_of(before: TimestampMs, clocks: &[ClockMove], excluded: &BTreeSet<Cause>) -> StepTimes {
    let mut now = before;
    let after = clocks
        .iter()
        .enumerate()
        .map(|(at, clock)| {
            if !excluded.contains(&Cause::input(at)) {
                now = clock.apply(now);
            }
            now
        })
        .collect();
    StepTimes { before, after }
}

impl Effects {
    /// Leaves out what failed causes sent, and what operators sent that `keeps`
    /// refuses; keeps one failure for each cause.
    fn masked(mut self, keeps: impl Fn(usize) -> bool) -> Effects {
        self.failures.sort_by_key(|failure| failure.cause);
        self.failures.dedup_by_key(|failure| failure.cause);
        let failed: BTreeSet<Cause> = self.failures.iter().map(|failure| failure.cause).collect();
        let appended = std::mem::take(&mut self.outputs.appended);
        self.outputs.appended = appended
            .into_iter()
            .filter(|appended| keeps(appended.operator))
            .map(|appended| without_causes(appended, &failed))
            .collect();
        let warnings = &mut self.outputs.warnings;
        warnings.retain(|warning| keeps(warning.operator) && !failed.contains(&warning.cause));
        for list in [&mut self.outputs.delivered, &mut self.leaves] {
            list.retain(|delivered| keeps(delivered.operator));
            for delivered in list.iter_mut() {
                let batch = &delivered.batch;
                let kept: Vec<u32> = (0..batch.len() as u32)
                    .filter(|&row| !failed.contains(&batch.cause(row as usize)))
                    .collect();
                if kept.len() < batch.len() {
                    delivered.batch = batch.take(&kept);
                }
            }
        }
        self
    }

    /// Puts records of each partition into the order of their causes: those of
    /// stateless operators were kept from the first pass.
    fn sort_outputs(&mut self) {
        self.outputs
            .appended
            .sort_by_key(|appended| appended.causes.first().copied());
        self.outputs.delivered.sort_by_key(|delivered| {
            (!delivered.batch.is_empty()).then(|| delivered.batch.cause(0))
        });
    }
}

fn without_causes(mut appended: Appended, failed: &BTreeSet<Cause>) -> Appended {
    if !appended.causes.iter().any(|cause| failed.contains(cause)) {
        return appended;
    }
    let kept: Vec<usize> = (0..appended.causes.len())
        .filter(|&row| !failed.contains(&appended.causes[row]))
        .collect();
    let records = &mut appended.records;
    records.keys = kept.iter().map(|&row| records.keys[row]).collect();
    records.values = kept.iter().map(|&row| records.values[row]).collect();
    records.timestamps = kept.iter().map(|&row| records.timestamps[row]).collect();
    if !records.headers.is_empty() {
        records.headers = kept
            .iter()
            .map(|&row| records.headers[row].clone())
            .collect();
    }
    appended.causes = kept.iter().map(|&row| appended.causes[row]).collect();
    appended
}
