//! JSON text against `serde_json`: accepted or not, and the same values.

use crate::input::Input;
use headwater_core::json::{
    Edit, Locator, decode, elements, entries, find, pretty, splice as splice_into, write_value,
};
use headwater_core::{FieldPath, Span, Step, Value, ValueRef};
use serde_json::Value as Strict;

/// Whether a strict parser takes the text. It refuses lone surrogates inside
/// texts, which RFC 8259 allows, so they are written as letters first.
fn is_json(text: &[u8]) -> bool {
    let mut text = text.to_vec();
    for at in 0..text.len() {
        if let [b'\\', b'u', b'd' | b'D', high, a, b, ..] = text[at..]
            && matches!(high, b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F')
            && a.is_ascii_hexdigit()
            && b.is_ascii_hexdigit()
        {
            text[at + 2..at + 6].copy_from_slice(b"0041");
        }
    }
    serde_json::from_slice::<Strict>(&text).is_ok()
}

fn paths() -> Vec<FieldPath> {
    let steps = [
        Step::Name("a".into()),
        Step::Name("b\n".into()),
        Step::Index(0),
        Step::Index(-1),
    ];
    let mut paths = vec![FieldPath(Vec::new())];
    for first in &steps {
        paths.push(FieldPath(vec![first.clone()]));
        for second in &steps {
            paths.push(FieldPath(vec![first.clone(), second.clone()]));
        }
    }
    paths
}

fn follow<'a>(value: &'a Strict, path: &FieldPath) -> Option<&'a Strict> {
    path.0.iter().try_fold(value, |value, step| match step {
        Step::Name(name) => value.as_object()?.get(&**name),
        Step::Index(index) => {
            let array = value.as_array()?;
            let from = if *index < 0 { array.len() as i64 } else { 0 };
            array.get(usize::try_from(index + from).ok()?)
        }
    })
}

/// The same row several times, so that a learned key order is met; then what is
/// accepted and what is found.
pub(crate) fn locate(text: &[u8]) {
    let paths = paths();
    let mut locator = Locator::new(&paths);
    let mut spans = vec![Span { start: 7, len: 7 }; paths.len()];
    let first = locator.locate(text, &mut spans).map(|()| spans.clone());
    for _ in 0..2 {
        let again = locator.locate(text, &mut spans).map(|()| spans.clone());
        assert_eq!(first, again, "a learned key order changes nothing");
    }
    assert_eq!(first.is_ok(), is_json(text), "{first:?}");
    if let Err(error) = first {
        assert!(error.at <= text.len());
        assert!(spans.iter().all(|span| span.is_null()));
        // Text that is not JSON ends a walk, and no more.
        if let Ok(text) = std::str::from_utf8(text) {
            walk(text);
        }
        return;
    }
    let text = std::str::from_utf8(text).expect("a strict parser took it");
    let strict: Option<Strict> = serde_json::from_str(text).ok();
    for (path, span) in paths.iter().zip(&spans) {
        let located = span
            .of(text.as_bytes())
            .map(|part| std::str::from_utf8(part).expect("cut at ASCII"));
        assert_eq!(located, find(text, path), "{path}");
        if let Some(strict) = &strict {
            let found = located.map(|part| serde_json::from_str::<Strict>(part).expect("JSON"));
            assert_eq!(found.as_ref(), follow(strict, path), "{path}");
        }
        if let Some(located) = located {
            check_decoded(located);
        }
    }
    walk(text);
    if strict.is_some() {
        let shown: Option<Strict> = serde_json::from_str(&pretty(text)).ok();
        assert_eq!(shown, strict, "pretty text is the same document");
    }
}

fn walk(text: &str) {
    let mut scratch = String::new();
    for (key, value) in entries(text).into_iter().flatten() {
        std::hint::black_box(key.len());
        std::hint::black_box(decode(value, &mut scratch).is_ok());
    }
    for value in elements(text).into_iter().flatten() {
        std::hint::black_box(decode(value, &mut scratch).is_ok());
    }
}

