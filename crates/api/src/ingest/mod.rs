//! Samples that others send: Prometheus remote write and OTLP. Both end in an [`IngestBatch`], which the platform keeps.
//!
//! - `batch.rs`: samples by series, checked and bounded; what is not kept, and why.
//! - `fields.rs`: protobuf field by field.
//! - `remote_write/`, `otlp/`: the two protocols.

mod batch;
mod fields;
pub(crate) mod otlp;
pub(crate) mod remote_write;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use batch::Wrong;
pub use batch::{IngestBatch, IngestOutcome, IngestRefusal, IngestSeries, Refusals};

use crate::{Problem, server::App};

/// Most bytes of one request as they come, 4 MiB.
pub(crate) const MAX_COMPRESSED: usize = 4 * 1024 * 1024;
/// Most bytes of one request unpacked, 32 MiB.
pub(crate) const MAX_UNPACKED: usize = 32 * 1024 * 1024;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

impl From<Wrong> for Problem {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Malformed(why) => Self::bad_request(why),
            Wrong::TooMuch(why) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, why),
        }
    }
}

/// What a request was decoded to.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) batch: IngestBatch,
    /// Samples that cannot be kept whatever the platform says.
    pub(crate) refused: Refusals,
    /// Native histograms, which are counted and not kept.
    pub(crate) histograms: u64,
    /// Exemplars, which are counted and not kept.
    pub(crate) exemplars: u64,
}

/// A place among the requests that are decoded at once.
async fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    let busy = || Problem::unavailable("too many requests bring samples at once: send it again in a moment");
    let waiting = tokio::time::timeout(PATIENCE, Arc::clone(&app.ingests).acquire_owned());
    waiting.await.map_err(|_| busy())?.map_err(|_| busy())
}

/// Unpacks and decodes on a thread for that.
async fn decoded<T: Send + 'static>(
    decode: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let task = tokio::task::spawn_blocking(decode);
    task.await
        .unwrap_or_else(|_| Err(Problem::internal("the server failed on these samples; its log has more")))
}

/// Gives a batch to the platform; what it and the decoder refused together.
async fn keep(app: &App, decoded: Decoded) -> Result<IngestOutcome, Problem> {
    let Decoded { batch, refused, histograms, exemplars } = decoded;
    app.counters.ingest_histograms.fetch_add(histograms, Relaxed);
    app.counters.ingest_exemplars.fetch_add(exemplars, Relaxed);
    let mut outcome =
        if batch.is_empty() { IngestOutcome::default() } else { app.platform.ingest(batch).await? };
    outcome.refused.join(refused);
    app.counters.ingest_samples.fetch_add(outcome.accepted, Relaxed);
    app.counters.ingest_refused.fetch_add(outcome.refused.samples(), Relaxed);
    Ok(outcome)
}
