//! A log that somebody else keeps, copied into files like those that processes write, each line exactly once.
//!
//! What is copied is remembered in a cursor file, which is replaced after the log was written. Whoever dies in between
//! leaves lines that the cursor does not know: they are cut off and copied again. Where the copy stands is told by the
//! time of the last line of each stream, and how many lines of that time there were: within a stream times only rise.
//! They fall when a clock is set back, whose lines are new, and when a daemon that rotates a log while it is followed tells the
//! beginning of its new file once more (seen of Docker 20.10), whose lines are not: these are known by time and text.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::LogStream;
use super::rotation::{inode, rotated, shift, try_lock};
use crate::LogRotation;

/// Lines of two streams may stand in the source this far out of order, seconds.
const DISORDER: i64 = 5;
/// So many lines of each stream are remembered, to know those that are told once more. A file of the daemon holds fewer.
const REMEMBERED: usize = 8192;
/// A longer line is written in parts.
const MAX_PART: usize = 1 << 20;

/// A piece of a log, a line as a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopiedLine {
    pub(crate) stream: LogStream,
    /// When it was written; without it, it is taken in any case.
    pub(crate) time: Option<Timestamp>,
    /// The bytes, with the line end unless the line goes on in the next piece of the stream.
    pub(crate) text: Vec<u8>,
}

/// Writes the copy. One at a time is open for a cursor; a second one waits until the first is gone.
#[derive(Debug)]
pub(crate) struct LogCopy {
    path: PathBuf,
    cursor_path: PathBuf,
    rule: LogRotation,
    file: File,
    /// Locked as long as the copy is open.
    _lock: File,
    cursor: Cursor,
    /// Streams of which lines that were copied before come first: how many of the time of the mark were seen again.
    again: [Option<u32>; 2],
    /// The latest lines that were told.
    told: [Told; 2],
    /// Beginnings of lines.
    open: [Vec<u8>; 2],
    /// The marks as they become when what is open is written.
    marks: [Mark; 2],
}

/// How far the copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// Tells the source from others that are copied to the same path.
    source: String,
    /// The file that was written last, and its length then.
    inode: u64,
    length: u64,
    /// Standard output and standard error.
    marks: [Mark; 2],
}

/// The last line of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    time: Option<Timestamp>,
    /// Lines of this time.
    count: u32,
}

impl LogCopy {
    /// Goes on where the copy of `source` stands, or begins it.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(crate) fn open(path: &Path, cursor_path: &Path, source: &str, rule: LogRotation) -> io::Result<Self> {
        let mut lock = cursor_path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = File::create(&lock)?;
        lock.lock()?;
        // One that cannot be read is that of a source which was not copied yet.
        let known: Option<Cursor> =
            fs::read(cursor_path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(cursor) = &known {
            cut_off(path, cursor)?;
        }
        let file = append(path)?;
        let (inode, length) = (file.metadata()?.ino(), file.metadata()?.len());
        let marks =
            known.filter(|cursor| cursor.source == source).map(|cursor| cursor.marks).unwrap_or_default();
        let cursor = Cursor { source: source.into(), inode, length, marks };
        let again = marks.map(|mark| mark.time.map(|_| 0));
        let copy = Self {
            path: path.into(),
            cursor_path: cursor_path.into(),
            rule,
            file,
            _lock: lock,
            cursor,
            again,
            told: Default::default(),
            open: [vec![], vec![]],
            marks,
        };
        copy.save()?;
        Ok(copy)
    }

    /// The second since 1970 from which lines of the source are needed, those that were copied already included.
    pub(crate) fn since(&self) -> i64 {
        let last = self.cursor.marks.iter().filter_map(|mark| mark.time).max();
        last.map_or(0, |time| (time.as_second() - DISORDER).max(0))
    }

