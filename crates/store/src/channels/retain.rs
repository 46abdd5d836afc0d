//! Dropping what is too old or too much, in steps of bounded length.

use jiff::Timestamp;
use rusqlite::Connection;

use super::commit::Work;
use super::state::Channel;
use super::{Channels, Enforced, dedupe, flights};
use crate::error::Result;
use crate::rows;

/// Blocks dropped in one transaction; about 64 KiB each.
const STEP: usize = 128;
/// Pages given back to the file system in one transaction.
const PAGES: i64 = 1024;

impl Channels {
    /// Does some of what is due: drops messages that are older or more than their channel's limits allow, ids outside
    /// their window, what is left of deleted channels, and gives unused pages back to the file system. Bounded work per channel and
    /// call; call it regularly, and again while it answers that there is more.
    ///
    /// Of bytes that are too many only messages go that every group has settled. Messages go by whole blocks of what was
    /// appended together, so some stay a little longer.
    pub fn enforce(&self, now: Timestamp) -> Result<Enforced> {
        let now = rows::micros(now);
        let mut all = Enforced::default();
        for name in self.names()? {
            let one = self.submit(move |work| enforce(work, &name, now))?;
            all = Enforced {
                messages: all.messages + one.messages,
                bytes: all.bytes + one.bytes,
                more: all.more | one.more,
            };
        }
        all.more |= self.submit(|work| bury(work.conn))?;
        all.more |= self.submit(|work| shrink(work.conn))?;
        Ok(all)
    }
}

fn enforce(work: &mut Work<'_>, name: &str, now: i64) -> Result<Enforced> {
    let conn = work.conn;
    // It may have been deleted meanwhile.
    let Some(channel) = work.state.find(conn, name)? else { return Ok(Enforced::default()) };
    work.touched = true;
    let aged = drop_aged(conn, channel, now)?;
    let surplus = drop_settled(conn, channel, channel.limits.max_bytes)?;
    let ids = drop_ids(conn, channel, now)?;
    Ok(Enforced {
        messages: aged.messages + surplus.messages,
        bytes: aged.bytes + surplus.bytes,
        more: aged.more || surplus.more || ids,
    })
}

struct Old {
    count: u64,
    stored_at: i64,
    bytes: u64,
}

