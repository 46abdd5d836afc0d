//! Unit tests of rules, in promtool's file format and with its verdicts.
//!
//! A test file names rule files and gives series; the rules are evaluated over them step by step, and alerts and
//! results of expressions are compared with what is expected. Files are handed in: nothing here reads any.

mod compare;
mod file;
mod run;
mod store;

use std::fmt;

use sos_model::{Position, Problem};

pub use run::run;

/// Where the rule files of a test come from.
pub trait RuleFiles {
    /// The files that a pattern such as `rules/*.yml` matches, by their paths and in order of them. A pattern that
    /// matches none gives none.
    ///
    /// # Errors
    /// When the pattern is none, or a file cannot be read.
    fn matching(&self, pattern: &str) -> Result<Vec<(String, Vec<u8>)>, String>;
}

/// What a test file gave.
#[derive(Clone, Debug, Default)]
pub struct FileReport {
    pub path: String,
    /// What is wrong with the files themselves; then no test was run.
    pub problems: Vec<Problem>,
    /// What is no failure but surely not meant.
    pub warnings: Vec<String>,
    pub tests: Vec<TestReport>,
}

/// What one of the `tests` of a file gave.
#[derive(Clone, Debug, Default)]
pub struct TestReport {
    /// As written, or `unnamed#N`.
    pub name: String,
    /// Expectations that were compared.
    pub compared: usize,
    pub failures: Vec<Failure>,
}

/// One expectation that was not met, or what kept it from being compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where the expectation is written.
    pub place: Position,
    pub message: String,
}

impl FileReport {
    /// Whether all is well.
    pub fn passed(&self) -> bool {
        self.problems.is_empty() && self.tests.iter().all(|test| test.failures.is_empty())
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared: usize = self.tests.iter().map(|test| test.compared).sum();
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        writeln!(f, "{}: {verdict} ({} tests, {compared} expectations)", self.path, self.tests.len())?;
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        for test in &self.tests {
            for failure in &test.failures {
                let Position { line, column } = failure.place;
                writeln!(f, "  {}:{line}:{column}: test {:?}: {}", self.path, test.name, failure.message)?;
            }
        }
        Ok(())
    }
}
