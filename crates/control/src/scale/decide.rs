//! One decision: the autoscaler is in command, the forecast raises its floor, carbon and power cap it.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_units::CarbonIntensity;

use super::hpa::{
    HpaDecision, HpaLimit, HpaState, HpaView, MetricReading, MetricResult, PodView, evaluate_above,
    stabilize_legacy,
};
use super::policy::{CapPolicy, MOST_REPLICAS, ScaleMode, ScalePolicy};
use super::sentence;
use crate::Condition;

/// A forecast of the demand: what it does not exceed in the time that a decision taken now must cover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemandOutlook {
    /// Demand at the policy's quantile, requests/s.
    pub rate: f64,
    /// Demand at the level of the cap's guarantee, requests/s.
    pub guaranteed_rate: f64,
    /// How far ahead it reaches: start-up time and margin.
    pub ahead: SignedDuration,
}

/// What is known when a decision is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleInputs {
    /// Replicas declared now.
    pub current: u32,
    /// Replicas that exist.
    pub status_replicas: u32,
    /// The replicas as the metrics see them.
    pub pods: Vec<PodView>,
    /// How many are ready, where `pods` is empty.
    pub ready: Option<u32>,
    /// One reading for each metric of the policy.
    pub readings: Vec<MetricReading>,
    /// Demand measured last, requests/s.
    pub demand: Option<f64>,
    /// The forecast; nothing when there is none.
    pub outlook: Option<DemandOutlook>,
    /// Carbon intensity now.
    pub intensity: Option<CarbonIntensity>,
}

/// What is remembered from one decision to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScaleState {
    /// Of the autoscaler.
    pub hpa: HpaState,
    /// What the guarantee needed lately.
    pub needs: HpaState,
    /// When there was demand for the last time.
    pub active_at: Option<Timestamp>,
    /// The last change that was decided.
    pub decided: Option<DecidedChange>,
}

/// A change of the number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedChange {
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
    /// When it was decided.
    pub at: Timestamp,
}

/// A limit that made the number another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Binding {
    /// The forecast asked for more than the metrics.
    Forecast {
        /// Replicas it needs.
        replicas: u32,
    },
    /// More was asked for shortly before.
    DownWindow {
        /// Replicas asked for now.
        asked: u32,
    },
    /// Less was asked for shortly before.
    UpWindow {
        /// Replicas asked for now.
        asked: u32,
    },
    /// A rate of change.
    Rate {
        /// Replicas wanted.
        asked: u32,
    },
    /// The fewest replicas.
    Min {
        /// Their number.
        replicas: u32,
        /// The window that says so.
        schedule: Option<String>,
    },
    /// The most replicas.
    Max {
        /// Their number.
        replicas: u32,
        /// The window that says so.
        schedule: Option<String>,
    },
    /// The carbon or power cap.
    Cap {
        /// Replicas it allows.
        replicas: u32,
        /// What it rests on, for people.
        by: String,
    },
    /// The guarantee kept the cap from going lower.
    Guarantee {
        /// Replicas it needs.
        replicas: u32,
        /// Its level.
        level: f64,
    },
}

/// The numbers behind a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleDetails {
    /// Fewest replicas in force.
    pub min: u32,
    /// Most replicas in force.
    pub max: u32,
    /// What the metrics asked for.
    pub asked: Option<u32>,
    /// What the forecast needs.
    pub floor: Option<u32>,
    /// What the cap allows.
    pub cap: Option<u32>,
    /// What the guarantee needs.
    pub guaranteed: Option<u32>,
    /// Each metric by itself.
    pub metrics: Vec<MetricResult>,
    /// Limits that bound, in the order in which they did.
    pub bound: Vec<Binding>,
    /// What could not be taken into account, for people.
    pub notes: Vec<String>,
    /// `AbleToScale`, `ScalingActive`, `ScalingLimited`.
    pub conditions: Vec<Condition>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleDecision {
    /// Replicas.
    pub replicas: u32,
    /// Why, as one sentence for people.
    pub because: String,
    /// The numbers behind it.
    pub details: ScaleDetails,
    /// What to remember.
    pub state: ScaleState,
}

/// Use of the capacity that is aimed at while a forecast is wanted and there is none.
const WITHOUT_FORECAST: f64 = 0.8;

