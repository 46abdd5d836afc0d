//! Samples that are not in chunks yet: one row per append on disk, one list per series in memory.
//!
//! A hot row goes once all its series have moved on. So that a slow series does not keep the rows of fast ones, a
//! series whose oldest sample is [`MAX_BATCHES`] appends old is moved too; its next samples fill the same chunk up.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rusqlite::{Connection, OptionalExtension as _};

use super::{Raw, chunk};
use crate::error::{Result, StoreError};

/// Samples per full chunk.
const CHUNK: usize = 1024;
/// Full series compressed per append at most, so that no single append takes long.
const PER_APPEND: usize = 2;
/// Samples held in memory at most, over all series (32 bytes each).
const MAX_SAMPLES: usize = 65_536;
/// How many appends a sample stays hot at most (give or take [`HOUSEKEEPING`]).
const MAX_BATCHES: i64 = 4096;
/// Appends between two looks for old samples and rows that may go.
const HOUSEKEEPING: i64 = 32;

#[derive(Debug, Default)]
pub(crate) struct Hot {
    /// The series of readings.
    pub(crate) series: HashSet<u32>,
    tails: BTreeMap<u32, Tail>,
    full: BTreeSet<u32>,
    pub(crate) samples: usize,
    next_batch: i64,
    oldest_row: i64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Tail {
    first_batch: i64,
    samples: Vec<Raw>,
}

impl Hot {
    /// What is remembered, read from the database when nothing is.
    pub(crate) fn of<'c>(cached: &'c mut Option<Self>, conn: &Connection) -> Result<&'c mut Self> {
        let hot = match cached.take() {
            Some(hot) => hot,
            None => Self::load(conn)?,
        };
        Ok(cached.insert(hot))
    }

    fn load(conn: &Connection) -> Result<Self> {
        let mut query = conn.prepare("SELECT id FROM series WHERE kind = 0")?;
        let series = query.query_map([], |r| r.get(0))?.collect::<std::result::Result<_, _>>()?;
        let mut hot = Self { series, next_batch: 1, oldest_row: 1, ..Self::default() };
        let mut flushed = BTreeMap::new();
        let mut query = conn.prepare("SELECT series, batch FROM flushed")?;
        for row in query.query_map([], |r| Ok((r.get::<_, u32>(0)?, r.get::<_, i64>(1)?)))? {
            let (series, batch) = row?;
            hot.next_batch = hot.next_batch.max(batch + 1);
            flushed.insert(series, batch);
        }
        hot.oldest_row = hot.next_batch;
        let mut query = conn.prepare("SELECT batch, data FROM hot ORDER BY batch")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let batch: i64 = row.get(0)?;
            hot.oldest_row = hot.oldest_row.min(batch);
            hot.next_batch = hot.next_batch.max(batch + 1);
            let data = row.get_ref(1)?.as_blob().map_err(|e| StoreError::corrupt(e.to_string()))?;
            chunk::decode_batch(data, |series, raw| {
                if flushed.get(&series).is_none_or(|done| batch > *done) {
                    hot.remember(series, raw, batch);
                }
            })?;
        }
        Ok(hot)
    }

    /// Samples of a series that are in no chunk yet, in order of their arrival.
    pub(crate) fn tail(&self, series: u32) -> &[Raw] {
        self.tails.get(&series).map_or(&[], |tail| &tail.samples)
    }

    pub(crate) fn append(
        &mut self,
        conn: &Connection,
        samples: impl Iterator<Item = (u32, Raw)> + Clone,
    ) -> Result<()> {
        let batch = self.next_batch;
        self.next_batch += 1;
        self.buffer.clear();
        chunk::encode_batch(&mut self.buffer, samples.clone());
        conn.prepare_cached("INSERT INTO hot VALUES (?, ?)")?.execute((batch, &self.buffer))?;
        for (series, raw) in samples {
            self.remember(series, raw, batch);
        }
        for _ in 0..PER_APPEND {
            let Some(series) = self.full.pop_first() else { break };
            self.flush(conn, series)?;
        }
        while self.samples > MAX_SAMPLES {
            let Some(series) = self.longest() else { break };
            self.flush(conn, series)?;
        }
        if batch % HOUSEKEEPING == 0 { self.housekeeping(conn) } else { Ok(()) }
    }

    fn remember(&mut self, series: u32, raw: Raw, batch: i64) {
        let tail =
            self.tails.entry(series).or_insert_with(|| Tail { first_batch: batch, samples: Vec::new() });
        tail.samples.push(raw);
        self.samples += 1;
        if tail.samples.len() >= CHUNK {
            self.full.insert(series);
        }
    }

    fn longest(&self) -> Option<u32> {
        self.tails.iter().max_by_key(|(_, tail)| tail.samples.len()).map(|(series, _)| *series)
    }

    fn housekeeping(&mut self, conn: &Connection) -> Result<()> {
        let limit = self.next_batch - MAX_BATCHES;
        let old: Vec<u32> =
            self.tails.iter().filter(|(_, t)| t.first_batch < limit).map(|(s, _)| *s).take(64).collect();
        for series in old {
            self.flush(conn, series)?;
        }
        let needed = self.tails.values().map(|t| t.first_batch).min().unwrap_or(self.next_batch);
        // A bounded number at a time, yet more than arrive in between.
        let upto = needed.min(self.oldest_row + 4 * HOUSEKEEPING);
        if upto > self.oldest_row {
            conn.prepare_cached("DELETE FROM hot WHERE batch < ?")?.execute([upto])?;
            self.oldest_row = upto;
        }
        Ok(())
    }

    /// Moves a series' samples into chunks, filling up its last one.
    fn flush(&mut self, conn: &Connection, series: u32) -> Result<()> {
        let Some(tail) = self.tails.remove(&series) else { return Ok(()) };
        self.full.remove(&series);
        self.samples -= tail.samples.len();
        let mut samples = tail.samples;
        let mut replaced = None;
        if let Some((id, mut last)) = unfilled_chunk(conn, series)? {
            last.append(&mut samples);
            (samples, replaced) = (last, Some(id));
        }
        samples.sort_by_key(|raw| (raw.time, raw.known));
        let mut last = 0;
        for part in samples.chunks(CHUNK) {
            last = write_chunk(conn, series, part, replaced.take())?;
        }
        conn.prepare_cached("INSERT OR REPLACE INTO flushed VALUES (?, ?, ?)")?.execute((
            series,
            self.next_batch - 1,
            last,
        ))?;
        Ok(())
    }
}

/// The last chunk of a series, when there is room in it.
fn unfilled_chunk(conn: &Connection, series: u32) -> Result<Option<(i64, Vec<Raw>)>> {
    let last: Option<(i64, u32, Vec<u8>)> = conn
        .prepare_cached(
            "SELECT c.id, c.samples, c.data FROM flushed f JOIN chunk c ON c.id = f.chunk
             WHERE f.series = ?1 AND c.series = ?1 AND c.step = 0 AND c.samples < ?2",
        )?
        .query_row((series, CHUNK as i64), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?;
    last.map(|(id, samples, data)| Ok((id, chunk::decode(&data, samples as usize)?))).transpose()
}

/// Writes a chunk, in the place of `replaced` when given; answers its id.
fn write_chunk(conn: &Connection, series: u32, part: &[Raw], replaced: Option<i64>) -> Result<i64> {
    let (Some(first), Some(last)) = (part.first(), part.last()) else { return Ok(0) };
    let data = chunk::encode(part)?;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO chunk (id, series, t_min, t_max, samples, data) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute((replaced, series, first.time, last.time, part.len() as i64, data))?;
    Ok(conn.last_insert_rowid())
}
