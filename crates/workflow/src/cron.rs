//! Cron expressions of five fields: minute, hour, day of the month, month, day of the week.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const DAYS_OF_MONTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// How many days are looked through: 29 February comes at the latest after eight years.
const DAYS: usize = 8 * 366 + 2;

fn has(set: u64, value: i8) -> bool {
    set >> value.unsigned_abs() & 1 == 1
}

/// When something fires. Where both days are restricted, one of them is enough, as cron has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    /// Bit n: the value n is meant.
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Neither of the two kinds of days begins with `*`.
    either_day: bool,
}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field { name: "month", min: 1, max: 12, names: &MONTHS },
    // Seven is Sunday too.
    Field { name: "day of the week", min: 0, max: 7, names: &WEEKDAYS },
];

impl Cron {
    /// Reads `0 6 * * mon-fri`: numbers or English names, lists, ranges, steps.
    ///
    /// # Errors
    /// Not five fields, a field that is none, dates that never come (30 February).
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let Ok(fields) = <[&str; 5]>::try_from(fields) else {
            return Err("expected five fields: minute hour day month weekday".to_owned());
        };
        let mut sets = [0_u64; 5];
        for ((set, field), text) in sets.iter_mut().zip(&FIELDS).zip(fields) {
            *set = field.read(text)?;
        }
        let [minutes, hours, days, months, weekdays] = sets;
        let weekdays = if weekdays & (1 << 7) == 0 { weekdays } else { (weekdays | 1) & !(1 << 7) };
        let either_day = !fields[2].starts_with('*') && !fields[4].starts_with('*');
        let cron = Self { text: text.to_owned(), minutes, hours, days, months, weekdays, either_day };
        if cron.comes() {
            Ok(cron)
        } else {
            Err("no month has such a day, so it would never fire".to_owned())
        }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it fires in the minute of this local time; seconds are not looked at.
    #[must_use]
    pub fn matches(&self, time: DateTime) -> bool {
        self.matches_day(time) && has(self.hours, time.hour()) && has(self.minutes, time.minute())
    }

    fn matches_day(&self, time: DateTime) -> bool {
        let day = has(self.days, time.day());
        let weekday = has(self.weekdays, time.weekday().to_sunday_zero_offset());
        let days = if self.either_day { day || weekday } else { day && weekday };
        days && has(self.months, time.month())
    }

    /// The first time after another one at which it fires, in a time zone; none beyond representable time.
    ///
    /// A fixed hour that a change of the clock leaves out fires as soon as the clock has jumped; one that comes twice fires the
    /// first time. Where every hour is meant, what the clock leaves out is left out and what comes twice fires twice.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // The clock may be put back over the day's beginning.
        let first = zone.to_datetime(after).date().yesterday().ok()?;
        let mut days = first.series(jiff::Span::new().days(1)).take(DAYS);
        days.find_map(|day| {
            let day = day.to_datetime(Time::midnight());
            if !self.matches_day(day) {
                return None;
            }
            let times = (0..24_i8).flat_map(|hour| (0..60_i8).map(move |minute| (hour, minute)));
            let times = times.filter(|(hour, minute)| has(self.hours, *hour) && has(self.minutes, *minute));
            let at = |(hour, minute)| day.with().hour(hour).minute(minute).build().ok();
            times.filter_map(at).flat_map(|time| self.instants(time, zone)).filter(|at| *at > after).min()
        })
    }

    /// When it fires of a local time that it means.
    fn instants(&self, time: DateTime, zone: &TimeZone) -> Vec<Timestamp> {
        let every_hour = self.hours == (1 << 24) - 1;
        let ambiguous = zone.to_ambiguous_timestamp(time);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } if every_hour => Vec::new(),
            AmbiguousOffset::Fold { .. } if every_hour => {
                [ambiguous.earlier(), ambiguous.later()].into_iter().filter_map(Result::ok).collect()
            }
            _ => ambiguous.compatible().into_iter().collect(),
        }
    }

    fn comes(&self) -> bool {
        let first = self.days.trailing_zeros();
        let longest = (1..=12)
            .filter(|month| self.months >> month & 1 == 1)
            .map(|month: usize| DAYS_OF_MONTHS[month - 1]);
        self.either_day || longest.max().is_some_and(|longest| first <= longest)
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |set, part| {
            let more = self.part(part).ok_or_else(|| {
                let part = sos_model::shown(part);
                format!(
                    "\"{part}\" is no {}; expected {} to {}, `*`, a range or a step",
                    self.name, self.min, self.max
                )
            })?;
            Ok(set | more)
        })
    }

    /// `*`, `4`, `1-5`, each with a step (`*/15`) or none.
    fn part(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (self.min, self.max),
            (_, Some((from, to))) => (self.value(from)?, self.value(to)?),
            (single, None) => {
                let from = self.value(single)?;
                (from, if step.is_some() { self.max } else { from })
            }
        };
        let step = step.map_or(Some(1), number).filter(|step| *step > 0)?;
        if from > to {
            return None;
        }
        Some((from..=to).step_by(step as usize).fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        let named = self.names.iter().position(|name| *name == lower);
        let named = named.and_then(|index| u32::try_from(index).ok()).map(|index| index + self.min);
        named.or_else(|| number(text)).filter(|value| (self.min..=self.max).contains(value))
    }
}

fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires(cron: &str, at: &str) -> bool {
        Cron::parse(cron).unwrap().matches(at.parse().unwrap())
    }

    #[test]
    fn fields_are_numbers_names_lists_ranges_and_steps() {
        assert!(fires("0 0 * * *", "2026-07-01T00:00"));
        assert!(!fires("0 0 * * *", "2026-07-01T00:01"));
        assert!(fires("*/15 8-17 * * mon-fri", "2026-07-01T09:45"));
        assert!(!fires("*/15 8-17 * * mon-fri", "2026-07-04T09:45"));
        assert!(fires("5/20 * 1,15 JAN,jul *", "2026-07-15T03:25"));
        assert!(fires("0 0 * * 7", "2026-07-05T00:00"), "seven is Sunday");
        assert!(fires("0 0 * * 5-7", "2026-07-05T00:00"));
    }

    fn next(cron: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let next = Cron::parse(cron).unwrap().next(after.parse().unwrap(), &zone).unwrap();
        let text = next.display_with_offset(zone.to_offset(next)).to_string();
        format!("{}{}", &text[..16], &text[19..])
    }

    #[test]
    fn the_next_time_is_that_of_the_local_clock() {
        assert_eq!(next("0 6 * * *", "2026-07-01T04:00:00Z", "Europe/Berlin"), "2026-07-02T06:00+02:00");
        assert_eq!(next("0 6 * * *", "2026-07-01T03:59:59Z", "Europe/Berlin"), "2026-07-01T06:00+02:00");
        assert_eq!(next("0 0 29 2 *", "2096-03-01T00:00:00Z", "UTC"), "2104-02-29T00:00+00:00");
        assert_eq!(next("*/20 * * * *", "2026-07-01T23:40:00Z", "UTC"), "2026-07-02T00:00+00:00");
        // 02:30 does not come on the day on which the clock is put forward, and comes twice when it is put back.
        assert_eq!(next("30 2 * * *", "2026-03-28T12:00:00Z", "Europe/Berlin"), "2026-03-29T03:30+02:00");
        assert_eq!(next("30 2 * * *", "2026-10-24T12:00:00Z", "Europe/Berlin"), "2026-10-25T02:30+02:00");
        assert_eq!(next("30 2 * * *", "2026-10-25T00:30:00Z", "Europe/Berlin"), "2026-10-26T02:30+01:00");
        assert_eq!(next("30 * * * *", "2026-10-25T00:30:00Z", "Europe/Berlin"), "2026-10-25T02:30+01:00");
        assert_eq!(next("30 * * * *", "2026-03-29T00:30:00Z", "Europe/Berlin"), "2026-03-29T03:30+02:00");
    }

    #[test]
    fn of_two_restricted_days_one_is_enough() {
        assert!(fires("0 0 13 * fri", "2026-07-13T00:00"));
        assert!(fires("0 0 13 * fri", "2026-07-03T00:00"));
        assert!(!fires("0 0 13 * fri", "2026-07-14T00:00"));
        assert!(!fires("0 0 */2 * fri", "2026-07-13T00:00"), "a step of `*` does not restrict");
    }

    #[test]
    fn what_never_fires_is_refused() {
        for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 feb *"] {
            assert!(Cron::parse(never).unwrap_err().contains("never"), "{never}");
        }
        for seldom in ["0 0 29 2 *", "0 0 31 * *", "0 0 30 2 mon", "0 0 30,1 2 *"] {
            assert!(Cron::parse(seldom).is_ok(), "{seldom}");
        }
    }

    #[test]
    fn what_is_no_cron_is_refused_with_the_field() {
        assert!(Cron::parse("* * * *").unwrap_err().contains("five fields"));
        assert!(Cron::parse("60 * * * *").unwrap_err().contains("minute"));
        for wrong in
            ["* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5-1 * * * *", "a * * * *", "1,, * * * *"]
        {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
    }
}
