//! Messages over NATS: published once, received while somebody listens.

use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, HeaderName, HeaderValue, ServerAddr,
    Subscriber,
};
use futures::StreamExt as _;
use tokio::sync::watch;

use super::{Message, Place};
use crate::error::{CallError, ErrorKind};
use crate::http::{Transport, full};

/// Time to connect, and for the server to have what is published.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a silent connection is checked; two missing answers end it.
const PING: Duration = Duration::from_secs(10);
/// The header by which a stream knows a repetition.
const KEY: &str = "Nats-Msg-Id";
/// The header that says what the content is.
const CONTENT_TYPE: &str = "content-type";

struct Connection {
    client: Client,
    /// Turns to how the connection ended: the first of what happened to it.
    end: watch::Receiver<Option<End>>,
}

#[derive(Clone, Debug)]
enum End {
    /// By us. All that the server had objected to until then would have been heard before.
    Ours,
    /// By itself: what became of the last that was sent is not known.
    Lost,
    /// The server objected to something, and how.
    Refused(String),
}

impl End {
    /// What is said of a connection that did not end by us.
    fn said(self) -> String {
        match self {
            Self::Refused(why) => why,
            Self::Ours | Self::Lost => "the connection was lost".to_owned(),
        }
    }
}

pub(super) async fn publish(
    transport: &Transport,
    place: &Place,
    message: Message,
    key: &str,
) -> Result<(), CallError> {
    let Connection { client, mut end } = connect(transport, place).await?;
    let mut headers = HeaderMap::new();
    let own = [(KEY.to_owned(), key.to_owned())].into_iter();
    let content_type = message.content_type.map(|kind| (CONTENT_TYPE.to_owned(), kind));
    for (name, value) in own.chain(content_type).chain(message.headers) {
        let wrong = |what: &str| {
            CallError::new(
                ErrorKind::BadInput,
                place.shown(),
                format!("header {name} cannot be sent: {what}"),
            )
        };
        let header = HeaderName::try_from(name.as_str()).map_err(|_| wrong("its name"))?;
        headers.insert(header, value.parse::<HeaderValue>().map_err(|_| wrong("its value"))?);
    }
    let sent = tokio::time::timeout(ANSWER, async {
        let broken =
            |error: &dyn std::error::Error| CallError::new(ErrorKind::Broken, place.shown(), full(error));
        // The server takes things in their order: when this comes back, it has the message, and has said so if it objects to it.
        let inbox = client.new_inbox();
        let mut echo = client.subscribe(inbox.clone()).await.map_err(|error| broken(&error))?;
        let published =
            client.publish_with_headers(place.address.clone(), headers, message.payload.into()).await;
        published.map_err(|error| CallError::new(ErrorKind::BadInput, place.shown(), full(&error)))?;
        client.publish(inbox, "".into()).await.map_err(|error| broken(&error))?;
        client.flush().await.map_err(|error| broken(&error))?;
        tokio::select! {
            _ = echo.next() => {}
            // Looked at below.
            _ = ended(&mut end) => {}
        }
        // The library tells refusals on a task of its own, in their order with this.
        drop(client.drain().await);
        let end = ended(&mut end).await;
        let kind = match end {
            End::Ours => return Ok(()),
            End::Lost => ErrorKind::Broken,
            End::Refused(_) => ErrorKind::Fault,
        };
        Err(CallError::new(kind, place.shown(), end.said()))
    });
    let late = |_| {
        let why = format!("the message was not taken within {} s", ANSWER.as_secs());
        CallError::new(ErrorKind::TimedOut, place.shown(), why)
    };
    sent.await.map_err(late)?
}

/// A subscription that is open.
pub(super) struct Feed {
    place: String,
    subscriber: Subscriber,
    connection: Connection,
}

