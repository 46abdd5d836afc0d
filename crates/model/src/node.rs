//! The tree between YAML or JSON text and the typed kinds: every node knows where it was written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::problem::Position;

/// A value of a document with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value starts.
    pub position: Position,
    /// The value.
    pub value: Value,
}

/// A value of a document, before it has a type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing was written (`key:`), or `null` or `~`.
    Null,
    /// Text, a number or a truth value: the reader of the field decides.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order it was written; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a map with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Where the key starts.
    pub position: Position,
    /// The key.
    pub text: String,
}

impl Node {
    /// A node without a position from JSON, to read again what was stored.
    #[must_use]
    pub fn from_json(json: &Json) -> Self {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Scalar(flag.to_string()),
            Json::Number(number) => Value::Scalar(number.to_string()),
            Json::String(text) => Value::Scalar(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            Json::Object(map) => {
                let entry = |(key, value): (&String, &Json)| {
                    (Key { position: Position::NONE, text: key.clone() }, Self::from_json(value))
                };
                Value::Map(map.iter().map(entry).collect())
            }
        };
        Self { position: Position::NONE, value }
    }

    /// The value of a key when this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The key with its place, and its value.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<(&Key, &Self)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(k, node)| (k, node)),
            _ => None,
        }
    }

    /// The text when this is a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// What this is, for messages.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The tree without the entries whose key or value stands at one of these places.
    pub(crate) fn without(&self, places: &BTreeSet<Position>) -> Self {
        let value = match &self.value {
            Value::Map(entries) => {
                let kept = entries.iter().filter(|(key, value)| {
                    !places.contains(&key.position) && !places.contains(&value.position)
                });
                Value::Map(kept.map(|(key, value)| (key.clone(), value.without(places))).collect())
            }
            Value::List(items) => {
                let kept = items.iter().filter(|item| !places.contains(&item.position));
                Value::List(kept.map(|item| item.without(places)).collect())
            }
            other => other.clone(),
        };
        Self { position: self.position, value }
    }

    /// Gives every value the place that is known for its path, and every key that of its value.
    pub(crate) fn place(&mut self, path: &str, places: &BTreeMap<String, Position>) {
        self.position = places.get(path).copied().unwrap_or(Position::NONE);
        match &mut self.value {
            Value::Null | Value::Scalar(_) => {}
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.place(&format!("{path}[{index}]"), places);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    value.place(&join(path, &key.text), places);
                    key.position = value.position;
                }
            }
        }
    }

    /// Places of all values by their dotted path (`spec.ports[0].name`).
    pub(crate) fn positions(&self, path: &str, into: &mut BTreeMap<String, Position>) {
        into.insert(path.to_owned(), self.position);
        match &self.value {
            Value::Null | Value::Scalar(_) => {}
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.positions(&format!("{path}[{index}]"), into);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    value.positions(&join(path, &key.text), into);
                }
            }
        }
    }
}

/// `a.b`, or `b` where there is no `a`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
