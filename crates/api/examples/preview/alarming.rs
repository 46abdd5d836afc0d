//! Rules that were evaluated over sample series, what came of them, and who was told.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use sos_api::{AlarmView, Delivery, OutboxEntry, Problem, RuleGroupView};
use sos_watch::{
    Labels, MatchOp, Matcher, Memory, Options, Sample,
    alerts::{Config, InhibitRule, NotifyState, Route, Silence, active_alerts, alert_views, step},
    rules::{Environment, GroupState, evaluate, read},
};

/// 2016-08-02T21:00:00Z, ms since 1970.
pub(crate) const NOW_MS: i64 = 1_470_171_600_000;
const MINUTE_MS: i64 = 60_000;

const RULES: &str = r#"
groups:
- name: homes
  interval: 30s
  rules:
  - {record: 'site:homes:count', expr: count(home_up), labels: {team: grid}}
  - alert: HomeDown
    expr: home_up == 0
    for: 90s
    keep_firing_for: 5m
    labels: {severity: page, odd: 'ODD'}
    annotations: {summary: '{{ $labels.home }}ODD does not answer', runbook_url: /runbooks/home-down}
  - {alert: HomeDownLong, expr: home_up == 0, for: 1h}
  - {alert: PoorForecast, expr: home_up == 0, labels: {severity: info}}
  - {record: 'site:broken', expr: 'label_replace(home_up, "home", "x", "", "")'}
- name: quiet
  rules: [{alert: Never, expr: vector(0) > 1}]
"#;

/// More of everything, for people to look at.
const MORE: &str = r#"- name: more
  rules:
  - alert: BatteryHot
    expr: vector(61.25) > 55
    labels: {severity: critical, site: fontana, asset: 'home-2-batteryODD'}
    annotations:
      summary: 'home-2-batteryODD is at 61 °C, above its limit of 55 °C'
      description: 'The battery was taken out of the plan. It is used again below 50 °C.ODD'
      runbook_url: https://wiki.example.org/battery-hot
  - alert: ServiceRestarted
    expr: vector(4) > 3
    labels: {severity: warning, site: fontana, service: adapter}
    annotations: {summary: 'adapter was restarted 4 times within 10 minutes', runbook: ServiceRestarted}
  - alert: PriceMissing
    expr: vector(1) > 0
    labels: {severity: warning, site: fontana}
    annotations: {summary: no price is known for tomorrow, runbook_url: 'javascript:alert(1)'}
"#;

#[derive(Debug)]
pub(crate) struct Alarming {
    pub(crate) groups: Arc<Vec<RuleGroupView>>,
    config: Arc<Config>,
    state: Mutex<Arc<NotifyState>>,
    now_ms: i64,
    outbox: Vec<OutboxEntry>,
    pub(crate) outbox_fails: std::sync::atomic::AtomicBool,
}

fn is(name: &str, value: &str) -> Matcher {
    Matcher::new(MatchOp::Equal, name, value).unwrap()
}

/// Pages go to the phone and to mail, all else to mail; a home that is down says enough of its forecast.
fn config() -> Config {
    let page =
        Route { matchers: vec![is("severity", "page")], notifier: Some("phone".into()), ..Route::default() };
    let root = Route {
        notifier: Some("mail".into()),
        group_wait_ms: Some(0),
        routes: vec![page],
        ..Route::default()
    };
    let inhibit = InhibitRule {
        source: vec![is("alertname", "HomeDown")],
        target: vec![is("alertname", "PoorForecast")],
        equal: vec!["home".into()],
    };
    Config { root, inhibit: vec![inhibit], ..Config::default() }
}

impl Alarming {
    pub(crate) fn new(odd: &str) -> Self {
        Self::of(RULES, odd)
    }

    /// More alerts twelve minutes later: one is looked after, one is silenced, and not everybody could be told.
    pub(crate) fn busy(odd: &str) -> Self {
        let mut busy = Self::of(&format!("{RULES}{MORE}"), odd);
        busy.now_ms += 12 * MINUTE_MS;
        if let [.., first] = busy.outbox.as_mut_slice() {
            first.delivery = Delivery::Failed { error: "mailbox full".into(), at_ms: NOW_MS + 5 * MINUTE_MS };
        }
        let firing = alert_views(&busy.config, &busy.view().state, busy.now_ms);
        let restarted = firing.iter().find(|(alert, _)| alert.labels.get("service") == "adapter").unwrap();
        busy.acknowledge(&restarted.0.labels, "ann", "looking at its log").unwrap();
        let silence = Silence {
            id: String::new(),
            matchers: vec![is("alertname", "PriceMissing")],
            starts_at_ms: NOW_MS,
            ends_at_ms: NOW_MS + 4 * 60 * MINUTE_MS,
            created_by: "ann".into(),
            comment: format!("the exchange is late today{odd}"),
        };
        busy.silence(silence).unwrap();
        busy
    }

