//! Opening the database file: rights, pragmas, numbered migrations.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, backup::Backup};

use crate::error::{Result, StoreError};
use crate::store::{Durability, Options};
use crate::{files, lock};

/// Migration `i` leads from schema `i` to `i + 1`. Only ever appended to.
pub(crate) const MIGRATIONS: &[&str] =
    &[include_str!("schema.sql"), include_str!("event_site_time.sql"), include_str!("metrics_series.sql")];
/// Name of the database in the data directory.
pub(crate) const DB: &str = "sos.db";

pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// Brings an existing database to the newest schema.
pub(crate) fn migrate_if_older(dir: &Path, migrations: &[&str]) -> Result<()> {
    let known = schema_number(migrations);
    let found = stored_schema(dir)?;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    if 0 < found && found < known { migrate_copy(dir, found, migrations) } else { Ok(()) }
}

/// Opens `dir/sos.db` for writing, creating it when it is missing.
pub(crate) fn open_writer(dir: &Path, options: &Options, migrations: &[&str]) -> Result<Connection> {
    let path = dir.join(DB);
    let (found, known) = (stored_schema(dir)?, schema_number(migrations));
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    if 0 < found && found < known {
        return Err(StoreError::OlderSchema { found, known });
    }
    drop(files::private_file(&path)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&path, flags)?;
    configure_writer(&conn, options)?;
    if found == 0 {
        apply(&mut conn, 0, migrations)?;
        files::sync_dir(dir)?;
    }
    Ok(conn)
}

/// Schema number of the database in `dir`; 0 when there is none.
fn stored_schema(dir: &Path) -> Result<u32> {
    let path = dir.join(DB);
    let has_content = std::fs::metadata(&path).is_ok_and(|m| m.len() > 0);
    if has_content { schema_of(&open_reader_raw(&path)?) } else { Ok(0) }
}

/// Opens an existing `dir/sos.db` for reading only.
pub(crate) fn open_reader(dir: &Path) -> Result<Connection> {
    let path = dir.join(DB);
    let conn = open_reader_raw(&path)?;
    let (found, known) = (schema_of(&conn)?, schema_number(MIGRATIONS));
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    if found < known {
        return Err(StoreError::OlderSchema { found, known });
    }
    Ok(conn)
}

pub(crate) fn open_reader_raw(path: &Path) -> Result<Connection> {
    if let Err(e) = std::fs::metadata(path) {
        return Err(StoreError::io("open", path)(e));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY)?;
    conn.pragma_update(None, "cache_size", -256)?;
    Ok(conn)
}

fn configure_writer(conn: &Connection, options: &Options) -> Result<()> {
    conn.busy_timeout(BUSY)?;
    // Takes effect in a new file only: pages that hold nothing can be given back (`Tx::shrink`).
    conn.pragma_update(None, "auto_vacuum", "incremental")?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(
        None,
        "synchronous",
        match options.durability {
            Durability::Full => "full",
            Durability::Normal => "normal",
        },
    )?;
    conn.pragma_update(None, "cache_size", -i64::from(options.page_cache_kib))?;
    // About 4 MB of log between checkpoints, and never more than twice that kept on disk.
    conn.pragma_update(None, "wal_autocheckpoint", 1000)?;
    conn.pragma_update(None, "journal_size_limit", 8 << 20)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", "off")?;
    if let Some(pages) = options.max_pages {
        // Answers with the limit in force, which is never below the present size.
        conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    conn.set_prepared_statement_cache_capacity(96);
    Ok(())
}

pub(crate) fn schema_number(migrations: &[&str]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX)
}

/// Newest schema this program knows.
pub(crate) fn newest() -> u32 {
    schema_number(MIGRATIONS)
}

pub(crate) fn schema_of(conn: &Connection) -> Result<u32> {
    Ok(conn.query_row("PRAGMA user_version", [], |r| r.get(0))?)
}

/// Applies every migration after `from` in one transaction.
pub(crate) fn apply(conn: &mut Connection, from: u32, migrations: &[&str]) -> Result<()> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have created the schema since it was looked at.
    let from = from.max(schema_of(&tx)?);
    for (number, sql) in (1_u32..).zip(migrations).skip(from as usize) {
        tx.execute_batch(sql)
            .map_err(|e| StoreError::Migration { version: number, source: Box::new(e.into()) })?;
    }
    tx.pragma_update(None, "user_version", schema_number(migrations))?;
    Ok(tx.commit()?)
}

/// Migrates a copy and puts it in the place of the old file, which stays as it is until then.
fn migrate_copy(dir: &Path, from: u32, migrations: &[&str]) -> Result<()> {
    let _controller = lock::exclude_controller(dir)?;
    let _alone = lock::exclude_all(dir)?;
    let (path, copy) = (dir.join(DB), dir.join("sos.db.migrating"));
    remove_database(&copy)?;
    let outcome = fill_copy(&path, &copy, from, migrations).and_then(|()| {
        settle(&path)?;
        std::fs::rename(&copy, &path).map_err(StoreError::io("replace", &path))?;
        files::sync_dir(dir)
    });
    if outcome.is_err() {
        remove_database(&copy)?;
    }
    outcome
}

