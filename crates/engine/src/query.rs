//! Everything that the store keeps as series, for queries: telemetry of sites, metrics, and what rules record.
//!
//! A series of telemetry is the metric of its name with its labels. Of several values for a time the one that was known
//! last counts; where a value is missing, with whatever reason, the series has ended until the next one comes, so that
//! a query does not take an older value for it. Telemetry is on the time of its site, metrics are on wall time.

use std::collections::BTreeSet;
use std::sync::Arc;

use sos_store::{Aggregate, Select, Selected, SeriesLabels, Store, StoreError};
use sos_watch::{Labels, MatchOp, Matcher, Sample, Selection, Series, Source, SourceError};

pub use crate::site::telemetry::{DESCRIBED, Described};

/// What is stored; see the module.
#[derive(Clone, Debug)]
pub struct Stored(Store);

impl Stored {
    /// The series of a store.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self(store)
    }

    /// The label sets of series that satisfy all matchers of at least one set and have samples from `start_ms` to
    /// `end_ms`, in order, each once.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn labels(
        &self,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Labels>, SourceError> {
        let mut found = Vec::new();
        for set in sets {
            let entries = self.0.find_series(&conditions(set), Some((start_ms, end_ms))).map_err(failed)?;
            found.extend(entries.iter().map(|entry| labels_of(&entry.labels)));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

impl Stored {
    /// The names of the labels of those series, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<BTreeSet<Arc<str>>, SourceError> {
        union(sets, |set| self.0.label_names(&conditions(set), Some((start_ms, end_ms))))
    }

    /// The values of a label of those series, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn label_values(
        &self,
        label: &str,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<BTreeSet<Arc<str>>, SourceError> {
        union(sets, |set| self.0.label_values(label, &conditions(set), Some((start_ms, end_ms))))
    }
}

fn union(
    sets: &[Vec<Matcher>],
    mut read: impl FnMut(&[Matcher]) -> Result<Vec<Arc<str>>, StoreError>,
) -> Result<BTreeSet<Arc<str>>, SourceError> {
    let mut all = BTreeSet::new();
    for set in sets {
        all.extend(read(set).map_err(failed)?);
    }
    all.retain(|name| !name.is_empty());
    Ok(all)
}

impl Source for Stored {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, SourceError> {
        let select = Select {
            matchers: &conditions(selection.matchers),
            times: (selection.start_ms, selection.end_ms),
            aggregate: aggregate(selection),
            max_samples: selection.max_samples,
        };
        let found = self.0.select(&select).map_err(failed)?;
        let mut all: Vec<Series> = found.series.into_iter().map(series).collect();
        // Sums add up in the order of the labels, as in Prometheus, so that they are the same to the last digit.
        all.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }
}

fn series(selected: Selected) -> Series {
    let samples = selected.times.iter().zip(&selected.values).map(|(&t, &v)| Sample { t, v });
    Series::new(labels_of(&selected.labels), Arc::new(samples.collect()))
}

fn labels_of(labels: &SeriesLabels) -> Labels {
    Labels::of_ordered(Some(Arc::clone(labels.name())), labels.pairs())
}

fn conditions(matchers: &[Matcher]) -> Vec<sos_store::Matcher> {
    matchers.iter().map(condition).collect()
}

/// A few known values are looked up in the index, everything else is tried.
fn condition(matcher: &Matcher) -> sos_store::Matcher {
    match (matcher.op(), matcher.alternatives()) {
        (MatchOp::Equal, _) => sos_store::Matcher::equal(matcher.name(), matcher.value()),
        (MatchOp::NotEqual, _) => sos_store::Matcher::not_equal(matcher.name(), matcher.value()),
        (_, Some(values)) => {
            sos_store::Matcher::any_of(matcher.name(), values.into_iter().map(ToOwned::to_owned).collect())
        }
        (_, None) => {
            let own = matcher.clone();
            sos_store::Matcher::predicate(matcher.name(), move |value| own.matches(value))
        }
    }
}

/// What stands for samples that are gone, by the function that asks and, as Prometheus' conventions have it, by the name
/// of the metric.
fn aggregate(selection: &Selection<'_>) -> Aggregate {
    let name = selection.matchers.iter().find_map(Matcher::metric_name).unwrap_or_default();
    let counts = ["_total", "_count", "_sum", "_bucket"].iter().any(|ending| name.ends_with(ending));
    match selection.function {
        "rate" | "irate" | "increase" | "resets" => Aggregate::Counter,
        "max_over_time" | "ts_of_max_over_time" => Aggregate::Max,
        "min_over_time" | "ts_of_min_over_time" => Aggregate::Min,
        "sum_over_time" => Aggregate::Sum,
        "avg_over_time" => Aggregate::Average,
        _ if counts => Aggregate::Counter,
        _ => Aggregate::Last,
    }
}

fn failed(error: StoreError) -> SourceError {
    match error {
        StoreError::TooMany { samples, .. } => SourceError::TooMany { samples },
        other => SourceError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use sos_store::Options;
    use sos_units::Missing;
    use sos_watch::{Answer, Query};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_470_000_000 + second).unwrap()
    }

    /// Two assets each minute for an hour, the second one without a value in the last ten minutes.
    fn stored(dir: &std::path::Path) -> Stored {
        let store = Store::open(dir, Options::default()).unwrap();
        let ids: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|asset| {
                let labels = BTreeMap::from([("asset".to_owned(), asset.to_owned())]);
                store.commit(|tx| tx.series_id("asset_power_kw", &labels)).unwrap()
            })
            .collect();
        let sample = |series: usize, minute: i64| sos_store::Sample {
            series: ids[series],
            time: at(minute * 60),
            known_at: at(minute * 60),
            value: if series == 1 && minute > 50 { Err(Missing::Stale) } else { Ok(minute as f64) },
        };
        let all: Vec<_> = (0..=60).flat_map(|minute| [sample(0, minute), sample(1, minute)]).collect();
        store.commit(|tx| tx.append_samples(&all)).unwrap();
        Stored::new(store)
    }

    fn ask(stored: &Stored, query: &str, second: i64) -> Vec<(String, f64)> {
        let time = at(second).as_millisecond();
        let answer = Query::parse(query).unwrap().instant(stored, time, &sos_watch::Options::default());
        let Answer::Vector(all) = answer.unwrap() else { panic!("no vector") };
        all.iter().map(|one| (one.labels.get("asset").to_owned(), one.samples[0].v)).collect()
    }

    #[test]
    fn telemetry_is_queried_and_what_is_missing_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let stored = stored(dir.path());
        let both = vec![("a".to_owned(), 50.0), ("b".to_owned(), 50.0)];
        assert_eq!(ask(&stored, "asset_power_kw", 50 * 60), both);
        assert_eq!(ask(&stored, "asset_power_kw", 51 * 60), [("a".to_owned(), 51.0)]);
        assert_eq!(
            ask(&stored, "sum(avg_over_time(asset_power_kw[11m]))", 60 * 60),
            [(String::new(), 104.0)]
        );
        assert!(ask(&stored, "asset_power_kw{asset=\"c\"}", 600).is_empty());
    }

    #[test]
    fn series_are_found_by_matchers_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let stored = stored(dir.path());
        let find = |selector: &str, from: i64| {
            let set = sos_watch::promql::parse_selector(selector).unwrap();
            let (from, to) = (at(from).as_millisecond(), at(7200).as_millisecond());
            stored.labels(&[set], from, to).unwrap().len()
        };
        assert_eq!((find("{asset=~\"a|b\"}", 0), find("{asset=\"b\"}", 0), find("up", 0)), (2, 1, 0));
        assert_eq!(find("{asset=~\"a|b\"}", 3700), 0);
    }

    #[test]
    fn too_many_samples_are_refused_with_the_count() {
        let dir = tempfile::tempdir().unwrap();
        let stored = stored(dir.path());
        let limits = sos_watch::Limits { max_samples: 30, ..Default::default() };
        let options = sos_watch::Options { limits, ..Default::default() };
        let query = Query::parse("asset_power_kw[1h]").unwrap();
        let error = query.instant(&stored, at(3600).as_millisecond(), &options).unwrap_err();
        assert!(error.to_string().contains("61"), "{error}");
    }
}
