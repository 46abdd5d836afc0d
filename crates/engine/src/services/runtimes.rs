//! What runs services: each runtime has its driver in a task of its own, so that one that does not answer holds up no
//! other. A task gets jobs and tells what it sees; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_model::{Runtime, ServiceSpec};
use sos_runtime::{
    self as runtime, AnyDriver, DockerDriver, DockerOptions, Driver, DriverError, LogReader, LogSource,
    ProcessDriver, ProcessOptions, RecoveryReport, ReplicaState, SecretValues, ServiceConfig,
    SimulatedDriver, SimulatedOptions,
};
use tokio::sync::mpsc;

use super::namespace::Namespace;
use crate::clock::wall_now;

/// Longest time between two looks at processes: how late the end of one is noticed at the most.
const LOOK: Duration = Duration::from_millis(100);
/// The same for what others run, who have to be asked or tell by themselves.
const LOOK_ELSEWHERE: Duration = Duration::from_millis(500);
/// How often what replicas use is told when nothing else changes.
const TELL_USAGE: SignedDuration = SignedDuration::from_secs(1);
/// How often a runtime that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How seldom it is asked as long as it has never answered, at the most.
const ASK_AGAIN_AT_MOST: Duration = Duration::from_secs(15);
/// How long the first answer of a runtime is waited for before anything is decided.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// How often setting up a runtime is tried again.
const SET_UP_AGAIN: Duration = Duration::from_secs(10);
/// Jobs and reports that wait at most.
const QUEUE: usize = 64;

/// One runtime of this machine or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    /// Processes of this machine.
    Process,
    /// The Docker daemon of this machine.
    Docker,
    /// A namespace of a cluster.
    Kubernetes(Namespace),
    /// Nothing: replicas are played.
    Simulated,
}

impl Place {
    /// Where a service runs.
    pub(super) fn of(spec: &ServiceSpec) -> Self {
        match spec.runtime {
            Runtime::Process => Self::Process,
            Runtime::Docker => Self::Docker,
            Runtime::Kubernetes => Self::Kubernetes(Namespace::of(spec)),
            Runtime::Simulated => Self::Simulated,
        }
    }

    /// Its name, as manifests have it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Kubernetes(_) => "kubernetes",
            Self::Simulated => "simulated",
        }
    }

    fn driver(&self, data_dir: &Path) -> Result<AnyDriver, DriverError> {
        Ok(match self {
            Self::Process => AnyDriver::Process(ProcessDriver::new(ProcessOptions::new(data_dir))?),
            Self::Docker => AnyDriver::Docker(DockerDriver::new(DockerOptions::new(data_dir))?),
            Self::Kubernetes(namespace) => AnyDriver::Kubernetes(namespace.driver(data_dir)?),
            Self::Simulated => {
                AnyDriver::Simulated(SimulatedDriver::new(SimulatedOptions::from_dir(data_dir)?)?)
            }
        })
    }

    /// Places where an earlier run has left records.
    fn left_in(data_dir: &Path) -> Vec<Self> {
        let run = data_dir.join("run");
        let used =
            |name: &str| std::fs::read_dir(run.join(name)).is_ok_and(|mut files| files.next().is_some());
        let here = [("docker", Self::Docker), ("simulated", Self::Simulated)];
        let here = here.into_iter().filter(|(name, _)| used(name)).map(|(_, place)| place);
        here.chain(Namespace::left_in(&run).into_iter().map(Self::Kubernetes)).collect()
    }
}

/// Something that a driver is to do. It was recorded before.
#[derive(Debug)]
pub(super) enum Job {
    /// The steps of a deployment: configuration → metadata → generated description → start.
    Deploy(Box<Deploy>),
    /// Ask to stop.
    Stop { replica: String, grace: SignedDuration, cause: String },
    /// End at once.
    Kill { replica: String },
    /// Note a newer generation.
    Adopt { replica: String, generation: u64 },
    /// Remove what is known of it.
    Forget { replica: String },
    /// Other limits while it runs.
    SetLimits { replica: String, limits: runtime::Limits },
    /// Which replicas of a service get traffic from what distributes it there.
    Route { service: String, replicas: Vec<String> },
}

