//! Services behind the gateway of a running `sos up`: rollouts, scaling and recovery with real processes and real requests.
#![expect(clippy::disallowed_methods, reason = "a client that sends at a rate waits in between")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Rig, Up, wait_for};

/// A manifest of a service that runs this binary as an HTTP server behind a gateway. `more` is the rest of its spec.
fn manifest(version: &str, fails: u32, more: &str) -> String {
    let program = std::env::current_exe().unwrap().display().to_string();
    format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  \
         command: [{program:?}, --ignored, --exact, services::child_of_other_tests, --nocapture]\n  \
         config: {{SOS_TEST_MODE: web, VERSION: {version:?}, FAILS: {fails:?}}}\n  \
         ports: [{{name: http}}]\n  gateway: true\n  stopTimeout: 5 s\n  \
         probes: {{readiness: {{http: {{path: /healthz, port: http}}, period: 100 ms}}}}\n{more}",
        fails = fails.to_string(),
    )
}

/// Not a test: what the child does. Answers each request with its version; of 100 requests to `/`, FAILS fail.
#[test]
#[ignore = "child: started by other tests as a service"]
fn child_of_other_tests() {
    if std::env::var("SOS_TEST_MODE").as_deref() != Ok("web") {
        return;
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let version = variable("VERSION");
    let fails: u64 = variable("FAILS").parse().unwrap_or(0);
    let counter = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind(("127.0.0.1", variable("PORT").parse().unwrap())).unwrap();
    for stream in listener.incoming().flatten() {
        let (version, counter) = (version.clone(), Arc::clone(&counter));
        std::thread::spawn(move || serve(stream, &version, fails, &counter));
    }
}

fn serve(mut stream: TcpStream, version: &str, fails: u64, counter: &AtomicU64) {
    let Ok(read) = stream.try_clone() else { return };
    let mut read = BufReader::new(read);
    loop {
        let mut first = String::new();
        if read.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut line = String::new();
        while read.read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        let counted = first.starts_with("GET / ") && counter.fetch_add(1, Ordering::Relaxed) % 100 < fails;
        let status = if counted { "500 Internal Server Error" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{version}", version.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// One request to the gateway: status and body.
fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// What came of many requests.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    failed: Vec<String>,
    versions: std::collections::BTreeMap<String, u64>,
}

/// Requests at a rate, from several threads, until it is dropped or asked.
struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(address: &str, per_second: u32, threads: u32) -> Self {
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let every = Duration::from_secs(1) * threads / per_second;
        let one = |_| {
            let (stop, tally, address) = (Arc::clone(&stop), Arc::clone(&tally), address.to_owned());
            std::thread::spawn(move || {
                let mut due = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let answer = get(&address, "/");
                    let mut tally = tally.lock().unwrap();
                    tally.sent += 1;
                    match answer {
                        Ok((200, body)) => *tally.versions.entry(body).or_default() += 1,
                        Ok((status, body)) => tally.failed.push(format!("{status} {body}")),
                        Err(error) => tally.failed.push(error.to_string()),
                    }
                    drop(tally);
                    due += every;
                    std::thread::sleep(due.saturating_duration_since(Instant::now())); // between two looks
                }
            })
        };
        let threads = (0..threads).map(one).collect();
        Self { stop, tally, threads }
    }

    fn sent(&self) -> u64 {
        self.tally.lock().unwrap().sent
    }

    fn seen(&self, version: &str) -> u64 {
        self.tally.lock().unwrap().versions.get(version).copied().unwrap_or(0)
    }

    fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.tally.lock().unwrap())
    }
}

/// A running `sos up` over one manifest that is changed.
struct Web {
    rig: Rig,
    up: Up,
}

impl Web {
    fn start(manifest: &str) -> Self {
        let rig = Rig::of(&[("web.yaml", manifest)]);
        let up = rig.up_with(&["--watch"]);
        Self { rig, up }
    }

    fn apply(&self, manifest: &str) {
        std::fs::write(self.rig.manifests.join("web.yaml"), manifest).unwrap();
    }

    fn sos(&self, args: &[&str]) -> (bool, String) {
        self.rig.sos(args)
    }

    fn json(&self, args: &[&str]) -> Option<Value> {
        self.rig.json(args)
    }

    /// The address of the gateway, once a replica is ready.
    fn address(&self) -> String {
        wait_for("an address", || {
            let service = self.json(&["get", "Service", "web"])?;
            let status = &service["status"];
            (status["readyReplicas"].as_u64()? > 0).then(|| status["address"].as_str().map(str::to_owned))?
        })
    }

