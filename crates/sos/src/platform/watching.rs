//! Measures of rules, alerts, notifications and scraping.

use std::collections::BTreeMap;

use sos_api::Exposition;
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::watch::outbox::NotifierState;
use sos_engine::watch::{RunningGroup, WatchView};
use sos_watch::rules::AlertState;

/// All of them; none before watching has started.
pub(super) fn metrics(out: &mut Exposition, engine: &Engine) {
    let Some(watch) = engine.watch() else { return };
    let view = watch.watcher.view();
    groups(out, &view);
    notifiers(out, &watch.outbox.states());
    let scraped = watch.scraper.view();
    out.counter("sos_scrape_refused_samples_total", "samples that were not taken, by reason");
    for (reason, samples) in &scraped.refused {
        out.sample(&[("reason", reason)], *samples as f64);
    }
    out.counter(
        "sos_series_refused_total",
        "samples of series that are too many or named wrongly, by reason",
    );
    for (reason, samples) in scraped.refused.iter().filter(|(reason, _)| *reason != "time out of bounds") {
        out.sample(&[("reason", reason)], *samples as f64);
    }
    out.counter("sos_rule_refused_samples_total", "samples of rules that were not taken");
    out.sample(&[], view.refused_samples as f64);
    out.gauge("sos_scrape_targets", "targets that are scraped, by whether the last answer was good");
    let good = scraped.targets.values().filter(|target| target.error.is_none()).count();
    for (state, count) in [("up", good), ("down", scraped.targets.len() - good)] {
        out.sample(&[("state", state)], count as f64);
    }
}

fn groups(out: &mut Exposition, view: &WatchView) {
    type Get = fn(&RunningGroup) -> f64;
    let gauges: [(&str, &str, Get); 2] = [
        ("sos_rule_group_last_duration_seconds", "how long the last evaluation took", |g| {
            g.took_us as f64 / 1e6
        }),
        ("sos_rule_group_interval_seconds", "how often rules are evaluated, in their time", |g| {
            g.interval_ms as f64 / 1e3
        }),
    ];
    let name = |group: &RunningGroup| format!("{}/{}", group.watched.file, group.watched.group.name);
    for (metric, help, get) in gauges {
        out.gauge(metric, help);
        for group in &view.groups {
            out.sample(&[("group", &name(group))], get(group));
        }
    }
    out.counter("sos_rule_evaluation_failures_total", "evaluations of rules that failed");
    for group in &view.groups {
        out.sample(&[("group", &name(group))], group.failures as f64);
    }
    out.gauge("sos_alerts_firing", "alerts that fire, by severity");
    let mut firing: BTreeMap<&str, u64> = BTreeMap::new();
    for rule in view.groups.iter().flat_map(|group| &group.state.rules) {
        for alert in rule.alerts.iter().filter(|alert| alert.state == AlertState::Firing) {
            *firing.entry(alert.labels.get("severity")).or_default() += 1;
        }
    }
    for (severity, count) in firing {
        out.sample(&[("severity", severity)], count as f64);
    }
}

fn notifiers(out: &mut Exposition, states: &BTreeMap<String, NotifierState>) {
    type Get = fn(&NotifierState) -> f64;
    let gauges: [(&str, &str, Get); 2] = [
        ("sos_notifications_waiting", "notifications that wait to be delivered", |s| s.waiting as f64),
        ("sos_notifications_oldest_seconds", "age of the oldest that waits", |s| {
            s.oldest.map_or(0.0, |oldest| wall_now().duration_since(oldest).as_secs_f64())
        }),
    ];
    for (metric, help, get) in gauges {
        out.gauge(metric, help);
        for (notifier, state) in states {
            out.sample(&[("notifier", notifier)], get(state));
        }
    }
    let counters: [(&str, &str, Get); 3] = [
        ("sos_notifications_delivered_total", "notifications delivered", |s| s.delivered as f64),
        ("sos_notifications_failed_total", "attempts to deliver that failed", |s| s.failed_attempts as f64),
        ("sos_notifications_given_up_total", "notifications that were given up", |s| s.given_up as f64),
    ];
    for (metric, help, get) in counters {
        out.counter(metric, help);
        for (notifier, state) in states {
            out.sample(&[("notifier", notifier)], get(state));
        }
    }
}
