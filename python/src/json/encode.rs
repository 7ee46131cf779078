//! Python objects as JSON text.
//!
//! What JSON has no form for is a data error that names the field and says what
//! to write instead; nothing is turned into text by guessing.

use headwater::core::{DataError, FieldPath, Step, ValueRef, json};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// As deep as the reader of JSON goes; deeper objects could not be read back.
const DEPTH_MAX: usize = 127;

/// Why an object has no JSON form. The path grows from the inside out.
pub(super) struct Refusal {
    path: Vec<Step>,
    reason: String,
    hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Refusal {
            path: Vec::new(),
            reason: reason.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn at(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    pub(super) fn into_error(mut self) -> DataError {
        self.path.reverse();
        let mut error = DataError::new(self.reason);
        if !self.path.is_empty() {
            error = error.in_field(FieldPath(self.path));
        }
        error.hint = self.hint;
        error
    }
}

/// Appends `object` as JSON.
///
/// # Errors
/// If JSON has no form for it; `out` is then as it was.
pub(crate) fn encode(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> Result<(), DataError> {
    let start = out.len();
    write(object, out, 0).map_err(|refusal| {
        out.truncate(start);
        refusal.into_error()
    })
}

pub(super) fn write(
    object: &Bound<'_, PyAny>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Refusal> {
    if let Ok(text) = object.cast_exact::<PyString>() {
        write_text(text, out)
    } else if let Ok(float) = object.cast_exact::<PyFloat>() {
        write_float(float.value(), out)
    } else if let Ok(int) = object.cast_exact::<PyInt>() {
        write_int(int, out)
    } else if let Ok(dict) = object.cast_exact::<PyDict>() {
        write_dict(dict, out, depth)
    } else if object.is_none() {
        out.extend_from_slice(b"null");
        Ok(())
    } else if let Ok(value) = object.cast_exact::<PyBool>() {
        out.extend_from_slice(if value.is_true() { b"true" } else { b"false" });
        Ok(())
    } else if let Ok(list) = object.cast_exact::<PyList>() {
        write_items(list.iter(), out, depth)
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        write_items(tuple.iter(), out, depth)
    } else {
        write_other(object, out, depth)
    }
}

fn write_float(value: f64, out: &mut Vec<u8>) -> Result<(), Refusal> {
    json::write_value(ValueRef::Float(value), out).map_err(|_| {
        Refusal::new(format!(
            "{} cannot be written as JSON",
            if value.is_nan() { "NaN" } else { "infinity" }
        ))
        .hint("use None for a missing value")
    })
}

fn write_text(text: &Bound<'_, PyString>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let value = text
        .to_str()
        .map_err(|_| Refusal::new("a text with a lone surrogate cannot be written as JSON"))?;
    json::write_value(ValueRef::Str(value), out).map_err(|error| Refusal::new(error.reason))
}

fn write_int(int: &Bound<'_, PyInt>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if let Ok(value) = int.extract::<i64>() {
        return json::write_value(ValueRef::Int(value), out)
            .map_err(|error| Refusal::new(error.reason));
    }
    let digits = digits_of(int)
        .ok_or_else(|| Refusal::new("an integer of this many digits cannot be written"))?;
    out.extend_from_slice(digits.as_bytes());
    Ok(())
}

/// The decimal digits of an integer, also of a subclass with a `__str__` of its own.
pub(super) fn digits_of(int: &Bound<'_, PyInt>) -> Option<String> {
    let repr = int
        .py()
        .get_type::<PyInt>()
        .call_method1("__repr__", (int,))
        .ok()?;
    Some(repr.to_string())
}

fn write_dict(dict: &Bound<'_, PyDict>, out: &mut Vec<u8>, depth: usize) -> Result<(), Refusal> {
    check_depth(depth)?;
    out.push(b'{');
    let mut is_first = true;
    for (key, value) in dict.iter() {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        let name = name_of(&key)?;
        json::write_key(name, out);
        write(&value, out, depth + 1).map_err(|refusal| refusal.at(Step::Name(name.into())))?;
    }
    out.push(b'}');
    Ok(())
}

/// The name that a key is written as.
pub(super) fn name_of<'a>(key: &'a Bound<'_, PyAny>) -> Result<&'a str, Refusal> {
    match key.cast::<PyString>() {
        Ok(name) => name
            .to_str()
            .map_err(|_| Refusal::new("a key with a lone surrogate cannot be written as JSON")),
        Err(_) => {
            let name = type_name(key);
            Err(
                Refusal::new(format!("a key of type {name} cannot be written as JSON"))
                    .hint("use str(...) for the key"),
            )
        }
    }
}

fn write_items<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Refusal> {
    check_depth(depth)?;
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(&item, out, depth + 1).map_err(|refusal| refusal.at(Step::Index(index as i64)))?;
    }
    out.push(b']');
    Ok(())
}

fn check_depth(depth: usize) -> Result<(), Refusal> {
    if depth < DEPTH_MAX {
        return Ok(());
    }
    Err(Refusal::new(format!(
        "more than {DEPTH_MAX} levels of objects and arrays"
    )))
}

/// Subclasses of what JSON has, NumPy's numbers, and everything that is refused.
fn write_other(object: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> Result<(), Refusal> {
    if is_numpy_scalar(object) {
        let item = object
            .call_method0("item")
            .map_err(|error| Refusal::new(error.to_string()))?;
        if !is_numpy_scalar(&item) {
            return write(&item, out, depth);
        }
    } else if let Ok(text) = object.cast::<PyString>() {
        return write_text(text, out);
    } else if let Ok(float) = object.cast::<PyFloat>() {
        return write_float(float.value(), out);
    } else if let Ok(int) = object.cast::<PyInt>() {
        return write_int(int, out);
    } else if let Ok(dict) = object.cast::<PyDict>() {
        return write_dict(dict, out, depth);
    } else if let Ok(list) = object.cast::<PyList>() {
        return write_items(list.iter(), out, depth);
    } else if let Ok(tuple) = object.cast::<PyTuple>() {
        return write_items(tuple.iter(), out, depth);
    }
    let name = type_name(object);
    Err(
        Refusal::new(format!("a value of type {name} cannot be written as JSON"))
            .hint(&replacement_for(object, &name)),
    )
}

/// Whether it is a number, a text or a time of NumPy rather than an array.
pub(crate) fn is_numpy_scalar(object: &Bound<'_, PyAny>) -> bool {
    let is_numpy = object
        .get_type()
        .module()
        .is_ok_and(|module| module.to_str().is_ok_and(|module| module == "numpy"));
    is_numpy
        && object
            .getattr("ndim")
            .is_ok_and(|ndim| ndim.extract::<u32>().is_ok_and(|n| n == 0))
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .fully_qualified_name()
        .map_or_else(|_| "object".into(), |name| name.to_string())
}

fn replacement_for(object: &Bound<'_, PyAny>, name: &str) -> String {
    match name {
        "datetime.datetime" | "datetime.date" | "datetime.time" => {
            "write `.isoformat()`, or milliseconds: `int(t.timestamp() * 1000)`".into()
        }
        "datetime.timedelta" => "write `.total_seconds()`".into(),
        "decimal.Decimal" | "uuid.UUID" => "write `str(...)`".into(),
        "set" | "frozenset" => "write `sorted(...)`".into(),
        "numpy.ndarray" | "pandas.Series" => "write `.tolist()`".into(),
        "headwater._native.Row" => "write `dict(row)`".into(),
        _ if object.cast::<PyBytes>().is_ok() => "write `.decode()`, or `.hex()`".into(),
        _ => "write a dict, a list, a str, a number, a bool or None".into(),
    }
}
