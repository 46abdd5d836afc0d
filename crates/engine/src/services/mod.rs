//! The service loop: snapshot → `control::plan` → driver → status. It is told that something may have changed, never
//! what; every pass looks at everything.

pub mod board;
pub mod convert;
mod probes;
pub(crate) mod secrets;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sos_control::{self as control, Action, ReplicaProbes};
use sos_model::{Declared, ServiceSpec};
use sos_runtime::{self as runtime, Driver, ProbeRunner, ProcessDriver, ReplicaState};
use sos_store::{AuditEntry, Event, EventType, Resource, Selector, Store, StoreError};
use tokio::sync::{mpsc, watch};

use crate::clock::wall_now;
use board::{Board, Orders};
use convert::Surroundings;
use probes::ProbeResult;

/// Longest time between two looks at the processes: how late the end of one is noticed at the most.
const LOOK: Duration = Duration::from_millis(100);
/// Time from a deployment that could not be made (a taken port, a missing program) to the next try.
const TRY_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// This very binary.
    pub own_binary: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The folder of the manifests.
    pub base_dir: PathBuf,
}

/// The service loop; [`ServiceLoop::run`] is its task.
pub struct ServiceLoop {
    store: Store,
    driver: Arc<ProcessDriver>,
    prober: Arc<ProbeRunner>,
    places: Places,
    orders: watch::Receiver<Orders>,
    board: watch::Sender<Arc<Board>>,
    probes: BTreeMap<String, (Timestamp, ReplicaProbes)>,
    external: BTreeMap<String, control::ProbeRecord>,
    results: (mpsc::Sender<ProbeResult>, mpsc::Receiver<ProbeResult>),
    statuses: BTreeMap<String, control::ServiceStatus>,
    problems: BTreeMap<String, String>,
    /// The declared services as of a version of the store.
    declared: (u64, Arc<Vec<Typed>>),
    /// Ends of replicas that were told, with the start of the run.
    ends: BTreeSet<(String, Timestamp)>,
    /// Services that could not be deployed: when, and why.
    undeployed: BTreeMap<String, (Timestamp, String)>,
    /// Whether the latest pass left something undone, because it could not be recorded.
    unrecorded: bool,
}

/// A stored service as a typed value, or what this version does not understand of it.
type Typed = (Resource, Result<Declared, String>);

/// A declared service with everything a pass needs of it.
struct Known {
    generation: u64,
    spec: ServiceSpec,
    config: Result<runtime::ServiceConfig, String>,
    desired: control::DesiredService,
}

impl std::fmt::Debug for ServiceLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceLoop").field("places", &self.places).finish_non_exhaustive()
    }
}

impl ServiceLoop {
    /// A loop over the services of a store.
    ///
    /// # Errors
    /// When the driver cannot use the data directory.
    pub fn new(
        store: Store,
        places: Places,
        orders: watch::Receiver<Orders>,
        board: watch::Sender<Arc<Board>>,
    ) -> Result<Self, runtime::DriverError> {
        let driver = ProcessDriver::new(runtime::ProcessOptions::new(places.data_dir.clone()))?;
        Ok(Self {
            store,
            driver: Arc::new(driver),
            prober: Arc::new(ProbeRunner::new().map_err(runtime::DriverError::Worker)?),
            places,
            orders,
            board,
            probes: BTreeMap::new(),
            external: BTreeMap::new(),
            results: mpsc::channel(256),
            statuses: BTreeMap::new(),
            problems: BTreeMap::new(),
            declared: (0, Arc::default()),
            ends: BTreeSet::new(),
            undeployed: BTreeMap::new(),
            unrecorded: false,
        })
    }

    /// The driver, for logs.
    #[must_use]
    pub fn driver(&self) -> Arc<ProcessDriver> {
        Arc::clone(&self.driver)
    }

    /// Adopts what runs, then keeps the services as declared until `stop` says otherwise; `Stop::Services` stops
    /// them all first.
    pub async fn run(mut self, mut stop: watch::Receiver<Stop>) {
        match self.driver.recover(wall_now()).await {
            Ok(report) => self.tell_recovery(&report),
            Err(error) => {
                tracing::error!(error = error.full(), "services of an earlier run cannot be taken over")
            }
        }
        let mut changes = self.store.watch(self.store.revision().unwrap_or(0));
        loop {
            let stopping = *stop.borrow() == Stop::Services;
            if *stop.borrow() == Stop::LeaveServices {
                return;
            }
            self.unrecorded = false;
            let (next, live) = self.pass(stopping).await;
            if stopping && self.unrecorded {
                tracing::error!(
                    live,
                    "services go on: stopping them cannot be recorded; the next start adopts them"
                );
                return;
            }
            if stopping && live == 0 {
                return;
            }
            let pause = next.map_or(LOOK, |at| until(at).min(LOOK));
            tokio::select! {
                _ = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {}
                _ = self.orders.changed() => {}
                Some(result) = self.results.1.recv() => self.note_probe(result),
                () = changes.changed() => { let _ = changes.poll(); }
            }
            while let Ok(result) = self.results.1.try_recv() {
                self.note_probe(result);
            }
        }
    }

