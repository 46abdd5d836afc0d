//! Who is told of which alerts, when, and never twice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Time;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use sos_watch::alerts::{
    ActiveAlert, Config, Escalation, GroupBy, InhibitRule, MutedBy, Notification, NotifyState, QuietHours,
    Reason, Route, Silence, alert_views, step,
};
use sos_watch::{Labels, MatchOp, Matcher};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;

fn is(name: &str, value: &str) -> Matcher {
    Matcher::new(MatchOp::Equal, name, value).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied())
}

fn alert(labels: Labels, starts_at_ms: i64) -> ActiveAlert {
    ActiveAlert {
        labels,
        annotations: BTreeMap::new(),
        starts_at_ms,
        ends_at_ms: None,
        value: 1.0,
        generator_url: String::new(),
    }
}

fn home(number: &str, severity: &str, starts_at_ms: i64) -> ActiveAlert {
    alert(labels(&[("alertname", "HomeDown"), ("home", number), ("severity", severity)]), starts_at_ms)
}

/// Alerts go to `mail`, those of severity `page` to `phone`; after 10 min without acknowledgement to `boss`.
fn config() -> Config {
    let page = Route {
        matchers: vec![is("severity", "page")],
        notifier: Some("phone".to_owned()),
        escalation: Some(vec![Escalation { after_ms: 10 * MINUTE, notifier: "boss".to_owned() }]),
        ..Route::default()
    };
    let root = Route {
        notifier: Some("mail".to_owned()),
        group_by: Some(GroupBy::Labels(vec!["alertname".into()])),
        group_wait_ms: Some(10 * SECOND),
        group_interval_ms: Some(MINUTE),
        repeat_interval_ms: Some(HOUR),
        routes: vec![page],
        ..Route::default()
    };
    Config { root, ..Config::default() }
}

/// The alerts' side of `sos`: what fires, the state, and everything that was told.
struct Site {
    config: Config,
    state: NotifyState,
    active: Vec<ActiveAlert>,
    told: Vec<Notification>,
    next_ms: Option<i64>,
}

impl Site {
    fn new(config: Config) -> Self {
        Self { config, state: NotifyState::default(), active: Vec::new(), told: Vec::new(), next_ms: None }
    }

    /// A step, its state written down and read back; what it tells.
    fn at(&mut self, now_ms: i64) -> Vec<Notification> {
        let written = serde_json::to_string(&self.state).unwrap();
        let state = serde_json::from_str(&written).unwrap();
        let step = step(&self.config, state, &self.active, now_ms);
        self.state = step.state;
        self.next_ms = step.next_ms;
        self.told.extend(step.notifications.iter().cloned());
        step.notifications
    }

    /// Steps whenever one is due up to a time; what they tell.
    fn until(&mut self, end_ms: i64) -> Vec<Notification> {
        let mut told = Vec::new();
        while let Some(next) = self.next_ms.filter(|next| *next <= end_ms) {
            told.extend(self.at(next));
            assert!(self.next_ms.is_none_or(|after| after > next), "the next step is later");
        }
        told
    }
}

fn shown(told: &[Notification]) -> Vec<String> {
    let one = |notification: &Notification| {
        let alerts: Vec<String> = notification
            .alerts
            .iter()
            .map(|alert| format!("{}{}", if alert.is_firing() { "+" } else { "-" }, alert.labels.get("home")))
            .collect();
        format!(
            "{}s {} {:?} {}",
            notification.at_ms / SECOND,
            notification.notifier,
            notification.reason,
            alerts.join("")
        )
    };
    told.iter().map(one).collect()
}

#[test]
fn alerts_of_a_group_are_told_together_then_when_they_change_then_when_they_end() {
    let mut site = Site::new(config());
    site.active = vec![home("1", "", 0)];
    assert!(site.at(0).is_empty());
    site.active.push(home("2", "", 4 * SECOND));
    assert!(site.at(4 * SECOND).is_empty());
    assert_eq!(shown(&site.until(10 * SECOND)), ["10s mail First +1+2"]);
    site.active.push(home("3", "", 20 * SECOND));
    assert!(site.at(20 * SECOND).is_empty(), "changes wait for the interval of the group");
    assert_eq!(shown(&site.until(70 * SECOND)), ["70s mail More +1+2+3"]);
    site.active.remove(1);
    site.at(80 * SECOND);
    assert_eq!(shown(&site.until(130 * SECOND)), ["130s mail Fewer +1+3-2"]);
    site.active.clear();
    site.at(140 * SECOND);
    assert_eq!(shown(&site.until(190 * SECOND)), ["190s mail Resolved -1-3"]);
    assert_eq!(site.next_ms, None);
    assert_eq!(site.state, NotifyState::default(), "nothing is kept of what is over");
}

