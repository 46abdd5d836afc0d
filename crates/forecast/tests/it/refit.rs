//! A series that changed is learned anew where that is better, and is left alone where it is not.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sos_forecast::{Character, ForecastConfig, Forecaster, Refit, metrics};
use sos_units::{Missing, Reading};

use super::{HOUR, config, forecaster, noise, start};

const CHANGE: i64 = 24 * 42;

fn time(hour: i64) -> Timestamp {
    start() + SignedDuration::from_hours(hour)
}

/// Consumption with an evening peak and flatter weekends.
fn home(hour: i64) -> f64 {
    let peak = if (hour / 24) % 7 < 5 { 1.6 } else { 0.6 };
    0.8 + peak * (-(((hour % 24) as f64 - 19.0) / 2.5).powi(2)).exp() + 0.2 * noise(hour as u64)
}

fn level(hour: i64) -> f64 {
    home(hour) + if hour >= CHANGE { 3.0 } else { 0.0 }
}

/// A heat pump that runs at night.
fn heat_pump(hour: i64) -> f64 {
    home(hour) + if hour >= CHANGE && (0..6).contains(&(hour % 24)) { 2.5 } else { 0.0 }
}

/// A string of the panels breaks.
fn half_sun(hour: i64) -> f64 {
    let height = (((hour % 24) as f64 - 6.0) / 12.0 * std::f64::consts::PI).sin().max(0.0);
    let dark = if (6..18).contains(&(hour % 24)) { 1.0 } else { 0.0 };
    let cloud = 0.5 * noise((hour / 24) as u64) + 0.2 * noise(hour as u64);
    4.0 * height * dark * (1.0 - cloud) * if hour >= CHANGE { 0.5 } else { 1.0 }
}

fn fed(f: &mut Forecaster, hours: std::ops::Range<i64>, value: impl Fn(i64) -> f64) {
    for hour in hours {
        f.observe(time(hour), time(hour + 1), Ok(value(hour)));
    }
}

/// Mean absolute error a day ahead, issued each hour, over the days from `from` on.
fn error(f: &Forecaster, (from, days): (i64, i64), value: impl Fn(i64) -> f64) -> f64 {
    let mut f = f.clone();
    let mut pairs = Vec::new();
    for hour in from..from + days * 24 {
        let made = f.forecast(time(hour), 24);
        pairs.extend(made.mean.iter().zip(hour..).map(|(mean, at)| (*mean, value(at))));
        f.observe(time(hour), time(hour + 1), Ok(value(hour)));
    }
    metrics::mae(&pairs).unwrap()
}

#[test]
fn what_has_changed_is_learned_anew_and_forecast_better() {
    for (name, character, value, least) in [
        ("level", Character::Load, level as fn(i64) -> f64, 0.95),
        ("heat pump", Character::Load, heat_pump, 0.8),
        ("half the sun", Character::Solar, half_sun, 1.0),
    ] {
        let now = CHANGE + 24 * 4;
        let mut f = forecaster(character, HOUR);
        fed(&mut f, 0..now, value);
        let before = f.clone();
        let refit = f.refit(time(now));
        assert!(refit.adopted, "{name}: {refit:?}");
        assert!(refit.because.contains("has changed") && refit.error_after < refit.error_before);
        let off = time(CHANGE).duration_since(refit.since.unwrap()).as_hours().abs();
        assert!(off <= 24, "{name}: {refit:?}");
        let (kept, refitted) = (error(&before, (now, 4), value), error(&f, (now, 4), value));
        println!("{name}: {kept:.3} as before, {refitted:.3} after the refit; {}", refit.because);
        assert!(refitted < least * kept, "{name}: {refitted} against {kept}");
        assert!(f.forecast(time(now), 24).because.contains("forgotten"));
    }
}

#[test]
fn what_has_not_changed_is_kept() {
    let steady_sun = |hour: i64| if hour >= CHANGE { 2.0 * half_sun(hour) } else { half_sun(hour) };
    // A run of dull days may look like a change; over many decisions that must not cost anything to speak of.
    let (mut adopted, mut kept, mut refitted) = (0, 0.0, 0.0);
    for day in 0..20 {
        let now = 24 * (21 + day);
        let (mut load, mut solar) = (forecaster(Character::Load, HOUR), forecaster(Character::Solar, HOUR));
        fed(&mut load, 0..now, home);
        fed(&mut solar, 0..now, steady_sun);
        for (f, value) in [(&mut load, &home as &dyn Fn(i64) -> f64), (&mut solar, &steady_sun)] {
            kept += error(f, (now, 5), value);
            let refit = f.refit(time(now));
            refitted += error(f, (now, 5), value);
            adopted += usize::from(refit.adopted);
        }
    }
    assert!(adopted <= 2, "{adopted} of 40");
    assert!(refitted <= 1.01 * kept, "{refitted} against {kept}");
}

