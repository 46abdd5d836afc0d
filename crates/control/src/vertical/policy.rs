//! What is declared of vertical scaling, what is the case, and what is to be done.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::recommend::{Recommendation, Resources};
use crate::Condition;

/// What is done with recommendations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerticalMode {
    /// Nothing.
    Off,
    /// They are shown.
    #[default]
    Recommend,
    /// They are shown and applied.
    Apply,
}

/// Bounds of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Allowed {
    /// Never less.
    pub min: Option<u64>,
    /// Never more; wins over `min`.
    pub max: Option<u64>,
}

/// What the manifest says of vertical scaling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct VerticalPolicy {
    /// What is done with recommendations.
    pub mode: VerticalMode,
    /// Bounds of processor time in thousandths of one processor; `None`: it is left as it is.
    pub cpu: Option<Allowed>,
    /// Bounds of memory, bytes; `None`: it is left as it is.
    pub memory: Option<Allowed>,
    /// Shortest time between two changes that restart replicas.
    pub roll_every: SignedDuration,
    /// The same after a replica was killed at its memory limit: then waiting means further kills.
    pub roll_after_oom_every: SignedDuration,
    /// A smaller relative change is not made, 0 … 1.
    pub least_change: f64,
    /// The history, in days, from which on what is allowed may be lowered to the target inside the bounds.
    pub sure_after: f64,
}

impl Default for VerticalPolicy {
    fn default() -> Self {
        Self {
            mode: VerticalMode::default(),
            cpu: Some(Allowed::default()),
            memory: Some(Allowed::default()),
            roll_every: SignedDuration::from_hours(12),
            roll_after_oom_every: SignedDuration::from_mins(10),
            least_change: 0.1,
            sure_after: 0.5,
        }
    }
}

/// Limits; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceLimits {
    /// Processor time in thousandths of one processor.
    pub cpu_millis: Option<u64>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
}

/// Whether what runs the service can change limits of a running replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InPlace {
    /// It can.
    Possible,
    /// It cannot, and why.
    Impossible(String),
}

/// What the decision remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerticalState {
    /// The latest change that restarted replicas.
    pub last_roll: Option<Timestamp>,
}

/// What is the case.
#[derive(Clone, Debug, PartialEq)]
pub struct VerticalFacts<'a> {
    /// What is recommended.
    pub recommendation: Option<&'a Recommendation>,
    /// What replicas are allowed now.
    pub limits: ResourceLimits,
    /// The highest present use of a replica, where it is known.
    pub in_use: Option<Resources>,
    /// Whether limits can be changed in place.
    pub in_place: &'a InPlace,
    /// Wall time.
    pub now: Timestamp,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change", content = "limits")]
pub enum VerticalChange {
    /// Nothing.
    Keep,
    /// Set these limits on the running replicas, and start others with them.
    InPlace(ResourceLimits),
    /// Replace the replicas by ones with these limits.
    Roll(ResourceLimits),
}

/// What to do, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerticalDecision {
    /// What to do.
    pub change: VerticalChange,
    /// The target within what the manifest allows.
    pub target: Option<Resources>,
    /// One sentence.
    pub because: String,
    /// `LimitsSuffice` and `Recommended`, in this order.
    pub conditions: Vec<Condition>,
}
