//! What many series cost: `cargo run --release -p sos-forecast --example many [SERIES] [full]`.
//!
//! Series on a step of a quarter of an hour learn four weeks, then one more day, quarter by quarter, with a forecast of
//! a day after each; the time of a round over all series is what has to fit into the quarter of an hour.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::time::Instant;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use sos_forecast::{Character, ForecastConfig, Forecaster};

const STEP: SignedDuration = SignedDuration::from_mins(15);
const DAYS: i64 = 28;

fn value(series: i64, step: i64) -> f64 {
    let day = ((step % 96) as f64 / 96.0 * std::f64::consts::TAU).sin();
    2.0 + day + ((step * 7919 + series * 104_729) % 101) as f64 / 100.0
}

fn at(step: i64) -> Timestamp {
    Timestamp::from_second(1_704_067_200 + step * STEP.as_secs()).unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count: i64 = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let full = arguments.iter().any(|a| a == "full");
    let config = ForecastConfig::new(Character::Load, STEP, TimeZone::UTC);
    let config = if full { config.full() } else { config };
    let began = Instant::now();
    let mut all: Vec<Forecaster> = (0..count).map(|_| Forecaster::new(config.clone()).unwrap()).collect();
    for (series, forecaster) in all.iter_mut().enumerate() {
        for step in 0..DAYS * 96 {
            forecaster.observe(at(step), at(step + 1), Ok(value(series as i64, step)));
        }
        forecaster.forecast(at(DAYS * 96), 96);
    }
    println!(
        "{count} series have learned {DAYS} days and forecast a day in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let rounds: i64 = if full { 2 } else { 8 };
    let mut longest = 0.0_f64;
    for round in 0..rounds {
        // The full family keeps to one time of day: its next point is a day later.
        let steps = if full { 96 } else { 1 };
        let began = Instant::now();
        for (series, forecaster) in all.iter_mut().enumerate() {
            for n in 0..steps {
                let step = DAYS * 96 + round * steps + n;
                forecaster.observe(at(step), at(step + 1), Ok(value(series as i64, step)));
            }
            forecaster.forecast(at(DAYS * 96 + (round + 1) * steps), 96);
        }
        longest = longest.max(began.elapsed().as_secs_f64());
    }
    println!(
        "a round over all series takes at most {longest:.2} s on one core, {:.0} µs a series",
        longest * 1e6 / count as f64
    );
}
