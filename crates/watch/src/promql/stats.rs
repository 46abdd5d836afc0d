//! Sums without lost digits, and quantiles.

use std::cmp::Ordering;

/// A sum with compensated rounding (Neumaier's variant of Kahan's sum).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) total: f64,
    /// What rounding has cost so far.
    rest: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, v: f64) {
        let total = self.total + v;
        self.rest +=
            if self.total.abs() >= v.abs() { (self.total - total) + v } else { (v - total) + self.total };
        self.total = total;
    }

    /// The sum; an infinite total stays infinite, whatever its rest.
    pub(crate) fn value(self) -> f64 {
        if self.total.is_infinite() { self.total } else { self.with_rest() }
    }

    pub(crate) fn with_rest(self) -> f64 {
        self.total + self.rest
    }
}

/// NaN first, then ascending.
pub(crate) fn nan_first(a: f64, b: f64) -> Ordering {
    b.is_nan().cmp(&a.is_nan()).then_with(|| a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// The q-quantile by linear interpolation between the two nearest values, which are sorted in place.
///
/// NaN without values or for a q of NaN; −∞ below 0, +∞ above 1.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| nan_first(*a, *b));
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these results are exact")]
mod tests {
    use super::*;

    #[test]
    fn small_values_beside_great_ones_are_not_lost() {
        let mut sum = Sum::default();
        [1e100, 1.0, -1e100].iter().for_each(|v| sum.add(*v));
        assert_eq!(sum.value(), 1.0);
    }

    #[test]
    fn quantiles_are_interpolated() {
        let mut values = [4.0, 0.0, 1.0];
        assert!((quantile(0.8, &mut values) - 2.8).abs() < 1e-12);
        assert_eq!(quantile(-0.1, &mut values), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut values), f64::INFINITY);
        assert!(quantile(f64::NAN, &mut values).is_nan() && quantile(0.5, &mut []).is_nan());
    }
}
