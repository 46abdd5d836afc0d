//! What the loop knows of vehicles and heat pumps, whose consumption may be moved in time: whether a vehicle is plugged in, when it
//! is expected back and with how much, how much heat flowed, and what both would have done without control.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_model::{Battery, Mode, Vehicle};
use sos_plant::battery::{self, BatteryParams, BatterySpec, BatteryState};
use sos_plant::heat::{HeatParams, Weather};
use sos_plant::{from_watts, whole_watts};
use sos_units::{Energy, ExactEnergy, Hours, Power, Reading, Soc};

use super::links::AssetReading;
use super::model::{Asset, Heat, Kind, SiteModel};
use super::storages;

/// A vehicle that is expected back this much later is not waited for: the trip is another one.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24 * 21);

/// What is seen of vehicles and heat pumps at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// States of charge of what can be commanded now; of a heat pump the share of heat in store.
    pub socs: BTreeMap<usize, Soc>,
    /// Vehicles that are away, with the state of charge that they are expected to come back with.
    pub coming: BTreeMap<usize, Soc>,
    /// What they met in the step that has ended.
    pub met: Vec<(usize, Met)>,
}

/// What a vehicle or a heat pump met in a step, whatever it was told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// The vehicle was not plugged in at its end.
    Away,
    /// The vehicle was plugged in at its end.
    Here {
        /// What a trip that ended in it had taken out of its battery.
        used: ExactEnergy,
    },
    /// Heat that flowed into the store by itself, below zero what was drawn.
    Heat {
        /// Mean of it, in watts of heat.
        inflow_w: i64,
        /// Heat per electric energy, in thousandths.
        cop_milli: i64,
    },
}

impl Met {
    /// Whether a trip ended in the step.
    pub(super) fn has_used(&self) -> bool {
        matches!(self, Self::Here { used } if *used > ExactEnergy::ZERO)
    }

    /// The same in a step in which no trip ended.
    pub(super) const fn without_use(self) -> Self {
        match self {
            Self::Here { .. } => Self::Here { used: ExactEnergy::ZERO },
            other => other,
        }
    }
}

/// What was seen last of each, by asset index; it outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Movables {
    vehicles: BTreeMap<usize, Parked>,
    heat: BTreeMap<usize, Soc>,
}

/// A vehicle as it was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Parked {
    soc: Soc,
    here: bool,
}

impl Movables {
    /// Takes what the devices say at `now`, the end of the step from `start`. A device that answers without a state of charge is a
    /// charging point without its vehicle.
    pub fn see(
        &mut self,
        model: &SiteModel,
        start: Option<Timestamp>,
        now: Timestamp,
        readings: &[Reading<AssetReading>],
    ) -> Sight {
        let mut sight = Sight::default();
        for (index, asset) in model.assets.iter().enumerate() {
            let Ok(reading) = readings[index] else { continue };
            match &asset.kind {
                Kind::Vehicle(vehicle) => {
                    let met = self.see_vehicle(index, vehicle, reading.soc);
                    sight.met.push((index, met));
                }
                Kind::HeatPump(heat) => {
                    let met = start.and_then(|start| self.met_heat(index, heat, start, now, reading));
                    sight.met.extend(met.map(|met| (index, met)));
                    if let Some(soc) = reading.soc {
                        self.heat.insert(index, soc);
                    }
                }
                _ => continue,
            }
            if let Some(soc) = reading.soc.filter(|_| asset.mode != Mode::Observe) {
                sight.socs.insert(index, soc);
            }
        }
        sight.coming = self.coming(model, now);
        sight
    }

    fn see_vehicle(&mut self, index: usize, vehicle: &Vehicle, soc: Option<Soc>) -> Met {
        let before = self.vehicles.get(&index).copied();
        let Some(soc) = soc else {
            if let Some(parked) = self.vehicles.get_mut(&index) {
                parked.here = false;
            }
            return Met::Away;
        };
        self.vehicles.insert(index, Parked { soc, here: true });
        let gone = before.filter(|parked| !parked.here);
        let used = gone.map_or(Soc::ZERO, |parked| (parked.soc - soc).max(Soc::ZERO));
        Met::Here { used: ExactEnergy::from_energy(used * vehicle.battery.capacity) }
    }

    /// What flowed into the store by itself, from the heat before and after.
    fn met_heat(
        &self,
        index: usize,
        heat: &Heat,
        start: Timestamp,
        now: Timestamp,
        reading: AssetReading,
    ) -> Option<Met> {
        let params = params_of(heat);
        let (before, after) = (*self.heat.get(&index)?, reading.soc?);
        let cop = heat.cop_at(start);
        let dt = Hours::from_seconds(now.duration_since(start).as_secs_f64());
        let power = (-reading.power).max(Power::ZERO);
        let inflow = params.inflow(params.at(before), params.at(after), power, cop, dt);
        Some(Met::Heat { inflow_w: whole_watts(inflow), cop_milli: (cop * 1000.0).round() as i64 })
    }

