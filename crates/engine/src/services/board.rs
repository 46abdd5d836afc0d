//! What is known about services, for those who use them: the site loops, the API, the terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sos_control::energy::Line;
use sos_control::scale::ScaleDecision;
use sos_control::vertical::VerticalDecision;
use sos_control::{BatchOrder, RolloutState, RolloutStatus, ServicePhase, ServiceStatus};
use sos_model::{PortRef, ServiceSpec};
use sos_runtime::gateway::ServiceMeasures;
use sos_runtime::{Deployment, LimitEnforcement, Usage};
use sos_units::{CarbonIntensity, Power, PowerEnvelope};

use crate::clock::SiteClock;

/// All services at one moment.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// By name.
    pub services: BTreeMap<String, ServiceView>,
    /// How long the latest pass over them took, from the look at everything to here.
    pub pass: Duration,
}

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Phase, counts and conditions.
    pub status: ServiceStatus,
    /// What is happening, in words.
    pub message: String,
    /// Its replicas, by number.
    pub replicas: Vec<ReplicaView>,
    /// Whether it is a job that runs when its energy is cheap.
    pub job: bool,
    /// Its revisions.
    pub revisions: RolloutState,
    /// The change of revision that is under way.
    pub rollout: Option<RolloutStatus>,
    /// Its gateway.
    pub gateway: Option<GatewayView>,
    /// The latest decision on the number of its replicas.
    pub scale: Option<(Timestamp, ScaleDecision)>,
    /// What is recommended for the size of its replicas, and what became of that.
    pub sizing: Option<VerticalDecision>,
    /// What it took of this machine's energy, where that is known.
    pub energy: Option<EnergyView>,
}

/// Energy of a service.
#[derive(Clone, Copy, Debug)]
pub struct EnergyView {
    /// All of it so far.
    pub line: Line,
    /// What it takes now, as consumption.
    pub power: Option<Power>,
}

/// The gateway of a service.
#[derive(Clone, Debug)]
pub struct GatewayView {
    /// Where the service is reached; none while that could not be opened.
    pub address: Option<SocketAddr>,
    /// What of its route could not be done.
    pub problem: Option<String>,
    /// What was counted since `sos` started.
    pub measures: ServiceMeasures,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    /// The generated deployment description it runs with; secrets by reference.
    pub deployment: Arc<Deployment>,
    /// One word.
    pub phase: &'static str,
    /// Whether a process exists.
    pub live: bool,
    /// Its process.
    pub pid: Option<i32>,
    /// When it was deployed.
    pub started_at: Timestamp,
    /// How many runs it had before the present one.
    pub past_runs: usize,
    /// What it uses.
    pub usage: Option<Usage>,
    /// How its limits are held.
    pub limits: LimitEnforcement,
    /// Where its ports are reached.
    pub address: IpAddr,
}

impl ReplicaView {
    /// Where a port of it is reached; `None` for a name that it has no port of.
    #[must_use]
    pub fn socket(&self, port: &PortRef) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address, port_number(port, &self.deployment)?))
    }
}

/// The number of a port that is named or numbered; `None` for a name that the replica has no port of.
pub(super) fn port_number(port: &PortRef, deployment: &Deployment) -> Option<u16> {
    match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => deployment.ports.get(name.as_str()).copied(),
    }
}

impl ServiceView {
    /// A service of which nothing but its status is known.
    #[must_use]
    pub fn new(status: ServiceStatus, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            replicas: Vec::new(),
            job: false,
            revisions: RolloutState::default(),
            rollout: None,
            gateway: None,
            scale: None,
            sizing: None,
            energy: None,
        }
    }
}

impl Board {
    /// The assigned port of a service's first live replica.
    #[must_use]
    pub fn port(&self, service: &str, port: &str) -> Option<u16> {
        let view = self.services.get(service)?;
        let replica = view.replicas.iter().find(|replica| replica.live)?;
        replica.deployment.ports.get(port).copied()
    }

    /// Whether a service has a ready replica.
    #[must_use]
    pub fn is_ready(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|view| view.status.ready > 0)
    }

    /// Whether a job has done the run that is ordered.
    #[must_use]
    pub fn is_completed(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|view| view.status.phase == ServicePhase::Completed)
    }
}

/// What the sites ask of the services.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// Site time by site.
    pub site_time: BTreeMap<String, Timestamp>,
    /// Carbon intensity of each site's import now.
    pub intensity: BTreeMap<String, CarbonIntensity>,
    /// Clocks by site, for programs that follow one.
    pub clocks: BTreeMap<String, SiteClock>,
    /// Seed of random choices, for programs that follow a clock.
    pub seed: u64,
    /// Batch runs by service.
    pub batches: BTreeMap<String, BatchOrder>,
    /// Power beyond their guarantee of services that may be slower.
    pub slow: BTreeMap<String, PowerEnvelope>,
    /// Services that are down on purpose, by the site whose time says so: injected outages.
    pub outages: BTreeMap<String, BTreeSet<String>>,
}

impl Orders {
    /// Whether a service is down on purpose, whichever site asked for it.
    #[must_use]
    pub fn is_out(&self, service: &str) -> bool {
        self.outages.values().any(|services| services.contains(service))
    }

    /// All services that are down on purpose.
    #[must_use]
    pub fn all_outages(&self) -> BTreeSet<String> {
        self.outages.values().flatten().cloned().collect()
    }
}

impl Orders {
    /// The time of the site that a service follows, when it follows one.
    #[must_use]
    pub fn site_time_of(&self, service: &ServiceSpec) -> Option<Timestamp> {
        let clock = service.clock.as_ref().map(|clock| &clock.site);
        let site = clock.or_else(|| service.batch.as_ref().map(|batch| &batch.site))?;
        self.site_time.get(site.as_str()).copied()
    }
}
