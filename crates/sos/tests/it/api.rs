//! API and page of a running `sos up examples/fontana`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sos_store::{Options, Role, Store};

use crate::skipped::skipped;

const SOS: &str = env!("CARGO_BIN_EXE_sos");
/// Longer than anything here takes on a slow machine.
const LONGEST: Duration = Duration::from_secs(90);

fn fontana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fontana")
}

/// A `sos up` with its server.
struct Up {
    child: Child,
    data: tempfile::TempDir,
    url: String,
    token: String,
    http: Client,
}

impl Up {
    async fn start(dir: &Path, more: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(data.path().join("up.log")).unwrap();
        let child = Command::new(SOS)
            .arg("up")
            .arg(dir)
            .args(["--speed", "600", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut up = Self { child, data, url: String::new(), token: String::new(), http: Client::new() };
        let file =
            |up: &Self, name: &str| std::fs::read_to_string(up.data.path().join(name)).unwrap_or_default();
        // The line end comes last, so what ends in one is whole.
        up.wait("the address file", async |up| file(up, "server").ends_with('\n')).await;
        up.url = file(&up, "server").trim().to_owned();
        up.token = file(&up, "token").trim().to_owned();
        up
    }

    /// Waits until the condition holds.
    async fn wait(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self).await {
            let log = || std::fs::read_to_string(self.data.path().join("up.log")).unwrap_or_default();
            assert!(began.elapsed() < LONGEST, "never: {what}\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
        }
    }

    async fn ask(&self, method: Method, path: &str, token: &str, body: &str) -> (StatusCode, String) {
        let request = self.http.request(method, format!("{}{path}", self.url)).body(body.to_owned());
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn json(&self, method: Method, path: &str, body: &str) -> Value {
        let (status, text) = self.ask(method, path, &self.token, body).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    async fn get(&self, path: &str) -> Value {
        self.json(Method::GET, path, "").await
    }

    async fn ready(&self) {
        self.wait("a plan with all batteries measured", async |up| {
            let (status, text) = up.ask(Method::GET, "/api/v1/sites/fontana/live", &up.token, "").await;
            let live: Value = serde_json::from_str(&text).unwrap_or_default();
            status.is_success()
                && live["plan"].is_object()
                && live["soc"].is_number()
                && live["tick"].as_u64() > Some(2)
        })
        .await;
    }

    /// Processes of all replicas.
    async fn pids(&self) -> Vec<u64> {
        let services = self.get("/api/v1/resources/Service").await;
        let replicas = services
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|s| s["status"]["replicaStatuses"].as_array().unwrap());
        replicas.filter_map(|replica| replica["pid"].as_u64()).collect()
    }

    /// Ctrl-C: ends well, and leaves no process and no address file behind.
    async fn interrupt(mut self) {
        let pids = self.pids().await;
        assert!(pids.len() >= 6, "five homes and an adapter: {pids:?}");
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < LONGEST, "does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
        };
        assert!(status.success(), "{status}");
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
        }
        assert!(!self.data.path().join("server").exists());
        assert!(self.data.path().join("token").exists());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A test that failed leaves nothing running: Ctrl-C stops the services too.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
            let _ = self.child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_community_is_shown_commanded_and_stopped() {
    let up = Up::start(&fontana(), &[]).await;
    up.ready().await;
    shows_the_site(&up).await;
    resources_are_read_and_changed(&up).await;
    services_are_commanded(&up).await;
    series_are_queried(&up).await;
    metrics_are_well_formed(&up).await;
    access_follows_the_roles(&up).await;
    up.interrupt().await;
}

async fn shows_the_site(up: &Up) {
    let live = up.get("/api/v1/sites/fontana/live").await;
    assert_eq!(live["assets"].as_array().unwrap().len(), 15);
    assert!(live["load_kw"].as_f64().unwrap() < 0.0, "consumption is below zero: {}", live["load_kw"]);
    let steps = live["plan"]["steps"].as_array().unwrap();
    assert!(steps.len() > 24 && steps.iter().any(|step| !step["because"].as_str().unwrap().is_empty()));
    let balance: f64 =
        ["solar_kw", "load_kw", "battery_kw"].iter().map(|key| live[key].as_f64().unwrap()).sum();
    // What services work is the only further consumer.
    assert!(live["connection"]["power_kw"].as_f64().unwrap() >= -balance - 1e-9);
    let chart = up.get("/api/v1/sites/fontana/chart").await;
    let actual = chart["actual"].as_array().unwrap();
    assert!(actual.iter().any(|point| point["grid_kw"].is_number() && point["load_kw"].as_f64() < Some(0.0)));
    let time = |point: &Value| point["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let plan = chart["plan"].as_array().unwrap();
    assert!(time(actual.last().unwrap()) < time(&plan[0]), "the plan begins where the measurement ends");
    for pair in plan.windows(2) {
        let length = time(&pair[1]).duration_since(time(&pair[0])).as_secs();
        assert_eq!(Some(length), pair[0]["seconds"].as_i64());
    }
    forecasts_are_shown(up).await;
    let (status, page) = up.ask(Method::GET, "/", "", "").await;
    assert!(status.is_success() && page.contains("<!doctype html>"), "{page}");
    let events = up.get("/api/v1/events").await;
    let wall = |event: &Value| event["time"].as_str().is_some_and(|time| time.ends_with("+00:00"));
    assert!(events.as_array().unwrap().iter().all(wall), "wall time: {events}");
    let (status, problem) = up.ask(Method::GET, "/api/v1/sites/nowhere/live", &up.token, "").await;
    assert!(status == StatusCode::NOT_FOUND && problem.contains("fontana"), "{problem}");
}

async fn forecasts_are_shown(up: &Up) {
    let forecasts = up.get("/api/v1/sites/fontana/forecasts").await;
    let series = forecasts["series"].as_array().unwrap();
    let names: Vec<&str> = series.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names.last()), (12, Some(&"fontana.carbon")), "{names:?}");
    for one in series {
        let steps = one["steps"].as_array().unwrap();
        let seconds = one["step_seconds"].as_u64().unwrap();
        // A day from within a step is one step more.
        let of_a_day = 86_400 / seconds;
        assert!((of_a_day..=of_a_day + 1).contains(&(steps.len() as u64)), "{one}");
        for step in steps {
            let q: Vec<f64> =
                step["quantiles"].as_array().unwrap().iter().map(|q| q["value"].as_f64().unwrap()).collect();
            assert!(q.len() == 3 && q.is_sorted(), "{step}");
        }
        assert!(
            one["type"] != "load" || steps.iter().all(|step| step["mean"].as_f64() <= Some(0.0)),
            "{one}"
        );
    }
    let listed = up.get("/api/v1/resources/forecasts").await;
    assert_eq!(listed.as_array().unwrap().len(), 12);
    let carbon = up.get("/api/v1/resources/Forecast/fontana.carbon").await;
    assert_eq!(carbon["spec"]["unit"], "kgCO2/kWh", "{carbon}");
    the_need_of_the_site_is_the_sum_of_what_is_in_it(series);
}

fn the_need_of_the_site_is_the_sum_of_what_is_in_it(series: &[Value]) {
    let mean = |one: &Value| one["steps"][0]["mean"].as_f64().unwrap();
    let (sites, assets): (Vec<&Value>, Vec<&Value>) = series.iter().partition(|one| one["asset"].is_null());
    let need = sites.iter().find(|one| one["name"] == "fontana.need").unwrap();
    let sum: f64 = assets.into_iter().map(mean).sum();
    assert!((mean(need) + sum).abs() < 1e-3, "import is positive: {need}");
    assert_eq!(need["method"], "sum-of-members");
}

async fn resources_are_read_and_changed(up: &Up) {
    let service = up.get("/api/v1/resources/svc/sunspec").await;
    assert_eq!(service["metadata"]["manager"], "dir");
    assert!(service["status"]["deployments"][0]["program"].as_str().unwrap().ends_with("sos"));
    assert!(service["status"]["replicaStatuses"][0]["usage"]["memoryBytes"].as_u64() > Some(0));
    assert!(service["decisions"].as_array().unwrap().iter().any(|entry| entry["what"] == "deploy"));
    let battery = up.get("/api/v1/resources/Asset/home-1-battery").await;
    assert!(battery["decisions"].as_array().unwrap().iter().any(|entry| entry["what"] == "set-point"));
    let plan = up.get("/api/v1/resources/Plan/fontana").await;
    assert!(plan["status"]["steps"][0]["power_kw"]["home-1-battery"].is_number());
    assert_eq!(up.get("/api/v1/resources/runs").await, json!([]));
    assert!(!up.get("/api/v1/resources/Event").await.as_array().unwrap().is_empty());
    let limits = plan["status"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|s| s["binding_limits"].as_array().unwrap());
    assert!(limits.count() > 0, "empty batteries and the import limit hold any plan of a day back: {plan}");

    let (status, text) = up.ask(Method::DELETE, "/api/v1/resources/svc/sunspec", &up.token, "").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
    for referrer in ["Asset/home-1-battery (spec.via.service)", "Asset/home-5-load (spec.via.service)"] {
        assert!(text.contains(referrer), "{text}");
    }
    let (status, text) = up.ask(Method::DELETE, "/api/v1/resources/Site/fontana", &up.token, "").await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && text.contains("spec.batch.site"), "{text}");

    let manifest = "apiVersion: sos.energy/v1alpha1\nkind: Secret\nmetadata: {name: mail}\nspec: {data: {password: {env: NOT_SET}}}\n";
    let dry = up.json(Method::POST, "/api/v1/apply?dryRun=true", manifest).await;
    assert_eq!(dry[0]["action"], "created");
    assert_eq!(up.get("/api/v1/resources/Secret").await, json!([]), "a dry run changes nothing");
    let diff = up.json(Method::POST, "/api/v1/diff", manifest).await;
    assert_eq!(
        (&diff[0]["action"], diff[0]["changes"].as_array().unwrap().is_empty()),
        (&json!("created"), false)
    );
    assert_eq!(up.json(Method::POST, "/api/v1/apply", manifest).await[0]["action"], "created");
    assert_eq!(up.json(Method::POST, "/api/v1/apply", manifest).await[0]["action"], "unchanged");
    let (status, text) = up.ask(Method::DELETE, "/api/v1/resources/Secret/mail", &up.token, "").await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{text}");

    let (status, text) = up.ask(Method::POST, "/api/v1/apply", &up.token, "kind: Servce\n").await;
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["problems"].as_array().unwrap().len() > 1, "all problems at once: {text}");
    let theirs = "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {name: fontana}\nspec: {timeZone: UTC, currency: USD, connection: {importPrice: {fixed: 1 USD/kWh}}}\n";
    let (status, text) = up.ask(Method::POST, "/api/v1/apply", &up.token, theirs).await;
    assert!(status == StatusCode::CONFLICT && text.contains("`dir`"), "{status} {text}");
}

