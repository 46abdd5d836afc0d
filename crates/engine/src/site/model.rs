//! From declared resources to the site as the loop sees it: indexed, with its series loaded.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_model::{
    AssetModel, AssetSpec, Battery, BillingPeriod, CarbonFactor, CarbonSource, Charge, DeviceHost,
    Forecasting, Generator, HeatPump, Heated, Mode, NumberSource, PortRef, PowerSource, PriceSource,
    Reduction, SiteSpec, SpinningReserve, TemperatureSource, Vehicle,
};
use sos_units::{CarbonIntensity, CarbonPrice, Emissions, Power, Price};

use crate::signals::SignalSeries;

/// Price of a kg above a limit on emissions when the site declares none, in its currency: far above any price of carbon.
const CAP_PRICE: f64 = 100.0;

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
    /// Parts behind meters or fuses of their own; each comes after the one that it is behind.
    pub feeders: Vec<SiteFeeder>,
    /// What has to be able to take over at once.
    pub spinning_reserve: Option<SpinningReserve>,
    /// Price on emissions.
    pub carbon_price: CarbonPrice,
    /// Limit on emissions.
    pub carbon_cap: Option<SiteCap>,
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
    /// What kind of factor the carbon intensity is.
    pub carbon_factor: CarbonFactor,
    /// What is charged beside the price of each kWh.
    pub charges: Vec<Charge>,
    /// Price in the plan of each kW by which the exchange changes, currency per kW.
    pub ramp_price: Option<f64>,
    /// Price in the plan of energy beyond a limit.
    pub breach_price: Option<Price>,
}

/// A limit on emissions of import and of generators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteCap {
    /// Most.
    pub most: Emissions,
    /// The period over which they count; none for each plan by itself.
    pub per: Option<BillingPeriod>,
    /// What is declared to have been emitted in the period in which the first plan begins.
    pub so_far: Emissions,
    /// Price in the plan of each kg above.
    pub price: CarbonPrice,
}

/// A part of a site behind a meter or a fuse of its own.
#[derive(Clone, Debug)]
pub struct SiteFeeder {
    /// Its name.
    pub name: String,
    /// The feeder that it is behind, as a place in [`SiteModel::feeders`].
    pub behind: Option<usize>,
    /// Limit on what flows in.
    pub import_limit: Option<Power>,
    /// Limit on what flows out.
    pub export_limit: Option<Power>,
    /// Price of what flows in, beside that of the connection.
    pub import_price: Option<Value<Price>>,
    /// Price of what flows out, beside that of the connection.
    pub export_price: Option<Value<Price>>,
    /// Emissions of what flows in that are counted here.
    pub carbon: Option<Value<CarbonIntensity>>,
    /// What is charged beside the price of each kWh.
    pub charges: Vec<Charge>,
    /// Orders of the grid operator.
    pub reductions: Vec<Reduction>,
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
    /// The feeder that it is behind, as a place in [`SiteModel::feeders`].
    pub feeder: Option<usize>,
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
    /// A battery that is away at times.
    Vehicle(Vehicle),
    /// Turns power into heat.
    HeatPump(Heat),
    /// Generates from the sun or the wind.
    Solar {
        /// Whether it is the wind.
        of_wind: bool,
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

/// A heat pump with the series that it is planned with.
#[derive(Clone, Debug)]
pub struct Heat {
    /// As it is declared.
    pub pump: HeatPump,
    /// Heat per electric energy.
    pub cop: Value<f64>,
    /// Heat that is drawn from a tank, kW, below zero; or that a building gains, above zero.
    pub flow: Option<Value<Power>>,
    /// Temperature outside of a building, °C.
    pub outside: Option<Value<f64>>,
}

impl Kind {
    /// The word in a manifest.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Battery(_) => "battery",
            Self::Vehicle(_) => "vehicle",
            Self::HeatPump(_) => "heatPump",
            Self::Solar { of_wind: false, .. } => "solar",
            Self::Solar { of_wind: true, .. } => "wind",
            Self::Generator(_) => "generator",
            Self::Load { .. } => "load",
        }
    }

