//! `Asset`: a battery, a solar plant or a load at a site.

use jiff::{SignedDuration, Timestamp};
use sos_units::{CarbonIntensity, Energy, Money, Power, Price, Soc};

use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::{Node, Value};
use crate::quantity::{Amount, Fraction, Ramp};
use crate::scalar::{Name, PortRef};
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// A battery, a solar plant or a load at a site, and how it is reached.
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
        /// Required for a battery.
        battery: Option<Battery>;
        /// Required for a solar plant.
        solar: Option<Solar>;
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
        /// Generates from the sun.
        Solar,
        /// Consumes and is not commanded.
        Load,
        /// Burns fuel; it is committed and dispatched by `sos optimize`. The site loop does not run a site with one yet.
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
    /// A battery, with its limits at its terminals.
    pub struct Battery checked by check_battery {
        /// Usable energy, such as `6.4 kWh`; above zero.
        capacity: Energy, in ABOVE_ZERO;
        /// Highest charging power at the terminals, such as `5 kW`; zero or above.
        max_charge: Power, in NOT_NEGATIVE;
        /// Highest discharging power at the terminals, such as `5 kW`; zero or above.
        max_discharge: Power, in NOT_NEGATIVE;
        /// Stored energy per energy charged, above 0 and at most 1.
        charge_efficiency: Fraction = Fraction::new(0.95), in Range::above_up_to(0.0, 1.0);
        /// Delivered energy per energy taken from store, above 0 and at most 1.
        discharge_efficiency: Fraction = Fraction::new(0.95), in Range::above_up_to(0.0, 1.0);
        /// Lowest state of charge, 0 … 1 or in %.
        min_soc: Soc = Soc::fraction(0.0);
        /// Highest state of charge, 0 … 1 or in %.
        max_soc: Soc = Soc::fraction(1.0);
        /// State of charge of a simulated battery at its start, 0 … 1 or in %. Default: `minSoc`.
        initial_soc: Option<Soc>;
        /// Cost of wear per energy charged and again per energy discharged, at the terminals, such as `0.01 USD/kWh`. Default:
        /// none.
        wear_cost: Option<Amount<Price>>, in NOT_NEGATIVE;
        /// What a kWh in store is worth at the end of a plan, such as `0.1 USD/kWh`. Default: the lowest price of import of the
        /// plan, with carbon and at least zero, times `dischargeEfficiency`.
        end_value: Option<Amount<Price>>;
        /// States of charge that are wanted by certain times.
        targets: Vec<SocTarget> = Vec::new();
    }
}

record! {
    /// A state of charge that is wanted by a certain time.
    pub struct SocTarget {
        /// When it is to be reached, RFC 3339 with offset. It counts at the end of the last step of a plan that ends by then.
        by: Timestamp;
        /// At least this, `minSoc` … `maxSoc`.
        soc: Soc;
        /// Price in the plan per kWh that is missing, such as `1 USD/kWh`: the wish gives way where that is cheaper. Default: as
        /// for the limits of the connection, so that it gives way only where it must.
        price: Option<Amount<Price>>, in NOT_NEGATIVE;
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
        /// What it did before a plan begins. Default: it rested for long enough.
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
    /// A solar plant.
    Solar(&'a Solar),
    /// A generator.
    Generator(&'a Generator),
    /// A load.
    Load,
}

impl AssetSpec {
    /// The type with its parameters.
    #[must_use]
    pub const fn model(&self) -> AssetModel<'_> {
        match (&self.battery, &self.solar, &self.generator) {
            (Some(battery), _, _) => AssetModel::Battery(battery),
            (None, Some(solar), _) => AssetModel::Solar(solar),
            (None, None, Some(generator)) => AssetModel::Generator(generator),
            (None, None, None) => AssetModel::Load,
        }
    }
}

impl Battery {
    /// The state of charge of a simulated battery at its start.
    #[must_use]
    pub fn initial_soc_or_min(&self) -> Soc {
        self.initial_soc.unwrap_or(self.min_soc)
    }
}

fn check_battery(battery: &Battery, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if battery.min_soc >= battery.max_soc {
        let key = if node.get("maxSoc").is_some() { "maxSoc" } else { "minSoc" };
        let (min, max) = (battery.min_soc.as_fraction(), battery.max_soc.as_fraction());
        cx.report(at(key), format!("minSoc {min} is not below maxSoc {max}"), "expected minSoc < maxSoc");
    }
    if let Some(soc) = battery.initial_soc
        && (soc < battery.min_soc || soc > battery.max_soc)
    {
        let help = format!("expected {} … {}", battery.min_soc.as_fraction(), battery.max_soc.as_fraction());
        cx.report(at("initialSoc"), "initialSoc is outside minSoc … maxSoc", help);
    }
    let written = match node.get("targets").map(|targets| &targets.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    for (target, node) in battery.targets.iter().zip(written) {
        if target.soc < battery.min_soc || target.soc > battery.max_soc {
            let position = node.get("soc").map_or(node.position, |n| n.position);
            let (min, max) = (battery.min_soc.as_fraction(), battery.max_soc.as_fraction());
            cx.report(position, "a target outside minSoc … maxSoc", format!("expected {min} … {max}"));
        }
    }
    if battery.max_charge == Power::ZERO && battery.max_discharge == Power::ZERO {
        cx.report(
            at("maxCharge"),
            "the battery can neither charge nor discharge",
            "expected a power above 0 kW",
        );
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
            _ => "what a battery does is decided, not expected; remove it",
        };
        cx.report(key.position, format!("power with type {}", asset.r#type), help);
    }
    let available = asset.solar.as_ref().and_then(|solar| solar.available_power.as_ref());
    let of_solar = node.get("solar").and_then(|solar| solar.get("availablePower"));
    for (source, written) in [(asset.power.as_ref(), key), (available, of_solar)] {
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
        ("solar", AssetType::Solar, asset.solar.is_some()),
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
    if kind == AssetType::Generator && asset.via.is_some() {
        let help = "remove it: `sos optimize` plans generators, the site loop does not command them yet";
        cx.report(at("via"), "a generator with a device", help);
    }
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
