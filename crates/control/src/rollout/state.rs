//! What is remembered of a service's revisions: the part of the truth that its replicas do not tell.
//!
//! The planner returns the value, the caller stores it before it performs the plan and hands it back. When it is lost,
//! it is made anew from the replicas that are observed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How many revisions are listed. Those in use are never dropped.
pub const HISTORY_LIMIT: usize = 10;
/// Longest reason that is kept, bytes.
pub(crate) const MAX_REASON: usize = 2048;

/// The version of the stored form. Reading another one fails, so that a newer state is not misunderstood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateVersion;

impl StateVersion {
    const NUMBER: u32 = 1;
}

impl Serialize for StateVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for StateVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            Self::NUMBER => Ok(Self),
            other => Err(serde::de::Error::custom(format!(
                "rollout state has version {other}, this program knows version {}",
                Self::NUMBER
            ))),
        }
    }
}

/// The revisions of one service and where the rollout of the newest stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutState {
    /// Version of the stored form.
    pub version: StateVersion,
    /// The highest number given so far.
    pub last_number: u32,
    /// Known revisions, by rising number; at most [`HISTORY_LIMIT`] that are not in use.
    pub revisions: Vec<Revision>,
    /// Hash declared when last planned.
    pub declared: String,
    /// The revision that replicas are brought to.
    pub current: Option<u32>,
    /// The last revision that was fully available and not given up: where a failure leads back to.
    pub stable: Option<u32>,
    /// The change to `current` that is under way.
    pub rollout: Option<Rollout>,
    /// Another revision than the declared one is to run, until the declaration changes.
    pub hold: Option<Hold>,
    /// How many replicas each revision is to have, by number; zeros are left out.
    pub sizes: BTreeMap<u32, u32>,
    /// Declared replicas when last planned.
    pub replicas: u32,
    /// Most replicas allowed when last planned.
    pub ceiling: u32,
    /// Replicas that are out of traffic, until they have gone.
    pub draining: BTreeMap<String, Drain>,
    /// The declared drain time: it holds when the declaration is gone.
    pub drain_time: SignedDuration,
    /// Failures before this wall time are forgiven.
    pub forgiven_until: Option<Timestamp>,
}

/// One revision: a description that was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number, from 1, never used twice.
    pub number: u32,
    /// Hash of its description; the caller keeps the description under it.
    pub description_hash: String,
    /// The generation with which it was last declared.
    pub generation: u64,
    /// Why it came to be.
    pub cause: String,
    /// When it was first seen, wall time.
    pub created_at: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// Why that, empty where nothing is to be said.
    pub reason: String,
    /// When that became so, wall time.
    pub decided_at: Timestamp,
}

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Not decided yet.
    Progressing,
    /// All its replicas were available.
    Succeeded,
    /// It failed, or was aborted, and the last good revision came back.
    RolledBack,
    /// Another one was declared before it was decided.
    Superseded,
    /// It was good, and an order brought back another one.
    Undone,
    /// It ran already when the state was made anew.
    FoundRunning,
}

impl Outcome {
    /// Whether all its replicas were available once.
    pub(crate) fn was_good(self) -> bool {
        matches!(self, Self::Succeeded | Self::Undone | Self::FoundRunning)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Progressing => "progressing",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled back",
            Self::Superseded => "superseded",
            Self::Undone => "undone",
            Self::FoundRunning => "found running",
        })
    }
}

/// A change to another revision that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// When it began, wall time.
    pub started_at: Timestamp,
    /// Why a failed revision is left; `None` on the way to a new one.
    pub back: Option<String>,
    /// A known revision comes back: no steps, no second set.
    pub quick: bool,
    /// Index of the canary's step.
    pub step: u32,
    /// Since when the step has its replicas; with blue/green, since when the new set is available. Wall time.
    pub step_since: Option<Timestamp>,
    /// When traffic was switched for good, wall time.
    pub promoted_at: Option<Timestamp>,
    /// The next wait is skipped.
    pub promote: bool,
    /// All waits of a canary are skipped.
    pub promote_full: bool,
    /// Who halted it, and when.
    pub paused: Option<Pause>,
    /// Most replicas of the new revision that were ever available.
    pub best: u32,
    /// Since when further replicas are waited for; the deadline counts from here. Wall time.
    pub waiting_since: Option<Timestamp>,
}

impl Rollout {
    pub(crate) fn new(now: Timestamp, quick: bool, back: Option<String>) -> Self {
        Self {
            started_at: now,
            back,
            quick,
            step: 0,
            step_since: None,
            promoted_at: None,
            promote: false,
            promote_full: false,
            paused: None,
            best: 0,
            waiting_since: None,
        }
    }
}

/// A rollout that was halted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// By whom.
    pub by: String,
    /// When, wall time.
    pub since: Timestamp,
}

/// Another revision than the declared one is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// It ends when another hash is declared.
    pub declared: String,
    /// The revision that runs instead.
    pub revision: u32,
    /// Why.
    pub reason: String,
}

/// A replica that is out of traffic because it is to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Start of the run that is meant: a later run of the same id is another one.
    pub started_at: Timestamp,
    /// When it was taken out of traffic, wall time.
    pub since: Timestamp,
    /// It is asked to stop at the latest then, wall time.
    pub until: Timestamp,
}

impl RolloutState {
    /// The revision with this number.
    #[must_use]
    pub fn revision(&self, number: u32) -> Option<&Revision> {
        self.revisions.iter().find(|revision| revision.number == number)
    }

