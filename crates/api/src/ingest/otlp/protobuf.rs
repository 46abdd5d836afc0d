//! `ExportMetricsServiceRequest` in protobuf: the fields of opentelemetry-proto 1.x, each message borrowed.

use std::borrow::Cow;

use serde_json::Value as Json;
use sos_watch::format;

use super::super::batch::Wrong;
use super::super::fields::{Fields, MAX_DEPTH, Value, packed_fixed64, text};
use super::point::{Common, Head, Histogram, Kind, Number, Summary};
use super::translate::Translator;

pub(super) fn decode(bytes: &[u8]) -> Result<Translator, Wrong> {
    let mut to = Translator::default();
    for field in Fields::new("ExportMetricsServiceRequest", bytes) {
        if let (1, Value::Bytes(resource)) = field? {
            resource_metrics(resource, &mut to)?;
        }
    }
    Ok(to)
}

/// Fields may come in any order: what the others need is looked for first.
fn resource_metrics(bytes: &[u8], to: &mut Translator) -> Result<(), Wrong> {
    let mut attributes = Vec::new();
    for field in Fields::new("ResourceMetrics", bytes) {
        if let (1, Value::Bytes(resource)) = field? {
            for field in Fields::new("Resource", resource) {
                if let (1, Value::Bytes(one)) = field? {
                    push(&mut attributes, attribute(one)?, "attributes")?;
                }
            }
        }
    }
    to.resource(attributes)?;
    for field in Fields::new("ResourceMetrics", bytes) {
        if let (2, Value::Bytes(scope)) = field? {
            for field in Fields::new("ScopeMetrics", scope) {
                if let (2, Value::Bytes(one)) = field? {
                    metric(one, to)?;
                }
            }
        }
    }
    to.end_resource()
}

fn metric(bytes: &[u8], to: &mut Translator) -> Result<(), Wrong> {
    let mut head = Head::default();
    let mut data = None;
    for field in Fields::new("Metric", bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => head.name = text("the name of a metric", bytes)?,
            (2, Value::Bytes(bytes)) => head.description = text("the description of a metric", bytes)?,
            (3, Value::Bytes(bytes)) => head.unit = text("the unit of a metric", bytes)?,
            (form @ (5 | 7 | 9 | 10 | 11), Value::Bytes(bytes)) => data = Some((form, bytes)),
            _ => (),
        }
    }
    let Some((form, data)) = data else { return Ok(()) };
    to.metric(head, kind(form, data)?)?;
    for field in Fields::new("the data of a metric", data) {
        if let (1, Value::Bytes(point)) = field? {
            match form {
                5 | 7 => to.number(&number(point)?)?,
                9 => to.histogram(&histogram(point)?)?,
                11 => to.summary(&summary(point)?)?,
                _ => to.other(),
            }
        }
    }
    Ok(())
}

fn kind(form: u32, data: &[u8]) -> Result<Kind, Wrong> {
    let (mut cumulative, mut monotonic) = (false, false);
    for field in Fields::new("the data of a metric", data) {
        match field? {
            // 1 is delta, 2 is cumulative.
            (2, Value::Varint(temporality)) => cumulative = temporality == 2,
            (3, Value::Varint(flag)) => monotonic = flag != 0,
            _ => (),
        }
    }
    Ok(match form {
        5 => Kind::Gauge,
        7 => Kind::Sum { monotonic, cumulative },
        9 => Kind::Histogram { cumulative },
        11 => Kind::Summary,
        _ => Kind::ExponentialHistogram,
    })
}

fn number(bytes: &[u8]) -> Result<Number<'_>, Wrong> {
    let mut point = Number::default();
    for field in Fields::new("NumberDataPoint", bytes) {
        match field? {
            (3, Value::Fixed64(ns)) => point.common.time_ns = ns,
            (4, Value::Fixed64(bits)) => point.value = Value::double(bits),
            (6, Value::Fixed64(bits)) => point.value = bits.cast_signed() as f64,
            (7, Value::Bytes(one)) => push(&mut point.common.attributes, attribute(one)?, "attributes")?,
            (8, Value::Varint(flags)) => point.common.flags = low(flags),
            _ => (),
        }
    }
    Ok(point)
}

