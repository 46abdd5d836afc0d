//! Who may use a data directory: any number of readers and tools, one controller, nobody during a migration.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use rusqlite::OptionalExtension as _;

use crate::error::{Result, StoreError};
use crate::{files, store::Store};

const CONTROLLER: &str = "controller.lock";
const IN_USE: &str = "store.lock";
const EPOCH: &str = "controller-epoch";

/// The right to command devices and services, held until it is dropped or the process ends.
///
/// # Guarantees
/// At most one lease exists per data directory and machine (an exclusive `flock`, released by the kernel however
/// the process ends). `epoch` is larger than that of every earlier lease and is on disk before it is handed out.
#[derive(Debug)]
pub struct ControllerLease {
    epoch: u64,
    _file: File,
}

impl ControllerLease {
    /// Number of this lease; sent with every command, so that devices refuse a lower one.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Store {
    /// Becomes the only controller of this data directory.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with the holder's process id when there is one already.
    pub fn lock_controller(&self) -> Result<ControllerLease> {
        let path = self.dir().join(CONTROLLER);
        let mut file = files::private_file(&path)?;
        take(&mut file, &path)?;
        // The epoch is kept in the file too: a database that was put back must not bring an old epoch back.
        let noted = read_text(&mut file).split_whitespace().nth(1).and_then(|e| e.parse::<u64>().ok());
        let epoch = self.commit(|tx| {
            let stored = read_epoch(tx.conn)?;
            let epoch = stored.max(noted.unwrap_or(0)) + 1;
            write_epoch(tx.conn, epoch)?;
            Ok(epoch)
        })?;
        self.sync()?;
        let text = format!("{} {epoch}\n", std::process::id());
        write_text(&mut file, &text).map_err(StoreError::io("write", &path))?;
        Ok(ControllerLease { epoch, _file: file })
    }
}

pub(crate) fn read_epoch(conn: &rusqlite::Connection) -> Result<u64> {
    let stored: Option<i64> =
        conn.query_row("SELECT value FROM meta WHERE name = ?", [EPOCH], |r| r.get(0)).optional()?;
    Ok(stored.unwrap_or(0).unsigned_abs())
}

pub(crate) fn write_epoch(conn: &rusqlite::Connection, epoch: u64) -> Result<()> {
    conn.execute(
        "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
        (EPOCH, epoch.cast_signed()),
    )?;
    Ok(())
}

/// Fails when a controller holds `dir`; otherwise keeps others out until the file is dropped.
pub(crate) fn exclude_controller(dir: &Path) -> Result<File> {
    let path = dir.join(CONTROLLER);
    let mut file = files::private_file(&path)?;
    take(&mut file, &path)?;
    Ok(file)
}

/// Notes that the store is open here.
pub(crate) fn share(dir: &Path) -> Result<File> {
    let path = dir.join(IN_USE);
    let file = files::private_file(&path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { pid: None }),
        Err(TryLockError::Error(e)) => Err(StoreError::io("lock", &path)(e)),
    }
}

/// Makes sure that the store is open nowhere.
pub(crate) fn exclude_all(dir: &Path) -> Result<File> {
    let path = dir.join(IN_USE);
    let mut file = files::private_file(&path)?;
    take(&mut file, &path)?;
    Ok(file)
}

/// Makes this the only holder of `name` in `dir` until the file is dropped, and writes our process id into it.
pub(crate) fn hold(dir: &Path, name: &str) -> Result<File> {
    let path = dir.join(name);
    let mut file = files::private_file(&path)?;
    take(&mut file, &path)?;
    write_text(&mut file, &format!("{}\n", std::process::id())).map_err(StoreError::io("write", &path))?;
    Ok(file)
}

fn take(file: &mut File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let pid = read_text(file).split_whitespace().next().and_then(|p| p.parse().ok());
            Err(StoreError::Locked { pid })
        }
        Err(TryLockError::Error(e)) => Err(StoreError::io("lock", path)(e)),
    }
}

/// What the file says; an unreadable one says nothing (its text is a help for people, the lock is what counts).
fn read_text(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(64).read_to_string(&mut text));
    if read.is_err() {
        text.clear();
    }
    text
}

fn write_text(file: &mut File, text: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
