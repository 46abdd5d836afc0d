//! The site's connections: to its adapters and to the clocks of what is simulated.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use sos_device::client::{AdapterClient, ClientError, ClockClient};
use sos_device::clock::ClockReply;
use sos_device::protocol::{AssetConfig, AssetType, Engine, Measurement, Setpoint, Token, WriteResult};
use sos_units::{Energy, Missing, Power, Reading, Soc};

use super::model::{Address, Kind, SiteModel};
use crate::services::board::Board;
use crate::services::convert::ADAPTER_PORT;

/// Longest wait for an adapter: above the devices' own time-outs.
const ADAPTER_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for a simulated device to live through a tick.
const CLOCK_WAIT: Duration = Duration::from_secs(5);

/// What an asset's device said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AssetReading {
    /// Mean power of the step that has ended, as the device measures it, positive into the site.
    pub power: Power,
    /// State of charge.
    pub soc: Option<Soc>,
    /// Counter of energy into the site less energy out of it.
    pub counter: Option<Energy>,
    /// The counter begins again at zero when it has counted this much; none when it never does.
    pub counter_range: Option<Energy>,
    /// The set-point in force at the device.
    pub setpoint: Option<Power>,
    /// What the engine of a generator does, when its device tells.
    pub engine: Option<Engine>,
}

impl AssetReading {
    /// Power and state of charge alone.
    #[must_use]
    pub const fn of(power: Power, soc: Option<Soc>) -> Self {
        Self { power, soc, counter: None, counter_range: None, setpoint: None, engine: None }
    }
}

/// What was asked of an asset and what its device then said.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The asset.
    pub asset: usize,
    /// What the device follows now.
    pub readback: Option<Power>,
    /// Why it did not take effect.
    pub error: Option<String>,
}

/// An asset that could not be read, in words.
pub type Failures = BTreeMap<usize, String>;

/// All connections of a site.
#[derive(Debug, Default)]
pub struct Links {
    adapters: BTreeMap<String, AdapterLink>,
    clocks: BTreeMap<String, ClockLink>,
}

#[derive(Debug)]
struct AdapterLink {
    client: AdapterClient,
    address: u16,
    configured: Vec<AssetConfig>,
    stale: bool,
}

#[derive(Debug)]
struct ClockLink {
    client: ClockClient,
    port: u16,
    /// Its process may be new: it is first handed the time before.
    fresh: bool,
}

/// A simulated thing that is handed the time in lock-step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticked {
    /// Its service.
    pub service: String,
    /// Name of the port of its clock.
    pub port: String,
}

impl Links {
    /// Hands the time to everything that is ticked; returns those that did not take it, and those that are done.
    ///
    /// `before` is the time handed over last: a process that is new since starts its clock there.
    pub async fn advance(
        &mut self,
        ticked: &[Ticked],
        board: &Board,
        before: Option<Timestamp>,
        now: Timestamp,
    ) -> Advanced {
        let mut outcome = Advanced::default();
        let mut calls = Vec::new();
        self.clocks.retain(|service, _| ticked.iter().any(|one| one.service == *service));
        for one in ticked {
            let Some(port) = board.port(&one.service, &one.port) else {
                outcome.failed.insert(one.service.clone(), "is not running".to_owned());
                continue;
            };
            let link = self.clocks.entry(one.service.clone()).or_insert_with(|| ClockLink::new(port));
            if link.port != port {
                *link = ClockLink::new(port);
            }
        }
        for (service, link) in &mut self.clocks {
            if !outcome.failed.contains_key(service) {
                calls.push(async { (service.clone(), link.advance(before, now).await) });
            }
        }
        for (service, answer) in join_all(calls).await {
            match answer {
                Ok(reply) if reply.done => outcome.done.push(service),
                Ok(_) => {}
                Err(error) => drop(outcome.failed.insert(service, full(&error))),
            }
        }
        outcome
    }