    /// Vehicles on a trip that was declared, with what is left in them after it.
    fn coming(&self, model: &SiteModel, now: Timestamp) -> BTreeMap<usize, Soc> {
        let one = |(index, asset): (usize, &Asset)| {
            let Kind::Vehicle(vehicle) = &asset.kind else { return None };
            let parked = self.vehicles.get(&index).filter(|parked| !parked.here)?;
            let soon = now.checked_add(SignedDuration::from_secs(1)).ok()?;
            let trip = vehicle.trips_between(&model.zone, now, soon).into_iter().next()?;
            let waits = trip.returns.duration_since(now) < LONGEST_WAIT && asset.mode != Mode::Observe;
            let left = parked.soc - Soc::fraction(trip.uses / vehicle.battery.capacity);
            waits.then_some((index, left.max(Soc::ZERO)))
        };
        model.assets.iter().enumerate().filter_map(one).collect()
    }

    /// What was last seen to be stored in a vehicle, here or away.
    #[must_use]
    pub fn stored(&self, index: usize) -> Option<Soc> {
        self.vehicles.get(&index).map(|parked| parked.soc)
    }
}

/// What vehicles and heat pumps would have done without control: a vehicle charges on arrival, a thermostat keeps the heat that was
/// there at first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Uncontrolled {
    vehicles: BTreeMap<usize, BatteryState>,
    heat: BTreeMap<usize, Kept>,
}

/// A store of heat with its thermostat.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    wanted: Energy,
    stored: Energy,
}

/// What is known of one in a tick that is settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Length in seconds.
    pub(super) seconds: i64,
    /// What it met; none where it was not seen.
    pub(super) met: Option<Met>,
    /// What flowed, positive into the site.
    pub(super) actual: ExactEnergy,
}

impl Uncontrolled {
    /// What one would have taken in a tick, zero or below. What it met is not known where it was not seen: what flowed is taken then.
    /// `initial` is its state of charge before the first tick.
    pub(super) fn settle(&mut self, asset: &Asset, index: usize, initial: Soc, step: Step) -> ExactEnergy {
        let dt = Hours::from_seconds(step.seconds as f64);
        match (&asset.kind, step.met) {
            (Kind::Vehicle(vehicle), Some(Met::Here { used })) => {
                let Some(params) = params(&vehicle.battery) else { return step.actual };
                let state = *self.vehicles.entry(index).or_insert_with(|| BatteryState::at(&params, initial));
                let state = state.after_use(&params, used.to_energy());
                let (state, power) = battery::step(&params, state, -vehicle.battery.max_charge, dt);
                self.vehicles.insert(index, state);
                ExactEnergy::from_power(power, step.seconds)
            }
            (Kind::Vehicle(_), Some(Met::Away)) => ExactEnergy::ZERO,
            (Kind::HeatPump(heat), Some(Met::Heat { inflow_w, cop_milli })) => {
                let params = params_of(heat);
                let at_first = params.at(initial);
                let kept = self.heat.entry(index).or_insert(Kept { wanted: at_first, stored: at_first });
                let weather = Weather { cop: cop_milli as f64 / 1000.0, inflow: from_watts(inflow_w) };
                let power = from_watts(whole_watts(params.towards(kept.stored, kept.wanted, weather, dt)));
                kept.stored = params.after(kept.stored, power, weather, dt);
                ExactEnergy::from_power(-power, step.seconds)
            }
            _ => step.actual,
        }
    }

    /// Energy in a vehicle; none before it was plugged in.
    pub(super) fn stored(&self, index: usize, battery: &Battery) -> Option<Energy> {
        Some(self.vehicles.get(&index)?.stored(&params(battery)?))
    }
}

/// A battery as the plant sees it; none where it makes no sense, which a declared one does.
fn params(battery: &Battery) -> Option<BatteryParams> {
    let spec = BatterySpec {
        capacity: battery.capacity,
        max_charge: battery.max_charge,
        max_discharge: battery.max_discharge,
        charge_efficiency: battery.charge_efficiency.get(),
        discharge_efficiency: battery.discharge_efficiency.get(),
        min_soc: battery.min_soc,
        max_soc: battery.max_soc,
    };
    BatteryParams::new(spec).ok()
}

