//! What is wrong with a workflow document, told to people.

use std::fmt;

use sos_model::Position;

/// The most problems of one document that are listed.
pub const MAX_PROBLEMS: usize = 500;

/// Which question a problem answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The text is no YAML or JSON within the limits.
    Text,
    /// The document is not what the schema of the DSL allows.
    Schema,
    /// The schema allows it, but it cannot work: a name that is not declared, a schedule that never comes.
    Meaning,
}

/// One thing that is wrong with a document. Shown as `line:column: path: message; help`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which question it answers.
    pub kind: ProblemKind,
    /// Where it stands; [`Position::NONE`] when the document was not read from a text.
    pub position: Position,
    /// The value in the document, `do[2].callPet.with.endpoint`; empty for the document as a whole.
    pub path: String,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// What was expected, what is known there, what to do; may be empty.
    pub help: String,
}

impl Problem {
    /// The same problem as one of a file, as manifests report them.
    #[must_use]
    pub fn in_file(&self, file: &str) -> sos_model::Problem {
        let message = match self.path.as_str() {
            "" => self.message.clone(),
            path => format!("{path}: {}", self.message),
        };
        sos_model::Problem::at(file, self.position, message, self.help.clone())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.position.line > 0 {
            write!(f, "{}:{}: ", self.position.line, self.position.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a document, at least one thing, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    all: Vec<Problem>,
    more: bool,
}

impl Problems {
    /// All of them, or the first when there are `more`; `None` when nothing is wrong.
    pub(crate) fn of(mut all: Vec<Problem>, more: bool) -> Option<Self> {
        all.sort_by_key(|problem| problem.position);
        (!all.is_empty()).then_some(Self { all, more })
    }

    /// The only one.
    pub(crate) fn one(problem: Problem) -> Self {
        Self { all: vec![problem], more: false }
    }

    /// All that are listed, and whether there are more.
    pub(crate) fn into_parts(self) -> (Vec<Problem>, bool) {
        (self.all, self.more)
    }

    /// All, in the order of the text.
    #[must_use]
    pub fn all(&self) -> &[Problem] {
        &self.all
    }

    /// Whether there are more than [`MAX_PROBLEMS`], so that not all are listed.
    #[must_use]
    pub fn are_more(&self) -> bool {
        self.more
    }

    /// Whether the schema of the DSL is broken, not only what the document means.
    #[must_use]
    pub fn breaks_schema(&self) -> bool {
        self.all.iter().any(|problem| problem.kind != ProblemKind::Meaning)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.all.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        if self.more {
            f.write_str("\nand more; mend these first")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u32) -> Problem {
        Problem {
            kind: ProblemKind::Meaning,
            position: Position { line, column: 3 },
            path: "do[0].a".to_owned(),
            message: "no such thing".to_owned(),
            help: "known: b".to_owned(),
        }
    }

    #[test]
    fn problems_are_shown_in_the_order_of_the_text() {
        let problems = Problems::of(vec![problem(7), problem(2)], true).unwrap();
        assert_eq!(
            problems.to_string(),
            "2:3: do[0].a: no such thing; known: b\n7:3: do[0].a: no such thing; known: b\nand more; mend these first"
        );
        assert!(!problems.breaks_schema());
        assert_eq!(Problems::of(vec![], false), None);
    }

    #[test]
    fn a_problem_becomes_one_of_a_file() {
        let shown = problem(4).in_file("w.yaml").to_string();
        assert_eq!(shown, "w.yaml:4:3: do[0].a: no such thing; known: b");
    }
}
