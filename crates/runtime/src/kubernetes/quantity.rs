//! Quantities of Kubernetes, exactly: `100m`, `1.5Gi`, `1e3`.
//!
//! Source: the `Quantity` type of `k8s.io/apimachinery` (suffixes n, u, m, k, M, G, T, P, E, Ki … Ei, or an exponent).

/// Decimal places that are kept. The smallest suffix is `n`.
const PLACES: u32 = 12;
/// 10 to the power of [`PLACES`].
const ONE: i128 = 1_000_000_000_000;

/// Thousandths of a processor, rounded up; `None` for what is no quantity, negative or too large.
pub(in crate::kubernetes) fn millis(text: &str) -> Option<u64> {
    up(parse(text)?, ONE / 1000)
}

/// Millionths of a processor, rounded up; `None` for what is no quantity, negative or too large.
pub(in crate::kubernetes) fn micros(text: &str) -> Option<u64> {
    up(parse(text)?, ONE / 1_000_000)
}

/// Whole units, such as bytes, rounded up; `None` for what is no quantity, negative or too large.
pub(crate) fn whole(text: &str) -> Option<u64> {
    up(parse(text)?, ONE)
}

fn up(value: i128, unit: i128) -> Option<u64> {
    let rounded = value.checked_add(unit - 1)? / unit;
    if value < 0 { None } else { u64::try_from(rounded).ok() }
}

/// The value in units of 10^-12; smaller parts are rounded up, as Kubernetes does.
fn parse(text: &str) -> Option<i128> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    // More than 30 digits are beyond every machine.
    if all.is_empty() || all.len() > 30 || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mantissa: i128 = all.parse().ok()?;
    let (factor, exponent) = scale(suffix)?;
    let exponent = exponent - i32::try_from(fraction.len()).ok()? + i32::try_from(PLACES).ok()?;
    let scaled = mantissa.checked_mul(factor)?;
    let value = if exponent >= 0 {
        scaled.checked_mul(10_i128.checked_pow(exponent.unsigned_abs())?)?
    } else {
        let divisor = 10_i128.checked_pow(exponent.unsigned_abs())?;
        scaled.checked_add(divisor - 1)? / divisor
    };
    Some(if negative { -value } else { value })
}

/// Factor and decimal exponent of a suffix.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-18..=18).contains(&exponent).then_some((1, exponent))?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        let cases =
            [("100m", 100), ("1", 1000), ("0.1", 100), ("1.5", 1500), ("1e3", 1_000_000), ("2k", 2_000_000)];
        for (text, expected) in cases {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        assert_eq!((millis("1n"), millis("100001u"), millis("0")), (Some(1), Some(101), Some(0)));
        let cases =
            [("64Mi", 64 << 20), ("1.5Gi", 3 << 29), ("129M", 129_000_000), ("128974848", 128_974_848)];
        for (text, expected) in cases {
            assert_eq!(whole(text), Some(expected), "{text}");
        }
        assert_eq!((whole("1500m"), whole("7Ei"), whole("12E2")), (Some(2), Some(7 << 60), Some(1200)));
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in [
            "",
            "m",
            "-1",
            "1 Gi",
            "1gi",
            "1.2.3",
            "1e99",
            "9999999E",
            "٣",
            "1e",
            "+",
            "--1",
            &"9".repeat(40),
        ] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
