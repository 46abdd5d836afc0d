//! A series and its covariates on the clock of the wall, without holes: what the members of the family look at.
//!
//! A [`Panel`] holds only what was known when it was last brought up to date. A [`Seen`] is a panel cut off at a step:
//! its slices end there, so a member that trains on an earlier issue cannot reach what came after it.

/// Longest look back for a value that stands in for a missing one, in days.
const STAND_IN_DAYS: usize = 14;
/// A value farther from the median than this many (scaled) median deviations is an outlier.
const OUTLIER: f64 = 25.0;
/// Values from which outliers are judged, in days.
const OUTLIER_DAYS: usize = 60;
/// Days after which a series is known well enough to say that its sensor is stuck.
const STUCK_DAYS: usize = 7;
/// A run of equal values this many times as long as any before is a stuck sensor.
const STUCK_TIMES: usize = 3;

/// One covariate; both lists begin at the first step of the panel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// `NAN` where missing.
    raw: Vec<f64>,
    filled: Vec<f64>,
}

impl Column {
    pub(crate) fn set(&mut self, at: usize, value: f64, per_day: usize) {
        // What is announced again unchanged leaves all that follows as it is.
        if self.raw.get(at).is_some_and(|old| old.to_bits() == value.to_bits()) {
            return;
        }
        if self.raw.len() <= at {
            self.raw.resize(at + 1, f64::NAN);
        }
        self.raw[at] = value;
        self.filled.truncate(at.min(self.filled.len()));
        fill(&self.raw, &mut self.filled, per_day);
    }

    /// The value at a step; beyond the last known one that of the same time on an earlier day, else 0.
    fn at(&self, at: usize, per_day: usize) -> f64 {
        let Some(last) = self.filled.len().checked_sub(1) else { return 0.0 };
        if at <= last {
            return self.filled[at];
        }
        let days = (at - last).div_ceil(per_day);
        self.filled[at.saturating_sub(days * per_day).min(last)]
    }
}

/// Fills from where `filled` ends: a missing value is that of the day before, else the one before, else 0.
fn fill(raw: &[f64], filled: &mut Vec<f64>, per_day: usize) {
    for at in filled.len()..raw.len() {
        let stand_in = || {
            let before = (1..=STAND_IN_DAYS).filter_map(|day| at.checked_sub(day * per_day)).map(|i| raw[i]);
            let near = raw[at.saturating_sub(per_day / 8)..at].iter().rev().copied().find(|v| v.is_finite());
            before.into_iter().find(|v| v.is_finite()).or(near).or(filled.last().copied()).unwrap_or(0.0)
        };
        let value = if raw[at].is_finite() { raw[at] } else { stand_in() };
        filled.push(value);
    }
}

/// A series and its covariates on a regular grid of the local clock.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    per_day: usize,
    /// Number of the first step since 1970 on the local clock.
    first: Option<i64>,
    target: Column,
    /// How many values of the step were averaged: an hour that the clock repeats has two.
    parts: f64,
    /// Equal values up to now, and the longest such run before.
    run: usize,
    longest_run: usize,
    lowest: f64,
    last: f64,
    /// Outliers in a row: so many make a new level.
    outliers: usize,
    /// Known up to now.
    past: Vec<Column>,
    /// Known ahead.
    known: Vec<Column>,
}

impl Panel {
    pub(crate) fn new(per_day: usize, past: usize, known: usize) -> Self {
        let columns = |n| vec![Column::default(); n];
        let (past, known) = (columns(past), columns(known));
        Self {
            per_day: per_day.max(1),
            first: None,
            target: Column::default(),
            parts: 0.0,
            run: 0,
            longest_run: 0,
            lowest: f64::MAX,
            last: f64::NAN,
            outliers: 0,
            past,
            known,
        }
    }

    /// Steps known so far.
    pub(crate) fn len(&self) -> usize {
        self.target.raw.len()
    }

    pub(crate) const fn first(&self) -> Option<i64> {
        self.first
    }

    /// Place of a local step in the panel; none before its first.
    pub(crate) fn place(&self, step: i64) -> Option<usize> {
        usize::try_from(step - self.first?).ok()
    }

    /// Notes the value of a local step, in order of time; leading missing values are passed over.
    pub(crate) fn push(&mut self, step: i64, value: Option<f64>) {
        if self.first.is_none() && value.is_some() {
            self.first = Some(step);
        }
        let Some(at) = self.place(step) else { return };
        let value = value.unwrap_or(f64::NAN);
        if at + 1 == self.len() && self.target.raw[at].is_finite() {
            if value.is_finite() {
                let mean = (self.target.raw[at] * self.parts + value) / (self.parts + 1.0);
                self.parts += 1.0;
                self.target.set(at, mean, self.per_day);
            }
            return;
        }
        self.parts = 1.0;
        let value = if self.is_outlier(value) || self.is_stuck(value) { f64::NAN } else { value };
        self.target.set(at, value, self.per_day);
    }

