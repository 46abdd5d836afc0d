//! When a new revision is given up.

use super::census::Standing;
use super::course::{Course, Mode};
use super::step::{self, Verdict};
use crate::trouble::last_lines;
use crate::world::World;
use crate::{ReplicaPhase, recent_failures};

/// Why the present revision is to be given up; `None` as well when there is no way back or it is the way back.
pub(crate) fn reason(course: &Course<'_>, world: &World<'_>) -> Option<String> {
    let rollout = course.state.rollout.as_ref()?;
    let number = course.state.current?;
    if rollout.back.is_some() || course.state.way_back().is_none() || course.limits.replicas == 0 {
        return None;
    }
    let why = crash_loop(course, number, world)
        .or_else(|| refused(course, world))
        .or_else(|| analysis(course, world))
        .or_else(|| late(course, world))?;
    Some(format!("revision {number}: {why}"))
}

fn crash_loop(course: &Course<'_>, number: u32, world: &World<'_>) -> Option<String> {
    // What fails for want of something else would fail as any revision.
    world.dependencies_ready(course.spec).ok()?;
    let limit = course.spec.rollout.crash_limit.max(1);
    let forgiven = course.state.forgiven_until;
    course.census.of(number).filter(|member| member.standing != Standing::Available).find_map(|member| {
        let failures = recent_failures(&course.spec.restart, member.replica, forgiven);
        if failures < limit && member.standing != Standing::Dead {
            return None;
        }
        let how = match &member.replica.phase {
            ReplicaPhase::Exited { exit, .. } => exit.to_string(),
            _ => "failed".into(),
        };
        let lines = last_lines(member.id, world);
        Some(format!("{} {how}, {failures} times in a row{lines}", member.id))
    })
}

fn refused(course: &Course<'_>, world: &World<'_>) -> Option<String> {
    let hash = &course.state.current_revision()?.description_hash;
    let limit = course.spec.rollout.crash_limit.max(1);
    world.observed.refusals.iter().find_map(|(id, refusal)| {
        let counts = refusal.service == course.name
            && refusal.description_hash == *hash
            && refusal.problem.is_of_the_revision()
            && refusal.times >= limit;
        counts.then(|| {
            format!("{id} could not be deployed, tried {} times: {}", refusal.times, refusal.message)
        })
    })
}

fn analysis(course: &Course<'_>, world: &World<'_>) -> Option<String> {
    let Mode::Canary(spec) = course.mode() else { return None };
    match step::verdict(course, spec, world) {
        Verdict::Failed(why) => Some(why),
        _ => None,
    }
}

fn late(course: &Course<'_>, world: &World<'_>) -> Option<String> {
    course.deadline().filter(|deadline| *deadline <= world.now.wall)?;
    let (ready, wanted) = (course.available(), course.limits.replicas);
    let seconds = course.spec.rollout.progress_deadline.as_secs();
    Some(format!("{ready} of {wanted} replicas available, and no further one within {seconds} s"))
}