    /// The declared expected power of a load or of solar power before any reduction, kW, site sign.
    #[must_use]
    pub const fn expected(&self) -> Option<&Value<Power>> {
        match self {
            Self::Battery(_) | Self::Vehicle(_) | Self::HeatPump(_) | Self::Generator(_) => None,
            Self::Solar { available, .. } => available.as_ref(),
            Self::Load { power, .. } => power.as_ref(),
        }
    }
}

impl Kind {
    /// Whether its power can be chosen: a battery, a vehicle, a heat pump or a generator.
    #[must_use]
    pub const fn is_choosable(&self) -> bool {
        matches!(self, Self::Battery(_) | Self::Vehicle(_) | Self::HeatPump(_) | Self::Generator(_))
    }

    /// Whether it is a vehicle or a heat pump, which consume whether or not anybody chooses when.
    #[must_use]
    pub const fn is_movable(&self) -> bool {
        matches!(self, Self::Vehicle(_) | Self::HeatPump(_))
    }

    /// As [`Self::expected`].
    const fn expected_mut(&mut self) -> Option<&mut Value<Power>> {
        match self {
            Self::Battery(_) | Self::Vehicle(_) | Self::HeatPump(_) | Self::Generator(_) => None,
            Self::Solar { available, .. } => available.as_mut(),
            Self::Load { power, .. } => power.as_mut(),
        }
    }

    /// Declares the expected power of a load or of solar power; of nothing else.
    pub(super) fn expect(&mut self, value: Option<Value<Power>>) {
        match self {
            Self::Battery(_) | Self::Vehicle(_) | Self::HeatPump(_) | Self::Generator(_) => {}
            Self::Solar { available, .. } => *available = value,
            Self::Load { power, .. } => *power = value,
        }
    }
}

impl Asset {
    /// Whether its power is chosen, so that it is never forecast. A vehicle or a heat pump that is only observed is a load.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.kind.is_choosable() && !(self.kind.is_movable() && self.mode == Mode::Observe)
    }
}

impl Heat {
    /// Heat per electric energy at a time: what the signal says then, or said last.
    #[must_use]
    pub fn cop_at(&self, time: Timestamp) -> f64 {
        match &self.cop {
            Value::Fixed(cop) => *cop,
            Value::Series(series) => series.actual_or_before(time),
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
            let one = one_asset(name, asset, group_index, &index, signals)?;
            Ok(Asset { feeder: feeder_of(name, asset, site)?, ..one })
        })
        .collect::<Result<Vec<_>, _>>()?;

