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
    /// Wind generation as a magnitude, never below 0.
    Wind,
    /// Price of energy; any sign, with spikes.
    Price,
    /// Carbon intensity or a similar signal, never below 0.
    Carbon,
    /// Requests or other events per step, never below 0.
    Rate,
    /// Load minus generation; any sign.
    Net,
    /// Anything else; any sign.
    Any,
}

impl Character {
    /// Whether such a series can be below 0.
    #[must_use]
    pub const fn can_be_negative(self) -> bool {
        matches!(self, Self::Price | Self::Net | Self::Any)
    }
}

/// Which members of the family are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The one that learns with every value and costs microseconds: a profile of the day and how today differs from it.
    Incremental,
    /// All, weighed by their recent errors; a forecast costs milliseconds.
    Full,
}

/// Another series that may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covariate {
    /// Its name, for people.
    pub name: String,
    /// Whether its values are known before their time: a weather forecast, a calendar, a published price.
    pub known_ahead: bool,
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
    /// Level to start from without data: rated power for solar and wind, mean for all others, in the unit of the series.
    pub prior: Option<f64>,
    /// Values above are physically impossible (for example the rated power of an inverter).
    pub maximum: Option<f64>,
    /// Values kept, at most; also bounded by 60 days and 20 000 values ([`Family::Incremental`]), or 200 000 values.
    pub history: usize,
    /// Members that are asked.
    pub family: Family,
    /// Series that may help; only the full family reads them.
    pub covariates: Vec<Covariate>,
    /// Latitude of solar panels in degrees, north positive; learned from the series where it is not given.
    pub latitude: Option<f64>,
    /// Country whose public holidays count as Sundays, as two letters; one of [`crate::countries`].
    pub country: Option<String>,
}

/// Why a configuration cannot work.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigError {
    /// The step does not divide a day into whole seconds.
    Step(SignedDuration),
    /// A quantile is not strictly between 0 and 1.
    Quantile(f64),
    /// `prior` or `maximum` is not a finite number, or is negative where the series cannot be.
    Level(f64),
    /// Not a latitude.
    Latitude(f64),
    /// A country whose holidays are not known.
    Country(String),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Step(s) => {
                write!(f, "forecast step {s:#} does not divide a day; use for example 15 min or 1 h")
            }
            Self::Quantile(q) => write!(f, "quantile {q} is outside 0…1; use for example 0.1, 0.5, 0.9"),
            Self::Latitude(v) => write!(f, "latitude {v} is outside -90…90 degrees"),
            Self::Country(c) => {
                let known: Vec<&str> = crate::countries().collect();
                write!(f, "the holidays of country \"{c}\" are not known; known are {}", known.join(", "))
            }
            Self::Level(v) => write!(f, "level {v} is not a possible value of this series"),
        }
    }
}
impl std::error::Error for ConfigError {}

const DAY: i64 = 86_400;
const MAX_HISTORY: usize = 20_000;
const MAX_FULL_HISTORY: usize = 200_000;

impl ForecastConfig {
    /// Defaults: quantiles 0.1, 0.5, 0.9; no prior, no maximum; 60 days of history.
    #[must_use]
    pub fn new(character: Character, step: SignedDuration, time_zone: TimeZone) -> Self {
        let quantiles = vec![0.1, 0.5, 0.9];
        Self {
            character,
            step,
            time_zone,
            quantiles,
            prior: None,
            maximum: None,
            history: MAX_HISTORY,
            family: Family::Incremental,
            covariates: Vec::new(),
            latitude: None,
            country: None,
        }
    }

    /// The same with all members and all of a long history.
    #[must_use]
    pub fn full(self) -> Self {
        Self { family: Family::Full, history: MAX_FULL_HISTORY, ..self }
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
            if !level.is_finite() || (level < 0.0 && !self.character.can_be_negative()) {
                return Err(ConfigError::Level(level));
            }
        }
        if let Some(latitude) = self.latitude.filter(|l| !(-90.0..=90.0).contains(l)) {
            return Err(ConfigError::Latitude(latitude));
        }
        if let Some(country) = self.country.as_ref().filter(|c| !crate::holidays::is_known(c)) {
            return Err(ConfigError::Country(country.clone()));
        }
        let days = usize::try_from(60 * DAY / seconds).unwrap_or(MAX_HISTORY);
        self.history = match self.family {
            Family::Incremental => self.history.clamp(1, days.min(MAX_HISTORY)),
            Family::Full => self.history.clamp(1, MAX_FULL_HISTORY),
        };
        Ok(self)
    }

    /// Rated power of a wind plant, as far as it is told; above 0.
    pub(crate) fn rated(&self) -> Option<f64> {
        self.prior.or(self.maximum).filter(|rated| *rated > 0.0)
    }

    /// A value within what the series can physically be.
    pub(crate) fn bounded(&self, value: f64) -> f64 {
        let low = if self.character.can_be_negative() { f64::MIN } else { 0.0 };
        value.max(low).min(self.maximum.unwrap_or(f64::MAX))
    }
}
