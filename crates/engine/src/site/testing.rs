//! Small sites for tests, with 4 kW of import.

use std::collections::BTreeMap;

use super::model::{SiteModel, assemble};

/// One battery of 6.4 kWh and 5 kW, one load; `battery` holds further lines of the battery's spec.
pub(crate) fn site(battery: &str) -> SiteModel {
    assembled(format!("{HOME}{}{}", battery_of(battery), load("load", 503)))
}

/// The loads `load-1` and `load-2`.
pub(crate) fn two_loads() -> SiteModel {
    assembled(format!("{HOME}{}{}", load("load-1", 502), load("load-2", 503)))
}

/// A battery and `load-1` behind the feeder `street` with a fuse of 3 kW, `load-2` beside it; a peak is charged at the connection.
pub(crate) fn street() -> SiteModel {
    let peak = "charges: [{ name: demand, peak: { price: 10 EUR/kW, per: day } }]";
    let site = HOME.replace(
        "  connection: { ",
        &format!("  feeders: [{{ name: street, importLimit: 3 kW }}]\n  connection: {{ {peak}, "),
    );
    let behind = |text: String| text.replace("  site: home\n", "  site: home\n  feeder: street\n");
    assembled(site + &behind(battery_of("mode: control") + &load("load-1", 503)) + &load("load-2", 504))
}

/// An island with a load, a battery whose inverter forms the grid, and a generator of 4 to 10 kW that takes 2 min to start.
pub(crate) fn island() -> SiteModel {
    let text = HOME.replace("  connection: { importLimit: 4 kW, importPrice: { fixed: 0.3 EUR/kWh } }\n", "")
        + &battery_of("mode: control").replace("maxCharge", "gridForming: true, maxCharge")
        + &load("load", 503)
        + GENERATOR;
    assembled(text)
}

/// A load, a battery, a vehicle of 40 kWh that is away from 08:00 to 16:00 and uses 8 kWh, and a heat pump with a tank of 10 kWh.
pub(crate) fn movables() -> SiteModel {
    assembled(format!("{HOME}{}{}{MOVABLES}", battery_of("mode: control"), load("load", 503)))
}

const MOVABLES: &str = "---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: car }
spec:
  site: home
  type: vehicle
  mode: control
  via: { service: adapter, device: { host: 127.0.0.1, port: 505 } }
  vehicle:
    capacity: 40 kWh
    maxCharge: 8 kW
    maxDischarge: 0 kW
    minCharge: 1.4 kW
    chargeEfficiency: 1
    initialSoc: 0.5
    routine: [{ leaves: \"08:00\", returns: \"16:00\", uses: 8 kWh }]
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: pump }
spec:
  site: home
  type: heatPump
  mode: control
  via: { service: adapter, device: { host: 127.0.0.1, port: 506 } }
  heatPump: { maxPower: 2 kW, minPower: 0.5 kW, cop: { fixed: 3 }, heats: { tank: { capacity: 10 kWh, standingLoss: 0 } } }
";

const GENERATOR: &str = "---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: set }
spec:
  site: home
  type: generator
  mode: control
  via: { service: adapter, device: { host: 127.0.0.1, port: 504 } }
  generator:
    minPower: 4 kW
    maxPower: 10 kW
    fuelCost: [{ upTo: 8 kW, price: 0.3 EUR/kWh }, { price: 0.4 EUR/kWh }]
    idleCost: 0.5 EUR
    startCost: 2 EUR
    emissions: 0.7 kg/kWh
    startTime: 2 min
    minUpTime: 30 min
    minDownTime: 30 min
";

const HOME: &str = "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: { name: home }
spec:
  timeZone: Etc/UTC
  currency: EUR
  tick: 15 min
  planEvery: 1 h
  connection: { importLimit: 4 kW, importPrice: { fixed: 0.3 EUR/kWh } }
---
apiVersion: sos.energy/v1alpha1
kind: Service
metadata: { name: adapter }
spec: { command: [adapter], ports: [{ name: adapter }], adapter: true }
";

fn battery_of(lines: &str) -> String {
    format!(
        "---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: {{ name: battery }}
spec:
  site: home
  type: battery
  {lines}
  via: {{ service: adapter, device: {{ host: 127.0.0.1, port: 502 }} }}
  battery: {{ capacity: 6.4 kWh, maxCharge: 5 kW, maxDischarge: 5 kW }}
"
    )
}

fn load(name: &str, port: u16) -> String {
    format!(
        "---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: {{ name: {name} }}
spec:
  site: home
  type: load
  via: {{ service: adapter, device: {{ host: 127.0.0.1, port: {port} }} }}
"
    )
}

fn assembled(text: String) -> SiteModel {
    let declared = sos_model::load_checked(&[("site.yaml".into(), text.into_bytes())], &[]).unwrap();
    let site = declared.iter().find_map(|one| one.site()).unwrap();
    let assets =
        declared.iter().filter_map(|one| Some((one.name.to_string(), one.asset()?.clone()))).collect();
    assemble("home", site, &assets, &BTreeMap::new()).unwrap()
}
