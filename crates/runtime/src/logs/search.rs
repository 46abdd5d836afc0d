//! Searching many logs at once: their records are merged by time, and only as much is read as that takes.

use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::LogFiles;
use super::find::{DISORDER, Finder, LogQuery, LogQueryError, MAX_FILES};
use super::record::LogRecord;
use super::scan::Scan;
use super::source::LogSource;

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogAnswer {
    /// The records by time, in the order that was asked for. Those of one log stay in its order.
    pub records: Vec<LogRecord>,
    /// Whether the search ended before everything was looked through, so that there may be more: at `limit`, or at
    /// `max_scan_bytes`.
    pub truncated: bool,
    /// Whether it ended at `max_scan_bytes`. Then all logs were looked through up to about the same time.
    pub scan_limit_reached: bool,
    /// Bytes that were read.
    pub scanned_bytes: u64,
    /// Logs that could not be read (to the end), as `PATH: why`. What was found in others is there all the same.
    pub problems: Vec<String>,
}

/// Searches logs. Reads files and takes up to seconds: not for a thread that serves the network.
///
/// Each log is searched as it is at the beginning: rotations in the meantime neither hide nor repeat lines, and what is
/// written in the meantime is left out. In memory are a block of 256 KiB of each log and the records of the answer.
///
/// Lines are expected in the order of their times, but for a minute: where a log is more out of order than that,
/// records may come in another order, and with a limit others of them.
///
/// # Errors
/// When the query is wrong or needs more than 512 files. A log that cannot be read is told in [`LogAnswer::problems`].
pub fn search(sources: &[LogSource], query: &LogQuery) -> Result<LogAnswer, LogQueryError> {
    let finder = Finder::new(query)?;
    let mut answer = LogAnswer::default();
    let mut scans = vec![];
    let mut files = 0;
    for source in sources.iter().filter(|source| finder.wants(source)) {
        let opened = LogFiles::open(&source.path);
        files += opened.as_ref().map_or(0, |opened| opened.files.len());
        if files > MAX_FILES {
            return Err(LogQueryError::Files);
        }
        match opened.and_then(|opened| Scan::new(source, &finder, opened)) {
            Ok(scan) => scans.push(scan),
            Err(error) => answer.problems.push(problem(source, &error)),
        }
    }
    merge(&mut scans, query, &mut answer);
    answer.scanned_bytes = scans.iter().map(|scan| scan.scanned).sum();
    Ok(answer)
}

fn problem(source: &LogSource, error: &io::Error) -> String {
    format!("{}: {error}", source.path.display())
}

/// Takes the records of all logs in order. A log is looked through further when its next record may be the next of all.
fn merge(scans: &mut [Scan<'_>], query: &LogQuery, answer: &mut LogAnswer) {
    // What has a higher rank comes first.
    let sign = if query.newest_first { 1 } else { -1 };
    let rank = |time: Timestamp| sign * time.as_nanosecond();
    let bound = |scan: &Scan<'_>| scan.bound().map_or(i128::MAX, |time| rank(time) + DISORDER.as_nanos());
    loop {
        // Of equal ones the first log's.
        let heads = scans.iter().enumerate().filter_map(|(index, scan)| Some((rank(scan.head()?), index)));
        let head = heads.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let open = scans.iter().enumerate().filter(|(_, scan)| scan.head().is_none() && scan.goes_on());
        let open = open.map(|(index, scan)| (bound(scan), index)).max();
        if answer.records.len() == query.limit {
            answer.truncated |= head.is_some() || open.is_some();
            return;
        }
        match (head, open) {
            (Some((rank, index)), open) if open.is_none_or(|(bound, _)| bound < rank) => {
                answer.records.extend(scans[index].take());
            }
            (_, Some((_, index))) => advance(scans, index, query, answer),
            (_, None) => return,
        }
    }
}

/// Looks one log through a little further, unless enough was read.
fn advance(scans: &mut [Scan<'_>], index: usize, query: &LogQuery, answer: &mut LogAnswer) {
    let scanned: u64 = scans.iter().map(|scan| scan.scanned).sum();
    if scanned >= query.max_scan_bytes {
        answer.truncated = true;
        answer.scan_limit_reached = true;
        scans.iter_mut().for_each(Scan::give_up);
        return;
    }
    let scan = &mut scans[index];
    if let Err(error) = scan.advance() {
        answer.problems.push(problem(scan.source, &error));
        scan.give_up();
    }
}
