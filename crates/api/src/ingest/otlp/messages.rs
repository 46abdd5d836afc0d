//! Parts of opentelemetry-proto as it declares them, for tests: written by another library than the one that reads them.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
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
pub(crate) struct Answer {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<Partial>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Partial {
    #[prost(int64, tag = "1")]
    pub(crate) rejected_data_points: i64,
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
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
pub(crate) fn request() -> Request {
    let text = |key, value: &str| attribute(key, Any::Text(value.into()));
    let any = |value| AnyValue { value: Some(value) };
    let tags = ArrayValue { values: vec![any(Any::Text("a".into())), any(Any::Bool(true))] };
    let named = |name: &str, unit: &str| Metric { name: name.into(), unit: unit.into(), ..Metric::default() };
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

pub(crate) fn exponential() -> Request {
    let points = numbers(&[NumberValue::Int(1); 3], false);
    of(vec![Metric { name: "e".into(), exponential_histogram: points, ..Metric::default() }], Vec::new())
}

/// As a collector sends them: points of a counter with eight attributes each.
pub(crate) fn many(points: usize) -> Request {
    let value = (0..points).map(|n| NumberValue::Double(n as f64)).collect::<Vec<_>>();
    let mut sum = numbers(&value, true).unwrap();
    for (n, point) in sum.data_points.iter_mut().enumerate() {
        let names =
            ["cluster", "cpu.number", "environment", "http.method", "mode", "region", "service", "team"];
        let attributes = names.iter().map(|name| attribute(name, Any::Text(format!("value-{}", n % 64))));
        point.attributes = attributes.collect();
    }
    let metric = Metric { name: "cpu.time".into(), unit: "s".into(), sum: Some(sum), ..Metric::default() };
    let named = |key: &str, value: &str| attribute(key, Any::Text(value.into()));
    of(vec![metric], vec![named("service.name", "node"), named("service.instance.id", "10.0.0.7")])
}
