//! Wind power from wind speed known ahead: the learned curve leads, and a new plant begins with a standard one.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;
use sos_forecast::{Character, Covariate, Forecast, ForecastConfig, Forecaster, metrics};
use sos_units::Missing;

use super::noise;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const RATED: f64 = 2000.0;

fn at(step: i64) -> Timestamp {
    Timestamp::from_second(1_577_836_800 + step * 3600).unwrap()
}

/// A sum of uniform numbers: nearly normal, standard deviation 1.
fn normal(n: u64) -> f64 {
    (0..12).map(|k| noise(n * 12 + k)).sum::<f64>() - 6.0
}

/// Hours of a windy place: true speed and the one forecast a day before, m/s, and power.
fn weather(hours: usize) -> Vec<(f64, f64, f64)> {
    let (mut slow, mut error) = (0.0, 0.0);
    (0..hours as u64)
        .map(|n| {
            slow = 0.97 * slow + 0.243 * normal(n);
            error = 0.9 * error + 0.436 * normal(n + 1_000_000);
            // Squares of a normal process are close to the Weibull shape of wind.
            let speed = 7.5 * (0.45 * slow).exp();
            let forecast = (speed + 0.9 * error).max(0.0);
            let turbine =
                if (3.2..25.0).contains(&speed) { (speed / 11.5).powi(3).min(1.0) - 0.02 } else { 0.0 };
            let power = (RATED * (turbine + 0.02 * normal(n + 2_000_000))).clamp(0.0, RATED);
            (speed, forecast, power)
        })
        .collect()
}

fn forecaster(character: Character, prior: Option<f64>) -> Forecaster {
    let mut config = ForecastConfig::new(character, HOUR, TimeZone::UTC).full();
    config.covariates = vec![Covariate { name: "wind_speed".to_owned(), known_ahead: true }];
    config.prior = prior;
    Forecaster::new(config).unwrap()
}

fn check(forecast: &Forecast, len: usize) {
    assert_eq!(forecast.mean.len(), len);
    for step in 0..len {
        let row: Vec<f64> = forecast.quantiles.iter().map(|(_, values)| values[step]).collect();
        assert!(forecast.mean[step].is_finite() && forecast.mean[step] >= 0.0);
        assert!(
            row.iter().all(|v| v.is_finite() && *v >= 0.0) && row.windows(2).all(|w| w[0] <= w[1]),
            "{row:?}"
        );
    }
}

/// Mean absolute error of forecasts issued every `every` hours, `horizon` ahead, over hours `from..until`, with the
/// last reason.
fn run(
    character: Character,
    prior: Option<f64>,
    hours: &[(f64, f64, f64)],
    (from, every, horizon): (usize, usize, usize),
) -> (f64, Vec<Forecast>) {
    let mut f = forecaster(character, prior);
    for (step, (_, speed, _)) in hours.iter().enumerate() {
        f.observe_covariate(0, at(step as i64), Timestamp::MIN, Ok(*speed));
    }
    let (mut pairs, mut made) = (Vec::new(), Vec::new());
    for step in 0..hours.len() - horizon {
        if step >= from && (step - from) % every == 0 {
            let forecast = f.forecast(at(step as i64), horizon);
            check(&forecast, horizon);
            pairs.extend((0..horizon).map(|lead| (forecast.mean[lead], hours[step + lead].2)));
            made.push(forecast);
        }
        f.observe(at(step as i64), at(step as i64 + 1), Ok(hours[step].2));
    }
    (metrics::mae(&pairs).unwrap(), made)
}

