//! A dict that a function was given, written over the text that it came from.
//!
//! A function may have changed its row or not; the row itself does not say. So
//! it is compared with its text, field by field: what is still the same goes out
//! as the bytes that came in (`1E+2` stays `1E+2`), and only what differs is
//! written anew.

use super::encode::{Refusal, digits_of, name_of, write};
use headwater::core::{DataError, Step, ValueRef, json};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use std::borrow::Cow;

/// Appends `object`, which was decoded from the validated `text` and may have
/// been changed since.
///
/// # Errors
/// If JSON has no form for it; `out` is then as it was.
pub(crate) fn encode_over(
    object: &Bound<'_, PyAny>,
    text: &str,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    let start = out.len();
    write_over(object, text, out, 0).map_err(|refusal| {
        out.truncate(start);
        refusal.into_error()
    })
}

fn write_over(
    object: &Bound<'_, PyAny>,
    text: &str,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Refusal> {
    if is_unchanged(object, text) {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    let (Ok(dict), Some(entries)) = (object.cast_exact::<PyDict>(), last_entries(text)) else {
        return write(object, out, depth);
    };
    out.push(b'{');
    let mut is_first = true;
    for (key, value) in dict.iter() {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        let name = name_of(&key)?;
        json::write_key(&name, out);
        let written = match entries.iter().find(|(known, _)| *known == *name) {
            Some((_, text)) => write_over(&value, text, out, depth + 1),
            None => write(&value, out, depth + 1),
        };
        written.map_err(|refusal| refusal.at(Step::Name(name.into())))?;
    }
    out.push(b'}');
    Ok(())
}

/// Whether the object still is what the text says, kinds and key order included.
fn is_unchanged(object: &Bound<'_, PyAny>, text: &str) -> bool {
    let text = text.trim_matches([' ', '\n', '\r', '\t']);
    match text.as_bytes().first() {
        Some(b'{') => {
            let Ok(dict) = object.cast_exact::<PyDict>() else {
                return false;
            };
            let Some(entries) = last_entries(text) else {
                return false;
            };
            entries.len() == dict.len()
                && dict
                    .iter()
                    .zip(&entries)
                    .all(|((key, value), (name, text))| {
                        key.cast_exact::<PyString>()
                            .is_ok_and(|key| key.to_str().is_ok_and(|key| key == name))
                            && is_unchanged(&value, text)
                    })
        }
        Some(b'[') => {
            let Ok(list) = object.cast_exact::<PyList>() else {
                return false;
            };
            let Some(elements) = json::elements(text) else {
                return false;
            };
            let elements: Vec<&str> = elements.collect();
            elements.len() == list.len()
                && list
                    .iter()
                    .zip(elements)
                    .all(|(item, text)| is_unchanged(&item, text))
        }
        _ => is_same_scalar(object, text),
    }
}

/// The entries of an object as a dict would hold them: a later duplicate takes
/// the place of the first.
fn last_entries(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let mut entries: Vec<(Cow<'_, str>, &str)> = Vec::new();
    for (name, value) in json::entries(text)? {
        match entries.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => entries.push((name, value)),
        }
    }
    Some(entries)
}

fn is_same_scalar(object: &Bound<'_, PyAny>, text: &str) -> bool {
    let mut scratch = String::new();
    match json::decode(text, &mut scratch) {
        Ok(ValueRef::Null) => object.is_none(),
        Ok(ValueRef::Bool(value)) => object
            .cast_exact::<PyBool>()
            .is_ok_and(|object| object.is_true() == value),
        Ok(ValueRef::Int(value)) => object
            .cast_exact::<PyInt>()
            .is_ok_and(|object| object.extract::<i64>().is_ok_and(|object| object == value)),
        Ok(ValueRef::Float(value)) => object
            .cast_exact::<PyFloat>()
            .is_ok_and(|object| object.value().to_bits() == value.to_bits()),
        Ok(ValueRef::Str(value)) => object
            .cast_exact::<PyString>()
            .is_ok_and(|object| object.to_str().is_ok_and(|object| object == value)),
        Ok(ValueRef::BigInt(digits)) => object
            .cast_exact::<PyInt>()
            .is_ok_and(|object| digits_of(object).is_some_and(|object| object == digits)),
        _ => false,
    }
}
