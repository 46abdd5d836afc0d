//! Against the programs of Prometheus themselves, where they are installed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{server::Server, skipped::skipped};

/// Ends with the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prometheus with a configuration, on a free port; none where it is not installed.
fn prometheus(folder: &Path, configuration: &str) -> Option<Running> {
    std::fs::write(folder.join("prometheus.yml"), configuration).unwrap();
    let mut command = Command::new("prometheus");
    command.current_dir(folder).args(["--config.file=prometheus.yml", "--web.listen-address=127.0.0.1:0"]);
    command.args(["--storage.tsdb.path=data", "--enable-feature=native-histograms"]);
    let log = std::fs::File::create(folder.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().ok().map(Running)
}

/// Waits for a condition, at most a minute.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
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
    let Some(running) = prometheus(folder.path(), &configuration) else {
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
