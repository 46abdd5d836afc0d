//! Following a log while it is written.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::rotation::{hold, inode, rotated};

/// Reads a log from near its end and follows it over rotations.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    position: u64,
    /// Inode of the newest rotated log: a new one means that the log was rotated.
    generation: Option<u64>,
}

/// A piece of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes as written; invalid UTF-8 is replaced.
    pub text: String,
    /// Whether more is there already.
    pub more: bool,
}

impl LogReader {
    /// Starts at most `lines` lines and `max_bytes` bytes before the end. A log that does not exist yet is empty.
    ///
    /// # Errors
    /// When the log exists and cannot be read.
    pub fn tail(path: &Path, lines: usize, max_bytes: u64) -> io::Result<Self> {
        let generation = inode(&rotated(path, 1));
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: path.into(), position: 0, generation });
            }
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        let from = size.saturating_sub(max_bytes);
        let mut bytes = vec![];
        file.seek(SeekFrom::Start(from))?;
        file.take(max_bytes).read_to_end(&mut bytes)?;
        let offset = start_of_last_lines(&bytes, lines) as u64;
        Ok(Self { path: path.into(), position: from + offset, generation })
    }

    /// What was written since, at most `max_bytes` bytes. Empty when there is nothing new.
    ///
    /// # Errors
    /// When the log exists and cannot be read.
    pub fn read(&mut self, max_bytes: u64) -> io::Result<LogChunk> {
        // No rotation in between: its copy and the log would both be there.
        let _held = hold(&self.path);
        let generation = inode(&rotated(&self.path, 1));
        if generation != self.generation {
            let rest = read_at(&rotated(&self.path, 1), self.position, max_bytes)?;
            self.position += rest.len() as u64;
            if !rest.is_empty() {
                return Ok(chunk(&rest, true));
            }
            self.generation = generation;
            self.position = 0;
        }
        // Truncated by someone else: begin anew.
        if fs::metadata(&self.path).map_or(0, |metadata| metadata.len()) < self.position {
            self.position = 0;
        }
        let bytes = read_at(&self.path, self.position, max_bytes)?;
        self.position += bytes.len() as u64;
        let more = bytes.len() as u64 == max_bytes;
        Ok(chunk(&bytes, more))
    }
}

fn chunk(bytes: &[u8], more: bool) -> LogChunk {
    LogChunk { text: String::from_utf8_lossy(bytes).into_owned(), more }
}

fn read_at(path: &Path, position: u64, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    match File::open(path) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(position))?;
            file.take(max_bytes).read_to_end(&mut bytes)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(bytes)
}

/// The offset at which the last `lines` lines begin.
fn start_of_last_lines(bytes: &[u8], lines: usize) -> usize {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if lines == 0 {
        return bytes.len();
    }
    let mut breaks = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    breaks.nth(lines - 1).map_or(0, |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;
    use crate::{LogRotation, rotate};

    #[test]
    fn following_loses_nothing_over_a_rotation_and_old_logs_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-0.log");
        let mut log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let rule = LogRotation { max_bytes: 20, keep: 2 };
        let mut reader = LogReader::tail(&path, 10, 1000).unwrap();
        let mut seen = String::new();
        let mut written = String::new();
        for line in 0..20 {
            let text = format!("line number {line}\n");
            log.write_all(text.as_bytes()).unwrap();
            written.push_str(&text);
            rotate(&path, &rule).unwrap();
            if line % 2 == 0 {
                loop {
                    let chunk = reader.read(7).unwrap();
                    seen.push_str(&chunk.text);
                    if chunk.text.is_empty() {
                        break;
                    }
                }
            }
        }
        while let chunk = reader.read(1000).unwrap()
            && !chunk.text.is_empty()
        {
            seen.push_str(&chunk.text);
        }
        assert_eq!(seen, written);
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a-0.log", "a-0.log.1", "a-0.log.2"]);
    }

    #[test]
    fn a_tail_begins_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(LogReader::tail(&path, 2, 1000).unwrap().read(100).unwrap().text, "two\nthree\n");
        assert_eq!(LogReader::tail(&path, 9, 1000).unwrap().read(100).unwrap().text, "one\ntwo\nthree\n");
        assert_eq!(LogReader::tail(&path, 0, 1000).unwrap().read(100).unwrap().text, "");
        assert_eq!(LogReader::tail(&dir.path().join("none"), 2, 10).unwrap().read(100).unwrap().text, "");
    }
}
