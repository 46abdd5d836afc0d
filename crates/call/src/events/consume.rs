//! The loop that hands events to those who deal with them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, random};
use super::channel::Channel;
use super::error::EventError;
use super::event::CloudEvent;
use super::log::{Delivery, Settlement};

/// Deals with events.
pub trait Handler: Send + Sync {
    /// Deals with one event. `attempt` counts from 1. It must end within the time of [`ConsumeOptions`]; then it is
    /// dropped.
    ///
    /// # Errors
    /// When the event is not dealt with.
    fn handle(&self, event: CloudEvent, attempt: u32) -> BoxFuture<'_, Result<(), NotHandled>>;
}

/// Why an event was not dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHandled {
    /// For people; the reason of the dead letter.
    pub reason: String,
    /// Whether it is of no use to try again.
    pub permanent: bool,
}

/// How a group consumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// Group; every group sees every event.
    pub group: String,
    /// Events in hand at once.
    pub concurrency: usize,
    /// How often an event is tried before it becomes a dead letter.
    pub max_attempts: u32,
    /// Waits between the tries of an event.
    pub backoff: Backoff,
    /// Time for one event; what takes longer is tried again.
    pub limit: Duration,
    /// How often the log is looked at for what other processes appended, and for repeats that are due.
    pub poll: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl ConsumeOptions {
    /// A group that tries each event five times.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            concurrency: 16,
            max_attempts: 5,
            backoff: Backoff::default(),
            limit: Duration::from_secs(60),
            poll: Duration::from_millis(250),
            seed: 0,
        }
    }
}

/// What a group has done so far. Counts never go down.
#[derive(Debug, Default)]
pub struct ConsumeMeasures {
    /// Events that were dealt with.
    pub done: AtomicU64,
    /// Tries that failed and come again.
    pub retried: AtomicU64,
    /// Events that were given up.
    pub dead: AtomicU64,
    /// Calls of the log that failed.
    pub failures: AtomicU64,
}

impl Channel {
    /// Hands every event of the channel to a handler until it is stopped: those of one key one after the other, up to
    /// `concurrency` at once. One that fails is tried again after a while, the later ones of its key after it; one that
    /// fails too often, or is no event, becomes a dead letter. When it is stopped, those in hand are ended first.
    ///
    /// An event is handed over again only when this process or the log fails between the handler's end and its
    /// settlement, or the handler takes longer than its time.
    ///
    /// `trouble` is told when the log fails; it must not block.
    pub async fn consume(
        &self,
        handler: Arc<dyn Handler>,
        options: &ConsumeOptions,
        measures: &ConsumeMeasures,
        trouble: &(dyn Fn(&EventError) + Send + Sync),
        stop: &CancellationToken,
    ) {
        let hands = JoinSet::new();
        let random = random(options.seed);
        let mut consumer = Consumer {
            channel: self,
            handler,
            options,
            measures,
            trouble,
            stop,
            random,
            hands,
            settled: vec![],
            failures: 0,
        };
        consumer.run().await;
    }
}

struct Consumer<'a> {
    channel: &'a Channel,
    handler: Arc<dyn Handler>,
    options: &'a ConsumeOptions,
    measures: &'a ConsumeMeasures,
    trouble: &'a (dyn Fn(&EventError) + Send + Sync),
    stop: &'a CancellationToken,
    random: ChaCha8Rng,
    hands: JoinSet<(u64, u32, Result<(), NotHandled>)>,
    /// What is not told to the log yet; at most what was in hand.
    settled: Vec<(u64, Settlement)>,
    failures: u32,
}

