//! Which share of a service's traffic goes to which revision.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::course::{Course, Mode};
use crate::world::World;

/// All traffic, in the unit of [`RevisionTraffic::weight`].
pub const ALL_TRAFFIC: u32 = 10_000;

/// The share of one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionTraffic {
    /// Its number.
    pub revision: u32,
    /// Hash of its description.
    pub description_hash: String,
    /// Its share, in ten-thousandths; all revisions of a service come to [`ALL_TRAFFIC`].
    pub weight: u32,
    /// Ids of its replicas that may be used, in order; never empty where the weight is above zero.
    pub replicas: Vec<String>,
}

/// The shares of all revisions that have ready replicas; none where no replica is ready. `leaving` get nothing.
pub(crate) fn shares(
    course: &Course<'_>,
    leaving: &BTreeSet<&str>,
    world: &World<'_>,
) -> Vec<RevisionTraffic> {
    let mut ready: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for member in &course.census.members {
        let usable = world.replica_ready(course.spec, member.replica) && !leaving.contains(member.id);
        if usable {
            ready.entry(member.revision).or_default().push(member.id.to_owned());
        }
    }
    let counts: BTreeMap<u32, u64> = ready.iter().map(|(number, ids)| (*number, ids.len() as u64)).collect();
    let weights = split(wanted(course, &counts), &counts);
    let share = |(number, replicas): (u32, Vec<String>)| {
        Some(RevisionTraffic {
            revision: number,
            description_hash: course.state.revision(number)?.description_hash.clone(),
            weight: weights.get(&number).copied().unwrap_or(0),
            replicas,
        })
    };
    ready.into_iter().filter_map(share).collect()
}

/// The share of the present revision that its rollout asks for; `None`: as its replicas are of all.
fn wanted(course: &Course<'_>, ready: &BTreeMap<u32, u64>) -> Option<(u32, u32)> {
    let (current, rollout) = (course.state.current?, course.state.rollout.as_ref()?);
    let old = course.state.way_back();
    let weight = match course.mode() {
        Mode::BlueGreen(_) => {
            if rollout.promoted_at.is_some() {
                ALL_TRAFFIC
            } else {
                0
            }
        }
        Mode::Canary(spec) => {
            // The share of a step counts once its replicas are there.
            let begun = rollout.step.saturating_sub(u32::from(rollout.step_since.is_none()));
            let step = spec.steps.get(usize::try_from(begun).unwrap_or(usize::MAX));
            let reached = rollout.step_since.is_some() || rollout.step > 0;
            step.filter(|_| reached).map_or(0, |step| u32::from(step.weight.min(100)) * (ALL_TRAFFIC / 100))
        }
        Mode::Rolling if rollout.back.is_some() => {
            let good = ready.get(&current).copied().unwrap_or(0);
            return (good >= u64::from(course.limits.floor().max(1))).then_some((current, ALL_TRAFFIC));
        }
        Mode::Rolling if rollout.promoted_at.is_some() => after_last_step(course, current, ready)?,
        Mode::Rolling | Mode::Recreate => return None,
    };
    old.map(|_| (current, weight))
}

/// A promoted canary keeps at least the share of its last step while the rest is replaced.
fn after_last_step(course: &Course<'_>, current: u32, ready: &BTreeMap<u32, u64>) -> Option<u32> {
    let super::spec::Strategy::Canary(spec) = &course.spec.rollout.strategy else { return None };
    let last = u32::from(spec.steps.last()?.weight.min(100)) * (ALL_TRAFFIC / 100);
    let total: u64 = ready.values().sum();
    let own = ready.get(&current).copied().unwrap_or(0) * u64::from(ALL_TRAFFIC);
    let own = u32::try_from(own.checked_div(total)?).unwrap_or(ALL_TRAFFIC);
    Some(own.max(last))
}

/// Whole numbers that come to [`ALL_TRAFFIC`], zero where nothing is ready.
fn split(wanted: Option<(u32, u32)>, ready: &BTreeMap<u32, u64>) -> BTreeMap<u32, u32> {
    let mut weights = BTreeMap::new();
    let mut left = ALL_TRAFFIC;
    let mut others: BTreeMap<u32, u64> = ready.clone();
    if let Some((number, weight)) = wanted
        && others.remove(&number).is_some()
    {
        let weight = if others.is_empty() { ALL_TRAFFIC } else { weight };
        weights.insert(number, weight);
        left -= weight;
    }
    let mut total: u64 = others.values().sum();
    for (number, count) in others {
        // What is left by the part of what is left: rounding comes out even at the last one.
        let part = (u64::from(left) * count).checked_div(total).unwrap_or(0);
        let part = u32::try_from(part).unwrap_or(left);
        weights.insert(number, part);
        left -= part;
        total -= count;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wanted: Option<(u32, u32)>, ready: &[(u32, u64)]) -> Vec<(u32, u32)> {
        split(wanted, &ready.iter().copied().collect()).into_iter().collect()
    }

    #[test]
    fn shares_follow_ready_replicas_or_the_step_and_always_come_to_all() {
        assert_eq!(of(None, &[(1, 2), (2, 1)]), [(1, 6666), (2, 3334)]);
        assert_eq!(of(Some((2, 2500)), &[(1, 3), (2, 1)]), [(1, 7500), (2, 2500)]);
        assert_eq!(of(Some((2, 0)), &[(1, 3), (2, 1)]), [(1, 10_000), (2, 0)]);
    }

    #[test]
    fn a_revision_without_ready_replicas_gets_nothing_and_the_other_everything() {
        assert_eq!(of(Some((2, 2500)), &[(1, 3)]), [(1, 10_000)]);
        assert_eq!(of(Some((2, 0)), &[(2, 1)]), [(2, 10_000)]);
        assert_eq!(of(Some((2, 10_000)), &[]), []);
    }
}
