//! Who is measured, and the service that both call.

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// The longest that anything may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The service that is called: it answers at once.
pub(crate) struct Stub {
    port: u16,
    answered: Arc<AtomicU64>,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answered = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&answered);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        let counted = Arc::clone(&counted);
                        async move {
                            let _body = request.into_body().collect().await;
                            counted.fetch_add(1, Ordering::Relaxed);
                            let answer = Response::builder()
                                .header("content-type", "application/json")
                                .body(Full::new(Bytes::from_static(b"{\"ok\":true}")))
                                .unwrap();
                            Ok::<_, Infallible>(answer)
                        }
                    });
                    let served = hyper::server::conn::http1::Builder::new();
                    let _gone = served.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, answered }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/step", self.port)
    }
}

/// One of those that are measured, ended with its last clone.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    client: reqwest::Client,
    url: String,
    token: Option<String>,
    body: Arc<str>,
    _running: Arc<Running>,
}

struct Running {
    children: Vec<Child>,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _gone = child.kill();
            let _ended = child.wait();
        }
    }
}

impl Side {
    /// Starts a run and waits for its end.
    pub(crate) async fn run(&self) {
        let mut request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(self.body.to_string());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}: {}", self.name, answer.status());
        let value: Value = answer.json().await.unwrap();
        let output = value.get("output").unwrap_or(&value);
        assert_eq!(output["c"]["ok"], json!(true), "{}: {value}", self.name);
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what} is not there after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A workflow of this name and document.
fn manifest(name: &str, document: &str) -> String {
    let text: String = document.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec:\n  egress: [127.0.0.1]\n  document: |\n    document: {{dsl: '1.0.3', namespace: bench, name: {name}, version: '1.0.0'}}\n{text}"
    )
}

