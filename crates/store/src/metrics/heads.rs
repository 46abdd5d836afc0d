//! Samples of metrics that are in no chunk yet: per series a short list in memory, in the order of time, and on disk
//! the log, one row per change.
//!
//! A series is moved into chunks (flushed) when its list is full, when all lists together are too long, or when the
//! log is long only because of it. Each change flushes a few series more than fill up in the long run, so no single
//! one takes long. The row of a change names the series that were flushed with it; reading the log back in order
//! gives the same lists, and giving a chunk a sample that it has already changes nothing.

use std::collections::{HashMap, HashSet, VecDeque};

use rusqlite::Connection;

use super::lane::{Dot, End, Lane, columns};
use super::log::{self, Row};
use crate::error::{Result, StoreError};

/// Samples at which a list is full: from this on, up to half as many more, different for each series so that they do
/// not all fill up at once.
const LIST: usize = 112;
/// Places a list grows by at most, so that little memory is reserved in vain.
const GROWTH: usize = 32;
/// A change flushes one full series for so many of its samples.
const PER_FLUSH: usize = 48;
/// How many samples of the log may be of use to nobody any more, beyond as many as are needed.
const SLACK: u64 = 16_384;
/// Least samples between two looks for what keeps the log long.
const LOOK_AFTER: usize = 4096;
/// Series flushed per look at most because of the length of the log.
const PER_LOOK: usize = 512;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    New,
    Replaced,
    Known,
}

#[derive(Debug, Default)]
pub(crate) struct Heads {
    heads: HashMap<u32, Head>,
    full: VecDeque<u32>,
    /// Samples in all lists, 16 bytes each.
    pub(crate) samples: usize,
    pub(crate) next_batch: i64,
    /// Rows of the log with their samples, oldest first.
    rows: VecDeque<(i64, u64)>,
    logged: u64,
    since_look: usize,
    recent: Option<Recent>,
    /// Series that had nothing at all when maintenance looked.
    empty: HashSet<u32>,
}

#[derive(Debug, Default)]
struct Head {
    samples: Vec<Dot>,
    /// The row of the log with the oldest of them.
    batch: i64,
    queued: bool,
    /// The last chunk, once it was looked for.
    end: Option<Option<End>>,
}

/// The stored chunk that a late sample was compared with.
#[derive(Debug)]
struct Recent {
    series: u32,
    /// Times that it answers for, both included.
    span: (i64, i64),
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Heads {
    pub(crate) fn load(conn: &Connection) -> Result<Self> {
        let mut heads = Self { next_batch: 1, ..Self::default() };
        let mut query = conn.prepare("SELECT batch, data FROM metric_log ORDER BY batch")?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            let batch: i64 = row.get(0)?;
            let data = row.get_ref(1)?.as_blob().map_err(|e| StoreError::corrupt(e.to_string()))?;
            let samples = log::read(data, |series, dot| match dot {
                Some(dot) => {
                    heads.head(series).put(dot, batch);
                }
                None => heads.head(series).samples = Vec::new(),
            })?;
            heads.rows.push_back((batch, samples));
            heads.logged += samples;
            heads.next_batch = batch + 1;
        }
        heads.heads.retain(|_, head| !head.samples.is_empty());
        heads.samples = heads.heads.values().map(|head| head.samples.len()).sum();
        for (series, head) in &mut heads.heads {
            if head.samples.len() >= list_of(*series) {
                heads.full.push_back(head.queue(*series));
            }
        }
        Ok(heads)
    }

    fn head(&mut self, series: u32) -> &mut Head {
        self.heads.entry(series).or_default()
    }

    /// Samples of a series that are in no chunk yet, in order of time.
    pub(crate) fn list(&self, series: u32) -> &[Dot] {
        self.heads.get(&series).map_or(&[], |head| &head.samples)
    }

    /// Whether the series is known to have no chunk with samples at or after this time.
    pub(crate) fn chunks_end_before(&self, series: u32, time: i64) -> bool {
        let end = self.heads.get(&series).and_then(|head| head.end);
        end.is_some_and(|end| end.is_none_or(|end| end.t_max < time))
    }

