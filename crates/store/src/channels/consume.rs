//! Taking messages and settling them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::commit::Work;
use super::flights::{self, Flights, Given, Outcome, Room};
use super::state::{Channel, Group};
use super::{Channels, Delivery, Lag, Settled, Settlement, letters, read};
use crate::error::{Result, StoreError};
use crate::rows;

/// About how many bytes one call of take hands out at most.
const TAKE_BYTES: u64 = 16 << 20;

impl Channels {
    /// Hands up to `max` messages to a consumer of a group, in order of their positions, until `now + lease`; at most
    /// about 16 MiB, but one message always.
    ///
    /// A message is not handed out while an earlier one with its key is out or waits for its retry. A message whose lease has
    /// ended comes again with the next attempt; a settlement that then still comes from the earlier consumer counts.
    /// Empty when there is nothing now: wait with [`watch`](Self::watch) and [`next_due`](Self::next_due).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such channel or group.
    pub fn take(
        &self,
        channel: &str,
        group: &str,
        max: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<Delivery>> {
        let (of, by, now) = (channel.to_owned(), group.to_owned(), rows::micros(now));
        let lease_until = now.saturating_add(flights::micros(lease));
        let (id, given) = self.submit(move |work| {
            take(work, &of, &by, now, Room { messages: max, bytes: TAKE_BYTES, lease_until })
        })?;
        if given.is_empty() {
            return Ok(Vec::new());
        }
        self.view(|conn| deliveries(conn, id, group, &given))
    }

    /// Says what becomes of messages that were taken, all at once. Positions that are not out any more are counted as
    /// ignored, so a call may be repeated.
    ///
    /// # Errors
    /// Nothing is settled then. [`StoreError::NotFound`] when there is no such channel or group,
    /// [`StoreError::Backlog`] when there is no room for more dead letters.
    pub fn settle(
        &self,
        channel: &str,
        group: &str,
        settlements: &[(u64, Settlement)],
        now: Timestamp,
    ) -> Result<Settled> {
        let (channel, group, now) = (channel.to_owned(), group.to_owned(), rows::micros(now));
        let settlements: Arc<[_]> = settlements.into();
        self.submit(move |work| settle(work, &channel, &group, &settlements, now))
    }

    /// Ends all leases of a group: what is taken and not settled comes again at once. For a consumer that starts and knows
    /// that the one before it has ended. Answers how many that were.
    pub fn release(&self, channel: &str, group: &str, now: Timestamp) -> Result<usize> {
        let (channel, group, now) = (channel.to_owned(), group.to_owned(), rows::micros(now));
        self.submit(move |work| {
            let released = work.state.channel(work.conn, &channel)?.group(&group)?.flights.release(now);
            work.touched |= released > 0;
            if released > 0 {
                work.wake(&channel, None);
            }
            Ok(released)
        })
    }

    /// When the next lease or wait of a group ends, if any; a time that has passed when something is ready.
    pub fn next_due(&self, channel: &str, group: &str) -> Result<Option<Timestamp>> {
        let (channel, group) = (channel.to_owned(), group.to_owned());
        let due = self.submit(move |work| {
            let flights = &work.state.channel(work.conn, &channel)?.group(&group)?.flights;
            Ok(if flights.any_ready() { Some(flights.clock) } else { flights.next_due() })
        })?;
        // A lease without an end is as good as none.
        Ok(due.and_then(|due| Timestamp::from_microsecond(due).ok()))
    }

    /// How far a group is behind.
    pub fn lag(&self, channel: &str, group: &str) -> Result<Lag> {
        let (channel, group) = (channel.to_owned(), group.to_owned());
        self.submit(move |work| {
            let conn = work.conn;
            let channel = work.state.channel(conn, &channel)?;
            let (id, next) = (channel.id, channel.next);
            let group = channel.group(&group)?;
            let oldest = match group.flights.floor() {
                floor if floor < next => stored_at(conn, id, floor)?,
                _ => None,
            };
            Ok(Lag { messages: group.lag(next), oldest: oldest.map(rows::from_micros).transpose()? })
        })
    }
}

fn stored_at(conn: &Connection, channel: i64, position: u64) -> Result<Option<i64>> {
    let sql = "SELECT stored_at FROM block WHERE channel = ? AND first <= ? ORDER BY first DESC LIMIT 1";
    Ok(conn.prepare_cached(sql)?.query_row((channel, rows::int(position)), |r| r.get(0)).optional()?)
}

fn take(
    work: &mut Work<'_>,
    channel: &str,
    group: &str,
    now: i64,
    mut room: Room,
) -> Result<(i64, Vec<Given>)> {
    let conn = work.conn;
    let channel = work.state.channel(conn, channel)?;
    let (id, next, most) = (channel.id, channel.next, channel.limits.max_unsettled);
    let group = channel.group(group)?;
    group.flights.tick(now);
    let mut given = Vec::new();
    group.flights.give_ready(&mut room, &mut given);
    while room.messages > 0 && group.flights.next < next && group.flights.len() < most {
        if !scan(conn, id, &mut group.flights, most, &mut room, &mut given)? {
            break;
        }
    }
    work.touched |= !given.is_empty();
    group.counts.given += given.len() as u64;
    Ok((id, given))
}

/// Looks at the block that holds the next message; says whether there was room for all of it.
fn scan(
    conn: &Connection,
    channel: i64,
    flights: &mut Flights,
    most: usize,
    room: &mut Room,
    given: &mut Vec<Given>,
) -> Result<bool> {
    let sql = "SELECT first, count, bytes, keys FROM block WHERE channel = ? AND first <= ? ORDER BY first DESC LIMIT 1";
    let mut query = conn.prepare_cached(sql)?;
    let mut found = query.query((channel, rows::int(flights.next)))?;
    let missing = || StoreError::corrupt("messages of a channel are missing");
    let row = found.next()?.ok_or_else(missing)?;
    let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let (first, count, bytes) = (number(0)?, number(1)?, number(2)?);
    let keys = row.get_ref(3)?.as_blob_or_null().map_err(|_| missing())?;
    let keys = keys.map(|keys| keys.as_chunks::<8>().0);
    if flights.next >= first + count || keys.is_some_and(|keys| keys.len() as u64 != count) {
        return Err(missing());
    }
    let share = u32::try_from(bytes / count).unwrap_or(u32::MAX);
    for index in flights.next - first..count {
        let key = keys.map_or(0, |keys| u64::from_le_bytes(keys[index as usize]));
        if room.messages == 0 || flights.len() >= most || !flights.admit(key, share, room, given) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What was given, with its content. What was dropped meanwhile is left out.
fn deliveries(conn: &Connection, channel: i64, group: &str, given: &[Given]) -> Result<Vec<Delivery>> {
    let kept: Vec<u64> = given.iter().filter(|g| !g.letter).map(|g| g.position).collect();
    let mut stored = read::at_positions(conn, channel, &kept)?.into_iter().peekable();
    let mut all = Vec::with_capacity(given.len());
    for given in given {
        let found = if given.letter {
            letters::sent_again(conn, channel, group, given.position)?
        } else {
            stored.next_if(|stored| stored.position == given.position)
        };
        if let Some(found) = found {
            all.push(Delivery {
                position: given.position,
                attempt: given.attempt,
                stored_at: found.stored_at,
                message: found.message,
            });
        }
    }
    Ok(all)
}

/// Refuses positions that are not out.
pub(super) fn all_out(
    work: &mut Work<'_>,
    channel: &str,
    group: &str,
    settlements: &[(u64, Settlement)],
) -> Result<()> {
    let flights = &work.state.channel(work.conn, channel)?.group(group)?.flights;
    match settlements.iter().find(|(position, _)| !flights.is_out(*position)) {
        None => Ok(()),
        Some((position, _)) => Err(StoreError::invalid(format!(
            "message {position} of channel {channel} is not out to group {group} any more: its lease ended and someone else settled it"
        ))),
    }
}

pub(super) fn settle(
    work: &mut Work<'_>,
    name: &str,
    by: &str,
    settlements: &[(u64, Settlement)],
    now: i64,
) -> Result<Settled> {
    let conn = work.conn;
    let channel = work.state.channel(conn, name)?;
    room_for_letters(channel, by, settlements)?;
    let (id, mut letters) = (channel.id, channel.letters);
    let group = channel.group(by)?;
    group.flights.tick(now);
    let mut settled = Settled::default();
    for (position, settlement) in settlements {
        match group.flights.settle(*position, settlement, now) {
            Outcome::Ignored => settled.ignored += 1,
            Outcome::Retried => settled.retried += 1,
            Outcome::Done(flight) => {
                settled.done += 1;
                if flight.letter {
                    letters -= letters::dealt_with(conn, id, by, *position)?;
                }
            }
            Outcome::Dead(flight) => {
                settled.dead += 1;
                let Settlement::Dead { reason } = settlement else { continue };
                letters += letters::bury(conn, id, by, *position, &flight, reason, now)?;
            }
        }
    }
    count(group, settled);
    channel.letters = letters;
    let changed = settled.done + settled.retried + settled.dead > 0;
    work.touched |= changed;
    if changed {
        work.wake(name, None);
    }
    Ok(settled)
}

fn count(group: &mut Group, settled: Settled) {
    group.counts.settled += settled.done as u64;
    group.counts.retried += settled.retried as u64;
    group.counts.dead += settled.dead as u64;
}

fn room_for_letters(channel: &Channel, group: &str, settlements: &[(u64, Settlement)]) -> Result<()> {
    let Some(group) = channel.groups.get(group) else { return Ok(()) };
    let new = |(position, settlement): &&(u64, Settlement)| {
        let flight = group.flights.get(*position);
        matches!(settlement, Settlement::Dead { .. }) && flight.is_some_and(|f| f.attempt > 0 && !f.letter)
    };
    let new = settlements.iter().filter(new).count() as u64;
    letters::room(channel, new)
}
