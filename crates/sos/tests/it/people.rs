//! What people order of a running community: accepted or refused with a reason, followed, kept over a power cut, ended.

use serde_json::Value;

use crate::support::{Rig, Up, wait_for};

/// A tick each second.
const SPEED: [&str; 2] = ["--speed", "900"];

fn refused(rig: &Rig, args: &[&str], told: &[&str]) {
    let (well, text) = rig.sos(args);
    assert!(!well, "sos {args:?}: {text}");
    for part in told {
        assert!(text.contains(part), "sos {args:?} does not say {part:?}: {text}");
    }
}

fn done(rig: &Rig, args: &[&str]) -> String {
    let (well, text) = rig.sos(args);
    assert!(well, "sos {args:?}: {text}");
    text
}

fn orders(rig: &Rig, what: &str) -> Vec<Value> {
    rig.json(&[what]).and_then(|list| list.as_array().cloned()).unwrap_or_default()
}

/// Waits until the order of an asset is said to be in force in the set-points.
fn wait_in_force(rig: &Rig, up: &mut Up, what: &str, asset: &str) -> Value {
    wait_for(&format!("the {what} of {asset}"), || {
        up.assert_running();
        orders(rig, what).into_iter().find(|order| {
            let now = order["status"]["now"].as_str().unwrap_or_default();
            order["spec"]["asset"] == asset && (now.contains("ordered by") || now.contains("on hold by"))
        })
    })
}

#[test]
fn people_order_assets_and_hold_them_and_their_orders_outlive_a_power_cut() {
    let rig = Rig::quick();
    let mut up = rig.up_with(&SPEED);
    rig.wait_ticks(&mut up, 2);
    wrong_orders_say_what_is_wrong(&rig);
    let (asset, power) = ("home-1-battery", ["--power", "-1 kW"]);
    let first = ["override", asset, power[0], power[1], "--for", "10d", "--reason", "inspection"];
    let told = done(&rig, &first);
    assert!(
        told.starts_with("Override/home-1-battery: home-1-battery is charging 1.0 kW until 2016-08-"),
        "{told}"
    );
    wait_in_force(&rig, &mut up, "override", asset);

    let second = ["override", asset, "--power", "500 W", "--for", "10d", "--reason", "the meter is checked"];
    let told = done(&rig, &second);
    assert!(
        told.contains("is discharging 0.5 kW until") && told.contains("replaces charging 1.0 kW until"),
        "{told}"
    );
    let order = wait_for("the second order", || {
        let order = wait_in_force(&rig, &mut up, "override", asset);
        let now = order["status"]["now"].as_str().unwrap().to_owned();
        now.contains("the meter is checked").then_some(order)
    });
    assert_eq!(
        (order["status"]["state"].as_str(), order["status"]["orderedBy"].as_str()),
        (Some("acting"), Some("admin"))
    );
    let plan = rig.json(&["plan", "fontana"]).unwrap();
    let because = plan["steps"][1]["because"][asset].as_str().unwrap();
    assert!(
        because.contains("ordered by admin until") && because.contains("the meter is checked"),
        "{because}"
    );

    done(&rig, &["hold", "home-2-battery", "--for", "10d", "--reason", "the inverter is replaced"]);
    wait_in_force(&rig, &mut up, "hold", "home-2-battery");
    refused(
        &rig,
        &["override", "home-2-battery", "--power", "1 kW", "--for", "1h", "--reason", "x"],
        &["home-2-battery is on hold by admin until", "sos hold home-2-battery --clear"],
    );
    let silence = wait_for("the silence of what is on hold", || {
        let (_, text) = rig.sos(&["alerts", "silences", "-o", "json"]);
        text.contains("hold-home-2-battery").then_some(text)
    });
    assert!(silence.contains("the inverter is replaced"), "{silence}");

    up.kill();
    let mut up = rig.up_with(&SPEED);
    wait_in_force(&rig, &mut up, "override", asset);
    wait_in_force(&rig, &mut up, "hold", "home-2-battery");
    ends(&rig, asset);
}

fn wrong_orders_say_what_is_wrong(rig: &Rig) {
    let order =
        |asset, power, more: &[&'static str]| [&["override", asset, "--power", power][..], more].concat();
    let well = ["--for", "2h", "--reason", "inspection"];
    refused(rig, &order("home-9-battery", "-1 kW", &well), &["home-9-battery", "home-1-battery"]);
    refused(rig, &order("home-1-battery", "-1", &well), &["-1 has no unit", "5 kW"]);
    refused(
        rig,
        &order("home-1-battery", "-50 kW", &well),
        &["can never have -50.000 kW", "expected -5.000 kW"],
    );
    refused(rig, &order("home-1-load", "-1 kW", &well), &["a load is not commanded"]);
    refused(rig, &order("home-1-battery", "-1 kW", &["--for", "2h"]), &["expected --reason"]);
    refused(rig, &order("home-1-battery", "-1 kW", &["--reason", "x"]), &["an order has an end"]);
    let past = ["--until", "2016-07-01T00:00:00Z", "--reason", "x"];
    refused(rig, &order("home-1-battery", "-1 kW", &past), &["is over already", "at site fontana"]);
    refused(rig, &["override", "home-1-battery", "--clear"], &["has no override"]);
    let manifest = rig.path("past.yaml");
    let text = "apiVersion: sos.energy/v1alpha1\nkind: Override\nmetadata: { name: past }\nspec:\n  asset: home-3-battery\n  \
                power: 1 kW\n  until: 2016-07-01T00:00:00Z\n  reason: x\n";
    std::fs::write(&manifest, text).unwrap();
    refused(
        rig,
        &["apply", "-f", manifest.to_str().unwrap()],
        &["the end is over already", "expected a time after"],
    );
    assert!(orders(rig, "override").is_empty(), "nothing wrong was kept");
}

fn ends(rig: &Rig, asset: &str) {
    refused(rig, &["hold", asset, "--clear"], &["sos override home-1-battery --clear"]);
    done(rig, &["override", asset, "--clear", "--reason", "done"]);
    done(rig, &["hold", "home-2-battery", "--clear"]);
    assert!(orders(rig, "override").is_empty() && orders(rig, "hold").is_empty());
    let store = rig.store().unwrap();
    let all = store.list_audit(1, Some("Asset/home-1-battery"), 100).unwrap();
    let told: Vec<(&str, &str, &str)> =
        all.iter().map(|r| (r.entry.who.as_str(), r.entry.what.as_str(), r.entry.why.as_str())).collect();
    // Refused ones are in the record too, before these.
    let last = [
        ("admin", "override", "inspection"),
        ("admin", "override", "the meter is checked"),
        ("admin", "hold-clear", "asked for with the role admin"),
        ("admin", "override-clear", "done"),
    ];
    assert!(told.ends_with(&last), "{told:?}");
    let before = all.last().unwrap().entry.before.clone().unwrap();
    assert_eq!(before["spec"]["reason"], "the meter is checked");
}
