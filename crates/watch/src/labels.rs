//! Label sets that are shared, never copied: dropping the metric name costs a reference count.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use rustc_hash::FxHasher;

/// The label that carries the name of a metric.
pub const METRIC_NAME: &str = "__name__";

type Pair = (Arc<str>, Arc<str>);

/// The labels of a series: names and values, ordered by name, each name once, no empty value.
///
/// # Guarantees
/// Two sets are equal when they have the same pairs. The metric name is kept beside the other labels, so that
/// [`Labels::without_name`] shares everything. Cloning is one reference count.
#[derive(Clone)]
pub struct Labels {
    shared: Arc<Shared>,
    /// Whether the name that is shared does not count.
    nameless: bool,
}

struct Shared {
    name: Option<Arc<str>>,
    /// Ordered by name, without the metric name.
    pairs: Box<[Pair]>,
    /// Of the pairs.
    hash: u64,
}

static NONE: LazyLock<Arc<Shared>> =
    LazyLock::new(|| Arc::new(Shared { name: None, pairs: Box::new([]), hash: hash_pairs([]) }));

impl Labels {
    /// No labels at all.
    pub fn empty() -> Self {
        Self { shared: Arc::clone(&NONE), nameless: true }
    }

    /// From pairs in any order; of a repeated name the last value counts, an empty value means "no such label".
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut name = None;
        let mut rest: Vec<Pair> = Vec::new();
        for (label, value) in pairs {
            let (label, value) = (label.into(), value.into());
            if &*label == METRIC_NAME {
                name = (!value.is_empty()).then_some(value);
            } else {
                rest.push((label, value));
            }
        }
        rest.sort_by(|a, b| a.0.cmp(&b.0));
        // A stable sort keeps the order of repeated names: keep the last of each run.
        let mut unique: Vec<Pair> = Vec::with_capacity(rest.len());
        for pair in rest {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        unique.retain(|(_, value)| !value.is_empty());
        Self::of_sorted(name, unique.into())
    }

    /// From a name and labels that are in strict order of their names, none empty.
    pub fn of_ordered(name: Option<Arc<str>>, pairs: &[(Arc<str>, Arc<str>)]) -> Self {
        debug_assert!(pairs.is_sorted_by(|a, b| a.0 < b.0), "labels in strict order");
        Self::of_sorted(name, pairs.into())
    }

    fn of_sorted(name: Option<Arc<str>>, pairs: Box<[Pair]>) -> Self {
        if pairs.is_empty() && name.is_none() {
            return Self::empty();
        }
        let hash = hash_pairs(pairs.iter().map(view));
        Self { nameless: name.is_none(), shared: Arc::new(Shared { name, pairs, hash }) }
    }

    /// The name of the metric, when there is one.
    pub fn name(&self) -> Option<&str> {
        self.owned_name().map(|name| &**name)
    }

    fn owned_name(&self) -> Option<&Arc<str>> {
        self.shared.name.as_ref().filter(|_| !self.nameless)
    }

    /// The value of a label, empty when the set does not have it.
    pub fn get(&self, label: &str) -> &str {
        if label == METRIC_NAME {
            return self.name().unwrap_or_default();
        }
        self.find(label).map_or("", |index| &self.shared.pairs[index].1)
    }

    /// Position of a label among the others than the metric name.
    fn find(&self, label: &str) -> Option<usize> {
        let pairs = &self.shared.pairs;
        if pairs.len() > 8 {
            return pairs.binary_search_by(|(name, _)| (**name).cmp(label)).ok();
        }
        pairs.iter().position(|(name, _)| &**name == label)
    }

    /// Names and values ordered by name, the metric name among them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let split = self.shared.pairs.partition_point(|(name, _)| &**name < METRIC_NAME);
        let (before, after) = self.shared.pairs.split_at(split);
        let name = self.name().map(|name| (METRIC_NAME, name));
        before.iter().map(view).chain(name).chain(after.iter().map(view))
    }

    /// Names and values ordered by name, without the metric name.
    pub fn rest(&self) -> impl Iterator<Item = (&str, &str)> {
        self.shared.pairs.iter().map(view)
    }

    fn same_rest(&self, other: &Self) -> bool {
        let (one, other) = (&self.shared, &other.shared);
        Arc::ptr_eq(one, other) || (one.hash == other.hash && one.pairs == other.pairs)
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.name().is_none() && self.shared.pairs.is_empty()
    }

    /// The same labels without the metric name.
    pub fn without_name(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), nameless: true }
    }

    /// The same labels with one changed, added, or (with an empty value) removed.
    pub fn with(&self, label: &str, value: &str) -> Self {
        if label == METRIC_NAME {
            let name = (!value.is_empty()).then(|| Arc::from(value));
            return Self::of_sorted(name, self.shared.pairs.clone());
        }
        if self.get(label) == value {
            return self.clone();
        }
        let mut pairs = self.shared.pairs.to_vec();
        let place = pairs.binary_search_by(|(name, _)| (**name).cmp(label));
        match place {
            Ok(index) if value.is_empty() => {
                pairs.remove(index);
            }
            Ok(index) => pairs[index].1 = Arc::from(value),
            Err(index) => pairs.insert(index, (Arc::from(label), Arc::from(value))),
        }
        Self::of_sorted(self.owned_name().cloned(), pairs.into())
    }

    /// Only the labels of `names`.
    pub fn keep(&self, names: &[Arc<str>]) -> Self {
        Subset { labels: self, kept: Kept::Only(names) }.to_labels()
    }

    /// All labels but those of `names`; the metric name stays unless it is named.
    pub fn remove(&self, names: &[Arc<str>]) -> Self {
        if names.is_empty() {
            return self.clone();
        }
        let named = names.iter().any(|n| &**n == METRIC_NAME);
        let part = Subset { labels: self, kept: Kept::AllBut(names) };
        Self::of_sorted(self.owned_name().filter(|_| !named).cloned(), part.pairs().cloned().collect())
    }
}

