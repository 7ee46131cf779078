//! `&`, `|`, coalesce and choose: operands that come from one side or the other.
//!
//! `&` and `|` are three-valued on booleans and null, and give back an operand
//! by its truth, as Python's `and` and `or`, on anything else. A side that does
//! not count for a row adds neither value nor error there; if it calls a user's
//! function, the function is not called for that row.

use super::fault::merge_errors;
use super::node::{Node, Scope};
use super::operand::{Operand, Term, scatter};
use super::{rows_without, vector};
use crate::Step;
use headwater_core::{ColumnBuilder, Evaluated, Result, RowError, ValueRef};
use headwater_plan::BinaryOp;

pub(super) fn and_or(
    op: BinaryOp,
    left: &Node,
    right: &Node,
    scope: &Scope<'_>,
    step: &mut Step<'_>,
) -> Result<Operand> {
    let left = left.evaluate(scope, step)?;
    let decides = |value: ValueRef<'_>| match op {
        BinaryOp::And => !value.is_null() && !value.is_truthy(),
        _ => value.is_truthy(),
    };
    let left_term = &left.term;
    let right = evaluate_where(
        right,
        |row| !decides(left_term.value(row)),
        &left.errors,
        scope,
        step,
    )?;
    let len = scope.len();
    if let Some(column) = vector::and_or(op, &left.term, &right.term, len) {
        let errors = counting(right.errors, |row| !decides(left.term.value(row)));
        return Ok(Operand {
            term: Term::Column(column),
            errors: merge_errors(left.errors, errors),
        });
    }
    let mut builder = ColumnBuilder::with_capacity(len);
    for row in 0..len {
        let (a, b) = (left.term.value(row), right.term.value(row));
        builder.push(if decides(a) || a.is_null() && !decides(b) {
            a
        } else {
            b
        });
    }
    let errors = counting(right.errors, |row| !decides(left.term.value(row)));
    Ok(Operand {
        term: Term::Column(builder.finish()),
        errors: merge_errors(left.errors, errors),
    })
}

pub(super) fn coalesce(
    input: &Node,
    fallback: &Node,
    scope: &Scope<'_>,
    step: &mut Step<'_>,
) -> Result<Operand> {
    let input = input.evaluate(scope, step)?;
    let is_missing = |row: usize| input.term.value(row).is_null();
    if !(0..scope.len()).any(is_missing) {
        return Ok(input);
    }
    let fallback = evaluate_where(fallback, is_missing, &input.errors, scope, step)?;
    let column = (0..scope.len())
        .map(|row| {
            let source = if is_missing(row) { &fallback } else { &input };
            source.term.value(row)
        })
        .collect();
    let errors = counting(fallback.errors, is_missing);
    Ok(Operand {
        term: Term::Column(column),
        errors: merge_errors(input.errors, errors),
    })
}

pub(super) fn choose(
    condition: &Node,
    branches: [&Node; 2],
    scope: &Scope<'_>,
    step: &mut Step<'_>,
) -> Result<Operand> {
    let condition = condition.evaluate(scope, step)?;
    let is_true = |row: usize| condition.term.value(row).is_truthy();
    let [then, otherwise] = branches;
    let then = evaluate_where(then, is_true, &condition.errors, scope, step)?;
    let otherwise = evaluate_where(
        otherwise,
        |row| !is_true(row),
        &condition.errors,
        scope,
        step,
    )?;
    let column = (0..scope.len())
        .map(|row| {
            if is_true(row) {
                then.term.value(row)
            } else {
                otherwise.term.value(row)
            }
        })
        .collect();
    let errors = merge_errors(
        counting(then.errors, is_true),
        counting(otherwise.errors, |row| !is_true(row)),
    );
    Ok(Operand {
        term: Term::Column(column),
        errors: merge_errors(condition.errors, errors),
    })
}

/// Evaluates a part that counts for some rows only. Without calls it is cheaper
/// to evaluate it for all; with calls only those rows are evaluated, and none
/// that `failed` already.
fn evaluate_where(
    node: &Node,
    counts: impl Fn(usize) -> bool,
    failed: &[RowError],
    scope: &Scope<'_>,
    step: &mut Step<'_>,
) -> Result<Operand> {
    if !node.has_calls() {
        return node.evaluate(scope, step);
    }
    let len = scope.len();
    let mut rows = rows_without(len, failed);
    rows.retain(|&row| counts(row as usize));
    if rows.len() == len {
        return node.evaluate(scope, step);
    }
    let batch = scope.batch.take(&rows);
    let slots: Vec<Evaluated> = scope.slots.iter().map(|slot| take(slot, &rows)).collect();
    let part = Scope {
        batch: &batch,
        slots: &slots,
    };
    let evaluated = node.evaluate(&part, step)?.into_evaluated(rows.len());
    Ok(scatter(evaluated, &rows, len).into())
}

fn take(evaluated: &Evaluated, rows: &[u32]) -> Evaluated {
    let errors = evaluated
        .errors
        .iter()
        .filter_map(|error| {
            let row = rows.binary_search(&error.row).ok()? as u32;
            Some(RowError {
                row,
                error: super::copy_error(&error.error),
            })
        })
        .collect();
    Evaluated {
        column: evaluated.column.take(rows),
        errors,
    }
}

/// The errors of the rows that count.
fn counting(mut errors: Vec<RowError>, counts: impl Fn(usize) -> bool) -> Vec<RowError> {
    errors.retain(|error| counts(error.row as usize));
    errors
}
