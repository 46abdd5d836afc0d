//! What a series of metrics is called.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The label that stands for the name of a series.
pub(crate) const NAME: &str = "__name__";

/// Name and labels of a series as a caller has them: labels in any order, without `__name__`; one with an empty value
/// is the same as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricKey<'a> {
    /// The name.
    pub name: &'a str,
    /// Pairs of label and value.
    pub labels: &'a [(&'a str, &'a str)],
}

impl<'a> MetricKey<'a> {
    /// The labels as they are stored: ordered, none empty. Copied only when they are not so yet.
    pub(crate) fn normal(&self) -> Cow<'a, [(&'a str, &'a str)]> {
        let ordered = self.labels.windows(2).all(|w| w[0].0 < w[1].0);
        if ordered && self.labels.iter().all(|(_, value)| !value.is_empty()) {
            return Cow::Borrowed(self.labels);
        }
        let mut labels = self.labels.to_vec();
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        Cow::Owned(labels)
    }
}

/// A label and its value.
type Pair = (Arc<str>, Arc<str>);

/// Name and labels of a series, shared: a clone costs two reference counts. Labels are in order of their names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesLabels {
    pub(crate) name: Arc<str>,
    pub(crate) pairs: Arc<[Pair]>,
}

impl SeriesLabels {
    /// The name of the series.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Labels and values, in order of the labels, without the name.
    #[must_use]
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.pairs
    }

    /// The value of a label, empty when there is none; `__name__` is the name.
    #[must_use]
    pub fn get(&self, label: &str) -> &str {
        if label == NAME {
            return &self.name;
        }
        let found = self.pairs.iter().find(|(name, _)| &**name == label);
        found.map_or("", |(_, value)| value)
    }

    /// Whether these are that name and those labels, which are in order.
    pub(crate) fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let same = |(mine, theirs): (&Pair, &(&str, &str))| *mine.0 == *theirs.0 && *mine.1 == *theirs.1;
        *self.name == *name && self.pairs.len() == labels.len() && self.pairs.iter().zip(labels).all(same)
    }
}

impl fmt::Debug for SeriesLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        f.debug_map().entries(self.pairs.iter().map(|(label, value)| (label, value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_empty_labels_make_no_difference() {
        let given = MetricKey { name: "up", labels: &[("job", "a"), ("instance", "b"), ("none", "")] };
        assert_eq!(&*given.normal(), [("instance", "b"), ("job", "a")]);
        let ordered = MetricKey { name: "up", labels: &[("instance", "b"), ("job", "a")] };
        assert!(matches!(ordered.normal(), Cow::Borrowed(_)));
    }
}
