//! How fast the number of replicas may change: stabilisation windows, rates, bounds.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::HpaSpecError;

/// Longest stabilisation window, s.
const LONGEST_WINDOW: i32 = 3600;
/// Longest period of a policy, s.
const LONGEST_PERIOD: i32 = 1800;
/// Policies in one direction.
const MOST_POLICIES: usize = 16;
/// Recommendations and scalings that are kept: a window of an hour looked at every second, and more.
const MOST_KEPT: usize = 4096;

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelectPolicy {
    /// The one that allows the most change.
    #[default]
    Max,
    /// The one that allows the least.
    Min,
    /// No change in this direction at all.
    Disabled,
}

/// What a policy counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyUnit {
    /// Replicas.
    Pods,
    /// Percent of the replicas at the beginning of the period.
    Percent,
}

/// How much may change within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RatePolicy {
    /// What `value` counts.
    #[serde(rename = "type")]
    pub unit: PolicyUnit,
    /// Most change, above zero.
    pub value: i32,
    /// Period in seconds, 1 to 1800.
    pub period_seconds: i32,
}

/// Rules for one direction, as declared; what is left out has the defaults of the direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DirectionRules {
    /// Time looked back on, s, 0 to 3600. Defaults: up 0, down 300.
    pub stabilization_window_seconds: Option<i32>,
    /// Which policy counts. Default `Max`.
    pub select_policy: Option<SelectPolicy>,
    /// Policies. Defaults: up 4 pods or 100 % in 15 s, down 100 % in 15 s.
    pub policies: Option<Vec<RatePolicy>>,
    /// Share of the target that is no reason to change, at least 0. Default: that of the whole autoscaler.
    pub tolerance: Option<f64>,
}

/// Rules for both directions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behavior {
    /// Upwards.
    pub scale_up: Option<DirectionRules>,
    /// Downwards.
    pub scale_down: Option<DirectionRules>,
}

/// Rules for one direction with the defaults filled in.
#[derive(Clone, Debug, PartialEq)]
struct Rules {
    window: SignedDuration,
    select: SelectPolicy,
    policies: Vec<RatePolicy>,
}

impl Rules {
    fn of(declared: Option<&DirectionRules>, window: SignedDuration, policies: &[RatePolicy]) -> Self {
        let seconds = declared.and_then(|rules| rules.stabilization_window_seconds);
        Self {
            window: seconds.map_or(window, |seconds| SignedDuration::from_secs(seconds.into())),
            select: declared.and_then(|rules| rules.select_policy).unwrap_or_default(),
            policies: declared.and_then(|rules| rules.policies.clone()).unwrap_or_else(|| policies.to_vec()),
        }
    }

    fn longest_period(&self) -> SignedDuration {
        let seconds = self.policies.iter().map(|policy| policy.period_seconds).max().unwrap_or(0);
        SignedDuration::from_secs(seconds.into())
    }
}

impl Behavior {
    /// Upwards, with its defaults.
    fn up(&self) -> Rules {
        let pods = RatePolicy { unit: PolicyUnit::Pods, value: 4, period_seconds: 15 };
        let double = RatePolicy { unit: PolicyUnit::Percent, value: 100, period_seconds: 15 };
        Rules::of(self.scale_up.as_ref(), SignedDuration::ZERO, &[pods, double])
    }

    /// Downwards, with its defaults; `window` is the stabilisation of the whole controller.
    fn down(&self, window: SignedDuration) -> Rules {
        let all = RatePolicy { unit: PolicyUnit::Percent, value: 100, period_seconds: 15 };
        Rules::of(self.scale_down.as_ref(), window, &[all])
    }

    /// # Errors
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), HpaSpecError> {
        for (name, rules) in [("scaleUp", &self.scale_up), ("scaleDown", &self.scale_down)] {
            if let Some(rules) = rules {
                validate(&format!("behavior.{name}"), rules)?;
            }
        }
        Ok(())
    }
}

fn validate(path: &str, rules: &DirectionRules) -> Result<(), HpaSpecError> {
    if rules.stabilization_window_seconds.is_some_and(|seconds| !(0..=LONGEST_WINDOW).contains(&seconds)) {
        return Err(HpaSpecError::new(&format!("{path}.stabilizationWindowSeconds"), "0 to 3600"));
    }
    if rules.tolerance.is_some_and(|share| !(share.is_finite() && share >= 0.0)) {
        return Err(HpaSpecError::new(&format!("{path}.tolerance"), "a share of 0 or above"));
    }
    let Some(policies) = &rules.policies else { return Ok(()) };
    if policies.is_empty() || policies.len() > MOST_POLICIES {
        return Err(HpaSpecError::new(&format!("{path}.policies"), "1 to 16 policies"));
    }
    for (index, policy) in policies.iter().enumerate() {
        if policy.value <= 0 {
            return Err(HpaSpecError::new(&format!("{path}.policies[{index}].value"), "above 0"));
        }
        if !(1..=LONGEST_PERIOD).contains(&policy.period_seconds) {
            return Err(HpaSpecError::new(&format!("{path}.policies[{index}].periodSeconds"), "1 to 1800"));
        }
    }
    Ok(())
}

