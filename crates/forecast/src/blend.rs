//! How members are weighed: by their own recent errors, per range of lead times.

use crate::config::ForecastConfig;

/// What makes an error large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The absolute error: its best forecast is the median.
    Absolute,
    /// The squared error: its best forecast is the mean.
    Squared,
}

impl Loss {
    fn of(self, error: f64) -> f64 {
        match self {
            Self::Absolute => error.abs(),
            Self::Squared => error * error,
        }
    }

    /// Errors farther out than so many usual ones are cut.
    const fn reach(self) -> f64 {
        match self {
            Self::Absolute => 3.0,
            Self::Squared => 5.0,
        }
    }

    /// How strongly a better member is preferred: one whose absolute errors are 2 % larger weighs about half as much.
    const fn preference(self) -> f64 {
        match self {
            Self::Absolute => 40.0,
            Self::Squared => 20.0,
        }
    }
}

/// Leads of a range that are looked at for how members err together, at most.
const MOST_LEADS: usize = 48;
/// Added to the diagonal, in units of its mean: members that err alike are not told apart by chance.
const SHRINK: f64 = 0.1;
/// Steps of the search for the best weights.
const ROUNDS: usize = 200;
/// Members with fewer scored points wait.
const FEWEST_POINTS: usize = 5;

/// What is forecast for a block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) mean: Vec<f64>,
    pub(crate) quantiles: Vec<Vec<f64>>,
    /// Members that carry the forecast, with their weight over the whole block, heaviest first.
    pub(crate) members: Vec<(&'static str, f64)>,
}

/// Forecasts of all members made at one point, and what came of them.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// First step of the block.
    pub(crate) start: usize,
    /// One block for each member; none where it could not say anything.
    pub(crate) made: Vec<Option<Vec<f32>>>,
    /// The blend for the median, as it was issued.
    pub(crate) issued: Vec<f64>,
    /// The blend for the mean, before its bias was taken out.
    pub(crate) mean: Vec<f64>,
    /// What the errors of each lead are in proportion to; all 1 where nothing is known of that.
    pub(crate) scale: Vec<f64>,
    /// Quantiles as issued: one row for each quantile.
    pub(crate) quantiles: Vec<Vec<f64>>,
}

/// Ranges of leads with weights of their own: (first lead, end) of each, up to each of the ascending `ends` and `leads`.
pub(crate) fn ranges(leads: usize, ends: impl IntoIterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut from = 0;
    let mut found = Vec::new();
    for end in ends.into_iter().chain([leads]) {
        let until = end.min(leads);
        if until > from {
            found.push((from, until));
            from = until;
        }
    }
    found
}

/// What members made, within what the series can physically be.
pub(crate) fn bounded(made: Vec<Option<Vec<f64>>>, config: &ForecastConfig) -> Vec<Option<Vec<f64>>> {
    let value = |v: f64| config.bounded(if v.is_finite() { v } else { 0.0 });
    made.into_iter().map(|block| block.map(|block| block.into_iter().map(value).collect())).collect()
}

/// What members made, as it is kept.
pub(crate) fn small(made: Vec<Option<Vec<f64>>>) -> Vec<Option<Vec<f32>>> {
    made.into_iter().map(|block| block.map(|block| block.into_iter().map(|v| v as f32).collect())).collect()
}

