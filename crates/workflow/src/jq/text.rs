//! Text that filters make: of values as JSON, and of bytes in letters.

use jaq_json::{Num, Val};

/// The value as jq writes it: whole numbers that were calculated have no fraction, what is no number is null.
pub(super) fn json(value: &Val, to: &mut String) {
    match value {
        Val::Null => to.push_str("null"),
        Val::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
        Val::Num(number) => to.push_str(&digits(number)),
        Val::TStr(text) | Val::BStr(text) => quoted(&String::from_utf8_lossy(text), to),
        Val::Arr(items) => {
            to.push('[');
            items.iter().enumerate().for_each(|(i, item)| {
                if i > 0 {
                    to.push(',');
                }
                json(item, to);
            });
            to.push(']');
        }
        Val::Obj(entries) => {
            to.push('{');
            entries.iter().enumerate().for_each(|(i, (key, value))| {
                if i > 0 {
                    to.push(',');
                }
                json(key, to);
                to.push(':');
                json(value, to);
            });
            to.push('}');
        }
    }
}

fn quoted(text: &str, to: &mut String) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\u{8}' => to.push_str("\\b"),
            '\u{c}' => to.push_str("\\f"),
            c if c < ' ' || c == '\u{7f}' => to.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => to.push(c),
        }
    }
    to.push('"');
}

fn digits(number: &Num) -> String {
    match number {
        Num::Float(number) => float(*number),
        Num::Dec(text) if text.contains(['e', 'E']) => float(text.parse().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

fn float(number: f64) -> String {
    if number.is_nan() {
        return "null".to_owned();
    }
    let number = number.clamp(f64::MIN, f64::MAX);
    match number.abs() {
        size if (1e17..1e19).contains(&size) || size == 0.0 => format!("{number:.0}"),
        size if (1e-5..1e17).contains(&size) => format!("{number:?}"),
        _ => {
            let text = format!("{number:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{exponent:0>2}")
        }
    }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn base32(bytes: &[u8]) -> String {
    let mut to = String::new();
    for five in bytes.chunks(5) {
        let bits = (0..5).fold(0u64, |bits, i| bits << 8 | u64::from(five.get(i).copied().unwrap_or(0)));
        let used = (five.len() * 8).div_ceil(5);
        let letter =
            |i: usize| if i < used { char::from(BASE32[(bits >> (35 - 5 * i) & 31) as usize]) } else { '=' };
        to.extend((0..8).map(letter));
    }
    to
}

pub(super) fn from_base32(text: &str) -> Option<Vec<u8>> {
    decoded(text, BASE32, 5)
}

/// With or without the filling at the end.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    decoded(text, BASE64, 6)
}

fn decoded(text: &str, letters: &[u8], width: u32) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::with_capacity(text.len()));
    for letter in text.bytes() {
        let value = letters.iter().position(|one| *one == letter)?;
        bits = bits << width | u32::try_from(value).ok()?;
        count += width;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
        bits &= (1 << count) - 1;
    }
    (count < width).then_some(bytes)
}