fn histogram(bytes: &[u8]) -> Result<Histogram<'_>, Wrong> {
    let mut point = Histogram::default();
    for field in Fields::new("HistogramDataPoint", bytes) {
        match field? {
            (3, Value::Fixed64(ns)) => point.common.time_ns = ns,
            (4, Value::Fixed64(count)) => point.count = count,
            (5, Value::Fixed64(bits)) => point.sum = Some(Value::double(bits)),
            (6, Value::Bytes(packed)) => point.counts.extend(packed_fixed64("bucket_counts", packed)?),
            (6, Value::Fixed64(one)) => point.counts.push(one),
            (7, Value::Bytes(packed)) => {
                point.bounds.extend(packed_fixed64("explicit_bounds", packed)?.map(Value::double));
            }
            (7, Value::Fixed64(bits)) => point.bounds.push(Value::double(bits)),
            (9, Value::Bytes(one)) => push(&mut point.common.attributes, attribute(one)?, "attributes")?,
            (10, Value::Varint(flags)) => point.common.flags = low(flags),
            _ => (),
        }
    }
    Ok(point)
}

fn summary(bytes: &[u8]) -> Result<Summary<'_>, Wrong> {
    let mut point = Summary { common: Common::default(), ..Summary::default() };
    for field in Fields::new("SummaryDataPoint", bytes) {
        match field? {
            (3, Value::Fixed64(ns)) => point.common.time_ns = ns,
            (4, Value::Fixed64(count)) => point.count = count,
            (5, Value::Fixed64(bits)) => point.sum = Value::double(bits),
            (6, Value::Bytes(one)) => push(&mut point.quantiles, quantile(one)?, "quantiles")?,
            (7, Value::Bytes(one)) => push(&mut point.common.attributes, attribute(one)?, "attributes")?,
            (8, Value::Varint(flags)) => point.common.flags = low(flags),
            _ => (),
        }
    }
    Ok(point)
}

fn quantile(bytes: &[u8]) -> Result<(f64, f64), Wrong> {
    let (mut quantile, mut value) = (0.0, 0.0);
    for field in Fields::new("ValueAtQuantile", bytes) {
        match field? {
            (1, Value::Fixed64(bits)) => quantile = Value::double(bits),
            (2, Value::Fixed64(bits)) => value = Value::double(bits),
            _ => (),
        }
    }
    Ok((quantile, value))
}

fn low(flags: u64) -> u32 {
    u32::try_from(flags & u64::from(u32::MAX)).unwrap_or_default()
}

/// Most attributes, and quantiles, of one point or resource.
const MAX_LIST: usize = 1_024;
/// Most bytes of one attribute; read as lists and maps it takes some twenty times that.
const MAX_ATTRIBUTE: usize = 256 * 1024;

fn push<T>(list: &mut Vec<T>, one: T, what: &str) -> Result<(), Wrong> {
    if list.len() >= MAX_LIST {
        return Err(Wrong::malformed(format!("more than {MAX_LIST} {what} in one message")));
    }
    list.push(one);
    Ok(())
}

fn attribute(bytes: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), Wrong> {
    if bytes.len() > MAX_ATTRIBUTE {
        return Err(Wrong::malformed(format!("an attribute has more than {MAX_ATTRIBUTE} bytes")));
    }
    let (name, value) = key_value(bytes)?;
    Ok((Cow::Borrowed(name), value.map_or(Ok(Cow::Borrowed("")), as_text)?))
}

fn key_value(bytes: &[u8]) -> Result<(&str, Option<&[u8]>), Wrong> {
    let (mut name, mut value) = ("", None);
    for field in Fields::new("KeyValue", bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => name = text("the name of an attribute", bytes)?,
            (2, Value::Bytes(bytes)) => value = Some(bytes),
            _ => (),
        }
    }
    Ok((name, value))
}

