//! SOAP against servers that others wrote: spyne, npm's soap, Apache CXF, and WSDL documents of others.

mod corpus;
mod cxf;
mod sample;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use sos_call::soap::{Choice, Client, Clock, Password, Security};
use sos_call::{
    Address, Answer, Call, CallError, Documents, ErrorKind, Limits, Login, Secret, Settings, Transport, fetch,
};

use crate::skipped::skipped;
use crate::support::{Server, WAIT, closed_port, script_path, silent};

/// What `scripts/soap_peers.sh` has installed; `None`, and the test counts as skipped, where it cannot be had.
fn peer(which: &str) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/soap_peers.sh");
    let output = Command::new("bash").arg(script).arg(which).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()),
        Some(77) => {
            skipped(told.lines().last().unwrap_or("no peers"));
            None
        }
        _ => panic!("soap_peers.sh {which}: {told}"),
    }
}

fn spyne() -> Option<Server> {
    let mut command = Command::new(peer("spyne")?);
    command.arg(script_path("soap/spyne_server.py"));
    Some(Server::start(command, tempfile::tempdir().unwrap()).0)
}

fn node() -> Option<Server> {
    let folder = PathBuf::from(peer("node")?).join("node_modules");
    let mut command = Command::new("node");
    command.arg(script_path("soap/node_server.js")).arg(folder);
    Some(Server::start(command, tempfile::tempdir().unwrap()).0)
}

fn transport() -> Transport {
    Transport::new(&Settings::default()).unwrap()
}

async fn document(server: &Server, path: &str) -> Documents {
    let address = server.address(path);
    let fetched = fetch(&transport(), &address, &[], 1 << 22, WAIT).await.unwrap();
    Documents::one("service.wsdl", fetched.bytes)
}

async fn call_at(
    client: &Client,
    endpoint: &Address,
    operation: &str,
    input: &Value,
) -> Result<Answer, CallError> {
    let call = Call {
        endpoint,
        operation,
        input,
        headers: &[("x-trace".to_owned(), Secret::new("1"))],
        query: &[],
        timeout: WAIT,
        limits: Limits::default(),
    };
    client.call(&transport(), &call).await
}

async fn output(client: &Client, endpoint: &Address, operation: &str, input: Value) -> Value {
    let offered = client.contract().operation(operation).unwrap();
    let judge = jsonschema::draft202012::new(&offered.input).unwrap();
    assert!(judge.is_valid(&input), "{operation} {input}: {:?}", judge.validate(&input));
    let answer = call_at(client, endpoint, operation, &input)
        .await
        .unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let judge = jsonschema::draft202012::new(&offered.output).unwrap();
    assert!(judge.is_valid(&answer.output), "{operation} {}", answer.output);
    answer.output
}

fn reading() -> Value {
    json!({
        "@id": -7, "time": "2026-11-29T12:00:00+01:00", "energy": {"#text": 1.25, "@unit": "kWh"}, "quality": "estimated",
        "note": null, "tags": ["a<b", "ü"], "factors": {"double": [1, 0.5]}, "raw": "AP8=",
        "ordinal": "18446744073709551615", "exact": "0.12345678901234567890123456789", "good": false,
        "day": "2026-11-29", "clock": "12:30:00", "span": "P1DT2H", "key": "0123abcd-0000-4000-8000-0123456789ab",
    })
}

/// What spyne hands back of a time zone, an hour as seconds, is the same in other words.
fn without_times(mut value: Value) -> Value {
    for key in ["time", "span", "clock"] {
        value.as_object_mut().unwrap().remove(key).unwrap();
    }
    value
}

