//! Retention: samples go after a time, values of coarser steps stay longer, and series of which nothing is left vanish.
//!
//! Samples are downsampled when they go, whole hours at a time, so a step is written once and never again. What is
//! read up to the last step that was written comes from the steps, everything later from samples; a sample that comes
//! later than that for a time before it is no longer shown.

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::heads::Heads;
use super::index::SeriesKind;
use super::lane::{Dot, Lane, Row as _, columns};
use super::log::Row;
use super::matcher::Matcher;
use super::rollup::{FIVE_MINUTES, HOUR, HOUR_MS, Step, summarise};
use super::select::as_dots;
use super::{Metrics, millis};
use crate::error::Result;
use crate::rows;
use crate::telemetry::hot::Hot;
use crate::telemetry::{SeriesId, latest_known, read_chunks};
use crate::tx::Tx;

/// Series looked at per call at most.
const LOOKED_AT: usize = 2000;
/// Series downsampled or shortened per call at most.
const WORKED_ON: usize = 64;
/// Pages are given back when they are more than one in so many.
const FREE: i64 = 4;
/// Chunks of a series dropped at a time at most.
const CHUNKS: usize = 32;

/// How long the samples of a class of series are kept, and coarser values of them.
#[derive(Clone, Debug)]
pub struct RetentionClass {
    /// Readings or metrics. A series of a kind that no class names is kept for ever.
    pub kind: SeriesKind,
    /// Which of them: those that satisfy all conditions; none means all. The first class that fits a series counts.
    pub matchers: Vec<Matcher>,
    /// How long samples are kept.
    pub samples: SignedDuration,
    /// How long values of steps of five minutes are kept, by their age; `None`: there are none.
    pub five_minutes: Option<SignedDuration>,
    /// How long values of steps of an hour are kept, by their age; `None`: there are none.
    pub hours: Option<SignedDuration>,
}

/// What a call of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Series looked at.
    pub looked_at: u64,
    /// Samples dropped, downsampled before where the class says so.
    pub dropped_samples: u64,
    /// Values of steps written.
    pub made_steps: u64,
    /// Values of steps dropped.
    pub dropped_steps: u64,
    /// Series that vanished with the last of what was kept of them.
    pub vanished: u64,
    /// Whether all series have been looked at since the last call that answered so.
    pub all_done: bool,
}

pub(crate) fn maintain(tx: &mut Tx<'_>, now: Timestamp, classes: &[RetentionClass]) -> Result<Maintained> {
    let metrics = Metrics::change(&mut tx.cache.metrics, tx.conn)?;
    let looked: Vec<(u32, Option<usize>)> = metrics
        .index
        .from(metrics.cursor, LOOKED_AT)
        .map(|(id, entry)| {
            let fits = |class: &RetentionClass| {
                class.kind == entry.kind && class.matchers.iter().all(|m| m.matches(&entry.labels))
            };
            (id, classes.iter().position(fits))
        })
        .collect();
    let mut pass = Pass { conn: tx.conn, now: millis(now), done: Maintained::default(), row: Row::default() };
    let (mut worked_on, mut changed) = (0, false);
    metrics.cursor = looked.last().filter(|_| looked.len() == LOOKED_AT).map_or(0, |(id, _)| id + 1);
    for (id, class) in looked {
        if worked_on >= WORKED_ON {
            metrics.cursor = id;
            break;
        }
        pass.done.looked_at += 1;
        if let Some(class) = class.and_then(|class| classes.get(class)) {
            let worked = pass.series(metrics, &mut tx.cache.hot, id, class)?;
            worked_on += usize::from(worked);
            changed |= worked;
        }
    }
    pass.done.all_done = metrics.cursor == 0;
    if changed {
        metrics.heads.truncate(tx.conn)?;
        metrics.done(tx.conn, &pass.row)?;
    }
    Ok(pass.done)
}

pub(crate) fn shrink(tx: &mut Tx<'_>, pages: u32) -> Result<u64> {
    let number = |pragma| tx.conn.query_row(pragma, [], |r| r.get::<_, i64>(0));
    let free = || number("PRAGMA freelist_count");
    let before = free()?;
    // What is left is used by the changes that come.
    if before * FREE < number("PRAGMA page_count")? {
        return Ok(0);
    }
    let mut given = tx.conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = given.query([])?;
    // Each row is a page that was moved.
    while rows.next()?.is_some() {}
    drop(rows);
    Ok((before - free()?).unsigned_abs())
}

