//! Dead letters: messages that were given up, kept until somebody looks at them.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::block::{self, Messages};
use super::commit::Work;
use super::flights::Flight;
use super::state::Channel;
use super::{Channels, DeadLetter, NewMessage, StoredMessage, read};
use crate::error::{Result, StoreError};
use crate::rows;

const MAX_REASON: usize = 4096;
/// About how many bytes of letters one call answers at most.
const LIST_BYTES: usize = 16 << 20;
const COLUMNS: &str = "id, consumer, position, attempt, reason, at, redriven, sum, message";

impl Channels {
    /// Keeps what came in and could not even become a message of the channel; answers the letter's number. Its id may
    /// be empty; id and key are cut after 1024 bytes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Backlog`] when there is no room for more dead letters,
    /// [`StoreError::Invalid`] when the body is larger than the channel takes.
    pub fn dead(&self, channel: &str, message: &NewMessage, reason: &str, now: Timestamp) -> Result<u64> {
        let (name, length, bytes) = (channel.to_owned(), message.body.len(), block::alone(message));
        let (reason, now) = (reason.to_owned(), rows::micros(now));
        self.submit(move |work| {
            let conn = work.conn;
            let channel = work.state.channel(conn, &name)?;
            if length > channel.limits.max_message_bytes {
                let most = channel.limits.max_message_bytes;
                let what = format!("a dead letter of {length} bytes; channel {name} takes up to {most}");
                return Err(StoreError::invalid(what));
            }
            room(channel, 1)?;
            work.touched = true;
            channel.letters += 1;
            insert(conn, channel.id, None, 0, &reason, now, &bytes)
        })
    }

    /// Up to `max` dead letters of a channel with numbers above `after`, oldest first; fewer when they are large.
    pub fn dead_letters(&self, channel: &str, after: u64, max: usize) -> Result<Vec<DeadLetter>> {
        self.view(|conn| {
            let id = read::channel_id(conn, channel)?;
            let sql =
                format!("SELECT {COLUMNS} FROM letter WHERE channel = ? AND id > ? ORDER BY id LIMIT ?");
            let mut query = conn.prepare_cached(&sql)?;
            let mut found = query.query((id, rows::int(after), rows::limit(max)))?;
            let (mut letters, mut bytes) = (Vec::new(), 0);
            while let Some(row) = found.next()? {
                let letter = read_letter(row)?;
                bytes += letter.message.body.len();
                if bytes > LIST_BYTES && !letters.is_empty() {
                    break;
                }
                letters.push(letter);
            }
            Ok(letters)
        })
    }

    /// Hands dead letters to the group that gave them up once more, from attempt 1 on; answers how many. They stay
    /// letters until they are settled. Numbers that are not there, or are under way already, are passed over.
    ///
    /// # Errors
    /// Nothing is redriven then. [`StoreError::Invalid`] for a letter that never was a message of the channel or whose
    /// group is gone.
    pub fn redrive(&self, channel: &str, ids: &[u64]) -> Result<usize> {
        let (name, ids): (_, Arc<[u64]>) = (channel.to_owned(), ids.into());
        self.submit(move |work| redrive(work, &name, &ids))
    }

    /// Drops dead letters, but for those that were sent again and are not settled; answers how many.
    pub fn drop_dead(&self, channel: &str, ids: &[u64]) -> Result<usize> {
        let (name, ids): (_, Arc<[u64]>) = (channel.to_owned(), ids.into());
        self.submit(move |work| {
            let conn = work.conn;
            let channel = work.state.channel(conn, &name)?;
            let mut delete =
                conn.prepare_cached("DELETE FROM letter WHERE id = ? AND channel = ? AND redriven = 0")?;
            let mut dropped = 0;
            work.touched = true;
            for id in &*ids {
                dropped += delete.execute((rows::int(*id), channel.id))?;
            }
            channel.letters = channel.letters.saturating_sub(dropped as u64);
            Ok(dropped)
        })
    }
}

/// Refuses `new` more dead letters when there is no room.
pub(super) fn room(channel: &Channel, new: u64) -> Result<()> {
    let (found, allowed) = (channel.letters + new, channel.limits.max_dead);
    if new == 0 || found <= allowed {
        return Ok(());
    }
    Err(StoreError::Backlog { channel: channel.name.clone(), what: "dead letters", found, allowed })
}

fn insert(
    conn: &Connection,
    channel: i64,
    from: Option<(&str, u64)>,
    attempt: u32,
    reason: &str,
    now: i64,
    bytes: &[u8],
) -> Result<u64> {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
    let sql = "INSERT INTO letter (channel, consumer, position, attempt, reason, at, redriven, sum, message) \
               VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?) RETURNING id";
    let (consumer, position) = from.unzip();
    let position = position.map(rows::int);
    let sum = block::checksum(bytes);
    let id: i64 = conn
        .prepare_cached(sql)?
        .query_row((channel, consumer, position, attempt, reason, now, sum, bytes), |r| r.get(0))?;
    Ok(id.unsigned_abs())
}

