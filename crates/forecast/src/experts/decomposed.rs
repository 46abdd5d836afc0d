//! Seasonal decomposition (MSTL) whose seasons repeat and whose level is smoothed exponentially.
//!
//! Source: Bandara, Hyndman, Bergmeir, *MSTL* (arXiv 2107.13462), by the crate `stlrs`.

use crate::panel::Seen;

/// Weeks that are decomposed.
const WEEKS: usize = 6;
/// Steps of a day above which decomposition costs too much for what it gives.
const MOST_PER_DAY: usize = 96;
/// Smoothing of the level per day.
const PER_DAY: f64 = 0.6;

/// The block that begins where `seen` ends; none with less than two weeks, or with very fine steps.
pub(crate) fn expect(seen: &Seen<'_>, leads: usize) -> Option<Vec<f64>> {
    let day = seen.per_day;
    let from = seen.end().saturating_sub(WEEKS * 7 * day);
    let values: Vec<f32> = seen.values[from..].iter().map(|v| *v as f32).collect();
    if !(4..=MOST_PER_DAY).contains(&day) || values.len() < 14 * day {
        return None;
    }
    let weekly = values.len() >= 21 * day;
    let periods = if weekly { vec![day, 7 * day] } else { vec![day] };
    let parts = stlrs::Mstl::params().iterations(1).fit(&values, &periods).ok()?;
    let adjusted: Vec<f64> =
        parts.trend().iter().zip(parts.remainder()).map(|(t, r)| f64::from(*t) + f64::from(*r)).collect();
    let (level, deviation, lasting) = smooth(&adjusted, day);
    let last = |season: &Vec<f32>, period: usize, lead: usize| {
        f64::from(season[season.len() - period + lead % period])
    };
    Some(
        (0..leads)
            .map(|lead| {
                let season: f64 = parts.seasonal().iter().zip(&periods).map(|(s, p)| last(s, *p, lead)).sum();
                level + season + deviation * lasting.powi(i32::try_from(lead + 1).unwrap_or(i32::MAX))
            })
            .collect(),
    )
}

/// Smoothed level of an adjusted series, the latest deviation from it, and how much of a deviation lasts a step.
fn smooth(adjusted: &[f64], per_day: usize) -> (f64, f64, f64) {
    let keep = (1.0 - PER_DAY).powf(1.0 / per_day as f64);
    let mut level = adjusted.first().copied().unwrap_or(0.0);
    let (mut product, mut square, mut before) = (0.0, 1e-12, 0.0);
    let mut deviation = 0.0;
    for value in adjusted {
        deviation = value - level;
        product += before * deviation;
        square += before * before;
        before = deviation;
        level = keep * level + (1.0 - keep) * value;
    }
    (level, deviation, (product / square).clamp(0.0, 0.99))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::Panel;

    #[test]
    fn a_daily_and_weekly_pattern_is_continued() {
        let mut panel = Panel::new(24, 0, 0);
        let law = |at: i64| {
            let weekend = if (at / 24) % 7 < 2 { -20.0 } else { 0.0 };
            100.0 + 10.0 * ((at % 24) as f64 / 24.0 * std::f64::consts::TAU).sin() + weekend
        };
        for at in 0..24 * 42_i64 {
            panel.push(at, Some(law(at)));
        }
        let day = expect(&panel.seen(usize::MAX), 24).unwrap();
        for (lead, value) in day.iter().enumerate() {
            let truth = law(24 * 42 + lead as i64);
            assert!((value - truth).abs() < 4.0, "lead {lead}: {value} instead of {truth}");
        }
    }
}
