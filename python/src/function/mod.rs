//! Users' functions: Python callables that the engine calls once a batch.
//!
//! The interpreter is entered once for the rows of a batch and the loop runs
//! inside. What a function returns stays a Python object until something needs
//! its bytes, so adjacent functions hand each other objects.
//!
//! ```text
//! arguments   batch → one Python argument per row: lazy row, dict, value, object
//! call        key, timestamp, headers and state beside it; the call; its error
//! objects     results as rows, with the text that they came from
//! sharing     copies of what somebody else could still change
//! batch       columns for a batch function, and back
//! context     which record is being processed
//! ```

mod arguments;
mod batch;
mod call;
mod context;
mod objects;
mod row;
mod sharing;

pub(crate) use call::headers_list;
pub(crate) use context::message_context;
pub(crate) use objects::PyObjects;
pub(crate) use row::Row;
pub(crate) use sharing::owner_count;

use crate::error::{end, raised_by_user};
use crate::format;
use crate::json::Decoder;
use crate::value::to_value;
use call::Calls;
use headwater::core::{
    Column, ColumnBuilder, DataError, Error, Evaluated, FieldPath, Result, RowError, Rows, Value,
    ValueRef,
};
use headwater::operators::{Call, Function, FunctionRows, Wants};
use headwater::plan::{BatchForm, FunctionRef, FunctionShape, TextFormat};
use objects::Origin;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// A user's function, or the object of an aggregator.
#[derive(Debug)]
pub(crate) struct UserFunction {
    callable: Py<PyAny>,
    /// The code object of a Python function, to find its lines in tracebacks.
    code: Option<Py<PyAny>>,
    /// What the plan says of it.
    pub(crate) reference: FunctionRef,
    /// Whether it gets lazy rows; see [`Row`].
    is_lazy: bool,
    key_format: TextFormat,
    /// Decoders that have learned the keys of its rows, one for each worker.
    decoders: Mutex<Vec<Decoder>>,
}

/// `_native.Function`: a handle on a [`UserFunction`].
#[pyclass(frozen, name = "Function", module = "headwater._native")]
pub(crate) struct PyFunction(pub(crate) Arc<UserFunction>);

#[pymethods]
impl PyFunction {
    #[new]
    #[pyo3(signature = (
        callable, *, name, line=None, reads=None, expand=false, metadata=false, stateful=false,
        key_format="bytes", wraps=None,
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python class"
    )]
    fn new(
        py: Python<'_>,
        callable: Py<PyAny>,
        name: &str,
        line: Option<&str>,
        reads: Option<Vec<String>>,
        expand: bool,
        metadata: bool,
        stateful: bool,
        key_format: &str,
        wraps: Option<Py<PyAny>>,
    ) -> PyResult<PyFunction> {
        let reference = FunctionRef {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            line: line.map(Into::into),
            shape: FunctionShape {
                is_expand: expand,
                has_metadata: metadata,
                is_stateful: stateful,
            },
            reads: reads
                .iter()
                .flatten()
                .map(|name| FieldPath::name(name))
                .collect(),
        };
        let code = wraps
            .as_ref()
            .unwrap_or(&callable)
            .getattr(py, "__code__")
            .ok();
        let key_format = format::parse(key_format)?;
        let is_lazy = reads.is_some();
        Ok(PyFunction(Arc::new(UserFunction {
            callable,
            code,
            reference,
            is_lazy,
            key_format,
            decoders: Mutex::default(),
        })))
    }

    /// The fields that it is known to read, or None where it gets a dict.
    #[getter]
    fn reads(&self) -> Option<Vec<String>> {
        let reads = self.0.reference.reads.iter();
        self.0
            .is_lazy
            .then(|| reads.map(|path| path.to_string()).collect())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.reference.name
    }

    #[getter]
    fn line(&self) -> Option<&str> {
        self.0.reference.line.as_deref()
    }
}

impl UserFunction {
    /// A decoder; give it back after the batch.
    fn take_decoder(&self) -> Decoder {
        let mut decoders = self.decoders.lock().unwrap_or_else(PoisonError::into_inner);
        decoders.pop().unwrap_or_default()
    }

