//! Headers that mean the same for every caller.

use std::time::{Duration, SystemTime};

use hyper::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

/// Headers that frame the request itself.
pub(crate) const FRAMING: [&str; 5] = ["connection", "content-length", "te", "transfer-encoding", "upgrade"];
/// No server is left alone for longer than this, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// How long a server wants to be left alone (RFC 9110 §10.2.3): seconds, or a date that is measured against its own clock.
/// A day at most.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let wait = text(RETRY_AFTER)?.trim();
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let seconds = wait.parse().ok().and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    let until = || -> Option<Duration> {
        let now: SystemTime = date(text(DATE)?)?;
        Some(date(wait)?.duration_since(now).unwrap_or_default())
    };
    seconds.or_else(until).map(|wait| wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn receivers_say_how_long_to_wait_in_seconds_or_as_a_date() {
        let wait = |pairs: &[(&'static str, &'static str)]| retry_after(&headers(pairs));
        assert_eq!(wait(&[("retry-after", "120")]), Some(Duration::from_mins(2)));
        assert_eq!(wait(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(wait(&[("retry-after", "999999999")]), Some(LONGEST_WAIT));
        let date = ("date", "Tue, 15 Nov 1994 08:12:31 GMT");
        let at = |text| wait(&[date, ("retry-after", text)]);
        assert_eq!(at("Tue, 15 Nov 1994 08:13:01 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(at("Tue, 15 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for wrong in ["-1", "NaN", "soon", ""] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        assert_eq!(wait(&[("retry-after", "Tue, 15 Nov 1994 08:13:01 GMT")]), None);
    }
}
