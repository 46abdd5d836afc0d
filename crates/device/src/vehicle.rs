//! Plays a charging point with its vehicle (unit 1) as SunSpec models over Modbus TCP on 127.0.0.1: a battery that is not plugged
//! in during its trips and comes back with less.
//!
//! # Guarantees
//! Reported powers are means in whole watts; counters are exact. A set-point below the least charging power is
//! zero. It ends with its lease (`WSetRvrtTms`, in site time): without one the vehicle charges at the fallback power, as at a
//! charging point without a controller. While it is away no state of charge is told. All state survives a kill.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_plant::battery::{BatteryParams, BatterySpec, BatteryState, step};
use sos_plant::{from_watts, whole_watts};
use sos_units::{Energy, Hours, Power, Soc};

use crate::DeviceError;
use crate::fault::Fault;
use crate::home::data::MAX_KW;
use crate::home::registers::{self, Map, Store};
use crate::home::sim::{Control, Setpoint};
use crate::quantity;
use crate::single::{Begin, Lives, SingleArgs};
use crate::table;

/// Arguments of `sos device vehicle`.
#[derive(Clone, Debug, clap::Args)]
pub struct VehicleArgs {
    /// Usable capacity of its battery.
    #[arg(long, value_parser = quantity::energy)]
    pub capacity: Energy,
    /// Largest charging power.
    #[arg(long, value_parser = quantity::power)]
    pub max_charge: Power,
    /// Largest power that it gives back.
    #[arg(long, default_value = "0kW", value_parser = quantity::power)]
    pub max_discharge: Power,
    /// Least charging power: less is nothing.
    #[arg(long, default_value = "0kW", value_parser = quantity::power)]
    pub min_charge: Power,
    /// Efficiency of charging and of discharging, each; above 0, at most 1.
    #[arg(long, default_value_t = 0.95)]
    pub efficiency: f64,
    /// State of charge at the first start, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    pub soc: f64,
    /// Power at which it charges while no set-point is in force; the largest by default.
    #[arg(long, value_parser = quantity::power)]
    pub fallback: Option<Power>,
    /// CSV with the columns leaves, returns (RFC 3339) and uses_kwh: its trips, in order of time.
    #[arg(long)]
    pub trips: Option<PathBuf>,
    /// What every device has.
    #[command(flatten)]
    pub device: SingleArgs,
}

/// A time during which it is not plugged in, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trip {
    leaves: i64,
    returns: i64,
    uses: Energy,
}

/// Everything that survives a kill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Site time, in seconds since 1970; none before the first time it was told.
    time: Option<i64>,
    battery: BatteryState,
    watts: Option<i64>,
    setpoint: Control<Setpoint>,
    is_share: bool,
}

#[derive(Debug)]
struct Car {
    params: BatteryParams,
    min_charge: i64,
    fallback: i64,
    trips: Vec<Trip>,
    state: State,
}

/// Runs a vehicle until the process is ended.
///
/// # Errors
/// When an argument, the trips or the state file is unusable or a port is taken.
pub async fn run(args: VehicleArgs) -> Result<(), DeviceError> {
    let bad = |text: String| Err(DeviceError::BadInput(text));
    if args.max_charge.max(args.max_discharge).as_kw() > MAX_KW {
        return bad(format!("--max-charge, --max-discharge: a 16-bit register holds at most {MAX_KW} kW"));
    }
    if args.min_charge > args.max_charge {
        return bad("--min-charge: expected at most --max-charge".to_owned());
    }
    if !(0.0..=1.0).contains(&args.soc) {
        return bad(format!("--soc must be 0 to 1, not {}", args.soc));
    }
    let params = BatteryParams::new(BatterySpec {
        capacity: args.capacity,
        max_charge: args.max_charge,
        max_discharge: args.max_discharge,
        charge_efficiency: args.efficiency,
        discharge_efficiency: args.efficiency,
        min_soc: Soc::ZERO,
        max_soc: Soc::fraction(1.0),
    });
    let params = params.map_err(|error| DeviceError::BadInput(error.to_string()))?;
    let trips = args.trips.as_deref().map(trips).transpose()?.unwrap_or_default();
    let (min_charge, fallback) =
        (whole_watts(args.min_charge), whole_watts(args.fallback.unwrap_or(args.max_charge)));
    let soc = Soc::fraction(args.soc);
    let begin = move |begin| {
        let state = match begin {
            Begin::Again(state) => state,
            Begin::Anew(time) => State {
                time,
                battery: BatteryState::at(&params, soc),
                watts: None,
                setpoint: Control::default(),
                is_share: false,
            },
        };
        Ok(Car { params, min_charge, fallback, trips, state })
    };
    args.device.play(begin).await
}

