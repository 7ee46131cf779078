//! The strict scanner: where a value ends, and whether it is JSON (RFC 8259).
//!
//! The key decision: **what is skipped is read as strictly as what is wanted**,
//! so there is one scanner and no lenient twin. It is fast because it reads
//! words instead of bytes (`words`), and because it never recurses: an object or
//! array that nobody asked into is one loop.
//!
//! UTF-8 is the caller's to check. Every position where a value starts or ends
//! stands at an ASCII byte, so texts can be cut there.

use super::{
    error::JsonError,
    words::{first, number_stops, string_stops, word},
};

/// The most levels of objects and arrays. `serde_json` and others refuse the
/// 128th, so that nesting cannot exhaust anybody's stack.
pub(super) const DEPTH_MAX: u32 = 127;

/// The byte after what was scanned.
pub(super) type Scanned = Result<usize, JsonError>;

/// The bytes that are whitespace in JSON.
#[inline(always)]
pub(super) fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The first byte at or after `at` that is not whitespace.
#[inline(always)]
pub(super) fn whitespace(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && is_whitespace(text[at]) {
        at += 1;
    }
    at
}

/// The end of a string, closing quote included; `at` is after the opening one.
#[inline(always)]
pub(super) fn string(text: &[u8], mut at: usize) -> Scanned {
    loop {
        at = string_run(text, at);
        if text.get(at) == Some(&b'"') {
            return Ok(at + 1);
        }
        at = escape(text, at)?;
    }
}

/// The first byte from `at` that is a quote, backslash or control character, or
/// is after the end.
#[inline(always)]
pub(super) fn string_run(text: &[u8], mut at: usize) -> usize {
    loop {
        let stops = string_stops(word(text, at));
        if stops != 0 {
            return at + first(stops);
        }
        at += 8;
    }
}

/// The end of an escape at `at`, if that is one.
#[inline(never)]
fn escape(text: &[u8], at: usize) -> Scanned {
    match text.get(at) {
        None => return Err(JsonError::new("the text ends inside a string", text.len())),
        Some(b'\\') => {}
        Some(_) => return Err(JsonError::new("a control character inside a string", at)),
    }
    match text.get(at + 1) {
        None => Err(JsonError::new("the text ends inside a string", text.len())),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => Err(JsonError::new(
                "expected four hexadecimal digits after `\\u`",
                at,
            )),
        },
        Some(_) => Err(JsonError::new("an unknown escape inside a string", at)),
    }
}

/// The end of a number that starts at `at` with `-` or a digit.
#[inline(always)]
pub(super) fn number(text: &[u8], at: usize) -> Scanned {
    let start = at + usize::from(text.get(at) == Some(&b'-'));
    let bytes = word(text, start);
    let stops = number_stops(bytes);
    let integer_len = first(stops);
    let is_padded = (bytes as u8 == b'0') & (integer_len > 1);
    if is_padded | (integer_len == 0) {
        return Err(JsonError::new("a malformed number", at));
    }
    let mut len = integer_len;
    if integer_len < 8 && text.get(start + len) == Some(&b'.') {
        len = first(stops & (stops - 1));
        if len == integer_len + 1 && len < 8 {
            return Err(JsonError::new(
                "expected a digit after the decimal point",
                start + len,
            ));
        }
    }
    let mut end = start + len;
    if len == 8 {
        // Timestamps and coordinates end in the next word; a point there is rare.
        let more = first(number_stops(word(text, end)));
        end += more;
        if more == 8 || (integer_len == 8 && text.get(end) == Some(&b'.')) || integer_len == 7 {
            return long_number(text, start);
        }
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        return long_number(text, start);
    }
    Ok(end)
}

/// [`number`] without its sign, for long ones and those with an exponent.
#[inline(never)]
fn long_number(text: &[u8], start: usize) -> Scanned {
    let mut at = digits(text, start, "a malformed number")?;
    if text.get(at) == Some(&b'.') {
        at = digits(text, at + 1, "expected a digit after the decimal point")?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let is_signed = matches!(text.get(at + 1), Some(b'+' | b'-'));
        at = digits(
            text,
            at + 1 + usize::from(is_signed),
            "expected a digit in the exponent",
        )?;
    }
    Ok(at)
}