pub(super) async fn subscribe(transport: &Transport, place: &Place) -> Result<Feed, CallError> {
    let connection = connect(transport, place).await?;
    let wrong =
        |error: &dyn std::error::Error| CallError::new(ErrorKind::BadInput, place.shown(), full(error));
    let (client, subject) = (&connection.client, place.address.clone());
    let subscribed = match &place.bindings.queue {
        Some(queue) => client.queue_subscribe(subject, queue.clone()).await,
        None => client.subscribe(subject).await,
    };
    let subscriber = subscribed.map_err(|error| wrong(&error))?;
    client.flush().await.map_err(|error| wrong(&error))?;
    Ok(Feed { place: place.shown(), subscriber, connection })
}

impl Feed {
    pub(super) async fn next(&mut self) -> Result<Message, CallError> {
        let end = tokio::select! {
            // What came before it was lost is still handed out.
            biased;
            found = self.subscriber.next() => match found {
                Some(found) => return Ok(message(found)),
                None => End::Lost,
            },
            end = ended(&mut self.connection.end) => end,
        };
        Err(CallError::new(ErrorKind::Broken, self.place.clone(), end.said()))
    }
}

fn message(found: async_nats::Message) -> Message {
    let mut headers = Vec::new();
    for (name, values) in found.headers.iter().flat_map(HeaderMap::iter) {
        let texts: Vec<&str> = values.iter().map(HeaderValue::as_str).collect();
        headers.push((name.to_string(), texts.join(", ")));
    }
    // A map without an order.
    headers.sort();
    let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE));
    let content_type = content_type.map(|(_, value)| value.clone());
    Message { payload: found.payload.to_vec(), content_type, headers, ..Message::default() }
}

async fn ended(end: &mut watch::Receiver<Option<End>>) -> End {
    let known = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
    known.unwrap_or(End::Lost)
}

async fn connect(transport: &Transport, place: &Place) -> Result<Connection, CallError> {
    let addresses = transport.addresses(&place.peer).await?;
    // Certificates are for names, so a name that was looked up and may be reached is looked up once more where TLS is spoken.
    let servers: Vec<String> = match place.peer.encrypted {
        true => vec![format!("tls://{}:{}", place.peer.host, place.peer.port)],
        false => addresses.iter().map(|address| format!("nats://{address}")).collect(),
    };
    let servers = servers.iter().map(|server| server.parse()).collect::<Result<Vec<ServerAddr>, _>>();
    let servers =
        servers.map_err(|error| CallError::new(ErrorKind::BadInput, place.shown(), full(&error)))?;
    let (sender, end) = watch::channel(None);
    let mut options = ConnectOptions::new()
        .name("sos")
        .connection_timeout(ANSWER)
        .ping_interval(PING)
        .max_reconnects(1)
        .ignore_discovered_servers()
        .event_callback(move |event| {
            let end = match event {
                Event::Draining => Some(End::Ours),
                Event::Disconnected | Event::Closed => Some(End::Lost),
                Event::ServerError(error) => Some(End::Refused(error.to_string())),
                _ => None,
            };
            if end.is_some() {
                // The first is the reason of those that follow.
                sender.send_if_modified(|known| {
                    known.is_none() && {
                        *known = end;
                        true
                    }
                });
            }
            async {}
        });
    if let Some(login) = &place.who.login {
        options = options.user_and_password(login.user.clone(), login.password.expose().to_owned());
    } else if let Some(token) = &place.who.token {
        options = options.token(token.expose().to_owned());
    }
    if place.peer.encrypted {
        options = options.require_tls(true).tls_client_config(transport.tls().clone());
    }
    let connected = tokio::time::timeout(ANSWER, Box::pin(options.connect(servers))).await;
    let late = |_| {
        CallError::new(
            ErrorKind::TimedOut,
            place.shown(),
            format!("no connection within {} s", ANSWER.as_secs()),
        )
    };
    let client = connected.map_err(late)?.map_err(|error| {
        let kind = match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                ErrorKind::NoCredentials
            }
            _ => ErrorKind::Unreachable,
        };
        CallError::new(kind, place.shown(), format!("cannot connect: {}", full(&error)))
    })?;
    Ok(Connection { client, end })
}
