//! Forecast of a sum: the means of its members, quantiles from the sum's own errors.

use std::collections::VecDeque;

use jiff::Timestamp;
use sos_units::Reading;

use crate::config::{ConfigError, ForecastConfig};
use crate::errors::{ErrorRing, scaled_quantile};
use crate::forecaster::{Forecast, Forecaster, Hours, NextStep};
use crate::state::{between, lead_points};

const ERRORS: usize = 672;
const LONGEST_HOURS: i64 = 48;

/// Predictions of one sum waiting for their outcome: its first step and, per lead point within the horizon, mean and spread.
type Issue = (i64, Vec<Option<(f64, f64)>>);

/// Forecasts an aggregate, such as a site's net load, from forecasts of its members.
///
/// Members err together or against each other, so their quantiles must not be added: the aggregate's quantiles come
/// from how far earlier sums were off. The aggregate itself is observed as well.
#[derive(Clone, Debug)]
pub struct SumForecaster {
    own: Forecaster,
    leads: Vec<i64>,
    rings: Vec<ErrorRing>,
    /// In order of time.
    pending: VecDeque<Issue>,
    scored: i64,
    as_of: Timestamp,
}

impl SumForecaster {
    /// `config` describes the aggregate; its step must be that of the members.
    ///
    /// # Errors
    /// As [`Forecaster::new`].
    pub fn new(config: ForecastConfig) -> Result<Self, ConfigError> {
        let own = Forecaster::new(config)?;
        let leads = lead_points((LONGEST_HOURS * 3600 / own.config().step.as_secs()).max(1));
        let rings = vec![ErrorRing::new(ERRORS); leads.len()];
        Ok(Self { own, leads, rings, pending: VecDeque::new(), scored: i64::MIN, as_of: Timestamp::MIN })
    }

    /// As [`Forecaster::observe`], for the aggregate.
    pub fn observe(&mut self, time: Timestamp, known_at: Timestamp, value: Reading<f64>) {
        self.own.observe(time, known_at, value);
    }

    /// As [`Forecaster::next_step`], from the aggregate's own past: the follower's view of the running tick.
    pub fn next_step(&mut self, issued_at: Timestamp, q: f64, hours: Hours) -> NextStep {
        self.own.next_step(issued_at, q, hours)
    }

    /// Sum of `members` times their factors (+1 for load, −1 for generation), over the steps all of them cover. Members
    /// must be issued at `issued_at` on one grid; without members, or with different grids, the aggregate's own
    /// forecast is returned. Going back in time forgets the errors of sums learned so far.
    pub fn forecast(
        &mut self,
        issued_at: Timestamp,
        horizon: usize,
        members: &[(&Forecast, f64)],
    ) -> Forecast {
        if issued_at < self.as_of {
            self.rings.iter_mut().for_each(|r| *r = ErrorRing::new(ERRORS));
            self.pending.clear();
            self.scored = i64::MIN;
        }
        self.as_of = issued_at;
        let mut sum = self.own.forecast(issued_at, horizon);
        self.score();
        let fits = |f: &Forecast| {
            f.issued_at <= issued_at
                && f.grid.start() == sum.grid.start()
                && f.grid.step() == sum.grid.step()
                && f.mean.len() >= sum.mean.len()
        };
        if members.is_empty() || !members.iter().all(|(f, _)| fits(f)) {
            return sum;
        }
        for (at, mean) in sum.mean.iter_mut().enumerate() {
            *mean = self.own.config().bounded(members.iter().map(|(f, factor)| factor * f.mean[at]).sum());
        }
        self.set_quantiles(&mut sum);
        self.note(&sum);
        sum.method = "sum-of-members";
        sum.because =
            format!("sum of {} forecasts; uncertainty from the errors of earlier sums", members.len());
        sum
    }

    fn set_quantiles(&self, sum: &mut Forecast) {
        let (calendar, state) = self.own.parts();
        let first = calendar.index(sum.grid.start());
        for (q, values) in &mut sum.quantiles {
            let table: Vec<f64> = self.rings.iter().map(|r| scaled_quantile(r, *q)).collect();
            for (at, value) in values.iter_mut().enumerate() {
                let (low, high, part) = between(&self.leads, at as i64 + 1);
                let error = table[low] * (1.0 - part) + table[high] * part;
                let spread = state.base.spread_at(calendar.place(first + at as i64));
                *value = self.own.config().bounded(sum.mean[at] + spread * error);
            }
        }
    }

    /// Keeps a sum's predictions for scoring; one per first step.
    fn note(&mut self, sum: &Forecast) {
        let (calendar, state) = self.own.parts();
        let first = calendar.index(sum.grid.start());
        if self.pending.back().is_some_and(|(i, _)| *i >= first) {
            return;
        }
        let predict = |lead: &i64| {
            let mean = sum.mean.get(usize::try_from(lead - 1).ok()?)?;
            Some((*mean, state.base.spread_at(calendar.place(first + lead - 1))))
        };
        self.pending.push_back((first, self.leads.iter().map(predict).collect()));
        let longest = self.leads.last().copied().unwrap_or(1);
        while self.pending.front().is_some_and(|(i, _)| *i < first - longest) {
            self.pending.pop_front();
        }
    }

    /// Compares earlier sums with what became known since.
    fn score(&mut self) {
        let known: Vec<(i64, f64)> = {
            let from = self.scored.saturating_add(1).max(self.pending.front().map_or(i64::MAX, |(i, _)| *i));
            self.own.view().since(from).filter_map(|(i, s)| s.value.ok().map(|v| (i, v))).collect()
        };
        for (index, value) in known {
            for (at, lead) in self.leads.iter().enumerate() {
                let Ok(found) = self.pending.binary_search_by_key(&(index - lead + 1), |(i, _)| *i) else {
                    continue;
                };
                if let Some((mean, spread)) = self.pending[found].1[at].filter(|(_, spread)| *spread > 0.0) {
                    self.rings[at].push((value - mean) / spread);
                }
            }
            self.scored = index;
        }
    }
}
