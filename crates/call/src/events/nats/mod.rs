//! NATS JetStream: a stream that keeps events, a durable consumer for this channel.
//!
//! The client's own reconnection is switched off. It would send on the new connection what came after a message that was
//! lost with the old one, and so turn the order round; here a lost connection ends everything that was under way, and
//! the next call makes a new one. What was handed out and not acknowledged is read again first, in order, for the same
//! reason: the server would send it later, behind newer messages.

mod binding;
mod connect;
mod publish;
mod receive;
mod settings;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

pub use settings::{NatsAuth, NatsSettings, Stream, StreamMode};

use super::broker::{Broker, Receiver};
use super::error::EventError;
use super::event::CloudEvent;
use connect::Connection;

/// A channel on a NATS server with JetStream (2.9 or newer).
#[derive(Debug)]
pub struct Nats {
    settings: NatsSettings,
    tls: Option<rustls::ClientConfig>,
    publisher: Mutex<Option<Connection>>,
}

impl Nats {
    /// Prepares a channel; connects to nobody.
    ///
    /// # Errors
    /// `BadInput` or `NoCredentials` with the setting that cannot be used.
    pub fn new(settings: NatsSettings) -> Result<Self, EventError> {
        settings.check()?;
        let refuse = |message| EventError::new(crate::ErrorKind::NoCredentials, "tls", message);
        let tls = settings.tls.as_ref().map(|tls| tls.client_config().map_err(refuse)).transpose()?;
        Ok(Self { settings, tls, publisher: Mutex::new(None) })
    }
}

impl Broker for Nats {
    fn publish<'a>(&'a self, events: &'a [CloudEvent]) -> BoxFuture<'a, Result<(), EventError>> {
        self.publish_all(events).boxed()
    }

    fn receive(&self) -> BoxFuture<'_, Result<Box<dyn Receiver>, EventError>> {
        async { receive::begin(self).await.map(|receiver| Box::new(receiver) as Box<dyn Receiver>) }.boxed()
    }

    /// The server writes to its file before it acknowledges.
    fn is_durable(&self) -> bool {
        true
    }
}
