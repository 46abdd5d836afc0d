//! `ExportMetricsServiceRequest` in JSON: names in lowerCamelCase, 64-bit integers as text or number.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value as Json;

use super::super::batch::Wrong;
use super::point::{Attributes, Common, Head, Histogram, Kind, Number, Summary};
use super::translate::Translator;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceMetrics {
    resource: Resource,
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    attributes: Vec<KeyValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ScopeMetrics {
    metrics: Vec<Metric>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metric {
    name: String,
    description: String,
    unit: String,
    gauge: Option<Data<NumberPoint>>,
    sum: Option<Data<NumberPoint>>,
    histogram: Option<Data<HistogramPoint>>,
    exponential_histogram: Option<Data<de::IgnoredAny>>,
    summary: Option<Data<SummaryPoint>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "P: Deserialize<'de>")]
struct Data<P> {
    #[serde(default = "Vec::new")]
    data_points: Vec<P>,
    #[serde(default)]
    aggregation_temporality: u64,
    #[serde(default)]
    is_monotonic: bool,
}

impl<P> Data<P> {
    fn is_cumulative(&self) -> bool {
        self.aggregation_temporality == 2
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NumberPoint {
    attributes: Vec<KeyValue>,
    #[serde(deserialize_with = "unsigned")]
    time_unix_nano: u64,
    flags: u32,
    #[serde(deserialize_with = "some_double")]
    as_double: Option<f64>,
    #[serde(deserialize_with = "some_integer")]
    as_int: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HistogramPoint {
    attributes: Vec<KeyValue>,
    #[serde(deserialize_with = "unsigned")]
    time_unix_nano: u64,
    flags: u32,
    #[serde(deserialize_with = "unsigned")]
    count: u64,
    #[serde(deserialize_with = "some_double")]
    sum: Option<f64>,
    bucket_counts: Vec<Unsigned>,
    explicit_bounds: Vec<Double>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SummaryPoint {
    attributes: Vec<KeyValue>,
    #[serde(deserialize_with = "unsigned")]
    time_unix_nano: u64,
    flags: u32,
    #[serde(deserialize_with = "unsigned")]
    count: u64,
    sum: Double,
    quantile_values: Vec<Quantile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Quantile {
    quantile: Double,
    value: Double,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KeyValue {
    key: String,
    value: AnyValue,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    #[serde(deserialize_with = "some_integer")]
    int_value: Option<i64>,
    #[serde(deserialize_with = "some_double")]
    double_value: Option<f64>,
    array_value: Option<Values<AnyValue>>,
    kvlist_value: Option<Values<KeyValue>>,
    bytes_value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(bound = "V: Deserialize<'de>")]
struct Values<V> {
    #[serde(default = "Vec::new")]
    values: Vec<V>,
}

/// A number, or its text.
#[derive(Debug)]
enum Written<'a> {
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Nothing,
}

impl<'de> Deserialize<'de> for Written<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Written<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number or its text")
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Written::Unsigned(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Written::Signed(v))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Written::Double(v))
            }
            fn visit_borrowed_str<E: de::Error>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Written::Text(Cow::Borrowed(v)))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Written::Text(Cow::Owned(v.to_owned())))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Written::Nothing)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn some_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let wrong = || de::Error::custom("expected an integer of 64 bits, or its text");
    match Written::deserialize(deserializer)? {
        Written::Nothing => Ok(None),
        Written::Signed(v) => Ok(Some(v)),
        Written::Unsigned(v) => i64::try_from(v).map(Some).map_err(|_| wrong()),
        Written::Text(text) => text.parse().map(Some).map_err(|_| wrong()),
        Written::Double(_) => Err(wrong()),
    }
}

fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Unsigned::deserialize(deserializer).map(|unsigned| unsigned.0)
}

fn some_double<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Nothing => Ok(None),
        Written::Double(v) => Ok(Some(v)),
        Written::Signed(v) => Ok(Some(v as f64)),
        Written::Unsigned(v) => Ok(Some(v as f64)),
        // `NaN`, `Infinity`, `-Infinity`, and numbers.
        Written::Text(text) => text.parse().map(Some).map_err(|_| {
            de::Error::custom("expected a number, its text, or one of \"NaN\", \"Infinity\", \"-Infinity\"")
        }),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Unsigned(u64);