/// The end of one or more digits.
fn digits(text: &[u8], start: usize, reason: &'static str) -> Scanned {
    let mut at = start;
    loop {
        let len = first(number_stops(word(text, at)));
        at += len;
        if len < 8 {
            break;
        }
    }
    if at == start {
        Err(JsonError::new(reason, at))
    } else {
        Ok(at)
    }
}

#[inline(always)]
fn literal(text: &[u8], at: usize, word: &'static [u8; 4]) -> Scanned {
    match text.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) if bytes == word => Ok(at + 4),
        _ => Err(JsonError::new("expected a value", at)),
    }
}

/// The end of a string, number, boolean or null.
#[inline(always)]
fn scalar(text: &[u8], at: usize) -> Scanned {
    match text.get(at) {
        Some(b'"') => string(text, at + 1),
        Some(b'-' | b'0'..=b'9') => number(text, at),
        Some(b't') => literal(text, at, b"true"),
        // The `f` before `alse` is what brought us here.
        Some(b'f') => literal(text, at + 1, b"alse"),
        Some(b'n') => literal(text, at, b"null"),
        None => Err(JsonError::new(
            "the text ends where a value is expected",
            at,
        )),
        Some(_) => Err(JsonError::new("expected a value", at)),
    }
}

/// The end of any value that starts at `at`; `depth` containers are around it.
#[inline(always)]
pub(super) fn value(text: &[u8], at: usize, depth: u32) -> Scanned {
    match text.get(at) {
        Some(b'{' | b'[') => container(text, at, depth),
        _ => scalar(text, at),
    }
}

/// The end of an object or array. It keeps what it is inside of as bits, an
/// object as 1, because [`DEPTH_MAX`] of them fit in one integer.
#[inline(never)]
fn container(text: &[u8], mut at: usize, depth: u32) -> Scanned {
    let mut kinds = 0u128;
    let mut level = depth;
    loop {
        if let Some(bracket @ (b'{' | b'[')) = text.get(at) {
            at = open(text, at, level)?;
            level += 1;
            kinds = kinds << 1 | u128::from(*bracket == b'{');
            // An empty one is closed below.
            if text.get(at) != Some(&(bracket + 2)) {
                if kinds & 1 == 1 {
                    at = key(text, at)?;
                }
                continue;
            }
        } else {
            at = scalar(text, at)?;
        }
        loop {
            at = whitespace(text, at);
            match (text.get(at), kinds & 1) {
                (Some(b','), is_object) => {
                    at = whitespace(text, at + 1);
                    if is_object == 1 {
                        at = key(text, at)?;
                    }
                    break;
                }
                (Some(b'}'), 1) | (Some(b']'), 0) => {
                    at += 1;
                    level -= 1;
                    kinds >>= 1;
                    if level == depth {
                        return Ok(at);
                    }
                }
                (_, is_object) => return Err(expected_end(text, at, is_object == 1)),
            }
        }
    }
}

/// The first byte inside the object or array that opens at `at` and is not
/// whitespace; `depth` others are around it.
#[inline(always)]
pub(super) fn open(text: &[u8], at: usize, depth: u32) -> Scanned {
    if depth == DEPTH_MAX {
        return Err(JsonError::new(
            "more than 127 levels of objects and arrays",
            at,
        ));
    }
    Ok(whitespace(text, at + 1))
}

/// The error where a comma or a closing bracket is missing.
#[cold]
pub(super) fn expected_end(text: &[u8], at: usize, is_object: bool) -> JsonError {
    let reason = match (at < text.len(), is_object) {
        (false, true) => "the text ends inside an object",
        (false, false) => "the text ends inside an array",
        (true, true) => "expected `,` or `}`",
        (true, false) => "expected `,` or `]`",
    };
    JsonError::new(reason, at)
}

/// The end of a key's closing quote.
#[inline(always)]
pub(super) fn key_string(text: &[u8], at: usize) -> Scanned {
    match text.get(at) {
        Some(b'"') => string(text, at + 1),
        _ => Err(JsonError::new("expected a key in double quotes", at)),
    }
}

/// Where the value starts whose key's closing quote ends at `at`.
#[inline(always)]
pub(super) fn colon(text: &[u8], at: usize) -> Scanned {
    let at = whitespace(text, at);
    match text.get(at) {
        Some(b':') => Ok(whitespace(text, at + 1)),
        _ => Err(JsonError::new("expected `:` after a key", at)),
    }
}

#[inline(always)]
fn key(text: &[u8], at: usize) -> Scanned {
    colon(text, key_string(text, at)?)
}
