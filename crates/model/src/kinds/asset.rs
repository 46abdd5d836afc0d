//! `Asset`: a battery, a solar plant, a wind turbine, a generator or a load at a site.

use jiff::SignedDuration;
use sos_units::{CarbonIntensity, Money, Power, Price};

use super::storage::{Battery, HeatPump, Vehicle};
use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::{Node, Value};
use crate::quantity::{Amount, Ramp};
use crate::scalar::{Name, PortRef};
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// A battery, a solar plant, a wind turbine, a generator or a load at a site, and how it is reached.
    pub struct AssetSpec checked by check_asset {
        /// Name of the `Site` the asset belongs to.
        site: Name;
        /// What the asset is.
        r#type: AssetType;
        /// How far the asset may be commanded.
        mode: Mode = Mode::Observe;
        /// The service that reads and commands the device. Default: the asset has no device.
        via: Option<Via>;
        /// Only for loads: the device at `via` measures this load together with these assets; their power is
        /// subtracted from the measurement.
        net_of: Vec<Name> = Vec::new();
        /// Only for loads: the power that the load is expected to use. `sos optimize` needs it; the site loop plans with it
        /// as far as it is known ahead, and else with its own forecast.
        power: Option<PowerSource>;
        /// Assets with the same group are shown and reported together, such as a home.
        group: Option<Name>;
        /// The feeder of the site that the asset is behind. Default: the site's connection alone.
        feeder: Option<Name>;
        /// Required for a battery.
        battery: Option<Battery>;
        /// Required for a vehicle.
        vehicle: Option<Vehicle>;
        /// Required for a heat pump.
        heat_pump: Option<HeatPump>;
        /// Required for a solar plant.
        solar: Option<Solar>;
        /// Required for a wind turbine.
        wind: Option<Wind>;
        /// Required for a generator.
        generator: Option<Generator>;
        /// Fastest rise of power, such as `2 kW/min`. Default: no limit.
        ramp_up: Option<Ramp>, in ABOVE_ZERO;
        /// Fastest fall of power, such as `2 kW/min`. Default: no limit.
        ramp_down: Option<Ramp>, in ABOVE_ZERO;
    }
}

choice! {
    /// Where an expected power comes from.
    pub enum PowerSource {
        /// Name of a `Signal` in kW, W or MW. As everywhere, power into the site is positive: what a load uses is below zero, or
        /// above zero with `sign: consumption` in the signal's source. What solar power is available is above zero.
        Signal(Name),
        /// The same power at all times, such as `2 kW`; zero or above, for a load as for a solar plant.
        Fixed(Power),
    }
}

words! {
    /// What an asset is.
    pub enum AssetType as "type" {
        /// Stores energy.
        Battery,
        /// A battery on wheels, which is away at times; it is planned by `sos optimize`. The site loop does not run a site with
        /// one yet.
        Vehicle,
        /// Turns power into heat that can be kept; it is planned by `sos optimize`. The site loop does not run a site with one
        /// yet.
        HeatPump,
        /// Generates from the sun.
        Solar,
        /// Generates from the wind.
        Wind,
        /// Consumes and is not commanded.
        Load,
        /// Burns fuel; it is started and stopped, and its power chosen between its least and its most.
        Generator,
    }
}

words! {
    /// How far an asset may be commanded.
    pub enum Mode as "mode" {
        /// Measured, never written to.
        Observe,
        /// Plans are shown, nothing is written.
        Advise,
        /// Set-points are written.
        Control,
    }
}

record! {
    /// The way to a device.
    pub struct Via {
        /// Name of the adapter `Service`.
        service: Name;
        /// Address of the device that the adapter connects to.
        device: DeviceAddress;
        /// Modbus unit id of the device, 1 … 247.
        unit: u8 = 1, in Range::between(1.0, 247.0);
    }
}

record! {
    /// Address of a device: a declared service or a host, and a port.
    pub struct DeviceAddress checked by check_address {
        ..at: DeviceHost;
        /// Name of the service's port, or for a host a number from 1 to 65535.
        port: PortRef;
    }
}

choice! {
    /// Where a device listens.
    pub enum DeviceHost {
        /// Name of a `Service` that serves the device.
        Service(Name),
        /// Host name or IP address.
        Host(String),
    }
}

record! {
    /// A solar plant.
    pub struct Solar {
        /// Highest power, such as `4 kW`; above zero.
        peak_power: Power, in ABOVE_ZERO;
        /// Whether its power can be reduced by a set-point.
        curtailable: bool = false;
        /// The power that it is expected to be able to give, before any reduction. `sos optimize` needs it; the site loop
        /// plans with it as far as it is known ahead, and else with its own forecast.
        available_power: Option<PowerSource>;
    }
}

