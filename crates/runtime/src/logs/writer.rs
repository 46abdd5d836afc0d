//! The log of `sos` itself.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rotation::{rotated, shift, try_lock};
use crate::LogRotation;

/// A file of lines that is rotated by its size.
///
/// # Guarantees
/// - Writing never fails and never waits for a disk to be synced: what cannot be written, on a full disk for example, is
///   dropped and counted. The next line that can be written is preceded by one that says how many are missing, as JSON.
/// - A line is written with one call and stands in one file.
/// - The file is at most `max_bytes` and one line long; where it cannot be rotated, lines are dropped from twice that
///   size on.
///
/// `Mutex<RotatingFile>` is a writer for `tracing_subscriber::fmt().json().with_writer(…)`. One process at a time may
/// write a path.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    rule: LogRotation,
    file: Option<File>,
    /// Bytes in the file.
    size: u64,
    /// Rotation is tried from this size on.
    rotate_at: u64,
    /// Lines dropped since the file was last written.
    missing: u64,
    /// Why the last one was.
    why: String,
    /// A part of a line is at the end of the file.
    torn: bool,
    dropped: Arc<AtomicU64>,
}

impl RotatingFile {
    /// Opens the file for appending, readable by its owner only, and makes its folder when there is none.
    ///
    /// # Errors
    /// When the folder cannot be made or the file cannot be opened for writing.
    pub fn open(path: impl Into<PathBuf>, rule: LogRotation) -> io::Result<Self> {
        let path = path.into();
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut log = Self {
            path,
            rule,
            file: None,
            size: 0,
            rotate_at: rule.max_bytes,
            missing: 0,
            why: String::new(),
            torn: false,
            dropped: Arc::default(),
        };
        log.reopen()?;
        Ok(log)
    }

    /// Counts the lines that were dropped since the file was opened. Goes on counting when handed to others.
    #[must_use]
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// The file that is written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.rotate_at = self.rule.max_bytes;
        self.file = Some(file);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        if self.size > 0 && self.size + line.len() as u64 > self.rotate_at {
            self.rotate();
        }
        if self.size > 0 && self.size + line.len() as u64 > self.rule.max_bytes.saturating_mul(2) {
            return Err(io::Error::other(format!("the file is too large; {}", self.why)));
        }
        if self.torn {
            self.put(b"\n")?;
            self.torn = false;
        }
        if self.missing > 0 {
            let note = note(self.missing, &self.why);
            self.put(note.as_bytes())?;
            self.missing = 0;
        }
        self.put(line)
    }

    /// Appends everything or nothing.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = self.file.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
        let result = file.write_all(bytes);
        if result.is_ok() {
            self.size += bytes.len() as u64;
            return result;
        }
        // A part may have found room.
        self.torn |=
            file.metadata().is_ok_and(|now| now.len() > self.size) && file.set_len(self.size).is_err();
        // Opened anew for the next line: the cause may lie with this file, and the path lead elsewhere by then.
        self.file = None;
        result
    }

    /// Moves the file aside and begins a new one. When it cannot, the file goes on and it is tried again after some
    /// more lines.
    fn rotate(&mut self) {
        if let Err(error) = self.try_rotate() {
            let soon = self.size + (self.rule.max_bytes / 16).clamp(1, 64 << 10);
            // Where lines are dropped the file does not grow, and each line tries anew.
            self.rotate_at = soon.min(self.rule.max_bytes.saturating_mul(2));
            self.why = format!("rotating failed: {error}");
        }
    }

    fn try_rotate(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_ref() else { return Ok(()) };
        if self.rule.keep == 0 {
            file.set_len(0)?;
            self.size = 0;
            self.rotate_at = self.rule.max_bytes;
            return Ok(());
        }
        // Somebody removed or replaced the file: what is at the path now is gone on with.
        let ours = file.metadata()?.ino();
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == ours) {
            if !try_lock(file) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let moved = shift(&self.path, self.rule.keep)
                .and_then(|()| fs::rename(&self.path, rotated(&self.path, 1)));
            if moved.is_err() {
                file.unlock()?;
                return moved;
            }
        }
        // The old file, and with it the lock, is let go when the new one exists.
        self.reopen()
    }
}

