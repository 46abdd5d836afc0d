//! Groups of rules over time: states, samples, restarts.

use sos_watch::rules::{
    AlertState, Environment, Evaluation, Group, GroupState, Restoring, evaluate, read, restore,
};
use sos_watch::series::is_stale;
use sos_watch::{Labels, Memory, Options, Sample, notation};

const MINUTE: i64 = 60_000;

/// Rules that are evaluated each minute, their state written down and read back each time.
struct Site {
    group: Group,
    memory: Memory,
    state: GroupState,
    external: Labels,
}

impl Site {
    fn new(rules: &str) -> Self {
        let text = format!("groups:\n- name: g\n  rules:\n{rules}");
        let mut rules = read("r.yml", text.as_bytes()).unwrap();
        Self {
            group: rules.groups.remove(0),
            memory: Memory::new(),
            state: GroupState::default(),
            external: Labels::empty(),
        }
    }

    /// Series whose values come each minute from 0 on.
    fn with(mut self, series: &[&str]) -> Self {
        for text in series {
            let (labels, values) = notation::parse(text).unwrap();
            self.memory.append(&labels, notation::samples(&values, 0, MINUTE));
        }
        self
    }

    fn at(&mut self, minute: i64) -> Evaluation {
        let environment = Environment {
            external_labels: &self.external,
            external_url: "https://sos",
            options: Options::default(),
            elapsed_us: &|| 0,
        };
        let written = serde_json::to_string(&self.state).unwrap();
        let state: GroupState = serde_json::from_str(&written).unwrap();
        assert_eq!(state, self.state, "what was written reads back as itself");
        let evaluation = evaluate(&self.group, &self.memory, minute * MINUTE, state, &environment);
        for new in &evaluation.samples {
            self.memory.append(&new.labels, [new.sample]);
        }
        self.state = evaluation.state.clone();
        evaluation
    }

    fn states(&self) -> Vec<AlertState> {
        self.state.rules.iter().flat_map(|rule| &rule.alerts).map(|alert| alert.state).collect()
    }
}

fn texts(evaluation: &Evaluation) -> Vec<String> {
    let shown = |sample: Sample| if is_stale(sample.v) { "stale".to_owned() } else { sample.v.to_string() };
    evaluation.samples.iter().map(|new| format!("{} {}", new.labels, shown(new.sample))).collect()
}

fn moves(evaluation: &Evaluation) -> Vec<(AlertState, AlertState)> {
    evaluation.transitions.iter().map(|transition| (transition.from, transition.to)).collect()
}

use AlertState::{Firing, Inactive, Pending};

#[test]
fn an_alert_is_pending_then_fires_then_keeps_firing_and_ends() {
    let mut site = Site::new(
        "  - alert: Down\n    expr: up == 0\n    for: 2m\n    keep_firing_for: 2m\n    annotations: {a: 'v {{ $value }}'}\n",
    )
    .with(&["up 0 0 0 0 1 1 1 1 0"]);
    let expected: [&[(AlertState, AlertState)]; 9] = [
        &[(Inactive, Pending)],
        &[],
        &[(Pending, Firing)],
        &[],
        &[],
        &[],
        &[(Firing, Inactive)],
        &[],
        &[(Inactive, Pending)],
    ];
    for (minute, expected) in expected.into_iter().enumerate() {
        assert_eq!(moves(&site.at(minute as i64)), expected, "minute {minute}");
    }
    let alert = &site.state.rules[0].alerts[0];
    assert_eq!((alert.active_at_ms, alert.fired_at_ms, alert.resolved_at_ms), (8 * MINUTE, None, None));
    assert_eq!(alert.annotations["a"], "v 0");
}

#[test]
fn a_resolved_alert_is_kept_for_a_quarter_of_an_hour() {
    let mut site = Site::new("  - alert: Down\n    expr: up == 0\n").with(&["up 0 1x40"]);
    site.at(0);
    site.at(1);
    assert_eq!(site.states(), [Inactive]);
    site.at(16);
    assert_eq!(site.states(), [Inactive]);
    site.at(17);
    assert!(site.states().is_empty());
}

