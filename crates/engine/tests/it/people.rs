//! What people order is done to the watt and no longer than ordered, behind the guard; on hold nothing is written.

use jiff::Timestamp;
use sos_engine::apply::{Applying, apply};
use sos_store::{AuditRecord, EventFilter, Store};

use crate::home::{Command, TICK, epoch};
use crate::kill::Rig;

/// Two days, after which the forecasters know the load.
const LEARNED: i32 = 192;

fn at(tick: i32) -> Timestamp {
    epoch() + TICK * tick
}

/// Declares an order until a tick, in the name of anna.
fn order(store: &Store, asset: &str, what: &str, until: i32) {
    let text = format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Override\nmetadata: {{ name: {asset} }}\n\
         spec: {{ asset: {asset}, {what}, until: \"{}\", reason: inspection }}\n",
        at(until)
    );
    let declared = sos_model::load(&[("a.yaml".into(), text.into_bytes())]).unwrap();
    let how = Applying {
        manager: "cli",
        who: "anna",
        why: Some("inspection"),
        force: false,
        dry_run: false,
        prune: false,
        now: epoch(),
    };
    apply(store, &declared, &how).unwrap();
}

/// Commands to an asset with their ticks.
fn commands(rig: &Rig, asset: &str) -> Vec<(i32, Option<f64>)> {
    let home = rig.home.lock().unwrap();
    let tick = |command: &Command| {
        i32::try_from(command.at.duration_since(epoch()).as_secs() / TICK.as_secs()).unwrap()
    };
    home.commands.iter().filter(|c| c.asset == asset).map(|c| (tick(c), c.kw)).collect()
}

fn of_ticks(rig: &Rig, asset: &str, ticks: std::ops::Range<i32>) -> Vec<Option<f64>> {
    commands(rig, asset).into_iter().filter(|(at, _)| ticks.contains(at)).map(|(_, kw)| kw).collect()
}

/// Why an asset got its set-point in a tick.
fn why(store: &Store, asset: &str, tick: i32) -> String {
    let all = store.list_audit(1, Some("Site/home"), 100_000).unwrap();
    let found = all
        .iter()
        .find(|record: &&AuditRecord| record.entry.what == "set-point" && record.entry.time == at(tick));
    let after = found.unwrap().entry.after.clone().unwrap();
    after["assets"][asset]["because"].as_str().unwrap_or_default().to_owned()
}

fn events(store: &Store) -> Vec<(String, String)> {
    let filter =
        EventFilter { kind: Some("Asset".into()), name: Some("battery".into()), ..EventFilter::default() };
    let found = store.list_events(&filter).unwrap();
    found.into_iter().map(|record| (record.event.reason, record.event.message)).collect()
}

#[test]
fn a_battery_is_charged_as_ordered_over_a_restart_and_no_longer() {
    let rig = Rig::new();
    rig.run(LEARNED - 1, None).unwrap();
    order(&rig.store(), "battery", "power: -0.3 kW", LEARNED + 5);
    // Stopped and started again in the middle of the order; the last tick of a run commands nothing.
    rig.run(LEARNED + 2, None).unwrap();
    rig.run(LEARNED + 8, None).unwrap();
    assert_eq!(of_ticks(&rig, "battery", LEARNED..LEARNED + 5), [Some(-0.3); 4]);
    let after = of_ticks(&rig, "battery", LEARNED + 5..LEARNED + 8);
    assert!(after.len() == 3 && after.iter().all(|kw| *kw != Some(-0.3)), "{after:?}");
    let told = why(&rig.store(), "battery", LEARNED + 3);
    assert_eq!(told, "charging 0.3 kW: ordered by anna until 01:15: inspection");
    let events = events(&rig.store());
    let ended = events.iter().find(|(reason, _)| reason == "OrderEnded").unwrap();
    assert_eq!(ended.1, "no longer ordered by anna until 01:15: inspection");
    let audit = rig.store().list_audit(1, Some("Override/battery"), 10).unwrap();
    assert_eq!((audit[0].entry.who.as_str(), audit[0].entry.why.as_str()), ("anna", "inspection"));
}

#[test]
fn an_order_gives_way_to_the_connection_and_to_what_is_in_store() {
    let rig = Rig::new();
    rig.run(LEARNED - 1, None).unwrap();
    // At night, with a load of about 1 kW and a limit of 4 kW.
    order(&rig.store(), "battery", "power: -5 kW", LEARNED + 4);
    rig.run(LEARNED + 3, None).unwrap();
    for (tick, kw) in (LEARNED..).zip(of_ticks(&rig, "battery", LEARNED..LEARNED + 3)) {
        let kw = kw.unwrap();
        assert!(kw > -3.4, "{tick}: {kw}");
        let told = why(&rig.store(), "battery", tick);
        assert!(told.starts_with("charging 5.0 kW: ordered by anna until 01:00: inspection; "), "{told}");
        assert!(told.contains("import limit 4.0 kW"), "{told}");
    }
    order(&rig.store(), "battery", "power: 5 kW", LEARNED + 24);
    rig.run(LEARNED + 24, None).unwrap();
    let last = of_ticks(&rig, "battery", LEARNED + 23..LEARNED + 24);
    assert_eq!(last, [Some(0.0)], "there is nothing left to give");
    let told = why(&rig.store(), "battery", LEARNED + 23);
    assert!(told.contains("ordered by anna") && told.ends_with("state of charge"), "{told}");
}

#[test]
fn on_hold_nothing_is_written_to_the_device_and_the_others_go_on() {
    let rig = Rig::new();
    rig.run(LEARNED - 1, None).unwrap();
    order(&rig.store(), "battery", "hold: true", LEARNED + 50);
    rig.run(LEARNED + 20, None).unwrap();
    rig.run(LEARNED + 60, None).unwrap();
    assert_eq!(of_ticks(&rig, "battery", LEARNED..LEARNED + 50), []);
    assert_eq!(of_ticks(&rig, "battery", LEARNED + 50..LEARNED + 60).len(), 10);
    assert_eq!(of_ticks(&rig, "solar", LEARNED..LEARNED + 50).len(), 49, "all but the last one of a run");
    let events = events(&rig.store());
    assert!(
        events.iter().any(|(reason, text)| reason == "OnHold"
            && text == "on hold by anna until 12:30: inspection; nothing is written to the device"),
        "{events:?}"
    );
}

#[test]
fn a_solar_plant_gives_at_most_what_is_ordered_and_the_rest_counts_as_turned_down() {
    let rig = Rig::new();
    rig.run(LEARNED + 39, None).unwrap();
    let before = rig.home.lock().unwrap().curtailed;
    order(&rig.store(), "solar", "power: 1.5 kW", LEARNED + 60);
    rig.run(LEARNED + 60, None).unwrap();
    for kw in of_ticks(&rig, "solar", LEARNED + 40..LEARNED + 60) {
        assert!(kw.is_some_and(|kw| (0.0..=1.5).contains(&kw)), "{kw:?}");
    }
    let told = why(&rig.store(), "solar", LEARNED + 50);
    assert!(told.starts_with("at most 1.5 kW: ordered by anna until 15:00: inspection"), "{told}");
    assert!(rig.home.lock().unwrap().curtailed > before);
}
