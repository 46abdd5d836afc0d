//! Reading many series at once, by conditions on their labels.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;

use super::index::SeriesKind;
use super::labels::SeriesLabels;
use super::lane::{Dot, Lane, Row as _, columns};
use super::matcher::Matcher;
use super::rollup::{FIVE_MINUTES, HOUR, HOUR_MS, Step, show};
use super::{Metrics, STALE_BITS, TIMES};
use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::telemetry::hot::Hot;
use crate::telemetry::{Raw, SeriesId, latest_known, read_chunks};

/// A query that is to be refused counts on to so many times what is allowed, so that the count says something.
const COUNTED: u64 = 64;

/// What is shown of a step where the samples themselves are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// The last value.
    #[default]
    Last,
    /// The last value of a counter, with two more points where it was reset within the step, so that its increase is
    /// what it was.
    Counter,
    /// The mean.
    Average,
    /// The sum.
    Sum,
    /// How many samples there were.
    Count,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// Conditions, all of which a series satisfies.
    pub matchers: &'a [Matcher],
    /// First and last time in milliseconds, both included.
    pub times: (i64, i64),
    /// What is shown where samples are gone.
    pub aggregate: Aggregate,
    /// With more samples than this the query is refused.
    pub max_samples: u64,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Each series with at least one point, in order of their ids.
    pub series: Vec<Selected>,
    /// Points in all of them.
    pub samples: u64,
}

/// One series, as columns of the same length.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// Its id.
    pub id: SeriesId,
    /// Its name and labels.
    pub labels: SeriesLabels,
    /// Times in milliseconds, rising strictly.
    pub times: Vec<i64>,
    /// The value of each time. A reading that is missing shows as [`STALE`](super::STALE).
    pub values: Vec<f64>,
    /// How many points at the beginning are of steps of an hour.
    pub hours: usize,
    /// How many points after those are of steps of five minutes; all later ones are samples.
    pub five_minutes: usize,
}

/// A series that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Its id.
    pub id: SeriesId,
    /// What its samples are.
    pub kind: SeriesKind,
    /// Its name and labels.
    pub labels: SeriesLabels,
}

/// What the writer's memory knows of a series that is to be read.
struct Pending {
    entry: SeriesEntry,
    /// Samples in no chunk.
    list: Vec<Dot>,
    /// Readings in no chunk.
    tail: Vec<Raw>,
    in_chunks: bool,
}

impl Store {
    /// Reads all series that satisfy the conditions; of one without samples in the asked times nothing is answered.
    /// Where samples are gone by now, values of steps of five minutes or an hour stand for them. Of readings the
    /// versions known last are shown.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] with the count when there are more than `max_samples`.
    pub fn select(&self, select: &Select<'_>) -> Result<Selection> {
        let (from, to) = (select.times.0.max(*TIMES.start()), select.times.1.min(*TIMES.end()));
        self.read_with_cache(
            |conn, cache| {
                let metrics = Metrics::of(&mut cache.metrics, conn)?;
                let mut all = Vec::new();
                for entry in metrics.entries(select.matchers) {
                    let id = entry.id.0;
                    let (mut list, mut tail, mut in_chunks) = (Vec::new(), Vec::new(), true);
                    match entry.kind {
                        SeriesKind::Metric => {
                            list = within(metrics.heads.list(id), from, to).to_vec();
                            in_chunks = !metrics.heads.chunks_end_before(id, from);
                        }
                        SeriesKind::Reading => {
                            let hot = Hot::of(&mut cache.hot, conn)?.tail(id);
                            tail = hot.iter().copied().filter(|r| from <= r.time && r.time <= to).collect();
                        }
                    }
                    all.push(Pending { entry, list, tail, in_chunks });
                }
                Ok((from <= metrics.coarse_until, all))
            },
            |view, (coarse, all)| {
                let (aggregate, allowed) = (select.aggregate, select.max_samples);
                Reader { view, from, to, coarse, aggregate, seen: 0, allowed }.read(all)
            },
        )
    }

