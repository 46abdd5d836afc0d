//! What the writer remembers of channels between transactions, and how it is written.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _};

use super::dedupe::Dedupe;
use super::flights::{self, Flight, Flights};
use super::{ChannelLimits, no_channel, no_group};
use crate::error::{Result, StoreError};
use crate::rows;

/// Dropped whenever a transaction fails, and read again when it is needed.
#[derive(Debug)]
pub(super) struct State {
    channels: BTreeMap<String, Channel>,
    touched: BTreeSet<String>,
    memory_for_ids: usize,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) limits: ChannelLimits,
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) bytes: u64,
    pub(super) high: i64,
    pub(super) appended: u64,
    pub(super) duplicates: u64,
    pub(super) letters: u64,
    /// Read when something is appended.
    pub(super) dedupe: Option<Dedupe>,
    pub(super) groups: BTreeMap<String, Group>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: i64,
    pub(super) flights: Flights,
    pub(super) counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) given: u64,
    pub(super) settled: u64,
    pub(super) retried: u64,
    pub(super) dead: u64,
    pub(super) expired: u64,
}

impl State {
    pub(super) fn new(memory_for_ids: usize) -> Self {
        Self { channels: BTreeMap::new(), touched: BTreeSet::new(), memory_for_ids }
    }

    /// The channel as it is in the transaction; it will be written when the transaction ends.
    pub(super) fn channel(&mut self, conn: &Connection, name: &str) -> Result<&mut Channel> {
        self.find(conn, name)?.ok_or_else(|| no_channel(name))
    }

    pub(super) fn find(&mut self, conn: &Connection, name: &str) -> Result<Option<&mut Channel>> {
        if !self.channels.contains_key(name) {
            let Some(channel) = Channel::load(conn, name)? else { return Ok(None) };
            self.channels.insert(name.to_owned(), channel);
        }
        if !self.touched.contains(name) {
            self.touched.insert(name.to_owned());
        }
        Ok(self.channels.get_mut(name))
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.channels.remove(name);
        self.touched.remove(name);
    }

    /// Writes what the transaction changed.
    pub(super) fn flush(&mut self, conn: &Connection) -> Result<()> {
        for name in &self.touched {
            if let Some(channel) = self.channels.get_mut(name) {
                channel.flush(conn)?;
            }
        }
        Ok(())
    }

    pub(super) fn committed(&mut self) {
        let ids = |channel: &Channel| channel.dedupe.as_ref().map_or(0, Dedupe::weight);
        if self.channels.values().map(ids).sum::<usize>() > self.memory_for_ids {
            // Those in use stay, however much they need.
            let idle = |(name, _): &(&String, &mut Channel)| !self.touched.contains(*name);
            self.channels.iter_mut().filter(idle).for_each(|(_, channel)| channel.dedupe = None);
        }
        self.touched.clear();
    }

    pub(super) fn forget(&mut self) {
        self.channels.clear();
        self.touched.clear();
    }
}

impl Channel {
    fn load(conn: &Connection, name: &str) -> Result<Option<Self>> {
        let sql = "SELECT id, limits, first, next, bytes, high, appended, duplicates, \
                   (SELECT count(*) FROM letter WHERE letter.channel = channel.id) FROM channel WHERE name = ?";
        let found = conn.prepare_cached(sql)?.query_row([name], |r| {
            let number = |column| r.get::<_, i64>(column).map(i64::unsigned_abs);
            let channel = Self {
                id: r.get(0)?,
                name: name.to_owned(),
                limits: ChannelLimits::default(),
                first: number(2)?,
                next: number(3)?,
                bytes: number(4)?,
                high: r.get(5)?,
                appended: number(6)?,
                duplicates: number(7)?,
                letters: number(8)?,
                dedupe: None,
                groups: BTreeMap::new(),
            };
            Ok((channel, r.get::<_, String>(1)?))
        });
        let Some((mut channel, limits)) = found.optional()? else { return Ok(None) };
        channel.limits = rows::json(&limits)?;
        channel.groups = Group::load_all(conn, channel.id)?;
        Ok(Some(channel))
    }

    pub(super) fn group(&mut self, name: &str) -> Result<&mut Group> {
        let channel = &self.name;
        self.groups.get_mut(name).ok_or_else(|| no_group(channel, name))
    }

    /// Messages that the slowest group has not settled.
    pub(super) fn backlog(&self) -> u64 {
        self.groups.values().map(|group| group.lag(self.next)).max().unwrap_or(0)
    }

    /// Every group has settled what is below.
    pub(super) fn floor(&self) -> u64 {
        self.groups.values().map(|group| group.flights.floor()).min().unwrap_or(self.next)
    }

    /// Since when a repeated id is refused.
    pub(super) fn cutoff(&self, now: i64) -> i64 {
        now.saturating_sub(flights::micros(self.limits.dedupe_window))
    }

