//! Numbers, durations and times for people, to the letter of Prometheus.

use super::number::{self, Form};
use super::time;
use super::value::Value;

/// `%.4g`
fn four(v: f64) -> String {
    number::format(v, Form::General, Some(4), false)
}

/// # Errors
/// When it is no number.
fn float(args: &[Value]) -> Result<f64, String> {
    match args.first() {
        Some(Value::Float(v)) => Ok(*v),
        Some(Value::Int(v)) => Ok(*v as f64),
        Some(Value::Text(text)) => number::float(text).ok_or_else(|| {
            let why = if text.parse::<f64>().is_ok_and(f64::is_infinite) {
                "value out of range"
            } else {
                "invalid syntax"
            };
            format!("strconv.ParseFloat: parsing {}: {why}", super::printf::go_quote(text))
        }),
        Some(Value::Duration(ns)) => Ok(*ns as f64 / 1e9),
        other => Err(format!("can't convert {} to float", other.map_or("<nil>", Value::type_name))),
    }
}

/// Divides by `base` while it is at least that.
fn large(mut v: f64, base: f64, units: [&'static str; 8]) -> (f64, &'static str) {
    let mut prefix = "";
    for unit in units {
        if v.abs() < base {
            break;
        }
        prefix = unit;
        v /= base;
    }
    (v, prefix)
}

fn small(mut v: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for unit in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = unit;
        v *= 1000.0;
    }
    (v, prefix)
}

/// `1.234k`, `50m`.
pub(super) fn decimal(args: &[Value]) -> Result<Value, String> {
    let v = float(args)?;
    if v == 0.0 || !v.is_finite() {
        return Ok(Value::text(four(v)));
    }
    let (v, prefix) =
        if v.abs() >= 1.0 { large(v, 1000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"]) } else { small(v) };
    Ok(Value::text(four(v) + prefix))
}

/// `1.5Mi`
pub(super) fn binary(args: &[Value]) -> Result<Value, String> {
    let v = float(args)?;
    if v.abs() <= 1.0 || !v.is_finite() {
        return Ok(Value::text(four(v)));
    }
    let (v, prefix) = large(v, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]);
    Ok(Value::text(four(v) + prefix))
}

/// Seconds as `1d 2h 3m 4s`, `1.5s`, `20ms`.
pub(super) fn duration(args: &[Value]) -> Result<Value, String> {
    let v = float(args)?;
    if !v.is_finite() {
        return Ok(Value::text(four(v)));
    }
    if v == 0.0 {
        return Ok(Value::text(format!("{}s", four(v))));
    }
    if v.abs() < 1.0 {
        let (v, prefix) = small(v);
        return Ok(Value::text(format!("{}{prefix}s", four(v))));
    }
    let sign = if v < 0.0 { "-" } else { "" };
    let whole = v.abs() as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    Ok(Value::text(match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four(v.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }))
}

/// A fraction as `12.5%`.
pub(super) fn percentage(args: &[Value]) -> Result<Value, String> {
    Ok(Value::text(format!("{}%", four(float(args)? * 100.0))))
}

/// Seconds since 1970 in ns, cut to ms.
fn ns(v: f64) -> Result<i128, String> {
    let ns = v * 1e9;
    if ns > i64::MAX as f64 || ns < i64::MIN as f64 {
        let shown = number::format(v, Form::General, None, false);
        return Err(format!(
            "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(i128::from(ns as i64 / 1_000_000) * 1_000_000)
}

/// Seconds since 1970 as a date.
pub(super) fn timestamp(args: &[Value]) -> Result<Value, String> {
    let v = float(args)?;
    if !v.is_finite() {
        return Ok(Value::text(four(v)));
    }
    Ok(Value::text(time::text(ns(v)?)))
}

pub(super) fn to_time(args: &[Value]) -> Result<Value, String> {
    let v = float(args)?;
    if !v.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    ns(v).map(Value::Time)
}

pub(super) fn to_duration(args: &[Value]) -> Result<Value, String> {
    float(args).map(|v| Value::Duration((v * 1e9) as i64))
}

/// `1h30m` in seconds.
pub(super) fn parse_duration(args: &[Value]) -> Result<Value, String> {
    let text = super::functions::text_of(args, 0);
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => (-1.0, size),
        None => (1.0, text),
    };
    let ms = crate::duration::parse(size)?;
    Ok(Value::Float(sign * ms as f64 / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(f: fn(&[Value]) -> Result<Value, String>, v: f64) -> String {
        f(&[Value::Float(v)]).unwrap().shown()
    }

    #[test]
    fn numbers_are_written_for_people() {
        for (v, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1_234_567.0, "1.235M"),
            (0.12, "120m"),
            (-999.0, "-999"),
            (1e27, "1000Y"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(shown(decimal, v), text);
        }
        assert_eq!(shown(binary, 1_048_576.0), "1Mi");
        assert_eq!(shown(percentage, 0.123_456), "12.35%");
        assert_eq!(shown(timestamp, 1_435_065_584.128), "2015-06-23 13:19:44.128 +0000 UTC");
    }

    #[test]
    fn durations_are_written_for_people() {
        for (v, text) in [
            (0.0, "0s"),
            (1.0, "1s"),
            (59.5, "59.5s"),
            (90.0, "1m 30s"),
            (86_400.0, "1d 0h 0m 0s"),
            (-3_661.0, "-1h 1m 1s"),
            (0.1, "100ms"),
            (1e-10, "100ps"),
        ] {
            assert_eq!(shown(duration, v), text);
        }
    }
}
