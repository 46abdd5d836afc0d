//! The Horizontal Pod Autoscaler of Kubernetes (`autoscaling/v2`), decision for decision.
//!
//! Source: pkg/controller/podautoscaler of kubernetes/kubernetes (`replica_calculator.go`, `horizontal.go`,
//! `metrics/utilization.go`) and the defaults of pkg/apis/autoscaling/v2, described anew here. Values are in
//! thousandths, as upstream's milli-values.

mod behavior;
mod calculator;
mod pods;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Condition, Truth};
pub use behavior::{
    Behavior, Bounds, DirectionRules, HpaLimit, HpaState, PolicyUnit, RatePolicy, Recommendation, ScaleEvent,
    SelectPolicy, change_within, down_limit, limit_legacy, limit_rates, stabilize, stabilize_legacy,
    up_limit,
};
use calculator::{Asked, by_average, by_share, by_utilization, by_value};
pub use pods::{
    ContainerRequests, PodPhase, PodShare, PodTotals, PodView, ReadinessPeriods, ReadyCondition, Sample,
};

/// Metrics of one autoscaler.
const MOST_METRICS: usize = 32;

/// Target of a metric of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PodTarget {
    /// Mean usage as a share of the requests, percent, above 0.
    AverageUtilization(i32),
    /// Mean value a pod, thousandths, above 0.
    AverageValue(i64),
}

/// Target of a metric of something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueTarget {
    /// The value itself, thousandths, above 0.
    Value(i64),
    /// The value divided by the replicas, thousandths, above 0.
    AverageValue(i64),
}

/// One metric that an autoscaler follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum MetricSpec {
    /// CPU or memory of whole pods.
    Resource {
        /// `cpu`, `memory`, ….
        name: String,
        /// Its target.
        target: PodTarget,
    },
    /// CPU or memory of one container of each pod.
    ContainerResource {
        /// `cpu`, `memory`, ….
        name: String,
        /// The container.
        container: String,
        /// Its target.
        target: PodTarget,
    },
    /// Any metric of pods.
    Pods {
        /// Name of the metric.
        name: String,
        /// Mean value a pod, thousandths, above 0.
        average_value: i64,
    },
    /// A metric of one object.
    Object {
        /// Name of the metric.
        name: String,
        /// Its target.
        target: ValueTarget,
    },
    /// A metric from outside; its series are added up.
    External {
        /// Name of the metric.
        name: String,
        /// Its target.
        target: ValueTarget,
    },
}

impl MetricSpec {
    /// The metric as a sentence names it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Resource { name, target: PodTarget::AverageUtilization(_) } => {
                format!("{name} utilisation")
            }
            Self::Resource { name, .. } => format!("{name} use"),
            Self::ContainerResource { name, container, .. } => format!("{name} of container {container}"),
            Self::Pods { name, .. } => format!("{name} per replica"),
            Self::Object { name, .. } | Self::External { name, .. } => name.clone(),
        }
    }

    const fn failure(&self) -> &'static str {
        match self {
            Self::Resource { .. } => "FailedGetResourceMetric",
            Self::ContainerResource { .. } => "FailedGetContainerResourceMetric",
            Self::Pods { .. } => "FailedGetPodsMetric",
            Self::Object { .. } => "FailedGetObjectMetric",
            Self::External { .. } => "FailedGetExternalMetric",
        }
    }
}

/// What was measured for one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum MetricReading {
    /// Samples by name of the pod.
    Samples {
        /// One for each pod that has one.
        samples: BTreeMap<String, Sample>,
    },
    /// The same, summed up already.
    Totals {
        /// The sums.
        totals: PodTotals,
    },
    /// One or several values, thousandths; several are added up.
    Values {
        /// The values.
        values: Vec<i64>,
    },
    /// There is none.
    Failed {
        /// Why.
        reason: String,
    },
}