    /// Adds a sample to a series.
    pub(crate) fn add(&mut self, conn: &Connection, series: u32, dot: Dot, row: &mut Row) -> Result<Added> {
        let batch = self.next_batch;
        let head = self.heads.entry(series).or_default();
        let end = match head.end {
            Some(end) => end,
            None => *head.end.insert(Lane::samples(series).end(conn)?),
        };
        if end.is_some_and(|end| dot.time <= end.t_max) && head.position(dot.time).is_err() {
            match self.stored(conn, series, dot.time)? {
                Some(bits) if bits == dot.bits => return Ok(Added::Known),
                known => {
                    self.insert(series, dot, batch, row);
                    return Ok(if known.is_some() { Added::Replaced } else { Added::New });
                }
            }
        }
        Ok(self.insert(series, dot, batch, row))
    }

    fn insert(&mut self, series: u32, dot: Dot, batch: i64, row: &mut Row) -> Added {
        let head = self.heads.entry(series).or_default();
        let added = head.put(dot, batch);
        if added != Added::Known {
            row.push(series, dot);
        }
        if added == Added::New {
            self.samples += 1;
            if !head.queued && head.samples.len() >= list_of(series) {
                self.full.push_back(head.queue(series));
            }
        }
        added
    }

    /// The bits that chunks hold for a time.
    fn stored(&mut self, conn: &Connection, series: u32, time: i64) -> Result<Option<u64>> {
        let fits = |r: &Recent| r.series == series && r.span.0 <= time && time <= r.span.1;
        if !self.recent.as_ref().is_some_and(fits) {
            // Between two chunks there is nothing; an empty answer for this time alone then.
            let mut recent = Recent { series, span: (time, time), times: Vec::new(), values: Vec::new() };
            Lane::samples(series).read(conn, (time, time), |n, data| {
                (recent.times, recent.values) = columns(data, n)?;
                Ok(false)
            })?;
            if let (Some(first), Some(last)) = (recent.times.first(), recent.times.last()) {
                recent.span = (*first, *last);
            }
            self.recent = Some(recent);
        }
        let Some(recent) = &self.recent else { return Ok(None) };
        Ok(recent.times.binary_search(&time).ok().map(|at| recent.values[at].to_bits()))
    }

    /// Forgets a series that is no more.
    pub(crate) fn remove(&mut self, series: u32) {
        self.empty.remove(&series);
        if let Some(head) = self.heads.remove(&series) {
            self.samples -= head.samples.len();
        }
    }

    /// Notes that there is nothing at all of a series; answers whether that is new.
    pub(crate) fn note_empty(&mut self, series: u32) -> bool {
        self.empty.insert(series)
    }

    /// Forgets what is known of the chunks of a series.
    pub(crate) fn chunks_changed(&mut self, series: u32) {
        self.recent = None;
        if let Some(head) = self.heads.get_mut(&series) {
            head.end = None;
        }
    }

    /// Moves a series' list into chunks.
    pub(crate) fn flush(&mut self, conn: &Connection, series: u32, row: &mut Row) -> Result<()> {
        let Some(head) = self.heads.get_mut(&series) else { return Ok(()) };
        head.queued = false;
        if head.samples.is_empty() {
            return Ok(());
        }
        let samples = std::mem::take(&mut head.samples);
        let lane = Lane::samples(series);
        let end = match head.end {
            Some(end) => end,
            None => lane.end(conn)?,
        };
        head.end = Some(lane.place(conn, &samples, end)?);
        self.samples -= samples.len();
        self.recent = None;
        row.flushed(series);
        Ok(())
    }

    /// Flushes what is due after a change of `added` samples, at most `limit` samples staying in the lists.
    pub(crate) fn flush_due(
        &mut self,
        conn: &Connection,
        added: usize,
        limit: usize,
        row: &mut Row,
    ) -> Result<()> {
        for _ in 0..added / PER_FLUSH + 2 {
            let Some(series) = self.full.pop_front() else { break };
            self.flush(conn, series, row)?;
        }
        while self.samples > limit {
            match self.full.pop_front() {
                Some(series) => self.flush(conn, series, row)?,
                None => self.queue_longest(),
            }
        }
        self.since_look += added;
        if self.since_look >= LOOK_AFTER.max(self.heads.len()) {
            self.since_look = 0;
            self.look_at_log(conn, row)?;
        }
        Ok(())
    }

