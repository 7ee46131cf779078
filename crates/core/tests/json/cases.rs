//! Texts that a generator meets too seldom.

use crate::locating::check_text;
use headwater_core::{
    FieldPath, Span, ValueRef,
    json::{Edit, Locator, splice},
};

/// Texts on either side of the grammar's borders.
const BORDERS: &[&[u8]] = &[
    b"",
    b" ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{}",
    b"[]",
    b" { } ",
    b"[ ]",
    b"{,}",
    b"[,]",
    b"[1,]",
    b"{\"a\":1,}",
    b"{\"a\"}",
    b"{\"a\":}",
    b"{\"a\" 1}",
    b"{a:1}",
    b"{'a':1}",
    b"{\"a\":1 \"b\":2}",
    b"{\"a\":1]",
    b"[1}",
    b"[[1]",
    b"{\"a\":{\"b\":1}",
    b"1 2",
    b"{} {}",
    b"null",
    b"nul",
    b"nulll",
    b"true",
    b"tru",
    b"True",
    b"false",
    b"fals",
    b"falsee",
    b"NaN",
    b"Infinity",
    b"-",
    b"+1",
    b"01",
    b"-01",
    b"00",
    b"-0",
    b"0.",
    b".5",
    b"0.5",
    b"-.5",
    b"1.e5",
    b"1e",
    b"1e+",
    b"1e5",
    b"1E-5",
    b"1e400",
    b"0e0",
    b"0x1",
    b"1.2.3",
    b"1-",
    b"--1",
    b"123456789012345",
    b"1234567890123456",
    b"12345678901234567",
    b"0.12345678901234",
    b"0.123456789012345",
    b"12345678901234.",
    b"123456789012345.",
    b"123456789012345.1",
    b"1234567890123456.",
    b"1234567890123456.7",
    b"123456789012345e",
    b"0123456789012345678",
    b"\"",
    b"\"a",
    b"\"\\",
    b"\"\\\"",
    b"\"\\u12\"",
    b"\"\\u123g\"",
    b"\"\\x\"",
    b"\"\\ud800\"",
    b"\"\\ud800\\u0061\"",
    b"\"a\nb\"",
    b"\"\x00\"",
    b"\"\x1f\"",
    b"\"\x7f\"",
    b"\"\xff\"",
    b"\"\xc3\xa9\"",
    b"\"\xc3\"",
    b"\"\xed\xa0\x80\"",
    b"\xef\xbb\xbf{}",
    b"{}\x00",
    b"\x0b{}",
    b"\xc2\xa0{}",
    b"// c\n{}",
    b"{\"a\":[1,2,3],\"a\":{\"b\":[]}}",
    b"{\"a\":{\"b\":1},\"a\":{\"c\":2}}",
    b"{\"a\":{\"b\":1},\"a\":3}",
    b"{\"\\ud800\":1}",
    b"[[1,2],[3,4]]",
    b"[{\"a\":1},{\"b\":2}]",
];

#[test]
fn texts_at_the_borders_of_the_grammar_are_judged_as_serde_json_judges_them() {
    for text in BORDERS {
        check_text(text);
    }
}

#[test]
fn the_128th_level_is_refused_wherever_it_is() {
    for (open, middle, close) in [
        ("[", "", "]"),
        ("{\"a\":", "1", "}"),
        ("[{\"b\":", "[]", "}]"),
    ] {
        for depth in [60, 63, 64, 126, 127, 128, 129, 1000] {
            let text = open.repeat(depth) + middle + &close.repeat(depth);
            check_text(text.as_bytes());
        }
    }
}

#[test]
fn an_object_whose_keys_are_data_is_read_as_any_other() {
    let mut locator = Locator::new(&[FieldPath::name("k7"), FieldPath::name("k199")]);
    for round in 0..3 {
        let fields: Vec<_> = (0..200)
            .map(|field| format!("\"k{field}\":{}", field + round))
            .collect();
        let row = format!("{{{}}}", fields.join(","));
        let mut spans = [Span::NULL; 2];
        assert_eq!(locator.locate_str(&row, &mut spans), Ok(()));
        let located = spans.map(|span| span.of(row.as_bytes()).map(<[u8]>::to_vec));
        assert_eq!(
            located,
            [7, 199].map(|field| Some((field + round).to_string().into_bytes()))
        );
    }
}

