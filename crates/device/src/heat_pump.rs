//! Plays a heat pump with the tank or the building that it heats (unit 1) as SunSpec models over Modbus TCP on 127.0.0.1. Its state
//! of charge is the heat in store: of a tank between empty and full, of a building between its lowest and highest temperature.
//!
//! # Guarantees
//! Reported powers are means in whole watts, consumption below zero; counters are exact. A set-point below the least power is zero.
//! It ends with its lease (`WSetRvrtTms`, in site time): without one a thermostat keeps the heat at which it was started first. All
//! state survives a kill.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_plant::heat::{HeatParams, Weather};
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

/// Arguments of `sos device heat-pump`. A building has a heat capacity, a tank has a capacity.
#[derive(Clone, Debug, clap::Args)]
pub struct HeatPumpArgs {
    /// Most electric power.
    #[arg(long, value_parser = quantity::power)]
    pub max_power: Power,
    /// Least electric power while it runs.
    #[arg(long, default_value = "0kW", value_parser = quantity::power)]
    pub min_power: Power,
    /// Heat per electric energy, where the data have no column cop.
    #[arg(long, default_value_t = 3.0)]
    pub cop: f64,
    /// Heat between an empty and a full tank.
    #[arg(long, value_parser = quantity::energy, conflicts_with = "heat_capacity", required_unless_present = "heat_capacity")]
    pub capacity: Option<Energy>,
    /// Share of the heat of a tank that is lost in an hour; below 1.
    #[arg(long, default_value_t = 0.01)]
    pub standing_loss: f64,
    /// Heat that warms a building by one degree, kWh/K.
    #[arg(long, requires_all = ["heat_loss", "min_temperature", "max_temperature"])]
    pub heat_capacity: Option<f64>,
    /// Heat that a building loses per degree of difference, kW/K.
    #[arg(long)]
    pub heat_loss: Option<f64>,
    /// Temperature that counts as empty, °C.
    #[arg(long, allow_hyphen_values = true)]
    pub min_temperature: Option<f64>,
    /// Temperature that counts as full, °C.
    #[arg(long, allow_hyphen_values = true)]
    pub max_temperature: Option<f64>,
    /// State of charge at the first start, which its thermostat keeps, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    pub soc: f64,
    /// CSV with the column time (RFC 3339) and, each where there is one, drawn_kw (heat that is drawn), gains_kw (heat that comes in
    /// by itself), outside_c (of a building) and cop. A row holds until the next one.
    #[arg(long)]
    pub data: PathBuf,
    /// What every device has.
    #[command(flatten)]
    pub device: SingleArgs,
}

/// Everything that survives a kill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Site time, in seconds since 1970; none before the first time it was told.
    time: Option<i64>,
    stored: Energy,
    watts: Option<i64>,
    /// Watt-seconds taken from the site.
    taken: i64,
    setpoint: Control<Setpoint>,
    is_share: bool,
}

#[derive(Debug)]
struct Pump {
    params: HeatParams,
    keeps: Energy,
    weather: Vec<(i64, Weather)>,
    state: State,
}

/// Runs a heat pump until the process is ended.
///
/// # Errors
/// When an argument, the data or the state file is unusable or a port is taken.
pub async fn run(args: HeatPumpArgs) -> Result<(), DeviceError> {
    let bad = |text: &str| DeviceError::BadInput(text.to_owned());
    if args.max_power.as_kw() > MAX_KW {
        return Err(DeviceError::BadInput(format!(
            "--max-power: a 16-bit register holds at most {MAX_KW} kW"
        )));
    }
    if !(0.0..=1.0).contains(&args.soc) {
        return Err(DeviceError::BadInput(format!("--soc must be 0 to 1, not {}", args.soc)));
    }
    let params = params(&args).filter(HeatParams::is_sound).ok_or_else(|| {
        bad("expected sizes above zero, losses of 0 to below 1, --min-power ≤ --max-power and --min-temperature < --max-temperature")
    })?;
    let weather = weather(&args.data, &args)?;
    let keeps = params.at(Soc::fraction(args.soc));
    let begin = move |begin| {
        let state = match begin {
            Begin::Again(state) => state,
            Begin::Anew(time) => State {
                time,
                stored: keeps,
                watts: None,
                taken: 0,
                setpoint: Control::default(),
                is_share: false,
            },
        };
        Ok(Pump { params, keeps, weather, state })
    };
    args.device.play(begin).await
}

/// The store of heat; none where a number makes no sense.
fn params(args: &HeatPumpArgs) -> Option<HeatParams> {
    let (capacity, retention) = match args.heat_capacity {
        None => (args.capacity?, 1.0 - args.standing_loss),
        Some(per_kelvin) => {
            let span = args.max_temperature? - args.min_temperature?;
            (Energy::kwh(per_kelvin * span), (-args.heat_loss? / per_kelvin).exp())
        }
    };
    Some(HeatParams { capacity, retention, max_power: args.max_power, min_power: args.min_power })
}

