//! One line of a log, understood.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json;
use super::level::Level;
use super::source::LogSource;
use super::text;
use super::time::TimeRules;

/// Of a longer line only the first bytes are looked at and shown.
pub const MAX_LOG_LINE: usize = 64 << 10;

/// Where a process wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When it was written: by the line itself; else that of the last line before it in its file that has a time, else
    /// estimated by its place in the file between the file's begin and end. A search always knows one.
    pub time: Option<Timestamp>,
    /// Whether the line itself carries its time.
    pub time_exact: bool,
    /// The service; `sos` for the log of `sos` itself.
    pub service: String,
    /// The replica, `SERVICE-ORDINAL`; `sos` for `sos` itself.
    pub replica: String,
    /// Where it was written, when the line says so: both streams of a process end in one file.
    pub stream: Option<LogStream>,
    /// How serious it is, when the line says so.
    pub level: Option<Level>,
    /// What it says: the line without time and level, or the line as it is where it has no message.
    pub message: String,
    /// The trace it belongs to, in lower case: usually 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The span within the trace, in lower case: usually 16 hexadecimal digits.
    pub span_id: Option<String>,
    /// The run of a batch job: as the line says, else the run that its replica had at that time.
    pub run: Option<String>,
    /// What else a structured line says, at most 64 fields.
    pub fields: BTreeMap<String, Value>,
    /// Whether the line is longer than [`MAX_LOG_LINE`] bytes, or has more fields, and was cut.
    pub cut: bool,
}

impl LogRecord {
    /// Understands one line of a source, written at `latest` or before. Never fails: what is not understood is the
    /// message. Invalid UTF-8 is replaced, colours of terminals are left out.
    #[must_use]
    pub fn parse(source: &LogSource, line: &[u8], latest: Timestamp) -> Self {
        let rules = TimeRules { zone: &source.zone, latest };
        let parsed = Parsed::of(line, &rules);
        Self::build(source, parsed, None)
    }

    /// The record of a line; `time` is that of a line that has none itself.
    pub(super) fn build(source: &LogSource, parsed: Parsed, time: Option<Timestamp>) -> Self {
        let time_exact = parsed.time.is_some();
        let time = parsed.time.or(time);
        let run = parsed.run.or_else(|| source.run_at(time?).map(str::to_owned));
        Self {
            time,
            time_exact,
            service: source.service.clone(),
            replica: source.replica.clone(),
            stream: parsed.stream,
            level: parsed.level,
            message: parsed.message,
            trace_id: parsed.trace_id,
            span_id: parsed.span_id,
            run,
            fields: parsed.fields,
            cut: parsed.cut,
        }
    }
}

/// What a line itself says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parsed {
    pub(super) time: Option<Timestamp>,
    pub(super) level: Option<Level>,
    pub(super) message: String,
    pub(super) trace_id: Option<String>,
    pub(super) span_id: Option<String>,
    pub(super) run: Option<String>,
    pub(super) stream: Option<LogStream>,
    pub(super) fields: BTreeMap<String, Value>,
    pub(super) cut: bool,
}

impl Parsed {
    /// Understands a line without its line end.
    pub(super) fn of(line: &[u8], rules: &TimeRules<'_>) -> Self {
        let (line, cut) = cut_line(line);
        let lossy = String::from_utf8_lossy(line);
        let text = text::without_colours(lossy.trim_end());
        let parsed = json::parse(&text, rules).or_else(|| text::logfmt(&text, rules));
        let mut parsed = parsed.unwrap_or_else(|| text::plain(&text, rules));
        parsed.cut |= cut;
        parsed
    }
}

