//! `call: asyncapi`: a message is published, or messages come one by one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use futures::StreamExt as _;
use serde_json::{Map, Value, json};
use sos_call::messages::{
    Described, Message, OperationDescription, Parameter, Place, Protocol, Subscription, Target, Wanted, Who,
    operation, publish as send, subscribe, unsubscribe as forget,
};
use sos_call::{CallError, Documents, ErrorKind, rest};
use sos_workflow::ErrorType;
use sos_workflow::machine::Fault;
use sos_workflow::program::fits;
use tokio::time::Instant;

use super::authentication::{credentials, discovered};
use super::executor::{Executor, failed, text, wrong};
use super::resources::{address_of, authentication_of, documents};
use super::subscriptions::{Messages, Subscribing};
use super::uri;

/// How often in a row a subscription that was lost is opened again.
const ATTEMPTS: u32 = 8;
/// Time before the first of them; each next waits twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// A connection that held for so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// Names of headers that say what a message belongs to, where the document says nothing.
const CORRELATION: [&str; 2] = ["correlationid", "correlation-id"];

/// What is known of documents and subscriptions.
#[derive(Debug, Default)]
pub(super) struct Known {
    documents: Mutex<BTreeMap<String, Documents>>,
    /// Who keeps messages for a subscription, by its key.
    kept: Mutex<BTreeMap<String, Place>>,
}

/// Publishes a message; it is the output.
pub(super) async fn publish(
    executor: &Executor,
    key: &str,
    with: &Value,
    input: &Value,
) -> Result<Value, Fault> {
    let described = described(executor, with, input, true).await?;
    let part = |name: &str| with.pointer(&format!("/message/{name}")).filter(|part| !part.is_null());
    let (payload, headers) = (part("payload"), part("headers").cloned().unwrap_or_else(|| json!({})));
    let message = json!({"payload": payload, "headers": headers});
    let content_type = checked(&described.messages, &message)?;
    let place = place(executor, with, input, &described, &message).await?;
    let sent = Message {
        payload: payload.map(Value::to_string).unwrap_or_default().into_bytes(),
        content_type: payload.map(|_| content_type),
        headers: texts(&headers)?.into_iter().collect(),
        ..Message::default()
    };
    send(&executor.transport, &place, sent, key).await.map_err(|error| failed(&error))?;
    Ok(message)
}

/// What the document says of what is meant.
async fn described(
    executor: &Executor,
    with: &Value,
    input: &Value,
    publishes: bool,
) -> Result<OperationDescription, Fault> {
    let document = with.get("document").ok_or_else(|| wrong("expected the document of the service"))?;
    let address = uri::address(with, &address_of(document)?, input)?;
    let known = |known: &Mutex<BTreeMap<String, Documents>>| {
        known.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    };
    let read = match known(&executor.asyncapi.documents) {
        Some(read) => read,
        None => {
            let read = documents(executor, &address, authentication_of(document), rest::references).await?;
            let mut all = executor.asyncapi.documents.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(address.clone(), read.clone());
            read
        }
    };
    let target = match with.get("channel").and_then(Value::as_str) {
        Some(channel) => Target::Channel(channel),
        None => Target::Operation(text(with, "operation")?),
    };
    let server = with.get("server").filter(|server| !server.is_null());
    let none = json!({});
    let variables = texts(server.and_then(|server| server.get("variables")).unwrap_or(&none))?;
    let wanted = Wanted {
        target,
        publishes,
        server: server.map(|server| text(server, "name")).transpose()?,
        variables: &variables,
        protocol: with.get("protocol").and_then(Value::as_str),
    };
    operation(&read, &wanted).map_err(|error| failed(&error))
}

/// Where messages go to or come from. What varies in its address is a property of the input, or where the document says in the message.
async fn place(
    executor: &Executor,
    with: &Value,
    input: &Value,
    described: &OperationDescription,
    message: &Value,
) -> Result<Place, Fault> {
    let value = |parameter: &Parameter| {
        let of_input = input.get(&parameter.name).and_then(plain);
        of_input.or_else(|| located(parameter.location.as_deref()?, message).and_then(plain))
    };
    let address = described.address(&value, message.is_null()).map_err(|error| failed(&error))?;
    let authentication = discovered(executor, with.get("authentication")).await?;
    let credentials = credentials(authentication.as_ref())?;
    let who = Who::of(credentials, &described.security, &executor.transport).await;
    Ok(Place {
        protocol: described.server.protocol,
        peer: described.server.peer.clone(),
        address,
        bindings: described.bindings.clone(),
        who: who.map_err(|error| failed(&error))?,
    })
}

