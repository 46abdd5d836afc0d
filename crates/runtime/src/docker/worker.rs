//! What the driver holds, and how a replica is resolved and deployed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

use super::create::Start;
use super::daemon::{Daemon, Fault};
use super::exec;
use super::follow::{Copies, Source};
use super::found::inspect;
use super::image::Images;
use super::measure::Measured;
use super::names::container_name;
use super::start::{self, control_groups, introduce, remove};
use super::{ContainerStep, DockerOptions, Record};
use crate::driver::PortTable;
use crate::ports::taken_from;
use crate::shared::{file_error, instance_of, listed_logs, make_private};
use crate::{
    Capabilities, Deployment, DriverError, Enforcement, Exit, Handle, InPlaceLimits, LimitEnforcement,
    LogSource, Metadata, Phase, ProbeOutcome, RecoveryReport, ReplicaConfig, ReplicaState, SecretValues,
    assign_ports,
};

/// How long a container is kept for the end of its log before it is removed.
const WHOLE_LOG: Duration = Duration::from_secs(30);

/// Everything that the driver holds.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) options: DockerOptions,
    /// Tells this data directory from others of the daemon.
    pub(super) instance: String,
    pub(super) run: PathBuf,
    pub(super) logs: PathBuf,
    pub(super) daemon: Arc<Daemon>,
    pub(super) images: Arc<Images>,
    /// One lock: what is asked of the daemon in between has its time.
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) records: BTreeMap<String, Record>,
    /// Ports promised by `resolve` to replicas that have no record yet.
    pub(super) promised: PortTable,
    launches: u64,
    pub(super) copies: Copies,
    /// When usage was last measured, what is being measured, and what was found by container.
    pub(super) measured_at: Option<Timestamp>,
    pub(super) measuring: Option<JoinHandle<BTreeMap<String, Measured>>>,
    pub(super) measured: BTreeMap<String, Measured>,
    /// Whether the daemon was there at the latest look: an end that is found after it was away may be its doing.
    pub(super) steady: bool,
}

impl Worker {
    pub(super) fn new(options: DockerOptions) -> Result<Self, DriverError> {
        let (run, logs) = (options.data_dir.join("run"), options.data_dir.join("logs"));
        make_private(&run)?;
        make_private(&logs)?;
        let run = run.join("docker");
        make_private(&run)?;
        let instance = instance_of(&options.data_dir)?;
        // Absolute, so that the paths of logs stay true.
        let logs = logs.canonicalize().map_err(file_error("find", &logs))?;
        let daemon = Arc::new(Daemon::new(options.socket.clone()));
        let images = Images::new(Arc::clone(&daemon), instance.clone(), run.clone(), options.patience);
        let state = State {
            records: BTreeMap::new(),
            promised: PortTable::new(),
            launches: 0,
            copies: Copies::new(Arc::clone(&daemon)),
            measured_at: None,
            measuring: None,
            measured: BTreeMap::new(),
            steady: false,
        };
        Ok(Self { options, instance, run, logs, daemon, images: Arc::new(images), state: Mutex::new(state) })
    }

    pub(super) fn record_path(&self, replica: &str) -> PathBuf {
        self.run.join(format!("{replica}.json"))
    }

    pub(super) fn log_path(&self, replica: &str) -> PathBuf {
        self.logs.join(format!("{replica}.log"))
    }

    pub(super) fn cursor_path(&self, replica: &str) -> PathBuf {
        self.run.join(format!("{replica}.cursor"))
    }

    /// The log of the container that a record is about.
    pub(super) fn source(&self, record: &Record) -> Option<Source> {
        let replica = record.deployment.replica.clone();
        Some(Source {
            container: record.own.container.clone()?,
            path: self.log_path(&replica),
            cursor: self.cursor_path(&replica),
            rule: record.deployment.logs,
            replica,
        })
    }

