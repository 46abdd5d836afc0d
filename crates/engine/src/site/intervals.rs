//! The periods and intervals over which charges count, in local time.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_model::{BillingPeriod, Charge, Charged};

/// An interval over which import is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    /// The local day that it is of.
    pub(super) day: Date,
    /// Seconds from the begin of that day to its own.
    pub(super) after: i64,
    /// Its begin.
    pub(super) begin: Timestamp,
    /// Its end.
    pub(super) end: Timestamp,
}

impl Interval {
    /// Its length, seconds.
    pub(super) fn seconds(&self) -> i64 {
        self.end.duration_since(self.begin).as_secs().max(1)
    }
}

/// Seconds of the intervals of a peak; of an amount there are none.
pub(super) fn length_of(charge: &Charge) -> i64 {
    match &charge.on {
        Charged::Peak(peak) => peak.interval.as_secs().max(1),
        Charged::Tier(_) => 1,
    }
}

/// The interval of a time, `length` in seconds. Intervals follow one another from local midnight on as time passes, so that an hour
/// that clocks repeat is another one. On a day that is longer or shorter by that, the last takes what is left: it is never a
/// small rest, in which a short load would be a high peak.
pub(super) fn interval_of(at: Timestamp, zone: &TimeZone, length: i64) -> Interval {
    let day = zone.to_datetime(at).date();
    let (midnight, next) = (midnight(day, zone), next_midnight(day, zone));
    let seconds = |until: Timestamp| until.duration_since(midnight).as_secs();
    let last = (seconds(next) / length - 1).max(0);
    let index = (seconds(at) / length).clamp(0, last);
    let after = index * length;
    let begin = midnight + SignedDuration::from_secs(after);
    let end = if index < last { begin + SignedDuration::from_secs(length) } else { next };
    Interval { day, after, begin, end }
}

/// The parts of a step or a tick that lie in one interval or period each, in order. Of the intervals of a day that lie wholly within
/// it, and so all have its mean, there are not more than three.
pub(super) fn parts(
    charge: &Charge,
    zone: &TimeZone,
    (from, until): (Timestamp, Timestamp),
) -> Vec<(Timestamp, Timestamp)> {
    let (mut parts, mut at) = (Vec::new(), from);
    while at < until {
        let per = match &charge.on {
            Charged::Peak(_) => BillingPeriod::Day,
            Charged::Tier(tier) => tier.per,
        };
        let end = period_end(at, zone, per);
        // Where clocks go back over midnight, the next midnight may have been already.
        let end = if end > at { end.min(until) } else { until };
        match &charge.on {
            Charged::Peak(_) => parts.extend(parts_of_day(zone, length_of(charge), (at, end))),
            Charged::Tier(_) => parts.push((at, end)),
        }
        at = end;
    }
    parts
}

/// The same within a day: what lies in the first interval, one of those between, and what lies in the last.
fn parts_of_day(
    zone: &TimeZone,
    length: i64,
    (from, until): (Timestamp, Timestamp),
) -> Vec<(Timestamp, Timestamp)> {
    let first = interval_of(from, zone, length);
    if first.end <= from || first.end >= until {
        return vec![(from, until)];
    }
    let last = interval_of(until - SignedDuration::from_nanos(1), zone, length);
    let mut parts = vec![(from, first.end)];
    if first.end < last.begin {
        parts.push((first.end, first.end + SignedDuration::from_secs(length)));
    }
    parts.push((last.begin, until));
    parts
}

/// The first day of the period of a time.
pub(super) fn period_of(at: Timestamp, zone: &TimeZone, per: BillingPeriod) -> Date {
    let date = zone.to_datetime(at).date();
    match per {
        BillingPeriod::Day => date,
        BillingPeriod::Month => date.first_of_month(),
        BillingPeriod::Year => date.first_of_year(),
    }
}

/// When the period of a time ends.
pub(super) fn period_end(at: Timestamp, zone: &TimeZone, per: BillingPeriod) -> Timestamp {
    let date = zone.to_datetime(at).date();
    let last = match per {
        BillingPeriod::Day => date,
        BillingPeriod::Month => date.last_of_month(),
        BillingPeriod::Year => date.last_of_year(),
    };
    next_midnight(last, zone)
}

