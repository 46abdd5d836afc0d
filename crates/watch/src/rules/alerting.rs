//! The states of an alert: inactive → pending → firing → resolved.

use std::collections::BTreeMap;

use super::evaluate::{Moment, Transition};
use super::state::{Alert, AlertState};
use super::{ALERT_NAME, ALERT_STATE, ALERTS, ALERTS_FOR_STATE, Alerting, Rule};
use crate::labels::{LabelIndex, Labels, METRIC_NAME};
use crate::template::Context;

/// How long a resolved alert is kept, so that whoever missed its end still hears of it: 15 min, in ms.
const KEEP_RESOLVED_MS: i64 = 900_000;

/// What one series of the expression says about its alert.
struct Seen {
    annotations: BTreeMap<String, String>,
    value: f64,
}

/// Moves the alerts of a rule on.
///
/// # Errors
/// When two series give the same alert, or there are more alerts than `limit`; then all are forgotten, as in Prometheus.
pub(super) fn advance(
    rule: &Rule,
    alerting: &Alerting,
    result: Vec<(Labels, f64)>,
    alerts: &mut Vec<Alert>,
    limit: usize,
    moment: &Moment<'_>,
) -> Result<Vec<Transition>, String> {
    let mut seen = expand(rule, alerting, result, moment)?;
    let now = moment.now_ms;
    for alert in alerts.iter_mut().filter(|alert| alert.is_active()) {
        if let Some(seen) = seen.get_mut(&alert.labels) {
            alert.value = seen.value;
            alert.annotations = std::mem::take(&mut seen.annotations);
        }
    }
    let before: Vec<AlertState> = alerts.iter().map(|alert| alert.state).collect();
    add_new(alerts, &mut seen, now);
    let mut before = before.into_iter();
    let mut transitions = Vec::new();
    alerts.retain_mut(|alert| {
        // One that was not there before was inactive.
        let before = before.next().unwrap_or(AlertState::Inactive);
        let kept = step(alert, alerting, seen.contains_key(&alert.labels), now);
        let after = if kept { alert.state } else { AlertState::Inactive };
        if before != after {
            transitions.push(Transition::new(&rule.name, alert, before, after, now));
        }
        kept
    });
    let active = alerts.iter().filter(|alert| alert.is_active()).count();
    if limit > 0 && active > limit {
        alerts.clear();
        return Err(format!("exceeded limit of {limit} with {active} alerts"));
    }
    Ok(transitions)
}

/// Alerts of the result by their labels.
fn expand(
    rule: &Rule,
    alerting: &Alerting,
    result: Vec<(Labels, f64)>,
    moment: &Moment<'_>,
) -> Result<LabelIndex<Seen>, String> {
    let mut seen = LabelIndex::default();
    for (series, value) in result {
        let context = Context {
            labels: &series,
            value,
            external_labels: moment.external_labels,
            external_url: moment.external_url,
            now_ms: moment.now_ms,
            query: moment.query,
        };
        let mut labels = series.without_name();
        for (name, template) in &alerting.labels {
            labels = labels.with(name, &template.expand_or_say(&context));
        }
        labels = labels.with(ALERT_NAME, &rule.name);
        let annotations = alerting.annotations.iter();
        let annotations =
            annotations.map(|(name, t)| (name.to_string(), t.expand_or_say(&context))).collect();
        if seen.contains_key(&labels) {
            return Err(format!(
                "vector contains metrics with the same labelset after applying alert labels: {labels}"
            ));
        }
        seen.insert(labels, Seen { annotations, value });
    }
    Ok(seen)
}

/// Alerts that are new, or were resolved and begin again.
fn add_new(alerts: &mut Vec<Alert>, seen: &mut LabelIndex<Seen>, now: i64) {
    let known: LabelIndex<usize> =
        alerts.iter().enumerate().map(|(at, alert)| (alert.labels.clone(), at)).collect();
    for (labels, seen) in seen.iter_mut() {
        let place = known.get(labels).copied();
        if place.is_some_and(|at| alerts[at].is_active()) {
            continue;
        }
        let alert = Alert {
            labels: labels.clone(),
            annotations: std::mem::take(&mut seen.annotations),
            state: AlertState::Pending,
            value: seen.value,
            active_at_ms: now,
            fired_at_ms: None,
            resolved_at_ms: None,
            keep_firing_since_ms: None,
        };
        match place {
            Some(at) => alerts[at] = alert,
            None => alerts.push(alert),
        }
    }
}

/// The next state of one alert; whether it is kept.
fn step(alert: &mut Alert, alerting: &Alerting, holds: bool, now: i64) -> bool {
    if holds {
        alert.keep_firing_since_ms = None;
    } else if !keeps_firing(alert, alerting, now) {
        let forgotten = alert.state == AlertState::Pending
            || alert.resolved_at_ms.is_some_and(|at| now - at > KEEP_RESOLVED_MS);
        if alert.is_active() {
            alert.state = AlertState::Inactive;
            alert.resolved_at_ms = Some(now);
        }
        return !forgotten;
    }
    let held = now - alert.active_at_ms;
    if alert.state == AlertState::Pending && held >= alerting.for_ms {
        alert.state = AlertState::Firing;
        alert.fired_at_ms = Some(now);
    } else if alert.state == AlertState::Firing && held < alerting.for_ms {
        // `for` became longer since.
        alert.state = AlertState::Pending;
        alert.fired_at_ms = None;
        alert.keep_firing_since_ms = None;
    }
    true
}

fn keeps_firing(alert: &mut Alert, alerting: &Alerting, now: i64) -> bool {
    if alert.state != AlertState::Firing || alerting.keep_firing_for_ms == 0 {
        return false;
    }
    let since = *alert.keep_firing_since_ms.get_or_insert(now);
    now - since < alerting.keep_firing_for_ms
}

/// `ALERTS` and `ALERTS_FOR_STATE` of the active alerts.
pub(super) fn samples(rule: &Rule, alerts: &[Alert]) -> Vec<(Labels, f64)> {
    let mut samples = Vec::new();
    for alert in alerts.iter().filter(|alert| alert.is_active()) {
        let labels = series_labels(rule, &alert.labels);
        let state = labels.with(METRIC_NAME, ALERTS).with(ALERT_STATE, alert.state.word());
        samples.push((state, 1.0));
        // Whole seconds, as in Prometheus.
        samples
            .push((labels.with(METRIC_NAME, ALERTS_FOR_STATE), alert.active_at_ms.div_euclid(1000) as f64));
    }
    samples
}

/// The alert's labels over those of the rule as they are written: a label whose template gives nothing appears with
/// its template, which is how Prometheus has it.
pub(super) fn series_labels(rule: &Rule, alert: &Labels) -> Labels {
    let missing = rule.labels.iter().filter(|(name, _)| alert.get(name).is_empty());
    missing.fold(alert.clone(), |labels, (name, text)| labels.with(name, text))
}