#[test]
fn what_ends_before_it_was_told_is_not_told() {
    let mut site = Site::new(config());
    site.active = vec![home("1", "", 0)];
    site.at(0);
    site.active.clear();
    site.at(5 * SECOND);
    assert!(site.until(HOUR).is_empty());
}

#[test]
fn a_group_that_still_fires_is_told_again_after_the_repeat_interval() {
    let mut site = Site::new(config());
    site.active = vec![home("1", "", 0)];
    site.at(0);
    let told = site.until(2 * HOUR + 5 * MINUTE);
    assert_eq!(shown(&told), ["10s mail First +1", "3610s mail Repeat +1", "7210s mail Repeat +1"]);
    let keys: BTreeSet<&String> = told.iter().map(|notification| &notification.key).collect();
    assert_eq!(keys.len(), 3);
}

#[test]
fn the_same_step_taken_again_gives_the_same_keys() {
    let mut site = Site::new(config());
    site.active = vec![home("1", "", 0), home("2", "page", 0)];
    site.at(0);
    let before = site.state.clone();
    let first = step(&site.config, before.clone(), &site.active, 10 * SECOND);
    let again = step(&site.config, before, &site.active, 17 * SECOND);
    let keys = |told: &[Notification]| told.iter().map(|n| n.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&first.notifications), keys(&again.notifications));
    assert_eq!(first.notifications.len(), 2);
}

#[test]
fn silenced_alerts_wait_and_are_told_when_the_silence_ends() {
    let mut site = Site::new(config());
    let silence = Silence {
        id: "1".to_owned(),
        matchers: vec![is("home", "1")],
        starts_at_ms: 0,
        ends_at_ms: 30 * MINUTE,
        created_by: "anna".to_owned(),
        comment: "new roof".to_owned(),
    };
    site.state.silence(silence.clone()).unwrap();
    site.active = vec![home("1", "", 0), home("2", "", 0)];
    site.at(0);
    assert_eq!(shown(&site.until(29 * MINUTE)), ["10s mail First +2"]);
    let views = alert_views(&site.config, &site.state, 29 * MINUTE);
    let mute = views.iter().find(|(alert, _)| alert.labels.get("home") == "1").unwrap().1.clone();
    assert_eq!(mute, Some(MutedBy::Silence("1".to_owned())));
    assert_eq!(shown(&site.until(40 * MINUTE)), ["1800s mail More +1+2"]);
    // It is kept for people to see, and then forgotten.
    assert_eq!(site.state.silences().len(), 1);
    site.at(30 * MINUTE + 5 * 24 * HOUR);
    assert!(site.state.silences().is_empty());
    assert!(site.state.silence(Silence { ends_at_ms: 0, ..silence.clone() }).is_err());
    assert!(site.state.silence(Silence { matchers: vec![], ..silence.clone() }).is_err());
    assert!(site.state.silence(Silence { comment: String::new(), ..silence }).is_err());
}

#[test]
fn an_alert_that_ends_during_a_silence_is_told_to_have_ended_afterwards() {
    let mut site = Site::new(config());
    site.active = vec![home("1", "", 0)];
    site.at(0);
    site.until(10 * SECOND);
    let silence = Silence {
        id: "1".to_owned(),
        matchers: vec![is("home", "1")],
        starts_at_ms: 0,
        ends_at_ms: HOUR,
        created_by: "anna".to_owned(),
        comment: "known".to_owned(),
    };
    site.state.silence(silence).unwrap();
    site.active.clear();
    site.at(MINUTE);
    assert!(site.until(30 * MINUTE).is_empty());
    site.state.end_silence("1", 31 * MINUTE).unwrap();
    assert!(site.state.end_silence("1", 32 * MINUTE).is_err());
    let mut told = site.at(31 * MINUTE);
    told.extend(site.until(40 * MINUTE));
    assert_eq!(shown(&told), ["1860s mail Resolved -1"]);
    assert_eq!(site.told.last().unwrap().reason, Reason::Resolved);
}

