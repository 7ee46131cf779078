//! How long a function may be: as long as it fits on one screen.

use super::code::{blank_rust, python_lines};
use super::{Finding, Language};
use std::ops::Range;

const LINES_MAX: usize = 70;

/// A function, by the line of its head.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    /// From 1.
    line: usize,
    lines: usize,
}

/// The functions that are too long, tests aside.
pub(super) fn check(path: &str, text: &str, language: Language) -> Vec<Finding> {
    let functions = match language {
        Language::Rust => rust_functions(text),
        Language::Python => python_functions(text),
    };
    functions
        .into_iter()
        .filter(|function| function.lines > LINES_MAX)
        .map(|function| {
            let Function { name, line, lines } = function;
            let message = format!("function `{name}` has {lines} lines, more than {LINES_MAX}");
            Finding::new(path, line, message)
        })
        .collect()
}

/// The functions outside test modules, from `fn` to the closing brace.
fn rust_functions(text: &str) -> Vec<Function> {
    let code = blank_rust(text);
    let tests = test_modules(&code);
    let mut functions = Vec::new();
    for (at, name) in words_after(&code, "fn") {
        if tests.iter().any(|range| range.contains(&at)) {
            continue;
        }
        if let Some(body) = body(&code, at) {
            functions.push(Function {
                name: name.to_owned(),
                line: 1 + code[..at].matches('\n').count(),
                lines: 1 + code[at..body.end].matches('\n').count(),
            });
        }
    }
    functions
}

/// The modules marked `#[cfg(test)]`.
fn test_modules(code: &str) -> Vec<Range<usize>> {
    let marks = code.match_indices("#[cfg(test)]");
    marks
        .filter_map(|(at, _)| Some(at..body(code, at)?.end))
        .collect()
}

/// Each word that follows `keyword`, with the place of the keyword.
fn words_after<'a>(code: &'a str, keyword: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(keyword).filter_map(move |(at, _)| {
        if code[..at].chars().next_back().is_some_and(is_word) {
            return None;
        }
        let rest = code[at + keyword.len()..]
            .strip_prefix([' ', '\n'])?
            .trim_start();
        let len = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        (len > 0).then(|| (at, &rest[..len]))
    })
}

/// The first pair of braces after `start`, unless a semicolon ends the item
/// first. What stands in round and square brackets (`[u8; 2]`) is no end.
fn body(code: &str, start: usize) -> Option<Range<usize>> {
    let mut brackets = 0;
    let mut braces = 0;
    let mut open = None;
    for (at, letter) in code[start..].char_indices() {
        match letter {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' if brackets == 0 || braces > 0 => {
                open.get_or_insert(start + at);
                braces += 1;
            }
            '}' if braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return open.map(|open| open..start + at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The functions with their heads, but without their docstrings.
fn python_functions(text: &str) -> Vec<Function> {
    let lines = python_lines(text);
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut functions = Vec::new();
    for (at, head) in lines.iter().enumerate() {
        let word = head.code.trim_start().trim_start_matches("async ");
        let Some(name) = word.strip_prefix("def ").filter(|_| !head.is_continued) else {
            continue;
        };
        let is_inside = |line: &super::code::PythonLine| {
            line.is_continued || indent(&line.code) > indent(&head.code)
        };
        let mut end = at + 1;
        for (index, line) in lines.iter().enumerate().skip(at + 1) {
            if line.code.trim().is_empty() {
                continue;
            }
            if !is_inside(line) {
                break;
            }
            end = index + 1;
        }
        let mut body = lines[at + 1..end]
            .iter()
            .skip_while(|line| line.is_continued);
        let has_docstring = body
            .next()
            .is_some_and(|line| line.code.trim_start().starts_with(['"', '\'']));
        let docstring_lines = if has_docstring {
            1 + body.take_while(|line| line.is_continued).count()
        } else {
            0
        };
        functions.push(Function {
            name: name.split('(').next().unwrap_or(name).trim().to_owned(),
            line: at + 1,
            lines: end - at - docstring_lines,
        });
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_and_lines(functions: Vec<Function>) -> Vec<(String, usize, usize)> {
        functions
            .into_iter()
            .map(|found| (found.name, found.line, found.lines))
            .collect()
    }

    #[test]
    fn a_function_of_more_than_seventy_lines_is_refused() {
        let rust = |lines: usize| format!("\nfn long() {{\n{}}}\n", "x();\n".repeat(lines - 2));
        assert_eq!(check("a.rs", &rust(70), Language::Rust), []);
        let found = check("a.rs", &rust(71), Language::Rust);
        assert_eq!(
            found[0].to_string(),
            "a.rs:2: function `long` has 71 lines, more than 70"
        );

        let python = |lines: usize| format!("def long():\n{}", "    x()\n".repeat(lines - 1));
        assert_eq!(check("a.py", &python(70), Language::Python), []);
        assert_eq!(check("a.py", &python(71), Language::Python).len(), 1);
    }

    #[test]
    fn rust_functions_are_found_where_they_are() {
        let text = "
trait T { fn declared(&self) -> [u8; 2]; fn given(&self) {} }
fn outer(take: fn(u8) -> u8) -> impl Fn() {
    // fn comment() {
    let text = \"fn text() { }\";
    fn inner() {
    }
    move || ()
}
#[cfg(test)]
mod tests { fn tested() {} }
fn after<const N: usize>(x: [u8; N])
where
    (): Sized,
{
}
";
        assert_eq!(
            names_and_lines(rust_functions(text)),
            [
                ("given".into(), 2, 1),
                ("outer".into(), 3, 7),
                ("inner".into(), 6, 2),
                ("after".into(), 12, 5)
            ]
        );
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_exempts_nothing_here() {
        let text = "#[cfg(test)]\nmod a_tests;\n\nfn after() {\n}\n";
        assert_eq!(
            names_and_lines(rust_functions(text)),
            [("after".into(), 4, 2)]
        );
    }

    #[test]
    fn python_functions_end_where_their_indentation_does() {
        let text = "
class C:
    async def method(
        self,
    ):
        '''Does it.

(unindented) docstring
        '''
        def inner(): return 1
        return f(
    1)

    # comment
    x = 1
def last(): ...
";
        assert_eq!(
            names_and_lines(python_functions(text)),
            [
                ("method".into(), 3, 6),
                ("inner".into(), 10, 1),
                ("last".into(), 16, 1)
            ]
        );
    }
}