/// How many periods end after a time and no later than another one.
pub(super) fn periods_between(
    (from, until): (Timestamp, Timestamp),
    zone: &TimeZone,
    per: BillingPeriod,
) -> usize {
    let ends =
        std::iter::successors(Some(period_end(from, zone, per)), |end| Some(period_end(*end, zone, per)));
    ends.take_while(|end| *end <= until).count()
}

fn midnight(day: Date, zone: &TimeZone) -> Timestamp {
    zone.to_ambiguous_timestamp(day.to_datetime(Time::midnight())).compatible().unwrap_or(Timestamp::MAX)
}

fn next_midnight(day: Date, zone: &TimeZone) -> Timestamp {
    day.tomorrow().map_or(Timestamp::MAX, |next| midnight(next, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The intervals of a local day, hours from its begin.
    fn hours(zone: &str, day: &str, length: i64) -> Vec<(f64, f64)> {
        let zone = TimeZone::get(zone).unwrap();
        let day: Date = day.parse().unwrap();
        let (begin, end) = (midnight(day, &zone), next_midnight(day, &zone));
        let after = |at: Timestamp| at.duration_since(begin).as_secs_f64() / 3600.0;
        let (mut all, mut at) = (Vec::new(), begin);
        while at < end {
            let interval = interval_of(at, &zone, length);
            assert_eq!((interval.day, interval.begin), (day, at));
            assert_eq!(begin + SignedDuration::from_secs(interval.after), at);
            all.push((after(interval.begin), after(interval.end)));
            at = interval.end;
        }
        assert_eq!(at, end, "they fill the day");
        all
    }

    #[test]
    fn intervals_fill_every_day_and_only_the_last_one_may_be_longer() {
        let (spring, autumn) = ("2026-03-29", "2026-10-25");
        assert_eq!(hours("Europe/Berlin", autumn, 900).len(), 100);
        assert_eq!(hours("Europe/Berlin", spring, 900).len(), 92);
        assert_eq!(hours("Europe/Berlin", autumn, 3600)[2..4], [(2.0, 3.0), (3.0, 4.0)]);
        assert_eq!(hours("Europe/Berlin", autumn, 7200).last(), Some(&(22.0, 25.0)));
        assert_eq!(hours("Europe/Berlin", spring, 7200).last(), Some(&(20.0, 23.0)));
        assert_eq!(hours("Europe/Berlin", autumn, 86400), [(0.0, 25.0)]);
        assert_eq!(hours("Europe/Berlin", spring, 86400), [(0.0, 23.0)]);
        assert_eq!(hours("Australia/Lord_Howe", "2026-04-05", 3600).last(), Some(&(23.0, 24.5)));
        // Midnight comes twice, and not at all.
        assert_eq!(hours("Atlantic/Azores", "2026-10-25", 3600).len(), 25);
        assert_eq!(hours("Atlantic/Azores", "2026-03-29", 3600).len(), 23);
    }

    #[test]
    fn clocks_that_go_back_over_midnight_end_no_search() {
        // At 00:01 it became 23:01 of the day before.
        let zone = TimeZone::get("America/St_Johns").unwrap();
        let (mut from, end) = (at("2010-11-07T01:00:00Z"), at("2010-11-07T06:00:00Z"));
        while from < end {
            let parts = parts_of_day(&zone, 900, (from, from + SignedDuration::from_mins(50)));
            assert!(parts.iter().all(|(from, until)| from < until), "{parts:?}");
            from += SignedDuration::from_mins(7);
        }
    }

    #[test]
    fn periods_are_counted_by_their_ends() {
        let count = |until| {
            periods_between((at("2026-01-30T12:00:00Z"), at(until)), &TimeZone::UTC, BillingPeriod::Day)
        };
        assert_eq!(count("2026-01-30T23:59:59Z"), 0);
        assert_eq!(count("2026-01-31T00:00:00Z"), 1);
        assert_eq!(count("2026-02-02T12:00:00Z"), 3);
    }
}
