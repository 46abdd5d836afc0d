//! Texts of simple types to JSON and back.
//!
//! | XML Schema | JSON |
//! |---|---|
//! | `boolean` | `true`, `false` |
//! | `integer` and those derived from it | a number; beyond ±(2^53−1) a string of digits |
//! | `decimal` | a number where it keeps all digits, else a string |
//! | `float`, `double` | a number; `"INF"`, `"-INF"`, `"NaN"` |
//! | `QName` | `"{namespace}name"` |
//! | lists | a list |
//! | unions | as the first member that takes the text |
//! | all others | a string |
//!
//! `decimal` and integers that may pass ±(2^53−1) are also taken as strings, which keeps each digit.

use serde_json::{Number, Value};

use super::names::{QName, short};
use super::xsd::{Builtin, Decimal, Measure, Schemas, Simple, TypeId, TypeKind, Variety, float};

/// The largest integer that every reader of JSON keeps: 2^53 − 1.
pub(crate) const SAFE: i64 = 9_007_199_254_740_991;

/// How names in texts (`QName`) are read or written.
pub(crate) trait Names {
    fn name(&mut self, name: &str) -> Result<String, String>;
}

/// The simple type behind an id.
pub(crate) fn simple(schemas: &Schemas, id: TypeId) -> Option<&Simple> {
    match &schemas.ty(id).kind {
        TypeKind::Simple(simple) => Some(simple),
        _ => None,
    }
}

/// A value that a type's own document names, as JSON; without its facets.
pub(crate) fn simple_json(schemas: &Schemas, of: &Simple, text: &str) -> Option<Value> {
    let mut names = super::json_schema::AsWritten;
    match &of.variety {
        Variety::Atomic(builtin) => builtin.takes(text).then(|| atomic(*builtin, text)),
        Variety::List(item) => {
            text.split_ascii_whitespace().map(|part| to_json(schemas, *item, part, &mut names).ok()).collect()
        }
        Variety::Union(members) => members.iter().find_map(|id| to_json(schemas, *id, text, &mut names).ok()),
    }
}

