//! Between scalars and vectors, times and orders.

use std::cmp::Ordering;

use super::text;
use crate::labels::Labels;
use crate::promql::ast::{Call, Expr, Node};
use crate::promql::error::{Error, Span};
use crate::promql::eval::{ABSENT, Evaluation, Grid, Reading, Row, Value, is_present};
use crate::promql::stats::nan_first;

/// Seconds since 1970 at each step.
pub(super) fn time(_: &mut Evaluation<'_>, _: &Call, grid: &Grid, _: Span) -> Result<Value, Error> {
    Ok(Value::Scalar(seconds(grid)))
}

fn seconds(grid: &Grid) -> Vec<f64> {
    grid.times().map(|t| t as f64 / 1000.0).collect()
}

pub(super) fn pi(_: &mut Evaluation<'_>, _: &Call, grid: &Grid, _: Span) -> Result<Value, Error> {
    Ok(Value::Scalar(vec![std::f64::consts::PI; grid.count]))
}

/// The scalar as the only series, which has no labels.
pub(super) fn vector(ev: &mut Evaluation<'_>, call: &Call, grid: &Grid, _: Span) -> Result<Value, Error> {
    let values = ev.scalar(&call.args[0], grid)?;
    Ok(Value::Vector(vec![Row { labels: Labels::empty(), values }]))
}

/// The value of the only series; NaN at steps with none or several.
pub(super) fn scalar(ev: &mut Evaluation<'_>, call: &Call, grid: &Grid, _: Span) -> Result<Value, Error> {
    let rows = ev.vector(&call.args[0], grid)?;
    let mut counts = vec![0_u32; grid.count];
    let mut values = vec![f64::NAN; grid.count];
    for row in &rows {
        for (step, v) in row.values.iter().enumerate().filter(|(_, v)| is_present(**v)) {
            counts[step] += 1;
            values[step] = if counts[step] == 1 { *v } else { f64::NAN };
        }
    }
    Ok(Value::Scalar(values))
}

/// Of a selector when its samples were measured, of anything else the time of evaluation; in seconds.
pub(super) fn timestamp(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
) -> Result<Value, Error> {
    let arg = &call.args[0];
    if let Node::Selector(selector) = &arg.bare().node {
        let rows = ev.selected(selector, grid, arg.span, Reading::Times)?;
        return ev.map_unnamed(rows, span, |_, t| t);
    }
    let rows = ev.vector(arg, grid)?;
    let times = seconds(grid);
    ev.map_unnamed(rows, span, |step, _| times[step])
}

/// Ascending, NaN last. Results over several steps have an order of their own.
pub(super) fn sort(ev: &mut Evaluation<'_>, call: &Call, grid: &Grid, _: Span) -> Result<Value, Error> {
    sorted(ev, call, grid, |a, b| nan_first(-first(a), -first(b)).reverse())
}

/// Descending, NaN last.
pub(super) fn sort_desc(ev: &mut Evaluation<'_>, call: &Call, grid: &Grid, _: Span) -> Result<Value, Error> {
    sorted(ev, call, grid, |a, b| nan_first(first(a), first(b)).reverse())
}

/// By the values of labels in natural order, `a2` before `a10`; of equal ones by all labels.
pub(super) fn sort_by_label(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    _: Span,
) -> Result<Value, Error> {
    sorted(ev, call, grid, |a, b| by_label(&call.args[1..], a, b))
}

/// The reverse of [`sort_by_label`].
pub(super) fn sort_by_label_desc(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    _: Span,
) -> Result<Value, Error> {
    sorted(ev, call, grid, |a, b| by_label(&call.args[1..], b, a))
}

fn sorted(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    order: impl FnMut(&Row, &Row) -> Ordering,
) -> Result<Value, Error> {
    let mut rows = ev.vector(&call.args[0], grid)?;
    rows.sort_by(order);
    Ok(Value::Vector(rows))
}

fn first(row: &Row) -> f64 {
    row.values.first().copied().unwrap_or(ABSENT)
}

fn by_label(labels: &[Expr], a: &Row, b: &Row) -> Ordering {
    let mut each = labels.iter().map(|label| natural(a.labels.get(text(label)), b.labels.get(text(label))));
    each.find(|order| order.is_ne()).unwrap_or_else(|| a.labels.cmp(&b.labels))
}

/// Runs of digits compare as numbers, everything else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let (one, other) = (run(left), run(right));
        let order = match (one.parse::<u128>(), other.parse::<u128>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            _ => one.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (&left[one.len()..], &right[other.len()..]);
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// The digits at the start of a text, or what comes before the next digit.
fn run(text: &str) -> &str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    &text[..end]
}
