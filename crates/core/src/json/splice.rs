//! Changed fields, written into the old text.
//!
//! The key decision: **bytes that no edit names are copied, never rewritten**, so
//! number spellings, key order, whitespace and unknown fields survive, and the
//! cost is that of a copy. The caller located the fields before, so setting one
//! needs no second scan; only a removal walks the object, because every
//! duplicate of the name has to go.

use super::{
    error::WriteError,
    escape::key_is,
    scan,
    walk::raw_entries,
    write::{write_key, write_value},
};
use crate::{Span, ValueRef};

/// One change to an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edit<'a> {
    /// Gives a field a value.
    Set {
        /// The field, unescaped.
        name: &'a str,
        /// Where its value stands in the text, as a [`Locator`](super::Locator)
        /// said, or [`Span::NULL`] to append the field.
        span: Span,
        /// The new value.
        value: ValueRef<'a>,
    },
    /// Takes a field away, with all its duplicates.
    Remove {
        /// The field, unescaped.
        name: &'a str,
    },
}

impl<'a> Edit<'a> {
    fn name(&self) -> &'a str {
        match self {
            Edit::Set { name, .. } | Edit::Remove { name } => name,
        }
    }
}

/// Appends `text` with `edits` applied in order; every other byte stays. New
/// fields follow the last field, in the order of the edits.
///
/// `text` is a validated JSON object, with or without whitespace around it. Of
/// several edits of one field the last decides; a field that is removed and then
/// set is appended.
///
/// # Errors
/// If `text` is not an object or a value cannot be written; `out` is then as it
/// was.
///
/// # Panics
/// If a span is not inside `text`.
///
/// # Examples
/// ```
/// use headwater_core::{Span, ValueRef, json::{Edit, splice}};
///
/// let row = r#"{"speed": 10.0, "lap": 3}"#;
/// let mut out = Vec::new();
/// let kmh = Edit::Set { name: "kmh", span: Span::NULL, value: ValueRef::Float(36.0) };
/// splice(row, &[kmh, Edit::Remove { name: "speed" }], &mut out)?;
/// assert_eq!(out, br#"{"lap": 3,"kmh":36.0}"#);
/// # Ok::<(), headwater_core::json::WriteError>(())
/// ```
pub fn splice(text: &str, edits: &[Edit<'_>], out: &mut Vec<u8>) -> Result<(), WriteError> {
    let start = out.len();
    let spliced = splice_object(text, edits, out);
    if spliced.is_err() {
        out.truncate(start);
    }
    spliced
}

fn splice_object(text: &str, edits: &[Edit<'_>], out: &mut Vec<u8>) -> Result<(), WriteError> {
    let bytes = text.as_bytes();
    let open = scan::whitespace(bytes, 0);
    if bytes.get(open) != Some(&b'{') {
        return Err(WriteError {
            reason: "the row is not a JSON object",
        });
    }
    out.reserve(text.len() + 32 * edits.len());
    let (mut copied, mut has_fields) =
        if edits.iter().any(|edit| matches!(edit, Edit::Remove { .. })) {
            remove_and_replace(text, edits, out)?
        } else {
            let has_fields = bytes.get(scan::whitespace(bytes, open + 1)) != Some(&b'}');
            (replace(text, edits, out)?, has_fields)
        };
    for (index, edit) in edits.iter().enumerate() {
        let Edit::Set { name, value, .. } = *edit else {
            continue;
        };
        if effect(edits, index) != Effect::Append {
            continue;
        }
        let end = end_of_fields(bytes);
        if copied < end {
            out.extend_from_slice(&bytes[copied..end]);
            copied = end;
        }
        if has_fields {
            out.push(b',');
        }
        has_fields = true;
        write_key(name, out);
        write_value(value, out)?;
    }
    out.extend_from_slice(&bytes[copied..]);
    Ok(())
}

/// What an edit does once the others are known.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    /// A later edit of the same field decides.
    Nothing,
    Replace,
    Append,
    Remove,
}

#[inline]
fn effect(edits: &[Edit<'_>], index: usize) -> Effect {
    let name = edits[index].name();
    if edits[index + 1..].iter().any(|later| later.name() == name) {
        return Effect::Nothing;
    }
    match edits[index] {
        Edit::Remove { .. } => Effect::Remove,
        Edit::Set { span, .. }
            if span.is_null() || is_removed(edits, |removed| removed == name) =>
        {
            Effect::Append
        }
        Edit::Set { .. } => Effect::Replace,
    }
}

fn is_removed(edits: &[Edit<'_>], is_name: impl Fn(&str) -> bool) -> bool {
    edits
        .iter()
        .any(|edit| matches!(edit, Edit::Remove { name } if is_name(name)))
}

/// The byte after the last field, or after the opening brace if there is none.
fn end_of_fields(bytes: &[u8]) -> usize {
    let before = |end: usize| {
        let is_solid = |byte: &u8| !scan::is_whitespace(*byte);
        bytes[..end].iter().rposition(is_solid).unwrap_or(0)
    };
    before(before(bytes.len())) + 1
}

/// Copies `text` up to the last replaced value, with the values replaced.
/// Returns how much of `text` is done.
fn replace(text: &str, edits: &[Edit<'_>], out: &mut Vec<u8>) -> Result<usize, WriteError> {
    let mut copied = 0;
    loop {
        // Edits are few, so the next one in the text is looked for each time.
        let mut next: Option<(Span, ValueRef<'_>)> = None;
        for (index, edit) in edits.iter().enumerate() {
            let Edit::Set { span, value, .. } = *edit else {
                continue;
            };
            if (span.start as usize) < copied || effect(edits, index) != Effect::Replace {
                continue;
            }
            if next.is_none_or(|(first, _)| span.start < first.start) {
                next = Some((span, value));
            }
        }
        let Some((span, value)) = next else {
            return Ok(copied);
        };
        out.extend_from_slice(&text.as_bytes()[copied..span.start as usize]);
        write_value(value, out)?;
        copied = span.start as usize + span.len as usize;
    }
}

/// Copies `text` up to its last field, without the removed fields and with the
/// values replaced. Returns how much of `text` is done and whether a field is
/// left.
fn remove_and_replace(
    text: &str,
    edits: &[Edit<'_>],
    out: &mut Vec<u8>,
) -> Result<(usize, bool), WriteError> {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut has_fields = false;
    let mut previous_end = None;
    for entry in raw_entries(text).into_iter().flatten() {
        let end = entry.value_start + entry.value.len();
        if is_removed(edits, |name| key_is(entry.key, name)) {
            // Before the first field that is left, the comma after goes with a
            // removed field, later the comma before.
            let start = match previous_end {
                None => entry.key_start,
                Some(previous_end) if has_fields => previous_end,
                Some(_) => copied,
            };
            out.extend_from_slice(&bytes[copied..start]);
            copied = end;
        } else {
            if !has_fields && previous_end.is_some() {
                copied = entry.key_start;
            }
            let replacing = edits
                .iter()
                .enumerate()
                .rev()
                .find_map(|(index, edit)| match *edit {
                    Edit::Set { span, value, .. }
                        if span.start as usize == entry.value_start
                            && effect(edits, index) == Effect::Replace =>
                    {
                        Some(value)
                    }
                    _ => None,
                });
            if let Some(value) = replacing {
                out.extend_from_slice(&bytes[copied..entry.value_start]);
                write_value(value, out)?;
                copied = end;
            }
            has_fields = true;
        }
        previous_end = Some(end);
    }
    Ok((copied, has_fields))
}