pub(crate) fn flush_metrics(tx: &mut Tx<'_>) -> Result<u64> {
    let metrics = Metrics::change(&mut tx.cache.metrics, tx.conn)?;
    let (before, mut row) = (metrics.heads.samples, Row::default());
    for series in metrics.heads.filled() {
        metrics.heads.flush(tx.conn, series, &mut row)?;
    }
    if before > 0 {
        metrics.heads.truncate(tx.conn)?;
        metrics.done(tx.conn, &row)?;
    }
    Ok(before as u64)
}

struct Pass<'a> {
    conn: &'a Connection,
    now: i64,
    done: Maintained,
    row: Row,
}

impl Pass<'_> {
    /// Does what is due for one series; answers whether that was anything.
    fn series(
        &mut self,
        metrics: &mut Metrics,
        hot: &mut Option<Hot>,
        id: u32,
        class: &RetentionClass,
    ) -> Result<bool> {
        // Whole hours, so that no step is ever cut.
        let cutoff = self.before(class.samples).div_euclid(HOUR_MS) * HOUR_MS;
        let mut worked = false;
        if metrics.heads.list(id).first().is_some_and(|dot| dot.time < cutoff) {
            metrics.heads.flush(self.conn, id, &mut self.row)?;
            worked = true;
        }
        if let Some(until) = self.due(id, cutoff)? {
            if class.five_minutes.is_some() || class.hours.is_some() {
                self.downsample(metrics, hot, id, class, until)?;
            }
            self.done.dropped_samples += self.drop_before(id, 0, until)?;
            metrics.heads.chunks_changed(id);
            worked = true;
        }
        for (step, keep) in [(FIVE_MINUTES, class.five_minutes), (HOUR, class.hours)] {
            if metrics.coarse_until > i64::MIN {
                let dropped = self.drop_before(id, step, keep.map_or(i64::MAX, |keep| self.before(keep)))?;
                self.done.dropped_steps += dropped;
                worked |= dropped > 0;
            }
        }
        let vanishes = class.kind == SeriesKind::Metric && self.is_empty(metrics, id, worked)?;
        if vanishes {
            self.vanish(metrics, id)?;
        }
        Ok(worked || vanishes)
    }

    fn before(&self, keep: SignedDuration) -> i64 {
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        self.now.saturating_sub(keep)
    }

    /// Up to which time samples are to go, when there is a chunk that can.
    fn due(&self, id: u32, cutoff: i64) -> Result<Option<i64>> {
        let sql = "SELECT t_min, t_max FROM chunk WHERE series = ? AND step = 0 AND t_max < ? ORDER BY t_max LIMIT ?";
        let mut query = self.conn.prepare_cached(sql)?;
        let found = query.query_map((id, cutoff, rows::limit(CHUNKS)), |r| Ok((r.get(0)?, r.get(1)?)))?;
        let chunks = found.collect::<std::result::Result<Vec<(i64, i64)>, _>>()?;
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Ok(None) };
        if chunks.len() < CHUNKS {
            return Ok(Some(cutoff));
        }
        // At least the hour in which the first chunk ends, or nothing would ever go.
        let hour = |time: i64| time.div_euclid(HOUR_MS) * HOUR_MS;
        Ok(Some(hour(last.1).max(hour(first.1) + HOUR_MS).min(cutoff)))
    }

    fn downsample(
        &mut self,
        metrics: &mut Metrics,
        hot: &mut Option<Hot>,
        id: u32,
        class: &RetentionClass,
        until: i64,
    ) -> Result<()> {
        let steps = [(FIVE_MINUTES, class.five_minutes), (HOUR, class.hours)];
        let mut ends = Vec::new();
        for (step, _) in steps.iter().filter(|(_, keep)| keep.is_some()) {
            let lane = Lane { series: id, step: *step };
            ends.push((lane, lane.end(self.conn)?));
        }
        let from = ends.iter().filter_map(|(_, end)| end.map(|end| end.t_max + 1)).max().unwrap_or(i64::MIN);
        if from >= until {
            return Ok(());
        }
        let dots = match class.kind {
            SeriesKind::Metric => self.metrics_within(id, from, until)?,
            SeriesKind::Reading => self.readings_within(hot, id, from, until)?,
        };
        for (lane, end) in ends {
            let before = match end {
                Some(end) => last_value(self.conn, lane, end.t_max)?,
                None => None,
            };
            let rows = summarise(&dots, lane.step, before);
            self.done.made_steps += rows.len() as u64;
            lane.place(self.conn, &rows, end)?;
        }
        let last = dots.last().map_or(i64::MIN, |dot| dot.time);
        if last > metrics.coarse_until {
            self.conn
                .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('coarse until', ?)")?
                .execute([last])?;
            metrics.coarse_until = last;
        }
        Ok(())
    }

    fn metrics_within(&self, id: u32, from: i64, until: i64) -> Result<Vec<Dot>> {
        let mut dots = Vec::new();
        Lane::samples(id).read(self.conn, (from, until - 1), |n, data| {
            let (times, values) = columns(data, n)?;
            let all = times.into_iter().zip(values).filter(|(time, _)| from <= *time && *time < until);
            dots.extend(all.map(|(time, value)| Dot { time, bits: value.to_bits() }));
            Ok(true)
        })?;
        Ok(dots)
    }

    fn readings_within(&self, hot: &mut Option<Hot>, id: u32, from: i64, until: i64) -> Result<Vec<Dot>> {
        let mut found = Vec::new();
        read_chunks(self.conn, SeriesId(id), from, until, |raw| found.push(raw))?;
        found.extend_from_slice(Hot::of(hot, self.conn)?.tail(id));
        found.retain(|raw| from <= raw.time && raw.time < until);
        Ok(as_dots(latest_known(found)))
    }

    /// Drops the chunks that end before a time; answers how many rows they had.
    fn drop_before(&self, id: u32, step: i64, time: i64) -> Result<u64> {
        let sql = "DELETE FROM chunk WHERE series = ? AND step = ? AND t_max < ? RETURNING samples";
        let mut query = self.conn.prepare_cached(sql)?;
        let mut dropped = 0;
        for samples in query.query_map((id, step, time), |r| r.get::<_, u32>(0))? {
            dropped += u64::from(samples?);
        }
        Ok(dropped)
    }

    /// Whether nothing is left of a series. One that never had anything is given the time until the next look.
    fn is_empty(&self, metrics: &mut Metrics, id: u32, worked: bool) -> Result<bool> {
        if !metrics.heads.list(id).is_empty() {
            return Ok(false);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM chunk WHERE series = ? AND step IN (0, 300, 3600))";
        let stored: bool = self.conn.prepare_cached(sql)?.query_row([id], |r| r.get(0))?;
        Ok(!stored && metrics.heads.seen_empty(id, worked))
    }

    fn vanish(&mut self, metrics: &mut Metrics, id: u32) -> Result<()> {
        // The highest id stays in use, so that none is ever given to another series.
        if id == metrics.last_series {
            return Ok(());
        }
        let Some(entry) = metrics.index.get(id) else { return Ok(()) };
        let name = entry.labels.name().clone();
        self.conn.prepare_cached("DELETE FROM series WHERE id = ?")?.execute([id])?;
        metrics.index.remove(id);
        metrics.heads.remove(id);
        if metrics.index.named(&name) == 0 {
            metrics.forget_metadata(self.conn, &name)?;
        }
        self.done.vanished += 1;
        Ok(())
    }
}

fn last_value(conn: &Connection, lane: Lane, time: i64) -> Result<Option<f64>> {
    let mut last = None;
    lane.read(conn, (time, time), |n, data| {
        last = Step::decode(data, n)?.iter().rfind(|row| row.time() <= time).map(|row| row.last);
        Ok(true)
    })?;
    Ok(last.filter(|value| !value.is_nan()))
}

impl Heads {
    /// Whether a series of which nothing is stored was so at the last look already, or had something until now.
    fn seen_empty(&mut self, id: u32, had_something: bool) -> bool {
        !self.note_empty(id) || had_something
    }
}
