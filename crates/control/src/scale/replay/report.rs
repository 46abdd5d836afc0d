//! What a replay came to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::hpa::HpaSpecError;

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayStep {
    /// Its start.
    pub time: Timestamp,
    /// Requests; nothing where the trace has a gap.
    pub requests: Option<f64>,
    /// Replicas at its end, those that start included.
    pub replicas: u32,
    /// Fewest ready replicas within it.
    pub ready: u32,
    /// Seconds in which the demand was above the ready capacity.
    pub violation_seconds: f64,
    /// Requests above the ready capacity.
    pub unserved_requests: f64,
}

/// One change of the number of replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayChange {
    /// When.
    pub time: Timestamp,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// Why.
    pub because: String,
}

/// Totals and steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Replicas times hours, those that start included.
    pub replica_hours: f64,
    /// Seconds in which the demand was above the ready capacity.
    pub slo_violation_seconds: f64,
    /// Requests above the ready capacity.
    pub unserved_requests: f64,
    /// Emissions, kgCO2.
    pub emissions_kg: f64,
    /// Energy, kWh.
    pub energy_kwh: f64,
    /// All requests of the trace.
    pub demanded_requests: f64,
    /// Those that were served.
    pub served_requests: f64,
    /// Share of the measured time in which the ready capacity held the demand, 0 to 1.
    pub held_share: f64,
    /// Most replicas.
    pub peak_replicas: u32,
    /// Changes of the number of replicas.
    pub scale_changes: u64,
    /// Steps that the trace leaves out; nothing is counted in them but replicas and their idle power.
    pub missing_steps: u64,
    /// The first thousand changes with their reasons.
    pub changes: Vec<ReplayChange>,
    /// Every step.
    pub steps: Vec<ReplayStep>,
}

/// Why nothing can be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// A field of the policy.
    Policy(HpaSpecError),
    /// The trace.
    Trace(&'static str),
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(error) => write!(f, "policy, {error}"),
            Self::Trace(problem) => write!(f, "trace: {problem}"),
        }
    }
}
impl std::error::Error for ReplayError {}

impl From<HpaSpecError> for ReplayError {
    fn from(error: HpaSpecError) -> Self {
        Self::Policy(error)
    }
}
