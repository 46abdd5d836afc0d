//! What is searched for, and the quick look at bytes that finds where it may be.

use jiff::{SignedDuration, Timestamp};
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::keys::trace_or_span;
use super::level::Level;
use super::record::{LogStream, Parsed};
use super::source::LogSource;

/// Most records that one search gives.
pub const MAX_LOG_RECORDS: usize = 5000;
/// Most bytes of logs that one search reads.
pub const MAX_LOG_SCAN: u64 = 1 << 30;
/// Most files that one search opens.
pub(super) const MAX_FILES: usize = 512;
/// How far the times of a log may be out of order.
pub(super) const DISORDER: SignedDuration = SignedDuration::from_secs(60);
/// Longest text that may be searched for, bytes.
const MAX_TEXT: usize = 1024;

/// What is searched for: records that fulfil all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogQuery {
    /// Of these services; of all when empty.
    pub services: Vec<String>,
    /// Of this replica.
    pub replica: Option<String>,
    /// Written to this stream. A record that does not tell its stream is left out.
    pub stream: Option<LogStream>,
    /// At least this serious. A record without a level is left out.
    pub level: Option<Level>,
    /// Of this trace, in either case.
    pub trace_id: Option<String>,
    /// Of this run of a batch job.
    pub run: Option<String>,
    /// With this text in the line as it is written, or as JSON writes it; upper and lower case are alike. At most 1024
    /// bytes, within one line.
    pub contains: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// At most so many records, 1 to [`MAX_LOG_RECORDS`].
    pub limit: usize,
    /// The newest records, newest first; else the oldest, oldest first.
    pub newest_first: bool,
    /// At most so many bytes are read, up to [`MAX_LOG_SCAN`].
    pub max_scan_bytes: u64,
}

impl Default for LogQuery {
    /// The hundred newest records of all services.
    fn default() -> Self {
        Self {
            services: vec![],
            replica: None,
            stream: None,
            level: None,
            trace_id: None,
            run: None,
            contains: None,
            since: None,
            until: None,
            limit: 100,
            newest_first: true,
            max_scan_bytes: MAX_LOG_SCAN,
        }
    }
}

/// Why a search is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogQueryError {
    /// None or too many.
    #[error(
        "limit {0} must be from 1 to {MAX_LOG_RECORDS}; narrow the search by service, time or text instead"
    )]
    Limit(usize),
    /// No bytes or too many.
    #[error("max_scan_bytes {0} must be from 1 to {MAX_LOG_SCAN}")]
    Scan(u64),
    /// A text that cannot be in a line.
    #[error("{0} must be 1 to {MAX_TEXT} bytes without a line end")]
    Text(&'static str),
    /// A trace id that none can be.
    #[error(
        "trace_id {0:?} must be 1 to 128 visible characters, not all zero; usually it is 32 hexadecimal digits"
    )]
    Trace(String),
    /// Nothing lies between the times.
    #[error("since {since} must be before until {until}")]
    Times {
        /// The beginning.
        since: Timestamp,
        /// The end.
        until: Timestamp,
    },
    /// More files than are opened at once.
    #[error("the search needs more than {MAX_FILES} files of logs; name services or a replica")]
    Files,
}

/// A query, checked and ready to be held against lines.
#[derive(Debug)]
pub(super) struct Finder<'q> {
    pub(super) query: &'q LogQuery,
    trace_id: Option<String>,
    contains: Option<Regex>,
    /// Finds the lines that may belong to the trace.
    trace: Option<Regex>,
    /// Finds the lines that may name the run.
    run: Option<Regex>,
    /// Finds the lines that may be as serious, where that is not usual.
    level: Option<Regex>,
}

impl<'q> Finder<'q> {
    pub(super) fn new(query: &'q LogQuery) -> Result<Self, LogQueryError> {
        if !(1..=MAX_LOG_RECORDS).contains(&query.limit) {
            return Err(LogQueryError::Limit(query.limit));
        }
        if !(1..=MAX_LOG_SCAN).contains(&query.max_scan_bytes) {
            return Err(LogQueryError::Scan(query.max_scan_bytes));
        }
        if let (Some(since), Some(until)) = (query.since, query.until)
            && since >= until
        {
            return Err(LogQueryError::Times { since, until });
        }
        let trace_id = match &query.trace_id {
            None => None,
            Some(id) => Some(trace_or_span(id, false).ok_or_else(|| LogQueryError::Trace(shortened(id)))?),
        };
        Ok(Self {
            query,
            trace: trace_id.as_deref().map(|id| pattern("trace_id", id)).transpose()?,
            trace_id,
            contains: query.contains.as_deref().map(|text| pattern("contains", text)).transpose()?,
            run: query.run.as_deref().map(|run| pattern("run", run)).transpose()?,
            level: query.level.filter(|least| *least >= Level::Warn).and_then(serious),
        })
    }

    /// Whether a source is searched at all.
    pub(super) fn wants(&self, source: &LogSource) -> bool {
        let query = self.query;
        (query.services.is_empty() || query.services.contains(&source.service))
            && query.replica.as_ref().is_none_or(|replica| *replica == source.replica)
    }

    /// Finds the lines of a source that are worth a closer look; `None` when all are.
    pub(super) fn quick(&self, source: &LogSource) -> Option<&Regex> {
        // A line need not name the run that its replica had.
        let named = || {
            let had = |run: &String| source.runs.iter().any(|span| span.run == *run);
            self.run.as_ref().filter(|_| !self.query.run.as_ref().is_some_and(had))
        };
        self.trace.as_ref().or(self.contains.as_ref()).or_else(named).or(self.level.as_ref())
    }