/// What was asked for once, before it was stabilised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Replicas.
    pub replicas: i32,
    /// When.
    pub at: Timestamp,
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleEvent {
    /// Replicas added or removed, above zero.
    pub change: i32,
    /// When.
    pub at: Timestamp,
    /// Older than every period: its place may be taken.
    pub outdated: bool,
}

/// What one autoscaler remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HpaState {
    /// Recommendations; old ones are replaced in place.
    pub recommendations: Vec<Recommendation>,
    /// Changes upwards.
    pub scale_ups: Vec<ScaleEvent>,
    /// Changes downwards.
    pub scale_downs: Vec<ScaleEvent>,
}

impl HpaState {
    /// Puts a recommendation in the place of the last outdated one, else at the end.
    fn recommend(&mut self, replicas: i32, now: Timestamp, outdated: impl Fn(&Recommendation) -> bool) {
        let new = Recommendation { replicas, at: now };
        match self.recommendations.iter().rposition(outdated) {
            Some(index) => self.recommendations[index] = new,
            None if self.recommendations.len() < MOST_KEPT => self.recommendations.push(new),
            // Someone asks more often than any window needs: the oldest goes.
            None => {
                let oldest = (0..self.recommendations.len()).min_by_key(|&i| self.recommendations[i].at);
                self.recommendations[oldest.unwrap_or(0)] = new;
            }
        }
    }

    /// Keeps what the periods of the policies need of a change from `from` to `to` replicas. Without a behaviour
    /// nothing is kept.
    pub fn record(&mut self, behavior: Option<&Behavior>, from: i32, to: i32, now: Timestamp) {
        let Some(behavior) = behavior else { return };
        let change = to.saturating_sub(from).saturating_abs();
        let (events, rules) = if to > from {
            (&mut self.scale_ups, behavior.up())
        } else {
            (&mut self.scale_downs, behavior.down(SignedDuration::ZERO))
        };
        let longest = rules.longest_period();
        for event in events.iter_mut().filter(|event| now.duration_since(event.at) > longest) {
            event.outdated = true;
        }
        let new = ScaleEvent { change, at: now, outdated: false };
        match events.iter().rposition(|event| event.outdated) {
            Some(index) => events[index] = new,
            None if events.len() < MOST_KEPT => events.push(new),
            // What no longer fits is added to the newest, so that no change is forgotten within its period.
            None => {
                if let Some(last) = events.iter_mut().max_by_key(|event| event.at) {
                    *last = ScaleEvent { change: last.change.saturating_add(change), ..new };
                }
            }
        }
    }

    /// Takes back a change noted at `at` that was never made.
    pub(crate) fn take_back(&mut self, from: i32, to: i32, at: Timestamp) {
        let change = to.saturating_sub(from).saturating_abs();
        let events = if to > from { &mut self.scale_ups } else { &mut self.scale_downs };
        if let Some(index) = events.iter().rposition(|event| event.at == at && event.change == change) {
            events.remove(index);
        }
    }
}

/// Replicas added or removed within the period that ends now.
#[must_use]
pub fn change_within(events: &[ScaleEvent], period_seconds: i32, now: Timestamp) -> i32 {
    let period = SignedDuration::from_secs(period_seconds.into());
    let recent = events.iter().filter(|event| now.duration_since(event.at) < period);
    recent.fold(0, |sum, event| sum.saturating_add(event.change))
}

/// Most replicas that the rules for going up allow now.
#[must_use]
pub fn up_limit(current: i32, state: &HpaState, behavior: &Behavior, now: Timestamp) -> i32 {
    let rules = behavior.up();
    let limits = rules.policies.iter().map(|policy| {
        let start = period_start(current, state, policy.period_seconds, now);
        match policy.unit {
            PolicyUnit::Pods => start.saturating_add(policy.value),
            // Rounded up, as one replica could otherwise never become two.
            PolicyUnit::Percent => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
        }
    });
    match rules.select {
        SelectPolicy::Disabled => current,
        SelectPolicy::Min => limits.min().unwrap_or(i32::MAX),
        SelectPolicy::Max => limits.max().unwrap_or(0).max(0),
    }
}