/// Share of a member as told, in percent.
fn share(forecast: &Forecast, member: &str) -> f64 {
    let after = forecast.because.split(&format!("{member} ")).nth(1).unwrap_or("0 ");
    after.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_power_curve_carries_a_day_ahead_and_the_error_falls_clearly() {
    let hours = weather(24 * 150);
    // The same family without the curve: any series of 0 or above.
    let (without, _) = run(Character::Rate, None, &hours, (24 * 90, 24, 24));
    let (with, made) = run(Character::Wind, None, &hours, (24 * 90, 24, 24));
    let carried = made.iter().map(|f| share(f, "power-curve")).sum::<f64>() / made.len() as f64;
    println!("a day ahead: {with:.1} kW with, {without:.1} kW without; it carries {carried:.0} %");
    assert!(with < 0.85 * without, "{with} against {without}");
    assert!(carried > 50.0, "{carried}");
    assert_eq!(made[0].method, "blend");
}

#[test]
fn the_power_curve_helps_the_next_hours_too() {
    let hours = weather(24 * 40);
    let (without, _) = run(Character::Rate, None, &hours, (24 * 20, 3, 4));
    let (with, made) = run(Character::Wind, None, &hours, (24 * 20, 3, 4));
    println!("four hours ahead: {with:.1} kW with, {without:.1} kW without");
    assert!(with < 0.9 * without, "{with} against {without}");
    assert_eq!(made[0].method, "running-blend");
    assert!(made.iter().filter(|f| share(f, "power-curve") > 20.0).count() > made.len() / 2);
}

#[test]
fn a_new_plant_begins_with_a_standard_turbine_at_the_wind_that_is_known() {
    let (mut cold, mut flat) = (0.0, 0.0);
    for begin in 0..12 {
        let hours = &weather(24 * 80)[begin * 120..begin * 120 + 24 * 9];
        let (with, made) = run(Character::Wind, Some(RATED), hours, (0, 12, 24));
        let (without, plain) = run(Character::Rate, Some(0.3 * RATED), hours, (0, 12, 24));
        assert_eq!((made[0].method, plain[0].method), ("standard-curve", "standard-shape"));
        assert_eq!((made[1].method, plain[1].method), ("power-curve", "scaled-shape"));
        assert!(made[0].because.contains("power-curve") && made[0].because.contains("wind_speed"));
        cold += with / 12.0;
        flat += without / 12.0;
    }
    println!("first week: {cold:.1} kW with, {flat:.1} kW without");
    assert!(cold < 0.7 * flat, "{cold} against {flat}");
}

#[test]
fn without_size_or_a_plausible_speed_nothing_is_made_up() {
    let mut f = forecaster(Character::Wind, None);
    for step in 0..48 {
        f.observe_covariate(0, at(step), Timestamp::MIN, Ok(8.0));
    }
    assert_eq!(f.forecast(at(0), 24).method, "standard-shape");
    let mut f = forecaster(Character::Wind, Some(RATED));
    for step in 0..48 {
        f.observe_covariate(0, at(step), Timestamp::MIN, Ok(800.0));
    }
    let made = f.forecast(at(0), 24);
    assert_eq!(made.method, "standard-shape");
    assert!((made.mean[0] - 0.3 * RATED).abs() < 1e-9, "a usual share of the rated power");
}

#[test]
fn falsifying_the_future_changes_no_forecast() {
    let hours = weather(24 * 60);
    for issue in [0, 20, 30, 24 * 10, 24 * 40] {
        let forecast = |falsify: f64| {
            let mut f = forecaster(Character::Wind, Some(RATED));
            for (step, (_, speed, power)) in hours.iter().enumerate() {
                let time = at(step as i64);
                let later = step >= issue;
                f.observe(time, time + HOUR, Ok(if later { falsify } else { *power }));
                f.observe_covariate(0, time, Timestamp::MIN, Ok(*speed));
                // A later announcement of the wind is not known yet either.
                f.observe_covariate(0, time, at(issue as i64 + 1), Ok(if later { falsify } else { *speed }));
            }
            f.forecast(at(issue as i64), 24)
        };
        assert_eq!(forecast(0.0), forecast(1e4), "issued at {issue}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_wind_is_announced_every_forecast_is_finite_and_ordered(
        seed in 0_u64..1000,
        missing in 0.0_f64..0.9,
        scale in prop::sample::select(vec![0.0, 1e-9, 1.0, 30.0, 1e11, 1e300]),
        prior in prop::sample::select(vec![None, Some(0.0), Some(1e3), Some(1e11)]),
        hours in prop::sample::select(vec![0_i64, 1, 20, 41, 24 * 12, 24 * 20]),
        horizon in prop::sample::select(vec![1_usize, 24, 70]),
    ) {
        let mut f = forecaster(Character::Wind, prior);
        for step in 0..hours + 40 {
            let n = seed * 100_000 + step as u64 * 3;
            if step < hours {
                let value = if noise(n) < missing { Err(Missing::Gap) } else { Ok(noise(n + 1) * scale) };
                f.observe(at(step), at(step + 1), value);
            }
            if noise(n + 2) > missing {
                f.observe_covariate(0, at(step), Timestamp::MIN, Ok((noise(n + 3) - 0.1) * scale));
            }
        }
        check(&f.forecast(at(hours), horizon), horizon);
    }
}
