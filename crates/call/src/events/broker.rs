//! What a broker must be able to do: publish, and receive.

use futures::future::BoxFuture;
use serde_json::Value;

use super::error::EventError;
use super::event::{CloudEvent, Data};

/// A broker. It makes connections by itself when it is asked for something, and never repeats by itself what failed.
pub trait Broker: Send + Sync {
    /// Publishes in this order and returns when the broker has all of them. After an error some may have been published,
    /// always the first ones; the same events may be published again, as their ids are known.
    ///
    /// # Errors
    /// `BadInput` for what is no event, `TooLarge`, `NoCredentials`, `Overloaded` when the broker is full,
    /// `Unreachable`, `Broken`, `TimedOut`.
    fn publish<'a>(&'a self, events: &'a [CloudEvent]) -> BoxFuture<'a, Result<(), EventError>>;

    /// Begins to receive: first, in their order, those that were received before and not acknowledged.
    ///
    /// # Errors
    /// As [`Self::publish`].
    fn receive(&self) -> BoxFuture<'_, Result<Box<dyn Receiver>, EventError>>;

    /// Whether what [`Self::publish`] returned for survives the broker's sudden end. Where it does not,
    /// [`Confirm::Log`](super::Confirm::Log) waits until the event has come back.
    fn is_durable(&self) -> bool;
}

/// Receives from a broker. Dropping it ends the connection; what is not acknowledged comes again.
pub trait Receiver: Send {
    /// The next messages, at least one and at most `max`; waits for the first as long as it takes. After the future was
    /// dropped the receiver must be dropped too; then nothing is lost.
    ///
    /// # Errors
    /// When the connection is lost: `Broken`, `TimedOut`. The receiver is of no use then.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Received>, EventError>>;

    /// Tells the broker that these need not come again, and returns when it knows. In the order in which they came.
    ///
    /// # Errors
    /// When the connection is lost: they come again.
    fn acknowledge(&mut self, tokens: Vec<Token>) -> BoxFuture<'_, Result<(), EventError>>;
}

/// A message of a broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// What it is.
    pub content: Content,
    /// By which it is acknowledged.
    pub token: Token,
}

/// By which a message is acknowledged, at the receiver that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What a message of a broker is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An event.
    Event(Box<CloudEvent>),
    /// No event.
    Malformed(Malformed),
}

/// A message that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What it is known by, the same when it comes again where the broker allows.
    pub id: String,
    /// Its bytes.
    pub raw: Vec<u8>,
    /// Why it is no event.
    pub reason: String,
}

/// How events are put into messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Attributes beside the data, where the protocol has a place for them.
    #[default]
    Binary,
    /// All of it in JSON.
    Structured,
}

/// What messages become that are no CloudEvents, as devices send them. They are about their topic or subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Source of the events; a URI reference.
    pub source: String,
    /// Type of the events.
    pub event_type: String,
}

impl Plain {
    /// The event that stands for a plain message.
    pub(super) fn event(
        &self,
        id: String,
        subject: &str,
        content_type: Option<&str>,
        payload: &[u8],
    ) -> Result<CloudEvent, EventError> {
        let mut event = CloudEvent::new(id, &self.source, &self.event_type).about(subject);
        event.datacontenttype = content_type.map(str::to_owned);
        event.data = match (serde_json::from_slice::<Value>(payload), std::str::from_utf8(payload)) {
            _ if payload.is_empty() => None,
            (Ok(value), _) if content_type.is_none_or(super::check::is_json) => Some(Data::Json(value)),
            (_, Ok(text)) if content_type.is_none() => {
                event.datacontenttype = Some("text/plain; charset=utf-8".to_owned());
                Some(Data::Text(text.to_owned()))
            }
            _ => Some(Data::Bytes(payload.to_vec())),
        };
        event.check().map(|()| event)
    }
}

/// Whether a payload that nothing is said about is an event in JSON: an object with a `specversion`.
pub(super) fn looks_structured(payload: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head {
        specversion: Option<serde::de::IgnoredAny>,
    }
    payload.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<Head>(payload).is_ok_and(|head| head.specversion.is_some())
}

/// Why a connection is of no use any more.
pub(super) fn broken(place: &str, why: impl Into<String>) -> EventError {
    EventError::new(crate::ErrorKind::Broken, place, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_messages_become_events_of_what_they_hold() {
        let plain = Plain { source: "mqtt://hall".to_owned(), event_type: "device.reading".to_owned() };
        let data = |content_type, payload: &[u8]| {
            plain.event("1".to_owned(), "hall/meter 7", content_type, payload).unwrap().data
        };
        assert_eq!(data(None, b"{\"kwh\":1}"), Some(Data::Json(serde_json::json!({"kwh": 1}))));
        assert_eq!(data(None, b"21.5"), Some(Data::Json(serde_json::json!(21.5))));
        assert_eq!(data(None, b"on"), Some(Data::Text("on".to_owned())));
        assert_eq!(data(None, b"\xff"), Some(Data::Bytes(vec![255])));
        assert_eq!(data(Some("text/csv"), b"1"), Some(Data::Bytes(b"1".to_vec())));
        assert_eq!(data(None, b""), None);
        assert!(plain.event("1".to_owned(), "", None, b"x").is_err());
    }

    #[test]
    fn only_objects_with_a_version_look_like_events() {
        assert!(looks_structured(b" {\"id\":1,\"specversion\":\"1.0\"}"));
        for other in [b"{\"id\":1}".as_slice(), b"[]", b"21.5", b"{", b""] {
            assert!(!looks_structured(other));
        }
    }
}
