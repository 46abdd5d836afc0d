//! Parts of a manifest that another crate understands.

use serde_json::{Map, Value as Json, json};

use crate::field::{Cx, Field, scalar_schema};
use crate::node::{Node, Value};
use crate::schema::Schema;

/// A map that is kept as it was written, every single value as text; who understands it reads it by
/// [`Declared::written`](crate::Declared::written).
#[derive(Clone, Debug, PartialEq)]
pub struct Verbatim(Json);

impl Field for Verbatim {
    fn schema() -> Schema {
        scalar_schema("map", "a map", json!({"type": "object"}))
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            cx.mismatch(node, &Self::schema());
            return None;
        }
        Some(Self(as_written(node)))
    }
    fn write(&self) -> Json {
        self.0.clone()
    }
}

fn as_written(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar(text) => Json::String(text.clone()),
        Value::List(items) => items.iter().map(as_written).collect(),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|(key, value)| (key.text.clone(), as_written(value)));
            Json::Object(pairs.collect::<Map<_, _>>())
        }
    }
}