/// Weights by name, heaviest first; members of one name together.
pub(crate) fn shares(carried: &[f64], name: impl Fn(usize) -> &'static str) -> Vec<(&'static str, f64)> {
    let mut sums: Vec<(&'static str, f64)> = Vec::new();
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

/// Weights of the members in one range of leads, adding up to 1; `truth` is what was measured (`NAN` where missing),
/// as far as it is seen. `points` newest last; the weight
/// of an error halves in `half_life` points. Members that are absent now get 0.
pub(crate) fn weights(
    points: &[&Point],
    truth: &[f64],
    (from, until): (usize, usize),
    now: &[Option<Vec<f64>>],
    reference: usize,
    (half_life, loss): (f64, Loss),
) -> Vec<f64> {
    let ratios: Vec<Option<f64>> = (0..now.len())
        .map(|member| {
            now[member]
                .as_ref()
                .and_then(|_| ratio(points, truth, (from, until), member, reference, (half_life, loss)))
        })
        .collect();
    let best = ratios.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    if !best.is_finite() {
        return unscored(now, reference);
    }
    let raw: Vec<f64> = ratios
        .iter()
        .map(|ratio| ratio.map_or(0.0, |r| ((r + 1e-9) / (best + 1e-9)).powf(-loss.preference())))
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|w| w / sum).collect()
}

/// Without any score the reference speaks, else whoever is there.
fn unscored(now: &[Option<Vec<f64>>], reference: usize) -> Vec<f64> {
    let chosen =
        if now[reference].is_some() { Some(reference) } else { now.iter().position(Option::is_some) };
    (0..now.len()).map(|member| f64::from(u8::from(Some(member) == chosen))).collect()
}

/// Error of a member relative to the reference on the same steps.
fn ratio(
    points: &[&Point],
    truth: &[f64],
    (from, until): (usize, usize),
    member: usize,
    reference: usize,
    (half_life, loss): (f64, Loss),
) -> Option<f64> {
    let (mut own, mut other, mut scored) = (0.0, 0.0, 0);
    for (age, point) in points.iter().rev().enumerate() {
        let (Some(mine), Some(theirs)) = (&point.made[member], &point.made[reference]) else { continue };
        let weight = 0.5_f64.powf(age as f64 / half_life);
        let mut any = false;
        for lead in from..until.min(mine.len()) {
            let Some(came) = truth.get(point.start + lead).filter(|v| v.is_finite()) else { continue };
            own += weight * loss.of(f64::from(mine[lead]) - came);
            other += weight * loss.of(f64::from(theirs[lead]) - came);
            any = true;
        }
        scored += usize::from(any);
    }
    (scored >= FEWEST_POINTS && other > 0.0).then(|| own / other)
}

/// Blends of all members over a block, for the median and for the mean, and how much each member carries of the first.
pub(crate) fn blend(
    points: &[&Point],
    truth: &[f64],
    ranges: &[(usize, usize)],
    made: &[Option<Vec<f64>>],
    (reference, half_life): (usize, f64),
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let leads = ranges.last().map_or(0, |r| r.1);
    let mut carried = vec![0.0; made.len()];
    let mut sums = [vec![0.0; leads], vec![0.0; leads]];
    for range in ranges {
        for (loss, sum) in [Loss::Absolute, Loss::Squared].into_iter().zip(&mut sums) {
            let apart = weights(points, truth, *range, made, reference, (half_life, loss));
            let weights = together(points, truth, *range, &apart, (half_life, loss));
            for (member, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                let Some(block) = &made[member] else { continue };
                if loss == Loss::Absolute {
                    carried[member] += weight * (range.1 - range.0) as f64 / leads as f64;
                }
                (range.0..range.1).for_each(|lead| sum[lead] += weight * block[lead]);
            }
        }
    }
    let [median, mean] = sums;
    (median, mean, carried)
}

/// Weights, none negative and adding up to 1, that make the squared error of the blend least, from how the members err
/// together (Bates and Granger 1969); errors far beyond the usual are cut, so that one spike does not decide.
fn together(
    points: &[&Point],
    truth: &[f64],
    (from, until): (usize, usize),
    start: &[f64],
    (half_life, loss): (f64, Loss),
) -> Vec<f64> {
    let heaviest = start.iter().copied().fold(0.0, f64::max);
    let there = |member: usize| points.iter().filter(|p| p.made[member].is_some()).count();
    let chosen: Vec<usize> = (0..start.len())
        .filter(|m| start[*m] > 1e-4 * heaviest && 3 * there(*m) >= 2 * points.len())
        .collect();
    let n = chosen.len();
    let stride = (until - from).div_ceil(MOST_LEADS);
    let mut rows: Vec<(f64, Vec<f64>)> = Vec::new();
    for (age, point) in points.iter().rev().enumerate() {
        let blocks: Option<Vec<&Vec<f32>>> = chosen.iter().map(|m| point.made[*m].as_ref()).collect();
        let Some(blocks) = blocks else { continue };
        let weight = 0.5_f64.powf(age as f64 / half_life);
        for lead in (from..until).step_by(stride) {
            if let Some(came) = truth.get(point.start + lead).filter(|v| v.is_finite()) {
                rows.push((weight, blocks.iter().map(|b| f64::from(b[lead]) - came).collect()));
            }
        }
    }
    if n < 2 || rows.len() < 3 * n {
        return start.to_vec();
    }
    let size = |row: &(f64, Vec<f64>)| row.1.iter().map(|e| e.abs()).sum::<f64>() / n as f64;
    let usual = rows.iter().map(size).sum::<f64>() / rows.len() as f64;
    let reach = usual * loss.reach();
    let mut s = vec![0.0; n * n];
    for (weight, errors) in &mut rows {
        errors.iter_mut().for_each(|e| *e = e.clamp(-reach, reach));
        for i in 0..n {
            for j in 0..n {
                s[i * n + j] += *weight * errors[i] * errors[j];
            }
        }
    }
    let mean = (0..n).map(|i| s[i * n + i]).sum::<f64>() / n as f64;
    if mean <= 0.0 {
        return start.to_vec();
    }
    (0..n).for_each(|i| s[i * n + i] += SHRINK * mean);
    search(&s, n, mean, start.len(), &chosen)
}

/// Least `wᵀ S w` over weights that add up to 1, by multiplicative steps.
fn search(s: &[f64], n: usize, mean: f64, members: usize, chosen: &[usize]) -> Vec<f64> {
    let mut w = vec![1.0 / n as f64; n];
    for _ in 0..ROUNDS {
        let slope: Vec<f64> =
            (0..n).map(|i| (0..n).map(|j| s[i * n + j] * w[j]).sum::<f64>() / mean).collect();
        let least = slope.iter().copied().fold(f64::INFINITY, f64::min);
        w.iter_mut().zip(&slope).for_each(|(w, g)| *w *= (-4.0 * (g - least)).exp());
        let sum: f64 = w.iter().sum();
        w.iter_mut().for_each(|v| *v /= sum);
    }
    let mut all = vec![0.0; members];
    chosen.iter().zip(w).for_each(|(member, weight)| all[*member] = weight);
    all
}

/// Mean error (outcome − forecast) of the blend for the mean, over all leads of the points.
pub(crate) fn bias(points: &[&Point], truth: &[f64], half_life: f64) -> f64 {
    let (mut sum, mut weight) = (0.0, 0.0);
    for (age, point) in points.iter().rev().enumerate() {
        let w = 0.5_f64.powf(age as f64 / half_life);
        for (mean, came) in point.mean.iter().zip(truth.get(point.start..).unwrap_or_default()) {
            if came.is_finite() {
                sum += w * (came - mean);
                weight += w;
            }
        }
    }
    if weight > 0.0 { sum / weight } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_that_was_right_outweighs_the_one_that_was_not() {
        let truth: Vec<f64> = (0..20).map(f64::from).collect();
        let point = |start: usize| Point {
            start,
            made: vec![Some(vec![start as f32 + 3.0]), Some(vec![start as f32 + 0.5]), None],
            issued: vec![],
            mean: vec![],
            scale: vec![],
            quantiles: vec![],
        };
        let points: Vec<Point> = (0..20).map(point).collect();
        let points: Vec<&Point> = points.iter().collect();
        let now = vec![Some(vec![0.0]), Some(vec![0.0]), Some(vec![0.0])];
        let w = weights(&points, &truth, (0, 1), &now, 0, (30.0, Loss::Absolute));
        assert!(w[1] > 0.99 && w[2] < 1e-9, "{w:?}");
        assert_eq!(weights(&points[..2], &truth, (0, 1), &now, 0, (30.0, Loss::Absolute)), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn ranges_cover_all_leads_once() {
        assert_eq!(ranges(24, [1, 3, 6, 12, 24, 48]), [(0, 1), (1, 3), (3, 6), (6, 12), (12, 24)]);
        assert_eq!(ranges(10, [60, 180]), [(0, 10)]);
        assert_eq!(ranges(60, [1, 48]), [(0, 1), (1, 48), (48, 60)]);
    }
}
