//! Samples that others send → the store.

use sos_api::{IngestBatch, IngestOutcome, Problem};
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::watch::scrape::taken;
use sos_store::{IngestReport, MetricKey, MetricMetadata, MetricSample, SeriesRef};

use super::store_problem;

/// Keeps a batch: one change of the store. Each series is looked up once.
pub(super) fn ingest(engine: &Engine, batch: &IngestBatch) -> Result<IngestOutcome, Problem> {
    let labels: Vec<Vec<(&str, &str)>> = batch.series().map(|series| series.labels().collect()).collect();
    let keys: Vec<MetricKey<'_>> = batch
        .series()
        .zip(&labels)
        .map(|(series, labels)| MetricKey { name: series.name(), labels })
        .collect();
    let told: Vec<MetricMetadata> = batch.metadata().map(metadata).collect();
    let mut outcome = IngestOutcome::default();
    let report = engine.store().commit(|tx| {
        if !told.is_empty() {
            tx.put_metadata(&told)?;
        }
        let mut samples = Vec::with_capacity(batch.sample_count());
        for (series, id) in batch.series().zip(tx.metric_series(&keys)?) {
            match id {
                Ok(id) => {
                    let id = SeriesRef::Id(id);
                    let sample =
                        |one: &sos_watch::Sample| MetricSample { series: id, time: one.t, value: one.v };
                    samples.extend(series.samples().iter().map(sample));
                }
                Err(why) => {
                    outcome.refused.add(series.name(), &why.to_string(), series.samples().len() as u64)
                }
            }
        }
        tx.ingest(&samples, &taken(wall_now()))
    });
    let report = report.map_err(store_problem)?;
    if let Some(watch) = engine.watch() {
        watch
            .scraper
            .count(&report, outcome.refused.named().iter().map(|one| (one.why.as_str(), one.samples)));
    }
    add(&mut outcome, &report);
    Ok(outcome)
}

fn metadata(told: &sos_api::Metadata) -> MetricMetadata {
    MetricMetadata {
        name: told.metric.clone(),
        kind: told.kind.clone(),
        help: told.help.clone(),
        unit: told.unit.clone(),
    }
}

fn add(outcome: &mut IngestOutcome, report: &IngestReport) {
    outcome.accepted = report.accepted + report.duplicates;
    let mut named = 0;
    for refused in &report.refused {
        named += refused.samples;
        outcome.refused.add(&refused.metric, &refused.why.to_string(), refused.samples);
    }
    let others = report.refused_samples.saturating_sub(named) + report.unknown;
    for (why, samples) in
        [("for several reasons", others), ("their time is too old or ahead", report.out_of_bounds)]
    {
        if samples > 0 {
            outcome.refused.add("several metrics", why, samples);
        }
    }
}
