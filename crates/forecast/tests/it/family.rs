//! The full family: no look-ahead, no NaN, known bounds, whatever it is fed with.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;
use sos_forecast::{Character, Covariate, Forecast, ForecastConfig, Forecaster, metrics};
use sos_units::Missing;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn at(step: i64) -> Timestamp {
    Timestamp::from_second(1_577_836_800 + step * 3600).unwrap()
}

fn forecaster(character: Character, covariates: &[(&str, bool)]) -> Forecaster {
    let mut config = ForecastConfig::new(character, HOUR, TimeZone::UTC).full();
    config.covariates = covariates
        .iter()
        .map(|(name, known_ahead)| Covariate { name: (*name).to_owned(), known_ahead: *known_ahead })
        .collect();
    Forecaster::new(config).unwrap()
}

/// A load with a day, a week, a driver and a noise that repeats.
fn load(step: i64) -> f64 {
    let day = ((step % 24) as f64 / 24.0 * std::f64::consts::TAU).sin();
    let weekend = if (step / 24) % 7 >= 5 { -20.0 } else { 0.0 };
    100.0 + 30.0 * day + weekend + driver(step) + 4.0 * ((step * 7919 % 101) as f64 / 50.0 - 1.0)
}

fn driver(step: i64) -> f64 {
    15.0 * ((step / 24) as f64 * 1.3).sin()
}

fn check(forecast: &Forecast, len: usize) {
    assert_eq!(forecast.mean.len(), len);
    assert!(forecast.mean.iter().all(|v| v.is_finite()));
    for step in 0..len {
        let row: Vec<f64> = forecast.quantiles.iter().map(|(_, values)| values[step]).collect();
        assert!(row.iter().all(|v| v.is_finite()));
        assert!(row.windows(2).all(|w| w[0] <= w[1]), "quantiles cross: {row:?}");
    }
}

#[test]
fn falsifying_the_future_changes_no_forecast() {
    let forecast = |falsify: f64| {
        let mut f = forecaster(Character::Load, &[("past", false)]);
        for step in 0..24 * 60 {
            let later = if step >= 24 * 40 { falsify } else { 0.0 };
            f.observe(at(step), at(step + 1), Ok(load(step) + later));
            f.observe_covariate(0, at(step), at(step + 1), Ok(driver(step) - later));
        }
        f.forecast(at(24 * 40), 24)
    };
    assert_eq!(forecast(0.0), forecast(1e5));
}

#[test]
fn a_covariate_known_ahead_is_used_and_the_interval_holds_its_share() {
    let mut f = forecaster(Character::Load, &[("driver", true)]);
    for step in 0..24 * 140 {
        f.observe_covariate(0, at(step), Timestamp::MIN, Ok(driver(step)));
    }
    let (mut pairs, mut day, mut inside) = (Vec::new(), Vec::new(), 0.0);
    for step in 0..24 * 130_i64 {
        f.observe(at(step), at(step + 1), Ok(load(step)));
        if (step + 1) % 24 == 0 && step > 24 * 80 {
            let made = f.forecast(at(step + 1), 24);
            check(&made, 24);
            assert_eq!(made.method, "blend");
            for lead in 0..24 {
                let truth = load(step + 1 + lead);
                pairs.push((made.mean[lead as usize], truth));
                day.push((load(step + 1 + lead - 24), truth));
                let (low, high) = (made.quantiles[0].1[lead as usize], made.quantiles[2].1[lead as usize]);
                inside += f64::from(u8::from(low <= truth && truth <= high));
            }
        }
    }
    let (own, naive) = (metrics::mae(&pairs).unwrap(), metrics::mae(&day).unwrap());
    assert!(own < 0.4 * naive, "{own} against {naive}");
    let share = inside / pairs.len() as f64;
    assert!((0.7..0.92).contains(&share), "{share}");
}

