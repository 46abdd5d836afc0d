//! The status of a long-running service.

use std::collections::BTreeSet;

use crate::findings::Findings;
use crate::rollout::{Course, Outcome};
use crate::status::{Condition, Truth};
use crate::world::World;
use crate::{DesiredService, Exit, PastRun, ServicePhase, ServiceStatus, StopCause};

pub(crate) fn status(
    course: &Course<'_>,
    leaving: &BTreeSet<&str>,
    found: &Findings,
    world: &World<'_>,
) -> ServiceStatus {
    let (name, spec, want) = (course.name, course.spec, course.limits.replicas);
    let live = world.live(name);
    let mut ready_replicas = world.ready_replicas(name, spec);
    ready_replicas.retain(|id| !leaving.contains(id.as_str()));
    let ready = u32::try_from(ready_replicas.len()).unwrap_or(u32::MAX);
    let (phase, reason, message) = word(course, live, ready, found);
    let dependencies = world.dependencies_ready(spec);
    let conditions = vec![
        Condition::new(
            "DependenciesReady",
            dependencies.is_ok().into(),
            if dependencies.is_ok() { "Ready" } else { "NotReady" },
            dependencies.err().unwrap_or_default(),
        ),
        found.healthy(),
        progressing(course, world),
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

/// How the present revision gets on.
fn progressing(course: &Course<'_>, world: &World<'_>) -> Condition {
    let state = &course.state;
    let of = |truth, reason: &str, message: String| Condition::new("Progressing", truth, reason, message);
    let number = state.current.unwrap_or(0);
    let Some(rollout) = &state.rollout else {
        let declared = state.of_hash(&state.declared).map(|revision| revision.outcome);
        return match &state.hold {
            Some(hold) if declared == Some(Outcome::RolledBack) => {
                of(Truth::False, "RolledBack", format!("{}; revision {number} runs instead", hold.reason))
            }
            Some(hold) => of(Truth::True, "Held", hold.reason.clone()),
            None => of(Truth::True, "Complete", format!("revision {number} is in place")),
        };
    };
    if let Some(why) = &rollout.back {
        return of(Truth::True, "RollingBack", format!("{why}; revision {number} comes back"));
    }
    if let Some(pause) = &rollout.paused {
        return of(Truth::Unknown, "Paused", format!("revision {number} was paused by {}", pause.by));
    }
    if course.deadline().is_some_and(|deadline| deadline <= world.now.wall) {
        let seconds = course.spec.rollout.progress_deadline.as_secs();
        let message =
            format!("revision {number} got no further within {seconds} s, and no good revision is known");
        return of(Truth::False, "ProgressDeadlineExceeded", message);
    }
    let alone = course.spec.exclusive.as_ref().filter(|_| state.way_back().is_some());
    let note = alone.map_or(String::new(), |why| format!("; none runs beside another: {why}"));
    of(Truth::True, "Progressing", format!("revision {number} comes in{note}"))
}

/// Whether replicas are being exchanged: the first revision of a service replaces nothing.
fn is_rolling(course: &Course<'_>) -> bool {
    let state = &course.state;
    let others = state.sizes.keys().any(|revision| Some(*revision) != state.current);
    state.rollout.is_some()
        && (others || state.way_back().is_some() || state.rollout.as_ref().is_some_and(|r| r.back.is_some()))
}

fn word(
    course: &Course<'_>,
    live: u32,
    ready: u32,
    found: &Findings,
) -> (ServicePhase, &'static str, String) {
    use ServicePhase as P;
    let (spec, want): (&DesiredService, u32) = (course.spec, course.limits.replicas);
    let text = |message: &Option<String>| message.clone().unwrap_or_default();
    let count = format!("{} of {want} replicas are ready", ready.min(want));
    if want == 0 {
        return match live {
            0 if spec.suspended => (P::Stopped, "Suspended", "suspended".into()),
            0 => (P::Stopped, "NoReplicas", "declared with no replicas".into()),
            _ => (P::Stopping, "Stopping", text(&found.stopping)),
        };
    }
    if is_rolling(course) {
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
