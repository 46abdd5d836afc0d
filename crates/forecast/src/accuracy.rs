//! How good the forecasts of one series have been, by how far ahead they looked, and whether they are getting worse.
//!
//! # What is compared
//! At most one forecast an hour is kept, with the values of the steps that end 1, 2, … 24 hours after its first step
//! began (longer steps: each step up to 24 hours). A value that becomes known is compared with every kept forecast of
//! its step. MASE is the mean absolute error in units of that of the simplest forecast, the same time yesterday, over
//! the same pairs: below 1 is better. Pinball is the mean loss over the quantiles. Coverage is the share of values from
//! the lowest to the highest quantile of 0.1 and 0.9, 0…1; 0.8 is right.
//!
//! # Memory
//! Sums fade twice: with a half-life of 14 days, which is *recent*, and of 60 days. What the long sums hold beyond the
//! recent ones is *usual*: it counts what is some weeks old most and what is new not at all, so that a change does not
//! hide in what it is compared with.
//!
//! # A sudden rise
//! The mean absolute error of each UTC day is kept for three weeks: [`Accuracy::risen`] compares the last two whole days
//! with the days before, which [`crate::Forecaster::refit`] is worth asking for.
//!
//! # Drift
//! In the longest horizon with enough pairs (three days of them recent, four days usual) forecasts drift from when the
//! recent mean absolute error is above 1.75 times the usual one until it is below 1.3 times it. In a series that is
//! old this is 1.5 and 1.2 times the error of the long sums, the recent ones included.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::forecaster::Forecast;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Half-lives of the sums: recent and long.
const HALF_LIVES: [i64; 2] = [14 * DAY, 60 * DAY];
/// Recent error by usual error above which forecasts drift, and below which they no longer do.
const DRIFT: (f64, f64) = (1.75, 1.3);
/// Hours of the day's round that have to be in the sums before drift is judged: recent and usual.
const ENOUGH_HOURS: (f64, f64) = (72.0, 96.0);
/// Days whose errors are kept, the running one included; days compared with; and how much larger the last two have to be.
const DAYS: usize = 24;
const FEWEST_DAYS: usize = 7;
const RISEN: f64 = 1.5;
/// The quantiles between which coverage is counted.
const BAND: (f64, f64) = (0.1, 0.9);

/// How far ahead a forecast looks: from the time it was issued to the end of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Horizon {
    /// Up to an hour.
    Hour,
    /// Above 1 h, up to 4 h.
    Hours4,
    /// Above 4 h, up to 12 h.
    Hours12,
    /// Above 12 h, up to 24 h.
    Hours24,
}

impl Horizon {
    /// All, the nearest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Hours4, Self::Hours12, Self::Hours24];

    /// For people and for labels of metrics, in whole hours ahead: `1h`, `2-4h`, `5-12h`, `13-24h`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Hours4 => "2-4h",
            Self::Hours12 => "5-12h",
            Self::Hours24 => "13-24h",
        }
    }

    const fn hours(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Hours4 => 4,
            Self::Hours12 => 12,
            Self::Hours24 => 24,
        }
    }

    /// The horizon of a lead in seconds; none beyond a day.
    pub(crate) fn of(lead: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|horizon| lead <= horizon.hours() * HOUR)
    }
}

/// What is kept of one forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// Nothing known later than this was used.
    pub issued_at: Timestamp,
    /// Starts of the steps kept, ascending, at most 24.
    pub steps: Vec<Timestamp>,
    /// Mean of each step, in the unit of the series.
    pub mean: Vec<f64>,
    /// (quantile, value of each step), quantiles ascending.
    pub quantiles: Vec<(f64, Vec<f64>)>,
}

impl Issued {
    fn of(forecast: &Forecast) -> Self {
        let grid = &forecast.grid;
        let step = grid.step().as_secs().max(1);
        let per = usize::try_from(HOUR / step).unwrap_or(1).max(1);
        let longest = usize::try_from(DAY / step).unwrap_or(0).min(forecast.mean.len());
        let kept = || (per - 1..longest).step_by(per);
        let pick = |values: &[f64]| kept().filter_map(|at| values.get(at).copied()).collect();
        Self {
            issued_at: forecast.issued_at,
            steps: kept().map(|at| grid.at(at)).collect(),
            mean: pick(&forecast.mean),
            quantiles: forecast.quantiles.iter().map(|(q, values)| (*q, pick(values))).collect(),
        }
    }
}

/// One forecast value and what came.
struct Pair<'a> {
    issued: &'a Issued,
    at: usize,
    value: f64,
    day_before: Option<f64>,
}

