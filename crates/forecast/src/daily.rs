//! The family for horizons of hours to days: a block of steps is forecast from blocks of days that begin at the same
//! time of day. Members are judged by what they would have said at earlier such points.

use std::collections::{BTreeSet, VecDeque};

use nalgebra::DVector;

use crate::blend::{self, Point};
use crate::calendar::Calendar;
use crate::config::{Character, ForecastConfig};
use crate::experts::clear_sky::{self, Place};
use crate::experts::linear::{self, DayInfo, Inputs, Moments, Scale};
use crate::experts::trees::{Lesson, Trees};
use crate::experts::{decomposed, naive};
use crate::holidays;
use crate::panel::{Panel, Seen, robust};
use crate::spread;
use crate::state::State;

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

const MEAN_7: usize = 2;
const FIXED: [&str; 10] = [
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
];

/// What is forecast for a block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) mean: Vec<f64>,
    pub(crate) quantiles: Vec<Vec<f64>>,
    /// Members that carry the forecast, with their weight over the whole block, heaviest first.
    pub(crate) members: Vec<(String, f64)>,
}

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
    trees: Option<(usize, [Option<Trees>; 2])>,
    place: Option<(usize, Option<Place>)>,
    holidays: BTreeSet<i64>,
    points: VecDeque<Point>,
}

#[derive(Clone, Debug)]
struct Regression {
    inputs: Inputs,
    scale: Scale,
    keep: f64,
    moments: Option<Moments>,
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
        let half = |half_life: f64| 0.5_f64.powf(1.0 / half_life);
        let scale = scale_of(&panel.seen(next.max(per_day).min(end)));
        let plain = Scale { asinh: false, ..scale };
        let scales = if scale.asinh { vec![plain, scale] } else { vec![plain] };
        let kinds = scales.into_iter().flat_map(|scale| [Inputs::Rich, Inputs::Compact].map(|i| (i, scale)));
        let regressions = kinds.flat_map(|(inputs, scale)| {
            HALF_LIVES.map(|life| Regression { inputs, scale, keep: half(life), moments: None })
        });
        Self {
            leads,
            next,
            regressions: regressions.collect(),
            lesson: next - reach.saturating_sub(REACH_DAYS).min(reach) * per_day,
            scale,
            profile: Profile::new(config, next.saturating_sub(PROFILE_DAYS * per_day)),
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
        let made: Vec<Option<Vec<f64>>> = self
            .members(panel, config, &seen, behind)
            .into_iter()
            .map(|m| m.map(|m| bounded(m, config)))
            .collect();
        let hours = 24.0 / seen.per_day as f64;
        let points: Vec<&Point> = self.points.iter().collect();
        let ranges = blend::ranges(self.leads, hours);
        let (mut issued, raw_mean, carried) =
            blend::blend(&points, seen.raw, &ranges, &made, (MEAN_7, HALF_LIFE));
        let bias = blend::bias(&points, seen.raw, HALF_LIFE);
        let mut mean: Vec<f64> = raw_mean.iter().map(|v| config.bounded(v + bias)).collect();
        let near = (seen.per_day / 24).max(1);
        let mut quantiles = spread::quantiles(&points, seen.raw, &issued, &config.quantiles, near, HALF_LIFE);
        for lead in 0..self.leads {
            if is_dark(&seen, config, lead) {
                issued[lead] = 0.0;
                mean[lead] = 0.0;
                quantiles.iter_mut().for_each(|row| row[lead] = 0.0);
            }
            quantiles.iter_mut().for_each(|row| row[lead] = config.bounded(row[lead]));
        }
        let small = |block: Vec<f64>| block.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
        self.points.push_back(Point {
            start: at,
            made: made.into_iter().map(|m| m.map(small)).collect(),
            issued,
            mean: raw_mean,
            quantiles: quantiles.clone(),
        });
        while self.points.len() > POINTS {
            self.points.pop_front();
        }
        Block { mean, quantiles, members: self.named(&carried) }
    }

