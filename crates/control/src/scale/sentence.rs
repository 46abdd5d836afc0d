//! The one sentence that says why.

use super::decide::{Binding, ScaleDetails, ScaleInputs, Zero};
use super::policy::{ScaleMode, ScalePolicy};

/// Why there are to be `replicas`.
pub(super) fn because(
    policy: &ScalePolicy,
    inputs: &ScaleInputs,
    replicas: u32,
    details: &ScaleDetails,
    zero: Zero,
) -> String {
    let mut parts = vec![main(policy, inputs, replicas, details, zero)];
    parts.extend(details.bound.iter().filter_map(limit));
    if policy.mode == ScaleMode::ForecastOnly
        && let Some(floor) = details.floor
    {
        parts.push(format!("the forecast, shown only, would ask for {floor}"));
    }
    parts.extend(details.notes.iter().cloned());
    format!("{} {}.", change(inputs.current, replicas), parts.join("; "))
}

fn change(current: u32, replicas: u32) -> String {
    match replicas {
        _ if replicas == current => format!("{} stay:", named(replicas)),
        0 => format!("from {} to none:", named(current)),
        _ if current == 0 => format!("from no replica to {replicas}:"),
        _ => format!("from {} to {replicas}:", named(current)),
    }
}

fn named(replicas: u32) -> String {
    match replicas {
        0 => "no replicas".into(),
        1 => "1 replica".into(),
        _ => format!("{replicas} replicas"),
    }
}

fn main(
    policy: &ScalePolicy,
    inputs: &ScaleInputs,
    replicas: u32,
    details: &ScaleDetails,
    zero: Zero,
) -> String {
    match zero {
        Zero::Wake if details.min > 0 => return format!("at least {} must run", details.min),
        Zero::Wake => return format!("there is demand{}", rate(inputs.demand)),
        Zero::Stay if inputs.current == 0 => return "there is no demand".into(),
        Zero::Stay => {
            let cooldown = policy.zero.map_or(0, |zero| zero.cooldown_seconds);
            return format!("there was no demand for {cooldown} s");
        }
        Zero::Off => {}
    }
    if let (Some(Binding::Forecast { replicas }), None) = (details.bound.first(), &inputs.outlook) {
        return format!("the measured demand{} and its reserve need {replicas}", rate(inputs.demand));
    }
    if let (Some(Binding::Forecast { replicas }), Some(outlook)) = (details.bound.first(), &inputs.outlook) {
        let (rate, ahead) = (outlook.rate, outlook.ahead.as_secs());
        let asked = details
            .asked
            .map_or("the metrics say nothing".into(), |asked| format!("the metrics ask for {asked}"));
        let quantile = shown(policy.predictive.quantile * 100.0);
        return format!(
            "with a chance of {quantile} % the demand of the next {ahead} s stays below {rate:.1} requests/s, which {replicas} can serve; {asked}"
        );
    }
    if inputs.current == 0 {
        return "the service is declared with no replicas".into();
    }
    let counts = details.metrics.iter().filter(|result| {
        result.replicas.and_then(|asked| u32::try_from(asked).ok()) == details.asked && result.error.is_none()
    });
    let Some(metric) = counts.take(1).next() else {
        let failed =
            details.metrics.iter().find_map(|result| result.error.as_ref().map(|error| (result, error)));
        return match failed {
            Some((result, error)) => format!("{} is not known ({error}), nothing is changed", result.metric),
            None if inputs.current > details.max || inputs.current < details.min => {
                "the bounds were left".into()
            }
            None => "no metric is declared".into(),
        };
    };
    let broken = details.metrics.iter().find(|result| result.error.is_some());
    if let Some(broken) = broken
        && details.asked.is_some_and(|asked| asked < inputs.current)
    {
        return format!("{} is not known, so nothing is taken away", broken.metric);
    }
    let value = match (metric.utilization, metric.value) {
        (Some(percent), _) => format!(" at {percent} %"),
        (None, Some(value)) => format!(" at {}", shown(value as f64 / 1000.0)),
        (None, None) => String::new(),
    };
    let asked = details.asked.unwrap_or(replicas);
    if asked == inputs.current {
        format!("{}{value} is near its target", metric.metric)
    } else {
        format!("{}{value} asks for {asked}", metric.metric)
    }
}

fn rate(demand: Option<f64>) -> String {
    demand.map_or(String::new(), |demand| format!(" of {demand:.1} requests/s"))
}

/// A number without needless digits.
fn shown(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

fn limit(binding: &Binding) -> Option<String> {
    let by = |schedule: &Option<String>| {
        schedule.as_ref().map_or(String::new(), |name| format!(" of the schedule {name:?}"))
    };
    Some(match binding {
        Binding::Forecast { .. } => return None,
        Binding::DownWindow { .. } => "more were asked for shortly before, so they stay for now".into(),
        Binding::UpWindow { .. } => "fewer were asked for shortly before, so the rise waits".into(),
        Binding::Rate { asked } => format!("{asked} are reached at the allowed rate"),
        Binding::Min { replicas, schedule } => format!("not below the fewest{}, {replicas}", by(schedule)),
        Binding::Max { replicas, schedule } => format!("not above the most{}, {replicas}", by(schedule)),
        Binding::Cap { replicas, by } => format!("{by} allows {replicas}"),
        Binding::Guarantee { replicas, level } => {
            format!("but serving the demand {} % of the time needs {replicas}", shown(level * 100.0))
        }
    })
}
