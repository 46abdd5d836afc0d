//! Facets: what narrows a simple type.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::builtin::{Builtin, base64_length, float};
use super::dates;
use super::decimal::Decimal;
use super::pattern::Pattern;
use crate::soap::names::{listed, short};

/// What is done with space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WhiteSpace {
    #[default]
    Preserve,
    /// Each character of space becomes a space.
    Replace,
    /// Runs of space become one, and none is left at the ends.
    Collapse,
}

impl WhiteSpace {
    pub(crate) fn apply(self, text: &str) -> Cow<'_, str> {
        let is_space = |char: char| matches!(char, ' ' | '\t' | '\n' | '\r');
        match self {
            Self::Preserve => Cow::Borrowed(text),
            Self::Replace if text.contains(['\t', '\n', '\r']) => {
                Cow::Owned(text.replace(['\t', '\n', '\r'], " "))
            }
            Self::Replace => Cow::Borrowed(text),
            Self::Collapse => {
                let trimmed = text.trim_matches(is_space);
                if trimmed.contains(['\t', '\n', '\r']) || trimmed.contains("  ") {
                    Cow::Owned(
                        trimmed.split(is_space).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
                    )
                } else {
                    Cow::Borrowed(trimmed)
                }
            }
        }
    }
}

/// The facets that hold for a type, those of its bases among them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facets {
    pub(crate) white_space: WhiteSpace,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    /// Each must take the text.
    pub(crate) patterns: Vec<Pattern>,
    /// The only values, as they are written.
    pub(crate) enumeration: Option<Vec<String>>,
    /// The bound, and whether it is allowed itself.
    pub(crate) min: Option<(String, bool)>,
    pub(crate) max: Option<(String, bool)>,
    pub(crate) total_digits: Option<u64>,
    pub(crate) fraction_digits: Option<u64>,
}

/// What a text is measured as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Measure {
    Atomic(Builtin),
    /// So many items.
    List(usize),
    Union,
}

impl Facets {
    /// Whether a text, its space dealt with, keeps to all facets.
    ///
    /// # Errors
    /// What was expected instead.
    pub(crate) fn check(&self, text: &str, measure: Measure) -> Result<(), String> {
        let atomic = match measure {
            Measure::Atomic(builtin) => Some(builtin),
            Measure::List(_) | Measure::Union => None,
        };
        if let Some(values) = &self.enumeration
            && !values.iter().any(|value| equal(atomic, value, text))
        {
            return Err(format!(
                "expected one of {}, found `{}`",
                listed(values.iter().map(String::as_str)),
                short(text)
            ));
        }
        if let Some(pattern) = self.patterns.iter().find(|pattern| !pattern.takes(text)) {
            return Err(format!(
                "expected a text of the pattern `{}`, found `{}`",
                short(&pattern.written),
                short(text)
            ));
        }
        self.check_length(text, measure)?;
        if let Some(builtin) = atomic {
            self.check_range(text, builtin)?;
            self.check_digits(text, builtin)?;
        }
        Ok(())
    }

    fn check_length(&self, text: &str, measure: Measure) -> Result<(), String> {
        if self.min_length.is_none() && self.max_length.is_none() {
            return Ok(());
        }
        let (length, unit) = match measure {
            Measure::List(items) => (items, "items"),
            Measure::Atomic(Builtin::Hex) => (text.len() / 2, "bytes"),
            Measure::Atomic(Builtin::Base64) => (base64_length(text).unwrap_or(0), "bytes"),
            // Length says nothing about names (XML Schema Part 2, 3.2.18).
            Measure::Atomic(Builtin::QName) | Measure::Union => return Ok(()),
            Measure::Atomic(_) => (text.chars().count(), "characters"),
        };
        let length = length as u64;
        if let Some(min) = self.min_length.filter(|min| length < *min) {
            return Err(format!("expected {min} {unit} or more, found {length}"));
        }
        if let Some(max) = self.max_length.filter(|max| length > *max) {
            return Err(format!("expected {max} {unit} or fewer, found {length}"));
        }
        Ok(())
    }

