//! The service loop: snapshot → `control::plan` → runtimes → status. It is told that something may have changed, never
//! what; every pass looks at everything.

mod attached;
pub mod board;
pub mod convert;
mod declared;
mod energy;
mod memory;
mod namespace;
mod orders;
mod perform;
mod probes;
mod routing;
mod runtimes;
mod scaling;
pub(crate) mod secrets;
mod show;
mod sizing;
mod slow;
mod usage;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sos_control::{self as control, Action, ReplicaProbes};
use sos_model::ServiceSpec;
use sos_runtime::gateway::Measures;
use sos_runtime::{self as runtime, ProbeRunner, ReplicaState};
use sos_store::Store;
use tokio::sync::{mpsc, watch};

use crate::catalogue::Catalogue;
use crate::clock::wall_now;
use board::{Board, Orders};
use memory::Memory;
use probes::ProbeResult;
use routing::{Behind, Routing};
use runtimes::{Place, Runtimes, Told};

pub use orders::{OrderRefused, ServiceOrders};
pub use runtimes::Drivers;

/// Longest time between two passes while something is under way that nobody tells of, such as requests that are counted.
const PASS: Duration = Duration::from_secs(1);
/// The same at rest: what changes is told, and what is due at a time has it.
const REST: Duration = Duration::from_secs(10);
/// What requests under way at the gateway may take when `sos` ends.
const GATEWAY_GRACE: Duration = Duration::from_secs(5);

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
    runtimes: Runtimes,
    routing: Routing,
    /// What somebody else deployed.
    workloads: attached::Workloads,
    /// Which replicas of services were last said to get traffic, where not our gateway distributes it.
    distributed: BTreeMap<String, Vec<String>>,
    prober: Arc<ProbeRunner>,
    places: Places,
    orders: watch::Receiver<Orders>,
    /// What people ask of rollouts.
    asked: (mpsc::Sender<orders::Asked>, mpsc::Receiver<orders::Asked>),
    answers: Vec<orders::Answer>,
    board: watch::Sender<Arc<Board>>,
    probes: BTreeMap<String, (Timestamp, ReplicaProbes)>,
    external: BTreeMap<String, control::ProbeRecord>,
    results: (mpsc::Sender<ProbeResult>, mpsc::Receiver<ProbeResult>),
    statuses: BTreeMap<String, control::ServiceStatus>,
    /// What was written of each service besides: its present revision and the address of its gateway.
    told: BTreeMap<String, (Option<u32>, Option<SocketAddr>)>,
    problems: BTreeMap<String, String>,
    catalogue: Catalogue,
    /// Configurations that were made, by service.
    configured: BTreeMap<String, declared::Configured>,
    /// What is remembered of services beside their manifests, as it is stored.
    memories: BTreeMap<String, Memory>,
    /// When the secrets of a service were last looked at.
    secrets_seen: BTreeMap<String, Timestamp>,
    /// Ends of replicas that were told, with the start of the run.
    ends: BTreeSet<(String, Timestamp)>,
    /// The last lines of replicas that ended, with the start of the run.
    last_lines: BTreeMap<String, (Timestamp, Vec<String>)>,
    /// Deployments that could not be made, by replica.
    refusals: BTreeMap<String, control::Refusal>,
    /// Of the latest plan: rollouts under way, and replicas on their way out.
    progress: BTreeMap<String, control::RolloutStatus>,
    draining: BTreeMap<String, Timestamp>,
    scaling: scaling::Autoscaling,
    metering: energy::Metering,
    sizing: sizing::Sizes,
    /// How fast services are that may be slower.
    slowed: BTreeMap<String, control::energy::SpeedLimit>,
    /// Limits that running replicas were to get, and when: what is refused is not tried in each pass.
    limited: BTreeMap<String, (runtime::Limits, Timestamp)>,
    /// Whether the latest pass left something undone, because it could not be recorded.
    unrecorded: bool,
}

