//! The layout of the repository as rules that a machine checks.
//!
//! Rules that nobody checks are followed until the first hurry, so each rule
//! here is one function of text, with a test that plants a violation. The rules
//! read text, not syntax trees: a parser would cost more build time than the
//! rest of the repository's chores together, and these rules need only lines,
//! braces and indentation.
//!
//! ```text
//! dependencies   which crate may name which, and which libraries  (edges)
//! length         lines of a file                                  (budget)
//! functions      lines of a function                              (functions)
//! text           machine paths, the opening of a crate            (text)
//! ```

mod budget;
mod code;
mod edges;
mod functions;
mod text;

use std::fmt;
use std::path::Path;
use std::process::Command;

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, from the root of the repository.
    pub path: String,
    /// The line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Finding {
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            path,
            line,
            message,
        } = self;
        match line {
            0 => write!(out, "{path}: {message}"),
            line => write!(out, "{path}:{line}: {message}"),
        }
    }
}

/// What the rules found.
#[derive(Debug, Default)]
pub struct Report {
    /// Must be changed.
    pub violations: Vec<Finding>,
    /// Should be looked at.
    pub warnings: Vec<Finding>,
}

/// Checks every file below `root` that git tracks or would track.
///
/// # Errors
/// If git cannot list the files or one cannot be read.
pub fn check(root: &Path) -> Result<Report, String> {
    let mut report = Report::default();
    for path in files(root)? {
        let bytes = match std::fs::read(root.join(&path)) {
            Ok(bytes) => bytes,
            // Deleted and not yet committed, or a link to a folder.
            Err(_) => continue,
        };
        if let Ok(text) = String::from_utf8(bytes) {
            check_file(&path, &text, &mut report);
        }
    }
    Ok(report)
}

/// Applies every rule that concerns a file of this name.
fn check_file(path: &str, text: &str, report: &mut Report) {
    report.violations.extend(text::check(path, text));
    if path.ends_with("Cargo.toml") {
        report.violations.extend(edges::check(path, text));
    }
    if let Some(language) = Language::of(path) {
        budget::check(path, text, report);
        if !is_test_file(path) {
            report
                .violations
                .extend(functions::check(path, text, language));
        }
    }
}

/// The languages whose files have a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    Python,
}

impl Language {
    fn of(path: &str) -> Option<Language> {
        match path.rsplit_once('.')?.1 {
            "rs" => Some(Language::Rust),
            "py" | "pyi" => Some(Language::Python),
            _ => None,
        }
    }
}

/// Whether a file holds nothing but tests.
fn is_test_file(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.split('.').next().unwrap_or(name);
    folders.split('/').any(|folder| folder == "tests")
        || stem == "tests"
        || stem == "conftest"
        || stem.ends_with("_tests")
        || stem.starts_with("test_")
}

fn files(root: &Path) -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git cannot be run: {error}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("git cannot list the files: {}", reason.trim_end()));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    let mut files: Vec<String> = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(String::from)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_place_that_editors_understand() {
        assert_eq!(
            Finding::new("a/b.rs", 7, "too long").to_string(),
            "a/b.rs:7: too long"
        );
        assert_eq!(
            Finding::new("a/b.rs", 0, "too long").to_string(),
            "a/b.rs: too long"
        );
    }

    #[test]
    fn test_files_are_known_by_their_names() {
        for path in [
            "crates/log/tests/kill.rs",
            "src/tests.rs",
            "src/batch_tests.rs",
            "test_a.py",
        ] {
            assert!(is_test_file(path), "{path}");
        }
        for path in ["crates/log/src/lib.rs", "src/attests.rs", "src/latest_a.py"] {
            assert!(!is_test_file(path), "{path}");
        }
    }

    #[test]
    fn each_file_meets_the_rules_that_concern_it() {
        let mut report = Report::default();
        check_file("crates/x/src/lib.rs", "fn main() {}\n", &mut report);
        let manifest = "[package]\nname = \"headwater-plan\"\n[dependencies]\nrusqlite = \"1\"\n";
        check_file("crates/plan/Cargo.toml", manifest, &mut report);
        check_file("notes.md", "anything\n", &mut report);
        let paths: Vec<&str> = report.violations.iter().map(|found| &*found.path).collect();
        assert_eq!(paths, ["crates/x/src/lib.rs", "crates/plan/Cargo.toml"]);
    }
}
