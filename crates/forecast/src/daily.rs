//! The family for horizons of hours to days: a block of steps is forecast from blocks of days that begin at the same
//! time of day. Members are judged by what they would have said at earlier such points.

use std::collections::{BTreeSet, VecDeque};

use nalgebra::DVector;

use crate::blend::{self, Block, Point};
use crate::config::{Character, ForecastConfig};
use crate::experts::clear_sky::{self, Place};
use crate::experts::linear::{self, DayInfo, Inputs, Moments, Scale};
use crate::experts::power_curve::PowerCurve;
use crate::experts::profile::Profile;
use crate::experts::trees::{Lesson, Trees};
use crate::experts::{decomposed, naive};
use crate::holidays;
use crate::panel::{Panel, Seen};
use crate::spread;

/// Points at which members are judged when a series is met for the first time.
const FIRST_POINTS: usize = 45;
/// Points after which the weight of an error halves.
const HALF_LIFE: f64 = 30.0;
/// Points kept.
const POINTS: usize = 90;
/// Days that a lesson reaches back.
const REACH_DAYS: usize = 14;
/// Days learned from, at most.
const MOST_DAYS: usize = 1500;
/// Lessons before the regressions speak.
const FEWEST_LESSONS: usize = 15;
/// Points after which trees are grown anew; more while catching up.
const TREES_EVERY: usize = 7;
const TREES_EVERY_BEHIND: usize = 15;
/// Share of a block that must have been measured for it to be a lesson.
const MEASURED: f64 = 0.75;
/// Strengths of the ridge.
const RIDGES: [f64; 6] = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
/// Half-lives of the lessons of the regressions, in days.
const HALF_LIVES: [f64; 2] = [60.0, 200.0];
/// Days from which the profile learns.
const PROFILE_DAYS: usize = 60;
/// Days without any value at a time of day after which it counts as night.
const DARK_DAYS: usize = 10;

/// Upper ends of the ranges of lead times with weights of their own, in hours.
const RANGE_HOURS: [f64; 6] = [1.0, 3.0, 6.0, 12.0, 24.0, 48.0];

const MEAN_7: usize = 2;
const POWER_CURVE: usize = 10;
const FIXED: [&str; 11] = [
    "day",
    "week",
    "mean-7",
    "mean-28",
    "weekday",
    "profile",
    "decomposed",
    "clear-sky",
    "trees",
    "mean-trees",
    "power-curve",
];

/// The family at one time of day; see the module.
#[derive(Clone, Debug)]
pub(crate) struct Daily {
    leads: usize,
    /// Place in the panel of the next point.
    next: usize,
    regressions: Vec<Regression>,
    /// Start of the next block to learn from.
    lesson: usize,
    scale: Scale,
    profile: Profile,
    curve: PowerCurve,
    trees: Option<(usize, [Option<Trees>; 2])>,
    place: Option<(usize, Option<Place>)>,
    holidays: BTreeSet<i64>,
    points: VecDeque<Point>,
}

#[derive(Clone, Debug)]
struct Regression {
    inputs: Inputs,
    scale: Scale,
    /// For each of [`HALF_LIVES`]; none before the first lesson.
    moments: Option<[Moments; 2]>,
}

impl Daily {
    /// A family whose latest point is `end`, with as many earlier ones as there are data for.
    pub(crate) fn new(
        panel: &Panel,
        config: &ForecastConfig,
        per_day: usize,
        end: usize,
        leads: usize,
    ) -> Self {
        let back = (end / per_day).saturating_sub(REACH_DAYS).min(FIRST_POINTS);
        let next = end - back * per_day;
        let reach = (next / per_day).min(MOST_DAYS);
        let scale = Scale::of(&panel.seen(next.max(per_day).min(end)));
        let scales = if scale.asinh { vec![scale.plain(), scale] } else { vec![scale] };
        let kinds = scales.into_iter().flat_map(|scale| [Inputs::Rich, Inputs::Compact].map(|i| (i, scale)));
        let regressions = kinds.map(|(inputs, scale)| Regression { inputs, scale, moments: None });
        Self {
            leads,
            next,
            regressions: regressions.collect(),
            lesson: next - reach.saturating_sub(REACH_DAYS).min(reach) * per_day,
            scale,
            profile: Profile::new(config, next.saturating_sub(PROFILE_DAYS * per_day)),
            curve: PowerCurve::new(next.saturating_sub(MOST_DAYS * per_day)),
            trees: None,
            place: None,
            holidays: config.country.as_deref().and_then(holidays::days).unwrap_or_default(),
            points: VecDeque::new(),
        }
    }

