//! How long alerts were pending before a restart, when their state was lost: from `ALERTS_FOR_STATE`.

use super::alerting::series_labels;
use super::state::GroupState;
use super::{ALERT_NAME, ALERTS_FOR_STATE, Alerting, Group, Rule};
use crate::labels::{LabelIndex, METRIC_NAME};
use crate::matcher::{MatchOp, Matcher};
use crate::series::{Sample, Selection, Source, is_stale};

/// What a restart may change about `for`; the defaults are those of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restoring {
    /// What is older than this, in ms, is not restored.
    pub outage_tolerance_ms: i64,
    /// A restored alert waits at least this long, in ms, before it fires; a rule whose `for` is shorter starts anew.
    pub grace_ms: i64,
}

impl Default for Restoring {
    /// 1 h and 10 min.
    fn default() -> Self {
        Self { outage_tolerance_ms: 3_600_000, grace_ms: 600_000 }
    }
}

/// Gives pending alerts the time back that they had been pending before the restart, and ends the restoring. Called
/// after the second evaluation, when series are there again.
pub fn restore(
    group: &Group,
    source: &dyn Source,
    now_ms: i64,
    state: GroupState,
    how: Restoring,
) -> GroupState {
    let mut state = state.fitted(group);
    for (rule, known) in group.rules.iter().zip(&mut state.rules) {
        let Some(alerting) = rule.alerting().filter(|alerting| alerting.for_ms >= how.grace_ms) else {
            continue;
        };
        let before = last_samples(rule, source, now_ms, how);
        for alert in known.alerts.iter_mut().filter(|alert| alert.is_active()) {
            let labels = series_labels(rule, &alert.labels).with(METRIC_NAME, ALERTS_FOR_STATE);
            let sample = before.get(&labels).filter(|sample| !is_stale(sample.v));
            if let Some(at) = sample.and_then(|sample| restored(alerting, *sample, now_ms, how)) {
                alert.active_at_ms = at;
            }
        }
    }
    state.to_restore = false;
    state
}

/// The last sample of each alert of a rule. A source that fails has none: the alerts then wait anew.
fn last_samples(rule: &Rule, source: &dyn Source, now_ms: i64, how: Restoring) -> LabelIndex<Sample> {
    let plain = rule.labels.iter().filter(|(_, text)| !text.contains("{{"));
    let wanted = plain.map(|(name, text)| (&**name, &**text));
    let wanted = wanted.chain([(METRIC_NAME, ALERTS_FOR_STATE), (ALERT_NAME, rule.name.as_str())]);
    let matchers: Vec<Matcher> =
        wanted.filter_map(|(name, value)| Matcher::new(MatchOp::Equal, name, value).ok()).collect();
    let selection = Selection {
        matchers: &matchers,
        start_ms: now_ms - how.outage_tolerance_ms,
        end_ms: now_ms,
        max_samples: u64::MAX,
        function: "",
    };
    let series = source.select(&selection).unwrap_or_default();
    series.iter().filter_map(|s| s.samples().last().map(|last| (s.labels.clone(), *last))).collect()
}

/// Since when the alert counts as active, in ms; none: it had been firing already, and does so again at once.
fn restored(alerting: &Alerting, last: Sample, now_ms: i64, how: Restoring) -> Option<i64> {
    let active_at = (last.v * 1000.0) as i64;
    let remaining = alerting.for_ms - (last.t - active_at);
    if remaining <= 0 {
        Some(active_at)
    } else if remaining < how.grace_ms {
        Some(now_ms + how.grace_ms - alerting.for_ms)
    } else {
        // The time that nobody looked does not count.
        Some(active_at + (now_ms - last.t))
    }
}
