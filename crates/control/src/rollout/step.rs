//! One step of a canary.

use jiff::{SignedDuration, Timestamp};

use super::analysis::{AnalysisSpec, Inconclusive, Judgement, Measured, judge};
use super::course::Course;
use super::spec::{Canary, CanaryStep};
use crate::probe::later;
use crate::world::World;

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its replicas are not available yet.
    Starting,
    /// Its replicas are there and it has not been noted as begun.
    Begins,
    /// It goes on; when waiting alone changes that, and what is waited for.
    Runs { next: Option<Timestamp>, why: String },
    /// The next one may begin.
    Passed,
    /// The revision is given up.
    Failed(String),
}

/// Judges the present step.
pub(crate) fn verdict(course: &Course<'_>, spec: &Canary, world: &World<'_>) -> Verdict {
    let Some(rollout) = &course.state.rollout else { return Verdict::Starting };
    let index = usize::try_from(rollout.step).unwrap_or(usize::MAX);
    let Some(step) = spec.steps.get(index) else { return Verdict::Passed };
    let whole = course.available() >= spec.replicas_at(index, course.limits.replicas);
    let Some(since) = rollout.step_since else {
        return if whole { Verdict::Begins } else { Verdict::Starting };
    };
    let end = step.pause.map(|pause| later(since, pause));
    let over = rollout.promote || end.is_some_and(|end| end <= world.now.wall);
    let judgement = match &spec.analysis {
        Some(analysis) if step.weight > 0 => judged(course, analysis, step, since, over, world),
        _ => Judgement::Good,
    };
    match judgement {
        Judgement::Failed(why) => Verdict::Failed(why),
        _ if rollout.promote && whole => Verdict::Passed,
        _ if rollout.paused.is_some() => runs("it is paused"),
        _ if end.is_none() => runs("it waits for a promotion"),
        _ if !over => Verdict::Runs { next: end, why: "its time is not over".into() },
        _ if !whole => runs("its replicas are not all available"),
        Judgement::Good => Verdict::Passed,
        Judgement::Open(why) => {
            // Patience is for requests that are counted: after a restart the count begins anew.
            let counted = measured(course, course.state.current, since, world).map(|new| new.since);
            undecided(spec, end.max(counted), why, world)
        }
    }
}

fn runs(why: &str) -> Verdict {
    Verdict::Runs { next: None, why: why.into() }
}

fn undecided(spec: &Canary, from: Option<Timestamp>, why: String, world: &World<'_>) -> Verdict {
    let patience = spec.analysis.as_ref().map_or(SignedDuration::ZERO, |analysis| analysis.patience);
    let last = from.map(|from| later(from, patience));
    if last.is_some_and(|last| last > world.now.wall) {
        return Verdict::Runs { next: last, why };
    }
    match spec.analysis.as_ref().map(|analysis| analysis.inconclusive) {
        Some(Inconclusive::Continue) => Verdict::Passed,
        Some(Inconclusive::RollBack) => Verdict::Failed(format!("it could not be judged: {why}")),
        Some(Inconclusive::Wait) | None => Verdict::Runs { next: None, why },
    }
}

fn judged(
    course: &Course<'_>,
    analysis: &AnalysisSpec,
    step: &CanaryStep,
    since: Timestamp,
    over: bool,
    world: &World<'_>,
) -> Judgement {
    let new = measured(course, course.state.current, since, world);
    let old = measured(course, course.state.way_back(), since, world);
    judge(analysis, new, old, step.weight < 100, over)
}

/// What was measured of a revision since the step began.
pub(crate) fn measured<'w>(
    course: &Course<'_>,
    revision: Option<u32>,
    since: Timestamp,
    world: &World<'w>,
) -> Option<&'w Measured> {
    let hash = &course.state.revision(revision?)?.description_hash;
    let all = world.observed.measured.get(course.name)?;
    all.iter().find(|measured| measured.description_hash == *hash && measured.since >= since)
}
