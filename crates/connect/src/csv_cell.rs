//! A cell of a CSV file as a JSON value.
//!
//! Each cell is judged by itself. A reader that judged a whole column (as pandas
//! does) would give `1` or `1.0` for one cell depending on others, and would
//! have to read the file to its end first. What is a number keeps the digits of
//! the file, so that nothing is rounded before somebody calculates with it.

use headwater_core::ValueRef;
use headwater_core::json::write_value;
use std::str::Utf8Error;

/// What a cell can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CellTypes {
    /// An integer, a float, a boolean (`true`, `True` or `TRUE`) or text, each
    /// cell by itself.
    #[default]
    Inferred,
    /// Text.
    Text,
}

/// Appends a cell as JSON.
///
/// # Errors
/// If it is text and not UTF-8.
pub(crate) fn write_cell(
    cell: &[u8],
    types: CellTypes,
    out: &mut Vec<u8>,
) -> Result<(), Utf8Error> {
    if types == CellTypes::Inferred && (write_number(cell, out) || write_bool(cell, out)) {
        return Ok(());
    }
    let text = std::str::from_utf8(cell)?;
    write_value(ValueRef::Str(text), out).expect("a text has a form in JSON");
    Ok(())
}

fn write_bool(cell: &[u8], out: &mut Vec<u8>) -> bool {
    let text: &[u8] = match cell {
        b"true" | b"True" | b"TRUE" => b"true",
        b"false" | b"False" | b"FALSE" => b"false",
        _ => return false,
    };
    out.extend_from_slice(text);
    true
}

/// The parts of a decimal number as pandas reads it: `+7`, `007`, `.5` and `5.`
/// are numbers, which JSON does not allow.
struct Number<'a> {
    is_negative: bool,
    whole: &'a [u8],
    /// Without the point; `None` where there is none.
    fraction: Option<&'a [u8]>,
    /// With the `e`.
    exponent: &'a [u8],
}

/// Appends a number; `false`, and nothing, if the cell is none.
fn write_number(cell: &[u8], out: &mut Vec<u8>) -> bool {
    let cell = cell.trim_ascii();
    let Some(number) = parse_number(cell) else {
        return false;
    };
    if is_beyond_doubles(&number, cell) {
        return false;
    }
    if number.is_negative {
        out.push(b'-');
    }
    let zeros = number
        .whole
        .iter()
        .take_while(|digit| **digit == b'0')
        .count();
    match &number.whole[zeros..] {
        [] => out.push(b'0'),
        digits => out.extend_from_slice(digits),
    }
    if let Some(fraction) = number.fraction {
        out.push(b'.');
        out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
    }
    out.extend_from_slice(number.exponent);
    true
}

fn parse_number(cell: &[u8]) -> Option<Number<'_>> {
    let (is_negative, rest) = match cell.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, cell),
    };
    let (whole, rest) = split_digits(rest);
    let (fraction, rest) = match rest.split_first() {
        Some((b'.', rest)) => {
            let (fraction, rest) = split_digits(rest);
            (Some(fraction), rest)
        }
        _ => (None, rest),
    };
    let has_exponent = match rest {
        [] => false,
        [b'e' | b'E', power @ ..] => {
            let digits = power
                .strip_prefix(b"+")
                .or(power.strip_prefix(b"-"))
                .unwrap_or(power);
            if digits.is_empty() || !split_digits(digits).1.is_empty() {
                return None;
            }
            true
        }
        _ => return None,
    };
    let has_digits = !whole.is_empty() || fraction.is_some_and(|digits| !digits.is_empty());
    let exponent = if has_exponent { rest } else { b"" };
    has_digits.then_some(Number {
        is_negative,
        whole,
        fraction,
        exponent,
    })
}

fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(
        bytes
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count(),
    )
}

/// Whether it is a float and infinite as one. Integers have no bound.
fn is_beyond_doubles(number: &Number<'_>, cell: &[u8]) -> bool {
    let is_float = number.fraction.is_some() || !number.exponent.is_empty();
    let may_be_large = !number.exponent.is_empty() || number.whole.len() > 300;
    is_float
        && may_be_large
        && std::str::from_utf8(cell)
            .ok()
            .and_then(|text| text.parse::<f64>().ok())
            .is_none_or(f64::is_infinite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_core::json::Locator;
    use proptest::prelude::*;

    fn written(cell: &str) -> String {
        let mut out = Vec::new();
        write_cell(cell.as_bytes(), CellTypes::Inferred, &mut out).expect("the cell is UTF-8");
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn a_cell_becomes_what_it_looks_like() {
        for same in [
            "0",
            "-1",
            "73.96732207",
            "1e5",
            "1.50E-7",
            "123456789012345678901234",
            "-0.0",
        ] {
            assert_eq!(written(same), same);
        }
        for (cell, json) in [
            ("+7", "7"),
            ("007", "7"),
            ("00", "0"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("5.", "5.0"),
            ("5.e3", "5.0e3"),
            (" 5 ", "5"),
            ("True", "true"),
            ("FALSE", "false"),
        ] {
            assert_eq!(written(cell), json);
        }
        for text in [
            "",
            ".",
            "-",
            "+",
            "e5",
            "1e",
            "1e+",
            "1.2.3",
            "1,5",
            "0x10",
            "1_000",
            "--1",
            "1e999",
            "inf",
            "tRUE",
            "2013-12-02 21:15:00",
            "é",
        ] {
            assert_eq!(written(text), format!("\"{text}\""));
        }
        assert_eq!(written("a\"b\n"), r#""a\"b\n""#);
    }

    #[test]
    fn text_stays_text_where_that_is_wanted() {
        let mut out = Vec::new();
        assert_eq!(write_cell(b"007", CellTypes::Text, &mut out), Ok(()));
        assert_eq!(out, b"\"007\"");
        assert!(write_cell(b"\xff", CellTypes::Inferred, &mut out).is_err());
    }

    proptest! {
        #[test]
        fn every_cell_becomes_one_json_value(cell in "[-+.eE0-9 a-c\"\\\\]{0,12}") {
            let json = written(&cell);
            prop_assert!(Locator::new(&[]).locate(json.as_bytes(), &mut []).is_ok(), "{json}");
        }

        #[test]
        fn a_number_keeps_its_value(float: f64) {
            prop_assume!(float.is_finite());
            let cell = format!("{float:e}");
            prop_assert_eq!(written(&cell).parse::<f64>(), Ok(float));
        }
    }
}
