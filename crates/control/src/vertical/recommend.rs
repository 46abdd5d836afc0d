//! From what was used to what should be allowed.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::usage::UsageHistory;

/// The largest amount of a resource; as an upper bound it means that none is known yet.
pub const MAX_AMOUNT: u64 = 100_000_000_000_000;

/// Processor and memory of one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Processor time in thousandths of one processor.
    pub cpu_millis: u64,
    /// Memory, bytes.
    pub memory_bytes: u64,
}

/// How a recommendation is made. Defaults: those of the recommender of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RecommenderSettings {
    /// The percentile that is recommended, 0 … 1.
    pub target: f64,
    /// The percentile below which an allowance is too small, 0 … 1.
    pub lower: f64,
    /// The percentile above which an allowance is too large, 0 … 1.
    pub upper: f64,
    /// What is added to all three, as a share of them, zero or above.
    pub margin: f64,
    /// The time that a history of confidence 1 takes, above zero.
    pub confidence_interval: SignedDuration,
    /// The least that is recommended.
    pub floor: Resources,
}

impl Default for RecommenderSettings {
    fn default() -> Self {
        Self {
            target: 0.9,
            lower: 0.5,
            upper: 0.95,
            margin: 0.15,
            confidence_interval: SignedDuration::from_hours(24),
            floor: Resources { cpu_millis: 25, memory_bytes: 250 << 20 },
        }
    }
}

/// A setting that is out of its range: what is expected, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError(pub &'static str);

impl std::fmt::Display for SettingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for SettingError {}

/// What a replica should be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// What is recommended.
    pub target: Resources,
    /// Less than this is too small; 0 while little is known.
    pub lower: Resources,
    /// More than this is too much; [`MAX_AMOUNT`] while nothing is known.
    pub upper: Resources,
    /// How much history there is, in confidence intervals (days).
    pub confidence: f64,
    /// The memory that a kill at the limit showed to be needed, bytes, where there was one.
    pub oom_need: Option<u64>,
}

impl RecommenderSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), SettingError> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        if !(share(self.target) && share(self.lower) && share(self.upper)) {
            return Err(SettingError("percentiles must lie between 0 and 1"));
        }
        if !(self.lower <= self.target && self.target <= self.upper) {
            return Err(SettingError("the target percentile must lie between the lower and the upper one"));
        }
        if !(self.margin.is_finite() && self.margin >= 0.0) {
            return Err(SettingError("the margin must be zero or above"));
        }
        if self.confidence_interval <= SignedDuration::ZERO {
            return Err(SettingError("the confidence interval must be above zero"));
        }
        Ok(())
    }

    /// What is recommended at `now`; `None` without a sample of processor and memory, and when the latest is too old.
    ///
    /// Each amount is a percentile of use, plus the margin; the bounds are widened by how little is known; then
    /// comes the floor. Amounts are cut to whole units at each step, as in the source.
    ///
    /// # Guarantees
    /// `lower` ≤ `target` ≤ `upper`. Memory is never below what a kill at the limit showed to be needed.
    ///
    /// Source: `vertical-pod-autoscaler/pkg/recommender/logic/{estimator,recommender}.go` of Kubernetes.
    #[must_use]
    pub fn recommend(&self, history: &UsageHistory, now: Timestamp) -> Option<Recommendation> {
        if history.is_expired(now) {
            return None;
        }
        let confidence = history.confidence(self.confidence_interval);
        let widen_up = confidence_factor(confidence, 1.0, 1.0);
        let widen_down = confidence_factor(confidence, 0.001, -2.0);
        let oom_need = history.oom_need(now);
        let amounts = |percentile: f64, factor: f64| -> Option<Resources> {
            let cpu = self.amount(history.cpu(), percentile, 1000.0, factor)?;
            let memory = self.amount(history.memory(), percentile, 1.0, factor)?;
            Some(Resources {
                cpu_millis: cpu.max(self.floor.cpu_millis),
                memory_bytes: memory.max(self.floor.memory_bytes).max(oom_need.unwrap_or(0)),
            })
        };
        Some(Recommendation {
            target: amounts(self.target, 1.0)?,
            lower: amounts(self.lower, widen_down)?,
            upper: amounts(self.upper, widen_up)?,
            confidence,
            oom_need,
        })
    }

    fn amount(&self, of: &Histogram, percentile: f64, units: f64, factor: f64) -> Option<u64> {
        let base = whole(of.percentile(percentile)? * units);
        let with_margin = base.saturating_add(scale(base, self.margin)).min(MAX_AMOUNT);
        Some(scale(with_margin, factor))
    }
}

/// `(1 + multiplier / confidence)^exponent`; without any confidence infinity, or with a negative exponent 0.
fn confidence_factor(confidence: f64, multiplier: f64, exponent: f64) -> f64 {
    (1.0 + multiplier / confidence).powf(exponent)
}

fn scale(amount: u64, factor: f64) -> u64 {
    whole(amount as f64 * factor)
}

/// Cut to a whole amount within the possible ones.
fn whole(amount: f64) -> u64 {
    // `as` saturates and makes nothing of what is no number.
    (amount as u64).min(MAX_AMOUNT)
}

impl std::fmt::Display for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} and {}", cpu_text(self.cpu_millis), memory_text(self.memory_bytes))
    }
}

