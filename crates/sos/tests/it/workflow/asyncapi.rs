//! Subscriptions: the examples of the specification, real brokers, kills, and orders of people.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::feature::Scenario;
use super::server::{document, start, wait_state, workflow};
use super::stub::{self, Kill, Stub};
use crate::skipped::skipped;
use crate::support::{Server, wait_for};

fn example(folder: &Path, name: &str, input: &str) -> Scenario {
    let path = folder.join(format!("examples/call-asyncapi-{name}.yaml"));
    let definition = std::fs::read_to_string(path).unwrap();
    Scenario { name: name.to_owned(), definition, input: Some(input.to_owned()), ..Scenario::default() }
}

const ANN: &str = r#"{"userId": "ann", "contact": {"firstName": "Ann", "lastName": "Lee"}}"#;

#[test]
fn the_examples_of_the_specification_run() {
    let Some(folder) = std::env::var_os("WORKFLOW_CASES_DIR").map(PathBuf::from) else {
        skipped("WORKFLOW_CASES_DIR names no folder of the official kit");
        return;
    };
    let Some(stub) = Stub::start() else { return };
    let published = super::run(&example(&folder, "publish", "{pet: {id: 3}, token: t}"), &stub, None);
    assert_eq!(published.exit, 0, "{}", published.stderr);
    assert_eq!(published.output, Some(json!({"payload": {"petId": 3}, "headers": {}})));
    assert_eq!(*stub.calls.said.lock().unwrap(), [json!({"petId": 3})]);
    for name in ["subscribe-consume-amount", "subscribe-consume-while", "subscribe-consume-until"] {
        let ran = super::run(&example(&folder, name, ANN), &stub, None);
        assert_eq!(ran.exit, 0, "{name}: {}", ran.stderr);
        let output = ran.output.unwrap();
        let numbers: Vec<i64> =
            output.as_array().unwrap().iter().map(|one| one["payload"]["n"].as_i64().unwrap()).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5], "{name}");
    }
    // It never ends by itself.
    let forever = example(&folder, "subscribe-consume-forever-foreach", ANN);
    let own = tempfile::tempdir().unwrap();
    let (file, trace) = (own.path().join("w.yaml"), own.path().join("trace"));
    std::fs::write(&file, &forever.definition).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
    command.arg("run").arg(&file).args(["--input", ANN]).arg("--trace").arg(&trace);
    command.args(["--resolve", &format!("fake.com=127.0.0.1:{}", stub.port)]);
    command.arg("--ca-file").arg(&stub.authority).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Ends(command.spawn().unwrap());
    wait_for("nine messages to be handled", || {
        let lines = std::fs::read_to_string(&trace).unwrap_or_default();
        let done = |line: &&str| line.contains("publishCloudEvent") && line.contains("completed");
        (lines.lines().filter(done).count() == 9).then_some(())
    });
    drop(running);
}

/// Ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A broker on a port of its own; none, and the test is skipped, where none is installed.
fn broker(variable: &str, usual: &str, config: impl Fn(u16) -> String) -> Option<(Ends, u16, TempDir)> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let program = named.or_else(|| Some(PathBuf::from(usual)).filter(|usual| usual.exists()));
    let Some(program) = program else {
        skipped(&format!("{variable} names no program, and none is installed"));
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    // A port may be taken between choice and start.
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.path().join("config");
        std::fs::write(&file, config(port)).unwrap();
        let mut command = Command::new(&program);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Ends(command.spawn().unwrap());
        let listens = wait_for("a broker", || match running.0.try_wait().unwrap() {
            Some(_) => Some(false),
            None => std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
        });
        if listens {
            return Some((running, port, folder));
        }
    }
    panic!("{} does not start", program.display());
}

/// A folder with a document of a broker, and workflows that publish to it and hear so many messages of it.
struct Heard {
    folder: TempDir,
}

