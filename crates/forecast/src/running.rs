//! The family for horizons of a few steps, and for series too young for days to be compared: every step is a lesson.

use std::collections::VecDeque;

use nalgebra::DVector;

use crate::blend::{self, Block, Point};
use crate::config::ForecastConfig;
use crate::experts::linear::{Moments, Scale};
use crate::experts::naive;
use crate::experts::power_curve::PowerCurve;
use crate::experts::profile::Profile;
use crate::panel::{Panel, Seen};
use crate::spread;

/// Longest block, in steps.
pub(crate) const MOST_LEADS: usize = 60;
/// Rows before this family speaks.
pub(crate) const FEWEST_ROWS: usize = 40;
/// Steps learned from when a series is met for the first time.
const FIRST_LESSONS: usize = 20_000;
/// Points judged when a series is met for the first time, and kept.
const POINTS: usize = 400;
/// Points after which the weight of an error halves.
const HALF_LIFE: f64 = 120.0;
/// Lessons before the regressions speak.
const FEWEST_LESSONS: usize = 30;
const RIDGES: [f64; 3] = [0.001, 0.03, 0.3];
/// Half-lives of lessons, in steps.
const HALF_LIVES: [f64; 2] = [700.0, 6000.0];
/// Latest values put in one by one.
const LATEST: usize = 8;
/// Bins of the same block a day before.
const BINS: usize = 8;

/// Upper ends of the ranges of leads with weights of their own.
const RANGES: [usize; 5] = [1, 3, 6, 12, 24];

const LAST: usize = 0;
const POWER_CURVE: usize = 6;
const FIXED: [&str; 7] = ["last", "smooth-3", "smooth-10", "day", "week", "profile", "power-curve"];

/// The family; see the module.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    leads: usize,
    stride: usize,
    lesson: usize,
    point: usize,
    regressions: Vec<Regression>,
    profile: Profile,
    curve: PowerCurve,
    points: VecDeque<Point>,
}

#[derive(Clone, Debug)]
struct Regression {
    scale: Scale,
    keep: f64,
    moments: Option<Moments>,
}

impl Running {
    pub(crate) fn new(panel: &Panel, config: &ForecastConfig, end: usize, leads: usize) -> Self {
        let leads = leads.clamp(1, MOST_LEADS);
        let stride = leads.div_ceil(2);
        let start = end.saturating_sub(FIRST_LESSONS);
        let plain = Scale::of(&panel.seen(start.max(200).min(end))).plain();
        // Drawn in from a tenth of the level on, changes count in proportion, as they do in rates.
        let level = plain.centre.abs().max(plain.width);
        let drawn = Scale { centre: 0.0, width: (level * 0.1).max(1e-9), asinh: true };
        let regressions = [plain, drawn]
            .into_iter()
            .flat_map(|scale| HALF_LIVES.map(|life| (scale, life)))
            .map(|(scale, life)| Regression { scale, keep: 0.5_f64.powf(1.0 / life), moments: None })
            .collect();
        let first_point = end.saturating_sub(POINTS * stride).max(start).max(FEWEST_ROWS.min(end) / 2);
        let first_point = first_point.next_multiple_of(stride);
        let profile =
            Profile::new(config, start.min(first_point.saturating_sub(60 * panel.seen(end).per_day)));
        Self {
            leads,
            stride,
            lesson: start,
            point: first_point,
            regressions,
            profile,
            curve: PowerCurve::new(start),
            points: VecDeque::new(),
        }
    }

    pub(crate) const fn serves(&self, end: usize, leads: usize) -> bool {
        let leads = if leads < MOST_LEADS { leads } else { MOST_LEADS };
        self.leads >= leads && end + self.stride >= self.point
    }

    /// The block that begins at `end`, at most [`MOST_LEADS`] long.
    pub(crate) fn forecast(&mut self, panel: &Panel, config: &ForecastConfig, end: usize) -> Block {
        while self.point < end {
            let at = self.point;
            let (point, _) = self.judge(panel, config, at);
            self.points.push_back(point);
            if self.points.len() > POINTS {
                self.points.pop_front();
            }
            self.point += self.stride;
        }
        self.judge(panel, config, end).1
    }

