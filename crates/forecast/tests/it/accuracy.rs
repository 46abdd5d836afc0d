//! Better than yesterday's value and calibrated, on synthetic homes with weather, habits, weekends and spikes.

use jiff::SignedDuration;
use sos_forecast::{Character, Forecaster, Hours, SumForecaster, metrics};

use super::{HOUR, config, forecaster, noise, start};

const DAYS: usize = 120;

/// A household's hourly load: evening peak, weekends flatter, a level that drifts over hours, spikes.
fn load() -> Vec<f64> {
    let mut level = 0.0;
    (0..DAYS * 24)
        .map(|i| {
            let (hour, day) = (i % 24, i / 24);
            let weekend = matches!(day % 7, 5 | 6);
            let peak = if weekend { 0.6 } else { 1.4 };
            let shape = 0.8 + peak * (-((hour as f64 - 19.0) / 2.5).powi(2)).exp();
            level = 0.8 * level + 0.35 * (noise(i as u64) - 0.5);
            let spike = if noise(i as u64 + 50_000) > 0.96 { 1.5 } else { 0.0 };
            (shape + level + spike).max(0.05)
        })
        .collect()
}

/// Solar generation of a 4 kW roof: cloudiness that lasts for hours.
fn solar() -> Vec<f64> {
    let mut cloud = 0.2;
    (0..DAYS * 24)
        .map(|i| {
            let sun = ((i % 24) as f64 - 6.0).clamp(0.0, 12.0) * std::f64::consts::PI / 12.0;
            cloud = (0.85 * cloud + 0.3 * (noise(i as u64 + 90_000) - 0.4)).clamp(0.0, 0.85);
            3.6 * sun.sin().max(0.0) * (1.0 - cloud)
        })
        .collect()
}

struct Result {
    skill: f64,
    coverage: [f64; 2],
}

/// Skill over yesterday's value at leads 1…24 h and coverage of the outer quantiles, after 20 days.
fn score(values: &[f64], mut f: Forecaster) -> Result {
    let (mut ours, mut naive, mut low, mut high) = (vec![], vec![], vec![], vec![]);
    for (i, value) in values.iter().enumerate() {
        let time = start() + HOUR * i32::try_from(i).unwrap();
        if i > 20 * 24 && i + 24 < values.len() {
            let forecast = f.forecast(time, 24);
            for k in 0..24 {
                ours.push((forecast.mean[k], values[i + k]));
                naive.push((values[i + k - 24], values[i + k]));
                if forecast.quantiles[2].1[k] > 0.0 {
                    low.push((forecast.quantiles[0].1[k], values[i + k]));
                    high.push((forecast.quantiles[2].1[k], values[i + k]));
                }
            }
        }
        f.observe(time, time + HOUR, Ok(*value));
    }
    let skill = metrics::skill(metrics::mae(&ours).unwrap(), metrics::mae(&naive).unwrap()).unwrap();
    Result { skill, coverage: [metrics::coverage(&low).unwrap(), metrics::coverage(&high).unwrap()] }
}

#[test]
fn load_and_solar_beat_yesterday_and_are_calibrated() {
    for (name, values, character, least) in
        [("load", load(), Character::Load, 0.2), ("solar", solar(), Character::Solar, 0.15)]
    {
        let result = score(&values, forecaster(character, HOUR));
        assert!(result.skill > least, "{name}: skill {}", result.skill);
        let [low, high] = result.coverage;
        assert!((low - 0.1).abs() < 0.04 && (high - 0.9).abs() < 0.04, "{name}: coverage {low} {high}");
    }
}

#[test]
fn the_quantiles_of_a_sum_are_calibrated() {
    let (load, solar) = (load(), solar());
    let (mut l, mut s) = (forecaster(Character::Load, HOUR), forecaster(Character::Solar, HOUR));
    let mut sum = SumForecaster::new(config(Character::Net, HOUR)).unwrap();
    let mut pairs = vec![];
    for i in 0..load.len() - 24 {
        let time = start() + HOUR * i32::try_from(i).unwrap();
        let (a, b) = (l.forecast(time, 24), s.forecast(time, 24));
        let forecast = sum.forecast(time, 24, &[(&a, 1.0), (&b, -1.0)]);
        if i > 20 * 24 {
            pairs.extend((0..24).map(|k| (forecast.quantiles[2].1[k], load[i + k] - solar[i + k])));
        }
        l.observe(time, time + HOUR, Ok(load[i]));
        s.observe(time, time + HOUR, Ok(solar[i]));
        sum.observe(time, time + HOUR, Ok(load[i] - solar[i]));
    }
    let covered = metrics::coverage(&pairs).unwrap();
    assert!((covered - 0.9).abs() < 0.04, "coverage {covered}");
}

#[test]
fn the_next_tick_is_sure_within_the_hour_and_careful_on_the_hour() {
    let quarter = SignedDuration::from_mins(15);
    let mut f = forecaster(Character::Net, quarter);
    let hourly = load();
    let (mut on_hour, mut within) = (vec![], vec![]);
    for i in 0..hourly.len() * 4 {
        let time = start() + quarter * i32::try_from(i).unwrap();
        if i > 20 * 96 {
            let next = f.next_step(time, 0.95, Hours::Near);
            let pairs = if i % 4 == 0 { &mut on_hour } else { &mut within };
            pairs.push((next, hourly[i / 4]));
        }
        f.observe(time, time + quarter, Ok(hourly[i / 4]));
    }
    let covered = |p: &[(sos_forecast::NextStep, f64)]| {
        metrics::coverage(&p.iter().map(|(n, v)| (n.quantile, *v)).collect::<Vec<_>>()).unwrap()
    };
    let margin = |p: &[(sos_forecast::NextStep, f64)]| {
        p.iter().map(|(n, _)| n.quantile - n.estimate).sum::<f64>() / p.len() as f64
    };
    assert!((covered(&on_hour) - 0.95).abs() < 0.025, "{}", covered(&on_hour));
    assert!(margin(&within) < 0.2 * margin(&on_hour), "{} {}", margin(&within), margin(&on_hour));
}
