//! Plays one generator set (unit 1) as SunSpec models over Modbus TCP on 127.0.0.1: a set-point above zero starts it, zero
//! stops it.
//!
//! # Guarantees
//! Reported powers are whole watts; counters are the exact sum of what was reported. A set-point ends with its lease
//! (`WSetRvrtTms`, in site time): the engine then stops. It stops as well when its process ends, as an engine without its
//! controller does, and while the fault `trip` is switched on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_plant::generator::{Engine, GeneratorParams, step};
use sos_plant::{from_watts, whole_watts};
use sos_units::{Hours, Power};
use tokio::net::TcpListener;

use crate::DeviceError;
use crate::checkpoint::{Checkpoint, Found};
use crate::clock::{self, Clock, ClockArgs, ClockMode, ClockReply, Scale};
use crate::fault::{Fault, Faults};
use crate::home::data::MAX_KW;
use crate::home::registers::{self, Map, Refused};
use crate::home::server::{self, Played};
use crate::home::sim::{Control, Meter, Setpoint};
use crate::quantity;

/// Its only unit.
const UNIT: u8 = 1;
/// States of model 701 (`InvSt`).
const OFF: u16 = 0;
const STARTING: u16 = 2;
const RUNNING: u16 = 3;
const FAULT: u16 = 6;

/// Arguments of `sos device generator`.
#[derive(Clone, Debug, clap::Args)]
pub struct GeneratorArgs {
    /// Its name, reported as its serial number.
    #[arg(long, default_value = "generator")]
    pub name: String,
    /// Modbus TCP port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// File that keeps the state across restarts.
    #[arg(long)]
    pub state: PathBuf,
    /// Least power while it runs.
    #[arg(long, default_value = "0kW", value_parser = quantity::power)]
    pub min_power: Power,
    /// Most power.
    #[arg(long, value_parser = quantity::power)]
    pub max_power: Power,
    /// From the command to start to its first power; at once by default.
    #[arg(long, value_parser = quantity::seconds)]
    pub start_time: Option<u32>,
    /// File that switches faults on, for tests.
    #[arg(long, env = "SOS_DEVICE_FAULT")]
    pub fault: Option<PathBuf>,
    /// How it knows the time.
    #[command(flatten)]
    pub clock: ClockArgs,
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
    file: Checkpoint,
}

#[derive(Debug)]
struct Shared {
    serial: String,
    faults: Faults,
    scale: Option<Scale>,
    set: Mutex<Set>,
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
    let clock = args.clock.start().await?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let modbus = TcpListener::bind(address)
        .await
        .map_err(DeviceError::io(format!("listen on {address} for Modbus")))?;
    let (file, state) = opened(&args)?;
    let scale = if let Clock::Scaled(scale) = &clock { Some(*scale) } else { None };
    let mean_of_interval = args.clock.clock == ClockMode::Lockstep;
    let set = Set { params, mean_of_interval, state, tripped: false, file };
    let faults = Faults(args.fault.clone());
    let shared = Arc::new(Shared { serial: args.name.clone(), faults, scale, set: Mutex::new(set) });
    tracing::info!(generator = args.name, modbus = %address, "listening");
    let lives = shared.clone();
    let time = async move {
        match clock {
            Clock::Lockstep(listener) => clock::serve(listener, move |now| lives.advance(now)).await,
            Clock::Scaled(_) => loop {
                lives.catch_up(&mut lives.lock());
                tokio::time::sleep(Duration::from_millis(100)).await;
            },
        }
    };
    futures::future::join(server::serve(modbus, shared), time).await;
    Ok(())
}

/// The state file and what it says; an engine that was left alone stands.
fn opened(args: &GeneratorArgs) -> Result<(Checkpoint, State), DeviceError> {
    let (file, found) = Checkpoint::open::<State>(&args.state)?;
    let state = match found {
        Found::State(state) => State { engine: Engine::Off, setpoint: Control::default(), ..state },
        found => {
            if let Found::Corrupt(aside) = found {
                tracing::error!(moved_to = %aside.display(), "the state file is corrupt; starting from the initial state");
            }
            let time = args.clock.site_epoch.map(Timestamp::as_second);
            let (given, setpoint) = (Meter::default(), Control::default());
            State { time, engine: Engine::Off, given, setpoint, is_share: false }
        }
    };
    Ok((file, state))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Set> {
        // Every change of the state is complete before a panic could happen elsewhere.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, now: Timestamp) -> ClockReply {
        let tripped = self.faults.of_unit(UNIT) == Some(Fault::Trip);
        let mut set = self.lock();
        set.advance(now.as_second(), tripped);
        let now = set.state.time.and_then(|time| Timestamp::from_second(time).ok());
        ClockReply { now, ..ClockReply::default() }
    }

    /// With a scaled clock, lives until the present.
    fn catch_up(&self, set: &mut Set) {
        if let Some(scale) = self.scale {
            let tripped = self.faults.of_unit(UNIT) == Some(Fault::Trip);
            set.advance(scale.site_seconds(clock::wall_now()), tripped);
        }
    }
}