record! {
    /// A wind turbine or a wind farm.
    pub struct Wind {
        /// Highest power, such as `20 kW`; above zero.
        rated_power: Power, in ABOVE_ZERO;
        /// Whether its power can be reduced by a set-point.
        curtailable: bool = false;
        /// The power that it is expected to be able to give, before any reduction. `sos optimize` needs it; the site loop
        /// plans with it as far as it is known ahead, and else with its own forecast.
        available_power: Option<PowerSource>;
    }
}

record! {
    /// A conventional generator, such as a diesel set.
    pub struct Generator checked by check_generator {
        /// Least power while it runs, such as `20 kW`; zero or above.
        min_power: Power = Power::ZERO, in NOT_NEGATIVE;
        /// Highest power, such as `100 kW`; above zero, and not below `minPower`.
        max_power: Power, in ABOVE_ZERO;
        /// Cost of fuel by power: pieces from zero on, each dearer than the one before or as dear.
        fuel_cost: Vec<FuelPiece> = Vec::new();
        /// Cost of each hour that it runs, whatever its power, such as `3 EUR`. Default: none.
        idle_cost: Option<Amount<Money>>, in NOT_NEGATIVE;
        /// Cost of a start, such as `25 EUR`. Default: none.
        start_cost: Option<Amount<Money>>, in NOT_NEGATIVE;
        /// Emissions per energy generated, such as `0.7 kg/kWh`; zero or above.
        emissions: CarbonIntensity = CarbonIntensity::ZERO;
        /// Shortest run.
        min_up_time: SignedDuration = SignedDuration::ZERO, in NOT_NEGATIVE;
        /// Shortest rest.
        min_down_time: SignedDuration = SignedDuration::ZERO, in NOT_NEGATIVE;
        /// From the command to start to its first power, such as `2 min`: its device takes that long.
        start_time: SignedDuration = SignedDuration::ZERO, in NOT_NEGATIVE;
        /// What it did before a plan begins. Default: it rested for long enough. The site loop sees that itself, and takes of
        /// this how long it had done so at the first look.
        initially: Option<Initially>;
    }
}

record! {
    /// A piece of a generator's fuel cost.
    pub struct FuelPiece {
        /// Power up to which the price holds, such as `60 kW`. Left out only in the last piece: up to `maxPower`.
        up_to: Option<Power>, in ABOVE_ZERO;
        /// Price of each kWh generated in this piece, such as `0.28 EUR/kWh`.
        price: Amount<Price>;
    }
}

record! {
    /// What a generator did before a plan begins.
    pub struct Initially {
        /// Whether it ran.
        running: bool;
        /// For how long it had done so.
        since: SignedDuration, in NOT_NEGATIVE;
        /// Its power when it ran. Default: `minPower`.
        power: Option<Power>, in NOT_NEGATIVE;
    }
}

