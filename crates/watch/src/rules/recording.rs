//! Recording rules: the result of an expression becomes a series of its own.

use super::Rule;
use crate::labels::{LabelIndex, Labels, METRIC_NAME};

/// The series to store, with their values.
///
/// # Errors
/// When two would be the same, or there are more than `limit`.
pub(super) fn record(
    rule: &Rule,
    result: Vec<(Labels, f64)>,
    limit: usize,
) -> Result<Vec<(Labels, f64)>, String> {
    let mut seen = LabelIndex::default();
    let mut samples = Vec::with_capacity(result.len());
    for (labels, value) in result {
        let named = rule.labels.iter().fold(labels.with(METRIC_NAME, &rule.name), |l, (n, v)| l.with(n, v));
        if seen.insert(named.clone(), ()).is_some() {
            return Err(format!(
                "vector contains metrics with the same labelset after applying rule labels: {named}"
            ));
        }
        samples.push((named, value));
    }
    if limit > 0 && samples.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", samples.len()));
    }
    Ok(samples)
}
