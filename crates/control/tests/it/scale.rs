//! What always holds of decisions on replicas, and policies over whole loads.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use sos_control::scale::hpa::{
    Behavior, DirectionRules, MetricReading, MetricSpec, PolicyUnit, RatePolicy, SelectPolicy, ValueTarget,
};
use sos_control::scale::replay::{
    DemandForecaster, NoForecast, PastDemand, RecentDemand, ReplayPolicy, ReplayReport, Trace, replay,
};
use sos_control::scale::{
    CapPolicy, CarbonStep, DemandOutlook, ScaleInputs, ScaleMode, ScalePolicy, ScaleState, ZeroPolicy, decide,
};
use sos_units::CarbonIntensity;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_785_000_000 + second).unwrap()
}

fn policy(min: u32, max: u32) -> ScalePolicy {
    let metric = MetricSpec::External { name: "load".into(), target: ValueTarget::AverageValue(8000) };
    ScalePolicy { capacity: Some(10.0), ..ScalePolicy::reactive(min, max, vec![metric]) }
}

fn inputs(current: u32, demand: f64) -> ScaleInputs {
    ScaleInputs {
        current,
        status_replicas: current,
        pods: Vec::new(),
        ready: Some(current),
        readings: vec![MetricReading::Values { values: vec![(demand * 1000.0) as i64] }],
        demand: Some(demand),
        outlook: None,
        intensity: None,
    }
}

fn expecting(rate: f64, inputs: ScaleInputs) -> ScaleInputs {
    let ahead = SignedDuration::from_secs(60);
    ScaleInputs { outlook: Some(DemandOutlook { rate, guaranteed_rate: rate * 0.9, ahead }), ..inputs }
}

fn because(policy: &ScalePolicy, inputs: &ScaleInputs) -> String {
    decide(policy, &ScaleState::default(), inputs, at(0)).because
}

#[test]
fn the_sentence_names_what_asked_and_every_limit_that_bound() {
    let plain = policy(1, 20);
    assert_eq!(because(&plain, &inputs(4, 56.0)), "from 4 replicas to 7: load at 14 asks for 7.");
    assert_eq!(because(&plain, &inputs(4, 32.0)), "4 replicas stay: load at 8 is near its target.");
    assert_eq!(
        because(&plain, &inputs(4, 8.0)),
        "4 replicas stay: load at 2 asks for 1; more were asked for shortly before, so they stay for now."
    );
    assert_eq!(
        because(&plain, &inputs(4, 400.0)),
        "from 4 replicas to 8: load at 100 asks for 50; 50 are reached at the allowed rate."
    );
    assert_eq!(
        because(&policy(1, 6), &inputs(4, 400.0)),
        "from 4 replicas to 6: load at 100 asks for 50; not above the most, 6."
    );
    let failed = ScaleInputs {
        readings: vec![MetricReading::Failed { reason: "no answer".into() }],
        ..inputs(4, 9.0)
    };
    assert_eq!(
        because(&plain, &failed),
        "4 replicas stay: load is not known (no answer), nothing is changed."
    );
}

#[test]
fn a_cap_goes_as_low_as_the_guarantee_lets_it_and_says_so() {
    let step = CarbonStep { up_to: 200.0, max_replicas: 3 };
    let cap = CapPolicy { carbon: vec![step], ..CapPolicy::default() };
    let capped = ScalePolicy { cap: Some(cap), ..policy(1, 20) };
    let dirty = ScaleInputs {
        intensity: Some(CarbonIntensity::kg_per_kwh(0.45)),
        ..expecting(50.0, inputs(4, 40.0))
    };
    assert_eq!(
        because(&capped, &ScaleInputs { demand: Some(56.0), ..dirty.clone() }),
        "from 4 replicas to 5: load at 10 asks for 5."
    );
    let decision =
        decide(&capped, &ScaleState::default(), &ScaleInputs { current: 8, ..dirty.clone() }, at(0));
    assert_eq!(decision.replicas, 5);
    assert!(
        decision.because.ends_with(
            "the carbon cap at 450 gCO2/kWh allows 3; but serving the demand 95 % of the time needs 5."
        ),
        "{}",
        decision.because
    );
    let blind = ScaleInputs { outlook: None, ..dirty };
    assert!(because(&capped, &blind).contains("the cap is off"), "{}", because(&capped, &blind));
}

