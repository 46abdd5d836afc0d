//! Watching: rules over all series, alerts, and who is told of them.
//!
//! A thread evaluates the groups of rules, each on its time, and decides who is told; what it finds is stored in one
//! transaction: samples, states, notifications. The outbox delivers what is stored, each notifier on its own.
//!
//! - `config.rs`: resources → rules and routes, with their problems.
//! - `rules.rs`: when a group is due, and one evaluation.
//! - `watcher.rs`: the thread: evaluate → decide → store.
//! - `holds.rs`: assets on hold → silences.
//! - `outbox.rs`: stored notifications → receivers; `send.rs` one delivery.
//! - `scrape.rs`: services and `sos` itself → metrics.

pub mod config;
mod holds;
pub mod outbox;
mod rules;
pub mod scrape;
mod send;
mod upkeep;
mod watcher;

use std::sync::{Arc, OnceLock, Weak};

use sos_store::{Store, StoreError};
use sos_watch::alerts::Notification;
use tokio::task::JoinHandle;

pub use rules::{RunningGroup, SiteNow};
pub use upkeep::Retention;
pub use watcher::{AlarmError, Holds, News, SiteClocks, Tell, WatchView, Watcher};

use outbox::Outbox;
use scrape::{Boards, Own, Scraper};

/// How watching is started.
pub struct Watching {
    /// The address at which people reach this place, for links.
    pub external_url: String,
    /// The measures of `sos`.
    pub own: Own,
    /// The services as they are.
    pub boards: Boards,
    /// The time of the sites.
    pub sites: SiteClocks,
    /// The assets that are on hold.
    pub holds: Holds,
    /// How long metrics are kept.
    pub retention: Retention,
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching").field("external_url", &self.external_url).finish_non_exhaustive()
    }
}

/// Everything that watches, running.
#[derive(Debug)]
pub struct Watch {
    /// Rules and alerts.
    pub watcher: Arc<Watcher>,
    /// Who is told.
    pub outbox: Arc<Outbox>,
    /// Where metrics come from.
    pub scraper: Scraper,
    upkeep: JoinHandle<()>,
    store: Store,
}

impl Watch {
    /// Starts it on the runtime of the caller.
    ///
    /// # Errors
    /// What the store says.
    pub fn start(store: &Store, how: Watching) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Handle::current();
        // The outbox asks the watcher, and the watcher tells the outbox.
        let seen: Arc<OnceLock<Weak<Watcher>>> = Arc::default();
        let last = Arc::clone(&seen);
        let evaluated = move || last.get()?.upgrade()?.view().evaluated_at;
        let outbox = Outbox::new(store.clone(), how.external_url.clone(), Arc::new(evaluated), runtime);
        let outbox = Arc::new(outbox);
        let told = Arc::clone(&outbox);
        let tell = Box::new(move |news: News<'_>| match news {
            News::Declared(config) => told.configure(&config.notifiers),
            News::Waiting(names) => told.wake(names),
        });
        let watcher = Arc::new(Watcher::start(store, how.external_url, how.sites, how.holds, tell)?);
        // Set once, here.
        let _ = seen.set(Arc::downgrade(&watcher));
        let scraper = Scraper::start(store, how.boards, how.own);
        let upkeep = tokio::spawn(upkeep::keep(store.clone(), how.retention));
        Ok(Self { watcher, outbox, scraper, upkeep, store: store.clone() })
    }

    /// Has somebody told of something that no alert is about.
    ///
    /// # Errors
    /// What the store says.
    pub fn tell(&self, notification: &Notification) -> Result<(), StoreError> {
        self.store.commit(|tx| outbox::put(tx, notification))?;
        self.outbox.wake(std::slice::from_ref(&notification.notifier));
        Ok(())
    }

    /// Ends it after a last look at the rules; what waits to be delivered goes out after the next start.
    pub fn stop(&self) {
        self.scraper.stop();
        self.watcher.stop();
        self.outbox.stop();
        self.upkeep.abort();
        if let Err(error) = self.store.shrink(u32::MAX >> 1) {
            tracing::warn!(%error, "pages that hold nothing stay in the store");
        }
    }
}
