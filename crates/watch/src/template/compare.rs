//! `eq`, `lt` …, `index`, `slice`, `len`: Go's rules, which never mix kinds of numbers.

use std::cmp::Ordering;
use std::sync::Arc;

use super::value::Value;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Float,
    Text,
}

fn kind(value: &Value) -> Option<Kind> {
    match value {
        Value::Bool(_) => Some(Kind::Bool),
        Value::Int(_) | Value::Duration(_) => Some(Kind::Int),
        Value::Float(_) => Some(Kind::Float),
        Value::Text(_) => Some(Kind::Text),
        _ => None,
    }
}

const INCOMPATIBLE: &str = "incompatible types for comparison";
const INVALID: &str = "invalid type for comparison";

fn uncomparable(value: &Value) -> String {
    format!("non-comparable type {}: {}", value.shown(), value.type_name())
}

/// Whether the first equals any of the others.
pub(super) fn eq(args: &[Value]) -> Result<Value, String> {
    let Some((first, others)) = args.split_first() else { return Err(INVALID.to_owned()) };
    if let Value::Labels(_) | Value::Args(_) | Value::Vector(_) = first {
        return Err(uncomparable(first));
    }
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        let same = match (first, other) {
            (Value::Missing, Value::Missing) => true,
            (Value::Missing, _) | (_, Value::Missing) => false,
            _ if kind(first) != kind(other) => return Err(INCOMPATIBLE.to_owned()),
            _ => equal(first, other)?,
        };
        if same {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

#[expect(clippy::float_cmp, reason = "a template asks for exact equality")]
fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Point(a), Value::Point(b)) => Arc::ptr_eq(a, b),
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Labels(_) | Value::Args(_) | Value::Vector(_), _) => {
            return Err(uncomparable(a));
        }
        (_, Value::Labels(_) | Value::Args(_) | Value::Vector(_)) => {
            return Err(uncomparable(b));
        }
        _ => int(a) == int(b) && int(a).is_some(),
    })
}

fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) | Value::Duration(value) => Some(*value),
        _ => None,
    }
}

pub(super) fn ne(args: &[Value]) -> Result<Value, String> {
    if args.len() != 2 {
        return Err(format!("wrong number of args for ne: want 2 got {}", args.len()));
    }
    eq(args).map(|value| Value::Bool(!value.is_true()))
}

/// A comparison of two; NaN is neither less nor more.
pub(super) fn order(args: &[Value], holds: fn(Ordering) -> bool) -> Result<Value, String> {
    let [a, b] = args else { return Err(INVALID.to_owned()) };
    let (Some(left), Some(right)) = (kind(a), kind(b)) else { return Err(INVALID.to_owned()) };
    if left != right {
        return Err(INCOMPATIBLE.to_owned());
    }
    let ordering = match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(_), _) => return Err(INVALID.to_owned()),
        _ => int(a).partial_cmp(&int(b)),
    };
    Ok(Value::Bool(ordering.is_some_and(holds)))
}

pub(super) fn len(args: &[Value]) -> Result<Value, String> {
    let count = match args.first() {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Labels(labels)) => labels.iter().count(),
        Some(Value::Args(args)) => args.len(),
        Some(Value::Vector(points)) => points.len(),
        None | Some(Value::Missing) => return Err("len of nil pointer".to_owned()),
        Some(other) => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(count as i64))
}

/// `index x 1`, `index $labels "name"`, several keys one after the other.
pub(super) fn index(args: &[Value]) -> Result<Value, String> {
    let Some((first, keys)) = args.split_first() else { return Err(INVALID.to_owned()) };
    let mut value = first.clone();
    for key in keys {
        value = item(&value, key)?;
    }
    Ok(value)
}

fn item(of: &Value, key: &Value) -> Result<Value, String> {
    let name = || match key {
        Value::Text(name) => Ok(name),
        Value::Missing => Err("value is nil; should be of type string".to_owned()),
        other => Err(format!("value has type {}; should be string", other.type_name())),
    };
    match of {
        Value::Missing => Err("index of untyped nil".to_owned()),
        Value::Labels(labels) => Ok(Value::text(labels.get(name()?))),
        Value::Args(args) => Ok(args.get(&**name()?).cloned().unwrap_or(Value::Missing)),
        Value::Vector(points) => {
            let at = place(key, points.len(), false)?;
            Ok(Value::Point(Arc::clone(&points[at])))
        }
        Value::Text(text) => Ok(Value::Int(i64::from(text.as_bytes()[place(key, text.len(), false)?]))),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

/// A place in a list of this length; the end itself counts for slices.
fn place(key: &Value, length: usize, or_end: bool) -> Result<usize, String> {
    let at = match key {
        Value::Int(at) => *at,
        Value::Missing => return Err("cannot index slice/array with nil".to_owned()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let found = usize::try_from(at).ok().filter(|at| *at < length || (or_end && *at == length));
    found.ok_or_else(|| format!("index out of range: {at}"))
}

/// `slice x 1 2`: of text or a vector.
pub(super) fn slice(args: &[Value]) -> Result<Value, String> {
    let Some((of, bounds)) = args.split_first() else { return Err(INVALID.to_owned()) };
    if bounds.len() > 2 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let length = match of {
        Value::Text(text) => text.len(),
        Value::Vector(points) => points.len(),
        Value::Missing => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let from = bounds.first().map_or(Ok(0), |key| place(key, length, true))?;
    let to = bounds.get(1).map_or(Ok(length), |key| place(key, length, true))?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match of {
        Value::Text(text) => Value::text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()),
        Value::Vector(points) => Value::Vector(Arc::new(points[from..to].to_vec())),
        _ => Value::Missing,
    })
}
