//! Numbers as Go writes and reads them.

/// A value: decimal with or without exponent, `NaN`, `Inf` or `Infinity` in any case with or without sign.
/// `None` also for what a double cannot hold, such as `1e999`.
pub(super) fn float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let letters = text.trim_start_matches(['+', '-']);
    if value.is_nan() {
        // One NaN for all: another bit pattern means a stale series. Rust would take a sign, Go takes none.
        return (letters.len() == text.len()).then_some(f64::NAN);
    }
    (value.is_finite() || letters.starts_with(['i', 'I'])).then_some(value)
}

/// Seconds with fraction → whole ms, cut towards zero. `None` where they are no number or beyond the range.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(super) fn seconds_to_ms(text: &str) -> Option<i64> {
    let ms = float(text)? * 1000.0;
    (ms.abs() < 9.2e18).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.5e3", 1500.0),
            (".5", 0.5),
            ("1.", 1.0),
            ("-0.25E-1", -0.025),
            ("+Inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("infinity", f64::INFINITY),
        ] {
            assert_eq!(float(text), Some(value), "{text}");
        }
        assert_eq!(float("nan").map(f64::to_bits), Some(f64::NAN.to_bits()));
        for text in ["", "+", ".", "1e", "0x1p4", "1_000", "+NaN", "-nan", "1e999", "1,5", "in", " 1"] {
            assert_eq!(float(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_become_whole_ms() {
        assert_eq!(seconds_to_ms("1520879607.789"), Some(1_520_879_607_789));
        assert_eq!(seconds_to_ms("-1.0005"), Some(-1_000));
        for text in ["NaN", "Inf", "1e17", "x"] {
            assert_eq!(seconds_to_ms(text), None, "{text}");
        }
    }
}
