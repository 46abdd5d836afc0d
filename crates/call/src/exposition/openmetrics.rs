//! OpenMetrics 1.0 as Prometheus reads it. Exemplars are checked and left out.

use super::cursor::{Cursor, Span};
use super::labels::{Writing, in_braces, series};
use super::number::{float, seconds_to_ms};
use super::text::{family, unknown_type};
use super::{MetricType, ParseError, RawTold, ScrapedBody};

pub(super) fn parse(text: &str, body: &mut ScrapedBody, limit: usize) -> Result<(), ParseError> {
    let mut cursor = Cursor::new(text);
    loop {
        if cursor.is_at_end() {
            return Err(cursor.expected("`# EOF` as the last line"));
        }
        if cursor.peek() != Some(b'#') {
            sample(&mut cursor, body, limit)?;
        } else if cursor.take_text("# EOF") {
            cursor.take(b'\n');
            return if cursor.is_at_end() { Ok(()) } else { Err(cursor.expected("nothing after `# EOF`")) };
        } else {
            metadata(&mut cursor, body)?;
        }
    }
}

fn metadata(cursor: &mut Cursor<'_>, body: &mut ScrapedBody) -> Result<(), ParseError> {
    let words = ["# HELP ", "# TYPE ", "# UNIT "];
    let Some(word) = words.into_iter().find(|word| cursor.take_text(word)) else {
        return Err(cursor.expected("`# HELP `, `# TYPE `, `# UNIT ` or `# EOF`"));
    };
    let name = family(cursor)?;
    if !cursor.take(b' ') {
        return Err(cursor.expected("a space after the name"));
    }
    let begin = cursor.at;
    let text = cursor.rest_of_line();
    let told = match word {
        "# HELP " => RawTold::Help(text),
        "# TYPE " => kind(cursor, begin, text)?,
        _ => unit(cursor, begin, name, text)?,
    };
    body.tell(name, told);
    end_of_line(cursor)
}

fn kind(cursor: &mut Cursor<'_>, begin: usize, text: Span) -> Result<RawTold, ParseError> {
    let word = text.of(cursor.text);
    let known = MetricType::OPEN_METRICS.iter().find(|(known, _)| *known == word);
    let (_, kind) = known.ok_or_else(|| unknown_type(cursor, begin, MetricType::OPEN_METRICS))?;
    Ok(RawTold::Type(*kind))
}

/// A unit ends its metric's name.
fn unit(cursor: &Cursor<'_>, begin: usize, name: Span, text: Span) -> Result<RawTold, ParseError> {
    let (name, unit) = (name.unescaped(cursor.text), text.of(cursor.text));
    if unit.is_empty() || name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
        return Ok(RawTold::Unit(text));
    }
    let message = format!("the unit must end its metric's name: expected `{name}_{unit}`, found `{name}`");
    Err(cursor.error_at(begin, message))
}

fn sample(cursor: &mut Cursor<'_>, body: &mut ScrapedBody, limit: usize) -> Result<(), ParseError> {
    if body.samples.len() == limit {
        return Err(cursor.error_at(cursor.at, format!("more than {limit} samples")));
    }
    let mut sample = series(cursor, body, Writing::Strict, "a metric name, `{` or `# EOF`")?;
    sample.value = word(cursor, "a value", float)?;
    let exemplar = " # {";
    if !cursor.take_text(exemplar) {
        if cursor.peek() == Some(b' ') {
            sample.timestamp_ms = Some(word(cursor, "a timestamp in seconds or an exemplar", seconds_to_ms)?);
        }
        if cursor.take_text(exemplar) {
            check_exemplar(cursor)?;
        }
    } else {
        check_exemplar(cursor)?;
    }
    body.samples.push(sample);
    end_of_line(cursor)
}

fn check_exemplar(cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
    in_braces(cursor, &mut Vec::new(), None, Writing::Strict)?;
    word(cursor, "the exemplar's value", float)?;
    if cursor.peek() == Some(b' ') {
        word(cursor, "the exemplar's timestamp in seconds", seconds_to_ms)?;
    }
    Ok(())
}

