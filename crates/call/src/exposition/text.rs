//! Prometheus' text format 0.0.4.

use super::cursor::{Cursor, Span};
use super::labels::{Writing, series};
use super::number::float;
use super::{MetricType, ParseError, RawTold, ScrapedBody};

pub(super) fn parse(text: &str, body: &mut ScrapedBody, limit: usize) -> Result<(), ParseError> {
    let mut cursor = Cursor::new(text);
    loop {
        cursor.blanks();
        match cursor.peek() {
            None => return Ok(()),
            Some(b'\n') => cursor.at += 1,
            Some(b'#') => comment(&mut cursor, body)?,
            Some(_) => sample(&mut cursor, body, limit)?,
        }
    }
}

/// Also what is known about a metric; any other comment is skipped.
fn comment(cursor: &mut Cursor<'_>, body: &mut ScrapedBody) -> Result<(), ParseError> {
    cursor.at += 1;
    if cursor.blanks() {
        for word in ["TYPE", "HELP"] {
            let begin = cursor.at;
            if cursor.take_text(word) && cursor.blanks() {
                let name = family(cursor)?;
                let told = if word == "TYPE" { kind(cursor)? } else { RawTold::Help(help(cursor)) };
                body.tell(name, told);
                return end_of_line(cursor, "the end of the line");
            }
            cursor.at = begin;
        }
    }
    cursor.rest_of_line();
    Ok(())
}

/// The name in a line about a metric.
pub(super) fn family(cursor: &mut Cursor<'_>) -> Result<Span, ParseError> {
    let name = if cursor.peek() == Some(b'"') { Some(cursor.quoted()?) } else { cursor.metric_name() };
    match name {
        Some(name) if matches!(cursor.peek(), None | Some(b' ' | b'\t' | b'\n')) => Ok(name),
        _ => Err(cursor.expected("a metric name")),
    }
}

fn kind(cursor: &mut Cursor<'_>) -> Result<RawTold, ParseError> {
    cursor.blanks();
    let begin = cursor.at;
    let word = cursor.rest_of_line().of(cursor.text).trim_end_matches([' ', '\t']);
    let known = MetricType::TEXT.iter().find(|(known, _)| *known == word);
    let (_, kind) = known.ok_or_else(|| unknown_type(cursor, begin, MetricType::TEXT))?;
    Ok(RawTold::Type(*kind))
}

/// Says which types there are; the cursor's line holds something else from `begin`.
pub(super) fn unknown_type(
    cursor: &mut Cursor<'_>,
    begin: usize,
    known: &[(&str, MetricType)],
) -> ParseError {
    cursor.at = begin;
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    cursor.expected(&format!("a type ({})", words.join(", ")))
}

fn help(cursor: &mut Cursor<'_>) -> Span {
    // One blank ends the name; what follows is text.
    cursor.at += usize::from(matches!(cursor.peek(), Some(b' ' | b'\t')));
    cursor.rest_of_line()
}

fn sample(cursor: &mut Cursor<'_>, body: &mut ScrapedBody, limit: usize) -> Result<(), ParseError> {
    if body.samples.len() == limit {
        return Err(cursor.error_at(cursor.at, format!("more than {limit} samples")));
    }
    let mut sample = series(cursor, body, Writing::Free, "a metric name, `{` or `#`")?;
    cursor.blanks();
    sample.value = word(cursor, "a value", float)?;
    if cursor.blanks() && !matches!(cursor.peek(), None | Some(b'\n')) {
        sample.timestamp_ms = Some(word(cursor, "a timestamp in whole ms or the end of the line", whole_ms)?);
        cursor.blanks();
    }
    body.samples.push(sample);
    end_of_line(cursor, "the end of the line after the sample")
}

fn whole_ms(text: &str) -> Option<i64> {
    // Go takes no `+` here, because its scanner does not.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// The next word as what `read` makes of it.
fn word<T>(cursor: &mut Cursor<'_>, what: &str, read: fn(&str) -> Option<T>) -> Result<T, ParseError> {
    let begin = cursor.at;
    let word = cursor.until(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'{'));
    read(word).ok_or_else(|| {
        cursor.at = begin;
        cursor.expected(what)
    })
}

