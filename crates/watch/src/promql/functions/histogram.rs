//! Quantiles of classic histograms: one series of cumulated counts per upper bound `le`.

use std::sync::Arc;

use crate::labels::{LabelIndex, METRIC_NAME};
use crate::promql::ast::Call;
use crate::promql::error::{Error, Span};
use crate::promql::eval::{ABSENT, Evaluation, Grid, Row, Value, is_present};

/// The label with the upper bound of a bucket.
const BOUND: &str = "le";

/// Functions of native histograms: there are none in these series, and values that are none are left out.
pub(super) fn of_native(ev: &mut Evaluation<'_>, call: &Call, grid: &Grid, _: Span) -> Result<Value, Error> {
    for arg in &call.args {
        ev.eval(arg, grid)?;
    }
    Ok(Value::Vector(Vec::new()))
}

/// Up to a bound, inclusive, so many observations.
#[derive(Clone, Copy)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// `histogram_quantile(q, v)`: one result per histogram, which is all series that differ in `le` only.
pub(super) fn quantile(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
) -> Result<Value, Error> {
    let q = ev.scalar(&call.args[0], grid)?;
    let rows = ev.vector(&call.args[1], grid)?;
    let histograms = histograms(&rows);
    ev.cells(histograms.len(), grid.count, span)?;
    let mut buckets = Vec::new();
    let mut results = Vec::with_capacity(histograms.len());
    let nameless: [Arc<str>; 1] = [METRIC_NAME.into()];
    for (labels, members) in histograms {
        let mut values = vec![ABSENT; grid.count];
        for (step, value) in values.iter_mut().enumerate() {
            buckets.clear();
            buckets.extend(members.iter().filter_map(|(bound, row)| {
                let count = rows[*row].values[step];
                is_present(count).then_some(Bucket { bound: *bound, count })
            }));
            if !buckets.is_empty() {
                *value = of_buckets(q[step], &mut buckets);
            }
        }
        results.push(Row { labels: labels.remove(&nameless), values });
    }
    Ok(Value::Vector(ev.unify(results, span)?))
}

/// Rows by histogram, each with its bound, ordered by it.
fn histograms(rows: &[Row]) -> LabelIndex<Vec<(f64, usize)>> {
    let bound_only: [Arc<str>; 1] = [BOUND.into()];
    let mut histograms: LabelIndex<Vec<(f64, usize)>> = LabelIndex::default();
    for (index, row) in rows.iter().enumerate() {
        let Ok(bound) = row.labels.get(BOUND).parse::<f64>() else { continue };
        histograms.entry(row.labels.remove(&bound_only)).or_default().push((bound, index));
    }
    for members in histograms.values_mut() {
        members.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    }
    histograms
}

/// The q-quantile, observations being spread evenly within their bucket. The first bucket starts at zero, or at its
/// own bound when that is not positive; in the last one, up to +∞, the answer is its lower bound.
///
/// NaN without a bucket up to +∞, with fewer than two buckets, and without observations.
fn of_buckets(q: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return f64::NAN;
    }
    coalesce(buckets);
    rise(buckets);
    let [.., before_last, last] = buckets[..] else { return f64::NAN };
    if last.count == 0.0 {
        return f64::NAN;
    }
    let rank = q * last.count;
    // Written so that counts of NaN behave as the search of Prometheus does.
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is not at least anything")]
    let found = buckets[..buckets.len() - 1].partition_point(|bucket| !(bucket.count >= rank));
    let bucket = buckets[found];
    match found {
        _ if found == buckets.len() - 1 => before_last.bound,
        0 if bucket.bound <= 0.0 => bucket.bound,
        0 => bucket.bound * (rank / bucket.count),
        _ => {
            let below = buckets[found - 1];
            let share = (rank - below.count) / (bucket.count - below.count);
            below.bound + (bucket.bound - below.bound) * share
        }
    }
}

/// Buckets of the same bound, written in different ways, are one.
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, kept| {
        #[expect(clippy::float_cmp, reason = "bounds are read from text, not computed")]
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
}

/// Counts that fall, because buckets were read at different times, are lifted to the highest before them.
fn rise(buckets: &mut [Bucket]) {
    let mut highest = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count > highest {
            highest = bucket.count;
        } else if bucket.count < highest {
            bucket.count = highest;
        }
    }
}
