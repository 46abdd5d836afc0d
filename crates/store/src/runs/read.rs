//! Runs as they stand.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{NewTask, OpenRun, RunEntry, RunFilter, RunId, RunRecord, RunState, Runs, Task};
use crate::error::{Result, StoreError};
use crate::rows;

const COLUMNS: &str = "id, name, owner, document, labels, began, start, state, wake, hears, ended, result";

impl Runs {
    /// A run by its number, with its journal.
    ///
    /// # Errors
    /// What the disk says.
    pub fn load(&self, run: RunId) -> Result<Option<(RunRecord, Vec<RunEntry>)>> {
        self.0.look(|conn| {
            let query = format!("SELECT {COLUMNS} FROM runs WHERE id = ?");
            let Some(found) = conn.prepare_cached(&query)?.query_row([run], raw).optional()? else {
                return Ok(None);
            };
            Ok(Some((found.record()?, entries(conn, run)?)))
        })
    }

    /// A run by its name.
    ///
    /// # Errors
    /// What the disk says.
    pub fn find(&self, name: &str) -> Result<Option<RunRecord>> {
        self.0.look(|conn| {
            let query = format!("SELECT {COLUMNS} FROM runs WHERE name = ?");
            let found = conn.prepare_cached(&query)?.query_row([name], raw).optional()?;
            found.map(Raw::record).transpose()
        })
    }

    /// The run that began with a key.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keyed(&self, key: &str) -> Result<Option<RunId>> {
        self.0.look(|conn| {
            let mut query = conn.prepare_cached("SELECT id FROM runs WHERE key = ?")?;
            Ok(query.query_row([key], |row| row.get(0)).optional()?)
        })
    }

    /// Runs, the newest first, at most `limit`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn list(&self, filter: &RunFilter, limit: usize) -> Result<Vec<RunRecord>> {
        let owner = if filter.owner.is_some() { "owner = ?2 AND" } else { "?2 IS NULL AND" };
        // Runs that are over are many; those that are not are found by their own index.
        let open = if !filter.states.is_empty() && filter.states.iter().all(|state| !state.is_ended()) {
            "ended IS NULL AND"
        } else {
            ""
        };
        let query = format!("SELECT {COLUMNS} FROM runs WHERE {owner} {open} id < ?1 ORDER BY id DESC");
        self.0.look(|conn| {
            let mut query = conn.prepare_cached(&query)?;
            let before = filter.before.unwrap_or(i64::MAX);
            let mut found = query.query((before, &filter.owner))?;
            let mut records = Vec::new();
            while records.len() < limit {
                let Some(row) = found.next()? else { break };
                let record = raw(row)?.record()?;
                let state = filter.states.is_empty() || filter.states.contains(&record.state);
                if state && filter.selector.matches(&record.labels) {
                    records.push(record);
                }
            }
            Ok(records)
        })
    }

    /// All runs that have not ended, in the order of their numbers.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open_runs(&self) -> Result<Vec<OpenRun>> {
        self.0.look(|conn| {
            let mut query = conn.prepare_cached(
                "SELECT id, owner, state, wake, hears FROM runs WHERE ended IS NULL ORDER BY id",
            )?;
            let mut found = query.query([])?;
            let mut open = Vec::new();
            while let Some(row) = found.next()? {
                let wake: Option<i64> = row.get(3)?;
                open.push(OpenRun {
                    id: row.get(0)?,
                    owner: row.get(1)?,
                    state: state(&row.get::<_, String>(2)?)?,
                    wake: wake.map(rows::from_micros).transpose()?,
                    hears: row.get(4)?,
                });
            }
            Ok(open)
        })
    }

    /// The channels on which something is still to be told.
    ///
    /// # Errors
    /// What the disk says.
    pub fn untold_channels(&self) -> Result<Vec<String>> {
        self.0.look(|conn| {
            let mut query =
                conn.prepare_cached("SELECT DISTINCT channel FROM run_events ORDER BY channel")?;
            let found = query.query_map([], |row| row.get(0))?;
            Ok(found.collect::<rusqlite::Result<Vec<_>>>()?)
        })
    }

    /// What is still to be told on a channel, the oldest first, at most `limit`: numbers and events.
    ///
    /// # Errors
    /// What the disk says.
    pub fn untold(&self, channel: &str, limit: u32) -> Result<Vec<(i64, Vec<u8>)>> {
        self.0.look(|conn| {
            let mut query =
                conn.prepare_cached("SELECT id, body FROM run_events WHERE channel = ? ORDER BY id LIMIT ?")?;
            let found = query.query_map((channel, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(found.collect::<rusqlite::Result<Vec<_>>>()?)
        })
    }

    /// The latest of those that are still to be told on a channel and have at least `most` behind them.
    ///
    /// # Errors
    /// What the disk says.
    pub fn untold_beyond(&self, channel: &str, most: u32) -> Result<Option<i64>> {
        self.0.look(|conn| {
            let mut query = conn.prepare_cached(
                "SELECT id FROM run_events WHERE channel = ? ORDER BY id DESC LIMIT 1 OFFSET ?",
            )?;
            Ok(query.query_row((channel, most), |row| row.get(0)).optional()?)
        })
    }

    /// What runs do.
    ///
    /// # Errors
    /// What the disk says.
    pub fn document(&self, document: i64) -> Result<Option<Vec<u8>>> {
        self.0.look(|conn| {
            let mut query = conn.prepare_cached("SELECT body FROM run_documents WHERE id = ?")?;
            Ok(query.query_row([document], |row| row.get(0)).optional()?)
        })
    }

    /// A small value by its name.
    ///
    /// # Errors
    /// What the disk says.
    pub fn mark(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.0.look(|conn| {
            let mut query = conn.prepare_cached("SELECT value FROM run_marks WHERE name = ?")?;
            Ok(query.query_row([name], |row| row.get(0)).optional()?)
        })
    }

    /// What people are asked to do, the oldest first.
    ///
    /// # Errors
    /// What the disk says.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        self.0.look(|conn| {
            let mut query = conn.prepare_cached(
                "SELECT t.id, t.run, t.key, t.asked, t.due, t.body, r.name, r.owner FROM run_tasks t JOIN runs r ON r.id = t.run ORDER BY t.id",
            )?;
            let mut found = query.query([])?;
            let mut tasks = Vec::new();
            while let Some(row) = found.next()? {
                let due: Option<i64> = row.get(4)?;
                let task = NewTask {
                    run: row.get(1)?,
                    key: row.get(2)?,
                    asked: rows::from_micros(row.get(3)?)?,
                    due: due.map(rows::from_micros).transpose()?,
                    body: rows::json(&row.get::<_, String>(5)?)?,
                };
                tasks.push(Task { id: row.get(0)?, run_name: row.get(6)?, owner: row.get(7)?, task });
            }
            Ok(tasks)
        })
    }

    /// How many runs there are of each owner in each state. Looks at all runs.
    ///
    /// # Errors
    /// What the disk says.
    pub fn counts(&self) -> Result<BTreeMap<(String, RunState), u64>> {
        self.0.look(|conn| {
            let mut query =
                conn.prepare_cached("SELECT owner, state, count(*) FROM runs GROUP BY owner, state")?;
            let mut found = query.query([])?;
            let mut counts = BTreeMap::new();
            while let Some(row) = found.next()? {
                let count: i64 = row.get(2)?;
                counts.insert((row.get(0)?, state(&row.get::<_, String>(1)?)?), count.unsigned_abs());
            }
            Ok(counts)
        })
    }
}