#[tokio::test]
async fn a_service_of_spyne_is_called_in_both_versions() {
    let Some(server) = spyne() else { return };
    for version in ["/11", "/12"] {
        let client =
            Client::read(&document(&server, &format!("{version}?wsdl")).await, &Choice::default()).unwrap();
        let at = server.address(version);
        assert!(client.contract().operations.len() >= 10, "{:?}", client.contract());
        let out = output(&client, &at, "readings", json!({"meter": "m1", "count": 3})).await;
        let list = out["readingsResult"]["Reading"].as_array().unwrap();
        assert_eq!(
            (list.len(), &list[2]["@id"], &list[2]["energy"]),
            (3, &json!(2), &json!({"#text": 1.5, "@unit": "kWh"}))
        );
        let out = output(&client, &at, "echo", json!({"reading": reading()})).await;
        assert_eq!(without_times(out["echoResult"].clone()), without_times(reading()));
        let out = output(&client, &at, "echo_bare", reading()).await;
        assert_eq!(without_times(out), without_times(reading()));
        let out = output(&client, &at, "total", json!({})).await;
        assert_eq!(out, json!({"totalResult": "123456789012345678901234567890"}));
        let out = output(&client, &at, "add", json!({"b": 2, "a": 9007199254740991_i64})).await;
        assert_eq!(out, json!({"sum": "9007199254740993", "words": "9007199254740991 and 2"}));
        let out = output(&client, &at, "add", json!({"b": null, "a": null})).await.is_object();
        assert!(out);
    }
}

#[tokio::test]
async fn spyne_gives_and_takes_derived_types_headers_and_any() {
    let Some(server) = spyne() else { return };
    let client = Client::read(&document(&server, "/11?wsdl").await, &Choice::default()).unwrap();
    let at = server.address("/11");
    let out = output(
        &client,
        &at,
        "assets",
        json!({"asset": {"@xsi:type": "Battery", "name": "mine", "capacity": 5}}),
    )
    .await;
    let list = out["assetsResult"]["Asset"].as_array().unwrap();
    assert_eq!(list[1], json!({"@xsi:type": "Battery", "name": "b", "capacity": 13.5}));
    assert_eq!(list[0], json!({"@xsi:type": "Battery", "name": "mine", "capacity": 5}));
    assert_eq!((&list[2]["@xsi:type"], &list[3]), (&json!("Panel"), &json!({"name": "a"})));
    let out = output(&client, &at, "whoami", json!({"$headers": {"Session": {"token": "t<1"}}})).await;
    assert_eq!(out, json!({"whoamiResult": "t<1", "$headers": {"Counted": {"calls": 7}}}));
    let answer = call_at(&client, &at, "whoami", &json!({})).await.unwrap();
    assert!(answer.headers.iter().any(|(name, _)| name == "soap:counted"), "{:?}", answer.headers);
    assert_eq!(answer.output["whoamiResult"], "nobody");
    let xml = json!({"#content": [{"#name": "{urn:o}e", "@k": "v", "#content": ["t"]}]});
    let out = output(&client, &at, "any", json!({"xml": xml})).await;
    assert_eq!(out["anyResult"], xml);
    let out = output(&client, &at, "nothing", json!({"value": null})).await;
    assert!(out["nothingResult"].is_null());
}

