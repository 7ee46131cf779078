//! A value as JSON text.
//!
//! The key decision: **what is written reads back as the same value of the same
//! kind.** A float always has a fraction or an exponent (`1.0`, not `1`), in the
//! fewest digits that give it back; a value for which JSON has no text is an
//! error, never `null`.

use super::{error::WriteError, words};
use crate::ValueRef;

/// Appends `value` as JSON. JSON texts and big integers are appended as they
/// are; texts are escaped only where JSON demands it.
///
/// # Errors
/// If the value is NaN, an infinity or bytes; `out` is then as it was.
///
/// # Examples
/// ```
/// use headwater_core::{ValueRef, json::write_value};
///
/// let mut out = Vec::new();
/// write_value(ValueRef::Float(1.0), &mut out)?;
/// write_value(ValueRef::Str(" é\n"), &mut out)?;
/// assert_eq!(out, r#"1.0" é\n""#.as_bytes());
/// # Ok::<(), headwater_core::json::WriteError>(())
/// ```
pub fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Bool(true) => out.extend_from_slice(b"true"),
        ValueRef::Bool(false) => out.extend_from_slice(b"false"),
        ValueRef::Int(value) => {
            out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
        ValueRef::Float(value) if value.is_finite() => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        }
        ValueRef::Float(_) => {
            return Err(WriteError {
                reason: "NaN or infinity cannot be written as JSON",
            });
        }
        ValueRef::Str(value) => write_string(value, out),
        ValueRef::BigInt(text) | ValueRef::Json(text) => out.extend_from_slice(text.as_bytes()),
        ValueRef::Bytes(_) => {
            return Err(WriteError {
                reason: "bytes cannot be written as JSON",
            });
        }
    }
    Ok(())
}

/// Appends `name` as a key: in quotes, escaped, and with the colon.
pub fn write_key(name: &str, out: &mut Vec<u8>) {
    write_string(name, out);
    out.push(b':');
}

fn write_string(value: &str, out: &mut Vec<u8>) {
    let bytes = value.as_bytes();
    out.push(b'"');
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        let stops = words::string_stops(words::word(bytes, at));
        if stops == 0 {
            at += 8;
            continue;
        }
        at += words::first(stops);
        // The padding after the end stops too.
        let Some(byte) = bytes.get(at) else { break };
        out.extend_from_slice(&bytes[done..at]);
        write_escape(*byte, out);
        at += 1;
        done = at;
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x8 => b'b',
        0xc => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_python_would_read_them_back() {
        let check = |value: ValueRef<'_>, text: &str| {
            let mut out = b"x".to_vec();
            assert_eq!(write_value(value, &mut out), Ok(()));
            assert_eq!(String::from_utf8_lossy(&out[1..]), text);
        };
        check(ValueRef::Null, "null");
        check(ValueRef::Bool(true), "true");
        check(ValueRef::Int(i64::MIN), "-9223372036854775808");
        check(ValueRef::Float(1.0), "1.0");
        check(ValueRef::Float(-0.0), "-0.0");
        check(ValueRef::Float(0.1), "0.1");
        check(
            ValueRef::BigInt("18446744073709551616"),
            "18446744073709551616",
        );
        check(ValueRef::Json("[1, 2]"), "[1, 2]");
        check(
            ValueRef::Str("a\"\\/\u{0}\u{1f}\u{7f}é\u{8}\u{c}\n\r\t"),
            "\"a\\\"\\\\/\\u0000\\u001f\u{7f}é\\b\\f\\n\\r\\t\"",
        );
        check(
            ValueRef::Str("sixteen bytes on sixteen bytes on!"),
            "\"sixteen bytes on sixteen bytes on!\"",
        );
    }

    #[test]
    fn a_value_without_json_text_leaves_the_output_alone() {
        for value in [
            ValueRef::Float(f64::NAN),
            ValueRef::Float(f64::INFINITY),
            ValueRef::Bytes(b""),
        ] {
            let mut out = b"x".to_vec();
            assert!(write_value(value, &mut out).is_err());
            assert_eq!(out, b"x");
        }
    }
}
