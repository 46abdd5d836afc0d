//! Telemetry: series of samples that carry when they are for and when they were known.
//!
//! New samples are stored as one small row per append, in the transaction of the caller, and held in memory per
//! series. Once a series has a chunk's worth, the transaction that brings it there compresses them.

pub(crate) mod bytes;
mod chunk;
pub(crate) mod columns;
pub(crate) mod hot;

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};
use sos_units::{Missing, Reading};

use crate::error::{Result, StoreError};
use crate::metrics::{Kind, Metrics, insert_series};
use crate::rows;
use crate::store::Store;
use crate::tx::Tx;
use hot::Hot;

/// Labels of a series or a resource.
pub type Labels = BTreeMap<String, String>;

/// A series of one store. Numbers of different stores have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub(crate) u32);

/// One value of a series. Unit and sign are the series', not known to the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The series.
    pub series: SeriesId,
    /// What time it is for; for a mean, the end of its step.
    pub time: Timestamp,
    /// When it became known.
    pub known_at: Timestamp,
    /// The value, or why there is none.
    pub value: Reading<f64>,
}

/// A value of a series as read back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// What time it is for.
    pub time: Timestamp,
    /// When it became known.
    pub known_at: Timestamp,
    /// The value, or why there is none.
    pub value: Reading<f64>,
}

/// What a series is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesInfo {
    /// Its id.
    pub id: SeriesId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// How much telemetry there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TelemetryStats {
    /// Samples in compressed chunks.
    pub chunk_samples: u64,
    /// Bytes of the compressed chunks.
    pub chunk_bytes: u64,
    /// Samples not yet in chunks.
    pub hot_samples: u64,
    /// Appends not yet fully in chunks.
    pub hot_batches: u64,
    /// Series of metrics.
    pub metric_series: u64,
    /// The most series of metrics that are taken.
    pub metric_series_limit: u64,
}

/// A sample of a known series, times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Raw {
    pub(crate) time: i64,
    pub(crate) known: i64,
    pub(crate) value: Reading<f64>,
}

const MISSING: [Missing; 6] = [
    Missing::NotYet,
    Missing::Gap,
    Missing::Stale,
    Missing::Unavailable,
    Missing::Invalid,
    Missing::NotRunning,
];

/// 0 for a value, 1… for the reasons.
fn tag_of(value: &Reading<f64>) -> u8 {
    match value {
        Ok(_) => 0,
        Err(Missing::NotYet) => 1,
        Err(Missing::Gap) => 2,
        Err(Missing::Stale) => 3,
        Err(Missing::Unavailable) => 4,
        Err(Missing::Invalid) => 5,
        Err(Missing::NotRunning) => 6,
    }
}

fn missing_of(tag: u8) -> Result<Missing> {
    let reason = usize::from(tag).checked_sub(1).and_then(|i| MISSING.get(i));
    reason.copied().ok_or_else(|| StoreError::corrupt(format!("{tag} is no reason for a missing value")))
}

impl Raw {
    fn of(sample: &Sample) -> Self {
        let value = sample.value.and_then(|v| if v.is_finite() { Ok(v) } else { Err(Missing::Invalid) });
        Self { time: millis_down(sample.time), known: millis_up(sample.known_at), value }
    }

    fn point(&self) -> Result<Point> {
        let time = |ms| {
            Timestamp::from_millisecond(ms).map_err(|_| StoreError::corrupt("a stored time is out of range"))
        };
        Ok(Point { time: time(self.time)?, known_at: time(self.known)?, value: self.value })
    }
}

/// Every time jiff can hold fits 64 bits of milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "years -9999 to 9999 are below 2^49 milliseconds")]
fn millis_down(time: Timestamp) -> i64 {
    time.as_nanosecond().div_euclid(1_000_000) as i64
}

/// Rounded up, so that nothing is known before it was; at the very end of time there is no later millisecond.
fn millis_up(time: Timestamp) -> i64 {
    let down = millis_down(time);
    let exact = time.as_nanosecond().rem_euclid(1_000_000) == 0;
    if exact || down >= Timestamp::MAX.as_millisecond() { down } else { down + 1 }
}

