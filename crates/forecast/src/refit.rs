//! A series that behaves differently than it did: whether to forget what came before.
//!
//! # How it is judged
//! Challengers have learned only from the last days, each from another day on. They and the incumbent forecast the last
//! two days of the series' own past, issued each hour (all members of the family: once a day) a day ahead, each from
//! what was known then. The best challenger is adopted when the incumbent has become clearly worse than it was in the
//! fortnight before the challenger begins, and the challenger takes back at least half of that rise and is better on both
//! days: a few odd days are no better forecast from themselves. Where the old days are forgotten, the shape of the day that they had is kept for what the new ones do not
//! show yet, such as a weekend.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::Family;
use crate::forecaster::Forecaster;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Days that are judged.
const JUDGED: i64 = 2;
/// Days learned from by the challengers, the judged ones included.
const CANDIDATES: [i64; 8] = [3, 4, 5, 6, 8, 11, 14, 21];
/// Days before those that tell the usual error.
const USUAL: i64 = 14;
/// Error of the incumbent by its usual one from which the series counts as changed.
const CHANGED: f64 = 1.5;
/// Days before those, at least: without them there is nothing to forget.
const OLDER: i64 = 7;
/// Part of the rise in error that a challenger has to take back.
const TAKEN_BACK: f64 = 0.5;
/// Pairs of each judged day, at least.
const FEWEST_PAIRS: f64 = 12.0;

/// What was decided about a series that may have changed, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refit {
    /// When it was decided: forecasts issued before do not know of it.
    pub decided_at: Timestamp,
    /// Start of the values that the best challenger learned from; none where nothing could be judged.
    pub since: Option<Timestamp>,
    /// Mean absolute error over the judged days as it was learned before, in the unit of the series.
    pub error_before: Option<f64>,
    /// The same of the best challenger.
    pub error_after: Option<f64>,
    /// Whether values before `since` are forgotten from now on.
    pub adopted: bool,
    /// The same for a person.
    pub because: String,
}

impl Forecaster {
    /// Judges whether what came before a change should be forgotten, and forgets it if so. To be asked
    /// once a day; builds the incremental model some ten times ([`Family::Full`]: where errors have risen the family, too).
    /// Reads nothing that was known after `issued_at`.
    pub fn refit(&mut self, issued_at: Timestamp) -> Refit {
        let refit = self.judged(issued_at);
        self.adopt(&refit);
        refit
    }

    fn judged(&mut self, issued_at: Timestamp) -> Refit {
        self.advance(issued_at);
        let kept = |because: String| Refit {
            decided_at: issued_at,
            since: None,
            error_before: None,
            error_after: None,
            adopted: false,
            because,
        };
        let end = self.time(self.index(issued_at));
        let issued_each = HOUR.max(self.config().step.as_secs());
        let judge = |since, whole: bool, (end, days), each| {
            backtest(&mut self.apart(since, whole), issued_at, (end, days), each)
        };
        let candidates = self.candidates(issued_at);
        if candidates.is_empty() {
            let least = CANDIDATES[0] + OLDER;
            return kept(format!("kept: fewer than {least} days are known, so there is nothing to forget"));
        }
        let Some(before) = judge(None, false, (end, JUDGED), issued_each) else {
            return kept(format!("kept: too few values of the last {JUDGED} days to judge by"));
        };
        let challenger = |since: i64| Some((since, judge(Some(since), false, (end, JUDGED), issued_each)?));
        let made = candidates.into_iter().filter_map(challenger);
        let Some((since, mut after)) = made.min_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1))) else {
            return kept(format!("kept: too few values of the last {} days to learn from", CANDIDATES[0]));
        };
        let usual = judge(None, false, (self.time(since), USUAL), issued_each).map(|errors| mean(&errors));
        let clearly = |before: &[f64], after: &[f64]| usual.is_some_and(|usual| better(usual, before, after));
        let (mut before, changed) = (before.clone(), usual.is_some_and(|u| mean(&before) >= CHANGED * u));
        if changed && self.config().family == Family::Full && clearly(&before, &after) {
            before = judge(None, true, (end, JUDGED), DAY).unwrap_or(before);
            after = judge(Some(since), true, (end, JUDGED), DAY).unwrap_or_else(|| before.clone());
        }
        let (adopted, since) = (changed && clearly(&before, &after), self.time(since));
        let (error_before, error_after) = (mean(&before), mean(&after));
        let because = told((error_before, usual), (since, error_after), (changed, adopted));
        Refit {
            decided_at: issued_at,
            since: Some(since),
            error_before: Some(error_before),
            error_after: Some(error_after),
            adopted,
            because,
        }
    }

    /// Steps from which challengers learn, the earliest first.
    fn candidates(&self, issued_at: Timestamp) -> Vec<i64> {
        let Some(first) = self.view().since(i64::MIN).find(|(_, s)| s.value.is_ok()).map(|(i, _)| i) else {
            return Vec::new();
        };
        let per_day = DAY / self.config().step.as_secs().max(1);
        let (now, since) = (self.index(issued_at), self.since(issued_at).unwrap_or(first));
        let starts = CANDIDATES.iter().rev().map(|days| now - days * per_day);
        starts.filter(|start| *start >= first + OLDER * per_day && *start > since).collect()
    }
}