/// A replica to be started.
#[derive(Debug)]
pub(super) struct Deploy {
    pub(super) replica: String,
    pub(super) config: ServiceConfig,
    pub(super) description_hash: String,
    pub(super) ordinal: u32,
    pub(super) generation: u64,
    pub(super) run: Option<String>,
    pub(super) secrets: SecretValues,
    /// The folder where it may keep data.
    pub(super) data: std::path::PathBuf,
}

impl Job {
    /// The replica it is about, if it is about one.
    pub(super) fn replica(&self) -> Option<&str> {
        match self {
            Self::Deploy(deploy) => Some(&deploy.replica),
            Self::Stop { replica, .. }
            | Self::Kill { replica }
            | Self::Adopt { replica, .. }
            | Self::Forget { replica }
            | Self::SetLimits { replica, .. } => Some(replica),
            Self::Route { .. } => None,
        }
    }
}

/// How a job went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) job: Job,
    pub(super) at: Timestamp,
    pub(super) result: Result<(), DriverError>,
}

/// What a runtime tells.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) place: Place,
    /// The last batch of jobs that is done.
    pub(super) batch: u64,
    /// How its jobs went.
    pub(super) outcomes: Vec<Outcome>,
    /// What it sees, or why it cannot look.
    pub(super) seen: Result<Vec<ReplicaState>, String>,
    /// What it found when it began.
    pub(super) recovered: Option<RecoveryReport>,
    /// Nothing has changed but what replicas use.
    pub(super) usage_only: bool,
}

/// What was learned from a report besides what is taken in here.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) recovered: Option<RecoveryReport>,
    /// Whether there is something to decide: what replicas use is looked at by the next pass, whenever that is.
    pub(super) is_news: bool,
}

/// A runtime as the loop knows it.
#[derive(Debug)]
struct Known {
    driver: Arc<AnyDriver>,
    jobs: mpsc::Sender<(u64, Vec<Job>)>,
    /// The last batch that was sent, and the last that is known to be done.
    sent: u64,
    done: u64,
    /// What was seen last.
    states: Vec<ReplicaState>,
    /// Whether it has looked at all: before, what it runs is not known.
    looked: bool,
    /// Why it cannot look now.
    away: Option<String>,
    begun: Instant,
}

impl Known {
    /// Why it cannot be asked. One that takes long with its first answer holds up nobody else.
    fn away(&self) -> Option<&str> {
        let silent = !self.looked && self.begun.elapsed() > FIRST_ANSWER;
        self.away.as_deref().or_else(|| silent.then_some("it has not answered yet"))
    }
}

/// All drivers that are in use, for those who read logs.
#[derive(Clone, Debug, Default)]
pub struct Drivers {
    all: Arc<Mutex<BTreeMap<Place, Arc<AnyDriver>>>>,
    logs: std::path::PathBuf,
}

impl Drivers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Arc<AnyDriver>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a replica, from at most `lines` lines and `max_bytes` bytes before its end. All drivers write it to the
    /// same place.
    ///
    /// # Errors
    /// When the log exists and cannot be read.
    pub fn logs(&self, replica: &str, lines: usize, max_bytes: u64) -> Result<LogReader, DriverError> {
        let path = self.logs.join(format!("{replica}.log"));
        LogReader::tail(&path, lines, max_bytes).map_err(|source| DriverError::File {
            what: "read",
            path,
            source,
        })
    }

    /// All logs in the data directory, with what the drivers know of the replicas that wrote them.
    ///
    /// # Errors
    /// When the folder of logs cannot be read.
    pub async fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        let drivers: Vec<_> = self.lock().values().cloned().collect();
        let mut sources: BTreeMap<std::path::PathBuf, LogSource> = BTreeMap::new();
        for driver in drivers {
            for source in driver.log_sources(zone).await? {
                let known = sources.get(&source.path).is_some_and(|known| !known.runs.is_empty());
                if !known {
                    sources.insert(source.path.clone(), source);
                }
            }
        }
        Ok(sources.into_values().collect())
    }
}

