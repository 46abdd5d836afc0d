//! Honest forecasts with quantiles of any series: load, solar and wind generation, prices, carbon intensity, requests.
//!
//! # Signs and units
//! Values are plain numbers in the natural unit of the series (kW, kgCO2/kWh, …). **Load and solar generation are
//! magnitudes, zero or above.** Under the sign rule of a site a load is negative; whoever puts a forecast into the
//! balance negates it there. [`Character::Net`] is load minus generation: positive when the site needs import.
//!
//! # No look-ahead
//! A [`Forecaster`] learns only through a [`View`], which is bound to an issue time and does not return what became
//! known later. An issue time before the newest one rebuilds the model from what was known then.
//!
//! # Young and changed series
//! A young series may begin with the [`Shape`] that its siblings lend ([`Forecaster::take_shapes`]), and one that has
//! changed may forget what it was ([`Forecaster::refit`]). Both carry when they were known: forecasts issued before do not
//! see them.
//!
//! # Two families
//! [`Family::Incremental`] learns with every value and forecasts in microseconds: the loop of a site uses it.
//! [`Family::Full`] asks it and many more, each judged by its own past forecasts (`docs/decisions/0052`): for a day ahead
//! `daily.rs`, for the next steps `running.rs`, for a young wind plant `wind.rs`; members are in `experts/`, weights in `blend.rs`, quantiles in
//! `spread.rs`, and what they look at is a `Panel`, cut off at the issue time by a `Seen`.
//!
//! # The incremental model
//! `base(slot) + weight(slot) × (g₁ × last deviation + g₂ × recent level)`: for load, carbon and net load the base is a
//! recency-weighted profile of the time of day and the weight 1; for solar the base is the clear-sky envelope of recent
//! days times the mean clearness and the weight the envelope. The gains g are learned per lead time by least squares
//! with forgetting. Quantiles come from the model's own errors per lead, scaled by how uncertain the time of day is.
//! The choices and what was compared: `docs/study-fontana.md`.

pub mod accuracy;
mod base;
mod blend;
mod calendar;
mod config;
mod daily;
mod errors;
mod experts;
mod forecaster;
mod full;
mod gains;
mod guess;
mod history;
mod holidays;
pub mod metrics;
mod panel;
mod refit;
mod rivals;
mod running;
mod schedule;
mod shape;
mod spread;
mod state;
mod sum;
mod wind;

pub use config::{Character, ConfigError, Covariate, Family, ForecastConfig};
pub use forecaster::{Forecast, Forecaster, Hours, NextStep};
pub use history::{History, Sample, View};
pub use holidays::countries;
pub use refit::Refit;
pub use rivals::Rivals;
pub use schedule::RefitSchedule;
pub use shape::Shape;
pub use sum::SumForecaster;
