//! Metrics, rules, alerts and notifications of the real binary: a service that tells measures, one that is killed, and a
//! receiver that sometimes does not answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;

use crate::cli::{Ran, sos};
use crate::support::{Rig, Up, wait_for};

/// What a receiver was told.
#[derive(Clone, Debug)]
struct Told {
    key: String,
    /// Names of alerts with their states, and the services they are about.
    alerts: Vec<(String, String, String)>,
    answered: bool,
}

#[derive(Default)]
struct Shared {
    told: Mutex<Vec<Told>>,
    celsius: Mutex<f64>,
    /// Requests of the receiver are held while this is set.
    hold: Mutex<bool>,
    released: Condvar,
}

/// A meter that tells its temperature at `/metrics`, and a receiver of webhooks at `/hook`.
struct Outside {
    url: String,
    shared: Arc<Shared>,
}

impl Outside {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        *shared.celsius.lock().unwrap() = 20.0;
        let of_threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_threads);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { url, shared }
    }

    fn heat(&self, celsius: f64) {
        *self.shared.celsius.lock().unwrap() = celsius;
    }

    fn hold(&self, hold: bool) {
        *self.shared.hold.lock().unwrap() = hold;
        self.shared.released.notify_all();
    }

    /// What was told of an alert in a state, answered or not.
    fn told(&self, alert: &str, state: &str) -> Vec<Told> {
        let all = self.shared.told.lock().unwrap();
        let about = |told: &&Told| told.alerts.iter().any(|(name, is, _)| name == alert && is == state);
        all.iter().filter(about).cloned().collect()
    }

    fn wait_told(&self, alert: &str, state: &str) -> Told {
        wait_for(&format!("{alert} {state}"), || self.told(alert, state).pop())
    }
}

/// Requests of one connection, each with or without a body.
fn serve(stream: &TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut request, mut length, mut key) = (String::new(), 0, String::new());
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok()?,
                "idempotency-key" => key = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let answer = if request.starts_with("GET /metrics") {
            let celsius = shared.celsius.lock().unwrap();
            format!(
                "# TYPE meter_celsius gauge\n# HELP meter_celsius of <b>the</b> meter\nmeter_celsius {celsius}\nmeter_reads_total 3\n"
            )
        } else {
            note(shared, &key, &body);
            String::new()
        };
        write!(&mut &*stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).ok()?;
    }
}