/// Fewest replicas that the rules for going down allow now.
#[must_use]
pub fn down_limit(current: i32, state: &HpaState, behavior: &Behavior, now: Timestamp) -> i32 {
    let rules = behavior.down(SignedDuration::ZERO);
    let limits = rules.policies.iter().map(|policy| {
        let start = period_start(current, state, policy.period_seconds, now);
        match policy.unit {
            PolicyUnit::Pods => start.saturating_sub(policy.value),
            PolicyUnit::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
        }
    });
    match rules.select {
        SelectPolicy::Disabled => current,
        SelectPolicy::Min => limits.max().unwrap_or(i32::MIN),
        SelectPolicy::Max => limits.min().unwrap_or(i32::MAX),
    }
}

fn period_start(current: i32, state: &HpaState, period_seconds: i32, now: Timestamp) -> i32 {
    let added = change_within(&state.scale_ups, period_seconds, now);
    let removed = change_within(&state.scale_downs, period_seconds, now);
    current.saturating_sub(added).saturating_add(removed)
}

/// What holds a number back, with upstream's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HpaLimit {
    /// Nothing does.
    DesiredWithinRange,
    /// It rises faster than allowed.
    ScaleUpLimit,
    /// It falls faster than allowed.
    ScaleDownLimit,
    /// It is above the most replicas.
    TooManyReplicas,
    /// It is below the fewest replicas.
    TooFewReplicas,
}

impl HpaLimit {
    /// The reason of the condition `ScalingLimited`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::DesiredWithinRange => "DesiredWithinRange",
            Self::ScaleUpLimit => "ScaleUpLimit",
            Self::ScaleDownLimit => "ScaleDownLimit",
            Self::TooManyReplicas => "TooManyReplicas",
            Self::TooFewReplicas => "TooFewReplicas",
        }
    }

    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::DesiredWithinRange => "the number asked for is within the allowed range",
            Self::ScaleUpLimit => "the number asked for rises faster than the policies allow",
            Self::ScaleDownLimit => "the number asked for falls faster than the policies allow",
            Self::TooManyReplicas => "the number asked for is above the most replicas",
            Self::TooFewReplicas => "the number asked for is below the fewest replicas",
        }
    }
}

/// Fewest and most replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Fewest.
    pub min: i32,
    /// Most.
    pub max: i32,
}

/// Step two with a behaviour: holds a number to rates and bounds.
#[must_use]
pub fn limit_rates(
    (current, desired): (i32, i32),
    bounds: Bounds,
    state: &HpaState,
    behavior: &Behavior,
    now: Timestamp,
) -> (i32, HpaLimit) {
    if desired > current {
        let rate = up_limit(current, state, behavior, now).max(current);
        let (most, limit) = if bounds.max > rate {
            (rate, HpaLimit::ScaleUpLimit)
        } else {
            (bounds.max, HpaLimit::TooManyReplicas)
        };
        if desired > most {
            return (most, limit);
        }
    } else if desired < current {
        let rate = down_limit(current, state, behavior, now).min(current);
        let (fewest, limit) = if bounds.min < rate {
            (rate, HpaLimit::ScaleDownLimit)
        } else {
            (bounds.min, HpaLimit::TooFewReplicas)
        };
        if desired < fewest {
            return (fewest, limit);
        }
    }
    (desired, HpaLimit::DesiredWithinRange)
}

/// Step two without a behaviour: holds a number to the bounds and, upwards, to twice the present number or four.
#[must_use]
pub fn limit_legacy((current, desired): (i32, i32), bounds: Bounds) -> (i32, HpaLimit) {
    let rate = current.saturating_mul(2).max(4);
    let (most, limit) = if bounds.max > rate {
        (rate, HpaLimit::ScaleUpLimit)
    } else {
        (bounds.max, HpaLimit::TooManyReplicas)
    };
    if desired < bounds.min {
        (bounds.min, HpaLimit::TooFewReplicas)
    } else if desired > most {
        (most, limit)
    } else {
        (desired, HpaLimit::DesiredWithinRange)
    }
}

/// Step one with a behaviour: up only as far as everything asked for within the window of going up, down only as far
/// as everything within that of going down. Remembers `desired`. `default_down` is the window of going down where the
/// behaviour has none.
#[must_use]
pub fn stabilize(
    (current, desired): (i32, i32),
    state: &mut HpaState,
    behavior: &Behavior,
    default_down: SignedDuration,
    now: Timestamp,
) -> i32 {
    let (up, down) = (behavior.up().window, behavior.down(default_down).window);
    let mut lowest = desired;
    let mut highest = desired;
    for one in &state.recommendations {
        let age = now.duration_since(one.at);
        if age < up {
            lowest = lowest.min(one.replicas);
        }
        if age < down {
            highest = highest.max(one.replicas);
        }
    }
    state.recommend(desired, now, |one| now.duration_since(one.at) > up.max(down));
    current.max(lowest).min(highest)
}