    /// The series that satisfy the conditions, in order of their ids; with `times` (first and last in milliseconds,
    /// both included) only those with samples then.
    pub fn find_series(&self, matchers: &[Matcher], times: Option<(i64, i64)>) -> Result<Vec<SeriesEntry>> {
        let Some((from, to)) = times else {
            return self.look_at_metrics(|_, metrics| Ok(metrics.entries(matchers).collect()));
        };
        self.read_with_cache(
            |conn, cache| {
                let metrics = Metrics::of(&mut cache.metrics, conn)?;
                let mut all = Vec::new();
                for entry in metrics.entries(matchers) {
                    let id = entry.id.0;
                    let hot = match entry.kind {
                        SeriesKind::Metric => !within(metrics.heads.list(id), from, to).is_empty(),
                        SeriesKind::Reading => {
                            let tail = Hot::of(&mut cache.hot, conn)?.tail(id);
                            tail.iter().any(|raw| from <= raw.time && raw.time <= to)
                        }
                    };
                    all.push((entry, hot));
                }
                Ok(all)
            },
            |view, mut all| {
                let sql = "SELECT EXISTS (SELECT 1 FROM chunk WHERE series = ?1 AND step IN (0, 300, 3600)
                           AND t_max >= ?2 AND t_min <= ?3)";
                let mut query = view.prepare_cached(sql)?;
                let mut kept = Vec::new();
                for (entry, hot) in all.drain(..) {
                    if hot || query.query_row((entry.id.0, from, to), |r| r.get(0))? {
                        kept.push(entry);
                    }
                }
                Ok(kept)
            },
        )
    }

    /// The labels of the series that satisfy the conditions, `__name__` among them, in order.
    pub fn label_names(&self, matchers: &[Matcher], times: Option<(i64, i64)>) -> Result<Vec<Arc<str>>> {
        if matchers.is_empty() && times.is_none() {
            return self
                .look_at_metrics(|_, m| Ok(m.index.labels().map(|(label, _)| label.clone()).collect()));
        }
        let found = self.find_series(matchers, times)?;
        let mut names: BTreeSet<Arc<str>> =
            found.iter().flat_map(|e| e.labels.pairs().iter().map(|(label, _)| label.clone())).collect();
        if !found.is_empty() {
            names.insert(super::labels::NAME.into());
        }
        Ok(names.into_iter().collect())
    }

    /// The values that a label has in the series that satisfy the conditions, in order.
    pub fn label_values(
        &self,
        label: &str,
        matchers: &[Matcher],
        times: Option<(i64, i64)>,
    ) -> Result<Vec<Arc<str>>> {
        if matchers.is_empty() && times.is_none() {
            return self.look_at_metrics(|_, m| Ok(m.index.values(label).cloned().collect()));
        }
        let found = self.find_series(matchers, times)?;
        let value = |entry: &SeriesEntry| {
            let labels = &entry.labels;
            if label == super::labels::NAME {
                return Some(labels.name().clone());
            }
            labels.pairs().iter().find(|(name, _)| &**name == label).map(|(_, value)| value.clone())
        };
        Ok(found.iter().filter_map(value).collect::<BTreeSet<_>>().into_iter().collect())
    }

    pub(super) fn look_at_metrics<T>(
        &self,
        look: impl FnOnce(&Connection, &mut Metrics) -> Result<T>,
    ) -> Result<T> {
        self.read_with_cache(
            |conn, cache| look(conn, Metrics::of(&mut cache.metrics, conn)?),
            |_, seen| Ok(seen),
        )
    }
}

impl Metrics {
    fn entries(&self, matchers: &[Matcher]) -> impl Iterator<Item = SeriesEntry> {
        self.index.select(matchers).into_iter().filter_map(|id| {
            let entry = self.index.get(id)?;
            Some(SeriesEntry { id: SeriesId(id), kind: entry.kind, labels: entry.labels.clone() })
        })
    }
}

fn within(list: &[Dot], from: i64, to: i64) -> &[Dot] {
    let first = list.partition_point(|dot| dot.time < from);
    let last = list.partition_point(|dot| dot.time <= to);
    list.get(first..last).unwrap_or(&[])
}

struct Reader<'a> {
    view: &'a Connection,
    from: i64,
    to: i64,
    /// Whether anything in the asked times may be downsampled.
    coarse: bool,
    aggregate: Aggregate,
    /// Samples met so far.
    seen: u64,
    allowed: u64,
}

/// The columns of a series as they grow.
#[derive(Default)]
struct Columns {
    times: Vec<i64>,
    values: Vec<f64>,
    hours: usize,
    five_minutes: usize,
}