    let connection = connection(site, signals)?;
    let feeders = feeders(site, signals)?;
    let step = series(&connection, &feeders, &assets).map(SignalSeries::step).min();
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
            let span = data_span(series(&connection, &feeders, &assets)).ok_or_else(|| {
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
        feeders,
        spinning_reserve: site.spinning_reserve.clone(),
        carbon_price: site.carbon_price_or_zero(),
        carbon_cap: site.carbon_cap.as_ref().map(|cap| SiteCap {
            most: cap.most,
            per: cap.per,
            so_far: cap.so_far,
            price: cap.price.map_or(CarbonPrice::per_kg(CAP_PRICE), |price| price.value),
        }),
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
        AssetModel::Vehicle(vehicle) => Kind::Vehicle(vehicle.clone()),
        AssetModel::HeatPump(pump) => Kind::HeatPump(heat(pump, signals)?),
        AssetModel::Solar(solar) => Kind::Solar {
            of_wind: false,
            peak: solar.peak_power,
            curtailable: solar.curtailable,
            available: expected_power(solar.available_power.as_ref(), signals, 1.0)?,
        },
        AssetModel::Wind(wind) => Kind::Solar {
            of_wind: true,
            peak: wind.rated_power,
            curtailable: wind.curtailable,
            available: expected_power(wind.available_power.as_ref(), signals, 1.0)?,
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
        feeder: None,
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

type Signals = BTreeMap<String, std::sync::Arc<SignalSeries>>;

fn heat(pump: &HeatPump, signals: &Signals) -> Result<Heat, AssembleError> {
    let cop = match &pump.cop {
        NumberSource::Fixed(number) => Value::Fixed(number.get()),
        NumberSource::Signal(name) => Value::Series(usable(signals, name)?),
    };
    let (flow, outside) = match &pump.heats {
        Heated::Tank(tank) => (expected_power(tank.demand.as_ref(), signals, -1.0)?, None),
        Heated::Building(building) => {
            let outside = match &building.outside {
                TemperatureSource::Fixed(temperature) => Value::Fixed(temperature.as_celsius()),
                TemperatureSource::Signal(name) => Value::Series(usable(signals, name)?),
            };
            (expected_power(building.gains.as_ref(), signals, 1.0)?, Some(outside))
        }
    };
    Ok(Heat { pump: pump.clone(), cop, flow, outside })
}

fn price(source: &PriceSource, signals: &Signals) -> Result<Value<Price>, AssembleError> {
    Ok(match source {
        PriceSource::Fixed(amount) => Value::Fixed(amount.value),
        PriceSource::Signal(name) => Value::Series(usable(signals, name)?),
    })
}

fn carbon(source: &CarbonSource, signals: &Signals) -> Result<Value<CarbonIntensity>, AssembleError> {
    Ok(match source {
        CarbonSource::Fixed(intensity) => Value::Fixed(*intensity),
        CarbonSource::Signal(name) => Value::Series(usable(signals, name)?),
    })
}

/// A price with a levy on each kWh and a tax on both.
fn taxed(price: Value<Price>, levy: Price, tax: f64) -> Value<Price> {
    if levy == Price::ZERO && tax <= 0.0 {
        return price;
    }
    match price {
        Value::Fixed(price) => Value::Fixed((price + levy) * (1.0 + tax)),
        Value::Series(series) => {
            Value::Series(std::sync::Arc::new(series.used_as(1.0 + tax, levy.as_per_kwh() * (1.0 + tax))))
        }
    }
}

fn connection(site: &SiteSpec, signals: &Signals) -> Result<Connection, AssembleError> {
    let lost_load = site.value_of_lost_load.as_ref().map(|amount| amount.value);
    let Some(declared) = &site.connection else { return Ok(Connection::none(lost_load)) };
    let levy = declared.import_levy.map_or(Price::ZERO, |levy| levy.value);
    let export = declared.export_price.as_ref().map(|source| price(source, signals)).transpose()?;
    let intensity = declared.carbon_intensity.as_ref().map(|source| carbon(source, signals)).transpose()?;
    Ok(Connection {
        import_limit: declared.import_limit,
        export_limit: declared.export_limit,
        import_price: taxed(price(&declared.import_price, signals)?, levy, declared.import_tax.get()),
        export_price: export.unwrap_or(Value::Fixed(Price::ZERO)),
        carbon: intensity.unwrap_or(Value::Fixed(CarbonIntensity::ZERO)),
        carbon_factor: declared.carbon_factor,
        charges: declared.charges.clone(),
        ramp_price: declared.ramp_price.map(|price| price.value.as_per_kw()),
        breach_price: lost_load.or(declared.limit_breach_price.as_ref().map(|amount| amount.value)),
    })
}

fn feeders(site: &SiteSpec, signals: &Signals) -> Result<Vec<SiteFeeder>, AssembleError> {
    let feeder = |feeder: &sos_model::Feeder| {
        let prices =
            |source: &Option<PriceSource>| source.as_ref().map(|source| price(source, signals)).transpose();
        Ok(SiteFeeder {
            name: feeder.name.to_string(),
            behind: feeder.behind.as_ref().map(|name| place_of(site, name)).transpose()?,
            import_limit: feeder.import_limit,
            export_limit: feeder.export_limit,
            import_price: prices(&feeder.import_price)?,
            export_price: prices(&feeder.export_price)?,
            carbon: feeder.carbon_intensity.as_ref().map(|source| carbon(source, signals)).transpose()?,
            charges: feeder.charges.clone(),
            reductions: feeder.reductions.clone(),
        })
    };
    site.feeders.iter().map(feeder).collect()
}

fn place_of(site: &SiteSpec, feeder: &str) -> Result<usize, AssembleError> {
    let place = site.feeders.iter().position(|one| one.name.as_str() == feeder);
    place.ok_or_else(|| AssembleError(format!("there is no feeder {feeder}")))
}

fn feeder_of(name: &str, asset: &AssetSpec, site: &SiteSpec) -> Result<Option<usize>, AssembleError> {
    let place = asset.feeder.as_ref().map(|feeder| place_of(site, feeder)).transpose();
    place.map_err(|AssembleError(why)| AssembleError(format!("asset {name}: {why}")))
}

impl Connection {
    /// That of a site without one: nothing goes over it.
    const fn none(lost_load: Option<Price>) -> Self {
        Self {
            import_limit: Some(Power::ZERO),
            export_limit: Some(Power::ZERO),
            import_price: Value::Fixed(Price::ZERO),
            export_price: Value::Fixed(Price::ZERO),
            carbon: Value::Fixed(CarbonIntensity::ZERO),
            carbon_factor: CarbonFactor::Average,
            charges: Vec::new(),
            ramp_price: None,
            breach_price: lost_load,
        }
    }

    /// Whether nothing can go over it: power that lacks is unserved then, and a surplus is lost.
    #[must_use]
    pub fn is_island(&self) -> bool {
        self.import_limit == Some(Power::ZERO) && self.export_limit == Some(Power::ZERO)
    }

    /// Limit on export in a plan: on an island a surplus is lost at no price.
    pub(super) fn most_export(&self) -> Option<Power> {
        self.export_limit.filter(|_| !self.is_island())
    }

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

impl SiteFeeder {
    fn series(&self) -> impl Iterator<Item = &SignalSeries> {
        let prices = [&self.import_price, &self.export_price].into_iter().flatten().filter_map(as_series);
        prices.chain(self.carbon.as_ref().and_then(as_series))
    }
}

impl Heat {
    fn series(&self) -> impl Iterator<Item = &SignalSeries> {
        let flow = self.flow.as_ref().and_then(as_series);
        [as_series(&self.cop), flow, self.outside.as_ref().and_then(as_series)].into_iter().flatten()
    }
}

/// Every series that a site is planned with.
fn series<'a>(
    connection: &'a Connection,
    feeders: &'a [SiteFeeder],
    assets: &'a [Asset],
) -> impl Iterator<Item = &'a SignalSeries> {
    let heat = assets.iter().filter_map(|asset| match &asset.kind {
        Kind::HeatPump(heat) => Some(heat.series()),
        _ => None,
    });
    let expected = assets.iter().filter_map(|asset| asset.kind.expected().and_then(as_series));
    connection
        .series()
        .chain(feeders.iter().flat_map(SiteFeeder::series))
        .chain(expected)
        .chain(heat.flatten())
}

/// The span that all series cover.
fn data_span<'a>(all: impl Iterator<Item = &'a SignalSeries>) -> Option<(Timestamp, Timestamp)> {
    let spans = all.map(|series| (series.start(), series.end()));
    spans.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1))).filter(|(from, until)| from < until)
}

