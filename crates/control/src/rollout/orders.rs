//! What people may ask of a rollout. An order changes the stored state; the next plan acts on it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{Hold, Outcome, Pause, Revision, RolloutState};

/// An order about the revisions of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum RolloutOrder {
    /// Goes no further for now. A failure still leads back.
    Pause,
    /// Goes on.
    Resume,
    /// Ends the present wait: the next step of a canary, the switch of blue/green.
    Promote {
        /// All remaining steps are skipped as well, without being judged.
        full: bool,
    },
    /// Gives the new revision up and brings the last good one back.
    Abort {
        /// Why.
        reason: String,
    },
    /// Brings an earlier revision back, until another one is declared.
    Undo {
        /// Which one; `None`: the good one before the present.
        to: Option<u32>,
    },
    /// Tries again what is declared, though it was given up or undone, and forgives failures so far.
    Retry,
}

/// Why an order was not carried out; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// Nothing is being rolled out.
    NoRollout,
    /// It is halted already.
    AlreadyPaused,
    /// It is not halted.
    NotPaused,
    /// There is no step or switch to wait for: the revision is on its way already.
    NothingToPromote,
    /// There is no other revision that was good.
    NoGoodRevision,
    /// It runs already.
    Current(u32),
    /// It is not known.
    Unknown {
        /// The number asked for.
        number: u32,
        /// The numbers that are known.
        known: Vec<u32>,
    },
    /// Its configuration is not stored any more.
    NotStored(u32),
}

impl std::fmt::Display for OrderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoRollout => f.write_str("no rollout is under way"),
            Self::AlreadyPaused => f.write_str("the rollout is paused already"),
            Self::NotPaused => f.write_str("the rollout is not paused"),
            Self::NothingToPromote => f.write_str("the rollout waits for no promotion"),
            Self::NoGoodRevision => f.write_str("there is no other revision that was good"),
            Self::Current(number) => write!(f, "revision {number} is the present one"),
            Self::Unknown { number, known } => {
                let known: Vec<_> = known.iter().map(ToString::to_string).collect();
                write!(f, "revision {number} is not known, known are {}", known.join(", "))
            }
            Self::NotStored(number) => {
                write!(f, "the configuration of revision {number} is not stored any more")
            }
        }
    }
}
impl std::error::Error for OrderError {}

impl RolloutState {
    /// Carries out an order of `who`. `stored` says whether the configuration with a hash can still be deployed.
    ///
    /// # Errors
    /// Why it cannot be carried out; the state is as before.
    pub fn obey(
        &mut self,
        order: &RolloutOrder,
        who: &str,
        stored: &dyn Fn(&str) -> bool,
        now: Timestamp,
    ) -> Result<(), OrderError> {
        match order {
            RolloutOrder::Pause => self.pause(who, now),
            RolloutOrder::Resume => self.resume(),
            RolloutOrder::Promote { full } => self.promote(*full),
            RolloutOrder::Abort { reason } => self.abort(who, reason, now),
            RolloutOrder::Undo { to } => self.undo(*to, who, stored, now),
            RolloutOrder::Retry => {
                self.hold = None;
                self.forgiven_until = Some(now);
                Ok(())
            }
        }
    }

    fn pause(&mut self, who: &str, now: Timestamp) -> Result<(), OrderError> {
        let rollout = self.rollout.as_mut().ok_or(OrderError::NoRollout)?;
        if rollout.paused.is_some() {
            return Err(OrderError::AlreadyPaused);
        }
        rollout.paused = Some(Pause { by: who.into(), since: now });
        Ok(())
    }

    fn resume(&mut self) -> Result<(), OrderError> {
        let rollout = self.rollout.as_mut().ok_or(OrderError::NoRollout)?;
        rollout.paused.take().map(drop).ok_or(OrderError::NotPaused)
    }

    fn promote(&mut self, full: bool) -> Result<(), OrderError> {
        let rollout = self.rollout.as_mut().ok_or(OrderError::NoRollout)?;
        if rollout.quick || rollout.promoted_at.is_some() {
            return Err(OrderError::NothingToPromote);
        }
        rollout.paused = None;
        rollout.promote = true;
        rollout.promote_full |= full;
        Ok(())
    }

    fn abort(&mut self, who: &str, reason: &str, now: Timestamp) -> Result<(), OrderError> {
        let rollout = self.rollout.as_ref().ok_or(OrderError::NoRollout)?;
        if rollout.back.is_some() {
            return Err(OrderError::NoRollout);
        }
        let to = self.way_back().ok_or(OrderError::NoGoodRevision)?;
        self.roll_back(to, &format!("aborted by {who}: {reason}"), now);
        Ok(())
    }