/// A declared service with everything a pass needs of it.
struct Known {
    spec: Arc<ServiceSpec>,
    /// What runs it and with which description, or why that cannot be said.
    config: Result<(Place, Arc<runtime::ServiceConfig>), String>,
    desired: control::DesiredService,
    /// The number of replicas that somebody ordered; then nothing else decides it.
    ordered: Option<u32>,
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
    /// When the data directory cannot be used.
    pub fn new(
        store: Store,
        places: Places,
        orders: watch::Receiver<Orders>,
        board: watch::Sender<Arc<Board>>,
    ) -> Result<Self, runtime::DriverError> {
        let metering = energy::Metering::new(&store);
        let catalogue = Catalogue::new(store.clone());
        Ok(Self {
            store,
            runtimes: Runtimes::new(&places.data_dir)?,
            routing: Routing::default(),
            workloads: attached::Workloads::default(),
            distributed: BTreeMap::new(),
            prober: Arc::new(ProbeRunner::new().map_err(runtime::DriverError::Worker)?),
            places,
            orders,
            asked: mpsc::channel(64),
            answers: Vec::new(),
            board,
            probes: BTreeMap::new(),
            external: BTreeMap::new(),
            results: mpsc::channel(256),
            statuses: BTreeMap::new(),
            told: BTreeMap::new(),
            problems: BTreeMap::new(),
            catalogue,
            configured: BTreeMap::new(),
            memories: BTreeMap::new(),
            secrets_seen: BTreeMap::new(),
            ends: BTreeSet::new(),
            last_lines: BTreeMap::new(),
            refusals: BTreeMap::new(),
            progress: BTreeMap::new(),
            draining: BTreeMap::new(),
            scaling: scaling::Autoscaling::default(),
            metering,
            sizing: sizing::Sizes::default(),
            slowed: BTreeMap::new(),
            limited: BTreeMap::new(),
            unrecorded: false,
        })
    }

    /// The drivers, for logs.
    #[must_use]
    pub fn drivers(&self) -> Drivers {
        self.runtimes.drivers()
    }

    /// Takes what people ask of rollouts.
    #[must_use]
    pub fn orders(&self) -> ServiceOrders {
        ServiceOrders::new(self.asked.0.clone())
    }

    /// Adopts what runs, then keeps the services as declared until `stop` says otherwise; `Stop::Services` stops
    /// them all first.
    pub async fn run(mut self, mut stop: watch::Receiver<Stop>) {
        self.runtimes.begin();
        let mut wanted = None;
        loop {
            let stopping = *stop.borrow() == Stop::Services;
            if *stop.borrow() == Stop::LeaveServices {
                break;
            }
            self.unrecorded = false;
            let (next, live) = self.pass(stopping);
            self.answer();
            if stopping && self.unrecorded {
                tracing::error!(
                    live,
                    "services go on: stopping them cannot be recorded; the next start adopts them"
                );
                break;
            }
            if stopping && live == 0 && self.runtimes.all_looked() {
                break;
            }
            if wanted.is_none() {
                wanted = self.routing.wanted();
            }
            let longest = if stopping || self.is_restless() { PASS } else { REST };
            let pause = next.map_or(longest, |at| until(at).min(longest));
            self.wait(pause, &mut stop, &mut wanted).await;
            self.take_what_waits();
        }
        self.routing.stop(GATEWAY_GRACE).await;
    }

    /// Whether something is under way that is only seen by looking: requests, or a runtime that does not answer.
    fn is_restless(&self) -> bool {
        self.routing.is_open() || !self.runtimes.all_looked()
    }

