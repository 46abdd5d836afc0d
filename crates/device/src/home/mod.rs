//! Plays one home: solar inverter (unit 1), battery inverter (unit 2), load meter (unit 3) and, where its data have wind, a
//! wind turbine (unit 4) as SunSpec models over Modbus TCP on 127.0.0.1.
//!
//! # Guarantees
//! Reported powers are whole watts; counters are the exact sum of what was reported. A set-point ends with its lease
//! (`WSetRvrtTms`, in site time): the battery then idles. All state survives a kill; after one, the missed time is
//! lived through with the leases that were running.

pub(crate) mod data;
pub(crate) mod registers;
pub(crate) mod server;
pub(crate) mod sim;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sos_plant::battery::{BatteryParams, BatterySpec};
use sos_plant::whole_watts;
use sos_units::{Energy, Power, Soc};
use tokio::net::TcpListener;

use crate::DeviceError;
use crate::checkpoint::{Checkpoint, Found};
use crate::clock::{self, Clock, ClockArgs, ClockMode, ClockReply, Scale};
use crate::fault::Faults;
use crate::quantity;

/// Arguments of `sos device home`.
#[derive(Clone, Debug, clap::Args)]
pub struct HomeArgs {
    /// Name of the home; its units report it as their serial number.
    #[arg(long, default_value = "home")]
    pub name: String,
    /// Modbus TCP port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// CSV with the columns time (RFC 3339), load_kw, solar_kw and, for a wind turbine, wind_kw, all zero or above.
    #[arg(long)]
    pub data: PathBuf,
    /// File that keeps the state across restarts.
    #[arg(long)]
    pub state: PathBuf,
    /// Usable capacity of the battery.
    #[arg(long, default_value = "6.4kWh", value_parser = quantity::energy)]
    pub battery_capacity: Energy,
    /// Largest charge and discharge power of the battery.
    #[arg(long, default_value = "5kW", value_parser = quantity::power)]
    pub battery_power: Power,
    /// Efficiency of charging and of discharging, each; above 0, at most 1.
    #[arg(long, default_value_t = 0.95)]
    pub battery_efficiency: f64,
    /// State of charge at the first start, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub battery_soc: f64,
    /// Rated power of the solar inverter; the largest value of the data by default.
    #[arg(long, value_parser = quantity::power)]
    pub solar_rating: Option<Power>,
    /// Rated power of the wind turbine; the largest value of the data by default.
    #[arg(long, value_parser = quantity::power)]
    pub wind_rating: Option<Power>,
    /// The battery's inverter forms the grid: it takes up what load and generation of this home do otherwise than when it was
    /// commanded, and carries the home alone without a command.
    #[arg(long)]
    pub grid_forming: bool,
    /// Vary load and solar power within each step of the data, keeping its energy; the seed.
    #[arg(long)]
    pub variation: Option<u64>,
    /// Length of the pieces that vary; divides the step of the data.
    #[arg(long, default_value = "60s", value_parser = quantity::seconds)]
    pub variation_step: u32,
    /// File that switches faults on, for tests.
    #[arg(long, env = "SOS_DEVICE_FAULT")]
    pub fault: Option<PathBuf>,
    /// How the home knows the time.
    #[command(flatten)]
    pub clock: ClockArgs,
}

/// A home that listens but does not answer yet.
#[derive(Debug)]
pub struct BoundHome {
    modbus: TcpListener,
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    serial: String,
    faults: Faults,
    scale: Option<Scale>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    home: sim::Home,
    file: Checkpoint,
    save_failed: bool,
}

/// Runs a home until the process is ended.
///
/// # Errors
/// When an argument, the data or the state file is unusable or a port is taken.
pub async fn run(args: HomeArgs) -> Result<(), DeviceError> {
    let home = bind(&args).await?;
    tracing::info!(home = args.name, modbus = %home.modbus_addr()?, "listening");
    home.serve().await;
    Ok(())
}

/// Loads data and state and takes the ports.
///
/// # Errors
/// As [`run`].
pub async fn bind(args: &HomeArgs) -> Result<BoundHome, DeviceError> {
    let config = config(args)?;
    let clock = args.clock.start().await?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let modbus = TcpListener::bind(address)
        .await
        .map_err(DeviceError::io(format!("listen on {address} for Modbus")))?;
    let (file, found) = Checkpoint::open(&args.state)?;
    let state = match found {
        Found::State(state) => state,
        found => {
            if let Found::Corrupt(aside) = found {
                tracing::error!(state = %args.state.display(), moved_to = %aside.display(), "the state file is corrupt; starting from the initial state");
            }
            let start = args.clock.site_epoch.map_or(config.data.start(), Timestamp::as_second);
            sim::State::initial(&config, start, Soc::fraction(args.battery_soc))
        }
    };
    let scale = if let Clock::Scaled(scale) = &clock { Some(*scale) } else { None };
    let shared = Shared {
        serial: args.name.clone(),
        faults: Faults(args.fault.clone()),
        scale,
        inner: Mutex::new(Inner { home: sim::Home { config, state }, file, save_failed: false }),
    };
    Ok(BoundHome { modbus, clock, shared: Arc::new(shared) })
}