    /// Reads every asset that has a device.
    pub async fn read(
        &mut self,
        model: &SiteModel,
        board: &Board,
        token: impl Fn(&str) -> Result<String, String>,
        now: Timestamp,
    ) -> (Vec<Reading<AssetReading>>, Failures) {
        let mut readings = vec![Err(Missing::NotYet); model.assets.len()];
        let mut failures = Failures::new();
        self.prepare(model, board, token, &mut failures);
        for index in failures.keys() {
            readings[*index] = Err(Missing::Unavailable);
        }
        let calls = self.adapters.iter_mut().map(|(name, link)| async move { (name, link.read(now).await) });
        for (adapter, answer) in join_all(calls).await {
            match answer {
                Ok(measurements) => take(model, &measurements, &mut readings, &mut failures),
                Err(error) => {
                    let why = format!("adapter {adapter}: {}", full(&error));
                    for index in assets_of(model, adapter) {
                        readings[index] = Err(Missing::Unavailable);
                        failures.insert(index, why.clone());
                    }
                }
            }
        }
        (readings, failures)
    }

    /// Commands assets through their adapters, each with its lease.
    pub async fn write(
        &mut self,
        model: &SiteModel,
        epoch: u64,
        lease_s: u32,
        setpoints: &[(usize, Option<Power>)],
    ) -> Vec<Written> {
        let calls = self.adapters.iter_mut().filter_map(|(adapter, link)| {
            let own: Vec<(usize, Setpoint)> = setpoints
                .iter()
                .filter(|(index, _)| route_is(model, *index, adapter))
                .map(|&(index, power)| {
                    let asset = model.assets[index].name.clone();
                    (index, Setpoint { asset, power_kw: power.map(Power::as_kw) })
                })
                .collect();
            if own.is_empty() {
                return None;
            }
            let (indices, points): (Vec<usize>, Vec<Setpoint>) = own.into_iter().unzip();
            Some(async move { (indices, link.client.write(epoch, lease_s, points).await) })
        });
        let mut written = Vec::new();
        for (indices, answer) in join_all(calls).await {
            match answer {
                Ok(reply) => written.extend(indices.into_iter().zip(reply.results).map(one_written)),
                Err(error) => {
                    let why = full(&error);
                    let failed = |asset| Written { asset, readback: None, error: Some(why.clone()) };
                    written.extend(indices.into_iter().map(failed));
                }
            }
        }
        written
    }

    /// Connects to the adapters as they are now and tells them which assets they are to reach.
    fn prepare(
        &mut self,
        model: &SiteModel,
        board: &Board,
        token: impl Fn(&str) -> Result<String, String>,
        failures: &mut Failures,
    ) {
        let mut wanted: BTreeMap<String, Vec<AssetConfig>> = BTreeMap::new();
        for (index, asset) in model.assets.iter().enumerate() {
            let Some(via) = &asset.via else { continue };
            let entry = wanted.entry(via.adapter.clone()).or_default();
            match address(&via.address, board) {
                Ok((host, port)) => entry.push(AssetConfig {
                    asset: asset.name.clone(),
                    kind: match asset.kind {
                        // A charging point and a heat pump tell a state of charge and follow a power, as a battery does.
                        Kind::Battery(_) | Kind::Vehicle(_) | Kind::HeatPump(_) => AssetType::Battery,
                        Kind::Solar { .. } => AssetType::Solar,
                        Kind::Load { .. } => AssetType::Load,
                        Kind::Generator(_) => AssetType::Generator,
                    },
                    host,
                    port,
                    unit: via.unit,
                    timeout_ms: None,
                }),
                Err(why) => drop(failures.insert(index, why)),
            }
        }
        self.adapters.retain(|name, _| wanted.contains_key(name));
        for (adapter, configs) in wanted {
            let port = board.port(&adapter, ADAPTER_PORT);
            let port = port.ok_or_else(|| format!("adapter {adapter} is not running"));
            let kept = self.adapters.remove(&adapter).filter(|link| port == Ok(link.address));
            let link = match kept {
                Some(link) => Ok(link),
                None => port.and_then(|port| Ok(AdapterLink::new(port, token(&adapter)?))),
            };
            match link {
                Ok(mut link) => {
                    link.wanted(configs);
                    self.adapters.insert(adapter, link);
                }
                Err(why) => {
                    for index in assets_of(model, &adapter) {
                        failures.insert(index, why.clone());
                    }
                }
            }
        }
    }
}

