//! The process driver: replicas are processes of this machine.
//!
//! A replica is a session of its own that outlives `sos`: it writes its log itself and is found again by its record
//! (`run/REPLICA.json`). Its end by `systemctl stop` needs `KillMode=process` in a unit file, or the service manager
//! ends it together with `sos`.

mod cgroup;
mod identity;
mod launch;
mod limits;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Capabilities, Deployment, Driver, DriverError, Handle, LimitEnforcement, Limits, LogAnswer, LogQuery,
    LogQueryError, LogReader, LogSource, Metadata, RecoveryReport, ReplicaConfig, ReplicaState, SecretValues,
    search,
};
use cgroup::ReplicaCgroup;
use identity::Identity;
use worker::Worker;

/// What this driver keeps of a replica besides what all do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    /// The process, from the moment it is known.
    identity: Option<Identity>,
    cgroup: Option<ReplicaCgroup>,
}

type Record = crate::record::Record<Own>;

/// How the process driver is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessOptions {
    /// The data directory; `run/` and `logs/` in it belong to the driver.
    pub data_dir: PathBuf,
    /// Whether to use control groups where the machine has them.
    pub control_groups: bool,
    /// Leave a deployment as a crash after this step would. For tests of recovery.
    pub interrupt_after: Option<DeployStep>,
}

impl ProcessOptions {
    /// The usual set-up for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), control_groups: true, interrupt_after: None }
    }
}

/// The steps of a deployment between which a crash is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeployStep {
    /// The intent is on disk, no process exists.
    Intent,
    /// The control group exists, no process does.
    Group,
    /// The process runs, the record does not know it yet.
    Launch,
}

impl DeployStep {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Intent, Self::Group, Self::Launch];
}

/// Runs replicas as processes of this machine.
#[derive(Clone, Debug)]
pub struct ProcessDriver {
    worker: Arc<Worker>,
}

impl ProcessDriver {
    /// Prepares the folders of the data directory.
    ///
    /// # Errors
    /// When the data directory cannot be written or `/proc` cannot be read.
    pub fn new(options: ProcessOptions) -> Result<Self, DriverError> {
        Ok(Self { worker: Arc::new(Worker::new(options)?) })
    }

    /// The log of a replica, from at most `lines` lines and `max_bytes` bytes before its end.
    ///
    /// # Errors
    /// When the log exists and cannot be read.
    pub fn logs(&self, replica: &str, lines: usize, max_bytes: u64) -> Result<LogReader, DriverError> {
        let path = self.worker.log_path(replica);
        LogReader::tail(&path, lines, max_bytes).map_err(|source| DriverError::File {
            what: "read",
            path,
            source,
        })
    }

    /// All logs in the data directory: those of replicas that are known, of others whose files are left, and of `sos`
    /// itself (service and replica `sos`, file `logs/sos.log`). Times without a zone are in `zone` (see
    /// [`local_zone`](crate::local_zone)) or where the service declares a variable `TZ`, in that.
    ///
    /// # Errors
    /// When the folder of logs cannot be read.
    pub fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        self.worker.log_sources(zone)
    }

    /// Searches all logs in the data directory, on a thread where that disturbs nobody; see [`search`]. It goes on there
    /// when nobody waits for it any more, so the caller bounds how many run at once.
    ///
    /// # Errors
    /// When the folder of logs cannot be read; in the inner result when the query is wrong.
    pub async fn search_logs(
        &self,
        query: LogQuery,
        zone: TimeZone,
    ) -> Result<Result<LogAnswer, LogQueryError>, DriverError> {
        self.on_worker(move |worker| Ok(search(&worker.log_sources(&zone)?, &query))).await
    }

    /// Files and processes are slow: they are not touched on the threads that serve the network.
    async fn on_worker<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Worker) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let worker = Arc::clone(&self.worker);
        let result = tokio::task::spawn_blocking(move || work(&worker)).await;
        result.unwrap_or_else(|error| Err(DriverError::Worker(error.to_string())))
    }
}

impl Driver for ProcessDriver {
    fn capabilities(&self) -> Capabilities {
        self.worker.capabilities()
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
        self.on_worker(move |worker| worker.deploy(&deployment, &secrets, now)).await
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
