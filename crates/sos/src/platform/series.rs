//! Everything stored as series, as the query API sees it.

use std::sync::Arc;

use jiff::SignedDuration;
use sos_api::{Metadata, Series};
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::query::Stored;
use sos_watch::{Labels, Matcher, Selection, Source, SourceError};

/// A site whose time is further than this from the real one replays.
const REPLAY: SignedDuration = SignedDuration::from_hours(24);

/// Names, types, units and what they are for, of the series that sites write.
const SITES: [(&str, &str, &str); 12] = [
    ("asset_power_kw", "kW", "mean power of a step, at its end; above zero into the site"),
    ("device_power_kw", "kW", "what a device itself measured; above zero into the site"),
    ("device_estimate_kw", "kW", "best estimate of what a device would have measured"),
    ("asset_available_kw", "kW", "what a plant could have given where it was turned down"),
    ("asset_soc", "", "state of charge, 0 to 1"),
    ("asset_setpoint_kw", "kW", "set-point, at the start of the step it holds for"),
    ("site_grid_kw", "kW", "exchange with the grid, import above zero"),
    ("site_planned_grid_kw", "kW", "planned exchange with the grid, import above zero"),
    ("site_work_kw", "kW", "power of services' work, zero or below"),
    ("asset_forecast_kw", "kW", "forecast up to a day ahead, by statistic; above zero into the site"),
    ("site_need_forecast_kw", "kW", "forecast of what cannot be chosen, by statistic; import above zero"),
    ("site_carbon_forecast_kg_per_kwh", "kg/kWh", "forecast of the carbon intensity of import, by statistic"),
];

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
        let one = |(metric, unit, help): (&str, &str, &str)| Metadata {
            metric: metric.to_owned(),
            kind: "gauge".to_owned(),
            help: help.to_owned(),
            unit: unit.to_owned(),
        };
        Ok(SITES.map(one).to_vec())
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