impl Consumer<'_> {
    async fn run(&mut self) {
        let (channel, stop) = (self.channel, self.stop);
        while !stop.is_cancelled() {
            // Listens before it looks, so that nothing is appended unheard.
            let mut appended = pin!(channel.appended());
            appended.as_mut().enable();
            self.take().await;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.hands.join_next(), if !self.hands.is_empty() => {
                    self.ended(ended.ok());
                    // More may have ended meanwhile; they are settled together.
                    while let Some(ended) = self.hands.try_join_next() {
                        self.ended(ended.ok());
                    }
                    self.settle().await;
                }
                () = appended => {}
                () = tokio::time::sleep(self.options.poll) => {}
            }
        }
        while let Some(ended) = self.hands.join_next().await {
            self.ended(ended.ok());
        }
        self.settle().await;
    }

    /// Takes what there is room for.
    async fn take(&mut self) {
        if !self.settled.is_empty() {
            self.settle().await;
        }
        // What could not be settled takes room too, so that it stays bounded.
        let taken = self.hands.len() + self.settled.len();
        let room = self.options.concurrency.max(1).saturating_sub(taken);
        if room == 0 {
            return;
        }
        // Longer than a handler may take, so that nobody else gets the event while it is in hand.
        let lease = self.options.limit.saturating_mul(2).saturating_add(Duration::from_secs(5));
        match self.channel.take(&self.options.group, room, lease).await {
            Ok(deliveries) => {
                self.failures = 0;
                for delivery in deliveries {
                    self.hand_over(delivery);
                }
            }
            Err(error) => self.trouble_with_log(&error).await,
        }
    }

    fn hand_over(&mut self, delivery: Delivery) {
        let Delivery { position, attempt, message } = delivery;
        let event = match CloudEvent::from_json(&message.body) {
            Ok(event) => event,
            Err(error) => {
                self.give_up(position, format!("no event: {error}"));
                return;
            }
        };
        let (handler, limit) = (Arc::clone(&self.handler), self.options.limit);
        let max_attempts = self.options.max_attempts.max(1);
        if attempt > max_attempts {
            // It was handed over before and nothing was heard of it: it may be what ends this process.
            self.give_up(position, format!("handed over {} times without an end", attempt - 1));
            return;
        }
        self.hands.spawn(async move {
            // In a task of its own, so that a panic is an end like others.
            let work = tokio::spawn(async move {
                let handled = handler.handle(event, attempt);
                tokio::time::timeout(limit, handled).await.unwrap_or_else(|_| {
                    let reason = format!("not dealt with within {} s", limit.as_secs_f64());
                    Err(NotHandled { reason, permanent: false })
                })
            });
            let panicked =
                |_| Err(NotHandled { reason: "the handler panicked".to_owned(), permanent: false });
            (position, attempt, work.await.unwrap_or_else(panicked))
        });
    }

    fn ended(&mut self, ended: Option<(u64, u32, Result<(), NotHandled>)>) {
        // The outer task cannot panic, and nobody cancels it.
        let Some((position, attempt, result)) = ended else { return };
        match result {
            Ok(()) => {
                self.measures.done.fetch_add(1, Relaxed);
                self.settled.push((position, Settlement::Done));
            }
            Err(error) if error.permanent || attempt >= self.options.max_attempts => {
                self.give_up(position, error.reason);
            }
            Err(_) => {
                self.measures.retried.fetch_add(1, Relaxed);
                let after = self.options.backoff.wait(attempt, &mut self.random);
                self.settled.push((position, Settlement::Retry { after }));
            }
        }
    }

    fn give_up(&mut self, position: u64, reason: String) {
        self.measures.dead.fetch_add(1, Relaxed);
        self.settled.push((position, Settlement::Dead { reason }));
    }

    /// Tells the log what has ended. What it does not take now is told again later.
    async fn settle(&mut self) {
        let group = &self.options.group;
        let settled = std::mem::take(&mut self.settled);
        if settled.is_empty() || self.channel.settle(group, settled.clone()).await.is_ok() {
            self.failures = 0;
            return;
        }
        // A log that takes no more dead letters must not hold up the others.
        let (dead, mut left): (Vec<_>, Vec<_>) =
            settled.into_iter().partition(|(_, what)| matches!(what, Settlement::Dead { .. }));
        let mut trouble = None;
        if !left.is_empty() {
            match self.channel.settle(group, left.clone()).await {
                Ok(()) => left.clear(),
                Err(error) => trouble = Some(error),
            }
        }
        for letter in dead {
            if let Err(error) = self.channel.settle(group, vec![letter.clone()]).await {
                left.push(letter);
                trouble = Some(error);
            }
        }
        self.settled = left;
        if let Some(error) = trouble {
            self.trouble_with_log(&error).await;
        }
    }

    async fn trouble_with_log(&mut self, error: &EventError) {
        self.failures = self.failures.saturating_add(1);
        self.measures.failures.fetch_add(1, Relaxed);
        (self.trouble)(error);
        let wait = self.options.backoff.wait(self.failures, &mut self.random);
        let _slept = self.stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}