    fn give_back(&self, decoder: Decoder) {
        self.decoders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(decoder);
    }

    /// The data error for an exception that a call raised.
    ///
    /// # Errors
    /// If the exception ends the job.
    fn failed(&self, py: Python<'_>, raised: PyErr) -> Result<DataError> {
        if !crate::error::is_about_data(py, &raised) {
            return Err(end(raised));
        }
        let code = self.code.as_ref().map(|code| code.bind(py).as_any());
        let mut error = raised_by_user(py, raised, &self.reference.name, code);
        if error.line.is_none() {
            error.line = self.reference.line.as_ref().map(|line| line.to_string());
        }
        Ok(error)
    }

    fn collect_rows(&self, py: Python<'_>, call: Call<'_>) -> Result<FunctionRows> {
        let is_expand = call.shape.is_expand;
        let rows = call.batch.len();
        let mut objects: Vec<Py<PyAny>> = Vec::with_capacity(rows);
        let mut sources = is_expand.then(Vec::new);
        let mut origins = Origins::default();
        let mut errors = Vec::new();
        let mut calls = Calls::new(py, self, call)?;
        while let Some(row) = calls.next_row() {
            let before = objects.len();
            let mut outcome = calls.call(row);
            if let Ok(Some(result)) = outcome {
                outcome = if let Some(sources) = &mut sources {
                    match expand(result, &mut objects) {
                        Ok(()) => {
                            sources.resize(objects.len(), row as u32);
                            origins.rows.resize(objects.len(), Origin::NONE);
                            Ok(None)
                        }
                        Err(raised) => {
                            objects.truncate(before);
                            Err(self.failed(py, raised)?)
                        }
                    }
                } else {
                    let is_argument = calls.release_argument(&result);
                    origins.rows.push(if is_argument {
                        calls.origin_of(row)
                    } else {
                        Origin::NONE
                    });
                    match sharing::unshared(result) {
                        Ok(result) => {
                            objects.push(result.unbind());
                            Ok(None)
                        }
                        Err(raised) => Err(self.failed(py, raised)?),
                    }
                };
            }
            if let Err(error) = outcome {
                errors.push(RowError {
                    row: row as u32,
                    error,
                });
                if sources.is_none() {
                    objects.truncate(before);
                    objects.push(py.None());
                    origins.rows.resize(objects.len(), Origin::NONE);
                }
            }
            calls.check_end()?;
        }
        let origin = origins.finish(calls.origin_texts());
        let rows = Rows::Objects(Arc::new(PyObjects::new(objects, origin)));
        Ok(FunctionRows {
            rows,
            sources,
            errors,
        })
    }

    fn collect_updates(&self, py: Python<'_>, call: Call<'_>) -> Result<FunctionRows> {
        let untouched = call.batch.rows.clone();
        let mut objects: Vec<Py<PyAny>> = Vec::with_capacity(call.batch.len());
        let mut origins = Origins::default();
        let mut errors = Vec::new();
        let mut calls = Calls::new(py, self, call)?;
        let keeps_rows = calls.arguments_cannot_change();
        while let Some(row) = calls.next_row() {
            let outcome = calls.call(row).map(|_| ());
            if let Err(error) = outcome {
                errors.push(RowError {
                    row: row as u32,
                    error,
                });
            }
            calls.check_end()?;
            if keeps_rows {
                continue;
            }
            origins.rows.push(calls.origin_of(row));
            let argument = calls
                .take_argument()
                .unwrap_or_else(|| py.None().into_bound(py));
            let argument = sharing::unshared(argument).map_err(end)?;
            objects.push(argument.unbind());
        }
        let origin = origins.finish(calls.origin_texts());
        let rows = match keeps_rows {
            true => untouched,
            false => Rows::Objects(Arc::new(PyObjects::new(objects, origin))),
        };
        Ok(FunctionRows {
            rows,
            sources: None,
            errors,
        })
    }

