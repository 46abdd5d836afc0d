//! Times as log lines carry them.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// What a time without zone or year means.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeRules<'a> {
    /// The zone of times that name none.
    pub(super) zone: &'a TimeZone,
    /// When the line was written at the latest: gives a syslog time its year.
    pub(super) latest: Timestamp,
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Reads bytes from the left.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes over one of these bytes and says which.
    fn one_of(&mut self, set: &[u8]) -> Option<u8> {
        let byte = self.peek().filter(|byte| set.contains(byte))?;
        self.at += 1;
        Some(byte)
    }

    /// A number of exactly this many digits.
    fn digits<const N: usize>(&mut self) -> Option<i16> {
        let digits = self.bytes.get(self.at..self.at + N)?;
        let mut value = 0;
        for digit in digits {
            value = value * 10 + i16::from(digit.is_ascii_digit().then_some(digit - b'0')?);
        }
        self.at += N;
        Some(value)
    }

    fn small<const N: usize>(&mut self) -> Option<i8> {
        self.digits::<N>().and_then(|value| i8::try_from(value).ok())
    }

    /// `HH:MM:SS` with a fraction after a point or comma: hour, minute, second, nanoseconds.
    fn clock(&mut self) -> Option<(i8, i8, i8, i32)> {
        let hour = self.small::<2>()?;
        self.one_of(b":")?;
        let minute = self.small::<2>()?;
        self.one_of(b":")?;
        // A leap second counts as the one before it.
        let second = self.small::<2>()?.min(59);
        let before = self.at;
        let mut nanoseconds = 0;
        if self.one_of(b".,").is_some() {
            let mut weight = 100_000_000;
            while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
                nanoseconds += i32::from(digit - b'0') * weight;
                weight /= 10;
                self.at += 1;
            }
            if self.at == before + 1 {
                self.at = before;
            }
        }
        Some((hour, minute, second, nanoseconds))
    }

    /// `Z`, `UTC`, `+01:00`, `+0100`, `+01`, the longer ones also after a space.
    fn offset(&mut self) -> Option<Offset> {
        let start = self.at;
        let spaced = self.one_of(b" ").is_some();
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(b"UTC") || rest.starts_with(b"GMT") {
            self.at += 3;
            return Some(Offset::UTC);
        }
        if !spaced && self.one_of(b"Zz").is_some() {
            return Some(Offset::UTC);
        }
        let offset = self.signed(spaced);
        if offset.is_none() {
            self.at = start;
        }
        offset
    }

    fn signed(&mut self, needs_minutes: bool) -> Option<Offset> {
        let sign = if self.one_of(b"+-")? == b'-' { -1 } else { 1 };
        let hours = i32::from(self.digits::<2>()?);
        let colon = self.one_of(b":").is_some();
        let minutes = match self.digits::<2>() {
            Some(minutes) => i32::from(minutes),
            None if needs_minutes || colon => return None,
            None => 0,
        };
        Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
    }
}

/// The time at the beginning of a text and the number of bytes it takes.
pub(super) fn leading(text: &[u8], rules: &TimeRules<'_>) -> Option<(Timestamp, usize)> {
    let first = *text.first()?;
    if first.is_ascii_digit() {
        return dated(text, rules);
    }
    first.is_ascii_uppercase().then(|| syslog(text, rules)).flatten()
}

/// RFC 3339 and its kin: `2026-01-02T03:04:05.678Z`, `2026-01-02 03:04:05,678`, `2026/01/02 03:04:05`.
fn dated(text: &[u8], rules: &TimeRules<'_>) -> Option<(Timestamp, usize)> {
    let mut cursor = Cursor { bytes: text, at: 0 };
    let year = cursor.digits::<4>()?;
    let separator = cursor.one_of(b"-/")?;
    let month = cursor.small::<2>()?;
    cursor.one_of(&[separator])?;
    let day = cursor.small::<2>()?;
    cursor.one_of(b"Tt ")?;
    let (hour, minute, second, nanoseconds) = cursor.clock()?;
    let local = DateTime::new(year, month, day, hour, minute, second, nanoseconds).ok()?;
    let time = match cursor.offset() {
        Some(offset) => offset.to_timestamp(local).ok()?,
        None => rules.zone.to_timestamp(local).ok()?,
    };
    Some((time, cursor.at))
}

/// `Jan  2 03:04:05`: the year is the latest in which that is not in the future.
fn syslog(text: &[u8], rules: &TimeRules<'_>) -> Option<(Timestamp, usize)> {
    let name = text.get(..3)?;
    let month = i8::try_from(MONTHS.iter().position(|month| *month == name)? + 1).ok()?;
    let mut cursor = Cursor { bytes: text, at: 3 };
    cursor.one_of(b" ")?;
    let day = match cursor.one_of(b" ") {
        Some(_) => cursor.small::<1>()?,
        None => cursor.small::<2>().or_else(|| cursor.small::<1>())?,
    };
    cursor.one_of(b" ")?;
    let (hour, minute, second, nanoseconds) = cursor.clock()?;
    let latest = rules.latest.saturating_add(SignedDuration::from_hours(24)).ok()?;
    let year = rules.zone.to_datetime(latest).year();
    // Back to the last leap year, for the 29th of February.
    let times = (0..9).filter_map(|back| {
        let local = DateTime::new(year - back, month, day, hour, minute, second, nanoseconds).ok()?;
        rules.zone.to_timestamp(local).ok()
    });
    Some((times.into_iter().find(|time| *time <= latest)?, cursor.at))
}

