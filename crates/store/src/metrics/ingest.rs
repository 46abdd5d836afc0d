//! Taking in samples of metrics.

use std::ops::RangeInclusive;

use super::heads::Added;
use super::labels::{MetricKey, NAME};
use super::lane::Dot;
use super::log::Row;
use super::{MetricLimits, Metrics, SeriesKind, TIMES};
use crate::error::Result;
use crate::telemetry::SeriesId;
use crate::tx::Tx;

/// Different refusals named in one report; more are only counted.
const NAMED: usize = 100;

/// Which series a sample belongs to.
#[derive(Clone, Copy, Debug)]
pub enum SeriesRef<'a> {
    /// One that was asked for before; the fast way.
    Id(SeriesId),
    /// By name and labels; made when it is new.
    Key(MetricKey<'a>),
}

/// One sample of a metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricSample<'a> {
    /// Its series.
    pub series: SeriesRef<'a>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub time: i64,
    /// The value; every NaN (the marker [`STALE`](super::STALE) among them) and infinity is kept bit for bit.
    pub value: f64,
}

/// Why a sample was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There are as many series as are allowed.
    Series,
    /// There are as many series of this name as are allowed.
    SeriesOfName,
    /// Too many labels.
    Labels,
    /// A label's name is too long.
    LabelName,
    /// A label's value, or the name, is too long.
    LabelValue,
    /// No name, a label without name, twice, or called `__name__`.
    Malformed,
    /// A series of readings, which only a site's loop writes.
    Reading,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Series => "too many series",
            Self::SeriesOfName => "too many series of this name",
            Self::Labels => "too many labels",
            Self::LabelName => "the name of a label is too long",
            Self::LabelValue => "the value of a label is too long",
            Self::Malformed => "the name or a label is empty, twice or reserved",
            Self::Reading => "a series of readings, not of metrics",
        })
    }
}

/// Samples that were refused for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Name of the metric, at most 256 bytes of it.
    pub metric: String,
    /// Why.
    pub why: Refusal,
    /// How many.
    pub samples: u64,
}

/// What became of a batch of samples. Each is counted once, but for `replaced`, which are accepted too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// Kept.
    pub accepted: u64,
    /// Of the accepted: those whose time had another value before.
    pub replaced: u64,
    /// Already there with the same value: nothing new.
    pub duplicates: u64,
    /// Refused because their time is outside what the caller allows.
    pub out_of_bounds: u64,
    /// Refused because their series id is of no series (any more): ask for the series again.
    pub unknown: u64,
    /// Refused, by name and reason: the first hundred different ones.
    pub refused: Vec<Refused>,
    /// Refused in total, those that `refused` has no place for included.
    pub refused_samples: u64,
    /// Series that were made.
    pub new_series: u64,
}

impl IngestReport {
    fn refuse(&mut self, metric: &str, why: Refusal) {
        self.refused_samples += 1;
        let metric = cut(metric, 256);
        let same = |r: &&mut Refused| r.why == why && r.metric == metric;
        if let Some(known) = self.refused.iter_mut().find(same) {
            known.samples += 1;
        } else if self.refused.len() < NAMED {
            self.refused.push(Refused { metric: metric.to_owned(), why, samples: 1 });
        }
    }
}

/// At most so many bytes of a text.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

pub(crate) fn ingest(
    tx: &mut Tx<'_>,
    batch: &[MetricSample<'_>],
    times: &RangeInclusive<i64>,
) -> Result<IngestReport> {
    let limits = &tx.options.metrics;
    let metrics = Metrics::change(&mut tx.cache.metrics, tx.conn)?;
    let mut report = IngestReport::default();
    let mut row = Row::default();
    for sample in batch {
        if !times.contains(&sample.time) || !TIMES.contains(&sample.time) {
            report.out_of_bounds += 1;
            continue;
        }
        let series = match sample.series {
            SeriesRef::Id(id) => match metrics.kind(id.0) {
                Some(SeriesKind::Metric) => id.0,
                Some(SeriesKind::Reading) => {
                    report.refuse(metrics.name(id.0), Refusal::Reading);
                    continue;
                }
                None => {
                    report.unknown += 1;
                    continue;
                }
            },
            SeriesRef::Key(key) => match metrics.find_or_make(tx.conn, key, limits)? {
                Ok((id, is_new)) => {
                    report.new_series += u64::from(is_new);
                    id
                }
                Err(why) => {
                    report.refuse(key.name, why);
                    continue;
                }
            },
        };
        let dot = Dot { time: sample.time, bits: sample.value.to_bits() };
        match metrics.heads.add(tx.conn, series, dot, &mut row)? {
            Added::Known => report.duplicates += 1,
            added => {
                report.accepted += 1;
                report.replaced += u64::from(added == Added::Replaced);
            }
        }
    }
    if report.accepted > 0 {
        let added = usize::try_from(report.accepted).unwrap_or(usize::MAX);
        metrics.heads.flush_due(tx.conn, added, limits.samples_in_memory, &mut row)?;
        metrics.done(tx.conn, &row)?;
    }
    Ok(report)
}

pub(crate) fn metric_series(
    tx: &mut Tx<'_>,
    keys: &[MetricKey<'_>],
) -> Result<Vec<std::result::Result<SeriesId, Refusal>>> {
    let limits = &tx.options.metrics;
    let metrics = Metrics::change(&mut tx.cache.metrics, tx.conn)?;
    keys.iter()
        .map(|key| Ok(metrics.find_or_make(tx.conn, *key, limits)?.map(|(id, _)| SeriesId(id))))
        .collect()
}

impl Metrics {
    fn kind(&self, id: u32) -> Option<SeriesKind> {
        self.index.get(id).map(|entry| entry.kind)
    }

    fn name(&self, id: u32) -> &str {
        self.index.get(id).map_or("", |entry| entry.labels.name())
    }

    /// The series of a key and whether it was made just now.
    fn find_or_make(
        &mut self,
        conn: &rusqlite::Connection,
        key: MetricKey<'_>,
        limits: &MetricLimits,
    ) -> Result<std::result::Result<(u32, bool), Refusal>> {
        let labels = key.normal();
        if let Some(id) = self.index.find(key.name, &labels) {
            let metric = self.kind(id) == Some(SeriesKind::Metric);
            return Ok(if metric { Ok((id, false)) } else { Err(Refusal::Reading) });
        }
        if let Some(why) = self.beyond(key.name, &labels, limits) {
            return Ok(Err(why));
        }
        Ok(Ok((self.create(conn, key.name, &labels, SeriesKind::Metric)?, true)))
    }

    /// The limit that a new series exceeds.
    fn beyond(&self, name: &str, labels: &[(&str, &str)], limits: &MetricLimits) -> Option<Refusal> {
        let twice = labels.windows(2).any(|w| w[0].0 == w[1].0);
        let reserved = labels.iter().any(|(label, _)| label.is_empty() || *label == NAME);
        [
            (name.is_empty() || twice || reserved, Refusal::Malformed),
            (labels.len() > limits.labels, Refusal::Labels),
            (labels.iter().any(|(label, _)| label.len() > limits.label_name_bytes), Refusal::LabelName),
            (
                name.len() > limits.label_value_bytes
                    || labels.iter().any(|(_, value)| value.len() > limits.label_value_bytes),
                Refusal::LabelValue,
            ),
            (self.index.named(name) >= limits.series_per_name, Refusal::SeriesOfName),
            (self.index.metrics() >= limits.series, Refusal::Series),
        ]
        .into_iter()
        .find_map(|(exceeded, why)| exceeded.then_some(why))
    }
}
