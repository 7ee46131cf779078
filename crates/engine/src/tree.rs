//! The operators of one task as a tree, and one pass of a step through it.
//!
//! Depth first, branches in the order in which the user wrote them:
//!
//! ```text
//! push(node, batch)      the operator processes the rows in order, what goes on
//!                        is pushed to each child
//! advance(node)          after all rows of the step: the operator emits what time
//!                        has closed meanwhile, which is pushed to each child;
//!                        then each child advances
//! ```
//!
//! In a **careful** pass one input goes through at a time, and every row that a
//! closing window emits goes on alone under a savepoint of its own: if it fails,
//! what it did below is undone, and its window stays closed. A careful pass gives the
//! same result as a plain one; it is taken where something failed, and always
//! where two operators of the tree would otherwise see each other's effects in
//! an order that depends on how batches were cut.

use crate::retime::{Moves, Retimed, SetTimes};
use crate::tally::{Counts, OperatorId};
use crate::upstream::Exit;
use headwater_core::{Batch, Cause, Result, TimestampMs};
use headwater_operators::{Delivered, Operator, Step, StepTimes};
use headwater_plan::NodeId;
use headwater_state::{KeyedStore, Mark, StateStore};
use std::cell::OnceCell;

/// One operator and what comes after it.
pub(crate) struct Branch {
    /// Its number in the plan.
    pub(crate) plan_id: NodeId,
    /// What it does; an input does nothing by itself.
    pub(crate) operator: Option<Box<dyn Operator>>,
    /// Where its rows go, as indices into the tree.
    pub(crate) children: Vec<usize>,
    /// Whether it or anything above it keeps state.
    pub(crate) is_after_state: bool,
    /// Whether it keeps state and nothing above it does.
    pub(crate) is_first_stateful: bool,
    /// The clock of a `set_timestamp` above windows; see [`crate::retime`].
    pub(crate) clock: Option<TimestampMs>,
    /// What it has done since the last commit.
    pub(crate) counts: Counts,
}

/// The operators of one task; the first is the input.
pub(crate) struct Tree {
    pub(crate) branches: Vec<Branch>,
    /// The changes of key at which its rows go on in other tasks.
    pub(crate) exits: Vec<Exit>,
    /// Whether every pass must be careful.
    pub(crate) is_always_careful: bool,
}

/// What reached the first stateful operators of a step, so that it can pass them
/// again without what lies above.
#[derive(Default)]
pub(crate) struct Entered {
    /// The rows, by branch.
    pub(crate) rows: Vec<(usize, Batch)>,
    /// What operators above set as times, by branch.
    pub(crate) times: Vec<(usize, SetTimes)>,
}

/// One pass of a step.
pub(crate) struct Pass<'s, 'a> {
    pub(crate) step: &'s mut Step<'a>,
    /// Rows that reached the end of a frame.
    pub(crate) leaves: Vec<Delivered>,
    /// What entered the first stateful operators, where it must be kept.
    pub(crate) entered: Option<Entered>,
    pub(crate) is_careful: bool,
    /// The times below operators that set them, by branch.
    pub(crate) retimed: &'a [OnceCell<Retimed>],
    pub(crate) moves: Moves,
}

impl<'s, 'a> Pass<'s, 'a> {
    pub(crate) fn new(
        step: &'s mut Step<'a>,
        retimed: &'a [OnceCell<Retimed>],
        moves: Moves,
    ) -> Self {
        Pass {
            step,
            leaves: Vec::new(),
            entered: None,
            is_careful: false,
            retimed,
            moves,
        }
    }
}

/// Savepoints of all stores of a task, and what its operators had counted.
pub(crate) struct Marks {
    keyed: Mark,
    stores: Vec<Mark>,
    counts: Vec<Counts>,
}

/// Which counts go back with the stores.
///
/// A row that has passed an operator counts there, also if its cause fails later: so
/// counts do not depend on whether a pass was careful. They go back where the same
/// rows will pass again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recount {
    /// All: the whole step is undone.
    All,
    /// Those of operators that keep state and what is below: these pass again.
    AfterState,
    /// None, but a row of a failed cause was not late.
    Late,
}

