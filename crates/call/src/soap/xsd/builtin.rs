//! The built-in types of XML Schema, and which texts are of them.

use super::dates;
use super::decimal::Decimal;
use super::facets::WhiteSpace;
use crate::soap::names::{continues_name, is_ncname, starts_name};

/// A built-in type that is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Builtin {
    /// `anySimpleType`: any text.
    AnySimple,
    String,
    Normalized,
    Token,
    Language,
    Name,
    NcName,
    NmToken,
    AnyUri,
    QName,
    Boolean,
    Decimal,
    /// `integer` and those derived from it, by their ranges.
    Integer(Range),
    Float,
    Double,
    Duration,
    DateTime,
    Time,
    Date,
    YearMonth,
    Year,
    MonthDay,
    Day,
    Month,
    Hex,
    Base64,
}

/// The range of a type of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub(crate) min: Option<&'static str>,
    pub(crate) max: Option<&'static str>,
}

const fn range(min: Option<&'static str>, max: Option<&'static str>) -> Builtin {
    Builtin::Integer(Range { min, max })
}

/// What a name of the XML Schema namespace stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    AnyType,
    Atomic(Builtin),
    /// A list of this.
    List(Builtin),
}

impl Builtin {
    /// The built-in type with this local name.
    pub(crate) fn named(name: &str) -> Option<Known> {
        Some(Known::Atomic(match name {
            "anyType" => return Some(Known::AnyType),
            "NMTOKENS" => return Some(Known::List(Self::NmToken)),
            "IDREFS" | "ENTITIES" => return Some(Known::List(Self::NcName)),
            "anySimpleType" | "anyAtomicType" => Self::AnySimple,
            "string" => Self::String,
            "normalizedString" => Self::Normalized,
            "token" => Self::Token,
            "language" => Self::Language,
            "Name" => Self::Name,
            "NCName" | "ID" | "IDREF" | "ENTITY" => Self::NcName,
            "NMTOKEN" => Self::NmToken,
            "anyURI" => Self::AnyUri,
            "QName" | "NOTATION" => Self::QName,
            "boolean" => Self::Boolean,
            "decimal" => Self::Decimal,
            "integer" => range(None, None),
            "nonPositiveInteger" => range(None, Some("0")),
            "negativeInteger" => range(None, Some("-1")),
            "nonNegativeInteger" => range(Some("0"), None),
            "positiveInteger" => range(Some("1"), None),
            "long" => range(Some("-9223372036854775808"), Some("9223372036854775807")),
            "int" => range(Some("-2147483648"), Some("2147483647")),
            "short" => range(Some("-32768"), Some("32767")),
            "byte" => range(Some("-128"), Some("127")),
            "unsignedLong" => range(Some("0"), Some("18446744073709551615")),
            "unsignedInt" => range(Some("0"), Some("4294967295")),
            "unsignedShort" => range(Some("0"), Some("65535")),
            "unsignedByte" => range(Some("0"), Some("255")),
            "float" => Self::Float,
            "double" => Self::Double,
            "duration" | "yearMonthDuration" | "dayTimeDuration" => Self::Duration,
            "dateTime" | "dateTimeStamp" => Self::DateTime,
            "time" => Self::Time,
            "date" => Self::Date,
            "gYearMonth" => Self::YearMonth,
            "gYear" => Self::Year,
            "gMonthDay" => Self::MonthDay,
            "gDay" => Self::Day,
            "gMonth" => Self::Month,
            "hexBinary" => Self::Hex,
            "base64Binary" => Self::Base64,
            _ => return None,
        }))
    }

    /// What is done with space before a text is looked at.
    pub(crate) const fn white_space(self) -> WhiteSpace {
        match self {
            Self::AnySimple | Self::String => WhiteSpace::Preserve,
            Self::Normalized => WhiteSpace::Replace,
            _ => WhiteSpace::Collapse,
        }
    }

    /// Whether its texts are numbers whose digits are kept.
    pub(crate) const fn is_decimal(self) -> bool {
        matches!(self, Self::Decimal | Self::Integer(_))
    }

    /// Whether it is also taken as a string of digits: where it may pass what every reader of JSON keeps.
    pub(crate) fn takes_digits(self) -> bool {
        match self {
            Self::Decimal => true,
            Self::Integer(range) => {
                let small =
                    |text: Option<&str>| text.is_some_and(|text| text.trim_start_matches('-').len() < 16);
                !(small(range.min) && small(range.max))
            }
            _ => false,
        }
    }

