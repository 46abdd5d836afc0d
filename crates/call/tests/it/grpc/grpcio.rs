//! Against servers by grpcio.

use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sos_call::grpc::{Client, Serving, health};
use sos_call::{
    Address, Call, Documents, ErrorKind, Identity, Limits, Secret, Settings, Streaming, Transport, Trust,
    Version,
};

use super::{call, client, grpcio_server, has_certificates, soon, transport};
use crate::support::{Server, WAIT, certificates, closed_port, silent, trust};

fn secrets(all: &[(&str, &str)]) -> Vec<(String, Secret)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
}

/// Waits until the server has noted what became of a call.
async fn noted(server: &Server, text: &str) {
    let start = Instant::now();
    while !server.log().iter().any(|note| note["over"] == text) {
        assert!(start.elapsed() < WAIT, "{:?}", server.log());
        tokio::time::sleep(Duration::from_millis(10)).await; // between two looks
    }
}

#[tokio::test]
async fn all_four_kinds_are_called() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    for (operation, input, output) in [
        ("Bench/Unary", json!({ "text": "ä", "number": 7 }), json!("7")),
        ("Count", json!({ "number": "3" }), json!([null, "1", "2"])),
        ("Sum", json!([{ "number": 1 }, { "number": "2" }, { "number": 3.0 }]), json!("6")),
        ("Echo", json!([{ "text": "a" }, { "text": "b" }]), json!([null, "1"])),
        ("Count", json!({}), json!([])),
        ("Echo", json!([]), json!([])),
    ] {
        let answer = client.call(&transport, &call(&endpoint, operation, &input)).await.unwrap();
        let number = |told: &Value| told.get("number").cloned().unwrap_or_default();
        let numbers = match &answer.output {
            Value::Array(all) => all.iter().map(number).collect(),
            one => number(one),
        };
        assert_eq!((numbers, answer.status.as_str()), (output, "OK"), "{operation}");
    }
    let input = json!({ "text": "ä" });
    let full = client.call(&transport, &call(&endpoint, "bench.v1.Bench/Unary", &input)).await.unwrap();
    assert_eq!(full.output["text"], "ä");
    let error = client.call(&transport, &call(&endpoint, "bench.v1.Other/Unary", &input)).await.unwrap_err();
    assert_eq!(error.fault.unwrap().code, "UNIMPLEMENTED");
}

#[tokio::test]
async fn metadata_goes_both_ways() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    let headers = secrets(&[("X-Key", "a b"), ("x-two", "1"), ("x-two", "2"), ("x-raw-bin", "AP8=")]);
    let input = json!({ "number": 1 });
    for operation in ["Bench/Unary", "Count"] {
        let call = Call { headers: &headers, ..call(&endpoint, operation, &input) };
        let answer = client.call(&transport, &call).await.unwrap();
        let all = |name: &str| -> Vec<&str> {
            answer
                .headers
                .iter()
                .filter(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
                .collect()
        };
        assert_eq!((all("x-key"), all("x-trailer-key")), (vec!["a b"], vec!["a b"]));
        let two = all("x-two").join(",").replace(' ', "");
        assert_eq!((two.as_str(), all("x-raw-bin")), ("1,2", vec!["AP8"]));
    }
}

#[tokio::test]
async fn inputs_and_outputs_interleave() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    let (mut inputs, coming) = mpsc::channel(0);
    let headers = secrets(&[("x-key", "1")]);
    let call = Call { headers: &headers, ..call(&endpoint, "Echo", &Value::Null) };
    let mut outputs = client.stream(&transport, &call, coming).await.unwrap();
    for text in ["a", "b", "c"] {
        inputs.send(json!({ "text": text })).await.unwrap();
        assert_eq!(outputs.next().await.unwrap().unwrap()["text"], text);
    }
    assert!(outputs.headers().await.unwrap().contains(&("x-key".to_owned(), "1".to_owned())));
    assert!(outputs.trailers().is_empty());
    drop(inputs);
    assert_eq!(outputs.next().await, None);
    assert!(outputs.trailers().contains(&("x-trailer-key".to_owned(), "1".to_owned())));
    assert_eq!(outputs.next().await, None);
}

