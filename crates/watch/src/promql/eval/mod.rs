//! Evaluation, node by node over all steps at once: a vector is a matrix of series × steps.
//!
//! Each node is computed once per series for the whole grid, so labels are hashed once per series and never per step.
//! An instant query is a grid of one step. What does not depend on the step is computed for one and spread.

mod aggregate;
mod binary;
mod budget;
mod count_values;
mod matching;
mod ranges;
mod rows;
mod select;
mod top;

use super::ast::{At, Call, Expr, Node, Shift, Type};
use super::error::{Error, Span};
use super::{Options, functions};
use crate::series::Source;
use budget::Budget;
pub(crate) use ranges::Window;
pub(crate) use rows::{ABSENT, Row, is_present};
pub(crate) use select::Reading;

/// The times at which a node is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// In ms.
    pub(crate) start: i64,
    /// In ms, positive.
    pub(crate) step: i64,
    /// At least one.
    pub(crate) count: usize,
}

impl Grid {
    pub(crate) fn instant(t: i64) -> Self {
        Self { start: t, step: 1, count: 1 }
    }

    pub(crate) fn time(&self, step: usize) -> i64 {
        self.start + self.step * step as i64
    }

    pub(crate) fn end(&self) -> i64 {
        self.time(self.count - 1)
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        let Self { start, step, count } = *self;
        (0..count as i64).map(move |index| start + step * index)
    }
}

/// What a node gives, one entry per step.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Row>),
    Text(String),
}

/// One evaluation of a query.
pub(crate) struct Evaluation<'q> {
    source: &'q dyn Source,
    options: &'q Options<'q>,
    /// What `@ start()` and `@ end()` mean, in ms.
    bounds: (i64, i64),
    budget: Budget<'q>,
    /// Name of the function whose arguments are evaluated; empty outside of any.
    pub(crate) function: &'static str,
}

impl<'q> Evaluation<'q> {
    pub(crate) fn new(source: &'q dyn Source, options: &'q Options<'q>, bounds: (i64, i64)) -> Self {
        Self { source, options, bounds, budget: Budget::new(options), function: "" }
    }

    /// # Errors
    /// When values clash, limits are reached, the caller wants to stop or the source fails.
    pub(crate) fn eval(&mut self, expr: &Expr, grid: &Grid) -> Result<Value, Error> {
        self.budget.go_on(expr.span)?;
        if grid.count > 1 && is_invariant(expr) {
            let value = self.node(expr, &Grid::instant(grid.start))?;
            return self.spread(value, grid.count, expr.span);
        }
        self.node(expr, grid)
    }

    fn node(&mut self, expr: &Expr, grid: &Grid) -> Result<Value, Error> {
        match &expr.node {
            Node::Number(value) => Ok(Value::Scalar(vec![*value; grid.count])),
            Node::Text(text) => Ok(Value::Text(text.to_string())),
            Node::Paren(inner) => self.eval(inner, grid),
            Node::Unary { negative, operand } => self.unary(*negative, operand, grid, expr.span),
            Node::Binary(binary) => self.binary(binary, grid, expr.span),
            Node::Call(call) => functions::call(self, call, grid, expr.span),
            Node::Aggregate(aggregate) => self.aggregate(aggregate, grid, expr.span),
            Node::Selector(selector) => {
                Ok(Value::Vector(self.selected(selector, grid, expr.span, Reading::Values)?))
            }
            Node::Range { .. } | Node::Subquery(_) => {
                Err(Error::execution(expr.span, "a range vector must be the argument of a function"))
            }
        }
    }

    fn unary(&mut self, negative: bool, operand: &Expr, grid: &Grid, span: Span) -> Result<Value, Error> {
        match self.eval(operand, grid)? {
            value if !negative => Ok(value),
            Value::Scalar(values) => Ok(Value::Scalar(values.into_iter().map(|v| -v).collect())),
            Value::Vector(mut rows) => {
                for row in &mut rows {
                    row.map(|_, v| -v);
                }
                rows::drop_names(&mut rows);
                Ok(Value::Vector(self.distinct(rows, span)?))
            }
            text @ Value::Text(_) => Ok(text),
        }
    }