/// A `sos up` over a folder; its address and token.
async fn up(folder: &Path) -> (Child, String, String) {
    let sos = std::env::var_os("SOS_BENCH_SOS").expect("SOS_BENCH_SOS names the built sos");
    let data = folder.join("data");
    // The address of an earlier one is not that of this one.
    drop(std::fs::remove_file(data.join("server")));
    let child = Command::new(sos)
        .arg("up")
        .arg(folder)
        .arg("--data-dir")
        .arg(&data)
        .args(["--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read =
        async |name: &str| std::fs::read_to_string(data.join(name)).ok().filter(|text| text.ends_with('\n'));
    let address = until("sos", async || read("server").await).await;
    let token = until("its token", async || std::fs::read_to_string(data.join("token")).ok()).await;
    (child, address.trim().to_owned(), token.trim().to_owned())
}

pub(crate) async fn sos(stub: &Stub) -> Option<Side> {
    let folder = tempfile::tempdir().unwrap();
    let call = |name: &str| {
        format!(
            "- {name}:\n    call: http\n    with: {{method: post, endpoint: '{}', body: {{step: {name}}}}}\n    export: {{as: '$context + {{{name}: .}}'}}\n",
            stub.url()
        )
    };
    let document = format!("do:\n{}output: {{as: $context}}\n", ["a", "b", "c"].map(call).concat());
    std::fs::write(folder.path().join("workflow.yaml"), manifest("calls", &document)).unwrap();
    let (child, address, token) = up(folder.path()).await;
    let side = Side {
        name: "sos",
        client: reqwest::Client::new(),
        url: format!("{address}/api/v1/workflows/calls/runs"),
        token: Some(token.clone()),
        body: Arc::from(json!({ "input": {}, "waitSeconds": 60 }).to_string()),
        _running: Arc::new(Running { children: vec![child], _folder: folder }),
    };
    until("the workflow", async || {
        let asked = side.client.post(&side.url).bearer_auth(&token).body("{}").send().await.ok()?;
        asked.status().is_success().then_some(())
    })
    .await;
    Some(side)
}

/// So many runs that sleep: what they cost, and how long a restart takes.
pub(crate) async fn sleeping(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    std::fs::write(path.join("workflow.yaml"), manifest("sleeps", "do:\n- nap: {wait: {hours: 5}}\n"))
        .unwrap();
    let (child, address, token) = up(&path).await;
    let mut running = Running { children: vec![child], _folder: folder };
    let client = reqwest::Client::new();
    let began = Instant::now();
    let left = Arc::new(AtomicU64::new(count as u64));
    let url = format!("{address}/api/v1/workflows/sleeps/runs");
    let clients = (0..64).map(|_| {
        let (client, url, token, left) = (client.clone(), url.clone(), token.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            let taken = || {
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            };
            while taken() {
                let asked = client.post(&url).bearer_auth(&token).body("{}").send().await.unwrap();
                assert!(asked.status().is_success(), "{}", asked.status());
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    println!("{count} runs began in {:.1} s", began.elapsed().as_secs_f64());
    let known = async |address: &str, token: &str| {
        let url = format!("{address}/api/v1/resources/workflow/sleeps");
        let asked = reqwest::Client::new().get(url).bearer_auth(token).send().await.ok()?;
        asked.json::<Value>().await.ok()?["status"]["running"].as_u64()
    };
    assert_eq!(known(&address, &token).await, Some(count as u64));
    let pid = running.children[0].id();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let before = processor(pid);
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!(
        "at rest: {:.0} MB, {:.2} % of one processor",
        memory(pid),
        (processor(pid) - before) / 20.0 * 100.0
    );
    running.children[0].kill().unwrap();
    running.children[0].wait().unwrap();
    running.children.clear();
    let began = Instant::now();
    let (child, address, token) = up(&path).await;
    let pid = child.id();
    running.children.push(child);
    until("all runs", async || (known(&address, &token).await == Some(count as u64)).then_some(())).await;
    println!(
        "after a kill: all are there again in {:.2} s, {:.0} MB",
        began.elapsed().as_secs_f64(),
        memory(pid)
    );
}

/// Resident memory, MB.
fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
}

/// Seconds of a processor so far; `USER_HZ` is 100 on every Linux that this runs on.
fn processor(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// None where it cannot be had.
pub(crate) async fn restate(stub: &Stub) -> Option<Side> {
    let peer = PathBuf::from(std::env::var_os("SOS_BENCH_RESTATE")?);
    let folder = tempfile::tempdir().unwrap();
    let (ingress, admin, node, service) = (free_port(), free_port(), free_port(), free_port());
    let bind = |port: u16| format!("127.0.0.1:{port}");
    let server = Command::new(server_program(&peer))
        .env("RESTATE_INGRESS__BIND_ADDRESS", bind(ingress))
        .env("RESTATE_ADMIN__BIND_ADDRESS", bind(admin))
        .env("RESTATE_BIND_ADDRESS", bind(node))
        .env("RESTATE_ADVERTISED_ADDRESS", format!("http://127.0.0.1:{node}"))
        .env("RESTATE_BASE_DIR", folder.path().join("restate"))
        .env("RESTATE_LOG_FILTER", "error")
        .env("DO_NOT_TRACK", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sdk = Command::new("node")
        .arg("service.mjs")
        .arg(stub.url())
        .arg(service.to_string())
        .current_dir(&peer)
        .env("NODE_ENV", "production")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Arc::new(Running { children: vec![sdk, server], _folder: folder });
    let client = reqwest::Client::new();
    let deployments = format!("http://127.0.0.1:{admin}/deployments");
    let deployment = json!({ "uri": format!("http://127.0.0.1:{service}") });
    until("Restate", async || {
        let made = client.post(&deployments).json(&deployment).send().await.ok()?;
        made.status().is_success().then_some(())
    })
    .await;
    let side = Side {
        name: "restate",
        client,
        url: format!("http://127.0.0.1:{ingress}/calls/run"),
        token: None,
        body: Arc::from("{}"),
        _running: running,
    };
    until("its service", async || {
        let asked = side.client.post(&side.url).json(&json!({})).send().await.ok()?;
        asked.status().is_success().then_some(())
    })
    .await;
    Some(side)
}

fn server_program(peer: &Path) -> PathBuf {
    let modules = peer.join("node_modules/@restatedev");
    modules.join(format!(
        "restate-server-linux-{}/bin/restate-server",
        if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" }
    ))
}
