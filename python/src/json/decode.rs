//! Validated JSON text as Python objects.
//!
//! Keys are made once: rows of a topic mostly have the same keys in the same
//! order, so the decoder expects the key that came next last time and compares
//! its bytes before it looks anywhere else.

use ahash::AHasher;
use headwater::core::{ValueRef, json};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// The most keys that are remembered; rows with ever new keys must not fill memory.
const KEYS_MAX: usize = 4096;

/// Turns JSON text into Python objects, learning the keys.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    keys: Vec<(Box<str>, Py<PyString>)>,
    index: HashMap<Box<str>, usize, BuildHasherDefault<AHasher>>,
    next_key: usize,
    scratch: String,
}

impl Decoder {
    /// The value of a validated text.
    pub(crate) fn decode<'py>(
        &mut self,
        py: Python<'py>,
        text: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.next_key = 0;
        let mut at = whitespace(text.as_bytes(), 0);
        self.value(py, text, &mut at)
    }

    /// The Python object of a value.
    pub(crate) fn object<'py>(
        &mut self,
        py: Python<'py>,
        value: ValueRef<'_>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match value {
            ValueRef::Json(text) => self.decode(py, text),
            scalar => scalar_object(py, scalar),
        }
    }

    fn value<'py>(
        &mut self,
        py: Python<'py>,
        text: &str,
        at: &mut usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        match text.as_bytes().get(*at) {
            Some(b'{') => self.dict(py, text, at),
            Some(b'[') => self.list(py, text, at),
            Some(b'"') => Ok(self.string(py, text, at)?.into_any()),
            Some(_) => {
                let end = scalar_end(text.as_bytes(), *at);
                let value = json::decode(&text[*at..end], &mut self.scratch)
                    .map_err(|error| PyValueError::new_err(error.to_string()))?;
                *at = end;
                scalar_object(py, value)
            }
            None => Err(malformed()),
        }
    }

    fn dict<'py>(
        &mut self,
        py: Python<'py>,
        text: &str,
        at: &mut usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bytes = text.as_bytes();
        let dict = PyDict::new(py);
        *at = whitespace(bytes, *at + 1);
        if bytes.get(*at) == Some(&b'}') {
            *at += 1;
            return Ok(dict.into_any());
        }
        loop {
            let key = self.key(py, text, at)?;
            *at = whitespace(bytes, *at);
            *at = whitespace(bytes, *at + 1);
            let value = self.value(py, text, at)?;
            dict.set_item(key, value)?;
            *at = whitespace(bytes, *at);
            match bytes.get(*at) {
                Some(b',') => *at = whitespace(bytes, *at + 1),
                Some(b'}') => {
                    *at += 1;
                    return Ok(dict.into_any());
                }
                _ => return Err(malformed()),
            }
        }
    }

    fn list<'py>(
        &mut self,
        py: Python<'py>,
        text: &str,
        at: &mut usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bytes = text.as_bytes();
        let list = PyList::empty(py);
        *at = whitespace(bytes, *at + 1);
        if bytes.get(*at) == Some(&b']') {
            *at += 1;
            return Ok(list.into_any());
        }
        loop {
            let value = self.value(py, text, at)?;
            list.append(value)?;
            *at = whitespace(bytes, *at);
            match bytes.get(*at) {
                Some(b',') => *at = whitespace(bytes, *at + 1),
                Some(b']') => {
                    *at += 1;
                    return Ok(list.into_any());
                }
                _ => return Err(malformed()),
            }
        }
    }

    fn string<'py>(
        &mut self,
        py: Python<'py>,
        text: &str,
        at: &mut usize,
    ) -> PyResult<Bound<'py, PyString>> {
        let start = *at;
        let end = string_end(text.as_bytes(), start)?;
        *at = end;
        match json::decode(&text[start..end], &mut self.scratch) {
            Ok(ValueRef::Str(value)) => Ok(PyString::new(py, value)),
            Ok(_) => Err(malformed()),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }

    fn key<'py>(
        &mut self,
        py: Python<'py>,
        text: &str,
        at: &mut usize,
    ) -> PyResult<Bound<'py, PyString>> {
        let rest = &text.as_bytes()[*at..];
        if let Some((known, key)) = self.keys.get(self.next_key)
            && rest.len() > known.len() + 1
            && rest[known.len() + 1] == b'"'
            && rest[1..=known.len()] == *known.as_bytes()
        {
            self.next_key += 1;
            *at += known.len() + 2;
            return Ok(key.bind(py).clone());
        }
        let start = *at;
        let key = self.string(py, text, at)?;
        let raw = &text[start + 1..*at - 1];
        if raw.contains('\\') {
            return Ok(key);
        }
        if let Some(&index) = self.index.get(raw) {
            self.next_key = index + 1;
            return Ok(self.keys[index].1.bind(py).clone());
        }
        if self.keys.len() < KEYS_MAX {
            self.index.insert(raw.into(), self.keys.len());
            self.keys.push((raw.into(), key.clone().unbind()));
            self.next_key = self.keys.len();
        }
        Ok(key)
    }
}

/// The Python object of a value that is neither an object nor an array.
fn scalar_object<'py>(py: Python<'py>, value: ValueRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        ValueRef::Null => py.None().into_bound(py),
        ValueRef::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        ValueRef::Int(value) => PyInt::new(py, value).into_any(),
        ValueRef::Float(value) => PyFloat::new(py, value).into_any(),
        ValueRef::Str(value) => PyString::new(py, value).into_any(),
        ValueRef::Bytes(value) => PyBytes::new(py, value).into_any(),
        ValueRef::BigInt(digits) => py.get_type::<PyInt>().call1((digits,))?,
        ValueRef::Json(_) => return Err(malformed()),
    })
}

fn malformed() -> PyErr {
    PyValueError::new_err("malformed JSON")
}

#[inline]
fn whitespace(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

#[inline]
fn scalar_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while !matches!(
        bytes.get(at),
        None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')
    ) {
        at += 1;
    }
    at
}

/// The byte after the closing quote of the string that opens at `start`.
#[inline]
fn string_end(bytes: &[u8], start: usize) -> PyResult<usize> {
    let mut at = start + 1;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found;
        if bytes[at] == b'"' {
            return Ok(at + 1);
        }
        at += 2;
    }
    Err(malformed())
}
