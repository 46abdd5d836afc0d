//! The embedded channel passes the suite that all channels must pass.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use sos_call::events::conformance::{Live, Load, Subject, conformance};
use sos_call::events::{
    Appended, Backoff, BridgeSettings, Channel, ChannelParts, Confirm, DeadLetter, Delivery, Lag, Log,
    LogError, LogErrorKind, LogResult, NewMessage, Settlement, Start, Stored,
};
use sos_engine::channels::StoreLog;
use sos_engine::clock::wall_now;
use sos_store::{ChannelLimits, ChannelOptions, Channels, Durability};

/// The log of the store, which is closed in the middle of everything and opened again.
#[derive(Default)]
struct Reopened(RwLock<Option<StoreLog>>);

impl Reopened {
    fn with<T>(&self, work: impl FnOnce(&StoreLog) -> LogResult<T>) -> LogResult<T> {
        let gone = || LogError::new(LogErrorKind::Failed, "the log is closed");
        self.0.read().unwrap().as_ref().ok_or_else(gone).and_then(work)
    }
}

impl Log for Reopened {
    fn append(&self, channel: &str, messages: &[NewMessage], now: Timestamp) -> LogResult<Appended> {
        self.with(|log| log.append(channel, messages, now))
    }
    fn dead(&self, channel: &str, raw: &NewMessage, reason: &str, now: Timestamp) -> LogResult<()> {
        self.with(|log| log.dead(channel, raw, reason, now))
    }
    fn read(&self, channel: &str, from: u64, max: usize) -> LogResult<Vec<Stored>> {
        self.with(|log| log.read(channel, from, max))
    }
    fn position_at(&self, channel: &str, time: Timestamp) -> LogResult<u64> {
        self.with(|log| log.position_at(channel, time))
    }
    fn take(
        &self,
        channel: &str,
        group: &str,
        max: usize,
        now: Timestamp,
        lease: Duration,
    ) -> LogResult<Vec<Delivery>> {
        self.with(|log| log.take(channel, group, max, now, lease))
    }
    fn settle(
        &self,
        channel: &str,
        group: &str,
        settlements: &[(u64, Settlement)],
        now: Timestamp,
    ) -> LogResult<()> {
        self.with(|log| log.settle(channel, group, settlements, now))
    }
    fn lag(&self, channel: &str, group: &str) -> LogResult<Lag> {
        self.with(|log| log.lag(channel, group))
    }
    fn seek(&self, channel: &str, group: &str, start: Start) -> LogResult<()> {
        self.with(|log| log.seek(channel, group, start))
    }
    fn dead_letters(&self, channel: &str, after: u64, max: usize) -> LogResult<Vec<DeadLetter>> {
        self.with(|log| log.dead_letters(channel, after, max))
    }
}

struct Embedded {
    folder: PathBuf,
    log: Arc<Reopened>,
    count: AtomicU64,
}

impl Embedded {
    fn open(&self) -> Result<(), String> {
        let options = ChannelOptions { durability: Durability::Full, ..ChannelOptions::default() };
        let channels = Channels::open(&self.folder, options).map_err(|error| error.to_string())?;
        *self.log.0.write().unwrap() = Some(StoreLog(channels));
        Ok(())
    }
}

impl Subject for Embedded {
    fn fresh(&self, backlog: u64) -> BoxFuture<'_, Result<Live, String>> {
        async move {
            let name = format!("c{}", self.count.fetch_add(1, SeqCst));
            let limits = ChannelLimits {
                max_backlog: backlog,
                dedupe_window: Duration::from_secs(3600),
                ..ChannelLimits::default()
            };
            if self.log.0.read().unwrap().is_none() {
                self.open()?;
            }
            let log = self.log.0.read().unwrap().clone().ok_or("the log is closed")?;
            log.0.configure(&name, limits).map_err(|error| error.to_string())?;
            let parts = ChannelParts {
                name,
                broker: None,
                log: Arc::clone(&self.log) as Arc<dyn Log>,
                clock: Arc::new(wall_now),
                confirm: Confirm::Broker,
            };
            let backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(200) };
            Ok(Live::start(Channel::new(parts), BridgeSettings { backoff, ..BridgeSettings::default() }))
        }
        .boxed()
    }

    fn malformed<'a>(&'a self, live: &'a Live, raw: &'a [u8]) -> BoxFuture<'a, Result<(), String>> {
        let message =
            NewMessage { id: format!("raw {}", raw.len()), key: None, time: wall_now(), body: raw.to_vec() };
        let appended = self.log.append(live.channel.name(), &[message], wall_now());
        async move { appended.map(drop).map_err(|error| error.to_string()) }.boxed()
    }

    fn cut(&self) -> BoxFuture<'_, Result<(), String>> {
        async move {
            self.kill().await?;
            self.revive().await
        }
        .boxed()
    }

    fn kill(&self) -> BoxFuture<'_, Result<(), String>> {
        drop(self.log.0.write().unwrap().take());
        async { Ok(()) }.boxed()
    }

    fn revive(&self) -> BoxFuture<'_, Result<(), String>> {
        async { self.open() }.boxed()
    }
}

async fn judged(load: &Load) {
    let folder = tempfile::tempdir().unwrap();
    let subject =
        Embedded { folder: folder.path().to_owned(), log: Arc::default(), count: AtomicU64::new(0) };
    let report = Box::pin(conformance(&subject, load)).await.unwrap_or_else(|why| panic!("{why}"));
    println!("{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_channel_conforms() {
    judged(&Load { messages: 10_000, ..Load::SMOKE }).await;
}

#[ignore = "slow: 100,000 events"]
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_channel_conforms_under_load() {
    judged(&Load::FULL).await;
}
