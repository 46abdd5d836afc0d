//! Everything stored as series, as the query API sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use sos_api::{Metadata, Series};
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::query::{DESCRIBED, Described, Stored};
use sos_engine::watch::config::RuleClock;
use sos_store::MetricMetadata;
use sos_watch::{Labels, Matcher, Query, Selection, Source, SourceError};

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

/// Series that scrapes and rules write about themselves.
const OWN: [(&str, &str); 5] = [
    ("up", "1 when a target answered"),
    ("scrape_duration_seconds", "how long the answer of a target took"),
    ("scrape_samples_scraped", "samples in the answer of a target"),
    ("ALERTS", "1 while an alert is pending or fires, as alertstate says"),
    ("ALERTS_FOR_STATE", "since when an alert is active, s since 1970"),
];

impl StoredSeries {
    /// Series that rules record, each with an expression of such a rule.
    fn recorded(&self) -> BTreeMap<String, String> {
        let view = self.engine.watch().map(|watch| watch.watcher.view());
        let rules = view.iter().flat_map(|view| &view.groups).flat_map(|group| &group.watched.group.rules);
        let recorded = rules.filter(|rule| rule.alerting().is_none());
        recorded.map(|rule| (rule.name.clone(), rule.expr.text().trim().to_owned())).collect()
    }

    /// Whether all its series are telemetry of sites, or recorded from such. A selector that names no metric may be
    /// about any, and is meant for sites where they replay.
    fn is_of_sites(&self, query: &Query) -> bool {
        let Some(names) = query.metric_names() else { return true };
        let groups = self.engine.watch().map(|watch| watch.watcher.view());
        let recorded = |name: &str| {
            let groups = groups.iter().flat_map(|view| &view.groups);
            let mut rules =
                groups.filter(|g| g.watched.clock == RuleClock::Site).flat_map(|g| &g.watched.group.rules);
            rules.any(|rule| rule.alerting().is_none() && rule.name == name)
        };
        !names.is_empty()
            && names.iter().all(|name| DESCRIBED.iter().any(|one| one.name == *name) || recorded(name))
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

    fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<BTreeSet<Arc<str>>, SourceError> {
        self.stored.label_names(sets, start_ms, end_ms)
    }

    fn label_values(
        &self,
        label: &str,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<BTreeSet<Arc<str>>, SourceError> {
        self.stored.label_values(label, sets, start_ms, end_ms)
    }

    fn metadata(&self) -> Result<Vec<Metadata>, SourceError> {
        let one = |described: &Described| Metadata {
            metric: described.name.to_owned(),
            kind: "gauge".to_owned(),
            help: described.help.to_owned(),
            unit: described.unit.to_owned(),
        };
        let told = |told: MetricMetadata| Metadata {
            metric: told.name,
            kind: if told.kind.is_empty() { "unknown".to_owned() } else { told.kind },
            help: told.help,
            unit: told.unit,
        };
        let metrics = self.engine.store().metadata(None);
        let metrics = metrics.map_err(|error| SourceError::Failed(error.to_string()))?;
        let recorded = self.recorded();
        let rules = recorded.iter().map(|(name, expr)| Metadata {
            metric: name.clone(),
            kind: "gauge".to_owned(),
            help: format!("recorded by a rule: {expr}"),
            unit: String::new(),
        });
        let own = OWN.iter().map(|(name, help)| Metadata {
            metric: (*name).to_owned(),
            kind: "gauge".to_owned(),
            help: (*help).to_owned(),
            unit: String::new(),
        });
        Ok(DESCRIBED.iter().map(one).chain(own).chain(rules).chain(metrics.into_iter().map(told)).collect())
    }

    /// The real time; where all sites replay and the query reads nothing but series on their time, the time of the
    /// site that is furthest on.
    fn now_ms(&self, query: &Query) -> i64 {
        let now = wall_now();
        if !self.is_of_sites(query) {
            return now.as_millisecond();
        }
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
