//! From a broker into the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, random};
use super::broker::{Content, Malformed, Received, Receiver, Token};
use super::channel::{Channel, message, short};
use super::error::EventError;
use super::log::{Appended, LogError, LogErrorKind, NewMessage};

/// How a bridge works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeSettings {
    /// Messages that are appended together at most.
    pub batch: usize,
    /// Waits between connections that fail, and while the log takes nothing.
    pub backoff: Backoff,
    /// How long it lasts from a connection to the next failure that counts as the first one again.
    pub calm: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for BridgeSettings {
    fn default() -> Self {
        Self { batch: 512, backoff: Backoff::default(), calm: Duration::from_secs(10), seed: 0 }
    }
}

/// What a bridge has done so far. Counts never go down.
#[derive(Debug, Default)]
pub struct BridgeMeasures {
    /// Messages that came from the broker.
    pub received: AtomicU64,
    /// Events that were stored.
    pub stored: AtomicU64,
    /// Events that were in the log already.
    pub duplicates: AtomicU64,
    /// Messages that are no events: dead letters now.
    pub malformed: AtomicU64,
    /// Connections that were made.
    pub connections: AtomicU64,
    /// Connections that failed or were lost.
    pub failures: AtomicU64,
    /// Times that a batch had to wait because the log was full or failed.
    pub waits: AtomicU64,
    /// Whether there is a connection.
    pub connected: AtomicBool,
}

/// Receives from the channel's broker and appends to its log until it is stopped. A lost connection is made again; what
/// the log does not take is held, and nothing more is read meanwhile. Nothing is acknowledged that is not in the log.
///
/// `trouble` is told every failure, for the log and the channel's status; it must not block.
pub async fn run(
    channel: &Channel,
    settings: &BridgeSettings,
    measures: &BridgeMeasures,
    trouble: &(dyn Fn(&EventError) + Send + Sync),
    stop: &CancellationToken,
) {
    let Some(broker) = channel.broker() else { return };
    let mut bridge = Bridge { channel, settings, measures, trouble, random: random(settings.seed) };
    let mut failures = 0;
    while !stop.is_cancelled() {
        let connecting = stop.run_until_cancelled(broker.receive()).await;
        let since = tokio::time::Instant::now();
        let error = match connecting {
            None => break,
            Some(Err(error)) => error,
            Some(Ok(receiver)) => {
                measures.connections.fetch_add(1, Relaxed);
                measures.connected.store(true, Relaxed);
                let ended = stop.run_until_cancelled(bridge.pump(receiver)).await;
                measures.connected.store(false, Relaxed);
                match ended {
                    None => break,
                    Some(error) => error,
                }
            }
        };
        measures.failures.fetch_add(1, Relaxed);
        trouble(&error.of(channel.name()));
        failures = if since.elapsed() >= settings.calm { 1 } else { failures + 1 };
        let wait = settings.backoff.wait(failures, &mut bridge.random);
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
    }
}

struct Bridge<'a> {
    channel: &'a Channel,
    settings: &'a BridgeSettings,
    measures: &'a BridgeMeasures,
    trouble: &'a (dyn Fn(&EventError) + Send + Sync),
    random: ChaCha8Rng,
}

impl Bridge<'_> {
    /// Moves messages until the connection is lost.
    async fn pump(&mut self, mut receiver: Box<dyn Receiver>) -> EventError {
        loop {
            let received = match receiver.next(self.settings.batch.max(1)).await {
                Ok(received) => received,
                Err(error) => return error,
            };
            self.measures.received.fetch_add(received.len() as u64, Relaxed);
            let tokens = self.store(received).await;
            if let Err(error) = receiver.acknowledge(tokens).await {
                return error;
            }
        }
    }

    /// Returns when all of it is in the log, whatever it takes.
    async fn store(&mut self, received: Vec<Received>) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(received.len());
        let mut messages = Vec::with_capacity(received.len());
        for Received { content, token } in received {
            tokens.push(token);
            match content {
                Content::Event(event) => {
                    let made = self.channel.check(&event).and_then(|()| message(&event, self.channel.now()));
                    match made {
                        Ok(message) => messages.push(message),
                        Err(error) => {
                            // A reader checks that it can be written; what one of another broker lets through is shown.
                            let raw = event.to_json().unwrap_or_else(|_| format!("{event:?}").into_bytes());
                            self.bury(short(event.dedupe_id()), raw, &error.to_string()).await;
                        }
                    }
                }
                Content::Malformed(Malformed { id, raw, reason }) => self.bury(short(id), raw, &reason).await,
            }
        }
        self.append(messages).await;
        tokens
    }

    async fn append(&mut self, mut messages: Vec<NewMessage>) {
        let mut failures = 0;
        let mut most = messages.len();
        while !messages.is_empty() {
            let part = messages[..most.min(messages.len())].to_vec();
            let count = part.len();
            match self.channel.append(part).await {
                Ok(appended) => {
                    self.count(&appended);
                    messages.drain(..count);
                    failures = 0;
                }
                Err(error) if error.kind == LogErrorKind::Invalid => {
                    let part = messages.drain(..count).collect();
                    self.one_by_one(part).await;
                }
                Err(error) => {
                    // There may be room for some of them, and a log may never have room for all of them.
                    if error.kind == LogErrorKind::Full {
                        most = (count / 2).max(1);
                    }
                    self.wait(&mut failures, &error).await;
                }
            }
        }
    }

    fn count(&self, appended: &Appended) {
        self.measures.stored.fetch_add(appended.stored as u64, Relaxed);
        self.measures.duplicates.fetch_add(appended.duplicates as u64, Relaxed);
    }

    /// Finds the messages that no log keeps among the others.
    async fn one_by_one(&mut self, messages: Vec<NewMessage>) {
        for message in messages {
            let mut failures = 0;
            loop {
                match self.channel.append(vec![message.clone()]).await {
                    Ok(appended) => {
                        self.count(&appended);
                        break;
                    }
                    Err(error) if error.kind == LogErrorKind::Invalid => {
                        self.bury(message.id.clone(), message.body.clone(), &error.message).await;
                        break;
                    }
                    Err(error) => self.wait(&mut failures, &error).await,
                }
            }
        }
    }

    /// Makes a dead letter. What is too large even for that is cut: it is lost to the consumer anyway, and the broker
    /// must not send it for ever.
    async fn bury(&mut self, id: String, mut raw: Vec<u8>, reason: &str) {
        self.measures.malformed.fetch_add(1, Relaxed);
        let mut failures = 0;
        loop {
            let letter =
                NewMessage { id: id.clone(), key: None, time: self.channel.now(), body: raw.clone() };
            match self.channel.dead(letter, reason.to_owned()).await {
                Ok(()) => return,
                Err(error) if error.kind == LogErrorKind::Invalid && !raw.is_empty() => {
                    raw.truncate(raw.len() / 2)
                }
                Err(error) => self.wait(&mut failures, &error).await,
            }
        }
    }

    async fn wait(&mut self, failures: &mut u32, error: &LogError) {
        *failures += 1;
        self.measures.waits.fetch_add(1, Relaxed);
        if *failures == 1 || error.kind != LogErrorKind::Full {
            let error = EventError::new(crate::ErrorKind::Overloaded, "", error.message.clone());
            (self.trouble)(&error.of(self.channel.name()));
        }
        // While it is full, consumers make room soon; what fails gets more time.
        let most = if error.kind == LogErrorKind::Full { 4 } else { u32::MAX };
        tokio::time::sleep(self.settings.backoff.wait((*failures).min(most), &mut self.random)).await;
    }
}
