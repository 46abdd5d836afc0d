//! Numbers as Go reads and writes them.

use super::ast::Number;

/// A constant of a template: `5`, `-1.5e3`, `0x1F`, `1_000`.
///
/// # Errors
/// When it is none, as Go says it.
pub(super) fn constant(text: &str) -> Result<Number, String> {
    let quoted = || super::printf::go_quote(text);
    let (int, read) = (integer(text), float(text));
    let looks_whole = !text.contains(['.', 'e', 'E', 'p', 'P']);
    if int.is_none() && read.is_some() && looks_whole {
        return Err(format!("integer overflow: {}", quoted()));
    }
    let Some(float) = read.or(int.map(|int| int as f64)) else {
        return Err(format!("illegal number syntax: {}", quoted()));
    };
    let is_hex = text.trim_start_matches(['+', '-']).starts_with(['0']) && text.contains(['x', 'X']);
    let is_float = !is_hex && text.contains(['.', 'e', 'E']) || text.contains(['p', 'P']);
    // A whole number may be written with an exponent: it is an integer where one is asked for.
    let whole = float.trunc().to_bits() == float.to_bits() && float.abs() < 9e18;
    let int = int.or(whole.then_some(float as i64));
    Ok(Number { text: text.into(), int, float, is_float })
}

/// A whole number with Go's prefixes of bases.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some(_) if lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let body = body.replace('_', "");
    if body.is_empty() || body.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(&body, radix).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

/// As Go's `strconv.ParseFloat`: decimal, hexadecimal with an exponent of two, `Inf`, `NaN`.
pub(crate) fn float(text: &str) -> Option<f64> {
    let (sign, body) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let lower = body.to_ascii_lowercase();
    match lower.as_str() {
        "inf" | "infinity" => return Some(sign * f64::INFINITY),
        "nan" => return (body.len() == text.len()).then_some(f64::NAN),
        _ => {}
    }
    if let Some(hex) = lower.strip_prefix("0x") {
        return hex_float(hex).map(|value| sign * value);
    }
    let plain = lower.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let value: f64 = if plain { lower.parse().ok()? } else { return None };
    // Too large is an error there, not infinity.
    value.is_finite().then_some(sign * value)
}

fn hex_float(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut value = 0.0_f64;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    Some(value * 2.0_f64.powi(exponent - 4 * i32::try_from(fraction.len()).ok()?))
}

/// How a float is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `1.5e+03`
    Exponent,
    /// `1500.0`
    Fixed,
    /// Whichever is shorter, as `%g`.
    General,
}

/// Digits of a float without NaN and infinities; `precision` none: as many as are needed to read it back. `zeros`:
/// those at the end stay in the general form (`%#g`).
pub(super) fn format(v: f64, form: Form, precision: Option<usize>, zeros: bool) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match (form, precision) {
        (Form::Fixed, None) => format!("{v}"),
        (Form::Fixed, Some(places)) => format!("{v:.places$}"),
        (Form::Exponent, None) => exponent(&format!("{v:e}")),
        (Form::Exponent, Some(places)) => exponent(&format!("{v:.places$e}")),
        (Form::General, _) => general(v, precision, zeros),
    }
}

