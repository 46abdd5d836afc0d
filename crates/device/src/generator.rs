//! Plays one generator set (unit 1) as SunSpec models over Modbus TCP on 127.0.0.1: a set-point above zero starts it, zero
//! stops it.
//!
//! # Guarantees
//! Reported powers are whole watts; counters are the exact sum of what was reported. A set-point ends with its lease
//! (`WSetRvrtTms`, in site time): the engine then stops. It stops as well when its process ends, as an engine without its
//! controller does, and while the fault `trip` is switched on.

use serde::{Deserialize, Serialize};
use sos_plant::generator::{Engine, GeneratorParams, step};
use sos_plant::{from_watts, whole_watts};
use sos_units::{Hours, Power};

use crate::DeviceError;
use crate::fault::Fault;
use crate::home::data::MAX_KW;
use crate::home::registers::{self, Map};
use crate::home::sim::{Control, Meter, Setpoint};
use crate::quantity;
use crate::single::{Begin, Lives, SingleArgs};

/// States of model 701 (`InvSt`).
const OFF: u16 = 0;
const STARTING: u16 = 2;
const RUNNING: u16 = 3;
const FAULT: u16 = 6;

/// Arguments of `sos device generator`.
#[derive(Clone, Debug, clap::Args)]
pub struct GeneratorArgs {
    /// Least power while it runs.
    #[arg(long, default_value = "0kW", value_parser = quantity::power)]
    pub min_power: Power,
    /// Most power.
    #[arg(long, value_parser = quantity::power)]
    pub max_power: Power,
    /// From the command to start to its first power; at once by default.
    #[arg(long, value_parser = quantity::seconds)]
    pub start_time: Option<u32>,
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
    engine: Engine,
    given: Meter,
    setpoint: Control<Setpoint>,
    is_share: bool,
}

#[derive(Debug)]
struct Set {
    params: GeneratorParams,
    /// Registers show the mean of the last interval (lock-step) or the present (scaled).
    mean_of_interval: bool,
    state: State,
    tripped: bool,
}

/// Runs a generator until the process is ended.
///
/// # Errors
/// When an argument or the state file is unusable or a port is taken.
pub async fn run(args: GeneratorArgs) -> Result<(), DeviceError> {
    let start = Hours::from_seconds(f64::from(args.start_time.unwrap_or(0)));
    let params = GeneratorParams::new(args.min_power, args.max_power, start).ok_or_else(|| {
        let text = "--min-power and --max-power: expected 0 ≤ min ≤ max and max above 0".to_owned();
        DeviceError::BadInput(text)
    })?;
    if args.max_power.as_kw() > MAX_KW {
        let text = format!("--max-power: a 16-bit register holds at most {MAX_KW} kW");
        return Err(DeviceError::BadInput(text));
    }
    let mean_of_interval = args.device.shows_means();
    let begin = move |begin| {
        let state = match begin {
            // An engine that was left alone stands.
            Begin::Again(state) => State { engine: Engine::Off, setpoint: Control::default(), ..state },
            Begin::Anew(time) => {
                let (given, setpoint) = (Meter::default(), Control::default());
                State { time, engine: Engine::Off, given, setpoint, is_share: false }
            }
        };
        Ok(Set { params, mean_of_interval, state, tripped: false })
    };
    args.device.play(begin).await
}

impl Lives for Set {
    type State = State;

    fn state(&self) -> &State {
        &self.state
    }

    fn time(&self) -> Option<i64> {
        self.state.time
    }