impl Reader<'_> {
    fn read(&mut self, all: Vec<Pending>) -> Result<Selection> {
        let mut selection = Selection::default();
        for pending in all {
            let mut columns = Columns::default();
            let from = self.coarse(pending.entry.id.0, &mut columns)?;
            match pending.entry.kind {
                SeriesKind::Metric => self.samples(&pending, from, &mut columns)?,
                SeriesKind::Reading => self.readings(&pending, from, &mut columns)?,
            }
            let Columns { times, values, hours, five_minutes } = columns;
            if self.seen > self.allowed {
                // Only counted from here on.
                selection = Selection::default();
            } else if !times.is_empty() {
                selection.samples += times.len() as u64;
                let SeriesEntry { id, labels, .. } = pending.entry;
                selection.series.push(Selected { id, labels, times, values, hours, five_minutes });
            }
            if self.seen / COUNTED > self.allowed {
                break;
            }
        }
        if self.seen > self.allowed {
            return Err(StoreError::TooMany { samples: self.seen, allowed: self.allowed });
        }
        Ok(selection)
    }

    /// Reads what is downsampled; answers from which time on samples are to be read.
    fn coarse(&mut self, series: u32, columns: &mut Columns) -> Result<i64> {
        if !self.coarse {
            return Ok(self.from);
        }
        let fine = Lane { series, step: FIVE_MINUTES };
        let hours = Lane { series, step: HOUR };
        let ends = [fine.end(self.view)?, hours.end(self.view)?];
        let Some(end) = ends.iter().flatten().map(|end| end.t_max).max().filter(|end| *end >= self.from)
        else {
            return Ok(self.from);
        };
        let first_fine = fine.begin(self.view)?;
        // The hour in which the finer steps begin may have lost some of them.
        let until = match (first_fine, ends[1]) {
            (Some(first), Some(_)) => (first.div_euclid(HOUR_MS) + 1) * HOUR_MS - 1,
            (Some(_), None) => i64::MIN,
            (None, _) => i64::MAX,
        };
        self.steps(hours, (self.from, self.to.min(until)), columns)?;
        columns.hours = columns.times.len();
        self.steps(fine, (self.from.max(until.saturating_add(1)), self.to), columns)?;
        columns.five_minutes = columns.times.len() - columns.hours;
        Ok(end + 1)
    }

    /// Notes samples that were met; answers whether they are still wanted.
    fn meet(&mut self, samples: usize) -> bool {
        self.seen += samples as u64;
        self.seen <= self.allowed
    }

    fn steps(&mut self, lane: Lane, (from, to): (i64, i64), columns: &mut Columns) -> Result<()> {
        if from > to {
            return Ok(());
        }
        let mut before = None;
        lane.read(self.view, (from, to), |n, data| {
            if !self.meet(n) {
                return Ok(true);
            }
            for row in Step::decode(data, n)?.iter().filter(|row| from <= row.time() && row.time() <= to) {
                show(row, self.aggregate, before, |time, value| {
                    columns.times.push(time);
                    columns.values.push(value);
                });
                before = Some((row.time, row.last));
            }
            Ok(true)
        })
    }

    fn samples(&mut self, pending: &Pending, from: i64, into: &mut Columns) -> Result<()> {
        let to = self.to;
        let list = within(&pending.list, from, to);
        if pending.in_chunks && from <= to {
            Lane::samples(pending.entry.id.0).read(self.view, (from, to), |n, data| {
                if self.seen > self.allowed {
                    return Ok(self.meet(n) || self.seen / COUNTED <= self.allowed);
                }
                let (times, values) = columns(data, n)?;
                let first = times.partition_point(|time| *time < from);
                let last = times.partition_point(|time| *time <= to);
                into.times.extend_from_slice(&times[first..last]);
                into.values.extend_from_slice(&values[first..last]);
                self.meet(last - first);
                Ok(true)
            })?;
        }
        if self.meet(list.len()) {
            let begins = list.first().map_or(i64::MAX, |dot| dot.time);
            let late = into.times.last().is_some_and(|last| begins <= *last);
            if late { into.merge(list) } else { into.extend(list) }
        }
        Ok(())
    }

    fn readings(&mut self, pending: &Pending, from: i64, into: &mut Columns) -> Result<()> {
        if self.seen > self.allowed {
            return Ok(());
        }
        let mut found = Vec::new();
        // The end is excluded there.
        read_chunks(self.view, pending.entry.id, from, self.to.saturating_add(1), |raw| {
            if from <= raw.time && raw.time <= self.to {
                found.push(raw);
            }
        })?;
        found.extend(pending.tail.iter().filter(|raw| raw.time >= from));
        let dots = as_dots(latest_known(found));
        if self.meet(dots.len()) {
            into.extend(&dots);
        }
        Ok(())
    }
}

/// Readings as metrics: where one is missing, the series has ended until the next.
pub(super) fn as_dots(readings: Vec<Raw>) -> Vec<Dot> {
    let dot = |raw: Raw| Dot { time: raw.time, bits: raw.value.map_or(STALE_BITS, f64::to_bits) };
    let mut dots: Vec<Dot> = readings.into_iter().map(dot).collect();
    dots.dedup_by(|later, earlier| later.bits == STALE_BITS && earlier.bits == STALE_BITS);
    dots
}

impl Columns {
    fn extend(&mut self, list: &[Dot]) {
        self.times.extend(list.iter().map(|dot| dot.time));
        self.values.extend(list.iter().map(|dot| f64::from_bits(dot.bits)));
    }

    /// Adds samples among those that are there; of two with the same time the given one stays.
    fn merge(&mut self, list: &[Dot]) {
        let (times, values) = (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        let mut old = times.into_iter().zip(values).peekable();
        let mut push = |(time, value)| {
            self.times.push(time);
            self.values.push(value);
        };
        for dot in list {
            while let Some(earlier) = old.next_if(|(time, _)| *time < dot.time) {
                push(earlier);
            }
            old.next_if(|(time, _)| *time == dot.time);
            push((dot.time, f64::from_bits(dot.bits)));
        }
        old.for_each(push);
    }
}