#[test]
fn a_service_goes_to_zero_after_the_cooldown_and_comes_back_with_demand() {
    let zero = ScalePolicy { zero: Some(ZeroPolicy::default()), ..policy(0, 20) };
    let mut state = ScaleState::default();
    let mut current = 1;
    for (second, demand, expected) in
        [(0, 5.0, 1), (15, 0.0, 1), (299, 0.0, 1), (300, 0.0, 0), (600, 0.0, 0), (615, 35.0, 4)]
    {
        let decision = decide(&zero, &state, &inputs(current, demand), at(second));
        assert_eq!(decision.replicas, expected, "at {second} s: {}", decision.because);
        (state, current) = (decision.state, decision.replicas);
    }
    let unknown = ScaleInputs { demand: None, ..inputs(1, 0.0) };
    assert_eq!(
        decide(&zero, &ScaleState::default(), &unknown, at(9999)).replicas,
        1,
        "demand not known may be there"
    );
}

#[test]
fn a_schedule_sets_the_bounds_by_the_clock_of_its_zone() {
    let mut office = policy(1, 20);
    office.time_zone = "Europe/Berlin".into();
    office.schedules = serde_json::from_value(json!([
        { "name": "office", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00:00", "to": "18:00:00", "minReplicas": 6 },
    ]))
    .unwrap();
    let on = |time: &str| decide(&office, &ScaleState::default(), &inputs(4, 30.0), time.parse().unwrap());
    // 06:30 UTC is 08:30 in summer and 07:30 in winter.
    assert_eq!(on("2026-07-24T06:30:00Z").replicas, 6);
    assert_eq!(on("2026-01-23T06:30:00Z").replicas, 4);
    assert_eq!(on("2026-07-25T06:30:00Z").replicas, 4, "a Saturday");
    assert!(
        on("2026-07-24T06:30:00Z").because.contains("bounds were left"),
        "{}",
        on("2026-07-24T06:30:00Z").because
    );
}

fn rules() -> impl Strategy<Value = Option<DirectionRules>> {
    let unit = prop_oneof![Just(PolicyUnit::Pods), Just(PolicyUnit::Percent)];
    let rate = (unit, 1..150, prop_oneof![Just(15), Just(60), Just(300)])
        .prop_map(|(unit, value, period_seconds)| RatePolicy { unit, value, period_seconds });
    let select = prop_oneof![Just(SelectPolicy::Max), Just(SelectPolicy::Min), Just(SelectPolicy::Disabled)];
    let rules = (0..400, select, prop::collection::vec(rate, 1..3)).prop_map(|(window, select, policies)| {
        DirectionRules {
            stabilization_window_seconds: Some(window),
            select_policy: Some(select),
            policies: Some(policies),
            tolerance: None,
        }
    });
    prop::option::of(rules)
}

fn any_policy() -> impl Strategy<Value = ScalePolicy> {
    let mode =
        prop_oneof![Just(ScaleMode::Reactive), Just(ScaleMode::ForecastOnly), Just(ScaleMode::Predictive)];
    let cap = prop::option::of((0_u32..20, 50.0..600.0).prop_map(|(max_replicas, up_to)| CapPolicy {
        carbon: vec![CarbonStep { up_to, max_replicas }],
        ..CapPolicy::default()
    }));
    (1_u32..5, 5_u32..40, mode, cap, rules(), rules()).prop_map(
        |(min, max, mode, cap, scale_up, scale_down)| ScalePolicy {
            mode,
            cap,
            behavior: Behavior { scale_up, scale_down },
            ..policy(min, max)
        },
    )
}

/// Seconds since the look before, demand, forecast, intensity in g/kWh.
fn any_looks() -> impl Strategy<Value = Vec<(i64, f64, Option<f64>, Option<f64>)>> {
    let look = (1_i64..90, 0.0..400.0, prop::option::of(0.0..500.0), prop::option::of(0.0..900.0));
    prop::collection::vec(look, 1..40)
}

fn seen(current: u32, demand: f64, outlook: Option<f64>, grams: Option<f64>) -> ScaleInputs {
    let seen = inputs(current, demand);
    let seen = outlook.map_or(seen.clone(), |rate| expecting(rate, seen));
    ScaleInputs { intensity: grams.map(|grams| CarbonIntensity::kg_per_kwh(grams / 1000.0)), ..seen }
}

proptest! {
    #[test]
    fn decisions_stay_within_the_bounds_and_are_the_same_when_taken_again(
        policy in any_policy(),
        looks in any_looks(),
        first in 1_u32..60,
    ) {
        let (mut state, mut current, mut second) = (ScaleState::default(), first, 0);
        for (later, demand, outlook, grams) in looks {
            second += later;
            let inputs = seen(current, demand, outlook, grams);
            let decision = decide(&policy, &state, &inputs, at(second));
            prop_assert!((policy.min_replicas..=policy.max_replicas).contains(&decision.replicas), "{}", decision.because);
            let undone = decide(&policy, &decision.state, &inputs, at(second));
            prop_assert_eq!(undone.replicas, decision.replicas, "not carried out: {}", undone.because);
            if (policy.min_replicas..=policy.max_replicas).contains(&current) {
                let carried_out = ScaleInputs { current: decision.replicas, ..inputs };
                let again = decide(&policy, &decision.state, &carried_out, at(second));
                prop_assert_eq!(again.replicas, decision.replicas, "carried out: {}", again.because);
            }
            let text = serde_json::to_string(&decision.state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<ScaleState>(&text).unwrap(), &decision.state);
            (state, current) = (decision.state, decision.replicas);
        }
    }

    #[test]
    fn a_cap_takes_no_more_than_the_guarantee_leaves(policy in any_policy(), looks in any_looks(), first in 1_u32..40) {
        let free = ScalePolicy { cap: None, ..policy.clone() };
        let (mut state, mut current, mut second) = (ScaleState::default(), first, 0);
        for (later, demand, outlook, grams) in looks {
            second += later;
            let inputs = seen(current, demand, outlook, grams);
            let capped = decide(&policy, &state, &inputs, at(second));
            let without = decide(&free, &state, &inputs, at(second));
            let needs = inputs.outlook.as_ref().map_or(demand, |outlook| outlook.guaranteed_rate.max(demand));
            let kept = ((needs / 10.0).ceil() as u32).min(without.replicas);
            prop_assert!(capped.replicas >= kept && capped.replicas <= without.replicas, "{}", capped.because);
            (state, current) = (capped.state, capped.replicas);
        }
    }

    #[test]
    fn a_forecast_never_takes_a_replica_away(policy in any_policy(), current in 5_u32..40, demand in 0.0..400.0, rate in 0.0..500.0) {
        let reactive = ScalePolicy { mode: ScaleMode::Reactive, cap: None, ..policy.clone() };
        let predictive = ScalePolicy { mode: ScaleMode::Predictive, ..reactive.clone() };
        let inputs = expecting(rate, inputs(current, demand));
        let state = ScaleState::default();
        prop_assert!(decide(&predictive, &state, &inputs, at(0)).replicas >= decide(&reactive, &state, &inputs, at(0)).replicas);
    }
}

fn played(more: serde_json::Value, trace: &Trace, forecaster: &mut dyn DemandForecaster) -> ReplayReport {
    let mut fields = json!({
        "capacity": 20.0,
        "startUpSeconds": 30,
        "watts": { "idle": 60.0, "busy": 200.0 },
        "carbon": carbon(trace),
    });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    replay(&serde_json::from_value::<ReplayPolicy>(fields).unwrap(), trace, forecaster).unwrap()
}

/// A day of carbon intensity, hour by hour: dirty in the evening, clean at noon.
fn carbon(trace: &Trace) -> Vec<serde_json::Value> {
    let hours = trace.end().duration_since(trace.start).as_hours() + 1;
    let grams = |hour: i64| 350.0 + 200.0 * (std::f64::consts::TAU * (hour - 14) as f64 / 24.0).sin();
    let at = |hour: i64| trace.start + SignedDuration::from_hours(hour);
    (0..hours).map(|hour| json!({ "time": at(hour), "gramsPerKwh": grams(hour) })).collect()
}

/// Minutes of a demand with a day in it that wanders, now and then with a crowd that comes within minutes.
fn wandering(seed: u64, minutes: usize) -> Trace {
    let mut random = seed;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let (mut drift, mut crowd, mut coming): (f64, f64, f64) = (0.0, 0.0, 0.0);
    let mut minute = |index: usize| {
        drift = 0.995 * drift + 0.06 * (next() - 0.5);
        coming = if next() > 0.998 { 1.0 } else { coming };
        // A crowd comes within about ten minutes, and stays for half an hour.
        let arrival = coming.min(0.1);
        coming -= arrival;
        crowd = crowd * 0.97 + arrival;
        let day = 1.0 + 0.6 * (std::f64::consts::TAU * index as f64 / 1440.0).sin();
        let noise = 1.0 + 0.08 * (next() - 0.5);
        Some((60.0 * 300.0 * (day + crowd) * drift.exp() * noise).round())
    };
    let requests = (0..minutes).map(&mut minute).collect();
    Trace { start: at(0), step: SignedDuration::from_mins(1), requests }
}

#[test]
fn served_and_unserved_requests_are_all_requests() {
    for seed in 0..4 {
        let trace = wandering(seed, 600);
        let all: f64 = trace.requests.iter().flatten().sum();
        for mode in ["reactive", "predictive"] {
            let more = json!({ "mode": mode, "maxReplicas": 20, "syncSeconds": 7, "startUpSeconds": 47 });
            let report = played(more, &trace, &mut RecentDemand::default());
            assert!((report.demanded_requests - all).abs() < 1e-6 * all);
            assert!((report.served_requests + report.unserved_requests - all).abs() < 1e-6 * all);
            let steps: f64 = report.steps.iter().map(|step| step.unserved_requests).sum();
            assert!((steps - report.unserved_requests).abs() < 1e-6 * all);
            let violated: f64 = report.steps.iter().map(|step| step.violation_seconds).sum();
            assert!((violated - report.slo_violation_seconds).abs() < 1e-6);
        }
    }
}

#[test]
fn falsifying_the_future_of_a_load_changes_nothing_before_it() {
    let trace = wandering(3, 400);
    let mut false_trace = trace.clone();
    for step in &mut false_trace.requests[300..] {
        *step = step.map(|requests| requests * 50.0 + 1e6);
    }
    let cap = json!({ "carbon": [{ "upTo": 300.0, "maxReplicas": 5 }] });
    let more = json!({ "mode": "predictive", "cap": cap });
    let told = played(more.clone(), &trace, &mut RecentDemand::default());
    let lied = played(more, &false_trace, &mut RecentDemand::default());
    assert_eq!(told.steps[..300], lied.steps[..300]);
    assert_ne!(told.steps[300..], lied.steps[300..]);
}

#[test]
fn at_the_replica_hours_of_a_tight_autoscaler_the_forecast_leaves_a_fifth_of_its_violations() {
    let trace = wandering(11, 4 * 1440);
    let tight = played(json!({ "targetUtilization": 90 }), &trace, &mut NoForecast);
    let ahead = played(json!({ "mode": "predictive" }), &trace, &mut RecentDemand::default());
    assert!(
        ahead.replica_hours <= tight.replica_hours,
        "{} h, {} h",
        ahead.replica_hours,
        tight.replica_hours
    );
    let (found, before) = (ahead.slo_violation_seconds, tight.slo_violation_seconds);
    assert!(before > 0.0 && found <= before / 5.0, "{found} s, before {before} s");
}

#[test]
fn a_carbon_cap_saves_emissions_and_keeps_its_guarantee() {
    let trace = wandering(5, 4 * 1440);
    let cap = json!({ "carbon": [{ "upTo": 300.0, "maxReplicas": 1000 }, { "upTo": 301.0, "maxReplicas": 1 }], "guarantee": { "level": 0.95 } });
    for mode in ["reactive", "predictive"] {
        let free = played(json!({ "mode": mode }), &trace, &mut RecentDemand::default());
        let capped = played(json!({ "mode": mode, "cap": cap }), &trace, &mut RecentDemand::default());
        assert!(
            capped.emissions_kg < free.emissions_kg,
            "{mode}: {} kg, {} kg",
            capped.emissions_kg,
            free.emissions_kg
        );
        assert!(capped.held_share >= 0.95, "{mode}: {}", capped.held_share);
    }
}

/// Knows the load.
struct Perfect<'a>(&'a Trace);