    fn rolled_out(&self, revision: u64) -> bool {
        self.json(&["rollout", "status", "web"])
            .is_some_and(|status| status["revision"] == revision && status["done"] == true)
    }

    fn history(&self) -> Vec<(u64, String, String)> {
        let history = self.json(&["rollout", "history", "web"]).unwrap_or_default();
        let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let one =
            |one: &Value| (one["revision"].as_u64().unwrap_or(0), text(one, "outcome"), text(one, "reason"));
        history.as_array().into_iter().flatten().map(one).collect()
    }

    fn end(self) {
        self.up.signal(Signal::SIGINT);
        self.up.finish();
    }
}

#[test]
fn what_is_declared_while_sos_starts_is_not_missed() {
    let web = Web::start(&manifest("one", 0, "  replicas: 0\n"));
    // The folder has been read once the store is there; what is written now is not yet answered for by a server.
    let store = web.rig.data.join("sos.db");
    wait_for("the store", || store.exists().then_some(()));
    let second = manifest("two", 0, "  replicas: 0\n").replace("name: web", "name: second");
    std::fs::write(web.rig.manifests.join("second.yaml"), second).unwrap();
    wait_for("the second service", || web.json(&["get", "Service", "second"]));
    web.end();
}

#[test]
fn a_rolling_update_under_load_fails_no_request_and_undo_brings_the_old_version_back() {
    let web_of = |version: &str| manifest(version, 0, "  replicas: 2\n");
    let web = Web::start(&web_of("one"));
    let address = web.address();
    wait_for("revision 1", || web.rolled_out(1).then_some(()));
    let load = Load::start(&address, 500, 8);
    wait_for("requests", || (load.sent() > 200).then_some(()));
    web.apply(&web_of("two"));
    wait_for("revision 2", || web.rolled_out(2).then_some(()));
    wait_for("the new version alone", || (load.seen("two") > 500).then_some(()));
    assert!(web.sos(&["rollout", "undo", "web"]).0);
    wait_for("revision 1 again", || web.rolled_out(1).then_some(()));
    let tally = load.end();
    assert_eq!(tally.failed, Vec::<String>::new(), "{} requests", tally.sent);
    assert_eq!(get(&address, "/").unwrap(), (200, "one".into()), "the address stays");
    let outcomes: Vec<_> = web.history().into_iter().map(|(number, outcome, _)| (number, outcome)).collect();
    assert_eq!(outcomes, [(1, "succeeded".to_owned()), (2, "undone".to_owned())]);
    let (done, told) = web.sos(&["rollout", "undo", "web", "--to", "9"]);
    assert!(!done && told.contains("revision 9 is not known, known are 1, 2"), "{told}");
    web.end();
}

#[test]
fn a_canary_that_fails_requests_is_rolled_back_by_itself() {
    let canary = "  replicas: 2\n  rollout:\n    strategy: canary\n    canary:\n      steps:\n      - {weight: 20 %, pause: 5 s}\n      \
                  - {weight: 50 %, pause: 5 s}\n      analysis: {minRequests: 50}\n";
    let web = Web::start(&manifest("one", 0, canary));
    let address = web.address();
    wait_for("revision 1", || web.rolled_out(1).then_some(()));
    let load = Load::start(&address, 200, 4);
    web.apply(&manifest("two", 30, canary));
    let back = || {
        let history = web.history();
        history.iter().find(|(number, outcome, _)| *number == 2 && outcome == "rolled back").cloned()
    };
    let (_, _, reason) = wait_for("the canary to be rolled back", back);
    assert!(reason.contains("error"), "{reason}");
    wait_for("revision 1 again", || web.rolled_out(1).then_some(()));
    let tally = load.end();
    let failed = tally.failed.len() as f64 / tally.sent as f64;
    assert!(failed < 0.2, "{failed} of all failed, {:?}", tally.versions);
    assert!(!tally.versions.is_empty() && tally.versions.contains_key("two"), "{:?}", tally.versions);
    let (_, described) = web.sos(&["describe", "Service", "web"]);
    assert!(described.contains("RolledBack"), "{described}");
    // Corrected, it comes in step by step.
    web.apply(&manifest("three", 0, canary));
    let load = Load::start(&address, 200, 4);
    wait_for("revision 3", || web.rolled_out(3).then_some(()));
    assert_eq!(load.end().failed, Vec::<String>::new());
    web.end();
}

