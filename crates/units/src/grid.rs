//! Equidistant time grids.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Hours;

/// Steps of equal length; the time of a step is its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeGrid {
    start: Timestamp,
    step_seconds: i64,
    len: usize,
}

/// Why a grid cannot exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridError {
    /// The step is not a positive number of whole seconds.
    Step,
    /// The end lies beyond representable time.
    Range,
}

impl std::fmt::Display for GridError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Step => "the step must be a positive number of whole seconds",
            Self::Range => "the grid reaches beyond representable time",
        })
    }
}
impl std::error::Error for GridError {}

impl TimeGrid {
    /// `len` steps of `step`, the first starting at `start`.
    ///
    /// # Errors
    /// When the step is not a positive number of whole seconds or the end is not representable.
    pub fn new(start: Timestamp, step: SignedDuration, len: usize) -> Result<Self, GridError> {
        let step_seconds = step.as_secs();
        if step_seconds <= 0 || step.subsec_nanos() != 0 {
            return Err(GridError::Step);
        }
        let span =
            i64::try_from(len).ok().and_then(|n| n.checked_mul(step_seconds)).ok_or(GridError::Range)?;
        start.checked_add(SignedDuration::from_secs(span)).map_err(|_| GridError::Range)?;
        Ok(Self { start, step_seconds, len })
    }

    /// The start of the first step.
    #[must_use]
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// The end of the last step.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.at(self.len)
    }

    /// The length of a step.
    #[must_use]
    pub const fn step(&self) -> SignedDuration {
        SignedDuration::from_secs(self.step_seconds)
    }

    /// The length of a step in hours.
    #[must_use]
    pub fn step_hours(&self) -> Hours {
        Hours::from_seconds(self.step_seconds as f64)
    }

    /// The number of steps.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no step at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The start of step `index`; the end of the grid for `index == len`. Beyond it, saturates.
    #[must_use]
    pub fn at(&self, index: usize) -> Timestamp {
        let seconds = self.step_seconds.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX));
        self.start.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }

    /// The step that contains `time`, if any.
    #[must_use]
    pub fn index_of(&self, time: Timestamp) -> Option<usize> {
        let seconds = time.duration_since(self.start).as_secs();
        if time < self.start {
            return None;
        }
        usize::try_from(seconds / self.step_seconds).ok().filter(|&i| i < self.len)
    }

    /// The starts of all steps, in order.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> + '_ {
        (0..self.len).map(|i| self.at(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> TimeGrid {
        let start: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        TimeGrid::new(start, SignedDuration::from_mins(15), 4).unwrap()
    }

    #[test]
    fn a_time_belongs_to_the_step_that_starts_at_or_before_it() {
        let grid = grid();
        assert_eq!(grid.index_of(grid.at(1)), Some(1));
        assert_eq!(grid.index_of(grid.at(1) + SignedDuration::from_secs(899)), Some(1));
        assert_eq!(grid.index_of(grid.end()), None);
        assert_eq!(grid.index_of(grid.start() - SignedDuration::from_secs(1)), None);
    }

    #[test]
    fn a_step_of_zero_is_refused() {
        let start = grid().start();
        assert_eq!(TimeGrid::new(start, SignedDuration::ZERO, 4), Err(GridError::Step));
    }
}
