//! JSON values as YAML, in the plain style people know: block maps and lists, scalars quoted where they must be.

use serde_json::Value;

/// A value as a YAML document.
#[must_use]
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, &mut out),
        Value::Array(list) if !list.is_empty() => block(value, 0, &mut out),
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.push_str(&format!("{indent}{}:", text(key)));
                nested(value, depth + 1, out);
            }
        }
        Value::Array(list) => {
            for value in list {
                out.push_str(&format!("{indent}-"));
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        let mut inner = String::new();
                        block(value, depth + 1, &mut inner);
                        // The first key stands beside the dash.
                        out.push(' ');
                        out.push_str(inner.trim_start());
                    }
                    other => nested(other, depth + 1, out),
                }
            }
        }
        _ => {}
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, depth, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(value, depth, out);
        }
        other => out.push_str(&format!(" {}\n", scalar(other))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// A string plain where YAML reads it back as the same string, else quoted as JSON is.
fn text(string: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./ %".contains(c);
    let word = ["", "true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let safe = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !string.ends_with(' ')
        && string.chars().all(plain)
        && !word.contains(&string.to_ascii_lowercase().as_str());
    if safe { string.to_owned() } else { Value::String(string.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_read_as_people_write_them() {
        let value =
            json!({"kind": "Site", "on": true, "list": [{"a": 1, "b": []}, "x: y"], "empty": {}, "no": "no"});
        let expected =
            "empty: {}\nkind: Site\nlist:\n  - a: 1\n    b: []\n  - \"x: y\"\n\"no\": \"no\"\n\"on\": true\n";
        assert_eq!(to_yaml(&value), expected);
    }
}
