//! `splice`: the object changes as asked and no other byte changes.

use crate::{generate, oracle};
use headwater_core::{
    FieldPath, Span, Value, ValueRef,
    json::{Edit, Locator, entries, splice, write_key, write_value},
};
use proptest::prelude::*;
use serde_json::Map;

/// An edit that owns its value; `None` removes.
type Change = (&'static str, Option<Value>);

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::BigInt("-123456789012345678901".into())),
        Just(Value::Json("[1, {\"a\": 2.50}]".into())),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    (
        generate::name(),
        prop_oneof![2 => value().prop_map(Some), 1 => Just(None)],
    )
}

fn edits<'a>(text: &str, changes: &'a [Change]) -> Vec<Edit<'a>> {
    let paths: Vec<_> = changes
        .iter()
        .map(|(name, _)| FieldPath::name(name))
        .collect();
    let mut spans = vec![Span::NULL; paths.len()];
    Locator::new(&paths)
        .locate_str(text, &mut spans)
        .expect("valid JSON");
    let edits = changes
        .iter()
        .zip(spans)
        .map(|((name, value), span)| match value {
            Some(value) => Edit::Set {
                name,
                span,
                value: value.as_ref(),
            },
            None => Edit::Remove { name },
        });
    edits.collect()
}

fn written(value: &Value) -> String {
    let mut out = Vec::new();
    write_value(value.as_ref(), &mut out).expect("a JSON value");
    String::from_utf8(out).expect("UTF-8")
}

fn spliced(text: &str, changes: &[Change]) -> String {
    let mut out = b"before".to_vec();
    splice(text, &edits(text, changes), &mut out).expect("an object and JSON values");
    assert!(out.starts_with(b"before"));
    String::from_utf8(out.split_off(6)).expect("UTF-8")
}

fn object_of(text: &str) -> Option<Map<String, serde_json::Value>> {
    match oracle::value(text)? {
        serde_json::Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The entries of `text` but those named in `changes`, in order, as text.
fn untouched(text: &str, changes: &[Change]) -> Vec<(String, String)> {
    let entries = entries(text).into_iter().flatten();
    let untouched = entries.filter(|(key, _)| !changes.iter().any(|(name, _)| key == name));
    untouched
        .map(|(key, value)| (key.into_owned(), value.to_owned()))
        .collect()
}

proptest! {
    #![proptest_config(generate::config())]

    #[test]
    fn a_spliced_object_is_the_old_one_with_the_fields_changed(
        text in generate::object(),
        changes in prop::collection::vec(change(), 0..5),
    ) {
        let out = spliced(&text, &changes);
        prop_assert!(oracle::accepts(out.as_bytes()), "{} became {}", text, out);
        prop_assert_eq!(untouched(&out, &changes), untouched(&text, &changes), "{} became {}", text, out);
        for (name, value) in &changes {
            if !changes.iter().rev().find(|(other, _)| other == name).is_some_and(|(_, last)| last == value) {
                continue;
            }
            let found = headwater_core::json::find(&out, &FieldPath::name(name));
            prop_assert_eq!(found.map(str::to_owned), value.as_ref().map(written), "{} became {}", text, out);
        }
        let Some(mut expected) = object_of(&text) else { return Ok(()) };
        for (name, value) in &changes {
            match value {
                Some(value) => {
                    let value = oracle::value(&written(value)).expect("valid JSON");
                    expected.insert((*name).to_owned(), value);
                }
                None => {
                    expected.remove(*name);
                }
            }
        }
        prop_assert_eq!(object_of(&out), Some(expected), "{} became {}", text, out);
    }

    #[test]
    fn setting_a_field_keeps_every_other_byte(
        text in generate::object(),
        name in generate::name(),
        value in value(),
    ) {
        let change = [(name, Some(value.clone()))];
        let out = spliced(&text, &change);
        if let Edit::Set { span, .. } = edits(&text, &change)[0] && !span.is_null() {
            let (start, end) = (span.start as usize, (span.start + span.len) as usize);
            prop_assert_eq!(out, format!("{}{}{}", &text[..start], written(&value), &text[end..]));
            return Ok(());
        }
        let mut field = Vec::new();
        write_key(name, &mut field);
        let mut field = String::from_utf8(field).expect("UTF-8") + &written(&value);
        if entries(&text).is_some_and(|mut entries| entries.next().is_some()) {
            field.insert(0, ',');
        }
        let fields = text.trim_end().trim_end_matches('}').len();
        let end = text[..fields].trim_end_matches([' ', '\t', '\r', '\n']).len();
        // The last field may itself end in braces; then `}` was trimmed too far.
        let end = (end..=text.len()).find(|end| out == format!("{}{field}{}", &text[..*end], &text[*end..]));
        prop_assert!(end.is_some(), "{} became {}", text, out);
    }

    #[test]
    fn removing_a_field_only_takes_bytes_away(text in generate::object(), name in generate::name()) {
        let out = spliced(&text, &[(name, None)]);
        let mut rest = text.bytes();
        prop_assert!(out.bytes().all(|byte| rest.any(|other| other == byte)), "{} became {}", text, out);
    }

    #[test]
    fn a_failed_splice_leaves_the_output_alone(
        text in generate::document(),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        let mut edits = edits(&text, &changes);
        edits.push(Edit::Set { name: "x", span: Span::NULL, value: ValueRef::Float(f64::NAN) });
        let mut out = b"before".to_vec();
        let error = splice(&text, &edits, &mut out).expect_err("NaN is not JSON");
        let is_object = text.trim_start().starts_with('{');
        prop_assert_eq!(error.reason.contains("NaN"), is_object);
        prop_assert_eq!(out, b"before");
    }
}
