//! Probes and failures of single replicas.

use jiff::Timestamp;

use crate::backoff::recent_failures;
use crate::draft::Draft;
use crate::findings::Findings;
use crate::probe::later;
use crate::retire::stop;
use crate::trouble::{self, Problem, Trouble};
use crate::world::World;
use crate::{
    DesiredService, Exit, ObservedReplica, ProbeDue, ProbeKind, ReplicaPhase, StopCause, replica_id,
    restart_delay,
};

/// Acts on failed probes and says which are due.
pub(crate) fn supervise(
    id: &str,
    replica: &ObservedReplica,
    name: &str,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) {
    if replica.phase != ReplicaPhase::Running {
        return;
    }
    if let Some((kind, record)) = replica.probes.failed(&spec.probes) {
        let because = format!("{kind} probe of {id} failed {} times: {}", record.failures, record.message);
        let problem = if kind == ProbeKind::Liveness { Problem::Hung } else { Problem::NeverReady };
        found.back_off(Trouble::new(problem, because.clone()));
        stop(id, spec.stop_timeout, StopCause::Unhealthy, because, draft);
        return;
    }
    for (kind, probe, due) in replica.probes.schedule(&spec.probes, replica.started_at) {
        if due > world.now.wall {
            draft.check_at(due);
            continue;
        }
        let replica = Some(id.to_owned());
        draft.probes.push(ProbeDue { service: name.into(), replica, kind, timeout: probe.timeout });
    }
}

/// The reason to start again when the back-off of an ended replica has passed. Failures up to `forgiven` do not count.
/// A batch run has a deadline, so it is never quarantined.
pub(crate) fn backed_off(
    replica: &ObservedReplica,
    exit: &Exit,
    spec: &DesiredService,
    forgiven: Option<Timestamp>,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) -> Option<String> {
    let ReplicaPhase::Exited { at, asked, .. } = &replica.phase else { return None };
    let failures = recent_failures(&spec.restart, replica, forgiven);
    let delay = match &replica.run {
        Some(_) => restart_delay(&spec.restart, failures),
        None => trouble::delay(&spec.restart, failures),
    };
    let due = later(*at, delay);
    if due > world.now.wall {
        draft.check_at(due);
        let id = replica_id(&replica.service, replica.ordinal);
        let unhealthy = *asked == Some(StopCause::Unhealthy);
        found.back_off(trouble::waiting(&id, exit, unhealthy, failures, delay, world));
        return None;
    }
    Some(format!("it {exit}"))
}
