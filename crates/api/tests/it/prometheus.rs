//! Against the programs of Prometheus themselves, where they are installed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{server::Server, skipped::skipped};

/// Ends with the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prometheus with a configuration; none where it is not installed.
fn prometheus(folder: &Path, configuration: &str, port: u16) -> Option<Running> {
    std::fs::write(folder.join("prometheus.yml"), configuration).unwrap();
    let mut command = Command::new("prometheus");
    command.current_dir(folder).arg("--config.file=prometheus.yml");
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.args(["--storage.tsdb.path=data", "--enable-feature=native-histograms"]);
    let log = std::fs::File::create(folder.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().ok().map(Running)
}

/// Waits for a condition, at most a minute.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await; // between two looks
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_writes_here_what_it_scrapes() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let address = server.address;
    let configuration = format!(
        "global: {{scrape_interval: 1s, external_labels: {{plant: 'north \"1\"'}}}}
remote_write:
- url: http://{address}/api/v1/write
  authorization: {{credentials: operator-token}}
  queue_config: {{batch_send_deadline: 200ms}}
  metadata_config: {{send_interval: 1s}}
scrape_configs:
- job_name: sos
  authorization: {{credentials: viewer-token}}
  static_configs: [{{targets: ['{address}']}}]
- job_name: gone
  static_configs: [{{targets: ['127.0.0.1:1']}}]
"
    );
    let Some(running) = prometheus(folder.path(), &configuration, 0) else {
        skipped("the program `prometheus` is not installed");
        return;
    };
    let holds = |wanted: &str, value: f64| {
        let known = server.fake.ingested.lock().unwrap();
        let found = known.iter().find(|(text, _)| text == wanted);
        found.is_some_and(|(_, samples)| samples.iter().all(|(t, v)| *t > 0 && (v - value).abs() < 1e-9))
    };
    let up = format!(r#"up{{instance="{address}",job="sos",plant="north \"1\""}}"#);
    until(&up, || holds(&up, 1.0)).await;
    let gone = r#"up{instance="127.0.0.1:1",job="gone",plant="north \"1\""}"#;
    until(gone, || holds(gone, 0.0)).await;
    until("a description", || {
        let known = server.fake.described.lock().unwrap();
        known.iter().any(|text| text.starts_with("sos_site_power_kw gauge \"power at the connection"))
    })
    .await;
    drop(running);
}

/// Names of what an object holds, in order.
fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_alerts_have_the_fields_that_a_real_prometheus_gives_them() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let rules = "groups: [{name: homes, interval: 1s, rules: [
        {record: 'site:homes:count', expr: vector(1), labels: {team: grid}},
        {alert: HomeDown, expr: vector(0), keep_firing_for: 5m, labels: {a: b}, annotations: {summary: s}},
        {record: 'site:broken', expr: 'label_replace(sum by (a) (vector(1)) or label_replace(vector(1), \"a\", \"x\", \"\", \"\"), \"a\", \"x\", \"\", \".*\")'}]}]";
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(running) = prometheus(folder.path(), "rule_files: [rules.yml]", port) else {
        skipped("the program `prometheus` is not installed");
        return;
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let theirs = async || -> Option<Value> {
        let address = format!("http://127.0.0.1:{port}/api/v1/rules");
        let answer: Value = client.get(address).send().await.ok()?.json().await.ok()?;
        let group = answer["data"]["groups"][0].clone();
        let fires = group["rules"][1]["alerts"][0]["state"] == "firing";
        (fires && group["rules"][2]["health"] == "err").then_some(group)
    };
    let began = Instant::now();
    let theirs = loop {
        assert!(began.elapsed() < Duration::from_secs(60), "no rule was evaluated");
        match theirs().await {
            Some(group) => break group,
            None => tokio::time::sleep(Duration::from_millis(100)).await, // between two looks
        }
    };
    let ours: Value =
        server.admin(reqwest::Method::GET, "/api/v1/rules").send().await.unwrap().json().await.unwrap();
    let ours = &ours["data"]["groups"][0];
    assert_eq!(names(ours), names(&theirs));
    for (own, their) in [(0, 0), (1, 1), (4, 2)] {
        assert_eq!(names(&ours["rules"][own]), names(&theirs["rules"][their]), "rule {own}");
    }
    assert_eq!(names(&ours["rules"][1]["alerts"][0]), names(&theirs["rules"][1]["alerts"][0]));
    assert_eq!(ours["rules"][1]["alerts"][0]["value"], theirs["rules"][1]["alerts"][0]["value"]);
    drop(running);
}

/// What amtool says as an operator; none where it is not installed.
fn amtool(server: &Server, folder: &Path, arguments: &[&str]) -> Option<(bool, String)> {
    let configuration = folder.join("http.yml");
    std::fs::write(&configuration, "authorization: {credentials: operator-token}").unwrap();
    let mut command = Command::new("amtool");
    command.env("HOME", folder).arg(format!("--alertmanager.url=http://{}", server.address));
    command.arg(format!("--http.config.file={}", configuration.display())).args(arguments);
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_amtool_shows_alerts_and_handles_silences() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| amtool(&server, folder.path(), arguments);
    let Some((done, text)) = run(&["alert", "query", "--output=json", "severity=page"]) else {
        skipped("the program `amtool` is not installed");
        return;
    };
    assert!(done, "{text}");
    let alerts: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((alerts.as_array().unwrap().len(), &alerts[0]["labels"]["home"]), (1, &Value::from("home-4")));
    let end = [
        "silence",
        "add",
        "home=home-4",
        "--comment=works",
        "--start=2016-08-02T21:00:00Z",
        "--end=2099-01-01T00:00:00Z",
    ];
    let (done, id) = run(&end).unwrap();
    assert!(done, "{id}");
    let id = id.trim().to_owned();
    let (done, text) = run(&["silence", "query", "--output=json"]).unwrap();
    assert!(done && text.contains(&id) && text.contains("home-4"), "{text}");
    let (done, text) = run(&["silence", "expire", &id]).unwrap();
    assert!(done, "{text}");
    let (done, text) = run(&["silence", "query", "--output=json"]).unwrap();
    assert!(done && !text.contains(&id), "{text}");
}