#[tokio::test]
async fn an_input_that_does_not_fit_ends_the_call_with_its_place() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    let inputs = futures::stream::iter([json!({ "number": 1 }), json!({ "number": "x" })]);
    let mut outputs = client.stream(&transport, &call(&endpoint, "Sum", &Value::Null), inputs).await.unwrap();
    let error = outputs.next().await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind, error.place.as_str(), error.operation.as_str()),
        (ErrorKind::BadInput, "/1/number", "Sum")
    );
    for (operation, input, place) in [
        ("Sum", json!([{}, { "numbr": 1 }]), "/1/numbr"),
        ("Sum", json!({}), ""),
        ("Bench/Unary", json!({ "text": 1 }), "/text"),
        ("Unary", json!({}), ""),
    ] {
        let error = client.call(&transport, &call(&endpoint, operation, &input)).await.unwrap_err();
        assert_eq!((error.kind, error.place.as_str()), (ErrorKind::BadInput, place), "{error}");
    }
    let key = secrets(&[("key", "SECRET")]);
    let call = Call { query: &key, ..call(&endpoint, "Sum", &Value::Null) };
    let error = client.call(&transport, &call).await.unwrap_err();
    assert!(error.place == "query key" && !error.to_string().contains("SECRET"), "{error}");
}

#[tokio::test]
async fn faults_come_with_their_details() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    let input =
        json!({ "text": "no höme\n50% off", "fail": "RESOURCE_EXHAUSTED", "details": true, "number": 2 });
    for operation in ["Bench/Unary", "Count"] {
        let error = client.call(&transport, &call(&endpoint, operation, &input)).await.unwrap_err();
        assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Fault, operation));
        assert_eq!(error.message, "RESOURCE_EXHAUSTED: no höme\n50% off");
        assert_eq!(error.retry_after, Some(Duration::from_millis(2500)));
        let fault = error.fault.unwrap();
        assert_eq!((fault.code.as_str(), fault.status, fault.temporary), ("RESOURCE_EXHAUSTED", 429, true));
        let url = |name: &str| format!("type.googleapis.com/{name}");
        let expected = json!([
            { "@type": url("google.rpc.ErrorInfo"), "reason": "NO_POWER", "domain": "example.org", "metadata": { "home": "1" } },
            { "@type": url("google.rpc.RetryInfo"), "retryDelay": "2.500s" },
            { "@type": url("google.rpc.BadRequest"), "fieldViolations": [{ "field": "power", "description": "too much" }] },
            { "@type": url("bench.v1.Told"), "text": "of our own" },
            { "@type": url("no.Such"), "value": "CAE=" },
        ]);
        assert_eq!(fault.detail, expected);
    }
    // Outputs before the fault are there for those who look at them one by one.
    let inputs = futures::stream::iter([input]);
    let mut outputs =
        client.stream(&transport, &call(&endpoint, "Count", &Value::Null), inputs).await.unwrap();
    assert!(outputs.next().await.unwrap().is_ok() && outputs.next().await.unwrap().is_ok());
    assert_eq!(outputs.next().await.unwrap().unwrap_err().fault.unwrap().code, "RESOURCE_EXHAUSTED");
    assert_eq!(outputs.next().await, None);
}

