//! From what is declared to the revision that is to run.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::state::{Outcome, RolloutState};
use crate::{DesiredService, ObservedReplica};

/// Brings the state in line with the declaration and with replicas it does not know.
pub(crate) fn revise<'a>(
    spec: &DesiredService,
    state: &mut RolloutState,
    replicas: impl Iterator<Item = &'a ObservedReplica>,
    now: Timestamp,
) {
    let unknown_before = state.revisions.is_empty();
    let found = note_strangers(spec, state, replicas, now);
    state.drain_time = spec.rollout.drain_time;
    if spec.unresolved.is_none() && !spec.description_hash.is_empty() {
        follow(spec, state, now);
    } else if state.current.is_none() {
        // Nothing can be said of the declaration; what runs goes on.
        state.current = found;
        state.stable = found;
    }
    if unknown_before && state.stable.is_none() {
        state.stable = found.filter(|found| state.current != Some(*found));
    }
    state.forget_old();
}

/// Makes revisions of descriptions that run and are not known; true after the state was lost, or after an update from a
/// version that kept none. Returns the one that most replicas run, other than the declared one if there is another.
fn note_strangers<'a>(
    spec: &DesiredService,
    state: &mut RolloutState,
    replicas: impl Iterator<Item = &'a ObservedReplica>,
    now: Timestamp,
) -> Option<u32> {
    let mut strangers: BTreeMap<&str, (u64, u32)> = BTreeMap::new();
    let unknown =
        replicas.filter(|replica| replica.is_live() && state.of_hash(&replica.description_hash).is_none());
    for replica in unknown {
        let (generation, count) = strangers.entry(replica.description_hash.as_str()).or_default();
        *generation = replica.generation.max(*generation);
        *count += 1;
    }
    let mut strangers: Vec<_> = strangers.into_iter().collect();
    strangers.sort_by_key(|(hash, (generation, _))| (*hash == spec.description_hash, *generation, *hash));
    let mut numbered = Vec::new();
    for (hash, (generation, count)) in strangers {
        let declared = hash == spec.description_hash;
        let outcome = if declared { Outcome::Progressing } else { Outcome::FoundRunning };
        let number = state.add(hash, generation, "found running".into(), outcome, now);
        state.sizes.insert(number, count);
        numbered.push((declared, count, number));
    }
    numbered
        .into_iter()
        .max_by_key(|(declared, count, number)| (!declared, *count, *number))
        .map(|found| found.2)
}

/// Heads for the declared revision, or for the one that is held in its place.
fn follow(spec: &DesiredService, state: &mut RolloutState, now: Timestamp) {
    let hash = &spec.description_hash;
    let changed = state.declared != *hash;
    if changed {
        state.declared.clone_from(hash);
        state.hold = None;
    }
    let held = state.hold.as_ref().map(|hold| hold.revision);
    let held = held.filter(|held| state.revision(*held).is_some());
    let target = held.unwrap_or_else(|| declared_revision(spec, state, changed, now));
    if state.current != Some(target) {
        state.head_for(target, None, now);
    }
    // A generation that changes nothing in the description belongs to the same revision.
    let declared = state.of_hash(hash).map(|revision| revision.number);
    if let Some(revision) = declared.and_then(|number| state.revision_mut(number)) {
        revision.generation = spec.generation;
    }
}

fn declared_revision(spec: &DesiredService, state: &mut RolloutState, changed: bool, now: Timestamp) -> u32 {
    let hash = &spec.description_hash;
    if let Some(known) = state.of_hash(hash).map(|known| known.number) {
        // An older one that is declared again is a new attempt with a new number, unless it runs already.
        let runs = [state.current, state.stable].contains(&Some(known)) || state.sizes.contains_key(&known);
        if runs || !changed {
            return known;
        }
        state.forgiven_until = Some(now);
    }
    let cause = spec.cause.clone().unwrap_or_else(|| format!("generation {} was declared", spec.generation));
    state.add(hash, spec.generation, cause, Outcome::Progressing, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::testing::{at, replica, service};

    fn revised(state: &mut RolloutState, spec: &DesiredService, replicas: &[ObservedReplica]) {
        revise(spec, state, replicas.iter(), at(1));
    }

    #[test]
    fn a_state_that_was_lost_is_made_anew_from_what_runs() {
        let mut state = RolloutState::default();
        let running = [replica(0, "old"), replica(1, "old"), replica(2, "new")];
        revised(&mut state, &service(3, "new"), &running);
        let hashes: Vec<_> =
            state.revisions.iter().map(|revision| revision.description_hash.as_str()).collect();
        assert_eq!(hashes, ["old", "new"]);
        assert_eq!((state.stable, state.current, state.size(1), state.size(2)), (Some(1), Some(2), 2, 1));
        assert_eq!(state.revisions[0].outcome, Outcome::FoundRunning);
    }

    #[test]
    fn what_was_rolled_back_is_tried_again_only_after_another_declaration() {
        let mut state = RolloutState::default();
        revised(&mut state, &service(1, "a"), &[]);
        state.stable = Some(1);
        state.decide(1, Outcome::Succeeded, "", at(1));
        revised(&mut state, &service(1, "b"), &[]);
        state.roll_back(1, "it crashed", at(2));
        for _ in 0..3 {
            revised(&mut state, &service(1, "b"), &[]);
            assert_eq!(state.current, Some(1));
        }
        revised(&mut state, &service(1, "a"), &[]);
        assert_eq!((state.current, state.hold.is_none()), (Some(1), true));
        revised(&mut state, &service(1, "b"), &[]);
        assert_eq!(state.current, Some(3), "b again, under a new number");
        let numbers: Vec<_> = state.revisions.iter().map(|revision| revision.number).collect();
        assert_eq!(numbers, [1, 3]);
    }

    #[test]
    fn a_configuration_that_cannot_be_made_changes_nothing() {
        let mut state = RolloutState::default();
        revised(&mut state, &service(1, "a"), &[]);
        let before = state.clone();
        let waiting = DesiredService { unresolved: Some("waits for a port".into()), ..service(1, "") };
        revised(&mut state, &waiting, &[]);
        assert_eq!(state, before);
        let mut fresh = RolloutState::default();
        revised(&mut fresh, &waiting, &[replica(0, "old")]);
        assert_eq!((fresh.current, fresh.stable), (Some(1), Some(1)), "what runs goes on");
    }
}