#[test]
fn a_source_inhibits_targets_of_the_same_site_but_not_itself() {
    let mut config = config();
    let rule = InhibitRule {
        source: vec![is("alertname", "SiteDown")],
        target: vec![Matcher::new(MatchOp::Regex, "alertname", ".*Down").unwrap()],
        equal: vec!["site".into()],
    };
    config.inhibit = vec![rule];
    let mut site = Site::new(config);
    let named = |name: &str, at: &str| alert(labels(&[("alertname", name), ("site", at)]), 0);
    site.active = vec![named("SiteDown", "a"), named("HomeDown", "a"), named("HomeDown", "b")];
    site.at(0);
    let told = site.until(MINUTE);
    let names: Vec<(&str, &str)> = told
        .iter()
        .flat_map(|n| &n.alerts)
        .map(|alert| (alert.labels.get("alertname"), alert.labels.get("site")))
        .collect();
    assert_eq!(names, [("HomeDown", "b"), ("SiteDown", "a")]);
    site.active.remove(0);
    let mut told = site.at(2 * MINUTE);
    told.extend(site.until(4 * MINUTE));
    assert!(told.iter().any(|n| n.alerts.iter().any(|a| a.is_firing() && a.labels.get("site") == "a")));
}

#[test]
fn without_acknowledgement_the_next_notifier_is_told_and_with_it_nobody_is_told_again() {
    let mut site = Site::new(config());
    site.active = vec![home("1", "page", 0)];
    site.at(0);
    let told = site.until(20 * MINUTE);
    assert_eq!(shown(&told), ["10s phone First +1", "610s boss Escalation +1"]);
    site.state.acknowledge(&site.active[0].labels.clone(), "anna", "on my way", 21 * MINUTE).unwrap();
    assert!(site.until(5 * HOUR).is_empty(), "no repeat");
    // A further alert is a change: the group is told, and escalates anew.
    site.active.push(home("2", "page", 5 * HOUR));
    site.at(5 * HOUR);
    let told = site.until(5 * HOUR + 30 * MINUTE);
    assert_eq!(told.len(), 2, "{:?}", shown(&told));
    assert_eq!((told[0].notifier.as_str(), told[0].reason), ("phone", Reason::More));
    assert_eq!(told[0].alerts[0].acknowledged_by.as_deref(), Some("anna"));
    assert_eq!(told[1].notifier, "boss");
    // Both hear of the end.
    site.active.clear();
    let mut told = site.at(6 * HOUR);
    told.extend(site.until(7 * HOUR));
    let ends: BTreeSet<&str> = told.iter().filter(|n| !n.is_firing()).map(|n| n.notifier.as_str()).collect();
    assert_eq!(ends, BTreeSet::from(["boss", "phone"]));
}

#[test]
fn an_alert_that_fires_anew_is_not_acknowledged_any_more() {
    let mut site = Site::new(config());
    site.active = vec![home("1", "page", 0)];
    site.at(0);
    site.until(MINUTE);
    site.state.acknowledge(&site.active[0].labels.clone(), "anna", "", MINUTE).unwrap();
    site.active.clear();
    site.at(2 * MINUTE);
    site.active = vec![home("1", "page", 3 * MINUTE)];
    site.at(3 * MINUTE);
    let told = site.until(20 * MINUTE);
    assert!(told.iter().any(|n| n.notifier == "boss"), "{:?}", shown(&told));
    assert!(site.state.acknowledge(&labels(&[("a", "b")]), "anna", "", 0).is_err());
}

#[test]
fn quiet_hours_hold_back_all_but_critical_alerts_until_they_end() {
    let mut config = config();
    let time = |hour| Time::new(hour, 0, 0, 0).unwrap();
    config.quiet = vec![QuietHours::nightly(time(22), time(7), TimeZone::get("Europe/Berlin").unwrap())];
    let mut site = Site::new(config);
    let night = "2026-06-01T23:00:00+02:00".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    site.active = vec![home("1", "ticket", night), home("2", "critical", night)];
    site.at(night);
    let told = site.until(night + 10 * HOUR);
    let morning = "2026-06-02T07:00:00+02:00".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let firsts: Vec<(i64, usize)> =
        told.iter().filter(|n| n.reason != Reason::Repeat).map(|n| (n.at_ms, n.alerts.len())).collect();
    assert_eq!(firsts, [(night + 10 * SECOND, 1), (morning, 2)]);
}

#[test]
fn an_alert_that_is_lost_and_comes_back_fires_anew() {
    let mut site = Site::new(config());
    site.active = vec![home("1", "", 0)];
    site.at(0);
    site.until(MINUTE);
    let held = std::mem::take(&mut site.active);
    site.at(2 * MINUTE);
    site.active = held;
    site.at(2 * MINUTE + SECOND);
    site.until(10 * MINUTE);
    let reasons: Vec<Reason> = site.told.iter().map(|n| n.reason).collect();
    assert_eq!(reasons.first(), Some(&Reason::First));
    let keys: BTreeSet<&String> = site.told.iter().map(|n| &n.key).collect();
    assert_eq!(keys.len(), site.told.len());
    assert!(site.told.last().unwrap().is_firing());
}

