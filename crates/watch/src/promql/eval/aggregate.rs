//! Operators that make one of many series.

use super::{ABSENT, Evaluation, Grid, Row, Value, is_present};
use crate::labels::{Kept, LabelIndex, Labels, Subset};
use crate::promql::ast::{Aggregate, AggregateOp, Expr, Grouping};
use crate::promql::error::{Error, Span};
use crate::promql::stats;

/// The group of every row, and the labels of each group in the order in which groups first appear.
pub(super) struct Groups {
    pub(super) of_row: Vec<u32>,
    pub(super) labels: Vec<Labels>,
}

impl Groups {
    pub(super) fn of(rows: &[Row], grouping: &Grouping) -> Self {
        let kept =
            if grouping.without { Kept::AllBut(&grouping.labels) } else { Kept::Only(&grouping.labels) };
        let mut index: LabelIndex<()> = LabelIndex::default();
        let mut of_row = Vec::with_capacity(rows.len());
        for row in rows {
            let part = Subset { labels: &row.labels, kept };
            let group =
                index.get_index_of(&part).unwrap_or_else(|| index.insert_full(part.to_labels(), ()).0);
            of_row.push(group as u32);
        }
        Self { of_row, labels: index.into_keys().collect() }
    }

    /// Rows by group.
    pub(super) fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.labels.len()];
        for (row, group) in self.of_row.iter().enumerate() {
            members[*group as usize].push(row);
        }
        members
    }
}

/// What is known of a group at a step.
#[derive(Clone, Copy, Default)]
struct Tally {
    count: f64,
    value: f64,
    mean: f64,
}

impl Evaluation<'_> {
    pub(super) fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        grid: &Grid,
        span: Span,
    ) -> Result<Value, Error> {
        if aggregate.op == AggregateOp::CountValues {
            return self.count_values(aggregate, grid, span);
        }
        let param = match &aggregate.param {
            Some(param) => Some((param, self.scalar(param, grid)?)),
            None => None,
        };
        let rows = self.vector(&aggregate.inner, grid)?;
        let groups = Groups::of(&rows, &aggregate.grouping);
        self.cells(groups.labels.len(), grid.count, span)?;
        let rows = match (aggregate.op, param) {
            (AggregateOp::TopK, Some((expr, k))) => self.top(rows, &groups, &counts(&k, expr)?, true),
            (AggregateOp::BottomK, Some((expr, k))) => self.top(rows, &groups, &counts(&k, expr)?, false),
            (AggregateOp::Quantile, Some((_, q))) => quantiles(&rows, &groups, &q),
            (op, _) => tallied(op, &rows, &groups, grid.count),
        };
        Ok(Value::Vector(rows))
    }
}

/// How many to choose at each step; below one means none.
fn counts(k: &[f64], expr: &Expr) -> Result<Vec<usize>, Error> {
    k.iter()
        .map(|k| {
            if k.is_nan() || k.abs() > i64::MAX as f64 {
                return Err(Error::execution(
                    expr.span,
                    format!("Scalar value {} overflows int64", crate::format::plain(*k)),
                ));
            }
            Ok(k.trunc().max(0.0) as usize)
        })
        .collect()
}

type Add = fn(&mut Tally, f64);
type Finish = fn(&Tally) -> f64;

fn tallied(op: AggregateOp, rows: &[Row], groups: &Groups, steps: usize) -> Vec<Row> {
    // What a value does to a group that has one already, and what is told in the end.
    let (add, finish): (Add, Finish) = match op {
        AggregateOp::Avg => (add_to_mean, |t| t.mean),
        AggregateOp::Count => (|_, _| {}, |t| t.count),
        AggregateOp::Group => (|_, _| {}, |_| 1.0),
        AggregateOp::Max => {
            (|t, v| t.value = if t.value < v || t.value.is_nan() { v } else { t.value }, |t| t.value)
        }
        AggregateOp::Min => {
            (|t, v| t.value = if t.value > v || t.value.is_nan() { v } else { t.value }, |t| t.value)
        }
        AggregateOp::Stddev => (add_to_variance, |t| (t.value / t.count).sqrt()),
        AggregateOp::Stdvar => (add_to_variance, |t| t.value / t.count),
        // The others were answered before.
        AggregateOp::Sum
        | AggregateOp::TopK
        | AggregateOp::BottomK
        | AggregateOp::Quantile
        | AggregateOp::CountValues => (|t, v| t.value += v, |t| t.value),
    };
    let squares = matches!(op, AggregateOp::Stddev | AggregateOp::Stdvar);
    let mut tallies = vec![Tally::default(); groups.labels.len() * steps];
    for (row, group) in rows.iter().zip(&groups.of_row) {
        let start = *group as usize * steps;
        for (tally, v) in tallies[start..start + steps].iter_mut().zip(&row.values) {
            if !is_present(*v) {
                continue;
            }
            if tally.count == 0.0 {
                *tally = Tally { count: 1.0, value: if squares { 0.0 } else { *v }, mean: *v };
            } else {
                tally.count += 1.0;
                add(tally, *v);
            }
        }
    }
    let value = |tally: &Tally| if tally.count == 0.0 { ABSENT } else { finish(tally) };
    let of_group = |(labels, tallies): (&Labels, &[Tally])| Row {
        labels: labels.clone(),
        values: tallies.iter().map(value).collect(),
    };
    groups.labels.iter().zip(tallies.chunks(steps)).map(of_group).collect()
}

/// Running mean; an infinite mean stays until an opposite infinity or NaN comes. Divided apart against overflow.
fn add_to_mean(tally: &mut Tally, v: f64) {
    if tally.mean.is_infinite() {
        let same = v.is_infinite() && (tally.mean > 0.0) == (v > 0.0);
        if same || v.is_finite() {
            return;
        }
    }
    tally.mean += v / tally.count - tally.mean / tally.count;
}

/// Welford's update of the sum of squared deviations.
fn add_to_variance(tally: &mut Tally, v: f64) {
    let delta = v - tally.mean;
    tally.mean += delta / tally.count;
    tally.value += delta * (v - tally.mean);
}

fn quantiles(rows: &[Row], groups: &Groups, q: &[f64]) -> Vec<Row> {
    let mut held = Vec::new();
    let of_group = |(labels, members): (&Labels, Vec<usize>)| {
        let mut at = |step: usize| {
            held.clear();
            held.extend(members.iter().map(|row| rows[*row].values[step]).filter(|v| is_present(*v)));
            if held.is_empty() { ABSENT } else { stats::quantile(q[step], &mut held) }
        };
        Row { labels: labels.clone(), values: (0..q.len()).map(&mut at).collect() }
    };
    groups.labels.iter().zip(groups.members()).map(of_group).collect()
}