/// What became of handing over the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    /// Services that did not take it, and why.
    pub failed: BTreeMap<String, String>,
    /// Jobs that are finished.
    pub done: Vec<String>,
}

impl AdapterLink {
    fn new(port: u16, token: String) -> Self {
        let client = AdapterClient::new(format!("127.0.0.1:{port}"), Token::new(token), ADAPTER_WAIT);
        Self { client, address: port, configured: Vec::new(), stale: true }
    }

    /// A changed set of assets is sent before the next read.
    fn wanted(&mut self, configs: Vec<AssetConfig>) {
        if self.configured != configs {
            self.configured = configs;
            self.stale = true;
        }
    }

    async fn read(&mut self, now: Timestamp) -> Result<Vec<Measurement>, ClientError> {
        if self.stale {
            self.client.configure(self.configured.clone()).await?;
            self.stale = false;
        }
        self.client.read(now).await.map(|reply| reply.assets)
    }
}

impl ClockLink {
    fn new(port: u16) -> Self {
        Self { client: ClockClient::new(format!("127.0.0.1:{port}"), CLOCK_WAIT), port, fresh: true }
    }

    async fn advance(
        &mut self,
        before: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<ClockReply, ClientError> {
        if let (true, Some(before)) = (self.fresh, before) {
            self.client.advance(before).await?;
        }
        let answer = self.client.advance(now).await;
        self.fresh = answer.is_err();
        answer
    }
}

fn address(address: &Address, board: &Board) -> Result<(String, u16), String> {
    match address {
        Address::Host { host, port } => Ok((host.clone(), *port)),
        Address::Service { service, port } => match board.port(service, port) {
            Some(number) => Ok(("127.0.0.1".to_owned(), number)),
            None => Err(format!("service {service} is not running")),
        },
    }
}

fn route_is(model: &SiteModel, index: usize, adapter: &str) -> bool {
    model.assets[index].via.as_ref().is_some_and(|via| via.adapter == adapter)
}

fn assets_of<'a>(model: &'a SiteModel, adapter: &'a str) -> impl Iterator<Item = usize> + 'a {
    (0..model.assets.len()).filter(move |&index| route_is(model, index, adapter))
}

fn take(
    model: &SiteModel,
    measurements: &[Measurement],
    readings: &mut [Reading<AssetReading>],
    failures: &mut Failures,
) {
    for measurement in measurements {
        let found = model.assets.binary_search_by(|asset| asset.name.as_str().cmp(&measurement.asset));
        let Ok(index) = found else { continue };
        readings[index] = match (measurement.power_kw, &measurement.error) {
            (Some(kw), _) if kw.is_finite() => Ok(AssetReading {
                power: Power::kw(kw),
                soc: measurement.soc.map(Soc::fraction),
                counter: counter(measurement),
                counter_range: measurement.counter_range_kwh.map(Energy::kwh),
                setpoint: measurement.setpoint_kw.map(Power::kw),
                engine: measurement.engine,
            }),
            (_, Some(error)) => {
                failures.insert(index, error.message.clone());
                Err(error.reason)
            }
            _ => Err(Missing::Invalid),
        };
    }
}

fn counter(measurement: &Measurement) -> Option<Energy> {
    let (given, taken) = (measurement.given_kwh, measurement.taken_kwh);
    (given.is_some() || taken.is_some()).then(|| Energy::kwh(given.unwrap_or(0.0) - taken.unwrap_or(0.0)))
}

fn one_written((asset, result): (usize, WriteResult)) -> Written {
    Written {
        asset,
        readback: result.readback_kw.map(Power::kw),
        error: result.error.map(|error| error.message),
    }
}

/// The message with its causes.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