    /// Waits until there is something to decide, at most for `pause`.
    async fn wait(
        &mut self,
        pause: Duration,
        stop: &mut watch::Receiver<Stop>,
        wanted: &mut Option<runtime::gateway::Wanted>,
    ) {
        let due = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                _ = stop.changed() => {}
                _ = self.orders.changed() => {}
                Some(result) = self.results.1.recv() => self.note_probe(result),
                Some(asked) = self.asked.1.recv() => self.obey(asked),
                Some(told) = self.runtimes.next() => {
                    let is_news = told.is_news;
                    self.note(told);
                    if !is_news {
                        continue;
                    }
                }
                Some(report) = self.workloads.next() => self.workloads.note(report),
                () = first_wanted(wanted) => {}
                () = self.catalogue.changed() => {}
            }
            return;
        }
    }

    /// Notes everything that has been told meanwhile, so that one pass answers it all.
    fn take_what_waits(&mut self) {
        while let Ok(result) = self.results.1.try_recv() {
            self.note_probe(result);
        }
        while let Ok(asked) = self.asked.1.try_recv() {
            self.obey(asked);
        }
        for told in self.runtimes.told() {
            self.note(told);
        }
        for report in self.workloads.told() {
            self.workloads.note(report);
        }
    }

    fn note(&mut self, told: Told) {
        if let Some(report) = &told.recovered {
            self.tell_recovery(report);
        }
        for outcome in told.outcomes {
            self.note_outcome(outcome);
        }
    }

    /// One pass; tells when to look again and how many processes exist.
    fn pass(&mut self, stopping: bool) -> (Option<Timestamp>, usize) {
        let (now, began) = (wall_now(), Instant::now());
        let states = self.runtimes.states();
        self.tell_ends(&states, now);
        let orders = self.orders.borrow_and_update().clone();
        let measures = self.routing.measures();
        let mut known = match stopping {
            true => BTreeMap::new(),
            false => match self.known(&orders, &states, now) {
                Some(known) => known,
                None => return (None, usize::MAX),
            },
        };
        self.workloads.keep(&known);
        let shown = match self.workloads.states() {
            others if others.is_empty() => Cow::Borrowed(states.as_slice()),
            others => Cow::Owned(states.iter().cloned().chain(others).collect()),
        };
        self.decide_scale(&mut known, &shown, &measures, &orders, now);
        self.slow_down(&mut known, &orders, now);
        for place in known.values().filter_map(|known| Some(&known.config.as_ref().ok()?.0)) {
            self.runtimes.need(place);
        }
        if !self.runtimes.all_looked() {
            return (None, usize::MAX);
        }
        let desired = control::Desired {
            services: known.iter().map(|(name, known)| (name.clone(), known.desired.clone())).collect(),
        };
        let observed = self.observed(&states, &measures, &known, now);
        let site = orders.site_time.values().max().copied().unwrap_or(now);
        let both = control::Now { wall: now, site };
        self.metering.settle(&self.store, &states, &measures, only(&orders.intensity), both);
        let plan = control::plan(&desired, &observed, both);
        let next = plan.next_check;
        if self.remember(&plan, &known) {
            self.perform(&plan, &known, &states, now);
            self.resize(&known, &states, now);
            self.route(&plan, &known, &states, orders.seed);
            self.distribute(&plan, &known);
        }
        self.progress.clone_from(&plan.progress);
        self.draining.clone_from(&plan.draining);
        for due in plan.probes {
            self.start_probe(due, &known, &states, &orders.clocks);
        }
        let jobs = known.iter().filter(|(_, known)| known.spec.batch.is_some());
        let jobs = jobs.map(|(name, _)| name.clone()).collect();
        self.publish(&self.with_absences(plan.statuses, &known), &shown, &jobs, &measures, (now, began));
        let next = [next, self.scaling.next()].into_iter().flatten().min();
        (next, self.runtimes.live())
    }

    /// Statuses in which a runtime that does not answer is a condition, and what somebody else deployed is counted: the
    /// planner knows of our deployments only.
    fn with_absences(
        &self,
        mut statuses: BTreeMap<String, control::ServiceStatus>,
        known: &BTreeMap<String, Known>,
    ) -> BTreeMap<String, control::ServiceStatus> {
        for (name, status) in &mut statuses {
            if let Some(seen) = self.workloads.status(name, status.observed_generation) {
                *status = seen;
                status.conditions.extend(self.recommended(name, status.replicas));
            }
            status.conditions.extend(self.speed(name));
            let Some(Ok((place, _))) = known.get(name).map(|known| &known.config) else { continue };
            let Some(why) = self.runtimes.away(place) else { continue };
            let away = control::Problem::RuntimeAway;
            for condition in status.conditions.iter_mut().filter(|condition| condition.kind == "Healthy") {
                condition.status = control::Truth::False;
                condition.reason = away.reason().into();
                condition.message = format!("{why}; {}", away.advice());
            }
        }
        statuses
    }

    /// How many replicas a workload should have, where that is decided.
    fn recommended(&self, service: &str, declared: u32) -> Option<control::Condition> {
        let (_, decision) = self.scaling.decision(service)?;
        let (truth, reason) = match decision.replicas == declared {
            true => (control::Truth::False, "AsDeclared"),
            false => (control::Truth::True, "OtherNumber"),
        };
        let message = format!("{} replicas: {}", decision.replicas, decision.because);
        Some(control::Condition::new("ScaleRecommended", truth, reason, message))
    }

    /// Stores what the plan wants remembered, before anything that follows from it is done.
    fn remember(&mut self, plan: &control::Plan, known: &BTreeMap<String, Known>) -> bool {
        let mut changed: Vec<(&String, Memory)> = Vec::new();
        for (name, rollout) in &plan.rollouts {
            let declared = known.get(name).and_then(|known| {
                let (place, config) = known.config.as_ref().ok()?;
                Some((known.desired.description_hash.as_str(), place, config))
            });
            let old = self.memories.get(name);
            let kept = |hash: &str| old.is_some_and(|old| old.configurations.contains_key(hash));
            let same = old.is_some_and(|old| old.rollout == *rollout);
            if same && declared.is_none_or(|(hash, ..)| kept(hash)) {
                continue;
            }
            let mut new = Memory { rollout: rollout.clone(), ..old.cloned().unwrap_or_default() };
            if let Some((hash, place, config)) = declared {
                new.keep(hash, place, config);
            }
            changed.push((name, new));
        }
        let gone: Vec<String> =
            self.memories.keys().filter(|name| !plan.statuses.contains_key(*name)).cloned().collect();
        if changed.is_empty() && gone.is_empty() {
            return true;
        }
        let stored = self.store.commit(|tx| {
            for (name, memory) in &changed {
                memory.save(name, tx)?;
            }
            // While all services are being stopped their revisions stay: they are still declared.
            for name in &gone {
                if tx.get("Service", name)?.is_none() {
                    Memory::forget(name, tx)?;
                }
            }
            Ok(())
        });
        if let Err(error) = stored {
            tracing::error!(%error, "nothing is done, because revisions cannot be recorded");
            self.unrecorded = true;
            return false;
        }
        for (name, memory) in changed {
            self.memories.insert(name.clone(), memory);
        }
        self.memories.retain(|name, _| plan.statuses.contains_key(name));
        true
    }

    /// Tells the gateway what is served by whom, and keeps the ports it took.
    fn route(
        &mut self,
        plan: &control::Plan,
        known: &BTreeMap<String, Known>,
        states: &[ReplicaState],
        seed: u64,
    ) {
        let mut behind = BTreeMap::new();
        for (name, known) in known {
            let Some(gateway) = known.spec.gateway.get().filter(|_| convert::has_gateway(&known.spec)) else {
                continue;
            };
            let kept_port = self.memories.get(name).and_then(|memory| memory.gateway_port);
            behind.insert(name.as_str(), Behind { spec: &known.spec, gateway, kept_port });
        }
        for (name, port) in self.routing.apply(&behind, plan, states, seed) {
            let mut memory = self.memories.get(&name).cloned().unwrap_or_default();
            if memory.gateway_port == Some(port) {
                continue;
            }
            memory.gateway_port = Some(port);
            match self.store.commit(|tx| memory.save(&name, tx)) {
                Ok(()) => drop(self.memories.insert(name, memory)),
                Err(error) => tracing::warn!(%error, service = name, "the port of its gateway is not kept"),
            }
        }
    }

    fn observed(
        &mut self,
        states: &[ReplicaState],
        measures: &Measures,
        known: &BTreeMap<String, Known>,
        now: Timestamp,
    ) -> control::Observed {
        self.probes.retain(|replica, (started, _)| {
            states.iter().any(|s| s.deployment.replica == *replica && s.started_at == *started)
        });
        self.refusals.retain(|_, refusal| known.contains_key(&refusal.service));
        let replicas = states
            .iter()
            .map(|state| {
                let replica = &state.deployment.replica;
                let probes = self.probes.get(replica).map(|(_, probes)| probes.clone()).unwrap_or_default();
                let asked = known.get(&state.deployment.service);
                let asked = asked.is_some_and(|known| known.desired.probes.readiness.is_some());
                (replica.clone(), convert::observed(state, probes, asked))
            })
            .collect();
        let quantile = |name: &str| match known.get(name).map(|known| &known.desired.rollout.strategy) {
            Some(control::Strategy::Canary(control::Canary { analysis: Some(analysis), .. })) => {
                analysis.latency_quantile
            }
            _ => control::AnalysisSpec::default().latency_quantile,
        };
        let rollouts = self.memories.iter().map(|(name, memory)| (name.clone(), memory.rollout.clone()));
        control::Observed {
            replicas,
            external: self.external.clone(),
            rollouts: rollouts.collect(),
            measured: self.routing.measured(measures, &self.progress, quantile, now),
            in_flight: self.routing.in_flight(measures, &self.draining, states),
            refusals: self.refusals.clone(),
            last_lines: self.last_lines.iter().map(|(id, (_, lines))| (id.clone(), lines.clone())).collect(),
        }
    }
}

/// Waits until a service has requests that wait for a replica; for ever without a gateway.
async fn first_wanted(wanted: &mut Option<runtime::gateway::Wanted>) {
    match wanted {
        Some(wanted) => drop(wanted.next().await),
        None => std::future::pending().await,
    }
}

/// The one value there is; none where there are several.
fn only<T: Copy>(values: &BTreeMap<String, T>) -> Option<T> {
    let mut values = values.values();
    values.next().copied().filter(|_| values.next().is_none())
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
