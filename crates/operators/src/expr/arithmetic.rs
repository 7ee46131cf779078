//! Python's number rules for one row, which define what every loop gives.

use super::fault::{Fault, big_integer, division_by_zero, fault, mismatch, overflow};
use super::operand::{Operand, by_row};
use super::{merge_errors, vector};
use headwater_core::{Value, ValueRef};
use headwater_plan::{BinaryOp, UnaryOp};

/// A number, once a boolean counts as 0 or 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub(super) fn of(value: ValueRef<'_>) -> Option<Number> {
        match value {
            ValueRef::Bool(value) => Some(Number::Int(value.into())),
            ValueRef::Int(value) => Some(Number::Int(value)),
            ValueRef::Float(value) => Some(Number::Float(value)),
            _ => None,
        }
    }

    fn to_float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}

/// `+ - * / // % **` on two values.
pub(super) fn binary(
    op: BinaryOp,
    left: ValueRef<'_>,
    right: ValueRef<'_>,
) -> Result<Value, Fault> {
    if left.is_null() || right.is_null() {
        return Ok(Value::Null);
    }
    match (Number::of(left), Number::of(right)) {
        (Some(Number::Int(left)), Some(Number::Int(right))) => ints(op, left, right),
        (Some(left), Some(right)) => {
            floats(op, left.to_float(), right.to_float()).map(Value::Float)
        }
        _ => others(op, left, right),
    }
}

fn others(op: BinaryOp, left: ValueRef<'_>, right: ValueRef<'_>) -> Result<Value, Fault> {
    match (op, left, right) {
        (BinaryOp::Add, ValueRef::Str(left), ValueRef::Str(right)) => {
            let mut text = String::with_capacity(left.len() + right.len());
            text.push_str(left);
            text.push_str(right);
            Ok(Value::Str(text.into()))
        }
        (_, ValueRef::BigInt(_), other) | (_, other, ValueRef::BigInt(_))
            if matches!(other, ValueRef::BigInt(_)) || Number::of(other).is_some() =>
        {
            Err(big_integer(op))
        }
        _ => Err(mismatch(op, left, right)),
    }
}

fn ints(op: BinaryOp, left: i64, right: i64) -> Result<Value, Fault> {
    let result = match op {
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Subtract => left.checked_sub(right),
        BinaryOp::Multiply => left.checked_mul(right),
        BinaryOp::Divide => return true_divide(left, right).map(Value::Float),
        BinaryOp::FloorDivide | BinaryOp::Modulo if right == 0 => return Err(division_by_zero()),
        BinaryOp::FloorDivide => floor_divide_ints(left, right),
        BinaryOp::Modulo => Some(modulo_ints(left, right)),
        _ if right < 0 => return power(left as f64, right as f64).map(Value::Float),
        _ => int_power(left, right),
    };
    result.map(Value::Int).ok_or_else(overflow)
}

/// `None` if the result is beyond 64 bits. The divisor isn't 0.
#[inline]
pub(super) fn floor_divide_ints(left: i64, right: i64) -> Option<i64> {
    let quotient = left.checked_div(right)?;
    let is_rounded_up = left % right != 0 && (left < 0) != (right < 0);
    Some(quotient - i64::from(is_rounded_up))
}

/// The divisor isn't 0.
#[inline]
pub(super) fn modulo_ints(left: i64, right: i64) -> i64 {
    let remainder = left.wrapping_rem(right);
    if remainder != 0 && (remainder < 0) != (right < 0) {
        remainder + right
    } else {
        remainder
    }
}

fn int_power(base: i64, exponent: i64) -> Option<i64> {
    match (base, u32::try_from(exponent)) {
        (_, Ok(exponent)) => base.checked_pow(exponent),
        (0 | 1, Err(_)) => Some(base),
        (-1, Err(_)) => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        (_, Err(_)) => None,
    }
}

