//! A channel: a name, a log, and perhaps a broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::Digest as _;
use tokio::sync::Notify;

use super::arrivals::Arrivals;
use super::broker::Broker;
use super::error::EventError;
use super::event::CloudEvent;
use super::log::{
    Appended, DeadLetter, Delivery, Lag, Log, LogError, LogErrorKind, LogResult, NewMessage, Settlement,
    Start, Stored,
};
use super::schema::Schema;
use crate::error::ErrorKind;

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Bytes of ids and keys that a log keeps as they are.
const LOG_TEXT: usize = 1024;

/// When an event counts as published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirm {
    /// When the broker says so.
    #[default]
    Broker,
    /// When it has come back and is in the log of this machine; needs a [`bridge`](super::bridge) of the same channel
    /// that runs in this process and receives what is published. For brokers that may lose what they acknowledged when
    /// they are killed, as MQTT brokers may.
    Log {
        /// How long it may take after the broker has it; `TimedOut` then.
        within: Duration,
    },
}

/// What a channel is made of.
pub struct ChannelParts {
    /// Its name.
    pub name: String,
    /// Where its events are published and received; `None` for the log alone.
    pub broker: Option<Arc<dyn Broker>>,
    /// Where its events are kept.
    pub log: Arc<dyn Log>,
    /// Tells what time it is.
    pub clock: Clock,
    /// When an event counts as published.
    pub confirm: Confirm,
}

/// A channel. Cheap to clone; clones are the same channel.
#[derive(Clone)]
pub struct Channel {
    parts: Arc<ChannelParts>,
    shared: Arc<Shared>,
    schema: Option<Arc<Schema>>,
}

#[derive(Debug, Default)]
struct Shared {
    arrivals: Arrivals,
    appended: Notify,
}

impl Channel {
    /// A channel of these parts.
    #[must_use]
    pub fn new(parts: ChannelParts) -> Self {
        Self { parts: Arc::new(parts), shared: Arc::default(), schema: None }
    }

