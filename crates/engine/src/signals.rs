//! Series that come from outside: prices, carbon intensities, temperatures.

use jiff::{SignedDuration, Timestamp};
use sos_model::KnownAhead;
use sos_units::{Missing, Reading, TimeGrid};

/// A recorded signal with what is known of it when.
#[derive(Clone, Debug)]
pub struct SignalSeries {
    name: String,
    grid: TimeGrid,
    values: Vec<Reading<f64>>,
    known_ahead: KnownAhead,
}

impl SignalSeries {
    /// A series on a grid, in the canonical unit of its signal; one value per step.
    #[must_use]
    pub fn new(name: &str, grid: TimeGrid, values: Vec<Reading<f64>>, known_ahead: KnownAhead) -> Self {
        Self { name: name.to_owned(), grid, values, known_ahead }
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
        self.values.get(index).copied().unwrap_or(Err(Missing::Gap))
    }

    /// The value in force at `time`; in a gap the last one before it, before the first one the first. Zero for a series
    /// without any value.
    #[must_use]
    pub fn actual_or_before(&self, time: Timestamp) -> f64 {
        if let Ok(value) = self.actual(time) {
            return value;
        }
        let end = self.grid.index_of(time).unwrap_or(if time < self.start() { 0 } else { self.values.len() });
        let before = self.values[..end.min(self.values.len())].iter().rev().find_map(|value| value.ok());
        before.or_else(|| self.values.iter().find_map(|value| value.ok())).unwrap_or(0.0)
    }

    /// The value of the step that contains `time` as far as it is known at `now`.
    ///
    /// # Guarantees
    /// A value that is not published ahead is known when its step has ended, not before.
    pub fn known(&self, time: Timestamp, now: Timestamp) -> Reading<f64> {
        let index = self.grid.index_of(time).ok_or(Missing::Gap)?;
        let known = match &self.known_ahead {
            KnownAhead::Always => true,
            KnownAhead::Never => self.grid.at(index + 1) <= now,
            KnownAhead::For(ahead) => self.grid.at(index) <= now + *ahead,
        };
        if known {
            self.values.get(index).copied().unwrap_or(Err(Missing::Gap))
        } else {
            Err(Missing::NotYet)
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
            .map(move |i| (self.grid.at(i), self.values.get(i).copied().unwrap_or(Err(Missing::Gap))))
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