impl Tree {
    /// A place for the times below each operator, for one pass.
    pub(crate) fn retimed(&self) -> Vec<OnceCell<Retimed>> {
        self.branches.iter().map(|_| OnceCell::new()).collect()
    }

    /// The clocks of operators that set times, in order.
    pub(crate) fn clocks(&self) -> Vec<TimestampMs> {
        self.branches
            .iter()
            .filter_map(|branch| branch.clock)
            .collect()
    }

    /// Sets those clocks; those of another number of operators don't fit.
    pub(crate) fn set_clocks(&mut self, clocks: &[TimestampMs]) {
        if self.clocks().len() == clocks.len() {
            let own = self
                .branches
                .iter_mut()
                .filter_map(|branch| branch.clock.as_mut());
            own.zip(clocks).for_each(|(own, &clock)| *own = clock);
        }
    }

    /// Keeps where the clocks stand after a pass.
    pub(crate) fn keep_clocks(&mut self, retimed: &[OnceCell<Retimed>]) {
        for (branch, retimed) in self.branches.iter_mut().zip(retimed) {
            if let Some(retimed) = retimed.get() {
                branch.clock = Some(retimed.clock);
            }
        }
    }

    /// Whether any operator keeps state.
    pub(crate) fn is_stateful(&self) -> bool {
        self.branches.iter().any(|branch| branch.is_after_state)
    }

    /// How long beyond the idle timeout windows behind changes of key may wait for
    /// time, in milliseconds.
    pub(crate) fn closes_within_ms(&self) -> Option<i64> {
        let exits = self.exits.iter();
        exits.filter_map(|exit| exit.closes_within_ms).max()
    }

    /// Whether time alone may make an operator emit.
    pub(crate) fn is_waiting_for_time(&self) -> bool {
        self.branches.iter().any(|branch| {
            branch
                .operator
                .as_ref()
                .is_some_and(|operator| operator.is_waiting_for_time())
        })
    }

    /// Whether rows leave for the repartition topic of that name.
    pub(crate) fn is_exit(&self, topic: &str) -> bool {
        self.exits.iter().any(|exit| *exit.topic == *topic)
    }

    fn stores(&mut self) -> impl Iterator<Item = &mut dyn StateStore> {
        self.branches
            .iter_mut()
            .filter_map(|branch| branch.operator.as_mut()?.store())
    }

    /// The stores with the plan's number of their operators.
    pub(crate) fn stores_by_node(&mut self) -> impl Iterator<Item = (NodeId, &mut dyn StateStore)> {
        self.branches.iter_mut().filter_map(|branch| {
            let plan_id = branch.plan_id;
            branch
                .operator
                .as_mut()?
                .store()
                .map(|store| (plan_id, store))
        })
    }

    pub(crate) fn mark(&mut self, keyed: &mut KeyedStore) -> Marks {
        Marks {
            keyed: keyed.mark(),
            stores: self.stores().map(StateStore::mark).collect(),
            counts: self.branches.iter().map(|branch| branch.counts).collect(),
        }
    }

    pub(crate) fn roll_back(&mut self, keyed: &mut KeyedStore, marks: &Marks, recount: Recount) {
        keyed.rollback(marks.keyed);
        for (store, &mark) in self.stores().zip(&marks.stores) {
            store.rollback(mark);
        }
        for (branch, &counts) in self.branches.iter_mut().zip(&marks.counts) {
            match recount {
                Recount::All => branch.counts = counts,
                Recount::AfterState if branch.is_after_state => branch.counts = counts,
                Recount::AfterState => {}
                Recount::Late => branch.counts.late = counts.late,
            }
        }
    }

    /// Takes what each operator has done since the last call; the first is the input.
    pub(crate) fn take_counts(&mut self) -> impl Iterator<Item = (OperatorId, Counts)> {
        self.branches.iter_mut().map(|branch| {
            let id = OperatorId {
                node: branch.plan_id,
                is_input: branch.operator.is_none(),
            };
            (id, std::mem::take(&mut branch.counts))
        })
    }

    pub(crate) fn release(&mut self, keyed: &mut KeyedStore) {
        keyed.release();
        self.stores().for_each(StateStore::release);
    }

