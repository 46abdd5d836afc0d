//! The chunks of one series at one resolution: a lane.
//!
//! # Guarantees
//! The chunks of a lane do not overlap in time, and within one times rise strictly. What comes late is merged into the
//! chunk of its time; so a reader takes chunks one after the other and needs neither sorting nor a choice.

use rusqlite::{Connection, OptionalExtension as _};

use crate::error::{Result, StoreError};
use crate::telemetry::bytes::Cursor;
use crate::telemetry::columns::{put_times, put_values, take_ints, take_values};

/// Rows of a full chunk. A chunk is filled up as long as what comes fits, and written anew each time.
pub(crate) const FULL: usize = 640;
const FORMAT: u8 = 2;

/// What a chunk is made of.
pub(crate) trait Row: Copy {
    fn time(&self) -> i64;
    fn encode(rows: &[Self]) -> Result<Vec<u8>>;
    fn decode(data: &[u8], n: usize) -> Result<Vec<Self>>;
}

/// A sample of a metric; the value by its bits, so that every NaN stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dot {
    pub(crate) time: i64,
    pub(crate) bits: u64,
}

impl Row for Dot {
    fn time(&self) -> i64 {
        self.time
    }

    fn encode(rows: &[Self]) -> Result<Vec<u8>> {
        let mut out = vec![FORMAT];
        put_times(&mut out, &rows.iter().map(|dot| dot.time).collect::<Vec<_>>())?;
        put_values(&mut out, &rows.iter().map(|dot| dot.bits).collect::<Vec<_>>())?;
        Ok(out)
    }

    fn decode(data: &[u8], n: usize) -> Result<Vec<Self>> {
        let (times, values) = columns(data, n)?;
        let dots = times.into_iter().zip(values);
        Ok(dots.map(|(time, value)| Self { time, bits: value.to_bits() }).collect())
    }
}

/// Times and values of a chunk of samples.
pub(crate) fn columns(data: &[u8], n: usize) -> Result<(Vec<i64>, Vec<f64>)> {
    let mut cursor = Cursor(data);
    if cursor.byte()? != FORMAT {
        return Err(StoreError::corrupt("a chunk of metrics has an unknown format"));
    }
    Ok((take_ints(&mut cursor, n)?, take_values(&mut cursor, n)?))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) series: u32,
    /// Seconds; 0 for samples.
    pub(crate) step: i64,
}

/// The last chunk of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    id: i64,
    samples: u32,
    pub(crate) t_max: i64,
}

impl Lane {
    pub(crate) fn samples(series: u32) -> Self {
        Self { series, step: 0 }
    }

    pub(crate) fn end(self, conn: &Connection) -> Result<Option<End>> {
        let sql =
            "SELECT id, samples, t_max FROM chunk WHERE series = ? AND step = ? ORDER BY t_max DESC LIMIT 1";
        let end = |r: &rusqlite::Row<'_>| Ok(End { id: r.get(0)?, samples: r.get(1)?, t_max: r.get(2)? });
        Ok(conn.prepare_cached(sql)?.query_row((self.series, self.step), end).optional()?)
    }

    /// Time of the first row.
    pub(crate) fn begin(self, conn: &Connection) -> Result<Option<i64>> {
        let sql = "SELECT t_min FROM chunk WHERE series = ? AND step = ? ORDER BY t_max LIMIT 1";
        Ok(conn.prepare_cached(sql)?.query_row((self.series, self.step), |r| r.get(0)).optional()?)
    }