    fn of(rules: &str, odd: &str) -> Self {
        let rules = read("homes.yml", rules.replace("ODD", odd).as_bytes()).unwrap();
        let mut homes = Memory::new();
        for (home, value) in [("home-1", 1.0), ("home-4", 0.0)] {
            let times = (-5..=0).map(|minute| Sample { t: NOW_MS + minute * MINUTE_MS, v: value });
            homes.append(&Labels::new([("__name__", "home_up"), ("home", home)]), times);
        }
        let external = Labels::new([("plant", "north")]);
        let clock = std::cell::Cell::new(0);
        let elapsed = || clock.replace(clock.get() + 250);
        let environment = Environment {
            external_labels: &external,
            external_url: "http://127.0.0.1:7600",
            options: Options::default(),
            elapsed_us: &elapsed,
        };
        let mut groups = Vec::new();
        let mut active = Vec::new();
        for group in rules.groups {
            let mut state = GroupState::default();
            for at in [NOW_MS - 2 * MINUTE_MS, NOW_MS] {
                state = evaluate(&group, &homes, at, state, &environment).state;
            }
            active.extend(active_alerts(&group, &state, &external, environment.external_url));
            let interval_ms = group.interval_ms.unwrap_or(MINUTE_MS);
            let (group, state) = (Arc::new(group), Arc::new(state));
            groups.push(RuleGroupView { file: "homes.yml".into(), group, state, interval_ms });
        }
        let told = step(&config(), NotifyState::default(), &active, NOW_MS);
        let entry = |notification| OutboxEntry {
            notification: Arc::new(notification),
            attempts: 2,
            delivery: Delivery::Waiting {
                error: Some(format!("no answer{odd}")),
                next_ms: NOW_MS + MINUTE_MS,
            },
        };
        Self {
            groups: Arc::new(groups),
            config: Arc::new(config()),
            state: Mutex::new(Arc::new(told.state)),
            now_ms: NOW_MS,
            outbox: told.notifications.into_iter().map(entry).collect(),
            outbox_fails: false.into(),
        }
    }

    pub(crate) fn view(&self) -> AlarmView {
        AlarmView {
            config: Arc::clone(&self.config),
            state: Arc::clone(&self.state.lock().unwrap()),
            external_labels: Labels::new([("plant", "north")]),
            now_ms: self.now_ms,
        }
    }

    pub(crate) fn outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, Problem> {
        if self.outbox_fails.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Problem::unavailable("the disk does not answer"));
        }
        Ok(self.outbox.iter().take(limit).cloned().collect())
    }

    fn change<T>(&self, change: impl FnOnce(&mut NotifyState) -> Result<T, String>) -> Result<T, Problem> {
        let mut held = self.state.lock().unwrap();
        let mut state = NotifyState::clone(&held);
        let done = change(&mut state).map_err(Problem::not_found)?;
        *held = Arc::new(state);
        Ok(done)
    }

    pub(crate) fn acknowledge(&self, labels: &Labels, by: &str, comment: &str) -> Result<(), Problem> {
        self.change(|state| state.acknowledge(labels, by, comment, self.now_ms))
    }

    pub(crate) fn silence(&self, mut silence: Silence) -> Result<String, Problem> {
        self.change(|state| {
            if silence.id.is_empty() {
                let open = state.silences().iter().filter(|known| known.ends_at_ms > self.now_ms);
                let known: BTreeSet<&str> = open.map(|known| &*known.id).collect();
                let id = |n: usize| format!("00000000-0000-4000-8000-{n:012}");
                silence.id = (1..).map(id).find(|id| !known.contains(&**id)).unwrap();
            }
            let id = silence.id.clone();
            state.silence(silence).map(|()| id)
        })
    }

    pub(crate) fn end_silence(&self, id: &str) -> Result<(), Problem> {
        self.change(|state| state.end_silence(id, self.now_ms))
    }
}