/// The last line may end without its newline.
fn end_of_line(cursor: &mut Cursor<'_>, what: &str) -> Result<(), ParseError> {
    if cursor.take(b'\n') || cursor.is_at_end() { Ok(()) } else { Err(cursor.expected(what)) }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, ScrapedBody, Told};
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>, String> {
        let body =
            ScrapedBody::parse(text.as_bytes().to_vec(), Format::Text, 1000).map_err(|e| e.to_string())?;
        let shown = body.samples().map(|sample| {
            let labels: Vec<String> =
                sample.labels.map(|(name, value)| format!("{name}={value:?}")).collect();
            let at = sample.timestamp_ms.map_or(String::new(), |ms| format!(" @{ms}"));
            format!("{}{{{}}} {}{at}", sample.name, labels.join(","), sample.value)
        });
        Ok(shown.collect())
    }

    #[test]
    fn blanks_comments_and_a_missing_last_newline_are_free() {
        let text = "\n  \t\n# a comment\n#TYPE x nothing\n#\n a { b = \"1\" , c=\"2\", } 3 1000 \n\tb 4 \nc{} +Inf\nd{a=\"1\"b=\"2\"}NaN -5";
        let expected = ["a{b=\"1\",c=\"2\"} 3 @1000", "b{} 4", "c{} inf", "d{a=\"1\",b=\"2\"} NaN @-5"];
        assert_eq!(parsed(text).unwrap(), expected);
    }

    #[test]
    fn escapes_and_utf8_names_are_read() {
        let text = "a{x=\"\\\\ \\\" \\n \\t ä\",y=\"\"} 1\n{\"my.metric\",\"l a\\\"b\"=\"v\"} 2\n{b=\"c\",\"name\"} 3\n{\"plain\"} 4\n";
        let expected =
            ["a{x=\"\\\\ \\\" \\n \\\\t ä\"} 1", "my.metric{l a\"b=\"v\"} 2", "name{b=\"c\"} 3", "plain{} 4"];
        assert_eq!(parsed(text).unwrap(), expected);
    }

    #[test]
    fn duplicates_pass() {
        assert_eq!(parsed("a 1\na 2\na 1\n").unwrap(), ["a{} 1", "a{} 2", "a{} 1"]);
    }

    #[test]
    fn metadata_is_kept_in_order() {
        let text = "# HELP a some \\\\ text\\n \\\"x\n# \tTYPE a\tcounter\n# TYPE \"u.x\" untyped\n# HELP a\n# UNIT a s\na 1";
        let body = ScrapedBody::parse(text.as_bytes().to_vec(), Format::Text, 10).unwrap();
        let told: Vec<String> = body.metadata().map(|m| format!("{} {:?}", m.name, m.told)).collect();
        let expected = [
            "a Help(\"some \\\\ text\\n \\\\\\\"x\")",
            "a Type(Counter)",
            "u.x Type(Unknown)",
            "a Help(\"\")",
        ];
        assert_eq!(told, expected);
        assert!(matches!(body.metadata().nth(1).unwrap().told, Told::Type(MetricType::Counter)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            (
                "<!DOCTYPE html>\n<html>",
                "line 1, column 1: expected a metric name, `{` or `#`, found `<!DOCTYPE`",
            ),
            ("a", "line 1, column 2: expected a value, found the end"),
            ("a\n", "line 1, column 2: expected a value, found the end of the line"),
            ("a 1\nb x\n", "line 2, column 3: expected a value, found `x`"),
            (
                "a 1 1.5\n",
                "line 1, column 5: expected a timestamp in whole ms or the end of the line, found `1.5`",
            ),
            ("a 1 2 3\n", "line 1, column 7: expected the end of the line after the sample, found `3`"),
            ("a 1\r\n", "line 1, column 3: expected a value, found `1\\r`"),
            ("a{b=\"1} 1\n", "line 1, column 5: expected the closing `\"` of this text on its line"),
            ("a{b=\"1", "line 1, column 5: expected the closing `\"` of this text"),
            ("a{b} 1", "line 1, column 4: expected `=`, found `}`"),
            ("a{b=1} 1", "line 1, column 5: expected a label value in `\"`, found `1}`"),
            ("a{,} 1", "line 1, column 3: expected a label name or `}`, found `,}`"),
            ("a{b=\"1\",,} 1", "line 1, column 9: expected a label name or `}`, found `,}`"),
            ("a{b=\"1\",b=\"2\"} 1", "line 1, column 9: a second label `b` of one sample"),
            ("a{__name__=\"b\"} 1", "line 1, column 3: `__name__` cannot be the name of a label"),
            ("{} 1", "line 1, column 1: expected a metric name before the braces or quoted within them"),
            ("a{\"b\"} 1", "line 1, column 3: a second metric name; expected a label"),
            (
                "# TYPE a b\n",
                "line 1, column 10: expected a type (counter, gauge, histogram, summary, untyped), found `b`",
            ),
            ("# TYPE 1 gauge\n", "line 1, column 8: expected a metric name, found `1`"),
            ("a-b 1\n", "line 1, column 2: expected a value, found `-b`"),
            (
                "a 1 # {b=\"c\"} 1\n",
                "line 1, column 5: expected a timestamp in whole ms or the end of the line, found `#`",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_sample_has_a_limited_number_of_labels() {
        let labels: Vec<String> = (0..129).map(|n| format!("l{n}=\"x\"")).collect();
        let error = parsed(&format!("a{{{}}} 1\n", labels.join(","))).unwrap_err();
        assert!(error.ends_with("more than 128 labels of one sample"), "{error}");
    }
}