/// The line as far as it is looked at, and whether that is not all of it.
pub(super) fn cut_line(line: &[u8]) -> (&[u8], bool) {
    line.get(..MAX_LOG_LINE).filter(|_| line.len() > MAX_LOG_LINE).map_or((line, false), |line| (line, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const TIME: &str = "2026-01-02T03:04:05.678Z";

    fn parse(line: &str) -> LogRecord {
        let source = LogSource::new("a", "a-0", "/a");
        LogRecord::parse(&source, line.as_bytes(), "2026-03-01T00:00:00Z".parse().unwrap())
    }

    /// Time, level, message, trace and span in short.
    fn short(line: &str) -> (Option<String>, Option<Level>, String, Option<String>, Option<String>) {
        let record = parse(line);
        assert_eq!(record.time_exact, record.time.is_some(), "{line}");
        (
            record.time.map(|time| time.to_string()),
            record.level,
            record.message,
            record.trace_id,
            record.span_id,
        )
    }

    /// A line, whether it has the time, its level and message, whether it has trace and span.
    type Case = (&'static str, bool, Option<Level>, &'static str, bool, bool);

    fn check(cases: &[Case]) {
        for (line, time, level, message, trace, span) in cases {
            let line = line.replace("TRACE", TRACE).replace("SPAN", "00f067aa0ba902b7");
            let expected = (
                time.then(|| TIME.to_owned()),
                *level,
                message.replace("TRACE", TRACE).replace("SPAN", "00f067aa0ba902b7"),
                trace.then(|| TRACE.to_owned()),
                span.then(|| "00f067aa0ba902b7".to_owned()),
            );
            assert_eq!(short(&line), expected, "{line}");
        }
    }

    #[test]
    fn json_of_many_writers_is_understood() {
        use Level::{Debug, Error, Fatal, Info, Warn};
        check(&[
            // tracing-subscriber: the message in `fields`, the trace in a span around the line.
            (
                r#"{"timestamp":"2026-01-02T03:04:05.678Z","level":"INFO","fields":{"message":"hi","n":1},"target":"x","span":{"name":"s"},"spans":[{"trace_id":"TRACE","name":"r"},{"name":"s"}]}"#,
                true,
                Some(Info),
                "hi",
                true,
                false,
            ),
            // pino: numbers.
            (r#"{"level":40,"time":1767323045678,"msg":"hi","pid":1}"#, true, Some(Warn), "hi", false, false),
            // zap: seconds with a fraction.
            (
                r#"{"level":"error","ts":1767323045.678,"msg":"hi","traceID":"TRACE"}"#,
                true,
                Some(Error),
                "hi",
                true,
                false,
            ),
            // Elastic Common Schema, flat and nested.
            (
                r#"{"@timestamp":"2026-01-02T03:04:05.678Z","log.level":"WARN","message":"hi","trace.id":"TRACE","span.id":"SPAN"}"#,
                true,
                Some(Warn),
                "hi",
                true,
                true,
            ),
            (
                r#"{"@timestamp":"2026-01-02T03:04:05.678Z","log":{"level":"debug"},"message":"hi","trace":{"id":"TRACE"},"span":{"id":"SPAN"}}"#,
                true,
                Some(Debug),
                "hi",
                true,
                true,
            ),
            // OpenTelemetry's instrumentation of Python logging, and its own form.
            (
                r#"{"asctime":"2026-01-02 03:04:05,678","levelname":"CRITICAL","message":"hi","otelTraceID":"TRACE","otelSpanID":"SPAN"}"#,
                true,
                Some(Fatal),
                "hi",
                true,
                true,
            ),
            (
                r#"{"timeUnixNano":"1767323045678000000","severityText":"Info","body":"hi","traceId":"TRACE","spanId":"SPAN","attributes":{"run":"r1"}}"#,
                true,
                Some(Info),
                "hi",
                true,
                true,
            ),
            // Datadog, structlog, Serilog, Docker.
            (
                r#"{"dd.trace_id":"TRACE","level":"err","event":"hi","timestamp":"2026-01-02T03:04:05.678Z"}"#,
                true,
                Some(Error),
                "hi",
                true,
                false,
            ),
            (
                r#"{"@t":"2026-01-02T03:04:05.678Z","@m":"hi","@l":"Warning","@tr":"TRACE","@sp":"SPAN"}"#,
                true,
                Some(Warn),
                "hi",
                true,
                true,
            ),
            (
                r#"{"log":"hi\n","stream":"stderr","time":"2026-01-02T03:04:05.678Z"}"#,
                true,
                None,
                "hi",
                false,
                false,
            ),
            // A trace parent; upper case; the top goes before what is inside.
            (r#"{"message":"hi","traceparent":"00-TRACE-SPAN-01"}"#, false, None, "hi", true, true),
            (
                r#"{"Message":"hi","TraceId":"4BF92F3577B34DA6A3CE929D0E0E4736","fields":{"trace_id":"12345678"}}"#,
                false,
                None,
                "hi",
                true,
                false,
            ),
            // A stack trace is no trace, zeros are none, a duration is no time.
            (
                r#"{"msg":"hi","trace":"at main.js:1","trace_id":"00000000000000000000000000000000","time":12.5}"#,
                false,
                None,
                "hi",
                false,
                false,
            ),
            // No message, no object, no JSON.
            (r#"{"level":"info"}"#, false, Some(Info), r#"{"level":"info"}"#, false, false),
            (r#"[1]"#, false, None, "[1]", false, false),
            (
                r#"{"level":"info" and "trace_id":"TRACE"}"#,
                false,
                None,
                r#"{"level":"info" and "trace_id":"TRACE"}"#,
                true,
                false,
            ),
        ]);
    }

    #[test]
    fn logfmt_and_plain_text_are_understood() {
        use Level::{Debug, Error, Fatal, Info, Trace, Warn};
        check(&[
            (
                r#"ts=2026-01-02T03:04:05.678Z level=info msg="a \"b\" c" traceID=TRACE ok"#,
                true,
                Some(Info),
                "a \"b\" c",
                true,
                false,
            ),
            (
                r#"time="2026-01-02T03:04:05.678Z" level=warning msg=hi n=1"#,
                true,
                Some(Warn),
                "hi",
                false,
                false,
            ),
            ("a=1 b=2", false, None, "a=1 b=2", false, false),
            (
                "2026-01-02T03:04:05.678Z  INFO sos::x: hi trace_id=TRACE span_id=SPAN",
                true,
                Some(Info),
                "sos::x: hi trace_id=TRACE span_id=SPAN",
                true,
                true,
            ),
            (
                "\u{1b}[2m2026-01-02T03:04:05.678Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m hi",
                true,
                Some(Error),
                "hi",
                false,
                false,
            ),
            (
                "2026-01-02 03:04:05,678 - root - WARNING - hi",
                true,
                Some(Warn),
                "root - WARNING - hi",
                false,
                false,
            ),
            (
                "2026-01-02 03:04:05.678 [main] DEBUG com.x - hi",
                true,
                Some(Debug),
                "[main] DEBUG com.x - hi",
                false,
                false,
            ),
            ("[2026-01-02T03:04:05.678Z INFO  server] hi", true, Some(Info), "server] hi", false, false),
            ("[2026-01-02 03:04:05.678] [error] hi", true, Some(Error), "hi", false, false),
            ("2026/01/02 03:04:05.678 hi", true, None, "hi", false, false),
            ("2026/01/02 03:04:05.678 [crit] 7#7: hi", true, Some(Fatal), "7#7: hi", false, false),
            (
                "<34>1 2026-01-02T03:04:05.678Z host app - - - hi",
                true,
                Some(Fatal),
                "host app - - - hi",
                false,
                false,
            ),
            ("<11>Jan  2 03:04:05.678 host app[1]: hi", true, Some(Error), "host app[1]: hi", false, false),
            ("<7>hi", false, Some(Debug), "hi", false, false),
            ("ERROR:root:hi", false, Some(Error), "ERROR:root:hi", false, false),
            ("warning: hi", false, Some(Warn), "hi", false, false),
            ("TRACE_ hi", false, None, "TRACE_ hi", false, false),
            ("error is not a level here", false, None, "error is not a level here", false, false),
            (
                "got traceparent: 00-TRACE-SPAN-01 from x",
                false,
                None,
                "got traceparent: 00-TRACE-SPAN-01 from x",
                true,
                true,
            ),
            ("handled [trace=TRACE]", false, None, "handled [trace=TRACE]", true, false),
            ("backtrace=TRACE trace=disabled", false, None, "backtrace=TRACE trace=disabled", false, false),
            ("[TRACE_LEVEL] x", false, None, "[TRACE_LEVEL] x", false, false),
            ("(trace) x", false, Some(Trace), "x", false, false),
            ("    at main (x.js:1)", false, None, "    at main (x.js:1)", false, false),
            ("2026-01-02T03:04:05.678Z", true, None, "", false, false),
        ]);
    }

    #[test]
    fn run_stream_and_other_fields_are_kept() {
        let line = r#"{"msg":"hi","workflow_run":"r-7","stream":"stdout","n":1,"fields":{"deep":{"a":[1]}}}"#;
        let record = parse(line);
        assert_eq!(record.run.as_deref(), Some("r-7"));
        assert_eq!(record.stream, Some(LogStream::Stdout));
        let fields = serde_json::to_string(&record.fields).unwrap();
        assert_eq!(fields, r#"{"deep":{"a":[1]},"n":1}"#);
        assert_eq!(parse("level=info msg=hi run_id=7 n=1").run.as_deref(), Some("7"));
    }

    #[test]
    fn lines_that_nobody_should_write_are_shown_as_far_as_they_go() {
        let source = LogSource::new("a", "a-0", "/a");
        let parse = |line: &[u8]| LogRecord::parse(&source, line, Timestamp::UNIX_EPOCH);
        assert_eq!(parse(b"caf\xe9 \xff").message, "caf\u{fffd} \u{fffd}");
        let long = parse(&vec![b'x'; 10 << 20]);
        assert_eq!((long.message.len(), long.cut), (MAX_LOG_LINE, true));
        assert!(!parse(&vec![b'x'; MAX_LOG_LINE]).cut);
        let deep = parse(&[br#"{"a":"#.repeat(5000), b"1".to_vec(), b"}".repeat(5000)].concat());
        assert_eq!(deep.message.len(), 30_001);
        let many: Vec<_> = (0..100).map(|n| format!("\"f{n}\":{n}")).collect();
        let many = parse(format!("{{{}}}", many.join(",")).as_bytes());
        assert_eq!((many.fields.len(), many.cut), (64, true));
        assert_eq!(parse(b"").message, "");
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_fail(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let source = LogSource::new("a", "a-0", "/a");
            let record = LogRecord::parse(&source, &line, Timestamp::UNIX_EPOCH);
            proptest::prop_assert!(record.message.len() <= 3 * line.len());
        }

        #[test]
        fn no_text_of_telling_parts_makes_it_fail(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "<3", ">", "1 ", "[", "]", "2026-01-02", "T", "03:04:05", ".", ",5", "Z", "+0", "1:30", " ", "INFO",
                ":", "error", "\"", "\\", "=", "trace", "_id", "00-", "ab12cd34", "-", "\u{1b}[", "m", "ü", "{", "}",
                "level", "msg", "Jan ", "\t", "\u{0}",
            ]), 0..30)
        ) {
            let source = LogSource::new("a", "a-0", "/a");
            let text = parts.concat();
            let record = LogRecord::parse(&source, text.as_bytes(), Timestamp::UNIX_EPOCH);
            proptest::prop_assert!(record.message.len() <= text.len());
        }
    }
}
