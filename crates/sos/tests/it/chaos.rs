//! Everything is killed, again and again, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sos_store::{EventType, Point, Store};

use crate::support::{Rig, TICK, Up, commands, csv_watt_seconds, tick, wait_for};

/// A month of ticks.
const MONTH: i64 = 31 * 96;
const KILLS: usize = 50;
const SERVICES: [&str; 6] = ["home-1", "home-2", "home-3", "home-4", "home-5", "sunspec"];

/// Who is killed when, by ticks: `sos` every fifth time, the job while it works, else a home or the adapter.
fn kills(rng: &mut ChaCha8Rng) -> Vec<(i64, &'static str)> {
    let mut at: Vec<i64> = (0..KILLS).map(|_| rng.random_range(4..MONTH - 400)).collect();
    at.sort_unstable();
    let victim = |(n, at): (usize, i64)| match n % 5 {
        0 => (at, "sos"),
        1 => (at, "night-batch"),
        _ => (at, SERVICES[rng.random_range(0..SERVICES.len())]),
    };
    at.into_iter().enumerate().map(victim).collect()
}

fn outages(rng: &mut ChaCha8Rng, n: i64) -> Value {
    let one = |i: i64| {
        let at = tick(i * (MONTH - 60) / n + rng.random_range(5..40));
        let service = SERVICES[rng.random_range(0..SERVICES.len())];
        json!({ "site": "fontana", "service": service, "at": at.to_string(), "seconds": TICK * rng.random_range(1..=12) })
    };
    (0..n).map(one).collect()
}

/// Kills one victim at its time; `up` is started again when it was its turn. Tells whether anything was killed.
fn strike(rig: &Rig, up: Up, victim: &str, start: impl Fn() -> Up) -> (Up, bool) {
    let mut up = up;
    if victim == "sos" {
        up.kill();
        return (start(), true);
    }
    // A job is killed at work; all others run unless an outage has them down.
    let replica = format!("{victim}-0");
    let within = rig.ticks() + 110;
    let killed = wait_for("a victim", || {
        if rig.kill(&replica) {
            return Some(true);
        }
        (up.has_ended() || rig.ticks() > within).then_some(false)
    });
    (up, killed)
}

#[test]
fn a_month_of_kills_loses_nothing() {
    let rig = Rig::quick();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let faults = rig.path("faults.json");
    std::fs::write(&faults, outages(&mut rng, 12).to_string()).unwrap();
    let start = || rig.up(MONTH, "r.json", &["--faults", faults.to_str().unwrap()]);
    let mut up = start();
    let mut struck = BTreeMap::new();
    for (at, victim) in kills(&mut rng) {
        rig.wait_ticks(&mut up, at);
        let (next, killed) = strike(&rig, up, victim, start);
        up = next;
        *struck.entry(victim).or_insert(0) += usize::from(killed);
    }
    let up = all_run_again(&rig, up, start);
    up.finish();
    assert_eq!(struck.values().sum::<usize>(), KILLS, "{struck:?}");
    eprintln!("killed: {struck:?}");

    let report = rig.report("r.json");
    let site = &report["sites"][0];
    let ledger = rig.ledger();
    assert_eq!((site["steps"].as_i64(), ledger.steps), (Some(MONTH), MONTH.unsigned_abs()));
    assert_eq!(ledger.imbalance().as_watt_seconds(), 0);
    assert_eq!(site["estimated_values"], 0, "{}", missing(&rig.store().unwrap()));
    assert_eq!(report["services"].as_array().unwrap().len(), 7);
    let deadlines = &report["services"][5]["deadlines"];
    assert_eq!((deadlines["met"].as_i64(), deadlines["missed"].as_i64()), (Some(31), Some(0)), "{deadlines}");

    let store = rig.store().unwrap();
    check_commands(&store);
    check_energy(&rig, (0, MONTH));
}

/// After the last kill everything comes back. SIGTERM leaves the services as they are, so that they can be looked at.
fn all_run_again(rig: &Rig, mut up: Up, start: impl Fn() -> Up) -> Up {
    let settled = rig.ticks() + 200;
    rig.wait_ticks(&mut up, settled);
    up.signal(Signal::SIGTERM);
    up.finish();
    assert!(rig.ticks() < MONTH, "the month was not over yet");
    let (store, living) = (rig.store().unwrap(), rig.pids());
    for service in SERVICES {
        let status = store.get("Service", service).unwrap().unwrap().status;
        assert!(living.contains_key(&format!("{service}-0")), "{service} has no process: {living:?}");
        assert_eq!(
            (&status["phase"], &status["readyReplicas"]),
            (&"Running".into(), &1.into()),
            "{status:#}"
        );
    }
    start()
}

/// Energies that were given up and estimated, for the message of a failure.
fn missing(store: &Store) -> String {
    let given_up = |point: &Point| point.known_at.duration_since(point.time).as_hours() > 24 * 7;
    let told = |p: Point| format!("{} known at {}", p.time, p.known_at);
    points(store, "device_power_kw").filter(given_up).map(told).collect::<Vec<_>>().join("\n")
}

/// What was recorded of a series over the month, of all assets that have it.
fn points(store: &Store, name: &str) -> impl Iterator<Item = Point> {
    let series = store.list_series().unwrap().into_iter().filter(move |series| series.name == name);
    series.flat_map(|series| store.range(series.id, tick(0)..tick(MONTH + 1), None).unwrap())
}

