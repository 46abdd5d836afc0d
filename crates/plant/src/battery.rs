//! A battery with its inverter, seen from its AC terminals.
//!
//! # Source
//! The usual energy balance of a storage: `stored' = stored + η_charge·charged − discharged/η_discharge`, with power
//! and state-of-charge bounds. No self-discharge, no ageing.

use serde::{Deserialize, Serialize};
use sos_units::{Energy, ExactEnergy, Hours, Power, Soc};

use crate::{from_watts, whole_seconds, whole_watts};

/// Efficiencies are kept in ten-thousandths, so that the energy balance is one of integers.
const ONE: i128 = 10_000;

/// What a nameplate says about a battery.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatterySpec {
    /// Usable energy between a state of charge of 0 and 1; above zero.
    pub capacity: Energy,
    /// Largest power taken from the site, as a magnitude; zero or above.
    pub max_charge: Power,
    /// Largest power given to the site; zero or above.
    pub max_discharge: Power,
    /// Share of the charged energy that is stored; above 0, at most 1, to four decimals.
    pub charge_efficiency: f64,
    /// Share of the energy taken out of the store that reaches the site; above 0, at most 1, to four decimals.
    pub discharge_efficiency: f64,
    /// Never discharged below this; 0…1.
    pub min_soc: Soc,
    /// Never charged above this; at least `min_soc`, at most 1.
    pub max_soc: Soc,
}

/// Why a [`BatterySpec`] is impossible.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// The capacity is zero, negative or not finite.
    #[error("a battery needs a capacity above 0 kWh, not {0}")]
    Capacity(Energy),
    /// A power limit is negative or not finite.
    #[error("a battery's power limit must be 0 kW or above, not {0}")]
    PowerLimit(Power),
    /// An efficiency is not above 0 or is above 1.
    #[error("an efficiency must be above 0 and at most 1, not {0}")]
    Efficiency(f64),
    /// The bounds of the state of charge are out of order or outside 0…1.
    #[error("the bounds of the state of charge must be 0 ≤ min ≤ max ≤ 1, not {0} and {1}")]
    SocBounds(f64, f64),
}

/// A checked [`BatterySpec`], in integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatteryParams {
    capacity_ws: i64,
    max_charge_w: i64,
    max_discharge_w: i64,
    charge_eff: i64,
    discharge_eff: i64,
    min_ws: i64,
    max_ws: i64,
}

impl BatteryParams {
    /// Checks a nameplate and rounds it: capacity to watt-seconds, powers to watts, efficiencies to 1/10 000.
    ///
    /// # Errors
    /// The first value that is impossible.
    pub fn new(spec: BatterySpec) -> Result<Self, SpecError> {
        let capacity = spec.capacity.as_kwh();
        // The upper bound, 1 TWh, keeps all later integer arithmetic far from overflow.
        if !(capacity > 0.0 && capacity <= 1e9) {
            return Err(SpecError::Capacity(spec.capacity));
        }
        for limit in [spec.max_charge, spec.max_discharge] {
            if !(limit.as_kw() >= 0.0 && limit.as_kw() <= 1e9) {
                return Err(SpecError::PowerLimit(limit));
            }
        }
        let (min, max) = (spec.min_soc.as_fraction(), spec.max_soc.as_fraction());
        if !(0.0 <= min && min <= max && max <= 1.0) {
            return Err(SpecError::SocBounds(min, max));
        }
        let capacity_ws = to_watt_seconds(spec.capacity);
        Ok(Self {
            capacity_ws,
            max_charge_w: whole_watts(spec.max_charge),
            max_discharge_w: whole_watts(spec.max_discharge),
            charge_eff: efficiency(spec.charge_efficiency)?,
            discharge_eff: efficiency(spec.discharge_efficiency)?,
            min_ws: to_watt_seconds(spec.min_soc * spec.capacity),
            max_ws: to_watt_seconds(spec.max_soc * spec.capacity).min(capacity_ws),
        })
    }

    /// Usable energy between a state of charge of 0 and 1.
    #[must_use]
    pub fn capacity(&self) -> Energy {
        ExactEnergy::watt_seconds(self.capacity_ws).to_energy()
    }

    /// Largest power taken from the site, as a magnitude.
    #[must_use]
    pub fn max_charge(&self) -> Power {
        from_watts(self.max_charge_w)
    }

    /// Largest power given to the site.
    #[must_use]
    pub fn max_discharge(&self) -> Power {
        from_watts(self.max_discharge_w)
    }

    /// Parts of a watt-second in which the store is counted, so that neither efficiency leaves a fraction.
    fn unit(&self) -> i128 {
        ONE * i128::from(self.discharge_eff)
    }
}

fn efficiency(share: f64) -> Result<i64, SpecError> {
    let parts = (share * ONE as f64).round();
    if share <= 1.0 && parts >= 1.0 { Ok(parts as i64) } else { Err(SpecError::Efficiency(share)) }
}

fn to_watt_seconds(energy: Energy) -> i64 {
    (energy.as_kwh() * 3.6e6).round() as i64
}

