//! The series that are judged: where they are, when forecasts are issued, what they are compared with.
//!
//! # Time
//! Seconds since 1970, UTC. A step's time is its start; an issue time names the last row that was seen.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// One column of one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) file: &'static str,
    pub(super) target: &'static str,
    /// Where its people live: the calendar of those who use one.
    pub(super) zone: &'static str,
    pub(super) split: &'static Split,
}

/// When forecasts are issued, how far they reach and what they are compared with.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) kind: Kind,
    /// Column of the times.
    pub(super) time: &'static str,
    pub(super) step: i64,
    pub(super) steps: i64,
    pub(super) every: i64,
    days: i64,
    /// Start of the first judged step of an issue, after a multiple of `every`.
    phase: i64,
    /// The skill is measured against the best of these.
    pub(super) naive: &'static [Reference],
    /// Further references, shown only.
    pub(super) further: &'static [Reference],
    pub(super) peers: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    DayAhead,
    Household,
    Requests,
}

/// A forecast that needs no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    LastValue,
    Yesterday,
    LastWeek,
    MeanOf28Days,
}

const PEERS: &[&str] = &["AutoETS", "MSTL", "LightGBM"];

/// 24 hours from midnight UTC, over the last 60 days.
const DAY_AHEAD: Split = Split {
    kind: Kind::DayAhead,
    time: "time_utc",
    step: HOUR,
    steps: 24,
    every: DAY,
    days: 60,
    phase: 0,
    naive: &[Reference::Yesterday, Reference::LastWeek],
    further: &[],
    peers: PEERS,
};

/// Local days of a winter in Paris, which start at 23:00 UTC.
const HOUSEHOLD: Split = Split {
    kind: Kind::Household,
    step: HOUR / 2,
    steps: 48,
    days: 14,
    phase: 23 * HOUR,
    further: &[Reference::MeanOf28Days],
    ..DAY_AHEAD
};

/// Ten minutes, every ten minutes.
const REQUESTS: Split = Split {
    kind: Kind::Requests,
    time: "period",
    step: 60,
    steps: 10,
    every: 600,
    days: 2,
    phase: 0,
    naive: &[Reference::LastValue, Reference::Yesterday],
    further: &[],
    peers: &[],
};

const LUXEMBOURG: &str = "de-lu-2020/de_lu_2020_hourly.csv";
const ONTARIO: &str = "ontario-2016/ontario_2016_hourly.csv";

pub(super) const SERIES: &[Series] = &[
    day_ahead("Luxembourg load", "MW", LUXEMBOURG, "lu_load_mw", "Europe/Luxembourg"),
    day_ahead("Luxembourg solar", "MW", LUXEMBOURG, "lu_pv_mw", "Europe/Luxembourg"),
    day_ahead("Luxembourg wind", "MW", LUXEMBOURG, "lu_wind_mw", "Europe/Luxembourg"),
    day_ahead("DE-LU price", "EUR/MWh", LUXEMBOURG, "de_lu_spot_eur_per_mwh", "Europe/Luxembourg"),
    day_ahead("Ontario load", "MW", ONTARIO, "load_mw", "America/Toronto"),
    day_ahead("Ontario wind", "MW", ONTARIO, "wind_mw", "America/Toronto"),
    day_ahead("Ontario price", "CAD/MWh", ONTARIO, "hoep_cad_per_mwh", "America/Toronto"),
    Series {
        name: "French household",
        unit: "W",
        file: "household-fr/household_fr_30min.csv",
        target: "load_w",
        zone: "Europe/Paris",
        split: &HOUSEHOLD,
    },
    Series {
        name: "requests a minute",
        unit: "requests",
        file: "traces/worldcup98/requests_per_minute.csv",
        target: "count",
        zone: "UTC",
        split: &REQUESTS,
    },
];

const fn day_ahead(
    name: &'static str,
    unit: &'static str,
    file: &'static str,
    target: &'static str,
    zone: &'static str,
) -> Series {
    Series { name, unit, file, target, zone, split: &DAY_AHEAD }
}