fn config(args: &HomeArgs) -> Result<sim::Config, DeviceError> {
    let bad = |text: String| Err(DeviceError::BadInput(text));
    let mut data = data::Data::read(&args.data)?;
    if let Some(seed) = args.variation {
        data.vary(seed, args.variation_step)?;
    }
    if args.battery_power.as_kw() > data::MAX_KW {
        return bad(format!("--battery-power: a 16-bit register holds at most {} kW", data::MAX_KW));
    }
    let solar_rating = args.solar_rating.map_or(data.peak_solar(), whole_watts);
    let wind_rating = data.peak_wind().map(|peak| args.wind_rating.map_or(peak, whole_watts));
    for (argument, rating) in [("solar-rating", solar_rating), ("wind-rating", wind_rating.unwrap_or(0))] {
        if !(0..=(data::MAX_KW * 1000.0) as i64).contains(&rating) {
            return bad(format!("--{argument}: a 16-bit register holds at most {} kW", data::MAX_KW));
        }
    }
    if !(0.0..=1.0).contains(&args.battery_soc) {
        return bad(format!("--battery-soc must be 0 to 1, not {}", args.battery_soc));
    }
    let battery = BatteryParams::new(BatterySpec {
        capacity: args.battery_capacity,
        max_charge: args.battery_power,
        max_discharge: args.battery_power,
        charge_efficiency: args.battery_efficiency,
        discharge_efficiency: args.battery_efficiency,
        min_soc: Soc::ZERO,
        max_soc: Soc::fraction(1.0),
    });
    let battery = battery.map_err(|error| DeviceError::BadInput(error.to_string()))?;
    let mean_of_interval = args.clock.clock == ClockMode::Lockstep;
    Ok(sim::Config {
        battery,
        solar_rating,
        wind_rating,
        forms_grid: args.grid_forming,
        data,
        mean_of_interval,
    })
}

impl BoundHome {
    /// Where Modbus TCP is served.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn modbus_addr(&self) -> Result<SocketAddr, DeviceError> {
        self.modbus.local_addr().map_err(DeviceError::io("read the own Modbus address"))
    }

    /// Where the lock-step clock is served; `None` for a scaled one.
    #[must_use]
    pub fn clock_addr(&self) -> Option<SocketAddr> {
        if let Clock::Lockstep(listener) = &self.clock { listener.local_addr().ok() } else { None }
    }

    /// Answers for ever.
    pub async fn serve(self) {
        let shared = self.shared.clone();
        let time = async move {
            match self.clock {
                Clock::Lockstep(listener) => clock::serve(listener, move |now| shared.advance(now)).await,
                Clock::Scaled(_) => loop {
                    shared.catch_up(&mut shared.lock());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                },
            }
        };
        futures::future::join(server::serve(self.modbus, self.shared), time).await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of the state is complete before a panic could happen elsewhere.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, now: Timestamp) -> ClockReply {
        let mut inner = self.lock();
        if inner.home.advance(now.as_second()) {
            inner.save();
        }
        ClockReply { now: Timestamp::from_second(inner.home.state.time).ok(), ..ClockReply::default() }
    }

    /// With a scaled clock, lives until the present.
    fn catch_up(&self, inner: &mut Inner) {
        if let Some(scale) = self.scale
            && inner.home.advance(scale.site_seconds(clock::wall_now()))
        {
            inner.save();
        }
    }
}

impl server::Played for Shared {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn image(&self, unit: u8) -> Option<Vec<u16>> {
        let mut inner = self.lock();
        self.catch_up(&mut inner);
        registers::image(&inner.home, &self.serial, unit)
    }

    fn write(&self, unit: u8, address: u16, words: &[u16]) -> Result<(), registers::Refused> {
        let mut inner = self.lock();
        self.catch_up(&mut inner);
        registers::write(&mut inner.home, &self.serial, unit, address, words)?;
        inner.save();
        Ok(())
    }
}

impl Inner {
    /// A home whose state cannot be saved goes on; what is lost is told once, until saving works again.
    fn save(&mut self) {
        match self.file.save(&self.home.state) {
            Ok(()) => self.save_failed = false,
            Err(error) if !self.save_failed => {
                self.save_failed = true;
                tracing::error!(%error, "cannot save the state; a restart would go back to the last saved one");
            }
            Err(_) => {}
        }
    }
}