    pub(super) async fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        let mut sources = listed_logs(&self.logs, zone).await?;
        let state = self.state.lock().await;
        for (replica, source) in &mut sources {
            if let Some(record) = state.records.get(replica) {
                record.describe_log(source);
            }
        }
        Ok(sources.into_values().collect())
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            driver: "docker".into(),
            memory_limit: control_groups(),
            cpu_limit: control_groups(),
            in_place_limits: InPlaceLimits { cpu: true, memory: true, why_not: None },
            exit_code_after_adoption: true,
            host_network: false,
        }
    }

    pub(super) async fn probe(&self, replica: &str, command: &[String], timeout: Duration) -> ProbeOutcome {
        let known = {
            let state = self.state.lock().await;
            let live = state.records.get(replica).filter(|record| record.is_live());
            live.and_then(|record| record.own.container.clone())
        };
        match known {
            Some(container) => exec::probe(&self.daemon, &container, command, timeout).await,
            None => ProbeOutcome {
                success: false,
                duration: Duration::ZERO,
                message: format!("{replica} has no container that runs"),
            },
        }
    }

    /// Writes a record, on a thread where that disturbs nobody.
    pub(super) async fn write(&self, record: &Record) -> Result<(), DriverError> {
        let (path, record) = (self.record_path(&record.deployment.replica), record.clone());
        let written = spawn_blocking(move || record.save(&path).map_err(file_error("write", &path))).await;
        written.unwrap_or_else(|error| Err(DriverError::Worker(error.to_string())))
    }

    /// Writes a record whose truth lies with the container; a failure is reported and repaired by the next one.
    pub(super) async fn save(&self, record: &Record) {
        if let Err(error) = self.write(record).await {
            tracing::error!(error = error.full(), "the state of a replica could not be written");
        }
    }

    // ---- resolving ----

    pub(super) async fn resolve(&self, config: &ReplicaConfig) -> Result<Metadata, DriverError> {
        let (replica, service) = (&config.replica, &config.service);
        let container = service.container.as_ref().ok_or_else(|| no_image(replica))?;
        let version = self.images.of(replica, &service.service, &container.image, container.pull).await?;
        let mut state = self.state.lock().await;
        let ports = match state.records.get(replica).filter(|record| record.is_live()) {
            Some(record) => record.deployment.ports.clone(),
            None => {
                let kept = state.ports_of(replica);
                assign_ports(replica, &service.ports, &kept, &state.taken_from(replica))?
            }
        };
        state.promised.insert(replica.clone(), ports.clone());
        let mut labels = service.labels.clone();
        labels.insert("sos.energy/driver".into(), "docker".into());
        labels.insert("sos.energy/instance".into(), self.instance.clone());
        let program = service.program.clone().into();
        Ok(Metadata { ports, program, version, log: self.log_path(replica), labels })
    }

    // ---- deploying ----

    pub(super) async fn deploy(
        &self,
        deployment: &Deployment,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<Handle, DriverError> {
        let mut state = self.state.lock().await;
        let replica = &deployment.replica;
        if state.records.get(replica).is_some_and(|record| record.phase == Phase::Starting) {
            // Its outcome was not known; now it will be.
            self.look(&mut state, now, &mut RecoveryReport::default()).await?;
        }
        let old = state.records.get(replica).cloned();
        if let Some(record) = old.as_ref().filter(|record| record.is_live()) {
            return record
                .runs(deployment)
                .then(|| handle(record))
                .flatten()
                .ok_or_else(|| DriverError::AlreadyRunning(replica.clone()));
        }
        let mut record = self.begin(&mut state, deployment, old.as_ref(), now);
        if let Err(error) = self.prepare(&mut state, deployment, old.as_ref(), secrets, now).await {
            if !matches!(error, DriverError::Daemon { .. }) {
                self.abandon(&mut state, record, &error, now).await;
            }
            return Err(error);
        }
        match self.launch(&mut record, secrets, now).await {
            Err(error @ DriverError::Interrupted(_)) => Err(error),
            // It may run or not; the next look finds out.
            Err(error @ DriverError::Daemon { .. }) => {
                state.steady = false;
                state.records.insert(replica.clone(), record);
                Err(error)
            }
            Err(error) => {
                let name = container_name(&self.instance, replica);
                if let Err(fault) = remove(&self.daemon, &name).await {
                    tracing::warn!(replica, ?fault, "a container that did not start is left");
                }
                self.abandon(&mut state, record, &error, now).await;
                Err(error)
            }
            Ok(handle) => {
                if let Some(source) = self.source(&record) {
                    state.copies.tend(&source, false, now).await;
                }
                state.records.insert(replica.clone(), record);
                Ok(handle)
            }
        }
    }

    fn begin(
        &self,
        state: &mut State,
        deployment: &Deployment,
        old: Option<&Record>,
        now: Timestamp,
    ) -> Record {
        state.launches += 1;
        // Unlike any other, after a restart too.
        let launch = format!("{}-{}-{}", now.as_nanosecond(), std::process::id(), state.launches);
        let limits = LimitEnforcement { memory: Enforcement::NotRequested, cpu: Enforcement::NotRequested };
        let past_runs = old.cloned().map(Record::into_past_runs).unwrap_or_default();
        Record::new(deployment.clone(), now, launch, limits, past_runs)
    }

    /// Everything that can be done and found wrong before the intent is written.
    async fn prepare(
        &self,
        state: &mut State,
        deployment: &Deployment,
        old: Option<&Record>,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let replica = &deployment.replica;
        let container = deployment.container.clone().ok_or_else(|| no_image(replica))?;
        let (checked, values, taken) = (deployment.clone(), secrets.clone(), state.taken_from(replica));
        let network = container.network.clone();
        let check = spawn_blocking(move || start::check(&checked, &container, &values, &taken)).await;
        check.unwrap_or_else(|error| Err(DriverError::Worker(error.to_string())))?;
        if let Some(old) = old {
            self.clear(state, old, now).await?;
        }
        let made = start::ensure_network(&self.daemon, &self.instance, &network).await;
        made.map_err(|fault| self.daemon.error("make the network", fault))
    }

    /// Removes the container of a run that is over, with its log copied.
    pub(super) async fn clear(
        &self,
        state: &mut State,
        record: &Record,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let replica = &record.deployment.replica;
        let Some(source) = self.source(record) else { return Ok(()) };
        let found = inspect(&self.daemon, &source.container).await;
        let there = found.map_err(|fault| self.daemon.error("look at a container", fault))?.is_some();
        if there {
            if !state.copies.drain(&source, WHOLE_LOG, now).await {
                tracing::warn!(replica, "the end of the log of a container could not be copied");
            }
            let removed = remove(&self.daemon, &source.container).await;
            removed.map_err(|fault| self.daemon.error("remove a container", fault))?;
        }
        state.copies.forget(replica, Some(&source.container)).await;
        state.measured.remove(&source.container);
        Ok(())
    }

    async fn launch(
        &self,
        record: &mut Record,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<Handle, DriverError> {
        self.write(record).await?;
        self.interrupt(ContainerStep::Intent, "writing the intent")?;
        let deployment = record.deployment.clone();
        let replica = deployment.replica.clone();
        let Some(container) = &deployment.container else { return Err(DriverError::Unknown(replica)) };
        let wanted = Start {
            deployment: &deployment,
            container,
            instance: &self.instance,
            launch: &record.launch,
            started_at: now,
            secrets,
        };
        let failed = |what| {
            let replica = replica.clone();
            move |fault| match fault {
                Fault::Refused { message: why, .. } => DriverError::Container { replica, what, why },
                away @ Fault::Away(_) => self.daemon.error(what, away),
            }
        };
        let (id, limits) = start::create(&self.daemon, &wanted).await.map_err(failed("made"))?;
        record.limits = limits;
        record.own.container = Some(id.clone());
        self.interrupt(ContainerStep::Create, "making the container")?;
        start::start(&self.daemon, &id).await.map_err(failed("started"))?;
        self.interrupt(ContainerStep::Start, "starting the container")?;
        introduce(&self.daemon, record, &id).await.map_err(failed("looked at"))?;
        record.phase = Phase::Running;
        // It runs. Should this write fail, the intent and the labels lead to it all the same.
        self.save(record).await;
        handle(record).ok_or(DriverError::Unknown(replica))
    }

    async fn abandon(&self, state: &mut State, mut record: Record, error: &DriverError, now: Timestamp) {
        record.phase = Phase::Exited { exit: Exit::NotStarted(error.full()), at: now, asked: None };
        record.own.container = None;
        self.save(&record).await;
        state.records.insert(record.deployment.replica.clone(), record);
    }

    fn interrupt(&self, step: ContainerStep, what: &'static str) -> Result<(), DriverError> {
        if self.options.interrupt_after == Some(step) {
            return Err(DriverError::Interrupted(what));
        }
        Ok(())
    }
}

impl State {
    pub(super) fn state_of(&self, record: &Record) -> ReplicaState {
        let measured = record.own.container.as_ref().filter(|_| record.is_live());
        let measured = measured.and_then(|id| self.measured.get(id)).cloned().unwrap_or_default();
        record.state(handle(record), measured.usage, measured.health)
    }

    /// The ports that a replica had or was promised.
    fn ports_of(&self, replica: &str) -> BTreeMap<String, u16> {
        let recorded = self.records.get(replica).map(|record| &record.deployment.ports);
        recorded.or_else(|| self.promised.get(replica)).cloned().unwrap_or_default()
    }

    /// The ports of all other replicas, whether they run or not.
    fn taken_from(&self, replica: &str) -> BTreeMap<u16, String> {
        let recorded = self.records.iter().map(|(id, record)| (id, &record.deployment.ports));
        taken_from(replica, recorded.chain(&self.promised))
    }
}

fn no_image(replica: &str) -> DriverError {
    let why = "it declares neither an image nor a folder to build one from";
    DriverError::WrongRuntime { replica: replica.into(), driver: "docker", why }
}

fn handle(record: &Record) -> Option<Handle> {
    let id = record.own.container.clone().filter(|_| record.is_live())?;
    Some(Handle { replica: record.deployment.replica.clone(), id, pid: record.own.pid })
}