pub(crate) fn series_id(tx: &mut Tx<'_>, name: &str, labels: &Labels) -> Result<SeriesId> {
    if name.is_empty() {
        return Err(StoreError::invalid("a series needs a name"));
    }
    let text = rows::text(labels)?;
    let mut query = tx.conn.prepare_cached("SELECT id, kind FROM series WHERE name = ? AND labels = ?")?;
    let known = query.query_row((name, &text), |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
    match known.map(|(id, kind)| (id, Kind::of(kind))) {
        Some((id, Kind::Reading)) => return Ok(SeriesId(id)),
        Some((_, Kind::Metric)) => {
            return Err(StoreError::invalid(format!(
                "the series {name} with these labels holds metrics, not readings"
            )));
        }
        None => {}
    }
    let id = insert_series(tx.conn, name, &text, Kind::Reading)?;
    if let Some(metrics) = &mut tx.cache.metrics {
        metrics.made(id, name, labels);
    }
    if let Some(hot) = &mut tx.cache.hot {
        hot.series.insert(id);
    }
    Ok(SeriesId(id))
}

pub(crate) fn append(tx: &mut Tx<'_>, batch: &[Sample]) -> Result<()> {
    let hot = Hot::of(&mut tx.cache.hot, tx.conn)?;
    if let Some(unknown) = batch.iter().find(|s| !hot.series.contains(&s.series.0)) {
        return Err(StoreError::invalid(format!(
            "series {} was not handed out by this store for readings",
            unknown.series.0
        )));
    }
    if batch.is_empty() {
        return Ok(());
    }
    hot.append(tx.conn, batch.iter().map(|s| (s.series.0, Raw::of(s))))
}

pub(crate) fn prune(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64> {
    let sql =
        "DELETE FROM chunk WHERE t_max < ? AND step = 0 AND series IN (SELECT id FROM series WHERE kind = 0)
               RETURNING samples";
    let mut query = tx.conn.prepare_cached(sql)?;
    let mut dropped = 0;
    for samples in query.query_map([millis_down(before)], |r| r.get::<_, u32>(0))? {
        dropped += u64::from(samples?);
    }
    Ok(dropped)
}

impl Store {
    /// The values of a series for times in `range` (end excluded), in order of time. Where a time has several
    /// values, the one that was known last; with `as_known_at` the one that was known last at that moment, and
    /// times of which nothing was known then are left out.
    pub fn range(
        &self,
        series: SeriesId,
        range: Range<Timestamp>,
        as_known_at: Option<Timestamp>,
    ) -> Result<Vec<Point>> {
        let found = self.raw(series, range, as_known_at.map_or(i64::MAX, millis_down))?;
        latest_known(found).iter().map(Raw::point).collect()
    }

    /// What is kept for times in `range` and was known at `known`, in the order in which it was stored.
    fn raw(&self, series: SeriesId, range: Range<Timestamp>, known: i64) -> Result<Vec<Raw>> {
        // The bounds are exact for times on whole milliseconds, which is how they are kept.
        let (from, to) = (millis_up(range.start), millis_up(range.end));
        let wanted = |raw: &Raw| from <= raw.time && raw.time < to && raw.known <= known;
        self.read_with_cache(
            |conn, cache| {
                let hot = Hot::of(&mut cache.hot, conn)?;
                Ok(hot.tail(series.0).iter().copied().filter(wanted).collect::<Vec<_>>())
            },
            |view, tail| {
                let mut found = Vec::new();
                read_chunks(view, series, from, to, |raw| {
                    if wanted(&raw) {
                        found.push(raw);
                    }
                })?;
                found.extend(tail);
                Ok(found)
            },
        )
    }

    /// Every value of a series for times in `range` (end excluded), in order of time and of when it was known: where a
    /// time has several, all of them.
    pub fn versions(&self, series: SeriesId, range: Range<Timestamp>) -> Result<Vec<Point>> {
        let mut found = self.raw(series, range, i64::MAX)?;
        found.sort_by_key(|raw| (raw.time, raw.known));
        found.iter().map(Raw::point).collect()
    }

    /// The id of a series, when there is one of this name with these labels.
    pub fn find_series_id(&self, name: &str, labels: &Labels) -> Result<Option<SeriesId>> {
        let labels = rows::text(labels)?;
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT id FROM series WHERE name = ? AND labels = ?")?;
            Ok(query.query_row((name, labels), |r| r.get(0)).optional()?.map(SeriesId))
        })
    }

    /// All series, in order of their ids: of readings, and of metrics. Where there may be many, ask
    /// [`Store::find_series`].
    pub fn list_series(&self) -> Result<Vec<SeriesInfo>> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT id, name, labels FROM series ORDER BY id")?;
            let found = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, String>(2)?)))?;
            found
                .map(|row| {
                    let (id, name, labels) = row?;
                    Ok(SeriesInfo { id: SeriesId(id), name, labels: rows::json(&labels)? })
                })
                .collect()
        })
    }

    /// How much telemetry there is.
    pub fn telemetry_stats(&self) -> Result<TelemetryStats> {
        self.read_with_cache(
            |conn, cache| {
                let metrics = Metrics::of(&mut cache.metrics, conn)?;
                let (hot, series) = (metrics.hot_samples(), metrics.index.metrics() as u64);
                Ok(((Hot::of(&mut cache.hot, conn)?.samples + hot) as u64, series))
            },
            |view, (hot_samples, metric_series)| {
                let number = |sql| view.query_row(sql, [], |r| r.get::<_, i64>(0)).map(i64::unsigned_abs);
                Ok(TelemetryStats {
                    chunk_samples: number("SELECT ifnull(sum(samples), 0) FROM chunk WHERE step = 0")?,
                    chunk_bytes: number("SELECT ifnull(sum(length(data)), 0) FROM chunk")?,
                    hot_samples,
                    hot_batches: number(
                        "SELECT (SELECT count(*) FROM hot) + (SELECT count(*) FROM metric_log)",
                    )?,
                    metric_series,
                    metric_series_limit: self.options().metrics.series as u64,
                })
            },
        )
    }
}

pub(crate) fn read_chunks(
    conn: &Connection,
    series: SeriesId,
    from: i64,
    to: i64,
    mut take: impl FnMut(Raw),
) -> Result<()> {
    // In order of their creation, so that of two values known at the same time the later one comes later.
    let mut query = conn.prepare_cached(
        "SELECT samples, data FROM chunk WHERE series = ? AND step = 0 AND t_max >= ? AND t_min < ? ORDER BY id",
    )?;
    let mut found = query.query((series.0, from, to))?;
    while let Some(row) = found.next()? {
        let samples: u32 = row.get(0)?;
        let data = row.get_ref(1)?.as_blob().map_err(|e| StoreError::corrupt(e.to_string()))?;
        chunk::decode(data, samples as usize)?.into_iter().for_each(&mut take);
    }
    Ok(())
}

/// Per time the value known last; of several known at the same moment the one stored last.
pub(crate) fn latest_known(mut found: Vec<Raw>) -> Vec<Raw> {
    found.sort_by_key(|raw| (raw.time, raw.known));
    let mut kept: Vec<Raw> = Vec::with_capacity(found.len());
    for raw in found {
        match kept.last_mut() {
            Some(last) if last.time == raw.time => *last = raw,
            _ => kept.push(raw),
        }
    }
    kept
}
