//! Lines of text: `key=value` pairs (logfmt) and everything else.

use std::borrow::Cow;

use serde_json::Value;

use super::keys::{Gather, trace_or_span, trace_parent};
use super::level::Level;
use super::record::Parsed;
use super::time::{TimeRules, leading};

/// How many words after the time are looked at for a level.
const LEVEL_WORDS: usize = 4;

/// The text without escape sequences that colour it (`ESC [ … letter`).
pub(super) fn without_colours(text: &str) -> Cow<'_, str> {
    if !text.contains("\u{1b}[") {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|letter: char| ('\u{40}'..='\u{7e}').contains(&letter));
        plain.push_str(end.and_then(|end| part.get(end + 1..)).unwrap_or_default());
    }
    Cow::Owned(plain)
}

/// Understands a line of `key=value` pairs; `None` when it is none or says neither time, level nor message.
pub(super) fn logfmt(text: &str, rules: &TimeRules<'_>) -> Option<Parsed> {
    let pairs = pairs(text)?;
    let mut gather = Gather::new(rules);
    for (key, value) in &pairs {
        gather.offer(0, key, value);
    }
    if !gather.is_log_line() {
        return None;
    }
    for (key, value) in pairs {
        gather.keep(0, key.to_owned(), value);
    }
    Some(gather.finish(text))
}

/// The pairs of a line that consists of at least two, and of single words after the first.
fn pairs(text: &str) -> Option<Vec<(&str, Value)>> {
    let is_key = |key: &str| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-@/".contains(&b))
    };
    let mut pairs = vec![];
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        if !is_key(key) || (pairs.is_empty() && !after.starts_with('=')) {
            return None;
        }
        let Some(after) = after.strip_prefix('=') else {
            pairs.push((key, Value::Bool(true)));
            rest = after.trim_start();
            continue;
        };
        let (value, after) = value(after)?;
        pairs.push((key, Value::String(value)));
        rest = after.trim_start();
    }
    (pairs.iter().filter(|(_, value)| value.is_string()).count() >= 2).then_some(pairs)
}

/// A value, in quotes or up to the next space, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let after = &quoted[at + 1..];
                return (after.is_empty() || after.starts_with(' ')).then_some((value, after));
            }
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

/// Understands any other line, as far as it goes: `[<PRI>[1 ]][TIME] … LEVEL … message`.
pub(super) fn plain(text: &str, rules: &TimeRules<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let (priority, rest) = syslog_priority(text);
    let (time, rest) = begin(rest, rules);
    let (word, message) = level_word(rest, time.is_some());
    parsed.time = time;
    parsed.level = word.or(priority);
    message.clone_into(&mut parsed.message);
    if let Some((trace, span)) = parent_in(text) {
        parsed.trace_id = Some(trace);
        parsed.span_id = Some(span);
    }
    if let Some(trace) = token(text, &["trace_id", "traceid", "trace-id", "trace.id", "trace"]) {
        parsed.trace_id = Some(trace);
    }
    if let Some(span) = token(text, &["span_id", "spanid", "span-id", "span.id"]) {
        parsed.span_id = Some(span);
    }
    parsed
}

/// `<34>` of syslog, with the version of RFC 5424 or without; also `<3>`, as systemd takes it.
fn syslog_priority(text: &str) -> (Option<Level>, &str) {
    let found = text.strip_prefix('<').and_then(|after| after.split_once('>'));
    let Some((number, rest)) = found.filter(|(number, _)| (1..=3).contains(&number.len())) else {
        return (None, text);
    };
    match number.parse::<u8>() {
        Ok(number) if number <= 191 => {
            (Level::of_number(i64::from(number & 7)), rest.strip_prefix("1 ").unwrap_or(rest))
        }
        _ => (None, text),
    }
}

/// The time at the beginning, in brackets or not, and what follows it. A line that is indented goes on with the one
/// before.
fn begin<'a>(text: &'a str, rules: &TimeRules<'_>) -> (Option<jiff::Timestamp>, &'a str) {
    let bracket = text.starts_with('[');
    let inner = text.strip_prefix('[').unwrap_or(text);
    let Some((time, length)) = leading(inner.as_bytes(), rules) else { return (None, text) };
    let Some(rest) = inner.get(length..) else { return (None, text) };
    // `[2026-01-02T03:04:05Z INFO  server] message` is env_logger's: the bracket ends later.
    let rest = if bracket { rest.strip_prefix(']').unwrap_or(rest) } else { rest };
    (Some(time), rest.trim_start_matches([' ', '\t', ':', '-', ',', '|']))
}

/// The level among the first words and the message; a first word that is the level is left out of it. Without a time
/// before it, a word counts only when it looks like a level: in capitals, in brackets or with a colon.
fn level_word(text: &str, timed: bool) -> (Option<Level>, &str) {
    let words = text.split_ascii_whitespace().filter(|word| !matches!(*word, "-" | "|"));
    for (index, word) in words.take(LEVEL_WORDS).enumerate() {
        let bare = word.trim_matches(['[', ']', '(', ')', '<', '>', ',', '|']);
        let name = bare.split(':').next().unwrap_or_default();
        let Some(level) = Level::of_word(name) else { continue };
        let marked = word.len() > name.len() || name.bytes().all(|byte| byte.is_ascii_uppercase());
        if !(marked || timed && index == 0) {
            continue;
        }
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let ends_there = word.trim_end_matches([']', ')', '>', ',', '|', ':']).ends_with(name);
        if index > 0 || !ends_there {
            return (Some(level), text);
        }
        let rest = &text[start + word.len()..];
        return (Some(level), rest.trim_start_matches([' ', '\t', '-', ':', '|']));
    }
    (None, text)
}

/// A W3C trace parent anywhere in the text.
fn parent_in(text: &str) -> Option<(String, String)> {
    let length = "00-".len() + 32 + 1 + 16 + 3;
    let starts = text.match_indices("00-").map(|(at, _)| at);
    starts.into_iter().filter_map(|at| trace_parent(text.get(at..at + length)?)).next()
}

/// An id after one of these words and `=` or `:`, in quotes or not: `trace_id=4bf9…`, `"traceId": "4bf9…"`.
fn token(text: &str, names: &[&str]) -> Option<String> {
    let bytes = text.as_bytes();
    let first = names.first()?.as_bytes()[0];
    let starts = memchr::memchr2_iter(first, first.to_ascii_uppercase(), bytes);
    for start in starts.filter(|start| *start == 0 || !bytes[*start - 1].is_ascii_alphabetic()) {
        let named = |name: &&&str| {
            bytes
                .get(start..start + name.len())
                .is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
        };
        let Some(name) = names.iter().find(named) else { continue };
        let rest = text[start + name.len()..].trim_start_matches(['"', '\'', '\\']);
        let Some(rest) = rest.trim_start().strip_prefix(['=', ':']) else { continue };
        let rest = rest.trim_start_matches([' ', '"', '\'', '\\']);
        let end =
            rest.find(|letter: char| !(letter.is_ascii_hexdigit() || letter == '-')).unwrap_or(rest.len());
        if let Some(id) = trace_or_span(&rest[..end], true) {
            return Some(id);
        }
    }
    None
}
