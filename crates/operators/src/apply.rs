//! Operators that call users' functions on rows.
//!
//! A function never sees a malformed row: rows are checked, and the fields that
//! the function is known to read are located, before it is called.

mod batch;

pub use batch::ApplyBatch;

use crate::{Call, Function, FunctionRows, Functions, Operator, Step, Wants, expr, filter};
use headwater_core::json::Locator;
use headwater_core::{Batch, Column, Evaluated, Result, Rows};
use headwater_plan::{FunctionRef, FunctionShape};
use std::fmt;
use std::sync::Arc;

/// A function resolved, with what is known of it.
pub(crate) struct Resolved {
    pub(crate) function: Arc<dyn Function>,
    shape: FunctionShape,
    name: Arc<str>,
    locator: Locator,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}()", self.name)
    }
}

impl Resolved {
    pub(crate) fn new(function: &FunctionRef, functions: &Functions) -> Result<Resolved> {
        Ok(Resolved {
            function: functions.get(function.id)?,
            shape: function.shape,
            name: Arc::clone(&function.name),
            locator: expr::widened(&Locator::new(&[]), &function.reads),
        })
    }

    /// The batch ready for the function: its rows sound and its fields located.
    pub(crate) fn prepare(&mut self, mut batch: Batch, step: &mut Step<'_>) -> Batch {
        let malformed = expr::locate(&mut batch, &mut self.locator, true);
        step.fail_rows(batch, malformed)
    }

    /// One value for each row.
    pub(crate) fn values(
        &self,
        batch: &Batch,
        wants: Wants,
        step: &mut Step<'_>,
    ) -> Result<Evaluated> {
        if batch.is_empty() {
            return Ok(Column::Null(0).into());
        }
        let evaluated = self.function.values(self.call(batch, step), wants)?;
        assert_eq!(
            evaluated.column.len(),
            batch.len(),
            "a function gives one value for each row"
        );
        Ok(evaluated)
    }

    fn call<'a>(&self, batch: &'a Batch, step: &'a mut Step<'_>) -> Call<'a> {
        Call {
            batch,
            argument: None,
            shape: self.shape,
            keyed: &mut *step.keyed,
            partition: step.partition,
            positions: step.positions,
            times: step.times,
        }
    }
}

/// Replaces each row by what the function returns, or by each item of it.
#[derive(Debug)]
pub struct Apply(Resolved);

impl Apply {
    /// Applies a function.
    ///
    /// # Errors
    /// `Invalid` if it was not registered.
    pub fn new(function: &FunctionRef, functions: &Functions) -> Result<Apply> {
        Resolved::new(function, functions).map(Apply)
    }
}

impl Operator for Apply {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let batch = self.0.prepare(batch, step);
        if batch.is_empty() {
            return Ok(None);
        }
        let made = self.0.function.rows(self.0.call(&batch, step))?;
        Ok(Some(take_over(batch, made, step)))
    }
}

/// Calls the function for its effect on the row; the row goes on.
#[derive(Debug)]
pub struct Update(Resolved);

impl Update {
    /// Updates by a function.
    ///
    /// # Errors
    /// `Invalid` if it was not registered.
    pub fn new(function: &FunctionRef, functions: &Functions) -> Result<Update> {
        Resolved::new(function, functions).map(Update)
    }
}

impl Operator for Update {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let batch = self.0.prepare(batch, step);
        if batch.is_empty() {
            return Ok(None);
        }
        let made = self.0.function.update(self.0.call(&batch, step))?;
        Ok(Some(take_over(batch, made, step)))
    }
}

/// Keeps the rows for which the function's result is true.
#[derive(Debug)]
pub struct FilterBy(Resolved);

impl FilterBy {
    /// Filters by a function.
    ///
    /// # Errors
    /// `Invalid` if it was not registered.
    pub fn new(function: &FunctionRef, functions: &Functions) -> Result<FilterBy> {
        Resolved::new(function, functions).map(FilterBy)
    }
}

impl Operator for FilterBy {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let batch = self.0.prepare(batch, step);
        let truth = self.0.values(&batch, Wants::Truth, step)?;
        Ok(filter::keep_true(batch, truth, step))
    }
}

/// The rows that a function made, with keys, times, headers and causes of the
/// rows that they come from.
fn take_over(batch: Batch, made: FunctionRows, step: &mut Step<'_>) -> Batch {
    let FunctionRows {
        rows,
        sources,
        errors,
    } = made;
    match sources {
        None => {
            assert_eq!(
                rows.len(),
                batch.len(),
                "a function gives one row for each row"
            );
            if errors.is_empty() {
                return batch.with_rows(rows);
            }
            // A failure keeps the row as the function got it.
            let kept = batch.clone().with_rows(rows).without(&errors);
            for failed in errors {
                step.fail(&batch, failed.row as usize, failed.error);
            }
            kept
        }
        Some(sources) => {
            assert_eq!(rows.len(), sources.len(), "every row has a source");
            for failed in errors {
                step.fail(&batch, failed.row as usize, failed.error);
            }
            let len = batch.len();
            batch
                .with_rows(Rows::Values(Column::Null(len)))
                .take(&sources)
                .with_rows(rows)
        }
    }
}
