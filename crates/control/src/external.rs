//! Services that run elsewhere.

use crate::draft::Draft;
use crate::findings::Findings;
use crate::retire::retire;
use crate::status::{Condition, Truth};
use crate::world::World;
use crate::{DesiredService, ProbeDue, ProbeKind, ServicePhase, ServiceStatus};

/// Probes an external service.
pub(crate) fn external(
    name: &str,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
) -> ServiceStatus {
    let mut found = Findings::default();
    for (id, replica) in world.replicas(name) {
        retire(id, replica, name, world, draft, &mut found);
    }
    let record = world.observed.external.get(name).cloned().unwrap_or_default();
    if let Some(probe) = spec.probes.readiness.filter(|_| !spec.suspended) {
        let due = record.due_at(&probe, jiff::Timestamp::UNIX_EPOCH);
        if due <= world.now.wall {
            let kind = ProbeKind::Readiness;
            draft.probes.push(ProbeDue { service: name.into(), replica: None, kind, timeout: probe.timeout });
        } else {
            draft.check_at(due);
        }
    }
    let ready = !spec.suspended && world.external_ready(name, spec);
    let known = spec.probes.readiness.is_none() || record.verdict.is_some();
    let (phase, truth, reason) = match (spec.suspended, ready, known) {
        (true, ..) => (ServicePhase::Stopped, Truth::False, "Suspended"),
        (_, true, _) => (ServicePhase::Running, Truth::True, "Answers"),
        (_, false, true) => (ServicePhase::Failed, Truth::False, "DoesNotAnswer"),
        (_, false, false) => (ServicePhase::Starting, Truth::Unknown, "NotProbedYet"),
    };
    ServiceStatus {
        phase,
        ready: u32::from(ready),
        ready_replicas: Vec::new(),
        live: 0,
        replicas: 0,
        observed_generation: spec.generation,
        restarts: 0,
        conditions: vec![Condition::new("Ready", truth, reason, record.message)],
    }
}
