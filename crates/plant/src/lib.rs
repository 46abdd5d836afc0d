//! Physics of assets, used by simulated devices, the reference cases and the simulation.
//!
//! # Guarantees
//! Every reported power is a whole number of watts and is the mean over the step, so `power × seconds` is the exact
//! energy of the step ([`sos_units::ExactEnergy`]). What a battery stores is computed from the sums of those reported
//! energies and from nothing else: whoever adds up the reports gets the battery's books, to the last digit.
//!
//! # Units
//! Steps are whole seconds; a shorter remainder flows in the next step. Signs are those of [`sos_units`].

pub mod battery;
pub mod generator;
pub mod heat;
pub mod solar;
pub mod variation;

use sos_units::{Hours, Power};

/// The nearest whole number of watts; 0 for a value that is not finite.
#[must_use]
pub fn whole_watts(power: Power) -> i64 {
    // `as` saturates and maps NaN to 0.
    if power.is_finite() { (power.as_kw() * 1000.0).round() as i64 } else { 0 }
}

/// The inverse of [`whole_watts`].
#[must_use]
pub fn from_watts(watts: i64) -> Power {
    // Divided, not multiplied by 0.001: the quotient is the nearest number to the decimal one.
    Power::kw(watts as f64 / 1000.0)
}

/// The nearest whole number of seconds, 0 for a span that is negative or not finite.
fn whole_seconds(time: Hours) -> i64 {
    if time.is_finite() { ((time.get() * 3600.0).round() as i64).max(0) } else { 0 }
}
