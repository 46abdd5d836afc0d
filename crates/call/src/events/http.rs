//! The HTTP binding: events in the headers and bodies of requests and answers (HTTP protocol binding 1.0.2).

use super::binary::{Binary, escape, unescape};
use super::check::{charset, essence};
use super::error::{EventError, shown};
use super::event::CloudEvent;

/// How events are put into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpMode {
    /// Attributes as headers, data as the body; one event.
    #[default]
    Binary,
    /// All of it in a JSON body; one event.
    Structured,
    /// Many events in a JSON body.
    Batch,
}

/// Names and values of headers.
pub type Headers = Vec<(String, String)>;

/// Media type of one event in JSON.
pub(super) const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
const BATCH: &str = "application/cloudevents-batch+json; charset=utf-8";

/// Reads the events of a request or an answer. Header names are read whatever their case.
///
/// # Errors
/// `BadInput` with its place (`header ce-id`, `/3/id`), `TooLarge`.
pub fn from_http(headers: &[(String, String)], body: &[u8]) -> Result<Vec<CloudEvent>, EventError> {
    let content_type = one(headers, "content-type")?;
    match Format::of(content_type)? {
        Format::Batch => CloudEvent::batch_from_json(body),
        Format::Structured => CloudEvent::from_json(body).map(|event| vec![event]),
        Format::None => {
            let attributes = prefixed(headers)?;
            let binary =
                Binary { attributes, content_type: content_type.map(str::to_owned), data: body.to_vec() };
            CloudEvent::from_binary(binary).map_err(header_place).map(|event| vec![event])
        }
    }
}

/// The headers and the body that carry events: exactly one but in a batch.
///
/// # Errors
/// What [`CloudEvent::check`] finds; `BadInput` for a wrong number of events.
pub fn to_http(events: &[CloudEvent], mode: HttpMode) -> Result<(Headers, Vec<u8>), EventError> {
    let json = |media_type: &str| vec![("content-type".to_owned(), media_type.to_owned())];
    let single = || match events {
        [event] => Ok(event),
        _ => Err(EventError::bad("", format!("expected one event, as only a batch has {}", events.len()))),
    };
    match mode {
        HttpMode::Batch => Ok((json(BATCH), CloudEvent::batch_to_json(events)?)),
        HttpMode::Structured => Ok((json(STRUCTURED), single()?.to_json()?)),
        HttpMode::Binary => {
            let binary = single()?.to_binary()?;
            let named = binary.attributes.into_iter();
            let mut headers: Vec<_> =
                named.map(|(name, value)| (format!("ce-{name}"), escape(&value))).collect();
            headers.extend(binary.content_type.map(|media_type| ("content-type".to_owned(), media_type)));
            Ok((headers, binary.data))
        }
    }
}

/// What a media type says about how an event is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One event in JSON.
    Structured,
    /// A list of events in JSON.
    Batch,
    /// Something else: the data of an event, or none.
    None,
}

impl Format {
    pub(super) fn of(content_type: Option<&str>) -> Result<Self, EventError> {
        let Some(content_type) = content_type else { return Ok(Self::None) };
        let wrong = |expected: &str| {
            let found = shown(content_type);
            Err(EventError::bad("header content-type", format!("expected {expected}, found \"{found}\"")))
        };
        let media_type = essence(content_type).to_ascii_lowercase();
        if !media_type.starts_with("application/cloudevents") {
            return Ok(Self::None);
        }
        if charset(content_type).is_some_and(|charset| charset != "utf-8") {
            return wrong("JSON in UTF-8");
        }
        match media_type.as_str() {
            "application/cloudevents+json" | "application/cloudevents" => Ok(Self::Structured),
            "application/cloudevents-batch+json" | "application/cloudevents-batch" => Ok(Self::Batch),
            _ => wrong("application/cloudevents+json or application/cloudevents-batch+json"),
        }
    }
}

/// The attributes among headers: those that begin with `ce-`.
pub(super) fn prefixed(headers: &[(String, String)]) -> Result<Vec<(String, String)>, EventError> {
    let mut attributes = vec![];
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if let Some(attribute) = lower.strip_prefix("ce-") {
            let value = unescape(&format!("header {lower}"), value.trim())?;
            attributes.push((attribute.to_owned(), value));
        }
    }
    Ok(attributes)
}