/// All runtimes in use.
#[derive(Debug)]
pub(super) struct Runtimes {
    data_dir: std::path::PathBuf,
    known: BTreeMap<Place, Known>,
    /// Those that could not even be set up, when that was tried last, and why.
    unusable: BTreeMap<Place, (Instant, String)>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    drivers: Drivers,
}

impl Runtimes {
    /// Processes are always looked after; the others begin when they are needed.
    pub(super) fn new(data_dir: &Path) -> Result<Self, DriverError> {
        let drivers = Drivers { all: Arc::default(), logs: data_dir.join("logs") };
        let process = Place::Process.driver(data_dir)?;
        drivers.lock().insert(Place::Process, Arc::new(process));
        Ok(Self {
            data_dir: data_dir.to_owned(),
            known: BTreeMap::new(),
            unusable: BTreeMap::new(),
            reports: mpsc::channel(QUEUE),
            drivers,
        })
    }

    pub(super) fn drivers(&self) -> Drivers {
        self.drivers.clone()
    }

    /// Begins with what ran here before: processes, and what has left records.
    pub(super) fn begin(&mut self) {
        self.need(&Place::Process);
        for place in Place::left_in(&self.data_dir) {
            self.need(&place);
        }
    }

    /// Starts the task of a runtime unless it runs.
    pub(super) fn need(&mut self, place: &Place) {
        if self.known.contains_key(place) {
            return;
        }
        if self.unusable.get(place).is_some_and(|(tried, _)| tried.elapsed() < SET_UP_AGAIN) {
            return;
        }
        let there = self.drivers.lock().get(place).cloned();
        let driver = match there.map_or_else(|| place.driver(&self.data_dir).map(Arc::new), Ok) {
            Ok(driver) => driver,
            Err(error) => {
                let why = error.full();
                if self.unusable.get(place).is_none_or(|(_, before)| *before != why) {
                    tracing::error!(runtime = place.name(), error = why, "it cannot be used");
                }
                self.unusable.insert(place.clone(), (Instant::now(), why));
                return;
            }
        };
        self.unusable.remove(place);
        self.drivers.lock().insert(place.clone(), Arc::clone(&driver));
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let task = Task {
            place: place.clone(),
            driver: Arc::clone(&driver),
            reports: self.reports.0.clone(),
            batch: 0,
        };
        tokio::spawn(task.run(receiver));
        let known = Known {
            driver,
            jobs,
            sent: 0,
            done: 0,
            states: Vec::new(),
            looked: false,
            away: None,
            begun: Instant::now(),
        };
        self.known.insert(place.clone(), known);
    }

    /// The next thing that a runtime tells. Its outcomes and findings are for the caller, the rest is taken in here.
    pub(super) async fn next(&mut self) -> Option<Told> {
        let report = self.reports.1.recv().await?;
        Some(self.take_in(report))
    }

    /// What has been told meanwhile.
    pub(super) fn told(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Ok(report) = self.reports.1.try_recv() {
            told.push(self.take_in(report));
        }
        told
    }

    fn take_in(&mut self, report: Report) -> Told {
        if let Some(known) = self.known.get_mut(&report.place) {
            known.done = report.batch;
            match report.seen {
                Ok(states) => {
                    known.states = states;
                    known.looked = true;
                    known.away = None;
                }
                Err(why) => known.away = Some(why),
            }
        }
        Told { outcomes: report.outcomes, recovered: report.recovered, is_news: !report.usage_only }
    }

