//! Objects that somebody else could still change.
//!
//! A batch is written after all its calls, so a row must not change once its
//! call has returned: neither by a function that keeps what it returned, nor by
//! a branch that was given the same object.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// The object itself, or a copy where anyone else could still change it.
///
/// A function may return an object that it keeps (an accumulator, a constant).
/// The rows of a batch are written after all calls, so such an object would
/// show its last state in every row.
///
/// # Errors
/// What an object's own copying raises.
pub(crate) fn unshared<'py>(object: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if is_shared(&object, 1) {
        deep_copy(&object)
    } else {
        Ok(object)
    }
}

/// Whether an object that can change, or one in it, has more owners than expected.
fn is_shared(object: &Bound<'_, PyAny>, owners: isize) -> bool {
    if is_immutable(object) {
        return false;
    }
    if owner_count(object) > owners {
        return true;
    }
    // A borrowed child has one owner more: the handle that we look at it by.
    if let Ok(dict) = object.cast_exact::<PyDict>() {
        return dict.iter().any(|(_, value)| is_shared(&value, 2));
    }
    if let Ok(list) = object.cast_exact::<PyList>() {
        return list.iter().any(|item| is_shared(&item, 2));
    }
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        return tuple.iter().any(|item| is_shared(&item, 2));
    }
    false
}

/// How many hold the object.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe, and a count is all that is wanted"
)]
pub(crate) fn owner_count(object: &Bound<'_, PyAny>) -> isize {
    object.get_refcnt()
}

fn is_immutable(object: &Bound<'_, PyAny>) -> bool {
    object.is_none()
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyBool>()
        || object.is_exact_instance_of::<PyBytes>()
}

/// A copy that shares nothing that can be changed.
///
/// # Errors
/// What an object's own copying raises.
pub(crate) fn deep_copy<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    if is_immutable(object) {
        return Ok(object.clone());
    }
    if let Ok(dict) = object.cast_exact::<PyDict>() {
        let copy = PyDict::new(py);
        for (key, value) in dict.iter() {
            copy.set_item(key, deep_copy(&value)?)?;
        }
        return Ok(copy.into_any());
    }
    if let Ok(list) = object.cast_exact::<PyList>() {
        let items: Vec<_> = list
            .iter()
            .map(|item| deep_copy(&item))
            .collect::<PyResult<_>>()?;
        return Ok(PyList::new(py, items)?.into_any());
    }
    py.import("copy")?.call_method1("deepcopy", (object,))
}
