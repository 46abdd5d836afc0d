//! Gradient-boosted trees on the median, one model for all steps of a block, by LightGBM.

use std::sync::{Arc, Mutex, PoisonError};

use lightgbm3::{Booster, Dataset};
use serde_json::json;

use super::linear::{DayInfo, Scale};
use super::naive;
use crate::blend::Loss;
use crate::panel::Seen;

/// Rows learned from, at most: the latest.
const MOST_ROWS: usize = 20_000;
/// Steps of a block that are learned from, at most; all are forecast.
const MOST_LEADS: usize = 24;
/// Other columns that are read, at most.
const MOST_COLUMNS: usize = 8;
/// Weight of a lesson halves in so many blocks.
const HALF_LIFE: f64 = 200.0;
/// Rows below which trees say nothing.
const FEWEST_ROWS: usize = 400;

/// A fitted model.
#[derive(Clone)]
pub(crate) struct Trees {
    booster: Arc<Mutex<Handle>>,
    scale: Scale,
}

/// The booster's handle.
struct Handle(Booster);

#[expect(
    unsafe_code,
    reason = "a booster is plain memory of its own without ties to a thread; a mutex guards it"
)]
// SAFETY: LightGBM keeps no thread-local state for a booster, and `Trees` reaches it under a lock only.
unsafe impl Send for Handle {}

impl std::fmt::Debug for Trees {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trees").field("scale", &self.scale).finish_non_exhaustive()
    }
}

/// A block to learn from: what was seen before it, its calendar, and what came (missing steps are `NAN`).
pub(crate) struct Lesson<'a> {
    pub(crate) seen: Seen<'a>,
    pub(crate) day: DayInfo,
    pub(crate) came: &'a [f64],
}

impl Trees {
    /// Learns from blocks, oldest first; none when there is too little to learn from.
    pub(crate) fn fit(lessons: &[Lesson<'_>], scale: Scale, loss: Loss) -> Option<Self> {
        let leads = lessons.last()?.came.len();
        let stride = leads.div_ceil(MOST_LEADS).max(1);
        let blocks = (MOST_ROWS / leads.div_ceil(stride)).max(1);
        let lessons = &lessons[lessons.len().saturating_sub(blocks)..];
        let (mut rows, mut labels, mut weights): (Vec<f64>, Vec<f32>, Vec<f32>) = Default::default();
        for (back, lesson) in lessons.iter().rev().enumerate() {
            let weight = 0.5_f64.powf(back as f64 / HALF_LIFE) as f32;
            let table = Table::new(&lesson.seen, lesson.came.len(), scale);
            // The steps alternate from block to block, so that all are learned.
            for lead in (back % stride..lesson.came.len()).step_by(stride) {
                if lesson.came[lead].is_finite() {
                    let base = table.row(&lesson.seen, &lesson.day, lead, &mut rows);
                    labels.push((scale.forward(lesson.came[lead]) - base) as f32);
                    weights.push(weight);
                }
            }
        }
        if labels.len() < FEWEST_ROWS {
            return None;
        }
        let width = i32::try_from(rows.len() / labels.len()).ok()?;
        let mut data = Dataset::from_slice(&rows, &labels, width, true).ok()?;
        data.set_weights(&weights).ok()?;
        let objective = if loss == Loss::Absolute { "regression_l1" } else { "regression" };
        let booster = Booster::train(
            data,
            &json!({
                "objective": objective, "num_iterations": 150, "learning_rate": 0.05, "num_leaves": 15,
                "min_data_in_leaf": 30, "feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1,
                "lambda_l2": 5.0, "num_threads": 1, "deterministic": true, "force_row_wise": true, "seed": 1,
                "verbosity": -1
            }),
        )
        .ok()?;
        Some(Self { booster: Arc::new(Mutex::new(Handle(booster))), scale })
    }

    /// The block of `leads` steps that begins where `seen` ends.
    pub(crate) fn expect(&self, seen: &Seen<'_>, day: &DayInfo, leads: usize) -> Option<Vec<f64>> {
        let table = Table::new(seen, leads, self.scale);
        let mut rows = Vec::new();
        let bases: Vec<f64> = (0..leads).map(|lead| table.row(seen, day, lead, &mut rows)).collect();
        let width = i32::try_from(rows.len() / leads.max(1)).ok()?;
        let booster = self.booster.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = booster.0.predict_with_params(&rows, width, true, "num_threads=1").ok()?;
        Some(expected.iter().zip(bases).map(|(z, base)| self.scale.back(z + base)).collect())
    }
}

/// What the rows of a block share.
struct Table {
    scale: Scale,
    week: Vec<f64>,
    month: Vec<f64>,
    spread: Vec<f64>,
    common: Vec<f64>,
    known: Vec<f64>,
}

impl Table {
    fn new(seen: &Seen<'_>, leads: usize, scale: Scale) -> Self {
        let day = seen.per_day;
        let near = (day / 24).max(1);
        let v = |back: usize| scale.forward(seen.back(back));
        let level =
            |from: usize, until: usize| (from..until).map(|b| v(b + 1)).sum::<f64>() / (until - from) as f64;
        let yesterday: Vec<f64> = (1..=day).map(v).collect();
        let mut common = vec![
            v(1),
            v(1 + near),
            level(0, (4 * near).min(day)),
            level(0, day),
            level(day, 2 * day),
            level(6 * day, 7 * day),
            level(0, 7 * day),
            yesterday.iter().copied().fold(f64::MIN, f64::max),
            yesterday.iter().copied().fold(f64::MAX, f64::min),
        ];
        for column in seen.past.iter().take(MOST_COLUMNS) {
            let day = &column[column.len().saturating_sub(day)..];
            common.push(column.last().copied().unwrap_or(0.0));
            common.push(day.iter().sum::<f64>() / day.len().max(1) as f64);
        }
        let columns = seen.known_columns().min(MOST_COLUMNS);
        let known = (0..columns)
            .map(|c| (0..leads.min(day)).map(|at| seen.known(c, seen.end() + at)).sum::<f64>())
            .map(|sum| sum / leads.min(day).max(1) as f64)
            .collect();
        let forward = |values: Vec<f64>| values.into_iter().map(|v| scale.forward(v)).collect::<Vec<f64>>();
        let month = naive::mean_of_days(seen, leads, 28);
        let spread = (0..leads.min(day))
            .map(|lead| {
                let days = (1..=14).map(|d| scale.forward(seen.days_before(lead, d)));
                let (sum, squares) = days.fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
                (squares / 14.0 - (sum / 14.0) * (sum / 14.0)).max(0.0).sqrt()
            })
            .collect();
        let week = forward(naive::mean_of_days(seen, leads, 7));
        Self { scale, week, month: forward(month), spread, common, known }
    }