/// The oldest blocks of a channel.
fn oldest(conn: &Connection, channel: &Channel) -> Result<Vec<Old>> {
    let sql = "SELECT count, stored_at, bytes FROM block WHERE channel = ? ORDER BY first LIMIT ?";
    let mut query = conn.prepare_cached(sql)?;
    let found = query.query_map((channel.id, rows::limit(STEP)), |r| {
        let number = |column| r.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(Old { count: number(0)?, stored_at: r.get(1)?, bytes: number(2)? })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn drop_aged(conn: &Connection, channel: &mut Channel, now: i64) -> Result<Enforced> {
    let Some(age) = channel.limits.max_age else { return Ok(Enforced::default()) };
    let cutoff = now.saturating_sub(flights::micros(age));
    let blocks = oldest(conn, channel)?;
    // What came before a block that is too old is too old, also when a clock that was ahead dated it into the future.
    let current = |block: &Old| block.stored_at >= cutoff && block.stored_at <= now;
    let until = blocks.iter().position(current).unwrap_or(blocks.len());
    let gone = blocks[..until].iter().rposition(|block| block.stored_at < cutoff).map_or(0, |last| last + 1);
    drop_blocks(conn, channel, &blocks[..gone], gone == STEP)
}

/// Drops the oldest messages that every group has settled until at most `most` bytes are kept.
pub(super) fn drop_settled(conn: &Connection, channel: &mut Channel, most: u64) -> Result<Enforced> {
    if channel.bytes <= most {
        return Ok(Enforced::default());
    }
    let blocks = oldest(conn, channel)?;
    let (floor, mut end, mut left) = (channel.floor(), channel.first, channel.bytes);
    let droppable = |block: &&Old| {
        let surplus = left > most;
        (left, end) = (left.saturating_sub(block.bytes), end + block.count);
        surplus && end <= floor
    };
    let gone = blocks.iter().take_while(droppable).count();
    drop_blocks(conn, channel, &blocks[..gone], gone == STEP)
}

fn drop_blocks(conn: &Connection, channel: &mut Channel, gone: &[Old], more: bool) -> Result<Enforced> {
    let messages: u64 = gone.iter().map(|block| block.count).sum();
    let bytes: u64 = gone.iter().map(|block| block.bytes).sum();
    if messages == 0 {
        return Ok(Enforced::default());
    }
    let first = channel.first + messages;
    conn.prepare_cached("DELETE FROM block WHERE channel = ? AND first < ?")?
        .execute((channel.id, rows::int(first)))?;
    channel.first = first;
    channel.bytes = channel.bytes.saturating_sub(bytes);
    for group in channel.groups.values_mut() {
        group.counts.expired += group.flights.expire(first);
    }
    Ok(Enforced { messages, bytes, more })
}

fn drop_ids(conn: &Connection, channel: &mut Channel, now: i64) -> Result<bool> {
    let (cutoff, most) = (channel.cutoff(now), channel.limits.dedupe_ids);
    let Some(dedupe) = &mut channel.dedupe else {
        // Not in memory: nothing is appended there. What is too old is found without reading it all.
        conn.prepare_cached(
            "DELETE FROM recent WHERE id IN (SELECT id FROM recent WHERE channel = ? AND at < ? LIMIT 1000)",
        )?
        .execute((channel.id, cutoff))?;
        let sql = "SELECT id FROM run WHERE channel = ? AND newest < ? LIMIT 4";
        return delete_runs(conn, sql, &[channel.id, cutoff]);
    };
    dedupe.drop_recent(conn, channel.id, cutoff)?;
    dedupe.drop_runs(conn, cutoff, most, 4)
}

fn delete_runs(conn: &Connection, sql: &str, of: &[i64]) -> Result<bool> {
    let runs: Vec<i64> = {
        let mut query = conn.prepare_cached(sql)?;
        let found = query.query_map(rusqlite::params_from_iter(of), |r| r.get(0))?;
        found.collect::<rusqlite::Result<_>>()?
    };
    runs.iter().try_for_each(|run| dedupe::delete_run(conn, *run))?;
    Ok(runs.len() == 4)
}

/// Deletes some of what is left of a channel that was deleted; says whether anything is left.
fn bury(conn: &Connection) -> Result<bool> {
    use rusqlite::OptionalExtension as _;
    let sql = "SELECT id FROM channel WHERE name IS NULL LIMIT 1";
    let Some(id) = conn.prepare_cached(sql)?.query_row([], |r| r.get::<_, i64>(0)).optional()? else {
        return Ok(false);
    };
    let mut gone = 0;
    for (table, step) in [("block", STEP), ("recent", 1000), ("letter", 1000)] {
        let sql = format!(
            "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE channel = ? LIMIT {step})"
        );
        gone += conn.prepare_cached(&sql)?.execute([id])?;
    }
    let runs = delete_runs(conn, "SELECT id FROM run WHERE channel = ? LIMIT 4", &[id])?;
    if gone == 0 && !runs {
        conn.prepare_cached("DELETE FROM channel WHERE id = ?")?.execute([id])?;
    }
    Ok(true)
}

/// Gives unused pages back where they are more than a quarter of the file; says whether there are more.
fn shrink(conn: &Connection) -> Result<bool> {
    let number = |sql| -> Result<i64> { Ok(conn.prepare_cached(sql)?.query_row([], |r| r.get(0))?) };
    let (unused, pages) = (number("PRAGMA freelist_count")?, number("PRAGMA page_count")?);
    let surplus = unused - pages / 4;
    if surplus <= 256 {
        return Ok(false);
    }
    let mut shrink = conn.prepare(&format!("PRAGMA incremental_vacuum({})", surplus.min(PAGES)))?;
    let mut steps = shrink.query([])?;
    while steps.next()?.is_some() {}
    Ok(surplus > PAGES)
}