    /// One pass; tells when to look again and how many processes exist.
    async fn pass(&mut self, stopping: bool) -> (Option<Timestamp>, usize) {
        let now = wall_now();
        let states = match self.driver.observe(now).await {
            Ok(states) => states,
            Err(error) => {
                tracing::error!(error = error.full(), "services cannot be observed");
                return (None, usize::MAX);
            }
        };
        self.tell_ends(&states, now);
        let orders = self.orders.borrow_and_update().clone();
        let known = if stopping { BTreeMap::new() } else { self.known(&orders, &states) };
        let desired = control::Desired {
            services: known.iter().map(|(name, known)| (name.clone(), known.desired.clone())).collect(),
        };
        let observed = self.observed(&states);
        let site = orders.site_time.values().max().copied().unwrap_or(now);
        let plan = control::plan(&desired, &observed, control::Now { wall: now, site });
        let mut changed = false;
        for (action, because) in plan.actions.iter().zip(&plan.because) {
            if !self.waits_to_try_again(action, now) {
                self.perform(action, because, &known, now).await;
                changed = true;
            }
        }
        self.undeployed.retain(|service, _| known.contains_key(service));
        for due in plan.probes {
            self.start_probe(due, &known, &states, &orders.clocks);
        }
        let states = if changed { self.driver.observe(wall_now()).await.unwrap_or(states) } else { states };
        let jobs = known.iter().filter(|(_, known)| known.spec.batch.is_some());
        let jobs = jobs.map(|(name, _)| name.clone()).collect();
        self.publish(&self.with_failures(plan.statuses), &states, &jobs, now);
        let live = states.iter().filter(|state| is_live(&state.phase)).count();
        (if changed { Some(now) } else { plan.next_check }, live)
    }

    /// Whether an action is a deployment that could not be made a moment ago.
    fn waits_to_try_again(&self, action: &Action, now: Timestamp) -> bool {
        let Action::Deploy { service, .. } = action else { return false };
        self.undeployed.get(service).is_some_and(|(failed, _)| now < *failed + TRY_AGAIN)
    }

    /// Statuses in which a deployment that could not be made is a condition: the planner knows of processes only.
    fn with_failures(
        &self,
        mut statuses: BTreeMap<String, control::ServiceStatus>,
    ) -> BTreeMap<String, control::ServiceStatus> {
        for (service, (_, why)) in &self.undeployed {
            let conditions = statuses.get_mut(service).into_iter().flat_map(|status| &mut status.conditions);
            for condition in conditions.filter(|condition| condition.kind == "Healthy") {
                condition.status = control::Truth::False;
                condition.reason = "NotDeployed".into();
                condition.message.clone_from(why);
            }
        }
        statuses
    }

    /// The declared services with their configuration; what cannot be configured yet waits.
    fn known(&mut self, orders: &Orders, states: &[ReplicaState]) -> BTreeMap<String, Known> {
        let resources = match self.declared() {
            Ok(resources) => resources,
            Err(error) => {
                tracing::error!(%error, "the declared services cannot be read");
                return BTreeMap::new();
            }
        };
        let services_dir = self.places.data_dir.join("services");
        let port = |service: &str, port: &str| {
            let own =
                states.iter().find(|state| state.deployment.service == service && is_live(&state.phase));
            own.and_then(|state| state.deployment.ports.get(port).copied())
        };
        let around = Surroundings {
            own_binary: &self.places.own_binary,
            services_dir: &services_dir,
            base_dir: &self.places.base_dir,
            ports: &port,
            seed: orders.seed,
            clocks: &orders.clocks,
        };
        let mut known = BTreeMap::new();
        for (resource, declared) in resources.iter() {
            let declared = match declared {
                Ok(declared) => declared,
                Err(problem) => {
                    self.problems.insert(resource.name.clone(), problem.clone());
                    continue;
                }
            };
            let Some(spec) = declared.service().cloned() else { continue };
            let config = convert::configuration(&resource.name, &spec, &around)
                .map(|config| convert::restarted(config, &resource.status));
            let hash = config.as_ref().map_or_else(|_| String::new(), runtime::description_hash);
            let suspended = config.is_err() || orders.is_out(&resource.name);
            let order = orders.batches.get(&resource.name).cloned();
            let replicas = resource.replicas.unwrap_or(spec.replicas);
            let desired = convert::desired(resource.generation, &spec, hash, replicas, order, suspended);
            match &config {
                Err(problem) => self.problems.insert(resource.name.clone(), problem.clone()),
                Ok(_) => self.problems.remove(&resource.name),
            };
            known.insert(
                resource.name.clone(),
                Known { generation: resource.generation, spec, config, desired },
            );
        }
        known
    }

