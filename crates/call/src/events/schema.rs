//! Whether an event's data is what its schema says.

use std::fmt;

use serde_json::Value;

use super::error::EventError;
use super::event::{CloudEvent, Data};

/// Problems of one event that are told.
const SHOWN: usize = 5;

/// A JSON Schema that the data of events must fit. It is self-contained: nothing is fetched.
pub struct Schema {
    validator: jsonschema::Validator,
}

impl Schema {
    /// Prepares a JSON Schema of draft 4 to 2020-12, which `$schema` names; 2020-12 without.
    ///
    /// # Errors
    /// `BadDocument` where it is no schema, or refers to something outside of it.
    pub fn new(schema: &Value) -> Result<Self, EventError> {
        let options =
            jsonschema::options().offline().with_pattern_options(jsonschema::PatternOptions::regex());
        let validator = options.build(schema).map_err(|error| {
            let place = error.instance_path().to_string();
            EventError::new(crate::ErrorKind::BadDocument, place, format!("no JSON Schema: {error}"))
        })?;
        Ok(Self { validator })
    }

    /// Checks the data of an event; text and bytes are taken as JSON where they are.
    ///
    /// # Errors
    /// `BadInput` with the place of the first problem (`/data/items/3`) and up to four more in the message.
    pub fn check(&self, event: &CloudEvent) -> Result<(), EventError> {
        let parsed;
        let value = match &event.data {
            Some(Data::Json(value)) => value,
            None => &Value::Null,
            Some(Data::Text(text)) => {
                parsed = Value::from(text.as_str());
                &parsed
            }
            Some(Data::Bytes(bytes)) => {
                let wrong = |error| EventError::bad("/data", format!("expected JSON: {error}"));
                parsed = serde_json::from_slice(bytes).map_err(wrong)?;
                &parsed
            }
        };
        let mut problems = self.validator.iter_errors(value).take(SHOWN);
        let Some(first) = problems.next() else { return Ok(()) };
        let place = format!("/data{}", first.instance_path());
        let mut message = bounded(&first.to_string());
        for other in problems {
            message =
                format!("{message}; at /data{}: {}", other.instance_path(), bounded(&other.to_string()));
        }
        Err(EventError::bad(place, message))
    }
}

/// A problem shows the value that has it, which may be large.
fn bounded(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some((cut, _)) = text.char_indices().nth(200) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_that_does_not_fit_is_refused_with_its_place() {
        let schema =
            json!({"type": "object", "required": ["kwh"], "properties": {"kwh": {"type": "number"}}});
        let schema = Schema::new(&schema).unwrap();
        let event = |data: Value| CloudEvent::new("1", "/s", "t").with_json(data);
        schema.check(&event(json!({"kwh": 1.5}))).unwrap();
        assert_eq!(schema.check(&event(json!({"kwh": "much"}))).unwrap_err().place, "/data/kwh");
        assert_eq!(schema.check(&event(json!({}))).unwrap_err().place, "/data");
        assert!(schema.check(&CloudEvent::new("1", "/s", "t")).is_err());
        let mut bytes = event(json!({}));
        bytes.data = Some(Data::Bytes(b"{\"kwh\":1}".to_vec()));
        schema.check(&bytes).unwrap();
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        assert!(Schema::new(&json!({"type": 7})).is_err());
        assert!(Schema::new(&json!({"$ref": "https://example.org/other.json"})).is_err());
    }
}
