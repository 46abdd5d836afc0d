//! One home played by a program that shares nothing with this project: `pysunspec2` on `pymodbus`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::peers::python;
use crate::support::{Rig, commands};

fn scripts() -> PathBuf {
    std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../device/tests/peer")).unwrap()
}

/// The service of home 3 with another command; its assets stay as they are.
fn swapped(manifest: &str, python: &Path) -> String {
    let (service, assets) = manifest.split_once("---").unwrap();
    let (before, rest) = service.split_once("  command:").unwrap();
    let (_, after) = rest.split_once("  ports:").unwrap();
    let home = scripts().join("home.py");
    let args = "\"--data=data/home-3.csv\", \"--port=${port:modbus}\", \"--clock-port=${port:clock}\"";
    // Python and its libraries take more memory than our own home.
    let after = after.replace("memory: 64 MiB", "memory: 512 MiB");
    format!(
        "{before}  command: [\"{}\", \"{}\"]\n  args: [{args}]\n  ports:{after}---{assets}",
        python.display(),
        home.display()
    )
}

#[test]
fn a_python_home_takes_the_place_of_ours_and_nothing_else_changes() {
    let Some(python) = python() else { return };
    let ours = Rig::new();
    let theirs = Rig::edited(|name, text| if name == "home-3.yaml" { swapped(&text, &python) } else { text });
    let (one, other) = (ours.up(192, "r.json", &[]), theirs.up(192, "r.json", &[]));
    one.finish();
    other.finish();

    let (a, b) = (ours.ledger(), theirs.ledger());
    assert_eq!((a.steps, b.steps, b.imbalance().as_watt_seconds()), (192, 192, 0));
    // Its counters are rounded to watt-hours and its powers to watts.
    let near = |a: i64, b: i64| (a - b).abs() < 192 * 900;
    assert!(near(a.load.as_watt_seconds(), b.load.as_watt_seconds()), "{a:?} {b:?}");
    assert!(near(a.solar.as_watt_seconds(), b.solar.as_watt_seconds()), "{a:?} {b:?}");
    let cost = |rig: &Rig| {
        rig.report("r.json").pointer("/sites/0/objective/actual").and_then(Value::as_f64).unwrap()
    };
    assert!((cost(&theirs) / cost(&ours) - 1.0).abs() < 0.03, "{} {}", cost(&theirs), cost(&ours));
    assert_eq!(theirs.report("r.json")["sites"][0]["estimated_values"], 0);

    let moved = commands(&theirs.store().unwrap());
    let used = moved
        .iter()
        .filter_map(|command| *command.kw.get("home-3-battery")?)
        .filter(|kw| kw.abs() > 0.1)
        .count();
    assert!(used > 10, "the peer's battery was commanded");
    let events = theirs.events("Asset", "home-3-battery");
    assert!(
        events.iter().all(|e| e.event.reason != "CommandNotFollowed" && e.event.reason != "CommandFailed"),
        "{events:?}"
    );
}
