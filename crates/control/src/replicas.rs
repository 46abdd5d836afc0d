//! Long-running and external services.

use crate::draft::Draft;
use crate::probe::later;
use crate::status::{Condition, Truth};
use crate::world::World;
use crate::{
    Action, DesiredService, Exit, ObservedReplica, PastRun, ProbeDue, ProbeKind, ReplicaPhase, RestartPolicy,
    ServicePhase, ServiceStatus, StopCause, consecutive_failures, replica_id, restart_delay,
};

/// What was learned about a service while planning it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) waiting: Option<String>,
    pub(crate) back_off: Option<String>,
    pub(crate) rolling: bool,
    pub(crate) stopping: Option<String>,
    pub(crate) ended: Option<(bool, String)>,
}

/// Brings a long-running service to its declared replicas.
pub(crate) fn converge(
    name: &str,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
) -> ServiceStatus {
    let want = if spec.suspended { 0 } else { spec.replicas };
    let mut found = Findings::default();
    for (id, replica) in world.replicas(name).filter(|(id, replica)| !is_slot(id, name, replica, want)) {
        retire(id, replica, name, world, draft, &mut found);
    }
    for ordinal in 0..want {
        let id = replica_id(name, ordinal);
        match world.observed.replicas.get(&id).filter(|replica| replica.service == name) {
            None => start(name, spec, ordinal, "it is declared and does not run", world, draft, &mut found),
            Some(replica) => keep(&id, replica, name, spec, world, draft, &mut found),
        }
    }
    status(name, spec, want, world, &found)
}

/// Whether a replica fills one of the declared places.
fn is_slot(id: &str, service: &str, replica: &ObservedReplica, want: u32) -> bool {
    replica.ordinal < want && replica_id(service, replica.ordinal) == id
}

/// Stops and forgets what is no longer declared.
pub(crate) fn remove(name: &str, world: &World<'_>, draft: &mut Draft) -> ServiceStatus {
    let mut found = Findings::default();
    for (id, replica) in world.replicas(name) {
        retire(id, replica, name, world, draft, &mut found);
    }
    let message = found.stopping.unwrap_or_else(|| "no longer declared".into());
    ServiceStatus {
        phase: ServicePhase::Stopping,
        ready: 0,
        ready_replicas: Vec::new(),
        live: world.live(name),
        replicas: 0,
        observed_generation: world.replicas(name).map(|(_, replica)| replica.generation).max().unwrap_or(0),
        restarts: 0,
        conditions: vec![Condition::new("Ready", Truth::False, "NotDeclared", message)],
    }
}

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

/// Leads a replica that is not wanted to its end.
pub(crate) fn retire(
    id: &str,
    replica: &ObservedReplica,
    service: &str,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) {
    match &replica.phase {
        ReplicaPhase::Exited { .. } => {
            draft.act(Action::Forget { replica: id.into() }, format!("{id} has ended and is not wanted"));
        }
        ReplicaPhase::Stopping { .. } => press(id, replica, world, draft, found),
        ReplicaPhase::Starting | ReplicaPhase::Running => match world.may_stop(service) {
            Err(why) => found.stopping = Some(why),
            Ok(()) => {
                let grace = replica.stop_timeout;
                found.stopping = Some(format!("{id} is asked to stop"));
                stop(id, grace, StopCause::NotWanted, format!("{id} is not wanted any more"), draft);
            }
        },
    }
}

/// Kills a replica whose time to stop is over.
pub(crate) fn press(
    id: &str,
    replica: &ObservedReplica,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) {
    let ReplicaPhase::Stopping { since, grace, killed, .. } = &replica.phase else { return };
    let end = later(*since, *grace);
    if *killed {
        found.stopping = Some(format!("{id} was killed and has not gone yet"));
    } else if world.now.wall >= end {
        let because = format!("{id} did not stop within {} s", grace.as_secs());
        found.stopping = Some(because.clone());
        draft.act(Action::Kill { replica: id.into() }, because);
    } else {
        found.stopping = Some(format!("{id} is stopping"));
        draft.check_at(end);
    }
}

/// Asks a replica to stop.
pub(crate) fn stop(
    id: &str,
    grace: jiff::SignedDuration,
    cause: StopCause,
    because: String,
    draft: &mut Draft,
) {
    draft.act(Action::Stop { replica: id.into(), grace, cause }, because);
}