/// Step one without a behaviour: down only as far as everything asked for within `window`. Remembers `desired`.
#[must_use]
pub fn stabilize_legacy(desired: i32, state: &mut HpaState, window: SignedDuration, now: Timestamp) -> i32 {
    let recent = state.recommendations.iter().filter(|one| now.duration_since(one.at) <= window);
    let highest = recent.map(|one| one.replicas).fold(desired, i32::max);
    state.recommend(desired, now, |one| now.duration_since(one.at) > window);
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn behavior(select: SelectPolicy, policies: &[(PolicyUnit, i32, i32)]) -> Behavior {
        let policies =
            policies.iter().map(|&(unit, value, period_seconds)| RatePolicy { unit, value, period_seconds });
        let rules = DirectionRules {
            select_policy: Some(select),
            policies: Some(policies.collect()),
            ..DirectionRules::default()
        };
        Behavior { scale_up: Some(rules.clone()), scale_down: Some(rules) }
    }

    #[test]
    fn half_a_minute_rounds_up_going_up_and_down_going_down() {
        let half = behavior(SelectPolicy::Max, &[(PolicyUnit::Percent, 50, 60)]);
        let mut state = HpaState::default();
        assert_eq!(up_limit(2, &state, &half, at(0)), 3);
        state.record(Some(&half), 2, 3, at(0));
        assert_eq!(up_limit(3, &state, &half, at(59)), 3, "the minute is not over");
        assert_eq!(up_limit(3, &state, &half, at(60)), 5);
        assert_eq!(down_limit(5, &HpaState::default(), &half, at(0)), 2);
    }

    #[test]
    fn disabled_keeps_and_min_takes_the_smaller_change() {
        let both = [(PolicyUnit::Pods, 4, 60), (PolicyUnit::Percent, 10, 60)];
        let state = HpaState::default();
        let limits = |select| {
            let behavior = behavior(select, &both);
            (down_limit(10, &state, &behavior, at(0)), up_limit(10, &state, &behavior, at(0)))
        };
        assert_eq!(limits(SelectPolicy::Max), (6, 14));
        assert_eq!(limits(SelectPolicy::Min), (9, 11));
        assert_eq!(limits(SelectPolicy::Disabled), (10, 10));
    }

    #[test]
    fn a_change_that_was_not_made_is_taken_back() {
        let behavior = Behavior::default();
        let mut state = HpaState::default();
        state.record(Some(&behavior), 4, 8, at(0));
        state.take_back(4, 8, at(0));
        assert_eq!(state, HpaState::default());
    }

    #[test]
    fn memory_stays_bounded_however_often_it_is_asked() {
        let mut state = HpaState::default();
        let hour = SignedDuration::from_hours(1);
        for second in 0..6000 {
            let desired = 1 + (second % 7) as i32;
            assert!(stabilize((1, desired), &mut state, &Behavior::default(), hour, at(second / 10)) >= 1);
            state.record(Some(&Behavior::default()), 1, 2, at(second / 1000));
        }
        assert!(state.recommendations.len() <= MOST_KEPT && state.scale_ups.len() <= MOST_KEPT);
        assert_eq!(state.scale_ups.iter().map(|event| event.change).sum::<i32>(), 6000);
    }

    #[test]
    fn rules_out_of_range_are_refused_by_name() {
        let bad = |rules: DirectionRules| {
            Behavior { scale_up: None, scale_down: Some(rules) }.validate().unwrap_err().to_string()
        };
        let window = DirectionRules { stabilization_window_seconds: Some(3601), ..DirectionRules::default() };
        assert_eq!(bad(window), "behavior.scaleDown.stabilizationWindowSeconds: expected 0 to 3600");
        let none = DirectionRules { policies: Some(Vec::new()), ..DirectionRules::default() };
        assert_eq!(bad(none), "behavior.scaleDown.policies: expected 1 to 16 policies");
        let policy = RatePolicy { unit: PolicyUnit::Pods, value: 1, period_seconds: 1801 };
        let period = DirectionRules { policies: Some(vec![policy]), ..DirectionRules::default() };
        assert_eq!(bad(period), "behavior.scaleDown.policies[0].periodSeconds: expected 1 to 1800");
    }
}
