//! Python's equality and order for one row.

use super::arithmetic::Number;
use super::fault::{Fault, big_integer, merge_errors, mismatch};
use super::operand::{Operand, Term, by_row};
use headwater_core::{Column, Value, ValueRef, json};
use headwater_plan::BinaryOp;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Comparisons, `is` and `contains` on two values.
pub(super) fn binary(
    op: BinaryOp,
    left: ValueRef<'_>,
    right: ValueRef<'_>,
) -> Result<Value, Fault> {
    if op == BinaryOp::Is {
        return Ok(Value::Bool(match (left.is_null(), right.is_null()) {
            (false, false) => are_equal(left, right),
            (left, right) => left && right,
        }));
    }
    if left.is_null() || right.is_null() {
        return Ok(Value::Null);
    }
    Ok(Value::Bool(match op {
        BinaryOp::Equal => are_equal(left, right),
        BinaryOp::NotEqual => !are_equal(left, right),
        BinaryOp::Contains => contains(left, right)?,
        _ => {
            let order = order(op, left, right)?;
            match op {
                BinaryOp::Less => order == Some(Ordering::Less),
                BinaryOp::LessOrEqual => {
                    matches!(order, Some(Ordering::Less | Ordering::Equal))
                }
                BinaryOp::Greater => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            }
        }
    }))
}

/// Whether each value equals one of a list.
pub(super) fn is_in(input: Operand, values: &[Value], len: usize) -> Operand {
    let is_in = |value: ValueRef<'_>| {
        values.iter().any(|item| match (value, item.as_ref()) {
            (ValueRef::Null, item) => item.is_null(),
            (ValueRef::Str(text), ValueRef::Str(item)) => text == item,
            (value, item) => !item.is_null() && are_equal(value, item),
        })
    };
    let Term::Column(column) = &input.term else {
        let computed = by_row(len, None, |row| {
            Ok(Value::Bool(is_in(input.term.value(row))))
        });
        return Operand {
            term: computed.term,
            errors: merge_errors(input.errors, computed.errors),
        };
    };
    let mask: Vec<bool> = column.iter().map(is_in).collect();
    Operand {
        term: Term::Column(Column::Bool(mask.into())),
        errors: input.errors,
    }
}

/// Python's `==` on values that aren't null.
pub(super) fn are_equal(left: ValueRef<'_>, right: ValueRef<'_>) -> bool {
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return compare_numbers(left, right) == Some(Ordering::Equal);
    }
    match (left, right) {
        (ValueRef::Str(left), ValueRef::Str(right)) => left == right,
        (ValueRef::Bytes(left), ValueRef::Bytes(right)) => left == right,
        (ValueRef::BigInt(left), ValueRef::BigInt(right)) => left == right,
        (ValueRef::BigInt(digits), ValueRef::Float(float))
        | (ValueRef::Float(float), ValueRef::BigInt(digits)) => {
            // All digits of a float beyond 2^53 are those of an integer.
            float.is_finite() && format!("{float:.0}") == digits
        }
        (ValueRef::Json(left), ValueRef::Json(right)) => are_texts_equal(left, right),
        (ValueRef::Null, ValueRef::Null) => true,
        _ => false,
    }
}

/// The order of two values; `None` where a NaN is one of them.
fn order(op: BinaryOp, left: ValueRef<'_>, right: ValueRef<'_>) -> Result<Option<Ordering>, Fault> {
    match (left, right) {
        (ValueRef::Str(left), ValueRef::Str(right)) => Ok(Some(left.cmp(right))),
        (ValueRef::Bytes(left), ValueRef::Bytes(right)) => Ok(Some(left.cmp(right))),
        _ => match (Number::of(left), Number::of(right)) {
            (Some(left), Some(right)) => Ok(compare_numbers(left, right)),
            (Some(_), None) if matches!(right, ValueRef::BigInt(_)) => Err(big_integer(op)),
            (None, Some(_)) if matches!(left, ValueRef::BigInt(_)) => Err(big_integer(op)),
            _ if matches!((left, right), (ValueRef::BigInt(_), ValueRef::BigInt(_))) => {
                Err(big_integer(op))
            }
            _ => Err(mismatch(op, left, right)),
        },
    }
}

pub(super) fn compare_numbers(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
        (Number::Float(left), Number::Float(right)) => left.partial_cmp(&right),
        (Number::Int(left), Number::Float(right)) => compare_exactly(left, right),
        (Number::Float(left), Number::Int(right)) => {
            compare_exactly(right, left).map(Ordering::reverse)
        }
    }
}

/// An integer against a float, without rounding either.
pub(crate) fn compare_exactly(int: i64, float: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if float.is_nan() {
        return None;
    }
    if float >= BEYOND {
        return Some(Ordering::Less);
    }
    if float < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    let order = int.cmp(&(whole as i64));
    // With equal whole parts the fraction decides.
    Some(order.then_with(|| {
        0f64.partial_cmp(&(float - whole))
            .expect("a fraction is a number")
    }))
}

/// Python's `right in left`.
fn contains(left: ValueRef<'_>, right: ValueRef<'_>) -> Result<bool, Fault> {
    match (left, right) {
        (ValueRef::Str(left), ValueRef::Str(right)) => Ok(left.contains(right)),
        (ValueRef::Json(text), right) => {
            if let Some(mut elements) = json::elements(text) {
                return Ok(elements.any(|element| is_text_equal(element, right)));
            }
            let mut entries = json::entries(text).into_iter().flatten();
            Ok(matches!(right, ValueRef::Str(name) if entries.any(|(key, _)| key == name)))
        }
        _ => Err(mismatch(BinaryOp::Contains, left, right)),
    }
}

fn is_text_equal(text: &str, value: ValueRef<'_>) -> bool {
    let mut scratch = String::new();
    json::decode(text, &mut scratch).is_ok_and(|decoded| are_equal(decoded, value))
}

/// Whether two JSON texts hold the same value by Python's rules: keys in any
/// order, the last of duplicates, 1 == 1.0 == true.
fn are_texts_equal(left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    if let (Some(left), Some(right)) = (json::elements(left), json::elements(right)) {
        let (left, right): (Vec<_>, Vec<_>) = (left.collect(), right.collect());
        return left.len() == right.len()
            && left
                .iter()
                .zip(&right)
                .all(|(left, right)| are_texts_equal(left, right));
    }
    if let (Some(left), Some(right)) = (fields(left), fields(right)) {
        return left.len() == right.len()
            && left.iter().all(|(name, left)| {
                right
                    .get(name)
                    .is_some_and(|right| are_texts_equal(left, right))
            });
    }
    let mut scratch = String::new();
    match json::decode(left, &mut scratch) {
        Ok(ValueRef::Json(_)) | Err(_) => false,
        Ok(left) => is_text_equal(right, left),
    }
}

/// The fields of an object, the last of duplicates; `None` if it is none.
pub(super) fn fields(text: &str) -> Option<BTreeMap<Cow<'_, str>, &str>> {
    Some(json::entries(text)?.collect())
}
