//! Single values on their way between Python and the engine.

use crate::json::{Decoder, encode, is_numpy_scalar};
use headwater::core::{Column, ColumnBuilder, DataError, Evaluated, RowError, Value, ValueRef};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Calls `take` with the value of an object; dicts, lists and tuples are JSON text.
///
/// # Errors
/// If it is none that a row can hold.
pub(crate) fn with_value<R>(
    object: &Bound<'_, PyAny>,
    scratch: &mut Vec<u8>,
    take: impl FnOnce(ValueRef<'_>) -> R,
) -> Result<R, DataError> {
    if let Ok(float) = object.cast::<PyFloat>() {
        return Ok(take(ValueRef::Float(float.value())));
    }
    if let Ok(value) = object.cast::<PyBool>() {
        return Ok(take(ValueRef::Bool(value.is_true())));
    }
    if let Ok(int) = object.cast::<PyInt>() {
        if let Ok(value) = int.extract::<i64>() {
            return Ok(take(ValueRef::Int(value)));
        }
        scratch.clear();
        encode(int, scratch)?;
        return Ok(take(ValueRef::BigInt(text_of(scratch))));
    }
    if let Ok(text) = object.cast::<PyString>() {
        let text = text
            .to_str()
            .map_err(|_| DataError::new("a text with a lone surrogate"))?;
        return Ok(take(ValueRef::Str(text)));
    }
    if object.is_none() {
        return Ok(take(ValueRef::Null));
    }
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(take(ValueRef::Bytes(bytes.as_bytes())));
    }
    if is_numpy_scalar(object)
        && let Ok(item) = object.call_method0("item")
        && !is_numpy_scalar(&item)
    {
        return with_value(&item, scratch, take);
    }
    let is_nested = object.is_instance_of::<PyDict>()
        || object.is_instance_of::<PyList>()
        || object.is_instance_of::<PyTuple>();
    scratch.clear();
    encode(object, scratch)?;
    let text = text_of(scratch);
    Ok(take(if is_nested {
        ValueRef::Json(text)
    } else {
        ValueRef::Null
    }))
}

fn text_of(written: &[u8]) -> &str {
    std::str::from_utf8(written).expect("JSON was written as UTF-8")
}

/// The value of an object, with text of its own.
///
/// # Errors
/// As [`with_value`].
pub(crate) fn to_value(object: &Bound<'_, PyAny>) -> Result<Value, DataError> {
    with_value(object, &mut Vec::new(), |value| value.to_owned())
}

/// The objects as one column, those that no column can hold as errors.
pub(crate) fn to_column<'py>(objects: impl Iterator<Item = Bound<'py, PyAny>>) -> Evaluated {
    let mut builder = ColumnBuilder::with_capacity(objects.size_hint().0);
    let mut errors = Vec::new();
    let mut scratch = Vec::new();
    for (row, object) in objects.enumerate() {
        if let Err(error) = with_value(&object, &mut scratch, |value| builder.push(value)) {
            builder.push(ValueRef::Null);
            errors.push(RowError {
                row: row as u32,
                error,
            });
        }
    }
    Evaluated {
        column: builder.finish(),
        errors,
    }
}

/// A column as a list of Python objects.
///
/// # Errors
/// What Python raises.
pub(crate) fn to_list<'py>(py: Python<'py>, column: &Column) -> PyResult<Bound<'py, PyList>> {
    let mut decoder = Decoder::default();
    let objects: Vec<_> = column
        .iter()
        .map(|value| decoder.object(py, value))
        .collect::<PyResult<_>>()?;
    PyList::new(py, objects)
}
