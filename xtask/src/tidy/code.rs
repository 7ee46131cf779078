//! Source text with its comments and literals blanked out, so that what is left
//! can be searched for braces and words.

/// Rust text without the contents of comments, texts and characters. Lines stay
/// where they were.
pub(super) fn blank_rust(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = out.chars().next_back();
        let len = literal_len(rest, before).unwrap_or(0);
        if len == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            blank(&rest[..len], &mut out);
            rest = &rest[len..];
        }
    }
    out
}

/// Keeps the line breaks.
pub(super) fn blank(text: &str, out: &mut String) {
    out.extend(
        text.chars()
            .map(|letter| if letter == '\n' { '\n' } else { ' ' }),
    );
}

/// The length of the comment or literal that `text` starts with.
fn literal_len(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment_len(text));
    }
    if text.starts_with('\'') {
        return char_len(text);
    }
    if let Some(body) = text.strip_prefix('"') {
        return Some(1 + escaped_len(body, "\""));
    }
    // `r"` inside a name such as `tracer"` does not occur in Rust, but `br"` does.
    if before.is_some_and(|before| before.is_alphanumeric() || before == '_') {
        return None;
    }
    let unprefixed = text.trim_start_matches(['b', 'c']);
    let raw = unprefixed
        .strip_prefix('r')
        .filter(|_| text.len() - unprefixed.len() < 2)?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let body = raw[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(text.len() - body.len() + end)
}

/// Comments nest in Rust.
fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A character and no lifetime: `'a'` and `'\n'`, but not `'a`.
fn char_len(text: &str) -> Option<usize> {
    let body = &text[1..];
    if body.starts_with('\\') {
        return Some(1 + escaped_len(body, "'"));
    }
    let letter = body.chars().next()?;
    body[letter.len_utf8()..]
        .starts_with('\'')
        .then(|| letter.len_utf8() + 2)
}

/// The length of `text` up to and with `close`, where a backslash takes the next
/// character with it.
pub(super) fn escaped_len(text: &str, close: &str) -> usize {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if text[at..].starts_with(close) {
            return at + close.len();
        }
    }
    text.len()
}

/// A line of Python.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PythonLine {
    /// The line without the contents of its texts and comments; the quotes stay.
    pub(super) code: String,
    /// Whether it goes on with a text or a bracket that an earlier line opened.
    pub(super) is_continued: bool,
}

/// Python text without the contents of comments and texts, line by line.
pub(super) fn python_lines(text: &str) -> Vec<PythonLine> {
    let mut lines = vec![PythonLine {
        code: String::new(),
        is_continued: false,
    }];
    let mut depth = 0usize;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => python_text_len(rest, first),
            _ => first.len_utf8(),
        };
        let is_text = matches!(first, '"' | '\'');
        match first {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        for (index, part) in rest[..len].split('\n').enumerate() {
            if index > 0 {
                let is_continued = is_text || depth > 0;
                lines.push(PythonLine {
                    code: String::new(),
                    is_continued,
                });
            }
            let line = lines.last_mut().expect("there is a first line");
            match first {
                '#' => {}
                '"' | '\'' => line.code.push(first),
                _ => line.code.push_str(part),
            }
        }
        rest = &rest[len..];
    }
    lines
}

fn python_text_len(text: &str, quote: char) -> usize {
    let triple = String::from_iter([quote; 3]);
    if let Some(body) = text.strip_prefix(&triple) {
        return 3 + escaped_len(body, &triple);
    }
    let line_end = text.find('\n').unwrap_or(text.len());
    1 + escaped_len(&text[1..line_end], &quote.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_of_rust_are_blanked() {
        let check = |text: &str, left: &str| {
            let words: Vec<String> = blank_rust(text)
                .split_whitespace()
                .map(String::from)
                .collect();
            assert_eq!(words.join(" "), left, "{text}");
        };
        check("a // { \" '\nb", "a b");
        check("a /* { /* } */ { */ b", "a b");
        check(r#"a "{ \" {" b"#, "a b");
        check(r##"a r#"{ " {"# b"##, "a b");
        check(r#"a br"\" b"#, "a b");
        check(r#"a b"\"{" c"#, "a b c");
        check("a '{' '\\'' '\"' b", "a b");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("let for_ = \"é\";", "let for_ = ;");
        assert_eq!(blank_rust("\"\n\n\"x").lines().count(), 3);
    }

    #[test]
    fn texts_of_python_are_blanked_and_their_lines_known() {
        let check = |text: &str, expected: &[(&str, bool)]| {
            let lines = python_lines(text);
            let lines: Vec<(&str, bool)> = lines
                .iter()
                .map(|line| (line.code.trim_end(), line.is_continued))
                .collect();
            assert_eq!(lines, expected, "{text}");
        };
        check("a = 'def' # (", &[("a = '", false)]);
        check(
            "f(\n1,\n)\nb",
            &[("f(", false), ("1,", true), (")", true), ("b", false)],
        );
        check(
            "'''x\n(\n''' + y",
            &[("'", false), ("'", true), ("' + y", true)],
        );
        check("a = \"\\\"(\"\nb", &[("a = \"", false), ("b", false)]);
    }
}