fn fill_copy(path: &Path, copy: &Path, from: u32, migrations: &[&str]) -> Result<()> {
    copy_database(&open_reader_raw(path)?, copy)?;
    let mut conn = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.pragma_update(None, "journal_mode", "delete")?;
    apply(&mut conn, from, migrations)?;
    check_pages(&conn)?;
    drop(conn);
    std::fs::File::open(copy).and_then(|f| f.sync_all()).map_err(StoreError::io("sync", copy))
}

/// Moves what is still in the write-ahead log into the file, so that the log can go.
fn settle(path: &Path) -> Result<()> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
    if busy != 0 {
        return Err(StoreError::Busy);
    }
    conn.query_row("PRAGMA journal_mode = delete", [], |_| Ok(()))?;
    Ok(())
}

/// Copies a whole database, consistently, into a new file with mode 0600.
pub(crate) fn copy_database(from: &Connection, to: &Path) -> Result<()> {
    files::write_new(to, b"")?;
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    {
        let backup = Backup::new(from, &mut target)?;
        while backup.step(-1)? != rusqlite::backup::StepResult::Done {
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// SQLite's own check of every page and index.
pub(crate) fn check_pages(conn: &Connection) -> Result<()> {
    let verdict: String = conn.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::corrupt(verdict)) }
}

fn remove_database(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        files::remove_if_there(Path::new(&name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT_OK: &str = "CREATE TABLE extra (x); INSERT INTO extra VALUES (42);";
    const NEXT_BAD: &str = "CREATE TABLE extra (x); INSERT INTO nowhere VALUES (1);";

    /// The migrations of this program and one more.
    fn and(next: &'static str) -> Vec<&'static str> {
        [MIGRATIONS, &[next]].concat()
    }

    fn open(dir: &Path, migrations: &[&str]) -> Result<Connection> {
        migrate_if_older(dir, migrations)?;
        open_writer(dir, &Options::default(), migrations)
    }

    fn old_store() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let conn = open(dir.path(), MIGRATIONS).unwrap();
        conn.execute("INSERT INTO kv VALUES ('a', '1')", []).unwrap();
        dir
    }

    #[test]
    fn a_failing_migration_leaves_the_old_file_byte_identical() {
        let dir = old_store();
        let before = std::fs::read(dir.path().join(DB)).unwrap();
        let error = open(dir.path(), &and(NEXT_BAD)).unwrap_err();
        assert!(matches!(error, StoreError::Migration { version, .. } if version == newest() + 1), "{error}");
        assert_eq!(before, std::fs::read(dir.path().join(DB)).unwrap());
        assert!(!dir.path().join("sos.db.migrating").exists());
        let conn = open(dir.path(), MIGRATIONS).unwrap();
        let kept: String = conn.query_row("SELECT value FROM kv", [], |r| r.get(0)).unwrap();
        assert_eq!(kept, "1");
    }

    #[test]
    fn a_migration_keeps_data_that_was_only_in_the_log() {
        let dir = old_store();
        // What a killed process leaves behind: the file, and a log that was not yet moved into it.
        let writer = open(dir.path(), MIGRATIONS).unwrap();
        writer.execute("INSERT INTO kv VALUES ('b', '2')", []).unwrap();
        let crashed = tempfile::tempdir().unwrap();
        for name in ["sos.db", "sos.db-wal"] {
            std::fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
        }
        let conn = open(crashed.path(), &and(NEXT_OK)).unwrap();
        let n: i64 = conn.query_row("SELECT count(*) FROM kv, extra", [], |r| r.get(0)).unwrap();
        assert_eq!((n, schema_of(&conn).unwrap()), (2, newest() + 1));
    }

    #[test]
    fn a_newer_schema_is_refused_with_advice() {
        let dir = old_store();
        drop(open(dir.path(), &and(NEXT_OK)).unwrap());
        let error = open(dir.path(), MIGRATIONS).unwrap_err();
        let known = newest();
        assert!(
            matches!(error, StoreError::NewerSchema { found, known: k } if (found, k) == (known + 1, known))
        );
        assert!(error.to_string().contains("use the newer `sos`"));
    }

    #[test]
    fn a_store_of_the_first_release_keeps_its_events() {
        let dir = tempfile::tempdir().unwrap();
        let conn = open(dir.path(), &MIGRATIONS[..1]).unwrap();
        conn.execute("INSERT INTO event VALUES ('Site', 'a', 0, 'r', 'm', 1, 1, 5, 5)", []).unwrap();
        drop(conn);
        let conn = open(dir.path(), MIGRATIONS).unwrap();
        let row = conn.query_row("SELECT last, last_site FROM event", [], |r| Ok((r.get(0)?, r.get(1)?)));
        assert_eq!(row.unwrap(), (5_i64, None::<i64>));
    }

    #[test]
    fn a_running_controller_keeps_a_migration_out() {
        let dir = old_store();
        let held = lock::exclude_controller(dir.path()).unwrap();
        let error = open(dir.path(), &and(NEXT_OK)).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }));
        drop(held);
    }
}
