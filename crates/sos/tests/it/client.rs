//! The commands that talk to a server: what they ask, how they tell the answer, how they end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Ran, answer, sos, sos_with};
use crate::support::wait_for;

/// Method and path of a request, and its body.
type Asked = (String, String);

/// A server that answers each path with one prepared answer, for as long as the test runs.
struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    dir: TempDir,
}

impl Fake {
    fn new(answers: Vec<(&'static str, u16, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &answers, &told);
            }
        });
        Self { url, asked, dir: tempfile::tempdir().unwrap() }
    }

    fn sos(&self, args: &[&str]) -> Ran {
        let server = ["--server", self.url.as_str(), "--token", "t"];
        sos(self.dir.path(), &[args, server.as_slice()].concat())
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve(stream: TcpStream, answers: &[(&str, u16, Value)], told: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(&stream);
    let (mut head, mut length) = (String::new(), 0);
    reader.read_line(&mut head).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let head = head.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let missing = json!({ "type": "about:blank", "title": "Not Found", "status": 404, "detail": format!("nothing at {head}") });
    let found = answers.iter().find(|(path, ..)| *path == head).map(|(_, status, value)| (*status, value));
    let (status, value) = found.unwrap_or((404, &missing));
    told.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let answer =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
    (&stream).write_all(answer.as_bytes()).unwrap();
}

fn problem(status: u16, detail: &str, problems: Value) -> Value {
    json!({ "type": "about:blank", "title": "t", "status": status, "detail": detail, "problems": problems })
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "sos.energy/v1alpha1", "kind": "Service",
        "metadata": {"name": name, "manager": "dir"}, "spec": {"command": ["sleep"]},
        "status": {
            "phase": "Running", "readyReplicas": 1, "replicas": 2, "restarts": 3, "message": "one, of two\u{1b}[2J",
            "replicaStatuses": [{"pid": 7, "usage": {"cpuSeconds": 1.5, "memoryBytes": 2048}}],
        },
    })
}

#[test]
fn resources_are_shown_as_table_json_yaml_and_csv() {
    let fake = Fake::new(vec![
        ("GET /api/v1/resources/Service", 200, json!([service("web")])),
        ("GET /api/v1/resources/Service?selector=tier%3Da", 200, json!([])),
        ("GET /api/v1/resources/Service/web", 200, service("web")),
    ]);
    let table = fake.sos(&["get", "svc", "-o", "table"]);
    assert_eq!(
        table.stdout,
        "NAME   PHASE     READY   RESTARTS   MANAGER   MESSAGE\nweb    Running   1/2     3          dir       one, of two [2J\n"
    );
    let csv = fake.sos(&["get", "services", "-o", "csv"]).stdout;
    assert!(csv.ends_with("web,Running,1/2,3,dir,\"one, of two [2J\"\n"), "{csv}");
    let piped: Value = serde_json::from_str(&fake.sos(&["get", "Service"]).stdout).unwrap();
    assert_eq!(piped[0]["metadata"]["name"], "web", "without a terminal the answer is JSON");
    let yaml = fake.sos(&["get", "svc/web", "-o", "yaml"]).stdout;
    assert!(yaml.contains("metadata:\n  manager: dir\n  name: web\n"), "{yaml}");
    let none = fake.sos(&["get", "svc", "-l", "tier=a", "-o", "json"]);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("[]\n", "no Service found\n"));
    let top = fake.sos(&["top", "-o", "table"]).stdout;
    assert!(top.contains("web       Running   1          3          1.5 s      2.0 KiB"), "{top}");
}

