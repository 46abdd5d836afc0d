//! What the evaluator reads: series of samples, and the contract of whoever has them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::labels::Labels;
use crate::matcher::Matcher;

/// The value that says "this series ended here". A NaN like any other to arithmetic, told apart by its bits only.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is the staleness marker; other NaN are values.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// One measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Time in ms since 1970-01-01 UTC.
    pub t: i64,
    /// Value in the unit of the series; [`STALE`] ends the series until the next sample.
    pub v: f64,
}

/// A series with the part of its samples that was asked for.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: Labels,
    /// In strictly ascending time; shared, and possibly more than what was asked for.
    samples: Arc<Vec<Sample>>,
    /// What was asked for, as indices.
    part: Range<usize>,
}

impl Series {
    /// Of all the samples, which must be in strictly ascending time.
    pub fn new(labels: Labels, samples: Arc<Vec<Sample>>) -> Self {
        let part = 0..samples.len();
        Self { labels, samples, part }
    }

    /// Of those samples between two times in ms, both inclusive; nothing is copied.
    pub fn between(labels: Labels, samples: Arc<Vec<Sample>>, start_ms: i64, end_ms: i64) -> Self {
        let part = between(&samples, start_ms, end_ms);
        Self { labels, samples, part }
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples[self.part.clone()]
    }
}

/// What a query asks of a [`Source`].
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Each must hold; a label that a series does not have counts as empty.
    pub matchers: &'a [Matcher],
    /// First time of interest in ms, inclusive.
    pub start_ms: i64,
    /// Last time of interest in ms, inclusive.
    pub end_ms: i64,
    /// How many samples may still be loaded; with more the source answers [`SourceError::TooMany`].
    pub max_samples: u64,
    /// Name of the function that the samples are for, such as `rate`; empty for none. A source that has kept only steps of
    /// old samples chooses by it what of a step it shows.
    pub function: &'a str,
}

/// Why a [`Source`] has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("{samples} samples are in the selected range")]
    TooMany { samples: u64 },
    #[error("{0}")]
    Failed(String),
}

/// Where series come from.
///
/// # Guarantees expected
/// Each label set at most once; samples in strictly ascending time and within the asked range, staleness markers among
/// them. A source that holds whole series in memory shares them by [`Series::between`] instead of copying. The order of the series is the order of an unsorted result, so it should not change from call to call.
pub trait Source {
    /// All series that satisfy every matcher and have samples between `start_ms` and `end_ms`.
    ///
    /// # Errors
    /// When more samples than `max_samples` lie in the range, or the data cannot be read.
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, SourceError>;
}

/// Series in memory, ordered by their labels: for tests of rules and for series that are not stored.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By metric name (empty for series without one), then by labels.
    metrics: BTreeMap<Arc<str>, BTreeMap<Labels, Arc<Vec<Sample>>>>,
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples to a series, which is made when it is new. Samples may come in any order; of several at the same
    /// time the last one counts.
    pub fn append(&mut self, labels: &Labels, samples: impl IntoIterator<Item = Sample>) {
        let metric = self.metrics.entry(labels.get(crate::labels::METRIC_NAME).into()).or_default();
        let held = Arc::make_mut(metric.entry(labels.clone()).or_default());
        for sample in samples {
            match held.last() {
                Some(last) if last.t >= sample.t => match held.binary_search_by_key(&sample.t, |s| s.t) {
                    Ok(index) => held[index] = sample,
                    Err(index) => held.insert(index, sample),
                },
                _ => held.push(sample),
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.metrics.clear();
    }
}

impl Source for Memory {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, SourceError> {
        let name = selection.matchers.iter().find_map(Matcher::metric_name);
        let metrics: Vec<_> = match name {
            Some(name) => self.metrics.get(name).into_iter().collect(),
            None => self.metrics.values().collect(),
        };
        let mut found = Vec::new();
        let mut count = 0_u64;
        // The name was looked up already.
        let others: Vec<&Matcher> =
            selection.matchers.iter().filter(|m| m.metric_name() != name || name.is_none()).collect();
        for (labels, samples) in metrics.into_iter().flatten() {
            if !others.iter().all(|m| m.matches(labels.get(m.name()))) {
                continue;
            }
            let part = between(samples, selection.start_ms, selection.end_ms);
            count += part.len() as u64;
            if !part.is_empty() {
                found.push(Series { labels: labels.clone(), samples: Arc::clone(samples), part });
            }
        }
        if count > selection.max_samples {
            return Err(SourceError::TooMany { samples: count });
        }
        Ok(found)
    }
}

/// The samples between two times in ms, both inclusive, as indices.
fn between(samples: &[Sample], start_ms: i64, end_ms: i64) -> Range<usize> {
    let from = samples.partition_point(|s| s.t < start_ms);
    let to = match samples.last() {
        Some(last) if last.t > end_ms => from + samples[from..].partition_point(|s| s.t <= end_ms),
        _ => samples.len(),
    };
    from..to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::MatchOp;

    #[test]
    fn samples_are_kept_in_order_and_replaced_at_the_same_time() {
        let mut memory = Memory::new();
        let labels = Labels::new([("__name__", "up")]);
        memory.append(&labels, [(20, 2.0), (10, 1.0), (30, 3.0), (20, 5.0)].map(|(t, v)| Sample { t, v }));
        let matchers = [Matcher::new(MatchOp::Equal, "__name__", "up").unwrap()];
        let all = Selection { matchers: &matchers, start_ms: 0, end_ms: 30, max_samples: 3, function: "" };
        let found = memory.select(&all).unwrap();
        let values: Vec<f64> = found[0].samples().iter().map(|s| s.v).collect();
        assert_eq!(values, [1.0, 5.0, 3.0]);
        let few = Selection { max_samples: 2, ..all };
        assert_eq!(memory.select(&few).unwrap_err(), SourceError::TooMany { samples: 3 });
        let later = Selection { start_ms: 31, end_ms: 40, ..all };
        assert!(memory.select(&later).unwrap().is_empty());
    }

    #[test]
    fn the_staleness_marker_is_told_from_other_nan() {
        assert!(is_stale(STALE) && STALE.is_nan() && !is_stale(f64::NAN));
    }
}
