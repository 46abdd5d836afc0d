//! The whole, running: store, service loop, sites. What the binary starts and stops.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use jiff::Timestamp;
use sos_call::{Egress, Resolved, Trust};
use sos_model::Declared;
use sos_runtime::DriverError;
use sos_store::{ControllerLease, Durability, Options, Store, StoreError};
use tokio::sync::watch;

use crate::apply::{Applied, Applying, apply};
use crate::calls::{CallOptions, Calls, RunningCalls};
use crate::channels::{Channels, RunningChannels};
use crate::clock::{Speed, wall_now};
use crate::live::SiteState;
use crate::people::{self, Held};
use crate::relock;
use crate::rules::{Rules, RunningRules};
use crate::services::board::{Board, Orders};
use crate::services::{Drivers, Places, ServiceLoop, ServiceOrders, Stop};
use crate::site::model::SiteModel;
use crate::site::task::{Outcome, SiteError};
use crate::sites::{self, Running, Shared, SiteHandle};
use crate::waiting::LookingAfter;
use crate::watch::scrape::Own;
use crate::watch::{Retention, SiteNow, Watch, Watching};
use crate::workflow::{RunOptions, RunningRuns, Runs};

/// How the platform is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The folder of the manifests.
    pub base_dir: PathBuf,
    /// This very binary.
    pub own_binary: PathBuf,
    /// The owner that the folder's resources get.
    pub manager: String,
    /// How sites run.
    pub running: Running,
    /// Which addresses calls may reach beside those that services declare.
    pub egress: Egress,
    /// Where hosts are that workflows call, instead of asking the DNS.
    pub resolve: Vec<(String, Vec<Resolved>)>,
    /// Whose certificates workflows trust.
    pub trust: Trust,
}

/// Why the platform cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Services cannot be run.
    #[error("services cannot be run: {}", .0.full())]
    Driver(#[from] DriverError),
}

/// The running whole.
pub struct Platform {
    store: Store,
    drivers: Drivers,
    service_orders: ServiceOrders,
    board: watch::Receiver<Arc<Board>>,
    stop: watch::Sender<Stop>,
    services: Mutex<Option<tokio::task::JoinHandle<()>>>,
    sites: Mutex<BTreeMap<String, SiteHandle>>,
    watch: OnceLock<Watch>,
    rules: OnceLock<RunningRules>,
    calls: RunningCalls,
    runs: RunningRuns,
    _waiting: LookingAfter,
    channels: RunningChannels,
    refreshing: Mutex<()>,
    running: Running,
    shared: Shared,
    places: Places,
    changed: watch::Sender<u64>,
    people: watch::Sender<people::Orders>,
    _lease: ControllerLease,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Platform").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Platform {
    /// Opens the store, applies the folder, starts services and sites.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another controller has the data directory, [`StoreError::Conflict`] when a
    /// resource of the folder belongs to another owner.
    pub fn start(start: &Start, declared: &[Declared]) -> Result<(Self, Vec<Applied>), StartError> {
        // A replay in lock-step can be repeated; only there a power cut may take the last moments.
        let lockstep = start.running.speed == Some(Speed::LockStep);
        let durability = if lockstep { Durability::Normal } else { Durability::Full };
        let store = Store::open(&start.data_dir, Options { durability, ..Options::default() })?;
        let lease = store.lock_controller()?;
        let applied = apply(
            &store,
            declared,
            &Applying {
                manager: &start.manager,
                who: "sos up",
                why: None,
                force: false,
                dry_run: false,
                prune: true,
                now: wall_now(),
            },
        )?;
        let places = Places {
            own_binary: start.own_binary.clone(),
            data_dir: start.data_dir.clone(),
            base_dir: start.base_dir.clone(),
        };
        let (orders, orders_rx) = watch::channel(Orders { seed: start.running.seed, ..Orders::default() });
        let (board_tx, board) = watch::channel(Arc::new(Board::default()));
        let (stop, stop_rx) = watch::channel(Stop::No);
        let services = ServiceLoop::new(store.clone(), places.clone(), orders_rx, board_tx)?;
        let seed = start.running.seed;
        let options = CallOptions { egress: start.egress.clone(), seed };
        let calls = RunningCalls::start(&store, board.clone(), options);
        let channels = RunningChannels::start(&store, &start.data_dir, durability, seed)?;
        let options = RunOptions {
            base: start.base_dir.clone(),
            egress: start.egress.clone(),
            resolve: start.resolve.clone(),
            trust: start.trust.clone(),
        };
        let runs = RunningRuns::start(&store, &calls.calls, &channels.channels, options)?;
        let (people, people_rx) = watch::channel(people::read(&store)?);
        let shared = Shared {
            store: store.clone(),
            epoch: lease.epoch(),
            board: board.clone(),
            orders,
            people: people_rx,
            permits: runs.runs.permits().clone(),
        };
        let waiting = LookingAfter::start(&store, runs.runs.permits());
        let platform = Self {
            store,
            drivers: services.drivers(),
            service_orders: services.orders(),
            board,
            stop,
            services: Mutex::default(),
            sites: Mutex::default(),
            watch: OnceLock::new(),
            rules: OnceLock::new(),
            calls,
            runs,
            _waiting: waiting,
            channels,
            refreshing: Mutex::default(),
            running: start.running.clone(),
            shared,
            places,
            changed: watch::channel(0).0,
            people,
            _lease: lease,
        };
        platform.refresh_sites();
        *relock(&platform.services) = Some(tokio::spawn(services.run(stop_rx)));
        Ok((platform, applied))
    }

