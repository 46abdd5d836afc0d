//! Hours in which people are not woken.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};

/// Daily hours in which alerts wait; those that still fire at the end are told then.
#[derive(Clone, Debug)]
pub struct QuietHours {
    /// Which alerts wait; none of these: all but `severity="critical"`.
    pub matchers: Vec<Matcher>,
    /// Days on which the hours begin; none: every day.
    pub days: Vec<Weekday>,
    /// Begin, inclusive.
    pub from: Time,
    /// End, exclusive; not after the begin means on the next day.
    pub to: Time,
    /// Where the hours are meant.
    pub zone: TimeZone,
    /// Notifiers that keep quiet; none: all.
    pub notifiers: Vec<String>,
}

impl QuietHours {
    /// Whether an alert waits in these hours when it would go to a notifier.
    pub(super) fn concerns(&self, labels: &Labels, notifier: &str) -> bool {
        let here = self.notifiers.is_empty() || self.notifiers.iter().any(|name| name == notifier);
        let meant = match self.matchers.is_empty() {
            true => labels.get("severity") != "critical",
            false => self.matchers.iter().all(|m| m.matches(labels.get(m.name()))),
        };
        here && meant
    }

    /// When the quiet that holds now ends, in ms since 1970; none when it is not quiet.
    pub(super) fn ends_ms(&self, now_ms: i64) -> Option<i64> {
        let now = Timestamp::from_millisecond(now_ms).ok()?;
        let today = self.zone.to_datetime(now).date();
        // The quiet of yesterday may reach into today.
        let days = [today.yesterday().ok(), Some(today)];
        let ends = days.into_iter().flatten().filter_map(|day| self.of_day(day, now));
        ends.max()
    }

    fn of_day(&self, day: Date, now: Timestamp) -> Option<i64> {
        if !self.days.is_empty() && !self.days.contains(&day.weekday()) {
            return None;
        }
        let last = if self.to > self.from { day } else { day.checked_add(1.day()).ok()? };
        // Hours that a change of the clock leaves out begin or end where it goes on.
        let at =
            |day: Date, time: Time| self.zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok();
        let (start, end) = (at(day, self.from)?, at(last, self.to)?);
        (start <= now && now < end).then(|| end.as_millisecond())
    }

    /// The usual ones: every night for all but critical alerts.
    pub fn nightly(from: Time, to: Time, zone: TimeZone) -> Self {
        let matchers = Matcher::new(MatchOp::NotEqual, "severity", "critical").into_iter().collect();
        Self { matchers, days: Vec::new(), from, to, zone, notifiers: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn nights() -> QuietHours {
        let time = |hour| Time::new(hour, 0, 0, 0).unwrap();
        QuietHours::nightly(time(22), time(7), TimeZone::get("Europe/Berlin").unwrap())
    }

    #[test]
    fn nights_end_in_the_morning_of_the_zone() {
        let quiet = nights();
        let end = ms("2026-06-02T07:00:00+02:00");
        for (at, expected) in [
            ("2026-06-01T21:59:59+02:00", None),
            ("2026-06-01T22:00:00+02:00", Some(end)),
            ("2026-06-02T03:00:00+02:00", Some(end)),
            ("2026-06-02T07:00:00+02:00", None),
        ] {
            assert_eq!(quiet.ends_ms(ms(at)), expected, "{at}");
        }
    }

    #[test]
    fn a_change_of_the_clock_moves_the_end_with_it() {
        let quiet = nights();
        // In this night the clock goes from 2 to 3.
        assert_eq!(quiet.ends_ms(ms("2026-03-28T23:00:00+01:00")), Some(ms("2026-03-29T07:00:00+02:00")));
    }

    #[test]
    fn critical_alerts_and_other_days_are_not_quiet() {
        let mut quiet = nights();
        let labels = |severity: &'static str| Labels::new([("severity", severity)]);
        assert!(quiet.concerns(&labels("page"), "mail") && quiet.concerns(&Labels::empty(), "mail"));
        assert!(!quiet.concerns(&labels("critical"), "mail"));
        quiet.notifiers = vec!["phone".to_owned()];
        assert!(!quiet.concerns(&labels("page"), "mail"));
        quiet.days = vec![Weekday::Monday];
        assert!(quiet.ends_ms(ms("2026-06-02T03:00:00+02:00")).is_some());
        assert!(quiet.ends_ms(ms("2026-06-03T03:00:00+02:00")).is_none());
    }
}