    fn judge(&mut self, panel: &Panel, config: &ForecastConfig, at: usize) -> (Point, Block) {
        self.learn(panel, at);
        let seen = panel.seen(at);
        let made = blend::bounded(self.members(config, &seen), config);
        let points: Vec<&Point> = self.points.iter().collect();
        // Errors of rates grow with their level: weights by squares would hear the busiest hours only, so the mean is
        // the median's blend without its bias.
        let reference = if made[POWER_CURVE].is_some() { POWER_CURVE } else { LAST };
        let (issued, _, carried) = blend::blend(
            &points,
            seen.raw,
            &blend::ranges(self.leads, RANGES),
            &made,
            (reference, HALF_LIFE),
        );
        let raw_mean = issued.clone();
        let bias = blend::bias(&points, seen.raw, HALF_LIFE);
        let mean: Vec<f64> = raw_mean.iter().map(|v| config.bounded(v + bias)).collect();
        let ones = vec![1.0; self.leads];
        let mut quantiles =
            spread::quantiles(&points, seen.raw, (&issued, &ones), &config.quantiles, 1, HALF_LIFE);
        quantiles.iter_mut().flatten().for_each(|v| *v = config.bounded(*v));
        let members = blend::shares(&carried, |m| FIXED.get(m).copied().unwrap_or("running regression"));
        let point = Point {
            start: at,
            made: blend::small(made),
            issued,
            mean: raw_mean,
            scale: ones,
            quantiles: quantiles.clone(),
        };
        (point, Block { mean, quantiles, members })
    }

    /// Learns all blocks that are complete at `at`.
    fn learn(&mut self, panel: &Panel, at: usize) {
        while self.lesson + self.leads <= at {
            let start = self.lesson;
            self.lesson += 1;
            let before = panel.seen(start);
            let after = panel.seen(start + self.leads);
            if start < LATEST || after.measured(start.saturating_sub(LATEST)) < 1.0 {
                continue;
            }
            for regression in &mut self.regressions {
                let scale = &regression.scale;
                let x = inputs(&before, scale, self.leads);
                let last = scale.forward(before.back(1));
                let came = after.values[start..].iter().map(|v| scale.forward(*v) - last);
                let y = DVector::from_iterator(self.leads, came);
                let moments = regression.moments.get_or_insert_with(|| Moments::new(x.len(), self.leads));
                moments.add(regression.keep, &x, &y);
            }
        }
    }

    fn members(&mut self, config: &ForecastConfig, seen: &Seen<'_>) -> Vec<Option<Vec<f64>>> {
        let leads = self.leads;
        let smooth = |n: usize| {
            let n = n.min(seen.end()).max(1);
            (1..=n).map(|back| seen.back(back)).sum::<f64>() / n as f64
        };
        let mut made = vec![
            Some(vec![seen.back(1); leads]),
            Some(vec![smooth(3); leads]),
            Some(vec![smooth(10); leads]),
            (seen.end() > seen.per_day).then(|| naive::day(seen, leads)),
            (seen.end() > 7 * seen.per_day).then(|| naive::week(seen, leads)),
            Some(self.profile.expect(config, seen, leads)),
            self.curve.expect(config, seen, leads),
        ];
        for regression in &self.regressions {
            let Some(moments) = regression.moments.as_ref().filter(|m| m.count() >= FEWEST_LESSONS) else {
                made.extend(RIDGES.map(|_| None));
                continue;
            };
            let x = inputs(seen, &regression.scale, leads);
            let last = regression.scale.forward(seen.back(1));
            let back = |z: &f64| regression.scale.back(z + last);
            made.extend(
                moments.expect(&RIDGES, &x).into_iter().map(|e| e.map(|e| e.iter().map(back).collect())),
            );
        }
        made
    }
}

/// The latest values relative to the last one, means of longer times, the same block a day before, time of day.
fn inputs(seen: &Seen<'_>, scale: &Scale, leads: usize) -> DVector<f64> {
    let v = |back: usize| scale.forward(seen.back(back));
    let last = v(1);
    let mut x: Vec<f64> = Vec::with_capacity(32);
    x.push(last);
    x.extend((2..=LATEST).map(|back| v(back) - last));
    let mean = |n: usize, shift: usize| {
        let n = n.min(seen.end()).max(1);
        let step = n.div_ceil(20);
        let picked = (1..=n).step_by(step);
        picked.clone().map(|back| v(back + shift)).sum::<f64>() / picked.count() as f64
    };
    x.extend([mean(15, 0) - last, mean(60, 0) - last, mean(seen.per_day, 0) - last]);
    if seen.end() > seen.per_day + 10 {
        let then = mean(5, seen.per_day);
        let bins = leads.min(BINS);
        let width = leads.div_ceil(bins);
        for bin in 0..bins {
            let lead = (bin * width + width / 2).min(leads - 1);
            let at = (seen.per_day * seen.days_to_seen(lead)).saturating_sub(lead);
            x.push(v(at) - then);
        }
        x.push(then - last);
    } else {
        x.extend(std::iter::repeat_n(0.0, leads.min(BINS) + 1));
    }
    let turn = seen.slot(seen.end()) as f64 / seen.per_day as f64 * std::f64::consts::TAU;
    x.extend([turn.sin(), turn.cos(), (2.0 * turn).sin(), (2.0 * turn).cos()]);
    for column in 0..seen.known_columns().min(BINS) {
        let at = |n: usize| seen.known(column, seen.end() + n);
        let before = if seen.end() > 0 { seen.known(column, seen.end() - 1) } else { at(0) };
        x.extend([at(0), at(leads / 2) - before, at(leads - 1) - before]);
    }
    DVector::from_vec(x)
}
