//! Texts with backslashes.
//!
//! A lone surrogate (`"\ud800"`) is JSON but not text. The scan accepts it, as
//! other parsers do that skip the string; whoever needs the text decides: a
//! value is an error, a key equals no name.

use std::borrow::Cow;

/// Appends the text of `raw`, a validated string without its quotes, to `out`.
/// Returns where the first lone surrogate stands, if there is one; U+FFFD is
/// written in its place.
pub(super) fn unescape(raw: &str, out: &mut String) -> Option<usize> {
    let mut lone = None;
    let mut done = 0;
    while let Some(offset) = memchr::memchr(b'\\', &raw.as_bytes()[done..]) {
        let at = done + offset;
        out.push_str(&raw[done..at]);
        let (character, len) = escaped(&raw.as_bytes()[at..]);
        if character.is_none() {
            lone.get_or_insert(at);
        }
        out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        done = at + len;
    }
    out.push_str(&raw[done..]);
    lone
}

/// The character of the escape that `raw` starts with and the escape's length;
/// no character for a lone surrogate.
fn escaped(raw: &[u8]) -> (Option<char>, usize) {
    let character = match raw.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return escaped_unicode(raw),
        Some(&other) => char::from(other),
        None => return (None, 1),
    };
    (Some(character), 2)
}

fn escaped_unicode(raw: &[u8]) -> (Option<char>, usize) {
    let unit = code_unit(raw);
    if !(0xd800..0xdc00).contains(&unit) {
        return (char::from_u32(unit), 6);
    }
    let low = raw
        .get(6..)
        .filter(|rest| rest.starts_with(b"\\u"))
        .map_or(0, code_unit);
    if !(0xdc00..0xe000).contains(&low) {
        return (None, 6);
    }
    (
        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)),
        12,
    )
}

/// The number in `\uXXXX`.
fn code_unit(raw: &[u8]) -> u32 {
    let digits = raw.iter().skip(2).take(4);
    digits.fold(0, |unit, digit| {
        unit << 4 | char::from(*digit).to_digit(16).unwrap_or(0)
    })
}

/// Whether the key `raw`, without its quotes, is `name`.
#[inline]
pub(super) fn key_is(raw: &str, name: &str) -> bool {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return raw == name;
    }
    let mut key = String::with_capacity(raw.len());
    unescape(raw, &mut key).is_none() && key == name
}

/// The text of a key, without its quotes; U+FFFD for a lone surrogate.
pub(super) fn key_text(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut key = String::with_capacity(raw.len());
    unescape(raw, &mut key);
    Cow::Owned(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_characters_and_lone_surrogates_are_reported() {
        let check = |raw: &str, text: &str, lone: Option<usize>| {
            let mut out = String::new();
            assert_eq!(unescape(raw, &mut out), lone, "{raw}");
            assert_eq!(out, text, "{raw}");
        };
        check(r#"a\"\\\/\b\f\n\r\tz"#, "a\"\\/\u{8}\u{c}\n\r\tz", None);
        check(r"\u0041\u00e9é\uD83D\ude00", "Aéé😀", None);
        check(r"x\ud83dA", "x\u{fffd}A", Some(1));
        check(r"\ud83d\u0041", "\u{fffd}A", Some(0));
        check(r"\ude00\ud83d", "\u{fffd}\u{fffd}", Some(0));
        check(r"\ud83d\ud83d\ude00", "\u{fffd}😀", Some(0));
        check(r"\ud83d\n", "\u{fffd}\n", Some(0));
    }

    #[test]
    fn a_key_with_a_lone_surrogate_equals_no_name() {
        assert!(key_is(r"\u0061", "a"));
        assert!(!key_is(r"\ud800", "\u{fffd}"));
        assert!(key_is(r"\ufffd", "\u{fffd}"));
    }
}
