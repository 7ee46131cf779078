//! Documents, paths, mutations.

use headwater_core::{FieldPath, Step};
use proptest::{collection::vec, prelude::*, sample::select};

/// How often each property runs.
pub(crate) fn config() -> ProptestConfig {
    let cases = option_env_at_run_time("HEADWATER_JSON_CASES").unwrap_or(4_000);
    ProptestConfig {
        cases,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

fn option_env_at_run_time(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

fn whitespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => Just(""), 2 => Just(" "), 1 => select(vec!["\n", "\t", "\r\n", "  \n    "])]
}

/// The names that documents and paths share, so that they meet.
const NAMES: [&str; 7] = [
    "a",
    "b",
    "é",
    "",
    "a\"b\\c\n",
    "😀",
    "a name of more than thirty-two bytes",
];

/// Spellings of the names, without quotes; and keys that are no name.
const KEYS: [&str; 14] = [
    "a",
    "a",
    "b",
    "é",
    "",
    r#"a\"b\\c\n"#,
    "😀",
    "a name of more than thirty-two bytes",
    r"\u0061",
    r"\u00e9",
    r#"a\u0022b\u005Cc\u000a"#,
    r"\ud83d\ude00",
    "ab",
    "speed",
];

fn string_body() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-z ]{1,9}",
        2 => "[ -~&&[^\"\\\\]]{10,40}",
        2 => "\\PC{1,4}".prop_map(|text| text.replace(['"', '\\'], "'")),
        2 => select(vec![r"\n", r"\u0000", r#"\""#, r"\\", r"\/", r"\b\f\r\t", r"\u00e9", r"\uD83D\uDE00"])
            .prop_map(String::from),
    ];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn string() -> impl Strategy<Value = String> {
    let lone = select(vec![
        r"\ud800",
        r"\udc00x",
        r"\ud83d\u0041",
        r"\udE00\uD83d",
    ]);
    prop_oneof![
        60 => string_body().prop_map(|body| format!("\"{body}\"")),
        1 => lone.prop_map(|lone| format!("\"{lone}\"")),
    ]
}

/// Numbers of all shapes, most of them short.
pub(crate) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,5})",
        4 => "-?(0|[1-9][0-9]{0,4})\\.[0-9]{1,4}",
        2 => "-?(0|[1-9][0-9]{0,24})",
        2 => "-?(0|[1-9][0-9]{0,18})\\.[0-9]{1,20}",
        2 => "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,20})?[eE][+-]?[0-9]{1,3}",
    ]
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => string(),
        3 => number(),
        1 => select(vec!["true", "false", "null"]).prop_map(String::from),
    ]
}

fn wrapped(open: char, parts: Vec<(&str, String, &str)>, inner: &str, close: char) -> String {
    let parts: Vec<_> = parts
        .into_iter()
        .map(|(before, part, after)| before.to_owned() + &part + after)
        .collect();
    format!("{open}{inner}{}{close}", parts.join(","))
}

fn array_of(element: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (
        vec((whitespace(), element, whitespace()), 0..5),
        whitespace(),
    )
        .prop_map(|(parts, inner)| wrapped('[', parts, inner, ']'))
}

fn object_of(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let entry = (select(KEYS.to_vec()), whitespace(), whitespace(), value)
        .prop_map(|(key, before, after, value)| format!("\"{key}\"{before}:{after}{value}"));
    (vec((whitespace(), entry, whitespace()), 0..6), whitespace())
        .prop_map(|(parts, inner)| wrapped('{', parts, inner, '}'))
}

fn nested() -> impl Strategy<Value = String> {
    scalar().prop_recursive(
        4,
        40,
        5,
        |inner| prop_oneof![1 => array_of(inner.clone()), 2 => object_of(inner)],
    )
}

/// A JSON text of any kind, mostly an object.
pub(crate) fn document() -> impl Strategy<Value = String> {
    let value = prop_oneof![6 => object_of(nested()), 1 => array_of(nested()), 1 => nested()];
    (whitespace(), value, whitespace())
        .prop_map(|(before, value, after)| format!("{before}{value}{after}"))
}

/// A JSON object.
pub(crate) fn object() -> impl Strategy<Value = String> {
    (whitespace(), object_of(nested()), whitespace())
        .prop_map(|(before, value, after)| format!("{before}{value}{after}"))
}

/// Rows as programs write them: few fields, in one of a few orders and styles.
pub(crate) fn row() -> impl Strategy<Value = String> {
    let style = select(vec![
        ("", ":", ","),
        ("", ": ", ", "),
        ("\n  ", ": ", ",\n  "),
    ]);
    let names = proptest::sample::subsequence(KEYS[1..].to_vec(), 1..7);
    (style, names, vec(scalar(), 7)).prop_map(|((open, colon, comma), names, values)| {
        let entries = names
            .iter()
            .zip(values)
            .map(|(name, value)| format!("\"{name}\"{colon}{value}"));
        format!("{{{open}{}}}", entries.collect::<Vec<_>>().join(comma))
    })
}

/// One of the names.
pub(crate) fn name() -> impl Strategy<Value = &'static str> {
    select(NAMES.to_vec())
}

fn path() -> impl Strategy<Value = FieldPath> {
    let step = prop_oneof![
        4 => name().prop_map(|name| Step::Name(name.into())),
        1 => (-4i64..4).prop_map(Step::Index),
    ];
    vec(step, 0..4).prop_map(FieldPath)
}

/// Some paths, often with a common start.
pub(crate) fn paths() -> impl Strategy<Value = Vec<FieldPath>> {
    vec(path(), 0..8)
}

/// A change to some bytes: a byte changed, taken out or put in, a cut, a copy.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    kind: u8,
    at: prop::sample::Index,
    other: prop::sample::Index,
    byte: u8,
}

/// One to three mutations.
pub(crate) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let structural = br#"{}[]:,"\-+.eE019u tfn"#.to_vec();
    let byte = prop_oneof![3 => select(structural), 1 => any::<u8>()];
    let mutation = (
        0u8..6,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        byte,
    )
        .prop_map(|(kind, at, other, byte)| Mutation {
            kind,
            at,
            other,
            byte,
        });
    vec(mutation, 1..4)
}

impl Mutation {
    /// Changes `text`.
    pub(crate) fn apply(&self, text: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let at = self.at.index(text.len());
        match self.kind {
            0 | 1 => text[at] = self.byte,
            2 => text.insert(at, self.byte),
            3 => {
                text.remove(at);
            }
            4 => text.truncate(at),
            _ => {
                let end = at + self.other.index(text.len() - at);
                let copy = text[at..end].to_vec();
                text.splice(end..end, copy);
            }
        }
    }
}