    /// The declared services; read anew only when the store has changed.
    fn declared(&mut self) -> Result<Arc<Vec<Typed>>, StoreError> {
        // Asked before reading: what changes in between is read again next time.
        let revision = self.store.revision()?;
        if self.declared.0 != revision {
            let resources = self.store.list("Service", &Selector::default())?;
            let typed = |resource: Resource| {
                let declared = crate::resources::declared(&resource);
                (resource, declared)
            };
            self.declared = (revision, Arc::new(resources.into_iter().map(typed).collect()));
        }
        Ok(Arc::clone(&self.declared.1))
    }

    fn observed(&mut self, states: &[ReplicaState]) -> control::Observed {
        self.probes.retain(|replica, (started, _)| {
            states.iter().any(|s| s.deployment.replica == *replica && s.started_at == *started)
        });
        let replicas = states
            .iter()
            .map(|state| {
                let replica = &state.deployment.replica;
                let probes = self.probes.get(replica).map(|(_, probes)| probes.clone()).unwrap_or_default();
                (replica.clone(), convert::observed(state, probes))
            })
            .collect();
        control::Observed { replicas, external: self.external.clone() }
    }

    /// Records an action, then performs it. What cannot be recorded is not done.
    async fn perform(
        &mut self,
        action: &Action,
        because: &str,
        known: &BTreeMap<String, Known>,
        now: Timestamp,
    ) {
        let replica = action.replica();
        let what = match action {
            Action::Kill { .. } => "kill",
            Action::Stop { .. } => "stop",
            Action::Forget { .. } => "forget",
            Action::Adopt { .. } => "adopt",
            Action::Deploy { .. } => "deploy",
        };
        let service = replica.rsplit_once('-').map_or(replica, |(service, _)| service);
        let entry = AuditEntry {
            time: now,
            who: "sos/services".into(),
            what: what.into(),
            target: format!("Service/{service}"),
            why: because.to_owned(),
            before: None,
            after: Some(serde_json::json!({ "replica": replica })),
        };
        let site_time = known.get(service).and_then(|k| self.orders.borrow().site_time_of(&k.spec));
        let event = Event {
            time: now,
            site_time,
            kind: "Service".into(),
            name: service.to_owned(),
            event_type: EventType::Normal,
            reason: event_reason(action).into(),
            message: because.to_owned(),
        };
        let recorded = self.store.commit(|tx| {
            tx.audit(&entry)?;
            tx.record_event(&event)?;
            Ok(())
        });
        if let Err(error) = recorded {
            tracing::error!(%error, replica, what, "not done, because it cannot be recorded");
            self.unrecorded = true;
            return;
        }
        tracing::info!(replica, what, because);
        let done = match action {
            Action::Kill { replica } => self.driver.kill(replica, now).await,
            Action::Stop { replica, grace, cause } => {
                self.driver.stop(replica, *grace, &cause.to_string(), now).await
            }
            Action::Forget { replica } => self.driver.forget(replica).await,
            Action::Adopt { replica, generation } => self.driver.adopt(replica, *generation).await,
            Action::Deploy { service, ordinal, work, .. } => {
                let run = work.as_ref().map(|work| work.run.as_str());
                match known.get(service) {
                    Some(known) => self.deploy(known, *ordinal, run, now).await,
                    None => Ok(()),
                }
            }
        };
        let deploys = matches!(action, Action::Deploy { .. });
        match done {
            Err(error) => {
                self.warn(service, "Failed", &error.full(), now);
                if deploys {
                    self.undeployed.insert(service.to_owned(), (now, error.full()));
                }
            }
            Ok(()) if deploys => drop(self.undeployed.remove(service)),
            Ok(()) => {}
        }
    }

    /// The three steps: configuration → metadata → generated description → deploy.
    async fn deploy(
        &self,
        known: &Known,
        ordinal: u32,
        run: Option<&str>,
        now: Timestamp,
    ) -> Result<(), runtime::DriverError> {
        let Ok(config) = &known.config else { return Ok(()) };
        let folder = self.places.data_dir.join("services").join(&config.service);
        std::fs::create_dir_all(&folder).map_err(|source| runtime::DriverError::File {
            what: "create",
            path: folder,
            source,
        })?;
        let config = runtime::load_configuration(config, ordinal, known.generation, run)?;
        let metadata = self.driver.resolve(&config).await?;
        let description = runtime::describe_deployment(&config, &metadata)?;
        let values = secrets::values(&self.store, &config.service, now);
        self.driver.deploy(&description, &values, now).await.map(drop)
    }
}

/// How the loop ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// Not yet.
    #[default]
    No,
    /// Services are stopped first.
    Services,
    /// Services go on and are adopted by the next start.
    LeaveServices,
}

fn is_live(phase: &runtime::Phase) -> bool {
    !matches!(phase, runtime::Phase::Exited { .. })
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(wall_now())).unwrap_or(Duration::ZERO)
}

fn event_reason(action: &Action) -> &'static str {
    match action {
        Action::Kill { .. } => "Killing",
        Action::Stop { .. } => "Stopping",
        Action::Forget { .. } => "Forgotten",
        Action::Adopt { .. } => "Adopted",
        Action::Deploy { .. } => "Deploying",
    }
}