/// Makes a message that was settled as dead a letter; answers how many letters there are more.
pub(super) fn bury(
    conn: &Connection,
    channel: i64,
    group: &str,
    position: u64,
    flight: &Flight,
    reason: &str,
    now: i64,
) -> Result<u64> {
    if flight.letter {
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        let sql = "UPDATE letter SET redriven = 0, attempt = attempt + ?, reason = ?, at = ? \
                   WHERE channel = ? AND consumer = ? AND position = ? AND redriven = 1";
        let of = (flight.attempt, reason, now, channel, group, rows::int(position));
        conn.prepare_cached(sql)?.execute(of)?;
        return Ok(0);
    }
    let stored = read::at_positions(conn, channel, &[position])?.pop();
    let stored = stored.ok_or_else(|| StoreError::corrupt("a message that is out is not kept"))?;
    let bytes = block::alone(&stored.message);
    insert(conn, channel, Some((group, position)), flight.attempt, reason, now, &bytes)?;
    Ok(1)
}

/// Deletes the letter of a message that was sent again and is done; answers how many there are less.
pub(super) fn dealt_with(conn: &Connection, channel: i64, group: &str, position: u64) -> Result<u64> {
    let sql = "DELETE FROM letter WHERE channel = ? AND consumer = ? AND position = ? AND redriven = 1";
    Ok(conn.prepare_cached(sql)?.execute((channel, group, rows::int(position)))? as u64)
}

/// The letters of a group, whose flights are forgotten, are plain letters again.
pub(super) fn call_back(conn: &Connection, channel: i64, group: &str) -> Result<()> {
    let sql = "UPDATE letter SET redriven = 0 WHERE channel = ? AND consumer = ? AND redriven = 1";
    conn.prepare_cached(sql)?.execute((channel, group))?;
    Ok(())
}

/// The message of a letter that was sent again.
pub(super) fn sent_again(
    conn: &Connection,
    channel: i64,
    group: &str,
    position: u64,
) -> Result<Option<StoredMessage>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM letter WHERE channel = ? AND consumer = ? AND position = ? AND redriven = 1"
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut found = query.query((channel, group, rows::int(position)))?;
    let Some(row) = found.next()? else { return Ok(None) };
    let letter = read_letter(row)?;
    Ok(Some(StoredMessage { position, stored_at: letter.at, message: letter.message }))
}

fn redrive(work: &mut Work<'_>, name: &str, ids: &[u64]) -> Result<usize> {
    let conn = work.conn;
    let channel = work.state.channel(conn, name)?;
    let sql = format!("SELECT {COLUMNS} FROM letter WHERE id = ? AND channel = ? AND redriven = 0");
    let mut redriven = 0;
    for id in ids {
        let mut query = conn.prepare_cached(&sql)?;
        let found = query.query_row((rows::int(*id), channel.id), |row| Ok(read_letter(row))).optional()?;
        let Some(letter) = found.transpose()? else { continue };
        let (Some(group), Some(position)) = (letter.group, letter.position) else {
            return Err(StoreError::invalid(format!(
                "dead letter {id} never was a message of channel {name}: mend it and publish it, or drop it"
            )));
        };
        let Some(group) = channel.groups.get_mut(&group) else {
            return Err(StoreError::invalid(format!(
                "dead letter {id} was given up by group {group}, which is gone: publish it again, or drop it"
            )));
        };
        // After a seek backwards the message may come, or be out, once more on its own.
        if group.flights.get(position).is_some() || position >= group.flights.next {
            continue;
        }
        work.touched = true;
        let key = letter.message.key.as_deref().map_or(0, block::key_hash);
        let bytes = u32::try_from(letter.message.body.len()).unwrap_or(u32::MAX);
        group.flights.send_again(position, key, bytes);
        conn.prepare_cached("UPDATE letter SET redriven = 1 WHERE id = ?")?.execute([rows::int(*id)])?;
        redriven += 1;
    }
    if redriven > 0 {
        work.wake(name, None);
    }
    Ok(redriven)
}

fn read_letter(row: &Row<'_>) -> Result<DeadLetter> {
    let damaged = || StoreError::corrupt("a dead letter is not what was stored");
    let message = row.get_ref(8)?.as_blob().map_err(|_| damaged())?;
    let message = Messages::new(message, row.get(7)?)?.next(true)?.ok_or_else(damaged)?;
    Ok(DeadLetter {
        id: row.get::<_, i64>(0)?.unsigned_abs(),
        group: row.get(1)?,
        position: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
        attempts: row.get(3)?,
        reason: row.get(4)?,
        at: rows::from_micros(row.get(5)?)?,
        redriven: row.get(6)?,
        message,
    })
}
