//! Numbers as Prometheus writes them.

use std::fmt;

/// As in its JSON: the shortest digits that read back the same, an exponent below 10⁻⁶ and from 10²¹.
pub fn float(v: f64) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_float(&mut text, v);
    text
}

/// The same, written to where the answer is made.
///
/// # Errors
/// Those of `out`.
pub fn write_float(out: &mut impl fmt::Write, v: f64) -> fmt::Result {
    let size = v.abs();
    if v.is_nan() {
        out.write_str("NaN")
    } else if v.is_infinite() {
        out.write_str(if v > 0.0 { "+Inf" } else { "-Inf" })
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        out.write_str(&with_exponent(v))
    } else {
        write!(out, "{v}")
    }
}

/// As the value of a label: the shortest digits that read back the same, never an exponent.
pub fn plain(v: f64) -> String {
    if v.is_nan() {
        "NaN".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{v}")
    }
}

/// `1e-07`: at least two digits of exponent, always with a sign.
fn with_exponent(v: f64) -> String {
    let text = format!("{v:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// A time in ms as Prometheus' JSON has it: seconds with as many of three decimals as are needed.
pub fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let (whole, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:03}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_in_prometheus_json() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-1.5e-7, "-1.5e-07"),
            (0.000001, "0.000001"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(float(v), text);
        }
        assert_eq!(plain(1e-7), "0.0000001");
    }

    #[test]
    fn times_have_the_decimals_they_need() {
        for (ms, text) in [
            (0, "0"),
            (1_435_781_451_781, "1435781451.781"),
            (1_500, "1.500"),
            (-1, "-0.001"),
            (60_000, "60"),
        ] {
            assert_eq!(seconds(ms), text);
        }
    }
}