    /// Sends a batch through a node and everything after it.
    ///
    /// # Errors
    /// What ends the whole step.
    pub(crate) fn push(
        &mut self,
        node: usize,
        batch: Batch,
        pass: &mut Pass<'_, '_>,
    ) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.branches[node].is_first_stateful
            && let Some(entered) = &mut pass.entered
        {
            entered.rows.push((node, batch.isolate()));
        }
        let cause = batch.cause(0);
        let branch = &mut self.branches[node];
        let outcome = match &mut branch.operator {
            None => Some(batch),
            Some(operator) => {
                pass.step.operator = branch.plan_id;
                branch.counts.rows_in += batch.len() as u64;
                let before = Failed::so_far(pass.step);
                let outcome = operator.process(batch, pass.step)?;
                before.count(pass.step, &mut branch.counts);
                outcome
            }
        };
        if self.branches[node].clock.is_none() {
            return match outcome {
                Some(batch) if pass.is_careful => self.send_apart(node, &batch, Some(cause), pass),
                outcome => self.fan_out(node, outcome, pass),
            };
        }
        let rows = outcome.as_ref().map(SetTimes::of);
        if let (Some(entered), Some(rows)) = (&mut pass.entered, &rows) {
            entered.times.push((node, rows.clone()));
        }
        let outer = self.set_times(node, rows, pass);
        let result = self.fan_out(node, outcome, pass);
        pass.step.times = outer;
        result
    }

    /// Lets the times below a node that sets them hold; returns those above it.
    fn set_times<'a>(
        &self,
        node: usize,
        rows: Option<SetTimes>,
        pass: &mut Pass<'_, 'a>,
    ) -> &'a StepTimes {
        let outer = pass.step.times;
        if let Some(clock) = self.branches[node].clock {
            let (retimed, moves) = (pass.retimed, pass.moves);
            let below = retimed[node]
                .get_or_init(|| Retimed::new(clock, outer, &rows.unwrap_or_default(), moves));
            pass.step.times = &below.times;
        }
        outer
    }

    /// Sends what entered the first stateful nodes with input number `at` through
    /// them again, in the times that hold there.
    ///
    /// # Errors
    /// As [`Tree::push`].
    pub(crate) fn push_again(
        &mut self,
        node: usize,
        entered: &Entered,
        at: usize,
        pass: &mut Pass<'_, '_>,
    ) -> Result<()> {
        if let Some((_, batch)) = entered.rows.iter().find(|(other, _)| *other == node) {
            return match slice_of(batch, at) {
                Some(slice) => self.push(node, slice, pass),
                None => Ok(()),
            };
        }
        let times = entered.times.iter().find(|(other, _)| *other == node);
        let outer = self.set_times(node, times.map(|(_, times)| times.at(at)), pass);
        for index in 0..self.branches[node].children.len() {
            let child = self.branches[node].children[index];
            self.push_again(child, entered, at, pass)?;
        }
        pass.step.times = outer;
        Ok(())
    }

    /// Tells a node, then everything after it, the time at the end of the step,
    /// and sends on what that closes.
    ///
    /// # Errors
    /// What ends the whole step.
    pub(crate) fn advance(&mut self, node: usize, pass: &mut Pass<'_, '_>) -> Result<()> {
        let branch = &mut self.branches[node];
        if let Some(operator) = &mut branch.operator {
            pass.step.operator = branch.plan_id;
            let before = Failed::so_far(pass.step);
            let emitted = operator.advance(pass.step)?;
            before.count(pass.step, &mut branch.counts);
            branch.counts.late += operator.take_late_count();
            match emitted {
                Some(batch) if pass.is_careful => self.send_apart(node, &batch, None, pass)?,
                emitted => self.fan_out(node, emitted, pass)?,
            }
        }
        let outer = self.set_times(node, None, pass);
        for index in 0..self.branches[node].children.len() {
            let child = self.branches[node].children[index];
            self.advance(child, pass)?;
        }
        pass.step.times = outer;
        Ok(())
    }

    /// Sends on what a node made of a row with the cause `own`. Rows that it
    /// emitted beside go on one by one; if one fails below, what it did there is
    /// undone, and what failed because of it has not been.
    fn send_apart(
        &mut self,
        node: usize,
        batch: &Batch,
        own: Option<Cause>,
        pass: &mut Pass<'_, '_>,
    ) -> Result<()> {
        let mut row = 0;
        while row < batch.len() {
            let cause = batch.cause(row);
            let is_own = own == Some(cause);
            let mut rows = vec![row as u32];
            row += 1;
            while is_own && row < batch.len() && batch.cause(row) == cause {
                rows.push(row as u32);
                row += 1;
            }
            if is_own {
                let is_all = rows.len() == batch.len();
                let rows = if is_all {
                    batch.clone()
                } else {
                    batch.take(&rows)
                };
                self.fan_out(node, Some(rows), pass)?;
                continue;
            }
            let marks = self.mark(pass.step.keyed);
            let failures = pass.step.failures.len();
            let outputs = OutputLengths::of(pass);
            self.fan_out(node, Some(batch.take(&rows)), pass)?;
            let failed = &pass.step.failures[failures..];
            if failed.iter().any(|failure| failure.cause == cause) {
                self.roll_back(pass.step.keyed, &marks, Recount::Late);
                outputs.cut(pass);
                let since = pass.step.failures.split_off(failures);
                let first = since.into_iter().find(|failure| failure.cause == cause);
                pass.step.failures.extend(first);
            }
        }
        Ok(())
    }

    fn fan_out(
        &mut self,
        node: usize,
        batch: Option<Batch>,
        pass: &mut Pass<'_, '_>,
    ) -> Result<()> {
        let Some(batch) = batch.filter(|batch| !batch.is_empty()) else {
            return Ok(());
        };
        let branch = &mut self.branches[node];
        branch.counts.rows_out += batch.len() as u64;
        let Some(last) = branch.children.len().checked_sub(1) else {
            pass.leaves.push(Delivered {
                operator: branch.plan_id,
                batch,
            });
            return Ok(());
        };
        let copies: Vec<Batch> = (0..last).map(|_| batch.isolate()).collect();
        let children = branch.children.clone();
        for (copy, &child) in copies.into_iter().zip(&children) {
            self.push(child, copy, pass)?;
        }
        self.push(children[last], batch, pass)
    }
}

