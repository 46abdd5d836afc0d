//! The sites of a store: assembled, run in threads of their own, started anew when their declaration changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sos_model::{Declared, Kind, ServiceSpec, Spec};
use sos_store::{Store, StoreError};
use tokio::sync::watch;

use crate::clock::{SiteClock, Speed, wall_now};
use crate::faults::Faults;
use crate::live::SiteState;
use crate::people;
use crate::permits::Permits;
use crate::resources::{Ready, put_ready};
use crate::services::board::{Board, Orders};
use crate::site::links::Ticked;
use crate::site::model::{SiteModel, assemble};
use crate::site::orders::kept_orders;
use crate::site::task::{Outcome, SiteError, SiteTask};
use crate::site::work::WorkBook;

/// How sites run.
#[derive(Clone, Debug)]
pub struct Running {
    /// How fast site time passes; `None` goes on as before, or in real time.
    pub speed: Option<Speed>,
    /// Where a site begins; `None`: at the first row of what it replays, else now.
    pub from: Option<Timestamp>,
    /// Where all sites stop.
    pub until: Option<Timestamp>,
    /// Seed of random choices.
    pub seed: u64,
    /// Injected outages.
    pub faults: Faults,
    /// When the program started.
    pub started: Instant,
}

/// What every site shares.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The store.
    pub store: Store,
    /// Number of this controller.
    pub epoch: u64,
    /// Services as they are.
    pub board: watch::Receiver<Arc<Board>>,
    /// What is asked of the services.
    pub orders: watch::Sender<Orders>,
    /// What people order.
    pub people: watch::Receiver<people::Orders>,
    /// What runs of workflows ask for.
    pub permits: Permits,
}

/// A site that runs.
#[derive(Debug)]
pub struct SiteHandle {
    /// What it was assembled from; another one means another run.
    declared: String,
    /// The site.
    pub model: Arc<SiteModel>,
    /// Its picture.
    pub live: watch::Receiver<Option<Arc<SiteState>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<Outcome, SiteError>>>,
}

impl SiteHandle {
    /// Whether its loop has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks its loop to stop; the answer waits for that, so that no lock need be held meanwhile.
    pub fn stop(&mut self) -> Option<Stopping> {
        self.stop.send_replace(true);
        self.thread.take().map(|thread| Stopping { site: self.model.name.clone(), thread })
    }
}

/// A site whose loop was asked to stop.
#[derive(Debug)]
pub struct Stopping {
    site: String,
    thread: JoinHandle<Result<Outcome, SiteError>>,
}

impl Stopping {
    /// Waits for the end of the loop and returns how it ended.
    ///
    /// # Errors
    /// Why the loop failed.
    pub fn join(self) -> Result<Outcome, SiteError> {
        let abnormal = |_| Err(SiteError::Setup { site: self.site, why: "its loop ended abnormally".into() });
        self.thread.join().unwrap_or_else(abnormal)
    }
}

/// A site that can be run, before it is.
#[derive(Debug)]
pub struct Prepared {
    /// The site.
    pub model: Arc<SiteModel>,
    /// Its jobs.
    pub work: WorkBook,
    /// Services of simulated devices with a clock.
    pub ticked: Vec<Ticked>,
    declared: String,
}

/// Assembles every site of a store; a site that cannot run is told with the reason.
///
/// # Errors
/// What the store says.
pub fn prepare(store: &Store) -> Result<BTreeMap<String, Result<Prepared, String>>, StoreError> {
    Ok(prepare_declared(&crate::apply::declared(store)?))
}

/// When each site runs, where that is known beforehand: from its first row or what is asked for, to its end.
#[must_use]
pub fn periods(declared: &[Declared], running: &Running) -> BTreeMap<String, sos_model::Period> {
    let period = |(name, site): (String, Result<Prepared, String>)| {
        let replay = site.ok()?.model.replay;
        let from = running.from.or(replay.map(|(from, _)| from))?;
        Some((name, (from, until(running, replay))))
    };
    prepare_declared(declared).into_iter().filter_map(period).collect()
}