    /// Starts, restarts and ends sites so that they are as declared. Blocks until those that end have ended.
    pub fn refresh_sites(&self) {
        let _one_at_a_time = relock(&self.refreshing);
        match people::read(&self.store) {
            Ok(orders) => drop(self.people.send_replace(orders)),
            Err(error) => tracing::error!(%error, "the orders of people cannot be read"),
        }
        let prepared = match sites::prepare(&self.store) {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!(%error, "the declared sites cannot be read");
                return;
            }
        };
        for name in self.site_names().iter().filter(|name| !prepared.contains_key(*name)) {
            self.end_site(name);
        }
        for (name, site) in prepared {
            let problem = match site {
                Ok(site) => {
                    if relock(&self.sites).get(&name).is_some_and(|handle| handle.is(&site)) {
                        continue;
                    }
                    self.end_site(&name);
                    match sites::start(site, &self.running, &self.shared) {
                        Ok(handle) => {
                            relock(&self.sites).insert(name.clone(), handle);
                            None
                        }
                        Err(error) => Some(error.to_string()),
                    }
                }
                Err(problem) => Some(problem),
            };
            if let Some(problem) = &problem {
                tracing::error!(site = name, problem, "the site does not run");
            }
            if let Err(error) = sites::put_condition(&self.store, &name, problem.as_deref()) {
                tracing::error!(%error, "a condition cannot be written");
            }
        }
        self.changed.send_modify(|n| *n += 1);
    }

    /// Waits for a site's end without holding what readers of other sites need.
    fn end_site(&self, name: &str) {
        let ended = relock(&self.sites).remove(name).and_then(|mut handle| handle.stop());
        if let Some(Err(error)) = ended.map(sites::Stopping::join) {
            tracing::error!(site = name, %error, "the site ended with an error");
        }
        // What a site that is gone asked for holds no service down.
        self.shared.orders.send_if_modified(|orders| orders.outages.remove(name).is_some());
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Takes what people ask of rollouts.
    #[must_use]
    pub const fn service_orders(&self) -> &ServiceOrders {
        &self.service_orders
    }

    /// The drivers of services, for logs.
    #[must_use]
    pub const fn drivers(&self) -> &Drivers {
        &self.drivers
    }

    /// Services as they are.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.board.borrow().clone()
    }

    /// Where things are.
    #[must_use]
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// Names of the sites that run.
    #[must_use]
    pub fn site_names(&self) -> Vec<String> {
        relock(&self.sites).keys().cloned().collect()
    }

    /// The latest picture of a site.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<Arc<SiteState>> {
        let sites = relock(&self.sites);
        sites.get(name)?.live.borrow().clone()
    }

    /// A site as assembled.
    #[must_use]
    pub fn site_model(&self, name: &str) -> Option<Arc<SiteModel>> {
        let sites = relock(&self.sites);
        Some(Arc::clone(&sites.get(name)?.model))
    }

    /// Pictures of a site as they come.
    #[must_use]
    pub fn follow(&self, name: &str) -> Option<watch::Receiver<Option<Arc<SiteState>>>> {
        let sites = relock(&self.sites);
        Some(sites.get(name)?.live.clone())
    }

    /// Starts to watch: rules, notifications, metrics. Once, from within the runtime.
    ///
    /// # Errors
    /// What the store says.
    pub fn start_watching(
        self: &Arc<Self>,
        external_url: String,
        own: Own,
        retention: Retention,
    ) -> Result<(), StoreError> {
        let (sites, boards, holds) = (Arc::downgrade(self), Arc::downgrade(self), Arc::downgrade(self));
        let watching = Watching {
            external_url,
            own,
            boards: Arc::new(move || boards.upgrade().map(|platform| platform.board()).unwrap_or_default()),
            sites: Box::new(move || sites.upgrade()?.site_now()),
            holds: Box::new(move || holds.upgrade().map(|platform| platform.holds()).unwrap_or_default()),
            retention,
        };
        let watch = Watch::start(&self.store, watching)?;
        if self.watch.set(watch).is_err() {
            tracing::error!("watching was started twice");
        }
        Ok(())
    }

    /// Starts to follow rules: after watching, because they tell people. Once, from within the runtime.
    pub fn start_rules(self: &Arc<Self>) {
        if self.rules.set(RunningRules::start(self)).is_err() {
            tracing::error!("rules were started twice");
        }
    }

    /// The rules, once they were started.
    #[must_use]
    pub fn rules(&self) -> Option<&Rules> {
        Some(&self.rules.get()?.rules)
    }

    /// The latest time that all sites have reached.
    pub(crate) fn now_of_sites(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.site_now()?.now_ms).ok()
    }

    /// Calls of services.
    #[must_use]
    pub const fn calls(&self) -> &Calls {
        &self.calls.calls
    }

    /// Channels of events.
    #[must_use]
    pub const fn channels(&self) -> &Channels {
        &self.channels.channels
    }

    /// Runs of workflows.
    #[must_use]
    pub const fn runs(&self) -> &Runs {
        &self.runs.runs
    }

    /// What watches, once it was started.
    #[must_use]
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.get()
    }

    /// The time of a site now; in lock-step that of its latest tick. `None` for a site that does not run.
    #[must_use]
    pub fn site_time(&self, name: &str) -> Option<Timestamp> {
        let clock = self.shared.orders.borrow().clocks.get(name).copied()?;
        let sites = relock(&self.sites);
        let live = sites.get(name)?.live.borrow().clone();
        let reached = live.map_or(clock.site_epoch, |state| state.time);
        Some(match clock.speed {
            Speed::LockStep => reached,
            Speed::Factor(_) => clock.site_time(wall_now()).max(reached),
        })
    }

    /// The orders of people.
    #[must_use]
    pub fn people(&self) -> people::Orders {
        self.people.borrow().clone()
    }

    /// The holds that act now.
    fn holds(&self) -> Vec<Held> {
        let orders = self.people();
        let held = |order: &people::PersonsOrder| {
            let asset = order.spec.asset.to_string();
            let site = self.site_of(&asset).filter(|_| order.spec.is_hold())?;
            order.spec.acts_at(self.site_time(&site)?).then_some(())?;
            let until = self.shared.orders.borrow().clocks.get(&site)?.wall_time(order.spec.until);
            Some(Held { asset, until, who: order.who.clone(), reason: order.spec.reason.clone() })
        };
        orders.iter().filter_map(held).collect()
    }

    /// The running site that an asset belongs to.
    fn site_of(&self, asset: &str) -> Option<String> {
        let sites = relock(&self.sites);
        let has = |handle: &SiteHandle| handle.model.assets.iter().any(|one| one.name == asset);
        sites.iter().find(|(_, handle)| has(handle)).map(|(name, _)| name.clone())
    }

    /// The time that all sites have reached.
    fn site_now(&self) -> Option<SiteNow> {
        let states: Vec<_> = self.site_names().iter().filter_map(|name| self.site(name)).collect();
        let now = states.iter().map(|state| state.time).min()?;
        let tick = states.iter().map(|state| state.step.as_millis()).max()?;
        // A replay that can be repeated gives the same alerts each time, from its first tick on.
        let first = |state: &Arc<SiteState>| {
            let ticks = i32::try_from(state.tick).unwrap_or(i32::MAX);
            state.time.checked_sub(state.step.saturating_mul(ticks)).unwrap_or(state.time)
        };
        let lockstep = states.iter().all(|state| state.speed == Speed::LockStep);
        let began = if lockstep { states.iter().map(first).min()? } else { now };
        Some(SiteNow {
            now_ms: now.as_millisecond(),
            tick_ms: i64::try_from(tick).unwrap_or(i64::MAX).max(1),
            began_ms: began.as_millisecond(),
        })
    }

    /// Told when sites came or went.
    #[must_use]
    pub fn sites_changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether every site has ended by itself.
    #[must_use]
    pub fn all_ended(&self) -> bool {
        let sites = relock(&self.sites);
        !sites.is_empty() && sites.values().all(SiteHandle::has_ended)
    }

    /// Stops the sites and returns how each ended.
    pub fn stop_sites(&self) -> Vec<Result<Outcome, SiteError>> {
        let _no_refresh = relock(&self.refreshing);
        let stopping: Vec<_> = relock(&self.sites).values_mut().filter_map(SiteHandle::stop).collect();
        stopping.into_iter().map(sites::Stopping::join).collect()
    }

    /// Ends the service loop; with `Stop::Services` after the services have stopped.
    pub async fn stop_services(&self, how: Stop) {
        self.stop.send_replace(how);
        let services = relock(&self.services).take();
        if let Some(services) = services
            && let Err(error) = services.await
        {
            tracing::error!(%error, "the service loop ended abnormally");
        }
    }
}
