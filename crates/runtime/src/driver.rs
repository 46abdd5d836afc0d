//! The contract of drivers.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::kubernetes::KubernetesError;
use crate::simulated::SimulationError;
use crate::{Deployment, DescribeError, Limits, Metadata, PortError, ReplicaConfig, SecretValues};

/// How many past runs of a replica are kept.
pub const MAX_PAST_RUNS: usize = 64;

/// Runs replicas of services.
///
/// # Guarantees
/// - Every call is harmless when repeated; stopping, killing or forgetting what does not exist succeeds.
/// - A replica has at most one live copy, whatever moment the caller dies at.
/// - What was deployed outlives the caller and is adopted by [`Driver::recover`].
/// - Times are the caller's: a driver reads no clock.
/// - A runtime that looks after replicas itself may start one again that ended, or replace it. That is observed as a new
///   run: `started_at` is later, the handle is another, and how the one before ended is among `past_runs`.
pub trait Driver: Send + Sync {
    /// What the driver can do.
    fn capabilities(&self) -> Capabilities;
    /// Takes over what an earlier caller left. Must be called once, before anything else.
    fn recover(&self, now: Timestamp) -> impl Future<Output = Result<RecoveryReport, DriverError>> + Send;
    /// Step 2 of a deployment: ports, program and version. A replica keeps its ports until it is forgotten.
    fn resolve(&self, config: &ReplicaConfig) -> impl Future<Output = Result<Metadata, DriverError>> + Send;
    /// Starts a replica. When it cannot be started, that is observed as [`Exit::NotStarted`] as well; where that is found out
    /// later, by then only.
    fn deploy(
        &self,
        deployment: &Deployment,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> impl Future<Output = Result<Handle, DriverError>> + Send;
    /// The state of all replicas, by id.
    fn observe(&self, now: Timestamp) -> impl Future<Output = Result<Vec<ReplicaState>, DriverError>> + Send;
    /// Asks a replica to stop. `cause` is handed back when it is observed.
    fn stop(
        &self,
        replica: &str,
        grace: SignedDuration,
        cause: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;
    /// Ends a replica and everything it started, at once.
    fn kill(&self, replica: &str, now: Timestamp) -> impl Future<Output = Result<(), DriverError>> + Send;
    /// Changes the limits of a replica while it runs, and tells how they are held; see
    /// [`Capabilities::in_place_limits`]. They are observed in its deployment, whose description stays as it was.
    ///
    /// Memory is not limited to less than the replica holds. When it fails, the limits are as before.
    fn set_limits(
        &self,
        replica: &str,
        limits: &Limits,
    ) -> impl Future<Output = Result<LimitEnforcement, DriverError>> + Send {
        let (replica, _) = (replica.to_owned(), limits);
        async move { Err(DriverError::NotInPlace { replica, why: "what runs it cannot".into() }) }
    }
    /// Says which replicas of a service get traffic from what distributes it there, such as the cluster's own Service; all
    /// others get none. Where nothing does, this does nothing.
    fn route(
        &self,
        service: &str,
        replicas: &[String],
    ) -> impl Future<Output = Result<(), DriverError>> + Send {
        let _ = (service, replicas);
        async { Ok(()) }
    }
    /// Notes a newer generation for a replica that goes on as it is.
    fn adopt(&self, replica: &str, generation: u64) -> impl Future<Output = Result<(), DriverError>> + Send;
    /// Removes the record of a replica that has ended, and its claim on ports.
    fn forget(&self, replica: &str) -> impl Future<Output = Result<(), DriverError>> + Send;
}

/// What a driver can do, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Name of the driver.
    pub driver: String,
    /// How a memory limit is held.
    pub memory_limit: Enforcement,
    /// How a processor limit is held.
    pub cpu_limit: Enforcement,
    /// Which limits can be changed while a replica runs.
    #[serde(default)]
    pub in_place_limits: InPlaceLimits,
    /// Whether the exit code of a replica that was adopted can be told.
    pub exit_code_after_adoption: bool,
    /// Whether replicas share the network of the machine.
    pub host_network: bool,
}

/// Which limits can be changed while a replica runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlaceLimits {
    /// Of processor time.
    pub cpu: bool,
    /// Of memory.
    pub memory: bool,
    /// Why not all, where not all.
    pub why_not: Option<String>,
}

/// How a limit is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// No limit is declared.
    NotRequested,
    /// By a control group, version 1.
    CgroupV1,
    /// By a control group, version 2.
    CgroupV2,
    /// By the node that the replica runs on.
    Node,
    /// By a limit on the address space of each single process: coarser, and reached earlier than resident memory.
    AddressSpace,
    /// Not at all, and why.
    NotEnforced(String),
}

/// How the limits of a replica are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitEnforcement {
    /// The memory limit.
    pub memory: Enforcement,
    /// The processor limit.
    pub cpu: Enforcement,
}

