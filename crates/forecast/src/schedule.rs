//! Which series is brought up to date next, within a budget of processor time.

use jiff::{SignedDuration, Timestamp};

/// Seconds of processor time that may be saved up, and owed at most.
const MOST_CREDIT: f64 = 60.0;

/// A series that is refitted from time to time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Due {
    /// When it was refitted last.
    last: Option<Timestamp>,
    urgent: bool,
    running: bool,
    /// Seconds of processor time that the last refit took.
    cost: f64,
}

/// Decides which series is refitted next: those asked for first, then the one that has waited longest, none while the budget is
/// spent. A refit is paid for by what the last one of its series took, and settled when it is done.
#[derive(Clone, Debug)]
pub struct RefitSchedule {
    every: SignedDuration,
    share: Option<f64>,
    credit: f64,
    as_of: Option<Timestamp>,
    series: Vec<Due>,
}

impl RefitSchedule {
    /// For `series` series, each refitted `every` so often (above zero), with at most `share` seconds of processor time
    /// a second (0 or above); none is no limit.
    #[must_use]
    pub fn new(series: usize, every: SignedDuration, share: Option<f64>) -> Self {
        let due = Due { last: None, urgent: false, running: false, cost: 0.0 };
        Self { every, share, credit: 0.0, as_of: None, series: vec![due; series] }
    }

    /// Wants a series refitted as soon as the budget allows.
    pub fn ask(&mut self, series: usize) {
        if let Some(due) = self.series.get_mut(series) {
            due.urgent = true;
        }
    }

    /// The series to be refitted now, if any is due and there is something to spend; it counts as running until
    /// [`Self::done`]. Call it again until it has nothing more.
    pub fn next(&mut self, now: Timestamp) -> Option<usize> {
        self.earn(now);
        if self.share.is_some() && self.credit < 0.0 {
            return None;
        }
        // On a grid, so that refits come at the same times of day.
        let period = |time: Timestamp| time.as_second().div_euclid(self.every.as_secs().max(1));
        let wanted = |due: &Due| {
            !due.running && (due.urgent || due.last.is_none_or(|last| period(last) < period(now)))
        };
        let ready = self.series.iter().enumerate().filter(|(_, due)| wanted(due));
        let (series, _) = ready.min_by_key(|(series, due)| (!due.urgent, due.last, *series))?;
        let due = &mut self.series[series];
        (due.running, due.urgent, due.last) = (true, false, Some(now));
        self.credit -= due.cost;
        Some(series)
    }

    /// A refit took `seconds` of processor time.
    pub fn done(&mut self, series: usize, seconds: f64) {
        let Some(due) = self.series.get_mut(series).filter(|due| due.running) else { return };
        let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
        self.credit = (self.credit + due.cost - seconds).max(-MOST_CREDIT);
        (due.cost, due.running) = (seconds, false);
    }

    /// Whether any series is being refitted.
    #[must_use]
    pub fn any_running(&self) -> bool {
        self.series.iter().any(|due| due.running)
    }

    fn earn(&mut self, now: Timestamp) {
        let passed = self.as_of.map_or(0.0, |as_of| now.duration_since(as_of).as_secs_f64().max(0.0));
        self.as_of = Some(self.as_of.map_or(now, |as_of| as_of.max(now)));
        self.credit = (self.credit + passed * self.share.unwrap_or(0.0)).min(MOST_CREDIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: SignedDuration = SignedDuration::from_hours(6);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 / 21_600 * 21_600 + second).unwrap()
    }

    #[test]
    fn without_a_limit_everything_is_refitted_once_a_period() {
        let mut refits = RefitSchedule::new(3, EVERY, None);
        let all =
            |refits: &mut RefitSchedule, now| std::iter::from_fn(|| refits.next(now)).collect::<Vec<usize>>();
        assert_eq!(all(&mut refits, at(100)), [0, 1, 2]);
        assert!(all(&mut refits, at(30_000)).is_empty(), "all run");
        (0..3).for_each(|series| refits.done(series, 9.0));
        assert_eq!(all(&mut refits, at(21_600)), [0, 1, 2]);
        (0..3).for_each(|series| refits.done(series, 9.0));
        assert!(all(&mut refits, at(43_199)).is_empty());
    }

    #[test]
    fn what_is_asked_for_comes_first_and_at_once() {
        let mut refits = RefitSchedule::new(3, EVERY, None);
        refits.ask(2);
        assert_eq!(refits.next(at(0)), Some(2));
        refits.done(2, 1.0);
        while let Some(series) = refits.next(at(1)) {
            refits.done(series, 1.0);
        }
        refits.ask(1);
        assert_eq!((refits.next(at(60)), refits.next(at(60))), (Some(1), None));
    }

    #[test]
    fn processor_time_stays_within_the_share_in_the_long_run() {
        let share = 0.01;
        let mut refits = RefitSchedule::new(50, EVERY, Some(share));
        let (mut spent, mut done) = (0.0, vec![0; 50]);
        for minute in 0..7 * 24 * 60 {
            while let Some(series) = refits.next(at(minute * 60)) {
                refits.done(series, 20.0);
                spent += 20.0;
                done[series] += 1;
            }
            let allowed = (minute * 60) as f64 * share;
            assert!(spent <= allowed + MOST_CREDIT + 20.0, "{spent} s after {minute} min");
        }
        // Wanted are 28 a series, 28 000 s; there are 6 048 s: all get the same, give or take one.
        let (least, most) = (done.iter().min().unwrap(), done.iter().max().unwrap());
        assert!(most - least <= 1 && *least >= 5, "{done:?}");
    }
}