    fn undo(
        &mut self,
        to: Option<u32>,
        who: &str,
        stored: &dyn Fn(&str) -> bool,
        now: Timestamp,
    ) -> Result<(), OrderError> {
        let number = match to {
            Some(number) => number,
            None => self.previous().ok_or(OrderError::NoGoodRevision)?,
        };
        let Some(revision) = self.revision(number) else {
            let known = self.revisions.iter().map(|revision| revision.number).collect();
            return Err(OrderError::Unknown { number, known });
        };
        if self.current == Some(number) {
            return Err(OrderError::Current(number));
        }
        if revision.description_hash != self.declared && !stored(&revision.description_hash) {
            return Err(OrderError::NotStored(number));
        }
        let reason = format!("{who} brought revision {number} back");
        match self.current_revision().map(|left| (left.number, left.outcome)) {
            Some((left, Outcome::Progressing)) => self.decide(left, Outcome::RolledBack, &reason, now),
            Some((left, Outcome::Succeeded)) => self.decide(left, Outcome::Undone, &reason, now),
            _ => {}
        }
        // What is declared is no exception from what is declared.
        let declared =
            self.revision(number).is_some_and(|revision| revision.description_hash == self.declared);
        self.hold = (!declared).then(|| Hold { declared: self.declared.clone(), revision: number, reason });
        self.forgiven_until = Some(now);
        Ok(())
    }

    /// The good revision before the present one: while a new one is on its way, that is the last good one.
    fn previous(&self) -> Option<u32> {
        let good = |revision: &&Revision| {
            matches!(revision.outcome, Outcome::Succeeded | Outcome::FoundRunning)
                && Some(revision.number) != self.current
        };
        let before = |revision: &&Revision| self.current.is_none_or(|current| revision.number < current);
        self.way_back()
            .or_else(|| self.revisions.iter().rev().filter(good).find(before).map(|revision| revision.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Revisions 1 and 2 were good, 3 is being rolled out.
    fn third() -> RolloutState {
        let mut state = RolloutState::default();
        for (hash, outcome) in
            [("a", Outcome::Succeeded), ("b", Outcome::Succeeded), ("c", Outcome::Progressing)]
        {
            state.add(hash, 1, "declared".into(), outcome, at(0));
        }
        state.declared = "c".into();
        state.stable = Some(2);
        state.head_for(3, None, at(1));
        state
    }

    fn obey(state: &mut RolloutState, order: RolloutOrder) -> Result<(), OrderError> {
        state.obey(&order, "ann", &|_| true, at(5))
    }

    #[test]
    fn a_rollout_is_paused_resumed_and_promoted_once() {
        let mut state = third();
        assert_eq!(obey(&mut state, RolloutOrder::Resume), Err(OrderError::NotPaused));
        obey(&mut state, RolloutOrder::Pause).unwrap();
        assert_eq!(obey(&mut state, RolloutOrder::Pause), Err(OrderError::AlreadyPaused));
        obey(&mut state, RolloutOrder::Promote { full: false }).unwrap();
        assert!(state.rollout.as_ref().is_some_and(|rollout| rollout.promote && rollout.paused.is_none()));
        let mut idle = third();
        idle.rollout = None;
        assert_eq!(obey(&mut idle, RolloutOrder::Promote { full: true }), Err(OrderError::NoRollout));
    }

    #[test]
    fn abort_leads_to_the_last_good_revision_and_says_who_and_why() {
        let mut state = third();
        obey(&mut state, RolloutOrder::Abort { reason: "too slow".into() }).unwrap();
        assert_eq!(state.current, Some(2));
        let left = state.revision(3).unwrap();
        assert_eq!((left.outcome, left.reason.as_str()), (Outcome::RolledBack, "aborted by ann: too slow"));
        assert_eq!(
            obey(&mut state, RolloutOrder::Abort { reason: "again".into() }),
            Err(OrderError::NoRollout)
        );
    }

    #[test]
    fn undo_goes_to_the_good_one_before_or_to_a_number_that_is_known_and_stored() {
        let mut state = third();
        obey(&mut state, RolloutOrder::Undo { to: None }).unwrap();
        assert_eq!(state.hold.as_ref().map(|hold| hold.revision), Some(2));
        let mut state = third();
        let unknown = obey(&mut state, RolloutOrder::Undo { to: Some(9) }).unwrap_err();
        assert_eq!(unknown.to_string(), "revision 9 is not known, known are 1, 2, 3");
        assert_eq!(obey(&mut state, RolloutOrder::Undo { to: Some(3) }), Err(OrderError::Current(3)));
        let gone = state.obey(&RolloutOrder::Undo { to: Some(1) }, "ann", &|_| false, at(5));
        assert_eq!(gone, Err(OrderError::NotStored(1)));
        assert_eq!(state, third(), "a refused order changes nothing");
    }

    #[test]
    fn without_an_earlier_good_revision_there_is_no_way_back() {
        let mut state = RolloutState::default();
        state.add("a", 1, String::new(), Outcome::Progressing, at(0));
        state.head_for(1, None, at(0));
        let abort = RolloutOrder::Abort { reason: String::new() };
        assert_eq!(obey(&mut state, abort), Err(OrderError::NoGoodRevision));
        assert_eq!(obey(&mut state, RolloutOrder::Undo { to: None }), Err(OrderError::NoGoodRevision));
    }
}
