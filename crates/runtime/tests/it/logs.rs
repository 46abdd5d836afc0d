//! Searching logs: held against looking at every line.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sos_runtime::{Level, LogQuery, LogRecord, LogRotation, LogSource, rotate, search};

pub(crate) const TRACES: [&str; 3] = [
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00000000000000000000000000000abc",
    "ffffffffffffffffffffffffffffffff",
];

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_323_000 + seconds).unwrap()
}

pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    format!("{}.{number}", path.display()).into()
}

fn set_modified(path: &Path, time: Timestamp) {
    let since = Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap();
    File::options().append(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH + since).unwrap();
}

/// One line that is written: `pause` seconds after the one before.
#[derive(Clone, Debug)]
struct Line {
    pause: i64,
    /// How much earlier than it is written it says to be: several threads write one log.
    late: i64,
    form: u8,
    level: u8,
    trace: Option<usize>,
    word: &'static str,
    length: usize,
    rotate: bool,
}

impl Line {
    fn text(&self, time: Timestamp) -> Vec<u8> {
        let level = ["DEBUG", "INFO", "WARN", "ERROR"][usize::from(self.level)];
        let filler = "x".repeat(self.length);
        let trace = self.trace.map(|trace| TRACES[trace]);
        let message = format!("{} {filler}", self.word);
        let text = match self.form {
            0 => {
                let mut line = serde_json::json!({"time": time, "level": level, "msg": message});
                if let Some(trace) = trace {
                    line["trace_id"] = trace.into();
                }
                line.to_string()
            }
            1 => format!("ts={time} level={level} traceID={} msg={message:?}", trace.unwrap_or("-")),
            2 => format!("{time} {level} {message} trace={}", trace.unwrap_or("none")),
            3 => format!("    at {message} trace={}", trace.unwrap_or("none")),
            4 => String::new(),
            _ => return [message.as_bytes(), b" \xff\xfe"].concat(),
        };
        text.into_bytes()
    }
}

fn line() -> impl Strategy<Value = Line> {
    let word = prop::sample::select(vec!["Started", "STOPPED", "Größe", "say \"hi\"", "a"]);
    let length = prop_oneof![8 => 0..60_usize, 1 => 1000..5000_usize, 1 => 60_000..70_000_usize];
    let parts = ((0..20_i64, 0..50_i64), 0..6_u8, 0..4_u8, prop::option::of(0..3_usize), word, length);
    (parts, prop::bool::weighted(0.15)).prop_map(
        |(((pause, late), form, level, trace, word, length), rotate)| Line {
            pause,
            late,
            form,
            level,
            trace,
            word,
            length,
            rotate,
        },
    )
}

/// What was written to one log, and what each line must be found as.
struct Written {
    source: LogSource,
    lines: Vec<(Vec<u8>, LogRecord)>,
}

/// Writes a log with rotations where they are asked for; the times of its files are those of what is in them.
fn write(folder: &Path, name: &str, lines: &[Line]) -> Written {
    let source = LogSource::new(name, format!("{name}-0"), folder.join(format!("{name}-0.log")));
    let mut log = OpenOptions::new().append(true).create(true).open(&source.path).unwrap();
    let rule = LogRotation { max_bytes: 0, keep: 100 };
    let mut written = vec![];
    let (mut now, mut last) = (at(0), None);
    for line in lines {
        now = now.checked_add(SignedDuration::from_secs(line.pause)).unwrap();
        let text = line.text(now.checked_sub(SignedDuration::from_secs(line.late)).unwrap());
        log.write_all(&[&text[..], b"\n"].concat()).unwrap();
        set_modified(&source.path, now);
        let mut record = LogRecord::parse(&source, &text, now);
        last = record.time.or(last);
        record.time = last;
        if !text.is_empty() {
            written.push((text, record));
        }
        if line.rotate && rotate(&source.path, &rule).unwrap() {
            set_modified(&rotated(&source.path, 1), now);
            last = None;
        }
    }
    Written { source, lines: written }
}

