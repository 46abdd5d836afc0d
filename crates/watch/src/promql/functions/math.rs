//! Arithmetic on values.

use std::f64::consts::{LOG2_E, LOG10_2, PI};

use crate::promql::ast::Call;
use crate::promql::error::{Error, Span};
use crate::promql::eval::{ABSENT, Evaluation, Grid, Value};

/// Radians of degrees.
pub(super) fn rad(degrees: f64) -> f64 {
    degrees * PI / 180.0
}

/// Degrees of radians.
pub(super) fn deg(radians: f64) -> f64 {
    radians * 180.0 / PI
}

/// −1, 0 or 1; zero keeps its sign and NaN stays NaN.
pub(super) fn sgn(v: f64) -> f64 {
    if v < 0.0 {
        -1.0
    } else if v > 0.0 {
        1.0
    } else {
        v
    }
}

/// Exact for powers of two: exponent and logarithm of the fraction apart, as Go computes it.
pub(super) fn log2(v: f64) -> f64 {
    if v.is_nan() || v <= 0.0 || v.is_infinite() {
        return v.log2();
    }
    let (fraction, exponent) = split(v);
    #[expect(clippy::float_cmp, reason = "a power of two has exactly this fraction")]
    if fraction == 0.5 {
        return exponent - 1.0;
    }
    exponent + fraction.ln() * LOG2_E
}

/// As Go computes it, from the binary logarithm.
pub(super) fn log10(v: f64) -> f64 {
    log2(v) * LOG10_2
}

/// A positive finite value as fraction × 2^exponent, the fraction in [0.5, 1).
fn split(v: f64) -> (f64, f64) {
    // Subnormal values are lifted first, so that the exponent can be read off the bits.
    let (v, lifted) = if v < f64::MIN_POSITIVE { (v * 2_f64.powi(54), 54.0) } else { (v, 0.0) };
    let bits = v.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as f64 - 1022.0;
    let fraction = f64::from_bits((bits & !(0x7ff << 52)) | (1022 << 52));
    (fraction, exponent - lifted)
}

/// The greater value; NaN if one is NaN, except beside +∞.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The lesser value; NaN if one is NaN, except beside −∞.
pub(super) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

/// `clamp(v, low, high)`; nothing where `high < low`.
pub(super) fn clamp(ev: &mut Evaluation<'_>, call: &Call, grid: &Grid, span: Span) -> Result<Value, Error> {
    let rows = ev.vector(&call.args[0], grid)?;
    let (low, high) = (ev.scalar(&call.args[1], grid)?, ev.scalar(&call.args[2], grid)?);
    ev.map_unnamed(rows, span, |step, v| {
        if high[step] < low[step] { ABSENT } else { max(low[step], min(high[step], v)) }
    })
}

/// `clamp_max(v, high)`.
pub(super) fn clamp_max(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
) -> Result<Value, Error> {
    let rows = ev.vector(&call.args[0], grid)?;
    let high = ev.scalar(&call.args[1], grid)?;
    ev.map_unnamed(rows, span, |step, v| min(high[step], v))
}

/// `clamp_min(v, low)`.
pub(super) fn clamp_min(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
) -> Result<Value, Error> {
    let rows = ev.vector(&call.args[0], grid)?;
    let low = ev.scalar(&call.args[1], grid)?;
    ev.map_unnamed(rows, span, |step, v| max(low[step], v))
}

/// `round(v, to)`: to the nearest multiple, halves up.
pub(super) fn round(ev: &mut Evaluation<'_>, call: &Call, grid: &Grid, span: Span) -> Result<Value, Error> {
    let rows = ev.vector(&call.args[0], grid)?;
    let to = match call.args.get(1) {
        Some(arg) => ev.scalar(arg, grid)?,
        None => vec![1.0; grid.count],
    };
    ev.map_unnamed(rows, span, |step, v| {
        // Multiplying by the inverse loses less than dividing by steps like 0.1.
        let inverse = 1.0 / to[step];
        (v * inverse + 0.5).floor() / inverse
    })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these results are exact")]
mod tests {
    use super::*;

    #[test]
    fn logarithms_of_powers_are_exact() {
        assert_eq!(log2(8.0), 3.0);
        assert_eq!(log2(f64::MIN_POSITIVE / 4.0), -1024.0);
        assert_eq!(log10(10.0), 1.0);
        assert!((log10(1000.0) - 3.0).abs() < 1e-15);
        assert!(
            log2(-1.0).is_nan() && log2(0.0) == f64::NEG_INFINITY && log2(f64::INFINITY) == f64::INFINITY
        );
    }

    #[test]
    fn the_greater_of_nan_and_infinity_is_infinity() {
        assert_eq!(max(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert_eq!(min(f64::NEG_INFINITY, f64::NAN), f64::NEG_INFINITY);
        assert!(max(f64::NAN, 1.0).is_nan() && min(1.0, f64::NAN).is_nan());
    }
}
