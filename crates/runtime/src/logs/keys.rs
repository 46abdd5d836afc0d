//! What the keys of structured lines mean, whoever wrote them.

use jiff::Timestamp;
use serde_json::Value;

use super::level::Level;
use super::record::{LogStream, Parsed};
use super::time::{TimeRules, unix, unix_fraction, whole};

/// Most fields that are kept of one line.
const MAX_FIELDS: usize = 64;

/// What a key of a structured line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Time,
    Level,
    Message,
    Trace,
    Span,
    Run,
    Stream,
    Parent,
}

/// Keys without case and separators, most telling first within a slot.
const KEYS: [(Slot, &[&str]); 8] = [
    (
        Slot::Time,
        &["timestamp", "@timestamp", "time", "ts", "datetime", "asctime", "timeunixnano", "@t", "t"],
    ),
    (Slot::Level, &["level", "severity", "lvl", "loglevel", "levelname", "severitytext", "log", "@l"]),
    (Slot::Message, &["message", "msg", "event", "body", "log", "@m", "@mt"]),
    (Slot::Trace, &["traceid", "oteltraceid", "ddtraceid", "@tr", "trace"]),
    (Slot::Span, &["spanid", "otelspanid", "ddspanid", "@sp", "span"]),
    (Slot::Run, &["run", "runid", "workflowrun", "sosrun"]),
    (Slot::Stream, &["stream"]),
    (Slot::Parent, &["traceparent"]),
];

/// Longest of those keys.
const LONGEST_KEY: usize = 16;

/// The slots that a key may fill, with the key's rank in each.
fn slots(key: &str) -> impl Iterator<Item = (Slot, u8)> {
    let mut normal = [0; LONGEST_KEY];
    let mut length = 0;
    for byte in key.bytes().filter(|byte| !matches!(byte, b'_' | b'-' | b'.')) {
        // One that is too long is none of them; its beginning must not be taken for one either.
        let Some(place) = normal.get_mut(length) else {
            length = 0;
            break;
        };
        *place = byte.to_ascii_lowercase();
        length += 1;
    }
    KEYS.iter().filter_map(move |(slot, names)| {
        let rank = names.iter().position(|name| name.as_bytes() == &normal[..length])?;
        Some((*slot, u8::try_from(rank).ok()?))
    })
}

/// Collects what a structured line says from its keys, the most telling key first.
#[derive(Debug)]
pub(super) struct Gather<'a> {
    rules: &'a TimeRules<'a>,
    parsed: Parsed,
    has_message: bool,
    /// For each slot: depth of the object and rank of the key that filled it.
    filled: [Option<(u8, u8)>; KEYS.len()],
}

impl<'a> Gather<'a> {
    pub(super) fn new(rules: &'a TimeRules<'a>) -> Self {
        Self { rules, parsed: Parsed::default(), has_message: false, filled: [None; KEYS.len()] }
    }

    /// Looks at a key; one of a smaller depth goes before.
    pub(super) fn offer(&mut self, depth: u8, key: &str, value: &Value) {
        for (slot, rank) in slots(key) {
            let better = self.filled[slot as usize].is_none_or(|place| (depth, rank) < place);
            if better && self.fill(slot, key, value) {
                self.filled[slot as usize] = Some((depth, rank));
            }
        }
    }

    /// Keeps a key that fills no slot as a field.
    pub(super) fn keep(&mut self, depth: u8, key: String, value: Value) {
        if slots(&key).any(|(slot, rank)| self.filled[slot as usize] == Some((depth, rank))) {
            return;
        }
        if self.parsed.fields.len() < MAX_FIELDS {
            self.parsed.fields.entry(key).or_insert(value);
        } else {
            self.parsed.cut = true;
        }
    }

    /// Whether time, level or message was found: what makes key-value pairs a log line.
    pub(super) fn is_log_line(&self) -> bool {
        self.has_message || self.parsed.time.is_some() || self.parsed.level.is_some()
    }

    pub(super) fn finish(mut self, line: &str) -> Parsed {
        if !self.has_message {
            line.clone_into(&mut self.parsed.message);
        }
        self.parsed
    }

    fn fill(&mut self, slot: Slot, key: &str, value: &Value) -> bool {
        let parsed = &mut self.parsed;
        match slot {
            Slot::Time => put(&mut parsed.time, time(value, self.rules)),
            Slot::Level => put(&mut parsed.level, level(value)),
            Slot::Message => {
                let Some(message) = value.as_str() else { return false };
                message.trim_end().clone_into(&mut parsed.message);
                self.has_message = true;
                true
            }
            // `trace` alone may as well be a stack trace, `span` a name.
            Slot::Trace => put(&mut parsed.trace_id, id(value, key.eq_ignore_ascii_case("trace"))),
            Slot::Span => put(&mut parsed.span_id, id(value, key.eq_ignore_ascii_case("span"))),
            Slot::Run => put(&mut parsed.run, word(value)),
            Slot::Stream => put(&mut parsed.stream, stream(value)),
            Slot::Parent => {
                let Some((trace, span)) = value.as_str().and_then(trace_parent) else { return false };
                parsed.trace_id.get_or_insert(trace);
                parsed.span_id.get_or_insert(span);
                true
            }
        }
    }
}

fn put<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let found = value.is_some();
    if found {
        *place = value;
    }
    found
}

fn time(value: &Value, rules: &TimeRules<'_>) -> Option<Timestamp> {
    match value {
        Value::String(text) => whole(text, rules),
        Value::Number(number) => number.as_i64().and_then(unix).or_else(|| unix_fraction(number.as_f64()?)),
        _ => None,
    }
}

fn level(value: &Value) -> Option<Level> {
    match value {
        Value::String(word) => {
            Level::of_word(word.trim()).or_else(|| Level::of_number(word.trim().parse().ok()?))
        }
        Value::Number(number) => number.as_i64().and_then(Level::of_number),
        // Elastic's `log.level`, nested.
        Value::Object(inner) => inner.get("level").and_then(Value::as_str).and_then(Level::of_word),
        _ => None,
    }
}

fn id(value: &Value, only_hex: bool) -> Option<String> {
    match value {
        Value::String(text) => trace_or_span(text, only_hex),
        Value::Number(number) => trace_or_span(&number.as_u64()?.to_string(), only_hex),
        // Elastic's `trace.id`, nested.
        Value::Object(inner) => trace_or_span(inner.get("id")?.as_str()?, only_hex),
        _ => None,
    }
}

/// An id of a trace or span in lower case. One of zeros says that there is none.
pub(super) fn trace_or_span(text: &str, only_hex: bool) -> Option<String> {
    let fits = |byte: u8| {
        if only_hex { byte.is_ascii_hexdigit() || byte == b'-' } else { byte.is_ascii_graphic() }
    };
    let length = if only_hex { 8..=64 } else { 1..=128 };
    let is_id =
        length.contains(&text.len()) && text.bytes().all(fits) && text.bytes().any(|byte| byte != b'0');
    is_id.then(|| text.to_ascii_lowercase())
}

/// Trace and span of a W3C `traceparent`: `00-TRACE-SPAN-FLAGS`.
pub(super) fn trace_parent(text: &str) -> Option<(String, String)> {
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !(hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2)) || version == "ff" {
        return None;
    }
    Some((trace_or_span(trace, true)?, trace_or_span(span, true)?))
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if (1..=256).contains(&text.len()) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn stream(value: &Value) -> Option<LogStream> {
    match value.as_str()? {
        "stdout" => Some(LogStream::Stdout),
        "stderr" => Some(LogStream::Stderr),
        _ => None,
    }
}