/// Reads the trips; all problems at once, with their lines.
fn trips(path: &Path) -> Result<Vec<Trip>, DeviceError> {
    let mut before = i64::MIN;
    table::read(path, &["leaves", "returns", "uses_kwh"], |row| {
        let at = |name: &str| {
            let text = row.text(name);
            let time = text.parse::<Timestamp>().map(Timestamp::as_second);
            time.map_err(|_| format!("column {name}: expected RFC 3339 with an offset, found `{text}`"))
        };
        let trip = Trip {
            leaves: at("leaves")?,
            returns: at("returns")?,
            uses: Energy::kwh(row.number("uses_kwh", 0.0..=1e4)?),
        };
        if trip.leaves < before || trip.returns <= trip.leaves {
            return Err("expected returns after leaves, and leaves after the trip before it".to_owned());
        }
        before = trip.returns;
        Ok(trip)
    })
}

impl Car {
    /// The trip at a time, and until when what holds then goes on.
    fn trip(&self, time: i64) -> (Option<&Trip>, i64) {
        let running = self.trips.iter().find(|trip| (trip.leaves..trip.returns).contains(&time));
        let next = || self.trips.iter().map(|trip| trip.leaves).filter(|leaves| *leaves > time).min();
        (running, running.map_or_else(|| next().unwrap_or(i64::MAX), |trip| trip.returns))
    }

    /// The power in force, positive into the site, while it is plugged in.
    fn asked(&self) -> Power {
        let Control { enabled, value, .. } = self.state.setpoint;
        let rated = whole_watts(self.params.max_charge().max(self.params.max_discharge()));
        let watts = match (enabled, self.state.is_share) {
            (false, _) => -self.fallback,
            (true, true) => i64::from(value.share) * rated / 10_000,
            (true, false) => i64::from(value.watts),
        };
        if watts < 0 && -watts < self.min_charge { Power::ZERO } else { from_watts(watts) }
    }
}

impl Lives for Car {
    type State = State;

    fn state(&self) -> &State {
        &self.state
    }

    fn time(&self) -> Option<i64> {
        self.state.time
    }

    fn advance(&mut self, now: i64, _: Option<Fault>) {
        let Some(before) = self.state.time else {
            self.state.time = Some(now);
            return;
        };
        let seconds = now - before;
        if seconds <= 0 {
            return;
        }
        let (mut time, mut energy) = (before, 0);
        while time < now {
            self.state.setpoint.lapse(time);
            let (trip, end) = self.trip(time);
            let away = trip.is_some();
            let end = self.state.setpoint.until(end.min(now));
            if !away {
                let dt = Hours::from_seconds((end - time) as f64);
                let (battery, power) = step(&self.params, self.state.battery, self.asked(), dt);
                self.state.battery = battery;
                energy += whole_watts(power) * (end - time);
            }
            let used: Energy =
                self.trips.iter().filter(|trip| trip.returns == end).map(|trip| trip.uses).sum();
            self.state.battery = self.state.battery.after_use(&self.params, used);
            time = end;
        }
        self.state.setpoint.lapse(now);
        self.state.watts = Some(energy.div_euclid(seconds));
        self.state.time = Some(now);
    }

