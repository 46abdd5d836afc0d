//! Range selectors and subqueries: the samples within a window that moves with the step.

use std::sync::Arc;

use super::{ABSENT, Evaluation, Grid, Row, is_present};
use crate::labels::Labels;
use crate::promql::ast::{Expr, Node, Selector, Subquery};
use crate::promql::error::{Error, ErrorKind, Span};
use crate::series::{Sample, Series, is_stale};

/// The samples in a range, edges included, at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'s> {
    /// At least one; no staleness markers.
    pub(crate) samples: &'s [Sample],
    /// Edges in ms, inclusive.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Time of the evaluation in ms; differs from the end with `offset` and `@`.
    pub(crate) now: i64,
}

impl Window<'_> {
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|sample| sample.v)
    }

    /// Whole and fractional seconds are divided apart, so that rates agree with Prometheus to the last digit.
    pub(crate) fn range_seconds(&self) -> f64 {
        let ms = self.end - self.start;
        (ms / 1000) as f64 + ((ms % 1000) * 1_000_000) as f64 / 1e9
    }
}

impl Evaluation<'_> {
    /// Calls `f` for every series and step with samples in the range; the result loses the metric name.
    pub(crate) fn over_windows(
        &mut self,
        arg: &Expr,
        grid: &Grid,
        span: Span,
        f: impl FnMut(&Window<'_>, usize) -> Result<Option<f64>, String>,
    ) -> Result<Vec<Row>, Error> {
        let mut rows = self.over_named_windows(arg, grid, span, f)?;
        super::rows::drop_names(&mut rows);
        Ok(rows)
    }

    /// The same, but the result keeps the metric name.
    pub(crate) fn over_named_windows(
        &mut self,
        arg: &Expr,
        grid: &Grid,
        span: Span,
        mut f: impl FnMut(&Window<'_>, usize) -> Result<Option<f64>, String>,
    ) -> Result<Vec<Row>, Error> {
        let arg = arg.bare();
        let (tracks, shift, range_ms) = match &arg.node {
            Node::Range { selector, range_ms } => {
                (self.range_tracks(selector, *range_ms, grid, arg.span)?, selector.shift, *range_ms)
            }
            Node::Subquery(subquery) => {
                (self.subquery_tracks(subquery, grid, arg.span)?, subquery.shift, subquery.range_ms)
            }
            _ => {
                return Err(Error::execution(arg.span, format!("expected a range vector, got {}", arg.ty())));
            }
        };
        self.cells(tracks.len(), grid.count, span)?;
        let windows = Windows {
            first: self.shifted(shift, grid.start),
            moves: shift.at.is_none(),
            range_ms,
            grid: *grid,
        };
        self.refuse_too_many(&tracks, &windows, span)?;
        let mut rows = Vec::with_capacity(tracks.len());
        for track in &tracks {
            let mut values = vec![ABSENT; grid.count];
            let (mut found, mut touched) = (false, 0);
            for (step, window) in
                windows.over(track.samples()).filter(|(_, window)| !window.samples.is_empty())
            {
                touched += window.samples.len() as u64;
                let value = f(&window, step).map_err(|message| Error::execution(span, message))?;
                if let Some(value) = value {
                    values[step] = value;
                    found = true;
                }
            }
            self.budget.touch(touched, span)?;
            if found {
                rows.push(Row { labels: track.labels.clone(), values });
            }
        }
        Ok(rows)
    }

    /// Counts what would be touched before touching it, where it could be more than allowed at all.
    fn refuse_too_many(&self, tracks: &[Series], windows: &Windows, span: Span) -> Result<(), Error> {
        let samples: u64 = tracks.iter().map(|track| track.samples().len() as u64).sum();
        if self.budget.plan(samples.saturating_mul(windows.grid.count as u64), span).is_ok() {
            return Ok(());
        }
        let in_windows =
            |track: &Series| windows.over(track.samples()).map(|(_, w)| w.samples.len() as u64).sum::<u64>();
        self.budget.plan(tracks.iter().map(in_windows).sum(), span)
    }

    fn range_tracks(
        &mut self,
        selector: &Selector,
        range_ms: i64,
        grid: &Grid,
        span: Span,
    ) -> Result<Vec<Series>, Error> {
        let first = self.shifted(selector.shift, grid.start).saturating_sub(range_ms);
        let last = self.shifted(selector.shift, grid.end());
        let series = self.load(selector, first, last, span)?;
        Ok(series.into_iter().map(without_stale).filter(|one| !one.samples().is_empty()).collect())
    }

    /// Evaluates the inner expression over all times that any window reaches, at multiples of its step.
    fn subquery_tracks(
        &mut self,
        subquery: &Subquery,
        grid: &Grid,
        span: Span,
    ) -> Result<Vec<Series>, Error> {
        let Some(inner_grid) = self.subquery_grid(subquery, grid, span)? else { return Ok(Vec::new()) };
        let rows = self.vector(&subquery.inner, &inner_grid)?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let timed = inner_grid.times().zip(row.values).filter(|(_, v)| is_present(*v));
                Series::new(row.labels, Arc::new(timed.map(|(t, v)| Sample { t, v }).collect()))
            })
            .collect())
    }

    fn subquery_grid(&mut self, subquery: &Subquery, grid: &Grid, span: Span) -> Result<Option<Grid>, Error> {
        let Subquery { range_ms, shift, .. } = *subquery;
        let step = subquery.step_ms.unwrap_or(self.options.default_step_ms).max(1);
        let first = self.shifted(shift, grid.start).saturating_sub(range_ms);
        let last = self.shifted(shift, grid.end());
        // The first multiple of the step that is not before the first window.
        let start = first.div_euclid(step) * step;
        let start = if start < first { start.saturating_add(step) } else { start };
        if start > last {
            return Ok(None);
        }
        let count = (last.saturating_sub(start) / step).saturating_add(1);
        let most = self.options.limits.max_samples;
        if count as u64 > most {
            let message = format!(
                "subquery would evaluate at {count} steps, {most} are allowed; take a larger step or a shorter range"
            );
            return Err(Error::new(ErrorKind::TooMuch, span, message));
        }
        let inner = Grid { start, step, count: usize::try_from(count).unwrap_or(1) };
        self.cells(1, inner.count, span)?;
        Ok(Some(inner))
    }

    /// The series of a range selector or subquery at one time, for a query that asks for nothing else.
    pub(crate) fn raw(&mut self, expr: &Expr, t: i64) -> Result<Vec<(Labels, Vec<Sample>)>, Error> {
        let (expr, grid) = (expr.bare(), Grid::instant(t));
        let tracks = match &expr.node {
            Node::Range { selector, range_ms } => self.range_tracks(selector, *range_ms, &grid, expr.span)?,
            Node::Subquery(subquery) => self.subquery_tracks(subquery, &grid, expr.span)?,
            _ => {
                return Err(Error::execution(
                    expr.span,
                    format!("expected a range vector, got {}", expr.ty()),
                ));
            }
        };
        Ok(tracks.into_iter().map(|track| (track.labels.clone(), track.samples().to_vec())).collect())
    }
}

