//! What is declared about the number of replicas of one service.

use jiff::SignedDuration;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::hpa::{Behavior, HpaSpec, HpaSpecError, MetricSpec};

/// Most replicas that can be declared.
pub const MOST_REPLICAS: u32 = 1_000_000;
/// Windows of one policy.
const MOST_SCHEDULES: usize = 64;
/// Steps of a carbon cap.
const MOST_STEPS: usize = 64;

/// What is done with the demand forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleMode {
    /// Nothing.
    #[default]
    Reactive,
    /// It is shown beside the decision.
    ForecastOnly,
    /// It raises the floor. As long as there is none, the measured demand and a fifth of the capacity in reserve do.
    Predictive,
}

/// How the demand forecast is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PredictivePolicy {
    /// Chance with which the demand stays below the floor's capacity, between 0.5 and 1. Default 0.99.
    pub quantile: f64,
    /// Time looked ahead beyond the start-up time, s, 0 to 3600. Default 15: one pass of the autoscaler.
    pub margin_seconds: i64,
}

impl Default for PredictivePolicy {
    fn default() -> Self {
        Self { quantile: 0.99, margin_seconds: 15 }
    }
}

/// A weekly window with other bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// Its name, for people.
    pub name: String,
    /// Days on which it opens (`mon` … `sun`); none means every day.
    #[serde(default)]
    pub days: Vec<Day>,
    /// Opens at this time of day in the policy's zone.
    pub from: Time,
    /// Closes at this time of day; at or before `from` means on the next day.
    pub to: Time,
    /// Fewest replicas while it is open.
    pub min_replicas: Option<u32>,
    /// Most replicas while it is open.
    pub max_replicas: Option<u32>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    const fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }
}

impl Schedule {
    /// Whether it is open at the local date and time `at`. The wall clock counts: an hour that is skipped or repeated
    /// shortens or lengthens the window.
    pub(super) fn is_open(&self, at: jiff::civil::DateTime) -> bool {
        let opens = |day: Weekday| self.days.is_empty() || self.days.iter().any(|one| one.weekday() == day);
        let (today, time) = (at.date().weekday(), at.time());
        if self.from < self.to {
            return opens(today) && self.from <= time && time < self.to;
        }
        (opens(today) && self.from <= time) || (opens(today.previous()) && time < self.to)
    }
}

/// Most replicas while the carbon intensity is at most `up_to`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CarbonStep {
    /// Carbon intensity in gCO2/kWh.
    pub up_to: f64,
    /// Most replicas.
    pub max_replicas: u32,
}

/// A cap by carbon and power, and what it must leave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CapPolicy {
    /// Most replicas by carbon intensity, ascending. Above the last the last holds.
    pub carbon: Vec<CarbonStep>,
    /// Most emissions, gCO2 per hour.
    pub grams_per_hour: Option<f64>,
    /// Most power, W.
    pub max_watts: Option<f64>,
    /// Power of a busy replica, W; needed by the two above.
    pub watts_per_replica: Option<f64>,
    /// Share of the time in which the ready capacity must hold the demand; the cap never goes below what that needs.
    pub guarantee: Guarantee,
}

/// The service level that a cap must leave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Guarantee {
    /// Share of the time, between 0.5 and 1. Default 0.95.
    pub level: f64,
}

impl Default for Guarantee {
    fn default() -> Self {
        Self { level: 0.95 }
    }
}

/// When no replica is needed at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ZeroPolicy {
    /// Demand above which there is at least one replica, requests/s, 0 or above. Default 0.
    pub activation_threshold: f64,
    /// Time without such demand before the last replica goes, s. Default 300.
    pub cooldown_seconds: i64,
}

impl Default for ZeroPolicy {
    fn default() -> Self {
        Self { activation_threshold: 0.0, cooldown_seconds: 300 }
    }
}

