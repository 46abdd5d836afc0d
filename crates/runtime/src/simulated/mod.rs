//! The simulated driver: replicas are no processes but records, and what becomes of them follows from what is declared
//! and from the time that every call carries.
//!
//! A [`Conduct`] for each service says how its replicas behave by themselves, [`Faults`] say what goes wrong and when.
//! The records (`run/simulated/REPLICA.json`) are all that runs: a later driver on the same data directory adopts them, with
//! what would have happened meanwhile. Ports are assigned and nothing listens on them; what a probe would find is told by
//! [`ReplicaState::health`].

mod conduct;
mod faults;
mod file;
mod life;
mod schedule;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Capabilities, Deployment, Driver, DriverError, Handle, LimitEnforcement, Limits, LogSource, Metadata,
    ProbeOutcome, RecoveryReport, ReplicaConfig, ReplicaState, SecretValues,
};
use worker::Worker;

pub use conduct::Conduct;
pub use faults::{Fault, FaultKind, FaultTarget, FaultTime, Faults};
pub use file::SimulationError;

/// The file in the data directory that declares conducts and faults.
const FILE: &str = "simulated.jsonl";

/// What this driver keeps of a replica besides what all do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Own {
    /// That of its service when it was started.
    conduct: Conduct,
    /// When it runs, or would if it was not stopped before.
    runs_from: Timestamp,
    /// When it will have done as it was asked, and ended.
    stops_at: Option<Timestamp>,
    /// Whether a fault made it deaf.
    deaf: bool,
    /// Until when its health check fails.
    hung_until: Option<Timestamp>,
}

type Record = crate::record::Record<Own>;

/// How the simulated driver is set up.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedOptions {
    /// The data directory; `run/simulated/` in it belongs to the driver, and in `logs/` those of its replicas.
    pub data_dir: PathBuf,
    /// What goes wrong.
    pub faults: Faults,
    /// How replicas behave, by service; the [usual conduct](Conduct::default) for all others.
    pub conducts: BTreeMap<String, Conduct>,
}

impl SimulatedOptions {
    /// The usual set-up for a data directory: nothing goes wrong.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), faults: Faults::default(), conducts: BTreeMap::new() }
    }

    /// The set-up that the file `simulated.jsonl` of a data directory declares, else the usual one. In it stand faults as for
    /// [`Faults::parse`], and for services an object such as
    /// `{"service": "web", "conduct": {"startAfter": "2s", "stopsIn": "1s", "cpu": 0.1, "memory": "64 MiB"}}`; further fields
    /// are `"deaf": true` instead of `stopsIn`, and `"exit": {"after": "10s", "code": 7}` or with `signal`.
    ///
    /// # Errors
    /// When the file cannot be read, or the first thing in it that is wrong.
    pub fn from_dir(data_dir: impl Into<PathBuf>) -> Result<Self, DriverError> {
        let options = Self::new(data_dir);
        let path = options.data_dir.join(FILE);
        if !path.exists() {
            return Ok(options);
        }
        let (faults, conducts) = file::simulation(&file::text(&path)?, &path.display().to_string())?;
        Ok(Self { faults, conducts, ..options })
    }
}

/// Runs replicas as records.
#[derive(Clone, Debug)]
pub struct SimulatedDriver {
    worker: Arc<Worker>,
}

impl SimulatedDriver {
    /// Prepares the folders of the data directory.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn new(options: SimulatedOptions) -> Result<Self, DriverError> {
        Ok(Self { worker: Arc::new(Worker::new(options)?) })
    }

    /// All logs in the data directory, those of replicas with what is known of them; see
    /// [`ProcessDriver::log_sources`](crate::ProcessDriver::log_sources).
    ///
    /// # Errors
    /// When the folder of logs cannot be read.
    pub fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        self.worker.log_sources(zone)
    }

    /// What any probe of a replica finds: its health at the time that was told last.
    #[must_use]
    pub fn probe(&self, replica: &str) -> ProbeOutcome {
        self.worker.probe(replica)
    }

    /// Files are slow: they are not touched on the threads that serve the network.
    async fn on_worker<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Worker) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let worker = Arc::clone(&self.worker);
        let result = tokio::task::spawn_blocking(move || work(&worker)).await;
        result.unwrap_or_else(|error| Err(DriverError::Worker(error.to_string())))
    }
}

impl Driver for SimulatedDriver {
    fn capabilities(&self) -> Capabilities {
        worker::capabilities()
    }

    async fn recover(&self, now: Timestamp) -> Result<RecoveryReport, DriverError> {
        self.on_worker(move |worker| worker.recover(now)).await
    }

    async fn resolve(&self, config: &ReplicaConfig) -> Result<Metadata, DriverError> {
        let config = config.clone();
        self.on_worker(move |worker| worker.resolve(&config)).await
    }

    async fn deploy(
        &self,
        deployment: &Deployment,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<Handle, DriverError> {
        let (deployment, secrets) = (deployment.clone(), secrets.clone());
        self.on_worker(move |worker| worker.deploy(deployment, &secrets, now)).await
    }

    async fn observe(&self, now: Timestamp) -> Result<Vec<ReplicaState>, DriverError> {
        self.on_worker(move |worker| worker.observe(now)).await
    }

    async fn stop(
        &self,
        replica: &str,
        grace: SignedDuration,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let (replica, cause) = (replica.to_owned(), cause.to_owned());
        self.on_worker(move |worker| worker.stop(&replica, grace, &cause, now)).await
    }

    async fn kill(&self, replica: &str, now: Timestamp) -> Result<(), DriverError> {
        let replica = replica.to_owned();
        self.on_worker(move |worker| worker.kill(&replica, now)).await
    }

    async fn set_limits(&self, replica: &str, limits: &Limits) -> Result<LimitEnforcement, DriverError> {
        let (replica, limits) = (replica.to_owned(), *limits);
        self.on_worker(move |worker| worker.set_limits(&replica, &limits)).await
    }

    async fn adopt(&self, replica: &str, generation: u64) -> Result<(), DriverError> {
        let replica = replica.to_owned();
        self.on_worker(move |worker| worker.adopt(&replica, generation)).await
    }

    async fn forget(&self, replica: &str) -> Result<(), DriverError> {
        let replica = replica.to_owned();
        self.on_worker(move |worker| worker.forget(&replica)).await
    }
}
