//! Series of a selector at each step: the newest sample, unless it is too old or ended.

use super::{ABSENT, Evaluation, Grid, Row};
use crate::promql::ast::Selector;
use crate::promql::error::{Error, ErrorKind, Span};
use crate::series::{Sample, Selection, Series, SourceError, is_stale};

/// What is read off a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Values,
    /// When it was measured, in s.
    Times,
}

impl Evaluation<'_> {
    /// The rows of a selector. A sample counts until it is older than the look-back, inclusive.
    pub(crate) fn selected(
        &mut self,
        selector: &Selector,
        grid: &Grid,
        span: Span,
        reading: Reading,
    ) -> Result<Vec<Row>, Error> {
        let lookback = self.options.lookback_ms;
        let (first, last) =
            (self.shifted(selector.shift, grid.start), self.shifted(selector.shift, grid.end()));
        let series = self.load(selector, first.saturating_sub(lookback), last, span)?;
        self.cells(series.len(), grid.count, span)?;
        let step = if selector.shift.at.is_some() { 0 } else { grid.step };
        let mut rows = Vec::with_capacity(series.len());
        for one in series {
            let mut values = vec![ABSENT; grid.count];
            if newest(one.samples(), first, step, lookback, reading, &mut values) {
                rows.push(Row { labels: one.labels, values });
            }
        }
        Ok(rows)
    }

    /// The series of a selector with their samples between two times in ms.
    pub(super) fn load(
        &mut self,
        selector: &Selector,
        start_ms: i64,
        end_ms: i64,
        span: Span,
    ) -> Result<Vec<Series>, Error> {
        let max_samples = self.budget.left_to_load();
        let selection = Selection {
            matchers: &selector.matchers,
            start_ms,
            end_ms,
            max_samples,
            function: self.function,
        };
        let series = self.source.select(&selection).map_err(|error| match error {
            SourceError::TooMany { samples } => self.budget.too_many_samples(samples, span),
            SourceError::Failed(message) => Error::new(ErrorKind::Source, span, message),
        })?;
        let samples = series.iter().map(|one| one.samples().len() as u64).sum();
        self.budget.load(samples, span)?;
        Ok(series)
    }
}

/// Fills in the newest sample at each step; false when there is none at any.
fn newest(
    samples: &[Sample],
    first: i64,
    step: i64,
    lookback: i64,
    reading: Reading,
    values: &mut [f64],
) -> bool {
    let mut found = false;
    // Index of the first sample that is still ahead.
    let mut ahead = samples.partition_point(|sample| sample.t <= first);
    let mut t = first;
    for value in values {
        while samples.get(ahead).is_some_and(|sample| sample.t <= t) {
            ahead += 1;
        }
        if let Some(sample) = ahead.checked_sub(1).map(|index| samples[index])
            && sample.t >= t - lookback
            && !is_stale(sample.v)
        {
            found = true;
            *value = match reading {
                Reading::Values => sample.v,
                Reading::Times => sample.t as f64 / 1000.0,
            };
        }
        t += step;
    }
    found
}
