//! Measures a lock-step tick: five homes and an adapter as processes of their own, and an engine that hands the time
//! over, reads 15 assets, commands 5 batteries with read-back.
//!
//! `cargo run --release -p sos-device --example tick [TICKS]`

#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use jiff::Timestamp;
use sos_device::client::{AdapterClient, ClockClient};
use sos_device::protocol::{AssetConfig, AssetType, Setpoint, Token};
use sos_device::{DeviceError, adapter, home};

const HOMES: usize = 5;
const START: i64 = 1_470_009_600;

#[derive(Parser)]
enum Role {
    Home(home::HomeArgs),
    Adapter(adapter::AdapterArgs),
}

/// Ended when the bench ends, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match std::env::args().nth(1).as_deref() {
        Some("home" | "adapter") => runtime.block_on(serve(Role::parse()))?,
        ticks => runtime.block_on(measure(ticks.map_or(Ok(5000), str::parse)?))?,
    }
    Ok(())
}

/// Runs one process and tells its ports.
async fn serve(role: Role) -> Result<(), DeviceError> {
    match role {
        Role::Home(args) => {
            let home = home::bind(&args).await?;
            println!("{} {}", home.modbus_addr()?.port(), home.clock_addr().map_or(0, |addr| addr.port()));
            home.serve().await;
        }
        Role::Adapter(args) => {
            let adapter = adapter::bind(args).await?;
            println!("{} 0", adapter.addr()?.port());
            adapter.serve().await;
        }
    }
    Ok(())
}

fn start(arguments: &[&str]) -> Result<(Process, u16, u16), Box<dyn std::error::Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).env("SOS_CLOCK", "lockstep").env("SOS_ADAPTER_TOKEN", "bench");
    let mut child = Process(command.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let (modbus, clock) = line.trim().split_once(' ').ok_or("no ports")?;
    Ok((child, modbus.parse()?, clock.parse()?))
}

async fn measure(ticks: i64) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("home.csv");
    let mut table = std::fs::File::create(&data)?;
    writeln!(table, "time,load_kw,solar_kw")?;
    for hour in 0..=ticks {
        let time = Timestamp::from_second(START + hour * 3600)?;
        writeln!(table, "{time},{:.3},{:.3}", 1.0 + (hour % 7) as f64 * 0.3, (hour % 24) as f64 * 0.15)?;
    }
    drop(table);
    let (mut processes, mut clocks, mut assets) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..HOMES {
        let state = dir.path().join(format!("home-{n}.state"));
        let paths = (data.display().to_string(), state.display().to_string());
        let (process, modbus, clock) = start(&["home", "--data", &paths.0, "--state", &paths.1])?;
        processes.push(process);
        clocks.push(ClockClient::new(format!("127.0.0.1:{clock}"), Duration::from_secs(5)));
        for (unit, kind) in [(1, AssetType::Solar), (2, AssetType::Battery), (3, AssetType::Load)] {
            let (asset, host) = (format!("home-{n}-{unit}"), "127.0.0.1".to_owned());
            assets.push(AssetConfig { asset, kind, host, port: modbus, unit, timeout_ms: None });
        }
    }
    let (process, port, _) = start(&["adapter"])?;
    processes.push(process);
    let mut adapter =
        AdapterClient::new(format!("127.0.0.1:{port}"), Token::new("bench"), Duration::from_secs(5));
    adapter.configure(assets).await?;
    let mut laps: [Vec<Duration>; 4] = Default::default();
    for tick in 1..=ticks {
        let now = Timestamp::from_second(START + tick * 3600)?;
        let begin = Instant::now();
        for reply in futures::future::join_all(clocks.iter_mut().map(|clock| clock.advance(now))).await {
            reply?;
        }
        let advanced = Instant::now();
        let read = adapter.read(now).await?;
        let done_reading = Instant::now();
        if let Some(error) = read.assets.iter().find_map(|asset| asset.error.as_ref()) {
            return Err(error.message.clone().into());
        }
        let watts = [-2.0, 1.0, 3.5, -4.0][tick as usize % 4];
        let setpoints = (0..HOMES).map(|n| Setpoint { asset: format!("home-{n}-2"), power_kw: Some(watts) });
        let written = adapter.write(1, 3 * 3600, setpoints.collect()).await?;
        let end = Instant::now();
        if written.results.iter().any(|result| result.readback_kw != Some(watts)) {
            return Err(format!("{written:?}").into());
        }
        let parts = [advanced - begin, done_reading - advanced, end - done_reading, end - begin];
        laps.iter_mut().zip(parts).for_each(|(lap, part)| lap.push(part));
    }
    for (name, lap) in ["advance", "read", "write", "tick"].iter().zip(&mut laps) {
        lap.sort_unstable();
        let at = |share: f64| lap[((lap.len() - 1) as f64 * share) as usize];
        let mean = lap.iter().sum::<Duration>() / lap.len() as u32;
        println!("{name:8} mean {mean:>10.1?}  p50 {:>10.1?}  p99 {:>10.1?}", at(0.5), at(0.99));
    }
    Ok(())
}
