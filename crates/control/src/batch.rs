//! Batch jobs: run only when ordered, until the work of a run is done.

use crate::draft::Draft;
use crate::findings::Findings;
use crate::health::{backed_off, supervise};
use crate::plan::BatchWork;
use crate::report::retries;
use crate::retire::{press, retire, stop};
use crate::rollout::{Outcome, Revision, RolloutState, revise};
use crate::status::{Condition, Truth};
use crate::world::World;
use crate::{
    Action, BatchOrder, DesiredService, ObservedReplica, ReplicaPhase, RestartPolicy, ServicePhase,
    ServiceStatus, StopCause, replica_id,
};

/// Where a run stands.
enum Standing {
    Off(String),
    Complete,
    Missed,
    Failed(String),
    Waiting(String),
    Running,
    Stopping,
}

/// Starts, pauses, repeats or ends the run that is ordered.
pub(crate) fn converge(
    name: &str,
    spec: &DesiredService,
    order: Option<&BatchOrder>,
    world: &World<'_>,
    draft: &mut Draft,
) -> ServiceStatus {
    let mut found = Findings::default();
    let id = replica_id(name, 0);
    draft.rollouts.insert(name.to_owned(), remembered(name, spec, world));
    let order = order.filter(|_| !spec.suspended);
    for (other, replica) in world.replicas(name).filter(|(other, _)| *other != id) {
        retire(other, replica, name, world, draft, &mut found);
    }
    let replica = world.observed.replicas.get(&id).filter(|replica| replica.service == name);
    let standing = match order {
        None => switch_off(&id, replica, name, spec, world, draft, &mut found),
        Some(order) => obey(&id, replica, name, spec, order, world, draft, &mut found),
    };
    status(name, spec, order, standing, &found, world)
}

/// Revisions of a job: a new one counts from the next start on, there is nothing to roll.
fn remembered(name: &str, spec: &DesiredService, world: &World<'_>) -> RolloutState {
    let mut state = world.observed.rollouts.get(name).cloned().unwrap_or_default();
    revise(spec, &mut state, world.replicas(name).map(|(_, replica)| replica), world.now.wall);
    if let (Some(current), Some(_)) = (state.current, state.rollout.take()) {
        state.decide(current, Outcome::Succeeded, "it is used from the next start on", world.now.wall);
        state.stable = Some(current);
    }
    state.sizes.clear();
    state
}

/// The revision to start, or why there is none.
fn deployable(name: &str, spec: &DesiredService, draft: &Draft) -> Result<Revision, String> {
    let revision = draft.rollouts.get(name).and_then(RolloutState::current_revision);
    let declared = |revision: &&Revision| {
        spec.stored.contains(&revision.description_hash)
            || (spec.unresolved.is_none() && revision.description_hash == spec.description_hash)
    };
    revision.filter(declared).cloned().ok_or_else(|| {
        spec.unresolved.clone().unwrap_or_else(|| "the configuration of its revision is not stored".into())
    })
}

/// Why the next attempt waits after a deployment that could not be made.
fn refused(
    id: &str,
    revision: &Revision,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) -> Option<String> {
    let refusal = world.observed.refusals.get(id)?;
    if refusal.description_hash != revision.description_hash {
        return None;
    }
    let due = refusal.due(&spec.restart);
    found.back_off(refusal.trouble(id));
    if due <= world.now.wall {
        return None;
    }
    draft.check_at(due);
    found.back_off.clone()
}

/// No order: stop what runs, but keep the record of an ended run, because it says what is complete.
fn switch_off(
    id: &str,
    replica: Option<&ObservedReplica>,
    name: &str,
    spec: &DesiredService,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) -> Standing {
    let live = replica.filter(|replica| replica.is_live());
    if let Some(replica) = live {
        retire(id, replica, name, world, draft, found);
        return Standing::Stopping;
    }
    let why = if spec.suspended { "suspended" } else { "no run is ordered" };
    Standing::Off(why.into())
}

#[expect(clippy::too_many_arguments, reason = "plain data in, no struct is worth its name for one call")]
fn obey(
    id: &str,
    replica: Option<&ObservedReplica>,
    name: &str,
    spec: &DesiredService,
    order: &BatchOrder,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) -> Standing {
    let overdue = world.now.site >= order.deadline;
    if let Some(replica) = replica.filter(|replica| replica.is_live()) {
        if !overdue {
            draft.check_at_site(order.deadline);
        }
        return steer(id, replica, name, spec, order, world, draft, found);
    }
    if world.run_complete(name, &order.run) {
        return Standing::Complete;
    }
    if overdue {
        return Standing::Missed;
    }
    draft.check_at_site(order.deadline);
    let mut because = "its run is ordered".to_owned();
    if let Some(replica) = replica.filter(|replica| replica.run.as_deref() == Some(&order.run))
        && let ReplicaPhase::Exited { exit, asked, .. } = &replica.phase
        && asked.is_none_or(|cause| cause == StopCause::Unhealthy)
    {
        if spec.restart.policy == RestartPolicy::Never {
            return Standing::Failed(format!("{id} {exit}"));
        }
        match backed_off(replica, exit, spec, None, world, draft, found) {
            None => return Standing::Waiting(found.back_off.clone().unwrap_or_default()),
            Some(why) => because = why,
        }
    }
    begin(id, name, spec, order, &because, world, draft, found)
}

