//! A wind plant that is young: its power from wind speed known ahead, while the family has too little to compare.

use crate::blend::Block;
use crate::config::ForecastConfig;
use crate::experts::power_curve::{Curve, MEAN_SPEED, MOST_COLUMNS, STORM};
use crate::history::View;

/// Mean absolute error of a wind plant's day-ahead forecast, as a share of its rated power, while nothing is measured.
/// Source: Monteiro et al., *Wind Power Forecasting: State-of-the-Art 2009*, Argonne ANL/DIS-10-1 (10–15 % for one plant).
const USUAL_ERROR: f64 = 0.12;
/// Values that the usual error counts as.
const TRUST: f64 = 24.0;

/// What is said, on which column it rests, and how many values of the series it was learned from.
pub(crate) struct Young {
    pub(crate) block: Block,
    pub(crate) column: usize,
    pub(crate) lessons: usize,
}

/// Steps from `first` on by the curve of one of the columns `known` ahead; none where no column reaches there, or nothing
/// says how large the plant is.
pub(crate) fn expect(
    config: &ForecastConfig,
    own: &View<'_>,
    known: &[View<'_>],
    (first, len): (i64, usize),
) -> Option<Young> {
    let rated = config.rated();
    let per_day = usize::try_from(86_400 / config.step.as_secs().max(1)).unwrap_or(1).max(1);
    let measured: Vec<(i64, f64)> = own
        .since(i64::MIN)
        .take_while(|(i, _)| *i < first)
        .filter_map(|(i, s)| Some((i, s.value.ok()?)))
        .collect();
    let column = |(column, view): (usize, &View<'_>)| {
        let ahead = ahead(view, first, len)?;
        let mut curve = Curve::new();
        let lessons = lessons(&measured, view);
        lessons.chunks(per_day).for_each(|day| curve.learn(day, 1.0, rated));
        if lessons.is_empty() && !is_speed(&ahead) {
            return None;
        }
        let mean = curve.expect(rated, ahead.into_iter())?;
        let lessons = lessons.iter().flatten().count();
        Some((curve.error().unwrap_or(f64::MAX), curve, mean, column, lessons))
    };
    let made = known.iter().take(MOST_COLUMNS).enumerate().filter_map(column);
    let (_, curve, mean, column, lessons) = made.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let size = curve.rated(rated).unwrap_or_else(|| mean.iter().copied().fold(0.0, f64::max));
    let spread = curve.error_with(USUAL_ERROR * size, TRUST);
    let quantile = |q: &f64| {
        let error = 1.25 * spread * (q / (1.0 - q)).ln() / 1.702;
        mean.iter().map(|centre| config.bounded(centre + error)).collect()
    };
    let quantiles = config.quantiles.iter().map(quantile).collect();
    let mean = mean.iter().map(|v| config.bounded(*v)).collect();
    Some(Young { block: Block { mean, quantiles, members: Vec::new() }, column, lessons })
}

/// Values of the coming steps; a hole is filled by the step before it. None without any.
fn ahead(view: &View<'_>, first: i64, len: usize) -> Option<Vec<f64>> {
    let mut values = vec![f64::NAN; len];
    for (index, sample) in view.since(first).take_while(|(index, _)| *index < first + len as i64) {
        if let (Ok(at), Ok(value)) = (usize::try_from(index - first), sample.value) {
            values[at] = value;
        }
    }
    let mut last = values.iter().copied().find(|v| v.is_finite())?;
    for value in &mut values {
        last = if value.is_finite() { *value } else { last };
        *value = last;
    }
    Some(values)
}

/// (column, power) of all measured steps for which the column was known.
fn lessons(measured: &[(i64, f64)], view: &View<'_>) -> Vec<Option<(f64, f64)>> {
    let Some((from, _)) = measured.first() else { return Vec::new() };
    let mut known = view.since(*from).filter_map(|(i, s)| Some((i, s.value.ok()?))).peekable();
    let pair = |(index, power): &(i64, f64)| {
        while known.next_if(|(i, _)| i < index).is_some() {}
        known.next_if(|(i, _)| i == index).map(|(_, x)| (x, *power))
    };
    measured.iter().map(pair).collect()
}

/// Whether these can be wind speeds in m/s.
fn is_speed(values: &[f64]) -> bool {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().all(|v| (0.0..=STORM).contains(v)) && MEAN_SPEED.contains(&mean)
}
