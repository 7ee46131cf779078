//! Users' functions around a window: what missed it, and when it leaves early.

use super::results::Bounds;
use crate::aggregate::Callback;
use crate::{Aggregators, Compiled, Functions, Step, Warning};
use headwater_core::{
    Batch, DataError, Error, Evaluated, FieldPath, Header, Result, Value, ValueRef, json,
};
use headwater_plan::{Expr, WindowSpec};

/// The functions of a window, and what it takes to call them.
#[derive(Debug)]
pub(super) struct Callbacks {
    on_late: Option<Callback>,
    before_update: Option<Callback>,
    after_update: Option<Callback>,
    /// The row itself, which all of them take.
    whole: Compiled,
    /// The store, as `on_late` names it.
    name: Box<str>,
}

/// Which of the triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    Before,
    After,
}

impl Callbacks {
    pub(super) fn new(spec: &WindowSpec, functions: &Functions, name: String) -> Result<Callbacks> {
        let resolve = |function: &Option<_>| {
            function
                .as_ref()
                .map(|function| Callback::new(function, functions))
                .transpose()
        };
        Ok(Callbacks {
            on_late: resolve(&spec.on_late)?,
            before_update: resolve(&spec.before_update)?,
            after_update: resolve(&spec.after_update)?,
            whole: Compiled::new(&Expr::Field(FieldPath::default()), functions)?,
            name: name.into(),
        })
    }

    pub(super) fn has_triggers(&self) -> bool {
        self.before_update.is_some() || self.after_update.is_some()
    }

    pub(super) fn has(&self, trigger: Trigger) -> bool {
        match trigger {
            Trigger::Before => self.before_update.is_some(),
            Trigger::After => self.after_update.is_some(),
        }
    }

    /// Tells the user that a row missed windows that were closed. Where the
    /// function's result is true, the log says so too.
    ///
    /// # Errors
    /// That of the function.
    pub(super) fn report_late(
        &mut self,
        (batch, row): (&Batch, usize),
        late_by_ms: i64,
        missed: impl Iterator<Item = Bounds>,
        step: &mut Step<'_>,
    ) -> Result<()> {
        let Some(on_late) = self.on_late.clone() else {
            return Ok(());
        };
        let value = self.row_text(batch, row, step)?;
        let cause = batch.cause(row);
        let position = step.positions.map(|positions| positions.get(cause.at()));
        let offset = position.and_then(|position| position.offset());
        for window in missed {
            let result = on_late.call(
                None,
                &[
                    value.as_ref(),
                    batch.keys.get(row).map_or(ValueRef::Null, ValueRef::Bytes),
                    ValueRef::Int(batch.timestamps[row]),
                    ValueRef::Int(late_by_ms),
                    ValueRef::Int(window.start_ms),
                    ValueRef::Int(window.end_ms),
                    ValueRef::Str(&self.name),
                    ValueRef::Str(&step.partition.topic),
                    ValueRef::Int(step.partition.partition.into()),
                    offset.map_or(ValueRef::Null, |offset| ValueRef::Int(offset as i64)),
                ],
            )?;
            if result.as_ref().is_truthy() {
                let key = batch.keys.get(row).unwrap_or_default().escape_ascii();
                let at = position.map_or_else(String::new, |position| position.to_string());
                step.outputs.warnings.push(Warning {
                    operator: step.operator,
                    cause,
                    text: format!(
                        "a record came too late for its window, key=`{key}` timestamp_ms=`{}` \
                         late_by_ms=`{late_by_ms}` start_ms=`{}` end_ms=`{}` store=`{}` \
                         topic=`{}` partition=`{}` offset=`{at}`",
                        batch.timestamps[row],
                        window.start_ms,
                        window.end_ms,
                        self.name,
                        step.partition.topic,
                        step.partition.partition,
                    ),
                });
            }
        }
        Ok(())
    }

    /// Whether a trigger wants the window emitted, whose outputs are `outputs`.
    ///
    /// # Errors
    /// That of the function.
    pub(super) fn is_triggered(
        &mut self,
        trigger: Trigger,
        (batch, row): (&Batch, usize),
        (aggregators, outputs): (&Aggregators, &[Value]),
        step: &mut Step<'_>,
    ) -> Result<bool> {
        let function = match trigger {
            Trigger::Before => self.before_update.clone(),
            Trigger::After => self.after_update.clone(),
        };
        let Some(function) = function else {
            return Ok(false);
        };
        let value = self.row_text(batch, row, step)?;
        let outputs = object(aggregators.outputs().zip(outputs))?;
        let headers = header_pairs(batch.headers(row))?;
        let result = function.call(
            None,
            &[
                ValueRef::Json(&outputs),
                value.as_ref(),
                batch.keys.get(row).map_or(ValueRef::Null, ValueRef::Bytes),
                ValueRef::Int(batch.timestamps[row]),
                ValueRef::Json(&headers),
            ],
        )?;
        Ok(result.as_ref().is_truthy())
    }

    /// The row's value: JSON text, or what a row that isn't an object is.
    fn row_text(&mut self, batch: &Batch, row: usize, step: &mut Step<'_>) -> Result<Value> {
        let mut one = batch.take(&[row as u32]);
        let Evaluated { column, mut errors } = self.whole.evaluate(&mut one, step)?;
        match errors.pop() {
            Some(error) => Err(Error::data(error.error)),
            None => Ok(column.value(0).to_owned()),
        }
    }
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a Value)>) -> Result<String> {
    let mut out = vec![b'{'];
    for (name, value) in fields {
        if 1 < out.len() {
            out.push(b',');
        }
        json::write_key(name, &mut out);
        write(value.as_ref(), name, &mut out)?;
    }
    out.push(b'}');
    Ok(String::from_utf8(out).expect("JSON is text"))
}

/// `[[name, value], ...]`; a value that is not text has its bytes replaced where
/// they are not.
fn header_pairs(headers: &[Header]) -> Result<String> {
    let mut out = vec![b'['];
    for header in headers {
        if 1 < out.len() {
            out.push(b',');
        }
        out.push(b'[');
        write(ValueRef::Str(&header.name), &header.name, &mut out)?;
        out.push(b',');
        let text = header.value.as_deref().map(String::from_utf8_lossy);
        let value = text.as_deref().map_or(ValueRef::Null, ValueRef::Str);
        write(value, &header.name, &mut out)?;
        out.push(b']');
    }
    out.push(b']');
    Ok(String::from_utf8(out).expect("JSON is text"))
}

fn write(value: ValueRef<'_>, field: &str, out: &mut Vec<u8>) -> Result<()> {
    json::write_value(value, out)
        .map_err(|error| Error::data(DataError::new(error.reason).in_field(field)))
}
