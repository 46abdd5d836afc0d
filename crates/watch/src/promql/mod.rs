//! PromQL with the semantics of Prometheus 2.42: ranges and look-back include both ends, no native histograms.

pub mod ast;
mod check;
mod display;
mod error;
mod eval;
mod functions;
pub(crate) mod lexer;
mod parser;
mod stats;
mod text;

use std::collections::BTreeSet;
use std::fmt;

pub use error::{Error, ErrorKind, Span};
pub use functions::{Function, Optional};

use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::series::{Sample, Source};
use ast::{Expr, Node, Type};
use eval::{Evaluation, Grid, Row, Value, is_present};
pub(crate) use text::unquote;

/// How far back the newest sample of a series may lie: 5 min, in ms.
pub const LOOKBACK_MS: i64 = 300_000;

/// Times beyond ±this, in ms, are refused, so that sums with any duration stay in range.
const MAX_TIME_MS: i64 = i64::MAX / 4;

/// A query that can be evaluated any number of times.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expr: Expr,
}

/// What a query may cost; beyond it is refused with the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples loaded in all, and points held by any one part of the query.
    pub max_samples: u64,
    /// Samples and points looked at in all; those in a range count at each step that looks at them.
    pub max_touched: u64,
    /// Steps of a range query.
    pub max_steps: u64,
}

impl Default for Limits {
    /// 50 million samples, as Prometheus; 500 million looked at; 11,000 steps.
    fn default() -> Self {
        Self { max_samples: 50_000_000, max_touched: 500_000_000, max_steps: 11_000 }
    }
}

/// How a query is evaluated.
#[derive(Clone, Copy)]
pub struct Options<'o> {
    /// How far back the newest sample of a series may lie, in ms.
    pub lookback_ms: i64,
    /// Step of subqueries that state none, in ms.
    pub default_step_ms: i64,
    pub limits: Limits,
    /// Asked now and then: true ends the evaluation. A caller with a deadline looks at its clock here.
    pub stop: &'o dyn Fn() -> bool,
}

impl Default for Options<'_> {
    /// Look-back 5 min, default step 1 min, never stopped.
    fn default() -> Self {
        Self { lookback_ms: LOOKBACK_MS, default_step_ms: 60_000, limits: Limits::default(), stop: &|| false }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("lookback_ms", &self.lookback_ms)
            .field("default_step_ms", &self.default_step_ms)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A series of results. An instant vector has one sample each, at the time of evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultSeries {
    pub labels: Labels,
    pub samples: Vec<Sample>,
}

/// What a query gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Scalar(Sample),
    /// At a time in ms.
    Text(i64, String),
    /// One sample per series, in the order that `sort` and `topk` gave them.
    Vector(Vec<ResultSeries>),
    /// Ordered by labels when it is the answer to a range query.
    Matrix(Vec<ResultSeries>),
}

