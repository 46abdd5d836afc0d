//! Quantities, time grids and the two types that join services and energy.
//!
//! # Signs
//! Power is positive **from the asset into the site**: generation, discharge and import from the grid are
//! positive; consumption, charging and export are negative. [`FlexibleWork`] and [`PowerEnvelope`] are the only
//! exception: they state consumption as a number that is zero or above, and are converted where they enter the
//! balance of a site.
//!
//! # Units
//! Every quantity is a newtype over `f64` in one canonical unit, named by its constructor and getter. Serialised
//! they are plain numbers in that unit: kW, kWh, currency per kWh, kgCO2 per kWh, kgCO2, 0…1.

mod flexible;
mod grid;
mod ledger;
mod quantity;
mod reading;

pub use flexible::{EnvelopeStep, FlexibleWork, PowerEnvelope};
pub use grid::{GridError, TimeGrid};
pub use ledger::{ExactEmissions, ExactEnergy, ExactIntensity, ExactMoney, ExactPrice};
pub use quantity::{CarbonIntensity, CarbonPrice, Emissions, Energy, Hours, Money, Power, Price, Soc};
pub use reading::{Missing, Reading};
