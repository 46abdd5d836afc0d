//! Rules every crate keeps: the workspace's lints, one sentence about itself, documentation, one test binary.

use std::collections::BTreeSet;

use super::Problem;
use crate::tree::Tree;
use crate::workspace::Workspace;

const LONGEST_DESCRIPTION: usize = 160;

/// Every manifest takes the lints of the workspace.
pub(super) fn lints(workspace: &Workspace, tree: &Tree) -> Vec<Problem> {
    let taken = |text: &str| {
        let manifest: toml::Table = text.parse().ok()?;
        manifest.get("lints")?.get("workspace")?.as_bool()
    };
    let manifests = workspace.members().map(|package| format!("{}/Cargo.toml", package.folder));
    manifests
        .filter(|path| tree.text(path).and_then(taken) != Some(true))
        .map(|path| {
            Problem::in_file(&path, "the workspace's lints are not taken: add `[lints] workspace = true`")
        })
        .collect()
}

/// Every crate says in one line what it is for.
pub(super) fn descriptions(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in workspace.members() {
        let description = package.description.as_deref().unwrap_or_default().trim();
        if description.is_empty()
            || description.contains('\n')
            || description.chars().count() > LONGEST_DESCRIPTION
        {
            let message = format!("`description` must be one line of 1 to {LONGEST_DESCRIPTION} characters");
            problems.push(Problem::in_file(&format!("{}/Cargo.toml", package.folder), message));
        }
    }
    problems
}

/// Every crate's root file starts with its documentation.
pub(super) fn docs(workspace: &Workspace, tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in workspace.members() {
        let roots = ["lib.rs", "main.rs"].map(|file| format!("{}/src/{file}", package.folder));
        let Some((path, text)) = roots.iter().find_map(|path| Some((path, tree.text(path)?))) else {
            let message = "the crate has neither src/lib.rs nor src/main.rs";
            problems.push(Problem::in_file(&format!("{}/Cargo.toml", package.folder), message));
            continue;
        };
        if !text.trim_start().starts_with("//! ") {
            problems.push(Problem::at(path, 1, "crate documentation (`//! …`) must come first"));
        }
    }
    problems
}

/// Integration tests of a crate are one binary, `tests/it/main.rs`: each further one costs a link.
pub(super) fn one_test_binary(workspace: &Workspace, tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in workspace.members() {
        let start = format!("{}/tests/", package.folder);
        let inside = tree.texts().filter_map(|(path, _)| path.strip_prefix(&start));
        let binaries: BTreeSet<&str> =
            inside.filter(|path| is_test_root(path) && *path != "it/main.rs").collect();
        problems.extend(binaries.into_iter().map(|path| {
            let message = "integration tests of a crate are one binary: move this into tests/it/";
            Problem::in_file(&format!("{start}{path}"), message)
        }));
    }
    problems
}

fn is_test_root(path: &str) -> bool {
    match path.split_once('/') {
        None => path.ends_with(".rs"),
        Some((_, rest)) => rest == "main.rs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::member;

    fn one() -> Workspace {
        Workspace { packages: vec![member("sos-units", "crates/units", &[])], ..Workspace::default() }
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        let with = |text| lints(&one(), &Tree::of(&[("crates/units/Cargo.toml", text)])).len();
        assert_eq!(with("[package]\nname = \"sos-units\"\n"), 1);
        assert_eq!(with("[lints]\nworkspace = false\n"), 1);
        assert_eq!(with("[lints]\nworkspace = true\n"), 0);
    }

    #[test]
    fn a_crate_without_a_sentence_is_found() {
        let mut workspace = one();
        assert!(descriptions(&workspace).is_empty());
        for bad in [None, Some(String::new()), Some("two\nlines".to_owned()), Some("x".repeat(200))] {
            workspace.packages[0].description = bad;
            assert_eq!(descriptions(&workspace).len(), 1);
        }
    }

    #[test]
    fn a_crate_without_documentation_is_found() {
        let with = |path, text| docs(&one(), &Tree::of(&[(path, text)])).len();
        assert_eq!(with("crates/units/src/lib.rs", "mod a;\n"), 1);
        assert_eq!(with("crates/units/src/other.rs", "//! Fine.\n"), 1);
        assert_eq!(with("crates/units/src/lib.rs", "//! Quantities.\nmod a;\n"), 0);
    }

    #[test]
    fn a_second_test_binary_is_found() {
        let files = ["it/main.rs", "it/cases.rs", "more.rs", "slow/main.rs"]
            .map(|f| format!("crates/units/tests/{f}"));
        let files: Vec<(&str, &str)> = files.iter().map(|f| (f.as_str(), "")).collect();
        let found: Vec<String> =
            one_test_binary(&one(), &Tree::of(&files)).into_iter().map(|problem| problem.path).collect();
        assert_eq!(found, ["crates/units/tests/more.rs", "crates/units/tests/slow/main.rs"]);
    }
}