impl Heard {
    fn new(protocol: &str, port: u16, address: &str, amount: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "asyncapi.yaml",
            format!(
                "asyncapi: 3.0.0
info: {{title: t, version: '1'}}
servers: {{broker: {{host: '127.0.0.1:{port}', protocol: {protocol}}}}}
channels: {{hall: {{address: '{address}', messages: {{said: {{payload: {{type: object}}, correlationId: {{location: '$message.payload#/of'}}}}}}}}}}
operations:
  say: {{action: receive, channel: {{$ref: '#/channels/hall'}}}}
  hear: {{action: send, channel: {{$ref: '#/channels/hall'}}}}
"
            ),
        );
        let call = "call: asyncapi, with: {document: {endpoint: asyncapi.yaml}";
        let said = "message: {payload: {n: '${ .n }', of: test}, headers: {x-of: test}}";
        write("say.yaml", document("say", &format!("do: [{{say: {{{call}, operation: say, {said}}}}}}}]\n")));
        let heard = format!(
            "subscription: {{filter: '${{ .correlationId == \"test\" }}', consume: {{amount: {amount}}}}}"
        );
        write(
            "hear.yaml",
            document(
                "hear",
                &format!(
                    "do: [{{hear: {{{call}, operation: hear, {heard}}}, output: {{as: 'map({{n: .payload.n, of: .headers[\"x-of\"]}})'}}}}}}]\n"
                ),
            ),
        );
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn say(&self, n: u64) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        let input = json!({"n": n, "room": "hall"}).to_string();
        let done = command.arg("run").arg(self.path("say.yaml")).args(["--input", &input]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn hear(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        command.arg("run").arg(self.path("hear.yaml")).arg("--data-dir").arg(self.path("data"));
        command.args(["--timeout", "120s"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// How many messages are in the journal of the run that hears.
    fn kept(&self) -> usize {
        let files = std::fs::read_dir(self.path("data")).into_iter().flatten().flatten();
        let texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default());
        texts.map(|text| text.matches("\"received\"").count()).sum()
    }

    /// Says more and more, from a number on, until so many messages are kept; the last number that was said.
    fn say_until(&self, mut n: u64, kept: usize) -> u64 {
        while self.kept() < kept {
            n += 1;
            self.say(n);
        }
        n
    }
}

fn numbers(child: Child) -> Vec<u64> {
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let output: Value = serde_json::from_slice(&done.stdout).unwrap();
    let all = output.as_array().unwrap();
    assert!(all.iter().all(|one| one["of"] == "test"), "headers come along: {output}");
    all.iter().map(|one| one["n"].as_u64().unwrap()).collect()
}

#[test]
fn a_run_that_hears_a_broker_of_mqtt_misses_nothing_while_it_is_away() {
    let config = |port: u16| format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n");
    let Some((_broker, port, _folder)) = broker("SOS_MOSQUITTO", "/usr/sbin/mosquitto", config) else {
        return;
    };
    // More than are said until it is seen that one was heard.
    let amount = 30;
    let heard = Heard::new("mqtt", port, "rooms/{room}", amount);
    let mut first = heard.hear();
    let last = heard.say_until(0, 1);
    first.kill().unwrap();
    first.wait().unwrap();
    let before = heard.kept();
    // While it is away.
    heard.say(last + 1);
    heard.say(last + 2);
    let again = heard.hear();
    heard.say_until(last + 2, amount);
    let all = numbers(again);
    // What it had and had not told yet may come again; nothing is left out between.
    let mut distinct = all.clone();
    distinct.dedup();
    assert!((1..amount).contains(&before) && all.len() == amount, "{before} {all:?}");
    assert!(distinct.windows(2).all(|two| two[1] == two[0] + 1), "nothing is left out: {all:?}");
}

#[test]
fn a_run_hears_nats() {
    let config = |port: u16| format!("listen: \"127.0.0.1:{port}\"\n");
    let Some((_broker, port, _folder)) = broker("SOS_NATS", "/usr/sbin/nats-server", config) else { return };
    let heard = Heard::new("nats", port, "rooms.{room}", 5);
    let run = heard.hear();
    heard.say_until(0, 5);
    let all = numbers(run);
    assert!(all.len() == 5 && all.windows(2).all(|two| two[1] == two[0] + 1), "{all:?}");
}

/// A workflow of a server that hears the stub, and calls it for each message.
fn hears(name: &str, port: u16, amount: usize, more: &str) -> String {
    let text = format!(
        "do:
- hear:
    call: asyncapi
    with:
      document: {{endpoint: 'http://127.0.0.1:{port}/local.json'}}
      operation: hear
      server: {{name: main, variables: {{port: {port}}}}}
      subscription:
        consume: {{amount: {amount}}}
        foreach:
          do:
          - told:
              call: http
              with: {{method: post, endpoint: 'http://127.0.0.1:{port}/anything', body: {{n: '${{ $item.payload.n }}'}}}}
              output: {{as: .body.n}}
{more}"
    );
    workflow(name, &document(name, &text), "")
}

#[test]
fn a_run_that_subscribes_goes_on_after_a_kill_at_any_of_its_messages() {
    let (port, asked) = stub::plain();
    let mut server = Server::start(&[("w.yaml", &hears("hears", port, 3, ""))]);
    // The document is called first, then the stream, then once for each message.
    for at in 3..=5 {
        asked.heard.lock().unwrap().clear();
        *asked.kill.lock().unwrap() = Some(Kill { at, answered: false, process: server.up.pid() });
        let key = format!("kill-{at}");
        let _begun = server.sos(&["start", "hears", "--key", &key]);
        wait_for("the kill", || server.up.has_ended().then_some(()));
        server = Server::over(server.rig);
        let run = start(&server, &["hears", "--key", &key]);
        let run = wait_state(&server, &run, "completed");
        assert_eq!(run["status"]["output"], json!([1, 2, 3]), "killed by call {at}");
        let heard = asked.heard.lock().unwrap();
        let keys: std::collections::BTreeSet<&String> =
            heard.iter().filter(|(path, _)| path == "/anything").map(|(_, key)| key).collect();
        assert_eq!(keys.len(), 3, "each message is handled with its own key: {heard:?}");
    }
}

#[test]
fn orders_and_time_limits_close_subscriptions() {
    let (port, asked) = stub::plain();
    let limited = hears("limited", port, 99, "    timeout: {after: {milliseconds: 400}}\n");
    let refused = hears("refused", port, 1, "")
        .replace("name: main, variables: {port:", "name: mian, variables: {port:");
    let server = Server::start(&[("w.yaml", &(hears("hears", port, 99, "") + &limited + &refused))]);
    let open = |count: usize| {
        wait_for(&format!("{count} open streams"), || (asked.open.load(SeqCst) == count).then_some(()));
    };
    let run = start(&server, &["hears"]);
    open(1);
    server.answer(&["suspend", &run]);
    open(0);
    server.answer(&["resume", &run]);
    open(1);
    assert_eq!(asked.opened.load(SeqCst), 2);
    server.answer(&["cancel", &run]);
    wait_state(&server, &run, "cancelled");
    open(0);
    let late = start(&server, &["limited"]);
    let late = wait_state(&server, &late, "faulted");
    assert_eq!(late["status"]["fault"]["status"], 408);
    open(0);
    let wrong = start(&server, &["refused"]);
    let wrong = wait_state(&server, &wrong, "faulted");
    let detail = wrong["status"]["fault"]["detail"].as_str().unwrap();
    assert_eq!(detail, "channel `feed` has no server `mian`; known: main");
    let keys: Vec<String> = asked.heard.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    let told = keys.iter().filter(|path| *path == "/anything").count();
    assert!(told >= 5, "all five messages of a stream are handled: {keys:?}");
}
