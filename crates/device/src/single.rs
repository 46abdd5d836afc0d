//! A played device of one unit (unit 1): its time, its state file and its registers over Modbus TCP on 127.0.0.1.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpListener;

use crate::DeviceError;
use crate::checkpoint::{Checkpoint, Found};
use crate::clock::{self, Clock, ClockArgs, ClockMode, ClockReply, Scale};
use crate::fault::{Fault, Faults};
use crate::home::registers::{self, Refused};
use crate::home::server::{self, Played};
use crate::home::sim::{Control, Setpoint};

/// Rated power as a share of it, in hundredths of a percent.
const WHOLE: i64 = 10_000;
/// The only unit.
const UNIT: u8 = 1;

/// Arguments that all devices of one unit share.
#[derive(Clone, Debug, clap::Args)]
pub struct SingleArgs {
    /// Its name, reported as its serial number.
    #[arg(long, default_value = "device")]
    pub name: String,
    /// Modbus TCP port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// File that keeps the state across restarts.
    #[arg(long)]
    pub state: PathBuf,
    /// File that switches faults on, for tests.
    #[arg(long, env = "SOS_DEVICE_FAULT")]
    pub fault: Option<PathBuf>,
    /// How it knows the time.
    #[command(flatten)]
    pub clock: ClockArgs,
}

/// What lives in it.
pub(crate) trait Lives: Send + 'static {
    /// Everything that survives a kill.
    type State: Serialize + DeserializeOwned;

    /// Its state.
    fn state(&self) -> &Self::State;
    /// Site time of the state in seconds since 1970; none before it was told one.
    fn time(&self) -> Option<i64>;
    /// Lives until `now`; a time that is not later than its own changes nothing.
    fn advance(&mut self, now: i64, fault: Option<Fault>);
    /// Its registers.
    fn image(&self, serial: &str) -> Vec<u16>;
    /// The set-points that it takes, in watts, site sign.
    fn range(&self) -> (i64, i64);
    /// The set-point that it follows, and whether that is a share of its rated power.
    fn order(&mut self) -> (&mut Control<Setpoint>, &mut bool);

    /// Writes registers, all or nothing.
    fn write(&mut self, serial: &str, address: u16, words: &[u16]) -> Result<(), Refused> {
        let (low, high) = self.range();
        let shares = low.signum() * WHOLE..=high.signum() * WHOLE;
        let within = |value: Setpoint| {
            (low..=high).contains(&i64::from(value.watts)) && shares.contains(&i64::from(value.share))
        };
        let (setpoint, is_share) = registers::asked(self.image(serial), address, words, within)?;
        let time = self.time().unwrap_or_default();
        let order = self.order();
        (*order.0, *order.1) = (setpoint, is_share);
        order.0.renew(time);
        Ok(())
    }
}

#[derive(Debug)]
struct Shared<D> {
    serial: String,
    faults: Faults,
    scale: Option<Scale>,
    inner: Mutex<Inner<D>>,
}

#[derive(Debug)]
struct Inner<D> {
    device: D,
    file: Checkpoint,
}

/// How a device begins: the state of an earlier process, or the site time at the start, where it is known.
#[derive(Debug)]
pub(crate) enum Begin<S> {
    Again(S),
    Anew(Option<i64>),
}

impl SingleArgs {
    /// Whether registers show the mean of the last interval (lock-step) or the present (scaled).
    pub(crate) fn shows_means(&self) -> bool {
        self.clock.clock == ClockMode::Lockstep
    }

    /// Plays what `begin` makes until the process is ended.
    pub(crate) async fn play<D: Lives>(
        self,
        begin: impl FnOnce(Begin<D::State>) -> Result<D, DeviceError>,
    ) -> Result<(), DeviceError> {
        let clock = self.clock.start().await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let modbus = TcpListener::bind(address)
            .await
            .map_err(DeviceError::io(format!("listen on {address} for Modbus")))?;
        let (file, found) = Checkpoint::open::<D::State>(&self.state)?;
        let device = begin(match found {
            Found::State(state) => Begin::Again(state),
            found => {
                if let Found::Corrupt(aside) = found {
                    tracing::error!(moved_to = %aside.display(), "the state file is corrupt; starting from the initial state");
                }
                Begin::Anew(self.clock.site_epoch.map(Timestamp::as_second))
            }
        })?;
        let scale = if let Clock::Scaled(scale) = &clock { Some(*scale) } else { None };
        tracing::info!(name = self.name, modbus = %address, "listening");
        let inner = Mutex::new(Inner { device, file });
        let shared = Arc::new(Shared { serial: self.name, faults: Faults(self.fault), scale, inner });
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
}

impl<D: Lives> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, Inner<D>> {
        // Every change of the state is complete before a panic could happen elsewhere.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, now: Timestamp) -> ClockReply {
        let fault = self.faults.of_unit(UNIT);
        let mut inner = self.lock();
        inner.advance(now.as_second(), fault);
        let now = inner.device.time().and_then(|time| Timestamp::from_second(time).ok());
        ClockReply { now, ..ClockReply::default() }
    }

    /// With a scaled clock, lives until the present.
    fn catch_up(&self, inner: &mut Inner<D>) {
        if let Some(scale) = self.scale {
            inner.advance(scale.site_seconds(clock::wall_now()), self.faults.of_unit(UNIT));
        }
    }
}

impl<D: Lives> Inner<D> {
    fn advance(&mut self, now: i64, fault: Option<Fault>) {
        let before = self.device.time();
        self.device.advance(now, fault);
        if self.device.time() != before {
            self.save();
        }
    }

    /// A device whose state cannot be saved goes on.
    fn save(&mut self) {
        if let Err(error) = self.file.save(self.device.state()) {
            tracing::error!(%error, "cannot save the state; a restart would go back to the last saved one");
        }
    }
}

impl<D: Lives> Played for Shared<D> {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn image(&self, unit: u8) -> Option<Vec<u16>> {
        let mut inner = self.lock();
        self.catch_up(&mut inner);
        (unit == UNIT).then(|| inner.device.image(&self.serial))
    }

    fn write(&self, unit: u8, address: u16, words: &[u16]) -> Result<(), Refused> {
        if unit != UNIT {
            return Err(Refused::Address);
        }
        let mut inner = self.lock();
        self.catch_up(&mut inner);
        inner.device.write(&self.serial, address, words)?;
        inner.save();
        Ok(())
    }
}
