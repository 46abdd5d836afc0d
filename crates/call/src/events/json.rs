//! The JSON event format: one event, or a batch. CloudEvents JSON format 1.0.2.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::{Map, Value};

use super::check;
use super::error::{EventError, shown};
use super::event::{Attribute, CloudEvent, Data};

/// Bytes of one event in JSON, and of a batch.
pub const MAX_EVENT_BYTES: usize = 16 << 20;
/// Events of a batch.
pub const MAX_BATCH: usize = 10_000;

/// Padding may be left out, as some senders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl CloudEvent {
    /// Reads one event of the media type `application/cloudevents+json`.
    ///
    /// # Errors
    /// `TooLarge` beyond [`MAX_EVENT_BYTES`]; `BadInput` where the text is no JSON, or no event, with its place.
    pub fn from_json(text: &[u8]) -> Result<Self, EventError> {
        bounded(text.len())?;
        let members: Members = read(text)?;
        event(members.0)
    }

    /// Reads a batch of the media type `application/cloudevents-batch+json`; it may be empty.
    ///
    /// # Errors
    /// As [`Self::from_json`], with the event's place: `/3/id`. `TooLarge` for more than [`MAX_BATCH`] events.
    pub fn batch_from_json(text: &[u8]) -> Result<Vec<Self>, EventError> {
        bounded(text.len())?;
        let all: Vec<Members> = read(text)?;
        if all.len() > MAX_BATCH {
            let message = format!("a batch of {} events, expected at most {MAX_BATCH}", all.len());
            return Err(EventError::new(crate::ErrorKind::TooLarge, "", message));
        }
        let numbered = all.into_iter().enumerate();
        numbered
            .map(|(at, members)| event(members.0).map_err(|error| error.within(&format!("/{at}"))))
            .collect()
    }

    /// The event in JSON.
    ///
    /// # Errors
    /// What [`Self::check`] finds.
    pub fn to_json(&self) -> Result<Vec<u8>, EventError> {
        self.check()?;
        let text = Value::Object(self.members()).to_string().into_bytes();
        bounded(text.len()).map(|()| text)
    }

    /// A batch in JSON.
    ///
    /// # Errors
    /// What [`Self::check`] finds, with the event's place.
    pub fn batch_to_json(events: &[Self]) -> Result<Vec<u8>, EventError> {
        let mut all = Vec::with_capacity(events.len());
        for (at, event) in events.iter().enumerate() {
            event.check().map_err(|error| error.within(&format!("/{at}")))?;
            all.push(Value::Object(event.members()));
        }
        Ok(Value::Array(all).to_string().into_bytes())
    }

    fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: &str| {
            members.insert(name.to_owned(), Value::from(value));
        };
        put("specversion", "1.0");
        put("id", &self.id);
        put("source", &self.source);
        put("type", &self.event_type);
        if let Some(time) = self.time {
            put("time", &time.to_string());
        }
        let optional = [
            ("subject", &self.subject),
            ("datacontenttype", &self.datacontenttype),
            ("dataschema", &self.dataschema),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                put(name, value);
            }
        }
        for (name, value) in &self.extensions {
            let value = match value {
                Attribute::Boolean(value) => Value::from(*value),
                Attribute::Integer(value) => Value::from(*value),
                Attribute::Text(value) => Value::from(value.as_str()),
            };
            members.insert(name.clone(), value);
        }
        match &self.data {
            None => {}
            Some(Data::Json(value)) => drop(members.insert("data".to_owned(), value.clone())),
            Some(Data::Text(text)) => drop(members.insert("data".to_owned(), Value::from(text.as_str()))),
            Some(Data::Bytes(bytes)) => {
                members.insert("data_base64".to_owned(), Value::from(BASE64.encode(bytes)));
            }
        }
        members
    }
}

fn bounded(bytes: usize) -> Result<(), EventError> {
    if bytes <= MAX_EVENT_BYTES {
        return Ok(());
    }
    let message = format!("{bytes} bytes of JSON, expected at most {MAX_EVENT_BYTES}");
    Err(EventError::new(crate::ErrorKind::TooLarge, "", message))
}

fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, EventError> {
    serde_json::from_slice(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        EventError::bad(place, format!("expected an event in JSON: {message}"))
    })
}