    /// Hands out the chunks that touch the times from `from` to `to`, both included, in order: rows and bytes. `take`
    /// answers whether to go on.
    pub(crate) fn read(
        self,
        conn: &Connection,
        (from, to): (i64, i64),
        mut take: impl FnMut(usize, &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let sql = "SELECT samples, t_min, data FROM chunk WHERE series = ? AND step = ? AND t_max >= ? ORDER BY t_max";
        let mut query = conn.prepare_cached(sql)?;
        let mut found = query.query((self.series, self.step, from))?;
        while let Some(row) = found.next()? {
            if row.get::<_, i64>(1)? > to {
                break;
            }
            let data = row.get_ref(2)?.as_blob().map_err(|e| StoreError::corrupt(e.to_string()))?;
            if !take(row.get::<_, u32>(0)? as usize, data)? {
                break;
            }
        }
        Ok(())
    }

    /// Stores rows, whose times rise strictly, and answers the lane's new end. Of two with the same time the given
    /// one stays.
    pub(crate) fn place<R: Row>(
        self,
        conn: &Connection,
        rows: &[R],
        end: Option<End>,
    ) -> Result<Option<End>> {
        let late = end.map_or(0, |end| rows.partition_point(|row| row.time() <= end.t_max));
        let (late, new) = rows.split_at(late);
        let end = if late.is_empty() {
            end
        } else {
            self.place_late(conn, late)?;
            self.end(conn)?
        };
        if new.is_empty() {
            return Ok(end);
        }
        match end {
            Some(end) if end.samples as usize + new.len() <= FULL => {
                let mut rows: Vec<R> = fetch(conn, end.id, end.samples)?;
                rows.extend_from_slice(new);
                remove(conn, end.id)?;
                self.write(conn, &rows)
            }
            _ => self.write(conn, new),
        }
    }

    /// Each row goes into the first chunk that does not end before it.
    fn place_late<R: Row>(self, conn: &Connection, mut late: &[R]) -> Result<()> {
        let sql = "SELECT id, samples, t_max FROM chunk WHERE series = ? AND step = ? AND t_max >= ?
                   ORDER BY t_max LIMIT 1";
        while let Some(first) = late.first() {
            let (id, samples, t_max) =
                conn.prepare_cached(sql)?.query_row((self.series, self.step, first.time()), |r| {
                    Ok((r.get(0)?, r.get(1)?, r.get::<_, i64>(2)?))
                })?;
            let (here, rest) = late.split_at(late.partition_point(|row| row.time() <= t_max));
            let merged = merge(&fetch(conn, id, samples)?, here);
            remove(conn, id)?;
            self.write(conn, &merged)?;
            late = rest;
        }
        Ok(())
    }

    /// Writes rows into as many chunks as they need, alike in size.
    fn write<R: Row>(self, conn: &Connection, rows: &[R]) -> Result<Option<End>> {
        let sql = "INSERT INTO chunk (series, step, t_min, t_max, samples, data) VALUES (?, ?, ?, ?, ?, ?)";
        let mut query = conn.prepare_cached(sql)?;
        let parts = rows.len().div_ceil(FULL).max(1);
        let mut end = None;
        for part in rows.chunks(rows.len().div_ceil(parts).max(1)) {
            let (first, last) = (part[0].time(), part[part.len() - 1].time());
            let samples = u32::try_from(part.len()).unwrap_or(u32::MAX);
            query.execute((self.series, self.step, first, last, samples, R::encode(part)?))?;
            end = Some(End { id: conn.last_insert_rowid(), samples, t_max: last });
        }
        Ok(end)
    }
}

fn fetch<R: Row>(conn: &Connection, id: i64, samples: u32) -> Result<Vec<R>> {
    let mut query = conn.prepare_cached("SELECT data FROM chunk WHERE id = ?")?;
    let mut found = query.query([id])?;
    let row = found.next()?.ok_or_else(|| StoreError::corrupt("a chunk of metrics has vanished"))?;
    R::decode(row.get_ref(0)?.as_blob().map_err(|e| StoreError::corrupt(e.to_string()))?, samples as usize)
}

/// What is written anew goes to the end of the table, so that full chunks lie close together; the pages of those that
/// were filled up become free as a whole.
fn remove(conn: &Connection, id: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM chunk WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// Both in order of time; of two with the same time the newer one.
fn merge<R: Row>(old: &[R], new: &[R]) -> Vec<R> {
    let mut all = Vec::with_capacity(old.len() + new.len());
    let mut old = old.iter().peekable();
    for row in new {
        while let Some(earlier) = old.next_if(|o| o.time() < row.time()) {
            all.push(*earlier);
        }
        while old.next_if(|o| o.time() == row.time()).is_some() {}
        all.push(*row);
    }
    all.extend(old.copied());
    all
}