/// Notes what is told; while requests are held, before the answer.
fn note(shared: &Shared, key: &str, body: &[u8]) {
    let told: Value = serde_json::from_slice(body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = told["alerts"].as_array().unwrap().iter();
    let alert = |one: &Value| {
        (text(&one["labels"]["alertname"]), text(&one["status"]), text(&one["labels"]["service"]))
    };
    let told = Told { key: key.to_owned(), alerts: alerts.map(alert).collect(), answered: false };
    let at = {
        let mut all = shared.told.lock().unwrap();
        all.push(told);
        all.len() - 1
    };
    let hold = shared.hold.lock().unwrap();
    drop(shared.released.wait_while(hold, |hold| *hold).unwrap());
    shared.told.lock().unwrap()[at].answered = true;
}

fn manifests(url: &str) -> String {
    format!(
        "apiVersion: sos.energy/v1alpha1
kind: Service
metadata: {{ name: worker }}
spec:
  command: [sleep, \"100000\"]
  restart: {{ policy: never }}
---
apiVersion: sos.energy/v1alpha1
kind: Service
metadata: {{ name: meter }}
spec:
  external: {{ url: '{url}' }}
  metrics: {{ interval: 1 s }}
---
apiVersion: sos.energy/v1alpha1
kind: AlertRule
metadata: {{ name: ready }}
spec: {{ pack: [services, sos] }}
---
apiVersion: sos.energy/v1alpha1
kind: Notifier
metadata: {{ name: hook }}
spec:
  webhook: {{ url: '{url}/hook', timeout: 5 min }}
  groupWait: 0 s
  groupInterval: 1 s
"
    )
}

/// As Prometheus takes it.
const RULES: &str = "groups:
- name: meter
  interval: 1s
  rules:
  - {record: 'meter:celsius:max', expr: max by (service) (meter_celsius)}
  - alert: MeterHot
    expr: meter:celsius:max > 50
    labels: {severity: warning}
    annotations: {summary: '{{ $labels.service }} has {{ $value }} °C'}
";

/// A running server and how it is asked.
struct Server {
    up: Up,
    url: String,
    token: String,
}

impl Server {
    fn start(rig: &Rig) -> Self {
        let mut up = rig.up_with(&[]);
        let url = wait_for("the address", || {
            up.assert_running();
            let answer = up.answer();
            let found = answer.lines().find_map(|line| line.strip_prefix("API and dashboard: "));
            found.map(ToOwned::to_owned)
        });
        let token = std::fs::read_to_string(rig.data.join("token")).unwrap().trim().to_owned();
        Self { up, url, token }
    }

    fn sos(&self, args: &[&str]) -> Ran {
        sos(Path::new("."), &[args, &["--server", &self.url, "--token", &self.token]].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        let ran = self.sos(&[args, &["-o", "json"]].concat());
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// The value of an instant query with one series.
    fn value(&self, query: &str) -> Option<String> {
        let answer = self.json(&["query", query]);
        answer["result"][0]["value"][1].as_str().map(ToOwned::to_owned)
    }
}

#[test]
fn a_killed_service_is_told_of_and_what_was_under_way_when_sos_was_killed_is_delivered_once() {
    let outside = Outside::start();
    let rig = Rig::of(&[("all.yaml", &manifests(&outside.url)), ("meter.yml", RULES)]);
    let server = Server::start(&rig);
    wait_for("the meter's measure", || server.value("meter:celsius:max").filter(|value| value == "20"));
    assert_eq!(server.value("up{job=\"meter\", service=\"meter\"}").as_deref(), Some("1"));
    wait_for("the worker", || rig.pids().contains_key("worker-0").then_some(()));
    wait_for("its measure", || {
        server.value("sos_service_ready_replicas{service=\"worker\"}").filter(|value| value == "1")
    });

    assert!(rig.kill("worker-0"));
    let down = outside.wait_told("ServiceDown", "firing");
    assert_eq!(down.alerts[0].2, "worker");

    // Acknowledged by a person, silenced for a time: both are shown.
    let alerts = server.json(&["alerts"]);
    let alert = alerts.as_array().unwrap().iter().find(|one| one["name"] == "ServiceDown").unwrap().clone();
    let id = alert["fingerprint"].as_str().unwrap();
    assert!(alert["annotations"]["runbook"] == "ServiceDown" && alert["severity"] == "critical", "{alert}");
    assert_eq!(server.sos(&["alerts", "ack", id, "--comment", "on my way"]).code, 0);
    let alerts = server.json(&["alerts"]);
    let alert = alerts.as_array().unwrap().iter().find(|one| one["fingerprint"] == id).unwrap();
    assert_eq!(alert["acknowledgedBy"], "admin");
    let silenced =
        server.sos(&["alerts", "silence", "alertname=ServiceDown", "--for", "1 h", "--comment", "drill"]);
    assert_eq!(silenced.code, 0, "{}", silenced.stderr);
    wait_for("the silence", || {
        let told = server.json(&["alerts"]);
        told.as_array().unwrap().iter().all(|one| one["fingerprint"] != id).then_some(())
    });

    // Killed while the receiver has not answered yet.
    outside.hold(true);
    outside.heat(60.0);
    let first = outside.wait_told("MeterHot", "firing");
    server.up.kill();
    outside.hold(false);
    let server = Server::start(&rig);
    let again = wait_for("the second attempt", || {
        let told = outside.told("MeterHot", "firing");
        told.get(1).filter(|told| told.answered).cloned()
    });
    assert_eq!(again.key, first.key);
    let delivered = || {
        let all = server.json(&["alerts", "notifications"]);
        let all = all.as_array().unwrap().clone();
        let of = |one: &&Value| one["key"] == first.key.as_str();
        all.iter().find(of).map(|one| one["state"].clone())
    };
    wait_for("the note of the delivery", || delivered().filter(|state| *state == "delivered"));

    outside.heat(20.0);
    outside.wait_told("MeterHot", "resolved");
    assert_eq!(outside.told("MeterHot", "firing").iter().filter(|told| told.key != first.key).count(), 0);
    assert_eq!(outside.told("ServiceDown", "firing").len(), 1, "told before the restart, silenced after it");

    logs_are_searched(&server);
    wrong_orders_are_refused(&server);
}

fn logs_are_searched(server: &Server) {
    let found = server.json(&["logs", "sos", "--grep", "worker-0"]);
    let records = found.as_array().unwrap();
    assert!(!records.is_empty() && records.iter().all(|one| one["service"] == "sos"), "{found}");
    let unknown = server.sos(&["logs", "nobody", "--grep", "x"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("nobody"), "{}", unknown.stderr);
}

fn wrong_orders_are_refused(server: &Server) {
    for (args, part) in [
        (&["alerts", "ack", "0000", "--comment", "x"][..], "no alert"),
        (&["alerts", "expire", "none"], "none"),
        (&["alerts", "silence", "severity", "--for", "1 h", "--comment", "x"], "severity"),
        (&["alerts", "silence", "a=b", "--comment", "x"], "--for"),
        (&["query", "sum(up"], "parse error"),
        (&["logs", "--level", "loud"], "expected"),
    ] {
        let ran = server.sos(args);
        assert!(ran.code != 0 && ran.stderr.contains(part), "{args:?}: {} {}", ran.code, ran.stderr);
    }
}

#[test]
fn rules_and_routes_that_are_wrong_are_refused_with_their_place() {
    let rules =
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(up\n  - record: 'a b'\n    expr: up\n";
    let notifier = "apiVersion: sos.energy/v1alpha1\nkind: Notifier\nmetadata: {name: n}\nspec:\n  webhook: {url: 'ftp://x'}\n  matchers: ['severity']\n  escalation: [{after: 1 min, notifier: nobody}]\n";
    let rig = Rig::of(&[("rules.yml", rules), ("notifier.yaml", notifier)]);
    let ran = sos(&rig.manifests, &["validate", "."]);
    assert_eq!(ran.code, 2);
    for part in ["rules.yml:5:", "rules.yml:6:", "notifier.yaml:5:", "expected http://"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn rule_tests_of_promtool_are_run_without_a_server() {
    let rules = "groups:\n- name: g\n  rules:\n  - {alert: Down, expr: up == 0, for: 1m}\n";
    let test = |expected: &str| {
        format!(
            "rule_files: ['rules-*.yml']\ntests:\n- interval: 1m\n  input_series: [{{series: 'up{{job=\"a\"}}', values: '1 0x5'}}]\n  alert_rule_test:\n  - eval_time: 4m\n    alertname: Down\n    exp_alerts: {expected}\n"
        )
    };
    let rig = Rig::of(&[
        ("rules-1.yml", rules),
        ("good.yml", &test("[{exp_labels: {job: a}}]")),
        ("bad.yml", &test("[]")),
    ]);
    let good = sos(&rig.manifests, &["alerts", "test", "good.yml"]);
    assert_eq!((good.code, good.stderr.as_str()), (0, ""));
    let bad = sos(&rig.manifests, &["alerts", "test", "good.yml", "bad.yml"]);
    assert!(bad.code == 1 && bad.stdout.contains("bad.yml"), "{}", bad.stdout);
    assert_eq!(sos(&rig.manifests, &["alerts", "test", "none.yml"]).code, 2);
}
