//! What goes on as it happens: a followed log, the stream of a site; and what stays when `sos` is terminated meanwhile.

use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cli::answer;
use crate::client;
use crate::support::{Rig, WAIT, services, wait_for};

/// A service that logs the lines which come through a pipe.
const ECHO: &str = "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {name: echo}\n\
    spec: {command: [sh, -c, \"[ -p PIPE ] || mkfifo PIPE; exec 3<>PIPE; echo up; while read line <&3; do echo $line; done\"], \
    stopTimeout: 1 s, restart: {initialBackoff: 10 ms, maxBackoff: 50 ms}}\n";

#[test]
fn a_followed_log_goes_on_over_a_restart_and_ends_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let up = client::Up::start(&ECHO.replace("PIPE", pipe.to_str().unwrap()));
    answer(up.dir(), &["rollout", "status", "echo", "--wait", "60"]);
    let file = dir.path().join("followed");
    let mut follower = Command::new(env!("CARGO_BIN_EXE_sos"))
        .args(["logs", "echo", "-f"])
        .current_dir(up.dir())
        .env_remove("SOS_TOKEN")
        .env_remove("SOS_SERVER")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&file).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let followed = || std::fs::read_to_string(&file).unwrap();
    let until = |text: &str| wait_for(text, || (followed() == text).then_some(()));
    // Opening the pipe waits for the service.
    let say = |line: &str| {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        writeln!(pipe, "{line}").unwrap();
    };
    until("up\n");
    say("one");
    until("up\none\n");
    let service: Value = serde_json::from_str(&answer(up.dir(), &["get", "svc", "echo"])).unwrap();
    let pid = service["status"]["replicaStatuses"][0]["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    until("up\none\nup\n");
    say("two");
    until("up\none\nup\ntwo\n");
    drop(up);
    let ended = wait_for("the end of the follower", || follower.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    assert_eq!(followed(), "up\none\nup\ntwo\n");
}

/// The stream of a running `sos up`.
struct Messages {
    response: reqwest::Response,
    text: String,
}

impl Messages {
    async fn open(rig: &Rig) -> Self {
        // The line end comes last, so what ends in one is whole.
        let file = |name: &str| {
            let text = std::fs::read_to_string(rig.data.join(name)).ok()?;
            Some(text.strip_suffix('\n')?.to_owned())
        };
        let (url, token) = wait_for("the address file", || Some((file("server")?, file("token")?)));
        let request = reqwest::Client::new().get(format!("{url}/api/v1/stream")).bearer_auth(token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// Name and data of the next message; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name| message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
                let message = (field("event:").to_owned(), serde_json::from_str(field("data:")).unwrap());
                self.text = rest.to_owned();
                return Some(message);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The first message of this name that fits; the stream may not end before.
    async fn until(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let (event, data) = self.next().await.expect("the stream goes on");
                if event == name && fits(&data) {
                    return data;
                }
            }
        };
        tokio::time::timeout(WAIT, search).await.unwrap_or_else(|_| panic!("never: {name}"))
    }

    async fn tick_after(&mut self, tick: u64) -> u64 {
        let state = self.until("site", |state| state["tick"].as_u64() > Some(tick)).await;
        assert_eq!((&state["site"], state["assets"].as_array().map(Vec::len)), (&"fontana".into(), Some(15)));
        state["tick"].as_u64().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_each_tick_and_ends_when_sos_does_whose_services_stay() {
    let rig = Rig::quick();
    let up = rig.up_with(&["--speed", "600"]);
    let mut messages = Messages::open(&rig).await;
    let mut tick = messages.tick_after(0).await;
    for _ in 0..3 {
        tick = messages.tick_after(tick).await;
    }
    assert!(rig.kill("home-2-0"));
    let told = messages.until("event", |event| event["name"] == "home-2" && event["kind"] == "Service").await;
    assert_eq!((&told["type"], &told["reason"]), (&"Warning".into(), &"Exited".into()), "{told}");
    assert!(told["message"].as_str().unwrap().contains("was ended by signal 9"), "{told}");
    let back = |state: &Value| {
        let service =
            state["services"].as_array().unwrap().iter().find(|service| service["name"] == "home-2");
        service.unwrap()["ready"] == 1
    };
    messages.until("site", |state| state["tick"].as_u64() > Some(tick + 1) && back(state)).await;

    // The job may end by itself at any time; all others are there from now on.
    let lasting = |rig: &Rig| {
        let mut pids = rig.pids();
        pids.retain(|replica, _| !replica.starts_with("night-batch"));
        pids
    };
    let before = lasting(&rig);
    assert_eq!(before.len(), 6, "five homes and their adapter: {before:?}");
    up.signal(Signal::SIGTERM);
    messages.until("bye", |_| true).await;
    let end = tokio::time::timeout(WAIT, messages.next()).await.unwrap();
    assert!(end.is_none(), "nothing comes after the farewell: {end:?}");
    up.finish();
    assert_eq!(lasting(&rig), before, "SIGTERM leaves the services");

    let up = rig.up_with(&["--speed", "600"]);
    let mut messages = Messages::open(&rig).await;
    messages.tick_after(tick + 1).await;
    assert_eq!(lasting(&rig), before, "they were adopted");
    up.signal(Signal::SIGINT);
    messages.until("bye", |_| true).await;
    up.finish();
    assert!(services(&rig).is_empty(), "{:?}", services(&rig));
}
