//! JSON text for people: an entry a line, two spaces a level.

use super::{elements, entries, write_key};

/// Lays out a sound JSON text over several lines. Values keep their own text.
pub fn pretty(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() * 2);
    lay_out(text.trim(), 0, &mut out);
    String::from_utf8(out).expect("pieces of UTF-8 text are UTF-8")
}

fn lay_out(text: &str, depth: usize, out: &mut Vec<u8>) {
    let indent = |depth: usize, out: &mut Vec<u8>| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    let mut is_first = true;
    let mut next = |out: &mut Vec<u8>| {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        indent(depth + 1, out);
    };
    let (open, close) = if let Some(entries) = entries(text) {
        out.push(b'{');
        for (name, value) in entries {
            next(out);
            write_key(&name, out);
            out.push(b' ');
            lay_out(value.trim(), depth + 1, out);
        }
        (b'{', b'}')
    } else if let Some(elements) = elements(text) {
        out.push(b'[');
        for value in elements {
            next(out);
            lay_out(value.trim(), depth + 1, out);
        }
        (b'[', b']')
    } else {
        out.extend_from_slice(text.as_bytes());
        return;
    };
    if out.last() != Some(&open) {
        indent(depth, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn an_entry_stands_on_a_line_of_its_own() {
        assert_eq!(
            pretty(r#"{"a":0.50,"b":[1,{}],"c":{ }}"#),
            "{\n  \"a\": 0.50,\n  \"b\": [\n    1,\n    {}\n  ],\n  \"c\": {}\n}"
        );
        assert_eq!(pretty("7"), "7");
    }
}
