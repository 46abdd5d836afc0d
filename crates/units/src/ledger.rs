//! Exact sums. Energy and money that are accounted for are integers, so that what is added up a million times
//! balances to the last digit.

use std::ops::{Add, AddAssign, Mul, Neg, Sub};

use serde::{Deserialize, Serialize};

use crate::{CarbonIntensity, Emissions, Energy, Money, Power, Price};

/// Energy in watt-seconds, exact. Its sign follows the power it was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExactEnergy(i64);

/// A price in millionths of the currency per kWh, exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExactPrice(i64);

/// Money in 1/3 600 000 of a millionth of the currency: the product of watt-seconds and an [`ExactPrice`], so that
/// no rounding happens before the sum is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExactMoney(i128);

/// Emissions per energy in millionths of a kgCO2 per kWh, exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExactIntensity(i64);

/// Emissions in 1/3 600 000 of a millionth of a kgCO2, exact like [`ExactMoney`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExactEmissions(i128);

const WATT_SECONDS_PER_KWH: f64 = 3.6e6;
const MILLIONTHS: f64 = 1e6;

impl ExactEnergy {
    /// No energy.
    pub const ZERO: Self = Self(0);

    /// A mean power, rounded to whole watts, held for whole seconds. Saturates instead of overflowing.
    #[must_use]
    pub fn from_power(power: Power, seconds: i64) -> Self {
        // `as` saturates and maps NaN to 0; callers pass finite readings only.
        Self(((power.as_kw() * 1000.0).round() as i64).saturating_mul(seconds))
    }

    /// Rounded to whole watt-seconds. Saturates; what is not a number is none.
    #[must_use]
    pub fn from_energy(energy: Energy) -> Self {
        Self((energy.as_kwh() * 3.6e6).round() as i64)
    }

    /// From watt-seconds.
    #[must_use]
    pub const fn watt_seconds(value: i64) -> Self {
        Self(value)
    }

    /// In watt-seconds.
    #[must_use]
    pub const fn as_watt_seconds(self) -> i64 {
        self.0
    }

    /// For people and physics; the exact value stays here.
    #[must_use]
    pub fn to_energy(self) -> Energy {
        Energy::kwh(self.0 as f64 / WATT_SECONDS_PER_KWH)
    }

    /// What lies above zero: import of a connection, discharge of a battery.
    #[must_use]
    pub const fn positive_part(self) -> Self {
        Self(if self.0 > 0 { self.0 } else { 0 })
    }

    /// The size of what lies below zero: export of a connection, charge of a battery.
    #[must_use]
    pub const fn negative_part(self) -> Self {
        Self(if self.0 < 0 { -self.0 } else { 0 })
    }
}

impl ExactPrice {
    /// Rounded to a millionth of the currency per kWh.
    #[must_use]
    pub fn from_price(price: Price) -> Self {
        Self((price.as_per_kwh() * MILLIONTHS).round() as i64)
    }
}

impl ExactMoney {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Rounded to the unit of this type.
    #[must_use]
    pub fn from_money(money: Money) -> Self {
        // `as` saturates and maps NaN to 0.
        Self((money.get() * WATT_SECONDS_PER_KWH * MILLIONTHS).round() as i128)
    }

    /// For people; the exact value stays here.
    #[must_use]
    pub fn to_money(self) -> Money {
        Money::new(self.0 as f64 / (WATT_SECONDS_PER_KWH * MILLIONTHS))
    }
}

impl ExactIntensity {
    /// Rounded to a millionth of a kgCO2 per kWh.
    #[must_use]
    pub fn from_intensity(intensity: CarbonIntensity) -> Self {
        Self((intensity.as_kg_per_kwh() * MILLIONTHS).round() as i64)
    }
}

impl ExactEmissions {
    /// No emissions.
    pub const ZERO: Self = Self(0);

    /// Rounded to the unit of this type.
    #[must_use]
    pub fn from_emissions(emissions: Emissions) -> Self {
        // `as` saturates and maps NaN to 0.
        Self((emissions.as_kg() * WATT_SECONDS_PER_KWH * MILLIONTHS).round() as i128)
    }

    /// From 1/3 600 000 of a millionth of a kgCO2, to share amounts without a remainder.
    #[must_use]
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// In 1/3 600 000 of a millionth of a kgCO2.
    #[must_use]
    pub const fn as_units(self) -> i128 {
        self.0
    }

    /// For people; the exact value stays here.
    #[must_use]
    pub fn to_emissions(self) -> Emissions {
        Emissions::kg(self.0 as f64 / (WATT_SECONDS_PER_KWH * MILLIONTHS))
    }
}

impl Mul<ExactEnergy> for ExactIntensity {
    type Output = ExactEmissions;
    fn mul(self, energy: ExactEnergy) -> ExactEmissions {
        ExactEmissions(i128::from(self.0) * i128::from(energy.0))
    }
}

impl Mul<ExactEnergy> for ExactPrice {
    type Output = ExactMoney;
    fn mul(self, energy: ExactEnergy) -> ExactMoney {
        ExactMoney(i128::from(self.0) * i128::from(energy.0))
    }
}

macro_rules! exact_sums {
    ($name:ident) => {
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(self.0.saturating_neg())
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self(0), Add::add)
            }
        }
    };
}
exact_sums!(ExactEnergy);
exact_sums!(ExactMoney);
exact_sums!(ExactEmissions);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_small_bills_adds_up_to_the_last_digit() {
        let price = ExactPrice::from_price(Price::per_kwh(0.213_7));
        let step = ExactEnergy::from_power(Power::kw(1.234), 900);
        let bills: ExactMoney = (0..35_040).map(|_| price * step).sum();
        let energy: ExactEnergy = (0..35_040).map(|_| step).sum();
        assert_eq!(bills, price * energy);
    }

    #[test]
    fn emissions_keep_their_value_in_units() {
        let embodied = ExactEmissions::from_emissions(Emissions::kg(1000.0));
        assert_eq!(embodied.as_units(), 3_600_000_000_000_000);
        assert_eq!(ExactEmissions::from_units(embodied.as_units()), embodied);
        assert_eq!(embodied.to_emissions(), Emissions::kg(1000.0));
    }

    #[test]
    fn parts_recombine() {
        for value in [-7, 0, 7] {
            let energy = ExactEnergy::watt_seconds(value);
            assert_eq!(energy.positive_part() - energy.negative_part(), energy);
        }
    }
}
