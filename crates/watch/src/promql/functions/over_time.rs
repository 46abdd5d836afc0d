//! Statistics of the samples in a range. Formulas and their order are those of Prometheus 2.42, so that results agree
//! to the last digit.

use crate::promql::eval::Window;
use crate::promql::stats::{self, Sum};
use crate::series::Sample;

/// Running mean with compensated rounding; an infinite mean stays until an opposite infinity or NaN comes.
pub(super) fn avg(window: &Window<'_>) -> Option<f64> {
    let mut mean = Sum::default();
    for (index, v) in window.values().enumerate() {
        let count = (index + 1) as f64;
        if mean.total.is_infinite() {
            let same = v.is_infinite() && (mean.total > 0.0) == (v > 0.0);
            if same || v.is_finite() {
                continue;
            }
        }
        mean.add(v / count - mean.total / count);
    }
    Some(mean.value())
}

pub(super) fn sum(window: &Window<'_>) -> Option<f64> {
    let mut sum = Sum::default();
    window.values().for_each(|v| sum.add(v));
    Some(sum.value())
}

pub(super) fn count(window: &Window<'_>) -> Option<f64> {
    Some(window.samples.len() as f64)
}

pub(super) fn last(window: &Window<'_>) -> Option<f64> {
    window.samples.last().map(|sample| sample.v)
}

pub(super) fn first(window: &Window<'_>) -> Option<f64> {
    window.samples.first().map(|sample| sample.v)
}

/// The last sample with the greatest value; NaN only when there is nothing else.
pub(super) fn last_max<'s>(window: &Window<'s>) -> Option<&'s Sample> {
    window.samples.iter().reduce(|max, s| if s.v >= max.v || max.v.is_nan() { s } else { max })
}

/// The last sample with the least value; NaN only when there is nothing else.
pub(super) fn last_min<'s>(window: &Window<'s>) -> Option<&'s Sample> {
    window.samples.iter().reduce(|min, s| if s.v <= min.v || min.v.is_nan() { s } else { min })
}

/// Median of the distances from the median.
pub(super) fn mad(window: &Window<'_>) -> Option<f64> {
    let mut values: Vec<f64> = window.values().collect();
    let median = stats::quantile(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    Some(stats::quantile(0.5, &mut values))
}

pub(super) fn max(window: &Window<'_>) -> Option<f64> {
    window.values().reduce(|max, v| if v > max || max.is_nan() { v } else { max })
}

pub(super) fn min(window: &Window<'_>) -> Option<f64> {
    window.values().reduce(|min, v| if v < min || min.is_nan() { v } else { min })
}

/// Variance by Welford's update with compensated rounding.
pub(super) fn stdvar(window: &Window<'_>) -> Option<f64> {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    for (index, v) in window.values().enumerate() {
        let delta = v - mean.with_rest();
        mean.add(delta / (index + 1) as f64);
        squares.add(delta * (v - mean.with_rest()));
    }
    Some(squares.with_rest() / window.samples.len() as f64)
}

pub(super) fn stddev(window: &Window<'_>) -> Option<f64> {
    stdvar(window).map(f64::sqrt)
}

/// `quantile_over_time(q, v[range])`.
pub(super) fn quantile(window: &Window<'_>, args: &[f64]) -> Result<Option<f64>, String> {
    let mut values: Vec<f64> = window.values().collect();
    Ok(Some(stats::quantile(args[0], &mut values)))
}

/// How often the value fell.
pub(super) fn resets(window: &Window<'_>) -> Option<f64> {
    Some(pairs(window, |before, after| after < before))
}

/// How often the value changed; NaN after NaN is no change.
pub(super) fn changes(window: &Window<'_>) -> Option<f64> {
    #[expect(clippy::float_cmp, reason = "any difference is a change")]
    let changed = |before: f64, after: f64| before != after && !(before.is_nan() && after.is_nan());
    Some(pairs(window, changed))
}

fn pairs(window: &Window<'_>, counts: impl Fn(f64, f64) -> bool) -> f64 {
    window.samples.windows(2).filter(|pair| counts(pair[0].v, pair[1].v)).count() as f64
}
