//! The Docker driver: replicas are containers of the daemon behind a unix socket.
//!
//! A container outlives `sos` and is found again by its labels: the data directory, the replica, and the start it is of.
//! The name of a container is made of data directory and replica, and names are unique in a daemon: whatever moment the
//! caller dies at, there is at most one. A record (`run/docker/REPLICA.json`) keeps what labels cannot: how earlier runs
//! ended, a newer generation, a request to stop. Where the record is lost the labels alone lead to adoption.
//!
//! While the daemon is away every call that needs it fails with [`DriverError::Daemon`], and nothing that was asked for
//! is taken for done; the next look after its return finds out.

mod context;
mod create;
mod daemon;
mod end;
mod exec;
mod follow;
mod found;
mod ignore;
mod image;
mod limits;
mod measure;
mod names;
mod observe;
mod once;
mod start;
mod worker;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::shared::file_error;
use crate::{
    Capabilities, Deployment, Driver, DriverError, Handle, LimitEnforcement, Limits, LogAnswer, LogQuery,
    LogQueryError, LogReader, LogSource, Metadata, ProbeOutcome, RecoveryReport, ReplicaConfig, ReplicaState,
    SecretValues, search,
};
use worker::Worker;

/// Where the daemon listens unless its variable `DOCKER_HOST` says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

pub use once::{OnceContainer, OnceOutcome, remove_ended, run_once};

/// The socket of `DOCKER_HOST` (`unix://…`) or `/var/run/docker.sock`.
#[must_use]
pub fn docker_socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").ok();
    host.as_deref().and_then(|host| host.strip_prefix("unix://")).unwrap_or(SOCKET).into()
}

/// How the Docker driver is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerOptions {
    /// The data directory; `run/docker/` and `logs/` in it belong to the driver.
    pub data_dir: PathBuf,
    /// The socket of the daemon.
    pub socket: PathBuf,
    /// How long [`Driver::resolve`] waits for an image that is fetched or built, before it fails with
    /// [`DriverError::Preparing`] and that goes on by itself.
    pub patience: Duration,
    /// Leave a deployment as a crash after this step would. For tests of recovery.
    pub interrupt_after: Option<ContainerStep>,
}

impl DockerOptions {
    /// The usual set-up for a data directory: the socket of `DOCKER_HOST` (`unix://…`) or `/var/run/docker.sock`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            socket: docker_socket(),
            patience: Duration::from_millis(500),
            interrupt_after: None,
        }
    }
}

/// The steps of a deployment between which a crash is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerStep {
    /// The intent is on disk, no container exists.
    Intent,
    /// The container exists and was not started.
    Create,
    /// The container runs, the record does not know it yet.
    Start,
}

impl ContainerStep {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Intent, Self::Create, Self::Start];
}

/// What this driver keeps of a replica besides what all do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    /// The container, from the moment it is known.
    container: Option<String>,
    /// The first process in it, as the machine counts.
    pid: Option<i32>,
    /// The signal that asks its program to end, where that is not SIGTERM.
    stop_signal: Option<String>,
    /// Whether the signal of [`Phase::Stopping`](crate::Phase::Stopping) was sent.
    signalled: bool,
}

type Record = crate::record::Record<Own>;

/// Runs replicas as containers.
#[derive(Clone, Debug)]
pub struct DockerDriver {
    worker: Arc<Worker>,
}

impl DockerDriver {
    /// Prepares the folders of the data directory. The daemon is asked first by [`Driver::recover`].
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn new(options: DockerOptions) -> Result<Self, DriverError> {
        Ok(Self { worker: Arc::new(Worker::new(options)?) })
    }

    /// The log of a replica, from at most `lines` lines and `max_bytes` bytes before its end.
    ///
    /// # Errors
    /// When the log exists and cannot be read.
    pub fn logs(&self, replica: &str, lines: usize, max_bytes: u64) -> Result<LogReader, DriverError> {
        let path = self.worker.log_path(replica);
        LogReader::tail(&path, lines, max_bytes).map_err(file_error("read", &path))
    }

