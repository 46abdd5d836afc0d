//! Quantiles from the blend's own recent errors (split conformal prediction), kept honest by their own hits.
//!
//! Sources: Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*, for the rank; Gibbs and Candès,
//! *Adaptive Conformal Inference Under Distribution Shift* (2021), for the correction of the level.

use crate::blend::Point;

/// Errors of neighbouring leads weigh so much.
const NEIGHBOUR: f64 = 0.5;
/// How fast the level answers to misses, per point.
const RATE: f64 = 0.03;
/// Furthest a level is moved.
const FARTHEST: f64 = 0.08;
/// Errors below which a logistic shape is mixed in.
const ENOUGH: f64 = 20.0;

/// Quantiles of a block: one row for each of `levels` (ascending), never crossing. Errors are in proportion to `scale`.
pub(crate) fn quantiles(
    points: &[&Point],
    truth: &[f64],
    (issued, scale): (&[f64], &[f64]),
    levels: &[f64],
    near: usize,
    half_life: f64,
) -> Vec<Vec<f64>> {
    let moved: Vec<f64> = levels.iter().enumerate().map(|(at, q)| level(points, truth, at, *q)).collect();
    let mut rows = vec![Vec::with_capacity(issued.len()); levels.len()];
    let usual = usual_error(points, truth);
    let middle = (scale.iter().sum::<f64>() / scale.len().max(1) as f64).max(1e-12);
    for (lead, centre) in issued.iter().enumerate() {
        let mut errors = errors(points, truth, lead, near, half_life);
        errors.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut least = f64::MIN;
        for (at, q) in moved.iter().enumerate() {
            let value = centre + scale[lead] * weighted_quantile(&errors, *q, usual / middle);
            least = least.max(value);
            rows[at].push(least);
        }
    }
    rows
}

/// Errors of a lead and of its neighbours on earlier points in units of their scale, with their weights.
fn errors(points: &[&Point], truth: &[f64], lead: usize, near: usize, half_life: f64) -> Vec<(f64, f64)> {
    let mut found = Vec::with_capacity(points.len() * 3);
    for (age, point) in points.iter().rev().enumerate() {
        let weight = 0.5_f64.powf(age as f64 / half_life);
        let beside = [Some(lead), lead.checked_sub(near), Some(lead + near)];
        for (n, other) in beside.into_iter().enumerate() {
            let Some(other) = other.filter(|other| near > 0 || (n == 0 && *other == lead)) else { continue };
            let came = truth.get(point.start + other).filter(|v| v.is_finite());
            let scale = point.scale.get(other).filter(|s| **s > 0.0);
            if let (Some(issued), Some(came), Some(scale)) = (point.issued.get(other), came, scale) {
                found.push(((came - issued) / scale, weight * if n == 0 { 1.0 } else { NEIGHBOUR }));
            }
        }
    }
    found
}

/// Mean absolute error over everything, for leads about which little is known.
fn usual_error(points: &[&Point], truth: &[f64]) -> f64 {
    let pairs = points.iter().flat_map(|p| p.issued.iter().zip(truth.get(p.start..).unwrap_or_default()));
    let (sum, n) = pairs
        .map(|(issued, came)| (came - issued).abs())
        .filter(|e| e.is_finite())
        .fold((0.0, 0.0), |(sum, n), e| (sum + e, n + 1.0));
    if n > 0.0 { sum / n } else { 0.0 }
}

/// Quantile of sorted errors with weights, at rank `q (n + 1)`; with few errors mixed with a logistic shape.
fn weighted_quantile(sorted: &[(f64, f64)], q: f64, usual: f64) -> f64 {
    let cold = 1.25 * usual * (q / (1.0 - q)).ln() / 1.702;
    let total: f64 = sorted.iter().map(|(_, w)| w).sum();
    if sorted.is_empty() || total <= 0.0 {
        return cold;
    }
    let squares: f64 = sorted.iter().map(|(_, w)| w * w).sum();
    let effective = total * total / squares;
    let rank = (q * (1.0 + 1.0 / effective) - 0.5 / effective).clamp(0.0, 1.0) * total;
    let (mut passed, mut before) = (0.0, sorted[0]);
    let mut value = sorted[sorted.len() - 1].0;
    for (error, weight) in sorted {
        let middle = passed + weight / 2.0;
        if middle >= rank {
            let start = passed - before.1 / 2.0;
            let part = if middle > start && passed > 0.0 { (rank - start) / (middle - start) } else { 1.0 };
            value = before.0 + (error - before.0) * part.clamp(0.0, 1.0);
            break;
        }
        passed += weight;
        before = (*error, *weight);
    }
    let trust = (effective / ENOUGH).min(1.0);
    trust * value + (1.0 - trust) * cold
}

/// The level to ask for so that the share of outcomes below comes out as `q`, from how often it did before.
fn level(points: &[&Point], truth: &[f64], at: usize, q: f64) -> f64 {
    let mut moved = 0.0;
    for point in points {
        let Some(row) = point.quantiles.get(at) else { continue };
        let pairs =
            row.iter().zip(truth.get(point.start..).unwrap_or_default()).filter(|(_, came)| came.is_finite());
        let (below, n) = pairs.fold((0.0, 0.0), |(below, n), (value, came)| {
            // An outcome on the quantile itself (no sun at night) is on either side.
            let side = if came < value {
                1.0
            } else if came > value {
                0.0
            } else {
                q
            };
            (below + side, n + 1.0)
        });
        if n > 0.0 {
            moved = (moved + RATE * (q - below / n)).clamp(-FARTHEST, FARTHEST);
        }
    }
    (q + moved).clamp(0.002, 0.998)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_errors_are_those_that_were_seen_and_do_not_cross() {
        let truth: Vec<f64> = (0..100).map(|n| f64::from(n * 37 % 100)).collect();
        let points: Vec<Point> = (0..100)
            .map(|start| Point {
                start,
                made: vec![],
                issued: vec![0.0],
                mean: vec![],
                scale: vec![1.0],
                quantiles: vec![],
            })
            .collect();
        let points: Vec<&Point> = points.iter().collect();
        let rows = quantiles(&points, &truth, (&[0.0], &[1.0]), &[0.1, 0.5, 0.9], 0, 1000.0);
        assert!((rows[0][0] - 10.0).abs() < 6.0 && (rows[1][0] - 50.0).abs() < 8.0, "{rows:?}");
        assert!((rows[2][0] - 90.0).abs() < 6.0, "{rows:?}");
        assert!(rows[0][0] <= rows[1][0] && rows[1][0] <= rows[2][0]);
    }

    #[test]
    fn a_level_that_is_missed_too_often_is_moved() {
        let truth = vec![1.0; 40];
        let point = |start| Point {
            start,
            made: vec![],
            issued: vec![0.0],
            mean: vec![],
            scale: vec![1.0],
            quantiles: vec![vec![0.5]],
        };
        let points: Vec<Point> = (0..40).map(point).collect();
        let points: Vec<&Point> = points.iter().collect();
        assert!((level(&points, &truth, 0, 0.9) - 0.98).abs() < 1e-9);
    }
}
