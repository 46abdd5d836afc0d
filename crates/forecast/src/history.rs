//! A bounded record of a series, and the only window through which a model sees it.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use sos_units::{Missing, Reading};

/// One value of a series: the mean over the step that starts at `time`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Start of the step.
    pub time: Timestamp,
    /// When the value was known to the controller.
    pub known_at: Timestamp,
    /// The value, or why there is none.
    pub value: Reading<f64>,
}

/// The newest values of a series on a regular step, oldest first; gaps are allowed.
///
/// Times are rounded down to the step. Several values for one step (a correction) are kept, so that an earlier issue
/// time still sees what was known then.
#[derive(Clone, Debug)]
pub struct History {
    step: i64,
    capacity: usize,
    samples: VecDeque<(i64, Sample)>,
}

impl History {
    /// Keeps up to `capacity` values (at least 1) on a step of whole seconds (at least 1 s).
    #[must_use]
    pub fn new(step: SignedDuration, capacity: usize) -> Self {
        Self { step: step.as_secs().max(1), capacity: capacity.max(1), samples: VecDeque::new() }
    }

    /// Adds a value. Numbers that are not finite become [`Missing::Invalid`]. A value older than the whole record is
    /// dropped when the record is full. Values may come in any order.
    pub fn push(&mut self, time: Timestamp, known_at: Timestamp, value: Reading<f64>) {
        let value = value.and_then(|v| if v.is_finite() { Ok(v) } else { Err(Missing::Invalid) });
        let index = time.as_second().div_euclid(self.step);
        let at = self.samples.partition_point(|(i, s)| (*i, s.known_at) <= (index, known_at));
        if at == 0 && self.samples.len() >= self.capacity {
            return;
        }
        self.samples.insert(at, (index, Sample { time, known_at, value }));
        if self.samples.len() > self.capacity {
            self.samples.pop_front();
        }
    }

    /// What was known at `issued_at`.
    #[must_use]
    pub const fn view(&self, issued_at: Timestamp) -> View<'_> {
        View { history: self, issued_at }
    }

    /// Number of values kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Earliest time after `issued_at` at which a value of a step up to `index` becomes known.
    pub(crate) fn next_late(&self, issued_at: Timestamp, index: i64) -> Option<Timestamp> {
        let end = self.samples.partition_point(|(i, _)| *i <= index);
        // Late values lie near the end: whatever is far older was known long ago.
        self.samples
            .range(end.saturating_sub(LATE_WINDOW)..end)
            .map(|(_, s)| s.known_at)
            .filter(|t| *t > issued_at)
            .min()
    }
}

/// How many of the newest values are searched for ones that become known late.
const LATE_WINDOW: usize = 256;

/// A history as it was known at one moment. It has no way to return anything known later.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    history: &'a History,
    issued_at: Timestamp,
}

impl<'a> View<'a> {
    /// The moment this view is bound to.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The value of the step that contains `time`, in its newest version known at the issue time.
    ///
    /// # Errors
    /// The reason why it is missing; [`Missing::NotYet`] when nothing was known about it.
    pub fn get(&self, time: Timestamp) -> Reading<f64> {
        let index = time.as_second().div_euclid(self.history.step);
        self.since(index).next().filter(|(i, _)| *i == index).map_or(Err(Missing::NotYet), |(_, s)| s.value)
    }

    /// All known steps, oldest first, each in its newest known version.
    pub fn samples(&self) -> impl Iterator<Item = &'a Sample> + 'a {
        self.since(i64::MIN).map(|(_, s)| s)
    }

    /// Known steps from `index` on, as (step number since 1970, sample).
    pub(crate) fn since(&self, index: i64) -> impl Iterator<Item = (i64, &'a Sample)> + 'a {
        let issued = self.issued_at;
        let start = self.history.samples.partition_point(|(i, _)| *i < index);
        let mut known =
            self.history.samples.range(start..).filter(move |(_, s)| s.known_at <= issued).peekable();
        std::iter::from_fn(move || {
            let (mut i, mut sample) = known.next().map(|(i, s)| (*i, s))?;
            while let Some((j, newer)) = known.next_if(|(j, _)| *j == i) {
                (i, sample) = (*j, newer);
            }
            Some((i, sample))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    #[test]
    fn a_view_returns_nothing_known_later() {
        let mut h = History::new(SignedDuration::from_secs(60), 10);
        h.push(at(0), at(60), Ok(1.0));
        h.push(at(60), at(300), Ok(2.0));
        h.push(at(0), at(400), Ok(9.0));
        assert_eq!(h.view(at(100)).samples().count(), 1);
        assert_eq!(h.view(at(100)).get(at(60)), Err(Missing::NotYet));
        assert_eq!(h.view(at(300)).get(at(60)), Ok(2.0));
        assert_eq!(h.view(at(300)).get(at(30)), Ok(1.0), "a correction is not seen before it was known");
        assert_eq!(h.view(at(400)).get(at(30)), Ok(9.0));
    }

    #[test]
    fn the_record_is_bounded_and_rejects_numbers_that_are_none() {
        let mut h = History::new(SignedDuration::from_secs(60), 3);
        for i in 0..10 {
            h.push(at(i * 60), at(i * 60 + 60), Ok(f64::NAN));
        }
        assert_eq!(h.len(), 3);
        assert_eq!(h.view(at(10_000)).get(at(540)), Err(Missing::Invalid));
    }
}
