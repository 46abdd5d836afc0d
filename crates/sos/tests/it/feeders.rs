//! A site where a peak is charged, with a house behind a fuse: run for some days, killed in between and continued.

use serde_json::Value;

use crate::support::{Rig, wait_for};

/// Ticks of a quarter of an hour in a day.
const DAY: i64 = 96;

const SITE: &str = "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: { name: street }
spec:
  timeZone: Etc/UTC
  currency: EUR
  tick: 15 min
  planEvery: 1 h
  horizon: 24 h
  replay: true
  connection:
    importPrice: { fixed: 0.25 EUR/kWh }
    carbonIntensity: { fixed: 0.3 kg/kWh }
    charges: [{ name: demand, peak: { price: 1.5 EUR/kW, per: day } }]
  feeders: [{ name: house, importLimit: 5 kW, importPrice: { fixed: 0.05 EUR/kWh } }]
  carbonCap: { most: 1000 kg, per: month }
  forecasting: { members: profile }
---
apiVersion: sos.energy/v1alpha1
kind: Signal
metadata: { name: expected }
spec: { unit: kW, knownAhead: always, source: { file: { path: home.csv, column: expected_kw, sign: consumption } } }
---
apiVersion: sos.energy/v1alpha1
kind: Service
metadata: { name: adapter }
spec:
  command: [sos, adapter, sunspec]
  args: [\"--listen=127.0.0.1:${port:adapter}\"]
  ports: [{ name: adapter }]
  adapter: true
  probes: { startup: { tcp: { port: adapter }, period: 100 ms, failureThreshold: 100 } }
";

/// A home with its devices; `feeder` is a further line of its assets.
fn home(name: &str, battery: &str, feeder: &str) -> String {
    format!(
        "---
apiVersion: sos.energy/v1alpha1
kind: Service
metadata: {{ name: {name} }}
spec:
  command: [sos, device, home]
  args: [--name={name}, --data={name}.csv, \"--port=${{port:modbus}}\", \"--state=${{dataDir}}/state\", --solar-rating=3kW,
    --battery-capacity={battery}, --battery-power=4kW, --battery-efficiency=0.95, --battery-soc=0.5]
  ports: [{{ name: modbus }}, {{ name: clock }}]
  clock: {{ site: street, port: clock }}
  probes: {{ startup: {{ tcp: {{ port: modbus }}, period: 100 ms, failureThreshold: 100 }} }}
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: {{ name: {name}-load }}
spec:
  site: street{feeder}
  type: load
  power: {{ signal: expected }}
  via: {{ service: adapter, device: {{ service: {name}, port: modbus }}, unit: 3 }}
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: {{ name: {name}-battery }}
spec:
  site: street{feeder}
  type: battery
  mode: control
  via: {{ service: adapter, device: {{ service: {name}, port: modbus }}, unit: 2 }}
  battery: {{ capacity: {battery}, maxCharge: 4 kW, maxDischarge: 4 kW, chargeEfficiency: 0.95, dischargeEfficiency: 0.95 }}
"
    )
}

/// Four days and a bit: an evening every day, and something that nobody expects.
fn data(surprise: f64) -> String {
    let mut text = "time,load_kw,solar_kw,expected_kw\n".to_owned();
    let start: jiff::Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    for step in 0..5 * DAY {
        let time = start + jiff::SignedDuration::from_mins(15 * step);
        let hour = (step % DAY) as f64 / 4.0;
        let evening = if (17.0..21.0).contains(&hour) { 4.6 } else { 0.0 };
        let expected = 1.2 + evening;
        let load = expected + surprise * ((step * 7919 % 13) as f64 / 6.0 - 1.0);
        text += &format!("{time},{load:.3},0,{expected:.3}\n");
    }
    text
}

fn rig() -> Rig {
    let homes = home("home", "12 kWh", "\n  feeder: house") + &home("shop", "4 kWh", "");
    let rig = Rig::of(&[("site.yaml", &(SITE.to_owned() + &homes))]);
    std::fs::write(rig.manifests.join("home.csv"), data(0.2)).unwrap();
    std::fs::write(rig.manifests.join("shop.csv"), data(1.0)).unwrap();
    rig
}

fn args<'a>(until: &'a str, report: &'a str) -> [&'a str; 8] {
    ["--speed", "max", "--seed", "1", "--until", until, "--report", report]
}

fn figure(site: &Value, path: &str) -> f64 {
    site.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {site:#}"))
}

/// Ticks that the site has decided.
fn ticks(rig: &Rig) -> Option<i64> {
    let value = rig.store()?.get_kv("site/street").ok()??;
    let kept: Value = serde_json::from_str(value.as_str()?).unwrap();
    kept["tick"].as_i64()
}

#[test]
fn a_peak_charge_and_a_fuse_are_held_and_paid_once_whether_it_is_killed_or_not() {
    let (whole, killed) = (rig(), rig());
    let until = "2026-03-06T00:00:00Z";
    let paths = [&whole, &killed].map(|rig| rig.path("r.json").display().to_string());
    whole.up_with(&args(until, &paths[0])).finish();
    let site = whole.report("r.json")["sites"][0].clone();
    let of = |path: &str| figure(&site, path);
    assert_eq!(of("/steps"), 4.0 * DAY as f64);
    assert_eq!((of("/fallbacks"), of("/limit_violations/actual")), (0.0, 0.0), "{site:#}");
    assert!(of("/limit_violations/baseline") >= 4.0 * 12.0, "without control the fuse would go: {site:#}");
    assert!(of("/feeders/house/peak_kw") <= 5.0, "{site:#}");
    // Less than without control, by the charge most of all; and no more than who knew it all.
    let [actual, baseline, perfect] = ["actual", "baseline", "perfect"]
        .map(|case| (of(&format!("/cost/{case}")), of(&format!("/charges/demand/{case}"))));
    assert!(actual.1 < 0.9 * baseline.1 && actual.0 < baseline.0, "{site:#}");
    assert!(perfect.1 <= actual.1 && of("/objective/perfect") <= of("/objective/actual") + 1e-6, "{site:#}");

    let up = killed.up_with(&args(until, &paths[1]));
    wait_for("the second day", || ticks(&killed).filter(|ticks| *ticks > 3 * DAY / 2));
    up.kill();
    killed.up_with(&args(until, &paths[1])).finish();
    let again = killed.report("r.json")["sites"][0].clone();
    for path in [
        "/steps",
        "/cost/baseline",
        "/charges/demand/baseline",
        "/limit_violations/baseline",
        "/limit_violations/actual",
    ] {
        assert_eq!(figure(&again, path), of(path), "{path}");
    }
    for path in ["/cost/actual", "/charges/demand/actual", "/objective/actual"] {
        let (again, whole) = (figure(&again, path), of(path));
        assert!((again / whole - 1.0).abs() < 0.02, "{path}: {again} after the kill, {whole} without");
    }
}