#[test]
fn the_sun_does_not_shine_at_night_and_never_less_than_nothing() {
    let mut f = forecaster(Character::Solar, &[]);
    for step in 0..24 * 60_i64 {
        let height = (((step % 24) as f64 - 6.0) / 12.0 * std::f64::consts::PI).sin().max(0.0);
        let cloud = 0.6 + 0.4 * ((step / 24) as f64 * 2.1).sin();
        f.observe(
            at(step),
            at(step + 1),
            Ok(if (6..18).contains(&(step % 24)) { height * cloud } else { 0.0 }),
        );
    }
    let made = f.forecast(at(24 * 60), 24);
    check(&made, 24);
    for (_, row) in &made.quantiles {
        assert!(row.iter().all(|v| *v >= 0.0));
        assert!(row[0] == 0.0 && row[23] == 0.0, "{row:?}");
    }
    assert!(made.mean[12] > 0.2);
}

#[test]
fn a_step_change_is_followed_within_a_day_and_a_half() {
    let mut f = forecaster(Character::Rate, &[]);
    for step in 0..24 * 60_i64 {
        f.observe(at(step), at(step + 1), Ok(load(step) + if step >= 24 * 58 { 5000.0 } else { 0.0 }));
    }
    let made = f.forecast(at(24 * 60), 24);
    check(&made, 24);
    let mean = made.mean.iter().sum::<f64>() / 24.0;
    assert!(mean > 2500.0, "{mean}");
}

#[test]
fn an_issue_time_before_an_earlier_one_sees_what_was_known_then() {
    let mut f = forecaster(Character::Load, &[]);
    for step in 0..24 * 50 {
        f.observe(at(step), at(step + 1), Ok(load(step)));
    }
    let first = f.forecast(at(24 * 45), 24);
    f.forecast(at(24 * 50), 24);
    assert_eq!(f.forecast(at(24 * 45), 24), first);
}

#[test]
fn long_horizons_and_daylight_saving_days_have_a_value_for_each_step() {
    let zone = TimeZone::get("Europe/Luxembourg").unwrap();
    let mut f = Forecaster::new(ForecastConfig::new(Character::Load, HOUR, zone).full()).unwrap();
    // 2020-03-29 and 2020-10-25 are the days of the change.
    for step in 0..24 * 87 {
        f.observe(at(step), at(step + 1), Ok(load(step)));
    }
    check(&f.forecast(at(24 * 87), 24 * 10), 240);
    for step in 24 * 87..24 * 298 {
        f.observe(at(step), at(step + 1), Ok(load(step)));
    }
    check(&f.forecast(at(24 * 298), 48), 48);
}

#[test]
fn few_values_have_a_named_fallback() {
    let mut f = forecaster(Character::Load, &[]);
    assert_eq!(f.forecast(at(0), 24).method, "standard-shape");
    for step in 0..24 * 10 {
        f.observe(at(step), at(step + 1), Ok(load(step)));
    }
    let made = f.forecast(at(24 * 10), 24);
    check(&made, 24);
    assert_eq!(made.method, "profile-level", "days cannot be compared yet");
    assert!(!made.because.is_empty());
    assert_eq!(f.forecast(at(24 * 10), 3).method, "running-blend");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_observed_every_forecast_is_finite_and_ordered(
        seed in 0_u64..1000,
        missing in 0.0_f64..0.9,
        scale in prop::sample::select(vec![0.0, 1e-9, 1.0, 1e6, 1e11]),
        horizon in prop::sample::select(vec![1_usize, 24, 30]),
        days in 1_i64..40,
        character in prop::sample::select(vec![Character::Load, Character::Solar, Character::Price, Character::Any]),
    ) {
        let mut f = forecaster(character, &[("past", false), ("ahead", true)]);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for step in 0..24 * days {
            let value = if next() < missing { Err(Missing::Gap) } else { Ok((next() - 0.5) * scale) };
            f.observe(at(step), at(step + 1), value);
            f.observe_covariate(0, at(step), at(step + 1), Ok(next() * scale));
            if next() > missing {
                f.observe_covariate(1, at(step), Timestamp::MIN, Ok(next() * scale));
            }
        }
        check(&f.forecast(at(24 * days), horizon), horizon);
    }
}