#[test]
fn a_short_series_has_nothing_to_forget() {
    let mut f = forecaster(Character::Load, HOUR);
    let refit = f.refit(time(0));
    assert!(!refit.adopted && refit.since.is_none() && refit.because.contains("nothing to forget"));
    fed(&mut f, 0..24 * 8, home);
    assert!(!f.refit(time(24 * 8)).adopted);
}

#[test]
fn a_weekend_is_still_known_after_a_refit_on_workdays() {
    // The change comes on a Monday and is noticed on Friday.
    let now = CHANGE + 24 * 4;
    let mut f = forecaster(Character::Load, HOUR);
    fed(&mut f, 0..now, level);
    assert!(f.refit(time(now)).adopted);
    fed(&mut f, now..now + 24, level);
    let saturday = f.forecast(time(now + 24), 24);
    let evening = saturday.mean[19];
    let came = level(now + 24 + 19);
    assert!((evening - came).abs() < 0.25 * came, "{evening} instead of {came}");
}

#[test]
fn a_refit_sees_no_future_and_an_earlier_issue_time_does_not_know_of_it() {
    let now = CHANGE + 24 * 4;
    let made = |falsify: f64| {
        let mut f = forecaster(Character::Load, HOUR);
        fed(&mut f, 0..now, level);
        fed(&mut f, now..now + 100, |_| falsify);
        let first = f.forecast(time(now - 10), 24);
        let refit = f.refit(time(now));
        assert_eq!(f.forecast(time(now - 10), 24), first);
        (refit, f.forecast(time(now), 48))
    };
    assert_eq!(made(0.0), made(1e5));
    assert!(made(0.0).0.adopted);
}

#[test]
fn going_on_from_a_decision_gives_the_same_forecasts() {
    let now = CHANGE + 24 * 4;
    let (mut whole, mut again) = (forecaster(Character::Load, HOUR), forecaster(Character::Load, HOUR));
    fed(&mut whole, 0..now, level);
    let refit = whole.refit(time(now));
    let kept: Refit = serde_json::from_str(&serde_json::to_string(&refit).unwrap()).unwrap();
    fed(&mut whole, now..now + 24 * 3, level);
    again.adopt(&kept);
    fed(&mut again, 0..now + 24 * 3, level);
    assert_eq!(whole.forecast(time(now + 72), 48), again.forecast(time(now + 72), 48));
}

#[test]
fn the_whole_family_forgets_only_where_that_is_better() {
    for (value, character) in [(level as fn(i64) -> f64, Character::Load), (home, Character::Load)] {
        let now = CHANGE + 24 * 4;
        let mut f = Forecaster::new(config(character, HOUR).full()).unwrap();
        fed(&mut f, 0..now, value);
        let before = f.clone();
        let refit = f.refit(time(now));
        let (kept, refitted) = (error(&before, (now, 1), value), error(&f, (now, 1), value));
        println!("family: {kept:.3} as before, {refitted:.3} afterwards; {}", refit.because);
        assert!(refitted <= kept, "{refitted} against {kept}");
        if refit.adopted {
            assert!(refit.error_after < refit.error_before, "{refit:?}");
        }
    }
}

fn reading() -> impl Strategy<Value = Reading<f64>> {
    prop_oneof![
        6 => (0.0..20.0).prop_map(Ok),
        2 => Just(Ok(0.0)),
        2 => Just(Err(Missing::Gap)),
        1 => prop_oneof![Just(1e300), Just(-1e12), Just(1e-320), Just(f64::NAN)].prop_map(Ok),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_was_measured_a_refit_decides_and_forecasts_stay_sound(
        character in prop_oneof![Just(Character::Load), Just(Character::Solar), Just(Character::Net), Just(Character::Price)],
        minutes in prop_oneof![Just(30_i64), Just(60), Just(240), Just(1440)],
        values in prop::collection::vec(reading(), 1..300),
        days in 1_i64..40,
        scale in prop_oneof![Just(1.0), Just(100.0), Just(0.0)],
    ) {
        let step = SignedDuration::from_mins(minutes);
        let mut f = Forecaster::new(ForecastConfig { prior: Some(2.0), ..config(character, step) }).unwrap();
        let steps = days * 1440 / minutes;
        let at = |n: i64| start() + SignedDuration::from_mins(n * minutes);
        for n in 0..steps {
            let factor = if n > steps * 2 / 3 { scale } else { 1.0 };
            let value = values[n as usize % values.len()].map(|v| v * factor);
            f.observe(at(n), at(n + 1 + n % 3), value);
        }
        let refit = f.refit(at(steps));
        prop_assert!(!refit.because.is_empty());
        prop_assert!(refit.error_before.is_none_or(f64::is_finite) && refit.error_after.is_none_or(f64::is_finite));
        let made = f.forecast(at(steps), 40);
        for lead in 0..40 {
            let row: Vec<f64> = made.quantiles.iter().map(|(_, values)| values[lead]).collect();
            prop_assert!(made.mean[lead].is_finite() && row.iter().all(|v| v.is_finite()));
            prop_assert!(row.windows(2).all(|w| w[0] <= w[1]), "{row:?}");
        }
    }
}
