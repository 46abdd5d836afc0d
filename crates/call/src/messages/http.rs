//! Messages over HTTP: a request publishes, a stream of events or of lines is received.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use super::{Message, Place};
use crate::call::Limits;
use crate::error::{CallError, ErrorKind, Fault};
use crate::http::{Asked, Transport, exchange, full, whole};
use crate::rest::stream;
use crate::secret::Secret;

/// Time for a request that publishes, and for the head of the answer of one that subscribes.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes of an answer that are shown or passed over.
const ANSWER_BYTES: usize = 1 << 20;
/// Bytes of one message.
const LARGEST: usize = 16 << 20;

pub(super) async fn publish(
    transport: &Transport,
    place: &Place,
    message: Message,
    key: &str,
) -> Result<(), CallError> {
    let mut headers: Vec<(String, Secret)> =
        message.headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    let has = |headers: &[(String, Secret)], name: &str| {
        headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    let content_type = message.content_type.unwrap_or_else(|| "application/json".to_owned());
    for (name, value) in [("content-type", content_type), ("idempotency-key", key.to_owned())] {
        if !has(&headers, name) {
            headers.push((name.to_owned(), Secret::new(value)));
        }
    }
    headers.extend(place.who.headers.iter().cloned());
    let (address, method) = (place.url()?, place.bindings.method.as_deref().unwrap_or("POST"));
    let (body, limit, timeout) = (message.payload.as_slice(), ANSWER_BYTES, ANSWER);
    let asked = Asked { method, address: &address, headers: &headers, body, limit, timeout };
    let answer = exchange(transport, asked).await?;
    if (200..=299).contains(&answer.status) {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&answer.bytes).trim().chars().take(400).collect();
    Err(refused(place, answer.status, &said))
}

/// What a status means that is no success.
pub(super) fn refused(place: &Place, status: u16, said: &str) -> CallError {
    let more = if said.is_empty() { String::new() } else { format!(": {said}") };
    let error = CallError::new(ErrorKind::Fault, place.shown(), format!("answered {status}{more}"));
    let temporary = status >= 500 || matches!(status, 408 | 425 | 429);
    error.with_fault(Fault { code: status.to_string(), status, temporary, detail: Value::Null })
}

/// Puts who asks into the headers of a request.
pub(super) fn sign(place: &Place, headers: &mut hyper::HeaderMap) -> Result<(), CallError> {
    for (name, value) in &place.who.headers {
        let wrong = || CallError::new(ErrorKind::BadInput, place.shown(), "the credentials fit no header");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(())
}

/// How messages are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Server-sent events.
    Events,
    /// One JSON text a line.
    Lines,
}

/// A stream that is open.
pub(super) struct Feed {
    place: String,
    framing: Framing,
    body: Incoming,
    /// What was read and is no whole message yet, and how much of it was looked through.
    rest: Vec<u8>,
    seen: usize,
    ready: VecDeque<Message>,
    /// Whether the peer has said that nothing more will come.
    over: bool,
}

pub(super) async fn subscribe(
    transport: &Transport,
    place: &Place,
    after: Option<&str>,
) -> Result<Feed, CallError> {
    let mut request = Request::new(whole(""));
    *request.uri_mut() = place.url()?.uri().clone();
    if let Some(method) = &place.bindings.method {
        let wrong =
            |_| CallError::new(ErrorKind::BadDocument, "bindings", format!("`{method}` is no method"));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(wrong)?;
    }
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/x-ndjson"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(after) = after.and_then(|after| HeaderValue::from_str(after).ok()) {
        headers.insert("last-event-id", after);
    }
    sign(place, headers)?;
    let answered = tokio::time::timeout(ANSWER, transport.send(request)).await;
    let late = |_| {
        CallError::new(ErrorKind::TimedOut, place.shown(), format!("no answer within {} s", ANSWER.as_secs()))
    };
    let (head, body) = answered.map_err(late)?.map_err(|error| placed(error, place))?.into_parts();
    let over = head.status == StatusCode::NO_CONTENT;
    if !over && head.status != StatusCode::OK {
        let said = crate::http::first_text(body, 400).await;
        return Err(refused(place, head.status.as_u16(), &said));
    }
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let framing = match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/event-stream" => Framing::Events,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json-seq" => {
            Framing::Lines
        }
        _ if over => Framing::Events,
        _ => {
            let why = format!("answered with `{kind}`, expected text/event-stream or application/x-ndjson");
            return Err(CallError::new(ErrorKind::BadAnswer, place.shown(), why));
        }
    };
    let (rest, ready) = (Vec::new(), VecDeque::new());
    Ok(Feed { place: place.shown(), framing, body, rest, seen: 0, ready, over })
}

