//! The NATS protocol binding of CloudEvents: messages to events and back.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;

use crate::events::binary::{Binary, escape, unescape};
use crate::events::broker::{Content, Malformed, Mode, Plain, looks_structured};
use crate::events::channel::short;
use crate::events::error::EventError;
use crate::events::event::CloudEvent;
use crate::events::http::{Format, STRUCTURED, header_place, prefixed};

const TYPE: &str = "ce-datacontenttype";

/// Headers and payload of an event, with the id by which the stream knows duplicates.
pub(super) fn to_message(event: &CloudEvent, mode: Mode) -> Result<(HeaderMap, Vec<u8>), EventError> {
    let mut headers = HeaderMap::new();
    let payload = match mode {
        Mode::Structured => {
            headers.insert("Content-Type", STRUCTURED);
            event.to_json()?
        }
        Mode::Binary => {
            let binary = event.to_binary()?;
            for (name, value) in binary.attributes {
                headers.insert(format!("ce-{name}"), escape(&value));
            }
            if let Some(media_type) = binary.content_type {
                headers.insert(TYPE, escape(&media_type));
            }
            binary.data
        }
    };
    headers.insert(NATS_MESSAGE_ID, escape(&short(event.dedupe_id())));
    Ok((headers, payload))
}

/// What a message is. `id` is what it is known by when it is no event.
pub(super) fn from_message(message: &async_nats::Message, id: String, plain: Option<&Plain>) -> Content {
    let result = read(message).and_then(|found| match (found, plain) {
        (Some(event), _) => Ok(event),
        (None, Some(plain)) => plain.event(id.clone(), message.subject.as_str(), None, &message.payload),
        (None, None) => Err(EventError::bad("", "no event: expected headers `ce-…` or an event in JSON")),
    });
    match result {
        Ok(event) => Content::Event(Box::new(event)),
        Err(error) => {
            Content::Malformed(Malformed { id, raw: message.payload.to_vec(), reason: error.to_string() })
        }
    }
}

/// The event; `None` where nothing says that it is one.
fn read(message: &async_nats::Message) -> Result<Option<CloudEvent>, EventError> {
    let mut headers = vec![];
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        headers.extend(values.iter().map(|value| (name.to_string(), value.as_str().to_owned())));
    }
    let named = |wanted: &str| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
    };
    match Format::of(named("content-type"))? {
        Format::Structured => return CloudEvent::from_json(&message.payload).map(Some),
        Format::Batch => {
            return Err(EventError::bad("header content-type", "a batch, which NATS does not carry"));
        }
        Format::None => {}
    }
    if !headers.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with("ce-")) {
        // Senders to servers older than 2.2, and those of version 1.0.1 of the binding, set no header.
        let structured = looks_structured(&message.payload);
        return structured.then(|| CloudEvent::from_json(&message.payload)).transpose();
    }
    // Some senders write it as HTTP does.
    let content_type = named(TYPE).or_else(|| named("content-type"));
    let content_type = content_type.map(|value| unescape("header ce-datacontenttype", value)).transpose()?;
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case(TYPE));
    let binary = Binary { attributes: prefixed(&headers)?, content_type, data: message.payload.to_vec() };
    CloudEvent::from_binary(binary).map_err(header_place).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: Option<HeaderMap>, payload: &[u8]) -> async_nats::Message {
        async_nats::Message {
            subject: "meters".into(),
            reply: None,
            payload: payload.to_vec().into(),
            headers,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn events_come_back_from_both_modes() {
        let mut event =
            CloudEvent::new("ä 1", "/s", "t").about("m 7").with_json(serde_json::json!({"kwh": 1}));
        event.datacontenttype = Some("application/json".to_owned());
        for mode in [Mode::Binary, Mode::Structured] {
            let (headers, payload) = to_message(&event, mode).unwrap();
            let found = from_message(&message(Some(headers), &payload), String::new(), None);
            assert_eq!(found, Content::Event(Box::new(event.clone())), "{mode:?}");
        }
        let json = event.to_json().unwrap();
        assert_eq!(from_message(&message(None, &json), String::new(), None), Content::Event(Box::new(event)));
    }

    #[test]
    fn a_media_type_is_also_read_where_http_writes_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")]
        {
            headers.insert(name, value);
        }
        headers.insert("Content-Type", "application/json");
        let Content::Event(event) = from_message(&message(Some(headers), b"{}"), String::new(), None) else {
            panic!("no event");
        };
        assert_eq!(event.datacontenttype.as_deref(), Some("application/json"));
    }

    #[test]
    fn what_is_no_event_is_told_or_wrapped() {
        let reason = |headers: Option<HeaderMap>, payload: &[u8]| match from_message(
            &message(headers, payload),
            "7".to_owned(),
            None,
        ) {
            Content::Malformed(malformed) => {
                assert_eq!((malformed.id.as_str(), malformed.raw.as_slice()), ("7", payload));
                malformed.reason
            }
            Content::Event(event) => panic!("{event:?}"),
        };
        assert!(reason(None, b"21.5").contains("expected headers"));
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", "1");
        assert!(reason(Some(headers), b"").contains("header ce-specversion"));
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/cloudevents+json");
        assert!(reason(Some(headers), b"{").contains("line 1"));
        let plain = Plain { source: "/hall".to_owned(), event_type: "reading".to_owned() };
        let Content::Event(event) = from_message(&message(None, b"21.5"), "7".to_owned(), Some(&plain))
        else {
            panic!("no event");
        };
        assert_eq!((event.id.as_str(), event.subject.as_deref()), ("7", Some("meters")));
    }
}