/// A process runs: is it the right one, is it still allowed, is it well?
#[expect(clippy::too_many_arguments, reason = "plain data in, no struct is worth its name for one call")]
fn steer(
    id: &str,
    replica: &ObservedReplica,
    name: &str,
    spec: &DesiredService,
    order: &BatchOrder,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) -> Standing {
    if matches!(replica.phase, ReplicaPhase::Stopping { .. }) {
        press(id, replica, world, draft, found);
        return Standing::Stopping;
    }
    let other_run = replica.run.as_deref() != Some(&order.run);
    if other_run || world.now.site >= order.deadline {
        let because = format!("the deadline of {id} has passed");
        stop(id, spec.stop_timeout, StopCause::Deadline, because, draft);
        return Standing::Stopping;
    }
    if let Some(next) = order.next_step(world.now.site) {
        draft.check_at_site(next);
    }
    if let (true, Err(why)) = (order.interruptible, order.allowed(world.now.site)) {
        stop(id, spec.stop_timeout, StopCause::Paused, format!("{id} pauses: {why}"), draft);
        return Standing::Stopping;
    }
    supervise(id, replica, name, spec, world, draft, found);
    Standing::Running
}

#[expect(clippy::too_many_arguments, reason = "plain data in, no struct is worth its name for one call")]
fn begin(
    id: &str,
    name: &str,
    spec: &DesiredService,
    order: &BatchOrder,
    because: &str,
    world: &World<'_>,
    draft: &mut Draft,
    found: &mut Findings,
) -> Standing {
    if let Some(next) = order.next_step(world.now.site) {
        draft.check_at_site(next);
    }
    let (max_power, reason) = match order.allowed(world.now.site) {
        Ok(allowed) => allowed,
        Err(why) => return Standing::Waiting(why),
    };
    if let Err(why) = world.dependencies_ready(spec) {
        return Standing::Waiting(why);
    }
    let revision = match deployable(name, spec, draft) {
        Ok(revision) => revision,
        Err(why) => return Standing::Waiting(why),
    };
    if let Some(why) = refused(id, &revision, spec, world, draft, found) {
        return Standing::Waiting(why);
    }
    // A surplus replica left by a change of kind must be gone first.
    if world.live(name) > 0 {
        return Standing::Waiting("waits for surplus replicas to stop".into());
    }
    let work = BatchWork { run: order.run.clone(), remaining: order.remaining, max_power };
    let because = format!("{id} starts: {because}; {reason}");
    draft.act(
        Action::Deploy {
            service: name.into(),
            replica: id.into(),
            ordinal: 0,
            generation: revision.generation,
            revision: revision.number,
            description_hash: revision.description_hash,
            work: Some(work),
        },
        because,
    );
    Standing::Running
}

fn status(
    name: &str,
    spec: &DesiredService,
    order: Option<&BatchOrder>,
    standing: Standing,
    found: &Findings,
    world: &World<'_>,
) -> ServiceStatus {
    use ServicePhase as P;
    let run = order.map_or(String::new(), |order| format!("run {}", order.run));
    let (phase, reason, message) = match standing {
        Standing::Off(why) => (P::Stopped, "NotOrdered", why),
        Standing::Complete => (P::Completed, "Complete", format!("{run} is complete")),
        Standing::Missed => (P::Failed, "DeadlineMissed", format!("{run} was not complete at its deadline")),
        Standing::Failed(how) => (P::Failed, "Failed", how),
        Standing::Waiting(why) if found.back_off.is_some() => (P::BackOff, "Failing", why),
        Standing::Waiting(why) => (P::Waiting, "Waiting", why),
        Standing::Running => (P::Running, "AtWork", format!("{run} is at work")),
        Standing::Stopping => (P::Stopping, "Stopping", found.stopping.clone().unwrap_or_default()),
    };
    let complete = phase == P::Completed;
    let met = match (complete, reason) {
        (true, _) => Truth::True,
        (false, "DeadlineMissed") => Truth::False,
        _ => Truth::Unknown,
    };
    let ready_replicas = world.ready_replicas(name, spec);
    let ready = !ready_replicas.is_empty();
    let conditions = vec![
        Condition::new("Complete", complete.into(), reason, message.clone()),
        Condition::new("DeadlineMet", met, reason, message.clone()),
        found.healthy(),
        Condition::new("Ready", ready.into(), reason, message),
    ];
    ServiceStatus {
        phase,
        ready: u32::from(ready),
        ready_replicas,
        live: world.live(name),
        replicas: 1,
        observed_generation: spec.generation,
        restarts: retries(name, world),
        conditions,
    }
}
