//! MQTT 5, and 3.1.1 for brokers that know no other: a topic to publish to, a session that remembers what is received.
//!
//! Quality of service 1 in both directions: a message is acknowledged to the broker after it is in the log. The session
//! is kept by the broker, so that nothing is missed while this process is away; `receive_maximum` is the back-pressure.
//! Brokers write to their disk when they like, so an event counts as published when it has come back
//! ([`Confirm::Log`](super::Confirm::Log)), where nothing may be lost.

mod binding;
mod messages;
mod publish;
mod receive;
mod session;
mod settings;

use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mqtt_protocol_core::mqtt::Version;
use tokio::sync::Mutex;

pub(crate) use messages::MessageReceiver;
pub use settings::{MqttChannelSettings, Retained};

use super::broker::{Broker, Receiver};
use super::error::EventError;
use super::event::CloudEvent;
use crate::deliver::MqttVersion;
use crate::error::ErrorKind;
use crate::http::{Peer, Transport};
use crate::mqtt::{DialError, Hello, Link, Refused, Stream, Tls, Welcome, connected, dial};

/// A channel on an MQTT broker.
pub struct Mqtt {
    settings: MqttChannelSettings,
    tls: Tls,
    /// What connects, where not everything may be reached; and whether with TLS.
    via: Option<(Transport, bool)>,
    publisher: Mutex<Option<publish::Publisher>>,
    known: Arc<std::sync::Mutex<session::Known>>,
}

impl Mqtt {
    /// Prepares a channel; connects to nobody.
    ///
    /// # Errors
    /// `BadInput` or `NoCredentials` with the setting that cannot be used.
    pub fn new(settings: MqttChannelSettings) -> Result<Self, EventError> {
        settings.check()?;
        let tls =
            settings.tls().map_err(|message| EventError::new(ErrorKind::NoCredentials, "tls", message))?;
        let known = Arc::new(std::sync::Mutex::new(session::Known::new(settings.seed)));
        Ok(Self { settings, tls, via: None, publisher: Mutex::new(None), known })
    }

    fn error(&self, kind: ErrorKind, why: impl Into<String>) -> EventError {
        EventError::new(kind, self.settings.place(), why)
    }

    /// Connects with the newest version that both sides may speak. The whole of it ends within the time-out.
    async fn connect(
        &self,
        who: &Hello<'_>,
        receive_maximum: Option<u16>,
    ) -> Result<(Link, Welcome), EventError> {
        let limit = self.settings.timeout;
        let connecting = async {
            let first =
                if self.settings.version == MqttVersion::V3 { Version::V3_1_1 } else { Version::V5_0 };
            match self.connect_as(first, who, receive_maximum).await {
                Err(None) if self.settings.version == MqttVersion::Newest => {
                    self.connect_as(Version::V3_1_1, who, receive_maximum).await
                }
                other => other,
            }
        };
        match tokio::time::timeout(limit, Box::pin(connecting)).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(Some(error))) => Err(error),
            Ok(Err(None)) => Err(self.error(ErrorKind::Fault, "does not speak this version of MQTT")),
            Err(_) => {
                let message = format!("cannot be reached within {} s", limit.as_secs_f64());
                Err(self.error(ErrorKind::TimedOut, message))
            }
        }
    }

    async fn dial(&self) -> Result<Box<dyn Stream>, EventError> {
        let (host, port) = (self.settings.host.clone(), self.settings.port);
        let Some((transport, encrypted)) = &self.via else {
            return dial(&host, port, &self.tls).await.map_err(|error| {
                let kind = match error {
                    DialError::Tcp(_) => ErrorKind::Unreachable,
                    DialError::Tls(_) => ErrorKind::NoCredentials,
                };
                self.error(kind, error.to_string())
            });
        };
        let wire = transport.wire(&Peer { host, port, encrypted: *encrypted }, &[]).await;
        wire.map(|wire| Box::new(wire) as Box<dyn Stream>)
            .map_err(|error| self.error(error.kind, error.message))
    }

    /// `None` as the error when the broker does not speak the version.
    async fn connect_as(
        &self,
        version: Version,
        who: &Hello<'_>,
        receive_maximum: Option<u16>,
    ) -> Result<(Link, Welcome), Option<EventError>> {
        let stream = self.dial().await?;
        let mut link = Link::new(stream, version, self.settings.max_packet);
        let unreachable = |why: String| self.error(ErrorKind::Unreachable, why);
        link.greet(who, receive_maximum).await.map_err(unreachable)?;
        match link.receive().await {
            Ok(answer) => match connected(&answer) {
                Ok(welcome) => Ok((link, welcome)),
                Err(Refused { version: true, .. }) => Err(None),
                Err(Refused { login: true, message, .. }) => {
                    Err(Some(self.error(ErrorKind::NoCredentials, message)))
                }
                Err(Refused { temporary: true, message, .. }) => {
                    Err(Some(self.error(ErrorKind::Unreachable, message)))
                }
                Err(Refused { message, .. }) => Err(Some(self.error(ErrorKind::Fault, message))),
            },
            // Old brokers close, or answer in the form of their own version.
            Err(_) if version == Version::V5_0 && self.settings.version == MqttVersion::Newest => Err(None),
            Err(why) => Err(Some(unreachable(why))),
        }
    }
}

impl Broker for Mqtt {
    fn publish<'a>(&'a self, events: &'a [CloudEvent]) -> BoxFuture<'a, Result<(), EventError>> {
        self.publish_all(events).boxed()
    }

    fn receive(&self) -> BoxFuture<'_, Result<Box<dyn Receiver>, EventError>> {
        async { receive::begin(self).await.map(|receiver| Box::new(receiver) as Box<dyn Receiver>) }.boxed()
    }

    /// A broker may acknowledge what is only in its memory.
    fn is_durable(&self) -> bool {
        false
    }
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mqtt").field(&self.settings).finish()
    }
}
