//! The one mapping between our errors and Python's exceptions.
//!
//! An [`Error`] becomes the exception of its class in `headwater.errors`; an
//! exception that a user's function raised becomes the cause of a `DataError`,
//! with its traceback. What asks for the end of the program (`KeyboardInterrupt`,
//! `SystemExit`) crosses the engine as the source of an error that no policy
//! sees, and leaves it as itself.

use headwater::core::{Class, DataError, Error};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTraceback};

/// The exception for an error of ours.
pub(crate) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    let class = error.class();
    let message = error.message().to_owned();
    let facts = error.data_error().map(Facts::of);
    let source = error
        .into_source()
        .and_then(|source| source.downcast::<PyErr>().ok());
    match source {
        Some(raised) if class != Class::Data => *raised,
        source => {
            let name = match class {
                Class::Invalid => "InvalidOperation",
                Class::Data => "DataError",
                Class::Unavailable => "UnavailableError",
                Class::Fenced => "FencedError",
                Class::Internal => "InternalError",
            };
            let made = exception(py, name, &message);
            if let Some(facts) = facts {
                facts.write_to(py, &made);
            }
            if let Some(source) = source {
                made.set_cause(py, Some(*source));
            }
            made
        }
    }
}

/// An exception of `headwater.errors`.
pub(crate) fn exception(py: Python<'_>, name: &str, message: &str) -> PyErr {
    let made = py
        .import("headwater.errors")
        .and_then(|module| module.getattr(name))
        .and_then(|class| class.call1((message,)));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// The result of a call of ours, for Python.
pub(crate) fn raise<T>(py: Python<'_>, result: headwater::core::Result<T>) -> PyResult<T> {
    result.map_err(|error| to_python(py, error))
}

/// An exception that ends the job, whatever the error policy.
pub(crate) fn end(raised: PyErr) -> Error {
    Error::invalid(raised.to_string()).with_source(raised)
}

/// Whether an exception is about the record rather than about the program.
pub(crate) fn is_about_data(py: Python<'_>, raised: &PyErr) -> bool {
    raised.is_instance_of::<PyException>(py)
}

/// The data error for an exception that a user's function raised. `code` is the
/// function's own code object, to find the line in it.
pub(crate) fn raised_by_user(
    py: Python<'_>,
    raised: PyErr,
    function: &str,
    code: Option<&Bound<'_, PyAny>>,
) -> DataError {
    let value = raised.value(py);
    let kind = value
        .get_type()
        .name()
        .map_or_else(|_| "Exception".into(), |name| name.to_string());
    let text = value
        .str()
        .map_or_else(|_| String::new(), |text| text.to_string());
    let reason = if text.is_empty() {
        format!("`{function}` raised {kind}")
    } else {
        format!("`{function}` raised {kind}: {text}")
    };
    let mut error = DataError::new(reason);
    error.line = raised
        .traceback(py)
        .and_then(|traceback| line_in(&traceback, code));
    error.source = Some(Box::new(raised));
    error
}

/// The line at which the traceback passes through the user's function.
fn line_in(traceback: &Bound<'_, PyTraceback>, code: Option<&Bound<'_, PyAny>>) -> Option<String> {
    let code = code?;
    let mut next = Some(traceback.clone().into_any());
    while let Some(entry) = next {
        let here = entry
            .getattr("tb_frame")
            .and_then(|frame| frame.getattr("f_code"))
            .ok()?;
        if here.is(code) {
            let file = here.getattr("co_filename").ok()?;
            let line: u32 = entry.getattr("tb_lineno").ok()?.extract().ok()?;
            return Some(short_line(&file.to_string(), line));
        }
        next = entry
            .getattr("tb_next")
            .ok()
            .filter(|entry| !entry.is_none());
    }
    None
}

/// A line as our messages show it: the file's name without its folders.
pub(crate) fn short_line(file: &str, line: u32) -> String {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    format!("{name}:{line}")
}

/// What a data error knows about its place, for the exception's attributes.
pub(crate) struct Facts {
    topic: Option<String>,
    partition: Option<u32>,
    offset: Option<u64>,
    field: Option<String>,
    operator: Option<String>,
    line: Option<String>,
    hint: Option<String>,
}

impl Facts {
    pub(crate) fn of(error: &DataError) -> Facts {
        Facts {
            topic: error
                .partition
                .as_ref()
                .map(|partition| partition.topic.to_string()),
            partition: error
                .partition
                .as_ref()
                .map(|partition| partition.partition),
            offset: error.position.and_then(|position| position.offset()),
            field: error.field.clone(),
            operator: error.operator.clone(),
            line: error.line.clone(),
            hint: error.hint.clone(),
        }
    }

    pub(crate) fn write_to(&self, py: Python<'_>, raised: &PyErr) {
        let value = raised.value(py);
        // Attributes are a convenience: an exception without them still says all.
        let text = |name: &str, text: &Option<String>| {
            let _ = value.setattr(name, text.as_ref().map(|text| PyString::new(py, text)));
        };
        text("topic", &self.topic);
        text("field", &self.field);
        text("operator", &self.operator);
        text("line", &self.line);
        text("hint", &self.hint);
        let _ = value.setattr("partition", self.partition);
        let _ = value.setattr("offset", self.offset);
    }
}