/// The members of an object; a name that comes twice is an error, as nobody knows which one is meant.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the attributes of an event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        let message = format!("`{}` is there twice", shown(&name));
                        return Err(serde::de::Error::custom(message));
                    }
                    if members.len() > 128 {
                        return Err(serde::de::Error::custom("more than 128 attributes"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn event(members: Vec<(String, Value)>) -> Result<CloudEvent, EventError> {
    let mut event = CloudEvent::new("", "", "");
    let mut version = None;
    let mut missing = vec!["id", "source", "type"];
    let mut data = None;
    let mut bytes = None;
    for (name, value) in members {
        match name.as_str() {
            // `null` is data, and no attribute.
            "data" => data = Some(value),
            _ if value.is_null() => {}
            "data_base64" => bytes = Some(decoded(text(&name, value)?)?),
            "specversion" => version = Some(text(&name, value)?),
            "time" => event.time = Some(check::time("time", &text(&name, value)?)?),
            "id" | "source" | "type" | "subject" | "datacontenttype" | "dataschema" => {
                missing.retain(|known| *known != name);
                let value = text(&name, value)?;
                match name.as_str() {
                    "id" => event.id = value,
                    "source" => event.source = value,
                    "type" => event.event_type = value,
                    "subject" => event.subject = Some(value),
                    "datacontenttype" => event.datacontenttype = Some(value),
                    _ => event.dataschema = Some(value),
                }
            }
            _ => drop(event.extensions.insert(name.clone(), attribute(&name, value)?)),
        }
    }
    specversion("/specversion", version.as_deref())?;
    if let Some(name) = missing.first() {
        return Err(EventError::bad(format!("/{name}"), "is missing; every event has it"));
    }
    event.data = payload(&event, data, bytes)?;
    event.check().map(|()| event)
}

/// Refuses what is no version 1.0 of the specification.
pub(super) fn specversion(place: &str, found: Option<&str>) -> Result<(), EventError> {
    match found {
        Some("1.0") => Ok(()),
        Some(other) => Err(EventError::bad(
            place,
            format!("expected version 1.0 of CloudEvents, found \"{}\"", shown(other)),
        )),
        None => Err(EventError::bad(place, "is missing; every event has it")),
    }
}

fn text(name: &str, value: Value) -> Result<String, EventError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(EventError::bad(format!("/{name}"), format!("expected text, found {}", kind(&other)))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn attribute(name: &str, value: Value) -> Result<Attribute, EventError> {
    let wrong = |found: &str| {
        let expected = "expected a truth value, a whole number of 32 bits or text";
        Err(EventError::bad(format!("/{name}"), format!("{expected}, found {found}")))
    };
    match value {
        Value::Bool(value) => Ok(Attribute::Boolean(value)),
        Value::String(value) => Ok(Attribute::Text(value)),
        Value::Number(number) => match number.as_i64().and_then(|number| i32::try_from(number).ok()) {
            Some(number) => Ok(Attribute::Integer(number)),
            None => wrong(&number.to_string()),
        },
        other => wrong(kind(&other)),
    }
}

fn decoded(text: String) -> Result<Vec<u8>, EventError> {
    BASE64.decode(text).map_err(|error| EventError::bad("/data_base64", format!("expected Base64: {error}")))
}

fn payload(
    event: &CloudEvent,
    data: Option<Value>,
    bytes: Option<Vec<u8>>,
) -> Result<Option<Data>, EventError> {
    let json = event.datacontenttype.as_deref().is_none_or(check::is_json);
    match (data, bytes) {
        // `"data": null` beside bytes is an unset member of a sender that writes all of them.
        (None | Some(Value::Null), Some(bytes)) => Ok(Some(Data::Bytes(bytes))),
        (Some(_), Some(_)) => {
            Err(EventError::bad("/data_base64", "the event has both `data` and `data_base64`"))
        }
        (None, None) => Ok(None),
        (Some(value), None) if json => Ok(Some(Data::Json(value))),
        (Some(Value::Null), None) => Ok(None),
        (Some(Value::String(text)), None) => Ok(Some(Data::Text(text))),
        (Some(other), None) => {
            let content = event.datacontenttype.as_deref().unwrap_or_default();
            let message =
                format!("expected text, as the content type is {}, found {}", shown(content), kind(&other));
            Err(EventError::bad("/data", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &str) -> Result<CloudEvent, EventError> {
        CloudEvent::from_json(text.as_bytes())
    }

    const HEAD: &str = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;

    #[test]
    fn an_event_is_read_and_written_again() {
        let text = format!(
            r#"{{{HEAD},"subject":null,"time":"2018-04-05T17:31:00Z","comexampleext":5,"flag":true,"data":{{"a":[1,2.5]}}}}"#
        );
        let event = read_one(&text).unwrap();
        assert_eq!(event.data, Some(Data::Json(serde_json::json!({"a": [1, 2.5]}))));
        assert_eq!(event.extensions["comexampleext"], Attribute::Integer(5));
        assert_eq!(CloudEvent::from_json(&event.to_json().unwrap()).unwrap(), event);
        let both = CloudEvent::batch_to_json(&[event.clone(), event.clone()]).unwrap();
        assert_eq!(CloudEvent::batch_from_json(&both).unwrap(), [event.clone(), event]);
        assert_eq!(CloudEvent::batch_from_json(b"[]").unwrap(), []);
    }

    #[test]
    fn data_is_what_its_content_type_says() {
        let data = |more: &str| read_one(&format!("{{{HEAD},{more}}}")).map(|event| event.data);
        assert_eq!(data(r#""data":"x""#).unwrap(), Some(Data::Json(Value::from("x"))));
        assert_eq!(data(r#""data":null"#).unwrap(), Some(Data::Json(Value::Null)));
        let xml = r#""datacontenttype":"application/xml","data":"<much wow=\"xml\"/>""#;
        assert_eq!(data(xml).unwrap(), Some(Data::Text("<much wow=\"xml\"/>".to_owned())));
        assert_eq!(data(r#""data_base64":"AAH/""#).unwrap(), Some(Data::Bytes(vec![0, 1, 255])));
        assert_eq!(data(r#""data_base64":"AAE""#).unwrap(), Some(Data::Bytes(vec![0, 1])));
        let place = |more: &str| data(more).unwrap_err().place;
        assert_eq!(place(r#""data":1,"data_base64":"AAE=""#), "/data_base64");
        assert_eq!(place(r#""data_base64":"!""#), "/data_base64");
        assert_eq!(place(r#""datacontenttype":"application/xml","data":{}"#), "/data");
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_place() {
        let place = |text: &str| read_one(text).unwrap_err().place;
        assert_eq!(place("{"), "line 1, column 1");
        assert_eq!(place("[]"), "line 1, column 0");
        assert_eq!(place(r#"{"specversion":"1.0","source":"/s","type":"t"}"#), "/id");
        assert_eq!(place(r#"{"id":"1","source":"/s","type":"t"}"#), "/specversion");
        assert_eq!(place(r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#), "/specversion");
        assert_eq!(place(&format!("{{{HEAD},\"Upper\":1}}")), "/Upper");
        assert_eq!(place(&format!("{{{HEAD},\"ext\":1.5}}")), "/ext");
        assert_eq!(place(&format!("{{{HEAD},\"ext\":{{}}}}")), "/ext");
        assert_eq!(place(&format!("{{{HEAD},\"ext\":2147483648}}")), "/ext");
        assert_eq!(place(&format!("{{{HEAD},\"time\":\"today\"}}")), "/time");
        assert!(
            read_one(&format!("{{{HEAD},\"id\":\"2\"}}"))
                .unwrap_err()
                .message
                .contains("`id` is there twice")
        );
        let deep = format!("{{{HEAD},\"data\":{}", "[".repeat(100_000));
        assert!(read_one(&deep).unwrap_err().message.contains("recursion limit"));
        assert!(CloudEvent::from_json(b"\xff\xfe").is_err());
        let place = CloudEvent::batch_from_json(format!("[{{{HEAD}}},{{}}]").as_bytes()).unwrap_err().place;
        assert_eq!(place, "/1/specversion");
        let huge = vec![b' '; MAX_EVENT_BYTES + 1];
        assert_eq!(CloudEvent::from_json(&huge).unwrap_err().kind, crate::ErrorKind::TooLarge);
    }
}