/// Where a site stops: what is asked for, or the end of what it replays when that comes first.
fn until(running: &Running, replay: Option<(Timestamp, Timestamp)>) -> Option<Timestamp> {
    let end = replay.map(|(_, until)| until);
    running.until.into_iter().chain(end).min()
}

/// Problems of the period that is asked for, before anything is started.
#[must_use]
pub fn check_period(declared: &[Declared], running: &Running) -> Vec<String> {
    let Some(until) = running.until else { return Vec::new() };
    let problem = |(name, site): (String, Result<Prepared, String>)| {
        let model = site.ok()?.model;
        let from = running.from.or(model.replay.map(|(from, _)| from))?;
        let shown = |time| crate::time_text(time, &model.zone);
        (until <= from).then(|| {
            format!("--until {} is not after {}, where site {name} begins", shown(until), shown(from))
        })
    };
    prepare_declared(declared).into_iter().filter_map(problem).collect()
}

fn prepare_declared(declared: &[Declared]) -> BTreeMap<String, Result<Prepared, String>> {
    let (signals, failed) = crate::folder::load_signals(declared);
    let mut prepared = BTreeMap::new();
    for one in declared {
        let Some(spec) = one.site() else { continue };
        let assets = declared.iter().filter_map(|d| Some((d.name.to_string(), d.asset()?.clone()))).collect();
        let services: BTreeMap<String, ServiceSpec> =
            declared.iter().filter_map(|d| Some((d.name.to_string(), d.service()?.clone()))).collect();
        let name = one.name.to_string();
        let model = assemble(&name, spec, &assets, &signals).map_err(|error| {
            let problems = failed.values().flatten().map(ToString::to_string).collect::<Vec<_>>();
            std::iter::once(error.to_string()).chain(problems).collect::<Vec<_>>().join("; ")
        });
        let site = model.map(|model| {
            let mut work = WorkBook::default();
            work.declare(&name, &services);
            let ticked = clocks_of(&name, &services);
            let declared = fingerprint(declared, &ticked);
            Prepared { model: Arc::new(model), work, ticked, declared }
        });
        prepared.insert(name, site);
    }
    prepared
}

fn clocks_of(site: &str, services: &BTreeMap<String, ServiceSpec>) -> Vec<Ticked> {
    let of = |(name, service): (&String, &ServiceSpec)| {
        let clock =
            service.clock.as_ref().filter(|clock| clock.site.as_str() == site && service.batch.is_none())?;
        Some(Ticked { service: name.clone(), port: clock.port.as_ref()?.to_string() })
    };
    services.iter().filter_map(of).collect()
}

/// What a site's run depends on, as text: replicas of services, secrets and whoever watches do not count.
fn fingerprint(declared: &[Declared], ticked: &[Ticked]) -> String {
    let parts: Vec<String> = declared
        .iter()
        .filter(|one| match &one.spec {
            Spec::Service(service) => service.batch.is_some() || service.slowdown.is_some(),
            Spec::Secret(_)
            | Spec::AlertRule(_)
            | Spec::Notifier(_)
            | Spec::Channel(_)
            | Spec::Machine(_)
            | Spec::Override(_)
            | Spec::Workflow(_)
            | Spec::Rule(_) => false,
            Spec::Site(_) | Spec::Asset(_) | Spec::Signal(_) => true,
        })
        .map(|one| one.to_json().to_string())
        .collect();
    format!("{parts:?}{ticked:?}")
}

/// The clock of a site: as kept from an earlier run, or new.
///
/// # Errors
/// What the store says.
pub fn clock(store: &Store, model: &SiteModel, running: &Running) -> Result<SiteClock, StoreError> {
    let key = format!("clock/{}", model.name);
    let kept = store.get_kv(&key)?.and_then(|value| serde_json::from_value::<SiteClock>(value).ok());
    let speed = running.speed.or(kept.map(|clock| clock.speed)).unwrap_or(Speed::Factor(1.0));
    if let Some(clock) = kept.filter(|clock| clock.speed == speed) {
        return Ok(clock);
    }
    let now = wall_now();
    let began = running.from.or(model.replay.map(|(from, _)| from)).unwrap_or_else(|| floor(now, model.tick));
    // At another speed a site goes on at the time it had reached.
    let site_epoch =
        kept.map_or(began, |clock| reached(store, model).unwrap_or_else(|| clock.site_time(now)));
    let wall_epoch = if model.replay.is_none() && running.from.is_none() { site_epoch } else { now };
    let clock = SiteClock { speed, site_epoch, wall_epoch };
    store.put_kv(&key, &json!(clock))?;
    Ok(clock)
}

