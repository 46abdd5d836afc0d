//! Groups of rules as they run: when each is due, on which time, and what one evaluation leaves behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sos_store::{MetricKey, MetricSample, SeriesRef, Store, StoreError, Tx};
use sos_watch::alerts::{ActiveAlert, active_alerts};
use sos_watch::rules::{self, Environment, Evaluation, GroupState, NewSample, Transition};
use sos_watch::{Labels, Options, pack};

use super::config::{RuleClock, WatchedGroup};
use crate::query::Stored;

/// How often a group on wall time is evaluated that does not say, in ms.
const WALL_INTERVAL_MS: i64 = 5_000;
/// The same in site time.
const SITE_INTERVAL_MS: i64 = 60_000;
/// A group whose evaluation takes longer is stopped there and says so.
const LONGEST: Duration = Duration::from_secs(10);
/// The state of a group is stored when an alert changes, and as often as this, in ms.
const SAVE_EVERY_MS: i64 = 30_000;

/// The latest time that all sites have reached, and the longest of their ticks, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteNow {
    /// Since 1970.
    pub now_ms: i64,
    /// Above zero.
    pub tick_ms: i64,
    /// Where rules begin that were never evaluated: in lock-step at the first tick, else at the latest.
    pub began_ms: i64,
}

/// A group with its state.
#[derive(Clone, Debug)]
pub struct RunningGroup {
    /// What is declared.
    pub watched: Arc<WatchedGroup>,
    /// What is kept between two evaluations.
    pub state: Arc<GroupState>,
    /// How often it is evaluated, in ms of its time.
    pub interval_ms: i64,
    /// How long the last evaluation took, in µs.
    pub took_us: u64,
    /// Evaluations of rules that failed since the program started.
    pub failures: u64,
    /// When it is due, in ms of its time; none before its time is known.
    next_ms: Option<i64>,
    /// When its state was stored last, in ms of wall time.
    saved_ms: i64,
}

/// One evaluation of a group.
pub(super) struct Evaluated {
    pub(super) samples: Vec<NewSample>,
    pub(super) transitions: Vec<Transition>,
    /// Whether the state is to be stored now.
    pub(super) save: bool,
}

impl RunningGroup {
    /// A group as it was left, or new.
    ///
    /// # Errors
    /// What the store says. A state that cannot be read is as none.
    pub(super) fn open(store: &Store, watched: WatchedGroup) -> Result<Self, StoreError> {
        let kept = store.get_kv(&key(&watched))?;
        let state = kept.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
        Ok(Self::new(watched, Arc::new(state)))
    }

    fn new(watched: WatchedGroup, state: Arc<GroupState>) -> Self {
        let usual = match watched.clock {
            RuleClock::Wall => WALL_INTERVAL_MS,
            RuleClock::Site => SITE_INTERVAL_MS,
        };
        let interval_ms = watched.group.interval_ms.unwrap_or(usual).max(1_000);
        Self {
            watched: Arc::new(watched),
            state,
            interval_ms,
            took_us: 0,
            failures: 0,
            next_ms: None,
            saved_ms: 0,
        }
    }

    /// The same group as it is declared now, with what is known of it.
    pub(super) fn renewed(self, watched: WatchedGroup) -> Self {
        let fresh = Self::new(watched, Arc::clone(&self.state));
        Self { took_us: self.took_us, failures: self.failures, saved_ms: self.saved_ms, ..fresh }
    }

    /// Its next time of evaluation that has come, in ms of its own time.
    pub(super) fn due(&mut self, wall_ms: i64, site: Option<SiteNow>) -> Option<i64> {
        let (now, interval) = match self.watched.clock {
            RuleClock::Wall => (wall_ms, self.interval_ms),
            RuleClock::Site => {
                let site = site?;
                // Between two ticks there is nothing new.
                let ticks = (self.interval_ms + site.tick_ms - 1) / site.tick_ms;
                (site.now_ms, ticks.max(1) * site.tick_ms)
            }
        };
        let next = *self.next_ms.get_or_insert_with(|| match (self.watched.clock, self.state.last_ms) {
            (RuleClock::Site, Some(last)) if last <= now => last + interval,
            // Series are scraped first.
            (RuleClock::Wall, _) => now + interval,
            (RuleClock::Site, _) => site.map_or(now, |site| site.began_ms),
        });
        if next > now {
            return None;
        }
        // Times that were slept through on the wall are not made up for; site time is replayed whole.
        self.next_ms = Some(match self.watched.clock {
            RuleClock::Wall => now - (now - next) % interval + interval,
            RuleClock::Site => next + interval,
        });
        Some(match self.watched.clock {
            RuleClock::Wall => now,
            RuleClock::Site => next,
        })
    }