    fn flush(&mut self, conn: &Connection) -> Result<()> {
        let sql = "UPDATE channel SET first = ?2, next = ?3, bytes = ?4, high = ?5, appended = ?6, duplicates = ?7 \
                   WHERE id = ?1 AND (first, next, bytes, high, appended, duplicates) IS NOT (?2, ?3, ?4, ?5, ?6, ?7)";
        conn.prepare_cached(sql)?.execute((
            self.id,
            rows::int(self.first),
            rows::int(self.next),
            rows::int(self.bytes),
            self.high,
            rows::int(self.appended),
            rows::int(self.duplicates),
        ))?;
        self.groups.values_mut().try_for_each(|group| group.flush(conn))
    }
}

impl Group {
    fn load_all(conn: &Connection, channel: i64) -> Result<BTreeMap<String, Self>> {
        let sql = "SELECT name, id, next, clock, given, settled, retried, dead, expired FROM consumer WHERE channel = ?";
        let mut query = conn.prepare_cached(sql)?;
        let mut found = query.query([channel])?;
        let mut groups = BTreeMap::new();
        while let Some(row) = found.next()? {
            let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            let counts = Counts {
                given: number(4)?,
                settled: number(5)?,
                retried: number(6)?,
                dead: number(7)?,
                expired: number(8)?,
            };
            let (id, next, clock) = (row.get(1)?, number(2)?, row.get(3)?);
            let flights = Flights::load(next, clock, load_flights(conn, id)?);
            groups.insert(row.get(0)?, Self { id, flights, counts });
        }
        Ok(groups)
    }

    pub(super) fn lag(&self, next: u64) -> u64 {
        next.saturating_sub(self.flights.next) + self.flights.len() as u64
    }

    fn flush(&mut self, conn: &Connection) -> Result<()> {
        let (counts, changed) = (&self.counts, self.flights.take_changed());
        // The clock alone is no reason to write.
        let sql = "UPDATE consumer SET next = ?2, clock = ?3, given = ?4, settled = ?5, retried = ?6, dead = ?7, expired = ?8 \
                   WHERE id = ?1 AND (?9 OR (next, given, settled, retried, dead, expired) IS NOT (?2, ?4, ?5, ?6, ?7, ?8))";
        conn.prepare_cached(sql)?.execute((
            self.id,
            rows::int(self.flights.next),
            self.flights.clock,
            rows::int(counts.given),
            rows::int(counts.settled),
            rows::int(counts.retried),
            rows::int(counts.dead),
            rows::int(counts.expired),
            !changed.is_empty(),
        ))?;
        let (kept, gone): (Vec<u64>, Vec<u64>) =
            changed.into_iter().partition(|position| self.flights.get(*position).is_some());
        delete_flights(conn, self.id, &gone)?;
        let mut put =
            conn.prepare_cached("INSERT OR REPLACE INTO flight VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for position in kept {
            let Some(flight) = self.flights.get(position) else { continue };
            put.execute((
                self.id,
                rows::int(position),
                flight.state as i64,
                flight.attempt,
                flight.due,
                flight.key.cast_signed(),
                flight.bytes,
                flight.letter,
            ))?;
        }
        Ok(())
    }
}

/// Deletes the flights at these positions (in order), neighbours together.
fn delete_flights(conn: &Connection, group: i64, positions: &[u64]) -> Result<()> {
    if positions.is_empty() {
        return Ok(());
    }
    let mut delete =
        conn.prepare_cached("DELETE FROM flight WHERE consumer = ? AND position BETWEEN ? AND ?")?;
    for run in positions.chunk_by(|a, b| a + 1 == *b) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            delete.execute((group, rows::int(*first), rows::int(*last)))?;
        }
    }
    Ok(())
}

fn load_flights(conn: &Connection, group: i64) -> Result<Vec<(u64, Flight)>> {
    let sql = "SELECT position, state, attempt, due, key, bytes, letter FROM flight WHERE consumer = ? ORDER BY position";
    let mut query = conn.prepare_cached(sql)?;
    let mut found = query.query([group])?;
    let mut flights = Vec::new();
    while let Some(row) = found.next()? {
        let state = match row.get::<_, u8>(1)? {
            0 => flights::State::Held,
            1 => flights::State::Taken,
            2 => flights::State::Waiting,
            other => return Err(StoreError::corrupt(format!("{other} is no state of a message"))),
        };
        let flight = Flight {
            state,
            attempt: row.get(2)?,
            due: row.get(3)?,
            key: row.get::<_, i64>(4)?.cast_unsigned(),
            bytes: row.get(5)?,
            letter: row.get(6)?,
        };
        flights.push((row.get::<_, i64>(0)?.unsigned_abs(), flight));
    }
    Ok(flights)
}