    /// All replicas that are known, by id. An id that two runtimes know is the one of which a copy lives.
    pub(super) fn states(&self) -> Vec<ReplicaState> {
        let mut all: BTreeMap<&str, &ReplicaState> = BTreeMap::new();
        for state in self.known.values().flat_map(|known| &known.states) {
            let id = state.deployment.replica.as_str();
            if all.get(id).is_none_or(|other| !super::is_live(&other.phase)) {
                all.insert(id, state);
            }
        }
        all.into_values().cloned().collect()
    }

    /// Where a replica is, by what was seen last; where a copy lives before where one has ended.
    pub(super) fn place_of(&self, replica: &str) -> Option<Place> {
        let has = |live: bool| {
            self.known.iter().find(|(_, known)| {
                known.states.iter().any(|state| {
                    state.deployment.replica == replica && (!live || super::is_live(&state.phase))
                })
            })
        };
        has(true).or_else(|| has(false)).map(|(place, _)| place.clone())
    }

    /// Where ended copies of a replica are besides `place`.
    pub(super) fn leftovers(&self, replica: &str, place: &Place) -> Vec<Place> {
        let others = self.known.iter().filter(|(other, _)| *other != place);
        let has =
            others.filter(|(_, known)| known.states.iter().any(|state| state.deployment.replica == replica));
        has.map(|(place, _)| place.clone()).collect()
    }

    /// Whether all runtimes that are needed have told what they run: before, nothing is decided.
    pub(super) fn all_looked(&self) -> bool {
        self.known.values().all(|known| known.looked || known.away().is_some())
    }

    /// Why nothing can be done there now: it does jobs, does not answer, or has not looked yet.
    pub(super) fn is_idle(&self, place: &Place) -> bool {
        self.known
            .get(place)
            .is_some_and(|known| known.looked && known.done == known.sent && known.away.is_none())
    }

    /// Why a runtime cannot be asked.
    pub(super) fn away(&self, place: &Place) -> Option<&str> {
        let unusable = || self.unusable.get(place).map(|(_, why)| why.as_str());
        self.known.get(place).map_or_else(unusable, Known::away)
    }

    pub(super) fn capabilities(&self, place: &Place) -> Option<runtime::Capabilities> {
        self.known.get(place).map(|known| known.driver.capabilities())
    }

    pub(super) fn driver(&self, place: &Place) -> Option<Arc<AnyDriver>> {
        self.known.get(place).map(|known| Arc::clone(&known.driver))
    }

    /// Replicas that have a process, over all runtimes that answer: what runs elsewhere cannot be stopped, and is adopted by the
    /// next start.
    pub(super) fn live(&self) -> usize {
        let answering = self.known.values().filter(|known| known.away.is_none());
        let states = answering.flat_map(|known| &known.states);
        states
            .filter(|state| super::is_live(&state.phase))
            .map(|s| &s.deployment.replica)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Hands jobs over; each is done in this order. Only to a runtime that [is idle](Self::is_idle).
    pub(super) fn send(&mut self, place: &Place, jobs: Vec<Job>) {
        let Some(known) = self.known.get_mut(place) else { return };
        let batch = known.sent + 1;
        // An idle runtime has an empty queue, so this never waits and never fails but for a task that is gone.
        if known.jobs.try_send((batch, jobs)).is_ok() {
            known.sent = batch;
        } else {
            known.away = Some("its task has ended".into());
        }
    }
}

/// The task of one runtime.
struct Task {
    place: Place,
    driver: Arc<AnyDriver>,
    reports: mpsc::Sender<Report>,
    batch: u64,
}

impl Task {
    async fn run(mut self, mut jobs: mpsc::Receiver<(u64, Vec<Job>)>) {
        let Some(mut recovered) = self.recover().await else { return };
        let mut last: Option<Result<Vec<ReplicaState>, String>> = None;
        let mut told = Timestamp::MIN;
        let mut outcomes = Vec::new();
        loop {
            let now = wall_now();
            let seen = self.driver.observe(now).await.map_err(|error| error.full());
            let look = if self.place == Place::Process { LOOK } else { LOOK_ELSEWHERE };
            let pause = if seen.is_ok() { look } else { ASK_AGAIN };
            let usage_due = now.duration_since(told) >= TELL_USAGE;
            let news = recovered.is_some()
                || !outcomes.is_empty()
                || last.as_ref().is_none_or(|last| differs(last, &seen));
            let usage_only = !news;
            if news || (usage_due && last.as_ref() != Some(&seen)) {
                told = now;
                last = Some(seen.clone());
                let report = Report {
                    place: self.place.clone(),
                    batch: self.batch,
                    outcomes: std::mem::take(&mut outcomes),
                    seen,
                    recovered: recovered.take(),
                    usage_only,
                };
                if self.reports.send(report).await.is_err() {
                    return;
                }
            }
            match tokio::time::timeout(pause, jobs.recv()).await {
                Ok(None) => return,
                Ok(Some((batch, jobs))) => {
                    outcomes = self.perform(jobs).await;
                    self.batch = batch;
                }
                Err(_) => {}
            }
        }
    }