/// Set-points within limits, one controller at a time, every tick decided once.
fn check_commands(store: &Store) {
    let commands = commands(store);
    assert!(commands.is_sorted_by_key(|command| command.epoch), "never two controllers at once");
    assert!(commands.last().unwrap().epoch > 5, "sos was killed in between");
    // A tick that finds a battery commands it; one that finds none, because the adapter is down, has no entry.
    let found: BTreeSet<_> = points(store, "asset_soc").filter(|p| p.value.is_ok()).map(|p| p.time).collect();
    let recorded: BTreeSet<_> = commands.iter().map(|command| command.time).collect();
    assert_eq!(recorded.len(), commands.len(), "no tick was decided twice");
    assert_eq!(recorded, found, "the audit record has every command");
    let ticks: Vec<_> = points(store, "site_work_kw").map(|p| p.time).collect();
    assert_eq!(ticks, (1..=MONTH).map(tick).collect::<Vec<_>>(), "every tick is recorded, once");
    let powers = commands.iter().flat_map(|command| &command.kw);
    for (asset, kw) in powers {
        assert!(kw.is_none_or(|kw| (-5.0..=5.0).contains(&kw)), "{asset} {kw:?}");
    }
}

/// What was settled is what the homes counted and what the files say.
fn check_energy(rig: &Rig, (from, to): (i64, i64)) {
    let ledger = rig.ledger();
    let mut counted = BTreeMap::from([("load", 0), ("solar", 0), ("battery", 0)]);
    for home in 1..=5 {
        let state = home_state(rig, home);
        for meter in ["load", "solar"] {
            *counted.get_mut(meter).unwrap() += state[meter]["watt_seconds"].as_i64().unwrap();
        }
        let terminals = |way: &str| state["battery"][way].as_i64().unwrap();
        *counted.get_mut("battery").unwrap() += terminals("discharged") - terminals("charged");
    }
    let hours = usize::try_from(from / 4).unwrap()..usize::try_from(to / 4).unwrap();
    let files = |column| (1..=5).map(|home| csv_watt_seconds(home, column, hours.clone())).sum::<i64>();
    // A counter is read in tenths of a watt-hour (360 Ws), both ways and at both ends of each time without a reading.
    let kinds = ["battery", "load", "solar"].into_iter();
    let assets = kinds.flat_map(|kind| (1..=5).map(move |home| format!("home-{home}-{kind}")));
    let unread = |asset: String| -> u64 {
        let events = rig.events("Asset", &asset).into_iter().filter(|e| e.event.reason == "Unavailable");
        events.map(|e| e.count).sum()
    };
    let stated = i64::try_from(assets.map(unread).sum::<u64>()).unwrap() * 4 * 360;
    let battery = (ledger.discharged - ledger.charged).as_watt_seconds();
    assert!(
        (battery - counted["battery"]).abs() <= stated,
        "{battery} settled, {} counted",
        counted["battery"]
    );
    eprintln!("battery differs by {} of at most {stated} Ws", battery - counted["battery"]);
    for (name, settled, column) in [
        ("load", -ledger.load.as_watt_seconds(), "load_kw"),
        ("solar", ledger.solar.as_watt_seconds(), "solar_kw"),
    ] {
        assert!(
            (settled - counted[name]).abs() <= stated,
            "{name}: {settled} settled, {} counted",
            counted[name]
        );
        assert!((counted[name] - files(column)).abs() <= 5 * TICK * 13, "{name}: {} counted", counted[name]);
    }
}

/// The state of a home as it saved it last.
fn home_state(rig: &Rig, home: u32) -> Value {
    let bytes = std::fs::read(rig.data.join(format!("services/home-{home}/state"))).unwrap();
    let slots = bytes.chunks(4096).filter_map(|slot| {
        let text = std::str::from_utf8(slot).ok()?.trim();
        let mut parts = text.splitn(3, ' ');
        let sequence = parts.next()?.parse::<u64>().ok()?;
        Some((sequence, serde_json::from_str::<Value>(parts.nth(1)?).ok()?))
    });
    slots.max_by_key(|(sequence, _)| *sequence).unwrap().1
}

#[test]
fn a_home_that_is_down_is_left_out_told_and_settled_afterwards() {
    let rig = Rig::quick();
    let (down, back) = (40, 52);
    let outage = json!([{ "site": "fontana", "service": "home-3", "at": tick(down).to_string(), "seconds": TICK * (back - down) }]);
    let faults = rig.path("faults.json");
    std::fs::write(&faults, outage.to_string()).unwrap();
    rig.up(192, "r.json", &["--faults", faults.to_str().unwrap()]).finish();

    let store = rig.store().unwrap();
    for command in commands(&store) {
        let out = (tick(down)..tick(back)).contains(&command.time);
        assert_eq!(command.kw.contains_key("home-3-battery"), !out, "{}", command.time);
        assert!(command.kw.contains_key("home-2-battery"), "the others go on at {}", command.time);
    }
    for asset in ["home-3-battery", "home-3-solar", "home-3-load"] {
        let events = rig.events("Asset", asset);
        let told = |kind, reason| {
            events.iter().filter(|e| e.event.event_type == kind && e.event.reason == reason).count()
        };
        assert_eq!(
            (told(EventType::Warning, "Unavailable"), told(EventType::Normal, "Available")),
            (1, 1),
            "{events:?}"
        );
        assert!(rig.events("Asset", &asset.replace('3', "2")).is_empty(), "the others were not concerned");
    }
    let report = rig.report("r.json");
    assert_eq!(report["sites"][0]["steps"], 192);
    assert_eq!(report["sites"][0]["estimated_values"], 0);
    assert_eq!(report["services"][2]["slo_violation_seconds"], (back - down) * TICK);
    assert_eq!(rig.ledger().imbalance().as_watt_seconds(), 0);
    check_energy(&rig, (0, 192));
}