/// A text that is a time and nothing else, a number of seconds and so on since 1970 among them.
pub(super) fn whole(text: &str, rules: &TimeRules<'_>) -> Option<Timestamp> {
    let text = text.trim();
    if let Some((time, length)) = leading(text.as_bytes(), rules) {
        return (length == text.len()).then_some(time);
    }
    if let Ok(number) = text.parse::<i64>() {
        return unix(number);
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+'));
    plain.then(|| unix_fraction(text.parse().ok()?)).flatten()
}

/// Since 1970 in the unit that gives a year between 1973 and 5138: seconds, then milli-, micro- and nanoseconds.
pub(super) fn unix(number: i64) -> Option<Timestamp> {
    match number {
        100_000_000..100_000_000_000 => Timestamp::from_second(number).ok(),
        100_000_000_000..100_000_000_000_000 => Timestamp::from_millisecond(number).ok(),
        100_000_000_000_000..100_000_000_000_000_000 => Timestamp::from_microsecond(number).ok(),
        100_000_000_000_000_000.. => Timestamp::from_nanosecond(i128::from(number)).ok(),
        _ => None,
    }
}

/// The same with a fraction, to a microsecond: a float of today's seconds is no finer.
pub(super) fn unix_fraction(number: f64) -> Option<Timestamp> {
    let micros_per_unit = match number {
        1e8..1e11 => 1e6,
        1e11..1e14 => 1e3,
        1e14..1e17 => 1.0,
        1e17..9e18 => 1e-3,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "below 2^63, which the ranges above see to")]
    let micros = (number * micros_per_unit).round() as i64;
    Timestamp::from_microsecond(micros).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_read_in_the_forms_that_logs_use() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let rules = TimeRules { zone: &berlin, latest: at("2026-03-01T00:00:00Z") };
        let cases = [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.6789Z rest", "2026-01-02T03:04:05.6789Z"),
            ("2026-01-02T03:04:05.123456789123+05:30", "2026-01-01T21:34:05.123456789Z"),
            ("2026-01-02T03:04:05-0800", "2026-01-02T11:04:05Z"),
            ("2026-01-02T03:04:05+01", "2026-01-02T02:04:05Z"),
            ("2026-01-02 03:04:05 +0100", "2026-01-02T02:04:05Z"),
            ("2026-01-02 03:04:05 UTC", "2026-01-02T03:04:05Z"),
            ("2026-01-02 03:04:05,678 - root", "2026-01-02T02:04:05.678Z"),
            ("2026-07-02 03:04:05", "2026-07-02T01:04:05Z"),
            ("2026/01/02 03:04:05.5 x", "2026-01-02T02:04:05.5Z"),
            ("2026-01-02 03:04:60", "2026-01-02T02:04:59Z"),
            ("Jan  2 03:04:05 host", "2026-01-02T02:04:05Z"),
            ("Jan 2 03:04:05 host", "2026-01-02T02:04:05Z"),
            ("Mar  1 12:00:00 host", "2026-03-01T11:00:00Z"),
            ("Mar 31 12:00:00 host", "2025-03-31T10:00:00Z"),
            ("Feb 29 12:00:00", "2024-02-29T11:00:00Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(leading(text.as_bytes(), &rules).map(|(time, _)| time), Some(at(expected)), "{text}");
        }
        let rest = |text: &'static str| leading(text.as_bytes(), &rules).map(|(_, length)| &text[length..]);
        assert_eq!(rest("2026-01-02 03:04:05 -12 items"), Some(" -12 items"));
        assert_eq!(rest("2026-01-02 03:04:05."), Some("."));
    }

    #[test]
    fn what_is_no_time_is_none() {
        let rules = TimeRules { zone: &TimeZone::UTC, latest: at("2026-03-01T00:00:00Z") };
        for text in [
            "",
            "2026",
            "2026-13-02T03:04:05Z",
            "2026-02-30 03:04:05",
            "2026-01-02",
            "2026-01/02 03:04:05",
            "2026-01-02T03:04",
            "2026-01-02T25:04:05Z",
            "Foo  2 03:04:05",
            "Jan 32 03:04:05",
            "Ärger",
        ] {
            assert_eq!(leading(text.as_bytes(), &rules), None, "{text}");
        }
        assert_eq!(whole("2026-01-02T03:04:05Z and more", &rules), None);
        assert_eq!(whole("12.5", &rules), None);
    }

    #[test]
    fn numbers_are_seconds_or_finer_by_their_size() {
        let rules = TimeRules { zone: &TimeZone::UTC, latest: Timestamp::UNIX_EPOCH };
        let expected = at("2026-01-02T03:04:05.25Z");
        assert_eq!(unix_fraction(1_767_323_045.25), Some(expected));
        assert_eq!(unix(1_767_323_045_250), Some(expected));
        assert_eq!(unix(1_767_323_045_250_000), Some(expected));
        assert_eq!(unix(1_767_323_045_250_000_000), Some(expected));
        assert_eq!(whole("1767323045.25", &rules), Some(expected));
        assert_eq!(whole("1767323045250", &rules), Some(expected));
        for wrong in [0, -5, 99_999_999] {
            assert_eq!(unix(wrong), None);
        }
        assert_eq!(unix_fraction(f64::NAN), None);
        assert_eq!(unix_fraction(1e300), None);
    }
}
