//! Reading what is kept, without consuming it.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::block::Messages;
use super::{Bounds, Channels, StoredMessage, no_channel};
use crate::error::{Result, StoreError};
use crate::rows;

/// About how many bytes one call answers at most.
const READ_BYTES: u64 = 16 << 20;

impl Channels {
    /// Up to `max` messages from a position on, oldest first; at most about 16 MiB, but one message always. Begins
    /// with the oldest that is kept when `from` is older.
    pub fn read(&self, channel: &str, from: u64, max: usize) -> Result<Vec<StoredMessage>> {
        self.view(|conn| {
            let id = channel_id(conn, channel)?;
            let start = from.max(bounds(conn, id)?.first);
            let mut messages = Vec::new();
            let sql = "SELECT first, count, stored_at, sum, payload FROM block \
                       WHERE channel = ?1 AND first >= (SELECT max(first) FROM block WHERE channel = ?1 AND first <= ?2) \
                       ORDER BY first";
            let mut query = conn.prepare_cached(sql)?;
            let mut found = query.query((id, rows::int(start)))?;
            let mut bytes = 0;
            while messages.len() < max && bytes < READ_BYTES {
                let Some(row) = found.next()? else { break };
                let block = Block::of(row)?;
                let end = block.first.saturating_add(block.count);
                let left = (max - messages.len()) as u64;
                let wanted = start.max(block.first)..end.min(start.max(block.first).saturating_add(left));
                bytes += block.payload.len() as u64;
                block.pick(wanted, &mut messages)?;
            }
            Ok(messages)
        })
    }

    /// The position of the first message that was stored at `time` or later, among those that are kept; that of the next
    /// one when there is none.
    pub fn position_at(&self, channel: &str, time: Timestamp) -> Result<u64> {
        self.view(|conn| {
            let id = channel_id(conn, channel)?;
            position_at(conn, id, bounds(conn, id)?, rows::micros(time))
        })
    }

    /// Which positions are kept.
    pub fn bounds(&self, channel: &str) -> Result<Bounds> {
        self.view(|conn| bounds(conn, channel_id(conn, channel)?))
    }
}

pub(super) fn channel_id(conn: &Connection, name: &str) -> Result<i64> {
    let found = conn
        .prepare_cached("SELECT id FROM channel WHERE name = ?")?
        .query_row([name], |r| r.get(0))
        .optional()?;
    found.ok_or_else(|| no_channel(name))
}

fn bounds(conn: &Connection, channel: i64) -> Result<Bounds> {
    let mut query = conn.prepare_cached("SELECT first, next FROM channel WHERE id = ?")?;
    let (first, next): (i64, i64) = query.query_row([channel], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(Bounds { first: first.unsigned_abs(), next: next.unsigned_abs() })
}

pub(super) fn position_at(conn: &Connection, channel: i64, within: Bounds, time: i64) -> Result<u64> {
    let sql =
        "SELECT first, count, high FROM block WHERE channel = ? AND first <= ? ORDER BY first DESC LIMIT 1";
    let mut query = conn.prepare_cached(sql)?;
    // The latest time so far only rises, so it can be bisected; where it first reaches `time`, so do the messages.
    let (mut low, mut high) = (within.first, within.next);
    while low < high {
        let middle = low + (high - low) / 2;
        let block = query.query_row((channel, rows::int(middle)), |r| {
            Ok((r.get::<_, i64>(0)?.unsigned_abs(), r.get::<_, i64>(1)?.unsigned_abs(), r.get::<_, i64>(2)?))
        });
        let (start, count, latest) = block.optional()?.ok_or_else(missing)?;
        if latest >= time {
            high = start.max(low);
        } else {
            low = start.saturating_add(count.max(1));
        }
    }
    Ok(low)
}

fn missing() -> StoreError {
    StoreError::corrupt("messages of a channel are missing")
}

struct Block<'a> {
    first: u64,
    count: u64,
    stored_at: Timestamp,
    sum: u32,
    payload: &'a [u8],
}

impl<'a> Block<'a> {
    /// Of a row with first, count, stored_at, sum, payload.
    fn of(row: &'a rusqlite::Row<'_>) -> Result<Self> {
        Ok(Self {
            first: row.get::<_, i64>(0)?.unsigned_abs(),
            count: row.get::<_, i64>(1)?.unsigned_abs(),
            stored_at: rows::from_micros(row.get(2)?)?,
            sum: row.get(3)?,
            payload: row.get_ref(4)?.as_blob().map_err(|_| missing())?,
        })
    }

    /// The messages at these positions of the block, in order.
    fn pick(&self, wanted: impl IntoIterator<Item = u64>, messages: &mut Vec<StoredMessage>) -> Result<()> {
        let mut stored = Messages::new(self.payload, self.sum)?;
        let mut position = self.first;
        for wanted in wanted {
            while position <= wanted {
                if let Some(message) = stored.next(position == wanted)? {
                    messages.push(StoredMessage { position, stored_at: self.stored_at, message });
                }
                position += 1;
            }
        }
        Ok(())
    }
}

/// The messages at these positions (in order), but for those that are no longer kept.
pub(super) fn at_positions(conn: &Connection, channel: i64, positions: &[u64]) -> Result<Vec<StoredMessage>> {
    let sql = "SELECT first, count, stored_at, sum, payload FROM block \
               WHERE channel = ? AND first <= ? ORDER BY first DESC LIMIT 1";
    let mut query = conn.prepare_cached(sql)?;
    let mut messages = Vec::with_capacity(positions.len());
    let mut rest = positions;
    while let Some(first) = rest.first().copied() {
        let mut found = query.query((channel, rows::int(first)))?;
        let block = found.next()?.map(Block::of).transpose()?;
        let Some(block) = block.filter(|block| first < block.first.saturating_add(block.count)) else {
            rest = &rest[1..];
            continue;
        };
        let end = block.first + block.count;
        let (here, after) = rest.split_at(rest.partition_point(|position| *position < end));
        block.pick(here.iter().copied(), &mut messages)?;
        rest = after;
    }
    Ok(messages)
}