#[test]
fn what_the_server_refuses_decides_the_exit_code() {
    let listed = json!([{"text": "manifest:1:2: wrong"}, {"text": "manifest:3:4: too"}]);
    let fake = Fake::new(vec![
        ("GET /api/v1/resources/Site", 401, problem(401, "the token is not known", json!([]))),
        ("DELETE /api/v1/resources/Site/a", 403, problem(403, "eva has the role viewer", json!([]))),
        ("PUT /api/v1/services/web/scale", 409, problem(409, "web is a batch job", json!([]))),
        ("POST /api/v1/services/web/rollout", 422, problem(422, "wrong", listed)),
        ("GET /api/v1/sites/a/live", 503, problem(503, "no tick yet: try again", json!([]))),
        ("GET /api/v1/events", 502, json!("<html>")),
        ("GET /api/v1/resources/Asset", 200, json!({"not": "a list"})),
    ]);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["get", "site"], 4, "error: the token is not known\n"),
        (&["delete", "site", "a"], 4, "error: eva has the role viewer\n"),
        (&["scale", "web", "--replicas", "2"], 1, "error: web is a batch job\n"),
        (
            &["rollout", "undo", "web"],
            2,
            "error: manifest:1:2: wrong\nerror: manifest:3:4: too\n2 problems found\n",
        ),
        (&["report", "a"], 1, "error: no tick yet: try again\n"),
        (&["events"], 1, "error: the server answered 502 Bad Gateway; is it a server of sos?\n"),
        (&["get", "plan", "a"], 1, "error: nothing at GET /api/v1/resources/Plan/a\n"),
        (&["get", "asset", "a b/.."], 1, "error: nothing at GET /api/v1/resources/Asset/a%20b%2F..\n"),
    ];
    for (args, code, told) in cases {
        let ran = fake.sos(args);
        assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.as_str()), (*code, *told, ""), "sos {args:?}");
    }
    let other = fake.sos(&["get", "assets"]);
    assert!(other.code == 1 && other.stderr.contains("something else than this version"), "{}", other.stderr);
}

#[test]
fn apply_sends_complete_resources_that_fit_what_the_server_has() {
    let changes = json!([{"path": "spec.site", "before": "a", "after": "b"}]);
    let diff = json!([{"kind": "Service", "name": "web", "action": "configured", "changes": changes}]);
    let same = json!([{"kind": "Service", "name": "web", "action": "unchanged", "changes": []}]);
    let empty = |path| (path, 200, json!([]));
    let fake = |diff: Value| {
        Fake::new(vec![
            ("GET /api/v1/resources/Service", 200, json!([service("base")])),
            empty("GET /api/v1/resources/Site"),
            empty("GET /api/v1/resources/Asset"),
            empty("GET /api/v1/resources/Signal"),
            empty("GET /api/v1/resources/Secret"),
            empty("GET /api/v1/resources/AlertRule"),
            empty("GET /api/v1/resources/Notifier"),
            empty("GET /api/v1/resources/Channel"),
            empty("GET /api/v1/resources/Machine"),
            empty("GET /api/v1/resources/Override"),
            empty("GET /api/v1/resources/Workflow"),
            empty("GET /api/v1/resources/Rule"),
            (
                "POST /api/v1/apply?dryRun=true&force=false",
                200,
                json!([{"kind": "Service", "name": "web", "action": "created", "version": 0}]),
            ),
            ("POST /api/v1/diff", 200, diff),
        ])
    };
    let first = fake(diff);
    let web = "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {name: web}\nspec: {command: [sleep, \"9\"], dependsOn: [base]}\n";
    std::fs::write(first.dir.path().join("web.yaml"), web).unwrap();
    let ran = first.sos(&["apply", "-f", "web.yaml", "--dry-run", "-o", "table"]);
    assert_eq!(ran.stdout, "RESOURCE      RESULT\nService/web   created (dry run)\n", "{}", ran.stderr);
    let (_, body) = first.asked().pop().unwrap();
    let sent: Value = serde_json::from_str(body.trim_start_matches("---\n")).unwrap();
    let here = std::fs::canonicalize(first.dir.path()).unwrap();
    assert_eq!(sent["spec"]["workingDir"], here.to_str().unwrap(), "places are told absolutely");

    let differs = first.sos(&["diff", "-f", "web.yaml", "-o", "table"]);
    assert_eq!((differs.code, differs.stderr.as_str()), (1, ""));
    assert_eq!(differs.stdout, "Service/web would be configured\n  spec.site: \"a\" → \"b\"\n");

    first.asked();
    let wrong = web.replace("base", "bass");
    let server = ["--server", first.url.as_str(), "--token", "t"];
    let ran =
        sos_with(first.dir.path(), &[["apply", "-f", "-"].as_slice(), &server].concat(), wrong.as_bytes());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("stdin:4:") && ran.stderr.contains("\"bass\""), "{}", ran.stderr);
    assert!(first.asked().iter().all(|(head, _)| head.starts_with("GET")), "what is wrong is not sent");

    let second = fake(same);
    std::fs::write(second.dir.path().join("web.yaml"), web).unwrap();
    let same = second.sos(&["diff", "-f", "web.yaml", "-o", "table"]);
    assert_eq!((same.code, same.stdout.as_str()), (0, ""), "{}", same.stderr);
}

