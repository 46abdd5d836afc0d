//! From alerts that fire to notifications: who hears of what, when, and never twice.
//!
//! # How it fits together
//! [`step`] takes the [`Config`], everything that fires now, the time and the [`NotifyState`]; it gives the next state
//! and [`Notification`]s as data. Whoever calls it stores both in one transaction, the notifications in an outbox with
//! a unique [`Notification::key`], and delivers from there, again and again until it succeeds. What was delivered but
//! not yet taken out of the outbox when the process died goes out again with the same key.
//!
//! - `route.rs`: which notifier an alert goes to, and with which others it is grouped.
//! - `mute.rs`: inhibition, silences and quiet hours.
//! - `step.rs`: grouping, repeats, escalation; `told.rs` what each notifier knows already.
//! - `heartbeat.rs`: the sign of life that an outside watcher waits for.
//! - `payload/`: notifications as webhooks, chat messages, e-mails and MQTT messages.

mod alert;
mod heartbeat;
mod mute;
pub mod payload;
mod quiet;
mod route;
mod silence;
mod state;
mod step;
mod told;

pub use alert::{ActiveAlert, active_alerts, fingerprint};
pub use heartbeat::{Beat, Heartbeat};
pub use mute::{InhibitRule, MutedBy};
pub use quiet::QuietHours;
pub use route::{Escalation, GroupBy, Route};
pub use silence::Silence;
pub use state::{Acknowledgement, NotifyState};
pub use step::{Step, alert_views, step};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;

/// Who is told of which alerts.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Matches every alert; its routes say more about some of them.
    pub root: Route,
    pub inhibit: Vec<InhibitRule>,
    pub quiet: Vec<QuietHours>,
    /// Notifiers that do not want to hear that an alert ended.
    pub without_resolved: Vec<String>,
}

/// Why a notification goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The notifier knew of no alert of the group.
    First,
    /// More alerts of the group fire.
    More,
    /// Some alerts of the group ended.
    Fewer,
    /// All alerts of the group ended.
    Resolved,
    /// Nothing changed for as long as `repeat_interval`.
    Repeat,
    /// Nobody acknowledged the alerts.
    Escalation,
}

/// One alert of a notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotifiedAlert {
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    /// In ms since 1970.
    pub starts_at_ms: i64,
    /// When it ended; none while it fires.
    pub ends_at_ms: Option<i64>,
    #[serde(with = "crate::written::float")]
    pub value: f64,
    /// The page of its rule.
    pub generator_url: String,
    /// Who acknowledged it.
    pub acknowledged_by: Option<String>,
}

impl NotifiedAlert {
    pub fn is_firing(&self) -> bool {
        self.ends_at_ms.is_none()
    }

    /// Its `alertname`.
    pub fn name(&self) -> &str {
        self.labels.get(crate::rules::ALERT_NAME)
    }
}

/// What a notifier is to be told: one entry of the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The same for the same state of the same group at the same notifier, and different for everything else.
    pub key: String,
    pub notifier: String,
    /// Route and labels of the group, as Alertmanager writes them.
    pub group: String,
    pub group_labels: Labels,
    pub reason: Reason,
    /// When it was decided, in ms since 1970.
    pub at_ms: i64,
    /// Firing ones before ended ones, each in order of their labels; at least one.
    pub alerts: Vec<NotifiedAlert>,
}

impl Notification {
    /// Whether any of its alerts still fires.
    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(NotifiedAlert::is_firing)
    }

    /// Labels that all its alerts share.
    pub fn common_labels(&self) -> BTreeMap<&str, &str> {
        common(self.alerts.iter().map(|alert| alert.labels.iter().collect()))
    }

    /// Annotations that all its alerts share.
    pub fn common_annotations(&self) -> BTreeMap<&str, &str> {
        let maps = self.alerts.iter().map(|alert| &alert.annotations);
        common(maps.map(|map| map.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()))
    }
}

fn common<'n>(mut maps: impl Iterator<Item = BTreeMap<&'n str, &'n str>>) -> BTreeMap<&'n str, &'n str> {
    let mut shared = maps.next().unwrap_or_default();
    for map in maps {
        shared.retain(|name, value| map.get(name) == Some(value));
    }
    shared
}
