//! A plan in the making.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::rollout::Drain;
use crate::{Action, Plan, ProbeDue, RevisionTraffic, RolloutState, RolloutStatus, ServiceStatus};

/// Collects actions with their reasons.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    actions: Vec<(Action, String)>,
    next_check: Option<Timestamp>,
    next_site_check: Option<Timestamp>,
    pub(crate) probes: Vec<ProbeDue>,
    pub(crate) statuses: BTreeMap<String, ServiceStatus>,
    pub(crate) rollouts: BTreeMap<String, RolloutState>,
    pub(crate) progress: BTreeMap<String, RolloutStatus>,
    pub(crate) traffic: BTreeMap<String, Vec<RevisionTraffic>>,
    pub(crate) draining: BTreeMap<String, Timestamp>,
}

impl Draft {
    /// Adds an action and why.
    pub(crate) fn act(&mut self, action: Action, because: impl Into<String>) {
        self.actions.push((action, because.into()));
    }

    /// Look again at this wall time.
    pub(crate) fn check_at(&mut self, time: Timestamp) {
        self.next_check = Some(self.next_check.map_or(time, |earlier| earlier.min(time)));
    }

    /// Look again at this site time.
    pub(crate) fn check_at_site(&mut self, time: Timestamp) {
        self.next_site_check = Some(self.next_site_check.map_or(time, |earlier| earlier.min(time)));
    }

    /// Tells which replicas are out of traffic, and looks again when their time is over.
    pub(crate) fn drain(&mut self, drains: &BTreeMap<String, Drain>, now: Timestamp) {
        for (id, drain) in drains {
            self.draining.insert(id.clone(), drain.until);
            if drain.until > now {
                self.check_at(drain.until);
            }
        }
    }

    /// Deployments of replicas of `service` so far.
    pub(crate) fn deployments(&self, service: &str) -> u32 {
        let of = |action: &Action| matches!(action, Action::Deploy { service: of, .. } if of == service);
        u32::try_from(self.actions.iter().filter(|(action, _)| of(action)).count()).unwrap_or(u32::MAX)
    }

    /// Sorted: what frees comes before what takes.
    pub(crate) fn finish(mut self) -> Plan {
        self.actions.sort_by_key(|(action, _)| match action {
            Action::Kill { .. } => 0,
            Action::Stop { .. } => 1,
            Action::Forget { .. } => 2,
            Action::Adopt { .. } => 3,
            Action::Deploy { .. } => 4,
        });
        let (actions, because) = self.actions.into_iter().unzip();
        Plan {
            actions,
            because,
            probes: self.probes,
            next_check: self.next_check,
            next_site_check: self.next_site_check,
            statuses: self.statuses,
            rollouts: self.rollouts,
            progress: self.progress,
            traffic: self.traffic,
            draining: self.draining,
        }
    }
}