    /// Whether this family can say what is asked at `end`.
    pub(crate) fn serves(&self, per_day: usize, end: usize, leads: usize) -> bool {
        // One point more than was forecast last: the last one may be asked for again.
        self.leads >= leads
            && end + per_day >= self.next
            && (end + per_day - self.next).is_multiple_of(per_day)
    }

    /// The block that begins at `end`.
    pub(crate) fn forecast(
        &mut self,
        panel: &Panel,
        config: &ForecastConfig,
        per_day: usize,
        end: usize,
    ) -> Block {
        if end < self.next {
            // Asked again: the point is made anew from what is known now.
            self.points.pop_back();
            self.next = end;
        }
        loop {
            let at = self.next;
            let behind = (end - at) / per_day;
            let block = self.point(panel, config, at, behind);
            self.next = at + per_day;
            if behind == 0 {
                return block;
            }
        }
    }

    fn point(&mut self, panel: &Panel, config: &ForecastConfig, at: usize, behind: usize) -> Block {
        let seen = panel.seen(at);
        self.learn(panel, at);
        let made = blend::bounded(self.members(panel, config, &seen, behind), config);
        let points: Vec<&Point> = self.points.iter().collect();
        let per_hour = seen.per_day as f64 / 24.0;
        let ranges = blend::ranges(self.leads, RANGE_HOURS.map(|hours| (hours * per_hour).round() as usize));
        let (mut issued, raw_mean, carried) =
            blend::blend(&points, seen.raw, &ranges, &made, (reference(&made), HALF_LIFE));
        let bias = blend::bias(&points, seen.raw, HALF_LIFE);
        let mut mean: Vec<f64> = raw_mean.iter().map(|v| config.bounded(v + bias)).collect();
        let scale = self.error_scale(&seen);
        let near = (seen.per_day / 24).max(1);
        let mut quantiles =
            spread::quantiles(&points, seen.raw, (&issued, &scale), &config.quantiles, near, HALF_LIFE);
        for lead in 0..self.leads {
            if is_dark(&seen, config, lead) {
                issued[lead] = 0.0;
                mean[lead] = 0.0;
                quantiles.iter_mut().for_each(|row| row[lead] = 0.0);
            }
            quantiles.iter_mut().for_each(|row| row[lead] = config.bounded(row[lead]));
        }
        let (made, quantiles_issued) = (blend::small(made), quantiles.clone());
        let point = Point { start: at, made, issued, mean: raw_mean, scale, quantiles: quantiles_issued };
        self.points.push_back(point);
        if self.points.len() > POINTS {
            self.points.pop_front();
        }
        Block { mean, quantiles, members: blend::shares(&carried, |member| self.name(member)) }
    }