/// A `sos up` of a small folder, found by commands that run in that folder.
pub(crate) struct Up {
    child: Child,
    dir: TempDir,
}

impl Up {
    pub(crate) fn start(manifest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), manifest).unwrap();
        std::fs::write(dir.path().join("word"), "open\n").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        command.args(["up", ".", "--listen", "127.0.0.1:0"]).current_dir(dir.path());
        command.env_remove("SOS_TOKEN").env_remove("SOS_SERVER");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let up = Self { child, dir };
        let file = up.dir.path().join(".sos/server");
        wait_for("the address file", || {
            std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
        });
        up
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ctrl-C stops the services too.
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT);
        let _ = self.child.wait();
    }
}

const IDLE: &str = "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {name: idle, labels: {tier: test}}\n\
    spec: {command: [sh, -c, \"echo up; exec sleep 1000\"], stopTimeout: 1 s, \
    env: [{name: WORD, valueFrom: {secret: {name: idle, key: word}}}]}\n---\n\
    apiVersion: sos.energy/v1alpha1\nkind: Secret\nmetadata: {name: idle}\nspec: {data: {word: {file: word}}}\n";

#[test]
fn a_running_server_is_found_read_and_commanded() {
    let up = Up::start(IDLE);
    let json = |args: &[&str]| -> Value { serde_json::from_str(&answer(up.dir(), args)).unwrap() };
    let rolled_out = answer(up.dir(), &["rollout", "status", "idle", "--wait", "60", "-o", "table"]);
    assert!(rolled_out.contains("revision 1 is rolled out"), "{rolled_out}");
    assert_eq!(json(&["get", "svc", "-l", "tier=test"])[0]["metadata"]["name"], "idle");
    assert_eq!(json(&["get", "svc", "-l", "tier!=test"]), json!([]));
    wait_for("the log", || (answer(up.dir(), &["logs", "idle", "--lines", "1"]) == "up\n").then_some(()));
    let events = json(&["events", "--kind", "svc", "--name", "idle"]);
    assert_eq!(events[0]["reason"], "Deploying", "{events}");
    let told = answer(up.dir(), &["describe", "svc", "idle"]);
    assert!(told.contains("Deployment of idle-0 (generated):"), "{told}");
    let (_, decisions) = told.split_once("\nDecisions:\n").unwrap();
    assert!(decisions.contains("deploy by sos/services") && decisions.contains("does not run"), "{told}");

    // What the folder owns is refused to others until it is forced.
    assert_eq!(answer(up.dir(), &["diff", "-f", "a.yaml", "-o", "table"]), "");
    std::fs::create_dir(up.dir().join(".mine")).unwrap();
    let (service, _) = IDLE.split_once("---").unwrap();
    std::fs::write(up.dir().join(".mine/b.yaml"), service.replace("1000", "2000")).unwrap();
    let differs = sos(up.dir(), &["diff", "-f", ".mine/b.yaml", "-o", "table"]);
    assert!(
        differs.code == 1 && differs.stdout.contains("spec.command[2]"),
        "{}{}",
        differs.stdout,
        differs.stderr
    );
    let refused = sos(up.dir(), &["apply", "-f", ".mine/b.yaml"]);
    assert!(refused.code == 1 && refused.stderr.contains("`dir`"), "{}", refused.stderr);
    assert_eq!(json(&["apply", "-f", ".mine/b.yaml", "--force"])[0]["action"], "configured");
    // The loop takes it up a moment after it is applied.
    wait_for("the revision", || {
        (json(&["rollout", "history", "idle"]).as_array().unwrap().len() == 2).then_some(())
    });
    answer(up.dir(), &["rollout", "status", "idle", "--wait", "60"]);
    assert_eq!(json(&["rollout", "undo", "idle"])["revision"], 1);
    assert_eq!(answer(up.dir(), &["scale", "idle", "--replicas", "2"]), "Service/idle scaled to 2\n");
    answer(up.dir(), &["rollout", "status", "idle", "--wait", "60"]);

    // What is shown can be applied again, and that changes nothing.
    for kind in ["svc", "secret"] {
        for (format, name) in [("yaml", Some("idle")), ("json", Some("idle")), ("yaml", None), ("json", None)]
        {
            let shown = answer(up.dir(), &[&["get", kind], name.as_slice(), &["-o", format]].concat());
            for command in [&["apply", "-f", "-"][..], &["apply", "-f", "-", "--dry-run"]] {
                let again = sos_with(up.dir(), &[command, &["-o", "json"]].concat(), shown.as_bytes());
                assert_eq!(again.code, 0, "{kind} {format}: {}\n{shown}", again.stderr);
                let results: Value = serde_json::from_str(&again.stdout).unwrap();
                assert!(!results.as_array().unwrap().is_empty(), "{results}");
                assert!(results.as_array().unwrap().iter().all(|r| r["action"] == "unchanged"), "{results}");
            }
            let same = sos_with(up.dir(), &["diff", "-f", "-"], shown.as_bytes());
            assert_eq!(same.code, 0, "{}{}", same.stdout, same.stderr);
        }
    }
    assert_eq!(json(&["get", "svc", "idle"])["metadata"]["generation"], 2, "a round trip changes nothing");

    // What others refer to is deleted only by force.
    let refused = sos(up.dir(), &["delete", "secret", "idle"]);
    assert_eq!(
        (refused.code, refused.stderr.as_str()),
        (
            2,
            "error: Secret/idle is used by Service/idle (spec.env[0].valueFrom.secret.name): delete that first or with it, or use --force\n"
        )
    );
    assert_eq!(json(&["get", "secret", "idle"])["metadata"]["name"], "idle");
    assert_eq!(answer(up.dir(), &["delete", "secret", "idle", "--force"]), "Secret/idle deleted\n");

    // Beside the server: a token is used at once, a backup is taken, the record is whole.
    let viewer = answer(up.dir(), &["token", "create", "eva", "--role", "viewer"]);
    let ran = sos(up.dir(), &["scale", "idle", "--replicas", "1", "--token", viewer.trim()]);
    assert!(ran.code == 4 && ran.stderr.contains("needs operator"), "{}", ran.stderr);
    answer(up.dir(), &["backup", "b.backup"]);
    answer(up.dir(), &["audit", "verify"]);
    let busy = sos(up.dir(), &["restore", "b.backup", "--force"]);
    assert!(busy.code == 1 && busy.stderr.contains("held by process"), "{}", busy.stderr);
    assert_eq!(answer(up.dir(), &["delete", "svc/idle"]), "Service/idle deleted\n");
    assert_eq!(json(&["get", "services"]), json!([]));
}
