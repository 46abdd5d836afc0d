//! What a forecaster is told about its series.

use jiff::{SignedDuration, tz::TimeZone};

/// What kind of quantity a series is; decides shape, physical bounds and calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Character {
    /// Consumption as a magnitude, never below 0; follows the local clock and the day of the week.
    Load,
    /// Solar generation as a magnitude, never below 0, none at night; follows the sun, not the clock.
    Solar,
    /// Carbon intensity or a similar signal, never below 0.
    Carbon,
    /// Load minus generation; any sign.
    Net,
}

/// Settings of one forecaster. [`ForecastConfig::new`] gives defaults that suit any of the characters.
#[derive(Clone, Debug)]
pub struct ForecastConfig {
    /// Kind of the series.
    pub character: Character,
    /// Step of observations and forecasts: whole seconds that divide a day.
    pub step: SignedDuration,
    /// Zone whose clock people live by.
    pub time_zone: TimeZone,
    /// Quantiles to forecast, each strictly between 0 and 1.
    pub quantiles: Vec<f64>,
    /// Level to start from without data: rated peak for solar, mean for all others, in the unit of the series.
    pub prior: Option<f64>,
    /// Values above are physically impossible (for example the rated power of an inverter).
    pub maximum: Option<f64>,
    /// Values kept, at most; also bounded by 60 days and 20 000 values.
    pub history: usize,
}

/// Why a configuration cannot work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfigError {
    /// The step does not divide a day into whole seconds.
    Step(SignedDuration),
    /// A quantile is not strictly between 0 and 1.
    Quantile(f64),
    /// `prior` or `maximum` is not a finite number, or is negative where the series cannot be.
    Level(f64),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Step(s) => {
                write!(f, "forecast step {s:#} does not divide a day; use for example 15 min or 1 h")
            }
            Self::Quantile(q) => write!(f, "quantile {q} is outside 0…1; use for example 0.1, 0.5, 0.9"),
            Self::Level(v) => write!(f, "level {v} is not a possible value of this series"),
        }
    }
}
impl std::error::Error for ConfigError {}

const DAY: i64 = 86_400;
const MAX_HISTORY: usize = 20_000;

impl ForecastConfig {
    /// Defaults: quantiles 0.1, 0.5, 0.9; no prior, no maximum; 60 days of history.
    #[must_use]
    pub fn new(character: Character, step: SignedDuration, time_zone: TimeZone) -> Self {
        let quantiles = vec![0.1, 0.5, 0.9];
        Self { character, step, time_zone, quantiles, prior: None, maximum: None, history: MAX_HISTORY }
    }

    /// Checks the settings and sorts the quantiles.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        let seconds = self.step.as_secs();
        if seconds <= 0 || self.step.subsec_nanos() != 0 || DAY % seconds != 0 {
            return Err(ConfigError::Step(self.step));
        }
        if let Some(q) = self.quantiles.iter().find(|q| !(**q > 0.0 && **q < 1.0)) {
            return Err(ConfigError::Quantile(*q));
        }
        self.quantiles.sort_by(f64::total_cmp);
        self.quantiles.dedup();
        for level in [self.prior, self.maximum].into_iter().flatten() {
            if !level.is_finite() || (level < 0.0 && self.character != Character::Net) {
                return Err(ConfigError::Level(level));
            }
        }
        let days = usize::try_from(60 * DAY / seconds).unwrap_or(MAX_HISTORY);
        self.history = self.history.clamp(1, days.min(MAX_HISTORY));
        Ok(self)
    }

    /// A value within what the series can physically be.
    pub(crate) fn bounded(&self, value: f64) -> f64 {
        let low = if self.character == Character::Net { f64::MIN } else { 0.0 };
        value.max(low).min(self.maximum.unwrap_or(f64::MAX))
    }
}