fn holds(text: &[u8], record: &LogRecord, query: &LogQuery) -> bool {
    let text = String::from_utf8_lossy(&text[..text.len().min(64 << 10)]).to_lowercase();
    let json = |wanted: &str| serde_json::to_string(wanted).unwrap().trim_matches('"').to_lowercase();
    let time = record.time.unwrap();
    (query.services.is_empty() || query.services.contains(&record.service))
        && query.level.is_none_or(|level| record.level >= Some(level))
        && query.trace_id.as_ref().is_none_or(|id| record.trace_id.as_ref() == Some(&id.to_lowercase()))
        && query.contains.as_ref().is_none_or(|wanted| {
            // JSON ends a quoted text with an escaped quote.
            let escaped = json(wanted) + if wanted.ends_with('"') { "\"" } else { "" };
            text.contains(&wanted.to_lowercase()) || text.contains(&escaped)
        })
        && query.since.is_none_or(|since| time >= since)
        && query.until.is_none_or(|until| time < until)
}

/// The records of all lines in the order of their times; those of one log in its order, of equal times the first log's.
fn naive(all: &[Written], query: &LogQuery) -> Vec<LogRecord> {
    let mut logs: Vec<Vec<&LogRecord>> = all
        .iter()
        .map(|log| log.lines.iter().filter(|(text, r)| holds(text, r, query)).map(|(_, r)| r).collect())
        .collect();
    if !query.newest_first {
        logs.iter_mut().for_each(|log| log.reverse());
    }
    let mut found = vec![];
    loop {
        let heads =
            logs.iter().enumerate().filter_map(|(index, log)| Some((log.last()?.time.unwrap(), index)));
        let better = |one: (Timestamp, usize), two: (Timestamp, usize)| {
            let later = if query.newest_first { two.0 > one.0 } else { two.0 < one.0 };
            if later { two } else { one }
        };
        let Some((_, index)) = heads.reduce(better) else { return found };
        found.push(logs[index].pop().unwrap().clone());
    }
}

