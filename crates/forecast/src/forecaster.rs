//! The forecaster of one series.

use jiff::{SignedDuration, Timestamp};
use sos_units::{Missing, Reading, TimeGrid};

use crate::calendar::Calendar;
use crate::config::{Character, ConfigError, Family, ForecastConfig};
use crate::errors::conformal;
use crate::full::Full;
use crate::history::{History, View};
use crate::refit::Refit;
use crate::shape::Shape;
use crate::state::State;

/// No series of this field reaches it in its natural unit; beyond it sums of squares lose their meaning.
const LARGEST: f64 = 1e12;
/// Longest horizon served, in steps.
const MAX_HORIZON: i64 = 20_000;
/// No zone changes its clock and back within this time (Ramadan suspensions take four weeks).
const STEADY_SECONDS: i64 = 14 * 86_400;
/// A last value older than this says nothing about now.
const STALE_HOURS: f64 = 3.0;

/// Means and quantiles per step, in the unit of the series.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Nothing known later than this was used.
    pub issued_at: Timestamp,
    /// Steps forecast; the first is the one that contains `issued_at`.
    pub grid: TimeGrid,
    /// Expected mean of each step.
    pub mean: Vec<f64>,
    /// (quantile, value of each step), quantiles ascending; values never cross.
    pub quantiles: Vec<(f64, Vec<f64>)>,
    /// Rung of the fallback ladder: `standard-shape` (no data), `scaled-shape` (under a day), where a shape was lent
    /// `sibling-shape` and `scaled-sibling-shape` instead, `young-profile` (under a week), `profile` (last value over
    /// 3 h old) or `profile-level`; of a wind plant with wind known ahead `standard-curve` (no data) and `power-curve`
    /// (too little for the family); of the family `running-blend` and `blend`.
    pub method: &'static str,
    /// The same for a person.
    pub because: String,
}

impl Forecast {
    /// The steps of the quantile `q`, if it was asked for.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<&[f64]> {
        self.quantiles.iter().find(|(p, _)| (p - q).abs() < 1e-9).map(|(_, v)| v.as_slice())
    }

    /// Means over every `per` steps, for a coarser plan; steps left over at the end are dropped. `per` 0 counts as 1.
    #[must_use]
    pub fn coarse_mean(&self, per: usize) -> Vec<f64> {
        coarse(&self.mean, per)
    }

    /// As [`Self::coarse_mean`] for a quantile. An upper (lower) quantile of a mean lies below (above) the mean of the
    /// quantiles, so this errs to the safe side.
    #[must_use]
    pub fn coarse_quantile(&self, q: f64, per: usize) -> Option<Vec<f64>> {
        self.quantile(q).map(|v| coarse(v, per))
    }
}

fn coarse(values: &[f64], per: usize) -> Vec<f64> {
    let per = per.max(1);
    values.chunks_exact(per).map(|c| c.iter().sum::<f64>() / per as f64).collect()
}

/// Which earlier errors of the next step count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hours {
    /// Same minute of the hour, time of day at most an hour away, last 60 days.
    Near,
    /// Same minute of the hour, any hour.
    All,
}

/// What the running step, not measured yet, may bring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextStep {
    /// Start of the step.
    pub time: Timestamp,
    /// Expected mean of the step.
    pub estimate: f64,
    /// The quantile asked for.
    pub quantile: f64,
    /// How many own errors it rests on; with fewer than 10 it rests on the general spread instead.
    pub errors: usize,
}

/// What a state begins with, as known at an issue time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Start {
    /// Which lent shape: that known at this time.
    shape: Option<Timestamp>,
    /// First step after the newest change of the series.
    since: Option<i64>,
}

/// Changes of a series that are kept.
const MOST_CHANGES: usize = 16;
/// Errors wanted before their quantile is used.
const ENOUGH_NEXT: usize = 10;

/// Forecasts one series, incrementally.
#[derive(Clone, Debug)]
pub struct Forecaster {
    config: ForecastConfig,
    calendar: Calendar,
    history: History,
    state: State,
    /// What the state was begun with.
    begun: Start,
    full: Option<Full>,
    /// The day of siblings.
    shape: Option<Shape>,
    /// Changes of the series: when each was decided and the first step after it, in order of decision.
    changes: Vec<(Timestamp, i64)>,
    /// Issue time the state stands for.
    as_of: Timestamp,
    /// When a value older than the newest learned becomes known: from then on the state must be rebuilt.
    late: Option<Timestamp>,
}