fn general(v: f64, precision: Option<usize>, zeros: bool) -> String {
    let significant = precision.map(|p| p.max(1));
    let scientific = match significant {
        Some(digits) => format!("{v:.*e}", digits - 1),
        None => format!("{v:e}"),
    };
    let Some((mantissa, power)) = scientific.split_once('e') else { return scientific };
    let power: i32 = power.parse().unwrap_or(0);
    let digits = mantissa.chars().filter(char::is_ascii_digit).count();
    // The exponent from which it is written out; digits that are zeros do not count.
    let shown = mantissa.trim_end_matches('0').chars().filter(char::is_ascii_digit).count().max(1);
    let limit = match significant {
        None => 6,
        Some(p) if !zeros && p > shown && i32::try_from(shown).unwrap_or(0) > power => shown,
        Some(p) => p,
    };
    if power < -4 || power >= i32::try_from(limit).unwrap_or(i32::MAX) {
        let text = exponent(&scientific);
        return if zeros || precision.is_none() { text } else { trim_mantissa(&text) };
    }
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(0) - 1 - power).unwrap_or(0);
    let text = match significant {
        Some(_) => format!("{v:.decimals$}"),
        None => format!("{v}"),
    };
    if zeros || !text.contains('.') || precision.is_none() {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn trim_mantissa(text: &str) -> String {
    let Some((mantissa, power)) = text.split_once('e') else { return text.to_owned() };
    if !mantissa.contains('.') {
        return text.to_owned();
    }
    format!("{}e{power}", mantissa.trim_end_matches('0').trim_end_matches('.'))
}

/// `1.5e3` → `1.5e+03`.
fn exponent(text: &str) -> String {
    let Some((mantissa, power)) = text.split_once('e') else { return text.to_owned() };
    let (sign, power) = match power.strip_prefix('-') {
        Some(power) => ('-', power),
        None => ('+', power),
    };
    format!("{mantissa}e{sign}{power:0>2}")
}

/// As `%x` writes a float: `0x1.8p+01`.
pub(super) fn hex(v: f64) -> String {
    let bits = v.to_bits();
    let sign = if bits >> 63 == 1 { "-" } else { "" };
    let (raw, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    if raw == 0 && fraction == 0 {
        return format!("{sign}0x0p+00");
    }
    // Subnormal numbers are shifted until their first digit is 1.
    let (power, fraction) = if raw == 0 {
        let shift = fraction.leading_zeros() - 11;
        (-1022 - i64::from(shift), (fraction << shift) & ((1 << 52) - 1))
    } else {
        (raw as i64 - 1023, fraction)
    };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    let power_sign = if power < 0 { '-' } else { '+' };
    format!("{sign}0x1{point}{digits}p{power_sign}{:02}", power.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (v, precision, text) in [
            (0.0, None, "0"),
            (100_000.0, None, "100000"),
            (1e6, None, "1e+06"),
            (123_456.0, None, "123456"),
            (1e21, None, "1e+21"),
            (123_456_789.0, None, "1.23456789e+08"),
            (0.0001, None, "0.0001"),
            (0.00001, None, "1e-05"),
            (1234.5678, Some(4), "1235"),
            (12345.0, Some(4), "1.234e+04"),
            (0.1, Some(4), "0.1"),
            (1.0, Some(4), "1"),
            (100.0, Some(4), "100"),
            (99999.0, Some(4), "1e+05"),
            (1e100, Some(3), "1e+100"),
        ] {
            assert_eq!(format(v, Form::General, precision, false), text, "{v} {precision:?}");
        }
        assert_eq!(format(2.5, Form::Fixed, Some(0), false), "2");
        assert_eq!(format(1500.0, Form::Exponent, Some(2), false), "1.50e+03");
        assert_eq!(hex(3.0), "0x1.8p+01");
        assert_eq!(hex(-0.1), "-0x1.999999999999ap-04");
    }

    #[test]
    fn constants_know_what_they_can_be() {
        let five = constant("5").unwrap();
        assert_eq!((five.int, five.is_float), (Some(5), false));
        assert!(constant("5.0").unwrap().is_float);
        assert_eq!(constant("0x1F").unwrap().int, Some(31));
        assert_eq!(constant("010").unwrap().int, Some(8));
        assert_eq!(constant("1_000").unwrap().int, Some(1000));
        assert_eq!(constant("08").unwrap_err(), "integer overflow: \"08\"");
        assert_eq!(constant("1e400").unwrap_err(), "illegal number syntax: \"1e400\"");
        assert_eq!(float("0x1p4"), Some(16.0));
        assert_eq!(float("1e400"), None);
    }
}
