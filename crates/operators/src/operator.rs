//! The contract of an operator.

use crate::Step;
use headwater_core::{Batch, Result};
use headwater_state::StateStore;

/// A node of the physical plan, owned by one task.
///
/// What an operator does to a row may depend on the row, on its own state and on
/// the watermark when the row arrived ([`Step::times`]); never on the other rows
/// of the batch. So batches may be cut anywhere.
pub trait Operator: Send {
    /// Processes the rows of a batch in order and returns those that go on;
    /// `None` is the same as no rows.
    ///
    /// A row that cannot be processed goes to [`Step::fail`] and is left out.
    ///
    /// # Errors
    /// Only what concerns the whole task: anything but `Data` ends the step.
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>>;

    /// Called once after all rows of a step have passed the operator, also when
    /// none reached it: emits what the watermark has made due.
    ///
    /// # Errors
    /// As [`Operator::process`].
    fn advance(&mut self, _step: &mut Step<'_>) -> Result<Option<Batch>> {
        Ok(None)
    }

    /// The operator's own state, if it has any.
    fn store(&mut self) -> Option<&mut dyn StateStore> {
        None
    }

    /// Whether it may have something to emit when time passes: ticks are sent
    /// only while an operator says so.
    fn is_waiting_for_time(&self) -> bool {
        false
    }

    /// Counts since the last call, for metrics: rows dropped because late.
    fn take_late_count(&mut self) -> u64 {
        0
    }
}