    fn name(&self, member: usize) -> &'static str {
        let inputs = |at: usize| self.regressions[at / (RIDGES.len() * HALF_LIVES.len())].inputs;
        FIXED.get(member).copied().unwrap_or_else(|| match inputs(member - FIXED.len()) {
            Inputs::Rich => "rich regression",
            Inputs::Compact => "compact regression",
        })
    }

    /// Learns all blocks that are complete at `at`.
    fn learn(&mut self, panel: &Panel, at: usize) {
        let seen = panel.seen(at);
        while self.lesson + self.leads <= at {
            let start = self.lesson;
            self.lesson += seen.per_day;
            if panel.seen(start + self.leads).measured(start) < MEASURED || start < REACH_DAYS * seen.per_day
            {
                continue;
            }
            let before = panel.seen(start);
            let day = DayInfo::of(&before, &self.holidays);
            let came = &panel.seen(start + self.leads).values[start..];
            for regression in &mut self.regressions {
                let scale = regression.scale;
                let x = linear::inputs(regression.inputs, &before, &scale, &day);
                let y = DVector::from_iterator(self.leads, came.iter().map(|v| scale.forward(*v)));
                let new = || HALF_LIVES.map(|_| Moments::new(x.len(), self.leads));
                for (moments, life) in regression.moments.get_or_insert_with(new).iter_mut().zip(HALF_LIVES) {
                    moments.add(0.5_f64.powf(1.0 / life), &x, &y);
                }
            }
        }
    }

    fn members(
        &mut self,
        panel: &Panel,
        config: &ForecastConfig,
        seen: &Seen<'_>,
        behind: usize,
    ) -> Vec<Option<Vec<f64>>> {
        let leads = self.leads;
        let day = DayInfo::of(seen, &self.holidays);
        let days = seen.end() / seen.per_day;
        let mut made = vec![
            Some(naive::day(seen, leads)),
            (days >= 7).then(|| naive::week(seen, leads)),
            Some(naive::mean_of_days(seen, leads, 7)),
            (days >= 8).then(|| naive::mean_of_days(seen, leads, 28)),
            (days >= 14).then(|| naive::mean_of_weeks(seen, leads)),
            Some(self.profile.expect(config, seen, leads)),
            decomposed::expect(seen, leads),
            self.clear_sky(config, seen),
        ];
        made.extend(self.grown(panel, seen, &day, behind));
        made.push(self.curve.expect(config, seen, leads));
        for Regression { inputs, scale, moments } in &self.regressions {
            let Some(moments) = moments.as_ref().filter(|m| m[0].count() >= FEWEST_LESSONS) else {
                made.extend(HALF_LIVES.iter().flat_map(|_| RIDGES).map(|_| None));
                continue;
            };
            let x = linear::inputs(*inputs, seen, scale, &day);
            let back = |e: DVector<f64>| e.iter().map(|z| scale.back(*z)).collect();
            made.extend(moments.iter().flat_map(|m| m.expect(&RIDGES, &x)).map(|e| e.map(back)));
        }
        made
    }

    /// Errors of solar power grow with the sun that a clear sky would bring; those of all else are taken as they are.
    fn error_scale(&self, seen: &Seen<'_>) -> Vec<f64> {
        let Some((_, Some(place))) = self.place.as_ref() else { return vec![1.0; self.leads] };
        let clear = place.block(seen, seen.end(), self.leads);
        let highest = clear.iter().copied().fold(0.0, f64::max);
        clear.into_iter().map(|c| c.max(0.02 * highest).max(1e-9)).collect()
    }

    fn clear_sky(&mut self, config: &ForecastConfig, seen: &Seen<'_>) -> Option<Vec<f64>> {
        if config.character != Character::Solar {
            return None;
        }
        let old = self.place.as_ref().is_none_or(|(at, _)| seen.end() > at + 30 * seen.per_day);
        if old {
            self.place = Some((seen.end(), Place::learned(seen, config.latitude)));
        }
        let place = self.place.as_ref()?.1?;
        clear_sky::expect(seen, &place, self.leads)
    }

    fn grown(
        &mut self,
        panel: &Panel,
        seen: &Seen<'_>,
        day: &DayInfo,
        behind: usize,
    ) -> [Option<Vec<f64>>; 2] {
        let per_day = seen.per_day;
        let every = if behind > 0 { TREES_EVERY_BEHIND } else { TREES_EVERY };
        let old = self.trees.as_ref().is_none_or(|(at, _)| seen.end() >= at + every * per_day);
        if old {
            let first = seen.end() % per_day;
            let starts = (first..seen.end()).step_by(per_day).skip(REACH_DAYS);
            let starts = starts.filter(|start| start + self.leads <= seen.end());
            let all = panel.seen(seen.end());
            let lessons: Vec<Lesson<'_>> = starts
                .map(|start| {
                    let seen = panel.seen(start);
                    let day = DayInfo::of(&seen, &self.holidays);
                    Lesson { seen, day, came: &all.raw[start..start + self.leads] }
                })
                .collect();
            let median = Trees::fit(&lessons, self.scale, blend::Loss::Absolute);
            let mean = Trees::fit(&lessons, self.scale.plain(), blend::Loss::Squared);
            self.trees = Some((seen.end(), [median, mean]));
        }
        let Some((_, trees)) = &self.trees else { return [None, None] };
        trees.each_ref().map(|t| t.as_ref()?.expect(seen, day, self.leads))
    }
}

/// Whom the others are compared with, and who speaks before there is anything to compare: wind known ahead says more
/// than the days before.
fn reference(made: &[Option<Vec<f64>>]) -> usize {
    if made[POWER_CURVE].is_some() { POWER_CURVE } else { MEAN_7 }
}

/// Whether nothing at all came at this time of day, and beside it, for many days: night.
fn is_dark(seen: &Seen<'_>, config: &ForecastConfig, lead: usize) -> bool {
    if config.character != Character::Solar {
        return false;
    }
    let near = (seen.per_day / 24).max(1);
    let from = seen.days_to_seen(lead + near);
    let none = |days: usize| {
        [lead.saturating_sub(near), lead, lead + near].iter().all(|l| seen.days_before(*l, days) <= 0.0)
    };
    (from..from + DARK_DAYS).all(none)
}
