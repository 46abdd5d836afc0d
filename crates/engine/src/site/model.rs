//! From declared resources to the site as the loop sees it: indexed, with its series loaded.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_model::{
    AssetModel, AssetSpec, Battery, CarbonSource, DeviceHost, Forecasting, Generator, Mode, PortRef,
    PowerSource, PriceSource, SiteSpec,
};
use sos_units::{CarbonIntensity, CarbonPrice, Power, Price};

use crate::signals::SignalSeries;

/// A site with everything behind its connection.
#[derive(Clone, Debug)]
pub struct SiteModel {
    /// Name of the site.
    pub name: String,
    /// Local time.
    pub zone: TimeZone,
    /// ISO code.
    pub currency: String,
    /// Time between two measurements and set-points.
    pub tick: SignedDuration,
    /// Time between two plans, a multiple of `tick`.
    pub plan_every: SignedDuration,
    /// How it forecasts.
    pub forecasting: Forecasting,
    /// How far a plan looks ahead.
    pub horizon: SignedDuration,
    /// The part of the recorded data that is replayed; `None` follows the real time.
    pub replay: Option<(Timestamp, Timestamp)>,
    /// The connection to the grid.
    pub connection: Connection,
    /// Price on emissions.
    pub carbon_price: CarbonPrice,
    /// Power of the machine that runs `sos`.
    pub controller_power: Power,
    /// Assets in order of their names; other parts refer to them by index.
    pub assets: Vec<Asset>,
    /// Names of the groups, in order; an asset without a group is one of its own.
    pub groups: Vec<String>,
}

/// The connection to the grid.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Limit on import.
    pub import_limit: Option<Power>,
    /// Limit on export.
    pub export_limit: Option<Power>,
    /// Price of import.
    pub import_price: Value<Price>,
    /// Price of export.
    pub export_price: Value<Price>,
    /// Carbon intensity of import.
    pub carbon: Value<CarbonIntensity>,
    /// Price in the plan of energy beyond a limit.
    pub breach_price: Option<Price>,
}

/// A constant or a series.
#[derive(Clone, Debug)]
pub enum Value<T> {
    /// The same at all times.
    Fixed(T),
    /// By the signal with this index of [`SiteModel::signals`].
    Series(std::sync::Arc<SignalSeries>),
}

/// One asset.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its name.
    pub name: String,
    /// The home it belongs to.
    pub group: Option<String>,
    /// Index of its group in [`SiteModel::groups`].
    pub group_index: usize,
    /// What it is.
    pub kind: Kind,
    /// How far it may be commanded.
    pub mode: Mode,
    /// How its device is reached.
    pub via: Option<Route>,
    /// Fastest rise and fall of its power per minute.
    pub ramp: (Option<Power>, Option<Power>),
}

/// What an asset is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Stores energy.
    Battery(Battery),
    /// Generates from the sun.
    Solar {
        /// Highest power.
        peak: Power,
        /// Whether it can be reduced.
        curtailable: bool,
        /// What it is declared to be able to give, kW, site sign.
        available: Option<Value<Power>>,
    },
    /// Burns fuel.
    Generator(Generator),
    /// Consumes; its device measures it together with the assets of these indices.
    Load {
        /// Indices into [`SiteModel::assets`].
        net_of: Vec<usize>,
        /// What it is declared to use, kW, site sign: zero or below.
        power: Option<Value<Power>>,
    },
}

impl Kind {
    /// The word in a manifest.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Battery(_) => "battery",
            Self::Solar { .. } => "solar",
            Self::Generator(_) => "generator",
            Self::Load { .. } => "load",
        }
    }

    /// The declared expected power of a load or of solar power before any reduction, kW, site sign.
    #[must_use]
    pub const fn expected(&self) -> Option<&Value<Power>> {
        match self {
            Self::Battery(_) | Self::Generator(_) => None,
            Self::Solar { available, .. } => available.as_ref(),
            Self::Load { power, .. } => power.as_ref(),
        }
    }
}

impl Kind {
    /// As [`Self::expected`].
    const fn expected_mut(&mut self) -> Option<&mut Value<Power>> {
        match self {
            Self::Battery(_) | Self::Generator(_) => None,
            Self::Solar { available, .. } => available.as_mut(),
            Self::Load { power, .. } => power.as_mut(),
        }
    }

    /// Declares the expected power of a load or of solar power; of nothing else.
    pub(super) fn expect(&mut self, value: Option<Value<Power>>) {
        match self {
            Self::Battery(_) | Self::Generator(_) => {}
            Self::Solar { available, .. } => *available = value,
            Self::Load { power, .. } => *power = value,
        }
    }
}

/// The way to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The adapter service.
    pub adapter: String,
    /// The device's address.
    pub address: Address,
    /// Modbus unit id.
    pub unit: u8,
}

