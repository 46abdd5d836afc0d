//! Alerts, silences and notifications for people. Times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is wrong now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Alarms {
    /// The time of this answer, by the clock of the rules.
    pub time: String,
    /// How many there are; `alarms` holds those that `limit` allows.
    pub total: usize,
    /// Firing ones before pending ones, each the newest first.
    pub alarms: Vec<Alarm>,
}

/// One alert that is pending or firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// What identifies it, 16 hexadecimal digits: FNV-1a of its labels, as in Alertmanager.
    pub fingerprint: String,
    /// Name of the alert.
    pub name: String,
    /// `firing` or `pending`.
    pub state: String,
    /// Since when it is in this state.
    pub since: String,
    /// Its label `severity`; empty when there is none.
    pub severity: String,
    /// All labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// What people should know.
    pub annotations: BTreeMap<String, String>,
    /// Where it says what to do: the annotation `runbook_url`, else `runbook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub runbook: Option<String>,
    /// Of its expression, as text: `12.5`, `NaN`, `+Inf`.
    pub value: String,
    /// Who looks after it; only of firing ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub acknowledged_by: Option<String>,
    /// Why nobody is told of it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub muted: Option<AlarmMute>,
    /// The last notification of each notifier that was told of it; `null` when the outbox could not be read.
    pub told: Option<Vec<AlarmTold>>,
}

/// Why an alert is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AlarmMute {
    /// `silence`, `inhibition` or `quiet hours`.
    pub by: String,
    /// Id of the silence, or the labels of the alert that says it all; empty for quiet hours.
    pub what: String,
    /// When it ends by itself; left out where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub until: Option<String>,
}

/// What a notifier was told of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AlarmTold {
    /// Name of the notifier.
    pub notifier: String,
    /// When it was delivered, else when it was decided.
    pub at: String,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
}

/// Body of an acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// What is being done about it.
    #[serde(default)]
    pub comment: String,
}

/// Alerts that are not told for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct SilenceRecord {
    /// Its id.
    pub id: String,
    /// All must hold: `site="x"`, `severity=~"a|b"`.
    pub matchers: Vec<String>,
    /// From then on.
    pub starts_at: String,
    /// Up to then.
    pub ends_at: String,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// `pending`, `active` or `expired`.
    pub state: String,
}

/// A silence to make. It needs an end: `endsAt` or `duration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SilenceRequest {
    /// All must hold: `site="x"`, `severity=~"a|b"`, `team!="y"`; one of them has to ask for some value.
    pub matchers: Vec<String>,
    /// From then on, RFC 3339; now when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub starts_at: Option<String>,
    /// Up to then, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub ends_at: Option<String>,
    /// For so long: `90m`, `2h`, `1d12h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub duration: Option<String>,
    /// Why.
    pub comment: String,
}

/// A notification that waits, was delivered, or was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct NotificationRecord {
    /// What identifies it.
    pub key: String,
    /// Who is told.
    pub notifier: String,
    /// Why: `first`, `more`, `fewer`, `resolved`, `repeat` or `escalation`.
    pub reason: String,
    /// When it was decided.
    pub at: String,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong at the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub error: Option<String>,
    /// When it is tried next; only of waiting ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub next_try: Option<String>,
    /// When it was delivered or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub ended_at: Option<String>,
    /// How many alerts it tells of.
    pub alert_count: usize,
    /// The first twenty of them.
    pub alerts: Vec<NotifiedRecord>,
}

/// One alert of a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct NotifiedRecord {
    /// What identifies it.
    pub fingerprint: String,
    /// `firing` or `resolved`.
    pub state: String,
    /// All labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
}