impl Reference {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LastValue => "last value",
            Self::Yesterday => "day-naive",
            Self::LastWeek => "week-naive",
            Self::MeanOf28Days => "mean of 28 days",
        }
    }

    /// What it says for `valid`; `None` where the value it would repeat is missing.
    fn forecast(self, values: &Values, issued: i64, valid: i64) -> Option<f64> {
        match self {
            Self::LastValue => values.at(issued),
            Self::Yesterday => values.at(valid - DAY),
            Self::LastWeek => values.at(valid - 7 * DAY),
            Self::MeanOf28Days => {
                let known: Vec<f64> = (1..=28).filter_map(|day| values.at(valid - day * DAY)).collect();
                (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
            }
        }
    }
}

/// The measured column.
#[derive(Debug)]
pub(super) struct Values {
    by_time: HashMap<i64, f64>,
    last: i64,
}

impl Values {
    fn at(&self, time: i64) -> Option<f64> {
        self.by_time.get(&time).copied()
    }

    /// Reads one column; empty cells are missing values.
    ///
    /// # Errors
    /// When the file or a column is missing, or a cell is neither empty nor what it should be.
    pub(super) fn read(file: &Path, time: &str, target: &str) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        Self::parse(&text, time, target).map_err(|e| format!("{}: {e}", file.display()))
    }

    fn parse(text: &str, time: &str, target: &str) -> Result<Self, String> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headers = reader.headers().map_err(|e| e.to_string())?.clone();
        let (time, target) = (column(&headers, time)?, column(&headers, target)?);
        let (mut by_time, mut last) = (HashMap::new(), i64::MIN);
        for row in reader.records() {
            let row = row.map_err(|e| e.to_string())?;
            let moment = seconds(&row[time])?;
            last = last.max(moment);
            if !row[target].is_empty() {
                by_time.insert(moment, number(&row[target])?);
            }
        }
        if by_time.is_empty() {
            return Err(format!("no values in column `{}`", &headers[target]));
        }
        Ok(Self { by_time, last })
    }
}

/// Position of a column.
pub(super) fn column(headers: &csv::StringRecord, name: &str) -> Result<usize, String> {
    headers.iter().position(|known| known == name).ok_or_else(|| {
        format!("no column `{name}`; there are: {}", headers.iter().collect::<Vec<_>>().join(", "))
    })
}

pub(super) fn number(cell: &str) -> Result<f64, String> {
    let value: f64 = cell.parse().map_err(|_| format!("`{cell}` is no number"))?;
    if value.is_finite() { Ok(value) } else { Err(format!("`{cell}` is no finite number")) }
}

/// RFC 3339, or a date and time that is UTC.
pub(super) fn seconds(cell: &str) -> Result<i64, String> {
    let civil = |cell: &str| cell.parse::<DateTime>().and_then(|time| TimeZone::UTC.to_timestamp(time));
    let time = cell.parse::<Timestamp>().or_else(|_| civil(cell));
    time.map(|time| time.as_second()).map_err(|_| format!("`{cell}` is no time"))
}

/// One step on which everyone is judged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) issued: i64,
    pub(super) valid: i64,
    pub(super) actual: f64,
    /// What the references said: those of `naive`, then those of `further`.
    pub(super) references: Vec<f64>,
    /// Hour since the start of the judged day, 0 to 23.
    pub(super) hour: usize,
}

impl Split {
    pub(super) fn references(&self) -> impl Iterator<Item = Reference> {
        self.naive.iter().chain(self.further).copied()
    }

    /// First and last issue time: the last whole days or periods of the data.
    pub(super) fn issues(&self, values: &Values) -> (i64, i64) {
        let latest = values.last - self.steps * self.step;
        let last = latest - (latest + self.step - self.phase).rem_euclid(self.every);
        (last - (self.days * DAY - self.every), last)
    }

    /// The steps on which everyone is judged: measured, known to every reference, and not a zero that yesterday
    /// was zero too (a night of solar power).
    pub(super) fn judged(&self, values: &Values) -> Vec<Step> {
        let (first, last) = self.issues(values);
        let mut steps = Vec::new();
        let mut issued = first;
        while issued <= last {
            steps.extend((1..=self.steps).filter_map(|lead| self.step_of(values, issued, lead)));
            issued += self.every;
        }
        steps
    }

