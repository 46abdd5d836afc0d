//! Times and durations as Go prints them, and its layouts.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// ns in a second.
const SECOND: i128 = 1_000_000_000;

fn civil(ns: i128) -> Option<DateTime> {
    let time = Timestamp::from_nanosecond(ns).ok()?;
    Some(TimeZone::UTC.to_datetime(time))
}

/// `2006-01-02 15:04:05.5 +0000 UTC`
pub(super) fn text(ns: i128) -> String {
    format(ns, "2006-01-02 15:04:05.999999999 -0700 MST")
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn month(time: DateTime) -> &'static str {
    usize::try_from(time.month()).ok().and_then(|month| MONTHS.get(month - 1)).copied().unwrap_or_default()
}

fn day(time: DateTime) -> &'static str {
    let index = usize::try_from(time.weekday().to_sunday_zero_offset()).unwrap_or(0);
    DAYS.get(index).copied().unwrap_or_default()
}

/// The parts of a layout, longer ones before those that they begin with.
const PARTS: [&str; 33] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "__2",
    "_2",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// A time in UTC by a layout of Go.
pub(super) fn format(ns: i128, layout: &str) -> String {
    let Some(time) = civil(ns) else { return format!("{ns}") };
    let mut out = String::new();
    let mut rest = layout;
    while !rest.is_empty() {
        if let Some(len) = fraction(time, rest, &out, &mut String::new()) {
            let mut digits = String::new();
            fraction(time, rest, &out, &mut digits);
            out.push_str(&digits);
            rest = &rest[len..];
        } else if let Some(part) = PARTS.iter().find(|part| rest.starts_with(**part)) {
            out.push_str(&piece(time, part));
            rest = &rest[part.len()..];
        } else {
            let len = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..len]);
            rest = &rest[len..];
        }
    }
    out
}

/// `.000` and `,999` behind seconds: digits of a second; how much of the layout they take.
fn fraction(time: DateTime, rest: &str, before: &str, out: &mut String) -> Option<usize> {
    let separator = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let kind = rest[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let count = rest[1..].len() - rest[1..].trim_start_matches(kind).len();
    let ends = !rest[1 + count..].starts_with(|c: char| c.is_ascii_digit());
    if !ends || count > 9 || !before.ends_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{:09}", time.subsec_nanosecond());
    let mut digits = &digits[..count];
    if kind == '9' {
        digits = digits.trim_end_matches('0');
    }
    if !digits.is_empty() {
        out.push(separator);
        out.push_str(digits);
    }
    Some(1 + count)
}

fn piece(time: DateTime, part: &str) -> String {
    let hour12 = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let half = if time.hour() < 12 { "AM" } else { "PM" };
    match part {
        "2006" => format!("{:04}", time.year()),
        "06" => format!("{:02}", time.year().rem_euclid(100)),
        "January" => month(time).to_owned(),
        "Jan" => month(time).chars().take(3).collect(),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "Monday" => day(time).to_owned(),
        "Mon" => day(time).chars().take(3).collect(),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:2}", time.day()),
        "2" => time.day().to_string(),
        "002" => format!("{:03}", time.day_of_year()),
        "__2" => format!("{:3}", time.day_of_year()),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{hour12:02}"),
        "3" => hour12.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "PM" => half.to_owned(),
        "pm" => half.to_lowercase(),
        "MST" => "UTC".to_owned(),
        zone if zone.starts_with('Z') => "Z".to_owned(),
        zone => zone.replace("07", "00").replace('-', "+"),
    }
}

/// The number that a method of Go's `Time` gives: `.Year`, `.Unix` …; the names of months and weekdays are text.
pub(super) fn number(ns: i128, name: &str) -> Option<i64> {
    let time = civil(ns)?;
    let whole = |ns: i128, unit: i128| i64::try_from(ns.div_euclid(unit)).ok();
    Some(match name {
        "Year" => i64::from(time.year()),
        "Day" => i64::from(time.day()),
        "Hour" => i64::from(time.hour()),
        "Minute" => i64::from(time.minute()),
        "Second" => i64::from(time.second()),
        "Nanosecond" => i64::from(time.subsec_nanosecond()),
        "YearDay" => i64::from(time.day_of_year()),
        "Unix" => whole(ns, SECOND)?,
        "UnixMilli" => whole(ns, 1_000_000)?,
        "UnixMicro" => whole(ns, 1_000)?,
        "UnixNano" => whole(ns, 1)?,
        _ => return None,
    })
}

pub(super) fn word(ns: i128, name: &str) -> Option<&'static str> {
    let time = civil(ns)?;
    match name {
        "Month" => Some(month(time)),
        "Weekday" => Some(day(time)),
        _ => None,
    }
}

/// `1h30m0s`, `1.5s`, `20ms`: as Go prints a duration of ns.
pub(super) fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let size = ns.unsigned_abs();
    if size == 0 {
        return "0s".to_owned();
    }
    if size < 1_000_000_000 {
        let (unit, scale) = match size {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", size as f64 / f64::from(scale));
    }
    let (minutes, rest) = (size / 60_000_000_000, size % 60_000_000_000);
    let fraction = format!("{:09}", rest % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let seconds = format!("{}{point}{fraction}s", rest / 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_by_layouts() {
        let ns = 1_435_781_451_781_000_000;
        assert_eq!(text(ns), "2015-07-01 20:10:51.781 +0000 UTC");
        assert_eq!(text(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(format(ns, "Mon, 02 Jan 2006 15:04:05 MST"), "Wed, 01 Jul 2015 20:10:51 UTC");
        assert_eq!(format(ns, "2006-01-02T15:04:05.000Z07:00"), "2015-07-01T20:10:51.781Z");
        assert_eq!(format(ns, "3:04PM 1/2/06"), "8:10PM 7/1/15");
        assert_eq!((number(ns, "Unix"), number(ns, "YearDay")), (Some(1_435_781_451), Some(182)));
    }

    #[test]
    fn durations_are_printed_as_in_go() {
        for (ns, expected) in [
            (5_400_000_000_000, "1h30m0s"),
            (1_500_000_000, "1.5s"),
            (-90_000_000_000, "-1m30s"),
            (20_000_000, "20ms"),
            (1_500, "1.5µs"),
        ] {
            assert_eq!(duration(ns), expected);
        }
    }
}