fn query() -> impl Strategy<Value = LogQuery> {
    let services = prop_oneof![Just(vec![]), Just(vec!["a".to_owned()]), Just(vec!["a".into(), "c".into()])];
    let level = prop::option::of(prop::sample::select(vec![Level::Info, Level::Error]));
    let trace = prop::option::weighted(0.3, prop::sample::select(TRACES.to_vec()));
    let words = vec!["sTART", "größe", "SAY \"HI\"", "a", "xxxx", "none", "not there"];
    let contains = prop::option::weighted(0.4, prop::sample::select(words));
    let times = (prop::option::of(0..400_i64), prop::option::of(1..400_i64));
    let limit = prop_oneof![1..10_usize, Just(5000)];
    (services, level, trace, contains, times, limit, any::<bool>()).prop_map(
        |(services, level, trace, contains, (since, length), limit, newest_first)| LogQuery {
            services,
            level,
            trace_id: trace.map(str::to_uppercase),
            contains: contains.map(Into::into),
            since: since.map(at),
            until: length.map(|length| at(since.unwrap_or(0) + length)),
            limit,
            newest_first,
            ..LogQuery::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_search_gives_what_a_look_at_every_line_gives(
        logs in prop::collection::vec(prop::collection::vec(line(), 0..60), 1..4),
        queries in prop::collection::vec(query(), 8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        // A line without a time before it in its file has an estimated one; those are looked at in another test.
        let logs = logs.into_iter().map(|mut lines| {
            let mut first = true;
            for line in &mut lines {
                if first {
                    line.form %= 3;
                    line.length %= 1000;
                }
                first = line.rotate;
            }
            lines
        });
        let written: Vec<_> =
            logs.zip(["a", "b", "c"]).map(|(lines, name)| write(dir.path(), name, &lines)).collect();
        let sources: Vec<_> = written.iter().map(|written| written.source.clone()).collect();
        for query in queries {
            let all = naive(&written, &query);
            let answer = search(&sources, &query).unwrap();
            prop_assert_eq!(&answer.problems, &Vec::<String>::new());
            let expected = &all[..all.len().min(query.limit)];
            prop_assert_eq!(&answer.records[..], expected, "{:?}", query);
            prop_assert!(answer.truncated || all.len() <= query.limit);
            prop_assert!(!answer.truncated || answer.records.len() == query.limit);
            prop_assert!(!answer.scan_limit_reached);
        }
    }
}

fn messages(sources: &[LogSource], query: &LogQuery) -> Vec<String> {
    let answer = search(sources, query).unwrap();
    assert!(answer.problems.is_empty(), "{:?}", answer.problems);
    answer.records.into_iter().map(|record| record.message).collect()
}

#[test]
fn rotations_during_searches_neither_lose_nor_repeat_lines() {
    let dir = tempfile::tempdir().unwrap();
    let source = LogSource::new("a", "a-0", dir.path().join("a-0.log"));
    let path = source.path.clone();
    let rule = LogRotation { max_bytes: 100_000, keep: 500 };
    let (told, written) = std::sync::mpsc::channel();
    let last = Arc::new(AtomicU32::new(0));
    let done = Arc::clone(&last);
    let writer = std::thread::spawn(move || {
        let mut log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let mut rotations = 0;
        for number in 0..100_000_u32 {
            log.write_all(format!("{} line {number} {}\n", at(i64::from(number)), "x".repeat(50)).as_bytes())
                .unwrap();
            done.store(number, Ordering::SeqCst);
            // One thread writes and rotates, so that the rotation itself loses nothing.
            rotations += u32::from(number % 100 == 0 && rotate(&path, &rule).unwrap());
            if number == 1000 {
                told.send(()).unwrap();
            }
        }
        rotations
    });
    written.recv().unwrap();
    let query = LogQuery { limit: 5000, ..LogQuery::default() };
    let mut searches = 0;
    loop {
        let ended = writer.is_finished();
        for newest_first in [false, true] {
            // The newest ones are read at once. For the oldest of one line in a hundred all files are gone through, and
            // the last one is rotated before it is reached.
            let (text, step) = if newest_first { (" line ", 1) } else { ("00 x", 100) };
            let query = LogQuery { contains: Some(text.into()), newest_first, ..query.clone() };
            let before = last.load(Ordering::SeqCst);
            let mut numbers: Vec<u32> = messages(std::slice::from_ref(&source), &query)
                .iter()
                // The last line may be half written.
                .filter(|message| message.ends_with(&"x".repeat(50)))
                .map(|message| message.split(' ').nth(1).unwrap().parse().unwrap())
                .collect();
            if newest_first {
                numbers.reverse();
            } else {
                assert_eq!(numbers[0], 100);
            }
            assert!(numbers.len() >= 1000 / step as usize);
            assert!(numbers.last().unwrap() + step > before, "search {searches} ends before {before}");
            assert!(
                numbers.windows(2).all(|pair| pair[0] + step == pair[1]),
                "search {searches}: {numbers:?}"
            );
            searches += 1;
        }
        if ended {
            break;
        }
    }
    assert!(writer.join().unwrap() > 50);
    assert!(searches > 4, "{searches}");
}

#[test]
fn a_log_of_one_huge_line_and_empty_files_are_searched_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let source = LogSource::new("a", "a-0", dir.path().join("a-0.log"));
    let mut text = b"2026-01-02T03:04:05Z first\n2026-01-02T03:04:06Z begin ".to_vec();
    text.extend(std::iter::repeat_n(b'y', 10 << 20));
    text.extend(b" end\n2026-01-02T03:04:07Z last");
    fs::write(&source.path, text).unwrap();
    fs::write(rotated(&source.path, 1), "").unwrap();
    fs::write(rotated(&source.path, 2), "2026-01-01T03:04:05Z oldest, divided by ").unwrap();
    let sources = [source, LogSource::new("b", "b-0", dir.path().join("none.log"))];
    let answer = search(&sources, &LogQuery::default()).unwrap();
    let texts: Vec<_> = answer.records.iter().map(|record| record.message.as_str()).collect();
    assert_eq!(
        texts.len(),
        3,
        "{:?}",
        texts.iter().map(|text| &text[..20.min(text.len())]).collect::<Vec<_>>()
    );
    assert_eq!((texts[0], answer.records[0].cut), ("last", false));
    assert!(texts[1].starts_with("begin yyy") && answer.records[1].cut);
    assert!(texts[1].len() < 64 << 10);
    assert_eq!(texts[2], "oldest, divided by 2026-01-02T03:04:05Z first");
    assert!(answer.scanned_bytes < 12 << 20, "{}", answer.scanned_bytes);
    let end = LogQuery { contains: Some(" end".into()), ..LogQuery::default() };
    assert_eq!(messages(&sources, &end), Vec::<String>::new());
}

#[test]
fn lines_without_times_lie_between_the_times_of_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let source = LogSource::new("a", "a-0", dir.path().join("a-0.log"));
    fs::write(rotated(&source.path, 1), "1234567890\n".repeat(100)).unwrap();
    set_modified(&rotated(&source.path, 1), at(0));
    let lines: String = (0..100).map(|number| format!("{number:9}\n")).collect();
    fs::write(&source.path, format!("{lines}{} timed\n  at x\n", at(1000))).unwrap();
    set_modified(&source.path, at(2000));
    let sources = [source];
    let query = LogQuery { since: Some(at(1)), newest_first: false, limit: 1000, ..LogQuery::default() };
    let answer = search(&sources, &query).unwrap();
    assert_eq!(answer.records.len(), 101);
    for (number, record) in (1..100).zip(&answer.records) {
        assert_eq!((record.message.trim(), record.time_exact), (number.to_string().as_str(), false));
        assert_eq!(record.time, Some(at(number * 10)));
    }
    assert_eq!((answer.records[99].time, answer.records[99].time_exact), (Some(at(1000)), true));
    assert_eq!((answer.records[100].time, answer.records[100].time_exact), (Some(at(1000)), false));
    let older = LogQuery { until: Some(at(1)), ..query };
    let older = search(&sources, &LogQuery { since: None, ..older }).unwrap();
    assert_eq!(older.records.len(), 101);
    assert!(older.records.iter().all(|record| record.time <= Some(at(0)) && !record.time_exact));
}

#[test]
fn a_time_far_before_is_carried_to_lines_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let source = LogSource::new("a", "a-0", dir.path().join("a-0.log"));
    let frames = "    at somewhere in a deep stack\n".repeat(40_000);
    fs::write(&source.path, format!("{} one\n{frames}{} two\n{frames}  the end\n", at(5), at(7))).unwrap();
    set_modified(&source.path, at(900));
    for newest_first in [true, false] {
        let find = |text: &str| {
            let query =
                LogQuery { contains: Some(text.into()), limit: 5000, newest_first, ..LogQuery::default() };
            let records = search(std::slice::from_ref(&source), &query).unwrap().records;
            records.into_iter().map(|record| record.time.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(find("the end"), [at(7)]);
        let times = find("deep stack");
        assert_eq!(times.len(), 5000);
        assert!(times.iter().all(|time| *time == if newest_first { at(7) } else { at(5) }));
    }
}

#[test]
fn times_without_a_zone_are_in_that_of_the_source() {
    let dir = tempfile::tempdir().unwrap();
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let source = LogSource { zone: berlin, ..LogSource::new("a", "a-0", dir.path().join("a-0.log")) };
    fs::write(&source.path, "2026-07-02 03:04:05,5 summer\n2026-07-02T01:04:05.5Z same\n").unwrap();
    let query = LogQuery {
        since: Some("2026-07-02T01:04:05.5Z".parse().unwrap()),
        until: Some("2026-07-02T03:04:05.500000001+02:00".parse().unwrap()),
        ..LogQuery::default()
    };
    assert_eq!(messages(&[source], &query), ["same", "summer"]);
}

#[test]
fn the_bound_on_what_is_read_is_told_and_all_logs_are_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<_> = ["a", "b"]
        .map(|name| {
            let source = LogSource::new(name, name, dir.path().join(format!("{name}.log")));
            let lines: String = (0..200_000).map(|number| format!("{} {name}\n", at(number))).collect();
            fs::write(&source.path, lines).unwrap();
            source
        })
        .into();
    let query = LogQuery { contains: Some("b".into()), limit: 5000, ..LogQuery::default() };
    let bounded = LogQuery { max_scan_bytes: 1 << 20, contains: Some("nothing".into()), ..query.clone() };
    let answer = search(&sources, &bounded).unwrap();
    assert!(answer.truncated && answer.scan_limit_reached && answer.records.is_empty());
    assert!((1 << 20..2 << 20).contains(&answer.scanned_bytes), "{}", answer.scanned_bytes);
    // What came before the bound is given, and less is read when enough was found.
    let bounded = LogQuery { max_scan_bytes: 1 << 20, ..query.clone() };
    let answer = search(&sources, &bounded).unwrap();
    assert!(answer.truncated && !answer.scan_limit_reached);
    assert_eq!((answer.records.len(), answer.records[0].time), (5000, Some(at(199_999))));
    assert!(answer.scanned_bytes < 1 << 20, "{}", answer.scanned_bytes);
    // Files are left alone when their times tell that nothing is in them.
    let late = LogQuery { since: Some(Timestamp::MAX), ..query };
    assert!(search(&sources, &late).unwrap().scanned_bytes < 1 << 20);
}

#[test]
fn wrong_queries_are_refused_with_what_is_expected() {
    let refused = |query: LogQuery| search(&[], &query).unwrap_err().to_string();
    let base = LogQuery::default;
    for limit in [0, 5001] {
        let error = refused(LogQuery { limit, ..base() });
        assert!(error.contains(&format!("limit {limit} must be from 1 to 5000")), "{error}");
    }
    for (query, expected) in [
        (LogQuery { max_scan_bytes: 0, ..base() }, "max_scan_bytes 0 must be from 1"),
        (LogQuery { contains: Some(String::new()), ..base() }, "contains must be 1 to 1024 bytes"),
        (LogQuery { contains: Some("a\nb".into()), ..base() }, "without a line end"),
        (LogQuery { run: Some("x".repeat(1025)), ..base() }, "run must be 1 to 1024"),
        (LogQuery { trace_id: Some("0000".into()), ..base() }, "trace_id \"0000\" must be"),
        (LogQuery { trace_id: Some("a b".into()), ..base() }, "32 hexadecimal digits"),
        (LogQuery { since: Some(at(1)), until: Some(at(1)), ..base() }, "must be before until"),
    ] {
        let error = refused(query);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_log_that_cannot_be_read_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("b-0.log");
    fs::create_dir(&folder).unwrap();
    fs::write(dir.path().join("a-0.log"), "here\n").unwrap();
    let sources =
        [LogSource::new("b", "b-0", folder), LogSource::new("a", "a-0", dir.path().join("a-0.log"))];
    let answer = search(&sources, &LogQuery::default()).unwrap();
    assert_eq!(answer.records[0].message, "here");
    assert_eq!(answer.problems.len(), 1);
    assert!(answer.problems[0].contains("b-0.log: "), "{:?}", answer.problems);
}

#[test]
fn lines_belong_to_the_run_that_their_replica_had_unless_they_name_one() {
    let dir = tempfile::tempdir().unwrap();
    let span = |run: &str, since, until| sos_runtime::RunSpan { run: run.into(), since: at(since), until };
    let runs = vec![span("one", 0, Some(at(9))), span("two", 10, None)];
    let source = LogSource { runs, ..LogSource::new("job", "job-0", dir.path().join("job-0.log")) };
    let lines = [
        format!("{} first", at(1)),
        format!("ts={} run=three msg=named", at(2)),
        format!("{} second", at(11)),
        "  more of it".to_owned(),
    ];
    fs::write(&source.path, lines.join("\n")).unwrap();
    set_modified(&source.path, at(12));
    let found = |run: &str| {
        let query = LogQuery { run: Some(run.into()), newest_first: false, ..LogQuery::default() };
        messages(std::slice::from_ref(&source), &query)
    };
    assert_eq!(found("one"), ["first"]);
    assert_eq!(found("two"), ["second", "  more of it"]);
    assert_eq!(found("three"), ["named"]);
    assert_eq!(found("four"), Vec::<String>::new());
}