/// The time that a site's last tick had, rounded to its plans.
fn reached(store: &Store, model: &SiteModel) -> Option<Timestamp> {
    let kept = store.get_kv(&format!("site/{}", model.name)).ok()??;
    let kept: serde_json::Value = serde_json::from_str(kept.as_str()?).ok()?;
    kept["now"].as_str()?.parse::<Timestamp>().ok().map(|now| now + model.tick)
}

fn floor(time: Timestamp, step: SignedDuration) -> Timestamp {
    let step = step.as_secs().max(1);
    Timestamp::from_second(time.as_second().div_euclid(step) * step).unwrap_or(time)
}

/// Starts a prepared site in a thread of its own.
///
/// # Errors
/// What the store or the system says.
pub fn start(prepared: Prepared, running: &Running, shared: &Shared) -> Result<SiteHandle, SiteError> {
    let model = prepared.model;
    let name = model.name.clone();
    let store = |source| SiteError::Store { site: name.clone(), source };
    let clock = clock(&shared.store, &model, running).map_err(store)?;
    let work = kept_orders(&shared.store, &name).map_err(store)?;
    // The services are looked at before the first tick: until then what was asked of them last holds.
    let reached = reached(&shared.store, &model).map(|next| next - model.tick);
    shared.orders.send_modify(|orders| {
        orders.clocks.insert(name.clone(), clock);
        orders.batches.extend(work.batches);
        orders.slow.extend(work.slow);
        if let Some(reached) = reached {
            orders.outages.insert(name.clone(), running.faults.at(reached, &name));
            orders.site_time.insert(name.clone(), reached);
        }
    });
    let until = until(running, model.replay);
    let (live_tx, live) = watch::channel(None);
    let (stop, stop_rx) = watch::channel(false);
    let task = SiteTask {
        model: Arc::clone(&model),
        clock,
        until,
        epoch: shared.epoch,
        store: shared.store.clone(),
        board: shared.board.clone(),
        orders: shared.orders.clone(),
        people: shared.people.clone(),
        live: live_tx,
        stop: stop_rx,
        ticked: if clock.speed == Speed::LockStep { prepared.ticked } else { Vec::new() },
        work: prepared.work,
        permits: shared.permits.clone(),
        faults: running.faults.clone(),
        started: running.started,
    };
    // A runtime of its own on one thread: a tick is a chain of short waits, which costs least without hand-overs.
    let thread = std::thread::Builder::new().name(format!("site-{name}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let site = task.model.name.clone();
        let runtime = runtime.map_err(|error| SiteError::Setup { site, why: error.to_string() })?;
        runtime.block_on(task.run())
    });
    let thread = thread.map_err(|error| SiteError::Setup { site: name, why: error.to_string() })?;
    Ok(SiteHandle { declared: prepared.declared, model, live, stop, thread: Some(thread) })
}

impl SiteHandle {
    /// Whether it runs what is declared now.
    #[must_use]
    pub fn is(&self, prepared: &Prepared) -> bool {
        self.declared == prepared.declared
    }
}

/// The one writer of conditions of sites and assets.
pub(crate) const CONDITIONS: &str = "sos/sites";

/// Writes whether a site runs as a condition of it.
///
/// # Errors
/// What the store says.
pub fn put_condition(store: &Store, site: &str, problem: Option<&str>) -> Result<(), StoreError> {
    let well = Ready { writer: CONDITIONS, reason: "Running", message: "the loop runs" };
    put_ready(store, Kind::Site, site, &well, problem)
}
