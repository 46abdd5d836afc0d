//! A young series begins with the day of its siblings.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sos_forecast::{Character, Forecast, ForecastConfig, Forecaster, Shape, metrics};
use sos_units::{Missing, Reading};

use super::{HOUR, config, noise, start};

/// Consumption of a shop of some size: open on workdays from 7 to 19, hardly anything on weekends.
fn shop(size: f64, seed: u64, hour: i64) -> f64 {
    // The series begin on a Monday at local midnight.
    let open = (7..19).contains(&(hour % 24)) && (hour / 24) % 7 < 5;
    size * (if open { 5.0 } else { 1.0 } + 0.3 * noise(seed * 1_000_000 + hour as u64))
}

/// Generation of panels under a sky that siblings share.
fn panels(peak: f64, hour: i64) -> f64 {
    let sun = ((hour % 24) as f64 - 7.5) / 9.0;
    let height = if (0.0..1.0).contains(&sun) { (sun * std::f64::consts::PI).sin() } else { 0.0 };
    let cloud = 0.35 * noise((hour / 24) as u64 + 77) + 0.1 * noise(hour as u64);
    0.6 * peak * height * (1.0 - cloud)
}

fn time(hour: i64) -> Timestamp {
    start() + SignedDuration::from_hours(hour)
}

fn feed(f: &mut Forecaster, hours: std::ops::Range<i64>, value: impl Fn(i64) -> f64) {
    for hour in hours {
        f.observe(time(hour), time(hour + 1), Ok(value(hour)));
    }
}

fn with_prior(character: Character, prior: Option<f64>) -> Forecaster {
    Forecaster::new(ForecastConfig { prior, ..config(character, HOUR) }).unwrap()
}

/// Shapes of three shops after four weeks.
fn lent(at: i64) -> Vec<Shape> {
    (1..=3)
        .map(|n| {
            let mut sibling = with_prior(Character::Load, None);
            feed(&mut sibling, 0..at, |hour| shop(n as f64 * 10.0, n, hour));
            sibling.lend_shape(time(at)).unwrap()
        })
        .collect()
}

fn error(f: &Forecast, from: i64, value: impl Fn(i64) -> f64) -> f64 {
    let pairs: Vec<_> =
        f.mean.iter().enumerate().map(|(at, mean)| (*mean, value(from + at as i64))).collect();
    metrics::mae(&pairs).unwrap()
}

const BEGIN: i64 = 24 * 28;

#[test]
fn a_new_shop_begins_with_the_day_of_its_siblings_and_is_scaled_by_its_first_hours() {
    let own = |hour| shop(2.0, 9, hour);
    let (mut with, mut without) = (with_prior(Character::Load, None), with_prior(Character::Load, None));
    with.take_shapes(&lent(BEGIN));
    let first = with.forecast(time(BEGIN), 24);
    assert_eq!(first.method, "sibling-shape");
    assert!(first.because.contains("3 siblings at their level"), "{}", first.because);
    assert!(first.mean[12] > 3.0 * first.mean[3], "{:?}", first.mean);
    for hours in [3, 9, 20] {
        feed(&mut with, BEGIN..BEGIN + hours, own);
        feed(&mut without, BEGIN..BEGIN + hours, own);
        let (a, b) = (with.forecast(time(BEGIN + hours), 24), without.forecast(time(BEGIN + hours), 24));
        assert_eq!((a.method, b.method), ("scaled-sibling-shape", "scaled-shape"));
        assert!(a.because.contains("3 siblings"), "{}", a.because);
        let (own_error, standard) = (error(&a, BEGIN + hours, own), error(&b, BEGIN + hours, own));
        println!("after {hours} h: {own_error:.2} with siblings, {standard:.2} without");
        assert!(own_error < 0.5 * standard, "after {hours} h: {own_error} against {standard}");
    }
}

#[test]
fn the_first_weekend_is_known_from_siblings() {
    let own = |hour| shop(2.0, 9, hour);
    let (mut with, mut without) = (with_prior(Character::Load, None), with_prior(Character::Load, None));
    with.take_shapes(&lent(BEGIN));
    let saturday = BEGIN + 24 * 5;
    feed(&mut with, BEGIN..saturday, own);
    feed(&mut without, BEGIN..saturday, own);
    let (a, b) = (with.forecast(time(saturday), 48), without.forecast(time(saturday), 48));
    assert_eq!(a.method, "young-profile");
    let (own_error, standard) = (error(&a, saturday, own), error(&b, saturday, own));
    println!("first weekend: {own_error:.2} with siblings, {standard:.2} without");
    assert!(own_error < 0.3 * standard, "{own_error} against {standard}");
}

#[test]
fn a_level_that_is_told_goes_before_that_of_siblings() {
    let mut f = with_prior(Character::Load, Some(7.0));
    f.take_shapes(&lent(BEGIN));
    let made = f.forecast(time(BEGIN), 24 * 7);
    let mean = made.mean.iter().sum::<f64>() / made.mean.len() as f64;
    assert!((mean - 7.0).abs() < 0.05, "{mean}");
    assert!(made.because.contains("the level told"), "{}", made.because);
}