/// Looks after a replica in one of the declared places.
fn keep(
    id: &str,
    replica: &ObservedReplica,
    name: &str,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) {
    match &replica.phase {
        ReplicaPhase::Stopping { cause, .. } => {
            found.rolling |= *cause == StopCause::Roll;
            press(id, replica, world, draft, found);
        }
        ReplicaPhase::Exited { exit, asked, .. } => {
            restart(replica, exit, *asked, name, spec, world, draft, found);
        }
        ReplicaPhase::Starting | ReplicaPhase::Running => {
            if replica.description_hash != spec.description_hash {
                found.rolling = true;
                if roll(id, replica, name, spec, world, draft) {
                    return;
                }
            } else if replica.generation != spec.generation {
                let action = Action::Adopt { replica: id.into(), generation: spec.generation };
                draft.act(action, format!("{id} already runs what generation {} asks for", spec.generation));
            }
            supervise(id, replica, name, spec, world, draft, found);
        }
    }
}

/// Stops an outdated replica when the service can spare it: one at a time, the others ready. True when it is
/// stopped now.
fn roll(
    id: &str,
    replica: &ObservedReplica,
    name: &str,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
) -> bool {
    let spared = |ordinal: u32| {
        let other = replica_id(name, ordinal);
        let ready = |other: &ObservedReplica| world.replica_ready(spec, other);
        // The first outdated replica by number goes first, so two are never stopped in one plan.
        let outdated_before = |other: &ObservedReplica| {
            ordinal < replica.ordinal && other.is_live() && other.description_hash != spec.description_hash
        };
        other == id
            || world
                .observed
                .replicas
                .get(&other)
                .is_some_and(|other| ready(other) && !outdated_before(other))
    };
    let can_restart = world.dependencies_ready(spec).is_ok();
    if !can_restart || !(0..spec.replicas).all(spared) {
        return false;
    }
    let because = format!("{id} makes room for generation {}", spec.generation);
    stop(id, spec.stop_timeout, StopCause::Roll, because, draft);
    true
}

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
        found.back_off = Some(because.clone());
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

/// Starts a replica that ended, if its policy asks for it and the back-off has passed.
#[expect(clippy::too_many_arguments, reason = "plain data in, no struct is worth its name for one call")]
fn restart(
    replica: &ObservedReplica,
    exit: &Exit,
    asked: Option<StopCause>,
    name: &str,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) {
    let changed = replica.description_hash != spec.description_hash;
    let on_purpose = asked.is_some_and(|cause| cause != StopCause::Unhealthy);
    let clean = *exit == Exit::Code(0) && asked.is_none();
    let again = match spec.restart.policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => !clean,
        RestartPolicy::Never => false,
    };
    let ordinal = replica.ordinal;
    if changed || on_purpose {
        start(name, spec, ordinal, "it is declared and was stopped on purpose before", world, draft, found);
    } else if !again {
        found.ended = Some((clean, format!("{} {exit}", replica_id(name, ordinal))));
    } else if let Some(because) = backed_off(replica, exit, spec, world, draft, found) {
        start(name, spec, ordinal, &because, world, draft, found);
    }
}

/// The reason to start again when the back-off of an ended replica has passed.
pub(crate) fn backed_off(
    replica: &ObservedReplica,
    exit: &Exit,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) -> Option<String> {
    let ReplicaPhase::Exited { at, .. } = &replica.phase else { return None };
    let failures = consecutive_failures(&spec.restart, replica);
    let delay = restart_delay(&spec.restart, failures);
    let id = replica_id(&replica.service, replica.ordinal);
    let due = later(*at, delay);
    if due > world.now.wall {
        draft.check_at(due);
        let seconds = delay.as_secs_f64();
        let why = format!("{id} {exit}, {failures} times in a row; next try {seconds} s after the last");
        found.back_off = Some(why);
        return None;
    }
    Some(format!("it {exit}"))
}

/// Starts a replica if its dependencies are ready and there is room for it.
fn start(
    name: &str,
    spec: &DesiredService,
    ordinal: u32,
    because: &str,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) {
    if let Err(why) = world.dependencies_ready(spec) {
        found.waiting = Some(why);
        return;
    }
    if world.live(name).saturating_add(draft.deployments(name)) >= spec.replicas {
        found.waiting = Some("waits for surplus replicas to stop".into());
        return;
    }
    let replica = replica_id(name, ordinal);
    let because = format!("{replica} starts: {because}");
    draft.act(
        Action::Deploy {
            service: name.into(),
            replica,
            ordinal,
            generation: spec.generation,
            description_hash: spec.description_hash.clone(),
            work: None,
        },
        because,
    );
}

