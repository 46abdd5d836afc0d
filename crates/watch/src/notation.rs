//! Series as the tests of Prometheus and promtool write them: `up{job="node"} 1+1x10 _ stale`.

use crate::labels::{Labels, METRIC_NAME};
use crate::series::{STALE, Sample};

/// More values than a year of seconds are refused.
const MAX_VALUES: usize = 31_536_000;

/// Name and labels, `up{job="node"}`, and the text behind them.
///
/// # Errors
/// When they are not well formed; the text says what was expected.
pub fn split_labels(text: &str) -> Result<(Labels, &str), String> {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("expected a metric name or \"{{\", got {name:?}"));
    }
    let mut pairs = Vec::new();
    if let Some(inside) = rest.trim_start().strip_prefix('{') {
        rest = pairs_of(inside, &mut pairs)?;
    } else if name.is_empty() {
        return Err(format!("expected a metric name or \"{{\", got {:?}", first_word(text)));
    }
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    Ok((Labels::new(pairs), rest))
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// The pairs up to the closing brace; what is behind it is returned.
fn pairs_of<'t>(mut text: &'t str, pairs: &mut Vec<(String, String)>) -> Result<&'t str, String> {
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix('}') {
            return Ok(rest);
        }
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (label, rest) = text.split_at(end);
        if label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("expected a label or \"}}\", got {:?}", first_word(text)));
        }
        let rest =
            rest.trim_start().strip_prefix('=').ok_or_else(|| format!("expected \"=\" behind {label:?}"))?;
        let (value, rest) = quoted(rest.trim_start())?;
        pairs.push((label.to_owned(), value));
        text = rest.trim_start();
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None if text.starts_with('}') => {}
            None => return Err(format!("expected \",\" or \"}}\" behind the value of {label:?}")),
        }
    }
}

fn quoted(text: &str) -> Result<(String, &str), String> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
        return Err(format!("expected a string in quotes, got {:?}", first_word(text)));
    };
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            _ if c == quote => {
                let value = crate::promql::unquote(&text[..=at])?;
                return Ok((value, &text[at + 1..]));
            }
            _ => {}
        }
    }
    Err("unterminated quoted string".to_owned())
}

/// A series description: labels, then values; `None` where there is no sample.
///
/// # Errors
/// When it is not well formed; the text says what was expected.
pub fn parse(text: &str) -> Result<(Labels, Vec<Option<f64>>), String> {
    let (labels, rest) = split_labels(text)?;
    Ok((labels, values(rest)?))
}

/// Values separated by blanks: `5`, `_` (none), `stale`, `1+2x3` (1 3 5 7), `1-2x3`, `5x3` (5 four times), `_x3`
/// (none, three times).
///
/// # Errors
/// When one is not well formed, or there are more than a year of seconds.
pub fn values(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut values = Vec::new();
    for item in text.split_whitespace() {
        expand(item, &mut values)?;
    }
    Ok(values)
}

fn expand(item: &str, values: &mut Vec<Option<f64>>) -> Result<(), String> {
    let (body, times) = match item.rsplit_once('x') {
        Some((body, times)) => {
            let times = times.parse::<usize>();
            (body, Some(times.map_err(|_| format!("invalid repetition in series values: {item:?}"))?))
        }
        None => (item, None),
    };
    let room = MAX_VALUES.saturating_sub(values.len());
    if times.is_some_and(|times| times >= room) || room == 0 {
        return Err(format!("too many series values at {item:?}, {MAX_VALUES} are allowed"));
    }
    if body == "_" {
        values.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
        return Ok(());
    }
    let wrong =
        || format!("unexpected {item:?} in series values, expected one like 5, _, stale, 1+2x3 or 5x3");
    let (start, step) = start_and_step(body).ok_or_else(wrong)?;
    if step.is_some() && times.is_none() {
        return Err(wrong());
    }
    let mut value = start;
    for _ in 0..=times.unwrap_or(0) {
        values.push(Some(value));
        if let Some(step) = step {
            value += step;
        }
    }
    Ok(())
}

/// `1`, `1+2`, `-1-2`, `stale`.
fn start_and_step(body: &str) -> Option<(f64, Option<f64>)> {
    if let Some(value) = number(body) {
        return Some((value, None));
    }
    // The sign between both numbers: not the first character, not the sign of an exponent.
    let signs = body
        .char_indices()
        .skip(1)
        .filter(|(at, c)| matches!(c, '+' | '-') && !body[..*at].ends_with(['e', 'E']));
    signs.into_iter().find_map(|(at, _)| Some((number(&body[..at])?, Some(number(&body[at..])?))))
}

fn number(text: &str) -> Option<f64> {
    if text == "stale" {
        return Some(STALE);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let known = ["inf", "nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    if !known && !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok()
}

/// Values as samples, the first one at `start_ms`, then one every `step_ms`.
pub fn samples(values: &[Option<f64>], start_ms: i64, step_ms: i64) -> impl Iterator<Item = Sample> {
    let timed = values.iter().enumerate().map(move |(index, v)| (start_ms + step_ms * index as i64, *v));
    timed.filter_map(|(t, v)| v.map(|v| Sample { t, v }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::is_stale;

    fn plain(text: &str) -> Vec<f64> {
        values(text).unwrap().into_iter().map(|v| v.unwrap_or(-99.0)).collect()
    }

    #[test]
    fn values_are_expanded() {
        assert_eq!(plain("1 2.5 -3"), [1.0, 2.5, -3.0]);
        assert_eq!(plain("1+2x3 10-5x2"), [1.0, 3.0, 5.0, 7.0, 10.0, 5.0, 0.0]);
        assert_eq!(plain("5x2 _x2 _ -1-1x1"), [5.0, 5.0, 5.0, -99.0, -99.0, -99.0, -1.0, -2.0]);
        assert_eq!(plain("1e-3+1e-3x1 -Inf"), [0.001, 0.002, f64::NEG_INFINITY]);
        let last = values("stale NaN").unwrap();
        assert!(is_stale(last[0].unwrap()) && last[1].unwrap().is_nan() && !is_stale(last[1].unwrap()));
    }

    #[test]
    fn labels_stand_before_values() {
        let (labels, values) = parse(r#"up{job="a b", path='}'} 1 _"#).unwrap();
        assert_eq!(labels, Labels::new([("__name__", "up"), ("job", "a b"), ("path", "}")]));
        assert_eq!(values, [Some(1.0), None]);
        assert_eq!(parse(r#"{a="b"} 1"#).unwrap().0, Labels::new([("a", "b")]));
        assert_eq!(parse("up").unwrap(), (Labels::new([("__name__", "up")]), vec![]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in [
            "5 1",
            "up{a} 1",
            "up{a=b} 1",
            "up{a=\"b} 1",
            "up{a=\"b\" c=\"d\"} 1",
            "up 1+2",
            "up 1x",
            "up x",
            "up 1x99999999999",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
