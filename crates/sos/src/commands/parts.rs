//! The parts that run as services of their own: played devices, adapters, jobs.

use sos_device::DeviceError;

use super::{block_on, start_logging};
use crate::outcome::{Failure, Outcome};

/// Played devices.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Device {
    /// One home's solar inverter, battery and meter as SunSpec models over Modbus TCP
    Home(Box<sos_device::home::HomeArgs>),
    /// One generator set as SunSpec models over Modbus TCP
    Generator(Box<sos_device::generator::GeneratorArgs>),
    /// A charging point with its vehicle as SunSpec models over Modbus TCP
    Vehicle(Box<sos_device::vehicle::VehicleArgs>),
    /// A heat pump with the tank or the building that it heats as SunSpec models over Modbus TCP
    HeatPump(Box<sos_device::heat_pump::HeatPumpArgs>),
}

/// Adapters.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Adapter {
    /// Reads and commands SunSpec devices over Modbus TCP
    Sunspec(sos_device::adapter::AdapterArgs),
}

/// Jobs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Job {
    /// Burns CPU for a declared span of site time
    Burn(Box<sos_device::job::JobArgs>),
}

/// Plays a device until it is stopped.
pub(crate) fn device(device: Device) -> Outcome {
    start_logging("info");
    block_on(async {
        match device {
            Device::Home(args) => sos_device::home::run(*args).await,
            Device::Generator(args) => sos_device::generator::run(*args).await,
            Device::Vehicle(args) => sos_device::vehicle::run(*args).await,
            Device::HeatPump(args) => sos_device::heat_pump::run(*args).await,
        }
        .map_err(failure)
    })
}

/// Runs an adapter until it is stopped.
pub(crate) fn adapter(adapter: Adapter) -> Outcome {
    start_logging("info");
    let Adapter::Sunspec(args) = adapter;
    block_on(async { sos_device::adapter::run(args).await.map_err(failure) })
}

/// Runs a job to its end.
pub(crate) fn job(job: Job) -> Outcome {
    start_logging("info");
    let Job::Burn(args) = job;
    block_on(async { sos_device::job::run(*args).await.map_err(failure) })
}

fn failure(error: DeviceError) -> Failure {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    match error.exit_code() {
        2 => Failure::input(text),
        _ => Failure::unsuccessful(text),
    }
}