/// Where a device listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of a declared service.
    Service {
        /// Name of the service.
        service: String,
        /// Name of its port.
        port: String,
    },
    /// Somewhere else.
    Host {
        /// Host name or address.
        host: String,
        /// Port number.
        port: u16,
    },
}

/// Why a site cannot be assembled; reported as a condition of the site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AssembleError(pub String);

/// Joins a site with its assets and signals.
///
/// # Errors
/// When a reference leads nowhere: the cross-check of a folder finds these first, a single `apply` may not.
pub fn assemble(
    name: &str,
    site: &SiteSpec,
    assets: &BTreeMap<String, AssetSpec>,
    signals: &BTreeMap<String, std::sync::Arc<SignalSeries>>,
) -> Result<SiteModel, AssembleError> {
    let own: Vec<(&String, &AssetSpec)> =
        assets.iter().filter(|(_, asset)| asset.site.as_str() == name).collect();
    let index: BTreeMap<&str, usize> =
        own.iter().enumerate().map(|(i, (name, _))| (name.as_str(), i)).collect();
    let group_of =
        |name: &str, asset: &AssetSpec| asset.group.as_ref().map_or(name, |g| g.as_str()).to_owned();
    let groups: BTreeSet<String> = own.iter().map(|(name, asset)| group_of(name, asset)).collect();
    let groups: Vec<String> = groups.into_iter().collect();
    let assets = own
        .iter()
        .map(|(name, asset)| {
            let group_index = groups.binary_search(&group_of(name, asset)).unwrap_or_default();
            one_asset(name, asset, group_index, &index, signals)
        })
        .collect::<Result<Vec<_>, _>>()?;

    let connection = connection(site, signals)?;
    let step = data_step(&connection, &assets);
    let replaying = site.replay.get();
    let (tick, plan_every) = match replaying {
        Some(_) => (site.tick.or(step), site.plan_every.or(step)),
        None => (site.tick, site.plan_every),
    };
    let tick = tick.unwrap_or(SignedDuration::from_secs(10));
    let plan_every = plan_every.unwrap_or(SignedDuration::from_mins(15)).max(tick);
    let replay = match replaying {
        None => None,
        Some(replay) => {
            let span = data_span(&connection, &assets).ok_or_else(|| {
                AssembleError(format!("site {name} replays recorded data, but none of its signals has any"))
            })?;
            Some((replay.from.unwrap_or(span.0), replay.until.unwrap_or(span.1)))
        }
    };
    Ok(SiteModel {
        name: name.to_owned(),
        zone: site.time_zone.zone().clone(),
        currency: site.currency.to_string(),
        tick,
        plan_every,
        horizon: site.horizon,
        replay,
        connection,
        carbon_price: site.carbon_price_or_zero(),
        controller_power: site.controller_power,
        forecasting: site.forecasting.clone(),
        assets,
        groups,
    })
}

