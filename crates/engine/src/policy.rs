//! From declared scaling to the planner's policies, for services and for replays.

use jiff::SignedDuration;
use sos_control::scale::hpa::{
    Behavior, DirectionRules, MetricSpec, PodTarget, PolicyUnit, RatePolicy, SelectPolicy, ValueTarget,
};
use sos_control::scale::replay::{CarbonValue, ReplayPolicy, Watts};
use sos_control::scale::{
    CapPolicy, CarbonStep, Day, Guarantee, PredictivePolicy, ScaleMode, ScalePolicy, Schedule, ZeroPolicy,
};
use sos_model::{
    Predictive, ReplaySpec, ReplicaAmount, Scaling, ScalingCap, ScalingMetric, ScalingRules, ScalingWindow,
    StepChoice, Switch, Weekday, ZoneName,
};

/// Window of the way down where a forecast guards against flapping, s.
const PREDICTIVE_WINDOW: i32 = 120;
/// Use of the capacity that is aimed at where nothing is declared; with a forecast its quantile is the reserve.
const USUAL_TARGET: f64 = 0.8;

/// The policy of a service.
#[must_use]
pub fn scale_policy(scaling: &Scaling) -> ScalePolicy {
    let mode = mode(&scaling.predictive);
    let capacity = scaling.capacity.map(sos_model::RequestRate::as_per_second);
    let metrics = if scaling.metrics.is_empty() {
        let target = if mode == ScaleMode::Predictive { 1.0 } else { USUAL_TARGET };
        capacity.map(|capacity| requests(capacity * target)).into_iter().collect()
    } else {
        scaling.metrics.iter().filter_map(|metric| metric_spec(metric, capacity)).collect()
    };
    ScalePolicy {
        behavior: behavior(scaling.up.as_ref(), scaling.down.as_ref(), mode),
        mode,
        capacity,
        predictive: predictive(&scaling.predictive),
        time_zone: zone(scaling.time_zone.as_ref()),
        schedules: scaling.schedules.iter().map(schedule).collect(),
        cap: scaling.cap.as_ref().map(cap),
        zero: (scaling.min == 0)
            .then(|| ZeroPolicy { activation_threshold: 0.0, cooldown_seconds: scaling.idle.as_secs() }),
        ..ScalePolicy::reactive(scaling.min, scaling.max, metrics)
    }
}

/// The policy of a replay; `carbon` is its series as read.
#[must_use]
pub fn replay_policy(spec: &ReplaySpec, carbon: Vec<CarbonValue>) -> ReplayPolicy {
    let mode = mode(&spec.predictive);
    ReplayPolicy {
        capacity: spec.capacity.as_per_second(),
        start_up_seconds: spec.start_up.as_secs(),
        watts: Watts { idle: spec.power.idle.as_kw() * 1000.0, busy: spec.power.busy.as_kw() * 1000.0 },
        carbon,
        mode,
        target_utilization: spec.target.map(|target| percent(target.get())),
        min_replicas: spec.min,
        max_replicas: spec.max,
        initial_replicas: spec.initial,
        sync_seconds: spec.every.as_secs(),
        behavior: behavior(spec.up.as_ref(), spec.down.as_ref(), mode),
        predictive: predictive(&spec.predictive),
        time_zone: zone(spec.time_zone.as_ref()),
        schedules: spec.schedules.iter().map(schedule).collect(),
        cap: spec.cap.as_ref().map(cap),
        zero: (spec.min == 0)
            .then(|| ZeroPolicy { activation_threshold: 0.0, cooldown_seconds: spec.idle.as_secs() }),
    }
}

/// Whole per cent by the checks of the manifest.
fn percent(share: f64) -> i32 {
    (share * 100.0).round() as i32
}

fn thousandths(value: f64) -> i64 {
    ((value * 1000.0).round() as i64).max(1)
}

/// Requests/s at the gateway, so many for each replica.
fn requests(per_replica: f64) -> MetricSpec {
    MetricSpec::External {
        name: "requests".into(),
        target: ValueTarget::AverageValue(thousandths(per_replica)),
    }
}