#[tokio::test]
async fn the_server_knows_the_deadline_and_both_keep_it() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    let input = json!({ "number": 1 });
    let timed = Call { timeout: Duration::from_secs(20), ..call(&endpoint, "Bench/Unary", &input) };
    let left =
        client.call(&transport, &timed).await.unwrap().output["leftMs"].as_str().unwrap().parse::<i64>();
    assert!((1000..=20_000).contains(left.as_ref().unwrap()), "{left:?}");
    let endless = Call { timeout: Duration::MAX, ..timed };
    assert_eq!(client.call(&transport, &endless).await.unwrap().output["leftMs"], "-1");
    let time = Duration::from_millis(300);
    for operation in ["Bench/Unary", "Count"] {
        let input = json!({ "text": operation, "number": 1, "hang": true });
        let start = Instant::now();
        let hanging = Call { timeout: time, ..call(&endpoint, operation, &input) };
        let error = client.call(&transport, &hanging).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut, "{error}");
        let mut outputs =
            client.stream(&transport, &hanging, futures::stream::iter([input.clone()])).await.unwrap();
        let last = loop {
            match outputs.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(last.kind == ErrorKind::TimedOut && start.elapsed() < soon(time * 2), "{last}");
        noted(&server, operation).await;
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_on_the_server_too() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    // While inputs could still come.
    let (mut inputs, coming) = mpsc::channel(0);
    let mut outputs =
        client.stream(&transport, &call(&endpoint, "Echo", &Value::Null), coming).await.unwrap();
    inputs.send(json!({ "text": "streamed", "hang": true })).await.unwrap();
    assert!(outputs.next().await.unwrap().is_ok());
    drop(outputs);
    noted(&server, "streamed").await;
    let input = json!({ "text": "called", "hang": true });
    let call = call(&endpoint, "Bench/Unary", &input);
    let called = tokio::time::timeout(Duration::from_millis(300), client.call(&transport, &call)).await;
    assert!(called.is_err());
    noted(&server, "called").await;
    // What is read inputs from is let go.
    assert!(inputs.send(json!({})).await.is_err());
}

#[tokio::test]
async fn gzip_goes_both_ways() {
    let Some(server) = grpcio_server(&["--gzip"]) else { return };
    let (client, transport, endpoint) = (client().with_gzip(true), transport(), server.address(""));
    let input = json!({ "text": "x".repeat(10_000), "number": 2, "padding": 100_000 });
    for (operation, input) in
        [("Bench/Unary", input.clone()), ("Count", input.clone()), ("Sum", json!([input, input]))]
    {
        let answer = client.call(&transport, &call(&endpoint, operation, &input)).await.unwrap();
        let one = answer.output.as_array().map_or(&answer.output, |all| &all[0]);
        assert_eq!(one["text"].as_str().unwrap().len(), 10_000);
        assert_eq!(one["padding"].as_str().unwrap().len(), 133_336);
    }
    // What it becomes counts, not what arrives.
    let limits = Limits { bytes: 50_000, ..Limits::default() };
    let call = Call { limits, ..call(&endpoint, "Bench/Unary", &input) };
    let error = client.call(&transport, &call).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
}

#[tokio::test]
async fn answers_have_bounds() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    let limits = Limits { bytes: 10_000, messages: 100, ..Limits::default() };
    for (input, place, words) in [
        (json!({ "number": 1_000_000_000 }), "/100", "at most 100 messages"),
        (json!({ "number": 1_000_000_000, "padding": 5000 }), "/7", "40000 bytes together"),
        (json!({ "number": 1, "padding": 20_000 }), "", "longer than 10000 bytes"),
    ] {
        let call = Call { limits, ..call(&endpoint, "Count", &input) };
        let error = client.call(&transport, &call).await.unwrap_err();
        assert!(error.kind == ErrorKind::TooLarge && error.message.contains(words), "{error}");
        assert_eq!(error.place, place);
    }
    // One by one there is no bound on how many.
    let input = json!({ "number": 1000 });
    let call = Call { limits, ..call(&endpoint, "Count", &Value::Null) };
    let outputs = client.stream(&transport, &call, futures::stream::iter([input])).await.unwrap();
    assert_eq!(outputs.filter(|output| futures::future::ready(output.is_ok())).count().await, 1000);
}