    /// Whether a line, cut to what is looked at, holds the text.
    pub(super) fn contains(&self, line: &[u8]) -> bool {
        self.contains.as_ref().is_none_or(|text| text.is_match(line))
    }

    /// Whether what a line says fits, apart from its time and run.
    pub(super) fn fits(&self, parsed: &Parsed) -> bool {
        let query = self.query;
        query.level.is_none_or(|least| parsed.level.is_some_and(|level| level >= least))
            && self.trace_id.as_ref().is_none_or(|id| parsed.trace_id.as_ref() == Some(id))
            && query.stream.is_none_or(|stream| parsed.stream == Some(stream))
    }

    /// Whether lines from one time to another are all too early or all too late, however they are out of order.
    pub(super) fn misses(&self, begin: Option<Timestamp>, end: Option<Timestamp>) -> bool {
        let earlier = |time: Timestamp, than: Timestamp| than.duration_since(time) > DISORDER;
        let all = |time: Option<Timestamp>, limit: Option<Timestamp>| Some((time?, limit?));
        all(end, self.query.since).is_some_and(|(end, since)| earlier(end, since))
            || all(begin, self.query.until).is_some_and(|(begin, until)| earlier(until, begin))
    }

    /// Whether the time fits, and the run that the line names or its replica had then.
    pub(super) fn fits_time(&self, source: &LogSource, run: Option<&str>, time: Timestamp) -> bool {
        let query = self.query;
        query.since.is_none_or(|since| time >= since)
            && query.until.is_none_or(|until| time < until)
            && query.run.as_deref().is_none_or(|wanted| run.or_else(|| source.run_at(time)) == Some(wanted))
    }
}

/// Finds a text in either case, as it is or as JSON writes it, with or without letters beyond ASCII.
fn pattern(what: &'static str, text: &str) -> Result<Regex, LogQueryError> {
    let wrong = || LogQueryError::Text(what);
    if !(1..=MAX_TEXT).contains(&text.len()) || text.contains(['\n', '\r']) {
        return Err(wrong());
    }
    let json = serde_json::to_string(text).map_err(|_| wrong())?;
    let json = json.get(1..json.len() - 1).unwrap_or_default().to_owned();
    let mut forms = vec![text.to_owned(), ascii(&json), json];
    forms.dedup();
    let forms: Vec<_> = forms.iter().map(|form| regex::escape(form)).collect();
    RegexBuilder::new(&forms.join("|")).case_insensitive(true).build().map_err(|_| wrong())
}

/// Finds what lines of a level or above must hold: one of its names, or a number where a level or priority stands.
fn serious(least: Level) -> Option<Regex> {
    let names: Vec<_> = Level::names_from(least).collect();
    let pattern = format!(
        r#"(?m:^)<[0-9]|(?:level|severity|lvl|level[_.-]?name|severity[_.-]?text|@l)"?\s*[:=]\s*"?[0-9]|{}"#,
        names.join("|")
    );
    RegexBuilder::new(&pattern).case_insensitive(true).unicode(false).build().ok()
}

/// JSON with `\uXXXX` for everything beyond ASCII, as Python writes it.
fn ascii(json: &str) -> String {
    let mut units = [0; 2];
    let escaped = json.chars().map(|letter| match letter {
        letter if letter.is_ascii() => letter.to_string(),
        letter => letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    });
    escaped.collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::logs::time::TimeRules;

    #[test]
    fn no_serious_line_is_passed_over_whatever_it_calls_its_level() {
        let rules = TimeRules { zone: &TimeZone::UTC, latest: Timestamp::UNIX_EPOCH };
        let mut lines: Vec<String> =
            Level::names_from(Level::Trace).map(|name| format!("time=x level={name} msg=x")).collect();
        lines.extend((0..=60).map(|number| format!("{{\"level\" : {number}}}")));
        lines.extend((0..=191).map(|number| format!("<{number}>1 x")));
        lines.extend((0..8).map(|number| format!("severity_text=\"{number}\" msg=x")));
        let known = ["[WARN] x", "ERROR:root:x", r#"{"log":{"level":"Error"}}"#, r#"{"@l":"Fatal"}"#];
        lines.extend(known.map(str::to_owned));
        lines.push(r#"{"log.level":50,"message":"x"}"#.into());
        for least in [Level::Warn, Level::Error, Level::Fatal] {
            let quick = serious(least).unwrap();
            let mut found = 0;
            for line in &lines {
                let text = format!("before\n{line}\n");
                let is = Parsed::of(line.as_bytes(), &rules).level.is_some_and(|level| level >= least);
                assert!(!is || quick.is_match(text.as_bytes()), "{line}");
                found += u32::from(is);
            }
            assert!(found > 20, "{found}");
            assert!(!quick.is_match(b"2026-01-02T03:04:05Z INFO level=info all is well"));
        }
    }

    #[test]
    fn a_text_is_found_as_it_is_and_as_json_writes_it_in_either_case() {
        let text = pattern("contains", "Grö\"ße\\").unwrap();
        for line in ["x GRÖ\"SSE\\", "grö\"ße\\", r#"{"a":"GrÖ\"ße\\"}"#, r#"{"a":"gr\u00f6\"\u00dfe\\"}"#]
        {
            assert_eq!(text.is_match(line.as_bytes()), !line.contains("SSE"), "{line}");
        }
        assert!(pattern("contains", ".*").unwrap().is_match(b"a.*b"));
        assert!(!pattern("contains", ".*").unwrap().is_match(b"ab"));
    }
}