/// A located value decodes to what a strict parser reads, and what is written
/// of it reads back as the same.
fn check_decoded(text: &str) {
    let mut scratch = String::new();
    let decoded = decode(text, &mut scratch);
    let Ok(strict) = serde_json::from_str::<Strict>(text) else {
        return;
    };
    let value = match (decoded, &strict) {
        (Err(_), Strict::Number(number)) => {
            let float: f64 = number.as_str().parse().expect("a number");
            assert!(float.is_infinite(), "{text} is refused");
            return;
        }
        (Err(error), _) => panic!("{text} is refused: {error:?}"),
        (Ok(value), _) => value,
    };
    let is_same = match (value, &strict) {
        (ValueRef::Null, Strict::Null) => true,
        (ValueRef::Bool(ours), Strict::Bool(theirs)) => ours == *theirs,
        (ValueRef::Str(ours), Strict::String(theirs)) => ours == theirs,
        (ValueRef::Int(ours), Strict::Number(theirs)) => theirs.as_str().parse::<i64>() == Ok(ours),
        (ValueRef::BigInt(ours), Strict::Number(theirs)) => {
            ours == theirs.as_str() && ours.parse::<i64>().is_err()
        }
        (ValueRef::Float(ours), Strict::Number(theirs)) => theirs
            .as_str()
            .parse::<f64>()
            .is_ok_and(|theirs| theirs.to_bits() == ours.to_bits()),
        (ValueRef::Json(ours), Strict::Array(_) | Strict::Object(_)) => ours == text,
        _ => false,
    };
    assert!(is_same, "{text} became {value:?}");
    let mut written = Vec::new();
    write_value(value, &mut written).expect("what was read can be written");
    let again: Strict = serde_json::from_slice(&written).expect("what is written is JSON");
    if !matches!(value, ValueRef::Float(_)) {
        let is_minus_zero = matches!(value, ValueRef::Int(0));
        assert!(
            again == strict || is_minus_zero,
            "{text} was written otherwise"
        );
    }
}

const NAMES: [&str; 6] = ["a", "b\n", "", "\u{e4}", "a\"", "c"];

/// Edits of an object: its fields become as asked and nothing else changes.
pub(crate) fn splice(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let changes: Vec<(&str, Option<Value>)> = (0..input.below(4))
        .map(|_| (NAMES[input.below(NAMES.len())], change(&mut input)))
        .collect();
    let Ok(text) = std::str::from_utf8(input.rest()) else {
        return;
    };
    let paths: Vec<FieldPath> = changes
        .iter()
        .map(|(name, _)| FieldPath::name(name))
        .collect();
    let mut spans = vec![Span::NULL; paths.len()];
    if Locator::new(&paths).locate_str(text, &mut spans).is_err() {
        return;
    }
    let edits: Vec<Edit<'_>> = changes
        .iter()
        .zip(spans)
        .map(|((name, value), span)| match value {
            Some(value) => Edit::Set {
                name,
                span,
                value: value.as_ref(),
            },
            None => Edit::Remove { name },
        })
        .collect();
    let mut out = b"before".to_vec();
    let spliced = splice_into(text, &edits, &mut out);
    assert!(out.starts_with(b"before"));
    if spliced.is_err() {
        let is_object = text.trim_start().starts_with('{');
        let has_nan = changes
            .iter()
            .any(|(_, value)| matches!(value, Some(Value::Float(float)) if !float.is_finite()));
        assert!(!is_object || has_nan, "{text} is refused");
        assert_eq!(out, b"before", "a failed splice leaves nothing");
        return;
    }
    check_spliced(text, &changes, &out[6..]);
}

fn change(input: &mut Input<'_>) -> Option<Value> {
    match input.below(8) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some(Value::Bool(true)),
        3 => Some(Value::Int(input.int())),
        4 => Some(Value::Float(f64::from_bits(input.int() as u64))),
        5 => Some(Value::Str(String::from_utf8_lossy(input.bytes()).into())),
        6 => Some(Value::BigInt("-123456789012345678901".into())),
        _ => Some(Value::Json("[1, {\"a\": 2.50}]".into())),
    }
}

fn check_spliced(text: &str, changes: &[(&str, Option<Value>)], out: &[u8]) {
    let spliced = std::str::from_utf8(out).expect("texts stay texts");
    assert!(is_json(out), "{text} became {spliced}");
    let untouched = |text: &str| -> Vec<(String, String)> {
        let entries = entries(text).into_iter().flatten();
        entries
            .filter(|(key, _)| !changes.iter().any(|(name, _)| key == name))
            .map(|(key, value)| (key.into_owned(), value.to_owned()))
            .collect()
    };
    assert_eq!(
        untouched(spliced),
        untouched(text),
        "{text} became {spliced}"
    );
    for (at, (name, value)) in changes.iter().enumerate() {
        if changes[at + 1..].iter().any(|(later, _)| later == name) {
            continue;
        }
        let written = value.as_ref().map(|value| {
            let mut out = Vec::new();
            write_value(value.as_ref(), &mut out).expect("it was written before");
            String::from_utf8(out).expect("JSON is text")
        });
        let found = find(spliced, &FieldPath::name(name));
        assert_eq!(found, written.as_deref(), "{name} of {text} in {spliced}");
    }
}