/// A scalar as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Values by name as texts: scalars as they are, all else as JSON, nothing of null.
fn texts(values: &Value) -> Result<BTreeMap<String, String>, Fault> {
    let Value::Object(values) = values else {
        return Err(wrong("expected an object with texts by name (`headers`, `variables`)"));
    };
    let present = values.iter().filter(|(_, value)| !value.is_null());
    Ok(present
        .map(|(name, value)| (name.clone(), plain(value).unwrap_or_else(|| value.to_string())))
        .collect())
}

/// What is where a document says: `$message.payload#/user/id`, `$message.header#/id`.
fn located<'v>(location: &str, message: &'v Value) -> Option<&'v Value> {
    let (part, pointer) = location.strip_prefix("$message.")?.split_once('#')?;
    message.get(if part == "header" { "headers" } else { part })?.pointer(pointer)
}

/// The media type of a message that is one of those that the document describes.
fn checked(described: &[Described], message: &Value) -> Result<String, Fault> {
    const JSON: &str = "application/json";
    let mut objections = Vec::new();
    for one in described {
        match objection(one, message) {
            None if one.message.content_type.is_empty() => return Ok(JSON.to_owned()),
            None => return Ok(one.message.content_type.clone()),
            Some(why) => objections.push(format!("{}: {why}", one.message.name)),
        }
    }
    if objections.is_empty() {
        return Ok(JSON.to_owned());
    }
    let detail =
        format!("the message is none of those that the document describes: {}", objections.join("; "));
    Err(Fault::of(ErrorType::Validation, "Not valid", detail))
}

fn objection(described: &Described, message: &Value) -> Option<String> {
    let kind =
        described.message.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !described.message.schema_format.is_empty() {
        let format = &described.message.schema_format;
        return Some(format!("it is described in `{format}`, and only JSON Schema is understood"));
    }
    if !(kind.is_empty() || kind == "application/json" || kind.ends_with("+json")) {
        return Some(format!("it is `{kind}`, and payloads are written as JSON"));
    }
    let payload = fits(&described.message.payload, &message["payload"]).err();
    payload
        .or_else(|| fits(&described.headers, &message["headers"]).err().map(|why| format!("headers: {why}")))
}

/// A message as workflows see it.
fn received(message: Message, described: &[Described]) -> Value {
    let mut headers = Map::new();
    for (name, value) in message.headers {
        match headers.get_mut(&name) {
            Some(Value::String(before)) => *before = format!("{before}, {value}"),
            _ => drop(headers.insert(name, Value::from(value))),
        }
    }
    let payload = payload(&message.payload, message.content_type.as_deref());
    let mut seen = json!({"payload": payload, "headers": headers});
    let declared = || {
        let mut locations = described.iter().filter_map(|one| one.correlation.as_deref());
        locations.find_map(|location| plain(located(location, &seen)?))
    };
    let usual = || {
        let mut headers = seen["headers"].as_object().into_iter().flatten();
        let found = headers.find(|(name, _)| CORRELATION.contains(&name.to_ascii_lowercase().as_str()))?;
        plain(found.1)
    };
    if let Some(correlation) = declared().or(message.correlation).or_else(usual) {
        seen["correlationId"] = json!(correlation);
    }
    seen
}

/// A payload by its type: JSON as it is, text as text, all else in base64; nothing is null.
fn payload(bytes: &[u8], content_type: Option<&str>) -> Value {
    let kind =
        content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind.is_empty() || kind == "application/json" || kind.ends_with("+json");
    match (serde_json::from_slice(bytes), std::str::from_utf8(bytes)) {
        _ if bytes.is_empty() => Value::Null,
        (Ok(value), _) if is_json => value,
        (_, Ok(text)) => json!(text),
        _ => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
    }
}

/// The messages of a subscription. One that is lost is opened again.
pub(super) fn messages(executor: Executor, subscribing: Subscribing) -> Messages {
    let again = subscribing.again;
    let position = subscribing.last.as_ref().and_then(|last| last.pointer("/headers/id")).and_then(plain);
    let (place, failures) = (None, 0);
    let following =
        Following { executor, subscribing, position, again, place, open: None, failures, over: false };
    let each = |mut following: Following| async move {
        let message = following.next().await?;
        Some((message, following))
    };
    futures::stream::unfold(following, each).boxed()
}

/// Has whoever keeps messages for a subscription forget it.
pub(super) async fn unsubscribe(executor: Executor, key: String) {
    let kept = executor.asyncapi.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    let Some(place) = kept else { return };
    if let Err(error) = forget(&executor.transport, &place, &key).await {
        tracing::warn!(%error, "a subscription that is over could not be taken back; the broker forgets it in time");
    }
}

struct Following {
    executor: Executor,
    subscribing: Subscribing,
    /// Of the last message.
    position: Option<String>,
    /// Whether it was open before: then it is worth waiting for.
    again: bool,
    place: Option<(Place, Vec<Described>)>,
    open: Option<(Subscription, Instant)>,
    /// In a row.
    failures: u32,
    over: bool,
}

