//! Beginning runs, and what is kept as they go on.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::{NewRun, RunChange, RunEntry, RunEvent, RunId, RunState, RunWrite, RunWritten, Runs};
use crate::error::{Result, StoreError};
use crate::rows;

/// How many runs one call of [`Runs::prune`] removes at the most.
const PRUNED: usize = 200;

impl Runs {
    /// Writes everything or nothing of it; what each write came to, in their order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a run that is not there, [`StoreError::Invalid`] for entries that do not follow on those
    /// kept, [`StoreError::Full`].
    pub fn write(&self, writes: impl Into<Arc<[RunWrite]>>) -> Result<Vec<RunWritten>> {
        let writes: Arc<[RunWrite]> = writes.into();
        self.0.write(move |conn| writes.iter().map(|write| one(conn, write)).collect())
    }

    /// Removes some of the runs of an owner that ended before a time in one of the given states, with their journals; tells how
    /// many. Call again while it answers more than none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn prune(&self, owner: &str, before: Timestamp, states: &[RunState]) -> Result<usize> {
        let (owner, before) = (owner.to_owned(), rows::micros(before));
        let states: Vec<String> = states.iter().map(|state| format!("'{}'", state.word())).collect();
        let find = format!(
            "SELECT id FROM runs WHERE owner = ? AND ended < ? AND state IN ({}) LIMIT ?",
            states.join(", ")
        );
        self.0.write(move |conn| {
            let mut find = conn.prepare_cached(&find)?;
            let found = find.query_map((&owner, before, rows::limit(PRUNED)), |row| row.get::<_, i64>(0))?;
            let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
            let mut removed = 0;
            for run in found {
                conn.prepare_cached("DELETE FROM run_entries WHERE run = ?")?.execute([run])?;
                removed += conn.prepare_cached("DELETE FROM runs WHERE id = ?")?.execute([run])?;
            }
            if removed > 0 {
                conn.prepare_cached(
                    "DELETE FROM run_documents WHERE NOT EXISTS (SELECT 1 FROM runs WHERE document = run_documents.id)",
                )?
                .execute([])?;
            }
            Ok(removed)
        })
    }
}

fn one(conn: &Connection, write: &RunWrite) -> Result<RunWritten> {
    match write {
        RunWrite::Begin(new, entries, change) => {
            let begun = begin(conn, new)?;
            if let RunWritten::Began(run) = begun {
                append(conn, run, 1, entries)?;
                tell(conn, &new.tells)?;
                if let Some(change) = change {
                    self::change(conn, run, change)?;
                }
            }
            Ok(begun)
        }
        RunWrite::Append { run, first, entries, change } => {
            append(conn, *run, *first, entries)?;
            if let Some(change) = change {
                self::change(conn, *run, change)?;
            }
            Ok(RunWritten::Kept)
        }
        RunWrite::Reopen { run, from } => {
            conn.prepare_cached("DELETE FROM run_entries WHERE run = ? AND number >= ?")?
                .execute((run, rows::int(*from)))?;
            let state = RunState::Running;
            change(conn, *run, &RunChange { state, wake: None, hears: None, ended: None })?;
            Ok(RunWritten::Kept)
        }
        RunWrite::Ask(task) => {
            conn.prepare_cached(
                "INSERT OR IGNORE INTO run_tasks (run, key, asked, due, body) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute((
                task.run,
                &task.key,
                rows::micros(task.asked),
                task.due.map(rows::micros),
                task.body.to_string(),
            ))?;
            Ok(RunWritten::Kept)
        }
        RunWrite::Retell { task, due, body } => {
            conn.prepare_cached("UPDATE run_tasks SET due = ?, body = ? WHERE id = ?")?.execute((
                due.map(rows::micros),
                body.to_string(),
                task,
            ))?;
            Ok(RunWritten::Kept)
        }
        RunWrite::Forget { key } => {
            conn.prepare_cached("DELETE FROM run_tasks WHERE key = ?")?.execute([key])?;
            Ok(RunWritten::Kept)
        }
        RunWrite::Tell(events) => tell(conn, events).map(|()| RunWritten::Kept),
        RunWrite::Told { channel, upto } => {
            conn.prepare_cached("DELETE FROM run_events WHERE channel = ? AND id <= ?")?
                .execute((channel, upto))?;
            Ok(RunWritten::Kept)
        }
        RunWrite::Mark { name, value } => {
            conn.prepare_cached("INSERT OR REPLACE INTO run_marks (name, value) VALUES (?, ?)")?
                .execute((name, value))?;
            Ok(RunWritten::Kept)
        }
    }
}