/// An asset's type together with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AssetModel<'a> {
    /// A battery.
    Battery(&'a Battery),
    /// A vehicle.
    Vehicle(&'a Vehicle),
    /// A heat pump.
    HeatPump(&'a HeatPump),
    /// A solar plant.
    Solar(&'a Solar),
    /// A wind turbine.
    Wind(&'a Wind),
    /// A generator.
    Generator(&'a Generator),
    /// A load.
    Load,
}

impl AssetSpec {
    /// The type with its parameters.
    #[must_use]
    pub const fn model(&self) -> AssetModel<'_> {
        if let Some(battery) = &self.battery {
            AssetModel::Battery(battery)
        } else if let Some(vehicle) = &self.vehicle {
            AssetModel::Vehicle(vehicle)
        } else if let Some(pump) = &self.heat_pump {
            AssetModel::HeatPump(pump)
        } else if let Some(solar) = &self.solar {
            AssetModel::Solar(solar)
        } else if let Some(wind) = &self.wind {
            AssetModel::Wind(wind)
        } else if let Some(generator) = &self.generator {
            AssetModel::Generator(generator)
        } else {
            AssetModel::Load
        }
    }

    /// The power that a solar plant or a wind turbine is declared to be able to give, with its field.
    #[must_use]
    pub fn available_power(&self) -> Option<(&'static str, &PowerSource)> {
        let solar = self.solar.as_ref().and_then(|solar| solar.available_power.as_ref());
        let wind = self.wind.as_ref().and_then(|wind| wind.available_power.as_ref());
        let solar = solar.map(|source| ("spec.solar.availablePower", source));
        solar.or(wind.map(|source| ("spec.wind.availablePower", source)))
    }
}

/// Least and most power, and pieces that rise.
fn check_generator(generator: &Generator, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if generator.min_power > generator.max_power {
        let (least, most) = (generator.min_power, generator.max_power);
        cx.report(
            at("minPower"),
            format!("minPower {least:.3} is above maxPower {most:.3}"),
            "expected minPower ≤ maxPower",
        );
    }
    if generator.emissions < CarbonIntensity::ZERO {
        cx.report(at("emissions"), "negative emissions", "expected zero or above");
    }
    let written = match node.get("fuelCost").map(|pieces| &pieces.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    let (mut from, mut price) = (Power::ZERO, None);
    for (index, (piece, node)) in generator.fuel_cost.iter().zip(written).enumerate() {
        let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
        let last = index + 1 == generator.fuel_cost.len();
        match piece.up_to {
            None if !last => cx.report(
                node.position,
                "a piece without upTo before the last one",
                "expected a power such as 60 kW",
            ),
            Some(up_to) if up_to <= from => {
                cx.report(
                    at("upTo"),
                    format!("upTo {up_to:.3} is not above {from:.3}"),
                    "expected powers that rise",
                );
            }
            Some(up_to) if last && up_to < generator.max_power => {
                let message =
                    format!("the last piece ends at {up_to:.3}, below maxPower {:.3}", generator.max_power);
                cx.report(at("upTo"), message, "leave upTo out of the last piece");
            }
            _ => {}
        }
        if price.is_some_and(|before| piece.price.value < before) {
            cx.report(
                at("price"),
                "a piece that is cheaper than the one before",
                "expected prices that rise, or stay",
            );
        }
        (from, price) = (piece.up_to.unwrap_or(from), Some(piece.price.value));
    }
}

fn check_address(address: &DeviceAddress, node: &Node, cx: &mut Cx<'_>) {
    let position = node.get("port").map_or(node.position, |n| n.position);
    match (&address.at, &address.port) {
        (DeviceHost::Host(_), PortRef::Name(name)) => {
            cx.report(position, format!("port \"{name}\" of a host"), "expected a number from 1 to 65535");
        }
        (DeviceHost::Service(_), PortRef::Number(number)) => {
            let help = "expected the name of one of the service's ports";
            cx.report(position, format!("port {number} of a service"), help);
        }
        _ => {}
    }
    if let DeviceHost::Host(host) = &address.at
        && (host.trim().is_empty() || host.contains(char::is_whitespace))
    {
        let position = node.get("host").map_or(node.position, |n| n.position);
        cx.report(position, "host is not a host name", "expected a host name or an IP address");
    }
}

/// The expected power stands where it belongs and is not below zero.
fn check_power(asset: &AssetSpec, node: &Node, cx: &mut Cx<'_>) {
    let key = node.get("power");
    if let Some(key) = key.filter(|_| asset.r#type != AssetType::Load) {
        let help = match asset.r#type {
            AssetType::Solar => "that of a solar plant is solar.availablePower",
            AssetType::Wind => "that of a wind turbine is wind.availablePower",
            AssetType::Generator => "what a generator does is decided, not expected; remove it",
            _ => "what a battery does is decided, not expected; remove it",
        };
        cx.report(key.position, format!("power with type {}", asset.r#type), help);
    }
    let available = asset.available_power().map(|(_, source)| source);
    let of_plant = node.get("solar").or(node.get("wind")).and_then(|plant| plant.get("availablePower"));
    for (source, written) in [(asset.power.as_ref(), key), (available, of_plant)] {
        if let (Some(PowerSource::Fixed(power)), Some(written)) = (source, written)
            && *power < Power::ZERO
        {
            let position = written.get("fixed").map_or(written.position, |n| n.position);
            cx.report(
                position,
                "a negative fixed power",
                "expected zero or above, for a load as for a solar plant",
            );
        }
    }
}

fn check_asset(asset: &AssetSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    let kind = asset.r#type;
    let parts = [
        ("battery", AssetType::Battery, asset.battery.is_some()),
        ("vehicle", AssetType::Vehicle, asset.vehicle.is_some()),
        ("heatPump", AssetType::HeatPump, asset.heat_pump.is_some()),
        ("solar", AssetType::Solar, asset.solar.is_some()),
        ("wind", AssetType::Wind, asset.wind.is_some()),
        ("generator", AssetType::Generator, asset.generator.is_some()),
    ];
    for (key, belongs_to, present) in parts {
        if kind == belongs_to && !present {
            cx.report(
                at("type"),
                format!("type {kind} without \"{key}\""),
                format!("expected the parameters under \"{key}\""),
            );
        } else if kind != belongs_to && present {
            cx.report(
                at(key),
                format!("\"{key}\" with type {kind}"),
                format!("remove it, or set type: {key}"),
            );
        }
    }
    if !asset.net_of.is_empty() && kind != AssetType::Load {
        cx.report(
            at("netOf"),
            format!("netOf with type {kind}"),
            "only a load is measured together with others",
        );
    }
    if !asset.net_of.is_empty() && asset.via.is_none() {
        cx.report(at("netOf"), "netOf without via", "expected the device that measures them together");
    }
    check_power(asset, node, cx);
    if asset.mode == Mode::Control && kind == AssetType::Load {
        cx.report(
            at("mode"),
            "mode control for a load",
            "a load is not commanded; expected observe or advise",
        );
    }
    if asset.mode == Mode::Control && asset.via.is_none() {
        cx.report(at("mode"), "mode control without via", "expected the service that reaches the device");
    }
}
