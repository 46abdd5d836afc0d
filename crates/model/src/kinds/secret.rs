//! `Secret`: where secret values come from; never the values themselves.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::declare::{choice, record};
use crate::field::{Cx, Field, Record};
use crate::node::{Node, Value};
use crate::schema::Schema;

record! {
    /// Names of secret values with the place each is taken from. Values never stand in a manifest.
    pub struct SecretSpec {
        /// The values by key.
        data: BTreeMap<String, SecretRef>;
    }
}

choice! {
    /// Where a secret value is taken from.
    pub enum SecretSource {
        /// Name of an environment variable of `sos`.
        Env(String),
        /// Path of a file that holds the value, relative to the manifest.
        File(String),
        /// `true`: the value is kept in the encrypted store and set by a command.
        Store(bool),
    }
}

/// A [`SecretSource`] that refuses an inline value without repeating it.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretRef(pub SecretSource);

impl Field for SecretRef {
    fn schema() -> Schema {
        SecretSource::schema()
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if matches!(node.value, Value::Scalar(_)) {
            let help =
                "expected env: VARIABLE, file: PATH or store: true; replace the value, it has been in a file";
            cx.report(node.position, "a secret value in a manifest", help);
            return None;
        }
        let source = SecretSource::read(node, cx)?;
        let (key, wrong) = match &source {
            SecretSource::Env(name) => ("env", name.is_empty() || name.contains(['=', ' '])),
            SecretSource::File(path) => ("file", path.trim().is_empty()),
            SecretSource::Store(on) => ("store", !on),
        };
        if wrong {
            let position = node.get(key).map_or(node.position, |n| n.position);
            let expected = match key {
                "env" => "the name of an environment variable",
                "file" => "a path",
                _ => "true",
            };
            cx.report(position, format!("{key} has an impossible value"), format!("expected {expected}"));
            return None;
        }
        Some(Self(source))
    }
    fn write(&self) -> Json {
        let mut map = serde_json::Map::new();
        self.0.write_keys(&mut map);
        Json::Object(map)
    }
}