/// Bounds in force and the windows that set them.
struct InForce {
    min: u32,
    max: u32,
    min_by: Option<String>,
    max_by: Option<String>,
}

/// Decides on the number of replicas. Pure: the same arguments give the same decision, and the decision taken again at
/// the same instant, carried out or not, is the same.
///
/// # Guarantees
/// Within the bounds in force, but for a service declared with no replicas, which stays off unless the policy scales
/// from zero. The forecast only raises. The cap leaves at least what the measured demand and the forecast at its level need.
#[must_use]
pub fn decide(
    policy: &ScalePolicy,
    state: &ScaleState,
    inputs: &ScaleInputs,
    now: Timestamp,
) -> ScaleDecision {
    let mut state = taken_back(state, inputs.current);
    let force = in_force(policy, now);
    let mut notes = Vec::new();
    let floor = floor(policy, inputs, &force, &mut notes);
    let zero = zero(policy, &mut state, inputs, &force, now);
    let (replicas, mut details) = match zero {
        Zero::Stay => (0, bare(&force, Vec::new())),
        Zero::Wake => {
            let wanted = needed(inputs.demand.unwrap_or(0.0), policy).max(floor.unwrap_or(0));
            let replicas = wanted.clamp(force.min.max(1), force.max);
            let bound = if wanted > force.max {
                vec![Binding::Max { replicas: force.max, schedule: force.max_by.clone() }]
            } else {
                Vec::new()
            };
            (replicas, bare(&force, bound))
        }
        Zero::Off => follow(policy, &mut state, inputs, &force, floor, now),
    };
    details.floor = floor;
    let replicas = cap(policy, &mut state, inputs, &force, replicas, (&mut details, &mut notes), now);
    details.notes = notes;
    let because = sentence::because(policy, inputs, replicas, &details, zero);
    note(policy, &mut state, inputs.current, replicas, now);
    ScaleDecision { replicas, because, details, state }
}

/// A change that was decided and not made counts in no period.
fn taken_back(state: &ScaleState, current: u32) -> ScaleState {
    let mut state = state.clone();
    if let Some(last) = state.decided
        && last.from == whole(current)
    {
        state.hpa.take_back(last.from, last.to, last.at);
        state.decided = None;
    }
    state
}

fn note(policy: &ScalePolicy, state: &mut ScaleState, current: u32, replicas: u32, now: Timestamp) {
    if replicas != current {
        let (from, to) = (whole(current), whole(replicas));
        state.hpa.record(Some(&policy.behavior), from, to, now);
        state.decided = Some(DecidedChange { from, to, at: now });
    }
}

pub(super) fn whole(replicas: u32) -> i32 {
    i32::try_from(replicas).unwrap_or(i32::MAX)
}

fn count(replicas: i32) -> u32 {
    u32::try_from(replicas).unwrap_or(0)
}

fn in_force(policy: &ScalePolicy, now: Timestamp) -> InForce {
    let mut force =
        InForce { min: policy.min_replicas, max: policy.max_replicas, min_by: None, max_by: None };
    if policy.schedules.is_empty() {
        return force;
    }
    let zone = TimeZone::get(&policy.time_zone).unwrap_or(TimeZone::UTC);
    let local = zone.to_datetime(now);
    for schedule in policy.schedules.iter().filter(|schedule| schedule.is_open(local)) {
        // A window replaces the bounds of the policy; windows among each other narrow.
        if let Some(min) = schedule.min_replicas
            && (force.min_by.is_none() || min > force.min)
        {
            (force.min, force.min_by) = (min, Some(schedule.name.clone()));
        }
        if let Some(max) = schedule.max_replicas
            && (force.max_by.is_none() || max < force.max)
        {
            (force.max, force.max_by) = (max, Some(schedule.name.clone()));
        }
    }
    // The fewest go before the most: a window that asks for capacity is not starved by the general bound.
    if force.max < force.min {
        (force.max, force.max_by) = (force.min, force.min_by.clone());
    }
    force.max = force.max.max(1);
    force
}

/// Replicas that a demand in requests/s needs.
pub(super) fn needed(rate: f64, policy: &ScalePolicy) -> u32 {
    let Some(capacity) = policy.capacity else { return 0 };
    // What exceeds a whole number by rounding alone needs no further replica. The cast saturates.
    let replicas = (rate / capacity * (1.0 - 1e-12)).ceil();
    (replicas.max(0.0) as u32).min(MOST_REPLICAS)
}

