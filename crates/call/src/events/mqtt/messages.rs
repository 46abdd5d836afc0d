//! Messages that are no CloudEvents, as they are: operations of AsyncAPI documents.

use mqtt_protocol_core::mqtt::Version;
use tokio::sync::Mutex;

use super::binding::{Incoming, Outgoing};
use super::receive::{self, MqttReceiver};
use super::{Mqtt, MqttChannelSettings, session};
use crate::events::broker::Token;
use crate::events::error::EventError;
use crate::http::Transport;
use crate::messages::Message;
use crate::mqtt::{Hello, farewell};

impl Mqtt {
    /// Prepares a channel that is reached as services are.
    ///
    /// # Errors
    /// `BadInput` with the setting that cannot be used.
    pub(crate) fn over(
        settings: MqttChannelSettings,
        transport: Transport,
        encrypted: bool,
    ) -> Result<Self, EventError> {
        settings.check()?;
        let known = std::sync::Arc::new(std::sync::Mutex::new(session::Known::new(settings.seed)));
        let via = Some((transport, encrypted));
        Ok(Self { settings, tls: None, via, publisher: Mutex::new(None), known })
    }

    /// Publishes a message and returns when the broker has it. 3.1.1 carries its payload only.
    pub(crate) async fn publish_message(&self, message: &Message, retain: bool) -> Result<(), EventError> {
        let made = |_: usize, version: Version| -> Result<Outgoing, EventError> {
            let plain = version == Version::V3_1_1;
            Ok(Outgoing {
                content_type: message.content_type.clone().filter(|_| !plain),
                properties: if plain { vec![] } else { message.headers.clone() },
                payload: message.payload.clone(),
                retain,
            })
        };
        self.publish_made(1, &made).await
    }

    /// Goes on with the session of this client, or begins it.
    pub(crate) async fn receive_messages(&self) -> Result<MessageReceiver, EventError> {
        Ok(MessageReceiver { receiver: receive::begin(self).await?, last: None })
    }

    /// Has the broker forget the session of this client.
    pub(crate) async fn forget(&self) -> Result<(), EventError> {
        let (client_id, login) = (self.settings.client_id.as_str(), self.settings.login.as_ref());
        let who = Hello { client_id, clean: true, session_expiry: 0, keep_alive: 0, login };
        let (mut link, _) = self.connect(&who, None).await?;
        if let Ok(packet) = farewell(link.version()) {
            // It is forgotten with the connection, whatever becomes of the farewell.
            let _said = link.send(packet).await;
        }
        Ok(())
    }
}

/// Receives messages. Dropping it leaves the session to the broker.
pub(crate) struct MessageReceiver {
    receiver: MqttReceiver,
    last: Option<Token>,
}

impl MessageReceiver {
    /// The next message; whoever asks for it has the one before.
    pub(crate) async fn next(&mut self) -> Result<Message, EventError> {
        if let Some(last) = self.last.take() {
            self.receiver.acknowledge_all(vec![last]).await?;
        }
        let (incoming, token) = self.receiver.next_incoming().await?;
        self.last = Some(token);
        Ok(message(incoming))
    }
}

fn message(incoming: Incoming) -> Message {
    Message {
        payload: incoming.payload,
        content_type: incoming.content_type,
        headers: incoming.properties,
        correlation: Some(incoming.correlation).filter(|text| !text.is_empty()),
        position: None,
    }
}
