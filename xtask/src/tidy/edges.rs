//! Which crate may name which.
//!
//! The table is the layout of the workspace: a crate uses those below it and
//! nothing beside it. Development dependencies obey it too, because a test that
//! reaches up a layer tests two things at once. Crates above the engine take
//! what they need of the lower layers from its re-exports (`headwater::core`),
//! so that a Rust user can write whatever they can.

use super::Finding;

/// A package and the packages of the workspace that it may name.
const MAY_USE: &[(&str, &[&str])] = &[
    // Layer 0.
    ("headwater-core", &[]),
    // Layer 1: these never see each other.
    ("headwater-log", &["headwater-core"]),
    ("headwater-state", &["headwater-core"]),
    ("headwater-plan", &["headwater-core"]),
    ("headwater-connect", &["headwater-core"]),
    // Layer 2.
    ("headwater-sql", &["headwater-core", "headwater-plan"]),
    (
        "headwater-operators",
        &["headwater-core", "headwater-plan", "headwater-state"],
    ),
    // Layer 3: the public Rust library.
    (
        "headwater",
        &[
            "headwater-core",
            "headwater-log",
            "headwater-state",
            "headwater-plan",
            "headwater-connect",
            "headwater-sql",
            "headwater-operators",
        ],
    ),
    // Layers 4 to 6 stand on the library.
    ("headwater-gateway", &["headwater"]),
    (
        "headwater-sim",
        &["headwater", "headwater-log", "headwater-state"],
    ),
    ("headwater-cli", &["headwater", "headwater-gateway"]),
    (
        "headwater-python",
        &[
            "headwater",
            "headwater-gateway",
            "headwater-cli",
            "headwater-sim",
        ],
    ),
    // Feeds bytes to every decoder, so it sees them all; nothing stands on it.
    (
        "headwater-fuzz",
        &[
            "headwater-core",
            "headwater-log",
            "headwater-state",
            "headwater-plan",
            "headwater-connect",
            "headwater-operators",
            "headwater",
        ],
    ),
    ("xtask", &[]),
];

/// Libraries that one crate alone may name: the start of their names, the crate
/// and where the others get them.
const OWNED: &[(&str, &str, &str)] = &[
    (
        "arrow",
        "headwater-core",
        "take it from `headwater_core::arrow`",
    ),
    ("rusqlite", "headwater-log", "use the `Log` trait"),
    ("libsqlite3-sys", "headwater-log", "use the `Log` trait"),
    ("rdkafka", "headwater-log", "use the `Log` trait"),
    ("pulsar", "headwater-log", "use the `Log` trait"),
    (
        "pyo3",
        "headwater-python",
        "what needs Python belongs in python/",
    ),
];

/// The edges of one Cargo.toml that the table does not have.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let Some(package) = package_name(text) else {
        return Vec::new();
    };
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == package) else {
        return vec![Finding::new(
            path,
            0,
            format!("crate `{package}` is not in the table of xtask/src/tidy/edges.rs"),
        )];
    };
    dependencies(text)
        .filter_map(|(line, name)| {
            let reason = refuse(&package, may_use, &name)?;
            Some(Finding::new(path, line, reason))
        })
        .collect()
}

fn refuse(package: &str, may_use: &[&str], name: &str) -> Option<String> {
    if MAY_USE.iter().any(|(known, _)| *known == name) && !may_use.contains(&name) {
        return Some(format!(
            "`{package}` must not use `{name}`: the table of xtask/src/tidy/edges.rs lacks the edge"
        ));
    }
    let (_, owner, instead) = OWNED
        .iter()
        .find(|(prefix, _, _)| *prefix == name || name.starts_with(&format!("{prefix}-")))?;
    (*owner != package).then(|| format!("only `{owner}` names `{name}`: {instead}"))
}

fn package_name(text: &str) -> Option<String> {
    let lines = sections(text).filter(|(_, section, _)| *section == "package");
    lines
        .filter_map(|(_, _, line)| value_of(line, "name"))
        .next()
}

