//! Everything that the store keeps as series, for queries.
//!
//! A series of telemetry is the metric of its name with its labels. Of several values for a time the one that was known
//! last counts; where a value is missing, with whatever reason, the series has ended until the next one comes, so that
//! a query does not take an older value for it.

use std::sync::Arc;

use jiff::Timestamp;
use sos_store::{SeriesInfo, Store, StoreError};
use sos_watch::labels::METRIC_NAME;
use sos_watch::{Labels, Matcher, STALE, Sample, Selection, Series, Source, SourceError};

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
    /// `end_ms`, in order.
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
        for (info, labels) in self.known()? {
            let wanted = sets.iter().any(|set| fits(set, &labels));
            if wanted && !self.samples(&info, start_ms, end_ms)?.is_empty() {
                found.push(labels);
            }
        }
        found.sort();
        Ok(found)
    }

    fn known(&self) -> Result<impl Iterator<Item = (SeriesInfo, Labels)>, SourceError> {
        let all = self.0.list_series().map_err(failed)?;
        Ok(all.into_iter().map(|info| {
            let labels = labels_of(&info);
            (info, labels)
        }))
    }

    fn samples(&self, info: &SeriesInfo, start_ms: i64, end_ms: i64) -> Result<Vec<Sample>, SourceError> {
        // The range of the store ends before its end.
        let (from, to) = (time(start_ms), time(end_ms.saturating_add(1)));
        let points = self.0.range(info.id, from..to, None).map_err(failed)?;
        let sample = |point: sos_store::Point| Sample {
            t: point.time.as_millisecond(),
            v: point.value.unwrap_or(STALE),
        };
        Ok(points.into_iter().map(sample).collect())
    }
}

impl Source for Stored {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, SourceError> {
        let mut found = Vec::new();
        let mut loaded = 0_u64;
        for (info, labels) in self.known()?.filter(|(_, labels)| fits(selection.matchers, labels)) {
            let samples = self.samples(&info, selection.start_ms, selection.end_ms)?;
            loaded += samples.len() as u64;
            if loaded > selection.max_samples {
                return Err(SourceError::TooMany { samples: loaded });
            }
            if !samples.is_empty() {
                found.push(Series::new(labels, Arc::new(samples)));
            }
        }
        Ok(found)
    }
}

fn labels_of(info: &SeriesInfo) -> Labels {
    let name = std::iter::once((METRIC_NAME, info.name.as_str()));
    Labels::new(name.chain(info.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

fn fits(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name())))
}

/// The nearest time that can be represented.
fn time(ms: i64) -> Timestamp {
    let ends = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(ends)
}

fn failed(error: StoreError) -> SourceError {
    SourceError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
