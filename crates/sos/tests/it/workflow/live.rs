//! Workflows that call servers which others wrote: grpcio, spyne, httpbin; and functions of a catalogue.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::peers::{Peer, path};
use super::stub;
use crate::peers::python_with;
use crate::skipped::skipped;

/// What a workflow of these tasks comes to, in a folder.
fn run(folder: &Path, rest: &str, input: &Value) -> Result<Value, Value> {
    let head = "document: {dsl: '1.0.3', namespace: test, name: live, version: '1.0.0'}\n";
    let file = folder.join("w.yaml");
    std::fs::write(&file, format!("{head}{rest}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
    command.arg("run").arg(&file).args(["--timeout", "60s", "--input", &input.to_string()]);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    match done.status.code() {
        Some(0) => Ok(serde_json::from_slice(&done.stdout).unwrap()),
        _ => Err(serde_json::from_str(said.lines().last().unwrap()).unwrap_or_else(|_| panic!("{said}"))),
    }
}

#[test]
fn grpc_is_called_by_its_protocol_file_with_credentials_and_its_errors_can_be_caught() {
    let Some(python) = python_with("grpc-peers.txt") else { return };
    let server = Peer::script(&python, &path("grpc_server.py"), &[]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(path("bench.proto"), folder.path().join("bench.proto")).unwrap();
    let rest = format!(
        "use:
  authentications: {{who: {{bearer: {{token: '${{ .token }}'}}}}}}
do:
- asks:
    call: grpc
    with:
      proto: {{endpoint: 'file://bench.proto'}}
      service: {{name: bench.v1.Bench, host: 127.0.0.1, port: {0}, authentication: {{use: who}}}}
      method: Unary
      arguments: {{text: '${{ .text }}', number: 7}}
    export: {{as: '{{ told: . }}'}}
- fails:
    try:
    - bad:
        call: grpc
        with:
          proto: {{endpoint: 'file://bench.proto'}}
          service: {{name: bench.v1.Bench, host: 127.0.0.1, port: {0}}}
          method: Unary
          arguments: {{text: no power, fail: UNAVAILABLE}}
    catch:
      as: error
      do:
      - note: {{set: '${{ {{ told: $context.told, error: $error }} }}'}}
",
        server.port
    );
    let output = run(folder.path(), &rest, &json!({"text": "ä", "token": "t0k"})).unwrap();
    assert_eq!((&output["told"]["text"], &output["told"]["number"]), (&json!("ä"), &json!("7")));
    assert_eq!(output["error"]["status"], 503, "{output}");
    let detail = output["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("no power") && detail.contains("UNAVAILABLE"), "{detail}");
}

#[test]
fn soap_is_called_by_its_document() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/soap_peers.sh");
    let made = Command::new("bash").arg(script).arg("spyne").output().unwrap();
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr).into_owned();
        return skipped(why.lines().last().unwrap_or("no peers"));
    }
    let python = String::from_utf8(made.stdout).unwrap().lines().last().unwrap().to_owned();
    let mut command = Command::new(python);
    command.arg(path("soap/spyne_server.py"));
    let server = Peer::start(command);
    let folder = tempfile::tempdir().unwrap();
    let call = |operation: &str, input: &str| {
        format!(
            "    call: soap:1.0.0@default\n    with: {{wsdl: {{endpoint: 'http://127.0.0.1:{}/11?wsdl'}}, operation: {operation}, input: {input}}}\n",
            server.port
        )
    };
    let rest = format!(
        "do:\n- reads:\n{}    output: {{as: .readingsResult.Reading}}\n- adds:\n{}",
        call("readings", "{meter: '${ .meter }', count: 2}"),
        call("add", "{a: '${ length }', b: 40}")
    );
    let output = run(folder.path(), &rest, &json!({"meter": "m1"})).unwrap();
    assert_eq!((&output["sum"], &output["words"]), (&json!(42), &json!("2 and 40")));
    let fault = run(folder.path(), &format!("do:\n- bad:\n{}", call("refuse", "{how: fault}")), &json!({}))
        .unwrap_err();
    assert!(fault["type"].as_str().unwrap().ends_with("/communication"), "{fault}");
    assert!(fault["detail"].as_str().unwrap().contains("there is no meter m1"), "{fault}");
    let wrong = format!("do:\n- bad:\n{}", call("readings", "{meter: m1, count: 1000}"));
    let fault = run(folder.path(), &wrong, &json!({})).unwrap_err();
    assert_eq!(fault["instance"], "/do/0/bad", "{fault}");
}

#[test]
fn digests_are_answered() {
    let Some(python) = python_with("credential-peers.txt") else { return };
    let server = Peer::script(&python, &path("digest_server.py"), &[]);
    let folder = tempfile::tempdir().unwrap();
    let call = |algorithm: &str, password: &str| {
        format!(
            "do:\n- asks: {{call: http, with: {{method: get, endpoint: {{uri: 'http://127.0.0.1:{}/digest-auth/auth/ops/hunter2/{algorithm}', authentication: {{digest: {{username: ops, password: {password}}}}}}}}}}}\n",
            server.port
        )
    };
    for algorithm in ["MD5", "SHA-256"] {
        let output = run(folder.path(), &call(algorithm, "hunter2"), &json!({})).unwrap();
        assert_eq!(output, json!({"authenticated": true, "user": "ops"}));
        let fault = run(folder.path(), &call(algorithm, "SECRETWORD"), &json!({})).unwrap_err();
        assert_eq!(fault["status"], 401);
        assert!(!fault.to_string().contains("SECRETWORD"), "{fault}");
    }
}

#[test]
fn functions_of_a_catalogue_are_fetched_once_each() {
    let (port, asked) = stub::plain();
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "use: {{catalogs: {{ours: {{endpoint: {{uri: 'http://127.0.0.1:{port}/catalog'}}}}}}}}
do:
- greets: {{call: 'greet:1.0.0@ours', with: {{name: '${{ .name }}'}}}}
- again: {{call: 'twice:2.0.0@ours', with: {{name: '${{ .greeting }}'}}}}
"
    );
    let output = run(folder.path(), &rest, &json!({"name": "Anna"})).unwrap();
    assert_eq!(output, json!({"greeting": "Hello Hello Hello Anna"}));
    let mut paths: Vec<String> = asked.heard.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    paths.sort();
    assert_eq!(
        paths,
        ["/catalog/functions/greet/1.0.0/function.yaml", "/catalog/functions/twice/2.0.0/function.yaml"],
        "each once"
    );
    let fault = run(folder.path(), &rest, &json!({"name": 5})).unwrap_err();
    assert!(fault["type"].as_str().unwrap().ends_with("/validation"), "{fault}");
}
