//! The calls of one function for the rows of one batch.

use super::UserFunction;
use super::arguments::Arguments;
use super::context::{self, Processing};
use super::row::Row;
use crate::format;
use crate::state::StateLoan;
use crate::value::with_value;
use headwater::core::{Batch, ColumnBuilder, DataError, Error, Header, JsonRows, Result, ValueRef};
use headwater::operators::{Call, StepTimes, Wants};
use headwater::plan::FunctionShape;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

/// Calls a function row by row.
pub(super) struct Calls<'py, 'a> {
    py: Python<'py>,
    function: &'a UserFunction,
    callable: Bound<'py, PyAny>,
    batch: &'a Batch,
    times: &'a StepTimes,
    shape: FunctionShape,
    arguments: Arguments<'a>,
    argument: Option<Bound<'py, PyAny>>,
    state: Option<StateLoan<'a>>,
    next: usize,
    ended: Option<Error>,
    _processing: Processing,
}

impl<'py, 'a> Calls<'py, 'a> {
    pub(super) fn new(py: Python<'py>, function: &'a UserFunction, call: Call<'a>) -> Result<Self> {
        let arguments = Arguments::new(py, function, &call);
        let state = match call.shape.is_stateful {
            true => Some(StateLoan::new(call.keyed)),
            false => None,
        };
        Ok(Calls {
            py,
            function,
            callable: function.callable.bind(py).clone(),
            batch: call.batch,
            times: call.times,
            shape: call.shape,
            arguments,
            argument: None,
            state,
            next: 0,
            ended: None,
            _processing: context::enter(call.partition, call.positions, call.batch),
        })
    }

    pub(super) fn next_row(&mut self) -> Option<usize> {
        let row = self.next;
        self.next += 1;
        context::set_row(row);
        (row < self.batch.len()).then_some(row)
    }

    /// The result of the call for a row; `None` if the job is to end.
    ///
    /// # Errors
    /// If the row cannot be decoded, or the function raised.
    pub(super) fn call(&mut self, row: usize) -> Result<Option<Bound<'py, PyAny>>, DataError> {
        self.argument = None;
        let argument = self.arguments.get(self.py, row)?;
        self.argument = Some(argument.clone());
        let called = if self.shape.has_metadata || self.shape.is_stateful {
            self.call_with_more(row, argument)
        } else {
            self.callable.call1((argument,))
        };
        match called {
            Ok(result) => Ok(Some(result)),
            Err(raised) => self.failed(raised).map(|()| None),
        }
    }

    fn call_with_more(
        &mut self,
        row: usize,
        argument: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut arguments = vec![argument];
        if self.shape.has_metadata {
            let key = format::read(self.py, self.function.key_format, self.batch.keys.get(row))?;
            arguments.push(key);
            arguments.push(PyInt::new(self.py, self.batch.timestamps[row]).into_any());
            arguments.push(headers_list(self.py, self.batch.headers(row))?);
        }
        if let Some(state) = &mut self.state {
            let state = state.of_row(
                self.py,
                self.batch.keys.get(row),
                self.batch.timestamps[row],
                self.times.before(self.batch.cause(row).at()),
            )?;
            arguments.push(state.into_any());
        }
        self.callable.call1(PyTuple::new(self.py, arguments)?)
    }

    /// The data error for what a call raised, with a suggestion for a missing field.
    #[cold]
    fn failed(&mut self, raised: PyErr) -> Result<(), DataError> {
        let suggestion = self.suggestion(&raised);
        match self.function.failed(self.py, raised) {
            Ok(mut error) => {
                if let Some((field, hint)) = suggestion {
                    error.field = Some(field);
                    error.hint = Some(hint);
                }
                Err(error)
            }
            Err(ended) => {
                self.ended = Some(ended);
                Ok(())
            }
        }
    }

    /// The field that a `KeyError` missed, and what the row has instead.
    fn suggestion(&self, raised: &PyErr) -> Option<(String, String)> {
        if !raised.is_instance_of::<PyKeyError>(self.py) {
            return None;
        }
        let key = raised
            .value(self.py)
            .getattr("args")
            .ok()?
            .get_item(0)
            .ok()?;
        let key = key.cast_into::<PyString>().ok()?;
        let row = self.argument.as_ref()?;
        let is_row = row.is_instance_of::<PyDict>() || row.is_instance_of::<Row>();
        if !is_row || row.contains(&key).ok()? {
            return None;
        }
        let names = self
            .py
            .get_type::<PyList>()
            .call1((row.call_method0("keys").ok()?,))
            .ok()?;
        let close = self
            .py
            .import("difflib")
            .ok()?
            .call_method1("get_close_matches", (&key, &names))
            .ok()?;
        let hint = match close.get_item(0) {
            Ok(name) => format!("did you mean `{name}`?"),
            Err(_) => {
                let names: Vec<String> = names.extract().ok()?;
                format!("the row has {}", quoted(&names))
            }
        };
        Some((key.to_string(), hint))
    }

    /// Ends the job if a function asked for it.
    ///
    /// # Errors
    /// What the function raised.
    pub(super) fn check_end(&mut self) -> Result<()> {
        self.ended.take().map_or(Ok(()), Err)
    }

    /// Lets go of the argument; whether the result is that very object.
    pub(super) fn release_argument(&mut self, result: &Bound<'py, PyAny>) -> bool {
        self.argument
            .take()
            .is_some_and(|argument| argument.is(result))
    }

    pub(super) fn take_argument(&mut self) -> Option<Bound<'py, PyAny>> {
        self.argument.take()
    }

    pub(super) fn arguments_cannot_change(&self) -> bool {
        self.arguments.cannot_change()
    }

    pub(super) fn origin_of(&self, row: usize) -> u32 {
        self.arguments.origin_of(row)
    }

    pub(super) fn origin_texts(&self) -> Option<JsonRows> {
        self.arguments.origin_texts()
    }
}