/// An autoscaler as declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HpaSpec {
    /// Fewest replicas, at least 0. Default 1.
    pub min_replicas: i32,
    /// Most replicas, at least the fewest and 1.
    pub max_replicas: i32,
    /// Metrics; the one that asks for most counts.
    pub metrics: Vec<MetricSpec>,
    /// How fast; nothing for the older rule (twice the present number, five minutes down).
    pub behavior: Option<Behavior>,
    /// Share of the target that is no reason to change. Default 0.1.
    pub tolerance: f64,
    /// Which CPU samples count.
    pub readiness: ReadinessPeriods,
    /// Down stabilisation where the behaviour does not say. Default 5 min.
    pub downscale_stabilization: SignedDuration,
}

impl HpaSpec {
    /// One with upstream's defaults and the default behaviour.
    #[must_use]
    pub fn new(min_replicas: i32, max_replicas: i32, metrics: Vec<MetricSpec>) -> Self {
        Self {
            min_replicas,
            max_replicas,
            metrics,
            behavior: Some(Behavior::default()),
            tolerance: 0.1,
            readiness: ReadinessPeriods::default(),
            downscale_stabilization: SignedDuration::from_mins(5),
        }
    }

    fn tolerance(&self) -> Tolerance {
        let of = |rules: Option<&DirectionRules>| {
            rules.and_then(|rules| rules.tolerance).unwrap_or(self.tolerance)
        };
        let behavior = self.behavior.as_ref();
        Tolerance {
            up: of(behavior.and_then(|both| both.scale_up.as_ref())),
            down: of(behavior.and_then(|both| both.scale_down.as_ref())),
        }
    }

    /// # Errors
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), HpaSpecError> {
        if self.min_replicas < 0 {
            return Err(HpaSpecError::new("minReplicas", "0 or above"));
        }
        if self.max_replicas < self.min_replicas.max(1) {
            return Err(HpaSpecError::new("maxReplicas", "at least 1 and at least minReplicas"));
        }
        if !(self.tolerance.is_finite() && self.tolerance >= 0.0) {
            return Err(HpaSpecError::new("tolerance", "a share of 0 or above"));
        }
        if self.metrics.len() > MOST_METRICS {
            return Err(HpaSpecError::new("metrics", "at most 32 metrics"));
        }
        self.behavior.as_ref().map_or(Ok(()), Behavior::validate)
    }
}

/// Shares of the target that are no reason to change.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tolerance {
    up: f64,
    down: f64,
}

impl Tolerance {
    fn holds(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// A field of an autoscaler that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpaSpecError {
    /// Path of the field.
    pub field: String,
    /// What was expected there.
    pub expected: &'static str,
}

impl HpaSpecError {
    pub(super) fn new(field: &str, expected: &'static str) -> Self {
        Self { field: field.into(), expected }
    }
}

impl std::fmt::Display for HpaSpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: expected {}", self.field, self.expected)
    }
}
impl std::error::Error for HpaSpecError {}

/// Why a metric gives no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HpaError {
    /// The target selects no pods.
    NoPods,
    /// No pod that counts has a sample.
    NoReadySamples,
    /// Samples are of other pods only.
    NoMatchingPods,
    /// A pod does not say what it reserves.
    MissingRequest {
        /// Of which resource.
        resource: String,
        /// Which container; empty for the pod as a whole.
        container: String,
        /// Which pod.
        pod: String,
    },
    /// A pod has no such container.
    UnknownContainer {
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
    /// A target that is not above zero.
    Target {
        /// The target.
        value: i64,
    },
    /// The reading is of another kind than the metric, or there is none.
    Reading {
        /// What was expected.
        expected: &'static str,
    },
    /// It could not be measured.
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for HpaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoPods => f.write_str("no pods returned by selector while calculating replica count"),
            Self::NoReadySamples => {
                f.write_str("did not receive metrics for targeted pods (pods might be unready)")
            }
            Self::NoMatchingPods => f.write_str("no metrics returned matched known pods"),
            Self::MissingRequest { resource, container, pod } if container.is_empty() => {
                write!(f, "missing request for {resource} in pod {pod}")
            }
            Self::MissingRequest { resource, container, pod } => {
                write!(f, "missing request for {resource} in container {container} of pod {pod}")
            }
            Self::UnknownContainer { container, pod } => {
                write!(f, "container {container} not found in pod {pod}")
            }
            Self::Target { value } => write!(f, "the target must be above 0, found {value}"),
            Self::Reading { expected } => write!(f, "expected {expected} for this metric"),
            Self::Unavailable { reason } => f.write_str(reason),
        }
    }
}
impl std::error::Error for HpaError {}

