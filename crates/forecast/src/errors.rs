//! A model's own recent errors, kept so that a quantile is a lookup.

use std::collections::VecDeque;

/// The newest `capacity` errors, also in sorted order.
#[derive(Clone, Debug)]
pub(crate) struct ErrorRing {
    capacity: usize,
    newest: VecDeque<f32>,
    sorted: Vec<f32>,
}

impl ErrorRing {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, newest: VecDeque::new(), sorted: Vec::new() }
    }

    pub(crate) fn push(&mut self, error: f64) {
        let error = error as f32;
        if !error.is_finite() {
            return;
        }
        if self.newest.len() >= self.capacity
            && let Some(old) = self.newest.pop_front()
        {
            let at = self.sorted.partition_point(|e| *e < old);
            if at < self.sorted.len() {
                self.sorted.remove(at);
            }
        }
        self.newest.push_back(error);
        let at = self.sorted.partition_point(|e| *e < error);
        self.sorted.insert(at, error);
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The q-quantile, q in 0…1; finite-sample rank `q (n + 1)` as in split conformal prediction.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        conformal(&self.sorted, q)
    }
}

/// Quantile of sorted errors at rank `q (n + 1)`, interpolated; 0 when there are none.
pub(crate) fn conformal(sorted: &[f32], q: f64) -> f64 {
    let n = sorted.len();
    if n == 0 {
        return 0.0;
    }
    let rank = (q * (n as f64 + 1.0) - 1.0).clamp(0.0, (n - 1) as f64);
    let low = rank.floor() as usize;
    let high = (low + 1).min(n - 1);
    let part = rank - low as f64;
    f64::from(sorted[low]) * (1.0 - part) + f64::from(sorted[high]) * part
}

/// Errors wanted before the model's own quantiles are trusted alone.
pub(crate) const ENOUGH: usize = 40;

/// Quantile of scaled errors: from the ring, blended with a logistic distribution while there are few.
pub(crate) fn scaled_quantile(ring: &ErrorRing, q: f64) -> f64 {
    // Mean absolute deviation 1: standard deviation 1.25; logistic approximation of the normal quantile.
    let cold = 1.25 * (q / (1.0 - q)).ln() / 1.702;
    let trust = (ring.len() as f64 / ENOUGH as f64).min(1.0);
    trust * ring.quantile(q) + (1.0 - trust) * cold
}

/// Errors of the next step for every step of the last 60 days, found again by time of day.
#[derive(Clone, Debug)]
pub(crate) struct StepErrors {
    errors: VecDeque<(i64, f32)>,
    capacity: usize,
}

impl StepErrors {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { errors: VecDeque::new(), capacity }
    }

    pub(crate) fn push(&mut self, index: i64, error: f64) {
        if !error.is_finite() || self.errors.back().is_some_and(|(i, _)| *i >= index) {
            return;
        }
        if self.errors.len() >= self.capacity {
            self.errors.pop_front();
        }
        self.errors.push_back((index, error as f32));
    }

    /// Errors of the steps at whole hours before `index`; `around` limits them to that many hours about its time of day.
    pub(crate) fn same_minute(&self, index: i64, steps_per_hour: i64, around: Option<i64>) -> Vec<f32> {
        let mut found: Vec<f32> = match around {
            None => self
                .errors
                .iter()
                .filter(|(i, _)| (index - i) % steps_per_hour == 0)
                .map(|(_, e)| *e)
                .collect(),
            Some(hours) => (1..=60)
                .flat_map(|day| (-hours..=hours).map(move |h| index - (24 * day + h) * steps_per_hour))
                .filter_map(|i| self.get(i))
                .collect(),
        };
        found.sort_by(f32::total_cmp);
        found
    }

    fn get(&self, index: i64) -> Option<f32> {
        // Without gaps the position follows from the distance to the newest; search only when there are any.
        let (last, _) = self.errors.back()?;
        let back = usize::try_from(last - index).ok()?;
        let guess = self.errors.len().checked_sub(back + 1).and_then(|i| self.errors.get(i));
        match guess {
            Some((i, e)) if *i == index => Some(*e),
            _ => self.errors.binary_search_by_key(&index, |(i, _)| *i).ok().map(|at| self.errors[at].1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_forgets_the_oldest_and_stays_sorted() {
        let mut ring = ErrorRing::new(5);
        for e in [9.0, 1.0, 5.0, 3.0, 2.0, 4.0, f64::NAN] {
            ring.push(e);
        }
        assert_eq!(ring.len(), 5);
        assert!((ring.quantile(0.5) - 3.0).abs() < 1e-6);
        assert!((ring.quantile(1.0) - 5.0).abs() < 1e-6);
    }

    #[test]
    fn step_errors_are_found_across_gaps() {
        let mut s = StepErrors::new(10_000);
        for i in (0..5000).filter(|i| i % 7 != 0) {
            s.push(i, i as f64);
        }
        let found = s.same_minute(5000, 4, Some(0));
        assert!(found.iter().all(|e| (5000 - *e as i64) % 96 == 0));
        assert_eq!(found.len(), (1..=60).map(|d| 5000 - 96 * d).filter(|i| *i >= 0 && i % 7 != 0).count());
    }
}
