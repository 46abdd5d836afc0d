//! Whatever comes in: finite numbers, ordered quantiles, physical bounds, an answer of the right length.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sos_forecast::{Character, ConfigError, Forecast, Forecaster, Hours};
use sos_units::{Missing, Reading};

use super::{HOUR, config, forecaster, start};

fn assert_sound(f: &Forecast, character: Character, steps: usize) {
    assert_eq!(f.mean.len(), steps);
    assert_eq!(f.grid.len(), steps);
    assert!(f.grid.start() <= f.issued_at);
    for k in 0..steps {
        let column: Vec<f64> = f.quantiles.iter().map(|(_, v)| v[k]).collect();
        assert!(
            f.mean[k].is_finite() && column.iter().all(|v| v.is_finite()),
            "step {k}: {} {column:?}",
            f.mean[k]
        );
        assert!(column.windows(2).all(|w| w[0] <= w[1]), "step {k}: quantiles cross: {column:?}");
        if character != Character::Net {
            assert!(f.mean[k] >= 0.0 && column.iter().all(|v| *v >= 0.0));
        }
    }
}

fn reading() -> impl Strategy<Value = Reading<f64>> {
    prop_oneof![
        8 => (-5.0..20.0).prop_map(Ok),
        2 => Just(Err(Missing::Gap)),
        1 => Just(Ok(f64::NAN)),
        1 => Just(Ok(f64::INFINITY)),
        1 => prop_oneof![Just(1e300), Just(-1e300), Just(f64::MAX), Just(1e-320), Just(0.0)].prop_map(Ok),
        2 => Just(Ok(3.0)),
    ]
}

