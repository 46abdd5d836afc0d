//! Regularised regression of a whole block of steps on the days before it: one linear model for each step of the
//! block, all on the same inputs, so that one matrix of moments serves them all.
//!
//! Source: the inputs are those of the LEAR model (Lago, Marcjasz, De Schutter, Weron, *Applied Energy* 293, 2021),
//! thinned to bins and joined by means of weeks; ridge instead of LASSO, because its moments can be brought up to date
//! day by day, with weights that fade, and solved for one input at the cost of one factorisation.

use std::collections::BTreeSet;

use nalgebra::{Cholesky, DMatrix, DVector};

use super::clear_sky::season;
use crate::panel::{Seen, robust};

/// Inputs of a day are means over at most so many bins.
const MOST_BINS: usize = 24;
/// At most so many covariates are read.
const MOST_COLUMNS: usize = 16;
/// Days of the mean that stands for the level.
const WEEK: usize = 7;

/// How much of the past is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inputs {
    /// Every bin of the last days and of the usual day.
    Rich,
    /// The last hours, levels of days, and the other columns.
    Compact,
}

/// The inputs for a block that begins where `seen` ends. `weekday` is that of its first day, `season` in turns of a
/// year. Values are scaled by `scale`.
pub(crate) fn inputs(kind: Inputs, seen: &Seen<'_>, scale: &Scale, day: &DayInfo) -> DVector<f64> {
    let mut x = Vec::with_capacity(160);
    let per_day = seen.per_day;
    let bins = per_day.min(MOST_BINS);
    let block = |days: usize| bins_of(per_day, bins, |at| scale.forward(seen.days_before(at, days)));
    let yesterday = block(1);
    match kind {
        Inputs::Rich => {
            x.extend_from_slice(&yesterday);
            x.extend(block(2));
            let mut week = vec![0.0; bins];
            let mut fortnight = vec![0.0; bins];
            for days in 1..=2 * WEEK {
                let values = if days == 1 { yesterday.clone() } else { block(days) };
                for (at, value) in values.iter().enumerate() {
                    fortnight[at] += value / (2 * WEEK) as f64;
                    if days <= WEEK {
                        week[at] += value / WEEK as f64;
                    }
                }
                if days == WEEK {
                    x.extend_from_slice(&values);
                }
            }
            x.extend(week);
            x.extend(fortnight);
        }
        Inputs::Compact => {
            x.extend_from_slice(&yesterday[bins - bins.div_ceil(4)..]);
            let level = |days: usize| mean(&block(days));
            let days: Vec<f64> = (1..=WEEK).map(level).collect();
            x.extend([days[0], days[1], mean(&days), days[WEEK - 1]]);
        }
    }
    for column in seen.past.iter().take(MOST_COLUMNS).filter(|_| kind == Inputs::Compact) {
        let at = |back: usize| column.get(column.len().saturating_sub(back)).copied().unwrap_or(0.0);
        let near = (per_day / bins).max(1);
        x.extend((1..=4).map(|n| at(n * near)));
        x.push(mean(&column[column.len().saturating_sub(per_day)..]));
    }
    for column in 0..seen.known_columns().min(MOST_COLUMNS) {
        let block = |days: usize| {
            bins_of(per_day, bins, |at| seen.known(column, (seen.end() + at).saturating_sub(days * per_day)))
        };
        x.extend(block(0));
        if kind == Inputs::Rich {
            x.extend(block(1));
            x.extend(block(WEEK));
        } else {
            x.extend([mean(&block(0)), mean(&block(1)), mean(&block(WEEK))]);
        }
    }
    x.extend((0..7).map(|weekday| f64::from(u8::from(weekday == day.weekday))));
    let turn = day.season * std::f64::consts::TAU;
    x.extend([turn.sin(), turn.cos()]);
    DVector::from_vec(x)
}

/// What the calendar says of the block's first day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DayInfo {
    /// 0 is Sunday; a holiday counts as one.
    pub(crate) weekday: usize,
    /// Part of the year that has passed, 0…1.
    pub(crate) season: f64,
}

impl DayInfo {
    /// Of the block that begins where `seen` ends: the day in which most of its first day lies. `holidays` are days
    /// since 1970.
    pub(crate) fn of(seen: &Seen<'_>, holidays: &BTreeSet<i64>) -> Self {
        let day = seen.day(seen.end() + seen.per_day / 2);
        // 1 January 1970 was a Thursday.
        let weekday = usize::try_from((day + 4).rem_euclid(7)).unwrap_or(0);
        Self { weekday: if holidays.contains(&day) { 0 } else { weekday }, season: season(day) }
    }
}

