//! The status of a service, as people and scripts see it.

use serde::{Deserialize, Serialize};

/// One word for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServicePhase {
    /// Waits: for dependencies, for its window or for power.
    Waiting,
    /// Replicas are starting.
    Starting,
    /// All declared replicas are ready (a batch job: at work).
    Running,
    /// Some declared replicas are ready.
    Degraded,
    /// Replicas failed and wait before the next try.
    BackOff,
    /// Replicas are being replaced by a newer description.
    Rolling,
    /// Replicas are being stopped.
    Stopping,
    /// Suspended, or declared with no replicas, and nothing runs.
    Stopped,
    /// Done, and not to be started again.
    Completed,
    /// Ended without success and not to be started again.
    Failed,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not known yet.
    Unknown,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// One aspect of a service. The time of its last change is added by whoever stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `Ready`, `DependenciesReady`, `Healthy`, `Progressing`, `Complete`, `DeadlineMet`, `LimitsSuffice`,
    /// `Recommended`, or for a workload that somebody else deployed `AbleToScale`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// One word in CamelCase.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Condition {
    /// A condition.
    #[must_use]
    pub fn new(kind: &str, status: Truth, reason: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), status, reason: reason.into(), message: message.into() }
    }
}

/// The status of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// One word.
    pub phase: ServicePhase,
    /// Ready replicas (an external service: 1 when it answers).
    pub ready: u32,
    /// Ids of the ready replicas, in order; empty for an external service.
    #[serde(default)]
    pub ready_replicas: Vec<String>,
    /// Replicas with a process.
    pub live: u32,
    /// Declared replicas.
    pub replicas: u32,
    /// The generation this status is about.
    pub observed_generation: u64,
    /// Restarts after failures since the replicas were first deployed, over all of them.
    pub restarts: u32,
    /// Conditions by type, in alphabetical order.
    pub conditions: Vec<Condition>,
}
