//! Users' functions within an expression.

use super::operand::{Operand, scatter};
use super::{merge_errors, rows_without};
use crate::{Call, Function, Functions, Step, Wants};
use headwater_core::{Batch, Column, Evaluated, Result};
use headwater_plan::{FunctionRef, FunctionShape};
use std::fmt;
use std::sync::Arc;

/// A function that an expression calls for each row.
pub(super) struct Called {
    function: Arc<dyn Function>,
    shape: FunctionShape,
    name: Arc<str>,
}

impl fmt::Debug for Called {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}()", self.name)
    }
}

impl Called {
    pub(super) fn new(function: &FunctionRef, functions: &Functions) -> Result<Called> {
        Ok(Called {
            function: functions.get(function.id)?,
            shape: function.shape,
            name: Arc::clone(&function.name),
        })
    }

    /// The results for the rows themselves.
    pub(super) fn with_rows(&self, batch: &Batch, step: &mut Step<'_>) -> Result<Operand> {
        if batch.is_empty() {
            return Ok(Column::Null(0).into());
        }
        let call = Call {
            batch,
            argument: None,
            shape: self.shape,
            keyed: &mut *step.keyed,
            partition: step.partition,
            positions: step.positions,
            times: step.times,
        };
        self.function.values(call, Wants::Any).map(Operand::from)
    }

    /// The results for an argument. Rows that have none because it failed are
    /// not called for.
    pub(super) fn with_argument(
        &self,
        batch: &Batch,
        argument: Evaluated,
        step: &mut Step<'_>,
    ) -> Result<Operand> {
        let Evaluated { column, errors } = argument;
        if errors.is_empty() {
            return self.with_column(batch, &column, step);
        }
        let rows = rows_without(batch.len(), &errors);
        let called = self.with_column(&batch.take(&rows), &column.take(&rows), step)?;
        let scattered = scatter(called.into_evaluated(rows.len()), &rows, batch.len());
        let merged = merge_errors(scattered.errors, errors);
        Ok(Evaluated {
            column: scattered.column,
            errors: merged,
        }
        .into())
    }

    fn with_column(&self, batch: &Batch, column: &Column, step: &mut Step<'_>) -> Result<Operand> {
        if batch.is_empty() {
            return Ok(Column::Null(0).into());
        }
        let call = Call {
            batch,
            argument: Some(column),
            shape: self.shape,
            keyed: &mut *step.keyed,
            partition: step.partition,
            positions: step.positions,
            times: step.times,
        };
        self.function.values(call, Wants::Any).map(Operand::from)
    }
}