/// What had failed when an operator was called.
struct Failed {
    failures: usize,
    emissions: u64,
}

impl Failed {
    fn so_far(step: &Step<'_>) -> Failed {
        Failed {
            failures: step.failures.len(),
            emissions: step.failed_emissions,
        }
    }

    /// Counts what has failed since.
    fn count(&self, step: &Step<'_>, counts: &mut Counts) {
        let emissions = step.failed_emissions - self.emissions;
        counts.failed += (step.failures.len() - self.failures) as u64 - emissions;
        counts.failed_emissions += emissions;
    }
}

/// How much had left when a savepoint was opened.
pub(crate) struct OutputLengths {
    appended: usize,
    delivered: usize,
    leaves: usize,
    warnings: usize,
}

impl OutputLengths {
    pub(crate) fn of(pass: &Pass<'_, '_>) -> Self {
        OutputLengths {
            appended: pass.step.outputs.appended.len(),
            delivered: pass.step.outputs.delivered.len(),
            leaves: pass.leaves.len(),
            warnings: pass.step.outputs.warnings.len(),
        }
    }

    pub(crate) fn cut(&self, pass: &mut Pass<'_, '_>) {
        pass.step.outputs.appended.truncate(self.appended);
        pass.step.outputs.delivered.truncate(self.delivered);
        pass.leaves.truncate(self.leaves);
        pass.step.outputs.warnings.truncate(self.warnings);
    }
}

/// The rows of `batch` that descend from input number `at`.
pub(crate) fn slice_of(batch: &Batch, at: usize) -> Option<Batch> {
    let from = batch
        .causes
        .partition_point(|&cause| Cause(cause).at() < at);
    let to = batch
        .causes
        .partition_point(|&cause| Cause(cause).at() <= at);
    let rows: Vec<u32> = (from as u32..to as u32).collect();
    (!rows.is_empty()).then(|| batch.take(&rows))
}
