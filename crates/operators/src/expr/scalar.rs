//! Built-in functions of one column and constants.

use super::fault::{Fault, fault};
use super::operand::{Operand, by_row};
use super::{compare, merge_errors, round, text, time};
use headwater_core::{Value, ValueRef, json};
use headwater_plan::ScalarFunction;

/// The function of each value; null stays.
pub(super) fn scalar(
    function: &ScalarFunction,
    input: Operand,
    len: usize,
    blame: Option<&str>,
) -> Operand {
    let computed = by_row(len, blame, |row| match input.term.value(row) {
        ValueRef::Null => Ok(Value::Null),
        value => apply(function, value),
    });
    Operand {
        term: computed.term,
        errors: merge_errors(input.errors, computed.errors),
    }
}

fn apply(function: &ScalarFunction, value: ValueRef<'_>) -> Result<Value, Fault> {
    use ScalarFunction as F;
    Ok(match function {
        F::Lower => text_of(value)?.to_lowercase().into(),
        F::Upper => text_of(value)?.to_uppercase().into(),
        F::Strip => text::strip(text_of(value)?).into(),
        F::Length => Value::Int(length(value)? as i64),
        F::StartsWith(start) => text_of(value)?.starts_with(&**start).into(),
        F::EndsWith(end) => text_of(value)?.ends_with(&**end).into(),
        F::HasText(part) => text_of(value)?.contains(&**part).into(),
        F::Replace(from, to) => text_of(value)?.replace(&**from, to).into(),
        F::Slice(start, end) => text::slice(text_of(value)?, *start, *end).into(),
        F::Round(decimals) => round::round(value, *decimals)?,
        F::ToTimestampMs => match value {
            ValueRef::Float(float) => Value::Float(float),
            value => Value::Int(time::milliseconds(value)?),
        },
        F::FloorTo(unit_ms) => {
            let time_ms = time::milliseconds(value)?;
            let floor = time_ms.checked_sub(time_ms.rem_euclid(*unit_ms));
            Value::Int(floor.ok_or_else(super::fault::overflow)?)
        }
        F::ToIsoFormat => time::iso_format(time::calendar(value)?).into(),
        F::Year => i64::from(time::calendar(value)?.year()).into(),
        F::Month => i64::from(time::calendar(value)?.month()).into(),
        F::Day => i64::from(time::calendar(value)?.day()).into(),
        F::Hour => i64::from(time::calendar(value)?.hour()).into(),
        F::Minute => i64::from(time::calendar(value)?.minute()).into(),
        F::Second => i64::from(time::calendar(value)?.second()).into(),
        F::Millisecond => i64::from(time::calendar(value)?.millisecond()).into(),
        F::DayOfWeek => i64::from(time::calendar(value)?.weekday().to_monday_zero_offset()).into(),
    })
}

fn text_of(value: ValueRef<'_>) -> Result<&str, Fault> {
    match value {
        ValueRef::Str(text) => Ok(text),
        other => {
            let mut error = fault(format!(
                "a text was expected, this is {}",
                other.kind().name()
            ));
            *error = error.with_hint("cast it with `.astype(str)`");
            Err(error)
        }
    }
}

fn length(value: ValueRef<'_>) -> Result<usize, Fault> {
    match value {
        ValueRef::Str(text) => Ok(text.chars().count()),
        ValueRef::Bytes(bytes) => Ok(bytes.len()),
        ValueRef::Json(text) => match json::elements(text) {
            Some(elements) => Ok(elements.count()),
            None => Ok(compare::fields(text).map_or(0, |fields| fields.len())),
        },
        other => Err(fault(format!("{} has no length", other.kind().name()))),
    }
}