#[test]
fn a_killed_replica_is_replaced_within_a_second_and_no_idempotent_request_fails() {
    let web = Web::start(&manifest("one", 0, "  replicas: 2\n"));
    let address = web.address();
    wait_for("both replicas", || web.rolled_out(1).then_some(()));
    let load = Load::start(&address, 500, 8);
    wait_for("requests", || (load.sent() > 200).then_some(()));
    let pids = |web: &Web| -> Vec<i64> {
        let service = web.json(&["get", "Service", "web"]).unwrap_or_default();
        let replicas = service["status"]["replicaStatuses"].as_array().cloned().unwrap_or_default();
        replicas.iter().filter_map(|replica| replica["pid"].as_i64()).collect()
    };
    let before = pids(&web);
    assert_eq!(before.len(), 2);
    let victim = nix::unistd::Pid::from_raw(i32::try_from(before[0]).unwrap());
    let killed = Instant::now();
    nix::sys::signal::kill(victim, Signal::SIGKILL).unwrap();
    let ready = || {
        let service = web.json(&["get", "Service", "web"])?;
        let new = pids(&web).iter().any(|pid| !before.contains(pid));
        (new && service["status"]["readyReplicas"] == 2).then_some(())
    };
    wait_for("a new replica", ready);
    eprintln!("a killed replica was replaced and ready after {:?}", killed.elapsed());
    wait_for("requests", || (load.sent() > 2000).then_some(()));
    let tally = load.end();
    assert_eq!(tally.failed, Vec::<String>::new(), "{} requests", tally.sent);
    web.end();
}

#[test]
fn a_service_that_nobody_asks_sleeps_and_the_first_request_wakes_it() {
    let sleepy = "  scaling: {min: 0, max: 3, capacity: 20/s, every: 1 s, idle: 2 s}\n  replicas: 0\n";
    let web = Web::start(&manifest("one", 0, sleepy));
    let address = wait_for("an address", || {
        web.json(&["get", "Service", "web"])?["status"]["address"].as_str().map(str::to_owned)
    });
    assert_eq!(get(&address, "/").unwrap(), (200, "one".into()), "the first request is held");
    let sleeps = || (web.json(&["get", "Service", "web"])?["status"]["phase"] == "Stopped").then_some(());
    wait_for("sleep", sleeps);
    assert_eq!(get(&address, "/").unwrap(), (200, "one".into()));
    let load = Load::start(&address, 50, 4);
    let replicas = |n: u64| {
        let service = web.json(&["get", "Service", "web"]).unwrap_or_default();
        (service["status"]["readyReplicas"].as_u64() == Some(n)).then_some(())
    };
    wait_for("three replicas for 50 requests a second", || replicas(3));
    let (_, described) = web.sos(&["describe", "Service", "web"]);
    assert!(described.contains("requests"), "{described}");
    assert_eq!(load.end().failed, Vec::<String>::new());
    assert!(web.sos(&["scale", "web", "--replicas", "1"]).0);
    wait_for("the ordered replica", || replicas(1));
    assert!(web.sos(&["scale", "web", "--auto"]).0);
    wait_for("sleep", sleeps);
    web.end();
}

/// The blocks of YAML in the documentation of services.
fn documented() -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/services.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_documented_policy_is_played_and_wrong_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let policy = documented().into_iter().find(|block| block.starts_with("# policy.yaml")).unwrap();
    write("policy.yaml", &policy);
    let load = |minute: i32| 1200.0 * (1.0 + 4.0 * f64::from(minute % 1440) / 1440.0);
    let rows = (0..2880).map(|minute| {
        let time = jiff::Timestamp::from_second(i64::from(minute) * 60).unwrap();
        format!("{time},{:.0}\n", load(minute))
    });
    write("trace.csv", &(String::from("time,requests\n") + &rows.collect::<String>()));
    let play = |policy: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        command.current_dir(dir.path()).args(["scale", "replay", policy, "trace.csv"]).output().unwrap()
    };
    let played = play("policy.yaml");
    let told = String::from_utf8_lossy(&played.stderr).into_owned();
    assert!(played.status.success() && told.contains("replica-hours"), "{told}");
    let report: Value = serde_json::from_slice(&played.stdout).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap();
    assert_eq!(report["steps"].as_array().unwrap().len(), 2880);
    assert!(number("replica_hours") > 48.0 && number("emissions_kg") > 0.0);
    assert!(
        number("slo_violation_seconds") < 600.0,
        "the load grows slowly: {}",
        number("slo_violation_seconds")
    );
    // The same with the carbon intensity of a file.
    write("carbon.csv", "time,intensity\n1970-01-01T00:00:00Z,0.3\n1970-01-02T00:00:00Z,0.3\n");
    let file = "carbon: {file: {path: carbon.csv, column: intensity, unit: kg/kWh}}";
    write("file.yaml", &policy.replace("carbon: {fixed: 300 g/kWh}", file));
    let again: Value = serde_json::from_slice(&play("file.yaml").stdout).unwrap();
    assert!((again["emissions_kg"].as_f64().unwrap() - number("emissions_kg")).abs() < 1e-9);
    write(
        "wrong.yaml",
        "capacity: 20\nstartUp: 30 s\npower: {idle: 2 W, busy: 1 W}\ncarbon: {fixed: 1 kg/kWh}\nmxa: 3\n",
    );
    let wrong = play("wrong.yaml");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2));
    for expected in
        ["wrong.yaml:1:11: capacity: 20 has no unit", "busy is below idle", "did you mean \"max\""]
    {
        assert!(told.contains(expected), "{told} lacks {expected}");
    }
}

