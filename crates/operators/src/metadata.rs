//! Times, headers and bare values of rows.

use crate::apply::Resolved;
use crate::{Compiled, Functions, Operator, Step, Wants};
use headwater_core::{
    Batch, Column, ColumnBuilder, DataError, Evaluated, Header, Headers, Kind, Result, RowError,
    Rows, TimestampMs, ValueRef, json,
};
use headwater_plan::{Expr, FunctionRef, TextFormat};
use std::sync::Arc;

/// Sets the event time of each row.
#[derive(Debug)]
pub struct SetTimestamp(By);

#[derive(Debug)]
enum By {
    Expr(Compiled),
    Function(Resolved),
}

impl SetTimestamp {
    /// Sets it to the value of an expression, an int of milliseconds.
    ///
    /// # Errors
    /// As [`Compiled::new`].
    pub fn by_expr(expr: &Expr, functions: &Functions) -> Result<SetTimestamp> {
        Compiled::new(expr, functions)
            .map(By::Expr)
            .map(SetTimestamp)
    }

    /// Sets it to the result of a function, an int of milliseconds.
    ///
    /// # Errors
    /// `Invalid` if it was not registered.
    pub fn by_function(function: &FunctionRef, functions: &Functions) -> Result<SetTimestamp> {
        Resolved::new(function, functions)
            .map(By::Function)
            .map(SetTimestamp)
    }
}

impl Operator for SetTimestamp {
    fn process(&mut self, mut batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let Evaluated { column, errors } = match &mut self.0 {
            By::Expr(expr) => expr.evaluate(&mut batch, step)?,
            By::Function(resolved) => {
                batch = resolved.prepare(batch, step);
                resolved.values(&batch, Wants::Timestamp, step)?
            }
        };
        if let Column::Int(array) = &column
            && errors.is_empty()
            && headwater_core::arrow::array::Array::null_count(array) == 0
        {
            batch.timestamps = array.values().clone();
            return Ok(Some(check_event_times(batch, step)));
        }
        let mut times: Vec<TimestampMs> = batch.timestamps.to_vec();
        let mut failed = errors.iter().map(|error| error.row).peekable();
        let mut wrong = Vec::new();
        for (row, time) in times.iter_mut().enumerate() {
            match column.value(row) {
                ValueRef::Int(value) => *time = value,
                _ if failed.next_if_eq(&(row as u32)).is_some() => {}
                other => wrong.push(RowError {
                    row: row as u32,
                    error: no_time(other.kind()),
                }),
            }
        }
        let before = batch.clone();
        batch.timestamps = times.into();
        let errors = crate::expr::merge_errors(errors, wrong);
        let kept = batch.without(&errors);
        for failed in errors {
            step.fail(&before, failed.row as usize, failed.error);
        }
        Ok(Some(check_event_times(kept, step)))
    }
}

/// The batch without the rows that are too far ahead of time, which are data
/// errors: one timestamp in microseconds must not make every later row late.
pub fn check_event_times(batch: Batch, step: &mut Step<'_>) -> Batch {
    let latest_ms = step.latest_ms;
    if batch.timestamps.iter().all(|&time| time <= latest_ms) {
        return batch;
    }
    let too_late = |row: &usize| batch.timestamps[*row] > latest_ms;
    let errors = (0..batch.len())
        .filter(too_late)
        .map(|row| RowError {
            row: row as u32,
            error: DataError::new(format!(
                "the event time is further ahead of the time at which the log stored the record than \
                 max_future allows, event_time_ms=`{}` latest_ms=`{latest_ms}`",
                batch.timestamps[row]
            ))
            .with_hint(
                "event time is in milliseconds: check the unit of the timestamp, or raise `max_future`",
            ),
        })
        .collect();
    step.fail_rows(batch, errors)
}

#[cold]
fn no_time(kind: Kind) -> DataError {
    let error = DataError::new(format!(
        "an event time is an int of milliseconds since 1970, this is {}",
        kind.name()
    ));
    match kind {
        Kind::Float => error.with_hint("cast it with `.astype(int)`"),
        Kind::Str => error.with_hint("read it with `.dt.to_ms()`"),
        _ => error,
    }
}

/// Sets the headers of each row by a function, which gives `[name, value]`
/// pairs; null is no headers.
#[derive(Debug)]
pub struct SetHeaders(Resolved);

