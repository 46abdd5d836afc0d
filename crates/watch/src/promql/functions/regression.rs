//! Trends of the samples in a range.

use crate::promql::eval::Window;
use crate::promql::stats::Sum;

/// Slope per second and value at `zero` (ms) of the least-squares line.
fn line(window: &Window<'_>, zero: i64) -> (f64, f64) {
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    let first = window.samples[0].v;
    #[expect(clippy::float_cmp, reason = "only exactly equal values make a flat line")]
    let constant = window.samples[1..].iter().all(|sample| sample.v == first);
    for sample in window.samples {
        let x = (sample.t - zero) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(sample.v);
        xy_sum.add(x * sample.v);
        xx_sum.add(x * x);
    }
    if constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = window.samples.len() as f64;
    let (x, y, xy, xx) = (x_sum.with_rest(), y_sum.with_rest(), xy_sum.with_rest(), xx_sum.with_rest());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// Slope per second; times are counted from the first sample, which loses fewest digits.
pub(super) fn deriv(window: &Window<'_>) -> Option<f64> {
    (window.samples.len() >= 2).then(|| line(window, window.samples[0].t).0)
}

/// `predict_linear(v[range], s)`: the value that many seconds after the time of evaluation.
pub(super) fn predict_linear(window: &Window<'_>, args: &[f64]) -> Result<Option<f64>, String> {
    if window.samples.len() < 2 {
        return Ok(None);
    }
    let (slope, now) = line(window, window.now);
    Ok(Some(slope * args[0] + now))
}

/// `holt_winters(v[range], sf, tf)`: the last value, smoothed exponentially with a trend.
pub(super) fn holt_winters(window: &Window<'_>, args: &[f64]) -> Result<Option<f64>, String> {
    for (name, factor) in [("smoothing", args[0]), ("trend", args[1])] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(format!("invalid {name} factor: expected between 0 and 1, got {factor}"));
        }
    }
    let [first, second, ..] = window.samples else { return Ok(None) };
    let (smoothing, trending) = (args[0], args[1]);
    let (mut before, mut level) = (0.0, first.v);
    let mut trend = second.v - first.v;
    for (index, sample) in window.samples[1..].iter().enumerate() {
        if index > 0 {
            trend = trending * (level - before) + (1.0 - trending) * trend;
        }
        let next = smoothing * sample.v + (1.0 - smoothing) * (level + trend);
        (before, level) = (level, next);
    }
    Ok(Some(level))
}
