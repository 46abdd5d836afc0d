//! Publishing: many messages under way, acknowledged in order.

use std::collections::VecDeque;

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;

use super::Nats;
use super::binding::to_message;
use super::connect::Connection;
use crate::error::ErrorKind;
use crate::events::error::EventError;
use crate::events::event::CloudEvent;
use crate::http::full;

impl Nats {
    /// Publishes on the connection that there is, or on a new one.
    pub(super) async fn publish_all(&self, events: &[CloudEvent]) -> Result<(), EventError> {
        let mut messages = Vec::with_capacity(events.len());
        for (at, event) in events.iter().enumerate() {
            let made =
                to_message(event, self.settings.mode).map_err(|error| error.within(&format!("/{at}")))?;
            messages.push(made);
        }
        let mut kept = self.publisher.lock().await;
        // Taken out: who drops this call leaves no connection behind that has half of it under way.
        let connection = match kept.take().filter(|connection| !*connection.lost.borrow()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let result = self.send(&connection, messages).await;
        let usable = match &result {
            Ok(()) => true,
            Err(error) => matches!(error.kind, ErrorKind::TooLarge | ErrorKind::BadInput),
        };
        if usable {
            *kept = Some(connection);
        }
        result
    }

    async fn send(
        &self,
        connection: &Connection,
        messages: Vec<(async_nats::HeaderMap, Vec<u8>)>,
    ) -> Result<(), EventError> {
        let mut outstanding: VecDeque<(usize, PublishAckFuture)> = VecDeque::new();
        for (at, (headers, payload)) in messages.into_iter().enumerate() {
            while outstanding.len() >= self.settings.outstanding {
                self.acknowledged(outstanding.pop_front()).await?;
            }
            let message = PublishMessage::build().payload(payload.into()).headers(headers);
            let message = message.expected_stream(&self.settings.stream.name);
            let sent = connection.jetstream.send_publish(self.settings.subject.clone(), message).await;
            match sent {
                Ok(sent) => outstanding.push_back((at, sent)),
                Err(error) => {
                    // What is before it is well under way and must not be lost sight of.
                    while let Some(next) = outstanding.pop_front() {
                        self.acknowledged(Some(next)).await?;
                    }
                    return Err(self.publish_error(at, &error));
                }
            }
        }
        while let Some(next) = outstanding.pop_front() {
            self.acknowledged(Some(next)).await?;
        }
        Ok(())
    }

    async fn acknowledged(&self, next: Option<(usize, PublishAckFuture)>) -> Result<(), EventError> {
        let Some((at, acknowledgement)) = next else { return Ok(()) };
        acknowledgement.await.map(drop).map_err(|error| self.publish_error(at, &error))
    }

    fn publish_error(&self, at: usize, error: &PublishError) -> EventError {
        let why = full(error);
        // The server's own words, as its codes for a full stream differ from version to version.
        let full_stream = ["maximum", "exceeded", "insufficient"].iter().any(|word| why.contains(word));
        let refused = std::error::Error::source(error).is_some_and(|cause| cause.is::<jetstream::Error>());
        let kind = match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => ErrorKind::TooLarge,
            PublishErrorKind::StreamNotFound => ErrorKind::Fault,
            PublishErrorKind::TimedOut => ErrorKind::TimedOut,
            PublishErrorKind::BrokenPipe => ErrorKind::Broken,
            _ if why.contains("message size exceeds") => ErrorKind::TooLarge,
            _ if full_stream => ErrorKind::Overloaded,
            PublishErrorKind::Other if !refused => ErrorKind::Broken,
            _ => ErrorKind::Fault,
        };
        let mut message = format!("event {at} was not taken: {why}");
        if error.kind() == PublishErrorKind::StreamNotFound {
            message = format!("no stream keeps subject `{}`", self.settings.subject);
        }
        self.error(kind, message)
    }
}
