use std::io::Write;

use prost::Message;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::server::Server;

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
    assert!(bomb.json::<Value>().await.unwrap()["message"].as_str().unwrap().contains("8388608 bytes"));
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

/// Parts of opentelemetry-proto as it declares them, written by another library than the one that reads them.
mod messages {
    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        resource_metrics: Vec<ResourceMetrics>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct ResourceMetrics {
        #[prost(message, optional, tag = "1")]
        resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        scope_metrics: Vec<ScopeMetrics>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Resource {
        #[prost(message, repeated, tag = "1")]
        attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct ScopeMetrics {
        #[prost(message, repeated, tag = "2")]
        metrics: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Metric {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        description: String,
        #[prost(string, tag = "3")]
        unit: String,
        #[prost(message, optional, tag = "5")]
        gauge: Option<Numbers>,
        #[prost(message, optional, tag = "7")]
        sum: Option<Numbers>,
        #[prost(message, optional, tag = "9")]
        histogram: Option<Histograms>,
        #[prost(message, optional, tag = "10")]
        exponential_histogram: Option<Numbers>,
        #[prost(message, optional, tag = "11")]
        summary: Option<Summaries>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Numbers {
        #[prost(message, repeated, tag = "1")]
        data_points: Vec<Number>,
        #[prost(int32, tag = "2")]
        aggregation_temporality: i32,
        #[prost(bool, tag = "3")]
        is_monotonic: bool,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Number {
        #[prost(fixed64, tag = "3")]
        time_unix_nano: u64,
        #[prost(oneof = "NumberValue", tags = "4, 6")]
        value: Option<NumberValue>,
        #[prost(message, repeated, tag = "7")]
        attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "8")]
        flags: u32,
    }

    #[derive(Clone, Copy, PartialEq, Oneof)]
    enum NumberValue {
        #[prost(double, tag = "4")]
        Double(f64),
        #[prost(sfixed64, tag = "6")]
        Int(i64),
    }

    #[derive(Clone, PartialEq, Message)]
    struct Histograms {
        #[prost(message, repeated, tag = "1")]
        data_points: Vec<Histogram>,
        #[prost(int32, tag = "2")]
        aggregation_temporality: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Histogram {
        #[prost(fixed64, tag = "3")]
        time_unix_nano: u64,
        #[prost(fixed64, tag = "4")]
        count: u64,
        #[prost(double, optional, tag = "5")]
        sum: Option<f64>,
        #[prost(fixed64, repeated, tag = "6")]
        bucket_counts: Vec<u64>,
        #[prost(double, repeated, tag = "7")]
        explicit_bounds: Vec<f64>,
        #[prost(message, repeated, tag = "9")]
        attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Summaries {
        #[prost(message, repeated, tag = "1")]
        data_points: Vec<Summary>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Summary {
        #[prost(fixed64, tag = "3")]
        time_unix_nano: u64,
        #[prost(fixed64, tag = "4")]
        count: u64,
        #[prost(double, tag = "5")]
        sum: f64,
        #[prost(message, repeated, tag = "6")]
        quantile_values: Vec<Quantile>,
        #[prost(message, repeated, tag = "7")]
        attributes: Vec<KeyValue>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    struct Quantile {
        #[prost(double, tag = "1")]
        quantile: f64,
        #[prost(double, tag = "2")]
        value: f64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct KeyValue {
        #[prost(string, tag = "1")]
        key: String,
        #[prost(message, optional, tag = "2")]
        value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct AnyValue {
        #[prost(oneof = "Any", tags = "1, 2, 3, 5")]
        value: Option<Any>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    enum Any {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Bool(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(message, tag = "5")]
        Array(ArrayValue),
    }

    #[derive(Clone, PartialEq, Message)]
    struct ArrayValue {
        #[prost(message, repeated, tag = "1")]
        values: Vec<AnyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Answer {
        #[prost(message, optional, tag = "1")]
        pub(super) partial_success: Option<Partial>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Partial {
        #[prost(int64, tag = "1")]
        pub(super) rejected_data_points: i64,
        #[prost(string, tag = "2")]
        pub(super) error_message: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Status {
        #[prost(int32, tag = "1")]
        pub(super) code: i32,
        #[prost(string, tag = "2")]
        pub(super) message: String,
    }

    const TIME: u64 = 1_700_000_000_123_456_789;

    fn attribute(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
    }

    fn get() -> Vec<KeyValue> {
        vec![attribute("http.method", Any::Text("GET\n<b>".into()))]
    }

    fn numbers(values: &[NumberValue], monotonic: bool) -> Option<Numbers> {
        let points = values.iter().map(|value| Number {
            time_unix_nano: TIME,
            value: Some(*value),
            attributes: get(),
            flags: 0,
        });
        Some(Numbers { data_points: points.collect(), aggregation_temporality: 2, is_monotonic: monotonic })
    }

    fn of(metrics: Vec<Metric>, attributes: Vec<KeyValue>) -> Request {
        let resource = Some(Resource { attributes });
        let scope_metrics = vec![ScopeMetrics { metrics }];
        Request { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] }
    }

    /// The same as in JSON.
    pub(super) fn request() -> Request {
        let text = |key, value: &str| attribute(key, Any::Text(value.into()));
        let any = |value| AnyValue { value: Some(value) };
        let tags = ArrayValue { values: vec![any(Any::Text("a".into())), any(Any::Bool(true))] };
        let named =
            |name: &str, unit: &str| Metric { name: name.into(), unit: unit.into(), ..Metric::default() };
        let mut queue = numbers(&[NumberValue::Int(-3), NumberValue::Int(0)], false);
        queue.as_mut().unwrap().data_points[1].flags = 1;
        let histogram = Histogram {
            time_unix_nano: TIME,
            count: 6,
            sum: Some(1.5),
            bucket_counts: vec![1, 2, 3],
            explicit_bounds: vec![0.1, 1.0],
            attributes: get(),
        };
        let summary = Summary {
            time_unix_nano: TIME,
            count: 2,
            sum: 10.0,
            quantile_values: vec![Quantile { quantile: 0.5, value: 4.0 }],
            attributes: get(),
        };
        let metrics = vec![
            Metric { gauge: numbers(&[NumberValue::Double(0.5)], false), ..named("battery.charge", "1") },
            Metric { sum: numbers(&[NumberValue::Int(7)], true), ..named("energy.imported", "J") },
            Metric { sum: queue, ..named("queue.length", "") },
            Metric {
                histogram: Some(Histograms { data_points: vec![histogram], aggregation_temporality: 2 }),
                ..named("http.server.duration", "s")
            },
            Metric { summary: Some(Summaries { data_points: vec![summary] }), ..named("rpc.size", "By") },
        ];
        let resource = vec![
            text("service.name", "meter"),
            text("service.namespace", "plant"),
            text("service.instance.id", "m-1"),
            attribute("host.cores", Any::Int(4)),
            attribute("host.tags", Any::Array(tags)),
        ];
        of(metrics, resource)
    }

    pub(super) fn exponential() -> Request {
        let points = numbers(&[NumberValue::Int(1); 3], false);
        of(vec![Metric { name: "e".into(), exponential_histogram: points, ..Metric::default() }], Vec::new())
    }
}
