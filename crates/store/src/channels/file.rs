//! `channels.db`: opening, rights, schema.

use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::ChannelOptions;
use crate::error::{Result, StoreError};
use crate::store::Durability;
use crate::{files, lock, schema};

/// Name of the database in the data directory.
pub(crate) const DB: &str = "channels.db";
const LOCK: &str = "channels.lock";
/// Migration `i` leads from schema `i` to `i + 1`. Only ever appended to.
const MIGRATIONS: &[&str] =
    &[include_str!("schema.sql"), include_str!("runs.sql"), include_str!("run_events.sql")];
/// `SOSc`: told in the file's header, so that another database is not taken for this one.
const APPLICATION: i32 = 0x534f_5363;

/// What keeps others out: the one writer of the channels, and a restore of the directory.
#[derive(Debug)]
pub(super) struct Held {
    channels: File,
    store: File,
}

impl Drop for Held {
    /// Closing the files would not do: a process that is being started just now has them too until it is another program.
    fn drop(&mut self) {
        for file in [&self.channels, &self.store] {
            if let Err(error) = file.unlock() {
                tracing::warn!(%error, "a lock of the channels could not be given back");
            }
        }
    }
}

pub(super) fn hold(dir: &Path) -> Result<Held> {
    files::private_dir(dir)?;
    let store = lock::share(dir)?;
    Ok(Held { channels: lock::hold(dir, LOCK)?, store })
}

/// Opens `dir/channels.db` for writing, creating it when it is missing.
pub(super) fn open_writer(dir: &Path, options: &ChannelOptions) -> Result<Connection> {
    open_with(dir, options, MIGRATIONS)
}

fn open_with(dir: &Path, options: &ChannelOptions, migrations: &[&str]) -> Result<Connection> {
    let path = dir.join(DB);
    let fresh = std::fs::metadata(&path).map_or(true, |m| m.len() == 0);
    drop(files::private_file(&path)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&path, flags)?;
    conn.busy_timeout(schema::BUSY)?;
    let found = if fresh { 0 } else { checked_schema(&conn, migrations)? };
    conn.pragma_update(None, "auto_vacuum", "incremental")?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    let synchronous = if options.durability == Durability::Full { "full" } else { "normal" };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "cache_size", -i64::from(options.page_cache_kib))?;
    // About 16 MB of log between checkpoints: batches come in hundreds of kilobytes.
    conn.pragma_update(None, "wal_autocheckpoint", 4000)?;
    conn.pragma_update(None, "journal_size_limit", 32 << 20)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", "off")?;
    if let Some(pages) = options.max_pages {
        conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    conn.set_prepared_statement_cache_capacity(64);
    if found < schema::schema_number(migrations) {
        if found == 0 {
            conn.pragma_update(None, "application_id", APPLICATION)?;
        }
        schema::apply(&mut conn, found, migrations)?;
        files::sync_dir(dir)?;
    }
    Ok(conn)
}

/// The schema's number, when this is a database of channels that this program can use.
fn checked_schema(conn: &Connection, migrations: &[&str]) -> Result<u32> {
    let (found, known) = (schema::schema_of(conn)?, schema::schema_number(migrations));
    let application: i32 = conn.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    if application != APPLICATION && !(application == 0 && found == 0) {
        return Err(StoreError::corrupt("channels.db is another program's database"));
    }
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    Ok(found)
}

/// Opens an existing file of channels for reading only, wherever it lies.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let conn = schema::open_reader_raw(path)?;
    let found = checked_schema(&conn, MIGRATIONS)?;
    let known = schema::schema_number(MIGRATIONS);
    if found < known { Err(StoreError::OlderSchema { found, known }) } else { Ok(conn) }
}

/// Refuses a copy of the channels, from a backup, that is damaged or newer than this program.
pub(crate) fn check_copy(conn: &Connection) -> Result<()> {
    checked_schema(conn, MIGRATIONS)?;
    schema::check_pages(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_refused_and_an_older_one_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let options = ChannelOptions::default();
        drop(open_writer(dir.path(), &options).unwrap());
        let next = [MIGRATIONS, &["CREATE TABLE extra (x); INSERT INTO extra VALUES (42);"]].concat();
        drop(open_with(dir.path(), &options, &next).unwrap());
        let known = schema::schema_number(MIGRATIONS);
        let error = open_writer(dir.path(), &options).unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found, .. } if found == known + 1), "{error}");
    }

    #[test]
    fn a_failing_migration_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let options = ChannelOptions::default();
        drop(open_writer(dir.path(), &options).unwrap());
        let next = [MIGRATIONS, &["CREATE TABLE extra (x); INSERT INTO nowhere VALUES (1);"]].concat();
        let error = open_with(dir.path(), &options, &next).unwrap_err();
        assert!(matches!(error, StoreError::Migration { .. }), "{error}");
        let known = schema::schema_number(MIGRATIONS);
        assert_eq!(schema::schema_of(&open_writer(dir.path(), &options).unwrap()).unwrap(), known);
    }

    #[test]
    fn what_is_no_database_of_channels_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(DB), b"this is a text of more than a hundred bytes ".repeat(50))
            .unwrap();
        let error = open_writer(dir.path(), &ChannelOptions::default()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        std::fs::remove_file(dir.path().join(DB)).unwrap();
        let other = Connection::open(dir.path().join(DB)).unwrap();
        other.execute_batch("PRAGMA application_id = 7; CREATE TABLE t (x);").unwrap();
        drop(other);
        let error = open_writer(dir.path(), &ChannelOptions::default()).unwrap_err();
        assert!(error.to_string().contains("another program's"), "{error}");
    }
}
