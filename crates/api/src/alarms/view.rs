//! What is wrong now, put together from rules, notification state and outbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sos_watch::alerts::{Config, MutedBy, NotifiedAlert, NotifyState, alert_views, fingerprint};
use sos_watch::rules::{ALERT_NAME, Alert, AlertState};
use sos_watch::{Labels, format};

use super::OutboxEntry;
use crate::prometheus::RuleGroupView;
use crate::wire::{Alarm, AlarmMute, AlarmTold};

/// What alert handling knows at one time.
#[derive(Clone, Debug)]
pub struct AlarmView {
    /// Who is told of what.
    pub config: Arc<Config>,
    /// After the last step.
    pub state: Arc<NotifyState>,
    /// Labels that all alerts of this place carry; they are added to pending alerts as [`sos_watch::alerts::active_alerts`]
    /// adds them to firing ones.
    pub external_labels: Labels,
    /// Now, ms since 1970, by the clock that `state` was made with.
    pub now_ms: i64,
}

/// RFC 3339 in UTC.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

pub(super) fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Firing alerts with what mutes them.
pub(super) fn firing(view: &AlarmView) -> Vec<(NotifiedAlert, Option<MutedBy>)> {
    alert_views(&view.config, &view.state, view.now_ms)
}

/// The labels of the alert with this fingerprint, when it fires.
pub(super) fn firing_labels(view: &AlarmView, id: &str) -> Option<Labels> {
    let mut found = firing(view).into_iter().filter(|(alert, _)| fingerprint(&alert.labels) == id);
    found.next().map(|(alert, _)| alert.labels)
}

/// Firing ones before pending ones, each the newest first.
pub(super) fn alarms(
    view: &AlarmView,
    groups: &[RuleGroupView],
    outbox: Option<&[OutboxEntry]>,
) -> Vec<Alarm> {
    let told = outbox.map(told_by_alert);
    let mut found: Vec<(i64, Alarm)> = Vec::new();
    for (alert, muted) in firing(view) {
        let muted = muted.map(|muted| mute(view, muted));
        let since = alert.starts_at_ms;
        let alarm = alarm("firing", since, &alert.labels, &alert.annotations, alert.value);
        let told = told.as_ref().map(|told| told.get(&alarm.fingerprint).cloned().unwrap_or_default());
        found.push((since, Alarm { acknowledged_by: alert.acknowledged_by, muted, told, ..alarm }));
    }
    let states = groups.iter().flat_map(RuleGroupView::rules).filter_map(|(_, state)| state);
    for alert in states.flat_map(|state| &state.alerts).filter(|alert| alert.state == AlertState::Pending) {
        let Alert { annotations, value, active_at_ms, .. } = alert;
        let alarm = alarm("pending", *active_at_ms, &everywhere(view, &alert.labels), annotations, *value);
        found.push((*active_at_ms, Alarm { told: told.as_ref().map(|_| Vec::new()), ..alarm }));
    }
    found.sort_by(|(a_since, a), (b_since, b)| {
        (&a.state, b_since, &a.labels).cmp(&(&b.state, a_since, &b.labels))
    });
    found.into_iter().map(|(_, alarm)| alarm).collect()
}

fn everywhere(view: &AlarmView, labels: &Labels) -> Labels {
    let missing = view.external_labels.iter().filter(|(name, _)| labels.get(name).is_empty());
    missing.fold(labels.clone(), |labels, (name, value)| labels.with(name, value))
}

fn alarm(
    state: &str,
    since_ms: i64,
    labels: &Labels,
    annotations: &BTreeMap<String, String>,
    value: f64,
) -> Alarm {
    Alarm {
        fingerprint: fingerprint(labels),
        name: labels.get(ALERT_NAME).to_owned(),
        state: state.to_owned(),
        since: time(since_ms),
        severity: labels.get("severity").to_owned(),
        labels: map(labels),
        runbook: annotations.get("runbook_url").or_else(|| annotations.get("runbook")).cloned(),
        annotations: annotations.clone(),
        value: format::float(value),
        acknowledged_by: None,
        muted: None,
        told: None,
    }
}

fn mute(view: &AlarmView, muted: MutedBy) -> AlarmMute {
    let (by, what, until) = match muted {
        MutedBy::Silence(id) => {
            let silence = view.state.silences().iter().find(|silence| silence.id == id);
            ("silence", id, silence.map(|silence| silence.ends_at_ms))
        }
        MutedBy::Inhibition(labels) => ("inhibition", labels.to_string(), None),
        MutedBy::QuietHours(end) => ("quiet hours", String::new(), Some(end)),
    };
    AlarmMute { by: by.to_owned(), what, until: until.map(time) }
}

/// The newest notification of each notifier, by the alerts it tells of.
fn told_by_alert(outbox: &[OutboxEntry]) -> BTreeMap<String, Vec<AlarmTold>> {
    let mut by_alert: BTreeMap<String, Vec<AlarmTold>> = BTreeMap::new();
    for entry in outbox {
        let notification = &entry.notification;
        for alert in notification.alerts.iter().filter(|alert| alert.is_firing()) {
            let told = by_alert.entry(fingerprint(&alert.labels)).or_default();
            // The newest come first.
            if told.iter().all(|known| known.notifier != notification.notifier) {
                let at = time(entry.ended_at_ms().unwrap_or(notification.at_ms));
                let notifier = notification.notifier.clone();
                told.push(AlarmTold { notifier, at, state: entry.word().to_owned() });
            }
        }
    }
    by_alert
}
