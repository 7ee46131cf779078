//! Errors of single values and of rows.

use headwater_core::{DataError, RowError, ValueRef};
use headwater_plan::BinaryOp;
use std::cmp::Ordering;

/// Why one value cannot be computed. Boxed, because rows that fail are rare and
/// results travel through hot loops.
pub(super) type Fault = Box<DataError>;

#[cold]
pub(super) fn fault(reason: impl Into<String>) -> Fault {
    Box::new(DataError::new(reason))
}

#[cold]
pub(super) fn overflow() -> Fault {
    fault("integer result beyond 64 bits")
}

#[cold]
pub(super) fn division_by_zero() -> Fault {
    fault("division by zero")
}

/// Two kinds that an operator cannot combine.
#[cold]
pub(super) fn mismatch(op: BinaryOp, left: ValueRef<'_>, right: ValueRef<'_>) -> Fault {
    let kinds = [left.kind().name(), right.kind().name()];
    let [left_kind, right_kind] = kinds;
    let reason = match op {
        BinaryOp::Add => format!("cannot add {left_kind} and {right_kind}"),
        BinaryOp::Subtract => format!("cannot subtract {right_kind} from {left_kind}"),
        BinaryOp::Multiply => format!("cannot multiply {left_kind} by {right_kind}"),
        BinaryOp::Divide | BinaryOp::FloorDivide | BinaryOp::Modulo => {
            format!(
                "cannot divide {left_kind} by {right_kind}, op=`{}`",
                op.symbol()
            )
        }
        BinaryOp::Power => format!("cannot raise {left_kind} to the power of {right_kind}"),
        BinaryOp::Contains => format!("cannot look for {right_kind} in {left_kind}"),
        _ => format!(
            "cannot compare {left_kind} with {right_kind}, op=`{}`",
            op.symbol()
        ),
    };
    let error = DataError::new(reason);
    let is_text = |value: ValueRef<'_>| matches!(value, ValueRef::Str(_));
    let is_number = |value: ValueRef<'_>| {
        matches!(
            value,
            ValueRef::Bool(_) | ValueRef::Int(_) | ValueRef::Float(_)
        )
    };
    let meets_a_number = is_text(left) && is_number(right) || is_number(left) && is_text(right);
    Box::new(match op {
        BinaryOp::Contains => error,
        BinaryOp::Less | BinaryOp::LessOrEqual | BinaryOp::Greater | BinaryOp::GreaterOrEqual
            if meets_a_number =>
        {
            error.with_hint("compare with a number, or cast it with `.astype(float)`")
        }
        _ if meets_a_number => error.with_hint("cast it with `.astype(float)`"),
        _ => error,
    })
}

/// An integer beyond 64 bits where one has to be computed with.
#[cold]
pub(super) fn big_integer(op: BinaryOp) -> Fault {
    fault(format!(
        "cannot compute with an integer beyond 64 bits, which only passes through, op=`{}`",
        op.symbol()
    ))
}

#[cold]
pub(super) fn big_integer_rounded() -> Fault {
    fault("cannot round an integer beyond 64 bits, which only passes through")
}

/// The same error again, without what led to it.
pub(crate) fn copy_error(error: &DataError) -> DataError {
    let mut copy = DataError::new(error.reason.clone());
    copy.field = error.field.clone();
    copy.operator = error.operator.clone();
    copy.line = error.line.clone();
    copy.partition = error.partition.clone();
    copy.position = error.position;
    copy.hint = error.hint.clone();
    copy
}

pub(super) fn copy_errors(errors: &[RowError]) -> Vec<RowError> {
    errors
        .iter()
        .map(|RowError { row, error }| RowError {
            row: *row,
            error: copy_error(error),
        })
        .collect()
}

/// The errors of both, ascending; where a row failed in both, the left's.
pub(crate) fn merge_errors(left: Vec<RowError>, right: Vec<RowError>) -> Vec<RowError> {
    if right.is_empty() {
        return left;
    }
    if left.is_empty() {
        return right;
    }
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let order = a.row.cmp(&b.row);
        if order != Ordering::Less {
            let from_right = right.next();
            if order == Ordering::Greater {
                merged.extend(from_right);
            }
        }
        if order != Ordering::Greater {
            merged.extend(left.next());
        }
    }
    merged.extend(left);
    merged.extend(right);
    merged
}
