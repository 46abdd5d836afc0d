//! Events: what happened to resources, for people; repeated ones are counted, old ones forgotten.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::rows;
use crate::store::Store;
use crate::tx::Tx;

/// How many different events are kept.
pub const EVENTS_KEPT: u64 = 10_000;

/// Whether an event asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Somebody may have to look.
    Warning,
}

/// Something that happened to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by the wall clock.
    pub time: Timestamp,
    /// When, in the time of the site that it concerns; none for what follows no site's clock.
    pub site_time: Option<Timestamp>,
    /// Kind of the resource.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// Whether it asks for attention.
    pub event_type: EventType,
    /// One word for programs: `Started`, `ProbeFailed` …
    pub reason: String,
    /// One sentence for people.
    pub message: String,
}

/// An event as kept: with how often and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Rises with each recording, so an event that is counted up gets a new one.
    pub seq: u64,
    /// The event; its times are the last ones.
    pub event: Event,
    /// How often it happened.
    pub count: u64,
    /// When it happened first.
    pub first: Timestamp,
}

/// Which events are listed. The default lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of the resource with this name.
    pub name: Option<String>,
    /// Only of this type.
    pub event_type: Option<EventType>,
    /// Only those recorded after the one with this number.
    pub since: Option<u64>,
    /// At most this many, the latest ones.
    pub limit: Option<usize>,
}

/// How many there are and the number of the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    count: u64,
    next: i64,
}

pub(crate) fn record(tx: &mut Tx<'_>, event: &Event) -> Result<()> {
    let mut extent = match tx.cache.events {
        Some(extent) => extent,
        None => tx.conn.query_row("SELECT count(*), ifnull(max(seq), 0) + 1 FROM event", [], |r| {
            Ok(Extent { count: r.get::<_, i64>(0)?.unsigned_abs(), next: r.get(1)? })
        })?,
    };
    let count: i64 = tx
        .conn
        .prepare_cached(
            "INSERT INTO event (kind, name, type, reason, message, seq, count, first, last, last_site)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7, ?8) ON CONFLICT DO UPDATE SET
             seq = excluded.seq, count = count + 1, first = min(first, excluded.first),
             last = max(last, excluded.last), last_site = excluded.last_site RETURNING count",
        )?
        .query_row(
            rusqlite::params![
                event.kind,
                event.name,
                event.event_type as u8,
                event.reason,
                event.message,
                extent.next,
                rows::micros(event.time),
                event.site_time.map(rows::micros)
            ],
            |r| r.get(0),
        )?;
    extent.next += 1;
    extent.count += u64::from(count == 1);
    while extent.count > EVENTS_KEPT {
        tx.conn.prepare_cached("DELETE FROM event WHERE seq = (SELECT min(seq) FROM event)")?.execute([])?;
        extent.count -= 1;
    }
    tx.cache.events = Some(extent);
    Ok(())
}

impl Store {
    /// Events, the latest recorded last.
    pub fn list_events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>> {
        let mut found = self.read(|conn| {
            let mut query = conn.prepare_cached(
                "SELECT kind, name, type, reason, message, count, first, last, seq, last_site FROM event
                 WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR type = ?3)
                 AND seq > ?4 ORDER BY seq DESC LIMIT ?5",
            )?;
            let limit = rows::limit(filter.limit.unwrap_or(usize::MAX));
            let since = rows::int(filter.since.unwrap_or(0));
            let type_number = filter.event_type.map(|t| t as u8);
            let found = query.query_map((&filter.kind, &filter.name, type_number, since, limit), from_row)?;
            found.map(|r| r?).collect::<Result<Vec<_>>>()
        })?;
        found.reverse();
        Ok(found)
    }
}

fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<EventRecord>> {
    let event_type = match row.get::<_, u8>(2)? {
        0 => EventType::Normal,
        1 => EventType::Warning,
        other => return Ok(Err(StoreError::corrupt(format!("{other} is no event type")))),
    };
    let (kind, name, reason, message) = (row.get(0)?, row.get(1)?, row.get(3)?, row.get(4)?);
    let (count, first, last): (i64, i64, i64) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let seq = row.get::<_, i64>(8)?.unsigned_abs();
    let site: Option<i64> = row.get(9)?;
    Ok(rows::from_micros(last).and_then(|time| {
        let site_time = site.map(rows::from_micros).transpose()?;
        let event = Event { time, site_time, kind, name, event_type, reason, message };
        Ok(EventRecord { seq, event, count: count.unsigned_abs(), first: rows::from_micros(first)? })
    }))
}
