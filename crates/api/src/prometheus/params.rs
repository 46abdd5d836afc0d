//! Parameters as clients of Prometheus send them: in the query string, or in a form.

use std::time::Duration;

use axum::body::Body;
use jiff::Timestamp;
use sos_watch::{Matcher, duration, promql};

use super::Refusal;
use crate::extract;

/// Most bytes of a form.
const MOST_BYTES: usize = 1024 * 1024;
/// Most points of a range query, as in Prometheus.
const MOST_POINTS: i64 = 11_000;
/// Years 0 to 9999: what times may be, in ms since 1970.
const TIMES: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Names and values, in order; names may repeat.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

/// The parameters of a form, and those of the query string behind them.
pub(super) async fn read(query: Option<String>, body: Body) -> Result<Params, Refusal> {
    let form = extract::bytes(body, MOST_BYTES).await.map_err(|problem| Refusal::bad(problem.detail))?;
    let mut params = Params(form_urlencoded::parse(&form).into_owned().collect());
    params.0.extend(Params::of_query(query).0);
    Ok(params)
}

impl Params {
    pub(super) fn of_query(query: Option<String>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The first of that name that says something.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(own, value)| own == name && !value.is_empty());
        named.next().map(|(_, value)| value.as_str())
    }

    /// All of that name that say something.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let named = self.0.iter().filter(|(own, value)| own == name && !value.is_empty());
        named.map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn needed(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::bad(format!("the parameter \"{name}\" is missing")))
    }

    /// A time in ms.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.get(name)
            .map(|text| {
                time(text).ok_or_else(|| {
                    let expected = "expected a time such as 2016-08-01T00:00:00-08:00, or seconds since 1970";
                    Refusal::bad(format!(
                        "invalid parameter \"{name}\": cannot parse {text:?} to a valid timestamp: {expected}"
                    ))
                })
            })
            .transpose()
    }

    pub(super) fn needed_time(&self, name: &str) -> Result<i64, Refusal> {
        self.needed(name)?;
        Ok(self.time(name)?.unwrap_or_default())
    }

    /// From `start` to `end`; everything when they are left out.
    pub(super) fn span(&self) -> Result<(i64, i64), Refusal> {
        let (start, end) = (self.time("start")?, self.time("end")?);
        Ok((start.unwrap_or(*TIMES.start()), end.unwrap_or(*TIMES.end())))
    }

    /// The step of a range, ms above zero.
    pub(super) fn step(&self) -> Result<i64, Refusal> {
        let step = self.duration("step")?.ok_or_else(|| Refusal::bad("the parameter \"step\" is missing"))?;
        if step > 0 {
            return Ok(step);
        }
        Err(Refusal::bad(
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ))
    }

    pub(super) fn check_range(&self, start: i64, end: i64, step: i64) -> Result<(), Refusal> {
        if end < start {
            return Err(Refusal::bad(
                "invalid parameter \"end\": end timestamp must not be before start time",
            ));
        }
        let points = (end - start) / step + 1;
        if points > MOST_POINTS {
            return Err(Refusal::bad(format!(
                "exceeded maximum resolution of {MOST_POINTS} points per timeseries, with {points}. Try decreasing the query resolution (?step=XX)"
            )));
        }
        Ok(())
    }

    /// What is asked for, at most `most`.
    pub(super) fn timeout(&self, most: Duration) -> Result<Duration, Refusal> {
        let asked = self.duration("timeout")?.and_then(|ms| u64::try_from(ms).ok());
        Ok(asked.map_or(most, |ms| Duration::from_millis(ms).min(most)))
    }

    pub(super) fn lookback(&self) -> Result<Option<i64>, Refusal> {
        Ok(self.duration("lookback_delta")?.filter(|ms| *ms > 0))
    }

    /// A duration in ms: `15s`, or seconds.
    fn duration(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().map(|seconds| seconds * 1000.0);
        let ms = match seconds {
            Some(ms) if ms.abs() < 9e15 => Some(ms.round() as i64),
            Some(_) => None,
            None => duration::parse(text).ok(),
        };
        ms.map(Some).ok_or_else(|| {
            let expected = "expected a duration such as 15s, or seconds";
            Refusal::bad(format!(
                "invalid parameter \"{name}\": cannot parse {text:?} to a valid duration: {expected}"
            ))
        })
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let number = |text: &str| {
            text.parse().map_err(|_| Refusal::bad(format!("{name} must be a number, got {text:?}")))
        };
        self.get(name).map(number).transpose()
    }

    /// The selectors, each a set of matchers.
    pub(super) fn matchers(&self) -> Result<Vec<Vec<Matcher>>, Refusal> {
        let texts = self.0.iter().filter(|(name, _)| name == "match[]");
        texts
            .map(|(_, text)| {
                promql::parse_selector(text)
                    .map_err(|error| Refusal::bad(format!("invalid parameter \"match[]\": {error}")))
            })
            .collect()
    }
}

/// Seconds since 1970, or RFC 3339; ms. A `+` that was not encoded arrives as a space.
fn time(text: &str) -> Option<i64> {
    let ms = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 9e12 => (seconds * 1000.0).round() as i64,
        Ok(_) => return None,
        Err(_) => text.replace(' ', "+").parse::<Timestamp>().ok()?.as_millisecond(),
    };
    TIMES.contains(&ms).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        Params::of_query(Some(text.to_owned()))
    }

    #[test]
    fn times_and_durations_are_read_as_prometheus_reads_them() {
        let p = params(
            "time=1435781451.781&start=2015-07-01T20:10:51.781Z&end=2015-07-01T22:10:51%2B02:00&step=15s&timeout=1.5",
        );
        assert_eq!(p.time("time").unwrap(), Some(1_435_781_451_781));
        assert_eq!(p.time("start").unwrap(), Some(1_435_781_451_781));
        assert_eq!(p.time("end").unwrap(), Some(1_435_781_451_000));
        assert_eq!((p.step().unwrap(), p.time("other").unwrap()), (15_000, None));
        assert_eq!(p.timeout(Duration::from_secs(20)).unwrap(), Duration::from_millis(1500));
        assert_eq!(params("step=0.5").step().unwrap(), 500);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_was_expected() {
        let of = |text: &str| params(text).step().unwrap_err().message;
        assert!(of("step=0").contains("zero or negative"));
        assert!(of("step=soon").contains("\"soon\"") && of("step=soon").contains("such as 15s"));
        assert!(of("").contains("missing"));
        assert!(params("time=yesterday").time("time").unwrap_err().message.contains("valid timestamp"));
        assert!(params("time=1e300").time("time").is_err() && params("time=NaN").time("time").is_err());
        let wrong = params("match[]=up{").matchers().unwrap_err();
        assert_eq!(wrong.kind, "bad_data");
        assert!(params("").check_range(0, 11_000_000, 1000).is_err());
    }

    #[test]
    fn selectors_repeat() {
        let sets = params("match[]=up&match%5B%5D=%7Bjob%3D%22a%22%7D").matchers().unwrap();
        assert_eq!((sets.len(), sets[1][0].name(), sets[1][0].value()), (2, "job", "a"));
    }
}