/// Puts another series in the place of one.
fn replace<T>(value: &mut Value<T>, name: &str, by: &std::sync::Arc<SignalSeries>) {
    if let Value::Series(series) = value
        && series.name() == name
    {
        *series = std::sync::Arc::new(by.used_like(series));
    }
}

impl SiteModel {
    /// Puts a series in the place of that of the same signal, wherever it is used.
    pub fn renew_series(&mut self, by: &std::sync::Arc<SignalSeries>) {
        let (name, connection) = (by.name(), &mut self.connection);
        replace(&mut connection.import_price, name, by);
        replace(&mut connection.export_price, name, by);
        replace(&mut connection.carbon, name, by);
        for feeder in &mut self.feeders {
            feeder.import_price.iter_mut().for_each(|price| replace(price, name, by));
            feeder.export_price.iter_mut().for_each(|price| replace(price, name, by));
            feeder.carbon.iter_mut().for_each(|carbon| replace(carbon, name, by));
        }
        for asset in &mut self.assets {
            if let Some(value) = asset.kind.expected_mut() {
                replace(value, name, by);
            }
            if let Kind::HeatPump(heat) = &mut asset.kind {
                replace(&mut heat.cop, name, by);
                heat.flow.iter_mut().for_each(|flow| replace(flow, name, by));
                heat.outside.iter_mut().for_each(|outside| replace(outside, name, by));
            }
        }
    }

    /// The assets behind a feeder, those behind feeders behind it among them.
    #[must_use]
    pub fn behind(&self, feeder: usize) -> BTreeSet<usize> {
        (0..self.assets.len()).filter(|&asset| self.is_behind(asset, feeder)).collect()
    }

