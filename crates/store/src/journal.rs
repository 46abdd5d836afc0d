//! Journals: numbered opaque records per stream.

use rusqlite::{Connection, OptionalExtension as _};

use crate::error::Result;
use crate::rows;
use crate::store::Store;
use crate::tx::Tx;

/// One record of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// Its number in the stream, from 1.
    pub seq: u64,
    /// What it is, for the reader.
    pub kind: String,
    /// Version of the encoding of `bytes`.
    pub version: u32,
    /// The content, opaque to the store.
    pub bytes: Vec<u8>,
}

/// Where a stream goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamEnd {
    id: i64,
    next: u64,
}

pub(crate) fn append(tx: &mut Tx<'_>, stream: &str, kind: &str, version: u32, bytes: &[u8]) -> Result<u64> {
    let end = match tx.cache.streams.get(stream) {
        Some(end) => *end,
        None => open_stream(tx.conn, stream)?,
    };
    tx.conn
        .prepare_cached("INSERT INTO journal (stream, seq, kind, version, bytes) VALUES (?, ?, ?, ?, ?)")?
        .execute((end.id, rows::int(end.next), kind, version, bytes))?;
    let moved = StreamEnd { next: end.next + 1, ..end };
    match tx.cache.streams.get_mut(stream) {
        Some(known) => *known = moved,
        None => {
            tx.cache.streams.insert(stream.to_owned(), moved);
        }
    }
    Ok(end.next)
}

fn open_stream(conn: &Connection, stream: &str) -> Result<StreamEnd> {
    conn.prepare_cached("INSERT INTO stream (name, first) VALUES (?, 1) ON CONFLICT DO NOTHING")?
        .execute([stream])?;
    let (id, first): (i64, i64) = conn
        .prepare_cached("SELECT id, first FROM stream WHERE name = ?")?
        .query_row([stream], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let last: Option<i64> = conn
        .prepare_cached("SELECT max(seq) FROM journal WHERE stream = ?")?
        .query_row([id], |r| r.get(0))?;
    Ok(StreamEnd { id, next: last.map_or(first, |l| l + 1).max(first).unsigned_abs() })
}

pub(crate) fn truncate(tx: &mut Tx<'_>, stream: &str, seq: u64) -> Result<u64> {
    let end = open_stream(tx.conn, stream)?;
    let upto = seq.min(end.next);
    let gone = tx
        .conn
        .prepare_cached("DELETE FROM journal WHERE stream = ? AND seq < ?")?
        .execute((end.id, rows::int(upto)))?;
    // Remembers how far the numbers went, also when no record is left.
    tx.conn
        .prepare_cached("UPDATE stream SET first = max(first, ?2) WHERE id = ?1")?
        .execute((end.id, rows::int(upto)))?;
    Ok(gone as u64)
}

impl Store {
    /// Up to `limit` records of a stream from number `from_seq` on, oldest first; none for an unknown stream.
    pub fn read_journal(&self, stream: &str, from_seq: u64, limit: usize) -> Result<Vec<JournalRecord>> {
        self.read(|conn| {
            let id: Option<i64> = conn
                .prepare_cached("SELECT id FROM stream WHERE name = ?")?
                .query_row([stream], |r| r.get(0))
                .optional()?;
            let Some(id) = id else { return Ok(Vec::new()) };
            let mut query = conn.prepare_cached(
                "SELECT seq, kind, version, bytes FROM journal WHERE stream = ? AND seq >= ? ORDER BY seq LIMIT ?",
            )?;
            let found = query.query_map((id, rows::int(from_seq), rows::limit(limit)), |r| {
                Ok(JournalRecord {
                    seq: r.get::<_, i64>(0)?.unsigned_abs(),
                    kind: r.get(1)?,
                    version: r.get(2)?,
                    bytes: r.get(3)?,
                })
            })?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
    }
}