/// What an autoscaler sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HpaView {
    /// Replicas declared at the target now.
    pub current: i32,
    /// Replicas the target says it has.
    pub status_replicas: i32,
    /// The pods it selects.
    pub pods: Vec<PodView>,
    /// Of pods that are not listed: how many run and are ready. Counts only where `pods` is empty.
    pub ready_pods: Option<i64>,
    /// One reading for each metric, in their order.
    pub readings: Vec<MetricReading>,
}

/// What one metric came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricResult {
    /// The metric, for people.
    pub metric: String,
    /// Replicas that it asks for.
    pub replicas: Option<i32>,
    /// Usage as a percentage of the requests, of a target that is one.
    pub utilization: Option<i32>,
    /// Mean a pod, or the value itself where that is the target; thousandths.
    pub value: Option<i64>,
    /// Why it gives no number.
    pub error: Option<String>,
}

/// What the metrics ask for together.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The most that any of them asks for; nothing when none counts.
    pub replicas: Option<i32>,
    /// Which metric that is: its place in the specification.
    pub metric: Option<usize>,
    /// Each metric by itself.
    pub results: Vec<MetricResult>,
    /// The condition `ScalingActive`.
    pub condition: Condition,
}

/// One decision of the autoscaler. Whether it is carried out, and noted with [`HpaState::record`], is up to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct HpaDecision {
    /// Replicas.
    pub replicas: i32,
    /// What was asked for before windows, rates and bounds; nothing where no metric was looked at or none counted.
    pub asked: Option<i32>,
    /// The same after the stabilisation windows.
    pub stabilized: Option<i32>,
    /// What held the number back.
    pub limit: HpaLimit,
    /// Why, in a few words.
    pub reason: String,
    /// Each metric by itself; empty where none was looked at.
    pub results: Vec<MetricResult>,
    /// Which metric counted.
    pub metric: Option<usize>,
    /// `AbleToScale`, `ScalingActive` and `ScalingLimited`, as far as they are known.
    pub conditions: Vec<Condition>,
    /// What is remembered from now on.
    pub state: HpaState,
}

/// One metric alone.
///
/// # Errors
/// When it gives no number; see [`HpaError`].
fn ask(
    spec: &HpaSpec,
    metric: &MetricSpec,
    reading: Option<&MetricReading>,
    view: &HpaView,
    now: Timestamp,
) -> Result<Asked, HpaError> {
    let tolerance = spec.tolerance();
    let reading = reading.ok_or(HpaError::Reading { expected: "a reading" })?;
    if let MetricReading::Failed { reason } = reading {
        return Err(HpaError::Unavailable { reason: reason.clone() });
    }
    let sums = |name: &str, container: Option<&str>, percent: Option<i32>| match reading {
        MetricReading::Totals { totals } => Ok(*totals),
        MetricReading::Samples { samples } if samples.is_empty() => Err(no_samples(name)),
        MetricReading::Samples { samples } => {
            pods::totals(&view.pods, samples, name, container, percent, &spec.readiness, now)
        }
        _ => Err(HpaError::Reading { expected: "samples of pods" }),
    };
    let of_pods = |name: &str, container: Option<&str>, target: PodTarget| match target {
        PodTarget::AverageUtilization(percent) => {
            by_utilization(view.current, percent, &sums(name, container, Some(percent))?, tolerance)
        }
        PodTarget::AverageValue(value) => {
            by_average(view.current, value, &sums(name, container, None)?, tolerance)
        }
    };
    match metric {
        MetricSpec::Resource { name, target } => of_pods(name, None, *target),
        MetricSpec::ContainerResource { name, container, target } => of_pods(name, Some(container), *target),
        MetricSpec::Pods { average_value, .. } => {
            by_average(view.current, *average_value, &sums("", None, None)?, tolerance)
        }
        MetricSpec::Object { target, .. } | MetricSpec::External { target, .. } => {
            let total = total_of(reading)?;
            match *target {
                ValueTarget::Value(value) => {
                    by_value(view.current, total, value, tolerance, || ready_pods(view))
                }
                ValueTarget::AverageValue(value) => by_share(view.status_replicas, total, value, tolerance),
            }
        }
    }
}

