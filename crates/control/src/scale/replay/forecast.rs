//! What a demand forecaster is asked, and one that needs nothing but the demand itself.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// The demand as known at one instant; what comes later is not in it.
#[derive(Clone, Copy, Debug)]
pub struct PastDemand<'a> {
    /// The instant.
    pub now: Timestamp,
    /// Start of the first step.
    pub start: Timestamp,
    /// Length of a step.
    pub step: SignedDuration,
    /// Mean demand of every step that has ended, requests/s; nothing where it was not measured.
    pub ended: &'a [Option<f64>],
    /// Demand measured last, requests/s: of the pass before, so it may be of the running step.
    pub latest: Option<f64>,
    /// Whether `latest` is of the running step; otherwise it is of the last that ended.
    pub latest_is_running: bool,
}

/// Forecasts demand.
pub trait DemandForecaster {
    /// The demand in requests/s that is not exceeded until `until`, with each of the chances `quantiles`; nothing as
    /// long as too little is known.
    fn forecast(&mut self, past: &PastDemand<'_>, until: Timestamp, quantiles: &[f64]) -> Option<Vec<f64>>;
}

/// Forecasts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoForecast;

impl DemandForecaster for NoForecast {
    fn forecast(&mut self, _: &PastDemand<'_>, _: Timestamp, _: &[f64]) -> Option<Vec<f64>> {
        None
    }
}

/// Steps looked back on: half a day of minutes.
const REACH: usize = 720;
/// Steps after which an error weighs half.
const HALF_LIFE: f64 = 720.0;
/// Steps before anything is said.
const FEWEST: usize = 10;
/// Weight of the newest step in the running spread of growth (the usual value for short series is 0.94 to 0.97).
const SPREAD: f64 = 0.03;

/// Forecasts the next steps from the latest demand and how it moved lately. Three simple members each state a bound:
/// the latest demand times a growth (seen from the present spread of growth), the latest demand plus a rise, and the
/// demand itself of the last half day. The one whose bounds were best lately (least pinball loss) is believed. For minutes ahead,
/// where the latest demand tells more than the time of day; for hours ahead use a forecaster of days.
#[derive(Clone, Debug, Default)]
pub struct RecentDemand {
    taken: usize,
    last: Option<f64>,
    levels: VecDeque<f64>,
    rises: VecDeque<f64>,
    growths: VecDeque<f64>,
    spread: f64,
    judges: Vec<Judge>,
}

/// Bounds and losses for one quantile.
#[derive(Clone, Debug)]
struct Judge {
    quantile: f64,
    losses: [f64; 3],
    judged: usize,
    bounds: Option<Bounds>,
}

/// The members' bounds on one step ahead.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    growth: f64,
    rise: f64,
    level: f64,
}

impl Bounds {
    /// The three bounds `ahead` steps after the demand `base`. Movements add up like those of a random walk.
    fn at(self, base: f64, unit: f64, ahead: f64) -> [f64; 3] {
        let far = ahead.sqrt();
        [(base + unit) * (self.growth * far).exp() - unit, base + self.rise * far, self.level]
    }
}

impl Judge {
    /// The bound of the member that was best lately; the middle one as long as that is not known.
    fn believe(&self, base: f64, ahead: f64) -> Option<f64> {
        let mut bounds = self.bounds?.at(base, UNIT, ahead);
        if self.judged < FEWEST {
            bounds.sort_by(f64::total_cmp);
            return Some(bounds[1]);
        }
        let best = (0..3).min_by(|&a, &b| self.losses[a].total_cmp(&self.losses[b]))?;
        Some(bounds[best])
    }
}

/// A demand below this many requests/s has no growth to speak of: it keeps ratios of small counts finite.
const UNIT: f64 = 0.05;

/// The value below which the share `quantile` of the values lies, counting one more beyond them all.
fn quantile_of(values: &VecDeque<f64>, quantile: f64) -> f64 {
    let mut values: Vec<f64> = values.iter().copied().collect();
    if values.is_empty() {
        return 0.0;
    }
    let place = ((values.len() + 1) as f64 * quantile).ceil() as usize;
    let place = place.clamp(1, values.len()) - 1;
    *values.select_nth_unstable_by(place, f64::total_cmp).1
}

fn keep(values: &mut VecDeque<f64>, value: f64) {
    values.push_back(value);
    if values.len() > REACH {
        values.pop_front();
    }
}

impl RecentDemand {
    fn bounds(&self, quantile: f64) -> Bounds {
        Bounds {
            growth: quantile_of(&self.growths, quantile) * self.spread,
            rise: quantile_of(&self.rises, quantile),
            level: quantile_of(&self.levels, quantile),
        }
    }

