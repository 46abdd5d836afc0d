//! Whether there is nothing.

use crate::labels::{Labels, METRIC_NAME};
use crate::matcher::{MatchOp, Matcher};
use crate::promql::ast::{Call, Expr, Node};
use crate::promql::error::{Error, Span};
use crate::promql::eval::{ABSENT, Evaluation, Grid, Row, Value, is_present};

/// 1 at the steps at which the vector is empty.
pub(super) fn absent(ev: &mut Evaluation<'_>, call: &Call, grid: &Grid, _: Span) -> Result<Value, Error> {
    let rows = ev.vector(&call.args[0], grid)?;
    Ok(complement(&rows, &call.args[0], grid))
}

/// 1 at the steps at which no series has a sample in the range.
pub(super) fn absent_over_time(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
) -> Result<Value, Error> {
    let rows = ev.over_windows(&call.args[0], grid, span, |_, _| Ok(Some(1.0)))?;
    Ok(complement(&rows, &call.args[0], grid))
}

fn complement(rows: &[Row], arg: &Expr, grid: &Grid) -> Value {
    let mut values = vec![1.0; grid.count];
    for row in rows {
        for (value, _) in values.iter_mut().zip(&row.values).filter(|(_, v)| is_present(**v)) {
            *value = ABSENT;
        }
    }
    if !values.iter().any(|v| is_present(*v)) {
        return Value::Vector(Vec::new());
    }
    Value::Vector(vec![Row { labels: wanted_labels(arg), values }])
}

/// The labels that the missing series would certainly have: those demanded to be equal to something, once.
fn wanted_labels(arg: &Expr) -> Labels {
    let matchers: &[Matcher] = match &arg.bare().node {
        Node::Selector(selector) | Node::Range { selector, .. } => &selector.matchers,
        _ => &[],
    };
    let mut labels: Vec<(&str, &str)> = Vec::new();
    let mut demanded: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        let name = matcher.name();
        labels.retain(|(label, _)| *label != name);
        if matcher.op() == MatchOp::Equal && !demanded.contains(&name) {
            labels.push((name, matcher.value()));
            demanded.push(name);
        }
    }
    Labels::new(labels)
}
