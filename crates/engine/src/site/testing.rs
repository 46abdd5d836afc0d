//! A small site for tests: one battery of 6.4 kWh and 5 kW, one load, 4 kW of import.

use std::collections::BTreeMap;

use super::model::{SiteModel, assemble};

/// The site; `battery` holds further lines of the battery's spec.
pub(crate) fn site(battery: &str) -> SiteModel {
    let text = format!(
        "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: {{ name: home }}
spec:
  timeZone: Etc/UTC
  currency: EUR
  tick: 15 min
  planEvery: 1 h
  connection: {{ importLimit: 4 kW, importPrice: {{ fixed: 0.3 EUR/kWh }} }}
---
apiVersion: sos.energy/v1alpha1
kind: Service
metadata: {{ name: adapter }}
spec: {{ command: [adapter], ports: [{{ name: adapter }}], adapter: true }}
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: {{ name: battery }}
spec:
  site: home
  type: battery
  {battery}
  via: {{ service: adapter, device: {{ host: 127.0.0.1, port: 502 }} }}
  battery: {{ capacity: 6.4 kWh, maxCharge: 5 kW, maxDischarge: 5 kW }}
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: {{ name: load }}
spec:
  site: home
  type: load
  via: {{ service: adapter, device: {{ host: 127.0.0.1, port: 503 }} }}
"
    );
    let declared = sos_model::load_checked(&[("site.yaml".into(), text.into_bytes())], &[]).unwrap();
    let site = declared.iter().find_map(|one| one.site()).unwrap();
    let assets =
        declared.iter().filter_map(|one| Some((one.name.to_string(), one.asset()?.clone()))).collect();
    assemble("home", site, &assets, &BTreeMap::new()).unwrap()
}
