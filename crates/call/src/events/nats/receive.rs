//! Receiving: a durable pull consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::{self, AckKind};
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;

use super::Nats;
use super::binding::from_message;
use super::connect::Connection;
use crate::error::ErrorKind;
use crate::events::broker::{Plain, Received, Receiver, Token, broken};
use crate::events::error::EventError;
use crate::http::full;

/// Bytes that one request may bring; several of the largest messages where those are larger.
const MEMORY: usize = 64 << 20;
/// Messages that one request asks for.
const BATCH: usize = 512;
/// How long a request waits at the server, and how often it says that it still does.
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Receives from one consumer.
pub(super) struct NatsReceiver {
    connection: Connection,
    messages: pull::Stream,
    /// What was handed out before and not acknowledged, while there is some.
    earlier: Option<Earlier>,
    /// Where messages that are out are acknowledged.
    replies: BTreeMap<u64, Reply>,
    next: u64,
    failed: Option<EventError>,
    consumer: String,
    plain: Option<Plain>,
    place: String,
}

/// Reads again from the stream what was handed out before.
struct Earlier {
    consumer: Consumer<pull::Config>,
    /// Sequence of the last message that was handed out.
    last: u64,
}

/// Where a message is acknowledged.
enum Reply {
    /// The server says that it knows.
    Confirmed(Subject),
    /// Nothing is waited for: if the server does not listen, it sends the message once more after its `ack_wait`.
    Told(Subject),
}

/// Connects, sees to stream and consumer, and reads again what was not acknowledged.
pub(super) async fn begin(nats: &Nats) -> Result<NatsReceiver, EventError> {
    let connection = nats.connect().await?;
    let consumer = Box::pin(see_to_consumer(nats, &connection)).await?;
    let earlier = Box::pin(earlier(nats, &connection, &consumer)).await?;
    // More than one of the largest, with subject and headers, must fit; the server skips none.
    let bytes = MEMORY.max(connection.client.max_payload().saturating_mul(2));
    let messages = consumer
        .stream()
        .max_messages_per_batch(BATCH)
        .max_bytes_per_batch(bytes)
        .expires(EXPIRES)
        .heartbeat(HEARTBEAT)
        .messages();
    let messages = messages.await.map_err(|error| consumer_error(nats, &error))?;
    Ok(NatsReceiver {
        connection,
        messages,
        earlier,
        replies: BTreeMap::new(),
        next: 0,
        failed: None,
        consumer: nats.settings.consumer.clone(),
        plain: nats.settings.plain.clone(),
        place: nats.settings.place(),
    })
}

fn consumer_error(nats: &Nats, error: &dyn std::error::Error) -> EventError {
    let why = format!("consumer `{}` cannot be used: {}", nats.settings.consumer, full(error));
    nats.error(ErrorKind::Fault, why)
}

async fn see_to_consumer(nats: &Nats, connection: &Connection) -> Result<Consumer<pull::Config>, EventError> {
    let settings = &nats.settings;
    let config = pull::Config {
        durable_name: Some(settings.consumer.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: settings.ack_wait,
        max_ack_pending: i64::from(settings.max_ack_pending),
        filter_subject: settings.filter.clone().unwrap_or_default(),
        ..pull::Config::default()
    };
    // The same again changes nothing; what may change is changed, all else is an error of the server.
    let made = connection.stream.create_consumer(config).await;
    made.map_err(|error| consumer_error(nats, &error))
}

/// Prepares to read again, in the order of the stream, what the consumer handed out and nobody acknowledged. Between the
/// first and the last of these are others that were acknowledged; the log knows them.
async fn earlier(
    nats: &Nats,
    connection: &Connection,
    consumer: &Consumer<pull::Config>,
) -> Result<Option<Earlier>, EventError> {
    let info = consumer.cached_info();
    let (floor, last) = (info.ack_floor.stream_sequence, info.delivered.stream_sequence);
    if info.num_ack_pending == 0 || last <= floor {
        return Ok(None);
    }
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: floor + 1 },
        ack_policy: AckPolicy::None,
        filter_subject: nats.settings.filter.clone().unwrap_or_default(),
        inactive_threshold: Duration::from_secs(300),
        ..pull::Config::default()
    };
    let made = connection.stream.create_consumer(config).await;
    made.map(|consumer| Some(Earlier { consumer, last })).map_err(|error| consumer_error(nats, &error))
}