    /// Writes what was not written before. All or, after a failure, a part of it is in the file; then the copy is to
    /// be opened anew.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&mut self, lines: Vec<CopiedLine>) -> io::Result<()> {
        let mut text = vec![];
        for line in lines {
            let index = usize::from(line.stream == LogStream::Stderr);
            let once_more = line.time.is_some_and(|time| {
                // Pieces of a long line share their time and, it may be, their text; whole lines do not.
                let whole = line.text.ends_with(b"\n");
                let back = |last| time < last || time == last && whole;
                self.told[index].is_once_more(time, &line.text, self.marks[index].time.is_some_and(back))
            });
            if once_more || !self.is_new(index, line.time) {
                continue;
            }
            self.marks[index].pass(line.time);
            self.open[index].extend_from_slice(&line.text);
            if line.text.ends_with(b"\n") || self.open[index].len() >= MAX_PART {
                self.put(index, &mut text)?;
            }
        }
        self.flush(&mut text)?;
        self.save()
    }

    /// Writes beginnings of lines that will not go on: the source has ended.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let mut text = vec![];
        for index in 0..2 {
            if !self.open[index].is_empty() {
                self.open[index].push(b'\n');
                self.put(index, &mut text)?;
            }
        }
        self.flush(&mut text)?;
        self.save()
    }

    /// Whether a line was not copied before. Once a new one came, all others of its stream are new.
    fn is_new(&mut self, index: usize, time: Option<Timestamp>) -> bool {
        let (Some(seen), Some(time)) = (&mut self.again[index], time) else { return true };
        let mark = self.cursor.marks[index];
        match mark.time.map(|last| time.cmp(&last)) {
            Some(std::cmp::Ordering::Less) => false,
            Some(std::cmp::Ordering::Equal) if *seen < mark.count => {
                *seen += 1;
                false
            }
            _ => {
                self.again[index] = None;
                true
            }
        }
    }

    /// Moves what is open of a stream behind `text`, into the next file where this one is full.
    fn put(&mut self, index: usize, text: &mut Vec<u8>) -> io::Result<()> {
        let line = std::mem::take(&mut self.open[index]);
        let size = self.cursor.length + text.len() as u64;
        if size > 0 && size + line.len() as u64 > self.rule.max_bytes {
            self.flush(text)?;
            self.rotate()?;
        }
        text.extend_from_slice(&line);
        self.cursor.marks[index] = self.marks[index];
        Ok(())
    }

    fn flush(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        self.file.write_all(text)?;
        self.cursor.length += text.len() as u64;
        text.clear();
        Ok(())
    }

    /// Begins a new file. While somebody looks at this one it goes on; each further line tries again.
    fn rotate(&mut self) -> io::Result<()> {
        if self.rule.keep > 0 && !try_lock(&self.file) {
            return Ok(());
        }
        self.save()?;
        if self.rule.keep == 0 {
            self.file.set_len(0)?;
        } else {
            shift(&self.path, self.rule.keep)?;
            if inode(&self.path) == Some(self.cursor.inode) {
                fs::rename(&self.path, rotated(&self.path, 1))?;
            }
            // The old file, and with it the lock, is let go when the new one exists.
            self.file = append(&self.path)?;
        }
        self.cursor.inode = self.file.metadata()?.ino();
        self.cursor.length = self.file.metadata()?.len();
        self.save()
    }

    /// Replaces the cursor file as a whole.
    fn save(&self) -> io::Result<()> {
        let mut fresh = self.cursor_path.as_os_str().to_owned();
        fresh.push(".new");
        fs::write(&fresh, serde_json::to_vec(&self.cursor).map_err(io::Error::other)?)?;
        fs::rename(&fresh, &self.cursor_path)
    }
}

/// Lines that were told, the latest ones.
#[derive(Debug, Default)]
struct Told {
    order: VecDeque<(Timestamp, u64)>,
    known: HashSet<(Timestamp, u64)>,
    /// Whether the last one was told once more.
    repeats: bool,
}

