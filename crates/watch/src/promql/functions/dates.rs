//! Parts of dates, always in UTC.

use crate::labels::Labels;
use crate::promql::ast::Call;
use crate::promql::error::{Error, Span};
use crate::promql::eval::{Evaluation, Grid, Row, Value};

/// `hour(v)` and its like: of values in seconds since 1970, or without an argument of the time of evaluation.
pub(super) fn date(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
    part: fn(jiff::civil::DateTime) -> f64,
) -> Result<Value, Error> {
    if let Some(arg) = call.args.first() {
        let rows = ev.vector(arg, grid)?;
        return ev.map_unnamed(rows, span, |_, v| at(v, part));
    }
    let values = grid.times().map(|t| at(t.div_euclid(1000) as f64, part)).collect();
    Ok(Value::Vector(vec![Row { labels: Labels::empty(), values }]))
}

/// NaN for what is no time between the years −9999 and 9999.
fn at(seconds: f64, part: fn(jiff::civil::DateTime) -> f64) -> f64 {
    if seconds.is_nan() {
        return f64::NAN;
    }
    // The cast cuts towards zero and stops at the ends of the type, which are no valid times.
    match jiff::Timestamp::from_second(seconds as i64) {
        Ok(timestamp) => part(jiff::tz::Offset::UTC.to_datetime(timestamp)),
        Err(_) => f64::NAN,
    }
}
