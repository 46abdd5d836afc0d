//! Integration tests of the forecasters.
#![allow(clippy::unwrap_used, reason = "a test may panic; that is how it fails")]

mod accuracy;
mod family;
mod no_look_ahead;
mod refit;
mod robustness;
mod siblings;
mod wind;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use sos_forecast::{Character, ForecastConfig, Forecaster};

pub(crate) const HOUR: SignedDuration = SignedDuration::from_hours(1);

pub(crate) fn start() -> Timestamp {
    "2024-01-01T00:00-08:00".parse().unwrap()
}

pub(crate) fn config(character: Character, step: SignedDuration) -> ForecastConfig {
    ForecastConfig::new(character, step, TimeZone::get("America/Los_Angeles").unwrap())
}

pub(crate) fn forecaster(character: Character, step: SignedDuration) -> Forecaster {
    Forecaster::new(config(character, step)).unwrap()
}

/// A reproducible number in 0…1 for each `n`.
pub(crate) fn noise(n: u64) -> f64 {
    let mut x = n.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
