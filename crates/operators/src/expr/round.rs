//! Python's `round(x, digits)`: halves to even, decided on the exact value.

use super::fault::{Fault, big_integer_rounded, fault, overflow};
use headwater_core::{Value, ValueRef};

/// More decimals than these no double has.
const DECIMALS_MAX: i32 = 323;
/// Rounding to a power of ten above these gives 0.
const DECIMALS_MIN: i32 = -308;

pub(super) fn round(value: ValueRef<'_>, decimals: i32) -> Result<Value, Fault> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Bool(value) => round_int(value.into(), decimals),
        ValueRef::Int(value) => round_int(value, decimals),
        ValueRef::Float(value) => round_float(value, decimals).map(Value::Float),
        ValueRef::BigInt(digits) if decimals >= 0 => Ok(Value::BigInt(digits.into())),
        ValueRef::BigInt(_) => Err(big_integer_rounded()),
        other => Err(fault(format!("cannot round {}", other.kind().name()))),
    }
}

fn round_int(value: i64, decimals: i32) -> Result<Value, Fault> {
    if decimals >= 0 {
        return Ok(Value::Int(value));
    }
    let Some(unit) = 10i128.checked_pow(decimals.unsigned_abs()) else {
        return Ok(Value::Int(0));
    };
    let value = i128::from(value);
    let (quotient, rest) = (value.div_euclid(unit), value.rem_euclid(unit));
    let is_up = match (2 * rest).cmp(&unit) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
    };
    let rounded = (quotient + i128::from(is_up)) * unit;
    i64::try_from(rounded)
        .map(Value::Int)
        .map_err(|_| overflow())
}

fn round_float(value: f64, decimals: i32) -> Result<f64, Fault> {
    if !value.is_finite() || decimals > DECIMALS_MAX {
        return Ok(value);
    }
    if decimals < DECIMALS_MIN {
        return Ok(0f64.copysign(value));
    }
    let text = if decimals >= 0 {
        // Formatting rounds the exact value, halves to even.
        format!("{value:.*}", decimals.unsigned_abs() as usize)
    } else {
        rounded_tens(value, decimals.unsigned_abs() as usize)
    };
    let rounded: f64 = text.parse().expect("a formatted float is a float");
    if rounded.is_infinite() {
        return Err(fault("rounded value too large to represent"));
    }
    Ok(rounded)
}

/// The value rounded to a multiple of `10^tens`, as digits.
fn rounded_tens(value: f64, tens: usize) -> String {
    let whole = format!("{:.0}", value.trunc().abs());
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let padded = format!("{whole:0>width$}", width = tens + 1);
    let (kept, cut) = padded.split_at(padded.len() - tens);
    let half = format!("5{}", "0".repeat(tens - 1));
    let is_up = match cut.cmp(half.as_str()) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => {
            value.fract() != 0.0 || kept.ends_with(['1', '3', '5', '7', '9'])
        }
    };
    let kept = if is_up {
        increment(kept)
    } else {
        kept.to_owned()
    };
    format!("{sign}{kept}{}", "0".repeat(tens))
}

/// The decimal number after `digits`.
fn increment(digits: &str) -> String {
    let kept = digits.trim_end_matches('9');
    let nines = digits.len() - kept.len();
    let (head, last) = match kept.as_bytes().split_last() {
        Some((last, head)) => (head, last + 1),
        None => (&[][..], b'1'),
    };
    let mut next = String::with_capacity(digits.len() + 1);
    next.extend(head.iter().map(|&digit| char::from(digit)));
    next.push(char::from(last));
    next.extend(std::iter::repeat_n('0', nines));
    next
}
