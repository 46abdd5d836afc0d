//! Durations: ISO 8601 text (`PT1M30S`) or a map (`{minutes: 1, seconds: 30}`).

use std::fmt;
use std::time::Duration as Exact;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use crate::expression::is_expression;
use crate::node::Node;

/// The longest duration, in seconds: ten thousand years, more than any calendar here has.
pub const MAX_SECONDS: u64 = 10_000 * 366 * 86_400;

const NANOS: u128 = 1_000_000_000;
/// Letter, nanoseconds; in the order in which ISO 8601 has them.
const DATE_UNITS: [(char, u128); 2] = [('W', 7 * 86_400 * NANOS), ('D', 86_400 * NANOS)];
const TIME_UNITS: [(char, u128); 3] = [('H', 3600 * NANOS), ('M', 60 * NANOS), ('S', NANOS)];
/// The names of the map, with their milliseconds.
const NAMES: [(&str, i128); 5] =
    [("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1000), ("milliseconds", 1)];

/// How long something takes: whole calendar months and an exact rest; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duration {
    months: u32,
    rest: Exact,
}

/// A duration, or the expression that gives one at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationValue {
    /// Known from the definition.
    Fixed(Duration),
    /// An expression whose value is for [`Duration::from_json`].
    Expression(String),
}

impl DurationValue {
    pub(crate) fn read(node: &Node) -> Self {
        match node.text() {
            Some(text) if is_expression(text) => Self::Expression(text.to_owned()),
            _ => Self::Fixed(Duration::from_json(&node.to_json()).unwrap_or_default()),
        }
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self { months: 0, rest: Exact::ZERO };

    /// ISO 8601: `P1DT2H`, `PT0.5S`, `P2W`; years and months without fractions.
    ///
    /// # Errors
    /// Not of this form, a fraction of a year or month, more than [`MAX_SECONDS`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = iso_parts(text).ok_or_else(|| {
            format!("expected an ISO 8601 duration such as PT1M30S, found \"{}\"", sos_model::shown(text))
        })?;
        let mut months = 0_u32;
        let mut nanos = 0_u128;
        for part in parts {
            match part.unit {
                Unit::Months(each) => {
                    let count = part.whole_number().and_then(|n| u32::try_from(n).ok()?.checked_mul(each));
                    let sum = count.and_then(|count| months.checked_add(count)).ok_or_else(|| {
                        "a fraction of a year or month, or too many of them; use days".to_owned()
                    })?;
                    months = sum;
                }
                Unit::Nanos(each) => {
                    nanos = part.nanos(each).and_then(|n| nanos.checked_add(n)).ok_or_else(too_long)?;
                }
            }
        }
        Self::bounded(months, nanos)
    }

    /// A value that an expression gave, or that was written: ISO 8601 text or the map form.
    ///
    /// # Errors
    /// Neither of them, a sum below zero, more than [`MAX_SECONDS`].
    pub fn from_json(value: &Json) -> Result<Self, String> {
        let map = match value {
            Json::String(text) => return Self::parse(text),
            Json::Object(map) if !map.is_empty() => map,
            _ => return Err("expected a duration: PT1M30S, or a map such as {minutes: 1}".to_owned()),
        };
        let mut millis = 0_i128;
        for (name, count) in map {
            let Some((_, each)) = NAMES.iter().find(|(known, _)| known == name) else {
                let known = sos_model::known_list(NAMES.map(|(name, _)| name));
                return Err(format!("unknown unit \"{}\"; {known}", sos_model::shown(name)));
            };
            let count = Node::from_json(count);
            if !count.is_whole() {
                return Err(format!("expected a whole number of {name}, found {}", count.what()));
            }
            millis += i128::from(count.whole().ok_or_else(too_long)?) * each;
        }
        let millis = u128::try_from(millis).map_err(|_| "a duration below zero".to_owned())?;
        Self::bounded(0, millis * 1_000_000)
    }

    /// Whether the map form knows a unit.
    pub(crate) fn has_unit(name: &str) -> bool {
        NAMES.iter().any(|(known, _)| *known == name)
    }

    fn bounded(months: u32, nanos: u128) -> Result<Self, String> {
        let seconds = u64::try_from(nanos / NANOS).map_err(|_| too_long())?;
        let rest = Exact::new(seconds, u32::try_from(nanos % NANOS).unwrap_or_default());
        let of_months = u64::from(months) * 31 * 86_400;
        if seconds.saturating_add(of_months) > MAX_SECONDS {
            return Err(too_long());
        }
        Ok(Self { months, rest })
    }

    /// The exact time; `None` when it has months, whose length depends on when they begin.
    #[must_use]
    pub fn exact(&self) -> Option<Exact> {
        (self.months == 0).then_some(self.rest)
    }

    /// When it has passed if it begins at `start`, with months of the UTC calendar; `None` beyond the year 9999.
    #[must_use]
    pub fn ending(&self, start: Timestamp) -> Option<Timestamp> {
        let months = jiff::Span::new().try_months(self.months).ok()?;
        let moved = start.to_zoned_datetime(TimeZone::UTC).checked_add(months).ok()?;
        moved.timestamp().checked_add(self.rest).ok()
    }

    /// Whether it takes no time.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.rest.as_secs(), self.rest.subsec_nanos());
        f.write_str("P")?;
        if self.months > 0 {
            write!(f, "{}M", self.months)?;
        }
        if self.months > 0 && self.rest.is_zero() {
            return Ok(());
        }
        match nanos {
            0 => write!(f, "T{seconds}S"),
            _ => write!(f, "T{seconds}.{}S", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

fn too_long() -> String {
    "a duration of more than ten thousand years".to_owned()
}

/// Whether a text has the form of ISO 8601 durations.
pub(crate) fn is_iso(text: &str) -> bool {
    iso_parts(text).is_some()
}

#[derive(Clone, Copy)]
enum Unit {
    Months(u32),
    Nanos(u128),
}

struct Part<'t> {
    whole: &'t str,
    fraction: &'t str,
    unit: Unit,
}

impl Part<'_> {
    fn whole_number(&self) -> Option<u64> {
        if self.fraction.bytes().any(|digit| digit != b'0') {
            return None;
        }
        self.whole.parse().ok()
    }

    fn nanos(&self, each: u128) -> Option<u128> {
        // Eighteen digits of a week are far below a nanosecond, and fit.
        let digits = &self.fraction[..self.fraction.len().min(18)];
        let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
        let fraction = if digits.is_empty() { 0 } else { digits.parse::<u128>().ok()? * each / scale };
        let whole = u128::from(self.whole.parse::<u64>().ok()?) * each;
        Some(whole + fraction)
    }
}

