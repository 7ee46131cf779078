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
    write_over(object, text, out, 0)
        .map(drop)
        .map_err(|refusal| {
            out.truncate(start);
            refusal.into_error()
        })
}

/// Writes the object; whether it still is what the text says.
fn write_over(
    object: &Bound<'_, PyAny>,
    text: &str,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<bool, Refusal> {
    let start = out.len();
    let bare = text.trim_start_matches([' ', '\n', '\r', '\t']);
    let is_unchanged = match bare.as_bytes().first() {
        Some(b'{') if object.is_exact_instance_of::<PyDict>() => write_dict_over(
            object.cast_exact::<PyDict>().map_err(not_reached)?,
            text,
            out,
            depth,
        )?,
        Some(b'[') if object.is_exact_instance_of::<PyList>() => write_list_over(
            object.cast_exact::<PyList>().map_err(not_reached)?,
            text,
            out,
            depth,
        )?,
        _ => {
            let is_same = is_same_scalar(object, bare);
            if !is_same {
                write(object, out, depth)?;
            }
            is_same
        }
    };
    if is_unchanged {
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
    }
    Ok(is_unchanged)
}

fn not_reached<E>(_: E) -> Refusal {
    Refusal::new("the object changed its type while it was written")
}

/// Writes a dict next to the entries of its text, which mostly come in the same
/// order; where they don't, they are looked up.
fn write_dict_over(
    dict: &Bound<'_, PyDict>,
    text: &str,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<bool, Refusal> {
    let start = out.len();
    let mut in_order = json::entries(text);
    let is_unchanged = write_entries_over(dict, text, &mut in_order, None, out, depth)?;
    if in_order.is_none_or(|mut rest| rest.next().is_none()) {
        return Ok(is_unchanged);
    }
    // The text has more entries than the dict: some were removed, or duplicates
    // make it look so.
    let last = last_entries(text);
    if last.len() > dict.len() {
        return Ok(false);
    }
    out.truncate(start);
    let mut none = None::<std::iter::Empty<(Cow<'_, str>, &str)>>;
    write_entries_over(dict, text, &mut none, Some(last), out, depth)
}

/// Writes a dict next to entries in order, until one is another's, or by name.
fn write_entries_over<'a>(
    dict: &Bound<'_, PyDict>,
    text: &'a str,
    in_order: &mut Option<impl Iterator<Item = (Cow<'a, str>, &'a str)>>,
    mut by_name: Option<Vec<(Cow<'a, str>, &'a str)>>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<bool, Refusal> {
    let mut is_unchanged = true;
    out.push(b'{');
    for (index, (key, value)) in dict.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let name = name_of(&key)?;
        json::write_key(name, out);
        let next = in_order.as_mut().and_then(Iterator::next);
        let origin = match (next, &mut by_name) {
            (Some((known, text)), None) if known == name => Some(text),
            (_, by_name) => {
                let entries = by_name.get_or_insert_with(|| last_entries(text));
                *in_order = None;
                is_unchanged &= entries.get(index).is_some_and(|(known, _)| *known == name);
                entries
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, text)| *text)
            }
        };
        let written = match origin {
            Some(text) => write_over(&value, text, out, depth + 1),
            None => write(&value, out, depth + 1).map(|()| false),
        };
        is_unchanged &= written.map_err(|refusal| refusal.at(Step::Name(name.into())))?;
    }
    out.push(b'}');
    // Fewer entries in the dict than in the text are seen by the caller, or here.
    Ok(is_unchanged && by_name.is_none_or(|entries| entries.len() == dict.len()))
}

fn write_list_over(
    list: &Bound<'_, PyList>,
    text: &str,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<bool, Refusal> {
    let mut elements = json::elements(text);
    let mut is_unchanged = true;
    out.push(b'[');
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let written = match elements.as_mut().and_then(Iterator::next) {
            Some(text) => write_over(&item, text, out, depth + 1),
            None => write(&item, out, depth + 1).map(|()| false),
        };
        is_unchanged &= written.map_err(|refusal| refusal.at(Step::Index(index as i64)))?;
    }
    out.push(b']');
    Ok(is_unchanged && elements.is_none_or(|mut rest| rest.next().is_none()))
}

/// The entries of an object as a dict would hold them: a later duplicate takes
/// the place of the first.
fn last_entries(text: &str) -> Vec<(Cow<'_, str>, &str)> {
    let mut entries: Vec<(Cow<'_, str>, &str)> = Vec::new();
    for (name, value) in json::entries(text).into_iter().flatten() {
        match entries.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => entries.push((name, value)),
        }
    }
    entries
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