    /// Extends the panel with missing values so that the next step is `end`.
    pub(crate) fn reach(&mut self, end: i64) {
        if let Some(wanted) = self.place(end)
            && wanted > self.len()
        {
            self.target.set(wanted - 1, f64::NAN, self.per_day);
        }
    }

    pub(crate) fn push_past(&mut self, column: usize, step: i64, value: f64) {
        if let (Some(at), Some(column)) = (self.place(step), self.past.get_mut(column)) {
            column.set(at, value, self.per_day);
        }
    }

    pub(crate) fn push_known(&mut self, column: usize, step: i64, value: f64) {
        if let (Some(at), Some(column)) = (self.place(step), self.known.get_mut(column)) {
            column.set(at, value, self.per_day);
        }
    }

    /// A value repeated far longer than ever before, the lowest one (none, night, off) excepted.
    #[expect(clippy::float_cmp, reason = "a stuck sensor repeats its value to the last bit")]
    fn is_stuck(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        let usual = (self.longest_run * STUCK_TIMES).max(self.per_day / 4).max(6);
        let young = self.len() < STUCK_DAYS * self.per_day;
        if value != self.last {
            if young || self.run <= usual {
                self.longest_run = self.longest_run.max(self.run);
            }
            (self.last, self.run) = (value, 0);
        }
        self.run += 1;
        self.lowest = self.lowest.min(value);
        // One value from the beginning on is a constant series.
        let constant = self.longest_run == 0;
        !young && !constant && self.run > usual && value > self.lowest
    }

    /// A fault of the meter, not a peak: far outside everything of the last weeks, and soon over. What lasts a quarter
    /// of a day is a new level.
    fn is_outlier(&mut self, value: f64) -> bool {
        self.outliers = if self.is_far_out(value) { self.outliers + 1 } else { 0 };
        (1..=(self.per_day / 4).max(6)).contains(&self.outliers)
    }

    fn is_far_out(&self, value: f64) -> bool {
        let from = self.len().saturating_sub(OUTLIER_DAYS * self.per_day);
        let recent = &self.target.filled[from..];
        if recent.len() < 2 * self.per_day.min(48) || !value.is_finite() {
            return false;
        }
        // The bounds of the last weeks decide nearly always, without sorting.
        let (low, high) =
            recent.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        let reach = (high - low).max(high.abs().max(low.abs()) * 0.5);
        if (low - reach..=high + reach).contains(&value) {
            return false;
        }
        let (centre, scale) = robust(recent);
        (value - centre).abs() > OUTLIER * scale.max(1e-12)
    }

    /// What was known before the step `end` of the panel.
    pub(crate) fn seen(&self, end: usize) -> Seen<'_> {
        let end = end.min(self.len());
        let past = self.past.iter().map(|c| &c.filled[..end.min(c.filled.len())]).collect();
        Seen {
            per_day: self.per_day,
            first: self.first.unwrap_or(0),
            raw: &self.target.raw[..end],
            values: &self.target.filled[..end],
            past,
            known: &self.known,
        }
    }
}

/// A panel as it was before a step; see the module.
#[derive(Clone, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) per_day: usize,
    first: i64,
    /// As measured, `NAN` where missing.
    pub(crate) raw: &'a [f64],
    /// Without holes.
    pub(crate) values: &'a [f64],
    /// Covariates known up to now; one that has ended is shorter.
    pub(crate) past: Vec<&'a [f64]>,
    known: &'a [Column],
}

impl Seen<'_> {
    pub(crate) fn end(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn known_columns(&self) -> usize {
        self.known.len()
    }

    /// A covariate known ahead, at any step.
    pub(crate) fn known(&self, column: usize, at: usize) -> f64 {
        self.known[column].at(at, self.per_day)
    }

    /// A covariate known ahead as it was announced; none where it was not.
    pub(crate) fn announced(&self, column: usize, at: usize) -> Option<f64> {
        self.known[column].raw.get(at).copied().filter(|v| v.is_finite())
    }

    /// Number of a step since 1970 on the local clock.
    pub(crate) const fn index(&self, at: usize) -> i64 {
        self.first + at as i64
    }

    /// Slot of the day of a step.
    pub(crate) fn slot(&self, at: usize) -> usize {
        usize::try_from((self.first + at as i64).rem_euclid(self.per_day as i64)).unwrap_or(0)
    }

    /// Number of the local day since 1970.
    pub(crate) fn day(&self, at: usize) -> i64 {
        (self.first + at as i64).div_euclid(self.per_day as i64)
    }

    /// The value `back` steps before the end (1 is the last); the first when there are not so many.
    pub(crate) fn back(&self, back: usize) -> f64 {
        let at = self.end().saturating_sub(back);
        self.values.get(at).or(self.values.last()).copied().unwrap_or(0.0)
    }

    /// The value of the lead `lead` (0 is the next step) `days` days earlier; `days` must reach back to what is seen.
    pub(crate) fn days_before(&self, lead: usize, days: usize) -> f64 {
        self.back((days * self.per_day).saturating_sub(lead))
    }

    /// Fewest whole days by which a lead must be moved back to be seen.
    pub(crate) fn days_to_seen(&self, lead: usize) -> usize {
        lead / self.per_day + 1
    }

    /// Share of the steps from `from` to the end that were measured.
    pub(crate) fn measured(&self, from: usize) -> f64 {
        let part = &self.raw[from.min(self.raw.len())..];
        let there = part.iter().filter(|v| v.is_finite()).count();
        there as f64 / part.len().max(1) as f64
    }
}