/// A text as JSON. `names` turns a written name into `{namespace}name`.
///
/// # Errors
/// What was expected instead.
pub(crate) fn to_json(
    schemas: &Schemas,
    id: TypeId,
    text: &str,
    names: &mut dyn Names,
) -> Result<Value, String> {
    let Some(simple) = simple(schemas, id) else { return Ok(Value::String(text.to_owned())) };
    let text = simple.facets.white_space.apply(text);
    match &simple.variety {
        Variety::Atomic(builtin) => {
            if !builtin.takes(&text) {
                return Err(format!("expected {}, found `{}`", builtin.label(), short(&text)));
            }
            if *builtin == Builtin::QName {
                let name = names.name(&text)?;
                simple.facets.check(&name, Measure::Atomic(*builtin))?;
                return Ok(Value::String(name));
            }
            simple.facets.check(&text, Measure::Atomic(*builtin))?;
            Ok(atomic(*builtin, &text))
        }
        Variety::List(item) => {
            let parts: Vec<&str> = text.split_ascii_whitespace().collect();
            simple.facets.check(&text, Measure::List(parts.len()))?;
            parts.into_iter().map(|part| to_json(schemas, *item, part, names)).collect()
        }
        Variety::Union(members) => {
            simple.facets.check(&text, Measure::Union)?;
            let mut first = None;
            for member in members {
                match to_json(schemas, *member, &text, names) {
                    Ok(value) => return Ok(value),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            Err(first.unwrap_or_else(|| "a union of nothing".to_owned()))
        }
    }
}

fn atomic(builtin: Builtin, text: &str) -> Value {
    let number = match builtin {
        Builtin::Boolean => return Value::Bool(matches!(text, "true" | "1")),
        Builtin::Integer(_) => {
            let digits = text.strip_prefix('+').unwrap_or(text);
            digits.parse::<i64>().ok().filter(|value| value.unsigned_abs() <= SAFE as u64).map(Number::from)
        }
        Builtin::Decimal => Decimal::read(text).and_then(|value| value.exact()).and_then(whole_or_not),
        Builtin::Float | Builtin::Double => float(text).and_then(whole_or_not),
        _ => None,
    };
    match (number, builtin) {
        (Some(number), _) => Value::Number(number),
        (None, builtin) if builtin.is_decimal() => {
            Value::String(Decimal::read(text).map_or_else(|| text.to_owned(), |value| value.to_string()))
        }
        (None, _) => Value::String(text.to_owned()),
    }
}

/// A number as an integer where it is one that every reader keeps, and it is not minus zero.
fn whole_or_not(value: f64) -> Option<Number> {
    let whole = value as i64;
    let same = (whole as f64).to_bits() == value.to_bits() && whole.unsigned_abs() <= SAFE as u64;
    if same { Some(Number::from(whole)) } else { Number::from_f64(value) }
}

/// JSON as the text that is written. `names` turns `{namespace}name` into what is written.
///
/// # Errors
/// What was expected instead.
pub(crate) fn to_text(
    schemas: &Schemas,
    id: TypeId,
    value: &Value,
    names: &mut dyn Names,
) -> Result<String, String> {
    let Some(simple) = simple(schemas, id) else { return plain(value) };
    match &simple.variety {
        Variety::Atomic(builtin) => {
            let text = atomic_text(*builtin, value)?;
            // What would be trimmed at the other side is checked as it arrives.
            let seen = simple.facets.white_space.apply(&text);
            if *builtin == Builtin::QName {
                simple.facets.check(&seen, Measure::Atomic(*builtin))?;
                return names.name(&seen);
            }
            if !builtin.takes(&seen) {
                return Err(format!("expected {}, found {}", builtin.label(), told(value)));
            }
            simple.facets.check(&seen, Measure::Atomic(*builtin))?;
            Ok(text)
        }
        Variety::List(item) => {
            let Value::Array(items) = value else {
                return Err(format!("expected a list, found {}", told(value)));
            };
            let mut parts = vec![];
            for (number, item_value) in items.iter().enumerate() {
                let part = to_text(schemas, *item, item_value, names);
                let part = part.map_err(|error| format!("item {number}: {error}"))?;
                if part.is_empty() || part.contains([' ', '\t', '\n', '\r']) {
                    return Err(format!(
                        "item {number}: expected a text without space, found `{}`",
                        short(&part)
                    ));
                }
                parts.push(part);
            }
            let text = parts.join(" ");
            simple.facets.check(&text, Measure::List(parts.len()))?;
            Ok(text)
        }
        Variety::Union(members) => {
            let mut first = None;
            for member in members {
                match to_text(schemas, *member, value, names) {
                    Ok(text) => {
                        simple.facets.check(&text, Measure::Union)?;
                        return Ok(text);
                    }
                    Err(error) => first = first.or(Some(error)),
                }
            }
            Err(first.unwrap_or_else(|| "a union of nothing".to_owned()))
        }
    }
}

fn atomic_text(builtin: Builtin, value: &Value) -> Result<String, String> {
    let wrong = || Err(format!("expected {}, found {}", builtin.label(), told(value)));
    match (builtin, value) {
        (Builtin::Boolean, Value::Bool(value)) => Ok(value.to_string()),
        (Builtin::Boolean, _) => wrong(),
        (Builtin::AnySimple, Value::Bool(_) | Value::Number(_)) => plain(value),
        (_, Value::Number(number)) if builtin.is_decimal() => {
            decimal_text(number, matches!(builtin, Builtin::Integer(_))).map_or_else(wrong, Ok)
        }
        (_, Value::Number(number)) if builtin.is_float() => Ok(number.to_string()),
        (_, Value::String(text))
            if builtin.is_float() && !matches!(text.as_str(), "INF" | "-INF" | "NaN") =>
        {
            wrong()
        }
        (Builtin::Integer(_), Value::String(_)) if !builtin.takes_digits() => wrong(),
        (_, Value::String(text)) => Ok(text.clone()),
        _ => wrong(),
    }
}

/// A number without an exponent, as `xsd:decimal` wants it; `3.0` is also an integer.
fn decimal_text(number: &Number, integer: bool) -> Option<String> {
    if number.is_f64() {
        let value = number.as_f64().filter(|value| value.is_finite())?;
        let text = value.to_string();
        return (!integer || !text.contains('.')).then_some(text);
    }
    Some(number.to_string())
}

/// The text of a scalar of any type.
///
/// # Errors
/// When it is a list, an object or null.
pub(crate) fn plain(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("expected a text, found {}", told(value))),
    }
}

/// A value for messages.
pub(crate) fn told(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{:?}", short(text)),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Names in an element that is read.
impl Names for super::xml::Element<'_> {
    fn name(&mut self, name: &str) -> Result<String, String> {
        self.qname(name).map(|name| name.to_string())
    }
}

/// Names on the element that is written.
impl Names for super::xml::Writer {
    fn name(&mut self, name: &str) -> Result<String, String> {
        let read = QName::clark(name)
            .ok_or_else(|| format!("expected a name such as `{{namespace}}name`, found `{}`", short(name)))?;
        Ok(Self::name(self, &read))
    }
}
