//! Numbers by Python's rules: integers and floats are different kinds, booleans
//! count as 0 and 1, and comparing an integer with a float rounds neither.

use super::fold::Fault;
use crate::expr::compare_exactly;
use headwater_core::{DataError, Kind, ValueRef};
use std::cmp::Ordering;

/// A value that can be calculated with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    #[inline]
    pub(super) fn of(value: ValueRef<'_>) -> Option<Number> {
        match value {
            ValueRef::Int(value) => Some(Number::Int(value)),
            ValueRef::Float(value) => Some(Number::Float(value)),
            ValueRef::Bool(value) => Some(Number::Int(value.into())),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn as_float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}

/// The number that a value is. `verb` is what was to be done with it.
#[inline]
pub(super) fn number(value: ValueRef<'_>, verb: &str) -> Result<Number, Fault> {
    Number::of(value).ok_or_else(|| not_a_number(value.kind(), verb))
}

#[cold]
fn not_a_number(kind: Kind, verb: &str) -> Fault {
    let error = DataError::new(format!("cannot {verb} {}", kind.name()));
    Box::new(match kind {
        Kind::Str => error.with_hint("cast it with `.astype(float)`"),
        Kind::BigInt => error.with_hint("cast it with `.astype(float)`, which rounds it"),
        _ => error.with_hint("aggregate a field that holds numbers"),
    })
}

/// The error of an integer result beyond 64 bits.
#[cold]
pub(super) fn overflow() -> Fault {
    Box::new(
        DataError::new("the integer sum is beyond 64 bits")
            .with_hint("cast the field with `.astype(float)`"),
    )
}

/// The order of two values; `None` where one of them is NaN.
///
/// # Errors
/// If Python cannot order them.
pub(super) fn order(left: ValueRef<'_>, right: ValueRef<'_>) -> Result<Option<Ordering>, Fault> {
    match (left, right) {
        (ValueRef::Str(left), ValueRef::Str(right)) => Ok(Some(left.cmp(right))),
        (ValueRef::Bytes(left), ValueRef::Bytes(right)) => Ok(Some(left.cmp(right))),
        _ => match (Number::of(left), Number::of(right)) {
            (Some(left), Some(right)) => Ok(order_numbers(left, right)),
            _ => Err(not_ordered(left.kind(), right.kind())),
        },
    }
}

#[cold]
fn not_ordered(left: Kind, right: Kind) -> Fault {
    let error = DataError::new(format!(
        "cannot compare {} with {}",
        left.name(),
        right.name()
    ));
    Box::new(match (left, right) {
        (Kind::Str, _) | (_, Kind::Str) if left != right => {
            error.with_hint("cast the field with `.astype(float)` or `.astype(str)`")
        }
        _ => error.with_hint("aggregate a field whose values have an order"),
    })
}

fn order_numbers(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
        (Number::Float(left), Number::Float(right)) => left.partial_cmp(&right),
        (Number::Int(left), Number::Float(right)) => compare_exactly(left, right),
        (Number::Float(left), Number::Int(right)) => {
            compare_exactly(right, left).map(Ordering::reverse)
        }
    }
}

/// Python's `sum / count` of integers: rounded once, to the nearest float.
pub(super) fn divide_exactly(sum: i64, count: u64) -> f64 {
    const EXACT_MAX: u64 = 1 << 53;
    if sum.unsigned_abs() <= EXACT_MAX && count <= EXACT_MAX {
        return sum as f64 / count as f64;
    }
    // The quotient in units of 2^-64, whose last bit also says whether anything
    // was left over, so that rounding it to a float rounds the true quotient.
    let scaled = u128::from(sum.unsigned_abs()) << 64;
    let (quotient, rest) = (scaled / u128::from(count), scaled % u128::from(count));
    let magnitude = (quotient | u128::from(rest != 0)) as f64 * 2f64.powi(-64);
    if sum < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_compare_without_rounding() {
        let check = |left: ValueRef<'_>, right: ValueRef<'_>, expected: Option<Ordering>| {
            assert_eq!(order(left, right).expect("they have an order"), expected);
            let reversed = order(right, left).expect("they have an order");
            assert_eq!(reversed, expected.map(Ordering::reverse));
        };
        let (int, float) = (ValueRef::Int, ValueRef::Float);
        check(
            int(9_007_199_254_740_993),
            float(9_007_199_254_740_992.0),
            Some(Ordering::Greater),
        );
        check(
            int(i64::MAX),
            float(9_223_372_036_854_775_808.0),
            Some(Ordering::Less),
        );
        check(
            int(i64::MIN),
            float(-9_223_372_036_854_775_808.0),
            Some(Ordering::Equal),
        );
        check(int(-1), float(-1.5), Some(Ordering::Greater));
        check(int(1), float(1.5), Some(Ordering::Less));
        check(int(0), float(-0.0), Some(Ordering::Equal));
        check(int(0), float(f64::NAN), None);
        check(int(3), float(f64::NEG_INFINITY), Some(Ordering::Greater));
        check(ValueRef::Bool(true), float(0.5), Some(Ordering::Greater));
        check(
            ValueRef::Str("b"),
            ValueRef::Str("a"),
            Some(Ordering::Greater),
        );
    }

    #[test]
    fn a_mean_of_large_integers_is_rounded_once() {
        assert_eq!(divide_exactly(7, 2), 3.5);
        // Python: 9007199254740993 / 3 and -(2**63) / 7.
        assert_eq!(
            divide_exactly(9_007_199_254_740_993, 3),
            3_002_399_751_580_331.0
        );
        assert_eq!(divide_exactly(i64::MIN, 7), -1.317_624_576_693_539_4e18);
        assert_eq!(divide_exactly(i64::MAX, 1), 9.223_372_036_854_776e18);
    }
}
