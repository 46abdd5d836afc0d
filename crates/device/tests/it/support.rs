//! One home and one adapter as tasks of the test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use sos_device::adapter::{self, AdapterArgs};
use sos_device::client::{AdapterClient, ClockClient};
use sos_device::home::{self, HomeArgs};
use sos_device::protocol::{AssetConfig, AssetType, Measurement, Setpoint, Token, WriteResult};
use tokio::task::JoinHandle;

/// 2016-08-01T00:00:00Z, the first row of [`data`].
const START: i64 = 1_470_009_600;
pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// Site time so many minutes after the first row.
pub(crate) fn minute(n: i64) -> Timestamp {
    Timestamp::from_second(START + n * 60).unwrap()
}

/// Load 1, 2, 3, 4, … kW; solar 0, 2, 4, 0, 2, … kW.
pub(crate) fn data(dir: &Path) -> PathBuf {
    let rows = (0..12).map(|n| format!("{},{},{}\n", minute(n * 60), n + 1, [0, 2, 4][n as usize % 3]));
    let path = dir.join("home.csv");
    std::fs::write(&path, format!("time,load_kw,solar_kw\n{}", rows.collect::<String>())).unwrap();
    path
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    home: HomeArgs,
}

pub(crate) fn home_args(dir: &Path) -> HomeArgs {
    let (data, state, fault) = (data(dir), dir.join("state"), dir.join("fault"));
    let line = ["home", "--clock", "lockstep", "--name", "h1", "--data"].map(Into::into).into_iter();
    let paths =
        [data.into(), "--state".into(), state.into_os_string(), "--fault".into(), fault.into_os_string()];
    Line::parse_from(line.chain(paths)).home
}

/// A running home.
pub(crate) struct Home {
    pub(crate) port: u16,
    pub(crate) clock: ClockClient,
    task: JoinHandle<()>,
}

impl Home {
    pub(crate) async fn start(args: &HomeArgs) -> Self {
        let bound = home::bind(args).await.unwrap();
        let port = bound.modbus_addr().unwrap().port();
        // A scaled home has no clock to talk to.
        let clock = bound.clock_addr().map_or(String::new(), |address| address.to_string());
        let clock = ClockClient::new(clock, WAIT);
        Self { port, clock, task: tokio::spawn(bound.serve()) }
    }

    pub(crate) async fn until(&mut self, minutes: i64) {
        let reply = self.clock.advance(minute(minutes)).await.unwrap();
        assert_eq!(reply.now, Some(minute(minutes)));
    }

    /// Ends the home where it is, as a kill does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub(crate) async fn start_adapter() -> (String, AdapterClient) {
    let token = Token::new("secret");
    let args = AdapterArgs { listen: "127.0.0.1:0".parse().unwrap(), token: Some(token.clone()) };
    let bound = adapter::bind(args).await.unwrap();
    let address = bound.addr().unwrap().to_string();
    tokio::spawn(bound.serve());
    (address.clone(), AdapterClient::new(address, token, WAIT))
}

/// The three assets of a home.
pub(crate) fn assets(port: u16, timeout_ms: u32) -> Vec<AssetConfig> {
    let kinds = [("pv", AssetType::Solar), ("battery", AssetType::Battery), ("load", AssetType::Load)];
    let asset = |(unit, (name, kind)): (u8, (&str, AssetType))| AssetConfig {
        asset: name.to_owned(),
        kind,
        host: "127.0.0.1".to_owned(),
        port,
        unit,
        timeout_ms: Some(timeout_ms),
    };
    (1..).zip(kinds).map(asset).collect()
}

/// Measurements of solar inverter, battery and load.
pub(crate) async fn read(client: &mut AdapterClient, minutes: i64) -> [Measurement; 3] {
    let reply = client.read(minute(minutes)).await.unwrap();
    assert_eq!(reply.time, minute(minutes));
    reply.assets.try_into().unwrap()
}

pub(crate) async fn command(
    client: &mut AdapterClient,
    asset: &str,
    power_kw: Option<f64>,
    lease_s: u32,
) -> WriteResult {
    let setpoint = Setpoint { asset: asset.to_owned(), power_kw };
    let mut reply = client.write(1, lease_s, vec![setpoint]).await.unwrap();
    assert_eq!(reply.results.len(), 1);
    reply.results.remove(0)
}
