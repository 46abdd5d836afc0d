//! Metrics grow old: samples are kept for a time, then steps of five minutes and of an hour stand for them.

use std::time::Duration;

use jiff::SignedDuration;
use sos_store::{RetentionClass, SeriesKind, Store};

use crate::clock::wall_now;

/// How often what is due is done.
const EVERY: Duration = Duration::from_secs(60);
/// Pause between two parts of it, so that others write meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Pages given back at a time: 4 MiB.
const PAGES: u32 = 1024;

/// How long metrics are kept. Telemetry of sites is the record of what was done and stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Samples as they came.
    pub samples: SignedDuration,
    /// Values of five minutes.
    pub five_minutes: SignedDuration,
    /// Values of an hour.
    pub hours: SignedDuration,
}

impl Default for Retention {
    /// 15 days as Prometheus, 90 days, 2 years.
    fn default() -> Self {
        Self::of(SignedDuration::from_hours(15 * 24))
    }
}

impl Retention {
    /// Samples for so long, values of five minutes 6 times as long, values of an hour for 2 years or 48 times as long.
    #[must_use]
    pub fn of(samples: SignedDuration) -> Self {
        let hours = samples.saturating_mul(48).max(SignedDuration::from_hours(2 * 365 * 24));
        Self { samples, five_minutes: samples.saturating_mul(6), hours }
    }

    fn class(self) -> RetentionClass {
        RetentionClass {
            kind: SeriesKind::Metric,
            matchers: Vec::new(),
            samples: self.samples,
            five_minutes: Some(self.five_minutes),
            hours: Some(self.hours),
        }
    }
}

/// Does what is due, again and again.
pub(super) async fn keep(store: Store, retention: Retention) {
    let mut pace = tokio::time::interval(EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        loop {
            let kept = store.clone();
            let part = tokio::task::spawn_blocking(move || kept.maintain(wall_now(), &[retention.class()]));
            match part.await {
                Ok(Ok(done)) if done.all_done => {
                    let store = store.clone();
                    // A failure is told by the next change.
                    let _ = tokio::task::spawn_blocking(move || store.shrink(PAGES)).await;
                    break;
                }
                Ok(Ok(_)) => tokio::time::sleep(PAUSE).await,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "old metrics cannot be shortened");
                    break;
                }
                Err(error) => return tracing::error!(%error, "the upkeep of metrics ended abnormally"),
            }
        }
    }
}
