//! `examples/utility` as its README runs it: SOAP, gRPC and REST servers of three stacks, events over MQTT and NATS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sos_runtime::{PortRequest, assign_ports};

use crate::cli::{Ran, sos, sos_with};
use crate::skipped::skipped;
use crate::support::{Rig, Up, wait_for};

fn repository() -> PathBuf {
    std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

/// Installs what the example's servers need; false, and the test counts as skipped, where that cannot be had.
fn is_set_up() -> bool {
    let output = Command::new("bash").arg(repository().join("examples/utility/setup")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => true,
        Some(77) => {
            skipped(told.lines().last().unwrap_or("the servers of examples/utility cannot be had"));
            false
        }
        _ => panic!("examples/utility/setup: {told}"),
    }
}

/// Free ports for both brokers, from where no outgoing connection takes them before the brokers do.
fn broker_ports() -> (String, String) {
    let requests = ["mqtt", "nats"].map(|name| PortRequest { name: name.to_owned(), port: None });
    let ports = assign_ports(
        &format!("utility-{}", std::process::id()),
        &requests,
        &BTreeMap::new(),
        &BTreeMap::new(),
    )
    .unwrap();
    (ports["mqtt"].to_string(), ports["nats"].to_string())
}

fn copy(from: &Path, to: &Path, edit: &dyn Fn(String) -> String) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap();
        if name == ".sos" {
            continue;
        }
        if entry.is_dir() {
            copy(&entry, &to.join(name), edit);
        } else {
            let text = std::fs::read_to_string(&entry).unwrap();
            let text = if entry.extension().is_some_and(|e| e == "yaml") { edit(text) } else { text };
            std::fs::write(to.join(name), text).unwrap();
        }
    }
}

/// The example beside what it refers to, its brokers on free ports.
struct Utility {
    rig: Rig,
    dir: PathBuf,
}

impl Utility {
    fn new() -> Self {
        let rig = Rig::of(&[]);
        let dir = rig.path("examples/utility");
        let (mqtt, nats) = broker_ports();
        let edit = |text: String| text.replace("18830", &mqtt).replace("14222", &nats);
        copy(&repository().join("examples/utility"), &dir, &edit);
        std::os::unix::fs::symlink(repository().join("scripts"), rig.path("scripts")).unwrap();
        std::os::unix::fs::symlink(repository().join("examples/fontana"), rig.path("examples/fontana"))
            .unwrap();
        Self { rig, dir }
    }

    fn up(&self) -> Up {
        self.rig.up_at(&self.dir, &[])
    }

    fn sos(&self, args: &[&str]) -> Ran {
        let file = |name: &str| std::fs::read_to_string(self.rig.data.join(name)).unwrap_or_default();
        let (server, token) = (file("server"), file("token"));
        let server = ["--server", server.trim(), "--token", token.trim()];
        sos(&self.dir, &[args, server.as_slice()].concat())
    }

    /// The output of a call, when it succeeds.
    fn call(&self, args: &[&str]) -> Result<Value, Ran> {
        let ran = self.sos(&[&["call"], args].concat());
        if ran.code == 0 { Ok(serde_json::from_str(&ran.stdout).unwrap()) } else { Err(ran) }
    }

    /// Waits until a service can be called.
    fn wait_ready(&self, up: &mut Up, service: &str) {
        wait_for(&format!("{service} to be ready"), || {
            up.assert_running();
            let listed = self.call(&[]).ok()?;
            let one = listed.as_array()?.iter().find(|one| one["service"] == service)?.clone();
            (one["health"] == "ready" && one["problem"].is_null()).then_some(())
        });
    }
}

#[test]
fn services_of_three_stacks_are_called_by_name_and_events_flow_over_two_brokers() {
    if !is_set_up() {
        return;
    }
    let utility = Utility::new();
    let mut up = utility.up();
    for service in ["meter-data", "forecast", "market"] {
        utility.wait_ready(&mut up, service);
    }
    soap(&utility);
    grpc(&utility);
    rest(&utility);
    heard(&utility);
    brokers_may_die(&utility, &mut up);
    up.signal(Signal::SIGINT);
    up.finish();
}

