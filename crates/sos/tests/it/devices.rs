//! What devices and machines do wrong: rubbish, silence, taken ports, full disks. Each is told; the rest goes on.

use std::net::TcpListener;
use std::process::Command;

use sos_store::EventType;

use crate::skipped::skipped;
use crate::support::{Rig, commands, tick, wait_for};

/// A rig whose home 2 obeys a file of faults.
fn faulty() -> Rig {
    Rig::edited(|name, text| match name {
        "home-2.yaml" => text.replacen(
            "spec:\n",
            "spec:\n  env: [{ name: SOS_DEVICE_FAULT, value: \"${dataDir}/fault\" }]\n",
            1,
        ),
        _ => text,
    })
}

#[test]
fn rubbish_and_silence_of_one_home_are_told_and_the_rest_goes_on() {
    for (fault, ticks) in
        [("rubbish", 96), ("short", 96), ("nan", 96), ("exception 4", 96), ("late 30s", 3), ("never", 3)]
    {
        let rig = faulty();
        let mut up = rig.up(192, "r.json", &[]);
        rig.wait_ticks(&mut up, 8);
        let file = rig.data.join("services/home-2/fault");
        std::fs::write(&file, fault).unwrap();
        let from = rig.ticks() + 2;
        rig.wait_ticks(&mut up, from + ticks.min(40));
        let events = rig.events("Asset", "home-2-battery");
        let told = events
            .iter()
            .filter(|e| e.event.event_type == EventType::Warning && e.event.reason == "Unavailable");
        let told: Vec<_> = told.map(|e| e.event.message.as_str()).collect();
        assert!(
            !told.is_empty() && told.iter().all(|message| message.contains("home-2")),
            "{fault}: {events:?}"
        );
        std::fs::remove_file(&file).unwrap();
        up.finish();

        for command in commands(&rig.store().unwrap()) {
            assert!(
                command.kw.values().all(|kw| kw.is_none_or(|kw| (-5.0..=5.0).contains(&kw))),
                "{fault}: {command:?}"
            );
            assert!(command.kw.contains_key("home-1-battery"), "{fault}: home 1 goes on at {}", command.time);
            let during = command.time > tick(from) && command.time < tick(from + ticks.min(40) - 1);
            assert!(!(during && command.kw.contains_key("home-2-battery")), "{fault}: {command:?}");
        }
        let back = rig.events("Asset", "home-2-battery");
        assert!(back.iter().any(|e| e.event.reason == "Available"), "{fault}: {back:?}");
        let report = rig.report("r.json");
        assert_eq!(
            (&report["sites"][0]["steps"], &report["sites"][0]["estimated_values"]),
            (&192.into(), &0.into()),
            "{fault}"
        );
        assert_eq!(rig.ledger().imbalance().as_watt_seconds(), 0);
    }
}

#[test]
fn a_port_in_use_is_told_by_its_service_and_the_rest_goes_on() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let rig = Rig::edited(|name, text| match name {
        "home-2.yaml" => text.replacen("{ name: modbus }", &format!("{{ name: modbus, port: {port} }}"), 1),
        _ => text,
    });
    let mut up = rig.up_with(&["--speed", "3600"]);
    rig.wait_ticks(&mut up, 4);
    let message = wait_for("the condition", || {
        let status = rig.store()?.get("Service", "home-2").ok()??.status;
        let conditions = status["conditions"].as_array()?.clone();
        let asks = conditions.iter().find(|c| c["type"] == "Healthy" && c["status"] == "False")?;
        Some(asks["message"].as_str()?.to_owned())
    });
    assert!(message.contains(&port.to_string()), "{message}");
    let told = wait_for("the event", || {
        let events = rig.events("Service", "home-2");
        events.into_iter().find(|e| e.event.message.contains(&port.to_string()))
    });
    assert!(told.event.event_type == EventType::Warning, "{told:?}");
    let tries = rig.store().unwrap().recent_audit(Some("Service/home-2"), 1000).unwrap().len();
    assert!(tries < 20, "it is not tried again and again without a pause: {tries}");
    assert!(rig.pids().contains_key("home-1-0") && rig.pids().contains_key("sunspec-0"));
}

#[test]
fn an_unreadable_series_is_bad_input_before_anything_starts() {
    let rig = Rig::edited(|_, text| text);
    std::fs::remove_file(rig.manifests.join("data/grid.csv")).unwrap();
    let ended = rig.up(96, "r.json", &[]).wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("grid.csv") && ended.stderr.contains("price"), "{}", ended.stderr);
    assert!(!rig.data.exists(), "nothing was started");
}

/// A tiny file system that is unmounted when it is dropped.
struct Tiny(std::path::PathBuf);

impl Tiny {
    fn mount(path: &std::path::Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(path).output().ok()?;
        if !done.status.success() {
            skipped(String::from_utf8_lossy(&done.stderr).trim());
            return None;
        }
        Some(Self(path.to_owned()))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _done = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_ends_the_run_with_the_reason_and_nothing_half_done() {
    let mounted = tempfile::tempdir().unwrap();
    let Some(_tiny) = Tiny::mount(&mounted.path().join("disk"), "size=3m") else { return };
    let mut rig = Rig::new();
    rig.data = mounted.path().join("disk/data");
    let ended = rig.up(2880, "r.json", &[]).wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("full"), "{}", ended.stderr);
    // What was acknowledged is whole: each recorded tick is accounted for, none more.
    let store = rig.store().unwrap();
    let last = commands(&store).last().unwrap().time;
    assert_eq!(rig.kept().unwrap()["now"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap(), last);
    assert_eq!(rig.ledger().imbalance().as_watt_seconds(), 0);
}
