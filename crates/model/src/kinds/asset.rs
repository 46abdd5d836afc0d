//! `Asset`: a battery, a solar plant or a load at a site.

use sos_units::{Energy, Power, Price, Soc};

use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
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
        /// Assets with the same group are shown and reported together, such as a home.
        group: Option<Name>;
        /// Required for a battery.
        battery: Option<Battery>;
        /// Required for a solar plant.
        solar: Option<Solar>;
        /// Fastest rise of power, such as `2 kW/min`. Default: no limit.
        ramp_up: Option<Ramp>, in ABOVE_ZERO;
        /// Fastest fall of power, such as `2 kW/min`. Default: no limit.
        ramp_down: Option<Ramp>, in ABOVE_ZERO;
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
        /// Cost of wear per energy discharged, such as `0.02 USD/kWh`. Default: none.
        wear_cost: Option<Amount<Price>>, in NOT_NEGATIVE;
    }
}

record! {
    /// A solar plant.
    pub struct Solar {
        /// Highest power, such as `4 kW`; above zero.
        peak_power: Power, in ABOVE_ZERO;
        /// Whether its power can be reduced by a set-point.
        curtailable: bool = false;
    }
}

/// An asset's type together with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AssetModel<'a> {
    /// A battery.
    Battery(&'a Battery),
    /// A solar plant.
    Solar(&'a Solar),
    /// A load.
    Load,
}

impl AssetSpec {
    /// The type with its parameters.
    #[must_use]
    pub const fn model(&self) -> AssetModel<'_> {
        match (&self.battery, &self.solar) {
            (Some(battery), _) => AssetModel::Battery(battery),
            (None, Some(solar)) => AssetModel::Solar(solar),
            (None, None) => AssetModel::Load,
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
    if battery.max_charge == Power::ZERO && battery.max_discharge == Power::ZERO {
        cx.report(
            at("maxCharge"),
            "the battery can neither charge nor discharge",
            "expected a power above 0 kW",
        );
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

fn check_asset(asset: &AssetSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    let kind = asset.r#type;
    let parts = [
        ("battery", AssetType::Battery, asset.battery.is_some()),
        ("solar", AssetType::Solar, asset.solar.is_some()),
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
