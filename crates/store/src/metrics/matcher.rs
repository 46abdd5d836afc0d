//! Conditions on labels.

use std::fmt;
use std::sync::Arc;

use super::labels::{NAME, SeriesLabels};

/// A condition on one label. A series without the label has it with an empty value; `__name__` is the series' name.
#[derive(Clone)]
pub struct Matcher {
    pub(crate) label: String,
    pub(crate) test: Test,
}

#[derive(Clone)]
pub(crate) enum Test {
    Equal(String),
    NotEqual(String),
    AnyOf(Vec<String>),
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Matcher {
    /// The series' name is `name`.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self::equal(NAME, name)
    }

    /// The label has this value; looked up, not tried.
    #[must_use]
    pub fn equal(label: &str, value: &str) -> Self {
        Self { label: label.to_owned(), test: Test::Equal(value.to_owned()) }
    }

    /// The label has another value.
    #[must_use]
    pub fn not_equal(label: &str, value: &str) -> Self {
        Self { label: label.to_owned(), test: Test::NotEqual(value.to_owned()) }
    }

    /// The label has one of these values; looked up, not tried.
    #[must_use]
    pub fn any_of(label: &str, values: Vec<String>) -> Self {
        Self { label: label.to_owned(), test: Test::AnyOf(values) }
    }

    /// The label's value satisfies `test` (a regular expression, or its negation), which is asked once for each
    /// different value at most and must always answer the same for the same value. It is asked while nothing can be
    /// written, so it must be quick and not call the store.
    #[must_use]
    pub fn predicate(label: &str, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { label: label.to_owned(), test: Test::Predicate(Arc::new(test)) }
    }

    /// Whether a value of the label satisfies it.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(wanted) => wanted == value,
            Test::NotEqual(other) => other != value,
            Test::AnyOf(wanted) => wanted.iter().any(|one| one == value),
            Test::Predicate(test) => test(value),
        }
    }

    /// Whether a series satisfies it.
    #[must_use]
    pub fn matches(&self, labels: &SeriesLabels) -> bool {
        self.accepts(labels.get(&self.label))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Test::Equal(value) => write!(f, "{}={value:?}", self.label),
            Test::NotEqual(value) => write!(f, "{}!={value:?}", self.label),
            Test::AnyOf(values) => write!(f, "{} in {values:?}", self.label),
            Test::Predicate(_) => write!(f, "{} by a predicate", self.label),
        }
    }
}