impl Told {
    /// Takes a line in; whether it is one that was told before. That can be only where time goes `back`, and after such
    /// a line.
    fn is_once_more(&mut self, time: Timestamp, text: &[u8], back: bool) -> bool {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let line = (time, hasher.finish());
        self.repeats = (back || self.repeats) && self.known.contains(&line);
        if !self.repeats {
            self.order.push_back(line);
            self.known.insert(line);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        self.repeats
    }
}

impl Mark {
    fn pass(&mut self, time: Option<Timestamp>) {
        match time {
            None => {}
            Some(_) if time == self.time => self.count = self.count.saturating_add(1),
            Some(_) => *self = Self { time, count: 1 },
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Removes what was written after the cursor was, from the file it is about and from one that was begun later.
fn cut_off(path: &Path, cursor: &Cursor) -> io::Result<()> {
    let cut = |path: &Path, length: u64| -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() > length { file.set_len(length) } else { Ok(()) }
    };
    let older = rotated(path, 1);
    if inode(path) == Some(cursor.inode) {
        cut(path, cursor.length)
    } else if inode(&older) == Some(cursor.inode) {
        cut(&older, cursor.length)?;
        if path.exists() { cut(path, 0) } else { Ok(()) }
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: LogStream, nanos: i32, text: &str) -> CopiedLine {
        let time = Timestamp::new(100, nanos).ok();
        CopiedLine { stream, time, text: text.as_bytes().to_vec() }
    }

    fn out(nanos: i32, text: &str) -> CopiedLine {
        line(LogStream::Stdout, nanos, text)
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }
        fn log(&self) -> PathBuf {
            self.dir.path().join("a-0.log")
        }
        fn cursor(&self) -> PathBuf {
            self.dir.path().join("a-0.cursor")
        }
        fn open(&self, source: &str, max_bytes: u64, keep: u32) -> LogCopy {
            LogCopy::open(&self.log(), &self.cursor(), source, LogRotation { max_bytes, keep }).unwrap()
        }
    }

    /// Lines of one time, of streams out of order, and one in pieces.
    fn source() -> Vec<CopiedLine> {
        vec![
            out(1, "a\n"),
            out(1, "b\n"),
            line(LogStream::Stderr, 3, "E\n"),
            out(2, "c\n"),
            out(4, "beginning "),
            line(LogStream::Stderr, 4, "F\n"),
            out(4, "and end\n"),
            out(4, "d\n"),
            line(LogStream::Stderr, 9, "G\n"),
            out(8, "e\n"),
        ]
    }

    const WHOLE: &str = "a\nb\nE\nc\nF\nbeginning and end\nd\nG\ne\n";

    #[test]
    fn wherever_a_copy_is_broken_off_each_line_is_there_once() {
        for first in 0..=source().len() {
            for second in first..=source().len() {
                let place = Place::new();
                for upto in [first, second, source().len()] {
                    // The source begins anew each time, as it does from `since` on.
                    let mut copy = place.open("x", 1000, 3);
                    copy.write(source()[..upto].to_vec()).unwrap();
                }
                place.open("x", 1000, 3).finish().unwrap();
                let mut lines: Vec<_> = WHOLE.lines().collect();
                let whole = text(&place.log());
                let mut found: Vec<_> = whole.lines().collect();
                lines.sort_unstable();
                found.sort_unstable();
                assert_eq!(found, lines, "{first} {second}");
            }
        }
        let place = Place::new();
        place.open("x", 1000, 3).write(source()).unwrap();
        assert_eq!(text(&place.log()), WHOLE);
    }

    #[test]
    fn what_was_written_and_not_remembered_is_cut_off() {
        let place = Place::new();
        place.open("x", 1000, 3).write(source()[..4].to_vec()).unwrap();
        let before = text(&place.log());
        fs::write(place.log(), format!("{before}beginning and half a li")).unwrap();
        place.open("x", 1000, 3).write(source()).unwrap();
        assert_eq!(text(&place.log()), WHOLE);
    }

    #[test]
    fn a_rotation_divides_no_line_and_a_crash_within_it_loses_none() {
        let place = Place::new();
        let lines: Vec<_> = (0..40).map(|number| out(number + 1, &format!("line {number}\n"))).collect();
        for upto in (1..=40).step_by(3) {
            place.open("x", 50, 20).write(lines[..upto].to_vec()).unwrap();
            // As if it had died after the renaming, before the cursor was replaced: a file the cursor does not know.
            if upto % 2 == 0 {
                let cursor = fs::read(place.cursor()).unwrap();
                let mut copy = place.open("x", 50, 20);
                copy.rotate().unwrap();
                fs::write(place.log(), "unknown\n").unwrap();
                fs::write(place.cursor(), cursor).unwrap();
            }
        }
        drop(place.open("x", 50, 20));
        let files = (0..20).rev().map(|number| {
            if number == 0 { text(&place.log()) } else { text(&rotated(&place.log(), number)) }
        });
        let files: Vec<_> = files.collect();
        assert!(files.iter().all(|file| file.len() <= 50), "{files:?}");
        let expected: String = (0..40).map(|number| format!("line {number}\n")).collect();
        assert_eq!(files.concat(), expected);
    }

    #[test]
    fn another_source_begins_behind_and_needs_all_its_lines() {
        let place = Place::new();
        place.open("x", 1000, 3).write(vec![out(5, "old\n")]).unwrap();
        assert_eq!(place.open("x", 1000, 3).since(), 95);
        let mut copy = place.open("y", 1000, 3);
        assert_eq!(copy.since(), 0);
        copy.write(vec![out(1, "new, and earlier\n"), out(2, "without an end")]).unwrap();
        copy.finish().unwrap();
        assert_eq!(text(&place.log()), "old\nnew, and earlier\nwithout an end\n");
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing_while_the_copy_goes_on() {
        let place = Place::new();
        let mut copy = place.open("x", 1000, 3);
        copy.write(vec![out(9, "a\n")]).unwrap();
        copy.write(vec![out(3, "b\n"), CopiedLine { time: None, ..out(0, "c\n") }]).unwrap();
        assert_eq!(text(&place.log()), "a\nb\nc\n");
    }

    #[test]
    fn lines_that_are_told_once_more_are_written_once() {
        let place = Place::new();
        let lines: Vec<CopiedLine> = (1..=9).map(|at| out(at, &format!("{at}\n"))).collect();
        let mut copy = place.open("x", 1000, 3);
        copy.write(lines[..6].to_vec()).unwrap();
        // Within one run, and right after another one.
        copy.write(lines[3..7].to_vec()).unwrap();
        drop(copy);
        let mut copy = place.open("x", 1000, 3);
        copy.write([&lines[..8], &lines[5..9]].concat()).unwrap();
        // From the last one on.
        copy.write(vec![out(9, "9\n"), out(10, "10\n")]).unwrap();
        assert_eq!(text(&place.log()), "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
        copy.write(vec![out(11, "ab"), out(11, "ab"), out(11, "\n"), out(11, "c\n"), out(11, "d\n")])
            .unwrap();
        assert!(text(&place.log()).ends_with("10\nabab\nc\nd\n"));
    }

    #[test]
    fn without_kept_logs_the_file_begins_anew() {
        let place = Place::new();
        let mut copy = place.open("x", 10, 0);
        copy.write((0..9).map(|number| out(number, "four\n")).collect()).unwrap();
        assert_eq!(text(&place.log()), "four\n");
        assert!(!rotated(&place.log(), 1).exists());
    }

    #[test]
    fn rubbish_in_the_cursor_is_no_cursor() {
        let place = Place::new();
        fs::write(place.cursor(), "{").unwrap();
        place.open("x", 100, 3).write(vec![out(1, "a\n")]).unwrap();
        assert_eq!(text(&place.log()), "a\n");
    }
}