/// What it meets, with the time from which it holds.
fn weather(path: &Path, args: &HeatPumpArgs) -> Result<Vec<(i64, Weather)>, DeviceError> {
    let mut before = i64::MIN;
    let rows = table::read(path, &["time"], |row| {
        let text = row.text("time");
        let time = text.parse::<Timestamp>().map(Timestamp::as_second);
        let time =
            time.map_err(|_| format!("column time: expected RFC 3339 with an offset, found `{text}`"))?;
        if time <= before {
            return Err("column time: expected a time after the one before it".to_owned());
        }
        before = time;
        let number = |name: &str, low: f64, high: f64| {
            if row.has(name) { row.number(name, low..=high).map(Some) } else { Ok(None) }
        };
        let drawn = number("drawn_kw", 0.0, 1e4)?.unwrap_or(0.0);
        let gains = number("gains_kw", 0.0, 1e4)?.unwrap_or(0.0);
        let lost = match (number("outside_c", -90.0, 60.0)?, args.heat_loss, args.min_temperature) {
            (Some(outside), Some(loss), Some(min)) => loss * (min - outside),
            _ => 0.0,
        };
        let cop = number("cop", 0.1, 20.0)?.unwrap_or(args.cop);
        Ok((time, Weather { cop, inflow: Power::kw(gains - drawn - lost) }))
    })?;
    if rows.is_empty() {
        return Err(DeviceError::BadInput(format!("{}: expected a row at least", path.display())));
    }
    Ok(rows)
}

impl Pump {
    /// What holds at a time, and until when. Before the first row that one holds.
    fn weather(&self, time: i64) -> (Weather, i64) {
        let next = self.weather.partition_point(|(from, _)| *from <= time);
        let end = self.weather.get(next).map_or(i64::MAX, |(from, _)| *from);
        (self.weather[next.saturating_sub(1)].1, end)
    }

    /// The power that flows over a span, as consumption.
    fn power(&self, weather: Weather, dt: Hours) -> Power {
        let Control { enabled, value, .. } = self.state.setpoint;
        let stored = self.state.stored;
        let rated = whole_watts(self.params.max_power);
        let asked = match (enabled, self.state.is_share) {
            (false, _) => return self.params.towards(stored, self.keeps, weather, dt),
            (true, true) => -i64::from(value.share) * rated / 10_000,
            (true, false) => -i64::from(value.watts),
        };
        self.params.follows(stored, from_watts(asked.max(0)), weather, dt)
    }
}

impl Lives for Pump {
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
            let (weather, end) = self.weather(time);
            let end = self.state.setpoint.until(end.min(now));
            let dt = Hours::from_seconds((end - time) as f64);
            // Whole watts are what flows, so that the books of the site are those of the store.
            let power = from_watts(whole_watts(self.power(weather, dt)));
            self.state.stored = self.params.after(self.state.stored, power, weather, dt);
            energy += whole_watts(power) * (end - time);
            time = end;
        }
        self.state.setpoint.lapse(now);
        self.state.taken += energy;
        self.state.watts = Some(-energy.div_euclid(seconds));
        self.state.time = Some(now);
    }

    fn image(&self, serial: &str) -> Vec<u16> {
        let state = &self.state;
        let shown = Store {
            capacity: self.params.capacity,
            stored: Some(state.stored),
            max_charge: self.params.max_power,
            max_discharge: Power::ZERO,
            watts: state.watts,
            counters: (0, state.taken),
        };
        let map = Map::new(serial, "heat pump");
        registers::store(map, &shown, state.setpoint, state.is_share, state.time.unwrap_or_default())
    }

    fn range(&self) -> (i64, i64) {
        (-whole_watts(self.params.max_power), 0)
    }

    fn order(&mut self) -> (&mut Control<Setpoint>, &mut bool) {
        (&mut self.state.setpoint, &mut self.state.is_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pump() -> Pump {
        let params = HeatParams {
            capacity: Energy::kwh(10.0),
            retention: 1.0,
            max_power: Power::kw(3.0),
            min_power: Power::kw(1.0),
        };
        let weather = [(0, -1.5), (3600, -3.0)];
        let weather = weather.map(|(time, kw)| (time, Weather { cop: 3.0, inflow: Power::kw(kw) }));
        let state = State {
            time: Some(0),
            stored: Energy::kwh(5.0),
            watts: None,
            taken: 0,
            setpoint: Control::default(),
            is_share: false,
        };
        Pump { params, keeps: Energy::kwh(5.0), weather: weather.to_vec(), state }
    }

    fn ask(pump: &mut Pump, watts: i32, lease: u32) {
        let value = Setpoint { watts, share: 0 };
        pump.state.setpoint = Control { enabled: true, value, lease, ..Control::default() };
        pump.state.setpoint.renew(pump.state.time.unwrap());
    }

    #[test]
    fn its_thermostat_keeps_what_it_began_with() {
        let mut pump = pump();
        pump.advance(7200, None);
        assert_eq!((pump.state.watts, pump.state.taken), (Some(-750), 5_400_000), "0.5 kW, then 1 kW");
        assert!((pump.state.stored.as_kwh() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_set_point_is_followed_until_its_lease_ends() {
        let mut pump = pump();
        ask(&mut pump, -2000, 1800);
        pump.advance(1800, None);
        assert_eq!(pump.state.watts, Some(-2000));
        assert!((pump.state.stored.as_kwh() - (5.0 + 1.0 * 3.0 - 0.75)).abs() < 1e-9);
        pump.advance(3600, None);
        assert_eq!(pump.state.watts, Some(0), "warmer than its thermostat wants");
        ask(&mut pump, -900, 0);
        pump.advance(5400, None);
        assert_eq!(pump.state.watts, Some(0), "less than its least is nothing");
    }
}