#[tokio::test]
async fn faults_of_spyne_are_told() {
    let Some(server) = spyne() else { return };
    for (version, client_code, server_code) in
        [("/11", "soap:Client.NoSuchMeter", "soap:Server"), ("/12", "soap:Sender", "soap:Receiver")]
    {
        let client =
            Client::read(&document(&server, &format!("{version}?wsdl")).await, &Choice::default()).unwrap();
        let at = server.address(version);
        let error = call_at(&client, &at, "refuse", &json!({"how": "fault"})).await.unwrap_err();
        let fault = error.fault.clone().unwrap_or_else(|| panic!("{error:?}"));
        assert!(error.message.contains("no meter m1") && fault.code.starts_with(client_code), "{error:?}");
        assert_eq!((error.kind, fault.status), (ErrorKind::Fault, 400), "{error:?}");
        assert!(fault.detail.to_string().contains("m1"), "{fault:?}");
        let error = call_at(&client, &at, "refuse", &json!({"how": "server"})).await.unwrap_err();
        let fault = error.fault.clone().unwrap_or_else(|| panic!("{error:?}"));
        assert!(fault.code.starts_with(server_code) && fault.status == 500, "{error:?}");
        assert!(error.message.contains("out of order"), "{error:?}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_sent() {
    let Some(server) = spyne() else { return };
    let client = Client::read(&document(&server, "/11?wsdl").await, &Choice::default()).unwrap();
    let at = server.address("/11");
    for (operation, input, place, says) in [
        ("readings", json!({"meter": "m", "count": 0}), "/count", "at least 1"),
        ("readings", json!({"meter": "m", "cuont": 1}), "/cuont", "`meter`, `count`"),
        (
            "echo",
            json!({"reading": {"note": null, "time": "today", "energy": {"#text": 1, "@unit": "x"}}}),
            "/reading/time",
            "a date and time",
        ),
        (
            "echo",
            json!({"reading": {"note": null, "time": "2026-11-29T12:00:00Z", "energy": {"#text": 1, "@unit": "toolong"}}}),
            "/reading/energy/@unit",
            "5 characters",
        ),
        ("whoami", json!({"$headers": {"Sesion": {}}}), "/$headers/Sesion", "`Session`"),
        ("whomai", json!({}), "", "`whoami`"),
    ] {
        let error = call_at(&client, &at, operation, &input).await.unwrap_err();
        assert_eq!(
            (error.kind, error.place.as_str(), error.operation.as_str()),
            (ErrorKind::BadInput, place, operation),
            "{error}"
        );
        assert!(error.message.contains(says), "{error}");
    }
}

fn security(password: Password, secret: &str) -> Security {
    #[expect(clippy::disallowed_methods, reason = "the server compares with the real time")]
    let clock: Clock = Arc::new(jiff::Timestamp::now);
    Security {
        login: Login { user: "ops".into(), password: Secret::new(secret) },
        password,
        timestamp: Some(std::time::Duration::from_secs(300)),
        must_understand: false,
        clock,
    }
}

fn prices() -> Client {
    let text = std::fs::read(script_path("soap/price.wsdl")).unwrap();
    Client::read(&Documents::one("price.wsdl", text), &Choice::default()).unwrap()
}

#[tokio::test]
async fn a_service_of_npm_checks_the_user() {
    let Some(server) = node() else { return };
    let input = json!({"zone": "CH", "hours": [10, 20, 30]});
    let closed = server.address("/closed");
    for password in [Password::Text, Password::Digest] {
        let client = prices().with_security(security(password, "hunter2"));
        let out = output(&client, &closed, "Price", input.clone()).await;
        assert_eq!(out, json!({"price": 15, "zone": "CH", "at": "2026-11-29T12:00:00Z"}));
        let wrong = prices().with_security(security(password, "hunter3"));
        let error = call_at(&wrong, &closed, "Price", &input).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Fault, "{error:?}");
        assert!(!format!("{error:?} {wrong:?}").contains("hunter3"), "{error:?}");
    }
    let error = call_at(&prices(), &closed, "Price", &input).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fault, "{error:?}");
}

#[tokio::test]
async fn faults_one_way_calls_and_missing_pages_of_npm() {
    let Some(server) = node() else { return };
    let (client, open) = (prices(), server.address("/open"));
    let out = output(&client, &open, "Price", json!({"zone": "DE", "hours": [1]})).await;
    assert_eq!(out["price"], 0.25);
    let error =
        call_at(&client, &open, "Price", &json!({"zone": "nowhere", "hours": [1]})).await.unwrap_err();
    let fault = error.fault.unwrap();
    assert_eq!((fault.code.as_str(), fault.status, fault.temporary), ("soap:Client", 400, false));
    // It writes the detail without the namespace that the document has, so it is told as what it is.
    assert_eq!(fault.detail["#any"][0]["#name"], "UnknownZone", "{:?}", fault.detail);
    let answer = call_at(&client, &open, "Touch", &json!("x")).await.unwrap();
    assert_eq!(answer.output, Value::Null);
    let error = call_at(&client, &server.address("/elsewhere"), "Touch", &json!("x")).await.unwrap_err();
    let fault = error.fault.unwrap();
    assert_eq!((error.kind, fault.code.as_str(), fault.status), (ErrorKind::Fault, "404", 404));
}

#[tokio::test]
async fn services_that_are_down_or_silent() {
    let client = prices();
    let at = |port: u16| Address::parse(&format!("http://127.0.0.1:{port}/SECRET")).unwrap();
    let error = call_at(&client, &at(closed_port()), "Touch", &json!("x")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    let (_listener, port) = silent();
    let endpoint = at(port);
    let call = Call {
        endpoint: &endpoint,
        operation: "Touch",
        input: &json!("x"),
        headers: &[],
        query: &[],
        timeout: crate::support::SHORT,
        limits: Limits::default(),
    };
    let error = client.call(&transport(), &call).await.unwrap_err();
    assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::TimedOut, "Touch"), "{error}");
    assert!(error.message.contains("0.3 s") && !error.to_string().contains("SECRET"), "{error}");
}