/// What happens to a site in one moment.
#[derive(Clone, Debug)]
enum Event {
    Fire(usize),
    End(usize),
    Silence(usize, i64),
    Acknowledge(usize),
    /// Nothing but time.
    Wait(i64),
    /// The process dies: before what was decided was stored, or after a delivery that was not noted.
    Crash(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..6_usize).prop_map(Event::Fire),
        4 => (0..6_usize).prop_map(Event::End),
        1 => (0..6_usize, 1..40_i64).prop_map(|(which, minutes)| Event::Silence(which, minutes * MINUTE)),
        1 => (0..6_usize).prop_map(Event::Acknowledge),
        4 => (1..2_000_i64).prop_map(|seconds| Event::Wait(seconds * SECOND)),
        2 => any::<bool>().prop_map(Event::Crash),
    ]
}

fn alert_of(which: usize, at_ms: i64) -> ActiveAlert {
    let severity = ["page", "ticket", "critical"][which % 3];
    let name = ["HomeDown", "SiteDown"][which / 3];
    let number = which.to_string();
    alert(labels(&[("alertname", name), ("home", &number), ("severity", severity), ("site", "a")]), at_ms)
}

/// The whole of a site: rules' side, stored state with its outbox, and receivers that remember keys.
struct World {
    config: Config,
    now_ms: i64,
    active: BTreeMap<usize, ActiveAlert>,
    /// Stored together.
    state: NotifyState,
    outbox: BTreeMap<String, Notification>,
    /// In the order of arrival, each key once.
    received: Vec<Notification>,
    silenced_until: BTreeMap<usize, i64>,
}

impl World {
    fn new() -> Self {
        let mut config = config();
        config.inhibit = vec![InhibitRule {
            source: vec![is("home", "5")],
            target: vec![is("home", "0")],
            equal: vec!["site".into()],
        }];
        Self {
            config,
            now_ms: 0,
            active: BTreeMap::new(),
            state: NotifyState::default(),
            outbox: BTreeMap::new(),
            received: Vec::new(),
            silenced_until: BTreeMap::new(),
        }
    }

    fn is_muted(&self, which: usize, at_ms: i64) -> bool {
        let silenced = self.silenced_until.get(&which).is_some_and(|until| at_ms < *until);
        silenced || (which == 0 && self.active.contains_key(&5))
    }

    /// Decides and stores, both or nothing; what is decided is checked.
    fn step(&mut self, stored: bool) -> Option<i64> {
        let written = serde_json::to_string(&self.state).unwrap();
        let active: Vec<ActiveAlert> = self.active.values().cloned().collect();
        let step = step(&self.config, serde_json::from_str(&written).unwrap(), &active, self.now_ms);
        for alert in step.notifications.iter().flat_map(|n| &n.alerts) {
            let which = alert.labels.get("home").parse::<usize>().unwrap();
            assert!(!self.is_muted(which, self.now_ms), "{which} is told of although it is muted");
        }
        if stored {
            self.state = step.state;
            for notification in step.notifications {
                assert!(!self.outbox.contains_key(&notification.key));
                assert!(self.received.iter().all(|n| n.key != notification.key), "a key is used twice");
                self.outbox.insert(notification.key.clone(), notification);
            }
        }
        step.next_ms
    }

    /// Sends what is in the outbox; when `noted` is false the process dies before it is taken out.
    fn deliver(&mut self, noted: bool) {
        let mut entries: Vec<Notification> = self.outbox.values().cloned().collect();
        entries.sort_by_key(|n| n.at_ms);
        for entry in entries {
            if self.received.iter().all(|n| n.key != entry.key) {
                self.received.push(entry);
            }
        }
        if noted {
            self.outbox.clear();
        }
    }

    /// Time goes on, with every step that is due.
    fn wait(&mut self, ms: i64) {
        let end = self.now_ms + ms;
        let mut next = self.step(true);
        while let Some(at) = next.filter(|at| *at <= end) {
            self.now_ms = at;
            next = self.step(true);
            self.deliver(true);
        }
        self.now_ms = end;
        self.step(true);
        self.deliver(true);
    }