fn placed(mut error: CallError, place: &Place) -> CallError {
    if error.place.is_empty() {
        error.place = place.shown();
    }
    error
}

impl Feed {
    /// None when the peer has said that nothing more will come (204).
    pub(super) async fn next(&mut self) -> Result<Option<Message>, CallError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            if self.over {
                return Ok(None);
            }
            let broken = |why: String| CallError::new(ErrorKind::Broken, self.place.clone(), why);
            let frame = match self.body.frame().await {
                None => return Err(broken("the stream ended".to_owned())),
                Some(Err(error)) => return Err(broken(format!("the stream broke off: {}", full(&error)))),
                Some(Ok(frame)) => frame,
            };
            if let Some(data) = frame.data_ref() {
                self.rest.extend_from_slice(data);
                self.divide()?;
            }
        }
    }

    /// Takes whole messages from what was read.
    fn divide(&mut self) -> Result<(), CallError> {
        let limits = Limits { bytes: LARGEST, ..Limits::default() };
        if let Some(end) = last_end(self.framing, &self.rest, self.seen) {
            let whole: Vec<u8> = self.rest.drain(..end).collect();
            match self.framing {
                Framing::Events => {
                    let text = String::from_utf8_lossy(&whole);
                    self.ready.extend(stream::events(&text, &limits)?.iter().map(event));
                }
                Framing::Lines => {
                    self.ready.extend(stream::lines(&whole, &limits)?.0.iter().map(line));
                }
            }
        }
        // A message may end with what follows the last bytes.
        self.seen = self.rest.len().saturating_sub(3);
        if self.rest.len() > LARGEST {
            let why = format!("a message of more than {} MiB", LARGEST >> 20);
            return Err(CallError::new(ErrorKind::TooLarge, self.place.clone(), why));
        }
        Ok(())
    }
}

/// Where the last whole message ends; `from` is how far was looked before.
fn last_end(framing: Framing, bytes: &[u8], from: usize) -> Option<usize> {
    let ends: &[&[u8]] = match framing {
        Framing::Lines => &[b"\n"],
        Framing::Events => &[b"\n\n", b"\r\n\r\n", b"\r\r"],
    };
    let last = |end: &&[u8]| memchr::memmem::rfind(&bytes[from..], end).map(|at| from + at + end.len());
    ends.iter().filter_map(last).max()
}

fn event(event: &Value) -> Message {
    let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
    let headers = ["event", "id"].into_iter().filter_map(|name| Some((name.to_owned(), text(name)?)));
    Message {
        payload: text("data").unwrap_or_default().into_bytes(),
        headers: headers.collect(),
        position: text("id"),
        ..Message::default()
    }
}

fn line(value: &Value) -> Message {
    let content_type = Some("application/json".to_owned());
    Message { payload: value.to_string().into_bytes(), content_type, ..Message::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_divided_where_messages_end() {
        assert_eq!(last_end(Framing::Events, b"data: 1\n\ndata: 2\r\n\r\ndata", 0), Some(20));
        assert_eq!(last_end(Framing::Events, b"data: 1\n", 0), None);
        assert_eq!(last_end(Framing::Lines, b"1\n2\n3", 0), Some(4));
        assert_eq!(last_end(Framing::Lines, b"1\n2\n3", 4), None);
    }

    #[test]
    fn events_and_lines_are_messages() {
        let found = event(&serde_json::json!({"data": "{\"a\":1}", "id": "7", "event": "added"}));
        assert_eq!((found.payload.as_slice(), found.position.as_deref()), (&b"{\"a\":1}"[..], Some("7")));
        assert_eq!(found.headers.len(), 2);
        assert_eq!(line(&serde_json::json!({"a": 1})).payload, b"{\"a\":1}");
    }
}
