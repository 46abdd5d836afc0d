//! Making, changing, listing and deleting channels and groups.

use super::commit::Work;
use super::flights::Flights;
use super::state::{Channel, Counts, Group};
use super::{Bounds, ChannelLimits, ChannelStatistics, Channels, GroupStatistics, Start, letters, read};
use crate::error::{Result, StoreError};
use crate::rows;

const MAX_NAME: usize = 256;
const MAX_CHANNELS: i64 = 10_000;
const MAX_GROUPS: usize = 64;

impl Channels {
    /// Makes a channel, or gives an existing one other limits; what it holds stays.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a name that is empty or longer than 256 bytes, for a limit that allows nothing, and
    /// beyond 10,000 channels.
    pub fn configure(&self, channel: &str, limits: ChannelLimits) -> Result<()> {
        check_name("channel", channel)?;
        check_limits(&limits)?;
        let name = channel.to_owned();
        self.submit(move |work| configure(work, &name, &limits))
    }

    /// Deletes a channel with everything in it; answers whether it existed. What it held goes with the next calls of
    /// [`enforce`](Self::enforce). A channel of that name that is made later begins anew.
    pub fn delete_channel(&self, channel: &str) -> Result<bool> {
        let name = channel.to_owned();
        self.submit(move |work| {
            let conn = work.conn;
            let Some(id) = work.state.find(conn, &name)?.map(|channel| channel.id) else { return Ok(false) };
            work.touched = true;
            conn.execute(
                "DELETE FROM flight WHERE consumer IN (SELECT id FROM consumer WHERE channel = ?)",
                [id],
            )?;
            conn.execute("DELETE FROM consumer WHERE channel = ?", [id])?;
            conn.execute("UPDATE channel SET name = NULL WHERE id = ?", [id])?;
            work.state.remove(&name);
            Ok(true)
        })
    }

    /// Makes a group of consumers, beginning at `start`, unless it is there; answers whether it was made.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such channel; [`StoreError::Invalid`] for a name that is empty or longer
    /// than 256 bytes, and beyond 64 groups.
    pub fn group(&self, channel: &str, group: &str, start: Start) -> Result<bool> {
        check_name("group", group)?;
        let (channel, group) = (channel.to_owned(), group.to_owned());
        self.submit(move |work| make_group(work, &channel, &group, start))
    }

    /// Lets a group go on at `start`, forwards or backwards (a replay). What it has taken is forgotten, and what it had settled
    /// from there on comes again.
    pub fn seek(&self, channel: &str, group: &str, start: Start) -> Result<()> {
        let (name, group) = (channel.to_owned(), group.to_owned());
        self.submit(move |work| {
            let conn = work.conn;
            let channel = work.state.channel(conn, &name)?;
            let (id, next) = (channel.id, begin(conn, channel, start)?);
            channel.group(&group)?.flights.seek(next);
            work.touched = true;
            letters::call_back(conn, id, &group)?;
            work.wake(&name, None);
            Ok(())
        })
    }

    /// Deletes a group; answers whether it existed. Its dead letters stay.
    pub fn delete_group(&self, channel: &str, group: &str) -> Result<bool> {
        let (channel, name) = (channel.to_owned(), group.to_owned());
        self.submit(move |work| {
            let conn = work.conn;
            let channel = work.state.channel(conn, &channel)?;
            let Some(group) = channel.groups.remove(&name) else { return Ok(false) };
            work.touched = true;
            letters::call_back(conn, channel.id, &name)?;
            conn.execute("DELETE FROM flight WHERE consumer = ?", [group.id])?;
            conn.execute("DELETE FROM consumer WHERE id = ?", [group.id])?;
            Ok(true)
        })
    }

    /// The names of all channels, in order, with their limits.
    pub fn channels(&self) -> Result<Vec<(String, ChannelLimits)>> {
        self.view(|conn| {
            let mut query =
                conn.prepare_cached("SELECT name, limits FROM channel WHERE name IS NOT NULL ORDER BY name")?;
            let mut found = query.query([])?;
            let mut channels = Vec::new();
            while let Some(row) = found.next()? {
                channels.push((row.get(0)?, rows::json(&row.get::<_, String>(1)?)?));
            }
            Ok(channels)
        })
    }

    pub(super) fn names(&self) -> Result<Vec<String>> {
        Ok(self.channels()?.into_iter().map(|(name, _)| name).collect())
    }

    /// The names of a channel's groups, in order.
    pub fn groups(&self, channel: &str) -> Result<Vec<String>> {
        let name = channel.to_owned();
        self.submit(move |work| Ok(work.state.channel(work.conn, &name)?.groups.keys().cloned().collect()))
    }

