//! Messages of operations that an AsyncAPI document describes: published, and received one by one.
//!
//! Spoken are HTTP (a request publishes, a stream of events is received), WebSocket, MQTT and NATS. Every connection is made
//! by a [`Transport`], so what may be reached, whose certificates are trusted and where hosts are is one rule for all.
//!
//! # Guarantees
//! Who asks a [`Subscription`] for the next message has the one before: only then the peer is told, where its protocol
//! has a word for it. MQTT keeps what comes for a name that follows from the key of a subscription, event streams go on behind the
//! position of the last message; WebSocket and NATS hand out what comes while somebody listens.

mod http;
mod mqtt;
mod nats;
mod operation;
mod who;
mod ws;

use std::fmt;

pub use operation::{
    Bindings, Described, OperationDescription, Parameter, Security, Server, Target, Wanted, operation,
};

use crate::error::CallError;
use crate::http::{Peer, Transport};
use crate::secret::{Login, Secret};

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Requests and streams of events.
    Http,
    /// WebSocket.
    Ws,
    /// MQTT 5, and 3.1.1 with brokers that know no other.
    Mqtt,
    /// MQTT 5 only.
    Mqtt5,
    /// NATS.
    Nats,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its content.
    pub payload: Vec<u8>,
    /// The media type of its content, where it is known.
    pub content_type: Option<String>,
    /// Its headers, as far as the protocol has any.
    pub headers: Vec<(String, String)>,
    /// What it belongs to, where the protocol itself says so.
    pub correlation: Option<String>,
    /// Where a stream is after it, to go on from.
    pub position: Option<String>,
}

/// Who publishes or receives.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// A user with a password.
    pub login: Option<Login>,
    /// Who has the token.
    pub token: Option<Secret>,
    /// Headers of requests.
    pub headers: Vec<(String, Secret)>,
    /// Parts of the query of requests.
    pub query: Vec<(String, Secret)>,
}

/// Where messages go to or come from.
#[derive(Clone, Debug)]
pub struct Place {
    /// What is spoken.
    pub protocol: Protocol,
    /// The server.
    pub peer: Peer,
    /// Path, topic or subject.
    pub address: String,
    /// What the document says beyond that.
    pub bindings: Bindings,
    /// Who we are.
    pub who: Who,
}

impl Protocol {
    /// The protocol that documents call so, and whether it is encrypted.
    #[must_use]
    pub fn of(name: &str) -> Option<(Self, bool)> {
        Some(match name {
            "http" => (Self::Http, false),
            "https" => (Self::Http, true),
            "ws" => (Self::Ws, false),
            "wss" => (Self::Ws, true),
            "mqtt" => (Self::Mqtt, false),
            "mqtts" | "secure-mqtt" => (Self::Mqtt, true),
            "mqtt5" => (Self::Mqtt5, false),
            "mqtt5s" => (Self::Mqtt5, true),
            "nats" => (Self::Nats, false),
            "natss" | "tls" => (Self::Nats, true),
            _ => return None,
        })
    }

    /// Whether a server of this protocol is meant where `other` is asked for.
    #[must_use]
    pub fn is_also(self, other: Self) -> bool {
        let family = |one: Self| if one == Self::Mqtt5 { Self::Mqtt } else { one };
        family(self) == family(other)
    }

    /// The port that is usual.
    #[must_use]
    pub const fn port(self, encrypted: bool) -> u16 {
        match (self, encrypted) {
            (Self::Http | Self::Ws, false) => 80,
            (Self::Http | Self::Ws, true) => 443,
            (Self::Mqtt | Self::Mqtt5, false) => 1883,
            (Self::Mqtt | Self::Mqtt5, true) => 8883,
            (Self::Nats, _) => 4222,
        }
    }
}