    fn check_range(&self, text: &str, builtin: Builtin) -> Result<(), String> {
        let beyond = |bound: &Option<(String, bool)>, wrong: Ordering| {
            bound
                .as_ref()
                .filter(|(bound, inclusive)| {
                    // What cannot be compared, as NaN and durations of months and days, is not judged.
                    compare(builtin, text, bound)
                        .is_some_and(|order| order == wrong || (!inclusive && order == Ordering::Equal))
                })
                .map(|(bound, inclusive)| (bound.clone(), *inclusive))
        };
        if let Some((bound, inclusive)) = beyond(&self.min, Ordering::Less) {
            let words = if inclusive { "at least" } else { "more than" };
            return Err(format!("expected {words} {bound}, found {}", short(text)));
        }
        if let Some((bound, inclusive)) = beyond(&self.max, Ordering::Greater) {
            let words = if inclusive { "at most" } else { "less than" };
            return Err(format!("expected {words} {bound}, found {}", short(text)));
        }
        Ok(())
    }

    fn check_digits(&self, text: &str, builtin: Builtin) -> Result<(), String> {
        let Some(number) = Decimal::read(text).filter(|_| builtin.is_decimal()) else { return Ok(()) };
        let (total, fraction) = number.digits();
        if let Some(most) = self.total_digits.filter(|most| total as u64 > *most) {
            return Err(format!("expected {most} digits or fewer, found {}", short(text)));
        }
        if let Some(most) = self.fraction_digits.filter(|most| fraction as u64 > *most) {
            return Err(format!("expected {most} digits after the point or fewer, found {}", short(text)));
        }
        Ok(())
    }
}

fn compare(builtin: Builtin, one: &str, two: &str) -> Option<Ordering> {
    if builtin.is_decimal() {
        Some(Decimal::read(one)?.cmp(&Decimal::read(two)?))
    } else if builtin.is_float() {
        float(one)?.partial_cmp(&float(two)?)
    } else {
        Some(dates::order(builtin, one)?.cmp(&dates::order(builtin, two)?))
    }
}

/// Whether two texts stand for the same value.
pub(crate) fn equal(builtin: Option<Builtin>, one: &str, two: &str) -> bool {
    if one == two {
        return true;
    }
    let truth = |text: &str| matches!(text, "true" | "1");
    match builtin {
        Some(Builtin::Boolean) => truth(one) == truth(two),
        Some(Builtin::Hex) => one.eq_ignore_ascii_case(two),
        Some(builtin) if builtin.is_decimal() || builtin.is_float() => {
            compare(builtin, one, two) == Some(Ordering::Equal)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: Measure = Measure::Atomic(Builtin::Decimal);

    #[test]
    fn space_is_dealt_with_first() {
        assert_eq!(WhiteSpace::Collapse.apply(" a \n\t b "), "a b");
        assert_eq!(WhiteSpace::Replace.apply("a\n b"), "a  b");
        assert_eq!(WhiteSpace::Preserve.apply(" a"), " a");
    }

    #[test]
    fn values_are_compared_and_not_texts() {
        let facets = Facets { enumeration: Some(vec!["1.50".into()]), ..Facets::default() };
        facets.check("1.5", NUMBER).unwrap();
        assert!(facets.check("1.5", Measure::Atomic(Builtin::String)).is_err());
        let facets =
            Facets { min: Some(("-10".into(), true)), max: Some(("10".into(), false)), ..Facets::default() };
        facets.check("-10", NUMBER).unwrap();
        assert_eq!(facets.check("10.0", NUMBER).unwrap_err(), "expected less than 10, found 10.0");
        assert_eq!(facets.check("-10.5", NUMBER).unwrap_err(), "expected at least -10, found -10.5");
        facets.check("NaN", Measure::Atomic(Builtin::Double)).unwrap();
    }

    #[test]
    fn lengths_are_characters_bytes_or_items() {
        let facets = Facets { min_length: Some(2), max_length: Some(2), ..Facets::default() };
        facets.check("üß", Measure::Atomic(Builtin::String)).unwrap();
        facets.check("0aFF", Measure::Atomic(Builtin::Hex)).unwrap();
        facets.check("QUI=", Measure::Atomic(Builtin::Base64)).unwrap();
        facets.check("1 2", Measure::List(2)).unwrap();
        assert_eq!(
            facets.check("1 2 3", Measure::List(3)).unwrap_err(),
            "expected 2 items or fewer, found 3"
        );
    }

    #[test]
    fn digits_are_counted_by_value() {
        let facets = Facets { total_digits: Some(3), fraction_digits: Some(1), ..Facets::default() };
        facets.check("0012.50", NUMBER).unwrap();
        assert!(facets.check("12.55", NUMBER).unwrap_err().contains("3 digits"));
        assert!(facets.check("1.55", NUMBER).unwrap_err().contains("after the point"));
    }
}
