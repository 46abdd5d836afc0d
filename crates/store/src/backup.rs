//! Backup into one file, and restore from it.
//!
//! A backup holds everything of the store, the key of the secrets included: without it the restored secrets could not
//! be read. It is therefore as secret as the data directory itself and is written with mode 0600. The channels are in it
//! as a copy of their file, in parts; both databases are copied as they were at the same moment.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::audit::{self, AuditSummary, End, Head};
use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::{channels, files, lock, rows, schema, secrets};

/// Added to the epoch by a restore: the devices may have seen controllers that started after the backup was made,
/// and refuse a lower epoch than theirs.
const EPOCH_LEAP: u64 = 1_000_000;

/// What a backup holds, or what was restored from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// The audit record in it, verified.
    pub audit: AuditSummary,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Bytes of it that hold the channels; 0 when there were none.
    pub channels: u64,
    /// After a forced restore: where the former data directory is now.
    pub replaced: Option<PathBuf>,
}

impl Store {
    /// Writes a consistent backup into a new file while the store is in use.
    ///
    /// # Errors
    /// [`StoreError::Audit`] when the audit record is broken (such a backup could not be restored),
    /// [`StoreError::Io`] when the file exists or cannot be written.
    pub fn backup(&self, file: &Path) -> Result<BackupSummary> {
        if file.exists() {
            return Err(StoreError::io("create", file)(std::io::ErrorKind::AlreadyExists.into()));
        }
        let draft = beside(file, "partial")?;
        files::remove_if_there(&draft)?;
        let channels = beside(file, "channels")?;
        files::remove_if_there(&channels)?;
        let outcome = self.write_backup(&draft, &channels).and_then(|summary| {
            std::fs::rename(&draft, file).map_err(StoreError::io("create", file))?;
            files::sync_dir(&parent(file))?;
            Ok(summary)
        });
        files::remove_if_there(&channels)?;
        if outcome.is_err() {
            files::remove_if_there(&draft)?;
        }
        let bytes = std::fs::metadata(file).map_or(0, |m| m.len());
        outcome.map(|(audit, channels)| BackupSummary { audit, bytes, channels, replaced: None })
    }

    fn write_backup(&self, draft: &Path, channels: &Path) -> Result<(AuditSummary, u64)> {
        let noted = audit::required(self.dir());
        let views = Views::open(self.dir())?;
        schema::copy_database(&views.store, draft)?;
        let copy = open_single(draft)?;
        let summary = audit::verify(&copy, noted)?;
        let key_file = self.dir().join(secrets::KEY);
        let key = match std::fs::read_to_string(&key_file) {
            Ok(key) => Some(key),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(StoreError::io("read", &key_file)(e)),
        };
        let (seq, hash) = audit::end(&copy)?;
        copy.execute_batch("CREATE TABLE backup (seq INTEGER NOT NULL, hash BLOB NOT NULL, key TEXT)")?;
        copy.execute("INSERT INTO backup VALUES (?, ?, ?)", (rows::int(seq), hash, key))?;
        let held = match &views.channels {
            None => 0,
            Some(from) => {
                schema::copy_database(from, channels)?;
                put_file(&copy, channels)?
            }
        };
        drop(copy);
        File::open(draft).and_then(|f| f.sync_all()).map_err(StoreError::io("sync", draft))?;
        Ok((summary, held))
    }
}

/// Both databases as they are at one moment.
struct Views {
    store: Connection,
    channels: Option<Connection>,
}

impl Views {
    fn open(dir: &Path) -> Result<Self> {
        let store = schema::open_reader(dir)?;
        let path = dir.join(channels::DB);
        let has_channels = std::fs::metadata(&path).is_ok_and(|m| m.len() > 0);
        let channels = has_channels.then(|| channels::open_reader(&path)).transpose()?;
        // While both are locked nobody commits. The store first: who commits there may be appending to a channel.
        let locked = [Some(dir.join(schema::DB)), has_channels.then_some(path)];
        let locks: Vec<_> = locked.iter().flatten().map(|path| stop_writers(path)).collect::<Result<_>>()?;
        for conn in [Some(&store), channels.as_ref()].into_iter().flatten() {
            conn.execute_batch("BEGIN")?;
            // The first read fixes the view.
            schema::schema_of(conn)?;
            conn.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        }
        drop(locks);
        Ok(Self { store, channels })
    }
}