#[test]
fn new_panels_begin_with_the_sun_of_their_siblings_at_their_own_rated_power() {
    let siblings: Vec<Shape> = [3.0, 8.0]
        .iter()
        .map(|peak| {
            let mut sibling = with_prior(Character::Solar, Some(*peak));
            feed(&mut sibling, 0..BEGIN, |hour| panels(*peak, hour));
            sibling.lend_shape(time(BEGIN)).unwrap()
        })
        .collect();
    let own = |hour| panels(5.0, hour);
    let (mut with, mut without) =
        (with_prior(Character::Solar, Some(5.0)), with_prior(Character::Solar, Some(5.0)));
    with.take_shapes(&siblings);
    for hours in [0, 10] {
        feed(&mut with, BEGIN..BEGIN + hours, own);
        feed(&mut without, BEGIN..BEGIN + hours, own);
        let (a, b) = (with.forecast(time(BEGIN + hours), 24), without.forecast(time(BEGIN + hours), 24));
        assert!(a.method.ends_with("sibling-shape"), "{}", a.method);
        let (own_error, standard) = (error(&a, BEGIN + hours, own), error(&b, BEGIN + hours, own));
        println!("panels after {hours} h: {own_error:.3} with siblings, {standard:.3} without");
        assert!(own_error < 0.5 * standard, "{own_error} against {standard}");
        assert!(a.quantiles.iter().all(|(_, row)| row.iter().all(|v| *v <= 5.0)));
    }
    // A load has no use for the day of panels.
    let mut load = with_prior(Character::Load, None);
    load.take_shapes(&siblings);
    assert_eq!(load.forecast(time(BEGIN), 24).method, "standard-shape");
}

#[test]
fn falsifying_the_future_of_siblings_changes_nothing() {
    let made = |falsify: f64, issue: i64| {
        let mut sibling = with_prior(Character::Load, None);
        feed(&mut sibling, 0..BEGIN, |hour| shop(10.0, 1, hour));
        feed(&mut sibling, BEGIN..BEGIN + 200, |_| falsify);
        let shape = sibling.lend_shape(time(BEGIN)).unwrap();
        // The sibling learns on and lends again: what it lent before stays as it was.
        let later = sibling.lend_shape(time(BEGIN + 200)).unwrap();
        let mut f = with_prior(Character::Load, None);
        feed(&mut f, BEGIN - 10..BEGIN, |hour| shop(2.0, 9, hour));
        f.take_shapes(&[if issue < 0 { later } else { shape }]);
        f.forecast(time(BEGIN), 48)
    };
    assert_eq!(made(0.0, 0), made(1e6, 0));
    assert_eq!(made(0.0, 0).method, "scaled-sibling-shape");
    // A shape lent later than the issue time is not seen at all.
    assert_eq!(made(0.0, -1), made(1e6, -1));
    assert_eq!(made(0.0, -1).method, "scaled-shape");
}

#[test]
fn going_back_in_time_gives_the_shape_back() {
    let mut f = with_prior(Character::Load, Some(2.0));
    f.take_shapes(&lent(BEGIN));
    let before = f.forecast(time(BEGIN - 5), 24);
    assert_eq!(before.method, "standard-shape");
    assert_eq!(f.forecast(time(BEGIN), 24).method, "sibling-shape");
    assert_eq!(f.forecast(time(BEGIN - 5), 24), before);
    f.take_shapes(&[]);
    assert_eq!(f.forecast(time(BEGIN), 24).method, "standard-shape");
}

#[test]
fn a_shape_is_lent_after_a_week_and_by_what_is_above_nothing() {
    let mut young = with_prior(Character::Load, None);
    feed(&mut young, 0..24 * 6, |hour| shop(1.0, 1, hour));
    assert_eq!(young.lend_shape(time(24 * 6)), None);
    let mut both = with_prior(Character::Net, None);
    feed(&mut both, 0..24 * 10, |hour| (hour % 24 - 12) as f64);
    assert_eq!(both.lend_shape(time(24 * 10)), None);
}

fn reading() -> impl Strategy<Value = Reading<f64>> {
    prop_oneof![
        6 => (0.0..20.0).prop_map(Ok),
        2 => Just(Ok(0.0)),
        1 => Just(Err(Missing::Gap)),
        1 => prop_oneof![Just(1e300), Just(1e12), Just(1e-320), Just(f64::NAN)].prop_map(Ok),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_siblings_and_series_are_every_forecast_is_finite_and_ordered(
        character in prop_oneof![Just(Character::Load), Just(Character::Solar), Just(Character::Wind), Just(Character::Rate)],
        minutes in prop_oneof![Just(1_i64), Just(15), Just(20), Just(60), Just(240), Just(1440)],
        theirs in prop::collection::vec(reading(), 1..60),
        own in prop::collection::vec(reading(), 0..40),
        prior in prop_oneof![Just(None), Just(Some(0.0)), Just(Some(3.0)), Just(Some(1e11))],
    ) {
        let sibling_step = HOUR;
        let mut sibling = Forecaster::new(ForecastConfig { prior, ..config(character, sibling_step) }).unwrap();
        for hour in 0..24 * 9_usize {
            let at = time(hour as i64);
            sibling.observe(at, at + HOUR, theirs[hour % theirs.len()]);
        }
        let now = time(24 * 9);
        let shapes: Vec<Shape> = sibling.lend_shape(now).into_iter().collect();
        let step = SignedDuration::from_mins(minutes);
        let mut f = Forecaster::new(ForecastConfig { prior, ..config(character, step) }).unwrap();
        f.take_shapes(&shapes);
        for (n, value) in own.iter().enumerate() {
            let at = now + step * i32::try_from(n).unwrap();
            f.observe(at, at + step, *value);
            let made = f.forecast(at + step, 30);
            for lead in 0..30 {
                let row: Vec<f64> = made.quantiles.iter().map(|(_, values)| values[lead]).collect();
                prop_assert!(made.mean[lead].is_finite() && made.mean[lead] >= 0.0, "{:?}", made.mean);
                prop_assert!(row.iter().all(|v| v.is_finite() && *v >= 0.0));
                prop_assert!(row.windows(2).all(|w| w[0] <= w[1]), "{row:?}");
            }
        }
    }
}
