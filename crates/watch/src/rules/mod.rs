//! Alerting and recording rules in Prometheus' format: read, checked, and evaluated as a state machine.
//!
//! # How it fits together
//! [`read`] makes [`Rules`] of YAML, with every problem at its place. [`evaluate`] takes a group, the series, the time
//! and the group's [`GroupState`]; it gives the samples to store, the next state and what changed. Nothing is kept
//! between two evaluations but that state, which can be written down as JSON and read back.
//!
//! - `read.rs`: YAML → rules; `inhibit.rs` which alerts mute which others.
//! - `evaluate.rs`: one group at one time; `alerting.rs` the states of alerts; `recording.rs` new series.
//! - `restore.rs`: how long alerts were pending, from `ALERTS_FOR_STATE`, when a state was lost.
//! - `lint.rs`: what is allowed but surely not meant.

mod alerting;
mod evaluate;
mod inhibit;
mod lint;
mod overlay;
mod read;
mod recording;
mod restore;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use sos_model::Position;

pub use evaluate::{Environment, Evaluation, NewSample, Transition, evaluate};
pub(crate) use evaluate::{RuleRun, run_rule, vector};
pub use lint::{Duplicate, duplicates};
pub use read::{read, read_node};
pub use restore::{Restoring, restore};
pub use state::{Alert, AlertState, GroupState, Health, RuleState};

use crate::alerts::InhibitRule;
use crate::promql::Query;
use crate::template::Template;

/// The metric of alerts that are pending or firing.
pub const ALERTS: &str = "ALERTS";
/// The metric that tells since when an alert is active, in s since 1970.
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label with the name of an alert.
pub const ALERT_NAME: &str = "alertname";
/// The label with `pending` or `firing`.
pub const ALERT_STATE: &str = "alertstate";

/// The rules of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub groups: Vec<Group>,
    /// Which alerts mute which others; Prometheus' own files have none.
    pub inhibit: Vec<InhibitRule>,
}

/// Rules that are evaluated one after the other, at the same time.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub name: String,
    /// How often they are evaluated, in ms; none: as often as the others.
    pub interval_ms: Option<i64>,
    /// How far back of now they look, in ms.
    pub query_offset_ms: i64,
    /// The most series or alerts of one rule; 0: any number.
    pub limit: usize,
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Of the alert, or of the metric that is recorded.
    pub name: String,
    pub expr: Query,
    /// As written, those of the group among them.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    pub kind: RuleKind,
    /// Where it was written.
    pub place: Position,
}

#[derive(Clone, Debug)]
pub enum RuleKind {
    Recording,
    Alerting(Box<Alerting>),
}

/// What only an alerting rule has.
#[derive(Clone, Debug)]
pub struct Alerting {
    /// How long the condition must hold before the alert fires, in ms.
    pub for_ms: i64,
    /// How long the alert still fires when the condition holds no more, in ms.
    pub keep_firing_for_ms: i64,
    pub labels: Vec<(Arc<str>, Template)>,
    pub annotations: Vec<(Arc<str>, Template)>,
}

impl Rule {
    pub fn alerting(&self) -> Option<&Alerting> {
        match &self.kind {
            RuleKind::Alerting(alerting) => Some(alerting),
            RuleKind::Recording => None,
        }
    }

    /// What makes it the same rule after its file was changed: kind, name and labels.
    pub fn id(&self) -> String {
        let kind = if self.alerting().is_some() { "alert" } else { "record" };
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{kind} {} {{{}}}", self.name, labels.join(", "))
    }
}

impl PartialEq for Rule {
    /// Wherever they were written.
    fn eq(&self, other: &Self) -> bool {
        let details =
            |rule: &Self| rule.alerting().map(|a| (a.for_ms, a.keep_firing_for_ms, a.annotations.clone()));
        self.id() == other.id() && self.expr.text() == other.expr.text() && details(self) == details(other)
    }
}
