//! What stands in braces.

use super::cursor::{Cursor, Span};
use super::{LABEL_LIMIT, ParseError, RawLabel, RawSample, ScrapedBody};

/// How free the writing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Blanks anywhere, and commas between labels may be missing, as Prometheus takes it.
    Free,
    /// No blanks, and a comma between any two.
    Strict,
}

/// Name and labels of a sample; the cursor is at the name or the opening brace.
pub(super) fn series(
    cursor: &mut Cursor<'_>,
    body: &mut ScrapedBody,
    writing: Writing,
    what: &str,
) -> Result<RawSample, ParseError> {
    let begin = cursor.at;
    let mut name = cursor.metric_name();
    if name.is_none() && cursor.peek() != Some(b'{') {
        return Err(cursor.expected(what));
    }
    if writing == Writing::Free {
        cursor.blanks();
    }
    let first = body.labels.len();
    if cursor.take(b'{') {
        in_braces(cursor, &mut body.labels, Some(&mut name), writing)?;
    }
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(cursor.error_at(begin, "expected a metric name before the braces or quoted within them"));
    };
    let labels = body.labels.len() - first;
    #[expect(clippy::cast_possible_truncation, reason = "a body of less than 4 GiB has fewer labels")]
    let (first_label, labels) = (first as u32, labels as u32);
    Ok(RawSample { name, first_label, labels, value: 0.0, timestamp_ms: None })
}

/// Labels up to the closing brace; the opening one was taken. A quoted text without a value is the metric's name, where
/// one may stand.
pub(super) fn in_braces(
    cursor: &mut Cursor<'_>,
    labels: &mut Vec<RawLabel>,
    mut metric: Option<&mut Option<Span>>,
    writing: Writing,
) -> Result<(), ParseError> {
    let first = labels.len();
    let free = writing == Writing::Free;
    loop {
        blanks_if(cursor, free);
        if cursor.take(b'}') {
            return Ok(());
        }
        let begin = cursor.at;
        let quoted = cursor.peek() == Some(b'"');
        let name = if quoted { Some(cursor.quoted()?) } else { cursor.label_name() };
        let Some(name) = name else { return Err(cursor.expected("a label name or `}`")) };
        blanks_if(cursor, free);
        match metric.as_deref_mut() {
            Some(metric) if quoted && matches!(cursor.peek(), Some(b',' | b'}')) => {
                if metric.replace(name).is_some() {
                    return Err(cursor.error_at(begin, "a second metric name; expected a label"));
                }
            }
            _ => {
                let value = value(cursor, free)?;
                check_new(cursor, begin, name, quoted, &labels[first..])?;
                labels.push(RawLabel { name, value });
            }
        }
        blanks_if(cursor, free);
        if !cursor.take(b',') && !free && cursor.peek() != Some(b'}') {
            return Err(cursor.expected("`,` or `}`"));
        }
    }
}

fn blanks_if(cursor: &mut Cursor<'_>, free: bool) {
    if free {
        cursor.blanks();
    }
}

fn value(cursor: &mut Cursor<'_>, free: bool) -> Result<Span, ParseError> {
    if !cursor.take(b'=') {
        return Err(cursor.expected("`=`"));
    }
    blanks_if(cursor, free);
    if cursor.peek() != Some(b'"') {
        return Err(cursor.expected("a label value in `\"`"));
    }
    cursor.quoted()
}

fn check_new(
    cursor: &Cursor<'_>,
    at: usize,
    name: Span,
    quoted: bool,
    before: &[RawLabel],
) -> Result<(), ParseError> {
    let text = cursor.text;
    if before.len() == LABEL_LIMIT {
        return Err(cursor.error_at(at, format!("more than {LABEL_LIMIT} labels of one sample")));
    }
    if name.is_empty() || name.of(text) == "__name__" {
        return Err(cursor.error_at(at, format!("`{}` cannot be the name of a label", name.of(text))));
    }
    // What an escape stands for cannot be in a name without quotes, so those are compared as they are.
    let twice = if quoted {
        before.iter().any(|label| label.name.unescaped(text) == name.unescaped(text))
    } else {
        before.iter().any(|label| label.name.of(text) == name.of(text))
    };
    if twice {
        let name = name.unescaped(text);
        return Err(cursor.error_at(at, format!("a second label `{name}` of one sample")));
    }
    Ok(())
}