    fn image(&self, serial: &str) -> Vec<u16> {
        let state = &self.state;
        let away = state.time.is_some_and(|time| self.trip(time).0.is_some());
        let (given, taken) = (state.battery.discharged(), state.battery.charged());
        let shown = Store {
            capacity: self.params.capacity(),
            stored: (!away).then(|| state.battery.stored(&self.params)),
            max_charge: self.params.max_charge(),
            max_discharge: self.params.max_discharge(),
            watts: state.watts,
            counters: (given.as_watt_seconds(), taken.as_watt_seconds()),
        };
        let map = Map::new(serial, "charging point");
        registers::store(map, &shown, state.setpoint, state.is_share, state.time.unwrap_or_default())
    }

    fn range(&self) -> (i64, i64) {
        (-whole_watts(self.params.max_charge()), whole_watts(self.params.max_discharge()))
    }

    fn order(&mut self) -> (&mut Control<Setpoint>, &mut bool) {
        (&mut self.state.setpoint, &mut self.state.is_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn car(soc: f64) -> Car {
        let params = BatteryParams::new(BatterySpec {
            capacity: Energy::kwh(40.0),
            max_charge: Power::kw(10.0),
            max_discharge: Power::ZERO,
            charge_efficiency: 1.0,
            discharge_efficiency: 1.0,
            min_soc: Soc::ZERO,
            max_soc: Soc::fraction(1.0),
        });
        let params = params.unwrap();
        let state = State {
            time: Some(0),
            battery: BatteryState::at(&params, Soc::fraction(soc)),
            watts: None,
            setpoint: Control::default(),
            is_share: false,
        };
        let trips = vec![Trip { leaves: 3600, returns: 7200, uses: Energy::kwh(8.0) }];
        Car { params, min_charge: 1400, fallback: 10_000, trips, state }
    }

    fn ask(car: &mut Car, watts: i32) {
        let value = Setpoint { watts, share: 0 };
        car.state.setpoint = Control { enabled: true, value, ..Control::default() };
    }

    fn soc(car: &Car) -> f64 {
        (car.state.battery.soc(&car.params).as_fraction() * 1e6).round() / 1e6
    }

    #[test]
    fn it_charges_on_arrival_unless_it_is_told_what_to_do() {
        let mut car = car(0.5);
        car.advance(1800, None);
        assert_eq!((car.state.watts, soc(&car)), (Some(-10_000), 0.625));
        ask(&mut car, -1000);
        car.advance(2700, None);
        assert_eq!(car.state.watts, Some(0), "less than its least is nothing");
        ask(&mut car, -2000);
        car.advance(3600, None);
        assert_eq!(car.state.watts, Some(-2000));
    }

    #[test]
    fn away_it_neither_charges_nor_tells_and_it_comes_back_with_less() {
        let mut car = car(0.5);
        ask(&mut car, -4000);
        car.advance(5400, None);
        assert_eq!((car.state.watts, soc(&car)), (Some(-2667), 0.6), "an hour of an hour and a half");
        car.advance(7200, None);
        assert_eq!((car.state.watts, soc(&car)), (Some(0), 0.4));
        car.advance(9000, None);
        assert_eq!((car.state.watts, soc(&car)), (Some(-4000), 0.45));
    }

    #[test]
    fn wrong_trips_are_named_with_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trips.csv");
        let rows = "2026-01-01T08:00:00Z,2026-01-01T07:00:00Z,8\nmonday,2026-01-01T07:00:00Z,-1\n";
        std::fs::write(&path, format!("leaves,returns,uses_kwh\n{rows}")).unwrap();
        let error = trips(&path).unwrap_err().to_string();
        assert!(error.contains("line 2: expected returns after leaves"), "{error}");
        assert!(error.contains("line 3: column leaves: expected RFC 3339"), "{error}");
    }
}
