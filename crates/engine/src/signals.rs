//! Series that come from outside: prices, carbon intensities, temperatures.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sos_model::KnownAhead;
use sos_units::{Missing, Reading, TimeGrid};

/// A recorded signal with what is known of it when.
#[derive(Clone, Debug)]
pub struct SignalSeries {
    name: String,
    grid: TimeGrid,
    /// As they were recorded; what lies behind them in the grid was told.
    values: Arc<Vec<Reading<f64>>>,
    known_ahead: KnownAhead,
    /// Factor and offset that give a value its use: a price with levies and taxes is not the one that was published.
    used_as: (f64, f64),
    /// What was told since, by the index of its step: it replaces what was recorded, and is known.
    told: BTreeMap<usize, Reading<f64>>,
}

impl SignalSeries {
    /// A series on a grid, in the canonical unit of its signal; one value per step.
    #[must_use]
    pub fn new(name: &str, grid: TimeGrid, values: Vec<Reading<f64>>, known_ahead: KnownAhead) -> Self {
        let (name, values, told) = (name.to_owned(), Arc::new(values), BTreeMap::new());
        Self { name, grid, values, known_ahead, used_as: (1.0, 0.0), told }
    }

    /// The same series, each value times `factor` plus `offset`.
    #[must_use]
    pub fn used_as(&self, factor: f64, offset: f64) -> Self {
        Self { used_as: (factor, offset), ..self.clone() }
    }

    /// The same series, used as another one is.
    #[must_use]
    pub fn used_like(&self, other: &Self) -> Self {
        Self { used_as: other.used_as, ..self.clone() }
    }

    /// Takes over a value of `from..to`, which is known from now on. Steps that begin before `from` and contain it get it too.
    /// Nothing when the time cannot be reached by a grid.
    pub fn tell(&mut self, from: Timestamp, to: Timestamp, value: Reading<f64>) {
        if self.reach(from, to).is_none() {
            return;
        }
        let Some(first) = self.grid.index_of(from) else { return };
        for index in (first..self.grid.len()).take_while(|index| self.grid.at(*index) < to) {
            self.told.insert(index, value);
        }
    }

    /// Forgets what was told of the steps that begin at `from` or later, and of those that ended by `before`.
    pub fn forget(&mut self, before: Timestamp, from: Timestamp) {
        let grid = self.grid;
        self.told.retain(|index, _| grid.at(*index) < from && grid.at(*index + 1) > before);
    }

    /// Makes the grid reach over `from..to`.
    fn reach(&mut self, from: Timestamp, to: Timestamp) -> Option<()> {
        let step = self.grid.step();
        let seconds = step.as_secs();
        if self.grid.is_empty() && self.told.is_empty() {
            let start = from.as_second().div_euclid(seconds) * seconds;
            self.grid = TimeGrid::new(Timestamp::from_second(start).ok()?, step, 0).ok()?;
        }
        let steps = |from: Timestamp, to: Timestamp| {
            let seconds_apart = to.duration_since(from).as_secs().max(0);
            usize::try_from((seconds_apart + seconds - 1).div_euclid(seconds)).ok()
        };
        let earlier = steps(from, self.grid.start())?;
        if earlier > 0 {
            let start = self.grid.start().checked_sub(step * i32::try_from(earlier).ok()?).ok()?;
            self.grid = TimeGrid::new(start, step, self.grid.len() + earlier).ok()?;
            let gaps = std::iter::repeat_n(Err(Missing::Gap), earlier);
            self.values = Arc::new(gaps.chain(self.values.iter().copied()).collect());
            let told = std::mem::take(&mut self.told);
            self.told = told.into_iter().map(|(index, value)| (index + earlier, value)).collect();
        }
        let len = steps(self.grid.start(), to)?.max(self.grid.len());
        self.grid = TimeGrid::new(self.grid.start(), step, len).ok()?;
        Some(())
    }

    /// The value of a step, whenever it becomes known.
    fn at(&self, index: usize) -> Reading<f64> {
        let recorded = || self.values.get(index).copied().unwrap_or(Err(Missing::Gap));
        let value = self.told.get(&index).copied().unwrap_or_else(recorded);
        let (factor, offset) = self.used_as;
        value.map(|value| value * factor + offset)
    }

    /// Name of the signal.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Time between two values.
    #[must_use]
    pub fn step(&self) -> SignedDuration {
        self.grid.step()
    }