impl Played for Shared {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn image(&self, unit: u8) -> Option<Vec<u16>> {
        let mut set = self.lock();
        self.catch_up(&mut set);
        (unit == UNIT).then(|| set.image(&self.serial))
    }

    fn write(&self, unit: u8, address: u16, words: &[u16]) -> Result<(), Refused> {
        let mut set = self.lock();
        self.catch_up(&mut set);
        if unit == UNIT { set.write(&self.serial, address, words) } else { Err(Refused::Address) }
    }
}

impl Set {
    /// Lives until `now`; a time that is not later than its own changes nothing.
    fn advance(&mut self, now: i64, tripped: bool) {
        let Some(before) = self.state.time else {
            self.state.time = Some(now);
            return;
        };
        let seconds = now - before;
        if seconds <= 0 {
            return;
        }
        self.tripped = tripped;
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
        self.save();
    }

    /// The power in force; zero is the safe state without one.
    fn asked(&self) -> Power {
        let Control { enabled, value, .. } = self.state.setpoint;
        match (enabled && !self.tripped, self.state.is_share) {
            (false, _) => Power::ZERO,
            (true, true) => self.params.most() * (f64::from(value.share) / 1e4),
            (true, false) => from_watts(i64::from(value.watts)),
        }
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

    fn write(&mut self, serial: &str, address: u16, words: &[u16]) -> Result<(), Refused> {
        let most = whole_watts(self.params.most());
        let within = |value: Setpoint| {
            (0..=most).contains(&i64::from(value.watts)) && (0..=10_000).contains(&value.share)
        };
        let (setpoint, is_share) = registers::asked(self.image(serial), address, words, within)?;
        (self.state.setpoint, self.state.is_share) = (setpoint, is_share);
        self.state.setpoint.renew(self.state.time.unwrap_or_default());
        self.save();
        Ok(())
    }

    /// A set whose state cannot be saved goes on.
    fn save(&mut self) {
        if let Err(error) = self.file.save(&self.state) {
            tracing::error!(%error, "cannot save the state; a restart would go back to the last saved one");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(dir: &tempfile::TempDir) -> Set {
        let params =
            GeneratorParams::new(Power::kw(4.0), Power::kw(10.0), Hours::from_seconds(60.0)).unwrap();
        let (file, _) = Checkpoint::open::<State>(&dir.path().join("state")).unwrap();
        let state = State {
            time: Some(0),
            engine: Engine::Off,
            given: Meter::default(),
            setpoint: Control::default(),
            is_share: false,
        };
        Set { params, mean_of_interval: true, state, tripped: false, file }
    }

    fn ask(set: &mut Set, watts: i32, lease: u32) {
        let value = Setpoint { watts, share: 0 };
        set.state.setpoint = Control { enabled: true, value, lease, ..Control::default() };
        set.state.setpoint.renew(set.state.time.unwrap());
    }

    #[test]
    fn it_starts_runs_and_stops_when_its_lease_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut set = set(&dir);
        ask(&mut set, 6000, 180);
        set.advance(30, false);
        assert_eq!((set.state.engine, set.state.given.watts), (Engine::Starting(30), Some(0)));
        set.advance(90, false);
        assert_eq!((set.state.engine, set.state.given.watts), (Engine::Running, Some(3000)));
        set.advance(210, false);
        assert_eq!((set.state.engine, set.state.given.watts), (Engine::Off, Some(4500)));
        assert_eq!(set.state.given.watt_seconds, 6000 * 120);
    }

    #[test]
    fn a_trip_stops_it_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut set = set(&dir);
        ask(&mut set, 6000, 0);
        set.advance(600, false);
        set.advance(660, true);
        assert_eq!((set.state.engine, set.state.given.watts), (Engine::Off, Some(0)));
        set.advance(690, false);
        assert_eq!(set.state.engine, Engine::Starting(30), "it is asked for power still");
    }
}
