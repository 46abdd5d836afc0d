use std::io::Write;

use prost::Message;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{otlp_messages as messages, server::Server};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

async fn send(server: &Server, kind: &str, body: Vec<u8>) -> Response {
    let request = server.ask(Method::POST, "/v1/metrics").bearer_auth("operator-token");
    request.header("content-type", kind).body(body).send().await.unwrap()
}

fn ingested(server: &Server) -> Vec<String> {
    let known = server.fake.ingested.lock().unwrap();
    let mut all: Vec<_> = known.iter().map(|(text, samples)| format!("{text} {samples:?}")).collect();
    all.sort();
    all
}

fn attribute(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": value })
}

/// One resource with metrics of every form.
fn request() -> Value {
    let time = "1700000000123456789";
    let point = |extra: Value| {
        let mut point = json!({ "timeUnixNano": time, "attributes": [attribute("http.method", json!({ "stringValue": "GET\n<b>" }))] });
        point.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        point
    };
    json!({ "resourceMetrics": [{
        "resource": { "attributes": [
            attribute("service.name", json!({ "stringValue": "meter" })),
            attribute("service.namespace", json!({ "stringValue": "plant" })),
            attribute("service.instance.id", json!({ "stringValue": "m-1" })),
            attribute("host.cores", json!({ "intValue": "4" })),
            attribute("host.tags", json!({ "arrayValue": { "values": [{ "stringValue": "a" }, { "boolValue": true }] } })),
        ] },
        "scopeMetrics": [{ "scope": { "name": "lib" }, "metrics": [
            { "name": "battery.charge", "unit": "1", "description": "how full", "gauge": { "dataPoints": [point(json!({ "asDouble": 0.5 }))] } },
            { "name": "energy.imported", "unit": "J", "sum": { "aggregationTemporality": 2, "isMonotonic": true,
                "dataPoints": [point(json!({ "asInt": "7" }))] } },
            { "name": "queue.length", "sum": { "aggregationTemporality": 2, "isMonotonic": false,
                "dataPoints": [point(json!({ "asInt": -3 })), point(json!({ "flags": 1 }))] } },
            { "name": "http.server.duration", "unit": "s", "histogram": { "aggregationTemporality": 2, "dataPoints": [
                point(json!({ "count": "6", "sum": 1.5, "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.1, 1] }))] } },
            { "name": "rpc.size", "unit": "By", "summary": { "dataPoints": [
                point(json!({ "count": 2, "sum": 10.0, "quantileValues": [{ "quantile": 0.5, "value": 4.0 }] }))] } },
        ] }],
    }] })
}

const T: &str = "(1700000000123";

fn expected() -> Vec<String> {
    let labels = r#"http_method="GET\n<b>",instance="m-1",job="plant/meter""#;
    let le = |le: &str| format!(r#"http_method="GET\n<b>",instance="m-1",job="plant/meter",le="{le}""#);
    let mut all = vec![
        format!("battery_charge_ratio{{{labels}}} [{T}, 0.5)]"),
        format!("energy_imported_joules_total{{{labels}}} [{T}, 7.0)]"),
        format!("queue_length{{{labels}}} [{T}, -3.0)]"),
        format!("queue_length{{{labels}}} [{T}, NaN)]"),
        format!("http_server_duration_seconds_sum{{{labels}}} [{T}, 1.5)]"),
        format!("http_server_duration_seconds_count{{{labels}}} [{T}, 6.0)]"),
        format!("http_server_duration_seconds_bucket{{{}}} [{T}, 1.0)]", le("0.1")),
        format!("http_server_duration_seconds_bucket{{{}}} [{T}, 3.0)]", le("1")),
        format!("http_server_duration_seconds_bucket{{{}}} [{T}, 6.0)]", le("+Inf")),
        format!("rpc_size_bytes_sum{{{labels}}} [{T}, 10.0)]"),
        format!("rpc_size_bytes_count{{{labels}}} [{T}, 2.0)]"),
        format!(r#"rpc_size_bytes{{{labels},quantile="0.5"}} [{T}, 4.0)]"#),
        format!(
            r#"target_info{{host_cores="4",host_tags="[\"a\",true]",instance="m-1",job="plant/meter"}} [{T}, 1.0)]"#
        ),
    ];
    all.sort();
    all
}

#[tokio::test]
async fn metrics_in_json_become_series_as_prometheus_names_them() {
    let server = Server::start().await;
    let response = send(&server, JSON, request().to_string().into_bytes()).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
        (200, JSON)
    );
    assert_eq!(response.json::<Value>().await.unwrap(), json!({}));
    assert_eq!(ingested(&server), expected());
    let described = server.fake.described.lock().unwrap().clone();
    assert!(described.contains(&r#"battery_charge_ratio gauge "how full" "1""#.to_owned()), "{described:?}");
    assert!(
        described.contains(&r#"energy_imported_joules_total counter "" "J""#.to_owned()),
        "{described:?}"
    );
}

#[tokio::test]
async fn metrics_in_protobuf_become_the_same_series() {
    let server = Server::start().await;
    let response = send(&server, PROTOBUF, messages::request().encode_to_vec()).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
        (200, PROTOBUF)
    );
    assert!(response.bytes().await.unwrap().is_empty());
    assert_eq!(ingested(&server), expected());
}

#[tokio::test]
async fn packed_requests_are_unpacked_up_to_their_bound() {
    let server = Server::start().await;
    let gzip = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let send = |encoding: &'static str, body: Vec<u8>| {
        let request = server.ask(Method::POST, "/api/v1/otlp/v1/metrics").bearer_auth("operator-token");
        request.header("content-type", JSON).header("content-encoding", encoding).body(body).send()
    };
    assert_eq!(send("gzip", gzip(request().to_string().as_bytes())).await.unwrap().status(), 200);
    assert_eq!(ingested(&server), expected());
    let bomb = send("gzip", gzip(&vec![b' '; 64 * 1024 * 1024])).await.unwrap();
    assert_eq!(bomb.status(), 413);
    assert!(bomb.json::<Value>().await.unwrap()["message"].as_str().unwrap().contains("4194304 bytes"));
    let none = send("gzip", b"{}".to_vec()).await.unwrap();
    assert_eq!(none.status(), 400);
    assert_eq!(send("zstd", b"{}".to_vec()).await.unwrap().status(), 415);
    assert_eq!(send("identity", b"{}".to_vec()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_cannot_be_kept_is_a_partial_success() {
    let server = Server::start().await;
    let point = json!({ "timeUnixNano": "1700000000000000000", "asDouble": 1.0 });
    let delta = json!({ "name": "delta", "sum": { "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point, point] } });
    let exponential = json!({ "name": "exp", "exponentialHistogram": { "aggregationTemporality": 2, "dataPoints": [{ "scale": 3 }] } });
    let odd = json!({ "name": "odd", "histogram": { "aggregationTemporality": 2,
        "dataPoints": [{ "timeUnixNano": "1700000000000000000", "bucketCounts": ["1"], "explicitBounds": [1, 2] }] } });
    let timeless = json!({ "name": "timeless", "gauge": { "dataPoints": [{ "asInt": "1" }] } });
    let refused = json!({ "name": "one.too.many", "gauge": { "dataPoints": [point] } });
    let good = json!({ "name": "good", "gauge": { "dataPoints": [point] } });
    let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [delta, exponential, odd, timeless, refused, good] }] }] });
    let answer: Value = send(&server, JSON, body.to_string().into_bytes()).await.json().await.unwrap();
    let partial = &answer["partialSuccess"];
    assert_eq!(partial["rejectedDataPoints"], "6");
    let text = partial["errorMessage"].as_str().unwrap();
    for part in [
        "2: `delta` has delta temporality",
        "exponential histogram",
        "2 bounds and 1 buckets",
        "timeless without a time",
        "too many series",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(ingested(&server), ["good{} [(1700000000000, 1.0)]"]);

    let bytes = send(&server, PROTOBUF, messages::exponential().encode_to_vec()).await.bytes().await.unwrap();
    let answer = messages::Answer::decode(bytes).unwrap().partial_success.unwrap();
    assert_eq!(answer.rejected_data_points, 3);
    assert!(answer.error_message.contains("exponential histogram"));
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_its_own_form() {
    let server = Server::start().await;
    for (body, part) in [
        ("{", "EOF"),
        ("7", "JSON"),
        (
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":{"dataPoints":[{"asInt":"x"}]}}]}]}]}"#,
            "64 bits",
        ),
        (
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asDouble":"x"}]}}]}]}]}"#,
            "Infinity",
        ),
    ] {
        let response = send(&server, JSON, body.as_bytes().to_vec()).await;
        assert_eq!(response.status(), 400, "{body}");
        let status: Value = response.json().await.unwrap();
        assert_eq!(status["code"], 3);
        assert!(status["message"].as_str().unwrap().contains(part), "{status}");
    }
    let deep = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"a","value":{}}}]}}}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(200)
    );
    assert_eq!(send(&server, JSON, deep.into_bytes()).await.status(), 400);
    let wrong = send(&server, PROTOBUF, vec![10, 200, 1]).await;
    assert_eq!(wrong.status(), 400);
    let status = messages::Status::decode(wrong.bytes().await.unwrap()).unwrap();
    assert!(status.code == 3 && status.message.contains("malformed protobuf in ExportMetricsServiceRequest"));
    assert_eq!(send(&server, "text/plain", Vec::new()).await.status(), 415);
    assert_eq!(send(&server, PROTOBUF, vec![0; 4 * 1024 * 1024 + 1]).await.status(), 413);
    let full = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{ "name": "disk_full",
        "gauge": { "dataPoints": [{ "timeUnixNano": "1700000000000000000", "asInt": 1 }] } }] }] }] });
    let later = send(&server, JSON, full.to_string().into_bytes()).await;
    assert_eq!((later.status().as_u16(), later.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    assert_eq!(later.json::<Value>().await.unwrap()["code"], 14);
}