/// A heat pump as the plant sees it.
fn params_of(heat: &Heat) -> HeatParams {
    let (capacity, retention) = storages::heat_store(heat);
    let (max_power, min_power) = (heat.pump.max_power, heat.pump.min_power);
    HeatParams { capacity, retention, max_power, min_power }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use sos_units::Missing;

    const QUARTER: SignedDuration = SignedDuration::from_mins(15);

    fn at(text: &str) -> Timestamp {
        format!("2026-01-05T{text}:00Z").parse().unwrap()
    }

    fn index(model: &SiteModel, name: &str) -> usize {
        model.assets.iter().position(|asset| asset.name == name).unwrap()
    }

    /// Sees one asset with this power and state of charge; the others do not answer.
    fn see(movables: &mut Movables, name: &str, now: Timestamp, (kw, soc): (f64, Option<f64>)) -> Sight {
        let model = testing::movables();
        let mut readings = vec![Err(Missing::Unavailable); model.assets.len()];
        readings[index(&model, name)] = Ok(AssetReading::of(Power::kw(kw), soc.map(Soc::fraction)));
        movables.see(&model, Some(now - QUARTER), now, &readings)
    }

    #[test]
    fn a_vehicle_comes_back_with_less_and_is_expected_meanwhile() {
        let car = index(&testing::movables(), "car");
        let mut movables = Movables::default();
        let here = see(&mut movables, "car", at("07:45"), (-1.0, Some(0.8)));
        assert_eq!(here.socs[&car], Soc::fraction(0.8));
        assert_eq!(here.met, [(car, Met::Here { used: ExactEnergy::ZERO })]);
        let away = see(&mut movables, "car", at("08:15"), (0.0, None));
        assert_eq!((away.socs.len(), away.met), (0, vec![(car, Met::Away)]));
        assert!((away.coming[&car].as_fraction() - 0.6).abs() < 1e-9, "8 kWh of 40 are used");
        let text = serde_json::to_string(&movables).unwrap();
        let mut movables: Movables = serde_json::from_str(&text).unwrap();
        let late = see(&mut movables, "car", at("16:15"), (0.0, None));
        assert!(late.coming.is_empty(), "nobody knows when it comes");
        let back = see(&mut movables, "car", at("16:30"), (0.0, Some(0.55)));
        assert_eq!(back.met, [(car, Met::Here { used: ExactEnergy::from_energy(Energy::kwh(10.0)) })]);
        assert_eq!(movables.stored(car), Some(Soc::fraction(0.55)));
    }

    #[test]
    fn the_heat_that_was_drawn_is_found_from_what_is_left() {
        let pump = index(&testing::movables(), "pump");
        let mut movables = Movables::default();
        assert_eq!(see(&mut movables, "pump", at("10:00"), (-1.0, Some(0.5))).met, []);
        // 1 kW for a quarter of an hour makes 0.75 kWh of heat; 0.25 kWh of them were drawn.
        let seen = see(&mut movables, "pump", at("10:15"), (-1.0, Some(0.55)));
        assert_eq!(seen.met, [(pump, Met::Heat { inflow_w: -1000, cop_milli: 3000 })]);
    }

    #[test]
    fn without_control_it_charges_on_arrival_and_a_thermostat_keeps_the_heat() {
        let model = testing::movables();
        let [car, pump] = ["car", "pump"].map(|name| index(&model, name));
        let mut case = Uncontrolled::default();
        let mut settle = |index: usize, met: Option<Met>, kwh: f64| {
            let actual = ExactEnergy::from_energy(Energy::kwh(kwh));
            let step = Step { seconds: 900, met, actual };
            let taken = case.settle(&model.assets[index], index, Soc::fraction(0.5), step);
            (taken.to_energy().as_kwh() * 1e4).round() as i64
        };
        assert_eq!(settle(car, Some(Met::Away), 0.0), 0);
        let back = Met::Here { used: ExactEnergy::from_energy(Energy::kwh(10.0)) };
        assert_eq!(settle(car, Some(back), 0.0), -20_000, "8 kW from 10 kWh on");
        let here = Met::Here { used: ExactEnergy::ZERO };
        let charged: i64 = (0..20).map(|_| settle(car, Some(here), 0.0)).sum();
        assert!((charged + 280_000).abs() < 10, "until it is full: {charged}");
        assert_eq!(settle(car, None, -0.4), -4_000, "what was not seen is as it was");
        let drawn = Met::Heat { inflow_w: -3000, cop_milli: 3000 };
        assert_eq!(settle(pump, Some(drawn), 0.0), -2_500);
        let cold = Met::Heat { inflow_w: -9000, cop_milli: 3000 };
        assert_eq!(settle(pump, Some(cold), 0.0), -5_000, "its most");
        assert_eq!(settle(pump, Some(drawn), 0.0), -5_000, "it makes good what lacked");
    }
}
