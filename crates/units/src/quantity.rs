//! Newtypes over `f64`, one per physical or monetary dimension.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

use serde::{Deserialize, Serialize};

/// Declares a quantity with its canonical unit and the arithmetic that keeps its dimension.
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $new:ident, $get:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(f64);

        impl $name {
            /// The zero of this quantity.
            pub const ZERO: Self = Self(0.0);
            /// The canonical unit, as people write it.
            pub const UNIT: &'static str = $unit;

            #[doc = concat!("From a number in ", $unit, ".")]
            #[must_use]
            pub const fn $new(value: f64) -> Self {
                Self(value)
            }

            #[doc = concat!("The number in ", $unit, ".")]
            #[must_use]
            pub const fn $get(self) -> f64 {
                self.0
            }

            /// The smaller of the two; a NaN loses.
            #[must_use]
            pub const fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }

            /// The larger of the two; a NaN loses.
            #[must_use]
            pub const fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }

            /// Brought into `low..=high`; where the bounds cross, `low` wins, so that a guard never panics.
            #[must_use]
            pub const fn clamp(self, low: Self, high: Self) -> Self {
                Self(self.0.min(high.0).max(low.0))
            }

            /// The magnitude without its sign.
            #[must_use]
            pub const fn abs(self) -> Self {
                Self(self.0.abs())
            }

            /// Neither infinite nor NaN.
            #[must_use]
            pub const fn is_finite(self) -> bool {
                self.0.is_finite()
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                self.0 -= other.0;
            }
        }
        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self(self.0 * factor)
            }
        }
        impl Div<f64> for $name {
            type Output = Self;
            fn div(self, divisor: f64) -> Self {
                Self(self.0 / divisor)
            }
        }
        /// The ratio of two like quantities is a bare number.
        impl Div for $name {
            type Output = f64;
            fn div(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self::ZERO, Add::add)
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match f.precision() {
                    Some(digits) => write!(f, "{:.digits$} {}", self.0, $unit),
                    None => write!(f, "{} {}", self.0, $unit),
                }
            }
        }
    };
}

quantity!(
    /// Active power; positive from the asset into the site.
    Power, kw, as_kw, "kW"
);
quantity!(
    /// Energy; its sign follows the power it was made of.
    Energy, kwh, as_kwh, "kWh"
);
quantity!(
    /// A span of time in hours, the unit in which power and energy meet.
    Hours, new, get, "h"
);
quantity!(
    /// An amount of money in the site's currency; positive is paid by the site.
    Money, new, get, "currency"
);
quantity!(
    /// Money per energy, in the site's currency per kWh; may be negative.
    Price, per_kwh, as_per_kwh, "currency/kWh"
);
quantity!(
    /// Emissions in kilograms of CO2 equivalent.
    Emissions, kg, as_kg, "kgCO2"
);
quantity!(
    /// Emissions per energy, in kgCO2 per kWh; zero or above.
    CarbonIntensity, kg_per_kwh, as_kg_per_kwh, "kgCO2/kWh"
);
quantity!(
    /// Money per emissions, in the site's currency per kgCO2.
    CarbonPrice, per_kg, as_per_kg, "currency/kgCO2"
);
quantity!(
    /// State of charge: the stored share of the usable capacity, 0…1.
    Soc, fraction, as_fraction, "of capacity"
);

impl Hours {
    /// From a number of seconds.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        Self::new(seconds / 3600.0)
    }
}

impl Mul<Hours> for Power {
    type Output = Energy;
    fn mul(self, time: Hours) -> Energy {
        Energy::kwh(self.as_kw() * time.get())
    }
}
impl Div<Hours> for Energy {
    type Output = Power;
    fn div(self, time: Hours) -> Power {
        Power::kw(self.as_kwh() / time.get())
    }
}
impl Mul<Energy> for Price {
    type Output = Money;
    fn mul(self, energy: Energy) -> Money {
        Money::new(self.as_per_kwh() * energy.as_kwh())
    }
}
impl Mul<Energy> for CarbonIntensity {
    type Output = Emissions;
    fn mul(self, energy: Energy) -> Emissions {
        Emissions::kg(self.as_kg_per_kwh() * energy.as_kwh())
    }
}
impl Mul<Emissions> for CarbonPrice {
    type Output = Money;
    fn mul(self, emissions: Emissions) -> Money {
        Money::new(self.as_per_kg() * emissions.as_kg())
    }
}
/// The price that a carbon price adds to energy of a given intensity.
impl Mul<CarbonIntensity> for CarbonPrice {
    type Output = Price;
    fn mul(self, intensity: CarbonIntensity) -> Price {
        Price::per_kwh(self.as_per_kg() * intensity.as_kg_per_kwh())
    }
}
impl Mul<Energy> for Soc {
    type Output = Energy;
    fn mul(self, capacity: Energy) -> Energy {
        capacity * self.as_fraction()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_combine() {
        let energy = Power::kw(5.0) * Hours::from_seconds(900.0);
        assert_eq!(energy, Energy::kwh(1.25));
        assert_eq!(Price::per_kwh(0.2) * energy, Money::new(0.25));
        assert_eq!(CarbonPrice::per_kg(0.1) * (CarbonIntensity::kg_per_kwh(2.0) * energy), Money::new(0.25));
    }

    #[test]
    fn a_clamp_with_crossed_bounds_takes_the_lower_one() {
        assert_eq!(Power::kw(9.0).clamp(Power::kw(3.0), Power::kw(1.0)), Power::kw(3.0));
    }

    #[test]
    fn display_carries_the_unit() {
        assert_eq!(format!("{:.1}", Power::kw(2.04)), "2.0 kW");
    }
}
