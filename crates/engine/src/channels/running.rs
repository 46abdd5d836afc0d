//! One channel, with its bridge where a broker carries its events.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use sos_call::ErrorKind;
use sos_call::events::{
    Backoff, BridgeMeasures, BridgeSettings, Channel, CloudEvent, EventError, Settlement, Start, bridge,
};
use sos_model::{ChannelSpec, ChannelTransport};
use sos_store::ChannelStatistics;
use tokio_util::sync::CancellationToken;

use super::{ChannelState, Placed, StoreLog, Told};
use crate::calls::duration;
use crate::clock::wall_now;
use crate::relock;

/// A point of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The oldest event that is kept.
    Earliest,
    /// The next one that comes.
    Latest,
    /// This position.
    At(u64),
    /// The first one stored at this time or later.
    Time(Timestamp),
}

/// What a bridge has done so far. Counts never go down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelMeasures {
    /// Connections made.
    pub connections: u64,
    /// Messages received.
    pub received: u64,
    /// Messages that are no events.
    pub malformed: u64,
    /// Events received again.
    pub duplicates: u64,
    /// Connections that failed or were lost.
    pub failures: u64,
}

/// One channel.
pub(super) struct Running {
    pub(super) spec: ChannelSpec,
    channel: Channel,
    publishes: bool,
    problem: Arc<Mutex<Option<String>>>,
    bridge: Option<Arc<BridgeMeasures>>,
    stop: CancellationToken,
    random: Mutex<ChaCha8Rng>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Running {
    /// Starts the bridge, where there is a broker.
    pub(super) fn start(spec: ChannelSpec, channel: Channel, publishes: bool, seed: u64) -> Self {
        let problem: Arc<Mutex<Option<String>>> = Arc::default();
        let stop = CancellationToken::new();
        let bridge = (!matches!(spec.over, ChannelTransport::Embedded(_))).then(|| {
            let measures = Arc::new(BridgeMeasures::default());
            let (channel, stop, told, seen) =
                (channel.clone(), stop.clone(), Arc::clone(&problem), Arc::clone(&measures));
            tokio::spawn(async move {
                let settings = BridgeSettings { seed, ..BridgeSettings::default() };
                let trouble = move |error: &EventError| {
                    tracing::warn!(
                        channel = error.channel,
                        error = error.to_string(),
                        "events do not come through"
                    );
                    *relock(&told) = Some(error.clone().of("").to_string());
                };
                bridge::run(&channel, &settings, &seen, &trouble, &stop).await;
            });
            measures
        });
        let random = Mutex::new(ChaCha8Rng::seed_from_u64(seed));
        Self { spec, channel, publishes, problem, bridge, stop, random }
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn state(&self, name: &str, log: Option<ChannelStatistics>) -> ChannelState {
        let connected = self.bridge.as_ref().is_none_or(|bridge| bridge.connected.load(Relaxed));
        // What was wrong before a connection is no news while it holds.
        let problem = if connected { None } else { relock(&self.problem).clone() };
        let over = match self.spec.over {
            ChannelTransport::Embedded(_) => "embedded",
            ChannelTransport::Nats(_) => "nats",
            ChannelTransport::Mqtt(_) => "mqtt",
        };
        let bridge = self.bridge.as_ref().map(|bridge| ChannelMeasures {
            connections: bridge.connections.load(Relaxed),
            received: bridge.received.load(Relaxed),
            malformed: bridge.malformed.load(Relaxed),
            duplicates: bridge.duplicates.load(Relaxed),
            failures: bridge.failures.load(Relaxed),
        });
        ChannelState { name: name.to_owned(), over, connected, problem, log, bridge }
    }

    pub(super) async fn publish(&self, events: &[CloudEvent]) -> Result<(), EventError> {
        if !self.publishes {
            let message = "this channel only hears: declare publishTopic or publishSubject to publish";
            return Err(EventError::new(ErrorKind::BadInput, "", message).of(self.channel.name()));
        }
        self.channel.publish(events).await
    }

    /// A point as a position.
    pub(super) async fn position(&self, log: &StoreLog, point: Position) -> Result<u64, EventError> {
        match point {
            Position::Earliest => Ok(0),
            Position::At(position) => Ok(position),
            Position::Time(time) => self.channel.position_at(time).await,
            Position::Latest => {
                let bounds = log.0.bounds(self.channel.name());
                bounds.map(|bounds| bounds.next).map_err(|error| self.failed(error.to_string()))
            }
        }
    }

    fn failed(&self, message: String) -> EventError {
        EventError::new(ErrorKind::Overloaded, "", message).of(self.channel.name())
    }

    pub(super) async fn read(&self, from: u64, limit: usize) -> Result<Vec<Placed>, EventError> {
        let stored = self.channel.replay(from, limit).await?;
        let placed = stored.into_iter().map(|one| placed(one.position, 0, &one.message.body));
        Ok(placed.collect())
    }

    pub(super) async fn take(&self, group: &str, max: usize) -> Result<Vec<Placed>, EventError> {
        let taken = self.channel.take(group, max, duration(self.spec.delivery.lease)).await?;
        let placed = taken.into_iter().map(|one| placed(one.position, one.attempt, &one.message.body));
        Ok(placed.collect())
    }

    /// How long until something of a group becomes due by time alone.
    pub(super) async fn next_due(&self, log: &StoreLog, group: &str) -> Result<Option<Duration>, EventError> {
        let due =
            log.0.next_due(self.channel.name(), group).map_err(|error| self.failed(error.to_string()))?;
        let now = wall_now();
        Ok(due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default()))
    }

    /// What a consumer tells, as the log takes it: an event that failed too often is put aside.
    pub(super) fn settlement(&self, position: u64, told: Told) -> Settlement {
        let delivery = &self.spec.delivery;
        match told {
            Told::Done => Settlement::Done,
            Told::Dead { reason } => Settlement::Dead { reason },
            Told::Failed { attempt, reason } if attempt >= delivery.max_attempts => {
                tracing::warn!(
                    channel = self.channel.name(),
                    position,
                    attempt,
                    reason,
                    "an event is put aside"
                );
                Settlement::Dead { reason: format!("failed {attempt} times, at last: {reason}") }
            }
            Told::Failed { attempt, .. } => {
                let backoff = Backoff {
                    first: duration(delivery.initial_backoff),
                    longest: duration(delivery.max_backoff),
                };
                Settlement::Retry { after: backoff.wait(attempt, &mut relock(&self.random)) }
            }
        }
    }

    pub(super) async fn settle(
        &self,
        group: &str,
        settled: Vec<(u64, Settlement)>,
    ) -> Result<(), EventError> {
        self.channel.settle(group, settled).await
    }

    pub(super) async fn seek(&self, group: &str, to: Start) -> Result<(), EventError> {
        self.channel.seek(group, to).await
    }
}

/// An event as it is told; a body that is no JSON as text.
fn placed(position: u64, attempt: u32, body: &[u8]) -> Placed {
    let event = serde_json::from_slice(body)
        .unwrap_or_else(|_| serde_json::Value::String(String::from_utf8_lossy(body).into_owned()));
    Placed { position, attempt, event }
}
