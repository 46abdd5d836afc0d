//! What is kept of a group between two evaluations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Group, Rule};
use crate::labels::Labels;
use crate::written;

/// Of one group. Written as JSON it can be read back after a restart, and nothing is lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupState {
    /// One for each rule, in their order.
    pub rules: Vec<RuleState>,
    /// Series of rules that are gone; they end at the next evaluation.
    #[serde(default)]
    pub(super) orphans: Vec<Labels>,
    /// Time of the last evaluation, in ms since 1970.
    #[serde(default)]
    pub last_ms: Option<i64>,
    /// Nothing about alerts is stored until [`super::restore`] was called.
    #[serde(default)]
    pub(super) to_restore: bool,
}

/// Of one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// As [`Rule::id`].
    pub id: String,
    /// Active ones, and those resolved less than 15 min ago.
    pub alerts: Vec<Alert>,
    /// Series that the last evaluation gave.
    pub(super) series: Vec<Labels>,
    pub health: Health,
}

/// How the last evaluation of a rule went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// None before the first evaluation.
    pub evaluated_at_ms: Option<i64>,
    /// How long it took, in µs, by the clock of the caller.
    pub took_us: u64,
    /// What went wrong.
    pub error: Option<String>,
}

impl Health {
    /// `ok`, `err` or `unknown`, as Prometheus' API has it.
    pub fn word(&self) -> &'static str {
        match (&self.error, self.evaluated_at_ms) {
            (Some(_), _) => "err",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// The condition does not hold.
    Inactive,
    /// It holds, but not yet for as long as `for`.
    Pending,
    Firing,
}

impl AlertState {
    /// `inactive`, `pending` or `firing`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert of a rule: one series of its expression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// With `alertname`; they identify it.
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    pub state: AlertState,
    /// Of the expression, when it last gave one.
    #[serde(with = "written::float")]
    pub value: f64,
    /// Since when the condition holds, in ms since 1970.
    pub active_at_ms: i64,
    /// Since when it fires.
    pub fired_at_ms: Option<i64>,
    /// When it ended.
    pub resolved_at_ms: Option<i64>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since_ms: Option<i64>,
}

impl Alert {
    /// Whether it is pending or firing.
    pub fn is_active(&self) -> bool {
        self.state != AlertState::Inactive
    }
}

impl GroupState {
    /// Of a group whose state was lost: alerts are stored only after [`super::restore`] has looked for what they were.
    pub fn to_restore() -> Self {
        Self { to_restore: true, ..Self::default() }
    }

    /// Whether [`super::restore`] is to be called.
    pub fn is_to_restore(&self) -> bool {
        self.to_restore
    }

    /// The state that fits a group whose rules may have changed: rules are known again by kind, name and labels, the
    /// first of several alike to the first.
    pub(super) fn fitted(mut self, group: &Group) -> Self {
        let ids: Vec<String> = group.rules.iter().map(Rule::id).collect();
        if self.rules.iter().map(|rule| &rule.id).eq(&ids) {
            return self;
        }
        let mut old: Vec<Option<RuleState>> = self.rules.into_iter().map(Some).collect();
        let mut take = |id: &String| {
            let found = old.iter_mut().find(|rule| rule.as_ref().is_some_and(|rule| rule.id == *id));
            found.and_then(Option::take)
        };
        let rules = ids
            .iter()
            .map(|id| take(id).unwrap_or_else(|| RuleState { id: id.clone(), ..RuleState::default() }));
        self.rules = rules.collect();
        let orphans = old.into_iter().flatten().flat_map(|rule| rule.series);
        self.orphans.extend(orphans);
        self
    }
}

impl RuleState {
    /// Takes note of the series that were stored now; those of before that are missing are returned.
    pub(crate) fn replace_series(&mut self, stored: Vec<Labels>) -> Vec<Labels> {
        if self.series == stored {
            return Vec::new();
        }
        let known: crate::labels::LabelIndex<()> = stored.iter().map(|labels| (labels.clone(), ())).collect();
        let before = std::mem::replace(&mut self.series, stored);
        before.into_iter().filter(|labels| !known.contains_key(labels)).collect()
    }

    /// The highest state of its alerts.
    pub fn state(&self) -> AlertState {
        self.alerts.iter().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive)
    }
}
