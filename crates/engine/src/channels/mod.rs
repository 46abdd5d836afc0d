//! Channels: events over the embedded log and brokers, for the command line, the API, rules and workflows.
//!
//! - `log.rs`: the store's channels as the log that `sos_call` needs.
//! - `broker.rs`: a manifest → the broker it names.
//! - `running.rs`: one channel with its bridge.
//! - `keeper.rs`: keeps the channels as declared, and their logs within their limits.

mod broker;
mod keeper;
mod log;
mod running;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use sos_call::ErrorKind;
use sos_call::events::{CloudEvent, EventError, Settlement, Start};
use sos_model::{did_you_mean, known_list};
use sos_store::{self as log_store, ChannelOptions, ChannelStatistics, GroupStatistics, Lag};
use sos_store::{Durability, Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use log::StoreLog;
use running::Running;
pub use running::{ChannelMeasures, Position};

/// All declared channels. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Channels(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    log: StoreLog,
    running: RwLock<BTreeMap<String, Arc<Running>>>,
    /// Whether what is declared was looked at.
    loaded: watch::Sender<bool>,
    seed: u64,
}

/// A channel as it is.
#[derive(Clone, Debug)]
pub struct ChannelState {
    /// Its name.
    pub name: String,
    /// `embedded`, `nats` or `mqtt`.
    pub over: &'static str,
    /// Whether the broker is connected; always for an embedded one.
    pub connected: bool,
    /// What was last wrong, while it is.
    pub problem: Option<String>,
    /// Figures of its log.
    pub log: Option<ChannelStatistics>,
    /// Figures of its bridge.
    pub bridge: Option<ChannelMeasures>,
}

/// An event with its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Position in the channel.
    pub position: u64,
    /// How often it has been handed out to the group that took it; 0 when nobody took it.
    pub attempt: u32,
    /// The event in JSON.
    pub event: serde_json::Value,
}

/// What a consumer says of an event that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is dealt with.
    Done,
    /// It failed, and comes again as the channel declares.
    Failed {
        /// Which attempt failed, 1 or more.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// It can never be dealt with.
    Dead {
        /// Why.
        reason: String,
    },
}

/// The channels, kept up to date until they are dropped.
#[derive(Debug)]
pub struct RunningChannels {
    /// For whoever publishes or hears.
    pub channels: Channels,
    keeper: JoinHandle<()>,
}

impl RunningChannels {
    /// Opens the logs and follows what is declared, on the runtime of the caller.
    ///
    /// # Errors
    /// What the store says.
    pub fn start(
        store: &Store,
        data_dir: &Path,
        durability: Durability,
        seed: u64,
    ) -> Result<Self, StoreError> {
        let log =
            log_store::Channels::open(data_dir, ChannelOptions { durability, ..ChannelOptions::default() })?;
        let inner = Inner {
            store: store.clone(),
            log: StoreLog(log),
            running: RwLock::default(),
            loaded: watch::Sender::new(false),
            seed,
        };
        let channels = Channels(Arc::new(inner));
        let keeper = tokio::spawn(keeper::keep(channels.clone()));
        Ok(Self { channels, keeper })
    }
}

impl Drop for RunningChannels {
    fn drop(&mut self) {
        self.keeper.abort();
        for running in self.channels.running().values() {
            running.stop();
        }
    }
}