/// Staleness markers are no samples; a series with some is copied without them.
fn without_stale(series: Series) -> Series {
    if !series.samples().iter().any(|sample| is_stale(sample.v)) {
        return series;
    }
    let samples = series.samples().iter().filter(|sample| !is_stale(sample.v)).copied().collect();
    Series::new(series.labels, Arc::new(samples))
}

/// Where the windows of all steps lie.
struct Windows {
    /// End of the first one, in ms.
    first: i64,
    /// Whether they move with the step; `@` fixes them.
    moves: bool,
    range_ms: i64,
    grid: Grid,
}

impl Windows {
    /// The window of each step; both edges only move forward.
    fn over<'s>(&self, samples: &'s [Sample]) -> impl Iterator<Item = (usize, Window<'s>)> {
        let Self { first, moves, range_ms, grid } = *self;
        let mut from = samples.partition_point(|sample| sample.t < first.saturating_sub(range_ms));
        let mut to = from + samples[from..].partition_point(|sample| sample.t <= first);
        (0..grid.count).map(move |step| {
            let end = if moves { first + grid.step * step as i64 } else { first };
            let start = end.saturating_sub(range_ms);
            while samples.get(from).is_some_and(|sample| sample.t < start) {
                from += 1;
            }
            while samples.get(to).is_some_and(|sample| sample.t <= end) {
                to += 1;
            }
            let samples = &samples[from..to.max(from)];
            (step, Window { samples, start, end, now: grid.time(step) })
        })
    }
}