    /// When it is due on wall time; a group on site time is looked at when the sites have moved.
    pub(super) fn next_wall_ms(&self) -> Option<i64> {
        self.next_ms.filter(|_| self.watched.clock == RuleClock::Wall)
    }

    /// Evaluates it at a time of its own.
    pub(super) fn evaluate(&mut self, source: &Stored, at_ms: i64, wall_ms: i64, url: &str) -> Evaluated {
        let began = Instant::now();
        let stop = || began.elapsed() > LONGEST;
        let elapsed = || u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let environment = Environment {
            external_labels: &Labels::empty(),
            external_url: url,
            options: Options { stop: &stop, ..Options::default() },
            elapsed_us: &elapsed,
        };
        let state = GroupState::clone(&self.state);
        let Evaluation { samples, state, transitions } =
            rules::evaluate(&self.watched.group, source, at_ms, state, &environment);
        self.took_us = elapsed();
        self.failures += state.rules.iter().filter(|rule| rule.health.error.is_some()).count() as u64;
        self.state = Arc::new(state);
        let save = !transitions.is_empty() || wall_ms - self.saved_ms > SAVE_EVERY_MS;
        if save {
            self.saved_ms = wall_ms;
        }
        Evaluated { samples, transitions, save }
    }

    /// What fires, and what ended a short while ago.
    pub(super) fn active(&self, url: &str) -> Vec<ActiveAlert> {
        let mut active = active_alerts(&self.watched.group, &self.state, &Labels::empty(), url);
        for alert in &mut active {
            let runbook = alert.annotations.get("runbook").filter(|name| pack::runbook(name).is_some());
            if let Some(link) = runbook.map(|name| format!("{url}/runbooks/{name}")) {
                alert.annotations.entry("runbook_url".to_owned()).or_insert(link);
            }
        }
        active
    }

    /// Stores its state.
    pub(super) fn save(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.put_kv(&key(&self.watched), &json!(*self.state))
    }

    /// Forgets its state: it is declared no more.
    pub(super) fn forget(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.delete_kv(&key(&self.watched)).map(drop)
    }

    /// The first rule that failed, with its error.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let rules = self.watched.group.rules.iter().zip(&self.state.rules);
        let mut failed = rules.filter_map(|(rule, state)| Some((&rule.name, state.health.error.as_ref()?)));
        failed.next().map(|(name, error)| format!("rule {name}: {error}"))
    }
}

fn key(watched: &WatchedGroup) -> String {
    format!("watch/rules/{}/{}", watched.file, watched.group.name)
}

/// Stores what rules gave.
///
/// # Errors
/// What the store says; a series too many is counted there and no error.
pub(super) fn store_samples(tx: &mut Tx<'_>, samples: &[NewSample]) -> Result<u64, StoreError> {
    if samples.is_empty() {
        return Ok(0);
    }
    let labels: Vec<Vec<(&str, &str)>> =
        samples.iter().map(|sample| sample.labels.rest().collect()).collect();
    let keyed = samples.iter().zip(&labels).map(|(new, labels)| MetricSample {
        series: SeriesRef::Key(MetricKey { name: new.labels.name().unwrap_or_default(), labels }),
        time: new.sample.t,
        value: new.sample.v,
    });
    let report = tx.ingest(&keyed.collect::<Vec<_>>(), &(i64::MIN..=i64::MAX))?;
    Ok(report.refused_samples)
}

/// How often alerts fired and were resolved, by name.
pub(super) type Counts = BTreeMap<String, (u64, u64)>;
