//! Going through one log block by block, from either end.
//!
//! A block is a fixed part of a file and has the lines that begin in it, so that blocks can be looked at in any order.
//! A line that goes on in the next block or file is read to its end there.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use jiff::Timestamp;
use memchr::{memchr, memrchr};

use super::files::LogFiles;
use super::find::Finder;
use super::record::{LogRecord, MAX_LOG_LINE, Parsed, cut_line};
use super::source::LogSource;
use super::time::TimeRules;

/// Bytes of a block.
const BLOCK: u64 = 256 << 10;
/// How much is read at once to find the end of a line.
const STEP: u64 = 16 << 10;
/// A part of a file, in bytes of the whole log.
#[derive(Clone, Copy, Debug)]
struct Block {
    file: usize,
    from: u64,
    to: u64,
}

/// The blocks of the files that are looked at, in order.
#[derive(Debug)]
struct Walk {
    newest_first: bool,
    /// Number, start and length of the files in the order of the walk.
    files: VecDeque<(usize, u64, u64)>,
    done: u64,
}

impl Walk {
    fn next(&mut self) -> Option<Block> {
        loop {
            let (file, start, length) = *self.files.front()?;
            let count = length.div_ceil(BLOCK);
            if self.done < count {
                let number = if self.newest_first { count - 1 - self.done } else { self.done };
                self.done += 1;
                let from = start + number * BLOCK;
                return Some(Block { file, from, to: (from + BLOCK).min(start + length) });
            }
            self.files.pop_front();
            self.done = 0;
        }
    }
}

/// The text of a block.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    /// Where the bytes begin in the whole log.
    base: u64,
    /// Where the block's first line begins, and where the block ends: lines that begin between are its own.
    lines: Range<usize>,
}

impl Text {
    /// Reads a block and its last line to the end, or as far as lines are looked at.
    fn load(&mut self, files: &mut LogFiles, block: Block) -> io::Result<()> {
        self.bytes.clear();
        self.lines = 0..0;
        // The byte before tells whether a line begins with the block.
        self.base = block.from.saturating_sub(1);
        files.read(self.base, block.to, &mut self.bytes)?;
        let end = self.bytes.len();
        let first = if block.from == 0 { Some(0) } else { memchr(b'\n', &self.bytes).map(|at| at + 1) };
        let Some(first) = first.filter(|first| *first < end) else { return Ok(()) };
        self.lines = first..end;
        let last = memrchr(b'\n', &self.bytes).map_or(first, |at| at + 1);
        let mut at = self.base + end as u64;
        while last < end && self.bytes.len() - last <= MAX_LOG_LINE {
            let before = self.bytes.len();
            files.read(at, at + STEP, &mut self.bytes)?;
            at += (self.bytes.len() - before) as u64;
            if self.bytes.len() == before || memchr(b'\n', &self.bytes[before..]).is_some() {
                break;
            }
        }
        Ok(())
    }

    /// The line that begins at a place, without its end.
    fn line(&self, start: usize) -> Range<usize> {
        start..memchr(b'\n', &self.bytes[start..]).map_or(self.bytes.len(), |length| start + length)
    }

    /// The first line in a part whose lines are its own that has a time.
    fn first_timed(&self, part: Range<usize>, rules: &TimeRules<'_>) -> Option<(usize, Timestamp)> {
        let mut at = part.start;
        while at < part.end {
            let line = self.line(at);
            if let Some(time) = Parsed::of(&self.bytes[line.clone()], rules).time {
                return Some((at, time));
            }
            at = line.end + 1;
        }
        None
    }

    /// The last such line.
    fn last_timed(&self, part: Range<usize>, rules: &TimeRules<'_>) -> Option<(usize, Timestamp)> {
        let mut end = part.end;
        while part.start < end {
            let before = &self.bytes[part.start..end];
            let before = before.strip_suffix(b"\n").unwrap_or(before);
            let start = memrchr(b'\n', before).map_or(part.start, |at| part.start + at + 1);
            if let Some(time) = Parsed::of(&self.bytes[self.line(start)], rules).time {
                return Some((start, time));
            }
            end = start;
        }
        None
    }
}

/// A line that was found.
#[derive(Clone, Debug)]
struct Hit {
    line: Range<usize>,
    time: Timestamp,
}

/// What stands in for the time of lines at the beginning of blocks: between the two places, no line has one.
#[derive(Clone, Copy, Debug)]
struct Carry {
    low: u64,
    high: u64,
    time: Timestamp,
}

/// A log that is being searched.
#[derive(Debug)]
pub(super) struct Scan<'s> {
    pub(super) source: &'s LogSource,
    finder: &'s Finder<'s>,
    files: LogFiles,
    walk: Walk,
    text: Text,
    hits: VecDeque<Hit>,
    exhausted: bool,
    /// No line that was not looked at yet is newer (older) than that, but for [`DISORDER`](super::find::DISORDER).
    bound: Option<Timestamp>,
    carry: Option<Carry>,
    /// For each file the first line with a time, once it was looked for.
    first_timed: Vec<Option<Option<(u64, Timestamp)>>>,
    /// Bytes read so far.
    pub(super) scanned: u64,
}