    fn collect_values(&self, py: Python<'_>, call: Call<'_>, wants: Wants) -> Result<Evaluated> {
        let mut builder = ColumnBuilder::with_capacity(call.batch.len());
        let mut errors = Vec::new();
        let mut scratch = Vec::new();
        let mut calls = Calls::new(py, self, call)?;
        while let Some(row) = calls.next_row() {
            let outcome = match calls.call(row) {
                Ok(None) => {
                    builder.push(ValueRef::Null);
                    Ok(())
                }
                Ok(Some(result)) => {
                    match call::push_wanted(&result, wants, &mut scratch, &mut builder) {
                        Ok(pushed) => pushed,
                        Err(raised) => Err(self.failed(py, raised)?),
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(mut error) = outcome {
                if error.line.is_none() {
                    error.line = self.reference.line.as_ref().map(|line| line.to_string());
                }
                builder.push(ValueRef::Null);
                errors.push(RowError {
                    row: row as u32,
                    error,
                });
            }
            calls.check_end()?;
        }
        Ok(Evaluated {
            column: builder.finish(),
            errors,
        })
    }

    fn call_once(
        &self,
        py: Python<'_>,
        method: Option<&str>,
        arguments: &[ValueRef<'_>],
    ) -> Result<Value> {
        let mut decoder = Decoder::default();
        let called = || -> PyResult<Bound<'_, PyAny>> {
            let arguments: Vec<_> = arguments
                .iter()
                .map(|value| decoder.object(py, *value))
                .collect::<PyResult<_>>()?;
            let arguments = PyTuple::new(py, arguments)?;
            match method {
                Some(method) => self.callable.bind(py).call_method1(method, arguments),
                None => self.callable.bind(py).call1(arguments),
            }
        }();
        match called {
            Ok(result) => to_value(&result).map_err(|mut error| {
                error.line = self.reference.line.as_ref().map(|line| line.to_string());
                Error::data(error)
            }),
            Err(raised) => Err(Error::data(self.failed(py, raised)?)),
        }
    }
}

/// For each result, the row of the text that it was decoded from.
#[derive(Default)]
struct Origins {
    rows: Vec<u32>,
}

impl Origins {
    fn finish(self, texts: Option<headwater::core::JsonRows>) -> Option<Origin> {
        let is_any = self.rows.iter().any(|row| *row != Origin::NONE);
        texts.filter(|_| is_any).map(|texts| Origin {
            texts,
            rows: self.rows,
        })
    }
}

/// Appends each item of an expanded result.
fn expand(result: Bound<'_, PyAny>, objects: &mut Vec<Py<PyAny>>) -> PyResult<()> {
    // A text expands to its characters, as everywhere in Python.
    if let Ok(text) = result.cast_exact::<PyString>() {
        for item in text.try_iter()? {
            objects.push(item?.unbind());
        }
        return Ok(());
    }
    for item in result.try_iter()? {
        objects.push(sharing::unshared(item?)?.unbind());
    }
    Ok(())
}

impl Function for UserFunction {
    fn rows(&self, call: Call<'_>) -> Result<FunctionRows> {
        Python::attach(|py| self.collect_rows(py, call))
    }

    fn update(&self, call: Call<'_>) -> Result<FunctionRows> {
        Python::attach(|py| self.collect_updates(py, call))
    }

    fn values(&self, call: Call<'_>, wants: Wants) -> Result<Evaluated> {
        Python::attach(|py| self.collect_values(py, call, wants))
    }

    fn batch(
        &self,
        columns: &[(Box<str>, Column)],
        form: BatchForm,
    ) -> Result<Vec<(Box<str>, Column)>> {
        Python::attach(
            |py| match batch::call(py, self.callable.bind(py), columns, form) {
                Ok(columns) => Ok(columns),
                Err(batch::Failure::Raised(raised)) => Err(Error::data(self.failed(py, raised)?)),
                Err(batch::Failure::Result(mut error)) => {
                    error.line = self.reference.line.as_ref().map(|line| line.to_string());
                    Err(Error::data(error))
                }
            },
        )
    }

    fn invoke(&self, method: Option<&str>, arguments: &[ValueRef<'_>]) -> Result<Value> {
        Python::attach(|py| self.call_once(py, method, arguments))
    }
}
