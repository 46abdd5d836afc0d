//! URI templates of the DSL: `{name}` is a property of the input as it is named, nothing else (RFC 6570, level 1).

use serde_json::Value;
use sos_workflow::ErrorType;
use sos_workflow::machine::Fault;
use sos_workflow::program::AS_IT_IS;

/// The address of a call: a template that is filled, or what an expression gave, which is one already.
///
/// # Errors
/// As [`filled`].
pub(super) fn address(with: &Value, said: &str, input: &Value) -> Result<String, Fault> {
    if with.get(AS_IT_IS).is_some() { Ok(said.to_owned()) } else { filled(said, input) }
}

/// Fills a template.
///
/// # Errors
/// When a value is a list or an object.
fn filled(template: &str, input: &Value) -> Result<String, Fault> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        match input.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => encode(text, &mut filled),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => encode(&value.to_string(), &mut filled),
            Some(_) => {
                let detail = format!("`{{{name}}}` of an address is no text, number or truth value");
                return Err(Fault::of(ErrorType::Expression, "No text", detail));
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Percent-encodes everything but unreserved characters.
fn encode(text: &str, into: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte))
            }
            byte => {
                let _ = write!(into, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_expression_gave_is_no_template() {
        let input = json!({"secret": "S"});
        let called = |with: Value| address(&with, "http://a/{secret}", &input).unwrap();
        assert_eq!(called(json!({})), "http://a/S");
        assert_eq!(called(json!({AS_IT_IS: true})), "http://a/{secret}");
    }

    #[test]
    fn templates_are_filled_from_properties_as_they_are_named() {
        let input = json!({"id": 4, "pet.name": "a b/ü", "flag": true, "list": [1]});
        let fill = |template: &str| filled(template, &input);
        assert_eq!(
            fill("http://a/{id}?n={pet.name}&f={flag}").unwrap(),
            "http://a/4?n=a%20b%2F%C3%BC&f=true"
        );
        assert_eq!(fill("http://a/{missing}/{").unwrap(), "http://a//{");
        assert_eq!(fill("{list}").unwrap_err().status, 400);
    }
}