impl Earlier {
    /// The next of them; none at the end.
    async fn next(&self, max: usize) -> Result<(Vec<jetstream::Message>, bool), String> {
        let batch = self.consumer.fetch().max_messages(max.min(BATCH)).messages().await;
        let mut batch = batch.map_err(|error| full(&error))?;
        let mut found = vec![];
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().map_err(|error| error.to_string())?;
            let (sequence, pending) = (info.stream_sequence, info.pending);
            if sequence <= self.last {
                found.push(message);
            }
            if sequence >= self.last || pending == 0 {
                return Ok((found, true));
            }
        }
        let none = found.is_empty();
        Ok((found, none))
    }
}

impl NatsReceiver {
    /// A message as the bridge wants it.
    fn received(&mut self, message: jetstream::Message, earlier: bool) -> Received {
        let token = self.next;
        self.next += 1;
        let sequence = message.info().map_or(0, |info| info.stream_sequence);
        let stream = &self.connection.stream.cached_info().config.name;
        let content =
            from_message(&message.message, format!("nats {stream} {sequence}"), self.plain.as_ref());
        let reply = if earlier {
            // Another consumer read it; this is where ours is told (JetStream's wire format: deliveries, sequence in the
            // stream, sequence of the consumer, time, messages left; the server goes by the second).
            Some(Reply::Told(format!("$JS.ACK.{stream}.{}.1.{sequence}.0.0.0", self.consumer).into()))
        } else {
            message.message.reply.map(Reply::Confirmed)
        };
        self.replies.extend(reply.map(|reply| (token, reply)));
        Received { content, token: Token(token) }
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Received>, EventError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        while let Some(earlier) = &self.earlier {
            let (found, end) = earlier.next(max).await.map_err(|why| broken(&self.place, why))?;
            if end {
                self.earlier = None;
            }
            if !found.is_empty() {
                return Ok(found.into_iter().map(|message| self.received(message, true)).collect());
            }
        }
        let mut lost = self.connection.lost.clone();
        let first = tokio::select! {
            first = self.messages.next() => first,
            _ = lost.wait_for(|lost| *lost) => None,
        };
        let place = self.place.clone();
        let message = |found: Option<Result<jetstream::Message, _>>| match found {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(broken(&place, format!("the consumer failed: {}", full(&error)))),
            None => Err(broken(&place, "the connection was lost")),
        };
        let first: jetstream::Message = message(first)?;
        let mut batch = vec![self.received(first, false)];
        // What is here already comes along; tokio's budget of a task would end it early.
        while batch.len() < max {
            match unconstrained(self.messages.next()).now_or_never() {
                Some(Some(Ok(next))) => batch.push(self.received(next, false)),
                Some(failed) => {
                    // What is here goes to the log first.
                    self.failed = message(failed).err();
                    break;
                }
                None => break,
            }
        }
        Ok(batch)
    }

    /// Acknowledges, and waits for the server to say that it knows.
    async fn acknowledge_all(&mut self, tokens: Vec<Token>) -> Result<(), EventError> {
        let client = &self.connection.client;
        let mut all = vec![];
        for token in tokens {
            match self.replies.remove(&token.0) {
                Some(Reply::Confirmed(reply)) => all.push(client.request(reply, AckKind::Ack.into())),
                Some(Reply::Told(reply)) => {
                    let told = client.publish(reply, AckKind::Ack.into()).await;
                    told.map_err(|error| broken(&self.place, full(&error)))?;
                }
                None => {}
            }
        }
        let mut lost = self.connection.lost.clone();
        let told = tokio::select! {
            told = join_all(all) => told,
            _ = lost.wait_for(|lost| *lost) => return Err(broken(&self.place, "the connection was lost")),
        };
        for answer in told {
            answer.map_err(|error| {
                broken(&self.place, format!("an acknowledgement failed: {}", full(&error)))
            })?;
        }
        Ok(())
    }
}

impl Receiver for NatsReceiver {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Received>, EventError>> {
        self.next_batch(max).boxed()
    }

    fn acknowledge(&mut self, tokens: Vec<Token>) -> BoxFuture<'_, Result<(), EventError>> {
        self.acknowledge_all(tokens).boxed()
    }
}
