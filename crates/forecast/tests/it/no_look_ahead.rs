//! A forecast uses nothing known after its issue time, whatever is recorded later.

use jiff::SignedDuration;
use sos_forecast::{Character, Forecaster, Hours, SumForecaster};
use sos_units::Missing;

use super::{HOUR, config, forecaster, noise, start};

fn feed(f: &mut Forecaster, from: i64, to: i64, value: impl Fn(i64) -> f64) {
    for i in from..to {
        let time = start() + HOUR * i32::try_from(i).unwrap();
        f.observe(time, time + HOUR, Ok(value(i)));
    }
}

fn day_curve(i: i64) -> f64 {
    2.0 + (i as f64 * std::f64::consts::TAU / 24.0).sin() + noise(i as u64)
}

#[test]
fn falsifying_the_future_changes_no_forecast() {
    for character in [Character::Load, Character::Solar, Character::Carbon, Character::Net] {
        let (mut honest, mut falsified) = (forecaster(character, HOUR), forecaster(character, HOUR));
        let issued = start() + HOUR * 500;
        feed(&mut honest, 0, 500, day_curve);
        feed(&mut falsified, 0, 500, day_curve);
        feed(&mut falsified, 500, 900, |i| 1000.0 * noise(i as u64 + 7));
        assert_eq!(honest.forecast(issued, 48), falsified.forecast(issued, 48), "{character:?}");
        assert_eq!(honest.next_step(issued, 0.9, Hours::Near), falsified.next_step(issued, 0.9, Hours::Near));
    }
}

#[test]
fn going_back_in_time_forgets_what_was_learned_since() {
    let (mut honest, mut ahead) = (forecaster(Character::Load, HOUR), forecaster(Character::Load, HOUR));
    let issued = start() + HOUR * 500;
    feed(&mut honest, 0, 500, day_curve);
    feed(&mut ahead, 0, 900, day_curve);
    ahead.forecast(start() + HOUR * 900, 48);
    assert_eq!(honest.forecast(issued, 48), ahead.forecast(issued, 48));
}

#[test]
fn a_value_counts_from_when_it_was_known_even_if_later_steps_were_known_first() {
    let build = |late: f64| {
        let mut f = forecaster(Character::Load, HOUR);
        for i in 0..300 {
            let time = start() + HOUR * i;
            let (delay, value) = if i == 290 { (50, late) } else { (1, day_curve(i64::from(i))) };
            f.observe(time, time + HOUR * delay, Ok(value));
        }
        f
    };
    let (mut a, mut b) = (build(2.0), build(5.0));
    let before = start() + HOUR * 320;
    assert_eq!(a.forecast(before, 24).mean, b.forecast(before, 24).mean);
    let after = start() + HOUR * 341;
    assert_ne!(a.forecast(after, 24).mean, b.forecast(after, 24).mean, "once known, it is used");
}

#[test]
fn incremental_learning_equals_learning_at_once() {
    let (mut steps, mut once) = (forecaster(Character::Net, HOUR), forecaster(Character::Net, HOUR));
    for i in 0..600 {
        feed(&mut steps, i, i + 1, day_curve);
        steps.forecast(start() + HOUR * i32::try_from(i + 1).unwrap(), 3);
    }
    feed(&mut once, 0, 600, day_curve);
    assert_eq!(steps.forecast(start() + HOUR * 600, 48), once.forecast(start() + HOUR * 600, 48));
}

#[test]
fn a_sum_learns_nothing_from_the_future_either() {
    let run = |future: f64| {
        let mut member = forecaster(Character::Load, HOUR);
        let mut sum = SumForecaster::new(config(Character::Net, HOUR)).unwrap();
        let mut answer = None;
        for i in 0..400_i32 {
            let time = start() + HOUR * i;
            let f = member.forecast(time, 48);
            answer = Some(sum.forecast(time, 48, &[(&f, 1.0)]));
            let value = day_curve(i64::from(i));
            member.observe(time, time + HOUR, Ok(value));
            sum.observe(time, time + HOUR, Ok(value));
            let ahead = time + SignedDuration::from_hours(1000);
            sum.observe(ahead, ahead + HOUR, if future > 0.0 { Ok(future) } else { Err(Missing::Gap) });
        }
        answer.unwrap()
    };
    assert_eq!(run(0.0), run(99.0));
    assert_eq!(run(0.0).method, "sum-of-members");
}
