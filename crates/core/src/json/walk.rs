//! The entries of an object, the elements of an array, and one path, in text
//! that was validated before.
//!
//! These serve code that asks for a name at run time (a Python function that
//! indexes a row), where a [`Locator`](super::Locator) would have nothing to
//! learn. They use the strict scanner all the same: text that is not JSON after
//! all ends the walk, and never makes it panic.

use super::{
    escape::{key_is, key_text},
    scan,
};
use crate::{FieldPath, Step};
use std::borrow::Cow;

/// An entry's key without quotes, still escaped, and its value's text, with the
/// bytes where the key's opening quote stands and where the value starts.
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    pub(super) key_start: usize,
    pub(super) value_start: usize,
}

/// The parts of an object or array in order.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    is_first: bool,
}

impl<'a> Walk<'a> {
    /// A walk of `text` if it starts with `bracket`.
    fn new(text: &'a str, bracket: u8) -> Option<Self> {
        let at = scan::whitespace(text.as_bytes(), 0);
        let opens = text.as_bytes().get(at) == Some(&bracket);
        opens.then_some(Walk {
            text,
            at: at + 1,
            is_first: true,
        })
    }

    /// The byte where the next key or element starts, if there is one.
    fn part(&mut self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let at = scan::whitespace(bytes, self.at);
        match bytes.get(at)? {
            b'}' | b']' => None,
            b',' if !self.is_first => Some(scan::whitespace(bytes, at + 1)),
            _ if self.is_first => {
                self.is_first = false;
                Some(at)
            }
            _ => None,
        }
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let bytes = self.text.as_bytes();
        let key_start = self.part()?;
        let key_end = scan::key_string(bytes, key_start).ok()?;
        let value_start = scan::colon(bytes, key_end).ok()?;
        self.at = scan::value(bytes, value_start, 0).ok()?;
        Some(Entry {
            key: &self.text[key_start + 1..key_end - 1],
            value: &self.text[value_start..self.at],
            key_start,
            value_start,
        })
    }

    fn element(&mut self) -> Option<&'a str> {
        let start = self.part()?;
        self.at = scan::value(self.text.as_bytes(), start, 0).ok()?;
        Some(&self.text[start..self.at])
    }
}

/// The entries of an object with their places; see [`entries`].
pub(super) fn raw_entries(text: &str) -> Option<impl Iterator<Item = Entry<'_>>> {
    let mut walk = Walk::new(text, b'{')?;
    Some(std::iter::from_fn(move || walk.entry()))
}

/// The entries of an object in order, duplicates included: the key as text and
/// the value's JSON text. `None` if `text` is not an object.
///
/// `text` is one validated value, with or without whitespace around it. A lone
/// surrogate in a key comes as U+FFFD.
///
/// # Examples
/// ```
/// let entries = headwater_core::json::entries(r#"{"a": 1, "\u0062": [2]}"#);
/// let entries: Vec<_> = entries.into_iter().flatten().collect();
/// assert_eq!(entries, [("a".into(), "1"), ("b".into(), "[2]")]);
/// ```
pub fn entries(text: &str) -> Option<impl Iterator<Item = (Cow<'_, str>, &str)>> {
    Some(raw_entries(text)?.map(|entry| (key_text(entry.key), entry.value)))
}

/// The elements of an array in order, each as its JSON text. `None` if `text`,
/// one validated value, is not an array.
///
/// # Examples
/// ```
/// let elements = headwater_core::json::elements(r#"[1, "b", []]"#);
/// let elements: Vec<_> = elements.into_iter().flatten().collect();
/// assert_eq!(elements, ["1", "\"b\"", "[]"]);
/// ```
pub fn elements(text: &str) -> Option<impl Iterator<Item = &str>> {
    let mut walk = Walk::new(text, b'[')?;
    Some(std::iter::from_fn(move || walk.element()))
}

/// Follows `path` inside `text`, one validated value. The value's JSON text, or
/// `None` if it is missing; the last of duplicate keys counts.
///
/// # Examples
/// ```
/// use headwater_core::{FieldPath, Step, json};
///
/// let path = FieldPath(vec![Step::Name("laps".into()), Step::Index(-1)]);
/// assert_eq!(json::find(r#"{"laps": [91.5, 90.8]}"#, &path), Some("90.8"));
/// ```
pub fn find<'a>(text: &'a str, path: &FieldPath) -> Option<&'a str> {
    let mut value = text.trim_matches(|character| matches!(character, ' ' | '\n' | '\r' | '\t'));
    for step in &path.0 {
        value = match step {
            Step::Name(name) => {
                raw_entries(value)?
                    .filter(|entry| key_is(entry.key, name))
                    .last()?
                    .value
            }
            Step::Index(index) => {
                let mut index = *index;
                if index < 0 {
                    index += elements(value)?.count() as i64;
                }
                elements(value)?.nth(usize::try_from(index).ok()?)?
            }
        };
    }
    Some(value)
}