async fn services_are_commanded(up: &Up) {
    let first = up.pids_of("sunspec").await;
    up.json(Method::POST, "/api/v1/services/sunspec/rollout/restart", "").await;
    up.wait("a new process of the restarted service", async |up| {
        let rollout = up.get("/api/v1/services/sunspec/rollout").await;
        let now = up.pids_of("sunspec").await;
        rollout["done"] == true && now.len() == 1 && now != first
    })
    .await;
    assert_eq!(up.get("/api/v1/services/sunspec/rollout").await["revision"], 2, "a restart is a revision");
    let history = up.get("/api/v1/services/sunspec/rollout/history").await;
    assert!(history[1]["current"] == true && history[1]["time"].is_string(), "{history}");

    let (status, log) = up.ask(Method::GET, "/api/v1/services/home-1/logs?lines=5", &up.token, "").await;
    assert!(status.is_success() && !log.trim().is_empty() && log.lines().count() <= 5, "{status} {log}");

    assert_eq!(
        up.json(Method::PUT, "/api/v1/services/home-5/scale", r#"{"replicas":0}"#).await["replicas"],
        0
    );
    up.wait("the home without its service is unavailable", async |up| {
        let live = up.get("/api/v1/sites/fontana/live").await;
        let of = |asset: &&Value| asset["name"] == "home-5-battery";
        live["assets"].as_array().unwrap().iter().find(of).unwrap()["available"] == false
    })
    .await;
    up.wait("an event about it, also in the time of the site", async |up| {
        let events = up.get("/api/v1/events").await;
        let of = |event: &&Value| event["name"] == "home-5-battery" && event["reason"] == "Unavailable";
        let event = events.as_array().unwrap().iter().rfind(of).cloned().unwrap_or_default();
        event["site_time"].as_str().is_some_and(|time| time.starts_with("2016-0") && time.ends_with("-08:00"))
    })
    .await;
    up.json(Method::PUT, "/api/v1/services/home-5/scale", r#"{"replicas":1}"#).await;
    up.ready().await;
    let (status, text) =
        up.ask(Method::PUT, "/api/v1/services/night-batch/scale", &up.token, r#"{"replicas":2}"#).await;
    assert!(status == StatusCode::CONFLICT && text.contains("batch"), "{status} {text}");
}

impl Up {
    async fn pids_of(&self, service: &str) -> Vec<u64> {
        let service = self.get(&format!("/api/v1/resources/Service/{service}")).await;
        let replicas = service["status"]["replicaStatuses"].as_array().cloned().unwrap_or_default();
        replicas.iter().filter_map(|replica| replica["pid"].as_u64()).collect()
    }
}

async fn series_are_queried(up: &Up) {
    // Without a time it is that of the site, which replays.
    let answer = up.get("/api/v1/query?query=asset_soc").await;
    let batteries = answer["data"]["result"].as_array().unwrap();
    assert_eq!((answer["status"].as_str(), batteries.len()), (Some("success"), 5), "{answer}");
    let at = batteries[0]["value"][0].as_f64().unwrap();
    let soc: f64 = batteries[0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!((0.0..=1.0).contains(&soc) && (1.47e9..1.6e9).contains(&at), "{answer}");

    // A form, as Grafana sends it: the balance of a step holds at each step of a range.
    let balance = "sum(asset_power_kw) + on() site_grid_kw + on() site_work_kw";
    let form = format!("query={}&start={}&end={at}&step=900", balance.replace('+', "%2B"), at - 1800.0);
    let answer = up.json(Method::POST, "/api/v1/query_range", &form).await;
    let steps = answer["data"]["result"][0]["values"].as_array().unwrap();
    assert!(!steps.is_empty(), "{answer}");
    for step in steps {
        let rest: f64 = step[1].as_str().unwrap().parse().unwrap();
        assert!(rest.abs() < 1e-6, "{answer}");
    }

    let names = up.get("/api/v1/label/__name__/values").await;
    assert!(names["data"].as_array().unwrap().contains(&json!("site_grid_kw")), "{names}");
    let known = up.get("/api/v1/metadata").await;
    for name in names["data"].as_array().unwrap() {
        assert!(known["data"][name.as_str().unwrap()].is_array(), "{name} is not described");
    }
    let series = up.get("/api/v1/series?match[]=asset_soc{asset=~%22home-[12].*%22}").await;
    assert_eq!(series["data"].as_array().unwrap().len(), 2, "{series}");

    for (query, status, words) in [
        ("sum(", StatusCode::BAD_REQUEST, "unclosed left parenthesis"),
        ("vector(1)%2Bon()asset_soc", StatusCode::UNPROCESSABLE_ENTITY, "duplicate series"),
        ("asset_soc&time=soon", StatusCode::BAD_REQUEST, "expected a time such as"),
    ] {
        let (got, text) = up.ask(Method::GET, &format!("/api/v1/query?query={query}"), &up.token, "").await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((got, error["status"].as_str()), (status, Some("error")), "{text}");
        assert!(error["error"].as_str().unwrap().contains(words), "{text}");
    }
}

async fn metrics_are_well_formed(up: &Up) {
    let (status, text) = up.ask(Method::GET, "/metrics", &up.token, "").await;
    assert!(status.is_success());
    for wanted in [
        "sos_site_grid_power_kw{site=\"fontana\"}",
        "sos_service_ready_replicas{service=\"sunspec\"} 1",
        "sos_site_ticks_total",
        "sos_forecast_drifting{site=\"fontana\",series=\"home-1-load\"} 0",
    ] {
        assert!(text.contains(wanted), "no {wanted} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_accepts_the_metrics() {
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checker) = checker else {
        skipped("promtool is not installed (Debian: apt-get install prometheus)");
        return;
    };
    let up = Up::start(&fontana(), &[]).await;
    up.ready().await;
    let (status, text) = up.ask(Method::GET, "/metrics", &up.token, "").await;
    assert!(status.is_success(), "{text}");
    std::io::Write::write_all(&mut checker.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let checked = checker.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

async fn access_follows_the_roles(up: &Up) {
    let store = Store::open(up.data.path(), Options::default()).unwrap();
    let token = |name: &str, role| store.create_token(name, role).unwrap().expose_str().unwrap().to_owned();
    let (viewer, operator) = (token("eva", Role::Viewer), token("omar", Role::Operator));
    let scale = ("/api/v1/services/home-5/scale", r#"{"replicas":1}"#);
    let cases = [
        (Method::GET, "/api/v1/sites", "", [401, 200, 200, 200]),
        (Method::PUT, scale.0, scale.1, [401, 403, 200, 200]),
        (Method::DELETE, "/api/v1/resources/Secret/none", "", [401, 403, 403, 404]),
    ];
    for (method, path, body, expected) in cases {
        for (token, expected) in ["", &viewer, &operator, &up.token].into_iter().zip(expected) {
            let (status, text) = up.ask(method.clone(), path, token, body).await;
            assert_eq!(status.as_u16(), expected, "{method} {path}: {text}");
        }
    }
    let recorded = store.recent_audit(Some("Service/home-5"), 50).unwrap();
    let scaled = recorded.iter().rfind(|record| record.entry.what == "scale").unwrap();
    assert_eq!((scaled.entry.who.as_str(), &scaled.entry.before), ("admin", &Some(json!({ "replicas": 1 }))));
    assert!(store.verify_audit().is_ok());

    let code = store.create_login_code("eva", Role::Viewer, jiff::Timestamp::MAX).unwrap();
    let body = json!({ "code": code.expose_str() }).to_string();
    let (status, session) = up.ask(Method::POST, "/api/v1/login", "", &body).await;
    assert!(status.is_success() && session.contains("eva"), "{session}");
    let (status, _) = up.ask(Method::POST, "/api/v1/login", "", &body).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a code works once");

    // A session is its own token: it ends with the logout, the token it was opened with does not.
    let session = async || {
        let body = json!({ "token": viewer }).to_string();
        let answer = up.http.post(format!("{}/api/v1/login", up.url)).body(body).send().await.unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        cookie.split([';', '=']).nth(1).unwrap().to_owned()
    };
    let (first, second) = (session().await, session().await);
    assert!(first != viewer && first != second);
    for (token, expected) in [(&first, 204), (&first, 401), (&viewer, 204), (&viewer, 204)] {
        let (status, text) = up.ask(Method::DELETE, "/api/v1/session", token, "").await;
        assert_eq!(status.as_u16(), expected, "{text}");
    }
    let (status, text) = up.ask(Method::GET, "/api/v1/session", &second, "").await;
    assert!(status.is_success() && text.contains("eva"), "{text}");
    let data = up.data.path().to_str().unwrap();
    let revoked = Command::new(SOS).args(["token", "revoke", "eva", "--data-dir", data]).output().unwrap();
    // One by the code above and one by the token.
    let told = String::from_utf8(revoked.stdout).unwrap();
    assert_eq!(told, "the token of eva is revoked, and 2 sessions on the page with it\n");
    up.wait("the sessions of a revoked token end", async |up| {
        up.ask(Method::GET, "/api/v1/session", &second, "").await.0 == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_watched_folder_are_applied_and_wrong_ones_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let write = |replicas: &str| {
        let manifest = format!(
            "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {{name: idle}}\nspec: {{command: [sleep, \"1000\"], replicas: {replicas}}}\n"
        );
        std::fs::write(dir.path().join("idle.yaml"), manifest).unwrap();
    };
    write("1");
    let up = Up::start(dir.path(), &["--watch"]).await;
    up.wait("one replica", async |up| up.pids_of("idle").await.len() == 1).await;
    write("many");
    up.wait("an event about the wrong manifest", async |up| {
        let events = up.get("/api/v1/events").await;
        events
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["reason"] == "NotApplied" && event["type"] == "Warning")
    })
    .await;
    assert_eq!(up.pids_of("idle").await.len(), 1, "what runs stays");
    write("2, stopTimeout: 1 s");
    up.wait("two replicas", async |up| up.pids_of("idle").await.len() == 2).await;
    let revisions = async |up: &Up| up.get("/api/v1/services/idle/rollout/history").await;
    assert_eq!(revisions(&up).await.as_array().unwrap().len(), 1, "a scale is no revision");
    write("2, config: {COLOUR: blue}");
    let done = async |up: &Up, revision: u32| {
        let status = up.get("/api/v1/services/idle/rollout").await;
        status["revision"] == revision && status["done"] == true
    };
    up.wait("revision 2", async |up| done(up, 2).await).await;
    up.json(Method::POST, "/api/v1/services/idle/rollout", r#"{"order": "undo"}"#).await;
    up.wait("revision 1 again", async |up| done(up, 1).await).await;
    let history = revisions(&up).await;
    let outcomes: Vec<&str> =
        history.as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["succeeded", "undone"], "{history}");
    std::fs::remove_file(dir.path().join("idle.yaml")).unwrap();
    std::fs::write(
        dir.path().join("b.yaml"),
        "apiVersion: sos.energy/v1alpha1\nkind: Secret\nmetadata: {name: s}\nspec: {data: {k: {env: X}}}\n",
    )
    .unwrap();
    up.wait("what is gone from the folder is gone", async |up| {
        up.get("/api/v1/resources/Service").await == json!([])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_told_and_starts_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(SOS)
        .arg("up")
        .arg(fontana())
        .args(["--listen", &address, "--data-dir"])
        .arg(data.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&address) && told.contains("--listen"), "{told}");
    assert!(output.stdout.is_empty() && !data.path().join("sos.db").exists());
}
