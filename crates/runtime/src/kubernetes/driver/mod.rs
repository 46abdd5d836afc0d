//! The Kubernetes driver: replicas are pods of Deployments, one Deployment for each service and revision.
//!
//! A Deployment's number of replicas is how many records of its revision want a pod ([`Own::wanted`]); which pod is which
//! replica is decided here, once, and kept on the pod as a label. All of it is a comparison of records with pods
//! (`settle.rs`) that any look repeats: whoever dies in between leaves it to the next one. A record
//! (`run/kubernetes/REPLICA.json`) is written before the cluster is asked for anything; where it is lost, labels lead
//! to adoption.
//!
//! Pods are known by a watch: a look asks the cluster nothing as long as nothing changes. While the cluster is away calls
//! fail with [`DriverError::Away`], and what was known stays.

mod end;
mod limits;
mod logs;
mod names;
mod objects;
mod pod;
mod settle;
mod worker;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::KubeconfigSource;
use crate::shared::file_error;
use crate::{
    Capabilities, Deployment, Driver, DriverError, Handle, LimitEnforcement, Limits, LogReader, LogSource,
    Metadata, RecoveryReport, ReplicaConfig, ReplicaState, SecretValues,
};
pub(crate) use objects::objects_of;
use worker::Worker;

/// How the Kubernetes driver is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// The data directory; `run/kubernetes/` and `logs/` in it belong to the driver.
    pub data_dir: PathBuf,
    /// Tells this driver from others of the data directory, where there are several: lower-case letters, digits and `-`, at
    /// most 16. It has the folder `run/kubernetes/NAME/` then, and touches nothing that the others have made.
    pub name: Option<String>,
    /// Which cluster, and as whom.
    pub source: KubeconfigSource,
    /// The namespace, which has to exist; by default that of the context.
    pub namespace: Option<String>,
    /// Leave a deployment as a crash after this step would. For tests of recovery.
    pub interrupt_after: Option<ClusterStep>,
}

impl KubernetesOptions {
    /// The usual set-up for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, source: KubeconfigSource) -> Self {
        Self { data_dir: data_dir.into(), name: None, source, namespace: None, interrupt_after: None }
    }

    /// Where the driver keeps its records.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let all = self.data_dir.join("run/kubernetes");
        self.name.as_ref().map_or(all.clone(), |name| all.join(name))
    }
}

/// The steps of a deployment between which a crash is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterStep {
    /// The intent is on disk, the cluster was asked for nothing.
    Intent,
    /// What the replica needs is there: secret values, the Service.
    Objects,
    /// The Deployment wants one more pod, the record does not know it yet.
    Apply,
}

impl ClusterStep {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Intent, Self::Objects, Self::Apply];
}

/// A pod, told from all others that have had its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct PodRef {
    name: String,
    uid: String,
}

/// What this driver keeps of a replica besides what all do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    /// Whether the Deployment is to have a pod for it.
    wanted: bool,
    /// Whether everything its pod needs was in the cluster once.
    prepared: bool,
    /// Its pod, once it has one.
    pod: Option<PodRef>,
    /// The pod of its run before, which has to be gone before the next one is asked for.
    leaving: Option<PodRef>,
    /// How often its container had been started again when the present run began.
    restarts: u32,
    /// Whether the cluster was asked to end the pod as [`Phase::Stopping`](crate::Phase::Stopping) says.
    asked: bool,
    /// The limits of its description, where those of its pod were changed.
    #[serde(default)]
    declared: Option<Limits>,
    /// Whether it gets traffic from the cluster's Service.
    #[serde(default)]
    traffic: bool,
}

type Record = crate::record::Record<Own>;

/// Runs replicas as pods.
#[derive(Clone, Debug)]
pub struct KubernetesDriver {
    worker: Arc<Worker>,
}

impl KubernetesDriver {
    /// Prepares the folders of the data directory. The cluster is asked first by [`Driver::recover`].
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn new(options: KubernetesOptions) -> Result<Self, DriverError> {
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

    /// All logs in the data directory, those of pods with what is known of them; see
    /// [`ProcessDriver::log_sources`](crate::ProcessDriver::log_sources).
    ///
    /// # Errors
    /// When the folder of logs cannot be read.
    pub async fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        self.worker.log_sources(zone).await
    }

    /// Goes on to its end also when nobody waits for it any more: what is broken off in the middle would look like a crash.
    async fn to_the_end<T, F>(&self, work: impl FnOnce(Arc<Worker>) -> F) -> Result<T, DriverError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DriverError>> + Send + 'static,
    {
        let result = tokio::spawn(work(Arc::clone(&self.worker))).await;
        result.unwrap_or_else(|error| Err(DriverError::Worker(error.to_string())))
    }
}

impl Driver for KubernetesDriver {
    fn capabilities(&self) -> Capabilities {
        self.worker.capabilities()
    }

    async fn recover(&self, now: Timestamp) -> Result<RecoveryReport, DriverError> {
        self.to_the_end(move |worker| async move { worker.recover(now).await }).await
    }

    async fn resolve(&self, config: &ReplicaConfig) -> Result<Metadata, DriverError> {
        self.worker.resolve(config)
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

    async fn route(&self, service: &str, replicas: &[String]) -> Result<(), DriverError> {
        let (service, replicas) = (service.to_owned(), replicas.to_vec());
        self.to_the_end(move |worker| async move { worker.route(&service, &replicas).await }).await
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