    fn named(&self, carried: &[f64]) -> Vec<(String, f64)> {
        let name = |member: usize| match FIXED.get(member) {
            Some(name) => (*name).to_owned(),
            None => {
                let at = member - FIXED.len();
                let regression = &self.regressions[at / RIDGES.len()];
                format!("{:?} regression", regression.inputs).to_lowercase()
            }
        };
        let mut sums: Vec<(String, f64)> = Vec::new();
        for (member, weight) in carried.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            let name = name(member);
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += weight,
                None => sums.push((name, *weight)),
            }
        }
        sums.sort_by(|a, b| b.1.total_cmp(&a.1));
        sums
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
            let day = day_info(&before, &self.holidays);
            let came = &panel.seen(start + self.leads).values[start..];
            let mut last: Option<(Inputs, Scale, DVector<f64>)> = None;
            for regression in &mut self.regressions {
                let scale = regression.scale;
                let y = DVector::from_iterator(self.leads, came.iter().map(|v| scale.forward(*v)));
                let x = match last.take() {
                    Some((kind, with, x)) if kind == regression.inputs && with == scale => x,
                    _ => linear::inputs(regression.inputs, &before, &scale, &day),
                };
                let moments = regression.moments.get_or_insert_with(|| Moments::new(x.len(), self.leads));
                moments.add(regression.keep, &x, &y);
                last = Some((regression.inputs, scale, x));
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
        let day = day_info(seen, &self.holidays);
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
        let mut input: Option<(Inputs, Scale, DVector<f64>)> = None;
        for regression in &self.regressions {
            let Some(moments) = regression.moments.as_ref().filter(|m| m.count() >= FEWEST_LESSONS) else {
                made.extend(RIDGES.map(|_| None));
                continue;
            };
            let x = match input.take() {
                Some((kind, with, x)) if kind == regression.inputs && with == regression.scale => x,
                _ => linear::inputs(regression.inputs, seen, &regression.scale, &day),
            };
            let expected = moments.expect(&RIDGES, &x);
            let back = |e: DVector<f64>| e.iter().map(|z| regression.scale.back(*z)).collect();
            made.extend(expected.into_iter().map(|e| e.map(back)));
            input = Some((regression.inputs, regression.scale, x));
        }
        made
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
                    let day = day_info(&seen, &self.holidays);
                    Lesson { seen, day, came: &all.raw[start..start + self.leads] }
                })
                .collect();
            let plain = Scale { asinh: false, ..self.scale };
            let median = Trees::fit(&lessons, self.scale, blend::Loss::Absolute);
            let mean = Trees::fit(&lessons, plain, blend::Loss::Squared);
            self.trees = Some((seen.end(), [median, mean]));
        }
        let Some((_, trees)) = &self.trees else { return [None, None] };
        trees.each_ref().map(|t| t.as_ref()?.expect(seen, day, self.leads))
    }
}

/// The incremental model of short leads, replayed on the panel.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    state: State,
    calendar: Calendar,
    next: usize,
}

impl Profile {
    pub(crate) fn new(config: &ForecastConfig, from: usize) -> Self {
        // The panel keeps local time already.
        let local = ForecastConfig { time_zone: jiff::tz::TimeZone::UTC, ..config.clone() };
        let calendar = Calendar::new(&local);
        Self { state: State::new(config, &calendar), calendar, next: from }
    }

    pub(crate) fn expect(&mut self, config: &ForecastConfig, seen: &Seen<'_>, leads: usize) -> Vec<f64> {
        let index = |at: usize| seen.index(at);
        for at in self.next..seen.end() {
            let value = seen.raw[at];
            self.state.absorb(&self.calendar, config, index(at), value.is_finite().then_some(value));
        }
        self.next = seen.end();
        let curve = self.state.curve();
        let last = self.state.last.unwrap_or(index(seen.end()) - 1);
        (0..leads)
            .map(|lead| {
                let at = index(seen.end() + lead);
                let place = self.calendar.place(at);
                self.state.mean(&self.calendar, config, &curve, place, (at - last).max(1))
            })
            .collect()
    }
}

/// What the calendar says of the block that begins where `seen` ends: the day in which most of its first day lies.
fn day_info(seen: &Seen<'_>, holidays: &BTreeSet<i64>) -> DayInfo {
    let day = seen.day(seen.end() + seen.per_day / 2);
    // 1 January 1970 was a Thursday.
    let weekday = usize::try_from((day + 4).rem_euclid(7)).unwrap_or(0);
    let weekday = if holidays.contains(&day) { 0 } else { weekday };
    DayInfo { weekday, season: clear_sky::season(day) }
}

/// Centre, width and shape of a series' values.
pub(crate) fn scale_of(seen: &Seen<'_>) -> Scale {
    let (centre, width) = robust(seen.values);
    let width = if width > 0.0 { width } else { centre.abs().max(1.0) };
    // Far tails, or both signs around a level of one: as prices are.
    let fourth = seen.values.iter().map(|v| ((v - centre) / width).powi(4).min(1e6)).sum::<f64>();
    let second = seen.values.iter().map(|v| ((v - centre) / width).powi(2).min(1e3)).sum::<f64>();
    let n = seen.values.len().max(1) as f64;
    let kurtosis = (fourth / n) / (second / n).powi(2).max(1e-12);
    let negative = seen.values.iter().filter(|v| **v < 0.0).count() as f64 / n;
    Scale { centre, width, asinh: kurtosis > 8.0 || (0.002..0.2).contains(&negative) }
}

pub(crate) fn bounded(block: Vec<f64>, config: &ForecastConfig) -> Vec<f64> {
    block.into_iter().map(|v| config.bounded(if v.is_finite() { v } else { 0.0 })).collect()
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
