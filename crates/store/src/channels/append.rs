//! Appending messages.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use super::block::{self, Batch, Block};
use super::commit::Work;
use super::dedupe::Dedupe;
use super::state::Channel;
use super::{Appended, Channels, Consumed, NewMessage, Settled, consume, retain};
use crate::error::{Result, StoreError};
use crate::rows;

impl Channels {
    /// Appends messages to a channel, in this order and next to each other. Those whose id was appended within the
    /// channel's window, also earlier in this call, are dropped and counted.
    ///
    /// # Errors
    /// Nothing is stored then. [`StoreError::NotFound`] when there is no such channel, [`StoreError::Invalid`] for a
    /// message without an id or one that is too long, and for more than 100,000 messages or 64 MiB at once,
    /// [`StoreError::Backlog`] when the channel is full, [`StoreError::Full`] when the disk is.
    pub fn append(&self, channel: &str, messages: &[NewMessage], now: Timestamp) -> Result<Appended> {
        let (channel, batch, now) = (channel.to_owned(), Batch::new(messages)?, rows::micros(now));
        self.submit(move |work| append(work, &channel, &batch, now))
    }

    /// Settles what was consumed and appends what came of it, both or nothing: a consumer that is repeated produces
    /// nothing twice. Answers what was appended, in the order of `produced`.
    ///
    /// # Errors
    /// Those of [`append`](Self::append) and [`settle`](Self::settle), and [`StoreError::Invalid`] when a position is
    /// not out any more, because its lease ended and someone else has settled it.
    pub fn append_and_settle(
        &self,
        consumed: &Consumed<'_>,
        produced: &[(&str, &[NewMessage])],
        now: Timestamp,
    ) -> Result<(Vec<Appended>, Settled)> {
        let now = rows::micros(now);
        let batches = produced
            .iter()
            .map(|(channel, messages)| Ok(((*channel).to_owned(), Batch::new(messages)?)))
            .collect::<Result<Vec<_>>>()?;
        let (channel, group) = (consumed.channel.to_owned(), consumed.group.to_owned());
        let settlements: Arc<[_]> = consumed.settlements.into();
        self.submit(move |work| {
            consume::all_out(work, &channel, &group, &settlements)?;
            let mut appended = Vec::with_capacity(batches.len());
            for (channel, batch) in &batches {
                appended.push(append(work, channel, batch, now)?);
            }
            let settled = consume::settle(work, &channel, &group, &settlements, now)?;
            Ok((appended, settled))
        })
    }
}

fn append(work: &mut Work<'_>, name: &str, batch: &Batch, now: i64) -> Result<Appended> {
    let conn = work.conn;
    let channel = work.state.channel(conn, name)?;
    if batch.largest > channel.limits.max_message_bytes {
        return Err(StoreError::invalid(format!(
            "a message of {} bytes; channel {name} takes up to {}",
            batch.largest, channel.limits.max_message_bytes
        )));
    }
    if batch.len() == 0 {
        return Ok(Appended::default());
    }
    let fresh = fresh(conn, channel, batch, now)?;
    let duplicates = batch.len() - fresh.len();
    let bytes = batch.bytes_of(&fresh);
    let stored = fresh.len();
    if let Err(full) = make_room(conn, channel, stored as u64, bytes) {
        if let Some(dedupe) = &mut channel.dedupe {
            dedupe.forget(fresh.iter().map(|index| batch.ids[*index]));
        }
        return Err(full);
    }
    work.touched = true;
    channel.duplicates += duplicates as u64;
    if stored == 0 {
        return Ok(Appended { duplicates, ..Appended::default() });
    }
    let first = channel.next;
    for block in batch.blocks(&fresh) {
        write(conn, channel, &block, now)?;
    }
    channel.appended += stored as u64;
    remember(conn, channel, batch, &fresh, now)?;
    let last = channel.next - 1;
    work.wake(name, Some(last));
    Ok(Appended { first, last, stored, duplicates })
}

/// Indices of the messages that were not seen within the window; they are noted as seen.
fn fresh(conn: &Connection, channel: &mut Channel, batch: &Batch, now: i64) -> Result<Vec<usize>> {
    if channel.limits.dedupe_window.is_zero() {
        return Ok((0..batch.len()).collect());
    }
    let cutoff = channel.cutoff(now);
    let dedupe = match &mut channel.dedupe {
        Some(dedupe) => dedupe,
        none => none.insert(Dedupe::load(conn, channel.id)?),
    };
    let mut fresh = Vec::with_capacity(batch.len());
    for (index, id) in batch.ids.iter().enumerate() {
        if dedupe.note(conn, *id, now, cutoff)? {
            fresh.push(index);
        }
    }
    Ok(fresh)
}

fn remember(
    conn: &Connection,
    channel: &mut Channel,
    batch: &Batch,
    fresh: &[usize],
    now: i64,
) -> Result<()> {
    let (cutoff, most) = (channel.cutoff(now), channel.limits.dedupe_ids);
    let Some(dedupe) = channel.dedupe.as_mut().filter(|_| !channel.limits.dedupe_window.is_zero()) else {
        return Ok(());
    };
    let ids: Vec<u128> = fresh.iter().map(|index| batch.ids[*index]).collect();
    dedupe.append(conn, channel.id, now, &ids)?;
    if dedupe.is_long() { dedupe.roll(conn, channel.id, cutoff, most) } else { Ok(()) }
}

/// Checks that so many more messages and bytes are allowed, and drops old messages that all have settled for it.
fn make_room(conn: &Connection, channel: &mut Channel, messages: u64, bytes: u64) -> Result<()> {
    if messages == 0 {
        // What is repeated takes no room.
        return Ok(());
    }
    let name = channel.name.clone();
    let full = |what, found, allowed| Err(StoreError::Backlog { channel: name, what, found, allowed });
    let (most, backlog) = (channel.limits.max_backlog, channel.backlog().saturating_add(messages));
    if backlog > most && !channel.groups.is_empty() {
        return full("unsettled messages", backlog, most);
    }
    let allowed = channel.limits.max_bytes;
    let target = allowed.saturating_sub(bytes);
    // Drops about as much as comes.
    while channel.bytes > target && retain::drop_settled(conn, channel, target)?.messages > 0 {}
    let found = channel.bytes.saturating_add(bytes);
    if found > allowed { full("bytes", found, allowed) } else { Ok(()) }
}

fn write(conn: &Connection, channel: &mut Channel, block: &Block<'_>, now: i64) -> Result<()> {
    channel.high = channel.high.max(now);
    let bytes = block.payload.len() as u64;
    let sql = "INSERT INTO block (channel, first, count, stored_at, high, bytes, sum, keys, payload) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    conn.prepare_cached(sql)?.execute((
        channel.id,
        rows::int(channel.next),
        rows::limit(block.count),
        now,
        channel.high,
        rows::int(bytes),
        block::checksum(&block.payload),
        block.keys.as_deref(),
        &*block.payload,
    ))?;
    channel.next += block.count as u64;
    channel.bytes += bytes;
    Ok(())
}
