//! Messages over WebSocket: each is one text or binary message.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use hyper::header::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message as Frame};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::http::{refused, sign};
use super::{Message, Place};
use crate::error::{CallError, ErrorKind};
use crate::http::{AGENT, AnyWire, Transport, full};

/// Time for the handshake, and for a message to be sent.
const ANSWER: Duration = Duration::from_secs(30);
/// How long the other side may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);
/// A connection that is silent for so long is asked whether it is still there; twice in vain, and it is lost.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes of one message.
const LARGEST: usize = 16 << 20;

type Socket = WebSocketStream<AnyWire>;

pub(super) async fn publish(transport: &Transport, place: &Place, message: Message) -> Result<(), CallError> {
    let mut socket = connect(transport, place, &message.headers).await?;
    let frame = match String::from_utf8(message.payload) {
        Ok(text) => Frame::text(text),
        Err(bytes) => Frame::binary(bytes.into_bytes()),
    };
    let sent = tokio::time::timeout(ANSWER, socket.send(frame)).await;
    sent.map_err(|_| late(place, "the message was not taken"))?
        .map_err(|error| lost(&place.shown(), &error))?;
    // The message is sent; a close that is answered tells that it was read.
    let _closed = tokio::time::timeout(FAREWELL, async {
        socket.close(None).await?;
        while let Some(frame) = socket.next().await {
            frame?;
        }
        Ok::<(), Error>(())
    })
    .await;
    Ok(())
}

/// A connection that is open.
pub(super) struct Feed {
    place: String,
    socket: Socket,
    /// Whether it was asked if it is still there.
    asked: bool,
}

pub(super) async fn subscribe(transport: &Transport, place: &Place) -> Result<Feed, CallError> {
    let socket = connect(transport, place, &[]).await?;
    Ok(Feed { place: place.shown(), socket, asked: false })
}

/// Connects; headers of a message go along with the handshake, as WebSocket has no other place for them.
async fn connect(
    transport: &Transport,
    place: &Place,
    headers: &[(String, String)],
) -> Result<Socket, CallError> {
    let wire = transport.wire(&place.peer, &[b"http/1.1"]).await?;
    let wrong = |why: String| CallError::new(ErrorKind::BadInput, place.shown(), why);
    // Host and path of the request; TLS is there already.
    let address = place.url()?.uri().to_string();
    let address = address.replacen("http", "ws", 1);
    let mut request = address.into_client_request().map_err(|error| wrong(full(&error)))?;
    request.headers_mut().insert("user-agent", HeaderValue::from_static(AGENT));
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| wrong("the name of a header cannot be sent".to_owned()))?;
        let value = HeaderValue::from_str(value);
        let value = value.map_err(|_| wrong(format!("header {name} cannot carry its value")))?;
        request.headers_mut().append(name, value);
    }
    sign(place, request.headers_mut())?;
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let made = Box::pin(client_async_with_config(request, wire, Some(config)));
    let made = tokio::time::timeout(ANSWER, made).await.map_err(|_| late(place, "no handshake"))?;
    match made {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(refused(place, answer.status().as_u16(), "expected a WebSocket")),
        Err(error) => Err(CallError::new(
            ErrorKind::Unreachable,
            place.shown(),
            format!("no WebSocket: {}", full(&error)),
        )),
    }
}

fn late(place: &Place, what: &str) -> CallError {
    CallError::new(ErrorKind::TimedOut, place.shown(), format!("{what} within {} s", ANSWER.as_secs()))
}

fn lost(place: &str, error: &Error) -> CallError {
    let kind = if matches!(error, Error::Capacity(_)) { ErrorKind::TooLarge } else { ErrorKind::Broken };
    CallError::new(kind, place, full(error))
}

impl Feed {
    pub(super) async fn next(&mut self) -> Result<Message, CallError> {
        loop {
            let broken = |why: &str| CallError::new(ErrorKind::Broken, self.place.clone(), why);
            let Ok(frame) = tokio::time::timeout(SILENCE, self.socket.next()).await else {
                if std::mem::replace(&mut self.asked, true) {
                    return Err(broken("does not answer any more"));
                }
                let asked = self.socket.send(Frame::Ping(Bytes::new())).await;
                asked.map_err(|error| lost(&self.place, &error))?;
                continue;
            };
            self.asked = false;
            match frame {
                None => return Err(broken("closed the connection")),
                Some(Err(error)) => return Err(lost(&self.place, &error)),
                Some(Ok(Frame::Text(text))) => return Ok(message(text.as_bytes())),
                Some(Ok(Frame::Binary(bytes))) => return Ok(message(&bytes)),
                // Pings are answered by the library, and a close ends the stream.
                Some(Ok(_)) => {}
            }
        }
    }
}

fn message(payload: &[u8]) -> Message {
    Message { payload: payload.to_vec(), ..Message::default() }
}