impl Channels {
    fn running(&self) -> BTreeMap<String, Arc<Running>> {
        self.0.running.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// A channel; while the server starts, what is declared is looked at first.
    async fn one(&self, name: &str) -> Result<Arc<Running>, EventError> {
        let mut loaded = self.0.loaded.subscribe();
        // The sender is held here, so there is nothing to fail.
        drop(loaded.wait_for(|loaded| *loaded).await);
        let running = self.running();
        running.get(name).cloned().ok_or_else(|| {
            let names = || running.keys().map(String::as_str);
            let hint = did_you_mean(name, names());
            let message = format!("there is no channel \"{name}\"; {hint}{}", known_list(names()));
            EventError::new(ErrorKind::BadInput, NO_CHANNEL, message)
        })
    }

    /// The runs that are kept beside the logs.
    pub(crate) fn runs(&self) -> sos_store::Runs {
        self.0.log.0.runs()
    }

    /// The position that the next event of a channel gets.
    ///
    /// # Errors
    /// That there is no such channel, or what its log says.
    pub(crate) async fn next(&self, name: &str) -> Result<u64, String> {
        let running = self.one(name).await.map_err(|error| error.to_string())?;
        running.position(&self.0.log, Position::Latest).await.map_err(|error| error.to_string())
    }

    /// All declared channels, by name.
    #[must_use]
    pub fn states(&self) -> Vec<ChannelState> {
        let logs = self.0.log.0.statistics().unwrap_or_default();
        let log = |name: &str| logs.iter().find(|one| one.channel == name).cloned();
        self.running().iter().map(|(name, running)| running.state(name, log(name))).collect()
    }

    /// Publishes all events or none; durable when it returns.
    ///
    /// # Errors
    /// Those of [`sos_call::events::Channel::publish`]; `BadInput` for data that the channel's schema refuses.
    pub async fn publish(&self, name: &str, events: &[CloudEvent]) -> Result<(), EventError> {
        self.one(name).await?.publish(events).await
    }

    /// Events from a point on, and where to go on; waits for the first one.
    ///
    /// # Errors
    /// `BadInput` for a channel that is not there, `Overloaded` when the log fails.
    pub async fn events(
        &self,
        name: &str,
        from: Position,
        limit: usize,
        wait: Duration,
    ) -> Result<(Vec<Placed>, u64), EventError> {
        let running = self.one(name).await?;
        let until = Instant::now() + wait;
        let from = running.position(&self.0.log, from).await?;
        loop {
            let mut arrivals = self.0.log.0.watch(name);
            let events = running.read(from, limit).await?;
            if !events.is_empty() || Instant::now() >= until {
                let next = events.last().map_or(from, |last| last.position + 1);
                return Ok((events, next));
            }
            let _over = tokio::time::timeout_at(until, arrivals.changed()).await;
        }
    }

    /// Takes events for a group; waits for the first one. A group that is not there begins at the earliest event.
    ///
    /// # Errors
    /// As [`Channels::events`].
    pub async fn take(
        &self,
        name: &str,
        group: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Placed>, EventError> {
        let running = self.one(name).await?;
        let until = Instant::now() + wait;
        loop {
            let mut arrivals = self.0.log.0.watch(name);
            let events = running.take(group, max).await?;
            if !events.is_empty() || Instant::now() >= until {
                return Ok(events);
            }
            // What becomes due by time alone wakes nobody.
            let due = running.next_due(&self.0.log, group).await?;
            let look = due.map_or(until, |due| until.min(Instant::now() + due));
            let _over = tokio::time::timeout_at(look, arrivals.changed()).await;
        }
    }

    /// Settles events that were taken.
    ///
    /// # Errors
    /// As [`Channels::events`].
    pub async fn settle(&self, name: &str, group: &str, told: Vec<(u64, Told)>) -> Result<(), EventError> {
        let running = self.one(name).await?;
        let settlements: Vec<(u64, Settlement)> =
            told.into_iter().map(|(position, told)| (position, running.settlement(position, told))).collect();
        running.settle(group, settlements).await
    }

    /// How far a group is behind. Blocks.
    ///
    /// # Errors
    /// As [`Channels::events`].
    pub fn lag(&self, name: &str, group: &str) -> Result<Lag, EventError> {
        let lag = self.0.log.0.lag(name, group);
        lag.map_err(|error| EventError::new(ErrorKind::Overloaded, "", error.to_string()).of(name))
    }

    /// Makes a group, or moves it, and tells how it stands.
    ///
    /// # Errors
    /// As [`Channels::events`].
    pub async fn seek(
        &self,
        name: &str,
        group: &str,
        to: Start,
    ) -> Result<Option<GroupStatistics>, EventError> {
        self.one(name).await?.seek(group, to).await?;
        let states = self.states();
        let log = states.into_iter().find(|state| state.name == name).and_then(|state| state.log);
        Ok(log.and_then(|log| log.groups.into_iter().find(|one| one.group == group)))
    }

    /// Forgets a group.
    ///
    /// # Errors
    /// As [`Channels::events`]; `BadInput` when there is none.
    pub async fn forget(&self, name: &str, group: &str) -> Result<(), EventError> {
        self.one(name).await?;
        let (channel, group) = (name.to_owned(), group.to_owned());
        self.managed(name, move |log| log.delete_group(&channel, &group).map(drop)).await
    }

    /// Events that were put aside, the newest first.
    ///
    /// # Errors
    /// As [`Channels::events`].
    pub async fn dead_letters(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<log_store::DeadLetter>, EventError> {
        self.one(name).await?;
        let channel = name.to_owned();
        self.managed(name, move |log| {
            let mut letters = log.dead_letters(&channel, 0, usize::MAX)?;
            letters.reverse();
            letters.truncate(limit);
            Ok(letters)
        })
        .await
    }

    /// Brings dead letters back, or throws them away; tells how many. No ids: all.
    ///
    /// # Errors
    /// As [`Channels::events`].
    pub async fn redrive(&self, name: &str, ids: Vec<u64>, discard: bool) -> Result<usize, EventError> {
        self.one(name).await?;
        let channel = name.to_owned();
        self.managed(name, move |log| {
            let ids = if ids.is_empty() {
                log.dead_letters(&channel, 0, usize::MAX)?.iter().map(|letter| letter.id).collect()
            } else {
                ids
            };
            if discard { log.drop_dead(&channel, &ids) } else { log.redrive(&channel, &ids) }
        })
        .await
    }

    /// Runs what blocks on a thread for that.
    async fn managed<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&log_store::Channels) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, EventError> {
        let log = self.0.log.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&log)).await;
        let told = |kind, message: String| EventError::new(kind, "", message).of(name);
        done.map_err(|error| told(ErrorKind::Overloaded, error.to_string()))?.map_err(|error| {
            let kind = match error {
                StoreError::NotFound { .. } | StoreError::Invalid { .. } => ErrorKind::BadInput,
                _ => ErrorKind::Overloaded,
            };
            told(kind, error.to_string())
        })
    }
}

/// The place of an error that says that a channel is not there.
pub const NO_CHANNEL: &str = "channel";