impl Drop for Calls<'_, '_> {
    fn drop(&mut self) {
        if let Some(decoder) = self.arguments.take_decoder() {
            self.function.give_back(decoder);
        }
    }
}

fn quoted(names: &[String]) -> String {
    const SHOWN_MAX: usize = 12;
    let mut text = names
        .iter()
        .take(SHOWN_MAX)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(", ...");
    }
    if names.is_empty() {
        "no fields".into()
    } else {
        text
    }
}

/// Headers as Quix Streams gives them: pairs, or None where there are none.
pub(crate) fn headers_list<'py>(
    py: Python<'py>,
    headers: &[Header],
) -> PyResult<Bound<'py, PyAny>> {
    if headers.is_empty() {
        return Ok(py.None().into_bound(py));
    }
    let pairs = headers.iter().map(|header| {
        (
            &*header.name,
            header.value.as_deref().map(|value| PyBytes::new(py, value)),
        )
    });
    Ok(PyList::new(py, pairs.collect::<Vec<_>>())?.into_any())
}

/// Appends a result in the form that the caller wants. The inner error is the
/// row's, the outer one was raised by the object itself.
pub(super) fn push_wanted(
    result: &Bound<'_, PyAny>,
    wants: Wants,
    scratch: &mut Vec<u8>,
    builder: &mut ColumnBuilder,
) -> PyResult<Result<(), DataError>> {
    let expected = |what: &str| {
        let got = result
            .get_type()
            .name()
            .map_or_else(|_| String::new(), |name| name.to_string());
        Ok(Err(DataError::new(format!(
            "the function must return {what}, it returned {got}"
        ))))
    };
    match wants {
        Wants::Truth => builder.push(ValueRef::Bool(result.is_truthy()?)),
        Wants::Timestamp => {
            let is_int = !result.is_instance_of::<PyBool>();
            match result.extract::<i64>() {
                Ok(timestamp) if is_int => builder.push(ValueRef::Int(timestamp)),
                _ => return expected("an int of milliseconds"),
            }
        }
        Wants::Headers => match headers_value(result, scratch) {
            Ok(()) => {
                let text = std::str::from_utf8(scratch).expect("JSON was written as UTF-8");
                builder.push(ValueRef::Json(text));
            }
            Err(_) => return expected("a list of (str, bytes) pairs"),
        },
        Wants::Topic => {
            let name = result.getattr("name").unwrap_or_else(|_| result.clone());
            match name.cast::<PyString>() {
                Ok(name) => builder.push(ValueRef::Str(name.to_str()?)),
                Err(_) => return expected("a topic of the application"),
            }
        }
        Wants::Any | Wants::Key => {
            return Ok(with_value(result, scratch, |value| builder.push(value)));
        }
    }
    Ok(Ok(()))
}

/// Headers as the engine takes them: a JSON array of pairs, values as texts.
fn headers_value(result: &Bound<'_, PyAny>, scratch: &mut Vec<u8>) -> PyResult<()> {
    let py = result.py();
    let pairs = PyList::empty(py);
    if !result.is_none() {
        for pair in result.try_iter()? {
            let (name, value): (Bound<'_, PyString>, Bound<'_, PyAny>) = pair?.extract()?;
            let value = match value.cast::<PyBytes>() {
                Ok(bytes) => bytes.call_method1("decode", ("utf-8",))?,
                Err(_) => value,
            };
            pairs.append((name, value))?;
        }
    }
    scratch.clear();
    crate::json::encode(&pairs, scratch)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
}
