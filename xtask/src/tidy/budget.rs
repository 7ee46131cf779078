//! How long a file may be: as long as one reader keeps in mind.

use super::{Finding, Report};

/// A file is typically no longer than this; a longer one is looked at.
const TYPICAL_LINES: usize = 300;
/// A longer file says why.
const EXPLAINED_LINES: usize = 800;
/// No file is longer.
const LINES_MAX: usize = 1_500;

/// Tests in files of their own count too.
pub(super) fn check(path: &str, text: &str, report: &mut Report) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        let message = format!("{lines} lines, more than {LINES_MAX}: split the file");
        report.violations.push(Finding::new(path, 0, message));
    } else if lines > EXPLAINED_LINES && !text.lines().any(is_explanation) {
        let message = format!(
            "{lines} lines, more than {EXPLAINED_LINES}: split the file, or say why not in a line \
             `tidy: long because ...` of a comment"
        );
        report.violations.push(Finding::new(path, 0, message));
    } else if lines > TYPICAL_LINES && lines <= EXPLAINED_LINES {
        let message = format!("{lines} lines, more than {TYPICAL_LINES}");
        report.warnings.push(Finding::new(path, 0, message));
    }
}

fn is_explanation(line: &str) -> bool {
    let comment = ["//! ", "// ", "# "]
        .iter()
        .find_map(|mark| line.strip_prefix(mark));
    let reason = comment.and_then(|comment| comment.strip_prefix("tidy: long because"));
    reason.is_some_and(|reason| !reason.trim_matches(['.', ' ']).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lines: usize, first: &str) -> (usize, usize) {
        let mut report = Report::default();
        let text = format!("{first}\n{}", "x\n".repeat(lines - 1));
        check("a.rs", &text, &mut report);
        (report.violations.len(), report.warnings.len())
    }

    #[test]
    fn a_file_is_looked_at_then_explained_then_refused() {
        let explained = "//! tidy: long because the table is one thing.";
        assert_eq!(outcome(300, ""), (0, 0));
        assert_eq!(outcome(301, ""), (0, 1));
        assert_eq!(outcome(800, ""), (0, 1));
        assert_eq!(outcome(801, ""), (1, 0));
        assert_eq!(outcome(801, explained), (0, 0));
        assert_eq!(outcome(801, "# tidy: long because it lists names"), (0, 0));
        assert_eq!(outcome(801, "// tidy: long because ..."), (1, 0));
        assert_eq!(outcome(1_500, explained), (0, 0));
        assert_eq!(outcome(1_501, explained), (1, 0));
    }
}