impl Forecaster {
    /// # Errors
    /// When the settings contradict themselves; see [`ConfigError`].
    pub fn new(config: ForecastConfig) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        let calendar = Calendar::new(&config);
        let history = History::new(config.step, config.history);
        let state = State::new(&config, &calendar, None);
        let full = (config.family == Family::Full).then(|| Full::new(&config, &calendar));
        Ok(Self {
            config,
            calendar,
            history,
            state,
            begun: Start::default(),
            full,
            shape: None,
            changes: Vec::new(),
            as_of: Timestamp::MIN,
            late: None,
        })
    }

    /// The settings, as checked.
    #[must_use]
    pub const fn config(&self) -> &ForecastConfig {
        &self.config
    }

    /// The values kept.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Notes the mean of the step that starts at `time`, known at `known_at`. Any order; gaps and corrections are fine;
    /// what is not a number or beyond ±10¹² counts as missing; magnitudes below 0 count as 0 (inverters use a little at night).
    pub fn observe(&mut self, time: Timestamp, known_at: Timestamp, value: Reading<f64>) {
        let value = value.and_then(|v| if v.abs() <= LARGEST { Ok(v) } else { Err(Missing::Invalid) });
        self.history.push(time, known_at, value);
        let old = self.state.seen.is_some_and(|seen| self.calendar.index(time) <= seen);
        if old {
            self.late = Some(self.late.map_or(known_at, |l| l.min(known_at)));
        }
    }

    /// Notes a value of the covariate at `position` of the configuration, as [`Self::observe`] does for the series.
    pub fn observe_covariate(
        &mut self,
        position: usize,
        time: Timestamp,
        known_at: Timestamp,
        value: Reading<f64>,
    ) {
        if let Some(full) = &mut self.full {
            full.observe(&self.config, position, time, known_at, value);
        }
    }

    /// The shape of the day as known at `issued_at`, for siblings to begin with; none before a week is known, and for
    /// series that are not above 0 in the mean.
    pub fn lend_shape(&mut self, issued_at: Timestamp) -> Option<Shape> {
        self.advance(issued_at);
        self.state.shape(&self.calendar, issued_at)
    }

    /// Takes the median of what siblings lent in place of a standard shape of the day; replaces what was taken before,
    /// none is a standard shape again. Only forecasts issued when all of it was known see it, and only what the series
    /// itself has not shown yet is taken from it. Shapes of solar generation serve solar generation only.
    pub fn take_shapes(&mut self, siblings: &[Shape]) {
        let alike = |shape: &&Shape| shape.sun() == (self.config.character == Character::Solar);
        self.shape = Shape::median(&siblings.iter().filter(alike).cloned().collect::<Vec<_>>());
        self.state = State::new(&self.config, &self.calendar, None);
        self.begun = Start::default();
    }

    /// Goes on from a decision of an earlier run: what [`Self::refit`] does with its own.
    pub fn adopt(&mut self, refit: &Refit) {
        let Some(since) = refit.since.filter(|_| refit.adopted) else { return };
        self.changes.push((refit.decided_at, self.calendar.index(since)));
        self.changes.sort_unstable();
        self.changes.dedup();
        if self.changes.len() > MOST_CHANGES {
            self.changes.remove(0);
        }
    }

    /// Forecasts `horizon` steps (at most 20 000), the first being the step that contains `issued_at`.
    ///
    /// Learns what became known since the last call. An issue time before an earlier call's is served correctly, from
    /// what was known then, but slowly (the model is rebuilt).
    pub fn forecast(&mut self, issued_at: Timestamp, horizon: usize) -> Forecast {
        self.advance(issued_at);
        let first = self.calendar.index(issued_at);
        let grid = fitting_grid(self.calendar.time(first), self.config.step, horizon);
        if let Some(full) = &mut self.full
            && let Some((block, method)) = full.forecast(&self.config, &self.calendar, (first, grid.len()))
        {
            let because = told(&block.members);
            let quantiles = self.config.quantiles.iter().copied().zip(block.quantiles).collect();
            return Forecast { issued_at, grid, mean: block.mean, quantiles, method, because };
        }
        let own = self.history.view(issued_at);
        if let Some(full) = &self.full
            && let Some((block, method, because)) = full.young_wind(&self.config, &own, (first, grid.len()))
        {
            let quantiles = self.config.quantiles.iter().copied().zip(block.quantiles).collect();
            return Forecast { issued_at, grid, mean: block.mean, quantiles, method, because };
        }
        let curve = self.state.curve();
        let tables = self.state.tables(&self.config.quantiles);
        let last = self.state.last.unwrap_or(first - 1);
        let len = grid.len() as i64;
        let (start_offset, end_offset) = (self.calendar.offset(first), self.calendar.offset(first + len));
        let mut mean = Vec::with_capacity(grid.len());
        let mut quantiles: Vec<(f64, Vec<f64>)> =
            self.config.quantiles.iter().map(|q| (*q, Vec::with_capacity(grid.len()))).collect();
        // The clock changes within few horizons: look the offset up per step only then (or when it may change back).
        let steady = start_offset == end_offset && len * self.calendar.step < STEADY_SECONDS;
        for index in first..first + len {
            let offset = if steady { start_offset } else { self.calendar.offset(index) };
            let place = self.calendar.place_with(index, offset);
            let lead = (index - last).max(1);
            let centre = self.state.mean(&self.calendar, &self.config, &curve, place, lead);
            let spread = self.state.base.spread_at(place);
            let (low, high, part) = self.state.between(lead);
            mean.push(centre);
            for (at, (_, values)) in quantiles.iter_mut().enumerate() {
                let error = tables[low][at] * (1.0 - part) + tables[high][at] * part;
                values.push(self.config.bounded(centre + spread * error));
            }
        }
        let (method, because) = self.rung(first);
        Forecast { issued_at, grid, mean, quantiles, method, because }
    }

    /// What the step that contains `issued_at` may bring, from everything before it. `q` in 0…1; 1 is the largest error
    /// of the kind seen in 60 days.
    pub fn next_step(&mut self, issued_at: Timestamp, q: f64, hours: Hours) -> NextStep {
        self.advance(issued_at);
        let index = self.calendar.index(issued_at);
        let place = self.calendar.place(index);
        let lead = (index - self.state.last.unwrap_or(index - 1)).max(1);
        let curve = self.state.curve();
        let estimate = self.state.mean(&self.calendar, &self.config, &curve, place, lead);
        let around = (hours == Hours::Near).then_some(1);
        let errors = self.state.next_errors.same_minute(index, self.calendar.steps_per_hour(), around);
        let q = if q.is_finite() { q.clamp(0.0, 1.0) } else { 0.5 };
        let error = if errors.len() >= ENOUGH_NEXT {
            conformal(&errors, q)
        } else {
            let table = self.state.tables(&[q.clamp(0.005, 0.995)]);
            self.state.base.spread_at(place) * table[0][0]
        };
        let quantile = self.config.bounded(estimate + error);
        NextStep { time: self.calendar.time(index), estimate, quantile, errors: errors.len() }
    }

    /// Short for [`Self::next_step`] with [`Hours::Near`].
    pub fn next_step_quantile(&mut self, issued_at: Timestamp, q: f64) -> f64 {
        self.next_step(issued_at, q, Hours::Near).quantile
    }

    /// Brings the state to what is known at `issued_at`.
    pub(crate) fn advance(&mut self, issued_at: Timestamp) {
        let again = issued_at < self.as_of || self.late.is_some_and(|late| late <= issued_at);
        let start = self.start(issued_at);
        if again || start.since != self.begun.since {
            self.full.iter_mut().for_each(|full| full.reset(start.since));
        }
        if again || start != self.begun {
            self.state = self.fresh(start, issued_at);
            self.begun = start;
        }
        let view = self.history.view(issued_at);
        let begin = start.since.unwrap_or(i64::MIN);
        let from = self.state.seen.map_or(begin, |seen| seen.saturating_add(1));
        // A step that has not begun cannot have been measured; whoever claims so is not believed.
        let now = self.calendar.index(issued_at);
        for (index, sample) in view.since(from).take_while(|(i, _)| *i <= now) {
            self.state.absorb(&self.calendar, &self.config, index, sample.value.ok());
        }
        if let Some(full) = &mut self.full {
            full.advance(&self.calendar, &view);
        }
        self.late = self.state.seen.and_then(|seen| self.history.next_late(issued_at, seen));
        self.as_of = issued_at;
    }

    /// What is known at an issue time of how to begin.
    fn start(&self, issued_at: Timestamp) -> Start {
        let shape = self.shape.as_ref().map(Shape::known_at).filter(|known| *known <= issued_at);
        Start { shape, since: self.since(issued_at) }
    }

    /// A state before its first value. After a change it begins with the shape that the day had before.
    fn fresh(&self, start: Start, issued_at: Timestamp) -> State {
        let new = |shape: Option<&Shape>| State::new(&self.config, &self.calendar, shape);
        let lent = self.shape.as_ref().filter(|_| start.shape.is_some());
        let Some(since) = start.since else { return new(lent) };
        let mut before = new(lent);
        for (index, sample) in self.history.view(issued_at).since(i64::MIN).take_while(|(i, _)| *i < since) {
            before.absorb(&self.calendar, &self.config, index, sample.value.ok());
        }
        let own = before.shape(&self.calendar, issued_at).map(Shape::for_itself);
        new(own.as_ref().or(lent))
    }

    /// First step after the newest change decided at `issued_at` or before.
    pub(crate) fn since(&self, issued_at: Timestamp) -> Option<i64> {
        self.changes.iter().rev().find(|(decided, _)| *decided <= issued_at).map(|(_, since)| *since)
    }

    /// The same forecaster to be judged, as if its newest change (or `since`) had always been known; without the whole
    /// family where that is not asked for.
    pub(crate) fn apart(&self, since: Option<i64>, whole: bool) -> Self {
        let since = since.or_else(|| self.since(self.as_of));
        Self {
            config: self.config.clone(),
            calendar: self.calendar.clone(),
            history: self.history.clone(),
            state: State::new(&self.config, &self.calendar, None),
            begun: Start::default(),
            full: self.full.clone().filter(|_| whole),
            shape: self.shape.clone(),
            changes: since.map(|since| (Timestamp::MIN, since)).into_iter().collect(),
            as_of: Timestamp::MAX,
            late: None,
        }
    }

    /// Number of a step since 1970, and its start.
    pub(crate) fn index(&self, time: Timestamp) -> i64 {
        self.calendar.index(time)
    }

    pub(crate) fn time(&self, index: i64) -> Timestamp {
        self.calendar.time(index)
    }

    /// Values of the steps from `from` until `until`, as known at `issued_at`.
    pub(crate) fn truth(&self, issued_at: Timestamp, from: Timestamp, until: Timestamp) -> Vec<(i64, f64)> {
        let (from, until) = (self.index(from), self.index(until));
        let known = self.history.view(issued_at).since(from).take_while(|(i, _)| *i < until);
        known.filter_map(|(i, s)| Some((i, self.config.bounded(s.value.ok()?)))).collect()
    }

    pub(crate) fn view(&self) -> View<'_> {
        self.history.view(self.as_of)
    }

    pub(crate) const fn parts(&self) -> (&Calendar, &State) {
        (&self.calendar, &self.state)
    }

    fn rung(&self, now: i64) -> (&'static str, String) {
        let (method, mut because) = self.bare_rung(now);
        if let Some(since) = self.begun.since {
            because = format!(
                "{because}; what came before {} is forgotten, since the series changed",
                self.time(since)
            );
        }
        (method, because)
    }

    /// The rung without what is said of a change.
    fn bare_rung(&self, now: i64) -> (&'static str, String) {
        let siblings = self.shape.as_ref().filter(|_| self.begun.shape.is_some()).map(Shape::siblings);
        let hours = self.calendar.step as f64 / 3600.0;
        let (Some(first), Some(last)) = (self.state.first, self.state.last) else {
            if let Some(siblings) = siblings {
                let level = if self.config.prior.is_some() { "the level told" } else { "their level" };
                let because = format!("nothing measured yet: the day of {} at {level}", counted(siblings));
                return ("sibling-shape", because);
            }
            return ("standard-shape", "nothing measured yet: a standard shape of the day".to_owned());
        };
        let days = (last - first + 1) as f64 * hours / 24.0;
        let age = ((now - last - 1).max(0)) as f64 * hours;
        if let Some(siblings) = siblings.filter(|_| days < 1.0) {
            let shape = format!("the day of {} at the level measured so far", counted(siblings));
            ("scaled-sibling-shape", format!("{:.0} h known: {shape}", days * 24.0))
        } else if days < 1.0 {
            (
                "scaled-shape",
                format!(
                    "{:.0} h known: a standard shape of the day at the level measured so far",
                    days * 24.0
                ),
            )
        } else if age > STALE_HOURS {
            ("profile", format!("no value for {age:.1} h: the usual day of the last weeks"))
        } else if days < 7.0 {
            (
                "young-profile",
                format!("{days:.1} days known: their usual day and how the last hours differ from it"),
            )
        } else {
            (
                "profile-level",
                "the usual day of the last weeks and how the last hours differ from it".to_owned(),
            )
        }
    }
}

fn counted(siblings: usize) -> String {
    if siblings == 1 { "a sibling".to_owned() } else { format!("{siblings} siblings") }
}

/// Who carries a blend, in words.
fn told(members: &[(&'static str, f64)]) -> String {
    let parts: Vec<String> = members
        .iter()
        .filter(|(_, weight)| *weight >= 0.05)
        .take(4)
        .map(|(name, weight)| format!("{name} {:.0} %", weight * 100.0))
        .collect();
    format!("weighed by their recent errors: {}", parts.join(", "))
}

/// The longest grid up to `horizon` steps that representable time allows.
fn fitting_grid(start: Timestamp, step: SignedDuration, horizon: usize) -> TimeGrid {
    let mut len = horizon.min(usize::try_from(MAX_HORIZON).unwrap_or(usize::MAX));
    loop {
        if let Ok(grid) = TimeGrid::new(start, step, len) {
            return grid;
        }
        len /= 2;
    }
}
