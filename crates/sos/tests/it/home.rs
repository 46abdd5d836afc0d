//! `examples/home` as its README runs it: a vehicle and a heat pump in the loop.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Rig, wait_for};

fn home() -> PathBuf {
    std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/home")).unwrap()
}

const ARGS: [&str; 6] = ["--speed", "max", "--seed", "1", "--until", "2017-01-05T00:00:00-08:00"];

/// Four fifths less what is charged in the last five minutes, which nobody sees: the car has left when they end.
const SEEN: f64 = 0.8 - 7.2 / 12.0 * 0.95 / 40.0 - 1e-3;

fn figure(site: &Value, path: &str) -> f64 {
    site.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {site}"))
}

/// States of charge by the end of their step; none while a vehicle is away.
fn socs(rig: &Rig, asset: &str) -> Vec<(jiff::Timestamp, Option<f64>)> {
    let store = rig.store().unwrap();
    let labels = [("site", "home"), ("asset", asset)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let series = store.find_series_id("asset_soc", &labels.into()).unwrap().unwrap();
    let all = store.range(series, jiff::Timestamp::MIN..jiff::Timestamp::MAX, None).unwrap();
    all.into_iter().map(|point| (point.time, point.value.ok())).collect()
}

/// All steps but the first, in which nothing was measured before and the car charges by itself, keep the limit.
fn keeps_the_limit(site: &Value) {
    let first = "2017-01-02T00:00:00-08:00";
    let violations = site["violations"].as_array().unwrap();
    assert!(violations.iter().all(|one| one["time"] == first), "{violations:?}");
    assert!(figure(site, "/limit_violations/baseline") > 2.0, "both at once are too much: {site}");
    assert_eq!(figure(site, "/fallbacks"), 0.0, "{site}");
}

/// What the car had when it left.
fn left_with(rig: &Rig) -> Vec<f64> {
    let car = socs(rig, "car");
    car.windows(2).filter(|pair| pair[1].1.is_none()).filter_map(|pair| pair[0].1).collect()
}

#[test]
#[ignore = "slow: a plan with a least power of two devices every quarter of an hour"]
fn a_vehicle_leaves_as_full_as_it_should_and_the_house_stays_warm() {
    let rig = Rig::of(&[]);
    let report = rig.path("r.json").display().to_string();
    rig.up_at(&home(), &[&ARGS[..], &["--report", &report]].concat()).finish();
    let site = rig.report("r.json")["sites"][0].clone();
    let [actual, baseline, perfect] =
        ["actual", "baseline", "perfect"].map(|case| figure(&site, &format!("/objective/{case}")));
    assert!(perfect <= actual + 1e-6 && actual < baseline, "{site}");
    keeps_the_limit(&site);
    let left = left_with(&rig);
    assert_eq!(left.len(), 3, "on Monday, Tuesday and Wednesday");
    assert!(left.iter().all(|soc| *soc > SEEN), "{left:?}");
    let heat: Vec<f64> = socs(&rig, "heating").into_iter().map(|(_, soc)| soc.unwrap()).collect();
    // At 20 °C itself only while power is dearest.
    let lowest = heat.iter().filter(|soc| **soc <= 0.0).count();
    assert!(lowest * 20 <= heat.len(), "at its lowest in {lowest} of {} ticks", heat.len());
}

#[test]
fn a_vehicle_and_a_heat_pump_survive_a_killed_controller() {
    let (whole, cut) = (Rig::of(&[]), Rig::of(&[]));
    let args = |rig: &Rig| {
        let report = rig.path("r.json").display().to_string();
        let args = ["--speed", "max", "--seed", "1", "--until", "2017-01-02T09:00:00-08:00", "--report"];
        [&args.map(str::to_owned)[..], &[report]].concat()
    };
    let up = |rig: &Rig| {
        let args = args(rig);
        rig.up_at(&home(), &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    up(&whole).finish();
    let mut first = up(&cut);
    wait_for("the car is away", || {
        first.assert_running();
        let kept = cut.store()?.get_kv("site/home").ok()??;
        let kept: Value = serde_json::from_str(kept.as_str()?).ok()?;
        (kept["tick"].as_i64()? >= 93).then_some(())
    });
    first.kill();
    up(&cut).finish();
    let [whole_site, cut_site] = [&whole, &cut].map(|rig| rig.report("r.json")["sites"][0].clone());
    keeps_the_limit(&whole_site);
    let left = left_with(&whole);
    assert!(left.len() == 1 && left[0] > SEEN, "{left:?}");
    for path in ["/steps", "/cost/baseline", "/objective/baseline", "/limit_violations/baseline"] {
        assert_eq!(figure(&cut_site, path), figure(&whole_site, path), "{path}");
    }
    let [cut, whole] = [&cut_site, &whole_site].map(|site| figure(site, "/cost/actual"));
    assert!((cut / whole - 1.0).abs() < 0.03, "{cut} after the kill, {whole} without");
}
