//! Python's `int()`, `float()`, `str()` and `bool()`.

use super::fault::{Fault, fault};
use super::operand::{Operand, Term, by_row};
use super::{merge_errors, text};
use headwater_core::{Column, Value, ValueRef};
use headwater_plan::{CastTo, OnCastError};

/// The values as another kind; null stays.
pub(super) fn cast(
    input: Operand,
    to: CastTo,
    on_error: OnCastError,
    len: usize,
    blame: Option<&str>,
) -> Operand {
    if is_already(to, &input.term) {
        return input;
    }
    let computed = by_row(len, blame, |row| {
        match (cast_value(input.term.value(row), to), on_error) {
            (Err(_), OnCastError::Null) => Ok(Value::Null),
            (result, _) => result,
        }
    });
    Operand {
        term: computed.term,
        errors: merge_errors(input.errors, computed.errors),
    }
}

fn is_already(to: CastTo, term: &Term) -> bool {
    matches!(
        (to, term),
        (CastTo::Int, Term::Column(Column::Int(_)))
            | (CastTo::Float, Term::Column(Column::Float(_)))
            | (CastTo::Str, Term::Column(Column::Str(_)))
            | (CastTo::Bool, Term::Column(Column::Bool(_)))
    )
}

fn cast_value(value: ValueRef<'_>, to: CastTo) -> Result<Value, Fault> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    match to {
        CastTo::Int => int(value),
        CastTo::Float => float(value).map(Value::Float),
        CastTo::Str => Ok(Value::Str(string(value)?.into())),
        CastTo::Bool => Ok(Value::Bool(value.is_truthy())),
    }
}

#[cold]
fn cannot(value: ValueRef<'_>, to: &str) -> Fault {
    let shown = match value {
        ValueRef::Str(text) => {
            let start: String = text.chars().take(40).collect();
            format!("the text {start:?}")
        }
        value => value.kind().name().to_owned(),
    };
    fault(format!("cannot cast {shown} to {to}"))
}

fn int(value: ValueRef<'_>) -> Result<Value, Fault> {
    match value {
        ValueRef::Bool(value) => Ok(Value::Int(value.into())),
        ValueRef::Int(value) => Ok(Value::Int(value)),
        ValueRef::BigInt(digits) => Ok(Value::BigInt(digits.into())),
        ValueRef::Float(float) if !float.is_finite() => Err(fault(format!(
            "cannot cast the float {} to int",
            text::float_repr(float)
        ))),
        ValueRef::Float(float) => Ok(integer_of(&format!("{:.0}", float.trunc()))),
        ValueRef::Str(text) => {
            let digits = integer_digits(text).ok_or_else(|| cannot(value, "int"))?;
            Ok(integer_of(&digits))
        }
        ValueRef::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => int(ValueRef::Str(text)),
            Err(_) => Err(cannot(value, "int")),
        },
        ValueRef::Null | ValueRef::Json(_) => Err(cannot(value, "int")),
    }
}

/// The integer of plain digits, `-0` included.
fn integer_of(digits: &str) -> Value {
    match digits.parse() {
        Ok(int) => Value::Int(int),
        Err(_) => Value::BigInt(digits.into()),
    }
}

/// A text that Python's `int()` reads, as a sign and digits without leading
/// zeros.
fn integer_digits(text: &str) -> Option<String> {
    /// CPython reads no more than this, against quadratic time.
    const DIGITS_MAX: usize = 4300;
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = without_underscores(digits)?;
    if digits.is_empty()
        || digits.len() > DIGITS_MAX
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    Some(format!("{sign}{significant}"))
}

/// Python allows single underscores between digits. `None` if one is elsewhere.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    for (index, byte) in bytes.iter().enumerate() {
        if *byte == b'_' && !(index > 0 && is_digit(index - 1) && is_digit(index + 1)) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

fn float(value: ValueRef<'_>) -> Result<f64, Fault> {
    match value {
        ValueRef::Bool(value) => Ok(u8::from(value).into()),
        ValueRef::Int(value) => Ok(value as f64),
        ValueRef::Float(value) => Ok(value),
        ValueRef::BigInt(digits) => match digits.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(float),
            _ => Err(fault("int too large to convert to float")),
        },
        ValueRef::Str(text) => without_underscores(text.trim())
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| cannot(value, "float")),
        ValueRef::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => float(ValueRef::Str(text)),
            Err(_) => Err(cannot(value, "float")),
        },
        ValueRef::Null | ValueRef::Json(_) => Err(cannot(value, "float")),
    }
}

fn string(value: ValueRef<'_>) -> Result<String, Fault> {
    Ok(match value {
        ValueRef::Bool(value) => value.to_string(),
        ValueRef::Int(value) => value.to_string(),
        ValueRef::Float(value) => text::float_repr(value),
        ValueRef::Str(text) | ValueRef::BigInt(text) | ValueRef::Json(text) => text.to_owned(),
        ValueRef::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| fault("cannot cast bytes that are not UTF-8 to str"))?
            .to_owned(),
        ValueRef::Null => "null".to_owned(),
    })
}
