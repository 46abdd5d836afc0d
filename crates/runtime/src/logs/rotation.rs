//! How logs that processes write themselves are bounded.
//!
//! A process appends to `REPLICA.log`. Rotation copies that file to `REPLICA.log.1` and truncates it: the process
//! keeps its descriptor, and because it was opened for appending it goes on at the new end. What is written between
//! the last copied byte and the truncation (microseconds) is lost.
//!
//! From the first renaming to the truncation the log is locked (`flock`). Whoever wants to see a whole that is neither
//! double nor short takes the lock for a moment with [`hold`]; a rotation does not wait for it but comes back later.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::LogRotation;

/// The name of the `number`-th rotated log.
pub(super) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The inode behind a path.
pub(super) fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Keeps the log from being rotated as long as the value lives. Without the log, or where files cannot be locked,
/// nothing is kept.
pub(super) fn hold(path: &Path) -> Option<File> {
    // A rotation that renames leaves its lock on a file that is the log no more.
    for _ in 0..100 {
        let file = File::open(path).ok()?;
        file.lock_shared().ok()?;
        if file.metadata().ok()?.ino() == inode(path)? {
            return Some(file);
        }
    }
    None
}

/// Whether the lock could be taken. Where files cannot be locked it is not needed for the rotation itself.
pub(super) fn try_lock(file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Rotates a log that is larger than allowed. True when it did; false also when somebody is just looking at the log,
/// then it is to be tried again.
///
/// # Errors
/// When a file cannot be read, copied or truncated; the log is then left as it is.
pub fn rotate(path: &Path, rule: &LogRotation) -> io::Result<bool> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if size <= rule.max_bytes {
        return Ok(false);
    }
    let mut log = OpenOptions::new().read(true).write(true).open(path)?;
    if rule.keep == 0 {
        log.set_len(0)?;
        return Ok(true);
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".copy");
    let fresh = PathBuf::from(fresh);
    let mut copy = File::create(&fresh)?;
    // Most of it before the lock: nobody is to wait for a large copy.
    io::copy(&mut log, &mut copy)?;
    if !try_lock(&log) {
        fs::remove_file(&fresh)?;
        return Ok(false);
    }
    shift(path, rule.keep)?;
    // Renamed before the last bytes are copied, so that nothing but the final read lies before the truncation.
    fs::rename(&fresh, rotated(path, 1))?;
    io::copy(&mut log, &mut copy)?;
    log.set_len(0)?;
    Ok(true)
}

/// Makes room for a new first rotated log; the last one of `keep` goes.
pub(super) fn shift(path: &Path, keep: u32) -> io::Result<()> {
    for number in (1..keep).rev() {
        match fs::rename(rotated(path, number), rotated(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
