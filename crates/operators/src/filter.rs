//! Keeps rows by a predicate.

use crate::{Compiled, Functions, Operator, Step};
use headwater_core::arrow::array::Array;
use headwater_core::{Batch, Column, Evaluated, Result};
use headwater_plan::Expr;

/// Keeps the rows where the predicate is true by Python's truth; null drops.
#[derive(Debug)]
pub struct Filter {
    predicate: Compiled,
}

impl Filter {
    /// A filter by an expression.
    ///
    /// # Errors
    /// As [`Compiled::new`].
    pub fn new(predicate: &Expr, functions: &Functions) -> Result<Filter> {
        Ok(Filter {
            predicate: Compiled::new(predicate, functions)?,
        })
    }
}

impl Operator for Filter {
    fn process(&mut self, mut batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let truth = self.predicate.evaluate(&mut batch, step)?;
        Ok(keep_true(batch, truth, step))
    }
}

/// The rows whose value is true and that did not fail. The batch itself where
/// that is all of them.
pub(crate) fn keep_true(batch: Batch, truth: Evaluated, step: &mut Step<'_>) -> Option<Batch> {
    let mut kept = true_rows(&truth.column);
    let mut errors = truth.errors.iter().map(|error| error.row).peekable();
    if errors.peek().is_some() {
        kept.retain(|row| {
            while errors.next_if(|failed| failed < row).is_some() {}
            errors.peek() != Some(row)
        });
    }
    for failed in truth.errors {
        step.fail(&batch, failed.row as usize, failed.error);
    }
    match kept.len() {
        0 => None,
        count if count == batch.len() => Some(batch),
        _ => Some(batch.take(&kept)),
    }
}

fn true_rows(column: &Column) -> Vec<u32> {
    match column {
        Column::Null(_) => Vec::new(),
        Column::Bool(array) => {
            let indices = |bits: &headwater_core::arrow::buffer::BooleanBuffer| {
                bits.set_indices().map(|row| row as u32).collect()
            };
            match array.nulls() {
                None => indices(array.values()),
                Some(valid) => indices(&(array.values() & valid.inner())),
            }
        }
        column => (0..column.len() as u32)
            .filter(|&row| column.value(row as usize).is_truthy())
            .collect(),
    }
}