/// The books of a battery: what it started with and what has passed its terminals since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatteryState {
    /// Stored at the start of the books.
    initial: ExactEnergy,
    /// Taken from the site at the AC terminals; zero or above.
    charged: ExactEnergy,
    /// Given to the site at the AC terminals; zero or above.
    discharged: ExactEnergy,
    /// Taken out of the store by driving; zero or above.
    #[serde(default)]
    used: ExactEnergy,
}

impl BatteryState {
    /// New books at a state of charge, brought into 0…1.
    #[must_use]
    pub fn at(params: &BatteryParams, soc: Soc) -> Self {
        let share = soc.clamp(Soc::ZERO, Soc::fraction(1.0)).as_fraction();
        Self {
            initial: ExactEnergy::watt_seconds((params.capacity_ws as f64 * share).round() as i64),
            ..Self::default()
        }
    }

    /// Taken from the site since the books began; zero or above.
    #[must_use]
    pub const fn charged(&self) -> ExactEnergy {
        self.charged
    }

    /// Given to the site since the books began; zero or above.
    #[must_use]
    pub const fn discharged(&self) -> ExactEnergy {
        self.discharged
    }

    /// Takes energy out of the store, as driving does: as much of it as there is.
    #[must_use]
    pub fn after_use(mut self, params: &BatteryParams, energy: Energy) -> Self {
        let there = self.stored(params).max(Energy::ZERO);
        self.used += ExactEnergy::watt_seconds(to_watt_seconds(energy.clamp(Energy::ZERO, there)));
        self
    }

    /// The stored energy.
    #[must_use]
    pub fn stored(&self, params: &BatteryParams) -> Energy {
        Energy::kwh(self.stored_parts(params) as f64 / params.unit() as f64 / 3.6e6)
    }

    /// The state of charge, 0…1.
    #[must_use]
    pub fn soc(&self, params: &BatteryParams) -> Soc {
        let full = i128::from(params.capacity_ws) * params.unit();
        Soc::fraction(self.stored_parts(params) as f64 / full as f64)
    }

    /// What charging and discharging have cost since the books began; zero or above.
    #[must_use]
    pub fn losses(&self, params: &BatteryParams) -> Energy {
        let passed = (self.initial + self.charged - self.discharged - self.used).to_energy();
        passed - self.stored(params)
    }

    /// The stored energy in [`BatteryParams::unit`]s, exact.
    fn stored_parts(&self, params: &BatteryParams) -> i128 {
        let ws = |energy: ExactEnergy| i128::from(energy.as_watt_seconds());
        ws(self.initial) * params.unit()
            + ws(self.charged) * i128::from(params.charge_eff) * i128::from(params.discharge_eff)
            - ws(self.discharged) * ONE * ONE
            - ws(self.used) * params.unit()
    }
}

/// Holds a set-point for `dt` and says what really flowed.
///
/// The result is the **mean** power over the step, in whole watts: a battery that becomes full or empty on the way
/// reports less than it was asked for. It never leaves its power limits and never crosses a bound of its state of
/// charge; outside those bounds it only moves back towards them. A set-point that is not finite is idle.
#[must_use]
pub fn step(
    params: &BatteryParams,
    state: BatteryState,
    setpoint: Power,
    dt: Hours,
) -> (BatteryState, Power) {
    let seconds = whole_seconds(dt);
    if seconds == 0 {
        return (state, Power::ZERO);
    }
    let stored = state.stored_parts(params);
    let asked = whole_watts(setpoint).clamp(-params.max_charge_w, params.max_discharge_w);
    let mut next = state;
    let watts = if asked < 0 {
        let room = (i128::from(params.max_ws) * params.unit() - stored).max(0);
        let per_watt = i128::from(seconds) * i128::from(params.charge_eff) * i128::from(params.discharge_eff);
        -at_most(-asked, room / per_watt)
    } else {
        let content = (stored - i128::from(params.min_ws) * params.unit()).max(0);
        at_most(asked, content / (i128::from(seconds) * ONE * ONE))
    };
    let energy = ExactEnergy::watt_seconds(watts.saturating_mul(seconds));
    next.discharged += energy.positive_part();
    next.charged += energy.negative_part();
    (next, from_watts(watts))
}

