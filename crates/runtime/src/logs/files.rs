//! A log and its rotated files as one text that stays as it was when it was opened, whatever is rotated meanwhile.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::rotation::{hold, inode, rotated};

/// So many bytes at the beginning of a file tell it from others.
const FINGERPRINT: usize = 512;
/// So many numbers of rotated logs may be missing in between: somebody removed them.
const LARGEST_GAP: u32 = 3;

/// One file of a log.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    /// Where it begins in the whole text, bytes.
    pub(super) start: u64,
    /// What it held when it was opened, bytes.
    pub(super) length: u64,
    /// When it was last written.
    pub(super) modified: Timestamp,
    /// When it was made, where that is known and means something.
    pub(super) born: Option<Timestamp>,
}

impl LogFile {
    /// Where it ends in the whole text.
    pub(super) fn end(&self) -> u64 {
        self.start + self.length
    }
}

/// All files of a log, oldest first.
#[derive(Debug)]
pub(super) struct LogFiles {
    path: PathBuf,
    pub(super) files: Vec<LogFile>,
    /// The last file, as long as it may be emptied by a rotation.
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    inode: u64,
    /// Inodes of the rotated logs there were.
    rotated: Vec<u64>,
    /// How the file begins.
    fingerprint: Vec<u8>,
}

impl LogFiles {
    /// Opens all files of a log; none are there when the log does not exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let _held = hold(path);
        let mut opened = vec![];
        let mut missing = 0;
        for number in 1.. {
            match optional(File::open(rotated(path, number)))? {
                Some(file) => opened.push(file),
                None => missing += 1,
            }
            if missing > LARGEST_GAP {
                break;
            }
        }
        let inodes = opened.iter().map(|file| Ok(file.metadata()?.ino())).collect::<io::Result<Vec<_>>>()?;
        let mut files = Self { path: path.into(), files: vec![], live: None };
        for file in opened.into_iter().rev() {
            files.push(file, false)?;
        }
        // Opened by itself: a copy of what is held would keep it locked.
        if let Some(file) = optional(File::open(path))? {
            let mut fingerprint = vec![0; FINGERPRINT];
            let length = read_at(&file, &mut fingerprint, 0)?;
            fingerprint.truncate(length);
            files.live = Some(Live { inode: file.metadata()?.ino(), rotated: inodes, fingerprint });
            files.push(file, true)?;
        }
        Ok(files)
    }

    fn push(&mut self, file: File, live: bool) -> io::Result<()> {
        let metadata = file.metadata()?;
        let modified = modified(&metadata);
        // A rotated log was made by the rotation, long after its first line.
        let born = metadata.created().ok().filter(|_| live).and_then(|time| Timestamp::try_from(time).ok());
        let start = self.length();
        self.files.push(LogFile { file, start, length: metadata.len(), modified, born });
        Ok(())
    }

    /// Length of the whole text, bytes.
    pub(super) fn length(&self) -> u64 {
        self.files.last().map_or(0, LogFile::end)
    }

    /// Reads the text from `from` up to `to`, over the borders of files, behind what is in `buffer`. It ends earlier
    /// where a file was made shorter by somebody else.
    pub(super) fn read(&mut self, from: u64, to: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        let first = self.files.partition_point(|file| file.end() <= from);
        let mut at = from;
        for index in first..self.files.len() {
            let file = &self.files[index];
            let end = file.end().min(to);
            // An empty file, or behind the end.
            if at >= end {
                continue;
            }
            let (offset, length) = (at - file.start, end - at);
            if !self.read_file(index, offset, length, buffer)? {
                break;
            }
            at = end;
        }
        Ok(())
    }

    /// Reads a part of one file. False when it is not there in full.
    fn read_file(
        &mut self,
        index: usize,
        offset: u64,
        length: u64,
        buffer: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let before = buffer.len();
        let length = usize::try_from(length).map_err(io::Error::other)?;
        loop {
            buffer.resize(before + length, 0);
            let found = read_at(&self.files[index].file, &mut buffer[before..], offset)?;
            buffer.truncate(before + found);
            // Looked at after reading: a rotation renames first and empties last.
            if index + 1 == self.files.len() && self.was_rotated() {
                self.follow()?;
                continue;
            }
            return Ok(found == length);
        }
    }

    fn was_rotated(&self) -> bool {
        let Some(live) = &self.live else { return false };
        let newest = || inode(&rotated(&self.path, 1));
        // While a rotation renames there is none for a moment, and it need not be the first rotation.
        let newest = newest().or_else(|| hold(&self.path).and_then(|_held| newest()));
        newest.is_some_and(|newest| !live.rotated.contains(&newest))
    }

    /// Finds what was the log when it was opened: by now it is a rotated one.
    fn follow(&mut self) -> io::Result<()> {
        let _held = hold(&self.path);
        let (Some(live), Some(last)) = (self.live.take(), self.files.last_mut()) else { return Ok(()) };
        let mut missing = 0;
        let mut successor = None;
        for number in 1.. {
            let Some(file) = optional(File::open(rotated(&self.path, number)))? else {
                missing += 1;
                if missing > LARGEST_GAP {
                    break;
                }
                continue;
            };
            let metadata = file.metadata()?;
            if metadata.ino() == live.inode {
                // Renamed, not copied: what was opened is it.
                return Ok(());
            }
            if live.rotated.contains(&metadata.ino()) {
                break;
            }
            // The oldest of the new ones is the copy of what was opened; later ones are copies of what came then.
            let mut begin = vec![0; live.fingerprint.len()];
            let same = read_at(&file, &mut begin, 0)? == begin.len() && begin == live.fingerprint;
            if same && metadata.len() >= last.length {
                successor = Some(file);
            }
        }
        last.file = successor.ok_or_else(|| {
            io::Error::other(
                "it was rotated away while it was searched; search again, or keep more rotated logs",
            )
        })?;
        Ok(())
    }
}