impl<'de> Deserialize<'de> for Unsigned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom("expected a whole number of 64 bits, zero or above, or its text");
        match Written::deserialize(deserializer)? {
            Written::Nothing => Ok(Self(0)),
            Written::Unsigned(v) => Ok(Self(v)),
            Written::Text(text) => text.parse().map(Self).map_err(|_| wrong()),
            Written::Signed(_) | Written::Double(_) => Err(wrong()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Double(f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        some_double(deserializer).map(|v| Self(v.unwrap_or_default()))
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Translator, Wrong> {
    let request: Request = serde_json::from_slice(bytes)
        .map_err(|error| Wrong::malformed(format!("no ExportMetricsServiceRequest in JSON: {error}")))?;
    let mut to = Translator::default();
    for of in request.resource_metrics {
        to.resource(attributes(of.resource.attributes))?;
        for metric in of.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            self::metric(metric, &mut to)?;
        }
        to.end_resource()?;
    }
    Ok(to)
}

fn metric(metric: Metric, to: &mut Translator) -> Result<(), Wrong> {
    let Metric { name, description, unit, gauge, sum, histogram, exponential_histogram, summary } = metric;
    let head = Head { name: &name, description: &description, unit: &unit };
    if let Some(data) = gauge {
        to.metric(head, Kind::Gauge)?;
        data.data_points.into_iter().try_for_each(|point| to.number(&point.into()))?;
    }
    if let Some(data) = sum {
        to.metric(head, Kind::Sum { monotonic: data.is_monotonic, cumulative: data.is_cumulative() })?;
        data.data_points.into_iter().try_for_each(|point| to.number(&point.into()))?;
    }
    if let Some(data) = histogram {
        to.metric(head, Kind::Histogram { cumulative: data.is_cumulative() })?;
        data.data_points.into_iter().try_for_each(|point| to.histogram(&point.into()))?;
    }
    if let Some(data) = exponential_histogram {
        to.metric(head, Kind::ExponentialHistogram)?;
        data.data_points.iter().for_each(|_| to.other());
    }
    if let Some(data) = summary {
        to.metric(head, Kind::Summary)?;
        data.data_points.into_iter().try_for_each(|point| to.summary(&point.into()))?;
    }
    Ok(())
}

impl From<NumberPoint> for Number<'static> {
    fn from(point: NumberPoint) -> Self {
        let value = point.as_double.or(point.as_int.map(|v| v as f64)).unwrap_or_default();
        Self { common: common(point.attributes, point.time_unix_nano, point.flags), value }
    }
}

impl From<HistogramPoint> for Histogram<'static> {
    fn from(point: HistogramPoint) -> Self {
        Self {
            common: common(point.attributes, point.time_unix_nano, point.flags),
            count: point.count,
            sum: point.sum,
            counts: point.bucket_counts.into_iter().map(|count| count.0).collect(),
            bounds: point.explicit_bounds.into_iter().map(|bound| bound.0).collect(),
        }
    }
}

impl From<SummaryPoint> for Summary<'static> {
    fn from(point: SummaryPoint) -> Self {
        Self {
            common: common(point.attributes, point.time_unix_nano, point.flags),
            count: point.count,
            sum: point.sum.0,
            quantiles: point.quantile_values.into_iter().map(|q| (q.quantile.0, q.value.0)).collect(),
        }
    }
}

fn common(attributes: Vec<KeyValue>, time_ns: u64, flags: u32) -> Common<'static> {
    Common { attributes: self::attributes(attributes), time_ns, flags }
}

fn attributes(all: Vec<KeyValue>) -> Attributes<'static> {
    all.into_iter().map(|one| (Cow::Owned(one.key), Cow::Owned(super::shown(json(one.value))))).collect()
}

/// Serde bounds how deep they nest.
fn json(value: AnyValue) -> Json {
    if let Some(text) = value.string_value.or(value.bytes_value) {
        return Json::from(text);
    }
    if let Some(list) = value.array_value {
        return list.values.into_iter().map(json).collect();
    }
    if let Some(list) = value.kvlist_value {
        return Json::Object(list.values.into_iter().map(|one| (one.key, json(one.value))).collect());
    }
    let double = value.double_value.map(|v| {
        serde_json::Number::from_f64(v).map_or_else(|| Json::from(sos_watch::format::float(v)), Json::Number)
    });
    value.bool_value.map(Json::from).or(value.int_value.map(Json::from)).or(double).unwrap_or(Json::Null)
}