#[test]
fn the_documented_parts_of_a_service_are_valid() {
    let site = "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {name: depot}\nspec:\n  timeZone: Europe/Berlin\n  currency: EUR\n  connection:\n    importPrice: {fixed: 0.3 EUR/kWh}\n";
    for block in documented().iter().filter(|block| !block.starts_with("# policy.yaml")) {
        let indented: String = block.lines().map(|line| format!("  {line}\n")).collect();
        let rest = "  command: [web]\n  ports: [{name: http}]\n  gateway: true\n  replicas: 3\n  resources: {cpu: \"1\"}\n";
        let text = match block.starts_with("apiVersion") {
            true => block.clone(),
            false => format!(
                "{site}---\napiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {{name: web}}\nspec:\n{rest}{indented}"
            ),
        };
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("web.yaml"), &text).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_sos")).arg("validate").arg(dir.path()).output().unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Two days of prices by the hour: dear but for four hours of each night.
fn prices() -> String {
    let price = |hour: i64| if (2..6).contains(&(hour % 24)) { 0.05 } else { 0.5 };
    let row = |hour: i64| {
        let at = jiff::Timestamp::from_second(hour * 3600).unwrap();
        format!("{at},{}\n", price(hour))
    };
    String::from("time,price\n") + &(0..48).map(row).collect::<String>()
}

const SLOW: &str = "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: { name: depot }
spec:
  timeZone: UTC
  currency: EUR
  tick: 15 min
  planEvery: 1 h
  horizon: 24 h
  replay: true
  forecasting: { members: profile }
  connection: { importPrice: { signal: price } }
---
apiVersion: sos.energy/v1alpha1
kind: Signal
metadata: { name: price }
spec: { unit: EUR/kWh, knownAhead: always, source: { file: { path: price.csv, column: price } } }
---
apiVersion: sos.energy/v1alpha1
kind: Machine
metadata: { name: rack }
spec: { idlePower: 20 W, maxPower: 90 W, embodied: { emissions: 900 kg } }
---
apiVersion: sos.energy/v1alpha1
kind: Service
metadata: { name: index }
spec:
  runtime: simulated
  command: [index]
  replicas: 4
  slowdown: { site: depot, window: { from: '00:00', to: '12:00' }, energy: 2 kWh, power: 400 W, minReplicas: 1 }
";

#[test]
fn a_service_that_may_be_slower_is_fast_when_power_is_cheap() {
    let rig = Rig::of(&[("depot.yaml", SLOW), ("price.csv", &prices())]);
    let report = rig.path("report.json").display().to_string();
    // An hour in half a second.
    let up = rig.up_with(&["--speed", "7200", "--until", "1970-01-02T00:00:00Z", "--report", &report]);
    let told = |phase: &str, replicas: u64| {
        wait_for(phase, || {
            let service = rig.json(&["get", "Service", "index"])?;
            let conditions = service["status"]["conditions"].as_array()?;
            let slow = conditions.iter().find(|one| one["type"] == "SlowedDown")?;
            let is_so = slow["status"] == phase && service["status"]["readyReplicas"] == replicas;
            is_so.then(|| slow["message"].as_str().unwrap_or_default().to_owned())
        })
    };
    let message = told("True", 1);
    assert!(message.starts_with("1 of 4 replicas: "), "{message}");
    assert!(told("False", 4).starts_with("full speed"));
    let message = told("True", 1);
    assert!(message.contains("it has the energy that it wanted"), "{message}");
    up.finish();
    let report = rig.report("report.json");
    let services = report["services"].as_array().unwrap();
    let index = services.iter().find(|service| service["name"] == "index").unwrap();
    assert_eq!(index["deadlines"], serde_json::json!({ "met": 1, "missed": 0 }));
    // 2 kWh less 12 h of its one replica, all of it while power was cheap.
    assert!((index["energy_kwh"].as_f64().unwrap() - 0.8).abs() < 0.11, "{index}");
    let cost = &report["sites"][0]["cost"];
    assert!(cost["actual"].as_f64() < cost["baseline"].as_f64(), "{cost}");
}