    /// The same channel for events whose data fit a schema. Others are refused from those who publish here, and become
    /// dead letters when they come from the broker.
    #[must_use]
    pub fn with_schema(self, schema: Schema) -> Self {
        Self { schema: Some(Arc::new(schema)), ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Publishes in this order and returns when all are durable: in the log, or at the broker (see [`Confirm`]). After an
    /// error some may be; the same events again do no harm.
    ///
    /// # Errors
    /// `BadInput` with the place of the event (`/3/id`), `Overloaded` while consumers are too far behind, and what
    /// [`Broker::publish`] says.
    pub async fn publish(&self, events: &[CloudEvent]) -> Result<(), EventError> {
        self.published(events).await.map_err(|error| error.of(self.name()))
    }

    async fn published(&self, events: &[CloudEvent]) -> Result<(), EventError> {
        if events.is_empty() {
            return Ok(());
        }
        let place = |at: usize| move |error: EventError| error.within(&format!("/{at}"));
        for (at, event) in events.iter().enumerate() {
            self.check(event).map_err(place(at))?;
        }
        let Some(broker) = &self.parts.broker else {
            let now = self.now();
            let made = events.iter().enumerate().map(|(at, event)| message(event, now).map_err(place(at)));
            return self.append(made.collect::<Result<_, _>>()?).await.map(drop).map_err(told);
        };
        for (at, event) in events.iter().enumerate() {
            event.check().map_err(place(at))?;
        }
        let Confirm::Log { within } = self.parts.confirm else { return broker.publish(events).await };
        let ids = events.iter().map(|event| short(event.dedupe_id())).collect();
        let mut expected = self.shared.arrivals.expect(ids);
        broker.publish(events).await?;
        tokio::time::timeout(within, expected.wait()).await.map_err(|_| {
            let message = format!(
                "the broker has taken it, and it did not come back within {} s",
                within.as_secs_f64()
            );
            EventError::new(ErrorKind::TimedOut, "", message)
        })
    }

    /// Hands messages to a group for the time of the lease; see [`Log::take`].
    ///
    /// # Errors
    /// `Overloaded` when the log fails.
    pub async fn take(&self, group: &str, max: usize, lease: Duration) -> Result<Vec<Delivery>, EventError> {
        let (group, now) = (group.to_owned(), self.now());
        self.told(self.blocking(move |log, channel| log.take(channel, &group, max, now, lease)).await)
    }

    /// Settles what was taken; see [`Log::settle`].
    ///
    /// # Errors
    /// `Overloaded` when the log fails.
    pub async fn settle(&self, group: &str, settlements: Vec<(u64, Settlement)>) -> Result<(), EventError> {
        let (group, now) = (group.to_owned(), self.now());
        self.told(self.blocking(move |log, channel| log.settle(channel, &group, &settlements, now)).await)
    }

    /// What is kept from a position on, at most `max` messages; changes nothing for any group.
    ///
    /// # Errors
    /// `Overloaded` when the log fails.
    pub async fn replay(&self, from: u64, max: usize) -> Result<Vec<Stored>, EventError> {
        self.told(self.blocking(move |log, channel| log.read(channel, from, max)).await)
    }

    /// Position of the first message that was appended at a time or later, or the next one that will be.
    ///
    /// # Errors
    /// `Overloaded` when the log fails.
    pub async fn position_at(&self, time: Timestamp) -> Result<u64, EventError> {
        self.told(self.blocking(move |log, channel| log.position_at(channel, time)).await)
    }

    /// Lets a group go on elsewhere, also back: what it has settled is handed to it again.
    ///
    /// # Errors
    /// `Overloaded` when the log fails.
    pub async fn seek(&self, group: &str, start: Start) -> Result<(), EventError> {
        let group = group.to_owned();
        let sought = self.blocking(move |log, channel| log.seek(channel, &group, start)).await;
        self.shared.appended.notify_waiters();
        self.told(sought)
    }

    /// How far a group is behind.
    ///
    /// # Errors
    /// `Overloaded` when the log fails.
    pub async fn lag(&self, group: &str) -> Result<Lag, EventError> {
        let group = group.to_owned();
        self.told(self.blocking(move |log, channel| log.lag(channel, &group)).await)
    }

    /// What was given up, with numbers above `after`.
    ///
    /// # Errors
    /// `Overloaded` when the log fails.
    pub async fn dead_letters(&self, after: u64, max: usize) -> Result<Vec<DeadLetter>, EventError> {
        self.told(self.blocking(move |log, channel| log.dead_letters(channel, after, max)).await)
    }

    /// Whether an event's data fit the channel's schema.
    pub(super) fn check(&self, event: &CloudEvent) -> Result<(), EventError> {
        self.schema.as_ref().map_or(Ok(()), |schema| schema.check(event))
    }

    pub(super) fn broker(&self) -> Option<&Arc<dyn Broker>> {
        self.parts.broker.as_ref()
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.parts.clock)()
    }

    /// Ends when something is appended in this process, once it listens.
    pub(super) fn appended(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.appended.notified()
    }

    /// Appends and tells those who wait for it.
    pub(super) async fn append(&self, messages: Vec<NewMessage>) -> LogResult<Appended> {
        let now = self.now();
        let waiting: Vec<String> = match self.parts.confirm {
            Confirm::Log { .. } => messages.iter().map(|message| message.id.clone()).collect(),
            Confirm::Broker => vec![],
        };
        let appended = self.blocking(move |log, channel| log.append(channel, &messages, now)).await?;
        self.shared.arrivals.tell(waiting.iter().map(String::as_str));
        self.shared.appended.notify_waiters();
        Ok(appended)
    }

    pub(super) async fn dead(&self, raw: NewMessage, reason: String) -> LogResult<()> {
        let now = self.now();
        self.blocking(move |log, channel| log.dead(channel, &raw, &reason, now)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Log, &str) -> LogResult<T> + Send + 'static,
    ) -> LogResult<T> {
        let parts = Arc::clone(&self.parts);
        let done = tokio::task::spawn_blocking(move || call(&*parts.log, &parts.name)).await;
        done.unwrap_or_else(|error| {
            Err(LogError::new(LogErrorKind::Failed, format!("the log failed: {error}")))
        })
    }

    fn told<T>(&self, result: LogResult<T>) -> Result<T, EventError> {
        result.map_err(|error| told(error).of(self.name()))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.parts.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for ChannelParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelParts")
            .field("name", &self.name)
            .field("confirm", &self.confirm)
            .finish_non_exhaustive()
    }
}

fn told(error: LogError) -> EventError {
    let kind = match error.kind {
        LogErrorKind::Full | LogErrorKind::Failed => ErrorKind::Overloaded,
        LogErrorKind::Invalid => ErrorKind::BadInput,
    };
    EventError::new(kind, "", error.message)
}

/// What the log keeps of an event.
pub(super) fn message(event: &CloudEvent, now: Timestamp) -> Result<NewMessage, EventError> {
    let body = event.to_json()?;
    let key = event.key().map(short);
    Ok(NewMessage { id: short(event.dedupe_id()), key, time: event.time.unwrap_or(now), body })
}

/// An id or a key as a log keeps it: a long one by its hash.
pub(super) fn short(text: String) -> String {
    if text.len() <= LOG_TEXT {
        return text;
    }
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_kept_by_their_hash() {
        let event = CloudEvent::new("x".repeat(5000), "/s", "t").about("y".repeat(2000));
        let kept = message(&event, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((kept.id.len(), kept.key.map(|key| key.len())), (71, Some(71)));
        assert_eq!(short("short".to_owned()), "short");
    }
}