#[test]
fn a_rule_sees_what_the_rules_before_it_gave() {
    let mut site = Site::new(
        "  - record: a\n    expr: up * 2\n  - record: b\n    expr: a + 1\n  - alert: Big\n    expr: b > 2\n  \
         - record: alarms\n    expr: count(ALERTS)\n",
    )
    .with(&["up{x=\"1\"} 1 _"]);
    let first = texts(&site.at(0));
    assert_eq!(first[..2], [r#"{__name__="a", x="1"} 2"#, r#"{__name__="b", x="1"} 3"#]);
    assert_eq!(first.last().unwrap(), r#"{__name__="alarms"} 1"#);
}

#[test]
fn series_that_are_given_no_more_end() {
    let mut site = Site::new("  - record: a\n    expr: up\n  - alert: Down\n    expr: up == 0\n")
        .with(&["up 0 1 stale"]);
    assert_eq!(texts(&site.at(0)).len(), 3);
    let second = texts(&site.at(1));
    assert_eq!(second[0], r#"{__name__="a"} 1"#);
    assert_eq!(second[1..].iter().filter(|text| text.ends_with("stale")).count(), 2, "{second:?}");
    assert_eq!(texts(&site.at(2)), [r#"{__name__="a"} stale"#]);
    assert!(texts(&site.at(3)).is_empty());
}

#[test]
fn a_rule_that_fails_stops_no_other_and_says_why() {
    let rules = "  - record: bad\n    expr: a + on () b\n  - record: good\n    expr: a\n";
    let mut site = Site::new(rules).with(&["a 1", "b{x=\"1\"} 1", "b{x=\"2\"} 1"]);
    assert_eq!(texts(&site.at(0)), [r#"{__name__="good"} 1"#]);
    let health = |site: &Site, rule: usize| site.state.rules[rule].health.word();
    assert_eq!((health(&site, 0), health(&site, 1)), ("err", "ok"));
    assert!(site.state.rules[0].health.error.as_ref().unwrap().contains("many-to-many"));
    site.at(6);
    assert_eq!(health(&site, 0), "ok");
}

#[test]
fn changed_rules_keep_what_they_have_in_common() {
    let mut site =
        Site::new("  - record: a\n    expr: up\n  - alert: Down\n    expr: up == 0\n    for: 5m\n")
            .with(&["up 0x9"]);
    site.at(0);
    let other = Site::new("  - alert: Down\n    expr: up == 0\n    for: 1m\n  - record: c\n    expr: up\n");
    site.group = other.group;
    let evaluation = site.at(1);
    assert_eq!(moves(&evaluation), [(Pending, Firing)], "the alert was pending for a minute already");
    assert!(texts(&evaluation).contains(&r#"{__name__="a"} stale"#.to_owned()), "{:?}", texts(&evaluation));
}

#[test]
fn a_longer_for_sets_an_alert_back() {
    let mut site = Site::new("  - alert: Down\n    expr: up == 0\n    for: 1m\n").with(&["up 0x9"]);
    site.at(0);
    site.at(1);
    assert_eq!(site.states(), [Firing]);
    site.group = Site::new("  - alert: Down\n    expr: up == 0\n    for: 5m\n").group;
    site.at(2);
    assert_eq!(site.states(), [Pending]);
}

#[test]
fn after_a_restart_without_state_an_alert_goes_on_where_it_was() {
    let rule = "  - alert: Down\n    expr: up == 0\n    for: 30m\n";
    let mut site = Site::new(rule).with(&["up 0x99"]);
    for minute in 0..=10 {
        site.at(minute);
    }
    // 10 min later it starts anew, without what it knew.
    site.state = GroupState::to_restore();
    assert!(texts(&site.at(20)).is_empty(), "nothing is stored before it is known what was");
    site.at(21);
    site.state = restore(&site.group, &site.memory, 21 * MINUTE, site.state.clone(), Restoring::default());
    // 10 min of pending count, the 11 min in which nobody looked do not.
    assert_eq!(site.state.rules[0].alerts[0].active_at_ms, 11 * MINUTE);
    site.at(40);
    assert_eq!(site.states(), [Pending]);
    site.at(41);
    assert_eq!(site.states(), [Firing]);
}

#[test]
fn a_restored_alert_waits_at_least_the_grace_and_one_that_fired_fires_again() {
    let rule = "  - alert: Down\n    expr: up == 0\n    for: 15m\n";
    let run = |until: i64| {
        let mut site = Site::new(rule).with(&["up 0x99"]);
        for minute in 0..=until {
            site.at(minute);
        }
        site.state = GroupState::to_restore();
        site.at(30);
        site.state =
            restore(&site.group, &site.memory, 30 * MINUTE, site.state.clone(), Restoring::default());
        site.state.rules[0].alerts[0].active_at_ms / MINUTE
    };
    assert_eq!(run(14), 25, "one minute was left, ten are waited");
    assert_eq!(run(16), 0);
    assert_eq!(run(2), 28);
}

#[test]
fn values_that_are_no_numbers_survive_being_written() {
    let mut site = Site::new("  - alert: Odd\n    expr: x\n").with(&["x{a=\"1\"} NaN", "x{a=\"2\"} -Inf"]);
    site.at(0);
    let written = serde_json::to_string(&site.state).unwrap();
    let back: GroupState = serde_json::from_str(&written).unwrap();
    let values: Vec<f64> = back.rules[0].alerts.iter().map(|alert| alert.value).collect();
    assert!(values[0].is_nan() && values[1] == f64::NEG_INFINITY);
}

#[test]
fn a_query_offset_looks_back_and_stores_there() {
    let mut site = Site::new("  - record: a\n    expr: up\n").with(&["up 1 2 3"]);
    site.group.query_offset_ms = MINUTE;
    let evaluation = site.at(2);
    let sample = evaluation.samples[0].sample;
    assert_eq!((sample.t, sample.v.to_bits()), (MINUTE, 2.0_f64.to_bits()));
}

/// `cargo test --release -p sos-watch two_hundred_rules_with -- --ignored --nocapture`
#[test]
#[ignore = "slow: times want an idle machine"]
fn two_hundred_rules_with_their_alerts_take_less_than_a_second() {
    let mut rules = String::new();
    for n in 0..200 {
        let path = n % 20;
        rules.push_str(&if n % 2 == 0 {
            format!("  - record: r{n}\n    expr: sum by (job) (rate(requests_total{{path=\"{path}\"}}[5m]))\n")
        } else {
            format!(
                "  - alert: A{n}\n    expr: requests_total{{path=\"{path}\"}} > 200\n    for: 1m\n    labels: {{severity: page}}\n    \
                 annotations: {{summary: '{{{{ $labels.instance }}}} has {{{{ $value | humanize }}}}'}}\n"
            )
        });
    }
    let mut site = Site::new(&rules);
    for n in 0..10_000 {
        let (job, instance, path) = ((n % 20).to_string(), (n % 500).to_string(), (n / 500).to_string());
        let labels = Labels::new([
            ("__name__", "requests_total"),
            ("job", job.as_str()),
            ("instance", instance.as_str()),
            ("path", path.as_str()),
        ]);
        let slope = (n % 7) as f64;
        site.memory.append(&labels, (0..=62).map(|m| Sample { t: m * MINUTE, v: m as f64 * slope }));
    }
    for minute in 60..=62 {
        let environment = Environment {
            external_labels: &site.external,
            external_url: "",
            options: Options::default(),
            elapsed_us: &|| 0,
        };
        let started = std::time::Instant::now();
        let evaluation =
            evaluate(&site.group, &site.memory, minute * MINUTE, site.state.clone(), &environment);
        let took = started.elapsed();
        let alerts: usize = evaluation.state.rules.iter().map(|rule| rule.alerts.len()).sum();
        println!(
            "rules speed: 200 rules over 10,000 series: {took:?}, {alerts} alerts, {} samples",
            evaluation.samples.len()
        );
        assert!(took < std::time::Duration::from_secs(1), "{took:?}");
        site.state = evaluation.state;
    }
}