    fn step_of(&self, values: &Values, issued: i64, lead: i64) -> Option<Step> {
        let valid = issued + lead * self.step;
        let actual = values.at(valid)?;
        let references = self.references().map(|reference| reference.forecast(values, issued, valid));
        let references: Vec<f64> = references.collect::<Option<_>>()?;
        let trivial = actual == 0.0 && values.at(valid - DAY)? == 0.0;
        let hour = usize::try_from((valid - self.phase).rem_euclid(DAY) / HOUR).unwrap_or_default();
        (!trivial).then_some(Step { issued, valid, actual, references, hour })
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers of these cases are exact")]
mod tests {
    use super::*;

    /// Hours from 2020-01-01 on, the value being the hour's number.
    fn hours(count: i64) -> Values {
        let start = seconds("2020-01-01T00:00:00Z").unwrap();
        let by_time = (0..count).map(|hour| (start + hour * HOUR, hour as f64)).collect();
        Values { by_time, last: start + (count - 1) * HOUR }
    }

    fn shown(time: i64) -> String {
        Timestamp::from_second(time).unwrap().to_string()
    }

    #[test]
    fn the_last_issue_leaves_a_whole_day_to_judge() {
        // The data ends with 2020-03-10T04:00, so 2020-03-09 is the last whole day.
        let (first, last) = DAY_AHEAD.issues(&hours(69 * 24 + 5));
        assert_eq!(
            (shown(first), shown(last)),
            ("2020-01-09T23:00:00Z".into(), "2020-03-08T23:00:00Z".into())
        );
        assert_eq!((last - first) / DAY + 1, 60);
    }

    #[test]
    fn a_household_is_judged_on_local_days_and_requests_every_ten_minutes() {
        let last = seconds("2025-02-13T22:30:00Z").unwrap();
        let values = Values { by_time: HashMap::new(), last };
        let (first, last) = HOUSEHOLD.issues(&values);
        assert_eq!(
            (shown(first), shown(last)),
            ("2025-01-30T22:30:00Z".into(), "2025-02-12T22:30:00Z".into())
        );
        let values = Values { by_time: HashMap::new(), last: seconds("1998-06-28 23:59:00").unwrap() };
        let (first, last) = REQUESTS.issues(&values);
        assert_eq!(
            (shown(first), shown(last)),
            ("1998-06-26T23:59:00Z".into(), "1998-06-28T23:49:00Z".into())
        );
    }

    #[test]
    fn references_repeat_what_was_measured() {
        let values = hours(40 * 24);
        let issued = values.last - DAY;
        let valid = issued + HOUR;
        let now = (valid - values.last + 40 * DAY - HOUR) as f64 / HOUR as f64;
        let say = |reference: Reference| reference.forecast(&values, issued, valid).unwrap();
        assert_eq!(say(Reference::LastValue), now - 1.0);
        assert_eq!(say(Reference::Yesterday), now - 24.0);
        assert_eq!(say(Reference::LastWeek), now - 168.0);
        assert_eq!(say(Reference::MeanOf28Days), now - 24.0 * 14.5);
    }

    #[test]
    fn steps_without_a_measurement_and_repeated_zeros_are_left_out() {
        let mut values = hours(69 * 24);
        let all = DAY_AHEAD.judged(&values).len();
        assert_eq!(all, 60 * 24);
        let end = values.last;
        // The gap is missing as an outcome, and for a day and a week later as a reference.
        values.by_time.remove(&(end - 20 * DAY));
        assert_eq!(DAY_AHEAD.judged(&values).len(), all - 3);
        values.by_time.extend([(end, 0.0), (end - DAY, 0.0)]);
        let steps = DAY_AHEAD.judged(&values);
        assert_eq!(steps.len(), all - 4);
        assert_eq!(steps.last().map(|step| step.hour), Some(22));
    }

    #[test]
    fn a_column_is_read_with_its_gaps() {
        let values =
            Values::parse("t,x\n2020-01-01T00:00:00Z,1.5\n2020-01-01T01:00:00Z,\n", "t", "x").unwrap();
        assert_eq!((values.by_time.len(), shown(values.last)), (1, "2020-01-01T01:00:00Z".to_owned()));
        assert_eq!(Values::parse("t,x\n", "t", "y").unwrap_err(), "no column `y`; there are: t, x");
        assert_eq!(Values::parse("t,x\nnow,1\n", "t", "x").unwrap_err(), "`now` is no time");
    }
}
