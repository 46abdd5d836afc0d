//! All series in memory: found by name and labels, and by conditions on them.

use std::borrow::Cow;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;

use rusqlite::Connection;

use super::labels::{NAME, SeriesLabels};
use super::matcher::{Matcher, Test};
use crate::error::Result;
use crate::rows;
use crate::telemetry::Labels;

/// What the samples of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeriesKind {
    /// Readings: a value or the reason why there is none, with when it was known. All versions are kept.
    Reading,
    /// Metrics: one floating-point number per time, NaN and infinities among them.
    Metric,
}

impl SeriesKind {
    pub(crate) fn of(stored: i64) -> Self {
        if stored == 0 { Self::Reading } else { Self::Metric }
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) labels: SeriesLabels,
    pub(crate) kind: SeriesKind,
}

/// Ids in rising order.
type Ids = Vec<u32>;

/// About 300 bytes per series with six labels; label values are held once per label.
#[derive(Debug, Default)]
pub(crate) struct Index {
    hasher: RandomState,
    by_hash: HashMap<u64, u32>,
    /// Series whose hash another one has already; of 64 bits, so practically none.
    clashes: Vec<u32>,
    series: BTreeMap<u32, Entry>,
    /// Label → value → series; the name is the label `__name__`.
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Ids>>,
    metrics: usize,
}

impl Index {
    pub(crate) fn load(conn: &Connection) -> Result<Self> {
        let mut index = Self::default();
        let mut query = conn.prepare("SELECT id, name, labels, kind FROM series ORDER BY id")?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            let (id, name, kind): (u32, String, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
            let labels: Labels = rows::json(&row.get::<_, String>(2)?)?;
            let pairs: Vec<_> = labels.iter().map(|(l, v)| (l.as_str(), v.as_str())).collect();
            index.insert(id, &name, &pairs, SeriesKind::of(kind));
        }
        Ok(index)
    }

    /// Adds a series whose id is above all others; labels in order.
    pub(crate) fn insert(&mut self, id: u32, name: &str, labels: &[(&str, &str)], kind: SeriesKind) {
        let hash = self.hash(name, labels);
        match self.by_hash.entry(hash) {
            Slot::Vacant(free) => {
                free.insert(id);
            }
            Slot::Occupied(_) => self.clashes.push(id),
        }
        let name = self.post(NAME, name, id).1;
        let pairs = labels.iter().map(|(label, value)| self.post(label, value, id)).collect();
        self.metrics += usize::from(kind == SeriesKind::Metric);
        self.series.insert(id, Entry { labels: SeriesLabels { name, pairs }, kind });
    }

    fn post(&mut self, label: &str, value: &str, id: u32) -> (Arc<str>, Arc<str>) {
        let label: Arc<str> =
            self.postings.get_key_value(label).map_or_else(|| label.into(), |e| e.0.clone());
        let values = self.postings.entry(label.clone()).or_default();
        let value: Arc<str> = values.get_key_value(value).map_or_else(|| value.into(), |e| e.0.clone());
        values.entry(value.clone()).or_default().push(id);
        (label, value)
    }

    pub(crate) fn remove(&mut self, id: u32) {
        let Some(entry) = self.series.remove(&id) else { return };
        let labels = &entry.labels;
        let pairs: Vec<(&str, &str)> = labels.pairs.iter().map(|(l, v)| (&**l, &**v)).collect();
        let hash = self.hash(&labels.name, &pairs);
        if self.by_hash.get(&hash) == Some(&id) {
            self.by_hash.remove(&hash);
            // Another one with this hash takes its place.
            let same = |other: &u32| self.series.get(other).is_some_and(|e| self.hash_of(&e.labels) == hash);
            if let Some(at) = self.clashes.iter().position(same) {
                self.by_hash.insert(hash, self.clashes.swap_remove(at));
            }
        } else {
            self.clashes.retain(|other| *other != id);
        }
        self.unpost(NAME, &labels.name, id);
        labels.pairs.iter().for_each(|(label, value)| self.unpost(label, value, id));
        self.metrics -= usize::from(entry.kind == SeriesKind::Metric);
    }

    fn unpost(&mut self, label: &str, value: &str, id: u32) {
        let Some(values) = self.postings.get_mut(label) else { return };
        if let Some(ids) = values.get_mut(value) {
            if let Ok(at) = ids.binary_search(&id) {
                ids.remove(at);
            }
            if ids.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.postings.remove(label);
        }
    }

    fn hash(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        name.hash(&mut hasher);
        for (label, value) in labels {
            label.hash(&mut hasher);
            value.hash(&mut hasher);
        }
        hasher.finish()
    }

    fn hash_of(&self, labels: &SeriesLabels) -> u64 {
        let pairs: Vec<(&str, &str)> = labels.pairs.iter().map(|(l, v)| (&**l, &**v)).collect();
        self.hash(&labels.name, &pairs)
    }

    /// The series of exactly this name and these labels, which are in order.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<u32> {
        let first = *self.by_hash.get(&self.hash(name, labels))?;
        let is = |id: &u32| self.series.get(id).is_some_and(|entry| entry.labels.is(name, labels));
        if is(&first) { Some(first) } else { self.clashes.iter().copied().find(is) }
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Entry> {
        self.series.get(&id)
    }

    /// Series of metrics in total.
    pub(crate) fn metrics(&self) -> usize {
        self.metrics
    }