fn bins_of(per_day: usize, bins: usize, value: impl Fn(usize) -> f64) -> Vec<f64> {
    let width = per_day.div_ceil(bins);
    (0..bins)
        .map(|bin| {
            let (from, until) = (bin * width, ((bin + 1) * width).min(per_day).max(bin * width + 1));
            (from..until).map(&value).sum::<f64>() / (until - from) as f64
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Turns values into the space of the regression and back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    pub(crate) centre: f64,
    pub(crate) width: f64,
    /// Whether tails are drawn in by the inverse hyperbolic sine, as is usual for prices.
    pub(crate) asinh: bool,
}

impl Scale {
    /// Centre, width and shape of a series' values.
    pub(crate) fn of(seen: &Seen<'_>) -> Self {
        let (centre, width) = robust(seen.values);
        let width = if width > 0.0 { width } else { centre.abs().max(1.0) };
        // Far tails, or both signs around a level of one: as prices are.
        let fourth = seen.values.iter().map(|v| ((v - centre) / width).powi(4).min(1e6)).sum::<f64>();
        let second = seen.values.iter().map(|v| ((v - centre) / width).powi(2).min(1e3)).sum::<f64>();
        let n = seen.values.len().max(1) as f64;
        let kurtosis = (fourth / n) / (second / n).powi(2).max(1e-12);
        let negative = seen.values.iter().filter(|v| **v < 0.0).count() as f64 / n;
        Self { centre, width, asinh: kurtosis > 8.0 || (0.002..0.2).contains(&negative) }
    }

    /// The same without drawing in the tails.
    pub(crate) const fn plain(self) -> Self {
        Self { asinh: false, ..self }
    }

    pub(crate) fn forward(&self, value: f64) -> f64 {
        let z = (value - self.centre) / self.width;
        if self.asinh { z.asinh() } else { z }
    }

    pub(crate) fn back(&self, z: f64) -> f64 {
        // Beyond this the sine would leave all that was ever seen far behind.
        let z = if self.asinh { z.clamp(-6.0, 6.0).sinh() } else { z };
        z * self.width + self.centre
    }
}

/// Weighted first and second moments of inputs and outcomes; older lessons fade.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    weight: f64,
    count: usize,
    x: DVector<f64>,
    y: DVector<f64>,
    xx: DMatrix<f64>,
    xy: DMatrix<f64>,
}

impl Moments {
    pub(crate) fn new(inputs: usize, outcomes: usize) -> Self {
        Self {
            weight: 0.0,
            count: 0,
            x: DVector::zeros(inputs),
            y: DVector::zeros(outcomes),
            xx: DMatrix::zeros(inputs, inputs),
            xy: DMatrix::zeros(inputs, outcomes),
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Adds a lesson of weight 1 after all earlier ones have faded by `keep`.
    pub(crate) fn add(&mut self, keep: f64, x: &DVector<f64>, y: &DVector<f64>) {
        self.weight = self.weight * keep + 1.0;
        self.count += 1;
        self.x.axpy(1.0, x, keep);
        self.y.axpy(1.0, y, keep);
        self.xx.syger(1.0, x, x, keep);
        self.xy.ger(1.0, x, y, keep);
    }

    /// The outcomes expected for an input, for each strength of the ridge (in units of the standardised inputs).
    pub(crate) fn expect(&self, ridges: &[f64], x: &DVector<f64>) -> Vec<Option<DVector<f64>>> {
        let w = self.weight.max(1e-12);
        let (mx, my) = (&self.x / w, &self.y / w);
        let n = mx.len();
        // Only the lower triangle is kept up to date.
        let mut cov = DMatrix::from_fn(n, n, |i, j| {
            let (i, j) = (i.max(j), i.min(j));
            self.xx[(i, j)] / w - mx[i] * mx[j]
        });
        let deviation: DVector<f64> = DVector::from_fn(n, |i, _| cov[(i, i)].max(0.0).sqrt());
        let inverse = deviation.map(|d| if d > 1e-6 { 1.0 / d } else { 0.0 });
        for j in 0..n {
            for i in 0..n {
                cov[(i, j)] *= inverse[i] * inverse[j];
            }
        }
        let z = DVector::from_fn(n, |i, _| ((x[i] - mx[i]) * inverse[i]).clamp(-8.0, 8.0));
        ridges
            .iter()
            .map(|ridge| {
                let mut system = cov.clone();
                for i in 0..n {
                    system[(i, i)] += ridge + 1e-9;
                }
                let solved = Cholesky::new(system)?.solve(&z);
                let weights = solved.component_mul(&inverse);
                let shift = weights.dot(&mx);
                let expected = self.xy.tr_mul(&weights) / w + &my * (1.0 - shift);
                Some(expected)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_recover_a_linear_law() {
        let mut m = Moments::new(2, 1);
        for k in 0..200 {
            let (a, b) = ((k as f64 * 0.7).sin(), (k as f64 * 1.3).cos());
            m.add(0.99, &DVector::from_vec(vec![a, b]), &DVector::from_vec(vec![2.0 * a - b + 3.0]));
        }
        let y = m.expect(&[1e-9], &DVector::from_vec(vec![0.5, 0.5]))[0].as_ref().unwrap()[0];
        assert!((y - 3.5).abs() < 1e-3, "{y}");
        let shrunk = m.expect(&[1e6], &DVector::from_vec(vec![0.5, 0.5]))[0].as_ref().unwrap()[0];
        assert!((shrunk - 3.0).abs() < 0.2, "a strong ridge answers with the mean: {shrunk}");
    }

    #[test]
    fn scales_go_there_and_back() {
        for asinh in [false, true] {
            let s = Scale { centre: 40.0, width: 12.0, asinh };
            for v in [-300.0, 0.0, 41.0, 900.0] {
                assert!((s.back(s.forward(v)) - v).abs() < 1e-6);
            }
        }
    }
}
