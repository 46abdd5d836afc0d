//! Decimal numbers as they are written: of any length, compared exactly.

use std::cmp::Ordering;

/// A decimal number without leading and trailing zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Digits before the point, the first of them not zero.
    whole: String,
    /// Digits after the point, the last of them not zero.
    fraction: String,
}

impl Decimal {
    /// Reads `-12.50`, as `xsd:decimal` writes it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !zero, whole, fraction })
    }

    /// All digits, and those after the point (XML Schema Part 2, 4.3.11 and 4.3.12).
    pub(crate) const fn digits(&self) -> (usize, usize) {
        (self.whole.len() + self.fraction.len(), self.fraction.len())
    }

    pub(crate) fn within(&self, min: Option<&str>, max: Option<&str>) -> bool {
        let bound = |text: &str| Self::read(text);
        min.and_then(bound).is_none_or(|min| *self >= min)
            && max.and_then(bound).is_none_or(|max| *self <= max)
    }

    /// As `f64` where writing that gives the same digits again.
    pub(crate) fn exact(&self) -> Option<f64> {
        let value: f64 = self.to_string().parse().ok()?;
        // More than 2^53 is no integer that others keep.
        (value.abs() <= 9_007_199_254_740_991.0 && Self::read(&value.to_string()).as_ref() == Some(self))
            .then_some(value)
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let whole = if self.whole.is_empty() { "0" } else { &self.whole };
        write!(f, "{sign}{whole}")?;
        if self.fraction.is_empty() { Ok(()) } else { write!(f, ".{}", self.fraction) }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |one: &Self, two: &Self| {
            let whole = one.whole.len().cmp(&two.whole.len());
            whole.then_with(|| one.whole.cmp(&two.whole)).then_with(|| one.fraction.cmp(&two.fraction))
        };
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self, other),
            (true, true) => size(other, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::read(text).unwrap()
    }

    #[test]
    fn they_are_compared_by_value() {
        let rising =
            ["-10.5", "-10", "-9.99", "-0.001", "0", "0.1", "0.11", "2", "10", "12345678901234567890.1"];
        for pair in rising.windows(2) {
            assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
        }
        assert_eq!(decimal("-0.0"), decimal("+0"));
        assert_eq!(decimal("001.500"), decimal("1.5"));
        assert_eq!(decimal("001.500").to_string(), "1.5");
        assert_eq!(decimal("-120.05").digits(), (5, 2));
    }

    #[test]
    fn only_those_that_lose_nothing_become_floats() {
        assert_eq!(decimal("0.1").exact(), Some(0.1));
        assert_eq!(decimal("9007199254740991").exact(), Some(9_007_199_254_740_991.0));
        for text in ["9007199254740993", "0.1234567890123456789", "123456789.123456789123"] {
            assert_eq!(decimal(text).exact(), None, "{text}");
        }
    }
}
