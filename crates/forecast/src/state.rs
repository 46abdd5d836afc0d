//! The learned state of a forecaster: fed with values in order of time, it predicts any later step.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::base::Base;
use crate::calendar::{Calendar, Place};
use crate::config::ForecastConfig;
use crate::errors::{ErrorRing, StepErrors, scaled_quantile};
use crate::gains::Gains;
use crate::shape::Shape;

/// Longest lead with gains and errors of its own, in hours; longer leads share those of the last.
const LONGEST_HOURS: i64 = 48;
/// A shape of the day is lent from so much on: one of each weekday.
const SHAPE_SECONDS: i64 = 7 * 86_400;
/// Errors kept per lead: four weeks, one an hour.
const ERRORS: usize = 672;

/// A prediction waiting for its outcome.
#[derive(Clone, Debug)]
struct Issue {
    index: i64,
    fast: f64,
    slow: f64,
    /// Per lead: predicted value and scale.
    predicted: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug)]
struct Next {
    index: i64,
    predicted: f64,
    fast: f64,
    slow: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) base: Base,
    leads: Vec<i64>,
    gains: Vec<Gains>,
    /// Gains of the very next step by its place in the hour: many loads switch on the hour.
    next_gains: Vec<Gains>,
    rings: Vec<ErrorRing>,
    pub(crate) next_errors: StepErrors,
    fast: f64,
    slow: f64,
    pending: VecDeque<Issue>,
    next: Option<Next>,
    pub(crate) first: Option<i64>,
    /// Newest step with a value.
    pub(crate) last: Option<i64>,
    /// Newest step seen, with or without a value.
    pub(crate) seen: Option<i64>,
    keep_slow: f64,
    keep_gains: f64,
}

impl State {
    /// A state that has learned nothing but, where one is lent, the shape of the day.
    pub(crate) fn new(config: &ForecastConfig, calendar: &Calendar, shape: Option<&Shape>) -> Self {
        let per_hour = calendar.steps_per_hour();
        let hours = calendar.step as f64 / 3600.0;
        let leads = lead_points((LONGEST_HOURS * 3600 / calendar.step).max(1));
        let gains: Vec<Gains> = leads.iter().map(|l| Gains::new(*l as f64 * hours)).collect();
        Self {
            base: Base::new(config, calendar.slots(), 24.0 / hours, shape),
            next_gains: vec![Gains::new(hours); usize::try_from(per_hour).unwrap_or(1)],
            rings: vec![ErrorRing::new(ERRORS); leads.len()],
            gains,
            leads,
            next_errors: StepErrors::new(config.history),
            fast: 0.0,
            slow: 0.0,
            pending: VecDeque::new(),
            next: None,
            first: None,
            last: None,
            seen: None,
            keep_slow: 0.5_f64.powf(hours),
            // Gains forget with a half-life of 14 days at one lesson an hour.
            keep_gains: 0.5_f64.powf(1.0 / (14.0 * 24.0)),
        }
    }

    /// The shape of the day as learned so far; none before a week is known.
    pub(crate) fn shape(&self, calendar: &Calendar, known_at: Timestamp) -> Option<Shape> {
        let steps = self.last? - self.first? + 1;
        (steps * calendar.step >= SHAPE_SECONDS)
            .then(|| self.base.shape(known_at, calendar.slot_seconds()))?
    }

    /// Learns one step; steps come in order of time.
    pub(crate) fn absorb(
        &mut self,
        calendar: &Calendar,
        config: &ForecastConfig,
        index: i64,
        value: Option<f64>,
    ) {
        self.seen = Some(index);
        let Some(value) = value.map(|v| config.bounded(v)) else { return };
        let place = calendar.place(index);
        self.score(calendar, index, place, value);
        if let Some(deviation) = self.base.learn(place, value) {
            self.fast = deviation;
            self.slow = self.keep_slow * self.slow + (1.0 - self.keep_slow) * deviation;
        }
        self.first = self.first.or(Some(index));
        self.last = Some(index);
        self.issue(calendar, config, index);
    }