fn floor(
    policy: &ScalePolicy,
    inputs: &ScaleInputs,
    force: &InForce,
    notes: &mut Vec<String>,
) -> Option<u32> {
    if policy.mode == ScaleMode::Reactive {
        return None;
    }
    let Some(outlook) = inputs.outlook.as_ref().filter(|outlook| outlook.rate.is_finite()) else {
        let reserve =
            inputs.demand.filter(|demand| demand.is_finite()).map(|demand| demand / WITHOUT_FORECAST);
        notes.push(match reserve {
            Some(_) => "there is no demand forecast, a fifth of the capacity is kept in reserve".into(),
            None => "there is neither a demand forecast nor measured demand".into(),
        });
        return reserve.map(|rate| needed(rate, policy).min(force.max));
    };
    Some(needed(outlook.rate, policy).min(force.max))
}

/// What scaling to zero says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Zero {
    /// Nothing: the autoscaler decides.
    Off,
    /// No replicas.
    Stay,
    /// There is demand and no replica.
    Wake,
}

fn zero(
    policy: &ScalePolicy,
    state: &mut ScaleState,
    inputs: &ScaleInputs,
    force: &InForce,
    now: Timestamp,
) -> Zero {
    let Some(zero) = policy.zero else { return Zero::Off };
    let above = |rate: f64| rate > zero.activation_threshold;
    let expected = policy.mode == ScaleMode::Predictive
        && inputs.outlook.as_ref().is_some_and(|outlook| above(outlook.rate));
    // Demand that is not known may be there.
    let active = inputs.demand.is_none_or(above) || expected;
    if active && (inputs.demand.is_some() || expected || inputs.current > 0) {
        state.active_at = Some(now);
    }
    if inputs.current == 0 {
        let wake = inputs.demand.is_some_and(above) || expected || force.min > 0;
        return if wake { Zero::Wake } else { Zero::Stay };
    }
    let since = *state.active_at.get_or_insert(now);
    let over = now.duration_since(since) >= SignedDuration::from_secs(zero.cooldown_seconds);
    if !active && over && force.min == 0 { Zero::Stay } else { Zero::Off }
}

fn bare(force: &InForce, bound: Vec<Binding>) -> ScaleDetails {
    ScaleDetails {
        min: force.min,
        max: force.max,
        asked: None,
        floor: None,
        cap: None,
        guaranteed: None,
        metrics: Vec::new(),
        bound,
        notes: Vec::new(),
        conditions: Vec::new(),
    }
}

/// The autoscaler with its floor.
fn follow(
    policy: &ScalePolicy,
    state: &mut ScaleState,
    inputs: &ScaleInputs,
    force: &InForce,
    floor: Option<u32>,
    now: Timestamp,
) -> (u32, ScaleDetails) {
    // The last replica goes by the cooldown alone.
    let min = if policy.zero.is_some() { force.min.max(1) } else { force.min };
    let view = HpaView {
        current: whole(inputs.current),
        status_replicas: whole(inputs.status_replicas),
        pods: inputs.pods.clone(),
        ready_pods: inputs.ready.map(i64::from),
        readings: inputs.readings.clone(),
    };
    let raises = (policy.mode == ScaleMode::Predictive).then_some(floor).flatten();
    let hpa = evaluate_above(&policy.hpa(min, force.max), &state.hpa, &view, raises.map(whole), now);
    state.hpa = hpa.state.clone();
    let mut details = bare(force, bindings(&hpa, inputs.current, force, raises));
    details.asked = most(&hpa).map(count);
    details.metrics = hpa.results;
    details.conditions = hpa.conditions;
    (count(hpa.replicas), details)
}

/// What the metrics alone asked for.
fn most(hpa: &HpaDecision) -> Option<i32> {
    hpa.results.iter().filter_map(|result| result.replicas).max()
}