/// A value as text; a text without quotes, everything else as JSON.
fn as_text(bytes: &[u8]) -> Result<Cow<'_, str>, Wrong> {
    // Nearly all are texts.
    if let Some(Ok((1, Value::Bytes(only)))) = Fields::new("AnyValue", bytes).last() {
        return Ok(Cow::Borrowed(text("the value of an attribute", only)?));
    }
    Ok(Cow::Owned(super::shown(any(bytes, 0)?)))
}

fn any(bytes: &[u8], depth: usize) -> Result<Json, Wrong> {
    if depth > MAX_DEPTH {
        return Err(Wrong::malformed(format!("an attribute nests values more than {MAX_DEPTH} deep")));
    }
    let mut value = Json::Null;
    for field in Fields::new("AnyValue", bytes) {
        value = match field? {
            (1, Value::Bytes(bytes)) => Json::from(text("the value of an attribute", bytes)?),
            (2, Value::Varint(flag)) => Json::from(flag != 0),
            (3, Value::Varint(number)) => Json::from(number.cast_signed()),
            (4, Value::Fixed64(bits)) => double(f64::from_bits(bits)),
            (5, Value::Bytes(list)) => {
                let mut all = Vec::new();
                for field in Fields::new("ArrayValue", list) {
                    if let (1, Value::Bytes(one)) = field? {
                        all.push(any(one, depth + 1)?);
                    }
                }
                Json::Array(all)
            }
            (6, Value::Bytes(list)) => {
                let mut all = serde_json::Map::new();
                for field in Fields::new("KeyValueList", list) {
                    if let (1, Value::Bytes(one)) = field? {
                        let (name, value) = key_value(one)?;
                        all.insert(name.to_owned(), any(value.unwrap_or_default(), depth + 1)?);
                    }
                }
                Json::Object(all)
            }
            (7, Value::Bytes(bytes)) => Json::from(super::base64(bytes)),
            _ => continue,
        };
    }
    Ok(value)
}

/// As a JSON number where there is one, else as text.
fn double(v: f64) -> Json {
    serde_json::Number::from_f64(v).map_or_else(|| Json::from(format::float(v)), Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_nest_without_end_are_refused() {
        let mut value = vec![10, 1, b'x'];
        for _ in 0..20 {
            // An array with the value so far as its only one.
            let mut list = vec![10];
            prost::encode_length_delimiter(value.len(), &mut list).unwrap();
            list.extend(&value);
            let mut outer = vec![42];
            prost::encode_length_delimiter(list.len(), &mut outer).unwrap();
            outer.extend(list);
            value = outer;
        }
        assert!(matches!(as_text(&value), Err(Wrong::Malformed(text)) if text.contains("more than 16 deep")));
        assert_eq!(as_text(&[10, 1, b'x']).unwrap(), "x");
        assert_eq!(as_text(&[42, 5, 10, 3, 10, 1, b'x']).unwrap(), "[\"x\"]");
        assert_eq!(as_text(&[16, 1]).unwrap(), "true");
        assert_eq!(as_text(&[24, 5]).unwrap(), "5");
        assert_eq!(as_text(&[33, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]).unwrap(), "1.5");
        assert_eq!(as_text(&[58, 2, 1, 255]).unwrap(), "Af8=");
        assert_eq!(as_text(&[]).unwrap(), "");
    }

    #[test]
    fn lists_have_an_end() {
        // A point of attributes of no bytes.
        let point = [58, 0].repeat(MAX_LIST + 1);
        assert!(number(&point[..2 * MAX_LIST]).is_ok());
        assert!(
            matches!(number(&point), Err(Wrong::Malformed(text)) if text.contains("more than 1024 attributes"))
        );
        assert!(attribute(&vec![0; MAX_ATTRIBUTE + 1]).is_err());
    }
}
