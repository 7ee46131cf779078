//! What `serde_json` says.
//!
//! The accepted language is that of `serde_json::from_slice::<IgnoredAny>` on
//! UTF-8 text, with the depth limit of its `Value`. `Value` also refuses lone
//! surrogates, so for acceptance the surrogates are replaced first by another
//! escape: where one is legal, the other is too.

use headwater_core::{FieldPath, Step};
use serde_json::Value;

/// Whether `text` is JSON.
pub(crate) fn accepts(text: &[u8]) -> bool {
    serde_json::from_slice::<Value>(&without_surrogates(text)).is_ok()
}

fn without_surrogates(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for at in 0..text.len() {
        if let [
            b'\\',
            b'u',
            b'd' | b'D',
            b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F',
            a,
            b,
            ..,
        ] = text[at..]
            && a.is_ascii_hexdigit()
            && b.is_ascii_hexdigit()
        {
            text[at + 2..at + 6].copy_from_slice(b"0041");
        }
    }
    text
}

/// The value of `text`, unless it has a lone surrogate.
pub(crate) fn value(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// Follows `path`.
pub(crate) fn find<'a>(value: &'a Value, path: &FieldPath) -> Option<&'a Value> {
    path.0
        .iter()
        .try_fold(value, |value, step| match (value, step) {
            (Value::Object(object), Step::Name(name)) => object.get(&**name),
            (Value::Array(array), Step::Index(index)) => {
                let from_end = if *index < 0 { array.len() as i64 } else { 0 };
                array.get(usize::try_from(index + from_end).ok()?)
            }
            _ => None,
        })
}