impl Following {
    /// None when nothing more comes.
    async fn next(&mut self) -> Option<Result<Value, Fault>> {
        while !self.over {
            match self.step().await {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => self.over = true,
                Err(error) if self.again && is_temporary(&error) && self.failures < ATTEMPTS => {
                    tracing::info!(key = self.subscribing.key, %error, "a subscription is opened again");
                    tokio::time::sleep(FIRST_DELAY * 2_u32.pow(self.failures)).await;
                    self.failures += 1;
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(match error {
                        Stopped::Call(error) => failed(&error),
                        Stopped::Fault(fault) => fault,
                    }));
                }
            }
        }
        None
    }

    async fn step(&mut self) -> Result<Option<Value>, Stopped> {
        if self.place.is_none() {
            self.place = Some(found(&self.executor, &self.subscribing).await?);
        }
        let Some((place, described)) = &self.place else { return Ok(None) };
        let (subscription, since) = match &mut self.open {
            Some(open) => open,
            None => {
                let key = &self.subscribing.key;
                let opened =
                    subscribe(&self.executor.transport, place, key, self.position.as_deref()).await?;
                if matches!(place.protocol, Protocol::Mqtt | Protocol::Mqtt5) {
                    let mut kept = self.executor.asyncapi.kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.insert(key.clone(), place.clone());
                }
                self.again = true;
                self.open.insert((opened, Instant::now()))
            }
        };
        match subscription.next().await {
            Ok(None) => Ok(None),
            Ok(Some(message)) => {
                self.failures = 0;
                self.position = message.position.clone().or_else(|| self.position.take());
                Ok(Some(received(message, described)))
            }
            Err(error) => {
                if since.elapsed() > GOOD {
                    self.failures = 0;
                }
                self.open = None;
                Err(error.into())
            }
        }
    }
}

/// Where the messages of a subscription come from, and what they may be.
async fn found(executor: &Executor, subscribing: &Subscribing) -> Result<(Place, Vec<Described>), Stopped> {
    let (with, input) = (&subscribing.with, &subscribing.input);
    let described = described(executor, with, input, false).await?;
    let place = place(executor, with, input, &described, &Value::Null).await?;
    Ok((place, described.messages))
}

/// Why nothing came.
#[derive(Debug)]
enum Stopped {
    Call(CallError),
    Fault(Fault),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Fault(fault) => f.write_str(fault.detail.as_deref().unwrap_or_default()),
        }
    }
}

impl From<CallError> for Stopped {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Whether the same may succeed later.
fn is_temporary(stopped: &Stopped) -> bool {
    match stopped {
        Stopped::Call(error) => match error.kind {
            ErrorKind::Unreachable | ErrorKind::Broken | ErrorKind::TimedOut | ErrorKind::Overloaded => true,
            ErrorKind::Fault => error.fault.as_ref().is_some_and(|fault| fault.temporary),
            _ => false,
        },
        // Documents and tokens that cannot be had just now.
        Stopped::Fault(fault) => {
            let kind = |kind: ErrorType| fault.kind == kind.uri();
            kind(ErrorType::Communication) || kind(ErrorType::Timeout)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sos_workflow::program::SPOKEN;

    fn of(payload: &[u8], content_type: Option<&str>, headers: &[(&str, &str)]) -> Message {
        Message {
            payload: payload.to_vec(),
            content_type: content_type.map(str::to_owned),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Message::default()
        }
    }

    #[test]
    fn what_documents_may_ask_for_is_what_is_spoken() {
        for name in SPOKEN {
            assert!(Protocol::of(name).is_some(), "{name}");
        }
    }

    #[test]
    fn messages_are_seen_with_payload_headers_and_what_they_belong_to() {
        let seen = |message: Message| received(message, &[]);
        assert_eq!(
            seen(of(b"{\"a\":1}", None, &[("x", "1"), ("x", "2"), ("Correlation-Id", "c")])),
            json!({"payload": {"a": 1}, "headers": {"x": "1, 2", "Correlation-Id": "c"}, "correlationId": "c"})
        );
        assert_eq!(seen(of(b"{\"a\":1}", Some("text/plain"), &[]))["payload"], json!("{\"a\":1}"));
        assert_eq!(seen(of(b"hello", None, &[]))["payload"], json!("hello"));
        assert_eq!(seen(of(b"\xff", None, &[]))["payload"], json!("/w=="));
        assert_eq!(seen(of(b"", None, &[]))["payload"], Value::Null);
        let message = json!({"payload": {"user": {"id": 7}}, "headers": {"id": "h"}});
        assert_eq!(located("$message.payload#/user/id", &message), Some(&json!(7)));
        assert_eq!(located("$message.header#/id", &message), Some(&json!("h")));
        assert_eq!(located("payload", &message), None);
    }
}