#[tokio::test]
async fn a_server_describes_itself() {
    let of_files = client();
    for version in ["v1", "v1alpha"] {
        let Some(server) = grpcio_server(&["--reflection", version]) else { return };
        let (transport, endpoint) = (transport(), server.address(""));
        let reflected = Client::reflect(&transport, &endpoint, &[], WAIT).await.unwrap();
        let contract = reflected.contract();
        let names: Vec<&str> = contract.operations.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["Bench/Unary", "Count", "Sum", "Echo", "Convert", "Other/Unary"]);
        let stored = Client::read(&Documents::one("bench.pb", reflected.descriptor_set())).unwrap();
        for other in [stored.contract(), of_files.contract()] {
            for (a, b) in contract.operations.iter().zip(&other.operations) {
                assert_eq!(
                    (&a.name, &a.path, a.streaming, a.repeatable),
                    (&b.name, &b.path, b.streaming, b.repeatable)
                );
            }
        }
        assert_eq!(stored.contract().operations, contract.operations);
        assert_eq!(contract.operation("Echo").unwrap().streaming, Streaming::Both);
        let input = json!({ "number": 5 });
        let answer = stored.call(&transport, &call(&endpoint, "Bench/Unary", &input)).await.unwrap();
        assert_eq!(answer.output["number"], "5");
    }
    let Some(server) = grpcio_server(&["--reflection", "none"]) else { return };
    let error = Client::reflect(&transport(), &server.address(""), &[], WAIT).await.unwrap_err();
    assert_eq!(error.fault.unwrap().code, "UNIMPLEMENTED");
}

#[tokio::test]
async fn health_is_told_by_service() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (transport, endpoint) = (transport(), server.address(""));
    for (service, serving) in [
        ("", Serving::Serving),
        ("bench.v1.Bench", Serving::Serving),
        ("bench.v1.Other", Serving::NotServing),
        ("no.Such", Serving::NoSuchService),
    ] {
        let told = health(&transport, &endpoint, &[], service, WAIT).await.unwrap();
        assert_eq!(told, serving, "{service}");
    }
}

#[tokio::test]
async fn what_is_converted_here_python_understands_the_same() {
    let Some(server) = grpcio_server(&[]) else { return };
    let (client, transport, endpoint) = (client(), transport(), server.address(""));
    for input in everything() {
        let answer = client.call(&transport, &call(&endpoint, "Convert", &input)).await.unwrap();
        let python: Value = serde_json::from_str(answer.output["json"].as_str().unwrap()).unwrap();
        assert_eq!(answer.output["back"], python, "{input}");
    }
}

/// Values that use each kind of field, at their limits too.
fn everything() -> Vec<Value> {
    vec![
        json!({ "yes": true, "small": i32::MIN, "large": i64::MIN.to_string(), "smallUnsigned": u32::MAX, "largeUnsigned": u64::MAX.to_string() }),
        json!({ "single": 0.1, "precise": 1e-300, "text": "ä\u{0}\u{1F600}", "raw": "AP/+", "colour": "GREEN", "renamed": "x" }),
        json!({ "single": "Infinity", "precise": "-Infinity", "series": ["NaN", 1.5, 0.1, 1e21] }),
        json!({ "single": 3.4e38, "precise": 5e-324, "wrappedFloat": 16_777_216.0 }),
        json!({ "child": { "child": {} }, "numbers": [0, -1], "children": [{}, { "small": 1 }], "colours": ["RED", 42] }),
        json!({ "byName": { "a": 1.0, "": -0.5 }, "byNumber": { "-5": { "yes": true } }, "byTruth": { "true": "t", "false": "f" } }),
        json!({ "word": "" }),
        json!({ "whole": {}, "perhaps": 0 }),
        json!({ "at": "1969-12-31T23:59:59.000001Z", "lasts": "-0.000000001s", "mask": "smallUnsigned,child.byName" }),
        json!({ "at": "9999-12-31T23:59:59.999999999Z", "lasts": "315576000000s" }),
        json!({ "free": { "a": [null, 1.5, "x", { "b": true }, []] }, "value": null, "list": [[], {}, "y"] }),
        json!({ "value": { "nested": [1.0, { "x": null }] } }),
        json!({ "any": { "@type": "type.googleapis.com/bench.v1.Ask", "text": "x", "number": "3" } }),
        json!({ "any": { "@type": "type.googleapis.com/google.protobuf.Timestamp", "value": "2016-08-03T18:00:00Z" } }),
        json!({ "any": { "@type": "type.googleapis.com/google.protobuf.Struct", "value": { "a": 1.0 } } }),
        json!({ "wrapped": "0", "wrappedFloat": 0.1, "wrappedBytes": "", "wrappedText": "", "wrappedTruth": false, "wrappedSmall": 0 }),
        json!({ "zigzag": -2_147_483_648, "longZigzag": "-9223372036854775808", "fixedSmall": 4_294_967_295_u32, "fixed": "18446744073709551615", "signedFixedSmall": -1, "signedFixed": "-1" }),
    ]
}

