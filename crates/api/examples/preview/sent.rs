//! Samples that others sent, as text.

use std::sync::Mutex;

use sos_api::{IngestBatch, IngestOutcome, Problem};

/// A series as text, and its samples: time in ms and value.
pub(crate) type Ingested = (String, Vec<(i64, f64)>);

/// Keeps all but metrics of two names.
pub(crate) fn keep(
    batch: &IngestBatch,
    known: &Mutex<Vec<Ingested>>,
    described: &Mutex<Vec<String>>,
) -> Result<IngestOutcome, Problem> {
    let mut outcome = IngestOutcome::default();
    for series in batch.series() {
        let count = series.samples().len() as u64;
        match series.name() {
            "disk_full" => return Err(Problem::unavailable("the disk is full: make room")),
            "one_too_many" => {
                outcome.refused.add(series.name(), "too many series of this name", count);
                continue;
            }
            _ => outcome.accepted += count,
        }
        let labels: Vec<String> = series.labels().map(|(name, value)| format!("{name}={value:?}")).collect();
        let text = format!("{}{{{}}}", series.name(), labels.join(","));
        let samples = series.samples().iter().map(|sample| (sample.t, sample.v)).collect();
        known.lock().unwrap().push((text, samples));
    }
    let texts = batch.metadata().map(|m| format!("{} {} {:?} {:?}", m.metric, m.kind, m.help, m.unit));
    described.lock().unwrap().extend(texts);
    Ok(outcome)
}