    fn advance(&mut self, now: i64, fault: Option<Fault>) {
        let Some(before) = self.state.time else {
            self.state.time = Some(now);
            return;
        };
        let seconds = now - before;
        if seconds <= 0 {
            return;
        }
        self.tripped = fault == Some(Fault::Trip);
        let (mut time, mut energy) = (before, 0);
        while time < now {
            self.state.setpoint.lapse(time);
            let end = self.state.setpoint.until(now);
            let span = Hours::from_seconds((end - time) as f64);
            let (engine, power) = step(&self.params, self.state.engine, self.asked(), span);
            self.state.engine = engine;
            energy += whole_watts(power) * (end - time);
            time = end;
        }
        self.state.setpoint.lapse(now);
        if self.asked() == Power::ZERO {
            self.state.engine = Engine::Off;
        }
        self.state.given.report(Some(energy), seconds, energy % seconds == 0);
        self.state.time = Some(now);
    }

    fn image(&self, serial: &str) -> Vec<u16> {
        let mut map = Map::new(serial, "generator set");
        let state = &self.state;
        registers::ratings(&mut map, u16::try_from(whole_watts(self.params.most())).ok());
        registers::setpoint(&mut map, state.setpoint, state.is_share, state.time.unwrap_or_default());
        let present = || step(&self.params, state.engine, self.asked(), Hours::from_seconds(1.0)).1;
        // One that rests gives nothing, before the first interval too.
        let rests = (state.engine == Engine::Off).then_some(0);
        let watts =
            if self.mean_of_interval { state.given.watts.or(rests) } else { Some(whole_watts(present())) };
        let model = registers::measurement(&mut map, watts, state.given.watt_seconds, 0);
        let (on, word) = match state.engine {
            _ if self.tripped => (false, FAULT),
            Engine::Off => (false, OFF),
            Engine::Starting(_) => (true, STARTING),
            Engine::Running => (true, RUNNING),
        };
        registers::operating(&mut map, model, on, word);
        map.finish()
    }

    fn range(&self) -> (i64, i64) {
        (0, whole_watts(self.params.most()))
    }

    fn order(&mut self) -> (&mut Control<Setpoint>, &mut bool) {
        (&mut self.state.setpoint, &mut self.state.is_share)
    }
}

impl Set {
    /// The power in force; zero is the safe state without one.
    fn asked(&self) -> Power {
        let Control { enabled, value, .. } = self.state.setpoint;
        match (enabled && !self.tripped, self.state.is_share) {
            (false, _) => Power::ZERO,
            (true, true) => self.params.most() * (f64::from(value.share) / 1e4),
            (true, false) => from_watts(i64::from(value.watts)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Set {
        let params =
            GeneratorParams::new(Power::kw(4.0), Power::kw(10.0), Hours::from_seconds(60.0)).unwrap();
        let state = State {
            time: Some(0),
            engine: Engine::Off,
            given: Meter::default(),
            setpoint: Control::default(),
            is_share: false,
        };
        Set { params, mean_of_interval: true, state, tripped: false }
    }

    fn ask(set: &mut Set, watts: i32, lease: u32) {
        let value = Setpoint { watts, share: 0 };
        set.state.setpoint = Control { enabled: true, value, lease, ..Control::default() };
        set.state.setpoint.renew(set.state.time.unwrap());
    }

    #[test]
    fn it_starts_runs_and_stops_when_its_lease_ends() {
        let mut set = set();
        ask(&mut set, 6000, 180);
        set.advance(30, None);
        assert_eq!((set.state.engine, set.state.given.watts), (Engine::Starting(30), Some(0)));
        set.advance(90, None);
        assert_eq!((set.state.engine, set.state.given.watts), (Engine::Running, Some(3000)));
        set.advance(210, None);
        assert_eq!((set.state.engine, set.state.given.watts), (Engine::Off, Some(4500)));
        assert_eq!(set.state.given.watt_seconds, 6000 * 120);
    }

    #[test]
    fn a_trip_stops_it_and_is_told() {
        let mut set = set();
        ask(&mut set, 6000, 0);
        set.advance(600, None);
        set.advance(660, Some(Fault::Trip));
        assert_eq!((set.state.engine, set.state.given.watts), (Engine::Off, Some(0)));
        set.advance(690, None);
        assert_eq!(set.state.engine, Engine::Starting(30), "it is asked for power still");
    }
}