/// Sums over pairs, each weighed by its age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    pairs: f64,
    error: f64,
    /// Own error and that of the day before, over the pairs that have both.
    scaled: f64,
    naive: f64,
    /// Pairs with quantiles, their mean loss, and pairs within the band.
    banded: f64,
    pinball: f64,
    covered: f64,
}

impl Sums {
    fn add(&mut self, pair: &Pair<'_>) {
        let Some(mean) = pair.issued.mean.get(pair.at) else { return };
        let error = (pair.value - mean).abs();
        self.pairs += 1.0;
        self.error += error;
        if let Some(before) = pair.day_before {
            self.scaled += error;
            self.naive += (pair.value - before).abs();
        }
        let quantiles = &pair.issued.quantiles;
        let (mut loss, mut within) = (0.0, [true; 2]);
        for (q, values) in quantiles {
            let Some(quantile) = values.get(pair.at) else { return };
            let over = pair.value - quantile;
            loss += if over >= 0.0 { q * over } else { (q - 1.0) * over };
            within[0] &= (q - BAND.0).abs() > 1e-6 || over >= 0.0;
            within[1] &= (q - BAND.1).abs() > 1e-6 || over <= 0.0;
        }
        if !quantiles.is_empty() {
            self.banded += 1.0;
            self.pinball += loss / quantiles.len() as f64;
            self.covered += f64::from(u8::from(within == [true; 2]));
        }
    }

    fn fade(&mut self, keep: f64) {
        let Self { pairs, error, scaled, naive, banded, pinball, covered } = self;
        for sum in [pairs, error, scaled, naive, banded, pinball, covered] {
            *sum *= keep;
        }
    }

    fn mae(&self) -> Option<f64> {
        ratio(self.error, self.pairs)
    }
}

fn ratio(sum: f64, by: f64) -> Option<f64> {
    (by > 1e-12).then(|| sum / by)
}

/// How good the recent forecasts of one horizon were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// How far ahead.
    pub horizon: Horizon,
    /// Pairs it rests on, each weighed by its age; above 0.
    pub pairs: f64,
    /// Mean absolute error, in the unit of the series, 0 or above.
    pub mae: f64,
    /// The same over the last months, what is recent left out; none while there is nothing older.
    pub usual_mae: Option<f64>,
    /// Mean absolute error by that of the same time yesterday; none where that one had no error.
    pub mase: Option<f64>,
    /// Mean loss over the quantiles, in the unit of the series, 0 or above.
    pub pinball: Option<f64>,
    /// Share of values between the quantiles 0.1 and 0.9, 0…1.
    pub coverage: Option<f64>,
}

/// The errors of a UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Day {
    /// Days since 1970.
    day: i64,
    error: f64,
    pairs: f64,
}

/// What outlives a restart: the sums, without the forecasts that wait for their outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccuracyRecord {
    as_of: Option<i64>,
    sums: [[Sums; 2]; 4],
    drifting: bool,
    #[serde(default)]
    days: VecDeque<Day>,
}

/// Compares the forecasts of one series with what came.
///
/// # Bounds
/// At most 25 forecasts of at most 24 steps, and the values of the last 24 hours.
#[derive(Clone, Debug)]
pub struct Accuracy {
    step: i64,
    /// In order of time, for steps that are not over yet.
    pending: VecDeque<Issued>,
    /// Start in seconds and value, of the last 24 hours and one step.
    values: VecDeque<(i64, f64)>,
    /// Per horizon: recent and long.
    sums: [[Sums; 2]; 4],
    /// Start of the newest step that was compared; the sums stand for this time.
    as_of: Option<i64>,
    drifting: bool,
    /// In order of time.
    days: VecDeque<Day>,
}

impl Accuracy {
    /// For a series of this step, above 0.
    #[must_use]
    pub fn new(step: SignedDuration) -> Self {
        Self {
            step: step.as_secs().max(1),
            pending: VecDeque::new(),
            values: VecDeque::new(),
            sums: Default::default(),
            as_of: None,
            drifting: false,
            days: VecDeque::new(),
        }
    }

    /// Keeps a forecast to be compared later, unless one of the same hour or a later one is kept already; answers what
    /// was kept.
    pub fn issued(&mut self, forecast: &Forecast) -> Option<&Issued> {
        let hour = |time: Timestamp| time.as_second().div_euclid(HOUR);
        if self.pending.back().is_some_and(|last| hour(last.issued_at) >= hour(forecast.issued_at)) {
            return None;
        }
        self.keep(Issued::of(forecast))
    }

