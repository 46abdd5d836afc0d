//! Calls and channels with nothing but `sos`: its own API is imported and called, its own channel is used.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::cli::{Ran, sos, sos_with};
use crate::support::{Rig, Server, wait_for};

const CHANNEL: &str = "apiVersion: sos.energy/v1alpha1
kind: Channel
metadata: {name: orders}
spec:
  embedded: {}
  schema: order.json
  delivery: {maxAttempts: 2, initialBackoff: 10 ms, lease: 1 s}
";
const SCHEMA: &str = r#"{"type": "object", "required": ["kwh"], "properties": {"kwh": {"type": "number"}}}"#;

/// A `sos up` of one channel.
struct Own(Server);

impl Own {
    fn start() -> Self {
        Self(Server::start(&[("channel.yaml", CHANNEL), ("order.json", SCHEMA)]))
    }

    fn sos(&self, args: &[&str]) -> Ran {
        self.0.sos(args)
    }

    fn import(&self, source: &str, more: &[&str]) -> Ran {
        let args = ["import", "openapi", source, "--name", "own", "--url", &self.0.address, "-o", "json"];
        sos(&self.0.rig.manifests, &[args.as_slice(), more].concat())
    }
}

#[test]
fn a_service_is_imported_called_and_imported_again() {
    let own = Own::start();
    let document = format!("{}/api/v1/openapi.json", own.0.address);
    let refused = own.import(&document, &[]);
    assert_eq!(refused.code, 3, "without a token: {}", refused.stderr);
    let imported = own.import(&document, &["--bearer", &own.0.token]);
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    let manifests = &own.0.rig.manifests;
    let manifest = std::fs::read_to_string(manifests.join("own.yaml")).unwrap();
    assert!(manifest.contains("contracts/own.json"), "{manifest}");
    let token = own.0.rig.data.join("token");
    let secret = format!(
        "{manifest}  calls: {{auth: {{bearer: {{name: own, key: token}}}}}}\n---\napiVersion: sos.energy/v1alpha1\nkind: Secret\nmetadata: {{name: own}}\nspec: {{data: {{token: {{file: {}}}}}}}\n",
        token.display()
    );
    std::fs::write(manifests.join("own.yaml"), secret).unwrap();
    let applied = own.sos(&["apply", "-f", "own.yaml"]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    wait_for("the service to be in the registry", || {
        let listed: Value = serde_json::from_str(&own.sos(&["call", "-o", "json"]).stdout).ok()?;
        let one = listed.as_array()?.first()?.clone();
        (one["service"] == "own" && one["problem"].is_null()).then_some(())
    });
    let channels = own.sos(&["call", "own", "list", "-p", "kind=Channel"]);
    assert_eq!(channels.code, 0, "{}", channels.stderr);
    let channels: Value = serde_json::from_str(&channels.stdout).unwrap();
    assert_eq!(channels[0]["metadata"]["name"], "orders");
    let missing = own.sos(&["call", "own", "resource", "-p", "kind=Channel", "-p", "name=nobody"]);
    assert_eq!(missing.code, 1, "{}", missing.stderr);
    assert!(missing.stderr.contains("404"), "{}", missing.stderr);
    assert!(!missing.stderr.contains(&own.0.token), "the token is shown");
    let unknown = own.sos(&["call", "own", "lst"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("no operation `lst`"), "{}", unknown.stderr);

    // The same document with an operation less.
    let kept = manifests.join("contracts/own.json");
    let mut text: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    text["paths"].as_object_mut().unwrap().remove("/api/v1/diff").unwrap();
    let newer = own.0.rig.path("newer.json");
    std::fs::write(&newer, text.to_string()).unwrap();
    let before = std::fs::read(&kept).unwrap();
    let breaking = own.import(newer.to_str().unwrap(), &[]);
    assert_eq!(breaking.code, 1, "{}", breaking.stderr);
    let report: Value = serde_json::from_str(&breaking.stdout).unwrap();
    assert_eq!(report["differences"][0]["kind"], "breaking");
    assert_eq!(std::fs::read(&kept).unwrap(), before, "a refused import wrote something");
    let accepted = own.import(newer.to_str().unwrap(), &["--accept-breaking"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    // The server sees the file change, and tells of it.
    wait_for("the change to be told", || {
        let events = own.sos(&["events", "--kind", "service", "--name", "own", "-o", "json"]);
        events.stdout.contains("ContractChanged").then_some(())
    });
    let gone = own.sos(&["call", "own", "diff"]);
    assert_eq!(gone.code, 2, "{}", gone.stderr);
    let audit =
        sos(&own.0.rig.manifests, &["audit", "verify", "--data-dir", own.0.rig.data.to_str().unwrap()]);
    assert_eq!(audit.code, 0, "{}", audit.stderr);
    drop(own.0.up);
}

#[test]
fn events_survive_a_restart_and_wrong_ones_are_refused() {
    let own = Own::start();
    let published = own.sos(&["publish", "orders", r#"{"kwh": 1}"#, "--id", "1", "--key", "north"]);
    assert_eq!(
        (published.code, published.stdout.as_str()),
        (0, "Channel/orders: 1 published\n"),
        "{}",
        published.stderr
    );
    let wrong = own.sos(&["publish", "orders", r#"{"kwh": "much"}"#]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("/data/kwh"), "{}", wrong.stderr);
    let missing = own.sos(&["publish", "ordrs", "{}"]);
    assert_eq!(missing.code, 1, "{}", missing.stderr);
    assert!(missing.stderr.contains("did you mean \"orders\"?"), "{}", missing.stderr);
    let batch = [
        json!({"specversion": "1.0", "id": "2", "source": "/t", "type": "t", "data": {"kwh": 2}}),
        json!({"specversion": "1.0", "id": "", "source": "/t", "type": "t", "data": {"kwh": 2}}),
    ];
    let args = ["publish", "orders", "--events", "-", "--server", &own.0.address, "--token", &own.0.token];
    let half = sos_with(&own.0.rig.manifests, &args, json!(batch).to_string().as_bytes());
    assert_eq!(half.code, 2, "{}", half.stderr);
    assert!(half.stderr.contains("/1/id"), "{}", half.stderr);
    let own = Own(own.0.restart());
    let work = own.sos(&["subscribe", "orders", "--group", "g", "--no-follow"]);
    let lines: Vec<Value> = work.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "of a batch that was refused something is kept: {}", work.stdout);
    assert_eq!((&lines[0]["id"], &lines[0]["data"]), (&json!("1"), &json!({"kwh": 1})));
    let again = own.sos(&["publish", "orders", r#"{"kwh": 1}"#, "--id", "1", "--key", "north"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(
        own.sos(&["subscribe", "orders", "--group", "g", "--no-follow"]).stdout,
        "",
        "its id was forgotten"
    );
    let moved = own.sos(&["channels", "seek", "orders", "g", "earliest"]);
    assert_eq!(moved.stdout, "Channel/orders: 1 events wait for g\n", "{}", moved.stderr);
    drop(own.0.up);
}

/// Answers GET requests with these documents until the test ends.
fn serve_documents(documents: &'static [(&'static str, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let path = first.split(' ').nth(1).unwrap_or_default();
            let found = documents.iter().find(|(name, _)| *name == path);
            let (status, body) = found.map_or(("404 Not Found", ""), |(_, body)| ("200 OK", *body));
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    address
}

#[test]
fn a_proto_is_imported_from_an_address_with_all_that_it_imports() {
    let server = serve_documents(&[
        (
            "/p/meter/v1/meter.proto",
            "syntax = \"proto3\"; package meter.v1; import \"common/time.proto\"; import \"google/protobuf/empty.proto\";
             service Meter { rpc Read(google.protobuf.Empty) returns (common.Span); }",
        ),
        ("/p/common/time.proto", "syntax = \"proto3\"; package common; message Span { int64 seconds = 1; }"),
        ("/p/outside.proto", "syntax = \"proto3\"; import \"../common/time.proto\"; message A {}"),
        ("/common/time.proto", "syntax = \"proto3\"; package common; message Span { int64 seconds = 1; }"),
    ]);
    let rig = Rig::of(&[]);
    let import = |source: &str, more: &[&str]| {
        let source = format!("{server}{source}");
        let args =
            ["import", "proto", &source, "--name", "meter", "--url", "http://127.0.0.1:1", "-o", "json"];
        sos(&rig.manifests, &[args.as_slice(), more].concat())
    };
    let alone = import("/p/meter/v1/meter.proto", &[]);
    assert_eq!(alone.code, 3, "its imports are not beside it: {}", alone.stderr);
    assert!(alone.stderr.contains("/p/meter/v1/common/time.proto"), "{}", alone.stderr);
    let elsewhere = import("/p/meter/v1/meter.proto", &["--root", &format!("{server}/q")]);
    assert_eq!(elsewhere.code, 2, "{}", elsewhere.stderr);
    let outside = import("/p/outside.proto", &[]);
    assert_eq!(outside.code, 2, "{}", outside.stderr);
    let imported = import("/p/meter/v1/meter.proto", &["--root", &format!("{server}/p")]);
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    let manifest = std::fs::read_to_string(rig.manifests.join("meter.yaml")).unwrap();
    assert!(manifest.contains("meter/v1/meter.proto"), "{manifest}");
    for file in ["meter/v1/meter.proto", "common/time.proto"] {
        assert!(rig.manifests.join("contracts/meter").join(file).exists(), "{file}");
    }
    let checked = sos(&rig.manifests, &["validate", "."]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
}

#[test]
fn a_document_that_cannot_be_read_is_told_with_its_name() {
    let rig = Rig::of(&[]);
    std::fs::write(rig.manifests.join("broken.wsdl"), "<a").unwrap();
    let ran = sos(&rig.manifests, &["import", "wsdl", "broken.wsdl"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("broken.wsdl") && ran.stderr.contains("line 1"), "{}", ran.stderr);
}
