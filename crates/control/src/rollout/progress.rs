//! What people are told of a rollout, as data and as a sentence.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::analysis::{millis, percent};
use super::course::{Course, Mode};
use super::spec::Strategy;
use super::step::{self, Verdict};
use super::traffic::{ALL_TRAFFIC, RevisionTraffic};
use crate::Measured;
use crate::world::World;

/// A rollout that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The revision that comes in.
    pub revision: u32,
    /// The last good revision, if there is another.
    pub from: Option<u32>,
    /// How it comes in: `rolling`, `recreate`, `blue/green` or `canary`.
    pub strategy: String,
    /// When it began, wall time.
    pub started_at: Timestamp,
    /// Its available replicas.
    pub available: u32,
    /// Its replicas in the end.
    pub replicas: u32,
    /// Its share of the traffic, in ten-thousandths.
    pub weight: u32,
    /// The step of a canary.
    pub step: Option<StepStatus>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// What it waits for, or why it goes back; empty where nothing is to be said.
    pub message: String,
    /// Whether a failed revision is left.
    pub back: bool,
}

/// The present step of a canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Its number, from 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    /// Since when its replicas are there, wall time: requests are to be measured from here.
    pub since: Option<Timestamp>,
    /// The requests of the new revision, where they were measured.
    pub new: Option<Measured>,
    /// The requests of the last good revision, where they were measured.
    pub old: Option<Measured>,
}

pub(crate) fn progress(
    course: &Course<'_>,
    traffic: &[RevisionTraffic],
    world: &World<'_>,
) -> Option<RolloutStatus> {
    let (revision, rollout) = (course.state.current?, course.state.rollout.as_ref()?);
    let mode = course.mode();
    let strategy = match mode {
        Mode::Rolling if course.spec.exclusive.is_some() => Strategy::Rolling.name(),
        Mode::Rolling if rollout.promoted_at.is_none() => Strategy::Rolling.name(),
        _ => course.spec.rollout.strategy.name(),
    };
    Some(RolloutStatus {
        revision,
        from: course.state.way_back(),
        strategy: strategy.into(),
        started_at: rollout.started_at,
        available: course.available(),
        replicas: course.limits.replicas,
        weight: traffic.iter().find(|share| share.revision == revision).map_or(0, |share| share.weight),
        step: step_status(course, mode, world),
        paused_by: rollout.paused.as_ref().map(|pause| pause.by.clone()),
        message: message(course, mode, world),
        back: rollout.back.is_some(),
    })
}

fn step_status(course: &Course<'_>, mode: Mode<'_>, world: &World<'_>) -> Option<StepStatus> {
    let (Mode::Canary(spec), Some(rollout)) = (mode, &course.state.rollout) else { return None };
    let of = |revision| step::measured(course, revision, rollout.step_since?, world).cloned();
    Some(StepStatus {
        number: rollout.step.saturating_add(1),
        of: u32::try_from(spec.steps.len()).unwrap_or(u32::MAX),
        since: rollout.step_since,
        new: of(course.state.current),
        old: of(course.state.way_back()),
    })
}

fn message(course: &Course<'_>, mode: Mode<'_>, world: &World<'_>) -> String {
    let Some(rollout) = &course.state.rollout else { return String::new() };
    if let Some(why) = &rollout.back {
        return why.clone();
    }
    if let Some(why) = &course.hindrance {
        return why.clone();
    }
    if course.limits.replicas == 0 {
        return "it is proven once it has replicas".into();
    }
    match mode {
        Mode::Canary(spec) => match step::verdict(course, spec, world) {
            Verdict::Runs { why, .. } | Verdict::Failed(why) => why,
            Verdict::Starting | Verdict::Begins | Verdict::Passed => String::new(),
        },
        Mode::BlueGreen(spec) => match (rollout.promoted_at, rollout.step_since) {
            (Some(_), _) => "traffic is switched, the old set is kept for a while".into(),
            (None, Some(_)) if spec.promote_after.is_none() => "it waits for a promotion".into(),
            (None, Some(_)) => "the new set is watched before the switch".into(),
            (None, None) => String::new(),
        },
        Mode::Rolling | Mode::Recreate => match &course.spec.exclusive {
            Some(why) if course.state.way_back().is_some() => format!("none runs beside another: {why}"),
            _ => String::new(),
        },
    }
}

impl RolloutStatus {
    /// One sentence, such as `2 of 3 new replicas ready, 25 % of traffic, step 2/4 since 12 s: error rate 0.2 % against
    /// 0.1 %`.
    #[must_use]
    pub fn sentence(&self, now: Timestamp) -> String {
        let replicas = if self.back { "replicas" } else { "new replicas" };
        let mut text = format!("{} of {} {replicas} ready", self.available, self.replicas);
        if self.weight > 0 || self.step.is_some() {
            let share = percent(f64::from(self.weight) / f64::from(ALL_TRAFFIC));
            text = format!("{text}, {share} of traffic");
        }
        let mut evidence = None;
        if let Some(step) = &self.step {
            text = format!("{text}, step {}/{}", step.number, step.of);
            if let Some(since) = step.since {
                text = format!("{text} since {} s", now.duration_since(since).as_secs().max(0));
            }
            evidence = step.evidence();
        }
        if let Some(by) = &self.paused_by {
            text = format!("{text}, paused by {by}");
        }
        let notes: Vec<_> =
            evidence.into_iter().chain(Some(self.message.clone()).filter(|m| !m.is_empty())).collect();
        if notes.is_empty() { text } else { format!("{text}: {}", notes.join("; ")) }
    }
}

impl StepStatus {
    /// Such as `error rate 0.2 % against 0.1 %, latency 12 ms against 11 ms`.
    fn evidence(&self) -> Option<String> {
        let new = self.new.as_ref()?;
        let against = |text: Option<String>| text.map_or(String::new(), |text| format!(" against {text}"));
        let old = self.old.as_ref();
        let rate = against(old.map(|old| percent(old.error_rate())));
        let mut text = format!("error rate {}{rate}", percent(new.error_rate()));
        if let Some(latency) = new.latency {
            let other = against(old.and_then(|old| old.latency).map(millis));
            text = format!("{text}, latency {}{other}", millis(latency));
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::testing::at;

    #[test]
    fn the_sentence_says_replicas_share_step_and_evidence() {
        let measured = |errors| Measured {
            description_hash: "h".into(),
            since: at(0),
            requests: 1000,
            errors,
            latency: None,
        };
        let status = RolloutStatus {
            revision: 2,
            from: Some(1),
            strategy: "canary".into(),
            started_at: at(0),
            available: 2,
            replicas: 3,
            weight: 2500,
            step: Some(StepStatus {
                number: 2,
                of: 4,
                since: Some(at(100)),
                new: Some(measured(2)),
                old: Some(measured(1)),
            }),
            paused_by: None,
            message: String::new(),
            back: false,
        };
        assert_eq!(
            status.sentence(at(112)),
            "2 of 3 new replicas ready, 25 % of traffic, step 2/4 since 12 s: error rate 0.2 % against 0.1 %"
        );
    }
}