pub(super) fn cpu_text(millis: u64) -> String {
    if millis >= MAX_AMOUNT { "any processor time".into() } else { format!("{millis}m") }
}

pub(super) fn memory_text(bytes: u64) -> String {
    const MIB: f64 = 1_048_576.0;
    match bytes {
        MAX_AMOUNT.. => "any memory".into(),
        ..1024 => format!("{bytes} B"),
        _ if bytes < 10 << 20 => format!("{:.1} MiB", bytes as f64 / MIB),
        _ => format!("{:.0} MiB", bytes as f64 / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vertical::UsageSettings;

    fn start() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    /// One sample a minute for `minutes`, at which processor and memory use are those of `uses`, in turn.
    fn history(minutes: i64, uses: &[(f64, u64)]) -> UsageHistory {
        let mut history = UsageHistory::new(UsageSettings::default()).unwrap();
        for i in 0..minutes {
            let (cores, bytes) = uses[i as usize % uses.len()];
            let at = start() + SignedDuration::from_mins(i);
            assert!(history.add_cpu("a-0", at, cores, None) && history.add_memory("a-0", at, bytes));
        }
        history
    }

    /// `TestMarginEstimator`, `TestConfidenceMultiplier`, `…WithCustomInterval` and `…NoHistory` of Kubernetes: its
    /// amounts are cut to thousandths of a core.
    #[test]
    fn margin_and_confidence_give_the_amounts_of_kubernetes() {
        let base = 3140;
        assert_eq!(base + scale(base, 0.1), 3454);
        let few = 9.0 / 1440.0;
        assert_eq!(scale(base, confidence_factor(few, 0.1, 2.0)), 907_460);
        assert_eq!(scale(3_140_000_000, confidence_factor(few, 0.1, 2.0)), 907_460_000_000);
        assert_eq!(scale(base, confidence_factor(0.5, 0.1, 2.0)), 4521);
        assert_eq!(scale(3_140_000_000, confidence_factor(0.5, 0.1, 2.0)), 4_521_600_000);
        assert_eq!(scale(base, confidence_factor(0.0, 1.0, 1.0)), MAX_AMOUNT);
        assert_eq!(scale(base, confidence_factor(0.0, 1.0, -1.0)), 0);
    }

    /// The comments of `recommender.go`: the upper bound is thrice after 12 hours, twice after a day, 1.14 times
    /// after a week; the lower one 0.9 times after half an hour and 0.95 times after an hour.
    #[test]
    fn bounds_close_in_as_the_history_grows() {
        let close = |days: f64, up: f64, down: f64| {
            assert!((confidence_factor(days, 1.0, 1.0) - up).abs() < 0.01);
            assert!((confidence_factor(days, 0.001, -2.0) - down).abs() < 0.01);
        };
        close(0.5, 3.0, 0.996);
        close(1.0, 2.0, 0.998);
        close(7.0, 1.143, 1.0);
        close(1.0 / 48.0, 49.0, 0.91);
        close(1.0 / 24.0, 25.0, 0.953);
    }

    /// `TestPercentileEstimator` of Kubernetes: up to the width of a bucket, 5 %.
    #[test]
    fn the_target_is_the_percentile_and_the_margin() {
        let settings = RecommenderSettings { target: 0.5, ..RecommenderSettings::default() };
        let history = history(3 * 1440, &[(1.0, 2_000_000_000), (2.0, 2_000_000_000), (3.0, 2_000_000_000)]);
        let found = settings.recommend(&history, start() + SignedDuration::from_hours(72)).unwrap();
        let cpu = found.target.cpu_millis as f64 / 1150.0;
        let memory = found.target.memory_bytes as f64 / 1.15e9;
        assert!((2.0..=2.1).contains(&cpu) && (2.0..=2.1).contains(&memory), "{found:?}");
        assert!(found.lower.cpu_millis <= found.target.cpu_millis);
        assert!(found.upper.cpu_millis > 3450);
    }

    /// `TestMinResourcesApplied` of Kubernetes.
    #[test]
    fn the_floor_is_the_least() {
        let history = history(100, &[(0.001, 1_000_000)]);
        let found = RecommenderSettings::default().recommend(&history, start()).unwrap();
        assert_eq!(found.target, Resources { cpu_millis: 25, memory_bytes: 250 << 20 });
    }

    #[test]
    fn without_use_nothing_is_recommended() {
        let settings = RecommenderSettings::default();
        let empty = UsageHistory::new(UsageSettings::default()).unwrap();
        assert_eq!(settings.recommend(&empty, start()), None);
        let history = history(10, &[(1.0, 1 << 30)]);
        assert!(settings.recommend(&history, start()).is_some());
        assert_eq!(
            settings.recommend(&history, start() + SignedDuration::from_hours(9 * 24)),
            None,
            "too old"
        );
    }

    #[test]
    fn settings_out_of_their_range_are_named() {
        let wrong = |settings: RecommenderSettings| settings.check().unwrap_err().to_string();
        let usual = RecommenderSettings::default();
        assert!(usual.check().is_ok());
        assert!(wrong(RecommenderSettings { target: 1.5, ..usual }).contains("between 0 and 1"));
        assert!(wrong(RecommenderSettings { target: 0.4, ..usual }).contains("lower"));
        assert!(wrong(RecommenderSettings { margin: f64::NAN, ..usual }).contains("margin"));
    }
}