    /// Compares earlier predictions with the outcome.
    fn score(&mut self, calendar: &Calendar, index: i64, place: Place, value: f64) {
        let outcome = self.base.deviation(place, value);
        if let Some(next) = self.next.filter(|n| n.index == index) {
            self.next_errors.push(index, value - next.predicted);
            if let Some(outcome) = outcome {
                let gains = &mut self.next_gains[calendar.step_of_hour(place)];
                gains.learn(next.fast, next.slow, outcome, self.keep_gains);
            }
        }
        for (at, lead) in self.leads.iter().enumerate() {
            let Ok(found) = self.pending.binary_search_by_key(&(index - lead), |p| p.index) else { continue };
            let issue = &self.pending[found];
            let (predicted, scale) = issue.predicted[at];
            if let Some(outcome) = outcome {
                self.gains[at].learn(issue.fast, issue.slow, outcome, self.keep_gains);
            }
            if scale > 0.0 {
                self.rings[at].push((value - predicted) / scale);
            }
        }
    }

    /// Notes predictions from `index`, to be scored later: the next step always, all leads once an hour.
    fn issue(&mut self, calendar: &Calendar, config: &ForecastConfig, index: i64) {
        let next = calendar.place(index + 1);
        let curve = self.curve();
        let predicted = self.mean(calendar, config, &curve, next, 1);
        self.next = Some(Next { index: index + 1, predicted, fast: self.fast, slow: self.slow });
        // Once an hour, at its end: plans are made on the hour, and there most changes come; within it this errs to the safe side.
        if calendar.step_of_hour(next) != 0 {
            return;
        }
        let predicted = self
            .leads
            .iter()
            .map(|lead| {
                let place = calendar.place(index + lead);
                (self.mean(calendar, config, &curve, place, *lead), self.base.spread_at(place))
            })
            .collect();
        self.pending.push_back(Issue { index, fast: self.fast, slow: self.slow, predicted });
        let oldest = index - self.leads.last().copied().unwrap_or(1);
        while self.pending.front().is_some_and(|p| p.index < oldest) {
            self.pending.pop_front();
        }
    }

    /// Deviation expected per lead point.
    pub(crate) fn curve(&self) -> Vec<f64> {
        self.gains.iter().map(|g| g.get()).map(|(f, s)| f * self.fast + s * self.slow).collect()
    }

    /// Mean forecast at a place, `lead` steps after the last value.
    pub(crate) fn mean(
        &self,
        calendar: &Calendar,
        config: &ForecastConfig,
        curve: &[f64],
        place: Place,
        lead: i64,
    ) -> f64 {
        let level = self.base.at(place);
        let deviation = if lead == 1 {
            let (fast, slow) = self.next_gains[calendar.step_of_hour(place)].get();
            fast * self.fast + slow * self.slow
        } else {
            let (low, high, part) = self.between(lead);
            curve[low] * (1.0 - part) + curve[high] * part
        };
        config.bounded(level.base + level.weight * deviation)
    }

    /// Quantile tables of scaled errors: one row per lead point, one column per quantile.
    pub(crate) fn tables(&self, quantiles: &[f64]) -> Vec<Vec<f64>> {
        self.rings.iter().map(|r| quantiles.iter().map(|q| scaled_quantile(r, *q)).collect()).collect()
    }

    /// Neighbouring lead points of a lead and how far it lies between them.
    pub(crate) fn between(&self, lead: i64) -> (usize, usize, f64) {
        between(&self.leads, lead)
    }
}

/// 1, 2, 3, 4, 6, 8, 12, 16, … up to `longest`.
pub(crate) fn lead_points(longest: i64) -> Vec<i64> {
    let doubling = (0..40).map(|n| 1_i64 << n).flat_map(|p| [p, p + p / 2]);
    let mut points: Vec<i64> = doubling.take_while(|p| *p < longest).chain([longest]).collect();
    points.sort_unstable();
    points.dedup();
    points
}

/// Neighbours of `lead` among `points` and how far it lies between them, 0…1.
pub(crate) fn between(points: &[i64], lead: i64) -> (usize, usize, f64) {
    let high = points.partition_point(|l| *l < lead).min(points.len() - 1);
    let low = high.saturating_sub(usize::from(points[high] > lead));
    let width = points[high] - points[low];
    let part = if width > 0 { ((lead - points[low]) as f64 / width as f64).clamp(0.0, 1.0) } else { 0.0 };
    (low, high, part)
}