/// Identifies what was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// The replica.
    pub replica: String,
    /// The driver's own name for it, unique over time.
    pub id: String,
    /// Its process, where there is one on this machine.
    pub pid: Option<i32>,
}

/// The state of one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// What it was deployed with; `generation` is the one last adopted. Shared: states are made many times a second.
    #[serde(with = "crate::shared::arc")]
    pub deployment: Arc<Deployment>,
    /// When it was deployed.
    pub started_at: Timestamp,
    /// What it does.
    pub phase: Phase,
    /// What identifies its process, while it has one.
    pub handle: Option<Handle>,
    /// Resources used by its present run; `None` when they cannot be read.
    pub usage: Option<Usage>,
    /// What its image's own health check, or who runs it, says of its present run; `None` where there is no such check.
    #[serde(default)]
    pub health: Option<Health>,
    /// Where its ports are reached; `None` for the loopback interface of this machine. Until it has an address that is told,
    /// a replica that has one of its own cannot be reached.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// How its limits are held.
    pub limits: LimitEnforcement,
    /// Earlier runs, oldest first, at most [`MAX_PAST_RUNS`].
    pub past_runs: Vec<PastRun>,
    /// How many runs there were before those, by how they ended.
    #[serde(default)]
    pub older_runs: OlderRuns,
}

/// Whether nothing differs but what the replicas use, which changes all the time and is no news.
#[must_use]
pub fn same_but_usage(one: &[ReplicaState], other: &[ReplicaState]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same_but_usage(other))
}

impl ReplicaState {
    fn is_same_but_usage(&self, other: &Self) -> bool {
        let Self {
            deployment,
            started_at,
            phase,
            handle,
            usage: _,
            health,
            address,
            limits,
            past_runs,
            older_runs,
        } = self;
        *phase == other.phase
            && *started_at == other.started_at
            && *handle == other.handle
            && *health == other.health
            && *address == other.address
            && *limits == other.limits
            && (Arc::ptr_eq(deployment, &other.deployment) || *deployment == other.deployment)
            // Runs are only ever added, and those that are dropped are counted.
            && past_runs.len() == other.past_runs.len()
            && *older_runs == other.older_runs
    }
}

/// Runs that are too old to be listed, counted by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderRuns {
    /// Ended by themselves with code 0.
    pub succeeded: u32,
    /// Ended by themselves in any other way.
    pub failed: u32,
    /// Were asked to stop, by cause.
    pub asked: std::collections::BTreeMap<String, u32>,
}

impl OlderRuns {
    pub(crate) fn count(&mut self, run: &PastRun) {
        let counter = match (&run.asked, &run.exit) {
            (Some(cause), _) => self.asked.entry(cause.clone()).or_default(),
            (None, Exit::Code(0)) => &mut self.succeeded,
            (None, _) => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.asked.values().fold(self.succeeded.saturating_add(self.failed), |sum, n| sum.saturating_add(*n))
    }
}

/// What a replica does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// Being started.
    Starting,
    /// Its process runs.
    Running,
    /// Asked to stop; its process still runs.
    Stopping {
        /// When it was asked.
        since: Timestamp,
        /// Time allowed.
        grace: SignedDuration,
        /// Why, in the caller's words.
        cause: String,
        /// Whether it was killed already.
        killed: bool,
    },
    /// No process is left.
    Exited {
        /// How it ended.
        exit: Exit,
        /// When that was noticed.
        at: Timestamp,
        /// Why it had been asked to stop, if it had.
        asked: Option<String>,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "exit", content = "detail")]
pub enum Exit {
    /// By itself with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed at its memory limit.
    OutOfMemory,
    /// It could not be started, and why.
    NotStarted(String),
    /// It ended while nobody watched; the exit code is lost.
    Unknown,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRun {
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Hash of the description it ran.
    pub description_hash: String,
    /// The run of a batch job.
    pub run: Option<String>,
    /// How it ended.
    pub exit: Exit,
    /// Why it had been asked to stop, if it had.
    pub asked: Option<String>,
}

/// Resources used by the present run of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time so far, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Whether everything the replica started is counted, or its first process only.
    pub whole_group: bool,
}

/// What a health check that an image brings along says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failures: u32,
    /// What the last check wrote, at most 512 bytes.
    pub output: String,
    /// Since when it is so, where that is known.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// How a replica is by its own health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthStatus {
    /// Not known yet.
    Starting,
    /// The last check was good.
    Healthy,
    /// As many checks in a row failed as the image allows.
    Unhealthy,
}

/// What [`Driver::recover`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryReport {
    /// Replicas that still run and go on.
    pub adopted: Vec<String>,
    /// Replicas that ended meanwhile.
    pub ended: Vec<String>,
    /// Processes without a record that were ended, as `replica (pid)`.
    pub orphans: Vec<String>,
    /// State files that could not be read, with the reason; they were set aside.
    pub unreadable: Vec<String>,
}