/// One space, and the word behind it as what `read` makes of it.
fn word<T>(cursor: &mut Cursor<'_>, what: &str, read: fn(&str) -> Option<T>) -> Result<T, ParseError> {
    if !cursor.take(b' ') {
        return Err(cursor.expected(&format!("a space and {what}")));
    }
    let begin = cursor.at;
    let word = cursor.until(|byte| matches!(byte, b' ' | b'\n'));
    read(word).ok_or_else(|| {
        cursor.at = begin;
        cursor.expected(what)
    })
}

fn end_of_line(cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
    if cursor.take(b'\n') { Ok(()) } else { Err(cursor.expected("the end of the line")) }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, ScrapedBody};

    fn parsed(text: &str) -> Result<Vec<String>, String> {
        let body = ScrapedBody::parse(text.as_bytes().to_vec(), Format::OpenMetrics, 1000)
            .map_err(|e| e.to_string())?;
        let told = body.metadata().map(|m| format!("{} {:?}", m.name, m.told));
        let shown = body.samples().map(|sample| {
            let labels: Vec<String> =
                sample.labels.map(|(name, value)| format!("{name}={value:?}")).collect();
            let at = sample.timestamp_ms.map_or(String::new(), |ms| format!(" @{ms}"));
            format!("{}{{{}}} {}{at}", sample.name, labels.join(","), sample.value)
        });
        Ok(told.chain(shown).collect())
    }

    #[test]
    fn samples_metadata_and_exemplars_are_read() {
        let text = "# HELP a_seconds some \\\"text\\\"\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total 17.0 1520879607.789 # {trace=\"x y\"} 0.5 1520879607.7\n\
                    b{c=\"d\",} NaN # {} 1\n{\"e.f\",g=\"h\"} -Inf 1\n# EOF";
        let expected = [
            "a_seconds Help(\"some \\\"text\\\"\")",
            "a_seconds Type(Counter)",
            "a_seconds Unit(\"seconds\")",
            "a_seconds_total{} 17 @1520879607789",
            "b{c=\"d\"} NaN",
            "e.f{g=\"h\"} -inf @1000",
        ];
        assert_eq!(parsed(text).unwrap(), expected);
        assert!(parsed("# EOF\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("", "line 1, column 1: expected `# EOF` as the last line, found the end"),
            ("a 1\n", "line 2, column 1: expected `# EOF` as the last line, found the end"),
            ("a 1", "line 1, column 4: expected the end of the line, found the end"),
            (
                "\n# EOF\n",
                "line 1, column 1: expected a metric name, `{` or `# EOF`, found the end of the line",
            ),
            ("# EOF\n\n", "line 2, column 1: expected nothing after `# EOF`, found the end of the line"),
            ("# EOFx", "line 1, column 6: expected nothing after `# EOF`, found `x`"),
            (
                "# a comment\n# EOF\n",
                "line 1, column 1: expected `# HELP `, `# TYPE `, `# UNIT ` or `# EOF`, found `#`",
            ),
            ("a  1\n# EOF\n", "line 1, column 3: expected a value, found a space"),
            ("a\t1\n# EOF\n", "line 1, column 2: expected a space and a value, found a tab"),
            (
                "a 1 \n# EOF\n",
                "line 1, column 5: expected a timestamp in seconds or an exemplar, found the end of the line",
            ),
            (
                "a 1 NaN\n# EOF\n",
                "line 1, column 5: expected a timestamp in seconds or an exemplar, found `NaN`",
            ),
            ("a{b=\"1\"c=\"2\"} 1\n# EOF\n", "line 1, column 8: expected `,` or `}`, found `c=\"2\"}`"),
            (
                "a{b=\"1\", c=\"2\"} 1\n# EOF\n",
                "line 1, column 9: expected a label name or `}`, found a space",
            ),
            (
                "a 1 # {b=\"c\"}\n# EOF\n",
                "line 1, column 14: expected a space and the exemplar's value, found the end of the line",
            ),
            ("a 1 # {b=\"c\"} x\n# EOF\n", "line 1, column 15: expected the exemplar's value, found `x`"),
            (
                "# TYPE a untyped\n# EOF\n",
                "line 1, column 10: expected a type (counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown), found `untyped`",
            ),
            (
                "# UNIT a_s m\n# EOF\n",
                "line 1, column 12: the unit must end its metric's name: expected `a_s_m`, found `a_s`",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err(), expected, "{text:?}");
        }
    }
}