    /// Takes over what an earlier run left, as soon as the runtime answers.
    async fn recover(&self) -> Option<Option<RecoveryReport>> {
        let mut told = None;
        let mut pause = ASK_AGAIN;
        loop {
            match self.driver.recover(wall_now()).await {
                Ok(report) => return Some(Some(report)),
                Err(error) => {
                    let why = error.full();
                    if told.as_ref() != Some(&why) {
                        tracing::warn!(runtime = self.place.name(), why, "it cannot be used at present");
                        let report = Report {
                            place: self.place.clone(),
                            batch: 0,
                            outcomes: Vec::new(),
                            seen: Err(why.clone()),
                            recovered: None,
                            usage_only: false,
                        };
                        self.reports.send(report).await.ok()?;
                        told = Some(why);
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ASK_AGAIN_AT_MOST);
                }
            }
        }
    }

    async fn perform(&self, jobs: Vec<Job>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for job in jobs {
            let at = wall_now();
            let result = match &job {
                Job::Deploy(deploy) => self.deploy(deploy, at).await,
                Job::Stop { replica, grace, cause } => self.driver.stop(replica, *grace, cause, at).await,
                Job::Kill { replica } => self.driver.kill(replica, at).await,
                Job::Adopt { replica, generation } => self.driver.adopt(replica, *generation).await,
                Job::Forget { replica } => self.driver.forget(replica).await,
                Job::SetLimits { replica, limits } => self.driver.set_limits(replica, limits).await.map(drop),
                Job::Route { service, replicas } => self.driver.route(service, replicas).await,
            };
            outcomes.push(Outcome { job, at, result });
        }
        outcomes
    }

    async fn deploy(&self, deploy: &Deploy, now: Timestamp) -> Result<(), DriverError> {
        let folder = &deploy.data;
        std::fs::create_dir_all(folder).map_err(|source| DriverError::File {
            what: "create",
            path: folder.clone(),
            source,
        })?;
        let run = deploy.run.as_deref();
        let config = runtime::load_configuration(&deploy.config, deploy.ordinal, deploy.generation, run)?;
        let metadata = self.driver.resolve(&config).await?;
        let description = runtime::describe_deployment(&config, &metadata)?;
        self.driver.deploy(&description, &deploy.secrets, now).await.map(drop)
    }
}

/// Whether there is news.
fn differs(last: &Result<Vec<ReplicaState>, String>, seen: &Result<Vec<ReplicaState>, String>) -> bool {
    match (last, seen) {
        (Ok(last), Ok(seen)) => !runtime::same_but_usage(last, seen),
        (last, seen) => last != seen,
    }
}