fn no_samples(name: &str) -> HpaError {
    let reason = if name.is_empty() {
        "no metrics returned from custom metrics API".to_owned()
    } else {
        format!("unable to get metrics for resource {name}: no metrics returned from resource metrics API")
    };
    HpaError::Unavailable { reason }
}

fn total_of(reading: &MetricReading) -> Result<i64, HpaError> {
    match reading {
        MetricReading::Values { values } if !values.is_empty() => {
            Ok(values.iter().fold(0, |sum: i64, value| sum.saturating_add(*value)))
        }
        _ => Err(HpaError::Reading { expected: "one value or more" }),
    }
}

fn ready_pods(view: &HpaView) -> Result<i64, HpaError> {
    match view.ready_pods {
        Some(ready) if view.pods.is_empty() => Ok(ready),
        _ if view.pods.is_empty() => Err(HpaError::NoPods),
        _ => Ok(view.pods.iter().filter(|pod| pod.is_ready()).count() as i64),
    }
}

/// What all metrics ask for: the most of them. Where some fail and the others ask for fewer replicas than there are,
/// nothing is asked for.
#[must_use]
pub fn propose(spec: &HpaSpec, view: &HpaView, now: Timestamp) -> Proposal {
    let mut best: Option<(i32, usize)> = None;
    let mut first_error: Option<(&'static str, String)> = None;
    let mut results = Vec::with_capacity(spec.metrics.len());
    for (index, metric) in spec.metrics.iter().enumerate() {
        let asked = ask(spec, metric, view.readings.get(index), view, now);
        match &asked {
            // As upstream, a later metric also counts where the earlier ones ask for none.
            Ok(asked) if best.is_none_or(|(most, _)| most == 0 || asked.replicas > most) => {
                best = Some((asked.replicas, index));
            }
            Ok(_) => {}
            Err(error) => {
                first_error.get_or_insert((metric.failure(), error.to_string()));
            }
        }
        let asked_or = asked.as_ref().ok();
        results.push(MetricResult {
            metric: metric.describe(),
            replicas: asked_or.map(|asked| asked.replicas),
            utilization: asked_or.and_then(|asked| asked.utilization),
            value: asked_or.map(|asked| asked.value),
            error: asked.as_ref().err().map(ToString::to_string),
        });
    }
    let inactive =
        |reason: &str, message: String| Condition::new("ScalingActive", Truth::False, reason, message);
    match (best, first_error) {
        (Some((replicas, index)), error) if error.is_none() || replicas >= view.current => Proposal {
            replicas: Some(replicas),
            metric: Some(index),
            condition: Condition::new(
                "ScalingActive",
                Truth::True,
                "ValidMetricFound",
                format!("the number of replicas follows {}", results[index].metric),
            ),
            results,
        },
        (_, error) => {
            let (reason, message) =
                error.unwrap_or(("InvalidMetricSourceType", "no metric is declared".to_owned()));
            let message = format!("the number of replicas could not be computed: {message}");
            Proposal { replicas: None, metric: None, results, condition: inactive(reason, message) }
        }
    }
}

/// One pass of the autoscaler.
#[must_use]
pub fn evaluate(spec: &HpaSpec, state: &HpaState, view: &HpaView, now: Timestamp) -> HpaDecision {
    evaluate_above(spec, state, view, None, now)
}

/// One pass of the autoscaler with one more voice: at least `floor` replicas are asked for, before windows, rates and
/// bounds. Without a floor it is upstream's pass exactly.
#[must_use]
pub fn evaluate_above(
    spec: &HpaSpec,
    state: &HpaState,
    view: &HpaView,
    floor: Option<i32>,
    now: Timestamp,
) -> HpaDecision {
    let mut state = state.clone();
    let current = view.current;
    if state.recommendations.is_empty() {
        state.recommendations.push(Recommendation { replicas: current, at: now });
    }
    let bounds = Bounds { min: spec.min_replicas, max: spec.max_replicas };
    let able =
        Condition::new("AbleToScale", Truth::True, "SucceededGetScale", "the number of replicas is known");
    let at_once =
        |replicas: i32, limit: HpaLimit, reason: &str, conditions: Vec<Condition>, state: HpaState| {
            HpaDecision {
                replicas,
                asked: None,
                stabilized: None,
                limit,
                reason: reason.into(),
                results: Vec::new(),
                metric: None,
                conditions,
                state,
            }
        };
    if current == 0 && bounds.min != 0 {
        let message = "scaling is off while the target is declared with no replicas";
        let off = Condition::new("ScalingActive", Truth::False, "ScalingDisabled", message);
        return at_once(0, HpaLimit::DesiredWithinRange, message, vec![able, off], state);
    }
    if current > bounds.max {
        let reason = "there are more replicas than the most allowed";
        return at_once(bounds.max, HpaLimit::TooManyReplicas, reason, vec![able], state);
    }
    if current < bounds.min {
        let reason = "there are fewer replicas than the fewest allowed";
        let replicas = floor.unwrap_or(bounds.min).clamp(bounds.min, bounds.max);
        return at_once(replicas, HpaLimit::TooFewReplicas, reason, vec![able], state);
    }
    let proposal = propose(spec, view, now);
    let raised = floor.filter(|&floor| floor > proposal.replicas.unwrap_or(current));
    let Some(asked) = raised.or(proposal.replicas).map(|asked| asked.max(0)) else {
        let reason = proposal.condition.message.clone();
        let conditions = vec![able, proposal.condition];
        let kept = at_once(current, HpaLimit::DesiredWithinRange, &reason, conditions, state);
        return HpaDecision { results: proposal.results, ..kept };
    };
    let reason = match (raised, proposal.metric) {
        _ if asked < current => "all metrics are below their targets".to_owned(),
        _ if asked == current => "the metrics are within the tolerance of their targets".to_owned(),
        (Some(_), _) | (_, None) => "the floor is above the present number".to_owned(),
        (None, Some(index)) => format!("{} is above its target", proposal.results[index].metric),
    };
    let (stabilized, replicas, limit) = normalize(spec, &mut state, (current, asked), bounds, now);
    let conditions = vec![
        stabilized_condition((current, asked, stabilized)),
        proposal.condition,
        limited(limit, replicas != stabilized),
    ];
    HpaDecision {
        replicas,
        asked: Some(asked),
        stabilized: Some(stabilized),
        limit,
        reason,
        results: proposal.results,
        metric: proposal.metric.filter(|_| raised.is_none()),
        conditions,
        state,
    }
}

/// Windows, then rates and bounds: the stabilised number, the number, and what limited it.
fn normalize(
    spec: &HpaSpec,
    state: &mut HpaState,
    (current, asked): (i32, i32),
    bounds: Bounds,
    now: Timestamp,
) -> (i32, i32, HpaLimit) {
    if let Some(behavior) = &spec.behavior {
        let window = spec.downscale_stabilization;
        let stabilized = stabilize((current, asked), state, behavior, window, now);
        let (replicas, limit) = limit_rates((current, stabilized), bounds, state, behavior, now);
        (stabilized, replicas, limit)
    } else {
        let stabilized = stabilize_legacy(asked, state, spec.downscale_stabilization, now);
        let (replicas, limit) = limit_legacy((current, stabilized), bounds);
        (stabilized, replicas, limit)
    }
}

fn stabilized_condition((current, asked, stabilized): (i32, i32, i32)) -> Condition {
    let (reason, message) = if stabilized == asked {
        ("ReadyForNewScale", "the number asked for may be taken at once")
    } else if asked >= current {
        ("ScaleUpStabilized", "fewer replicas were asked for shortly before, the fewest of them count")
    } else {
        ("ScaleDownStabilized", "more replicas were asked for shortly before, the most of them count")
    };
    Condition::new("AbleToScale", Truth::True, reason, message)
}

fn limited(limit: HpaLimit, limited: bool) -> Condition {
    Condition::new("ScalingLimited", limited.into(), limit.reason(), limit.message())
}

#[cfg(test)]
mod tests;