    /// Queues all lists that are not shorter than the mean.
    fn queue_longest(&mut self) {
        let used = self.heads.values().filter(|head| !head.samples.is_empty()).count();
        let mean = self.samples / used.max(1);
        for (series, head) in &mut self.heads {
            if !head.samples.is_empty() && head.samples.len() >= mean {
                self.full.push_back(head.queue(*series));
            }
        }
    }

    /// Drops rows that nobody needs; when too many of them stay because of a few series, flushes those.
    fn look_at_log(&mut self, conn: &Connection, row: &mut Row) -> Result<()> {
        let allowed = self.samples as u64 * 5 / 2 + SLACK;
        if self.logged > allowed {
            let mut excess = self.logged - allowed + SLACK / 2;
            let old = self.rows.iter().take_while(|(_, samples)| {
                let more = excess > 0;
                excess = excess.saturating_sub(*samples);
                more
            });
            let before = old.last().map_or(0, |(batch, _)| batch + 1);
            let holding = |(series, head): (&u32, &Head)| {
                (!head.samples.is_empty() && head.batch < before).then_some(*series)
            };
            let holding: Vec<u32> = self.heads.iter().filter_map(holding).take(PER_LOOK).collect();
            for series in holding {
                self.flush(conn, series, row)?;
            }
        }
        self.truncate(conn)
    }

    /// Drops the rows before the oldest one that is needed. A row must be added in the same change, so that there always
    /// is one.
    pub(crate) fn truncate(&mut self, conn: &Connection) -> Result<()> {
        let used = self.heads.values().filter(|head| !head.samples.is_empty());
        let needed = used.map(|head| head.batch).min().unwrap_or(self.next_batch);
        let mut dropped = false;
        while let Some((batch, samples)) = self.rows.front().copied().filter(|(batch, _)| *batch < needed) {
            self.rows.pop_front();
            self.logged -= samples;
            dropped |= batch < needed;
        }
        if dropped {
            conn.prepare_cached("DELETE FROM metric_log WHERE batch < ?")?.execute([needed])?;
        }
        Ok(())
    }

    /// Writes the row of a change.
    pub(crate) fn log(&mut self, conn: &Connection, row: &Row) -> Result<()> {
        conn.prepare_cached("INSERT INTO metric_log VALUES (?, ?)")?
            .execute((self.next_batch, row.bytes()))?;
        self.rows.push_back((self.next_batch, row.samples()));
        self.logged += row.samples();
        self.next_batch += 1;
        Ok(())
    }

    /// Series with a list, in order of their ids.
    pub(crate) fn filled(&self) -> Vec<u32> {
        let filled = self.heads.iter().filter(|(_, head)| !head.samples.is_empty());
        let mut filled: Vec<u32> = filled.map(|(series, _)| *series).collect();
        filled.sort_unstable();
        filled
    }
}

fn list_of(series: u32) -> usize {
    LIST + series as usize * 7 % (LIST / 2)
}

impl Head {
    fn position(&self, time: i64) -> std::result::Result<usize, usize> {
        match self.samples.last() {
            None => Err(0),
            Some(last) if last.time < time => Err(self.samples.len()),
            _ => self.samples.binary_search_by_key(&time, |dot| dot.time),
        }
    }

    fn put(&mut self, dot: Dot, batch: i64) -> Added {
        if self.samples.is_empty() {
            self.batch = batch;
        }
        match self.position(dot.time) {
            Ok(at) if self.samples[at].bits == dot.bits => Added::Known,
            Ok(at) => {
                self.samples[at] = dot;
                Added::Replaced
            }
            Err(at) => {
                if self.samples.len() == self.samples.capacity() {
                    self.samples.reserve_exact(self.samples.len().clamp(4, GROWTH));
                }
                self.samples.insert(at, dot);
                Added::New
            }
        }
    }

    fn queue(&mut self, series: u32) -> u32 {
        self.queued = true;
        series
    }
}