fn soap(utility: &Utility) {
    let period = ["-p", "start=2016-08-01T00:00:00-08:00", "-p", "end=2016-08-01T03:00:00-08:00"];
    let readings =
        utility.call(&[&["meter-data", "GetReadings", "-p", "meter=home-1"], period.as_slice()].concat());
    let readings = readings.unwrap_or_else(|ran| panic!("{}", ran.stderr));
    let list = readings["GetReadingsResult"]["Reading"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]["kwh"], &list[0]["quality"]), (3, &json!(0.8512), &json!("measured")));
    // The service's own refusal, with its words.
    let refused =
        utility.call(&[&["meter-data", "GetReadings", "-p", "meter=nobody"], period.as_slice()].concat());
    let Err(refused) = refused else { panic!("a meter that there is not has readings") };
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("there is no meter nobody"), "{}", refused.stderr);
    // What does not fit is refused before it is sent.
    let Err(wrong) = utility.call(&["meter-data", "GetReadings", "-p", "metre=home-1"]) else { panic!() };
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("metre") && wrong.stderr.contains("meter"), "{}", wrong.stderr);
}

fn grpc(utility: &Utility) {
    let readings: Vec<Value> = (0..48)
        .map(|hour| {
            let time = jiff::Timestamp::from_second(1_470_009_600 + hour * 3600).unwrap();
            json!({ "meter": "home-1", "time": time, "kwh": hour % 24 })
        })
        .collect();
    let input = Value::Array(readings).to_string();
    let file = |name: &str| std::fs::read_to_string(utility.rig.data.join(name)).unwrap();
    let (server, token) = (file("server"), file("token"));
    let args = ["call", "forecast", "Learn", "-i", "-", "--server", server.trim(), "--token", token.trim()];
    let learnt = sos_with(&utility.dir, &args, input.as_bytes());
    assert_eq!(learnt.code, 0, "{}", learnt.stderr);
    assert_eq!(serde_json::from_str::<Value>(&learnt.stdout).unwrap()["readings"], 48);
    let ask = ["-p", "meter=home-1", "-p", "start=2016-08-03T02:00:00Z", "-p", "hours=3"];
    let answer = utility.call(&[&["forecast", "GetForecast"], ask.as_slice()].concat());
    let answer = answer.unwrap_or_else(|ran| panic!("{}", ran.stderr));
    let kwh: Vec<f64> =
        answer["steps"].as_array().unwrap().iter().map(|s| s["kwh"].as_f64().unwrap()).collect();
    assert_eq!(kwh.len(), 3);
    assert!(kwh.windows(2).all(|pair| pair[1] > pair[0]), "{answer}");
    // Outputs that stream are a list.
    let streamed = utility.call(&[&["forecast", "StreamForecast"], ask.as_slice()].concat());
    assert_eq!(streamed.unwrap_or_else(|ran| panic!("{}", ran.stderr)).as_array().unwrap().len(), 3);
    let Err(unknown) = utility.call(&["forecast", "GetForecast", "-p", "meter=home-9", "-p", "hours=1"])
    else {
        panic!("a meter that nothing is known of has a forecast")
    };
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("NOT_FOUND"), "{}", unknown.stderr);
}

