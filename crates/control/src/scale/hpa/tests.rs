//! Passes of the whole autoscaler.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn external(name: &str, each: i64) -> MetricSpec {
    MetricSpec::External { name: name.into(), target: ValueTarget::AverageValue(each) }
}

fn seen(current: i32, readings: Vec<MetricReading>) -> HpaView {
    HpaView { current, status_replicas: current, pods: Vec::new(), ready_pods: None, readings }
}

fn value(value: i64) -> MetricReading {
    MetricReading::Values { values: vec![value] }
}

fn failed() -> MetricReading {
    MetricReading::Failed { reason: "no answer".into() }
}

fn reason<'a>(decision: &'a HpaDecision, kind: &str) -> &'a str {
    decision.conditions.iter().find(|one| one.kind == kind).map_or("", |one| one.reason.as_str())
}

#[test]
fn of_several_metrics_the_one_that_asks_for_most_counts() {
    let spec = HpaSpec::new(1, 50, vec![external("a", 1000), external("b", 1000)]);
    let view = seen(4, vec![value(5000), value(7000)]);
    let decision = evaluate(&spec, &HpaState::default(), &view, at(0));
    assert_eq!((decision.replicas, decision.metric), (7, Some(1)));
    assert_eq!(decision.reason, "b is above its target");
    assert_eq!(reason(&decision, "ScalingActive"), "ValidMetricFound");
}

#[test]
fn a_metric_that_fails_holds_back_scaling_in_but_not_out() {
    let spec = HpaSpec::new(1, 50, vec![external("a", 1000), external("b", 1000)]);
    let out = evaluate(&spec, &HpaState::default(), &seen(4, vec![failed(), value(7000)]), at(0));
    assert_eq!(out.replicas, 7);
    let in_ = evaluate(&spec, &HpaState::default(), &seen(4, vec![failed(), value(2000)]), at(0));
    assert_eq!((in_.replicas, in_.asked), (4, None));
    assert_eq!(reason(&in_, "ScalingActive"), "FailedGetExternalMetric");
    let none = evaluate(&spec, &HpaState::default(), &seen(4, vec![failed(), failed()]), at(0));
    assert_eq!((none.replicas, none.asked), (4, None));
    assert_eq!(none.results[0].error.as_deref(), Some("no answer"));
}

#[test]
fn no_replicas_and_bounds_are_settled_without_a_look_at_the_metrics() {
    let spec = HpaSpec::new(2, 5, vec![external("a", 1000)]);
    let with = |current| evaluate(&spec, &HpaState::default(), &seen(current, vec![failed()]), at(0));
    assert_eq!((with(0).replicas, reason(&with(0), "ScalingActive")), (0, "ScalingDisabled"));
    assert_eq!((with(9).replicas, with(9).limit), (5, HpaLimit::TooManyReplicas));
    assert_eq!((with(1).replicas, with(1).limit), (2, HpaLimit::TooFewReplicas));
    let zero = HpaSpec::new(0, 5, vec![external("a", 1000)]);
    assert_eq!(evaluate(&zero, &HpaState::default(), &seen(0, vec![value(2500)]), at(0)).replicas, 3);
}

#[test]
fn the_present_number_is_the_first_recommendation_and_holds_for_the_window() {
    let spec = HpaSpec::new(1, 50, vec![external("a", 1000)]);
    let first = evaluate(&spec, &HpaState::default(), &seen(8, vec![value(2000)]), at(0));
    assert_eq!((first.replicas, reason(&first, "AbleToScale")), (8, "ScaleDownStabilized"));
    let later = evaluate(&spec, &first.state, &seen(8, vec![value(2000)]), at(301));
    assert_eq!(later.replicas, 2);
}

#[test]
fn without_a_behaviour_the_older_limits_hold() {
    let spec = HpaSpec { behavior: None, ..HpaSpec::new(1, 500, vec![external("a", 1000)]) };
    let decision = evaluate(&spec, &HpaState::default(), &seen(3, vec![value(100_000)]), at(0));
    assert_eq!((decision.replicas, decision.limit), (6, HpaLimit::ScaleUpLimit));
    assert_eq!(reason(&decision, "ScalingLimited"), "ScaleUpLimit");
    let mut state = HpaState::default();
    state.record(None, 3, 6, at(0));
    assert_eq!(state, HpaState::default());
}

#[test]
fn a_floor_raises_what_is_asked_for_and_never_lowers_it() {
    let spec = HpaSpec::new(1, 50, vec![external("a", 1000)]);
    let with =
        |floor, reading| evaluate_above(&spec, &HpaState::default(), &seen(4, vec![reading]), floor, at(0));
    assert_eq!(with(Some(6), value(4000)).replicas, 6);
    assert_eq!(with(Some(2), value(7000)).replicas, 7);
    assert_eq!(with(Some(2), value(4000)).replicas, 4);
    assert_eq!(with(Some(6), failed()).replicas, 6, "the forecast holds where the metrics fail");
    assert_eq!(with(Some(2), failed()).replicas, 4, "a forecast alone takes nothing away");
}

#[test]
fn containers_and_whole_pods_have_their_own_requests() {
    let requests = |milli| BTreeMap::from([("cpu".to_owned(), milli)]);
    let pod = PodView {
        name: "p".into(),
        phase: PodPhase::Running,
        deleted: false,
        started_at: Some(at(-3600)),
        ready: Some(ReadyCondition { status: Truth::True, since: at(-3600) }),
        containers: vec![
            ContainerRequests { name: "app".into(), requests: requests(1000) },
            ContainerRequests { name: "log".into(), requests: requests(100) },
        ],
        pod_requests: None,
    };
    let sample = Sample { value: 900, at: at(0), window: SignedDuration::from_secs(30) };
    let samples = MetricReading::Samples { samples: BTreeMap::from([("p".to_owned(), sample)]) };
    let target = PodTarget::AverageUtilization(50);
    let look = |metric: MetricSpec, pod: &PodView| {
        let view = HpaView { pods: vec![pod.clone()], ..seen(1, vec![samples.clone()]) };
        propose(&HpaSpec::new(1, 9, vec![metric]), &view, at(0)).results[0].clone()
    };
    let whole = MetricSpec::Resource { name: "cpu".into(), target };
    let part = |container: &str| MetricSpec::ContainerResource {
        name: "cpu".into(),
        container: container.into(),
        target,
    };
    assert_eq!(look(whole.clone(), &pod).utilization, Some(81));
    assert_eq!(look(part("app"), &pod).utilization, Some(90));
    assert_eq!(look(part("none"), &pod).error.as_deref(), Some("container none not found in pod p"));
    let level = PodView { pod_requests: Some(requests(2000)), ..pod.clone() };
    assert_eq!(look(whole.clone(), &level).utilization, Some(45));
    assert_eq!(look(part("app"), &level).utilization, Some(90));
    let silent = PodView { containers: Vec::new(), pod_requests: Some(BTreeMap::new()), ..pod };
    assert_eq!(look(whole, &silent).error.as_deref(), Some("missing request for cpu in pod p"));
}
