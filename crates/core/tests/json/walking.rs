//! `entries`, `elements`, `decode` and `write_value`.

use crate::{generate, oracle};
use headwater_core::{
    FieldPath, Span, ValueRef,
    json::{Locator, decode, elements, entries, write_value},
};
use proptest::prelude::*;
use serde_json::Value;

fn check_parts(text: &str) -> Result<(), TestCaseError> {
    let Some(value) = oracle::value(text) else {
        return Ok(());
    };
    let parsed = |part: &str| oracle::value(part).expect("a part of valid JSON");
    prop_assert_eq!(entries(text).is_some(), value.is_object());
    prop_assert_eq!(elements(text).is_some(), value.is_array());
    for (_, part) in entries(text).into_iter().flatten() {
        check_parts(part)?;
    }
    for part in elements(text).into_iter().flatten() {
        check_parts(part)?;
    }
    match value {
        Value::Object(object) => {
            let entries = entries(text).into_iter().flatten();
            let collected: serde_json::Map<String, Value> = entries
                .map(|(key, part)| (key.into_owned(), parsed(part)))
                .collect();
            prop_assert_eq!(collected, object, "{}", text);
        }
        Value::Array(array) => {
            let collected: Vec<_> = elements(text).into_iter().flatten().map(parsed).collect();
            prop_assert_eq!(collected, array, "{}", text);
        }
        _ => {}
    }
    Ok(())
}

fn check_decoded(text: &str) -> Result<(), TestCaseError> {
    let scratch = &mut String::from("left over");
    let decoded = decode(text, scratch);
    let Some(value) = oracle::value(text) else {
        prop_assert!(
            decoded.is_err() || matches!(decoded, Ok(ValueRef::Json(_))),
            "{}",
            text
        );
        return Ok(());
    };
    if value.is_number() {
        return check_number(text, decoded.ok());
    }
    let decoded = decoded.expect("valid JSON");
    match (&value, decoded) {
        (Value::Null, ValueRef::Null) => {}
        (Value::Bool(value), ValueRef::Bool(decoded)) => prop_assert_eq!(*value, decoded),
        (Value::String(value), ValueRef::Str(decoded)) => prop_assert_eq!(value, decoded),
        (Value::Array(_) | Value::Object(_), ValueRef::Json(decoded)) => {
            prop_assert_eq!(decoded, text)
        }
        _ => prop_assert!(false, "{} became {:?}", text, decoded),
    }
    let mut written = Vec::new();
    write_value(decoded, &mut written).expect("came from JSON");
    prop_assert_eq!(serde_json::from_slice::<Value>(&written).ok(), Some(value));
    Ok(())
}

fn check_number(text: &str, decoded: Option<ValueRef<'_>>) -> Result<(), TestCaseError> {
    let expected = if text.contains(['.', 'e', 'E']) {
        let float: f64 = text.parse().expect("a number");
        float.is_finite().then_some(ValueRef::Float(float))
    } else {
        Some(text.parse().map_or(ValueRef::BigInt(text), ValueRef::Int))
    };
    prop_assert_eq!(decoded, expected, "{}", text);
    let Some(decoded) = decoded else {
        return Ok(());
    };
    let mut written = Vec::new();
    write_value(decoded, &mut written).expect("came from JSON");
    let written = String::from_utf8(written).expect("ASCII");
    let again = decode(&written, &mut String::new()).map(|value| value.to_owned());
    prop_assert_eq!(
        again,
        Ok(decoded.to_owned()),
        "{} was written as {}",
        text,
        written
    );
    if let (ValueRef::Float(float), Ok(read)) = (decoded, written.parse::<f64>()) {
        prop_assert_eq!(read.to_bits(), float.to_bits());
    }
    Ok(())
}

proptest! {
    #![proptest_config(generate::config())]

    #[test]
    fn entries_and_elements_are_those_of_serde_json(text in generate::document()) {
        check_parts(&text)?;
    }

    #[test]
    fn located_fields_decode_to_the_values_of_serde_json(
        text in generate::document(),
        paths in generate::paths(),
    ) {
        let mut spans = vec![Span::NULL; paths.len()];
        Locator::new(&paths).locate_str(&text, &mut spans).expect("valid JSON");
        for span in spans.iter().filter(|span| !span.is_null()) {
            check_decoded(&text[span.start as usize..][..span.len as usize])?;
        }
    }

    #[test]
    fn numbers_decode_and_come_back(number in generate::number()) {
        check_decoded(&number)?;
    }

    #[test]
    fn floats_and_texts_are_written_so_that_they_come_back(
        bits in any::<u64>(),
        text in any::<String>(),
    ) {
        let float = f64::from_bits(bits);
        let mut out = Vec::new();
        prop_assert_eq!(write_value(ValueRef::Float(float), &mut out).is_ok(), float.is_finite());
        if float.is_finite() {
            let written = std::str::from_utf8(&out).expect("ASCII");
            let scratch = &mut String::new();
            prop_assert_eq!(decode(written, scratch), Ok(ValueRef::Float(float)));
            prop_assert!(oracle::accepts(&out));
        }
        out.clear();
        write_value(ValueRef::Str(&text), &mut out).expect("a text");
        prop_assert_eq!(serde_json::from_slice::<String>(&out).ok(), Some(text));
    }

    #[test]
    fn broken_text_ends_a_walk_without_a_panic(
        text in generate::document(),
        path in generate::paths(),
        mutations in generate::mutations(),
    ) {
        let mut text = text.into_bytes();
        mutations.iter().for_each(|mutation| mutation.apply(&mut text));
        let text = String::from_utf8_lossy(&text);
        entries(&text).into_iter().flatten().for_each(drop);
        elements(&text).into_iter().flatten().for_each(drop);
        let whole = FieldPath::default();
        for path in path.iter().chain([&whole]) {
            let found = headwater_core::json::find(&text, path);
            let _ = found.map(|part| decode(part, &mut String::new()).is_ok());
        }
    }
}