    pub(crate) fn revision_mut(&mut self, number: u32) -> Option<&mut Revision> {
        self.revisions.iter_mut().find(|revision| revision.number == number)
    }

    /// The revision that replicas are brought to.
    #[must_use]
    pub fn current_revision(&self) -> Option<&Revision> {
        self.revision(self.current?)
    }

    /// The revision with this hash.
    #[must_use]
    pub fn of_hash(&self, hash: &str) -> Option<&Revision> {
        self.revisions.iter().rev().find(|revision| revision.description_hash == hash)
    }

    /// Where a failure of the current revision leads: the last good one, if that is another.
    pub(crate) fn way_back(&self) -> Option<u32> {
        self.stable.filter(|stable| self.current != Some(*stable) && self.revision(*stable).is_some())
    }

    pub(crate) fn size(&self, number: u32) -> u32 {
        self.sizes.get(&number).copied().unwrap_or(0)
    }

    pub(crate) fn decide(&mut self, number: u32, outcome: Outcome, reason: &str, now: Timestamp) {
        if let Some(revision) = self.revision_mut(number) {
            revision.outcome = outcome;
            revision.reason = shortened(reason);
            revision.decided_at = now;
        }
    }

    /// Replicas are brought to another revision from now on.
    pub(crate) fn head_for(&mut self, number: u32, back: Option<String>, now: Timestamp) {
        let undecided = |revision: &Revision| revision.outcome == Outcome::Progressing;
        if let Some(old) = self.current.filter(|old| self.revision(*old).is_some_and(undecided)) {
            self.decide(old, Outcome::Superseded, &format!("revision {number} took its place"), now);
        }
        let quick = self.revision(number).is_some_and(|revision| revision.outcome.was_good());
        if !quick {
            self.decide(number, Outcome::Progressing, "", now);
        }
        self.current = Some(number);
        self.rollout = Some(Rollout::new(now, quick, back));
    }

    /// The current revision has failed: the last good one comes back and stays until another one is declared.
    pub(crate) fn roll_back(&mut self, to: u32, reason: &str, now: Timestamp) {
        let Some(failed) = self.current else { return };
        let reason = shortened(reason);
        self.decide(failed, Outcome::RolledBack, &reason, now);
        self.hold = Some(Hold { declared: self.declared.clone(), revision: to, reason: reason.clone() });
        self.head_for(to, Some(reason), now);
    }

    /// Adds a revision with the next number; the revision that had this hash before gives way to it.
    pub(crate) fn add(
        &mut self,
        hash: &str,
        generation: u64,
        cause: String,
        outcome: Outcome,
        now: Timestamp,
    ) -> u32 {
        self.last_number = self.last_number.saturating_add(1);
        let number = self.last_number;
        if let Some(old) = self.of_hash(hash).map(|old| old.number) {
            self.revisions.retain(|revision| revision.number != old);
            if let Some(size) = self.sizes.remove(&old) {
                self.sizes.insert(number, size);
            }
        }
        self.revisions.push(Revision {
            number,
            description_hash: hash.into(),
            generation,
            cause: shortened(&cause),
            created_at: now,
            outcome,
            reason: String::new(),
            decided_at: now,
        });
        number
    }

    /// Drops the oldest revisions beyond the limit that nothing uses.
    pub(crate) fn forget_old(&mut self) {
        let held = self.hold.as_ref().map(|hold| hold.revision);
        let used = [self.current, self.stable, held];
        let mut surplus = self.revisions.len().saturating_sub(HISTORY_LIMIT);
        let sizes = &self.sizes;
        self.revisions.retain(|revision| {
            let number = revision.number;
            let in_use = used.contains(&Some(number)) || sizes.contains_key(&number);
            if surplus == 0 || in_use {
                return true;
            }
            surplus -= 1;
            false
        });
    }
}

/// At most [`MAX_REASON`] bytes, cut between characters.
pub(crate) fn shortened(text: &str) -> String {
    if text.len() <= MAX_REASON {
        return text.to_owned();
    }
    let ends = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= MAX_REASON - '…'.len_utf8());
    format!("{}…", &text[..ends.last().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(numbers: u32) -> RolloutState {
        let mut state = RolloutState::default();
        for number in 1..=numbers {
            let now = Timestamp::UNIX_EPOCH;
            state.add(&format!("h{number}"), 1, String::new(), Outcome::Succeeded, now);
        }
        state
    }

    #[test]
    fn the_history_is_bounded_and_keeps_what_is_in_use() {
        let mut state = with(14);
        state.stable = Some(2);
        state.forget_old();
        let numbers: Vec<_> = state.revisions.iter().map(|revision| revision.number).collect();
        assert_eq!(numbers, [2, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    }

    #[test]
    fn a_description_that_comes_back_gets_a_new_number_and_keeps_its_replicas() {
        let mut state = with(2);
        state.sizes.insert(1, 3);
        assert_eq!(state.add("h1", 7, "again".into(), Outcome::Progressing, Timestamp::UNIX_EPOCH), 3);
        assert_eq!((state.revisions.len(), state.size(3), state.size(1)), (2, 3, 0));
    }

    #[test]
    fn a_state_of_another_version_is_not_read() {
        let text = serde_json::to_string(&with(2)).unwrap();
        assert_eq!(serde_json::from_str::<RolloutState>(&text).unwrap(), with(2));
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        let error = serde_json::from_str::<RolloutState>(&newer).unwrap_err().to_string();
        assert!(error.contains("version 2, this program knows version 1"), "{error}");
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"ä".repeat(3000));
        assert!(cut.len() <= MAX_REASON && cut.ends_with('…'));
    }
}
