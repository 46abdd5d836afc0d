//! What changed between two canonical JSON documents, field by field.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Dotted path, such as `spec.ports[0].name`; empty for the whole.
    pub path: String,
    /// The value before; absent when the field is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Json>,
    /// The value after; absent when the field is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Json>,
}

/// All fields that differ, in the order of their paths. Lists are compared by index.
#[must_use]
pub fn diff(before: &Json, after: &Json) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare("", Some(before), Some(after), &mut changes);
    changes
}

fn compare(path: &str, before: Option<&Json>, after: Option<&Json>, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Json::Object(old)), Some(Json::Object(new))) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                compare(&crate::node::join(path, key), old.get(key), new.get(key), changes);
            }
        }
        (Some(Json::Array(old)), Some(Json::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(&format!("{path}[{index}]"), old.get(index), new.get(index), changes);
            }
        }
        _ => changes.push(FieldChange {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changed_new_and_gone_fields_are_listed_by_path() {
        let before = json!({"spec": {"replicas": 1, "ports": [{"name": "a"}], "old": true}});
        let after = json!({"spec": {"replicas": 2, "ports": [{"name": "a"}, {"name": "b"}]}});
        let changes = diff(&before, &after);
        let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["spec.old", "spec.ports[1]", "spec.replicas"]);
        assert_eq!(changes[0].after, None);
        assert_eq!(changes[2].before, Some(json!(1)));
        assert_eq!(diff(&before, &before), []);
    }
}
