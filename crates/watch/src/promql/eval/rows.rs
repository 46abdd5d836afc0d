//! Series of results, and what keeps their labels unique.

use super::Evaluation;
use crate::labels::{LabelIndex, Labels};
use crate::promql::error::{Error, Span};
use crate::series::{STALE, is_stale};

/// In a row: no value at this step. A staleness marker is never a result, so its bits are free for this.
pub(crate) const ABSENT: f64 = STALE;

/// Whether a row has a value here.
pub(crate) fn is_present(v: f64) -> bool {
    !is_stale(v)
}

/// One series of a vector.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// One per step, [`ABSENT`] where there is none; at least one is present.
    pub(crate) values: Vec<f64>,
}

impl Row {
    /// Changes every value, given with its step.
    pub(crate) fn map(&mut self, f: impl Fn(usize, f64) -> f64) {
        for (step, v) in self.values.iter_mut().enumerate() {
            if is_present(*v) {
                *v = f(step, *v);
            }
        }
    }

    pub(crate) fn has_values(&self) -> bool {
        self.values.iter().any(|v| is_present(*v))
    }
}

/// Takes the metric name from all labels. True when that may have made some of them equal.
pub(crate) fn drop_names(rows: &mut [Row]) -> bool {
    let one_name = rows.windows(2).all(|pair| pair[0].labels.name() == pair[1].labels.name());
    for row in rows {
        if row.labels.name().is_some() {
            row.labels = row.labels.without_name();
        }
    }
    !one_name
}

const CLASH: &str = "vector cannot contain metrics with the same labelset";

impl Evaluation<'_> {
    /// Joins rows of the same labels, which must not have values at the same step.
    pub(crate) fn unify(&self, rows: Vec<Row>, span: Span) -> Result<Vec<Row>, Error> {
        let mut index: LabelIndex<usize> =
            LabelIndex::with_capacity_and_hasher(rows.len(), Default::default());
        let mut unique: Vec<Row> = Vec::with_capacity(rows.len());
        for row in rows {
            let place = *index.entry(row.labels.clone()).or_insert(unique.len());
            match unique.get_mut(place) {
                None => unique.push(row),
                Some(known) => {
                    if !merge(&mut known.values, &row.values) {
                        return Err(clash(&row.labels, span));
                    }
                }
            }
        }
        Ok(unique)
    }

    /// Refuses rows of the same labels, even at different steps: so does Prometheus for functions of ranges.
    pub(crate) fn distinct(&self, rows: Vec<Row>, span: Span) -> Result<Vec<Row>, Error> {
        if rows.len() < 2 {
            return Ok(rows);
        }
        let mut index: LabelIndex<()> = LabelIndex::with_capacity_and_hasher(rows.len(), Default::default());
        for row in &rows {
            if index.insert(row.labels.clone(), ()).is_some() {
                return Err(clash(&row.labels, span));
            }
        }
        Ok(rows)
    }
}

pub(super) fn clash(labels: &Labels, span: Span) -> Error {
    Error::execution(span, format!("{CLASH}: {labels} is there twice"))
}

/// Adds values where there are none yet; false where both have one.
pub(super) fn merge(known: &mut [f64], more: &[f64]) -> bool {
    for (known, v) in known.iter_mut().zip(more) {
        if is_present(*v) {
            if is_present(*known) {
                return false;
            }
            *known = *v;
        }
    }
    true
}