/// Median and scaled median absolute deviation (1.4826 × MAD: the standard deviation of a normal distribution); falls
/// back to the mean deviation when more than half of the values are equal. 0, 0 without values.
pub(crate) fn robust(values: &[f64]) -> (f64, f64) {
    let centre = median(values.to_vec());
    let deviations: Vec<f64> = values.iter().map(|v| (v - centre).abs()).collect();
    let mean = deviations.iter().sum::<f64>() / deviations.len().max(1) as f64;
    let mad = 1.4826 * median(deviations);
    (centre, if mad > 0.25 * mean { mad } else { 1.25 * mean })
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(values: &[f64]) -> Panel {
        let mut panel = Panel::new(4, 1, 1);
        for (at, value) in values.iter().enumerate() {
            panel.push(100 + at as i64, value.is_finite().then_some(*value));
        }
        panel
    }

    #[test]
    fn holes_are_filled_with_the_day_before_and_a_cut_shows_nothing_later() {
        let p = panel(&[1.0, 2.0, 3.0, 4.0, 5.0, f64::NAN, 7.0]);
        let seen = p.seen(6);
        assert_eq!(seen.values, [1.0, 2.0, 3.0, 4.0, 5.0, 2.0]);
        assert!(seen.raw[5].is_nan());
        assert_eq!(seen.end(), 6);
        assert_eq!((seen.back(1), seen.days_before(0, 1), seen.days_before(3, 1)), (2.0, 3.0, 2.0));
    }

    #[test]
    fn a_repeated_hour_is_averaged_and_a_gap_is_padded() {
        let mut p = panel(&[1.0, 2.0]);
        p.push(101, Some(4.0));
        assert_eq!(p.seen(9).values, [1.0, 3.0]);
        p.reach(105);
        assert_eq!(p.len(), 5);
        assert_eq!(p.seen(9).values, [1.0, 3.0, 3.0, 3.0, 1.0]);
    }

    #[test]
    fn covariates_known_ahead_reach_beyond_the_end_and_repeat_when_they_stop() {
        let mut p = panel(&[1.0, 2.0, 3.0, 4.0]);
        for at in 0..6 {
            p.push_known(0, 100 + at, at as f64);
        }
        let seen = p.seen(4);
        assert_eq!((seen.known(0, 5), seen.known(0, 6), seen.known(0, 9)), (5.0, 2.0, 5.0));
    }

    #[test]
    fn a_stuck_sensor_is_missing_and_a_constant_series_is_not() {
        let mut p = Panel::new(24, 0, 0);
        let mut flat = Panel::new(24, 0, 0);
        for at in 0..400_i64 {
            p.push(at, Some(if at >= 300 { 5.5 } else { (at % 24) as f64 }));
            flat.push(at, Some(3.0));
        }
        assert!(p.seen(400).raw[399].is_nan());
        assert!((p.seen(400).values[395] - 11.0).abs() < 1e-9, "the last day before it stands in");
        assert!(flat.seen(400).raw.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn a_new_level_is_believed_after_a_quarter_of_a_day() {
        let mut p = Panel::new(24, 0, 0);
        for at in 0..200_i64 {
            p.push(at, Some((at % 24) as f64 + if at >= 150 { 1e4 } else { 0.0 }));
        }
        let seen = p.seen(200);
        assert!(seen.raw[155].is_nan() && seen.raw[156] > 1e4 && seen.raw[199] > 1e4);
    }

    #[test]
    fn a_fault_of_the_meter_is_not_a_value() {
        let mut p = Panel::new(24, 0, 0);
        for at in 0..200_i64 {
            p.push(at, Some(if at == 150 { 1e7 } else { 10.0 + (at % 24) as f64 }));
        }
        let seen = p.seen(200);
        assert!(seen.raw[150].is_nan());
        assert!((seen.values[150] - 16.0).abs() < 1e-9);
    }
}