/// Keeps others from writing until it is dropped; nothing where nobody can write.
fn stop_writers(path: &Path) -> Result<Option<Connection>> {
    let lock = || -> Result<Connection> {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        conn.busy_timeout(schema::BUSY)?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        Ok(conn)
    };
    match lock() {
        Ok(conn) => Ok(Some(conn)),
        Err(StoreError::ReadOnly | StoreError::Sqlite(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes of a file in one row of a backup.
const PART: usize = 1 << 20;

/// Puts the copied channels into the backup; answers their size.
fn put_file(backup: &Connection, path: &Path) -> Result<u64> {
    backup.execute_batch(
        "CREATE TABLE backup_channels (part INTEGER PRIMARY KEY, bytes BLOB NOT NULL); BEGIN",
    )?;
    let mut file = File::open(path).map_err(StoreError::io("read", path))?;
    let mut insert = backup.prepare("INSERT INTO backup_channels (bytes) VALUES (?)")?;
    let mut copied = 0;
    loop {
        let mut part = Vec::with_capacity(PART);
        Read::by_ref(&mut file)
            .take(PART as u64)
            .read_to_end(&mut part)
            .map_err(StoreError::io("read", path))?;
        if part.is_empty() {
            backup.execute_batch("COMMIT")?;
            return Ok(copied);
        }
        copied += part.len() as u64;
        insert.execute([&part])?;
    }
}

/// Writes the channels of a backup, when it has any, as the file that they were; answers their size.
fn take_file(backup: &Connection, path: &Path) -> Result<u64> {
    let has_channels: bool = backup.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'backup_channels')",
        [],
        |r| r.get(0),
    )?;
    if !has_channels {
        return Ok(0);
    }
    files::write_new(path, b"")?;
    let mut file = files::private_file(path)?;
    let mut query = backup.prepare("SELECT bytes FROM backup_channels ORDER BY part")?;
    let mut found = query.query([])?;
    let mut copied = 0;
    while let Some(row) = found.next()? {
        let bytes =
            row.get_ref(0)?.as_blob().map_err(|_| StoreError::corrupt("the channels of the backup"))?;
        file.write_all(bytes).map_err(StoreError::io("write", path))?;
        copied += bytes.len() as u64;
    }
    file.sync_all().map_err(StoreError::io("sync", path))?;
    channels::check_copy(&open_single(path)?)?;
    Ok(copied)
}

/// Restores a backup as the data directory `dir`.
///
/// # Guarantees
/// The backup's pages and audit record are checked first. The directory is exchanged as a whole: it holds either what
/// it held or the complete restored state. With `force` a directory that is not empty is replaced; what it held is
/// moved beside it and named in the answer. The controller's epoch goes on above all earlier ones.
/// # Errors
/// [`StoreError::Invalid`] when `file` is no backup or `dir` is not empty, [`StoreError::Locked`] when it is in use,
/// [`StoreError::Audit`], [`StoreError::Corrupt`].
pub fn restore(file: &Path, dir: &Path, force: bool) -> Result<BackupSummary> {
    let (source, end, key) = open_backup(file)?;
    let summary = audit::verify(&source, Ok(end))?;
    let occupied = occupied(dir)?;
    if occupied && !force {
        let what = format!(
            "{} is not empty: restore into a new directory, or replace it with --force",
            dir.display()
        );
        return Err(StoreError::invalid(what));
    }
    let _locks =
        if occupied { Some((lock::exclude_controller(dir)?, lock::exclude_all(dir)?)) } else { None };
    let staged = beside(dir, "restoring")?;
    remove_dir(&staged)?;
    let outcome = fill(&source, &staged, end, key.as_deref())
        .and_then(|channels| Ok((channels, put_in_place(&staged, dir, occupied)?)));
    if outcome.is_err() {
        remove_dir(&staged)?;
    }
    let bytes = std::fs::metadata(file).map_err(StoreError::io("read", file))?.len();
    let (channels, replaced) = outcome?;
    Ok(BackupSummary { audit: summary, bytes, channels, replaced })
}

fn open_backup(file: &Path) -> Result<(Connection, End, Option<String>)> {
    let source = schema::open_reader_raw(file)?;
    let is_backup: bool = source
        .query_row("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'backup')", [], |r| r.get(0))
        .map_err(StoreError::from)?;
    if !is_backup {
        return Err(StoreError::invalid(format!("{} was not written by `sos backup`", file.display())));
    }
    let (found, known) = (schema::schema_of(&source)?, schema::newest());
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    schema::check_pages(&source)?;
    let row: Option<(i64, [u8; 32], Option<String>)> = source
        .query_row("SELECT seq, hash, key FROM backup", [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?;
    let (seq, hash, key) = row.ok_or_else(|| StoreError::corrupt("the backup does not say where it ends"))?;
    Ok((source, (seq.unsigned_abs(), hash), key))
}

/// Builds the complete data directory beside its later place; answers the size of the channels.
fn fill(source: &Connection, staged: &Path, end: End, key: Option<&str>) -> Result<u64> {
    files::private_dir(staged)?;
    let db = staged.join(schema::DB);
    schema::copy_database(source, &db)?;
    let copy = open_single(&db)?;
    let epoch = lock::read_epoch(&copy)?;
    lock::write_epoch(&copy, epoch + EPOCH_LEAP)?;
    copy.execute_batch("DROP TABLE backup; DROP TABLE IF EXISTS backup_channels")?;
    // The pages of the channels are not to stay in the store's file; each step gives one back.
    let mut shrink = copy.prepare("PRAGMA incremental_vacuum")?;
    let mut steps = shrink.query([])?;
    while steps.next()?.is_some() {}
    drop(steps);
    drop(shrink);
    drop(copy);
    let held = take_file(source, &staged.join(channels::DB))?;
    if let Some(key) = key {
        files::write_new(&staged.join(secrets::KEY), key.as_bytes())?;
    }
    Head::open(staged, true)?.note(end, true)?;
    for name in [schema::DB, audit::HEAD] {
        let path = staged.join(name);
        File::open(&path).and_then(|f| f.sync_all()).map_err(StoreError::io("sync", &path))?;
    }
    files::sync_dir(staged)?;
    Ok(held)
}

fn put_in_place(staged: &Path, dir: &Path, occupied: bool) -> Result<Option<PathBuf>> {
    if occupied {
        exchange(staged, dir)?;
        let kept = unused(dir)?;
        std::fs::rename(staged, &kept).map_err(StoreError::io("keep the former data directory as", &kept))?;
        files::sync_dir(&parent(dir))?;
        return Ok(Some(kept));
    }
    // Takes the place of an empty directory in one step.
    std::fs::rename(staged, dir).map_err(StoreError::io("create", dir))?;
    files::sync_dir(&parent(dir))?;
    Ok(None)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn exchange(a: &Path, b: &Path) -> Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE)
        .map_err(|e| StoreError::io("replace", b)(e.into()))
}

/// Where two directories cannot be exchanged in one step, two steps; between them there is none.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn exchange(a: &Path, b: &Path) -> Result<()> {
    let aside = beside(b, "aside")?;
    std::fs::rename(b, &aside)
        .and_then(|()| std::fs::rename(a, b))
        .and_then(|()| std::fs::rename(&aside, a))
        .map_err(StoreError::io("replace", b))
}

fn open_single(path: &Path) -> Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.query_row("PRAGMA journal_mode = delete", [], |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", -512)?;
    Ok(conn)
}

fn occupied(dir: &Path) -> Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::io("read", dir)(e)),
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", dir)(e)),
        _ => Ok(()),
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn beside(path: &Path, suffix: &str) -> Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| StoreError::invalid(format!("{} does not end in a name", path.display())))?;
    let mut name = name.to_owned();
    name.push(format!(".{suffix}"));
    Ok(path.with_file_name(name))
}

fn unused(dir: &Path) -> Result<PathBuf> {
    let mut number = 1_u32;
    loop {
        let kept = beside(dir, &format!("replaced-{number}"))?;
        if !kept.exists() {
            return Ok(kept);
        }
        number += 1;
    }
}