/// All that is declared about the number of replicas of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScalePolicy {
    /// Fewest replicas.
    #[serde(default = "one")]
    pub min_replicas: u32,
    /// Most replicas, at least 1 and the fewest.
    pub max_replicas: u32,
    /// Metrics of the autoscaler.
    #[serde(default)]
    pub metrics: Vec<MetricSpec>,
    /// How fast; defaults as in `autoscaling/v2`.
    #[serde(default)]
    pub behavior: Behavior,
    /// What is done with the demand forecast.
    #[serde(default)]
    pub mode: ScaleMode,
    /// Demand that one replica can serve, requests/s, above 0. Needed for everything that looks at demand.
    #[serde(default)]
    pub capacity: Option<f64>,
    /// How the forecast is used.
    #[serde(default)]
    pub predictive: PredictivePolicy,
    /// Zone of the schedules, a name of the IANA database. Default `UTC`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Weekly windows. Of several that are open, the highest fewest and the lowest most count.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// A cap by carbon and power.
    #[serde(default)]
    pub cap: Option<CapPolicy>,
    /// Scaling to zero and from it.
    #[serde(default)]
    pub zero: Option<ZeroPolicy>,
}

const fn one() -> u32 {
    1
}

fn utc() -> String {
    "UTC".into()
}

impl ScalePolicy {
    /// One that follows `metrics` and nothing else.
    #[must_use]
    pub fn reactive(min_replicas: u32, max_replicas: u32, metrics: Vec<MetricSpec>) -> Self {
        Self {
            min_replicas,
            max_replicas,
            metrics,
            behavior: Behavior::default(),
            mode: ScaleMode::Reactive,
            capacity: None,
            predictive: PredictivePolicy::default(),
            time_zone: utc(),
            schedules: Vec::new(),
            cap: None,
            zero: None,
        }
    }

    /// The autoscaler between `min` and `max`.
    pub(super) fn hpa(&self, min: u32, max: u32) -> HpaSpec {
        let whole = |replicas: u32| i32::try_from(replicas).unwrap_or(i32::MAX);
        HpaSpec {
            behavior: Some(self.behavior.clone()),
            ..HpaSpec::new(whole(min), whole(max), self.metrics.clone())
        }
    }

    /// The window in which fewer replicas are not trusted.
    pub(super) fn down_window(&self) -> SignedDuration {
        let rules = self.behavior.scale_down.as_ref();
        let seconds = rules.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(300);
        SignedDuration::from_secs(seconds.into())
    }

    /// # Errors
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), HpaSpecError> {
        if self.max_replicas > MOST_REPLICAS {
            return Err(HpaSpecError::new("maxReplicas", "at most 1000000"));
        }
        self.hpa(self.min_replicas, self.max_replicas).validate()?;
        let asks_demand = self.mode != ScaleMode::Reactive || self.cap.is_some() || self.zero.is_some();
        let positive = |value: Option<f64>| value.is_none_or(|value| value.is_finite() && value > 0.0);
        if !positive(self.capacity) || (asks_demand && self.capacity.is_none()) {
            return Err(HpaSpecError::new("capacity", "requests/s above 0"));
        }
        if !chance(self.predictive.quantile) {
            return Err(HpaSpecError::new("predictive.quantile", "0.5 or above and below 1"));
        }
        if !(0..=3600).contains(&self.predictive.margin_seconds) {
            return Err(HpaSpecError::new("predictive.marginSeconds", "0 to 3600"));
        }
        if let Some(zero) = &self.zero {
            if !(zero.activation_threshold.is_finite() && zero.activation_threshold >= 0.0) {
                return Err(HpaSpecError::new("zero.activationThreshold", "requests/s of 0 or above"));
            }
            if !(0..=86_400).contains(&zero.cooldown_seconds) {
                return Err(HpaSpecError::new("zero.cooldownSeconds", "0 to 86400"));
            }
        }
        self.validate_schedules()?;
        self.cap.as_ref().map_or(Ok(()), validate_cap)
    }

    fn validate_schedules(&self) -> Result<(), HpaSpecError> {
        if self.schedules.len() > MOST_SCHEDULES {
            return Err(HpaSpecError::new("schedules", "at most 64 windows"));
        }
        if TimeZone::get(&self.time_zone).is_err() {
            return Err(HpaSpecError::new("timeZone", "a zone of the IANA database, such as Europe/Berlin"));
        }
        for (index, schedule) in self.schedules.iter().enumerate() {
            let (min, max) = (schedule.min_replicas, schedule.max_replicas);
            if max == Some(0) || max.is_some_and(|max| max < min.unwrap_or(0)) {
                let field = format!("schedules[{index}].maxReplicas");
                return Err(HpaSpecError::new(&field, "at least 1 and at least minReplicas"));
            }
            if min.is_some_and(|min| min > MOST_REPLICAS) || max.is_some_and(|max| max > MOST_REPLICAS) {
                return Err(HpaSpecError::new(&format!("schedules[{index}]"), "at most 1000000 replicas"));
            }
        }
        Ok(())
    }
}