#[test]
fn errors_say_where_the_text_stops_being_json() {
    let check = |text: &str, message: &str| {
        let located = Locator::new(&[]).locate(text.as_bytes(), &mut []);
        assert_eq!(
            located.map_err(|error| error.to_string()),
            Err(message.to_owned())
        );
    };
    check(
        r#"{"a":1"#,
        "malformed JSON: the text ends inside an object at byte 6",
    );
    check(
        r#"{"a":1 "b":2}"#,
        "malformed JSON: expected `,` or `}` at byte 7",
    );
    check(
        r#"{"a":01}"#,
        "malformed JSON: a malformed number at byte 5",
    );
    check(
        "{\"a\":\"x\ny\"}",
        "malformed JSON: a control character inside a string at byte 7",
    );
    check(
        "[1] x",
        "malformed JSON: expected nothing after the value at byte 4",
    );
}

fn check_splice(text: &str, edits: &[Edit<'_>], expected: &str) {
    let mut out = Vec::new();
    assert_eq!(splice(text, edits, &mut out), Ok(()));
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

/// An edit of the value at `start`; an empty one is appended.
fn set(name: &str, start: u32, len: u32) -> Edit<'_> {
    let span = if len == 0 {
        Span::NULL
    } else {
        Span { start, len }
    };
    Edit::Set {
        name,
        span,
        value: ValueRef::Int(7),
    }
}

fn remove(name: &str) -> Edit<'_> {
    Edit::Remove { name }
}

#[test]
fn a_set_field_keeps_the_whitespace_around_it() {
    check_splice("{}", &[set("a", 0, 0)], r#"{"a":7}"#);
    check_splice(
        " { } \n",
        &[set("a", 0, 0), set("b", 0, 0)],
        " {\"a\":7,\"b\":7 } \n",
    );
    check_splice(r#"{ "a": 1 }"#, &[set("b", 0, 0)], r#"{ "a": 1,"b":7 }"#);
    check_splice(r#"{ "a": 1.50 }"#, &[set("a", 7, 4)], r#"{ "a": 7 }"#);
    check_splice(r#"{"a":{}}"#, &[set("b", 0, 0)], r#"{"a":{},"b":7}"#);
}

#[test]
fn a_removed_field_takes_one_comma_with_it() {
    check_splice(
        r#"{ "a": 1, "b": 2, "c": 3 }"#,
        &[remove("a")],
        r#"{ "b": 2, "c": 3 }"#,
    );
    check_splice(
        r#"{ "a": 1, "b": 2, "c": 3 }"#,
        &[remove("b")],
        r#"{ "a": 1, "c": 3 }"#,
    );
    check_splice(
        r#"{ "a": 1, "b": 2, "c": 3 }"#,
        &[remove("c")],
        r#"{ "a": 1, "b": 2 }"#,
    );
    check_splice(
        r#"{ "a": 1, "b": 2, "c": 3 }"#,
        &[remove("a"), remove("b")],
        r#"{ "c": 3 }"#,
    );
    check_splice(
        r#"{ "a": 1, "b": 2, "c": 3 }"#,
        &[remove("c"), remove("b")],
        r#"{ "a": 1 }"#,
    );
    check_splice(r#"{"a":1,"\u0061":2}"#, &[remove("a")], "{}");
    check_splice(
        r#"{"a":1,"b":2}"#,
        &[remove("a"), set("c", 0, 0)],
        r#"{"b":2,"c":7}"#,
    );
    check_splice(
        r#"{"a":1,"b":2}"#,
        &[remove("a"), remove("b"), set("a", 5, 1)],
        r#"{"a":7}"#,
    );
    check_splice(
        r#"{"a":1,"b":2}"#,
        &[set("b", 11, 1), set("a", 5, 1), remove("x")],
        r#"{"a":7,"b":7}"#,
    );
    check_splice(
        r#"{"a":1,"b":2}"#,
        &[set("b", 11, 1), set("a", 5, 1), remove("a")],
        r#"{"b":7}"#,
    );
}
