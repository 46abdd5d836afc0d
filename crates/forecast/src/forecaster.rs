//! The forecaster of one series.

use jiff::{SignedDuration, Timestamp};
use sos_units::{Missing, Reading, TimeGrid};

use crate::calendar::Calendar;
use crate::config::{ConfigError, Family, ForecastConfig};
use crate::errors::conformal;
use crate::full::Full;
use crate::history::{History, View};
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
    /// Rung of the fallback ladder: `standard-shape` (no data), `scaled-shape` (under a day), `young-profile`
    /// (under a week), `profile` (last value over 3 h old) or `profile-level`.
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

/// Errors wanted before their quantile is used.
const ENOUGH_NEXT: usize = 10;

/// Forecasts one series, incrementally.
#[derive(Clone, Debug)]
pub struct Forecaster {
    config: ForecastConfig,
    calendar: Calendar,
    history: History,
    state: State,
    full: Option<Full>,
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
        let state = State::new(&config, &calendar);
        let full = (config.family == Family::Full).then(|| Full::new(&config, &calendar));
        Ok(Self { config, calendar, history, state, full, as_of: Timestamp::MIN, late: None })
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

    /// Forecasts `horizon` steps (at most 20 000), the first being the step that contains `issued_at`.
    ///
    /// Learns what became known since the last call. An issue time before an earlier call's is served correctly, from
    /// what was known then, but slowly (the model is rebuilt).
    pub fn forecast(&mut self, issued_at: Timestamp, horizon: usize) -> Forecast {
        self.advance(issued_at);
        let first = self.calendar.index(issued_at);
        let grid = fitting_grid(self.calendar.time(first), self.config.step, horizon);
        if let Some(full) = &mut self.full
            && let Some((block, method)) = full.forecast(&self.config, &self.calendar, first, grid.len())
        {
            let because = told(&block.members);
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
        if issued_at < self.as_of || self.late.is_some_and(|late| late <= issued_at) {
            self.state = State::new(&self.config, &self.calendar);
            self.full.iter_mut().for_each(Full::reset);
        }
        let view = self.history.view(issued_at);
        let from = self.state.seen.map_or(i64::MIN, |seen| seen.saturating_add(1));
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

    pub(crate) fn view(&self) -> View<'_> {
        self.history.view(self.as_of)
    }

    pub(crate) const fn parts(&self) -> (&Calendar, &State) {
        (&self.calendar, &self.state)
    }

    fn rung(&self, now: i64) -> (&'static str, String) {
        let hours = self.calendar.step as f64 / 3600.0;
        let (Some(first), Some(last)) = (self.state.first, self.state.last) else {
            return ("standard-shape", "nothing measured yet: a standard shape of the day".to_owned());
        };
        let days = (last - first + 1) as f64 * hours / 24.0;
        let age = ((now - last - 1).max(0)) as f64 * hours;
        if days < 1.0 {
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
