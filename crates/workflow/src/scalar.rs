//! Plain scalars by the core schema of YAML 1.2 (YAML 1.2.2, 10.3.2).

use serde_json::Number;

use crate::node::Value;

/// What an unquoted scalar is. `None` for a number that JSON does not have (`.inf`, `.nan`, `1e999`).
///
/// `yes`, `no` and `on` are text, `0o17` is fifteen.
pub(crate) fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return None,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return None;
    }
    if let Some(value) = with_radix(text, "0x", 16).or_else(|| with_radix(text, "0o", 8)) {
        return value.map(Value::Number);
    }
    if is_decimal(unsigned) {
        return decimal(text.strip_prefix('+').unwrap_or(text)).map(Value::Number);
    }
    Some(Value::Text(text.to_owned()))
}

/// A number with a prefix: `None` when it is none, `Some(None)` when it is too large for JSON.
fn with_radix(text: &str, prefix: &str, radix: u32) -> Option<Option<Number>> {
    let digits = text.strip_prefix(prefix)?;
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    Some(u64::from_str_radix(digits, radix).ok().map(Number::from))
}

/// Digits with at most one point, and an exponent or none.
fn is_decimal(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_holds = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_holds = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_holds && exponent_holds
}

fn decimal(text: &str) -> Option<Number> {
    if let Ok(whole) = text.parse::<u64>() {
        return Some(whole.into());
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    text.parse().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::node::{Node, Position};

    fn json(text: &str) -> Option<Json> {
        plain(text).map(|value| Node { position: Position::NONE, value }.to_json())
    }

    #[test]
    fn scalars_are_what_yaml_1_2_says() {
        for (text, expected) in [
            ("on", json!("on")),
            ("yes", json!("yes")),
            ("No", json!("No")),
            ("true", json!(true)),
            ("~", json!(null)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("017", json!(17)),
            ("+7", json!(7)),
            ("-12", json!(-12)),
            ("1.", json!(1.0)),
            ("-.5e1", json!(-5.0)),
            ("1e3", json!(1000.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.0.3", json!("1.0.3")),
            ("2026-01-01", json!("2026-01-01")),
            ("1_000", json!("1_000")),
            ("0o8", json!("0o8")),
            (".", json!(".")),
            ("e3", json!("e3")),
            ("1e", json!("1e")),
            ("nan", json!("nan")),
        ] {
            assert_eq!(json(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_none() {
        for text in [".inf", "-.INF", ".nan", "1e999", "0xFFFFFFFFFFFFFFFFF"] {
            assert_eq!(json(text), None, "{text}");
        }
    }
}