fn at_most(watts: i64, limit: i128) -> i64 {
    i64::try_from(limit).map_or(watts, |limit| watts.min(limit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fontana() -> BatterySpec {
        BatterySpec {
            capacity: Energy::kwh(6.4),
            max_charge: Power::kw(5.0),
            max_discharge: Power::kw(5.0),
            charge_efficiency: 0.95,
            discharge_efficiency: 0.95,
            min_soc: Soc::ZERO,
            max_soc: Soc::fraction(1.0),
        }
    }

    const HOUR: Hours = Hours::new(1.0);

    #[test]
    fn an_hour_of_charging_stores_the_efficient_share() {
        let params = BatteryParams::new(fontana()).unwrap();
        let (state, power) = step(&params, BatteryState::default(), Power::kw(-2.0), HOUR);
        assert_eq!(power, Power::kw(-2.0));
        assert!((state.stored(&params).as_kwh() - 1.9).abs() < 1e-12);
        assert!((state.losses(&params).as_kwh() - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_battery_that_fills_up_reports_the_lower_mean() {
        let params = BatteryParams::new(fontana()).unwrap();
        let (state, first) = step(&params, BatteryState::default(), Power::kw(-9.0), HOUR);
        assert_eq!(first, Power::kw(-5.0), "the power limit holds");
        let (state, second) = step(&params, state, Power::kw(-5.0), HOUR);
        assert_eq!(second, Power::kw(-1.736), "6.4 kWh / 0.95 − 5 kWh, in whole watts");
        assert!(state.soc(&params) <= Soc::fraction(1.0));
    }

    #[test]
    fn an_empty_battery_gives_nothing() {
        let params = BatteryParams::new(fontana()).unwrap();
        let (state, power) = step(&params, BatteryState::default(), Power::kw(3.0), HOUR);
        assert_eq!((state, power), (BatteryState::default(), Power::ZERO));
    }

    #[test]
    fn a_round_trip_returns_nine_tenths() {
        let params = BatteryParams::new(fontana()).unwrap();
        let (state, _) = step(&params, BatteryState::default(), Power::kw(-4.0), HOUR);
        let (state, given) = step(&params, state, Power::kw(5.0), HOUR);
        assert_eq!(given, Power::kw(3.61));
        assert_eq!(state.stored(&params), Energy::ZERO);
    }

    #[test]
    fn driving_takes_what_there_is_and_costs_no_loss() {
        let params = BatteryParams::new(fontana()).unwrap();
        let state = BatteryState::at(&params, Soc::fraction(0.5)).after_use(&params, Energy::kwh(2.0));
        assert!((state.stored(&params).as_kwh() - 1.2).abs() < 1e-9);
        let state = state.after_use(&params, Energy::kwh(9.0));
        assert!(state.stored(&params).as_kwh().abs() < 1e-6 && state.losses(&params).as_kwh().abs() < 1e-6);
    }

    #[test]
    fn impossible_nameplates_are_refused() {
        let bad = |change: fn(&mut BatterySpec)| {
            let mut spec = fontana();
            change(&mut spec);
            BatteryParams::new(spec).unwrap_err()
        };
        assert!(matches!(bad(|s| s.capacity = Energy::kwh(-1.0)), SpecError::Capacity(_)));
        assert!(matches!(bad(|s| s.capacity = Energy::kwh(f64::NAN)), SpecError::Capacity(_)));
        assert!(matches!(bad(|s| s.max_charge = Power::kw(-1.0)), SpecError::PowerLimit(_)));
        assert!(matches!(bad(|s| s.charge_efficiency = 0.0), SpecError::Efficiency(_)));
        assert!(matches!(bad(|s| s.discharge_efficiency = 1.1), SpecError::Efficiency(_)));
        assert!(matches!(bad(|s| s.min_soc = Soc::fraction(2.0)), SpecError::SocBounds(..)));
    }

    proptest! {
        #[test]
        fn bounds_hold_and_the_books_are_the_sum_of_the_reports(
            steps in prop::collection::vec((-9.0_f64..9.0, 1_i64..7_200), 1..60),
            (charge, discharge) in (0.5_f64..1.0, 0.5_f64..1.0),
            (low, high) in (0.0_f64..0.4, 0.6_f64..1.0),
        ) {
            let params = BatteryParams::new(BatterySpec {
                charge_efficiency: charge, discharge_efficiency: discharge,
                min_soc: Soc::fraction(low), max_soc: Soc::fraction(high), ..fontana()
            }).unwrap();
            let mut state = BatteryState::at(&params, Soc::fraction(0.5));
            let (mut given, mut taken) = (0_i64, 0_i64);
            for (kw, seconds) in steps {
                let (next, power) = step(&params, state, Power::kw(kw), Hours::from_seconds(seconds as f64));
                let watts = whole_watts(power);
                prop_assert_eq!(from_watts(watts), power);
                prop_assert!(power.abs() <= Power::kw(5.0) && power.as_kw() * kw >= 0.0);
                if watts > 0 { given += watts * seconds } else { taken -= watts * seconds }
                state = next;
                let soc = state.soc(&params).as_fraction();
                // Stored energy is kept in whole watt-seconds, so a bound holds to one of them.
                let one = 1.0 / 3.6e6 / fontana().capacity.as_kwh();
                prop_assert!((low - one..=high + one).contains(&soc), "{} left {}..{}", soc, low, high);
            }
            prop_assert_eq!(state.discharged().as_watt_seconds(), given);
            prop_assert_eq!(state.charged().as_watt_seconds(), taken);
        }

        #[test]
        fn any_setpoint_is_survived(setpoint in any::<f64>(), hours in any::<f64>()) {
            let params = BatteryParams::new(fontana()).unwrap();
            let half = BatteryState::at(&params, Soc::fraction(0.5));
            let (state, power) = step(&params, half, Power::kw(setpoint), Hours::new(hours));
            prop_assert!(power.is_finite());
            prop_assert!((0.0..=1.0).contains(&state.soc(&params).as_fraction()));
        }
    }
}
