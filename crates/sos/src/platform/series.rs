//! Everything stored as series, as the query API sees it.

use std::sync::Arc;

use jiff::SignedDuration;
use sos_api::{Metadata, Series};
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::query::{DESCRIBED, Described, Stored};
use sos_watch::{Labels, Matcher, Selection, Source, SourceError};

/// A site whose time is further than this from the real one replays.
const REPLAY: SignedDuration = SignedDuration::from_hours(24);

/// See the module.
pub(super) struct StoredSeries {
    engine: Arc<Engine>,
    stored: Stored,
}

impl StoredSeries {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        Self { stored: Stored::new(engine.store().clone()), engine: Arc::clone(engine) }
    }
}

impl Source for StoredSeries {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<sos_watch::Series>, SourceError> {
        self.stored.select(selection)
    }
}

impl Series for StoredSeries {
    fn labels(&self, sets: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> Result<Vec<Labels>, SourceError> {
        self.stored.labels(sets, start_ms, end_ms)
    }

    fn metadata(&self) -> Result<Vec<Metadata>, SourceError> {
        let one = |described: &Described| Metadata {
            metric: described.name.to_owned(),
            kind: "gauge".to_owned(),
            help: described.help.to_owned(),
            unit: described.unit.to_owned(),
        };
        Ok(DESCRIBED.iter().map(one).collect())
    }

    /// The real time; where all sites replay, the time of the one that is furthest on.
    fn now_ms(&self) -> i64 {
        let now = wall_now();
        let times: Vec<_> = self
            .engine
            .site_names()
            .iter()
            .filter_map(|name| self.engine.site(name))
            .map(|site| site.time)
            .collect();
        let replays = times.iter().all(|time| now.duration_since(*time).abs() > REPLAY);
        times.into_iter().max().filter(|_| replays).unwrap_or(now).as_millisecond()
    }
}