fn entries(conn: &Connection, run: RunId) -> Result<Vec<RunEntry>> {
    let mut query = conn.prepare_cached("SELECT at, body FROM run_entries WHERE run = ? ORDER BY number")?;
    let mut found = query.query([run])?;
    let mut entries = Vec::new();
    while let Some(row) = found.next()? {
        entries.push(RunEntry { at: rows::from_micros(row.get(0)?)?, body: row.get(1)? });
    }
    Ok(entries)
}

/// The columns of a run.
struct Raw {
    record: RunRecord,
    labels: Option<String>,
    state: String,
    times: [Option<i64>; 3],
    result: Option<Vec<u8>>,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let record = RunRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        owner: row.get(2)?,
        document: row.get(3)?,
        labels: BTreeMap::new(),
        began: jiff::Timestamp::UNIX_EPOCH,
        start: row.get(6)?,
        state: RunState::Running,
        wake: None,
        hears: row.get(9)?,
        ended: None,
    };
    let times = [row.get(5)?, row.get(8)?, row.get(10)?];
    Ok(Raw { record, labels: row.get(4)?, state: row.get(7)?, times, result: row.get(11)? })
}

impl Raw {
    fn record(self) -> Result<RunRecord> {
        let [began, wake, ended] = self.times;
        let time = |micros: Option<i64>| micros.map(rows::from_micros).transpose();
        Ok(RunRecord {
            labels: rows::opt_json(self.labels)?.unwrap_or_default(),
            began: time(began)?.unwrap_or_default(),
            state: state(&self.state)?,
            wake: time(wake)?,
            ended: time(ended)?.map(|at| (at, self.result.unwrap_or_default())),
            ..self.record
        })
    }
}

fn state(word: &str) -> Result<RunState> {
    RunState::of(word).ok_or_else(|| StoreError::corrupt(format!("a run is \"{word}\"")))
}
