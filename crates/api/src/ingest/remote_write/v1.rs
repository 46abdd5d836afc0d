//! `prometheus.WriteRequest`.

use sos_watch::Sample;

use super::super::batch::{Draft, IngestBatch, Span, Wrong};
use super::super::fields::{Fields, Value, text};
use super::{Decoded, kind};

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Wrong> {
    let mut decoded = Decoded::default();
    decoded.batch.expect(bytes.len());
    let mut draft = Draft::default();
    for field in Fields::new("WriteRequest", bytes) {
        match field? {
            (1, Value::Bytes(series)) => time_series(series, &mut decoded, &mut draft)?,
            (3, Value::Bytes(described)) => metadata(described, &mut decoded.batch)?,
            _ => (),
        }
    }
    Ok(decoded)
}

fn time_series(bytes: &[u8], decoded: &mut Decoded, draft: &mut Draft) -> Result<(), Wrong> {
    let Decoded { batch, refused, .. } = decoded;
    draft.begin(batch);
    for field in Fields::new("TimeSeries", bytes) {
        match field? {
            (1, Value::Bytes(one)) => {
                let (name, value) = label(one, batch)?;
                draft.label(batch, name, value);
            }
            (2, Value::Bytes(one)) => batch.sample(sample(one)?)?,
            (3, Value::Bytes(_)) => decoded.exemplars += 1,
            (4, Value::Bytes(_)) => decoded.histograms += 1,
            _ => (),
        }
    }
    batch.finish(draft, refused)
}

fn label(bytes: &[u8], batch: &mut IngestBatch) -> Result<(Span, Span), Wrong> {
    let (mut name, mut value) = ("", "");
    for field in Fields::new("Label", bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => name = text("the name of a label", bytes)?,
            (2, Value::Bytes(bytes)) => value = text("the value of a label", bytes)?,
            _ => (),
        }
    }
    Ok((batch.text(name)?, batch.text(value)?))
}

/// The same in both versions.
pub(super) fn sample(bytes: &[u8]) -> Result<Sample, Wrong> {
    let mut sample = Sample { t: 0, v: 0.0 };
    for field in Fields::new("Sample", bytes) {
        match field? {
            (1, Value::Fixed64(bits)) => sample.v = Value::double(bits),
            (2, Value::Varint(ms)) => sample.t = ms.cast_signed(),
            _ => (),
        }
    }
    Ok(sample)
}

fn metadata(bytes: &[u8], batch: &mut IngestBatch) -> Result<(), Wrong> {
    let (mut number, mut metric, mut help, mut unit) = (0, "", "", "");
    for field in Fields::new("MetricMetadata", bytes) {
        match field? {
            (1, Value::Varint(one)) => number = one,
            (2, Value::Bytes(bytes)) => metric = text("the name of a metric", bytes)?,
            (4, Value::Bytes(bytes)) => help = text("the help of a metric", bytes)?,
            (5, Value::Bytes(bytes)) => unit = text("the unit of a metric", bytes)?,
            _ => (),
        }
    }
    batch.describe(metric, kind(number), help, unit)
}