    /// Series of this name.
    pub(crate) fn named(&self, name: &str) -> usize {
        self.postings.get(NAME).and_then(|names| names.get(name)).map_or(0, Vec::len)
    }

    /// Up to `limit` series from this id on.
    pub(crate) fn from(&self, id: u32, limit: usize) -> impl Iterator<Item = (u32, &Entry)> {
        self.series.range(id..).take(limit).map(|(id, entry)| (*id, entry))
    }

    /// All labels in use, `__name__` among them, with their values.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<Arc<str>, Ids>)> {
        self.postings.iter()
    }

    /// The values of a label, in order.
    pub(crate) fn values(&self, label: &str) -> impl Iterator<Item = &Arc<str>> {
        self.postings.get(label).into_iter().flat_map(BTreeMap::keys)
    }

    /// The series that satisfy all conditions, in order of their ids.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Ids {
        // What an absent label satisfies cannot be looked up, only be taken away.
        let (loose, firm): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| m.accepts(""));
        let mut lists: Vec<Cow<'_, [u32]>> = firm.iter().map(|m| self.having(m)).collect();
        lists.sort_by_key(|list| list.len());
        let mut lists = lists.into_iter();
        let mut found = lists.next().map_or_else(|| self.series.keys().copied().collect(), Cow::into_owned);
        for list in lists {
            found.retain(|id| list.binary_search(id).is_ok());
        }
        for matcher in loose {
            self.take_away(&mut found, matcher);
        }
        found
    }

    /// The series whose label satisfies a condition that no absent label does.
    fn having(&self, matcher: &Matcher) -> Cow<'_, [u32]> {
        let Some(values) = self.postings.get(matcher.label.as_str()) else { return Cow::Borrowed(&[]) };
        let of = |value: &str| values.get(value).map_or(&[][..], Vec::as_slice);
        match &matcher.test {
            Test::Equal(value) => Cow::Borrowed(of(value)),
            Test::AnyOf(wanted) => Cow::Owned(union(wanted.iter().map(|value| of(value)))),
            Test::NotEqual(_) | Test::Predicate(_) => {
                let fitting = values.iter().filter(|(value, _)| matcher.accepts(value));
                Cow::Owned(union(fitting.map(|(_, ids)| ids.as_slice())))
            }
        }
    }

    fn take_away(&self, found: &mut Ids, matcher: &Matcher) {
        let Some(values) = self.postings.get(matcher.label.as_str()) else { return };
        if values.len() < found.len() {
            let unfit = values.iter().filter(|(value, _)| !matcher.accepts(value));
            let unfit = union(unfit.map(|(_, ids)| ids.as_slice()));
            found.retain(|id| unfit.binary_search(id).is_err());
        } else {
            found.retain(|id| self.series.get(id).is_some_and(|entry| matcher.matches(&entry.labels)));
        }
    }
}

fn union<'a>(lists: impl Iterator<Item = &'a [u32]>) -> Ids {
    let mut all: Ids = lists.flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(series: &[(u8, u8, u8)]) -> Index {
        let mut index = Index::default();
        for (id, (name, a, b)) in (1_u32..).zip(series) {
            let (name, a, b) = (format!("n{name}"), format!("{a}"), format!("{b}"));
            let labels: Vec<(&str, &str)> =
                [("a", a.as_str()), ("b", b.as_str())].into_iter().filter(|(_, v)| *v != "0").collect();
            index.insert(id, &name, &labels, SeriesKind::Metric);
        }
        index
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let label = prop_oneof![Just(NAME), Just("a"), Just("b"), Just("c")];
        let value = prop_oneof![Just(""), Just("1"), Just("2"), Just("n1"), Just("n2")];
        (label, value, 0..5_u8).prop_map(|(label, value, kind)| match kind {
            0 => Matcher::equal(label, value),
            1 => Matcher::not_equal(label, value),
            2 => Matcher::any_of(label, vec![value.into(), "3".into()]),
            3 => Matcher::predicate(label, move |v| v.ends_with(value)),
            _ => Matcher::predicate(label, move |v| v > value),
        })
    }

    proptest! {
        #[test]
        fn a_selection_is_what_trying_each_series_gives(
            series in prop::collection::vec((0..4_u8, 0..4_u8, 0..4_u8), 0..60),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            matchers in prop::collection::vec(matcher(), 0..4),
        ) {
            let mut index = index(&series);
            if !series.is_empty() {
                gone.iter().for_each(|at| index.remove(at.index(series.len()) as u32 + 1));
            }
            let fits = |entry: &Entry| matchers.iter().all(|m| m.matches(&entry.labels));
            let tried: Ids = index.from(0, 100).filter(|(_, e)| fits(e)).map(|(id, _)| id).collect();
            prop_assert_eq!(index.select(&matchers), tried);
        }
    }

    #[test]
    fn series_are_found_by_their_labels_and_leave_nothing_behind() {
        let mut index = index(&[(1, 1, 1), (1, 1, 0), (2, 1, 1)]);
        assert_eq!(index.find("n1", &[("a", "1")]), Some(2));
        assert_eq!(index.find("n1", &[("a", "2")]), None);
        assert_eq!((index.named("n1"), index.metrics()), (2, 3));
        (1..=3).for_each(|id| index.remove(id));
        assert!(index.find("n1", &[("a", "1")]).is_none() && index.postings.is_empty() && index.metrics == 0);
    }
}