    fn happen(&mut self, event: &Event) {
        self.now_ms += SECOND;
        match event {
            Event::Fire(which) => {
                let alert = alert_of(*which, self.now_ms);
                self.active.entry(*which).or_insert(alert);
            }
            Event::End(which) => {
                self.active.remove(which);
            }
            Event::Silence(which, ms) => {
                let silence = Silence {
                    id: which.to_string(),
                    matchers: vec![is("home", &which.to_string())],
                    starts_at_ms: self.now_ms,
                    ends_at_ms: self.now_ms + ms,
                    created_by: "test".to_owned(),
                    comment: "test".to_owned(),
                };
                self.state.silence(silence).unwrap();
                self.silenced_until.insert(*which, self.now_ms + ms);
            }
            Event::Acknowledge(which) => {
                let _ = self.state.acknowledge(&alert_of(*which, 0).labels, "test", "", self.now_ms);
            }
            Event::Wait(ms) => self.wait(*ms),
            Event::Crash(true) => self.deliver(false),
            Event::Crash(false) => {
                self.step(false);
            }
        }
        self.step(true);
        self.deliver(true);
    }

    /// What each notifier believes to fire of each group, after all it received.
    fn beliefs(&self) -> BTreeMap<(String, String), BTreeSet<usize>> {
        let mut beliefs: BTreeMap<(String, String), BTreeSet<usize>> = BTreeMap::new();
        for notification in &self.received {
            let belief =
                beliefs.entry((notification.notifier.clone(), notification.group.clone())).or_default();
            for alert in &notification.alerts {
                let which = alert.labels.get("home").parse::<usize>().unwrap();
                if alert.is_firing() {
                    belief.insert(which)
                } else {
                    belief.remove(&which)
                };
            }
        }
        beliefs
    }

    /// What one notification told: each alert with its begin and whether it fires.
    fn content(notification: &Notification) -> Vec<(String, i64, bool)> {
        let alerts = notification.alerts.iter();
        alerts.map(|alert| (alert.labels.to_string(), alert.starts_at_ms, alert.is_firing())).collect()
    }

    /// No state of a group is told twice to a notifier, but as a repeat.
    fn nothing_was_told_twice(&self) {
        let mut last = BTreeMap::new();
        for notification in &self.received {
            let told = Self::content(notification);
            let place = (notification.notifier.as_str(), notification.group.as_str());
            let before = last.insert(place, told.clone());
            if notification.reason != Reason::Repeat {
                assert_ne!(before.as_ref(), Some(&told), "told twice: {notification:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn each_state_is_told_at_most_once_and_in_the_end_everybody_knows(events in proptest::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        // After all silences and intervals everybody knows what fires, and nothing else.
        world.wait(2 * HOUR);
        world.nothing_was_told_twice();
        let mut expected: BTreeSet<usize> = world.active.keys().copied().collect();
        if world.is_muted(0, world.now_ms) {
            expected.remove(&0);
        }
        let mut known = BTreeSet::new();
        for ((notifier, group), belief) in world.beliefs() {
            if notifier != "boss" {
                known.extend(belief.iter().copied());
            }
            for which in belief {
                // Who was told before an alert was muted hears of its end when it is not muted any more.
                prop_assert!(
                    world.active.contains_key(&which) || world.is_muted(which, world.now_ms),
                    "{} still believes {} of {}", notifier, which, group
                );
            }
        }
        prop_assert!(expected.is_subset(&known), "fire {:?}, known {:?}", expected, known);
        // And when all is over, all of them know.
        world.active.clear();
        world.wait(HOUR);
        prop_assert!(world.beliefs().values().all(BTreeSet::is_empty), "{:?}", world.beliefs());
        prop_assert_eq!(world.step(true), None);
    }

    #[test]
    fn any_rule_text_and_any_template_is_read_or_refused_but_never_panics(text in "\\PC{0,80}", inside in "[a-z0-9 .$|()\"{}:=,%-]{0,60}") {
        let _ = sos_watch::rules::read("r.yml", text.as_bytes());
        let rules = format!("groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n    annotations:\n      a: '{}'\n", inside.replace('\'', ""));
        let _ = sos_watch::rules::read("r.yml", rules.as_bytes());
        let template = format!("{{{{ {inside} }}}}");
        if let Ok(template) = sos_watch::template::Template::of_alert("A", &template) {
            let labels = labels(&[("a", "b")]);
            let context = sos_watch::template::Context {
                labels: &labels,
                value: 1.5,
                external_labels: &labels,
                external_url: "",
                now_ms: 0,
                query: &|_| Ok(Vec::new()),
            };
            let _ = template.expand_or_say(&context);
        }
    }
}