fn view(pair: &Pair) -> (&str, &str) {
    (&pair.0, &pair.1)
}

fn hash_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hasher = FxHasher::default();
    for (name, value) in pairs {
        name.hash(&mut hasher);
        value.hash(&mut hasher);
    }
    hasher.finish()
}

fn hash_whole<H: Hasher>(name: Option<&str>, rest: u64, state: &mut H) {
    state.write_u64(rest);
    if let Some(name) = name {
        name.hash(state);
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_whole(self.name(), self.shared.hash, state);
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.same_rest(other)
    }
}

impl Eq for Labels {}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// As Prometheus writes a set: `{__name__="up", job="node"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<N: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::new(pairs)
    }
}

/// Which labels count when series are grouped or matched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept<'a> {
    /// `by (…)` and `on (…)`; the metric name only when it is named.
    Only(&'a [Arc<str>]),
    /// `without (…)` and `ignoring (…)`; the metric name never counts.
    AllBut(&'a [Arc<str>]),
}

/// A part of a label set, found in a map of whole sets without building it first.
#[derive(Clone, Copy)]
pub(crate) struct Subset<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) kept: Kept<'a>,
}

impl Subset<'_> {
    fn name(&self) -> Option<&str> {
        match self.kept {
            Kept::Only(names) if names.iter().any(|n| &**n == METRIC_NAME) => self.labels.name(),
            _ => None,
        }
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.labels.shared.pairs.iter().filter(|(name, _)| match self.kept {
            Kept::Only(names) => names.contains(name),
            Kept::AllBut(names) => !names.contains(name),
        })
    }

    fn is_rest(&self) -> bool {
        matches!(self.kept, Kept::AllBut([]))
    }

    /// The part as a set of its own.
    pub(crate) fn to_labels(self) -> Labels {
        if self.is_rest() {
            return self.labels.without_name();
        }
        let name = self.name().and(self.labels.owned_name().cloned());
        Labels::of_sorted(name, self.pairs().cloned().collect())
    }
}

impl Hash for Subset<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let rest = if self.is_rest() { self.labels.shared.hash } else { hash_pairs(self.pairs().map(view)) };
        hash_whole(self.name(), rest, state);
    }
}

impl indexmap::Equivalent<Labels> for Subset<'_> {
    fn equivalent(&self, key: &Labels) -> bool {
        if self.name() != key.name() {
            return false;
        }
        if self.is_rest() {
            return self.labels.same_rest(key);
        }
        self.pairs().eq(key.shared.pairs.iter())
    }
}

/// A map by labels that keeps the order of insertion, so that results never depend on hashes.
pub(crate) type LabelIndex<V> = indexmap::IndexMap<Labels, V, rustc_hash::FxBuildHasher>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_ordered_without_repeats_and_empty_values() {
        let labels = Labels::new([("b", "2"), ("__name__", "up"), ("a", "0"), ("a", "1"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"{__name__="up", a="1", b="2"}"#);
        assert_eq!((labels.get("b"), labels.get("c"), labels.name()), ("2", "", Some("up")));
        assert_eq!(labels.without_name().to_string(), r#"{a="1", b="2"}"#);
    }

    #[test]
    fn upper_case_names_come_before_the_metric_name() {
        let labels = Labels::new([("a", "1"), ("__name__", "up"), ("Z", "2")]);
        assert_eq!(labels.to_string(), r#"{Z="2", __name__="up", a="1"}"#);
    }

    #[test]
    fn a_changed_set_equals_one_built_anew() {
        let labels = Labels::new([("a", "1"), ("b", "2")]);
        assert_eq!(labels.with("c", "3"), Labels::new([("a", "1"), ("b", "2"), ("c", "3")]));
        assert_eq!(labels.with("a", ""), Labels::new([("b", "2")]));
        assert_eq!(labels.with(METRIC_NAME, "m").without_name(), labels);
    }

    #[test]
    fn a_part_is_found_in_a_map_of_whole_sets() {
        let labels = Labels::new([("__name__", "up"), ("a", "1"), ("b", "2")]);
        let names: Vec<Arc<str>> = vec!["a".into()];
        for kept in [Kept::Only(&names), Kept::AllBut(&names), Kept::AllBut(&[]), Kept::Only(&[])] {
            let part = Subset { labels: &labels, kept };
            let mut index = LabelIndex::default();
            index.insert(part.to_labels(), 7);
            assert_eq!(index.get(&part), Some(&7), "{kept:?}");
        }
    }
}