impl<'s> Scan<'s> {
    pub(super) fn new(source: &'s LogSource, finder: &'s Finder<'s>, files: LogFiles) -> io::Result<Self> {
        let newest_first = finder.query.newest_first;
        let count = files.files.len();
        let mut scan = Self {
            source,
            finder,
            files,
            walk: Walk { newest_first, files: VecDeque::new(), done: 0 },
            text: Text::default(),
            hits: VecDeque::new(),
            exhausted: false,
            bound: None,
            carry: None,
            first_timed: vec![None; count],
            scanned: 0,
        };
        for number in 0..count {
            if scan.may_hold(number)? {
                let file = &scan.files.files[number];
                scan.walk.files.push_back((number, file.start, file.length));
            }
        }
        if newest_first {
            scan.walk.files.make_contiguous().reverse();
        }
        Ok(scan)
    }

    /// The time of the next record, when one is at hand.
    pub(super) fn head(&self) -> Option<Timestamp> {
        self.hits.front().map(|hit| hit.time)
    }

    /// Whether more may be found by going on.
    pub(super) fn goes_on(&self) -> bool {
        !self.exhausted
    }

    /// What may be found by going on is not newer than that, or not older when the oldest come first; `None` when nothing
    /// is known.
    pub(super) fn bound(&self) -> Option<Timestamp> {
        self.bound
    }

    /// Takes the next record.
    pub(super) fn take(&mut self) -> Option<LogRecord> {
        let hit = self.hits.pop_front()?;
        let rules = TimeRules { zone: &self.source.zone, latest: self.latest_at(hit.line.start) };
        let parsed = Parsed::of(&self.text.bytes[hit.line.clone()], &rules);
        Some(LogRecord::build(self.source, parsed, Some(hit.time)))
    }

    /// Nothing more is looked for.
    pub(super) fn give_up(&mut self) {
        self.exhausted = true;
    }

    fn latest_at(&self, at: usize) -> Timestamp {
        let place = self.text.base + at as u64;
        let file = self.files.files.partition_point(|file| file.end() <= place);
        self.files.files.get(file).map_or(Timestamp::MAX, |file| file.modified)
    }

