//! How replicas end: asked first, killed when their time is over.

use jiff::SignedDuration;

use crate::draft::Draft;
use crate::findings::Findings;
use crate::probe::later;
use crate::rollout::Drain;
use crate::status::{Condition, Truth};
use crate::world::World;
use crate::{Action, ObservedReplica, ReplicaPhase, ServicePhase, ServiceStatus, StopCause};

/// Stops and forgets what is no longer declared.
pub(crate) fn remove(name: &str, world: &World<'_>, draft: &mut Draft) -> ServiceStatus {
    let mut found = Findings::default();
    let mut state = world.observed.rollouts.get(name).cloned();
    let mut drains = std::collections::BTreeMap::new();
    for (id, replica) in world.replicas(name) {
        let drain = state.as_ref().filter(|_| world.may_stop(name).is_ok());
        let drain = drain.and_then(|state| drained(replica, state.drain_time, state.draining.get(id), world));
        if let Some(drain) = drain {
            let over = drain.is_over(id, world);
            drains.insert(id.to_owned(), drain);
            if !over {
                found.stopping = Some(format!("{id} gets no more requests"));
                continue;
            }
        }
        retire(id, replica, name, world, draft, &mut found);
    }
    draft.drain(&drains, world.now.wall);
    if let Some(state) = &mut state {
        state.draining = drains;
        draft.rollouts.insert(name.to_owned(), state.clone());
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

/// The drain that a replica is in or begins; `None` without a drain time. It is remembered until the replica has gone.
pub(crate) fn drained(
    replica: &ObservedReplica,
    time: SignedDuration,
    known: Option<&Drain>,
    world: &World<'_>,
) -> Option<Drain> {
    let known = known.filter(|drain| drain.started_at == replica.started_at);
    match &replica.phase {
        ReplicaPhase::Stopping { .. } => known.cloned(),
        ReplicaPhase::Running if time > SignedDuration::ZERO => {
            let (started_at, since) = (replica.started_at, world.now.wall);
            let begins = || Drain { started_at, since, until: later(since, time) };
            Some(known.cloned().unwrap_or_else(begins))
        }
        ReplicaPhase::Running | ReplicaPhase::Starting | ReplicaPhase::Exited { .. } => None,
    }
}

impl Drain {
    /// Whether nothing is under way any more, or the time is over.
    pub(crate) fn is_over(&self, id: &str, world: &World<'_>) -> bool {
        self.until <= world.now.wall || world.observed.in_flight.get(id) == Some(&0)
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
pub(crate) fn stop(id: &str, grace: SignedDuration, cause: StopCause, because: String, draft: &mut Draft) {
    draft.act(Action::Stop { replica: id.into(), grace, cause }, because);
}