fn one_asset(
    name: &str,
    spec: &AssetSpec,
    group_index: usize,
    index: &BTreeMap<&str, usize>,
    signals: &BTreeMap<String, std::sync::Arc<SignalSeries>>,
) -> Result<Asset, AssembleError> {
    let net_of = spec
        .net_of
        .iter()
        .map(|other| {
            index.get(other.as_str()).copied().ok_or_else(|| {
                AssembleError(format!(
                    "asset {name} is measured with {other}, which is not an asset of its site"
                ))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let kind = match spec.model() {
        AssetModel::Battery(battery) => Kind::Battery(battery.clone()),
        AssetModel::Solar(solar) => Kind::Solar {
            peak: solar.peak_power,
            curtailable: solar.curtailable,
            available: expected_power(solar.available_power.as_ref(), signals, 1.0)?,
        },
        AssetModel::Generator(generator) => Kind::Generator(generator.clone()),
        AssetModel::Load => Kind::Load { net_of, power: expected_power(spec.power.as_ref(), signals, -1.0)? },
    };
    let via = spec.via.as_ref().map(|via| Route {
        adapter: via.service.to_string(),
        address: match (&via.device.at, &via.device.port) {
            (DeviceHost::Service(service), port) => {
                Address::Service { service: service.to_string(), port: port.to_string() }
            }
            (DeviceHost::Host(host), PortRef::Number(port)) => {
                Address::Host { host: host.clone(), port: *port }
            }
            (DeviceHost::Host(host), PortRef::Name(_)) => Address::Host { host: host.clone(), port: 502 },
        },
        unit: via.unit,
    });
    Ok(Asset {
        name: name.to_owned(),
        group: spec.group.as_ref().map(ToString::to_string),
        group_index,
        kind,
        mode: spec.mode,
        via,
        ramp: (spec.ramp_up.map(|r| r.per_minute()), spec.ramp_down.map(|r| r.per_minute())),
    })
}

fn usable(
    signals: &BTreeMap<String, std::sync::Arc<SignalSeries>>,
    name: &str,
) -> Result<std::sync::Arc<SignalSeries>, AssembleError> {
    signals.get(name).cloned().ok_or_else(|| AssembleError(format!("there is no usable signal {name}")))
}

/// An expected power; a fixed one is declared as a size, `sign` gives it that of the site. Series have it already.
fn expected_power(
    source: Option<&PowerSource>,
    signals: &BTreeMap<String, std::sync::Arc<SignalSeries>>,
    sign: f64,
) -> Result<Option<Value<Power>>, AssembleError> {
    Ok(match source {
        None => None,
        Some(PowerSource::Fixed(power)) => Some(Value::Fixed(*power * sign)),
        Some(PowerSource::Signal(name)) => Some(Value::Series(usable(signals, name)?)),
    })
}

fn connection(
    site: &SiteSpec,
    signals: &BTreeMap<String, std::sync::Arc<SignalSeries>>,
) -> Result<Connection, AssembleError> {
    let declared = &site.connection;
    let series = |name: &str| usable(signals, name);
    let price = |source: &PriceSource| match source {
        PriceSource::Fixed(amount) => Ok(Value::Fixed(amount.value)),
        PriceSource::Signal(name) => series(name.as_str()).map(Value::Series),
    };
    let carbon = match &declared.carbon_intensity {
        None => Value::Fixed(CarbonIntensity::ZERO),
        Some(CarbonSource::Fixed(intensity)) => Value::Fixed(*intensity),
        Some(CarbonSource::Signal(name)) => Value::Series(series(name.as_str())?),
    };
    Ok(Connection {
        import_limit: declared.import_limit,
        export_limit: declared.export_limit,
        import_price: price(&declared.import_price)?,
        export_price: declared.export_price.as_ref().map_or(Ok(Value::Fixed(Price::ZERO)), price)?,
        carbon,
        breach_price: declared.limit_breach_price.as_ref().map(|amount| amount.value),
    })
}

impl Connection {
    /// The series of prices and carbon intensity.
    pub(super) fn series(&self) -> impl Iterator<Item = &SignalSeries> {
        let carbon = as_series(&self.carbon);
        [as_series(&self.import_price), as_series(&self.export_price), carbon].into_iter().flatten()
    }
}

fn as_series<T>(value: &Value<T>) -> Option<&SignalSeries> {
    match value {
        Value::Series(series) => Some(series),
        Value::Fixed(_) => None,
    }
}

/// Every series that a site is planned with.
fn series<'a>(connection: &'a Connection, assets: &'a [Asset]) -> impl Iterator<Item = &'a SignalSeries> {
    connection.series().chain(assets.iter().filter_map(|asset| asset.kind.expected().and_then(as_series)))
}

fn data_step(connection: &Connection, assets: &[Asset]) -> Option<SignedDuration> {
    series(connection, assets).map(SignalSeries::step).min()
}

/// The span that all series cover.
fn data_span(connection: &Connection, assets: &[Asset]) -> Option<(Timestamp, Timestamp)> {
    let spans = series(connection, assets).map(|series| (series.start(), series.end()));
    spans.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1))).filter(|(from, until)| from < until)
}

/// Puts another series in the place of one.
fn replace<T>(value: &mut Value<T>, name: &str, by: &std::sync::Arc<SignalSeries>) {
    if let Value::Series(series) = value
        && series.name() == name
    {
        *series = std::sync::Arc::clone(by);
    }
}

impl SiteModel {
    /// Puts a series in the place of that of the same signal, wherever it is used.
    pub fn renew_series(&mut self, by: &std::sync::Arc<SignalSeries>) {
        let (name, connection) = (by.name(), &mut self.connection);
        replace(&mut connection.import_price, name, by);
        replace(&mut connection.export_price, name, by);
        replace(&mut connection.carbon, name, by);
        for asset in &mut self.assets {
            if let Some(value) = asset.kind.expected_mut() {
                replace(value, name, by);
            }
        }
    }

    /// Every series that the site is planned with, once for each use.
    pub fn series(&self) -> impl Iterator<Item = &SignalSeries> {
        series(&self.connection, &self.assets)
    }

    /// Seconds of a tick.
    #[must_use]
    pub fn tick_seconds(&self) -> i64 {
        self.tick.as_secs().max(1)
    }

    /// The generators.
    pub fn generators(&self) -> impl Iterator<Item = (&Asset, &Generator)> {
        self.assets.iter().filter_map(|asset| match &asset.kind {
            Kind::Generator(generator) => Some((asset, generator)),
            _ => None,
        })
    }

    /// The batteries with their indices.
    pub fn batteries(&self) -> impl Iterator<Item = (usize, &Asset, &Battery)> {
        self.assets.iter().enumerate().filter_map(|(i, asset)| match &asset.kind {
            Kind::Battery(battery) => Some((i, asset, battery)),
            _ => None,
        })
    }
}