    /// Whether an asset is behind a feeder, or behind one that is behind it.
    #[must_use]
    pub fn is_behind(&self, asset: usize, feeder: usize) -> bool {
        self.way(asset).any(|place| place == feeder)
    }

    /// The feeders that an asset is behind, the innermost first.
    pub fn way(&self, asset: usize) -> impl Iterator<Item = usize> {
        let first = self.assets.get(asset).and_then(|asset| asset.feeder);
        std::iter::successors(first, |&place| self.feeders.get(place).and_then(|one| one.behind))
    }

    /// The innermost feeder on an asset's way to the grid at which anything is paid; none for the site's connection.
    #[must_use]
    pub fn paid_at(&self, asset: usize) -> Option<usize> {
        self.way(asset).find(|&place| self.feeders[place].is_priced())
    }

    /// All charges, each with the feeder where it is paid, none for the site's connection.
    pub fn charges(&self) -> impl Iterator<Item = (Option<usize>, &Charge)> {
        let of_feeders = self.feeders.iter().enumerate();
        let of_feeders =
            of_feeders.flat_map(|(at, one)| one.charges.iter().map(move |charge| (Some(at), charge)));
        self.connection.charges.iter().map(|charge| (None, charge)).chain(of_feeders)
    }

    /// The carbon intensity that is forecast: that of the connection, or the first that feeders count.
    #[must_use]
    pub fn carbon_signal(&self) -> Option<&SignalSeries> {
        let feeders = self.feeders.iter().filter_map(|feeder| feeder.carbon.as_ref());
        std::iter::once(&self.connection.carbon).chain(feeders).find_map(as_series)
    }

    /// The series of prices and carbon intensities.
    pub(super) fn exchange_series(&self) -> impl Iterator<Item = &SignalSeries> {
        self.connection.series().chain(self.feeders.iter().flat_map(SiteFeeder::series))
    }

    /// The series that heat pumps are planned with: their efficiency, what is drawn or gained, the temperature outside.
    pub(super) fn heat_series(&self) -> impl Iterator<Item = &SignalSeries> {
        fn of<T>(value: &Value<T>) -> Option<&SignalSeries> {
            match value {
                Value::Series(series) => Some(series),
                Value::Fixed(_) => None,
            }
        }
        self.heat_pumps().flat_map(|(_, _, heat)| {
            let cop = of(&heat.cop);
            let flow = heat.flow.as_ref().and_then(of);
            [cop, flow, heat.outside.as_ref().and_then(of)].into_iter().flatten()
        })
    }

    /// Every series that the site is planned with, once for each use.
    pub fn series(&self) -> impl Iterator<Item = &SignalSeries> {
        series(&self.connection, &self.feeders, &self.assets)
    }

    /// Seconds of a tick.
    #[must_use]
    pub fn tick_seconds(&self) -> i64 {
        self.tick.as_secs().max(1)
    }

    /// The generators with their indices.
    pub fn generators(&self) -> impl Iterator<Item = (usize, &Asset, &Generator)> {
        self.assets.iter().enumerate().filter_map(|(i, asset)| match &asset.kind {
            Kind::Generator(generator) => Some((i, asset, generator)),
            _ => None,
        })
    }

    /// Whether an inverter that is commanded forms the grid of the island.
    #[must_use]
    pub fn has_formed_grid(&self) -> bool {
        self.batteries().any(|(_, asset, battery)| battery.grid_forming && asset.mode == Mode::Control)
    }

    /// Batteries, those of vehicles among them, with their indices.
    pub fn stores(&self) -> impl Iterator<Item = (usize, &Asset, &Battery)> {
        self.assets.iter().enumerate().filter_map(|(i, asset)| match &asset.kind {
            Kind::Battery(battery) => Some((i, asset, battery)),
            Kind::Vehicle(vehicle) => Some((i, asset, &vehicle.battery)),
            _ => None,
        })
    }

    /// The heat pumps with their indices.
    pub fn heat_pumps(&self) -> impl Iterator<Item = (usize, &Asset, &Heat)> {
        self.assets.iter().enumerate().filter_map(|(i, asset)| match &asset.kind {
            Kind::HeatPump(heat) => Some((i, asset, heat)),
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