/// Why a driver could not do what it was asked.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The configuration is wrong.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// A port cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The program does not exist or cannot be run.
    #[error("program {program:?} of {replica} {why}")]
    Program {
        /// The replica.
        replica: String,
        /// The program as declared.
        program: String,
        /// What is wrong.
        why: String,
    },
    /// The service is declared for another runtime.
    #[error("{replica} cannot run on the {driver} runtime: {why}")]
    WrongRuntime {
        /// The replica.
        replica: String,
        /// The driver.
        driver: &'static str,
        /// What it lacks or has too much.
        why: &'static str,
    },
    /// An image is not there and cannot be had.
    #[error("image {image} of {replica} cannot be had: {why}")]
    Image {
        /// The replica.
        replica: String,
        /// The image as declared.
        image: String,
        /// Why, and what to do.
        why: String,
    },
    /// Something that takes long is still under way; the same call tells later how it went.
    #[error("{replica} waits: {what}")]
    Preparing {
        /// The replica.
        replica: String,
        /// What is under way.
        what: String,
    },
    /// A container could not be made or started.
    #[error("the container of {replica} could not be {what}: {why}")]
    Container {
        /// The replica.
        replica: String,
        /// Made or started.
        what: &'static str,
        /// Why, in the words of the daemon.
        why: String,
    },
    /// The daemon that runs the containers cannot be asked. What it was asked last may have happened or not; that is
    /// found out when it answers again.
    #[error(
        "the Docker daemon at {socket} cannot be asked: {why}; start it, or let this user open the socket"
    )]
    Daemon {
        /// Where it should listen.
        socket: PathBuf,
        /// Why not.
        why: String,
    },
    /// The cluster cannot be asked now. What it was asked last may have happened or not; that is found out when it answers
    /// again.
    #[error("{0}; {advice}", advice = .0.advice())]
    Away(KubernetesError),
    /// The simulated runtime cannot be asked now, by a declared fault. What it was asked last may have happened or not; that is
    /// found out when it answers again.
    #[error("the simulated runtime cannot be asked: {why}; that is a declared fault, wait until it is over")]
    SimulatedAway {
        /// How long, or which answer is lost.
        why: String,
    },
    /// The faults and conducts of the simulated runtime are declared wrongly.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The cluster does not do what it is asked for, and will not by itself.
    #[error("{0}; {advice}", advice = .0.advice())]
    Cluster(KubernetesError),
    /// The data directory belongs to another cluster.
    #[error(
        "the cluster at {server} is not the one whose services {data_dir} holds (its kube-system namespace has id {found}, \
         expected {expected}); choose the context of that cluster, or another data directory"
    )]
    WrongCluster {
        /// Address of the API server.
        server: String,
        /// The data directory.
        data_dir: PathBuf,
        /// The id of this cluster.
        found: String,
        /// The id of the cluster that was used before.
        expected: String,
    },
    /// What is declared cannot be there in a cluster.
    #[error("{replica} cannot run in a cluster: {why}")]
    Unfit {
        /// The replica.
        replica: String,
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// The daemon refuses something for a reason of its own.
    #[error("the Docker daemon refuses to {what}: {why}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Why, in its words.
        why: String,
    },
    /// A secret value was not handed over.
    #[error("variable {variable} of {replica} needs key {key:?} of secret {secret:?}, which has no value")]
    SecretMissing {
        /// The replica.
        replica: String,
        /// The variable.
        variable: String,
        /// The secret.
        secret: String,
        /// The key.
        key: String,
    },
    /// Its limits cannot be changed while it runs.
    #[error("the limits of {replica} cannot be changed while it runs: {why}")]
    NotInPlace {
        /// The replica.
        replica: String,
        /// Why not.
        why: String,
    },
    /// A live copy with another description.
    #[error("{0} runs already with another description; stop it first")]
    AlreadyRunning(String),
    /// It is not known.
    #[error("no replica {0:?} is known")]
    Unknown(String),
    /// It still runs.
    #[error("{0} still runs; stop it before it is forgotten")]
    StillRunning(String),
    /// The start failed.
    #[error("{replica} could not be started")]
    Start {
        /// The replica.
        replica: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be read or written.
    #[error("could not {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A deployment was interrupted on purpose, to test recovery.
    #[error("interrupted after {0}")]
    Interrupted(&'static str),
    /// The driver's worker ended abnormally.
    #[error("the driver's worker ended abnormally: {0}")]
    Worker(String),
}

impl From<KubernetesError> for DriverError {
    fn from(error: KubernetesError) -> Self {
        if error.is_temporary() { Self::Away(error) } else { Self::Cluster(error) }
    }
}

impl DriverError {
    /// The message with its causes, for a status.
    #[must_use]
    pub fn full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    }
}

/// Assigned ports of many replicas.
pub(crate) type PortTable = BTreeMap<String, BTreeMap<String, u16>>;
