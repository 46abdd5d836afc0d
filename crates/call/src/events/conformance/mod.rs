//! What every channel must do, whatever carries its events, in one place.
//!
//! A [`Subject`] gives channels and can disturb what lies behind them. The suite knows no broker: it publishes, consumes and
//! looks into the log.

mod business;
mod checks;
mod disturbed;
mod proxy;
mod publisher;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use proxy::Proxy;

use super::bridge::{self, BridgeMeasures, BridgeSettings};
use super::channel::Channel;
use super::consume::{ConsumeMeasures, ConsumeOptions, Handler};
use super::{Backoff, EventError};
use business::Business;

/// Something that channels can be made on.
pub trait Subject: Send + Sync {
    /// A channel without events, bridged where it has a broker. Its log keeps at most about `backlog` messages that a
    /// group has not settled.
    fn fresh(&self, backlog: u64) -> BoxFuture<'_, Result<Live, String>>;

    /// Puts bytes that are no event to where the events of a channel come from.
    fn malformed<'a>(&'a self, live: &'a Live, raw: &'a [u8]) -> BoxFuture<'a, Result<(), String>>;

    /// Cuts every connection that there is now; new ones can be made at once.
    fn cut(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Ends what lies behind the channels without a warning, as SIGKILL does.
    fn kill(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Starts it again with what it had stored.
    fn revive(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// A channel at work. Its bridge ends when it is dropped.
#[derive(Debug)]
pub struct Live {
    /// The channel.
    pub channel: Channel,
    /// What its bridge has done.
    pub measures: Arc<BridgeMeasures>,
    stop: CancellationToken,
    bridge: JoinHandle<()>,
}

impl Live {
    /// Bridges a channel.
    #[must_use]
    pub fn start(channel: Channel, settings: BridgeSettings) -> Self {
        let (stop, measures) = (CancellationToken::new(), Arc::new(BridgeMeasures::default()));
        let (bridged, stopped, counted) = (channel.clone(), stop.clone(), Arc::clone(&measures));
        let bridge = tokio::spawn(async move {
            bridge::run(&bridged, &settings, &counted, &tell, &stopped).await;
        });
        Self { channel, measures, stop, bridge }
    }

    /// Ends the bridge and waits for its end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // It cannot panic but by a mistake, which a test wants to see.
        let _ended = (&mut self.bridge).await;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn tell(error: &EventError) {
    tracing::debug!(%error, "trouble");
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Events that go through while things are killed and cut.
    pub messages: u64,
    /// How often something is killed or connections are cut meanwhile, in turns.
    pub disturbances: u64,
    /// Events that are published together.
    pub batch: usize,
    /// How long one check may wait for one thing.
    pub patience: Duration,
}

impl Load {
    /// Enough to see that it works.
    pub const SMOKE: Self =
        Self { messages: 2_000, disturbances: 2, batch: 100, patience: Duration::from_secs(60) };
    /// What is asked of a channel.
    pub const FULL: Self =
        Self { messages: 100_000, disturbances: 12, batch: 500, patience: Duration::from_secs(600) };
}

/// What was seen while things were killed and cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Events that were published and handed over once each.
    pub messages: u64,
    /// How long it took, outages included.
    pub took: Duration,
    /// Tries of publishing that failed.
    pub failed_publishes: u64,
    /// Events that came more than once and were recognised.
    pub duplicates: u64,
    /// Connections that the bridge made.
    pub connections: u64,
}

/// Checks everything that a channel promises.
///
/// # Errors
/// The first promise that is not kept.
pub async fn conformance(subject: &dyn Subject, load: &Load) -> Result<Report, String> {
    let suite = Suite { subject, load };
    suite.check("everything arrives once, in order for each key", suite.everything_arrives()).await?;
    suite.check("an event that is published twice arrives once", suite.twice_is_once()).await?;
    suite
        .check("who fails is tried again, then given up, and others go on", suite.failures_are_repeated())
        .await?;
    suite
        .check("a slow consumer holds events back and loses none", suite.slow_consumers_lose_nothing())
        .await?;
    suite.check("what was consumed can be had again", suite.replay()).await?;
    suite.check("lag rises and falls", suite.lag_rises_and_falls()).await?;
    suite.check("what is no event becomes a dead letter", suite.malformed_messages_stop_nothing()).await?;
    suite.check("kills and cuts lose nothing and repeat nothing", suite.disturbances_lose_nothing()).await
}

struct Suite<'a> {
    subject: &'a dyn Subject,
    load: &'a Load,
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn told(error: EventError) -> String {
    error.to_string()
}

impl Suite<'_> {
    async fn check<T>(
        &self,
        what: &str,
        check: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        Box::pin(check).await.map_err(|why| format!("{what}: {why}"))
    }

    async fn fresh(&self) -> Result<Live, String> {
        self.subject.fresh(1_000_000).await
    }

    /// Waits until something holds. `now` says what is seen, and whether it is that.
    async fn until<F: Future<Output = Result<(bool, String), String>>>(
        &self,
        what: &str,
        now: impl Fn() -> F,
    ) -> Result<(), String> {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        let mut seen = String::new();
        let wait = async {
            loop {
                looks.tick().await;
                let (holds, found) = now().await?;
                if holds {
                    return Ok(());
                }
                seen = found;
            }
        };
        let waited = tokio::time::timeout(self.load.patience, wait).await;
        waited.unwrap_or_else(|_| Err(format!("waited in vain for {what}; {seen}")))
    }

    /// Waits until a group has so many events left.
    async fn lag(&self, live: &Live, group: &str, messages: u64) -> Result<(), String> {
        self.until(&format!("{messages} events to be left"), async || {
            let lag = live.channel.lag(group).await.map_err(told)?.messages;
            Ok((lag == messages, format!("{lag} are left")))
        })
        .await
    }

    /// Waits until the business has had so many events.
    async fn had(&self, business: &Business, events: usize) -> Result<(), String> {
        let waited = tokio::time::timeout(self.load.patience, business.had(events)).await;
        waited.map_err(|_| format!("waited in vain for {events} events; {} came", business.count()))
    }
}

/// A group that consumes until it is stopped.
struct Consumer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Consumer {
    fn start(live: &Live, group: &str, handler: Arc<dyn Handler>) -> Self {
        let (stop, channel) = (CancellationToken::new(), live.channel.clone());
        let stopped = stop.clone();
        let backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(100) };
        let options = ConsumeOptions {
            concurrency: 64,
            max_attempts: 3,
            backoff,
            poll: Duration::from_millis(20),
            ..ConsumeOptions::new(group)
        };
        let task = tokio::spawn(async move {
            let measures = ConsumeMeasures::default();
            channel.consume(handler, &options, &measures, &tell, &stopped).await;
        });
        Self { stop, task }
    }

    /// Ends it when what it has in hand is settled.
    async fn stop(self) -> Result<(), String> {
        self.stop.cancel();
        self.task.await.map_err(|error| format!("the consumer failed: {error}"))
    }
}
