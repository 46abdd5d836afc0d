//! Reference forecasts: what held a day or a week ago, and means of the same time of day.

use crate::panel::Seen;

/// Days that the mean of the same weekday goes back.
const WEEKS: usize = 4;

/// The value of the same time on the latest day that is seen.
pub(crate) fn day(seen: &Seen<'_>, leads: usize) -> Vec<f64> {
    (0..leads).map(|lead| seen.days_before(lead, seen.days_to_seen(lead))).collect()
}

/// The value of the same time in the latest week that is seen.
pub(crate) fn week(seen: &Seen<'_>, leads: usize) -> Vec<f64> {
    (0..leads).map(|lead| seen.days_before(lead, weeks_to_seen(seen, lead) * 7)).collect()
}

/// Mean of the same time over the latest `days` days that are seen.
pub(crate) fn mean_of_days(seen: &Seen<'_>, leads: usize, days: usize) -> Vec<f64> {
    let there = (seen.end() / seen.per_day).max(1);
    (0..leads)
        .map(|lead| {
            let from = seen.days_to_seen(lead);
            let until = (from + days).min(there + from.min(1)).max(from + 1);
            mean((from..until).map(|day| seen.days_before(lead, day)))
        })
        .collect()
}

/// Mean of the same time and weekday over the latest weeks that are seen.
pub(crate) fn mean_of_weeks(seen: &Seen<'_>, leads: usize) -> Vec<f64> {
    let there = (seen.end() / (7 * seen.per_day)).max(1);
    (0..leads)
        .map(|lead| {
            let from = weeks_to_seen(seen, lead);
            let until = (from + WEEKS).min(there + 1).max(from + 1);
            mean((from..until).map(|week| seen.days_before(lead, 7 * week)))
        })
        .collect()
}

fn weeks_to_seen(seen: &Seen<'_>, lead: usize) -> usize {
    lead / (7 * seen.per_day) + 1
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    if n > 0.0 { sum / n } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::Panel;

    #[test]
    fn references_repeat_days_and_weeks() {
        let mut panel = Panel::new(2, 0, 0);
        for at in 0..28_i64 {
            panel.push(at, Some(at as f64));
        }
        let seen = panel.seen(28);
        assert_eq!(day(&seen, 4), [26.0, 27.0, 26.0, 27.0]);
        assert_eq!(week(&seen, 2), [14.0, 15.0]);
        assert_eq!(mean_of_days(&seen, 2, 2), [25.0, 26.0]);
        assert_eq!(mean_of_weeks(&seen, 1), [7.0]);
    }
}
