//! The tree between a text and the typed definition: every value knows where it was written.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json};
pub use sos_model::{Key, Position};

/// A value of a document with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value starts.
    pub position: Position,
    /// The value.
    pub value: Value,
}

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing was written, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order it was written; keys are unique.
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// The tree of a JSON value, without places; its maps are in the order of `json`.
    #[must_use]
    pub fn from_json(json: &Json) -> Self {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => Value::Number(number.clone()),
            Json::String(text) => Value::Text(text.clone()),
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

    /// The value as JSON, without places. JSON maps of this workspace sort their keys.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(_) => Json::Object(self.to_map()),
        }
    }

    /// The value of a key, when this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// The entries of a map in the order they were written; none when this is no map.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none when this is no list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value at a JSON pointer, or the last on the way to it, and how many steps led there.
    pub(crate) fn nearest(&self, pointer: &str) -> (&Self, usize) {
        let (mut node, mut steps) = (self, 0);
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let item = || node.items().get(part.parse::<usize>().ok()?);
            let Some(next) = node.get(&part).or_else(item) else { break };
            (node, steps) = (next, steps + 1);
        }
        (node, steps)
    }

    /// The text, when this is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What this is, for messages.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The whole number, when this is one (`3.0` is) that fits.
    pub(crate) fn whole(&self) -> Option<i64> {
        let Value::Number(number) = &self.value else { return None };
        // Exact: the bounds are powers of two, and only whole numbers pass.
        let exact =
            |value: f64| (value.fract() == 0.0 && (-9.3e18..9.2e18).contains(&value)).then_some(value as i64);
        number.as_i64().or_else(|| number.as_f64().and_then(exact))
    }

    /// Whether this is a number without a fraction, of whatever size.
    pub(crate) fn is_whole(&self) -> bool {
        let Value::Number(number) = &self.value else { return false };
        number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
    }

    fn to_map(&self) -> Map<String, Json> {
        self.entries().iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect()
    }
}

/// What the typed definition takes from a checked tree: nothing here fails, what is not there is empty.
impl Node {
    pub(crate) fn text_at(&self, key: &str) -> Option<String> {
        self.get(key).and_then(Self::text).map(str::to_owned)
    }

    pub(crate) fn string_at(&self, key: &str) -> String {
        self.text_at(key).unwrap_or_default()
    }

    pub(crate) fn flag_at(&self, key: &str) -> Option<bool> {
        match self.get(key)?.value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn whole_at(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(Self::whole)
    }

    pub(crate) fn json_at(&self, key: &str) -> Option<Json> {
        self.get(key).map(Self::to_json)
    }

    pub(crate) fn map_at(&self, key: &str) -> Map<String, Json> {
        self.get(key).map(Self::to_map).unwrap_or_default()
    }

    pub(crate) fn list_at(&self, key: &str) -> Vec<String> {
        let items = self.get(key).map(Self::items).unwrap_or_default();
        items.iter().filter_map(Self::text).map(str::to_owned).collect()
    }

    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        self.named(|node| node.text().unwrap_or_default().to_owned())
    }

    pub(crate) fn texts_at(&self, key: &str) -> BTreeMap<String, String> {
        self.get(key).map(Self::texts).unwrap_or_default()
    }

    /// Every entry of a map, read.
    pub(crate) fn named<T>(&self, read: impl Fn(&Self) -> T) -> BTreeMap<String, T> {
        self.entries().iter().map(|(key, node)| (key.text.clone(), read(node))).collect()
    }

    /// The value of a key, read.
    pub(crate) fn read_at<T>(&self, key: &str, read: impl Fn(&Self) -> T) -> Option<T> {
        self.get(key).map(read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_becomes_a_tree_and_comes_back() {
        let json = json!({"a": [1, 2.5, null, true, "x"], "b": {"c": {}}});
        assert_eq!(Node::from_json(&json).to_json(), json);
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_fraction_of_zero() {
        let node = |json| Node::from_json(&json);
        assert_eq!(node(json!(3.0)).whole(), Some(3));
        assert_eq!(node(json!(3.5)).whole(), None);
        assert_eq!(node(json!(u64::MAX)).whole(), None);
        assert!(node(json!(u64::MAX)).is_whole() && node(json!(1e300)).is_whole());
        assert!(!node(json!("3")).is_whole());
    }
}
