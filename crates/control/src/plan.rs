//! The entry: [`plan`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_units::{Energy, Power};

use crate::draft::Draft;
use crate::world::World;
use crate::{
    Desired, Now, Observed, ProbeDue, RevisionTraffic, RolloutState, RolloutStatus, ServiceKind,
    ServiceStatus, StopCause,
};
use crate::{batch, external, replicas, retire};

/// Something to be done. Each is harmless when repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// End the process of a replica at once; its time to stop is over.
    Kill {
        /// The replica.
        replica: String,
    },
    /// Ask a replica to stop; it becomes `Stopping` with this grace and cause.
    Stop {
        /// The replica.
        replica: String,
        /// Time until the kill, wall time.
        grace: SignedDuration,
        /// Why; to be handed back in the observed phase.
        cause: StopCause,
    },
    /// Remove the record of a replica that has no process and is no longer wanted.
    Forget {
        /// The replica.
        replica: String,
    },
    /// Note that a running replica belongs to this generation now; nothing is restarted.
    Adopt {
        /// The replica.
        replica: String,
        /// The generation to note.
        generation: u64,
    },
    /// Start a replica. A record of an ended run with the same id moves to its past runs.
    Deploy {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Its number within the service.
        ordinal: u32,
        /// The generation to deploy.
        generation: u64,
        /// The revision to deploy, not always the declared one.
        revision: u32,
        /// The hash of its description. Where it is not the declared one, the stored configuration with this hash is
        /// meant.
        description_hash: String,
        /// For a batch job: what it is to do.
        work: Option<BatchWork>,
    },
}

/// What a batch process is started for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchWork {
    /// The run.
    pub run: String,
    /// Energy still to be consumed, kWh, zero or above.
    pub remaining: Energy,
    /// Allowed power now, kW, zero or above as consumption.
    pub max_power: Power,
}

impl Action {
    /// The replica it is about.
    #[must_use]
    pub fn replica(&self) -> &str {
        match self {
            Self::Kill { replica }
            | Self::Stop { replica, .. }
            | Self::Forget { replica }
            | Self::Adopt { replica, .. }
            | Self::Deploy { replica, .. } => replica,
        }
    }
}

/// What to do, why, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order in which to perform them: kills, stops, forgets, adoptions, deployments.
    pub actions: Vec<Action>,
    /// One sentence per action, same order.
    pub because: Vec<String>,
    /// Probes to run now.
    pub probes: Vec<ProbeDue>,
    /// Wall time at which time alone changes the plan.
    pub next_check: Option<Timestamp>,
    /// Site time at which time alone changes the plan.
    pub next_site_check: Option<Timestamp>,
    /// Status of every declared service, and of those that are still being removed.
    pub statuses: BTreeMap<String, ServiceStatus>,
    /// What is to be remembered of revisions, by service. To be stored before the actions are performed, where it
    /// differs from what is stored, and handed back as [`Observed::rollouts`]. What is stored of a service that is not
    /// named here stays until that service is deleted.
    #[serde(default)]
    pub rollouts: BTreeMap<String, RolloutState>,
    /// Rollouts that are under way, by service.
    #[serde(default)]
    pub progress: BTreeMap<String, RolloutStatus>,
    /// Shares of the traffic of every declared long-running service; empty for one without ready replicas.
    #[serde(default)]
    pub traffic: BTreeMap<String, Vec<RevisionTraffic>>,
    /// Replicas that are to get no new requests because they will be, or are, asked to stop, with the latest wall time
    /// of that.
    #[serde(default)]
    pub draining: BTreeMap<String, Timestamp>,
}

/// Compares what is declared with what is observed.
///
/// # Guarantees
/// - A replica is deployed only when none with its id is live, when all dependencies of its service are ready, and
///   when fewer replicas of the service are live than are declared; while revisions change, the surge
///   ([`crate::RolloutSpec::surge`]) may come on top.
/// - No replica is given up for another revision unless those that stay and are available are at least the declared
///   ones less [`crate::RolloutSpec::unavailable`].
/// - Planned again after its actions were performed and its rollouts stored, at the same time, nothing more is asked
///   for. When nothing is asked for, `next_check` lies in the future.
/// - Services that depend on others stop before them.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, now: Now) -> Plan {
    let world = World::new(desired, observed, now);
    let mut draft = Draft::default();
    for (name, spec) in &desired.services {
        let status = match &spec.kind {
            ServiceKind::LongRunning => replicas::converge(name, spec, &world, &mut draft),
            ServiceKind::Batch { order } => batch::converge(name, spec, order.as_ref(), &world, &mut draft),
            ServiceKind::External => external::external(name, spec, &world, &mut draft),
        };
        draft.statuses.insert(name.clone(), status);
    }
    for name in world.removed() {
        let status = retire::remove(name, &world, &mut draft);
        draft.statuses.insert(name.to_owned(), status);
    }
    draft.finish()
}