/// The decision for a person.
fn told(
    (before, usual): (f64, Option<f64>),
    (since, after): (Timestamp, f64),
    (changed, adopted): (bool, bool),
) -> String {
    let usual = usual.map_or_else(String::new, |usual| format!(", usually {usual:.3}"));
    let were = format!("forecasts were off by {before:.3} in the last {JUDGED} days{usual}");
    let instead = format!("learned only from {since} on {after:.3}");
    match (changed, adopted) {
        (_, true) => format!("the series has changed: {were}, {instead}"),
        (true, false) => format!("kept: {were}, but {instead}, which is not clearly better"),
        (false, false) => format!("kept: {were}, which is no change"),
    }
}

/// Mean absolute errors of each of the `days` before `end`, of forecasts issued every `each` seconds from their beginning
/// on; none where too little came.
fn backtest(
    forecaster: &mut Forecaster,
    issued_at: Timestamp,
    (end, days): (Timestamp, i64),
    each: i64,
) -> Option<Vec<f64>> {
    let step = forecaster.config().step.as_secs().max(1);
    let horizon = usize::try_from(DAY / step).unwrap_or(1).max(1);
    let per_hour = usize::try_from(HOUR / step).unwrap_or(1).max(1);
    let begin = end.checked_sub(SignedDuration::from_secs(days * DAY)).ok()?;
    let truth = forecaster.truth(issued_at, begin, end);
    let came = |index: i64| truth.binary_search_by_key(&index, |(i, _)| *i).ok().map(|at| truth[at].1);
    let mut sums = vec![(0.0, 0.0); usize::try_from(days).unwrap_or(0)];
    for issue in 0..days * DAY / each {
        let forecast = forecaster.forecast(begin + SignedDuration::from_secs(issue * each), horizon);
        for at in (per_hour - 1..forecast.mean.len()).step_by(per_hour) {
            let time = forecast.grid.at(at);
            let day = (time.as_second() - begin.as_second()).div_euclid(DAY);
            let sum = usize::try_from(day).ok().and_then(|day| sums.get_mut(day));
            if let (Some(sum), Some(value)) = (sum, came(forecaster.index(time))) {
                sum.0 += (forecast.mean[at] - value).abs();
                sum.1 += 1.0;
            }
        }
    }
    let enough = FEWEST_PAIRS.min((DAY / step) as f64);
    sums.retain(|(_, pairs)| *pairs >= enough);
    let missing = usize::try_from(days).ok()? - sums.len();
    (2 * missing < usize::try_from(days).ok()? && (days != JUDGED || missing == 0))
        .then(|| sums.iter().map(|(sum, pairs)| sum / pairs).collect())
}

fn mean(errors: &[f64]) -> f64 {
    errors.iter().sum::<f64>() / errors.len().max(1) as f64
}

/// Whether `after` takes back enough of how far `before` rose above `usual`, and is better on each day.
fn better(usual: f64, before: &[f64], after: &[f64]) -> bool {
    let rise = mean(before) - usual;
    rise > 0.0
        && mean(before) - mean(after) >= TAKEN_BACK * rise
        && before.iter().zip(after).all(|(before, after)| after < before)
}