/// A line that tells of missing ones.
fn note(missing: u64, why: &str) -> String {
    let message = format!("{missing} log lines could not be written and are missing here: {why}");
    let line = serde_json::json!({"level": "WARN", "fields": {"message": message, "missing": missing}});
    format!("{line}\n")
}

impl Write for RotatingFile {
    /// Takes one line or several whole ones. Never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.line(line) {
            self.missing += 1;
            self.why = error.to_string();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(max_bytes: u64, keep: u32) -> LogRotation {
        LogRotation { max_bytes, keep }
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn files_are_bounded_and_no_line_is_lost_or_divided() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/sos.log");
        let mut written = String::new();
        for part in 0..4 {
            // Opened anew now and then, as by a restart.
            let mut log = RotatingFile::open(&path, rule(100, 3)).unwrap();
            for line in 0..10 {
                let line = format!("line {part}{line}\n");
                log.write_all(line.as_bytes()).unwrap();
                written.push_str(&line);
            }
            assert_eq!(log.dropped().load(Ordering::Relaxed), 0);
        }
        let files = [3, 2, 1].map(|number| text(&rotated(&path, number)));
        assert!(files.iter().all(|file| file.len() <= 100 && file.ends_with('\n')));
        let kept = files.concat() + &text(&path);
        assert!(written.ends_with(&kept) && kept.len() > 250, "{kept}");
        assert!(!rotated(&path, 4).exists());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_drops_lines_and_the_file_says_how_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sos.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut log = RotatingFile::open(&path, rule(1000, 1)).unwrap();
        let dropped = log.dropped();
        log.write_all(b"one\n").unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        fs::remove_file(&path).unwrap();
        log.write_all(b"three\n").unwrap();
        log.write_all(b"four\n").unwrap();
        let lines = text(&path);
        let (note, rest) = lines.split_once('\n').unwrap();
        let note: serde_json::Value = serde_json::from_str(note).unwrap();
        assert_eq!(note["fields"]["missing"], 2);
        assert!(note["fields"]["message"].as_str().unwrap().contains("No space left on device"), "{note}");
        assert_eq!(rest, "three\nfour\n");
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_file_that_cannot_be_rotated_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sos.log");
        // A folder that is not empty cannot be replaced by a file.
        fs::create_dir_all(rotated(&path, 1).join("x")).unwrap();
        let mut log = RotatingFile::open(&path, rule(1000, 1)).unwrap();
        for _ in 0..300 {
            log.write_all(b"123456789\n").unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 2000);
        assert_eq!(log.dropped().load(Ordering::Relaxed), 100);
        fs::remove_dir_all(rotated(&path, 1)).unwrap();
        for _ in 0..3 {
            log.write_all(b"123456789\n").unwrap();
        }
        assert_eq!(fs::metadata(rotated(&path, 1)).unwrap().len(), 2000);
        let text = text(&path);
        assert!(text.starts_with('{') && text.contains("rotating failed"), "{text}");
        assert!(text.ends_with("}\n123456789\n123456789\n123456789\n"), "{text}");
    }

    #[test]
    fn a_file_that_somebody_looks_at_is_rotated_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sos.log");
        let mut log = RotatingFile::open(&path, rule(20, 1)).unwrap();
        log.write_all(b"123456789\n123456789\n").unwrap();
        let held = super::super::rotation::hold(&path).unwrap();
        log.write_all(b"more\n").unwrap();
        assert_eq!(text(&path), "123456789\n123456789\nmore\n");
        drop(held);
        log.write_all(b"last\n").unwrap();
        assert_eq!((text(&path).as_str(), text(&rotated(&path, 1)).len()), ("last\n", 25));
    }

    #[test]
    fn a_line_larger_than_the_file_may_be_has_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sos.log");
        let mut log = RotatingFile::open(&path, rule(10, 2)).unwrap();
        for line in ["a\n", "a line that is much longer than ten bytes\n", "b\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(
            [text(&rotated(&path, 2)), text(&rotated(&path, 1)), text(&path)],
            ["a\n".to_owned(), "a line that is much longer than ten bytes\n".into(), "b\n".into()]
        );
    }
}