async fn secured(
    server: &Server,
    trust: Trust,
    identity: Option<Identity>,
) -> Result<Value, sos_call::CallError> {
    let settings = Settings { version: Version::Http2, trust, identity, ..Settings::default() };
    let endpoint = Address::parse(&format!("https://localhost:{}", server.port)).unwrap();
    let input = json!({ "number": 4 });
    let answer =
        client().call(&Transport::new(&settings).unwrap(), &call(&endpoint, "Bench/Unary", &input)).await?;
    Ok(answer.output["number"].clone())
}

#[tokio::test]
async fn tls_checks_both_sides() {
    if !has_certificates() {
        return;
    }
    let Some(folder) = certificates() else { return };
    let path = folder.path().to_str().unwrap();
    let ours = || trust(&folder, "authority.pem");
    let Some(server) = grpcio_server(&["--certificates", path]) else { return };
    assert_eq!(secured(&server, ours(), None).await.unwrap(), "4");
    let error = secured(&server, trust(&folder, "other.pem"), None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.place.starts_with("https://localhost:"), "{error}");

    let Some(server) = grpcio_server(&["--certificates", path, "--client-certificates"]) else { return };
    let identity = |name: &str| {
        let read = |file: String| std::fs::read(folder.path().join(file)).unwrap();
        let key = String::from_utf8(read(format!("{name}-key.pem"))).unwrap();
        Some(Identity { certificates: read(format!("{name}.pem")), key: Secret::new(key) })
    };
    assert_eq!(secured(&server, ours(), identity("client")).await.unwrap(), "4");
    for refused in [None, identity("other-client")] {
        let error = secured(&server, ours(), refused).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Broken), "{error}");
    }
}

#[tokio::test]
async fn servers_that_are_not_there_or_say_nothing_are_told_apart() {
    let (client, transport) = (client(), transport());
    let input = json!({});
    let nobody = Address::parse(&format!("http://127.0.0.1:{}", closed_port())).unwrap();
    let error = client.call(&transport, &call(&nobody, "Bench/Unary", &input)).await.unwrap_err();
    assert!(error.kind == ErrorKind::Unreachable && error.place == nobody.to_string(), "{error}");
    let (_listener, port) = silent();
    let silent = Address::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let time = Duration::from_millis(300);
    let start = Instant::now();
    let call = Call { timeout: time, ..call(&silent, "Bench/Unary", &input) };
    assert_eq!(client.call(&transport, &call).await.unwrap_err().kind, ErrorKind::TimedOut);
    assert_eq!(Client::reflect(&transport, &silent, &[], time).await.unwrap_err().kind, ErrorKind::TimedOut);
    assert_eq!(health(&transport, &silent, &[], "", time).await.unwrap_err().kind, ErrorKind::TimedOut);
    assert!(start.elapsed() < soon(time * 3));
}