/// Failed runs of a batch job that were followed by another run: the next run after a success is no restart.
pub(crate) fn retries(name: &str, world: &World<'_>) -> u32 {
    let runs = world.replicas(name).flat_map(|(_, replica)| &replica.past_runs);
    let failed = runs.filter(|run| run.asked.is_none() && run.exit != Exit::Code(0));
    u32::try_from(failed.count()).unwrap_or(u32::MAX).saturating_add(older_restarts(name, world))
}

/// Restarts after runs that are no longer listed.
fn older_restarts(name: &str, world: &World<'_>) -> u32 {
    world.replicas(name).fold(0, |sum: u32, (_, replica)| sum.saturating_add(replica.older_restarts))
}

/// Failed runs that were followed by another run.
fn restarts(name: &str, world: &World<'_>) -> u32 {
    let counts = |asked: Option<StopCause>| asked.is_none() || asked == Some(StopCause::Unhealthy);
    // A batch run that did its work is followed by the next one without having failed.
    let done = |run: &PastRun| run.run.is_some() && run.exit == Exit::Code(0);
    let runs = world.replicas(name).flat_map(|(_, replica)| &replica.past_runs);
    let listed = runs.filter(|run| counts(run.asked) && !done(run)).count();
    u32::try_from(listed).unwrap_or(u32::MAX).saturating_add(older_restarts(name, world))
}

fn status(
    name: &str,
    spec: &DesiredService,
    want: u32,
    world: &World<'_>,
    found: &Findings,
) -> ServiceStatus {
    let live = world.live(name);
    let ready_replicas = world.ready_replicas(name, spec);
    let ready = u32::try_from(ready_replicas.len()).unwrap_or(u32::MAX);
    let (phase, reason, message) = word(spec, want, live, ready, found);
    let dependencies = world.dependencies_ready(spec);
    let conditions = vec![
        Condition::new(
            "DependenciesReady",
            dependencies.is_ok().into(),
            if dependencies.is_ok() { "Ready" } else { "NotReady" },
            dependencies.err().unwrap_or_default(),
        ),
        Condition::new(
            "Healthy",
            found.back_off.is_none().into(),
            if found.back_off.is_none() { "NoFailure" } else { "Failing" },
            found.back_off.clone().unwrap_or_default(),
        ),
        Condition::new("Ready", (want > 0 && ready >= want).into(), reason, message),
    ];
    ServiceStatus {
        phase,
        ready,
        ready_replicas,
        live,
        replicas: spec.replicas,
        observed_generation: spec.generation,
        restarts: restarts(name, world),
        conditions,
    }
}

fn word(
    spec: &DesiredService,
    want: u32,
    live: u32,
    ready: u32,
    found: &Findings,
) -> (ServicePhase, &'static str, String) {
    use ServicePhase as P;
    let text = |message: &Option<String>| message.clone().unwrap_or_default();
    let count = format!("{ready} of {want} replicas are ready");
    if want == 0 {
        return match live {
            0 if spec.suspended => (P::Stopped, "Suspended", "suspended".into()),
            0 => (P::Stopped, "NoReplicas", "declared with no replicas".into()),
            _ => (P::Stopping, "Stopping", text(&found.stopping)),
        };
    }
    if found.rolling {
        return (P::Rolling, "Rolling", count);
    }
    if ready >= want {
        return (P::Running, "AllReady", count);
    }
    if ready > 0 {
        return (P::Degraded, "SomeReady", count);
    }
    match (&found.back_off, &found.waiting, &found.ended) {
        (Some(why), _, _) => (P::BackOff, "Failing", why.clone()),
        (_, Some(why), _) => (P::Waiting, "Waiting", why.clone()),
        (_, _, Some((true, how))) if live == 0 => (P::Completed, "Ended", how.clone()),
        (_, _, Some((false, how))) if live == 0 => (P::Failed, "Ended", how.clone()),
        _ => (P::Starting, "Starting", count),
    }
}