fn validate_cap(cap: &CapPolicy) -> Result<(), HpaSpecError> {
    if cap.carbon.len() > MOST_STEPS || !cap.carbon.iter().all(|step| step.up_to.is_finite()) {
        return Err(HpaSpecError::new("cap.carbon", "at most 64 steps with intensities in gCO2/kWh"));
    }
    if !cap.carbon.windows(2).all(|pair| pair[0].up_to < pair[1].up_to) {
        return Err(HpaSpecError::new("cap.carbon", "ascending intensities"));
    }
    let amount = |value: Option<f64>| value.is_none_or(|value| value.is_finite() && value >= 0.0);
    if !amount(cap.grams_per_hour) {
        return Err(HpaSpecError::new("cap.gramsPerHour", "0 or above"));
    }
    if !amount(cap.max_watts) {
        return Err(HpaSpecError::new("cap.maxWatts", "0 or above"));
    }
    let needs_watts = cap.grams_per_hour.is_some() || cap.max_watts.is_some();
    let watts = cap.watts_per_replica;
    if watts.is_some_and(|watts| !(watts.is_finite() && watts > 0.0)) || (needs_watts && watts.is_none()) {
        return Err(HpaSpecError::new("cap.wattsPerReplica", "watts above 0"));
    }
    if cap.carbon.is_empty() && !needs_watts {
        return Err(HpaSpecError::new("cap", "carbon, gramsPerHour or maxWatts"));
    }
    if chance(cap.guarantee.level) {
        Ok(())
    } else {
        Err(HpaSpecError::new("cap.guarantee.level", "0.5 or above and below 1"))
    }
}

fn chance(value: f64) -> bool {
    (0.5..1.0).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
        let night = Schedule {
            name: "night".into(),
            days: vec![Day::Fri],
            from: Time::constant(22, 0, 0, 0),
            to: Time::constant(6, 0, 0, 0),
            min_replicas: Some(0),
            max_replicas: None,
        };
        let open = |text: &str| night.is_open(text.parse().unwrap());
        assert!(open("2026-07-24T22:00") && open("2026-07-25T05:59"), "from Friday to Saturday");
        assert!(!open("2026-07-24T21:59") && !open("2026-07-25T06:00") && !open("2026-07-24T05:00"));
    }

    #[test]
    fn fields_out_of_range_are_refused_by_name() {
        let policy = ScalePolicy { capacity: Some(20.0), ..ScalePolicy::reactive(1, 9, Vec::new()) };
        assert_eq!(policy.validate(), Ok(()));
        let field = |policy: ScalePolicy| policy.validate().unwrap_err().field;
        assert_eq!(field(ScalePolicy { max_replicas: 0, ..policy.clone() }), "maxReplicas");
        assert_eq!(field(ScalePolicy { time_zone: "Mars".into(), ..policy.clone() }), "timeZone");
        let blind = ScalePolicy { capacity: None, mode: ScaleMode::Predictive, ..policy.clone() };
        assert_eq!(field(blind), "capacity");
        assert_eq!(field(ScalePolicy { cap: Some(CapPolicy::default()), ..policy.clone() }), "cap");
        let watts = CapPolicy { max_watts: Some(100.0), ..CapPolicy::default() };
        assert_eq!(field(ScalePolicy { cap: Some(watts), ..policy }), "cap.wattsPerReplica");
    }
}
