//! What is declared: the planner's own view of services, independent of the manifest format.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_units::{Energy, Power, PowerEnvelope};

use crate::{ProbeSpec, RolloutSpec};

/// All declared services, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// The declared services. What runs but is not named here is stopped and forgotten.
    pub services: BTreeMap<String, DesiredService>,
}

/// One declared service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesiredService {
    /// Raised with every change of the declaration.
    pub generation: u64,
    /// Hash of the generated deployment description. A new hash is a new revision; a new generation is none.
    pub description_hash: String,
    /// What sort of service this is.
    pub kind: ServiceKind,
    /// Declared replicas of a long-running service; a batch job has one, an external service none.
    pub replicas: u32,
    /// Names of services that must be ready before a replica of this one starts.
    pub depends_on: Vec<String>,
    /// Timing and thresholds of the probes.
    pub probes: Probes,
    /// When and how soon a replica that ended is started again.
    pub restart: RestartSpec,
    /// Wall time between the request to stop and the kill, zero or above.
    pub stop_timeout: SignedDuration,
    /// Declared but to be kept stopped.
    pub suspended: bool,
    /// How a new revision replaces the old one.
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// Why two revisions cannot run side by side, such as a fixed port; then none is started beside another.
    #[serde(default)]
    pub exclusive: Option<String>,
    /// Hashes of other revisions whose configuration is stored, so that they can be deployed again.
    #[serde(default)]
    pub stored: BTreeSet<String>,
    /// Why the declared configuration cannot be made at present. Then `description_hash` says nothing, and what runs
    /// goes on as the revision it is.
    #[serde(default)]
    pub unresolved: Option<String>,
    /// Why the present declaration came to be, for the history of revisions.
    #[serde(default)]
    pub cause: Option<String>,
}

impl Default for DesiredService {
    /// A long-running service of one replica, with the defaults of all its parts and ten seconds to stop.
    fn default() -> Self {
        Self {
            generation: 0,
            description_hash: String::new(),
            kind: ServiceKind::LongRunning,
            replicas: 1,
            depends_on: Vec::new(),
            probes: Probes::default(),
            restart: RestartSpec::default(),
            stop_timeout: SignedDuration::from_secs(10),
            suspended: false,
            rollout: RolloutSpec::default(),
            exclusive: None,
            stored: BTreeSet::new(),
            unresolved: None,
            cause: None,
        }
    }
}

/// The sorts of services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ServiceKind {
    /// Runs until it is stopped.
    LongRunning,
    /// Runs only when ordered, until its work is done. No order: it stays off.
    Batch {
        /// The run in force.
        order: Option<BatchOrder>,
    },
    /// Runs elsewhere: it is probed, never started or stopped.
    External,
}

/// The order to do one run of a batch job, as the site's plan gives it. All times are site time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchOrder {
    /// Identifies the run, for example the date on which its window opens.
    pub run: String,
    /// The run is stopped and counts as missed when it is not complete at this time.
    pub deadline: Timestamp,
    /// Energy still to be consumed, kWh, zero or above.
    pub remaining: Energy,
    /// Power at the slowest, kW, zero or above as consumption; an envelope below it means "do not run".
    pub min_power: Power,
    /// Whether it may be paused once started.
    pub interruptible: bool,
    /// How much power it may use and when. Time that the envelope does not reach means "do not run".
    pub envelope: PowerEnvelope,
}

impl BatchOrder {
    /// The power and the reason with which the run is allowed at `site`; an error states why it is not.
    pub(crate) fn allowed(&self, site: Timestamp) -> Result<(Power, &str), String> {
        let Some(step) = self.envelope.at(site) else {
            return Err("the site's plan has not allotted power yet".into());
        };
        if step.max_power <= Power::ZERO || step.max_power < self.min_power {
            return Err(step.reason.clone());
        }
        Ok((step.max_power, &step.reason))
    }

    /// The next time at which the envelope changes.
    pub(crate) fn next_step(&self, site: Timestamp) -> Option<Timestamp> {
        self.envelope.steps.iter().map(|step| step.start).filter(|&start| start > site).min()
    }
}

/// The probes of a service; what is not declared is not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// Holds back the other two until it succeeds once; its failure restarts the replica.
    pub startup: Option<ProbeSpec>,
    /// Says whether the replica may be used. Without it, a replica is ready once started.
    pub readiness: Option<ProbeSpec>,
    /// Its failure restarts the replica.
    pub liveness: Option<ProbeSpec>,
}

/// Which ends of a replica lead to a new start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Every end.
    Always,
    /// An end other than exit code 0. An unknown exit code counts as a failure.
    OnFailure,
    /// None.
    Never,
}

/// Restarts: at once the first time, then `initial`, doubling up to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartSpec {
    /// Which ends lead to a new start.
    pub policy: RestartPolicy,
    /// Wait before the second restart in a row.
    pub initial: SignedDuration,
    /// Longest wait.
    pub cap: SignedDuration,
    /// A run at least this long starts the count anew.
    pub reset_after: SignedDuration,
}

impl Default for RestartSpec {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Always,
            initial: SignedDuration::from_secs(1),
            cap: SignedDuration::from_mins(5),
            reset_after: SignedDuration::from_mins(10),
        }
    }
}

/// The id of a replica: `SERVICE-ORDINAL`.
#[must_use]
pub fn replica_id(service: &str, ordinal: u32) -> String {
    format!("{service}-{ordinal}")
}