fn optional(opened: io::Result<File>) -> io::Result<Option<File>> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(found) => length += found,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn modified(metadata: &Metadata) -> Timestamp {
    let nanoseconds = i32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    Timestamp::new(metadata.mtime(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;
    use crate::{LogRotation, rotate};

    fn all(files: &mut LogFiles) -> String {
        let mut bytes = vec![];
        files.read(0, files.length(), &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_was_opened_stays_readable_over_rotations_and_grows_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-0.log");
        let rule = LogRotation { max_bytes: 10, keep: 5 };
        let mut log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        log.write_all(b"the first file\n").unwrap();
        rotate(&path, &rule).unwrap();
        log.write_all(b"the second file\n").unwrap();
        let text = "the first file\nthe second file\n";
        let mut rotations = vec![LogFiles::open(&path).unwrap()];
        for number in 0..4 {
            log.write_all(b"more\n").unwrap();
            assert!(rotate(&path, &rule).unwrap() || number > 0);
            log.write_all(b"and more in another file\n").unwrap();
            rotations.push(LogFiles::open(&path).unwrap());
            assert!(all(&mut rotations[0]).starts_with(text));
            assert_eq!(all(&mut rotations[0]), text);
        }
        let mut late = rotations.pop().unwrap();
        assert!(all(&mut late).starts_with(text), "{}", all(&mut late));
    }

    #[test]
    fn a_log_that_is_rotated_away_is_said_to_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-0.log");
        let rule = LogRotation { max_bytes: 5, keep: 1 };
        let mut log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        log.write_all(b"the first file\n").unwrap();
        let mut files = LogFiles::open(&path).unwrap();
        for text in ["second\n", "third file\n"] {
            rotate(&path, &rule).unwrap();
            log.write_all(text.as_bytes()).unwrap();
        }
        rotate(&path, &rule).unwrap();
        let error = files.read(0, 5, &mut vec![]).unwrap_err();
        assert!(error.to_string().contains("rotated away"), "{error}");
    }

    #[test]
    fn parts_are_read_over_the_borders_of_files_and_gaps_in_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-0.log");
        assert_eq!(LogFiles::open(&path).unwrap().length(), 0);
        fs::write(&path, "789").unwrap();
        fs::write(rotated(&path, 2), "3456").unwrap();
        fs::write(rotated(&path, 4), "012").unwrap();
        fs::write(rotated(&path, 5), "").unwrap();
        let mut files = LogFiles::open(&path).unwrap();
        assert_eq!(all(&mut files), "0123456789");
        let mut part = b"x".to_vec();
        files.read(2, 8, &mut part).unwrap();
        assert_eq!(part, b"x234567");
        files.read(9, 99, &mut part).unwrap();
        assert_eq!(part, b"x2345679");
    }
}