fn character() -> impl Strategy<Value = Character> {
    prop_oneof![Just(Character::Load), Just(Character::Solar), Just(Character::Carbon), Just(Character::Net)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_data_give_a_sound_forecast(
        character in character(),
        minutes in prop_oneof![Just(1_i64), Just(15), Just(20), Just(60), Just(120), Just(1440)],
        values in prop::collection::vec((reading(), 0_i64..4), 0..400),
        horizon in 0_usize..200,
    ) {
        let step = SignedDuration::from_mins(minutes);
        let mut f = forecaster(character, step);
        let mut time = start();
        for (at, (value, skip)) in values.iter().enumerate() {
            f.observe(time, time + step * (1 + i32::try_from(*skip).unwrap()), *value);
            time += step * i32::try_from(1 + skip / 3).unwrap();
            if at % 97 == 0 {
                assert_sound(&f.forecast(time, 5), character, 5);
            }
        }
        assert_sound(&f.forecast(time, horizon), character, horizon);
        for q in [0.0, 0.5, 1.0, f64::NAN] {
            let next = f.next_step(time, q, Hours::All);
            prop_assert!(next.estimate.is_finite() && next.quantile.is_finite());
        }
    }
}

#[test]
fn there_is_no_sun_at_night() {
    let mut f = forecaster(Character::Solar, HOUR);
    for i in 0..24 * 20 {
        let sun = (f64::from(i % 24 - 6) * std::f64::consts::PI / 12.0).sin().max(0.0);
        f.observe(start() + HOUR * i, start() + HOUR * (i + 1), Ok(4.0 * sun));
    }
    let forecast = f.forecast(start() + HOUR * (24 * 20), 24);
    for k in [0, 1, 2, 3, 4, 22, 23] {
        assert_eq!((forecast.mean[k], forecast.quantiles[2].1[k]), (0.0, 0.0), "hour {k}");
    }
    assert!((forecast.mean[12] - 4.0).abs() < 0.4, "{}", forecast.mean[12]);
}

#[test]
fn a_constant_series_is_forecast_as_that_constant() {
    let mut f = forecaster(Character::Load, HOUR);
    for i in 0..24 * 30 {
        f.observe(start() + HOUR * i, start() + HOUR * (i + 1), Ok(2.5));
    }
    let forecast = f.forecast(start() + HOUR * (24 * 30), 48);
    assert!(forecast.mean.iter().all(|v| (v - 2.5).abs() < 1e-9));
    assert!(forecast.quantiles.iter().all(|(_, q)| q.iter().all(|v| (v - 2.5).abs() < 0.05)));
}

#[test]
fn one_rubbish_value_does_not_last() {
    let mut f = forecaster(Character::Load, HOUR);
    for i in 0..24 * 30 {
        let value = if i == 24 * 28 { 1e9 } else { 1.0 + f64::from(i % 5) * 0.1 };
        f.observe(start() + HOUR * i, start() + HOUR * (i + 1), Ok(value));
    }
    let forecast = f.forecast(start() + HOUR * (24 * 30), 48);
    assert!(forecast.mean.iter().all(|v| *v < 3.0), "{:?}", forecast.mean);
}

#[test]
fn the_ladder_climbs_with_the_data_and_falls_back_when_they_stop() {
    let mut f =
        Forecaster::new(sos_forecast::ForecastConfig { prior: Some(1.2), ..config(Character::Load, HOUR) })
            .unwrap();
    let empty = f.forecast(start(), 24);
    assert_eq!(empty.method, "standard-shape");
    let mean = empty.mean.iter().sum::<f64>() / 24.0;
    assert!((mean - 1.2).abs() < 0.05, "the standard shape keeps the prior's mean: {mean}");
    let mut methods = Vec::new();
    for i in 0..24 * 10 {
        f.observe(start() + HOUR * i, start() + HOUR * (i + 1), Ok(1.0));
        methods.push(f.forecast(start() + HOUR * (i + 1), 24).method);
    }
    methods.dedup();
    assert_eq!(methods, ["scaled-shape", "young-profile", "profile-level"]);
    let later = f.forecast(start() + HOUR * (24 * 10 + 9), 24);
    assert_eq!(later.method, "profile");
    assert!(later.because.contains("9.0 h"), "{}", later.because);
}

#[test]
fn impossible_settings_are_refused_with_a_reason() {
    let step = Forecaster::new(config(Character::Load, SignedDuration::from_mins(7))).unwrap_err();
    assert_eq!(step, ConfigError::Step(SignedDuration::from_mins(7)));
    assert!(step.to_string().contains("7m"), "{step}");
    let mut c = config(Character::Load, HOUR);
    c.quantiles = vec![0.5, 1.0];
    assert_eq!(Forecaster::new(c).unwrap_err(), ConfigError::Quantile(1.0));
    let mut c = config(Character::Solar, HOUR);
    c.prior = Some(-1.0);
    assert_eq!(Forecaster::new(c).unwrap_err(), ConfigError::Level(-1.0));
}

#[test]
fn the_ends_of_time_do_not_panic() {
    for time in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        let mut f = forecaster(Character::Solar, HOUR);
        f.observe(time, time, Ok(1.0));
        f.observe(Timestamp::MAX, Timestamp::MIN, Ok(1.0));
        let forecast = f.forecast(time, 1000);
        assert_eq!(forecast.mean.len(), forecast.grid.len());
        f.next_step(time, 0.9, Hours::Near);
    }
}

#[test]
fn coarse_steps_are_means_of_fine_ones() {
    let mut f = forecaster(Character::Load, SignedDuration::from_mins(15));
    f.observe(start(), start() + HOUR, Ok(2.0));
    let forecast = f.forecast(start() + HOUR, 10);
    let coarse = forecast.coarse_mean(4);
    assert_eq!(coarse.len(), 2);
    assert!((coarse[1] - forecast.mean[4..8].iter().sum::<f64>() / 4.0).abs() < 1e-12);
    assert_eq!(forecast.coarse_quantile(0.9, 4).unwrap().len(), 2);
    assert_eq!(forecast.coarse_quantile(0.33, 4), None);
}
