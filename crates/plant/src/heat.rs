//! A store of heat that a heat pump or an electric heater fills: a tank, or a building by its temperature.
//!
//! # Source
//! `dE/dt = heat + inflow − λ · E` with the heat `E` above empty (or above the lowest temperature of a building), solved exactly for
//! a constant flow over a step. `λ` is the standing loss of a tank, or heat loss per heat capacity of a building.

use serde::{Deserialize, Serialize};
use sos_units::{Energy, Hours, Power, Soc};

/// What a nameplate says about it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeatParams {
    /// Heat between empty and full; above zero.
    pub capacity: Energy,
    /// Share of the heat that is left after an hour without any flow; above 0, at most 1.
    pub retention: f64,
    /// Most electric power; above zero.
    pub max_power: Power,
    /// Least electric power while it runs, zero or above.
    pub min_power: Power,
}

/// What a step meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Heat per electric energy, above zero.
    pub cop: f64,
    /// Heat that flows in by itself, kW; below zero what is drawn or lost to the outside at empty.
    pub inflow: Power,
}

impl HeatParams {
    /// Checks a nameplate.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let capacity = self.capacity.as_kwh();
        let (least, most) = (self.min_power.as_kw(), self.max_power.as_kw());
        capacity > 0.0
            && capacity.is_finite()
            && self.retention > 0.0
            && self.retention <= 1.0
            && least >= 0.0
            && least <= most
            && most > 0.0
            && most.is_finite()
    }

    /// Heat at a share.
    #[must_use]
    pub fn at(&self, share: Soc) -> Energy {
        share * self.capacity
    }

    /// The share of a heat, which may be outside 0…1 for a building.
    #[must_use]
    pub fn share(&self, stored: Energy) -> Soc {
        Soc::fraction(stored / self.capacity)
    }

    /// What is left of a heat after a step, and for how many hours heat that flows evenly counts.
    fn kept(&self, dt: Hours) -> (f64, f64) {
        let rate = -self.retention.ln();
        let hours = dt.get().max(0.0);
        if rate * hours < 1e-12 {
            (1.0, hours)
        } else {
            ((-rate * hours).exp(), -(-rate * hours).exp_m1() / rate)
        }
    }

    /// Heat in store after a step with an electric power, zero or above.
    #[must_use]
    pub fn after(&self, stored: Energy, power: Power, weather: Weather, dt: Hours) -> Energy {
        let (kept, hours) = self.kept(dt);
        stored * kept + Energy::kwh((power.as_kw() * weather.cop + weather.inflow.as_kw()) * hours)
    }

    /// The electric power that brings it to a heat at the end of the step, as far as it can: zero to its most.
    #[must_use]
    pub fn towards(&self, stored: Energy, wanted: Energy, weather: Weather, dt: Hours) -> Power {
        let (kept, hours) = self.kept(dt);
        if hours <= 0.0 || weather.cop <= 0.0 {
            return Power::ZERO;
        }
        let heat = (wanted - stored * kept).as_kwh() / hours - weather.inflow.as_kw();
        Power::kw(heat / weather.cop).clamp(Power::ZERO, self.max_power)
    }

    /// What flowed in by itself, kW, when this was in store before and after a step with a power.
    #[must_use]
    pub fn inflow(&self, before: Energy, after: Energy, power: Power, cop: f64, dt: Hours) -> Power {
        let (kept, hours) = self.kept(dt);
        if hours <= 0.0 {
            return Power::ZERO;
        }
        Power::kw((after - before * kept).as_kwh() / hours - power.as_kw() * cop)
    }

    /// The power that it takes of what it is asked for: never more than fills it, and nothing below its least.
    #[must_use]
    pub fn follows(&self, stored: Energy, asked: Power, weather: Weather, dt: Hours) -> Power {
        let asked = if asked < self.min_power { Power::ZERO } else { asked.min(self.max_power) };
        asked.min(self.towards(stored, self.capacity, weather, dt)).max(Power::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tank(retention: f64) -> HeatParams {
        HeatParams {
            capacity: Energy::kwh(10.0),
            retention,
            max_power: Power::kw(3.0),
            min_power: Power::kw(0.5),
        }
    }

    const HOUR: Hours = Hours::new(1.0);

    #[test]
    fn an_hour_of_heating_stores_heat_by_its_cop() {
        let weather = Weather { cop: 3.0, inflow: Power::kw(-1.0) };
        let after = tank(1.0).after(Energy::kwh(2.0), Power::kw(1.0), weather, HOUR);
        assert!((after.as_kwh() - 4.0).abs() < 1e-12);
        let lossy =
            tank(0.5).after(Energy::kwh(2.0), Power::ZERO, Weather { cop: 3.0, inflow: Power::ZERO }, HOUR);
        assert!((lossy.as_kwh() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn it_stops_when_it_is_full_and_rests_below_its_least_power() {
        let weather = Weather { cop: 4.0, inflow: Power::ZERO };
        let full = tank(1.0).follows(Energy::kwh(8.0), Power::kw(3.0), weather, HOUR);
        assert!((full.as_kw() - 0.5).abs() < 1e-12);
        assert_eq!(tank(1.0).follows(Energy::kwh(2.0), Power::kw(0.4), weather, HOUR), Power::ZERO);
    }

    proptest! {
        #[test]
        fn two_steps_are_one_and_what_flowed_in_is_found_again(
            stored in 0.0..10.0f64, power in 0.0..3.0f64, inflow in -3.0..1.0f64, cop in 1.0..5.0f64,
            retention in 0.5..1.0f64, first in 0.01..2.0f64, second in 0.01..2.0f64,
        ) {
            let (params, weather) = (tank(retention), Weather { cop, inflow: Power::kw(inflow) });
            let (stored, power) = (Energy::kwh(stored), Power::kw(power));
            let half = params.after(stored, power, weather, Hours::new(first));
            let twice = params.after(half, power, weather, Hours::new(second));
            let once = params.after(stored, power, weather, Hours::new(first + second));
            prop_assert!((twice - once).as_kwh().abs() < 1e-9);
            let found = params.inflow(stored, once, power, cop, Hours::new(first + second));
            prop_assert!((found.as_kw() - inflow).abs() < 1e-6);
            let wanted = params.towards(stored, once, weather, Hours::new(first + second));
            prop_assert!((wanted - power).as_kw().abs() < 1e-6);
        }
    }
}