    /// Start of the first value.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.grid.start()
    }

    /// End of the last value.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.grid.end()
    }

    /// The value of the step that contains `time`, whenever it becomes known: for settling what has passed, never
    /// for deciding.
    pub fn actual(&self, time: Timestamp) -> Reading<f64> {
        let index = self.grid.index_of(time).ok_or(Missing::Gap)?;
        self.at(index)
    }

    /// Whether any value is known at `now`.
    #[must_use]
    pub fn has_value(&self, now: Timestamp) -> bool {
        (0..self.grid.len()).any(|index| self.known(self.grid.at(index), now).is_ok())
    }

    /// The value in force at `time`; in a gap the last one before it, before the first one the first. Zero for a series
    /// without any value.
    #[must_use]
    pub fn actual_or_before(&self, time: Timestamp) -> f64 {
        if let Ok(value) = self.actual(time) {
            return value;
        }
        let end = self.grid.index_of(time).unwrap_or(if time < self.start() { 0 } else { self.grid.len() });
        let before = (0..end).rev().find_map(|index| self.at(index).ok());
        before.or_else(|| (end..self.grid.len()).find_map(|index| self.at(index).ok())).unwrap_or(0.0)
    }

    /// The value of the step that contains `time` as far as it is known at `now`.
    ///
    /// # Guarantees
    /// A value that is not published ahead is known when its step has ended, not before.
    pub fn known(&self, time: Timestamp, now: Timestamp) -> Reading<f64> {
        let index = self.grid.index_of(time).ok_or(Missing::Gap)?;
        let known = match &self.known_ahead {
            _ if self.told.contains_key(&index) => true,
            KnownAhead::Always => true,
            KnownAhead::Never => self.grid.at(index + 1) <= now,
            KnownAhead::For(ahead) => self.grid.at(index) <= now + *ahead,
        };
        if known { self.at(index) } else { Err(Missing::NotYet) }
    }

    /// The mean over `from..to`, each value weighed by its time, whenever it becomes known.
    ///
    /// # Errors
    /// The first time without a value.
    pub fn mean(&self, from: Timestamp, to: Timestamp) -> Result<f64, Timestamp> {
        self.mean_of(from, to, |time| self.actual(time))
    }

    /// The mean over `from..to` as far as it is known at `now`; `None` when a part of it is not.
    #[must_use]
    pub fn known_mean(&self, from: Timestamp, to: Timestamp, now: Timestamp) -> Option<f64> {
        self.mean_of(from, to, |time| self.known(time, now)).ok()
    }

    fn mean_of(
        &self,
        from: Timestamp,
        to: Timestamp,
        value: impl Fn(Timestamp) -> Reading<f64>,
    ) -> Result<f64, Timestamp> {
        let (mut at, mut sum) = (from, 0.0);
        loop {
            let index = self.grid.index_of(at).ok_or(at)?;
            let (one, end) = (value(at).map_err(|_| at)?, self.grid.at(index + 1));
            // Within one value its mean is that value, to the last bit.
            if at == from && end >= to {
                return Ok(one);
            }
            sum += one * end.min(to).duration_since(at).as_secs_f64();
            at = end;
            if at >= to {
                return Ok(sum / to.duration_since(from).as_secs_f64());
            }
        }
    }

    /// Whether every value is published before its step, without end.
    #[must_use]
    pub const fn is_published(&self) -> bool {
        matches!(self.known_ahead, KnownAhead::Always)
    }

    /// The steps that ended in `(after, until]`, with their starts.
    pub fn completed(
        &self,
        after: Timestamp,
        until: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, Reading<f64>)> + '_ {
        let step = self.grid.step();
        let first = self.grid.index_of(after.max(self.start())).unwrap_or(self.grid.len()).saturating_sub(1);
        (first..self.grid.len())
            .map(move |i| (self.grid.at(i), self.at(i)))
            .skip_while(move |(start, _)| *start + step <= after)
            .take_while(move |(start, _)| *start + step <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(known_ahead: KnownAhead) -> SignalSeries {
        let start: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        let grid = TimeGrid::new(start, SignedDuration::from_hours(1), 4).unwrap();
        SignalSeries::new("carbon", grid, vec![Ok(1.0), Ok(2.0), Err(Missing::Gap), Ok(4.0)], known_ahead)
    }

    #[test]
    fn a_measured_value_is_not_known_before_its_step_has_ended() {
        let series = series(KnownAhead::Never);
        let start = series.start();
        let minutes = |m| start + SignedDuration::from_mins(m);
        assert_eq!(series.known(start, minutes(59)), Err(Missing::NotYet));
        assert_eq!(series.known(start, minutes(60)), Ok(1.0));
        assert_eq!(series.actual(minutes(61)), Ok(2.0));
        assert_eq!(series.known(minutes(130), minutes(240)), Err(Missing::Gap));
        let seen: Vec<_> = series.completed(minutes(30), minutes(180)).map(|(_, v)| v).collect();
        assert_eq!(seen, [Ok(1.0), Ok(2.0), Err(Missing::Gap)]);
        assert_eq!(series.completed(minutes(60), minutes(119)).count(), 0);
    }

    #[test]
    fn a_mean_weighs_by_time_and_names_the_first_gap() {
        let series = series(KnownAhead::Always);
        let minutes = |m| series.start() + SignedDuration::from_mins(m);
        assert_eq!(series.mean(minutes(15), minutes(30)), Ok(1.0));
        assert_eq!(series.mean(minutes(30), minutes(120)), Ok((0.5 + 2.0) / 1.5));
        assert_eq!(series.mean(minutes(90), minutes(130)), Err(minutes(120)));
        assert_eq!(series.mean(minutes(200), minutes(250)), Err(minutes(240)));
        assert_eq!(series.mean(minutes(-1), minutes(30)), Err(minutes(-1)));
        let measured = self::series(KnownAhead::Never);
        assert_eq!(measured.known_mean(minutes(0), minutes(60), minutes(59)), None);
        assert_eq!(measured.known_mean(minutes(0), minutes(60), minutes(60)), Some(1.0));
    }

    #[test]
    fn a_published_tariff_is_known_without_end_and_a_day_ahead_price_for_a_day() {
        let now = series(KnownAhead::Always).start();
        let last = now + SignedDuration::from_hours(3);
        assert_eq!(series(KnownAhead::Always).known(last, now), Ok(4.0));
        assert_eq!(
            series(KnownAhead::For(SignedDuration::from_hours(2))).known(last, now),
            Err(Missing::NotYet)
        );
    }
}
