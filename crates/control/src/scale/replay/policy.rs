//! What `sos scale replay` is told.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::hpa::{Behavior, DirectionRules, HpaSpecError, MetricSpec, PodTarget};
use super::super::policy::{CapPolicy, PredictivePolicy, ScaleMode, ScalePolicy, Schedule, ZeroPolicy};

/// Values of one carbon series.
const MOST_CARBON: usize = 200_000;

/// Power of one replica, W.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watts {
    /// Without work, 0 or above.
    pub idle: f64,
    /// With as much work as it can serve, at least `idle`.
    pub busy: f64,
}

/// One value of the carbon series; it holds until the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CarbonValue {
    /// From when.
    pub time: Timestamp,
    /// gCO2/kWh, 0 or above.
    pub grams_per_kwh: f64,
}

/// A policy to be played, with what is assumed about the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayPolicy {
    /// Demand that one replica can serve, requests/s, above 0.
    pub capacity: f64,
    /// Time from the order to the readiness of a replica, s, 0 to 3600.
    pub start_up_seconds: i64,
    /// Power of one replica.
    pub watts: Watts,
    /// Carbon intensity over time, ascending, from the beginning of the trace at the latest.
    pub carbon: Vec<CarbonValue>,
    /// What is done with the demand forecast.
    #[serde(default)]
    pub mode: ScaleMode,
    /// Utilisation that the autoscaler aims at, percent of `capacity`, 1 to 100. Defaults: reactive 80, predictive 100, as
    /// then the forecast's quantile is the reserve.
    pub target_utilization: Option<i32>,
    /// Fewest replicas.
    #[serde(default = "one")]
    pub min_replicas: u32,
    /// Most replicas.
    #[serde(default = "thousand")]
    pub max_replicas: u32,
    /// Replicas at the beginning. Default: those that hold the first demand at the target.
    pub initial_replicas: Option<u32>,
    /// Time between two passes, s, 1 to 3600. Default 15.
    #[serde(default = "fifteen")]
    pub sync_seconds: i64,
    /// How fast. Where the way down has no window, a predictive policy has 120 s: the forecast itself is a guard against flapping.
    #[serde(default)]
    pub behavior: Behavior,
    /// How the forecast is used.
    #[serde(default)]
    pub predictive: PredictivePolicy,
    /// Zone of the schedules.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Weekly windows.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// A cap by carbon and power.
    pub cap: Option<CapPolicy>,
    /// Scaling to zero and from it.
    pub zero: Option<ZeroPolicy>,
}

const fn one() -> u32 {
    1
}
const fn thousand() -> u32 {
    1000
}
const fn fifteen() -> i64 {
    15
}
fn utc() -> String {
    "UTC".into()
}

/// Window of the way down of a predictive policy, s.
const PREDICTIVE_WINDOW: i32 = 120;

impl ReplayPolicy {
    /// The target in percent.
    #[must_use]
    pub fn target(&self) -> i32 {
        self.target_utilization.unwrap_or(if self.mode == ScaleMode::Predictive { 100 } else { 80 })
    }

    /// Time looked ahead: the start-up, the pass that comes after, and the margin.
    pub(super) fn ahead(&self) -> SignedDuration {
        SignedDuration::from_secs(self.start_up_seconds + self.sync_seconds + self.predictive.margin_seconds)
    }

    /// The policy that is played.
    #[must_use]
    pub fn scale_policy(&self) -> ScalePolicy {
        let mut behavior = self.behavior.clone();
        if self.mode == ScaleMode::Predictive {
            let down = behavior.scale_down.get_or_insert_with(DirectionRules::default);
            down.stabilization_window_seconds.get_or_insert(PREDICTIVE_WINDOW);
        }
        let target = PodTarget::AverageUtilization(self.target());
        let cap = self.cap.clone().map(|cap| CapPolicy {
            watts_per_replica: cap.watts_per_replica.or(Some(self.watts.busy)),
            ..cap
        });
        ScalePolicy {
            behavior,
            mode: self.mode,
            capacity: Some(self.capacity),
            predictive: self.predictive,
            time_zone: self.time_zone.clone(),
            schedules: self.schedules.clone(),
            cap,
            zero: self.zero,
            ..ScalePolicy::reactive(
                self.min_replicas,
                self.max_replicas,
                vec![MetricSpec::Resource { name: "requests".into(), target }],
            )
        }
    }

    /// # Errors
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), HpaSpecError> {
        if !(self.capacity.is_finite() && self.capacity > 0.0) {
            return Err(HpaSpecError::new("capacity", "requests/s above 0"));
        }
        if !(0..=3600).contains(&self.start_up_seconds) {
            return Err(HpaSpecError::new("startUpSeconds", "0 to 3600"));
        }
        if !(1..=3600).contains(&self.sync_seconds) {
            return Err(HpaSpecError::new("syncSeconds", "1 to 3600"));
        }
        if !(1..=100).contains(&self.target()) {
            return Err(HpaSpecError::new("targetUtilization", "1 to 100 percent"));
        }
        let Watts { idle, busy } = self.watts;
        if !(idle.is_finite() && busy.is_finite() && 0.0 <= idle && idle <= busy) {
            return Err(HpaSpecError::new("watts", "0 <= idle <= busy"));
        }
        if self.carbon.is_empty() || self.carbon.len() > MOST_CARBON {
            return Err(HpaSpecError::new("carbon", "1 to 200000 values"));
        }
        let grams = |value: &CarbonValue| value.grams_per_kwh.is_finite() && value.grams_per_kwh >= 0.0;
        if let Some(index) = self.carbon.iter().position(|value| !grams(value)) {
            return Err(HpaSpecError::new(&format!("carbon[{index}].gramsPerKwh"), "0 or above"));
        }
        if let Some(index) = self.carbon.windows(2).position(|pair| pair[1].time <= pair[0].time) {
            return Err(HpaSpecError::new(
                &format!("carbon[{}].time", index + 1),
                "a time after the one before",
            ));
        }
        self.scale_policy().validate()
    }
}