    /// Appends the inputs of one step; returns what the label is relative to.
    fn row(&self, seen: &Seen<'_>, day: &DayInfo, lead: usize, row: &mut Vec<f64>) -> f64 {
        let at = seen.end() + lead;
        let days = seen.days_to_seen(lead);
        let near = (seen.per_day / 24).max(1);
        let v = |lead: usize, days: usize| self.scale.forward(seen.days_before(lead, days));
        let weekday = (day.weekday + lead / seen.per_day) % 7;
        row.extend([seen.slot(at) as f64, weekday as f64, day.season, lead as f64]);
        row.extend([v(lead, days), v(lead, days + 1), v(lead, days.max(7))]);
        // The neighbours of the same time yesterday, as far as they are seen.
        row.extend([v(lead.saturating_sub(near), days), v((lead + near).min(days * seen.per_day - 1), days)]);
        row.extend([self.week[lead], self.month[lead], self.spread[lead % self.spread.len()]]);
        row.extend_from_slice(&self.common);
        for column in seen.past.iter().take(MOST_COLUMNS) {
            let back = (days * seen.per_day).saturating_sub(lead);
            row.push(column.get(column.len().saturating_sub(back)).copied().unwrap_or(0.0));
        }
        for (c, mean) in self.known.iter().enumerate() {
            let here = seen.known(c, at);
            let before = |days: usize| seen.known(c, at.saturating_sub(days * seen.per_day));
            row.extend([here, here - before(1), here - before(7), *mean]);
            row.extend([seen.known(c, at.saturating_sub(near)), seen.known(c, at + near)]);
        }
        self.week[lead]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::Panel;

    #[test]
    fn trees_learn_what_a_covariate_known_ahead_says() {
        let mut panel = Panel::new(24, 0, 1);
        let driver = |at: i64| f64::from(u8::from((at / 24) % 3 == 0)) * 10.0;
        for at in 0..24 * 80_i64 {
            panel.push(at, Some(20.0 + driver(at)));
        }
        for at in 0..24 * 82_i64 {
            panel.push_known(0, at, driver(at));
        }
        let scale = Scale { centre: 20.0, width: 10.0, asinh: false };
        let info = |k: usize| DayInfo { weekday: k % 7, season: 0.5 };
        let all = panel.seen(usize::MAX);
        let lessons: Vec<Lesson<'_>> = (14..79)
            .map(|k| Lesson { seen: panel.seen(24 * k), day: info(k), came: &all.raw[24 * k..24 * (k + 1)] })
            .collect();
        let trees = Trees::fit(&lessons, scale, Loss::Absolute).unwrap();
        let day = trees.expect(&panel.seen(24 * 78), &info(78), 24).unwrap();
        assert!((day[12] - 30.0).abs() < 1.0, "{day:?}");
        let next = trees.expect(&panel.seen(24 * 79), &info(79), 24).unwrap();
        assert!((next[12] - 20.0).abs() < 1.0, "{next:?}");
    }
}
