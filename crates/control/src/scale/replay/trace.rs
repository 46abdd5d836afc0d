//! A recorded load: requests in each step.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Steps of one trace.
const MOST_STEPS: usize = 4_000_000;
/// Longest step, s.
const LONGEST_STEP: i64 = 86_400;

/// Requests in steps of equal length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Start of the first step.
    pub start: Timestamp,
    /// Length of a step, whole seconds above 0.
    pub step: SignedDuration,
    /// Requests of each step, 0 or above; nothing where the trace has a gap.
    pub requests: Vec<Option<f64>>,
}

/// What is wrong in a trace, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// Line of the text, from 1.
    pub line: usize,
    /// The column.
    pub field: &'static str,
    /// What is wrong there.
    pub problem: String,
}

impl std::fmt::Display for TraceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, {}: {}", self.line, self.field, self.problem)
    }
}
impl std::error::Error for TraceError {}

impl Trace {
    /// Reads `time,requests`, a header first. A time without an offset is UTC. Steps that are left out are gaps.
    ///
    /// # Errors
    /// The first line that cannot be read, with the field and what was expected.
    pub fn read(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let header = lines.next().map_or("", |(_, line)| line.trim());
        if header.split(',').map(str::trim).ne(["time", "requests"]) {
            return Err(TraceError {
                line: 1,
                field: "header",
                problem: format!("expected time,requests, found {header:?}"),
            });
        }
        let mut rows: Vec<(usize, Timestamp, f64)> = Vec::new();
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let (time, requests) = row(index + 1, line)?;
            if let Some((_, last, _)) = rows.last()
                && time <= *last
            {
                return Err(at(index + 1, "time", format!("expected a time after {last}, found {time}")));
            }
            if rows.len() == MOST_STEPS {
                return Err(at(index + 1, "time", format!("expected at most {MOST_STEPS} steps")));
            }
            rows.push((index + 1, time, requests));
        }
        steps(&rows)
    }

    /// Where the last step ends.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.at(self.requests.len())
    }

    /// Start of step `index`.
    pub(super) fn at(&self, index: usize) -> Timestamp {
        let seconds = self.step.as_secs().saturating_mul(i64::try_from(index).unwrap_or(i64::MAX));
        self.start.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }
}

fn at(line: usize, field: &'static str, problem: String) -> TraceError {
    TraceError { line, field, problem }
}

fn row(line: usize, text: &str) -> Result<(Timestamp, f64), TraceError> {
    let Some((time, requests)) = text.split_once(',') else {
        return Err(at(line, "requests", "expected two columns".into()));
    };
    let (time, requests) = (time.trim(), requests.trim());
    let stamp = time.parse::<Timestamp>().ok().or_else(|| {
        let local = time.parse::<DateTime>().ok()?;
        TimeZone::UTC.to_timestamp(local).ok()
    });
    let Some(stamp) = stamp else {
        return Err(at(
            line,
            "time",
            format!("expected a time such as 2026-07-25T10:00:00Z, found {time:?}"),
        ));
    };
    match requests.parse::<f64>() {
        Ok(value) if value.is_finite() && (0.0..=1e15).contains(&value) => Ok((stamp, value)),
        _ => Err(at(line, "requests", format!("expected a number of 0 or above, found {requests:?}"))),
    }
}

fn steps(rows: &[(usize, Timestamp, f64)]) -> Result<Trace, TraceError> {
    let [first, second, ..] = rows else {
        return Err(at(rows.len() + 2, "time", "expected at least two steps".into()));
    };
    let between = rows.windows(2).map(|pair| pair[1].1.duration_since(pair[0].1));
    let step = between.min().unwrap_or_else(|| second.1.duration_since(first.1));
    if step.subsec_nanos() != 0 || !(1..=LONGEST_STEP).contains(&step.as_secs()) {
        return Err(at(second.0, "time", "expected steps of whole seconds, at most a day".into()));
    }
    let mut requests = Vec::new();
    for (line, time, value) in rows {
        let from = time.duration_since(first.1);
        let index = usize::try_from(from.as_secs() / step.as_secs()).unwrap_or(usize::MAX);
        if from.subsec_nanos() != 0 || from.as_secs() % step.as_secs() != 0 {
            return Err(at(
                *line,
                "time",
                format!("expected a multiple of {} s after {}", step.as_secs(), first.1),
            ));
        }
        if index >= MOST_STEPS {
            return Err(at(*line, "time", format!("expected at most {MOST_STEPS} steps, gaps included")));
        }
        requests.resize(index, None);
        requests.push(Some(*value));
    }
    Ok(Trace { start: first.1, step, requests })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_an_offset_are_utc_and_steps_left_out_are_gaps() {
        let text =
            "time,requests\n1998-06-15 00:00:00,5\n1998-06-15T00:01:00Z,0\n1998-06-15T02:03:00+02:00,7.5\n\n";
        let trace = Trace::read(text).unwrap();
        assert_eq!(trace.step.as_secs(), 60);
        assert_eq!(trace.requests, [Some(5.0), Some(0.0), None, Some(7.5)]);
        assert_eq!(trace.end().to_string(), "1998-06-15T00:04:00Z");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line_and_field() {
        let error = |text: &str| Trace::read(text).unwrap_err().to_string();
        let head = "time,requests\n2026-01-01T00:00:00Z,1\n";
        assert_eq!(error("a,b\n"), "line 1, header: expected time,requests, found \"a,b\"");
        assert_eq!(error(head), "line 3, time: expected at least two steps");
        assert_eq!(
            error(&format!("{head}2026-01-01T00:01:00Z,-1\n")),
            "line 3, requests: expected a number of 0 or above, found \"-1\""
        );
        assert!(error(&format!("{head}soon,1\n")).starts_with("line 3, time: expected a time such as"));
        assert!(
            error(&format!("{head}2026-01-01T00:00:00Z,1\n"))
                .starts_with("line 3, time: expected a time after")
        );
        let uneven = format!("{head}2026-01-01T00:01:00Z,1\n2026-01-01T00:02:30Z,1\n");
        assert_eq!(error(&uneven), "line 4, time: expected a multiple of 60 s after 2026-01-01T00:00:00Z");
        let far = format!("{head}2026-01-01T00:00:01Z,1\n2036-01-01T00:00:01Z,1\n");
        assert!(error(&far).contains("gaps included"), "{}", error(&far));
    }
}