fn bindings(hpa: &HpaDecision, current: u32, force: &InForce, floor: Option<u32>) -> Vec<Binding> {
    let mut bound = Vec::new();
    if let (Some(asked), None, Some(floor)) = (hpa.asked, hpa.metric, floor)
        && asked == whole(floor)
    {
        bound.push(Binding::Forecast { replicas: floor });
    }
    if let (Some(asked), Some(stabilized)) = (hpa.asked, hpa.stabilized)
        && asked != stabilized
    {
        let asked_for = count(asked);
        let down = asked < whole(current);
        bound.push(if down {
            Binding::DownWindow { asked: asked_for }
        } else {
            Binding::UpWindow { asked: asked_for }
        });
    }
    match hpa.limit {
        HpaLimit::DesiredWithinRange => {}
        HpaLimit::ScaleUpLimit | HpaLimit::ScaleDownLimit => {
            bound.push(Binding::Rate { asked: count(hpa.stabilized.unwrap_or(hpa.replicas)) });
        }
        HpaLimit::TooManyReplicas => {
            bound.push(Binding::Max { replicas: force.max, schedule: force.max_by.clone() });
        }
        HpaLimit::TooFewReplicas => {
            bound.push(Binding::Min { replicas: count(hpa.replicas), schedule: force.min_by.clone() });
        }
    }
    bound
}

/// Holds the number to what carbon and power allow, but never below the guarantee.
fn cap(
    policy: &ScalePolicy,
    state: &mut ScaleState,
    inputs: &ScaleInputs,
    force: &InForce,
    replicas: u32,
    (details, notes): (&mut ScaleDetails, &mut Vec<String>),
    now: Timestamp,
) -> u32 {
    let Some(cap) = &policy.cap else { return replicas };
    let outlook = inputs.outlook.as_ref().filter(|outlook| outlook.guaranteed_rate.is_finite());
    let (Some(outlook), Some(demand)) = (outlook, inputs.demand) else {
        notes.push(
            "the cap is off: without measured demand and a forecast the guarantee could not be kept".into(),
        );
        return replicas;
    };
    let need = needed(outlook.guaranteed_rate.max(demand), policy);
    let held = count(stabilize_legacy(whole(need), &mut state.needs, policy.down_window(), now));
    details.guaranteed = Some(held);
    let Some((allowed, by)) = allowed(cap, inputs.intensity, notes) else { return replicas };
    details.cap = Some(allowed);
    let limit = allowed.max(held).max(force.min);
    if replicas <= limit {
        return replicas;
    }
    details.bound.push(Binding::Cap { replicas: allowed, by });
    if held > allowed {
        details.bound.push(Binding::Guarantee { replicas: held, level: cap.guarantee.level });
    } else if force.min > allowed {
        details.bound.push(Binding::Min { replicas: force.min, schedule: force.min_by.clone() });
    }
    limit
}

/// The lowest of the caps that are known, and what it rests on.
fn allowed(
    cap: &CapPolicy,
    intensity: Option<CarbonIntensity>,
    notes: &mut Vec<String>,
) -> Option<(u32, String)> {
    let mut lowest: Option<(u32, String)> = None;
    let mut take = |replicas: u32, by: String| {
        if lowest.as_ref().is_none_or(|(least, _)| replicas < *least) {
            lowest = Some((replicas, by));
        }
    };
    if let (Some(most), Some(each)) = (cap.max_watts, cap.watts_per_replica) {
        take((most / each).floor() as u32, format!("the power cap of {most:.0} W"));
    }
    let needs_intensity = !cap.carbon.is_empty() || cap.grams_per_hour.is_some();
    let grams =
        intensity.map(|intensity| intensity.as_kg_per_kwh() * 1000.0).filter(|grams| grams.is_finite());
    if let Some(grams) = grams {
        let step = cap.carbon.iter().find(|step| grams <= step.up_to).or(cap.carbon.last());
        if let Some(step) = step {
            take(step.max_replicas, format!("the carbon cap at {grams:.0} gCO2/kWh"));
        }
        if let (Some(budget), Some(each)) = (cap.grams_per_hour, cap.watts_per_replica)
            && grams > 0.0
        {
            let replicas = (budget / (each / 1000.0 * grams)).floor() as u32;
            take(replicas, format!("the budget of {budget:.0} gCO2 an hour at {grams:.0} gCO2/kWh"));
        }
    } else if needs_intensity {
        notes.push("the carbon cap is off: the carbon intensity is not known".into());
    }
    lowest
}