    fn rules(&self, file: usize) -> TimeRules<'s> {
        TimeRules { zone: &self.source.zone, latest: self.files.files[file].modified }
    }

    /// Whether a file may hold lines of the time that is asked for.
    fn may_hold(&mut self, number: usize) -> io::Result<bool> {
        let (start, end) = (self.files.files[number].start, self.files.files[number].end());
        let modified = self.files.files[number].modified;
        if start == end {
            return Ok(false);
        }
        let (rules, mut text) = (self.rules(number), Text::default());
        if self.finder.misses(None, Some(modified)) {
            // The clock of the program may be ahead of that of the machine.
            let from = start + (end - start - 1) / BLOCK * BLOCK;
            self.load(&mut text, Block { file: number, from, to: end })?;
            let last = text.last_timed(text.lines.clone(), &rules);
            if last.is_none_or(|(_, time)| self.finder.misses(None, Some(time))) {
                return Ok(false);
            }
        }
        if self.finder.query.until.is_some() {
            let before = number.checked_sub(1).map(|older| self.files.files[older].modified);
            self.load(&mut text, Block { file: number, from: start, to: end.min(start + BLOCK) })?;
            let first = text.first_timed(text.lines.clone(), &rules);
            let begin = match first {
                Some((at, time)) if at == text.lines.start => Some(time),
                Some((_, time)) => before.map(|before| before.min(time)),
                None => before,
            };
            return Ok(!self.finder.misses(begin, None));
        }
        Ok(true)
    }

    fn load(&mut self, text: &mut Text, block: Block) -> io::Result<()> {
        text.load(&mut self.files, block)?;
        self.scanned += text.bytes.len() as u64;
        Ok(())
    }

    /// Looks through the next block. Called when no record is at hand.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        let Some(block) = self.walk.next() else {
            self.exhausted = true;
            self.text = Text::default();
            return Ok(());
        };
        let mut text = std::mem::take(&mut self.text);
        let result = self.load(&mut text, block);
        let rules = self.rules(block.file);
        let first = text.first_timed(text.lines.clone(), &rules);
        let last = text.last_timed(text.lines.clone(), &rules).map(|(_, time)| time);
        // Only where the first line has a time: others before it would have one of an earlier block.
        let begin = first.filter(|(at, _)| *at == text.lines.start).map(|(_, time)| time);
        let result = result
            .and_then(|()| if self.finder.misses(begin, last) { Ok(()) } else { self.look(&text, block) });
        let edge = if self.walk.newest_first { first.map(|(_, time)| time) } else { last };
        self.bound = edge.or(self.bound);
        if self.walk.newest_first {
            self.hits.make_contiguous().reverse();
        }
        self.text = text;
        result
    }

    /// Finds the records of a block.
    fn look(&mut self, text: &Text, block: Block) -> io::Result<()> {
        let (finder, rules) = (self.finder, self.rules(block.file));
        let quick = finder.quick(self.source);
        let mut at = text.lines.start;
        // Up to `seen`, `last` is the last time in the block.
        let (mut seen, mut last) = (at, None);
        while at < text.lines.end {
            let mut start = at;
            if let Some(quick) = quick {
                let Some(found) = quick.find_at(&text.bytes, at) else { break };
                start = memrchr(b'\n', &text.bytes[at..found.start()]).map_or(at, |end| at + end + 1);
                if start >= text.lines.end {
                    break;
                }
            }
            let line = text.line(start);
            at = line.end + 1;
            let bytes = &text.bytes[line.clone()];
            if bytes.trim_ascii().is_empty() || !finder.contains(cut_line(bytes).0) {
                continue;
            }
            let parsed = Parsed::of(bytes, &rules);
            if parsed.time.is_some() {
                (last, seen) = (parsed.time, at);
            }
            if !finder.fits(&parsed) {
                continue;
            }
            let time = match parsed.time {
                Some(time) => time,
                None => {
                    let nearer = text.last_timed(seen..start, &rules).map(|(_, time)| time);
                    (last, seen) = (nearer.or(last), at);
                    match last {
                        Some(time) => time,
                        None => self.stand_in(block, text.base + start as u64)?,
                    }
                }
            };
            if finder.fits_time(self.source, parsed.run.as_deref(), time) {
                self.hits.push_back(Hit { line, time });
            }
        }
        Ok(())
    }

    /// The time of a line without one, when no line before it in its block has one: that of an earlier block, else by
    /// its place between the file's beginning and its first time.
    fn stand_in(&mut self, block: Block, place: u64) -> io::Result<Timestamp> {
        let first = self.first_timed(block.file)?;
        if first.is_some_and(|(first, _)| first < block.from)
            && let Some(time) = self.carried(block)?
        {
            return Ok(time);
        }
        let file = &self.files.files[block.file];
        let (until_place, until) = first.unwrap_or((file.end(), file.modified));
        let older = block.file.checked_sub(1).map(|older| self.files.files[older].modified);
        let since = older.or(file.born).unwrap_or(until).min(until);
        Ok(between((file.start, since), (until_place, until), place))
    }

    /// The last time before a block in its file. Each block is looked through for it once.
    fn carried(&mut self, block: Block) -> io::Result<Option<Timestamp>> {
        let start = self.files.files[block.file].start;
        let (rules, mut text) = (self.rules(block.file), Text::default());
        let mut to = block.from;
        while to > start {
            let found = match self.carry.filter(|carry| carry.low < to && to <= carry.high) {
                Some(carry) => Some((carry.low, carry.time)),
                None => {
                    self.load(&mut text, Block { file: block.file, from: to - BLOCK, to })?;
                    let found = text.last_timed(text.lines.clone(), &rules);
                    found.map(|(at, time)| (text.base + at as u64, time))
                }
            };
            if let Some((low, time)) = found {
                self.carry = Some(Carry { low, high: block.from, time });
                return Ok(Some(time));
            }
            to -= BLOCK;
        }
        Ok(None)
    }

    /// The first line of a file that has a time.
    fn first_timed(&mut self, number: usize) -> io::Result<Option<(u64, Timestamp)>> {
        if let Some(known) = self.first_timed[number] {
            return Ok(known);
        }
        let (start, end) = (self.files.files[number].start, self.files.files[number].end());
        let (rules, mut text) = (self.rules(number), Text::default());
        let mut found = None;
        let mut from = start;
        while from < end && found.is_none() {
            self.load(&mut text, Block { file: number, from, to: end.min(from + BLOCK) })?;
            found = text.first_timed(text.lines.clone(), &rules);
            from += BLOCK;
        }
        let found = found.map(|(at, time)| (text.base + at as u64, time));
        self.first_timed[number] = Some(found);
        Ok(found)
    }
}

/// The time of a place between two places with times, the first not after the second.
fn between(from: (u64, Timestamp), to: (u64, Timestamp), place: u64) -> Timestamp {
    let (length, done) = (to.0.saturating_sub(from.0), place.saturating_sub(from.0));
    if length == 0 {
        return from.1;
    }
    let span = to.1.as_nanosecond() - from.1.as_nanosecond();
    let part = span / i128::from(length) * i128::from(done.min(length));
    Timestamp::from_nanosecond(from.1.as_nanosecond() + part).unwrap_or(from.1)
}
