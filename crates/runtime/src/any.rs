//! One type for all drivers, so that callers hold whichever is declared.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::kubernetes::KubernetesDriver;
use crate::{
    Capabilities, Deployment, DockerDriver, Driver, DriverError, Handle, LimitEnforcement, Limits, LogSource,
    Metadata, ProbeOutcome, ProcessDriver, RecoveryReport, ReplicaConfig, ReplicaState, SecretValues,
    SimulatedDriver,
};

/// A driver of any kind.
#[derive(Clone, Debug)]
pub enum AnyDriver {
    /// Processes of this machine.
    Process(ProcessDriver),
    /// Containers of a Docker daemon.
    Docker(DockerDriver),
    /// Pods of a cluster.
    Kubernetes(KubernetesDriver),
    /// Records, of which nothing runs.
    Simulated(SimulatedDriver),
}

/// Probes that a driver answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// None: replicas are asked at their ports, and commands are run on this machine.
    None,
    /// Commands, which run inside what it runs.
    Commands,
    /// All: nothing listens.
    All,
}

/// The same call on whichever driver it is.
macro_rules! each {
    ($self:ident, $driver:ident => $call:expr) => {
        match $self {
            Self::Process($driver) => $call,
            Self::Docker($driver) => $call,
            Self::Kubernetes($driver) => $call,
            Self::Simulated($driver) => $call,
        }
    };
}

impl AnyDriver {
    /// All logs in the data directory, those of this driver's replicas with what is known of them.
    ///
    /// # Errors
    /// When the folder of logs cannot be read.
    pub async fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        match self {
            Self::Process(driver) => driver.log_sources(zone),
            Self::Docker(driver) => driver.log_sources(zone).await,
            Self::Kubernetes(driver) => driver.log_sources(zone).await,
            Self::Simulated(driver) => driver.log_sources(zone),
        }
    }
}

impl AnyDriver {
    /// Which probes it has to answer itself, because what they look at is not seen from outside or is not there.
    #[must_use]
    pub const fn answers(&self) -> Answers {
        match self {
            Self::Process(_) | Self::Kubernetes(_) => Answers::None,
            Self::Docker(_) => Answers::Commands,
            Self::Simulated(_) => Answers::All,
        }
    }

    /// Runs a command of a probe inside a replica; see [`answers`](Self::answers).
    pub async fn probe(&self, replica: &str, command: &[String], timeout: Duration) -> ProbeOutcome {
        match self {
            Self::Docker(driver) => driver.probe(replica, command, timeout).await,
            Self::Simulated(driver) => driver.probe(replica),
            Self::Process(_) | Self::Kubernetes(_) => ProbeOutcome {
                success: false,
                duration: Duration::ZERO,
                message: format!("{replica} has no inside"),
            },
        }
    }
}

impl Driver for AnyDriver {
    fn capabilities(&self) -> Capabilities {
        each!(self, driver => driver.capabilities())
    }
    async fn recover(&self, now: Timestamp) -> Result<RecoveryReport, DriverError> {
        each!(self, driver => driver.recover(now).await)
    }
    async fn resolve(&self, config: &ReplicaConfig) -> Result<Metadata, DriverError> {
        each!(self, driver => driver.resolve(config).await)
    }
    async fn deploy(
        &self,
        deployment: &Deployment,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<Handle, DriverError> {
        each!(self, driver => driver.deploy(deployment, secrets, now).await)
    }
    async fn observe(&self, now: Timestamp) -> Result<Vec<ReplicaState>, DriverError> {
        each!(self, driver => driver.observe(now).await)
    }
    async fn stop(
        &self,
        replica: &str,
        grace: SignedDuration,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        each!(self, driver => driver.stop(replica, grace, cause, now).await)
    }
    async fn kill(&self, replica: &str, now: Timestamp) -> Result<(), DriverError> {
        each!(self, driver => driver.kill(replica, now).await)
    }
    async fn set_limits(&self, replica: &str, limits: &Limits) -> Result<LimitEnforcement, DriverError> {
        each!(self, driver => driver.set_limits(replica, limits).await)
    }
    async fn route(&self, service: &str, replicas: &[String]) -> Result<(), DriverError> {
        each!(self, driver => driver.route(service, replicas).await)
    }
    async fn adopt(&self, replica: &str, generation: u64) -> Result<(), DriverError> {
        each!(self, driver => driver.adopt(replica, generation).await)
    }
    async fn forget(&self, replica: &str) -> Result<(), DriverError> {
        each!(self, driver => driver.forget(replica).await)
    }
}