impl SetHeaders {
    /// Sets them to the result of a function.
    ///
    /// # Errors
    /// `Invalid` if it was not registered.
    pub fn new(function: &FunctionRef, functions: &Functions) -> Result<SetHeaders> {
        Resolved::new(function, functions).map(SetHeaders)
    }
}

impl Operator for SetHeaders {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let mut batch = self.0.prepare(batch, step);
        let Evaluated { column, errors } = self.0.values(&batch, Wants::Headers, step)?;
        let mut headers: Vec<Headers> = Vec::with_capacity(batch.len());
        let mut wrong = Vec::new();
        for (row, value) in column.iter().enumerate() {
            headers.push(read_headers(value).unwrap_or_else(|| {
                let error = DataError::new("headers are a list of (name, value) pairs");
                wrong.push(RowError {
                    row: row as u32,
                    error,
                });
                None
            }));
        }
        let before = batch.clone();
        let has_some = headers.iter().any(Option::is_some);
        batch.headers = has_some.then(|| headers.into());
        let errors = crate::expr::merge_errors(errors, wrong);
        let kept = batch.without(&errors);
        for failed in errors {
            step.fail(&before, failed.row as usize, failed.error);
        }
        Ok(Some(kept))
    }
}

/// `None` if the value is not a list of pairs.
fn read_headers(value: ValueRef<'_>) -> Option<Headers> {
    let text = match value {
        ValueRef::Null => return Some(None),
        ValueRef::Json(text) => text,
        _ => return None,
    };
    let headers: Option<Vec<Header>> = json::elements(text)?.map(read_header).collect();
    let headers = headers?;
    Some(if headers.is_empty() {
        None
    } else {
        Some(Arc::from(headers))
    })
}

fn read_header(pair: &str) -> Option<Header> {
    let mut parts = json::elements(pair)?;
    let (name, value) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let mut scratch = String::new();
    let ValueRef::Str(name) = json::decode(name, &mut scratch).ok()? else {
        return None;
    };
    let name = name.into();
    let value = match json::decode(value, &mut scratch).ok()? {
        ValueRef::Null => None,
        ValueRef::Str(text) => Some(text.as_bytes().into()),
        _ => return None,
    };
    Some(Header { name, value })
}

/// Turns record bytes into bare values of a format; JSON stays as it is, to be
/// located when an operator names a field. A tombstone is null. Rows whose bytes
/// are none of the format are returned, and null in the batch.
pub fn decode_rows(batch: Batch, value: TextFormat) -> (Batch, Vec<RowError>) {
    if value == TextFormat::Json {
        return (batch, Vec::new());
    }
    let Rows::Json(rows) = &batch.rows else {
        return (batch, Vec::new());
    };
    let mut builder = ColumnBuilder::with_capacity(rows.len());
    let mut errors = Vec::new();
    for row in 0..rows.len() {
        match rows.text(row).map(|bytes| decode_bytes(bytes, value)) {
            None => builder.push(ValueRef::Null),
            Some(Ok(value)) => builder.push(value),
            Some(Err(reason)) => {
                builder.push(ValueRef::Null);
                errors.push(RowError {
                    row: row as u32,
                    error: DataError::new(reason),
                });
            }
        }
    }
    let rows = Rows::Values(builder.finish());
    (batch.with_rows(rows), errors)
}

fn decode_bytes(bytes: &[u8], format: TextFormat) -> Result<ValueRef<'_>, String> {
    let wrong_length = |wanted: usize| {
        format!(
            "the value has {} bytes where {wanted} are expected",
            bytes.len()
        )
    };
    match format {
        TextFormat::Json | TextFormat::Bytes => Ok(ValueRef::Bytes(bytes)),
        TextFormat::String => std::str::from_utf8(bytes)
            .map(ValueRef::Str)
            .map_err(|error| format!("the value is not UTF-8 at byte {}", error.valid_up_to())),
        TextFormat::Integer => bytes
            .try_into()
            .map(|bytes| ValueRef::Int(i32::from_be_bytes(bytes).into()))
            .map_err(|_| wrong_length(4)),
        TextFormat::Double => bytes
            .try_into()
            .map(|bytes| ValueRef::Float(f64::from_be_bytes(bytes)))
            .map_err(|_| wrong_length(8)),
    }
}
