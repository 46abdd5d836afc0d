//! `examples/island` as its README runs it: the morning on which the wind that was forecast did not come, with and without the
//! loss of a generator.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::Rig;

/// What the large generator gives at the most in a minute, kWh: what is lost before anybody can know of its failure.
const A_MINUTE: f64 = 12.0 / 60.0;

fn island() -> PathBuf {
    std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/island")).unwrap()
}

/// The hours around the largest error of the day-ahead forecast; the report's only site.
fn morning(faults: &Value) -> Value {
    let rig = Rig::of(&[]);
    std::fs::write(rig.path("faults.json"), faults.to_string()).unwrap();
    let [report, faults] = ["r.json", "faults.json"].map(|name| rig.path(name).display().to_string());
    let (from, until) = ("2020-12-18T05:45:00-08:00", "2020-12-18T08:00:00-08:00");
    let args = ["--speed", "max", "--seed", "1", "--from", from, "--until", until];
    let args = [&args[..], &["--faults", &faults, "--report", &report]].concat();
    rig.up_at(&island(), &args).finish();
    rig.report("r.json")["sites"][0].clone()
}

fn figure(site: &Value, path: &str) -> f64 {
    site.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {site}"))
}

/// What holds with every fault: it is worth more than no control, and no more than who knew it all.
fn holds(site: &Value) {
    let [actual, baseline, perfect] =
        ["actual", "baseline", "perfect"].map(|case| figure(site, &format!("/objective/{case}")));
    assert!(perfect <= actual + 1e-6 && actual < baseline, "{site}");
    assert!(figure(site, "/generated_kwh") > 0.0 && figure(site, "/starts") >= 1.0, "{site}");
    assert_eq!(figure(site, "/import_kwh"), 0.0, "there is no grid");
    assert_eq!(figure(site, "/fallbacks"), 0.0, "{site}");
}

#[test]
#[ignore = "slow: commits two generators every five minutes, a minute on a busy machine"]
fn the_wind_that_did_not_come_leaves_nobody_without_power() {
    let site = morning(&json!([]));
    holds(&site);
    assert_eq!(figure(&site, "/lost_load_kwh/actual"), 0.0, "{site}");
    assert_eq!(figure(&site, "/limit_violations/actual"), 0.0, "{site}");
}

#[test]
#[ignore = "slow: commits two generators every five minutes, a minute on a busy machine"]
fn the_loss_of_a_generator_costs_no_more_than_the_minute_in_which_it_fails() {
    let at = "2020-12-18T07:30:00-08:00";
    let site = morning(&json!([{ "site": "island", "service": "large-set", "at": at, "seconds": 3600 }]));
    holds(&site);
    assert!(figure(&site, "/lost_load_kwh/actual") <= A_MINUTE, "{site}");
    assert!(figure(&site, "/limit_violations/actual") <= 1.0, "{site}");
}