fn begin(conn: &Connection, new: &NewRun) -> Result<RunWritten> {
    if let Some(key) = &new.key {
        let known = conn
            .prepare_cached("SELECT id, name FROM runs WHERE key = ?")?
            .query_row([key], |row| Ok(RunWritten::Known(row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some(known) = known {
            return Ok(known);
        }
    }
    let document = document(conn, &new.document)?;
    let labels = if new.labels.is_empty() { None } else { Some(rows::text(&new.labels)?) };
    conn.prepare_cached(
        "INSERT INTO runs (name, key, owner, document, labels, began, start, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'running')",
    )?
    .execute((&new.name, &new.key, &new.owner, document, labels, rows::micros(new.began), &new.start))?;
    Ok(RunWritten::Began(conn.last_insert_rowid()))
}

fn document(conn: &Connection, (digest, body): &([u8; 32], Arc<[u8]>)) -> Result<i64> {
    let known = conn
        .prepare_cached("SELECT id FROM run_documents WHERE digest = ?")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    conn.prepare_cached("INSERT INTO run_documents (digest, body) VALUES (?, ?)")?
        .execute((digest, &body[..]))?;
    Ok(conn.last_insert_rowid())
}

fn append(conn: &Connection, run: RunId, first: u64, entries: &[RunEntry]) -> Result<()> {
    if first > 1 && !entries.is_empty() {
        let last: Option<i64> = conn
            .prepare_cached("SELECT max(number) FROM run_entries WHERE run = ?")?
            .query_row([run], |row| row.get(0))?;
        if last != Some(rows::int(first - 1)) {
            return Err(StoreError::invalid(format!(
                "entry {first} of a run whose last one is {}",
                last.unwrap_or(0)
            )));
        }
    }
    let mut insert =
        conn.prepare_cached("INSERT INTO run_entries (run, number, at, body) VALUES (?, ?, ?, ?)")?;
    for (number, entry) in (first..).zip(entries) {
        insert.execute((run, rows::int(number), rows::micros(entry.at), &entry.body))?;
    }
    Ok(())
}

fn tell(conn: &Connection, events: &[RunEvent]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let mut insert = conn.prepare_cached("INSERT INTO run_events (channel, body) VALUES (?, ?)")?;
    for event in events {
        insert.execute((&*event.channel, &event.body))?;
    }
    Ok(())
}

fn change(conn: &Connection, run: RunId, change: &RunChange) -> Result<()> {
    let (ended, result) = match &change.ended {
        Some((at, result)) => (Some(rows::micros(*at)), Some(result)),
        None => (None, None),
    };
    let changed = conn
        .prepare_cached("UPDATE runs SET state = ?, wake = ?, hears = ?, ended = ?, result = ? WHERE id = ?")?
        .execute((change.state.word(), change.wake.map(rows::micros), &change.hears, ended, result, run))?;
    if change.ended.is_some() {
        // Nobody waits for them any more.
        conn.prepare_cached("DELETE FROM run_tasks WHERE run = ?")?.execute([run])?;
    }
    if changed == 0 { Err(StoreError::NotFound { what: format!("run {run}") }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::channels::{ChannelOptions, Channels};
    use crate::runs::RunFilter;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_600_000 + second).unwrap()
    }

    fn new(name: &str, key: Option<&str>) -> RunWrite {
        let new = NewRun {
            name: name.to_owned(),
            key: key.map(str::to_owned),
            owner: "w".to_owned(),
            document: ([7; 32], Arc::from(&b"doc"[..])),
            labels: BTreeMap::from([("tier".to_owned(), name.to_owned())]),
            began: at(0),
            start: b"start".to_vec(),
            tells: vec![RunEvent { channel: Arc::from("life"), body: name.as_bytes().to_vec() }],
        };
        RunWrite::Begin(Box::new(new), Vec::new(), None)
    }

    fn entries(bodies: &[&str]) -> Vec<RunEntry> {
        bodies.iter().map(|body| RunEntry { at: at(1), body: body.as_bytes().to_vec() }).collect()
    }

    fn append(run: RunId, first: u64, bodies: &[&str], change: Option<RunChange>) -> RunWrite {
        RunWrite::Append { run, first, entries: entries(bodies), change }
    }

    fn ended(state: RunState) -> Option<RunChange> {
        Some(RunChange { state, wake: None, hears: None, ended: Some((at(9), b"out".to_vec())) })
    }

    #[test]
    fn a_run_is_found_again_as_it_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Channels::open(dir.path(), ChannelOptions::default()).unwrap().runs();
        let runs = open();
        assert_eq!(runs.write(vec![new("a", Some("k")), new("b", None)]).unwrap().len(), 2);
        assert_eq!(
            runs.write(vec![new("c", Some("k"))]).unwrap(),
            [RunWritten::Known(1, "a".to_owned())],
            "a beginning with the same key"
        );
        let waits = RunChange {
            state: RunState::Waiting,
            wake: Some(at(60)),
            hears: Some("x".to_owned()),
            ended: None,
        };
        runs.write(vec![append(1, 1, &["one", "two"], None), append(2, 1, &[], Some(waits))]).unwrap();
        drop(runs);
        let runs = open();
        let (record, found) = runs.load(1).unwrap().unwrap();
        assert_eq!((record.name.as_str(), record.state, record.began), ("a", RunState::Running, at(0)));
        assert_eq!(found, entries(&["one", "two"]));
        assert_eq!(runs.document(record.document).unwrap().unwrap(), b"doc");
        let all = runs.open_runs().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].wake, all[1].hears.as_deref()), (Some(at(60)), Some("x")));
        assert_eq!(runs.find("b").unwrap().unwrap().id, 2);
        assert!(runs.find("z").unwrap().is_none());
    }

    #[test]
    fn what_is_to_be_told_stays_until_it_is_told_and_is_kept_with_what_it_tells_of() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Channels::open(dir.path(), ChannelOptions::default()).unwrap().runs();
        runs.write(vec![new("a", Some("k")), new("b", None)]).unwrap();
        runs.write(vec![new("c", Some("k"))]).unwrap();
        let more = || RunEvent { channel: Arc::from("other"), body: b"more".to_vec() };
        let lost =
            runs.write(vec![RunWrite::Tell(vec![more()]), append(9, 1, &[], ended(RunState::Faulted))]);
        assert!(lost.is_err(), "no such run");
        runs.write(vec![RunWrite::Tell(vec![more(), more(), more()])]).unwrap();
        assert_eq!(runs.untold_channels().unwrap(), ["life", "other"]);
        let life = runs.untold("life", 9).unwrap();
        let bodies: Vec<&[u8]> = life.iter().map(|(_, body)| body.as_slice()).collect();
        assert_eq!(bodies, [b"a", b"b"], "not of a beginning that was known");
        let other = runs.untold("other", 9).unwrap();
        assert_eq!(runs.untold_beyond("other", 2).unwrap(), Some(other[0].0));
        assert_eq!(runs.untold_beyond("other", 3).unwrap(), None);
        runs.write(vec![RunWrite::Told { channel: "life".to_owned(), upto: life[0].0 }]).unwrap();
        assert_eq!(runs.untold("life", 9).unwrap(), life[1..]);
        runs.write(vec![RunWrite::Told { channel: "life".to_owned(), upto: life[1].0 }]).unwrap();
        assert_eq!(runs.untold_channels().unwrap(), ["other"]);
    }

    #[test]
    fn entries_have_no_gaps_and_nothing_is_kept_of_a_call_that_fails() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Channels::open(dir.path(), ChannelOptions::default()).unwrap().runs();
        runs.write(vec![new("a", None)]).unwrap();
        runs.write(vec![append(1, 1, &["one"], None)]).unwrap();
        let gap = runs.write(vec![append(1, 2, &["two"], None), append(1, 4, &["four"], None)]);
        assert!(gap.unwrap_err().to_string().contains("entry 4"), "a gap");
        assert!(runs.write(vec![append(1, 1, &["again"], None)]).is_err(), "the same number");
        assert!(runs.write(vec![append(9, 1, &[], ended(RunState::Completed))]).is_err(), "no such run");
        assert_eq!(runs.load(1).unwrap().unwrap().1, entries(&["one"]));
    }

    #[test]
    fn runs_are_listed_the_newest_first_reopened_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Channels::open(dir.path(), ChannelOptions::default()).unwrap().runs();
        for name in ["a", "b", "c"] {
            runs.write(vec![new(name, None)]).unwrap();
        }
        runs.write(vec![append(1, 1, &["one", "two"], ended(RunState::Faulted))]).unwrap();
        runs.write(vec![append(2, 1, &["one"], ended(RunState::Completed))]).unwrap();
        let names = |filter: &RunFilter, limit| {
            let found = runs.list(filter, limit).unwrap();
            found.into_iter().map(|run| run.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&RunFilter::default(), 2), ["c", "b"]);
        assert_eq!(names(&RunFilter { before: Some(2), ..RunFilter::default() }, 9), ["a"]);
        let faulted = RunFilter { states: vec![RunState::Faulted], ..RunFilter::default() };
        assert_eq!(names(&faulted, 9), ["a"]);
        let selected = RunFilter { selector: "tier in (a, c)".parse().unwrap(), ..RunFilter::default() };
        assert_eq!(names(&selected, 9), ["c", "a"]);
        assert_eq!(names(&RunFilter { owner: Some("v".to_owned()), ..RunFilter::default() }, 9), [""; 0]);
        runs.write(vec![RunWrite::Reopen { run: 1, from: 2 }]).unwrap();
        let (record, kept) = runs.load(1).unwrap().unwrap();
        assert_eq!((record.state, record.ended), (RunState::Running, None));
        assert_eq!(kept, entries(&["one"]));
        assert_eq!(runs.prune("w", at(9), &RunState::ALL).unwrap(), 0, "not before its end");
        assert_eq!(runs.prune("w", at(10), &[RunState::Faulted]).unwrap(), 0);
        assert_eq!(runs.prune("w", at(10), &[RunState::Completed]).unwrap(), 1);
        assert_eq!(names(&RunFilter::default(), 9), ["c", "a"]);
        runs.write(vec![RunWrite::Mark { name: "m".to_owned(), value: b"1".to_vec() }]).unwrap();
        runs.write(vec![RunWrite::Mark { name: "m".to_owned(), value: b"2".to_vec() }]).unwrap();
        assert_eq!(runs.mark("m").unwrap().unwrap(), b"2");
        assert_eq!(runs.mark("n").unwrap(), None);
        assert_eq!(runs.counts().unwrap()[&("w".to_owned(), RunState::Running)], 2);
    }
}