    /// Keeps what an earlier run kept; oldest first.
    pub fn keep(&mut self, issued: Issued) -> Option<&Issued> {
        let (at, step) = (issued.issued_at, SignedDuration::from_secs(self.step));
        self.pending.retain(|old| old.steps.last().is_some_and(|last| *last + step > at));
        while self.pending.len() > 24 {
            self.pending.pop_front();
        }
        self.pending.push_back(issued);
        self.pending.back()
    }

    /// Notes the value of the step that starts at `time`. Steps come in order of time; what is older than the newest
    /// one, or is not a number, is left out.
    pub fn outcome(&mut self, time: Timestamp, value: f64) {
        let start = time.as_second();
        if !value.is_finite() || self.values.back().is_some_and(|(last, _)| start <= *last) {
            return;
        }
        while self.values.front().is_some_and(|(old, _)| *old < start - DAY) {
            self.values.pop_front();
        }
        if self.as_of.is_none_or(|as_of| start > as_of) {
            self.compare(time, value);
        }
        self.values.push_back((start, value));
    }

    fn compare(&mut self, time: Timestamp, value: f64) {
        let start = time.as_second();
        let day_before = self.values.front().filter(|(old, _)| *old == start - DAY).map(|(_, value)| *value);
        let mut any = false;
        for issued in &self.pending {
            let Ok(at) = issued.steps.binary_search(&time) else { continue };
            let Some(horizon) = Horizon::of(start + self.step - issued.issued_at.as_second()) else {
                continue;
            };
            if !std::mem::replace(&mut any, true) {
                fade(&mut self.sums, self.as_of.map_or(0, |as_of| start - as_of));
                self.as_of = Some(start);
            }
            if let Some(mean) = issued.mean.get(at) {
                add_to_day(&mut self.days, start.div_euclid(DAY), (value - mean).abs());
            }
            let pair = Pair { issued, at, value, day_before };
            self.sums[horizon as usize].iter_mut().for_each(|sums| sums.add(&pair));
        }
        if any && let Some(worse) = self.worse() {
            self.drifting = worse > if self.drifting { DRIFT.1 } else { DRIFT.0 };
        }
    }

    /// How good the recent forecasts were, the nearest horizon first; horizons without a pair are left out.
    #[must_use]
    pub fn scores(&self) -> Vec<Score> {
        let score = |(horizon, [recent, long]): (Horizon, &[Sums; 2])| {
            Some(Score {
                horizon,
                pairs: recent.pairs,
                mae: recent.mae()?,
                usual_mae: usual(recent, long).and_then(|(_, mae)| mae),
                mase: ratio(recent.scaled, recent.naive),
                pinball: ratio(recent.pinball, recent.banded),
                coverage: ratio(recent.covered, recent.banded),
            })
        };
        Horizon::ALL.into_iter().zip(&self.sums).filter_map(score).collect()
    }

    /// Recent by usual error in the longest horizon with enough pairs, 0 or above; none before there are enough.
    #[must_use]
    pub fn worse(&self) -> Option<f64> {
        Horizon::ALL.into_iter().rev().find_map(|horizon| {
            let [recent, long] = &self.sums[horizon as usize];
            let (pairs, mae) = usual(recent, long)?;
            let per_hour = self.pairs_per_hour(horizon);
            let enough = recent.pairs >= ENOUGH_HOURS.0 * per_hour && pairs >= ENOUGH_HOURS.1 * per_hour;
            ratio(recent.mae()?, mae.filter(|_| enough)?)
        })
    }

    /// How many forecasts of a horizon meet an hour's outcome, when one is issued each hour.
    pub(crate) fn pairs_per_hour(&self, horizon: Horizon) -> f64 {
        let nearer = Horizon::ALL.iter().rev().find(|nearer| **nearer < horizon).map_or(0, |h| h.hours());
        let hours_per_step = (self.step as f64 / HOUR as f64).max(1.0);
        (horizon.hours() - nearer) as f64 / hours_per_step
    }

    /// Whether forecasts are far worse than usual; the module says from when until when.
    #[must_use]
    pub const fn drifting(&self) -> bool {
        self.drifting
    }

    /// Whether forecasts of the last two whole days were off half as much again as usual, which is the middle one of the
    /// days before them; false before there is a week of those.
    #[must_use]
    pub fn risen(&self) -> bool {
        let whole = self.days.len().saturating_sub(1);
        let errors: Vec<f64> = self.days.iter().take(whole).map(|day| day.error / day.pairs).collect();
        let Some((usual, last)) = errors.split_last_chunk::<2>() else { return false };
        let mut usual = usual.to_vec();
        usual.sort_by(f64::total_cmp);
        usual.len() >= FEWEST_DAYS && (last[0] + last[1]) / 2.0 >= RISEN * usual[usual.len() / 2]
    }

