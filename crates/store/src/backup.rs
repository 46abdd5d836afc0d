//! Backup into one file, and restore from it.
//!
//! A backup holds everything of the store, the key of the secrets included: without it the restored secrets could not
//! be read. It is therefore as secret as the data directory itself and is written with mode 0600.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::audit::{self, AuditSummary, End, Head};
use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::{files, lock, rows, schema, secrets};

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
        let outcome = self.write_backup(&draft).and_then(|audit| {
            std::fs::rename(&draft, file).map_err(StoreError::io("create", file))?;
            files::sync_dir(&parent(file))?;
            Ok(audit)
        });
        if outcome.is_err() {
            files::remove_if_there(&draft)?;
        }
        let bytes = std::fs::metadata(file).map_or(0, |m| m.len());
        outcome.map(|audit| BackupSummary { audit, bytes, replaced: None })
    }

    fn write_backup(&self, draft: &Path) -> Result<AuditSummary> {
        let noted = audit::required(self.dir());
        schema::copy_database(&schema::open_reader(self.dir())?, draft)?;
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
        drop(copy);
        File::open(draft).and_then(|f| f.sync_all()).map_err(StoreError::io("sync", draft))?;
        Ok(summary)
    }
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
    let outcome =
        fill(&source, &staged, end, key.as_deref()).and_then(|()| put_in_place(&staged, dir, occupied));
    if outcome.is_err() {
        remove_dir(&staged)?;
    }
    let bytes = std::fs::metadata(file).map_err(StoreError::io("read", file))?.len();
    Ok(BackupSummary { audit: summary, bytes, replaced: outcome? })
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

/// Builds the complete data directory beside its later place.
fn fill(source: &Connection, staged: &Path, end: End, key: Option<&str>) -> Result<()> {
    files::private_dir(staged)?;
    let db = staged.join(schema::DB);
    schema::copy_database(source, &db)?;
    let copy = open_single(&db)?;
    let epoch = lock::read_epoch(&copy)?;
    lock::write_epoch(&copy, epoch + EPOCH_LEAP)?;
    copy.execute_batch("DROP TABLE backup")?;
    drop(copy);
    if let Some(key) = key {
        files::write_new(&staged.join(secrets::KEY), key.as_bytes())?;
    }
    Head::open(staged, true)?.note(end, true)?;
    for name in [schema::DB, audit::HEAD] {
        let path = staged.join(name);
        File::open(&path).and_then(|f| f.sync_all()).map_err(StoreError::io("sync", &path))?;
    }
    files::sync_dir(staged)
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
