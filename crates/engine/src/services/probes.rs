//! Starting probes and noting what they find.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sos_control::{self as control, ProbeDue, ProbeKind, ReplicaProbes};
use sos_model::{Probe, ServiceSpec};
use sos_runtime::{
    self as runtime, Answers, AnyDriver, ProbeOutcome, ProbeRunner, ProbeTarget, ReplicaState,
};

use super::convert::{self, Surroundings};
use super::{Known, ServiceLoop};
use crate::clock::{SiteClock, wall_now};

/// A probe that has ended.
pub(super) struct ProbeResult {
    due: ProbeDue,
    spec: control::ProbeSpec,
    started_at: Option<Timestamp>,
    outcome: ProbeOutcome,
}

impl ServiceLoop {
    pub(super) fn start_probe(
        &mut self,
        due: ProbeDue,
        known: &BTreeMap<String, Known>,
        states: &[ReplicaState],
        clocks: &BTreeMap<String, SiteClock>,
    ) {
        let Some(service) = known.get(&due.service) else { return };
        let declared = &service.spec.probes;
        let probe = match due.kind {
            ProbeKind::Startup => &declared.startup,
            ProbeKind::Readiness => &declared.readiness,
            ProbeKind::Liveness => &declared.liveness,
        };
        let now = wall_now();
        let state = due.replica.as_ref().and_then(|id| states.iter().find(|s| s.deployment.replica == *id));
        let target = match (&service.spec.external, state, probe) {
            (Some(external), _, _) => external_target(&external.url),
            (None, Some(state), Some(probe)) => self.target(probe, &service.spec, state, clocks),
            _ => return,
        };
        match state {
            Some(state) => {
                let id = state.deployment.replica.clone();
                let (_, probes) =
                    self.probes.entry(id).or_insert((state.started_at, ReplicaProbes::default()));
                probes.get_mut(due.kind).begin(now);
            }
            None => self.external.entry(due.service.clone()).or_default().begin(now),
        }
        let started_at = state.map(|state| state.started_at);
        let (results, prober) = (self.results.0.clone(), Arc::clone(&self.prober));
        let timeout = Duration::try_from(due.timeout).unwrap_or_default();
        let spec = probe_spec(service, due.kind);
        let command = matches!(target, Ok(ProbeTarget::Exec { .. }));
        let inside = state.and_then(|state| self.inside(&state.deployment.replica, command));
        tokio::spawn(async move {
            let outcome = match target {
                Ok(target) => run(&prober, inside, &target, timeout).await,
                Err(message) => ProbeOutcome { success: false, duration: Duration::ZERO, message },
            };
            let _ = results.send(ProbeResult { due, spec, started_at, outcome }).await;
        });
    }

    /// The driver and replica, where the driver answers the probe.
    fn inside(&self, replica: &str, command: bool) -> Option<(Arc<AnyDriver>, String)> {
        let driver = self.runtimes.driver(&self.runtimes.place_of(replica)?)?;
        let answers = match driver.answers() {
            Answers::None => false,
            Answers::Commands => command,
            Answers::All => true,
        };
        answers.then(|| (driver, replica.to_owned()))
    }

    fn target(
        &self,
        probe: &Probe,
        service: &ServiceSpec,
        state: &ReplicaState,
        clocks: &BTreeMap<String, SiteClock>,
    ) -> Result<runtime::ProbeTarget, String> {
        let services_dir = self.places.data_dir.join("services");
        let around = Surroundings {
            own_binary: &self.places.own_binary,
            services_dir: &services_dir,
            base_dir: &self.places.base_dir,
            reach: &|_, service, port| Err(format!("port {port} of service {service} is not for probes")),
            seed: 0,
            clocks,
        };
        convert::probe_target(probe, service, &state.deployment, &around)
    }

    pub(super) fn note_probe(&mut self, result: ProbeResult) {
        let record = match (&result.due.replica, result.started_at) {
            (Some(replica), Some(started_at)) => match self.probes.get_mut(replica) {
                // The result of an earlier run says nothing about the present one.
                Some((started, probes)) if *started == started_at => probes.get_mut(result.due.kind),
                _ => return,
            },
            _ => self.external.entry(result.due.service.clone()).or_default(),
        };
        record.record(&result.spec, result.outcome.success, &result.outcome.message);
    }
}

/// Runs a probe: by the driver where that answers it, all else from here.
async fn run(
    prober: &ProbeRunner,
    inside: Option<(Arc<AnyDriver>, String)>,
    target: &ProbeTarget,
    timeout: Duration,
) -> ProbeOutcome {
    let Some((driver, replica)) = inside else { return prober.run(target, timeout).await };
    let command: Vec<String> = match target {
        ProbeTarget::Exec { program, args, .. } => std::iter::once(program).chain(args).cloned().collect(),
        _ => Vec::new(),
    };
    driver.probe(&replica, &command, timeout).await
}

/// Where the probe of an external service goes.
fn external_target(url: &str) -> Result<runtime::ProbeTarget, String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("{url} is not an address"))?;
    let (authority, path) =
        rest.split_once('/').map_or((rest, String::from("/")), |(a, p)| (a, format!("/{p}")));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("{url} has no usable port"))?),
        None => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    Ok(match scheme {
        "http" => runtime::ProbeTarget::Http { url: format!("http://{host}:{port}{path}") },
        // Without a certificate store a TLS service is probed by its connection.
        _ => runtime::ProbeTarget::Tcp { address: format!("{host}:{port}") },
    })
}

/// Timing and thresholds of a probe; an external service has the default ones.
fn probe_spec(service: &Known, kind: ProbeKind) -> control::ProbeSpec {
    let probes = &service.desired.probes;
    let declared = match kind {
        ProbeKind::Startup => probes.startup,
        ProbeKind::Readiness => probes.readiness,
        ProbeKind::Liveness => probes.liveness,
    };
    declared.unwrap_or_default()
}