    /// The values of the last 24 hours, by the start of their steps, oldest first.
    pub fn values(&self) -> impl Iterator<Item = (Timestamp, f64)> + '_ {
        self.values.iter().filter_map(|(start, value)| Some((Timestamp::from_second(*start).ok()?, *value)))
    }

    /// What to keep for a restart.
    #[must_use]
    pub fn record(&self) -> AccuracyRecord {
        let days = self.days.clone();
        AccuracyRecord { as_of: self.as_of, sums: self.sums, drifting: self.drifting, days }
    }

    /// Goes on from a record. Values the record stands for are not compared again.
    pub fn restore(&mut self, record: &AccuracyRecord) {
        (self.as_of, self.sums, self.drifting) = (record.as_of, record.sums, record.drifting);
        self.days.clone_from(&record.days);
    }
}

fn add_to_day(days: &mut VecDeque<Day>, day: i64, error: f64) {
    match days.back_mut().filter(|last| last.day == day) {
        Some(last) => (last.error, last.pairs) = (last.error + error, last.pairs + 1.0),
        None => days.push_back(Day { day, error, pairs: 1.0 }),
    }
    if days.len() > DAYS {
        days.pop_front();
    }
}

/// What the long sums hold beyond the recent ones: pairs and their mean absolute error.
fn usual(recent: &Sums, long: &Sums) -> Option<(f64, Option<f64>)> {
    let pairs = long.pairs - recent.pairs;
    (pairs > 1e-6).then(|| (pairs, ratio((long.error - recent.error).max(0.0), pairs)))
}

fn fade(sums: &mut [[Sums; 2]; 4], seconds: i64) {
    for (which, half_life) in HALF_LIVES.into_iter().enumerate() {
        let keep = 0.5_f64.powf(seconds as f64 / half_life as f64);
        sums.iter_mut().for_each(|pair| pair[which].fade(keep));
    }
}

#[cfg(test)]
mod tests {
    use sos_units::TimeGrid;

    use super::*;

    const STEP: SignedDuration = SignedDuration::from_mins(15);

    fn at(step: i64) -> Timestamp {
        let start: Timestamp = "2016-08-01T00:00:00Z".parse().unwrap();
        start + SignedDuration::from_secs(step * 900)
    }

    fn forecast(step: i64, value: f64, spread: f64) -> Forecast {
        let grid = TimeGrid::new(at(step), STEP, 100).unwrap();
        let flat = |v: f64| vec![v; 100];
        Forecast {
            issued_at: at(step),
            grid,
            mean: flat(value),
            quantiles: vec![(0.1, flat(value - spread)), (0.5, flat(value)), (0.9, flat(value + spread))],
            method: "profile",
            because: String::new(),
        }
    }

    /// Runs days of a series that is 1 more and 1 less than its forecasts by turns, times `error`; the value of the
    /// same time yesterday is off by twice that on every other day.
    fn run(accuracy: &mut Accuracy, days: std::ops::Range<i64>, error: f64) {
        for step in days.start * 96..days.end * 96 {
            let _ = accuracy.issued(&forecast(step, 10.0, 1.5));
            let sign = if (step / 96) % 2 == 0 { 1.0 } else { -1.0 };
            accuracy.outcome(at(step), 10.0 + sign * error);
        }
    }

    #[test]
    fn scores_are_those_computed_by_hand() {
        let mut accuracy = Accuracy::new(STEP);
        run(&mut accuracy, 0..3, 1.0);
        let scores = accuracy.scores();
        assert_eq!(
            scores.iter().map(|s| s.horizon.text()).collect::<Vec<_>>(),
            ["1h", "2-4h", "5-12h", "13-24h"]
        );
        for score in scores {
            assert!((score.mae - 1.0).abs() < 1e-9, "{score:?}");
            // Yesterday was off by 2.
            assert!((score.mase.unwrap() - 0.5).abs() < 1e-9, "{score:?}");
            assert_eq!(score.coverage, Some(1.0));
            // Above: 0.1 × 2.5 + 0.5 × 1 + 0.1 × 0.5; below the same.
            assert!((score.pinball.unwrap() - 0.8 / 3.0).abs() < 1e-9, "{score:?}");
        }
        run(&mut accuracy, 3..4, 2.0);
        let near = accuracy.scores()[0];
        assert!(near.coverage.unwrap() < 0.8 && near.mae > 1.2, "{near:?}");
    }

