//! Rules of the project that neither compiler nor clippy know. Each is a function from what is in the repository
//! to problems; to add one, write the function with a test that shows it failing and add a line to [`RULES`].

mod crates;
pub(crate) mod decisions;
mod docs;
mod layers;
mod readme;
mod source;

use std::fmt;
use std::path::Path;

use crate::Outcome;
use crate::tree::Tree;
use crate::workspace::Workspace;

/// All that a rule may look at.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) tree: Tree,
    pub(crate) workspace: Workspace,
}

/// Something a rule objects to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: String,
    /// 1-based; 0 when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) message: String,
    /// Printed, but does not fail the check.
    pub(crate) warning: bool,
}

impl Problem {
    pub(crate) fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into(), warning: false }
    }

    pub(crate) fn in_file(path: &str, message: impl Into<String>) -> Self {
        Self::at(path, 0, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.warning { "warning: " } else { "" };
        match self.line {
            0 => write!(f, "{}: {severity}{}", self.path, self.message),
            line => write!(f, "{}:{line}: {severity}{}", self.path, self.message),
        }
    }
}

type Rule = fn(&Repository) -> Vec<Problem>;

/// Every rule with the name printed behind its problems.
const RULES: &[(&str, Rule)] = &[
    ("layer-edges", |r| layers::edges(&r.workspace)),
    ("layer-closure", |r| layers::closures(&r.workspace)),
    ("pure-layers", |r| layers::pure_sources(&r.tree)),
    ("words", |r| source::words(&r.tree)),
    ("sleeps", |r| source::sleeps(&r.tree)),
    ("length", |r| source::length(&r.tree)),
    ("machine-paths", |r| source::machine_paths(&r.tree)),
    ("crate-lints", |r| crates::lints(&r.workspace, &r.tree)),
    ("crate-description", |r| crates::descriptions(&r.workspace)),
    ("crate-docs", |r| crates::docs(&r.workspace, &r.tree)),
    ("one-test-binary", |r| crates::one_test_binary(&r.workspace, &r.tree)),
    ("code-map", |r| docs::code_map(&r.workspace, &r.tree)),
    ("doc-paths", |r| docs::paths(&r.tree)),
    ("decisions", |r| decisions::headings(&r.tree)),
    ("decision-index", |r| decisions::index(&r.tree)),
    ("readme-twins", |r| readme::twins(&r.tree)),
];

/// Runs every rule and prints what they object to.
///
/// # Errors
/// When git or cargo cannot be asked.
pub(crate) fn run(root: &Path) -> Result<Outcome, String> {
    let tree = Tree::load(root)?;
    let workspace = Workspace::load(root, |name| layers::layer(name).is_some_and(|layer| layer <= 2))?;
    let repository = Repository { tree, workspace };
    let mut failed = 0;
    for (name, rule) in RULES {
        for problem in rule(&repository) {
            println!("{problem} [{name}]");
            failed += usize::from(!problem.warning);
        }
    }
    if failed == 0 {
        println!("tidy: {} rules hold", RULES.len());
        return Ok(Outcome::Done);
    }
    println!("tidy: {failed} problem(s)");
    Ok(Outcome::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_names_are_unique() {
        let names: std::collections::BTreeSet<_> = RULES.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), RULES.len());
    }

    #[test]
    fn a_problem_reads_like_a_compiler_message() {
        assert_eq!(Problem::at("a.rs", 3, "no").to_string(), "a.rs:3: no");
        let warning = Problem { warning: true, ..Problem::in_file("a.rs", "long") };
        assert_eq!(warning.to_string(), "a.rs: warning: long");
    }
}