fn metric_spec(metric: &ScalingMetric, capacity: Option<f64>) -> Option<MetricSpec> {
    let resource = |name: &str, target: f64| MetricSpec::Resource {
        name: name.into(),
        target: PodTarget::AverageUtilization(percent(target)),
    };
    Some(match metric {
        ScalingMetric::Cpu(target) => resource("cpu", target.target.get()),
        ScalingMetric::Memory(target) => resource("memory", target.target.get()),
        ScalingMetric::Requests(target) => requests(capacity? * target.target.get()),
        ScalingMetric::Query(query) => MetricSpec::External {
            name: query.promql.clone(),
            target: ValueTarget::AverageValue(thousandths(query.per_replica.get())),
        },
    })
}

fn mode(declared: &Switch<Predictive>) -> ScaleMode {
    match declared.get() {
        None => ScaleMode::Reactive,
        Some(predictive) if predictive.observe => ScaleMode::ForecastOnly,
        Some(_) => ScaleMode::Predictive,
    }
}

fn predictive(declared: &Switch<Predictive>) -> PredictivePolicy {
    declared.get().map_or_else(PredictivePolicy::default, |declared| PredictivePolicy {
        quantile: declared.quantile.get(),
        margin_seconds: declared.margin.as_secs(),
    })
}

fn behavior(up: Option<&ScalingRules>, down: Option<&ScalingRules>, mode: ScaleMode) -> Behavior {
    let mut scale_down = down.map(rules);
    if mode == ScaleMode::Predictive {
        let down = scale_down.get_or_insert_with(DirectionRules::default);
        down.stabilization_window_seconds.get_or_insert(PREDICTIVE_WINDOW);
    }
    Behavior { scale_up: up.map(rules), scale_down }
}

fn rules(declared: &ScalingRules) -> DirectionRules {
    let whole = |duration: SignedDuration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
    let steps = declared.steps.iter().map(|step| {
        let (unit, value) = match step.replicas {
            ReplicaAmount::Count(count) => (PolicyUnit::Pods, count),
            ReplicaAmount::Percent(percent) => (PolicyUnit::Percent, percent),
        };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        RatePolicy { unit, value, period_seconds: whole(step.within) }
    });
    DirectionRules {
        stabilization_window_seconds: declared.window.map(whole),
        select_policy: Some(match declared.select {
            StepChoice::Max => SelectPolicy::Max,
            StepChoice::Min => SelectPolicy::Min,
            StepChoice::Disabled => SelectPolicy::Disabled,
        }),
        policies: (!declared.steps.is_empty()).then(|| steps.collect()),
        tolerance: declared.tolerance.map(sos_model::Fraction::get),
    }
}

fn zone(declared: Option<&ZoneName>) -> String {
    declared.and_then(|zone| zone.zone().iana_name()).unwrap_or("UTC").to_owned()
}

fn schedule(declared: &ScalingWindow) -> Schedule {
    let day = |day: &Weekday| match day {
        Weekday::Mon => Day::Mon,
        Weekday::Tue => Day::Tue,
        Weekday::Wed => Day::Wed,
        Weekday::Thu => Day::Thu,
        Weekday::Fri => Day::Fri,
        Weekday::Sat => Day::Sat,
        Weekday::Sun => Day::Sun,
    };
    Schedule {
        name: declared.name.clone(),
        days: declared.days.iter().map(day).collect(),
        from: declared.from,
        to: declared.to,
        min_replicas: declared.min,
        max_replicas: declared.max,
    }
}

fn cap(declared: &ScalingCap) -> CapPolicy {
    let watts = |power: sos_units::Power| power.as_kw() * 1000.0;
    CapPolicy {
        carbon: declared
            .carbon
            .iter()
            .map(|step| CarbonStep { up_to: step.up_to.as_kg_per_kwh() * 1000.0, max_replicas: step.max })
            .collect(),
        grams_per_hour: declared.emissions.map(|rate| rate.as_kg_per_hour() * 1000.0),
        max_watts: declared.power.map(watts),
        watts_per_replica: declared.power_per_replica.map(watts),
        guarantee: Guarantee { level: declared.guarantee.get() },
    }
}