    #[test]
    fn one_forecast_an_hour_is_kept_with_the_steps_that_end_on_its_hours() {
        let mut accuracy = Accuracy::new(STEP);
        let kept = accuracy.issued(&forecast(0, 1.0, 1.0)).unwrap().clone();
        assert_eq!(kept.steps.len(), 24);
        assert_eq!((kept.steps[0], kept.steps[23]), (at(3), at(95)));
        assert_eq!(kept.quantiles[2].1.len(), 24);
        for step in 1..4 {
            assert_eq!(accuracy.issued(&forecast(step, 1.0, 1.0)), None);
        }
        assert!(accuracy.issued(&forecast(4, 1.0, 1.0)).is_some());
        // Long after, what waited in vain is gone.
        run(&mut accuracy, 10..40, 1.0);
        assert!(accuracy.pending.len() <= 25 && accuracy.values.len() <= 97);
    }

    #[test]
    fn a_sixfold_error_is_drift_within_six_days_and_is_over_only_well_below() {
        let mut accuracy = Accuracy::new(STEP);
        run(&mut accuracy, 0..28, 1.0);
        assert!(!accuracy.drifting() && (accuracy.worse().unwrap() - 1.0).abs() < 1e-6);
        run(&mut accuracy, 28..34, 6.0);
        assert!(accuracy.drifting(), "{:?}", accuracy.worse());
        let mut day = 34;
        while accuracy.drifting() {
            assert!(day < 80, "{:?}", accuracy.worse());
            run(&mut accuracy, day..day + 1, 1.0);
            day += 1;
        }
        let worse = accuracy.worse().unwrap();
        assert!(worse < 1.3 && worse > 1.2, "{worse}");
        // Rather worse is no drift.
        run(&mut accuracy, day..day + 60, 1.0);
        run(&mut accuracy, day + 60..day + 80, 1.6);
        assert!(!accuracy.drifting());
    }

    #[test]
    fn a_rise_is_seen_after_two_whole_days_and_not_in_one() {
        let mut accuracy = Accuracy::new(STEP);
        run(&mut accuracy, 0..12, 1.0);
        assert!(!accuracy.risen());
        run(&mut accuracy, 12..13, 1.9);
        run(&mut accuracy, 13..14, 1.0);
        assert!(!accuracy.risen(), "one odd day");
        run(&mut accuracy, 14..17, 2.0);
        assert!(accuracy.risen());
        run(&mut accuracy, 17..60, 2.0);
        assert!(!accuracy.risen(), "what lasts becomes usual");
    }

    #[test]
    fn nothing_is_judged_too_early_and_exact_forecasts_never_drift() {
        let mut accuracy = Accuracy::new(STEP);
        run(&mut accuracy, 0..10, 1.0);
        run(&mut accuracy, 10..13, 9.0);
        assert_eq!((accuracy.worse(), accuracy.drifting()), (None, false));
        let mut exact = Accuracy::new(STEP);
        run(&mut exact, 0..60, 0.0);
        assert!(!exact.drifting() && exact.scores()[0].mase.is_none());
    }

    #[test]
    fn going_on_from_a_record_gives_the_same_as_never_stopping() {
        let mut whole = Accuracy::new(STEP);
        run(&mut whole, 0..3, 1.0);
        let (record, waiting) = (whole.record(), whole.pending.clone());
        run(&mut whole, 3..5, 1.0);
        let mut resumed = Accuracy::new(STEP);
        resumed.restore(&serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap());
        for issued in waiting {
            let _ = resumed.keep(issued);
        }
        // What was measured is learned again, and compared once.
        for step in 0..3 * 96 {
            resumed.outcome(at(step), 10.0 + if (step / 96) % 2 == 0 { 1.0 } else { -1.0 });
        }
        run(&mut resumed, 3..5, 1.0);
        assert_eq!(resumed.scores(), whole.scores());
    }

    #[test]
    fn what_is_missing_or_no_number_is_left_out() {
        let mut accuracy = Accuracy::new(STEP);
        let _ = accuracy.issued(&Forecast { quantiles: Vec::new(), ..forecast(0, 10.0, 1.0) });
        accuracy.outcome(at(3), f64::NAN);
        assert!(accuracy.scores().is_empty());
        accuracy.outcome(at(7), 12.0);
        accuracy.outcome(at(3), 99.0);
        let scores = accuracy.scores();
        assert_eq!((scores.len(), scores[0].mae, scores[0].coverage, scores[0].mase), (1, 2.0, None, None));
    }
}
