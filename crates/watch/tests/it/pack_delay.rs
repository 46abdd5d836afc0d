//! How soon somebody is told of a dead service by the pack, with scraping, rules and notifications as `sos` runs them.

use std::path::Path;

use sos_watch::alerts::{Config, GroupBy, NotifyState, Route, active_alerts, step};
use sos_watch::rules::{Environment, GroupState, Rules, evaluate, read};
use sos_watch::{Labels, MatchOp, Matcher, Memory, Options, STALE, Sample};

const SECOND: i64 = 1_000;
/// `sos` scrapes itself that often.
const SCRAPE: i64 = 5 * SECOND;

fn pack(name: &str) -> Rules {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("pack/{name}.yaml"));
    read(name, &std::fs::read(path).unwrap()).unwrap()
}

/// A service as it is scraped: its phase and how many replicas are ready, at a time in ms.
type Service<'s> = &'s dyn Fn(i64) -> (&'s str, f64);

/// Names of alerts with the time at which their first notification goes out, in ms since the beginning.
fn told(rules: &Rules, until: i64, services: &[(&str, Service<'_>)]) -> Vec<(String, i64)> {
    let (mut memory, external) = (Memory::new(), Labels::empty());
    let mut states = vec![GroupState::default(); rules.groups.len()];
    let (mut notify, mut told) = (NotifyState::default(), Vec::new());
    let config = config(rules);
    for now in (0..until).step_by(100) {
        if now % SCRAPE == 0 {
            services.iter().for_each(|(name, service)| scrape(&mut memory, name, now, service(now)));
        }
        // Rules are not evaluated at the moment of a scrape, nor are notifications decided at that of rules.
        let mut active = Vec::new();
        for (group, state) in rules.groups.iter().zip(&mut states) {
            if now % group.interval_ms.unwrap() == 300 {
                let environment = Environment {
                    external_labels: &external,
                    external_url: "",
                    options: Options::default(),
                    elapsed_us: &|| 0,
                };
                let evaluation = evaluate(group, &memory, now, std::mem::take(state), &environment);
                evaluation.samples.iter().for_each(|new| memory.append(&new.labels, [new.sample]));
                *state = evaluation.state;
            }
            active.extend(active_alerts(group, state, &external, ""));
        }
        let next = step(&config, notify, &active, now);
        notify = next.state;
        let alerts = next.notifications.iter().flat_map(|notification| &notification.alerts);
        told.extend(alerts.filter(|alert| alert.is_firing()).map(|alert| (alert.name().to_owned(), now)));
    }
    told
}

/// As `docs/alerts.md` recommends: what is critical waits a second for others, and each service is a group of its own.
fn config(rules: &Rules) -> Config {
    let critical = Route {
        matchers: vec![Matcher::new(MatchOp::Equal, "severity", "critical").unwrap()],
        group_by: Some(GroupBy::Labels(["alertname", "service", "site"].map(Into::into).to_vec())),
        group_wait_ms: Some(SECOND),
        ..Route::default()
    };
    let root = Route { notifier: Some("mail".to_owned()), routes: vec![critical], ..Route::default() };
    Config { root, inhibit: rules.inhibit.clone(), ..Config::default() }
}

fn scrape(memory: &mut Memory, service: &str, t: i64, (phase, ready): (&str, f64)) {
    let mut add = |name: &str, more: (&str, &str), v: f64| {
        let pairs = [("__name__", name), ("service", service), ("job", "sos"), ("instance", "self"), more];
        memory.append(&Labels::new(pairs), [Sample { t, v }]);
    };
    add("sos_service_replicas", ("", ""), 1.0);
    add("sos_service_ready_replicas", ("", ""), ready);
    add("sos_service_job", ("", ""), 0.0);
    for known in ["Running", "Starting", "BackOff", "Stopped", "Failed"] {
        add("sos_service_phase", ("phase", known), if known == phase { 1.0 } else { STALE });
    }
}

#[test]
fn a_dead_service_is_told_of_within_fifteen_seconds_whenever_it_dies() {
    let rules = pack("services");
    for phase in ["BackOff", "Failed", "Starting", "Stopped"] {
        for offset in (0..SCRAPE).step_by(500) {
            let dies = 60 * SECOND + offset;
            let service = |t| if t >= dies { (phase, 0.0) } else { ("Running", 1.0) };
            let told = told(&rules, dies + 20 * SECOND, &[("home-1", &service)]);
            assert_eq!(told.len(), 1, "{phase} {offset}: {told:?}");
            assert_eq!(told[0].0, "ServiceDown");
            let delay = told[0].1 - dies;
            assert!(delay <= 15 * SECOND, "{phase}, {offset} ms after a scrape: told {delay} ms later");
        }
    }
}

#[test]
fn a_restart_of_two_seconds_is_told_to_nobody() {
    let rules = pack("services");
    for offset in (0..SCRAPE).step_by(500) {
        let dies = 60 * SECOND + offset;
        let service = |t| match t - dies {
            0..1_000 => ("BackOff", 0.0),
            1_000..2_000 => ("Starting", 0.0),
            _ => ("Running", 1.0),
        };
        assert!(told(&rules, dies + 30 * SECOND, &[("home-1", &service)]).is_empty(), "{offset}");
    }
}

#[test]
fn a_second_service_that_dies_is_told_of_as_soon_and_its_other_alerts_are_muted() {
    let rules = pack("services");
    let first = |t| if t >= 60 * SECOND { ("BackOff", 0.0) } else { ("Running", 1.0) };
    // It hangs while it starts, so ServiceNotReady fires too.
    let second = |t| if t >= 100 * SECOND { ("Starting", 0.0) } else { ("Running", 1.0) };
    let told = told(&rules, 300 * SECOND, &[("home-1", &first), ("home-2", &second)]);
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ServiceDown", "ServiceDown"]);
    assert!(told[1].1 <= 115 * SECOND, "{told:?}");
}