/// The float nearest to the exact quotient, as CPython's `long_true_divide`: an
/// integer beyond 2^53 isn't rounded before it is divided.
fn true_divide(left: i64, right: i64) -> Result<f64, Fault> {
    if right == 0 {
        return Err(division_by_zero());
    }
    let (numerator, divisor) = (left.unsigned_abs(), right.unsigned_abs());
    if numerator.max(divisor) <= vector::EXACT_MAX as u64 {
        return Ok(left as f64 / right as f64);
    }
    if numerator == 0 {
        return Ok(if right < 0 { -0.0 } else { 0.0 });
    }
    // A quotient of at least 64 bits, the last of which says whether anything
    // follows, is rounded by its conversion; scaling it back is exact.
    let shift = u128::from(numerator).leading_zeros();
    let scaled = u128::from(numerator) << shift;
    let divisor = u128::from(divisor);
    let quotient = (scaled / divisor) | u128::from(scaled % divisor != 0);
    let magnitude = quotient as f64 / 2f64.powi(shift as i32);
    Ok(if (left < 0) == (right < 0) {
        magnitude
    } else {
        -magnitude
    })
}

fn floats(op: BinaryOp, left: f64, right: f64) -> Result<f64, Fault> {
    match op {
        BinaryOp::Add => Ok(left + right),
        BinaryOp::Subtract => Ok(left - right),
        BinaryOp::Multiply => Ok(left * right),
        BinaryOp::Power => power(left, right),
        _ if right == 0.0 => Err(division_by_zero()),
        BinaryOp::Divide => Ok(left / right),
        BinaryOp::FloorDivide => Ok(floor_divide_floats(left, right)),
        _ => Ok(modulo_floats(left, right)),
    }
}

/// As CPython's `float_rem`. The divisor isn't 0.
#[inline]
pub(super) fn modulo_floats(left: f64, right: f64) -> f64 {
    let remainder = left % right;
    if remainder == 0.0 {
        return 0f64.copysign(right);
    }
    if (right < 0.0) != (remainder < 0.0) {
        remainder + right
    } else {
        remainder
    }
}

/// As CPython's `float_floor_div`. The divisor isn't 0.
#[inline]
pub(super) fn floor_divide_floats(left: f64, right: f64) -> f64 {
    let remainder = left % right;
    let mut quotient = (left - remainder) / right;
    if remainder != 0.0 && (right < 0.0) != (remainder < 0.0) {
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return 0f64.copysign(left / right);
    }
    let floor = quotient.floor();
    if quotient - floor > 0.5 {
        floor + 1.0
    } else {
        floor
    }
}

/// As CPython's `float_pow`.
fn power(base: f64, exponent: f64) -> Result<f64, Fault> {
    if base.is_finite() && exponent.is_finite() {
        if base == 0.0 && exponent < 0.0 {
            return Err(fault("zero cannot be raised to a negative power"));
        }
        if base < 0.0 && exponent.floor() != exponent {
            return Err(fault(
                "a negative number cannot be raised to a fractional power",
            ));
        }
    }
    let result = base.powf(exponent);
    if result.is_infinite() && base.is_finite() && exponent.is_finite() {
        return Err(fault("float result too large"));
    }
    Ok(result)
}

/// `~ - abs` and the tests for null.
pub(super) fn unary(op: UnaryOp, input: Operand, len: usize, blame: Option<&str>) -> Operand {
    if let Some(column) = vector::unary(op, &input.term, len) {
        return Operand {
            term: super::operand::Term::Column(column),
            errors: input.errors,
        };
    }
    let computed = by_row(len, blame, |row| unary_value(op, input.term.value(row)));
    Operand {
        term: computed.term,
        errors: merge_errors(input.errors, computed.errors),
    }
}

fn unary_value(op: UnaryOp, value: ValueRef<'_>) -> Result<Value, Fault> {
    match op {
        UnaryOp::IsNull => return Ok(Value::Bool(value.is_null())),
        UnaryOp::NotNull => return Ok(Value::Bool(!value.is_null())),
        _ if value.is_null() => return Ok(Value::Null),
        UnaryOp::Not => return Ok(Value::Bool(!value.is_truthy())),
        UnaryOp::Negate | UnaryOp::Abs => {}
    }
    let is_negation = op == UnaryOp::Negate;
    match Number::of(value) {
        Some(Number::Int(int)) => {
            let result = if is_negation {
                int.checked_neg()
            } else {
                int.checked_abs()
            };
            result.map(Value::Int).ok_or_else(overflow)
        }
        Some(Number::Float(float)) => {
            Ok(Value::Float(if is_negation { -float } else { float.abs() }))
        }
        None => {
            let verb = if is_negation {
                "negate"
            } else {
                "take the absolute value of"
            };
            Err(fault(format!("cannot {verb} {}", value.kind().name())))
        }
    }
}