    /// All logs in the data directory, those of containers with what is known of them; see
    /// [`ProcessDriver::log_sources`](crate::ProcessDriver::log_sources).
    ///
    /// # Errors
    /// When the folder of logs cannot be read.
    pub async fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        self.worker.log_sources(zone).await
    }

    /// Searches all logs in the data directory, on a thread where that disturbs nobody; see [`search`].
    ///
    /// # Errors
    /// When the folder of logs cannot be read; in the inner result when the query is wrong.
    pub async fn search_logs(
        &self,
        query: LogQuery,
        zone: TimeZone,
    ) -> Result<Result<LogAnswer, LogQueryError>, DriverError> {
        let sources = self.worker.log_sources(&zone).await?;
        let found = tokio::task::spawn_blocking(move || search(&sources, &query)).await;
        found.map_err(|error| DriverError::Worker(error.to_string()))
    }

    /// Runs a command inside the container of a replica; good when it exits with code 0 within `timeout`. What takes
    /// longer counts as failed and goes on inside.
    pub async fn probe(&self, replica: &str, command: &[String], timeout: Duration) -> ProbeOutcome {
        self.worker.probe(replica, command, timeout).await
    }

    /// Goes on to its end also when nobody waits for it any more: a start that is broken off in the middle would look
    /// like a crash.
    async fn to_the_end<T, F>(&self, work: impl FnOnce(Arc<Worker>) -> F) -> Result<T, DriverError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DriverError>> + Send + 'static,
    {
        let result = tokio::spawn(work(Arc::clone(&self.worker))).await;
        result.unwrap_or_else(|error| Err(DriverError::Worker(error.to_string())))
    }
}

impl Driver for DockerDriver {
    fn capabilities(&self) -> Capabilities {
        self.worker.capabilities()
    }

    async fn recover(&self, now: Timestamp) -> Result<RecoveryReport, DriverError> {
        self.to_the_end(move |worker| async move { worker.recover(now).await }).await
    }

    async fn resolve(&self, config: &ReplicaConfig) -> Result<Metadata, DriverError> {
        self.worker.resolve(config).await
    }

    async fn deploy(
        &self,
        deployment: &Deployment,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<Handle, DriverError> {
        let (deployment, secrets) = (deployment.clone(), secrets.clone());
        self.to_the_end(move |worker| async move { worker.deploy(&deployment, &secrets, now).await }).await
    }

    async fn observe(&self, now: Timestamp) -> Result<Vec<ReplicaState>, DriverError> {
        self.to_the_end(move |worker| async move { worker.observe(now).await }).await
    }

    async fn stop(
        &self,
        replica: &str,
        grace: SignedDuration,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let (replica, cause) = (replica.to_owned(), cause.to_owned());
        self.to_the_end(move |worker| async move { worker.stop(&replica, grace, &cause, now).await }).await
    }

    async fn kill(&self, replica: &str, now: Timestamp) -> Result<(), DriverError> {
        let replica = replica.to_owned();
        self.to_the_end(move |worker| async move { worker.kill(&replica, now).await }).await
    }

    async fn set_limits(&self, replica: &str, limits: &Limits) -> Result<LimitEnforcement, DriverError> {
        let (replica, limits) = (replica.to_owned(), *limits);
        self.to_the_end(move |worker| async move { worker.set_limits(&replica, &limits).await }).await
    }

    async fn adopt(&self, replica: &str, generation: u64) -> Result<(), DriverError> {
        let replica = replica.to_owned();
        self.to_the_end(move |worker| async move { worker.adopt(&replica, generation).await }).await
    }

    async fn forget(&self, replica: &str) -> Result<(), DriverError> {
        let replica = replica.to_owned();
        self.to_the_end(move |worker| async move { worker.forget(&replica).await }).await
    }
}
