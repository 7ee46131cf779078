//! The value of a located text.
//!
//! The key decision: **a number's kind comes from how it is written**, as in
//! Python: digits alone are an integer of any size, a fraction or an exponent
//! makes a float. `1.0` and `1` stay different kinds, and no integer is rounded.

use super::{error::JsonError, escape::unescape, scan};
use crate::ValueRef;

/// Decodes one validated value. Texts without escapes borrow from `text`, the
/// others from `scratch`, whose contents are replaced.
///
/// # Errors
/// If a text has a lone surrogate, or a float is beyond the range of doubles,
/// or `text` is not JSON after all.
///
/// # Examples
/// ```
/// use headwater_core::{ValueRef, json::decode};
///
/// let scratch = &mut String::new();
/// assert_eq!(decode("-0", scratch)?, ValueRef::Int(0));
/// assert_eq!(decode("1e2", scratch)?, ValueRef::Float(100.0));
/// assert_eq!(decode(r#""\u0041""#, scratch)?, ValueRef::Str("A"));
/// # Ok::<(), headwater_core::json::JsonError>(())
/// ```
#[inline]
pub fn decode<'a>(text: &'a str, scratch: &'a mut String) -> Result<ValueRef<'a>, JsonError> {
    match text.as_bytes().first() {
        Some(b'"') => string(text, scratch),
        Some(b'-' | b'0'..=b'9') => number(text),
        Some(b'{' | b'[') => Ok(ValueRef::Json(text)),
        _ => match text {
            "null" => Ok(ValueRef::Null),
            "true" => Ok(ValueRef::Bool(true)),
            "false" => Ok(ValueRef::Bool(false)),
            _ => {
                let trimmed = text.trim_start_matches([' ', '\n', '\r', '\t']);
                if trimmed.len() == text.len() {
                    return Err(JsonError::new("expected a value", 0));
                }
                decode(trimmed, scratch)
            }
        },
    }
}

#[inline]
fn string<'a>(text: &'a str, scratch: &'a mut String) -> Result<ValueRef<'a>, JsonError> {
    // One look for what ends the string finds the first escape as well.
    let stop = scan::string_run(text.as_bytes(), 1);
    if text.as_bytes().get(stop) == Some(&b'"') {
        return Ok(ValueRef::Str(&text[1..stop]));
    }
    let end = scan::string(text.as_bytes(), stop)?;
    scratch.clear();
    match unescape(&text[1..end - 1], scratch) {
        None => Ok(ValueRef::Str(scratch)),
        Some(at) => Err(JsonError::new("a lone surrogate inside a string", at + 1)),
    }
}

/// The powers of ten that a double holds exactly and that divide a number of 15
/// digits without a second rounding.
const POWERS_OF_TEN: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// A number in one loop if it has at most 15 digits and no exponent. Digits and
/// power of ten are then exact doubles, and one division rounds correctly.
#[inline]
fn number(text: &str) -> Result<ValueRef<'_>, JsonError> {
    let (is_negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 16 {
        return long_number(text);
    }
    let mut mantissa = 0i64;
    let mut point = None;
    for (index, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + i64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(index),
            _ => return long_number(text),
        }
    }
    match point {
        None => Ok(ValueRef::Int(if is_negative {
            -mantissa
        } else {
            mantissa
        })),
        Some(point) if point == 0 || point + 1 == digits.len() => long_number(text),
        Some(point) => {
            let float = mantissa as f64 / POWERS_OF_TEN[digits.len() - 1 - point];
            Ok(ValueRef::Float(if is_negative { -float } else { float }))
        }
    }
}

#[inline(never)]
fn long_number(text: &str) -> Result<ValueRef<'_>, JsonError> {
    let text = text.trim_end_matches([' ', '\n', '\r', '\t']);
    let end = scan::number(text.as_bytes(), 0)?;
    if end != text.len() {
        return Err(JsonError::new("a malformed number", end));
    }
    if !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return Ok(text.parse().map_or(ValueRef::BigInt(text), ValueRef::Int));
    }
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(ValueRef::Float(float)),
        _ => Err(JsonError::new("number out of range", 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_kind_and_every_digit() {
        let check = |text: &str, value: ValueRef<'_>| {
            assert_eq!(decode(text, &mut String::new()), Ok(value), "{text}");
        };
        check("0", ValueRef::Int(0));
        check("-0", ValueRef::Int(0));
        check("9223372036854775807", ValueRef::Int(i64::MAX));
        check("-9223372036854775808", ValueRef::Int(i64::MIN));
        check(
            "9223372036854775808",
            ValueRef::BigInt("9223372036854775808"),
        );
        check(
            "-9223372036854775809",
            ValueRef::BigInt("-9223372036854775809"),
        );
        check("1.0", ValueRef::Float(1.0));
        check("1e2", ValueRef::Float(100.0));
        check("5e-324", ValueRef::Float(5e-324));
        check("1e-400", ValueRef::Float(0.0));
        check("123456789012345.6", ValueRef::Float(123456789012345.6));
        check(
            "0.1234567890123456789",
            ValueRef::Float(0.123_456_789_012_345_68),
        );
    }

    #[test]
    fn a_negative_zero_with_a_fraction_keeps_its_sign() {
        let scratch = &mut String::new();
        let value = decode("-0.0", scratch);
        assert!(
            matches!(value, Ok(ValueRef::Float(zero)) if zero == 0.0 && zero.is_sign_negative())
        );
    }

    #[test]
    fn what_is_not_a_value_is_an_error() {
        for text in [
            "1e400",
            "-1e400",
            "\"\\ud800\"",
            "",
            "nul",
            "-",
            "1.",
            "1x",
            "\"a",
        ] {
            assert!(decode(text, &mut String::new()).is_err(), "{text}");
        }
    }
}