impl DemandForecaster for Perfect<'_> {
    fn forecast(&mut self, past: &PastDemand<'_>, until: Timestamp, quantiles: &[f64]) -> Option<Vec<f64>> {
        let step = self.0.step.as_secs();
        let last = (until.duration_since(self.0.start).as_secs() - 1) / step;
        let last = usize::try_from(last).ok()?.min(self.0.requests.len() - 1);
        let most = self.0.requests[past.ended.len()..=last].iter().flatten().fold(0.0, |a: f64, b| a.max(*b));
        Some(vec![most / step as f64; quantiles.len()])
    }
}

/// The loads of the folder `SCALE_TRACE_DIR` (files `time,requests`), else one made up; `SCALE_CAPACITY` is the
/// capacity of a replica in requests/s (20).
#[test]
#[ignore = "slow: whole loads under many policies, for the figures in decision 0111"]
fn figures_of_whole_loads() {
    let mut traces = vec![("made up".to_owned(), wandering(1, 7 * 1440))];
    if let Some(folder) = std::env::var_os("SCALE_TRACE_DIR") {
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
        paths.sort();
        let read = |path: &std::path::PathBuf| Trace::read(&std::fs::read_to_string(path).unwrap()).unwrap();
        traces = paths.iter().map(|path| (path.display().to_string(), read(path))).collect();
    }
    let capacity: f64 = std::env::var("SCALE_CAPACITY").map_or(20.0, |text| text.parse().unwrap());
    for (name, trace) in &traces {
        println!("{name}: {} steps", trace.requests.len());
        let show = |policy: &str, report: &ReplayReport| {
            assert!(
                (report.served_requests + report.unserved_requests - report.demanded_requests).abs() < 1.0
            );
            println!(
                "{policy:28} {:9.1} h {:8.0} s {:9.0} unserved {:8.2} kg held {:.5} {:6} changes",
                report.replica_hours,
                report.slo_violation_seconds,
                report.unserved_requests,
                report.emissions_kg,
                report.held_share,
                report.scale_changes,
            );
        };
        for target in [50, 70, 80, 90] {
            let more = json!({ "targetUtilization": target, "capacity": capacity });
            show(&format!("reactive {target} %"), &played(more, trace, &mut NoForecast));
        }
        for quantile in [0.95, 0.98, 0.99, 0.995] {
            let more =
                json!({ "mode": "predictive", "capacity": capacity, "predictive": { "quantile": quantile } });
            show(&format!("predictive {quantile}"), &played(more, trace, &mut RecentDemand::default()));
        }
        let both = json!({ "mode": "predictive", "capacity": capacity, "targetUtilization": 90 });
        show("predictive 0.99 at 90 %", &played(both, trace, &mut RecentDemand::default()));
        let perfect = json!({ "mode": "predictive", "capacity": capacity });
        show("perfect knowledge", &played(perfect, trace, &mut Perfect(trace)));
        let cap = json!({ "carbon": [{ "upTo": 300.0, "maxReplicas": 1000 }, { "upTo": 301.0, "maxReplicas": 1 }] });
        for mode in ["reactive", "predictive"] {
            let more = json!({ "mode": mode, "capacity": capacity, "cap": cap });
            show(&format!("{mode} with carbon cap"), &played(more, trace, &mut RecentDemand::default()));
        }
    }
}