/// The parts of an ISO 8601 duration, each unit at most once and in order.
fn iso_parts(text: &str) -> Option<Vec<Part<'_>>> {
    let date_units = [('Y', Unit::Months(12)), ('M', Unit::Months(1))];
    let date_units =
        date_units.into_iter().chain(DATE_UNITS.map(|(letter, each)| (letter, Unit::Nanos(each))));
    let rest = text.strip_prefix('P').filter(|rest| !rest.is_empty())?;
    let (date, time) = match rest.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (rest, None),
    };
    let mut parts = some_of(date, date_units)?;
    if let Some(time) = time {
        let of_time =
            some_of(time, TIME_UNITS.map(|(letter, each)| (letter, Unit::Nanos(each))).into_iter())?;
        if of_time.is_empty() {
            return None;
        }
        parts.extend(of_time);
    }
    Some(parts)
}

fn some_of(text: &str, units: impl Iterator<Item = (char, Unit)>) -> Option<Vec<Part<'_>>> {
    let mut rest = text;
    let mut parts = Vec::new();
    for (letter, unit) in units {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix(letter) else { continue };
        let (whole, fraction) = match number.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (number, ""),
        };
        if whole.is_empty() || fraction.contains('.') {
            return None;
        }
        parts.push(Part { whole, fraction, unit });
        rest = after;
    }
    rest.is_empty().then_some(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exact(text: &str) -> Exact {
        Duration::parse(text).unwrap().exact().unwrap()
    }

    #[test]
    fn iso_8601_is_read() {
        assert_eq!(exact("PT1M30S"), Exact::from_secs(90));
        assert_eq!(exact("P1DT2H"), Exact::from_secs(26 * 3600));
        assert_eq!(exact("PT0.25S"), Exact::from_millis(250));
        assert_eq!(exact("P0.5D"), Exact::from_secs(12 * 3600));
        assert_eq!(exact("P2W"), Exact::from_secs(14 * 86_400));
        for wrong in
            ["", "P", "PT", "P1DT", "1S", "PT1", "PT1S1M", "P-1D", "PT1.S", "PT.5S", "P1D ", "P1S", "p1d"]
        {
            assert!(Duration::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_map_form_is_summed() {
        let map = json!({"days": 1, "hours": 1.0, "seconds": 2, "milliseconds": -1});
        let duration = Duration::from_json(&map).unwrap();
        assert_eq!(duration.exact(), Some(Exact::from_millis(90_001_999)));
        for wrong in [json!({}), json!({"weeks": 1}), json!({"hours": 1.5}), json!({"hours": -1}), json!(5)] {
            assert!(Duration::from_json(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let start: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let month = Duration::parse("P1MT1H").unwrap();
        assert_eq!(month.exact(), None);
        assert_eq!(month.ending(start).unwrap().to_string(), "2026-02-28T13:00:00Z");
        assert_eq!(Duration::parse("P9000Y").unwrap().ending(start), None);
        assert!(Duration::parse("P0.5M").unwrap_err().contains("use days"));
    }

    #[test]
    fn what_is_too_long_is_refused() {
        for long in ["P99999999999999999999D", "P9999999D", "P1000000Y", "PT18446744073709551615S"] {
            assert!(Duration::parse(long).is_err(), "{long}");
        }
        assert!(Duration::from_json(&json!({"days": i64::MAX, "hours": i64::MAX})).is_err());
        assert!(Duration::from_json(&json!({"days": u64::MAX})).is_err());
    }

    #[test]
    fn a_duration_is_shown_as_it_is_read() {
        for text in ["PT90S", "PT0.25S", "P14M", "P1MT5S", "PT0S"] {
            assert_eq!(Duration::parse(text).unwrap().to_string(), text);
        }
    }
}
