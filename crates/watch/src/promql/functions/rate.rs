//! How fast values change.

use crate::promql::eval::Window;

/// Change over the whole range: from first to last sample, extended to the edges of the range where those are near.
///
/// Half a sampling interval is added on a side whose edge is more than 1.1 intervals away. A counter is not extended
/// below zero, and each fall of it counts as a restart from zero.
fn extrapolated(window: &Window<'_>, counter: bool) -> Option<(f64, f64)> {
    let [first, .., last] = window.samples else { return None };
    let mut change = last.v - first.v;
    if counter {
        for pair in window.samples.windows(2) {
            if pair[1].v < pair[0].v {
                change += pair[0].v;
            }
        }
    }
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let mut to_start = seconds(first.t - window.start);
    let to_end = seconds(window.end - last.t);
    let sampled = seconds(last.t - first.t);
    let interval = sampled / (window.samples.len() - 1) as f64;
    if counter && change > 0.0 && first.v >= 0.0 {
        let to_zero = sampled * (first.v / change);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    let threshold = interval * 1.1;
    let mut covered = sampled;
    for edge in [to_start, to_end] {
        covered += if edge < threshold { edge } else { interval / 2.0 };
    }
    Some((change, covered / sampled))
}

/// Per second, of a counter.
pub(super) fn rate(window: &Window<'_>) -> Option<f64> {
    let (change, factor) = extrapolated(window, true)?;
    Some(change * (factor / window.range_seconds()))
}

/// Over the range, of a counter.
pub(super) fn increase(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, true).map(|(change, factor)| change * factor)
}

/// Over the range, of a gauge.
pub(super) fn delta(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, false).map(|(change, factor)| change * factor)
}

/// Per second between the last two samples, of a counter.
pub(super) fn irate(window: &Window<'_>) -> Option<f64> {
    let [.., before, last] = window.samples else { return None };
    let change = if last.v < before.v { last.v } else { last.v - before.v };
    Some(change / ((last.t - before.t) as f64 / 1000.0))
}

/// Between the last two samples, of a gauge.
pub(super) fn idelta(window: &Window<'_>) -> Option<f64> {
    let [.., before, last] = window.samples else { return None };
    Some(last.v - before.v)
}