    pub(crate) const fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }

    /// For messages: what is expected.
    pub(crate) fn label(self) -> String {
        match self {
            Self::AnySimple | Self::String | Self::Normalized | Self::Token => "a text".to_owned(),
            Self::Language => "a language such as `en` or `de-CH`".to_owned(),
            Self::Name | Self::NcName => "a name of XML".to_owned(),
            Self::NmToken => "a token of letters, digits and `.-_:`".to_owned(),
            Self::AnyUri => "an address".to_owned(),
            Self::QName => "a name such as `{namespace}name`".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Decimal => "a decimal number".to_owned(),
            Self::Integer(Range { min, max }) => match (min, max) {
                (Some(min), Some(max)) => format!("an integer from {min} to {max}"),
                (Some(min), None) => format!("an integer of {min} or more"),
                (None, Some(max)) => format!("an integer of {max} or less"),
                (None, None) => "an integer".to_owned(),
            },
            Self::Float | Self::Double => "a number, `INF`, `-INF` or `NaN`".to_owned(),
            Self::Duration => "a duration such as `P1DT2H`".to_owned(),
            Self::DateTime => "a date and time such as `2026-11-29T12:00:00Z`".to_owned(),
            Self::Time => "a time such as `12:00:00`".to_owned(),
            Self::Date => "a date such as `2026-11-29`".to_owned(),
            Self::YearMonth => "a month of a year such as `2026-11`".to_owned(),
            Self::Year => "a year such as `2026`".to_owned(),
            Self::MonthDay => "a day of a year such as `--11-29`".to_owned(),
            Self::Day => "a day of a month such as `---29`".to_owned(),
            Self::Month => "a month such as `--11`".to_owned(),
            Self::Hex => "bytes as pairs of hexadecimal digits".to_owned(),
            Self::Base64 => "bytes in Base64".to_owned(),
        }
    }

    /// Whether a text, its space dealt with, is of this type. Prefixes of names are the caller's to look up.
    pub(crate) fn takes(self, text: &str) -> bool {
        match self {
            Self::AnySimple | Self::String | Self::Normalized | Self::Token | Self::AnyUri => true,
            Self::Language => is_language(text),
            Self::Name => text.chars().next().is_some_and(starts_name) && text.chars().all(continues_name),
            Self::NcName => is_ncname(text),
            Self::NmToken => !text.is_empty() && text.chars().all(continues_name),
            Self::QName => is_qname(text),
            Self::Boolean => matches!(text, "true" | "false" | "1" | "0"),
            Self::Decimal => Decimal::read(text).is_some(),
            Self::Integer(range) => Decimal::read(text)
                .is_some_and(|value| !text.contains('.') && value.within(range.min, range.max)),
            Self::Float | Self::Double => float(text).is_some(),
            Self::Duration => dates::is_duration(text),
            Self::DateTime
            | Self::Time
            | Self::Date
            | Self::YearMonth
            | Self::Year
            | Self::MonthDay
            | Self::Day
            | Self::Month => dates::order(self, text).is_some(),
            Self::Hex => text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Base64 => base64_length(text).is_some(),
        }
    }
}

fn is_language(text: &str) -> bool {
    text.split('-').enumerate().all(|(number, part)| {
        (1..=8).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphabetic() || number > 0 && byte.is_ascii_digit())
    })
}

fn is_qname(text: &str) -> bool {
    match text.split_once(':') {
        Some((prefix, local)) => is_ncname(prefix) && is_ncname(local),
        None => is_ncname(text),
    }
}

/// Reads a number of `float` or `double`: without `inf` and `nan` in other spellings than those of XML Schema.
pub(crate) fn float(text: &str) -> Option<f64> {
    match text {
        "INF" | "+INF" => Some(f64::INFINITY),
        "-INF" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => {
            let plain =
                text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
            if plain { text.parse().ok() } else { None }
        }
    }
}

/// How many bytes a text in Base64 stands for; space within is allowed.
pub(crate) fn base64_length(text: &str) -> Option<usize> {
    let (mut digits, mut padding) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return None,
        }
    }
    let whole = (digits + padding).is_multiple_of(4) && padding <= 2 && !(padding > 0 && digits == 0);
    whole.then_some(digits * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(name: &str, text: &str) -> bool {
        let Some(Known::Atomic(builtin)) = Builtin::named(name) else { panic!("{name}") };
        builtin.takes(text)
    }

    #[test]
    fn texts_are_of_their_types() {
        for (name, good, bad) in [
            ("boolean", &["true", "0"][..], &["TRUE", "", "yes"][..]),
            ("decimal", &["1", "-0.50", "+.5", "1."], &["1e3", "", ".", "INF", "1,5"]),
            ("integer", &["-12345678901234567890123", "+0"], &["1.0", "1.", ""]),
            ("byte", &["127", "-128", "007"], &["128", "-129"]),
            ("unsignedLong", &["18446744073709551615"], &["18446744073709551616", "-1"]),
            ("positiveInteger", &["1"], &["0"]),
            ("double", &["1e3", "-INF", "NaN", "-0", ".5"], &["inf", "nan", "1e", "0x1", ""]),
            ("hexBinary", &["", "0aFF"], &["0", "0g"]),
            ("base64Binary", &["", "QQ==", "QU JD\n"], &["Q", "QQ=", "Q===", "QQ==QQ=="]),
            ("language", &["en", "de-CH-1996"], &["", "e n", "123", "abcdefghi"]),
            ("QName", &["a", "p:a"], &[":a", "a:", "a:b:c", "1"]),
            ("NMTOKEN", &["1a:b"], &["", "a b"]),
            ("NCName", &["_a"], &["a:b"]),
        ] {
            for text in good {
                assert!(takes(name, text), "{name} {text}");
            }
            for text in bad {
                assert!(!takes(name, text), "{name} {text}");
            }
        }
    }

    #[test]
    fn bytes_are_counted() {
        assert_eq!(
            (base64_length("QQ=="), base64_length("QUJD"), base64_length("")),
            (Some(1), Some(3), Some(0))
        );
    }
}
