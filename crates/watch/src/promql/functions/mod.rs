//! The functions of PromQL, one line each in [`FUNCTIONS`]: name, arguments, and what computes it.

mod absent;
mod dates;
mod histogram;
mod labels;
mod math;
mod over_time;
mod rate;
mod regression;
mod vectors;

use super::ast::Type::{self, Matrix, Scalar, Text, Vector};
use super::ast::{Call, Expr, Node};
use super::error::{Error, Span};
use super::eval::{Evaluation, Grid, Value, Window};

/// A function with its signature.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    /// Types of the arguments.
    pub args: &'static [Type],
    pub optional: Optional,
    pub returns: Type,
    /// Whether the result depends on the time of evaluation beyond what the arguments do.
    pub(crate) timed: bool,
    pub(crate) run: Run,
}

/// Which arguments may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optional {
    None,
    /// The last one.
    Last,
    /// The last one may be there any number of times.
    Any,
}

/// How a function is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// Value by value; the result loses the metric name.
    Each(fn(f64) -> f64),
    /// Of the UTC date and time at that many seconds since 1970, or of the time of evaluation.
    Date(fn(jiff::civil::DateTime) -> f64),
    /// Of the samples in a range, at least one; the result loses the metric name.
    Range(fn(&Window<'_>) -> Option<f64>),
    /// The same, but the result keeps the metric name.
    NamedRange(fn(&Window<'_>) -> Option<f64>),
    /// Of the samples in a range and the scalar arguments at that step.
    RangeWith(fn(&Window<'_>, &[f64]) -> Result<Option<f64>, String>),
    /// Anything else.
    Special(fn(&mut Evaluation<'_>, &Call, &Grid, Span) -> Result<Value, Error>),
}

const fn function(name: &'static str, args: &'static [Type], run: Run) -> Function {
    Function { name, args, optional: Optional::None, returns: Vector, timed: false, run }
}

const fn each(name: &'static str, f: fn(f64) -> f64) -> Function {
    function(name, &[Vector], Run::Each(f))
}

const fn date(name: &'static str, f: fn(jiff::civil::DateTime) -> f64) -> Function {
    Function { optional: Optional::Last, ..function(name, &[Vector], Run::Date(f)) }
}

const fn range(name: &'static str, f: fn(&Window<'_>) -> Option<f64>) -> Function {
    function(name, &[Matrix], Run::Range(f))
}

type SpecialFn = fn(&mut Evaluation<'_>, &Call, &Grid, Span) -> Result<Value, Error>;

const fn special(name: &'static str, args: &'static [Type], f: SpecialFn) -> Function {
    function(name, args, Run::Special(f))
}

/// Every function. To add one, write what computes it and its line here.
///
/// Those of Prometheus 2.42, and of later releases `double_exponential_smoothing`, `first_over_time`, `mad_over_time`,
/// `sort_by_label`, `sort_by_label_desc` and `ts_of_…_over_time`.
static FUNCTIONS: &[Function] = &[
    each("abs", f64::abs),
    special("absent", &[Vector], absent::absent),
    special("absent_over_time", &[Matrix], absent::absent_over_time),
    each("acos", f64::acos),
    each("acosh", f64::acosh),
    each("asin", f64::asin),
    each("asinh", f64::asinh),
    each("atan", f64::atan),
    each("atanh", f64::atanh),
    range("avg_over_time", over_time::avg),
    each("ceil", f64::ceil),
    range("changes", over_time::changes),
    special("clamp", &[Vector, Scalar, Scalar], math::clamp),
    special("clamp_max", &[Vector, Scalar], math::clamp_max),
    special("clamp_min", &[Vector, Scalar], math::clamp_min),
    each("cos", f64::cos),
    each("cosh", f64::cosh),
    range("count_over_time", over_time::count),
    date("day_of_month", |t| f64::from(t.day())),
    date("day_of_week", |t| f64::from(t.weekday().to_sunday_zero_offset())),
    date("day_of_year", |t| f64::from(t.day_of_year())),
    date("days_in_month", |t| f64::from(t.days_in_month())),
    each("deg", math::deg),
    range("delta", rate::delta),
    range("deriv", regression::deriv),
    function(
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Run::RangeWith(regression::holt_winters),
    ),
    each("exp", f64::exp),
    function("first_over_time", &[Matrix], Run::NamedRange(over_time::first)),
    each("floor", f64::floor),
    special("histogram_count", &[Vector], histogram::of_native),
    special("histogram_fraction", &[Scalar, Scalar, Vector], histogram::of_native),
    special("histogram_quantile", &[Scalar, Vector], histogram::quantile),
    special("histogram_sum", &[Vector], histogram::of_native),
    function("holt_winters", &[Matrix, Scalar, Scalar], Run::RangeWith(regression::holt_winters)),
    date("hour", |t| f64::from(t.hour())),
    range("idelta", rate::idelta),
    range("increase", rate::increase),
    range("irate", rate::irate),
    Function {
        optional: Optional::Any,
        ..special("label_join", &[Vector, Text, Text, Text], labels::label_join)
    },
    special("label_replace", &[Vector, Text, Text, Text, Text], labels::label_replace),
    function("last_over_time", &[Matrix], Run::NamedRange(over_time::last)),
    each("ln", f64::ln),
    each("log10", math::log10),
    each("log2", math::log2),
    range("mad_over_time", over_time::mad),
    range("max_over_time", over_time::max),
    range("min_over_time", over_time::min),
    date("minute", |t| f64::from(t.minute())),
    date("month", |t| f64::from(t.month())),
    Function { returns: Scalar, ..special("pi", &[], vectors::pi) },
    Function {
        timed: true,
        ..function("predict_linear", &[Matrix, Scalar], Run::RangeWith(regression::predict_linear))
    },
    range("present_over_time", |_| Some(1.0)),
    function("quantile_over_time", &[Scalar, Matrix], Run::RangeWith(over_time::quantile)),
    each("rad", math::rad),
    range("rate", rate::rate),
    range("resets", over_time::resets),
    Function { optional: Optional::Last, ..special("round", &[Vector, Scalar], math::round) },
    Function { returns: Scalar, ..special("scalar", &[Vector], vectors::scalar) },
    each("sgn", math::sgn),
    each("sin", f64::sin),
    each("sinh", f64::sinh),
    special("sort", &[Vector], vectors::sort),
    Function { optional: Optional::Any, ..special("sort_by_label", &[Vector, Text], vectors::sort_by_label) },
    Function {
        optional: Optional::Any,
        ..special("sort_by_label_desc", &[Vector, Text], vectors::sort_by_label_desc)
    },
    special("sort_desc", &[Vector], vectors::sort_desc),
    each("sqrt", f64::sqrt),
    range("stddev_over_time", over_time::stddev),
    range("stdvar_over_time", over_time::stdvar),
    range("sum_over_time", over_time::sum),
    each("tan", f64::tan),
    each("tanh", f64::tanh),
    Function { returns: Scalar, timed: true, ..special("time", &[], vectors::time) },
    Function { timed: true, ..special("timestamp", &[Vector], vectors::timestamp) },
    range("ts_of_first_over_time", |window| time_of(window.samples.first())),
    range("ts_of_last_over_time", |window| time_of(window.samples.last())),
    range("ts_of_max_over_time", |window| time_of(over_time::last_max(window))),
    range("ts_of_min_over_time", |window| time_of(over_time::last_min(window))),
    special("vector", &[Scalar], vectors::vector),
    date("year", |t| f64::from(t.year())),
];

/// The function of a name; names of functions are case-sensitive.
pub(crate) fn named(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// The known names most like an unknown one, for a message; empty when none is near.
pub(crate) fn similar(name: &str) -> String {
    let mut near: Vec<(f64, &str)> = FUNCTIONS
        .iter()
        .map(|function| (strsim::jaro_winkler(name, function.name), function.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.iter().take(3).map(|(_, name)| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// Calls a function at all steps of the grid.
pub(crate) fn call(
    evaluation: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
) -> Result<Value, Error> {
    let outer = std::mem::replace(&mut evaluation.function, call.function.name);
    let value = run(evaluation, call, grid, span);
    evaluation.function = outer;
    value
}

fn run(evaluation: &mut Evaluation<'_>, call: &Call, grid: &Grid, span: Span) -> Result<Value, Error> {
    match call.function.run {
        Run::Each(f) => {
            let rows = evaluation.vector(&call.args[0], grid)?;
            evaluation.map_unnamed(rows, span, |_, v| f(v))
        }
        Run::Date(f) => dates::date(evaluation, call, grid, span, f),
        Run::Range(f) => {
            let rows = evaluation.over_windows(&call.args[0], grid, span, |w, _| Ok(f(w)))?;
            Ok(Value::Vector(evaluation.distinct(rows, span)?))
        }
        Run::NamedRange(f) => {
            Ok(Value::Vector(evaluation.over_named_windows(&call.args[0], grid, span, |w, _| Ok(f(w)))?))
        }
        Run::RangeWith(f) => range_with(evaluation, call, grid, span, f),
        Run::Special(f) => f(evaluation, call, grid, span),
    }
}

fn range_with(
    evaluation: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
    f: fn(&Window<'_>, &[f64]) -> Result<Option<f64>, String>,
) -> Result<Value, Error> {
    let (ranges, scalars): (Vec<&Expr>, Vec<&Expr>) = call.args.iter().partition(|arg| arg.ty() == Matrix);
    let columns =
        scalars.into_iter().map(|arg| evaluation.scalar(arg, grid)).collect::<Result<Vec<_>, _>>()?;
    let mut at_step = vec![0.0; columns.len()];
    let rows = evaluation.over_windows(ranges[0], grid, span, |window, step| {
        for (value, column) in at_step.iter_mut().zip(&columns) {
            *value = column[step];
        }
        f(window, &at_step)
    })?;
    Ok(Value::Vector(evaluation.distinct(rows, span)?))
}

/// When a sample was measured, in s.
fn time_of(sample: Option<&crate::series::Sample>) -> Option<f64> {
    sample.map(|sample| sample.t as f64 / 1000.0)
}

/// The text of a string argument.
fn text(arg: &Expr) -> &str {
    match &arg.bare().node {
        Node::Text(text) => text,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_and_names_are_unique() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn a_misspelt_name_is_answered_with_near_ones() {
        assert!(similar("rates").starts_with("\"rate\""));
        assert_eq!(similar("zzz"), "");
    }
}