    /// An expression that the checks found to be a vector.
    pub(crate) fn vector(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<Row>, Error> {
        match self.eval(expr, grid)? {
            Value::Vector(rows) => Ok(rows),
            Value::Scalar(_) | Value::Text(_) => {
                Err(Error::execution(expr.span, format!("expected an instant vector, got {}", expr.ty())))
            }
        }
    }

    /// An expression that the checks found to be a scalar: one value per step.
    pub(crate) fn scalar(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<f64>, Error> {
        match self.eval(expr, grid)? {
            Value::Scalar(values) => Ok(values),
            Value::Vector(_) | Value::Text(_) => {
                Err(Error::execution(expr.span, format!("expected a scalar, got {}", expr.ty())))
            }
        }
    }

    pub(crate) fn wrong_arguments(&self, span: Span) -> Result<Value, Error> {
        Err(Error::execution(span, "wrong number of arguments"))
    }

    /// Refuses a matrix of so many series × steps when it is more than may be held.
    pub(crate) fn cells(&mut self, rows: usize, steps: usize, span: Span) -> Result<(), Error> {
        self.budget.cells(rows, steps, span)
    }

    /// Changes every value, given with its step; the result loses the metric name.
    pub(crate) fn map_unnamed(
        &mut self,
        rows: Vec<Row>,
        span: Span,
        f: impl Fn(usize, f64) -> f64,
    ) -> Result<Value, Error> {
        self.map(rows, true, span, f)
    }

    /// As [`Self::map_unnamed`]; the metric name is lost only where the result is `unnamed`.
    fn map(
        &mut self,
        mut rows: Vec<Row>,
        unnamed: bool,
        span: Span,
        f: impl Fn(usize, f64) -> f64,
    ) -> Result<Value, Error> {
        for row in &mut rows {
            row.map(&f);
        }
        rows.retain(Row::has_values);
        let clash = unnamed && rows::drop_names(&mut rows);
        Ok(Value::Vector(if clash { self.unify(rows, span)? } else { rows }))
    }

    fn spread(&mut self, value: Value, count: usize, span: Span) -> Result<Value, Error> {
        let first = |values: &[f64]| values.first().copied().unwrap_or(ABSENT);
        Ok(match value {
            Value::Scalar(values) => {
                self.cells(1, count, span)?;
                Value::Scalar(vec![first(&values); count])
            }
            Value::Vector(mut rows) => {
                self.cells(rows.len(), count, span)?;
                for row in &mut rows {
                    row.values = vec![first(&row.values); count];
                }
                Value::Vector(rows)
            }
            text @ Value::Text(_) => text,
        })
    }

    /// The time that a selector at a step refers to, in ms.
    fn shifted(&self, shift: Shift, t: i64) -> i64 {
        let base = match shift.at {
            None => t,
            Some(At::Time(fixed)) => fixed,
            Some(At::Start) => self.bounds.0,
            Some(At::End) => self.bounds.1,
        };
        base.saturating_sub(shift.offset_ms)
    }
}

/// Whether the value is the same at every step: all times in it are fixed by `@`.
fn is_invariant(expr: &Expr) -> bool {
    match &expr.node {
        Node::Number(_) | Node::Text(_) => true,
        Node::Selector(selector) | Node::Range { selector, .. } => selector.shift.at.is_some(),
        Node::Subquery(subquery) => subquery.shift.at.is_some(),
        Node::Call(call) => !is_timed(call) && call.args.iter().all(is_invariant),
        Node::Paren(_) | Node::Unary { .. } | Node::Binary(_) | Node::Aggregate(_) => {
            expr.node.children().all(is_invariant)
        }
    }
}

fn is_timed(call: &Call) -> bool {
    let date_of_now = call.args.is_empty() && matches!(call.function.run, functions::Run::Date(_));
    call.function.timed || date_of_now
}

/// Whether the type can be evaluated over several steps.
pub(crate) fn has_steps(ty: Type) -> bool {
    matches!(ty, Type::Scalar | Type::Vector)
}
