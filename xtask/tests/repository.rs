//! The repository itself obeys its rules.

use std::path::Path;

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let report = xtask::tidy::check(&root).expect("git lists the files");
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}
