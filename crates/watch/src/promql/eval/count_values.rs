//! `count_values`: how many series have each value.

use std::sync::Arc;

use super::{ABSENT, Evaluation, Grid, Row, Value, is_present};
use crate::labels::{LabelIndex, METRIC_NAME};
use crate::promql::ast::{Aggregate, Node};
use crate::promql::error::{Error, Span};
use crate::promql::lexer::is_label;

impl Evaluation<'_> {
    /// One row per group and value, which is written into the label that the parameter names.
    pub(super) fn count_values(
        &mut self,
        aggregate: &Aggregate,
        grid: &Grid,
        span: Span,
    ) -> Result<Value, Error> {
        let param = aggregate.param.as_ref().map(|param| (&param.bare().node, param.span));
        let Some((Node::Text(label), place)) = param else { return self.wrong_arguments(span) };
        if !is_label(label) {
            return Err(Error::execution(place, format!("invalid label name {label:?}")));
        }
        let rows = self.vector(&aggregate.inner, grid)?;
        let mut grouping: Vec<Arc<str>> = aggregate.grouping.labels.clone();
        grouping.push(if aggregate.grouping.without { METRIC_NAME.into() } else { Arc::clone(label) });
        let mut index: LabelIndex<usize> = LabelIndex::default();
        let mut counted: Vec<Row> = Vec::new();
        for row in &rows {
            let mut last: Option<(u64, usize)> = None;
            for (step, v) in row.values.iter().enumerate().filter(|(_, v)| is_present(**v)) {
                let place = match last {
                    Some((bits, place)) if bits == v.to_bits() => place,
                    _ => {
                        let labelled = row.labels.with(label, &crate::format::plain(*v));
                        let labels = if aggregate.grouping.without {
                            labelled.remove(&grouping)
                        } else {
                            labelled.keep(&grouping)
                        };
                        *index.entry(labels).or_insert(counted.len())
                    }
                };
                if place == counted.len() {
                    self.cells(counted.len() + 1, grid.count, span)?;
                    let labels = index.get_index(place).map(|(labels, _)| labels.clone());
                    counted.push(Row {
                        labels: labels.unwrap_or_else(crate::Labels::empty),
                        values: vec![ABSENT; grid.count],
                    });
                }
                let count = &mut counted[place].values[step];
                *count = if is_present(*count) { *count + 1.0 } else { 1.0 };
                last = Some((v.to_bits(), place));
            }
        }
        Ok(Value::Vector(counted))
    }
}