impl Place {
    /// Scheme, host and port, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let scheme = match (self.protocol, self.peer.encrypted) {
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
            (Protocol::Ws, false) => "ws",
            (Protocol::Ws, true) => "wss",
            (Protocol::Mqtt | Protocol::Mqtt5, false) => "mqtt",
            (Protocol::Mqtt | Protocol::Mqtt5, true) => "mqtts",
            (Protocol::Nats, false) => "nats",
            (Protocol::Nats, true) => "tls",
        };
        format!("{scheme}://{}:{}", self.peer.host, self.peer.port)
    }

    /// The address of requests in the scheme of HTTP, with what of the query says who asks.
    fn url(&self) -> Result<crate::http::Address, CallError> {
        let scheme = if self.peer.encrypted { "https" } else { "http" };
        let wrong = |why: String| CallError::new(crate::ErrorKind::BadInput, self.shown(), why);
        let text = format!("{scheme}://{}:{}{}", self.peer.host, self.peer.port, self.address);
        let mut url = url::Url::parse(&text).map_err(|error| wrong(format!("no address: {error}")))?;
        if !self.who.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &self.who.query {
                pairs.append_pair(name, value.expose());
            }
        }
        crate::http::Address::parse(url.as_str()).map_err(wrong)
    }
}

/// Publishes a message and returns when the peer has it, as far as its protocol tells. `key` goes along where there is a place
/// for it, so that a repetition can be known.
///
/// # Errors
/// `BadInput`, `NotAllowed`, `NoCredentials`, `Unreachable`, `Broken`, `TimedOut`, `TooLarge`; `Fault` when the peer refuses.
pub async fn publish(
    transport: &Transport,
    place: &Place,
    message: Message,
    key: &str,
) -> Result<(), CallError> {
    match place.protocol {
        Protocol::Http => http::publish(transport, place, message, key).await,
        Protocol::Ws => ws::publish(transport, place, message).await,
        Protocol::Mqtt | Protocol::Mqtt5 => mqtt::publish(transport, place, message, key).await,
        Protocol::Nats => nats::publish(transport, place, message, key).await,
    }
}

/// Begins to receive. `key` is the same whenever the same subscription is begun again, `after` the position of the last message
/// that is already there.
///
/// # Errors
/// As [`publish`].
pub async fn subscribe(
    transport: &Transport,
    place: &Place,
    key: &str,
    after: Option<&str>,
) -> Result<Subscription, CallError> {
    Ok(Subscription(match place.protocol {
        Protocol::Http => Feed::Http(Box::new(http::subscribe(transport, place, after).await?)),
        Protocol::Ws => Feed::Ws(Box::new(ws::subscribe(transport, place).await?)),
        Protocol::Mqtt | Protocol::Mqtt5 => {
            Feed::Mqtt(Box::new(mqtt::subscribe(transport, place, key).await?))
        }
        Protocol::Nats => Feed::Nats(Box::new(nats::subscribe(transport, place).await?)),
    }))
}

/// Has the peer forget a subscription that is over; what comes for it is kept no more.
///
/// # Errors
/// As [`publish`].
pub async fn unsubscribe(transport: &Transport, place: &Place, key: &str) -> Result<(), CallError> {
    match place.protocol {
        Protocol::Mqtt | Protocol::Mqtt5 => mqtt::unsubscribe(transport, place, key).await,
        // They remember nobody.
        Protocol::Http | Protocol::Ws | Protocol::Nats => Ok(()),
    }
}

/// Receives messages until it is dropped.
pub struct Subscription(Feed);

enum Feed {
    Http(Box<http::Feed>),
    Ws(Box<ws::Feed>),
    Mqtt(Box<crate::events::MessageReceiver>),
    Nats(Box<nats::Feed>),
}

impl Subscription {
    /// The next message, however long it takes; whoever asks for it has the one before. None when the peer says that nothing more
    /// will come.
    ///
    /// # Errors
    /// That the connection is lost, or a message is larger than may be read.
    pub async fn next(&mut self) -> Result<Option<Message>, CallError> {
        match &mut self.0 {
            Feed::Http(feed) => feed.next().await,
            Feed::Ws(feed) => feed.next().await.map(Some),
            Feed::Mqtt(feed) => feed.next().await.map(Some).map_err(mqtt::error),
            Feed::Nats(feed) => feed.next().await.map(Some),
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}