/// The packages that a Cargo.toml depends on, with the line of each.
fn dependencies(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    sections(text).filter_map(|(number, section, line)| {
        let parts: Vec<&str> = section.split('.').collect();
        let at = parts
            .iter()
            .position(|part| part.ends_with("dependencies"))?;
        // The workspace's list of versions gives no crate anything.
        if parts[0] == "workspace" {
            return None;
        }
        if let Some(name) = parts.get(at + 1) {
            // `[dependencies.name]`: once, at its head, unless it is renamed.
            let renamed = value_of(line, "package");
            let head = line
                .starts_with('[')
                .then(|| name.trim_matches('"').to_owned());
            return renamed.or(head).map(|name| (number, name));
        }
        let (name, rest) = line.split_once('=')?;
        let name = name
            .split('.')
            .next()
            .unwrap_or(name)
            .trim()
            .trim_matches('"');
        let renamed = rest
            .split([',', '{', '}'])
            .find_map(|part| value_of(part, "package"));
        Some((number, renamed.unwrap_or_else(|| name.to_owned())))
    })
}

/// The lines of a TOML file that say something: number from 1, section, text.
/// The head of a section is a line of it.
fn sections(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut section = "";
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        let is_content = !line.is_empty() && !line.starts_with('#');
        is_content.then_some((index + 1, section, line))
    })
}

/// The text in `key = "text"`.
fn value_of(line: &str, key: &str) -> Option<String> {
    let (name, value) = line.split_once('=')?;
    (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(package: &str, rest: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{package}\"\n\n{rest}");
        check("Cargo.toml", &text)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_edge_that_is_not_in_the_table_is_refused() {
        let edge = |line: &str| messages("headwater-log", line);
        assert_eq!(
            edge("[dependencies]\nheadwater-core.workspace = true"),
            [""; 0]
        );
        let refused = [
            "Cargo.toml:5: `headwater-log` must not use `headwater-plan`: \
             the table of xtask/src/tidy/edges.rs lacks the edge",
        ];
        assert_eq!(
            edge("[dependencies]\nheadwater-plan.workspace = true"),
            refused
        );
        assert_eq!(
            edge("[dev-dependencies]\nheadwater-plan = { path = \"../plan\" }"),
            refused
        );
        assert_eq!(
            edge("[dependencies]\nwants = { package = \"headwater-plan\" }"),
            refused
        );
        assert_eq!(
            edge("[target.'cfg(unix)'.dependencies]\nheadwater-plan = \"1\""),
            refused
        );
        assert_eq!(
            edge("# Why.\n[dependencies.headwater-plan]\npath = \"../plan\""),
            refused
        );
        assert_eq!(edge("\n[dependencies]\n# headwater-plan = \"1\""), [""; 0]);
    }

    #[test]
    fn what_stands_on_the_engine_takes_the_lower_layers_from_it() {
        let engine = "[dependencies]\nheadwater.workspace = true\n";
        for package in ["headwater-cli", "headwater-python"] {
            assert_eq!(messages(package, engine), [""; 0]);
            assert_eq!(
                messages(package, &format!("{engine}headwater-log = \"1\"")).len(),
                1
            );
        }
    }

    #[test]
    fn a_library_with_an_owner_is_named_by_it_alone() {
        let edge = |package, library: &str| {
            messages(
                package,
                &format!("[dependencies]\n{library}.workspace = true"),
            )
        };
        assert_eq!(
            edge("headwater-plan", "arrow-array"),
            ["Cargo.toml:5: only `headwater-core` names `arrow-array`: \
              take it from `headwater_core::arrow`"]
        );
        assert_eq!(edge("headwater-state", "rusqlite").len(), 1);
        assert_eq!(edge("headwater", "pyo3").len(), 1);
        assert_eq!(edge("headwater-core", "arrow-array"), [""; 0]);
        assert_eq!(edge("headwater-log", "rusqlite"), [""; 0]);
        assert_eq!(edge("headwater-python", "pyo3-arrow"), [""; 0]);
        assert_eq!(edge("headwater-plan", "arrowhead"), [""; 0]);
    }

    #[test]
    fn a_crate_is_in_the_table_before_it_exists() {
        assert_eq!(
            messages("headwater-util", ""),
            ["Cargo.toml: crate `headwater-util` is not in the table of xtask/src/tidy/edges.rs"]
        );
    }

    #[test]
    fn the_workspaces_list_of_versions_gives_no_crate_anything() {
        let text = "[workspace.dependencies]\nrusqlite = \"1\"\n";
        assert_eq!(check("Cargo.toml", text), []);
        assert_eq!(messages("headwater-plan", text), [""; 0]);
    }
}