fn rest(utility: &Utility) {
    let offer = utility.call(&["market", "makeOffer", "-p", r#"body={"area":"north","kwh":5,"price":0.2}"#]);
    let id = offer.unwrap_or_else(|ran| panic!("{}", ran.stderr))["id"].as_str().unwrap().to_owned();
    let order = format!(r#"body={{"offer":"{id}","kwh":2}}"#);
    let place = || utility.call(&["market", "placeOrder", "--key", "order-1", "-p", &order]);
    let first = place().unwrap_or_else(|ran| panic!("{}", ran.stderr));
    assert_eq!(first["cost"], 0.4);
    assert_eq!(
        place().unwrap_or_else(|ran| panic!("{}", ran.stderr)),
        first,
        "the same key is the same order"
    );
    let listed = utility.call(&["market", "listOffers", "-p", r#"area=["north","south"]"#]);
    assert_eq!(listed.unwrap_or_else(|ran| panic!("{}", ran.stderr))[0]["kwh"], 3);
    let Err(wrong) = utility.call(&["market", "placeOrder", "-p", r#"body={"offer":"o1","kwh":"two"}"#])
    else {
        panic!("text was taken for a number")
    };
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("/body/kwh"), "{}", wrong.stderr);
    let Err(much) = utility.call(&["market", "placeOrder", "-p", &order.replace('2', "2000")]) else {
        panic!()
    };
    assert_eq!(much.code, 1);
    assert!(much.stderr.contains("409"), "{}", much.stderr);
    let found = utility.sos(&["call", "--search", "withdraw offer", "-o", "json"]);
    assert!(found.stdout.contains("withdrawOffer"), "{}", found.stdout);
}

/// Events of a channel from the oldest on, once there are so many.
fn events(utility: &Utility, channel: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} events of {channel}"), || {
        let ran = utility.sos(&["subscribe", channel, "--from", "earliest", "--no-follow"]);
        let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn heard(utility: &Utility) {
    let readings = events(utility, "readings", 5);
    assert_eq!(readings[0]["type"], "org.example.meter.reading");
    assert!(readings[0]["subject"].as_str().unwrap().starts_with("meters/home-"), "{}", readings[0]);
    assert!(readings[0]["data"]["kwh"].is_number(), "{}", readings[0]);
    let learnt = events(utility, "forecasts", 1);
    assert_eq!(learnt[0]["data"], json!({ "meters": ["home-1"], "readings": 48 }));
    let published =
        utility.sos(&["publish", "trades", r#"{"kwh":2}"#, "--type", "org.example.trade", "--id", "t1"]);
    assert_eq!(published.code, 0, "{}", published.stderr);
    let again =
        utility.sos(&["publish", "trades", r#"{"kwh":2}"#, "--type", "org.example.trade", "--id", "t1"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let work = utility.sos(&["subscribe", "trades", "--group", "billing", "--exec", "cat", "--no-follow"]);
    let lines: Vec<&str> = work.stdout.lines().collect();
    assert_eq!(lines.len(), 1, "an event with the same id came twice: {}", work.stdout);
    let nothing = utility.sos(&["subscribe", "trades", "--group", "billing", "--no-follow"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""), "what is done comes again");
    dead_letter(utility);
}

/// What fails too often is put aside, and comes again when it is brought back.
fn dead_letter(utility: &Utility) {
    utility.sos(&["publish", "trades", r#"{"kwh":9}"#, "--id", "t2"]);
    let letters = || {
        let ran = utility.sos(&["channels", "dead-letters", "trades", "-o", "json"]);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    wait_for("the event to be put aside", || {
        utility.sos(&["subscribe", "trades", "--group", "billing", "--exec", "false", "--no-follow"]);
        (letters().as_array().unwrap().len() == 1).then_some(())
    });
    let letter = letters()[0].clone();
    assert_eq!((&letter["group"], &letter["event"]["id"]), (&json!("billing"), &json!("t2")));
    assert!(letter["reason"].as_str().unwrap().contains("failed 3 times"), "{letter}");
    let back = utility.sos(&["channels", "dead-letters", "trades", "--redrive"]);
    assert_eq!(back.stdout, "Channel/trades: 1 brought back\n", "{}", back.stderr);
    let work = utility.sos(&["subscribe", "trades", "--group", "billing", "--no-follow"]);
    assert!(work.stdout.contains("\"t2\""), "{}", work.stdout);
}

/// A broker that is killed comes back, and so do its channel and its events.
fn brokers_may_die(utility: &Utility, up: &mut Up) {
    let before = events(utility, "readings", 1).len();
    for broker in ["mosquitto-0", "nats-0"] {
        assert!(utility.rig.kill(broker), "{broker} does not run");
    }
    let connected = |name: &str| {
        let ran = utility.sos(&["channels", "-o", "json"]);
        let all: Value = serde_json::from_str(&ran.stdout).ok()?;
        let one = all.as_array()?.iter().find(|one| one["name"] == name)?.clone();
        one["connected"].as_bool().filter(|connected| *connected)
    };
    for channel in ["readings", "forecasts"] {
        wait_for(&format!("{channel} to be connected again"), || {
            up.assert_running();
            connected(channel)
        });
    }
    assert!(events(utility, "readings", before + 5).len() >= before + 5);
    utility
        .call(&["forecast", "Learn", "-i", r#"[{"meter":"home-2","time":"2016-08-01T08:00:00Z","kwh":1}]"#])
        .ok();
    assert!(events(utility, "forecasts", 2).iter().any(|event| event["data"]["meters"][0] == "home-2"));
}