/// A place such as `/id` as the header that it is in.
pub(super) fn header_place(mut error: EventError) -> EventError {
    match error.place.strip_prefix('/') {
        Some("data") => "body".clone_into(&mut error.place),
        Some("datacontenttype") => "header content-type".clone_into(&mut error.place),
        Some(name) => error.place = format!("header ce-{name}"),
        None => {}
    }
    error
}

fn one<'h>(headers: &'h [(String, String)], name: &str) -> Result<Option<&'h str>, EventError> {
    let mut found = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(EventError::bad(format!("header {name}"), "is there twice")),
        (first, _) => Ok(first.map(|(_, value)| value.trim())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::Data;

    fn headers(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_examples_of_the_json_format_become_those_of_the_http_binding() {
        let text = br#"{"specversion":"1.0","type":"com.example.someevent","source":"/mycontext","id":"D234-1234-1234",
            "time":"2018-04-05T17:31:00Z","comexampleothervalue":5,"data":"I'm just a string"}"#;
        let event = CloudEvent::from_json(text).unwrap();
        let (found, body) = to_http(std::slice::from_ref(&event), HttpMode::Binary).unwrap();
        let expected = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "D234-1234-1234"),
            ("ce-source", "/mycontext"),
            ("ce-type", "com.example.someevent"),
            ("ce-time", "2018-04-05T17:31:00Z"),
            ("ce-comexampleothervalue", "5"),
            ("content-type", "application/json"),
        ]);
        assert_eq!((found, body.as_slice()), (expected, b"\"I'm just a string\"".as_slice()));
        let text = br#"{"specversion":"1.0","type":"t","source":"/s","id":"1","data_base64":"eyAieHl6IjogMTIzIH0="}"#;
        let event = CloudEvent::from_json(text).unwrap();
        let (found, body) = to_http(&[event], HttpMode::Binary).unwrap();
        assert!(!found.iter().any(|(name, _)| name == "content-type"));
        assert_eq!(body, b"{ \"xyz\": 123 }");
    }

    #[test]
    fn events_come_back_from_every_mode() {
        let mut event = CloudEvent::new("ä 1", "/s?a=%20", "t").about("\"x\" %").with_json(json!({"a": 1.5}));
        event.datacontenttype = Some("application/json".to_owned());
        event.extensions.insert("ext".to_owned(), "Euro € 😀".into());
        for mode in [HttpMode::Binary, HttpMode::Structured, HttpMode::Batch] {
            let (headers, body) = to_http(std::slice::from_ref(&event), mode).unwrap();
            assert_eq!(from_http(&headers, &body).unwrap(), [event.clone()], "{mode:?}");
        }
        assert!(to_http(&[event.clone(), event], HttpMode::Binary).is_err());
        let (headers, body) = to_http(&[], HttpMode::Batch).unwrap();
        assert_eq!(from_http(&headers, &body).unwrap(), []);
    }

    #[test]
    fn header_names_have_any_case_and_values_may_be_quoted() {
        let found = headers(&[
            ("CE-SpecVersion", "1.0"),
            ("Ce-Id", "\"a b\""),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("Content-Type", "text/plain"),
            ("x-other", "1"),
        ]);
        let events = from_http(&found, b"hello").unwrap();
        assert_eq!((events[0].id.as_str(), &events[0].data), ("a b", &Some(Data::Text("hello".to_owned()))));
        assert!(events[0].extensions.is_empty());
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_header() {
        let place = |all: &[(&str, &str)]| from_http(&headers(all), b"x").unwrap_err().place;
        assert_eq!(place(&[]), "header ce-specversion");
        let head = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
        assert_eq!(place(&head[..3]), "header ce-type");
        assert_eq!(place(&[&head[..], &[("ce-id", "2")]].concat()), "header ce-id");
        assert_eq!(place(&[&head[..], &[("ce-my-ext", "2")]].concat()), "header ce-my-ext");
        assert_eq!(place(&[&head[..], &[("ce-ext", "%ff")]].concat()), "header ce-ext");
        assert_eq!(place(&[&head[..], &[("content-type", "application/json")]].concat()), "body");
        assert_eq!(place(&[("content-type", "application/cloudevents+avro")]), "header content-type");
        assert_eq!(
            place(&[("content-type", "application/cloudevents+json; charset=utf-16")]),
            "header content-type"
        );
        assert_eq!(place(&[("content-type", "a/b"), ("Content-Type", "a/b")]), "header content-type");
    }
}
