//! Rules on the text of any file.

use super::Finding;

/// Folders of somebody's machine. In two parts, so that this file obeys its rule.
const MACHINE_FOLDERS: [&str; 3] = [
    concat!("/", "work"),
    concat!("/", "root"),
    concat!("/", "home"),
];

pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(folder) = MACHINE_FOLDERS
            .iter()
            .find(|folder| names_folder(line, folder))
        {
            let message = format!("a path below `{folder}` exists on one machine only");
            findings.push(Finding::new(path, index + 1, message));
        }
    }
    let is_crate = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    if is_crate && !text.starts_with("//!") {
        let message = "a crate opens with `//!`: what it is for and its one key decision";
        findings.push(Finding::new(path, 1, message));
    }
    findings
}

/// Whether a path in `line` starts with `folder`.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        // A path goes on to its left, as in `src/work`, or its name to the right.
        let is_inside = |before: char| before.is_alphanumeric() || "._-/~}>*".contains(before);
        let goes_on = |after: char| after.is_alphanumeric() || "_-.".contains(after);
        !line[..at].chars().next_back().is_some_and(is_inside)
            && !line[at + folder.len()..]
                .chars()
                .next()
                .is_some_and(goes_on)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_refused() {
        let [work, root, home] = MACHINE_FOLDERS;
        for line in [
            format!("cd {work}/main"),
            format!("let path = \"{home}/ada/x.csv\";"),
            format!("DIR={root}"),
            format!("`{work}`"),
        ] {
            assert_eq!(check("a.md", &line).len(), 1, "{line}");
        }
        for line in [
            format!("src{work}/main"),
            format!("https://example.org{home}/"),
            format!("{work}ers"),
            format!("$HOME{work}"),
        ] {
            assert_eq!(check("a.md", &line), [], "{line}");
        }
        assert_eq!(check("a.md", &format!("\n{work}/"))[0].line, 2);
    }

    #[test]
    fn a_crate_opens_with_what_it_is_for() {
        assert_eq!(check("crates/x/src/lib.rs", "use std::fmt;\n").len(), 1);
        assert_eq!(check("crates/x/src/lib.rs", "//! X.\n"), []);
        assert_eq!(check("crates/x/src/other.rs", "use std::fmt;\n"), []);
    }
}