impl Query {
    /// # Errors
    /// When the text is no query: what is wrong, where, and what was expected.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let expr = parser::expression(text).and_then(|expr| check::check(&expr).map(|()| expr));
        Ok(Self { text: text.to_owned(), expr: expr.map_err(|error| error.located(text))? })
    }

    /// The query as it was written. Printed with `{}` it is written in one way, whatever its spaces were.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The names of all metrics it reads; none when a selector leaves the name open.
    pub fn metric_names(&self) -> Option<BTreeSet<&str>> {
        let mut names = BTreeSet::new();
        let mut todo = vec![&self.expr];
        while let Some(expr) = todo.pop() {
            if let ast::Node::Selector(selector) | ast::Node::Range { selector, .. } = &expr.node {
                names.insert(selector.matchers.iter().find_map(Matcher::metric_name)?);
            }
            todo.extend(expr.node.children());
        }
        Some(names)
    }

    /// Of an expression that was changed after parsing.
    ///
    /// # Errors
    /// When it is no valid query any more.
    pub fn of(expr: &Expr) -> Result<Self, Error> {
        Self::parse(&expr.to_string())
    }

    /// What the query gives at one time, in ms since 1970.
    ///
    /// # Errors
    /// When values clash, limits are reached, the caller wants to stop or the source fails.
    pub fn instant(&self, source: &dyn Source, t_ms: i64, options: &Options<'_>) -> Result<Answer, Error> {
        self.at_instant(source, t_ms, options).map_err(|error| error.located(&self.text))
    }

    fn at_instant(&self, source: &dyn Source, t_ms: i64, options: &Options<'_>) -> Result<Answer, Error> {
        self.check_time(t_ms)?;
        let mut evaluation = Evaluation::new(source, options, (t_ms, t_ms));
        if self.expr.ty() == Type::Matrix {
            let tracks = evaluation.raw(&self.expr, t_ms)?.into_iter();
            return Ok(Answer::Matrix(
                tracks.map(|(labels, samples)| ResultSeries { labels, samples }).collect(),
            ));
        }
        let grid = Grid::instant(t_ms);
        Ok(match evaluation.eval(&self.expr, &grid)? {
            Value::Scalar(values) => {
                Answer::Scalar(Sample { t: t_ms, v: values.first().copied().unwrap_or(f64::NAN) })
            }
            Value::Text(text) => Answer::Text(t_ms, text),
            Value::Vector(rows) => {
                Answer::Vector(rows.into_iter().filter_map(|row| series(row, &grid)).collect())
            }
        })
    }

    /// What the query gives from `start_ms` to `end_ms`, both inclusive, every `step_ms`.
    ///
    /// # Errors
    /// As [`Query::instant`], and for queries that give text or ranges, and times that make no steps.
    pub fn range(
        &self,
        source: &dyn Source,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &Options<'_>,
    ) -> Result<Answer, Error> {
        self.over_range(source, start_ms, end_ms, step_ms, options).map_err(|error| error.located(&self.text))
    }

    fn over_range(
        &self,
        source: &dyn Source,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &Options<'_>,
    ) -> Result<Answer, Error> {
        let grid = self.steps(start_ms, end_ms, step_ms, options)?;
        let mut evaluation = Evaluation::new(source, options, (start_ms, end_ms));
        let rows = match evaluation.eval(&self.expr, &grid)? {
            Value::Vector(rows) => rows,
            Value::Scalar(values) => vec![Row { labels: Labels::empty(), values }],
            Value::Text(_) => Vec::new(),
        };
        let mut matrix: Vec<ResultSeries> = rows.into_iter().filter_map(|row| series(row, &grid)).collect();
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Answer::Matrix(matrix))
    }

    fn steps(&self, start_ms: i64, end_ms: i64, step_ms: i64, options: &Options<'_>) -> Result<Grid, Error> {
        let refuse = |message: String| Err(Error::execution(self.expr.span, message));
        self.check_time(start_ms)?;
        self.check_time(end_ms)?;
        if !eval::has_steps(self.expr.ty()) {
            let ty = self.expr.ty();
            let message =
                format!("invalid expression type \"{ty}\" for range query, must be Scalar or instant Vector");
            return Err(Error::parse(self.expr.span, message));
        }
        if step_ms <= 0 {
            return refuse(format!(
                "zero or negative query resolution step widths are not accepted, got {step_ms} ms; try a positive one"
            ));
        }
        if end_ms < start_ms {
            return refuse("end timestamp must not be before start time".to_owned());
        }
        let (count, most) = ((end_ms - start_ms) / step_ms + 1, options.limits.max_steps);
        if count as u64 > most {
            let message = format!(
                "query would have {count} steps, {most} are allowed; take a larger step or a shorter range"
            );
            return Err(Error::new(ErrorKind::TooMuch, self.expr.span, message));
        }
        Ok(Grid { start: start_ms, step: step_ms, count: usize::try_from(count).unwrap_or(1) })
    }

    fn check_time(&self, t_ms: i64) -> Result<(), Error> {
        if (-MAX_TIME_MS..=MAX_TIME_MS).contains(&t_ms) {
            return Ok(());
        }
        Err(Error::execution(self.expr.span, format!("time {t_ms} ms is out of range")))
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

/// The matchers of a selector such as `up{job="node"}`, for requests that name series.
///
/// # Errors
/// When the text is no selector: what is wrong, where, and what was expected.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, Error> {
    let expr = parser::selector(text).and_then(|expr| check::check(&expr).map(|()| expr));
    match expr.map_err(|error| error.located(text))?.node {
        Node::Selector(selector) => Ok(selector.matchers.to_vec()),
        _ => Ok(Vec::new()),
    }
}

fn series(row: Row, grid: &Grid) -> Option<ResultSeries> {
    let timed = grid.times().zip(row.values).filter(|(_, v)| is_present(*v));
    let samples: Vec<Sample> = timed.map(|(t, v)| Sample { t, v }).collect();
    (!samples.is_empty()).then_some(ResultSeries { labels: row.labels, samples })
}
