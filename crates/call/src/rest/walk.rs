//! Every object of a document that may mean something.

use serde_json::{Map, Value};

use super::names;

/// Keys whose value is a map from names, so that its keys mean nothing by themselves.
const NAMES: [&str; 24] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "dependencies",
    "schemas",
    "responses",
    "parameters",
    "requestBodies",
    "headers",
    "securitySchemes",
    "securityDefinitions",
    "links",
    "callbacks",
    "pathItems",
    "paths",
    "webhooks",
    "content",
    "encoding",
    "variables",
    "mapping",
    "scopes",
    "mediaTypes",
];

/// Every object that is no example, with its pointer.
pub(super) fn walk(value: &Value, each: &mut dyn FnMut(&Map<String, Value>, &str)) {
    descend(value, false, &mut String::new(), each);
}

fn descend(
    value: &Value,
    named: bool,
    pointer: &mut String,
    each: &mut dyn FnMut(&Map<String, Value>, &str),
) {
    let length = pointer.len();
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                descend(item, false, pointer, each);
                pointer.truncate(length);
            }
        }
        Value::Object(entries) => {
            if !named {
                each(entries, pointer);
            }
            for (key, value) in entries {
                let data = matches!(key.as_str(), "example" | "examples" | "default" | "enum" | "const");
                if !named && (data || key.starts_with("x-")) {
                    continue;
                }
                pointer.push('/');
                pointer.push_str(&names::escaped(key));
                descend(value, !named && NAMES.contains(&key.as_str()), pointer, each);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

/// Other documents that the references of one lead to, each once, in the order in which they are met.
pub(super) fn references(name: &str, value: &Value) -> Vec<String> {
    let mut found = vec![];
    let mut seen = std::collections::HashSet::new();
    walk(value, &mut |object, _| {
        let Some(reference) = object.get("$ref").and_then(Value::as_str) else { return };
        let document = names::resolve(name, reference).document;
        if document != name && seen.insert(document.clone()) {
            found.push(document);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_documents_are_needed_is_known_without_reading_them() {
        let text = r##"{"a": {"$ref": "b.yaml#/X"}, "properties": {"example": {"$ref": "c.yaml"}},
            "example": {"$ref": "not.yaml"}, "d": [{"$ref": "#/a"}, {"$ref": "b.yaml"}]}"##;
        assert_eq!(references("f/o.json", &serde_json::from_str(text).unwrap()), ["f/b.yaml", "f/c.yaml"]);
    }
}