    /// Learns one step that has ended.
    fn learn(&mut self, demand: f64) {
        if let Some(last) = self.last {
            if self.levels.len() >= FEWEST {
                for judge in &mut self.judges {
                    let Some(bounds) = judge.bounds else { continue };
                    judge.judged += 1;
                    for (loss, bound) in judge.losses.iter_mut().zip(bounds.at(last, UNIT, 1.0)) {
                        let over = demand - bound;
                        let cost =
                            if over > 0.0 { judge.quantile * over } else { (judge.quantile - 1.0) * over };
                        *loss = *loss * 0.5_f64.powf(1.0 / HALF_LIFE) + cost.min(1e12);
                    }
                }
            }
            let growth = ((demand + UNIT) / (last + UNIT)).ln();
            if self.spread > 0.0 {
                keep(&mut self.growths, growth / self.spread);
                let square = (1.0 - SPREAD) * self.spread * self.spread + SPREAD * growth * growth;
                self.spread = square.sqrt().max(1e-6);
            } else {
                // A tenth from step to step, until more is known.
                self.spread = growth.abs().max(0.1);
            }
            keep(&mut self.rises, demand - last);
        }
        keep(&mut self.levels, demand);
        self.last = Some(demand);
    }

    fn catch_up(&mut self, past: &PastDemand<'_>, quantiles: &[f64]) {
        if past.ended.len() < self.taken {
            *self = Self::default();
        }
        for &quantile in quantiles {
            if !self.judges.iter().any(|judge| judge.quantile.total_cmp(&quantile).is_eq()) {
                self.judges.push(Judge { quantile, losses: [0.0; 3], judged: 0, bounds: None });
            }
        }
        while self.taken < past.ended.len() {
            let demand = past.ended[self.taken];
            self.taken += 1;
            match demand.filter(|demand| demand.is_finite() && *demand >= 0.0) {
                Some(demand) => self.learn(demand),
                // Movements across a gap say nothing about one step.
                None => self.last = None,
            }
            for index in 0..self.judges.len() {
                let bounds = self.bounds(self.judges[index].quantile);
                self.judges[index].bounds = Some(bounds);
            }
        }
    }
}

impl DemandForecaster for RecentDemand {
    fn forecast(&mut self, past: &PastDemand<'_>, until: Timestamp, quantiles: &[f64]) -> Option<Vec<f64>> {
        self.catch_up(past, quantiles);
        if self.levels.len() < FEWEST || past.step <= SignedDuration::ZERO {
            return None;
        }
        let base = past.latest.or(self.last).filter(|base| base.is_finite())?;
        let running = past.ended.len() as i64;
        // The step that `until` still touches, less the step that the latest demand is of.
        let reach = until.duration_since(past.start).as_secs() - 1;
        let to = reach.div_euclid(past.step.as_secs().max(1));
        let from = if past.latest.is_some() && past.latest_is_running { running } else { running - 1 };
        let ahead = (to - from).max(0) as f64;
        let highest = self.levels.iter().copied().fold(0.0, f64::max);
        let bound = |quantile: f64| {
            let judge = self.judges.iter().find(|judge| judge.quantile.total_cmp(&quantile).is_eq())?;
            let bound = if ahead > 0.0 { judge.believe(base, ahead)? } else { base };
            // More than twice the most of the last half day is not believed of any member.
            let bound = bound.min(highest.max(base) * 2.0);
            Some(if bound.is_finite() { bound.max(base) } else { base })
        };
        quantiles.iter().map(|&quantile| bound(quantile)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(ended: &[Option<f64>], quantile: f64) -> Option<f64> {
        let start = Timestamp::from_second(0).unwrap();
        let step = SignedDuration::from_secs(60);
        let now = start + step * i32::try_from(ended.len()).unwrap() + SignedDuration::from_secs(15);
        let latest = ended.last().copied().flatten();
        let past = PastDemand { now, start, step, ended, latest, latest_is_running: true };
        let bounds =
            RecentDemand::default().forecast(&past, now + SignedDuration::from_secs(60), &[quantile]);
        bounds.map(|bounds| bounds[0])
    }

    #[test]
    fn a_steady_demand_is_forecast_as_it_is_and_too_little_is_not() {
        assert_eq!(ask(&[Some(100.0); 5], 0.99), None);
        let bound = ask(&[Some(100.0); 100], 0.99).unwrap();
        assert!((100.0..101.0).contains(&bound), "{bound}");
    }

    #[test]
    fn a_bound_holds_about_as_often_as_it_says_on_a_wandering_demand() {
        let mut seed = 7_u64;
        let mut level = 100.0;
        let series: Vec<_> = (0..3000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                level *= 1.0 + ((seed >> 33) as f64 / f64::from(1_u32 << 31) - 0.5) / 10.0;
                Some(level)
            })
            .collect();
        let mut forecaster = RecentDemand::default();
        let start = Timestamp::from_second(0).unwrap();
        let step = SignedDuration::from_secs(60);
        let mut held = 0;
        for end in 1000..2999 {
            let ended = &series[..end];
            let now = start + step * i32::try_from(end).unwrap();
            let past =
                PastDemand { now, start, step, ended, latest: ended[end - 1], latest_is_running: false };
            let bound = forecaster.forecast(&past, now + step, &[0.9]).unwrap()[0];
            held += usize::from(series[end].unwrap() <= bound);
        }
        assert!((1700..1900).contains(&held), "{held} of 1999");
    }

    #[test]
    fn gaps_and_nothing_at_all_are_no_growth() {
        let mut series = [Some(0.0), None, Some(30.0)].repeat(50);
        series.push(Some(0.0));
        let bound = ask(&series, 0.99).unwrap();
        assert!((0.0..=31.0).contains(&bound), "{bound}");
    }
}