    /// Figures of a channel.
    pub fn channel_statistics(&self, channel: &str) -> Result<ChannelStatistics> {
        let name = channel.to_owned();
        self.submit(move |work| Ok(statistics(work.state.channel(work.conn, &name)?)))
    }

    /// Figures of all channels, in order of their names.
    pub fn statistics(&self) -> Result<Vec<ChannelStatistics>> {
        let names = self.names()?;
        self.submit(move |work| {
            let mut all = Vec::with_capacity(names.len());
            for name in &names {
                all.extend(work.state.find(work.conn, name)?.map(|channel| statistics(channel)));
            }
            Ok(all)
        })
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        let found = name.len();
        return Err(StoreError::invalid(format!(
            "the name of a {what} has {found} bytes; 1 to {MAX_NAME} are accepted"
        )));
    }
    Ok(())
}

fn check_limits(limits: &ChannelLimits) -> Result<()> {
    let zero = [
        ("max_bytes", limits.max_bytes == 0),
        ("max_backlog", limits.max_backlog == 0),
        ("max_message_bytes", limits.max_message_bytes == 0),
        ("max_unsettled", limits.max_unsettled == 0),
    ];
    match zero.iter().find(|(_, zero)| *zero) {
        None => Ok(()),
        Some((name, _)) => {
            Err(StoreError::invalid(format!("{name} is 0, so nothing could pass; give 1 or more")))
        }
    }
}

fn configure(work: &mut Work<'_>, name: &str, limits: &ChannelLimits) -> Result<()> {
    let conn = work.conn;
    let text = rows::text(limits)?;
    if let Some(channel) = work.state.find(conn, name)? {
        if channel.limits != *limits {
            work.touched = true;
            conn.execute("UPDATE channel SET limits = ? WHERE id = ?", (text, channel.id))?;
            channel.limits = limits.clone();
            // More may be accepted now.
            work.wake(name, None);
        }
        return Ok(());
    }
    let channels: i64 =
        conn.query_row("SELECT count(*) FROM channel WHERE name IS NOT NULL", [], |r| r.get(0))?;
    if channels >= MAX_CHANNELS {
        return Err(StoreError::invalid(format!("there are {channels} channels, and no more are accepted")));
    }
    work.touched = true;
    let sql = "INSERT INTO channel (name, limits, first, next, bytes, high, appended, duplicates) \
               VALUES (?, ?, 1, 1, 0, ?, 0, 0)";
    conn.execute(sql, (name, text, i64::MIN))?;
    Ok(())
}

fn make_group(work: &mut Work<'_>, name: &str, group: &str, start: Start) -> Result<bool> {
    let conn = work.conn;
    let channel = work.state.channel(conn, name)?;
    if channel.groups.contains_key(group) {
        return Ok(false);
    }
    if channel.groups.len() >= MAX_GROUPS {
        return Err(StoreError::invalid(format!(
            "channel {name} has {MAX_GROUPS} groups, and no more are accepted: delete one that is not used"
        )));
    }
    let next = begin(conn, channel, start)?;
    work.touched = true;
    let sql = "INSERT INTO consumer (channel, name, next, clock, given, settled, retried, dead, expired) \
               VALUES (?, ?, ?, ?, 0, 0, 0, 0, 0) RETURNING id";
    let id = conn.query_row(sql, (channel.id, group, rows::int(next), i64::MIN), |r| r.get(0))?;
    let flights = Flights::load(next, i64::MIN, []);
    channel.groups.insert(group.to_owned(), Group { id, flights, counts: Counts::default() });
    Ok(true)
}

/// The position that `start` means now.
fn begin(conn: &rusqlite::Connection, channel: &Channel, start: Start) -> Result<u64> {
    match start {
        Start::Earliest => Ok(channel.first),
        Start::Latest => Ok(channel.next),
        Start::Position(position) => Ok(position.clamp(channel.first, channel.next)),
        Start::Time(time) => {
            // As they are in this transaction, which may have appended something.
            let bounds = Bounds { first: channel.first, next: channel.next };
            read::position_at(conn, channel.id, bounds, rows::micros(time))
        }
    }
}

fn statistics(channel: &Channel) -> ChannelStatistics {
    let group = |(name, group): (&String, &Group)| GroupStatistics {
        group: name.clone(),
        lag: group.lag(channel.next),
        in_flight: group.flights.taken() as u64,
        given: group.counts.given,
        settled: group.counts.settled,
        retried: group.counts.retried,
        dead: group.counts.dead,
        expired: group.counts.expired,
    };
    ChannelStatistics {
        channel: channel.name.clone(),
        bounds: Bounds { first: channel.first, next: channel.next },
        bytes: channel.bytes,
        appended: channel.appended,
        duplicates: channel.duplicates,
        dead_letters: channel.letters,
        groups: channel.groups.iter().map(group).collect(),
    }
}
