//! What learning a changed series anew gains: `cargo run --release -p sos-forecast --example changed [DATA]`.
//!
//! Played series change on each of several days; forecasts of a day are issued each hour for the fortnight after, once as
//! they are and once with a refit asked for each day. `DATA` is a folder with measured series that did not change in a known
//! way, over their last four months.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use sos_forecast::{Character, ForecastConfig, Forecaster};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Hours of the past before the first change, and of the fortnight that is judged.
const BEFORE: i64 = 24 * 56;
const AFTER: i64 = 24 * 14;

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_577_836_800 + hour * 3600).unwrap()
}

/// A reproducible number in 0…1 for each `n`.
fn noise(n: i64) -> f64 {
    let mut x = n.cast_unsigned().wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A home, kW: evening peak, flatter weekends, a level that wanders over days, spikes.
fn home(hour: i64) -> f64 {
    let peak = if (hour / 24) % 7 < 5 { 1.4 } else { 0.6 };
    let wander: f64 = (0..4).map(|k| noise(hour / 24 - k + 5000) - 0.5).sum::<f64>() * 0.3;
    let spike = if noise(hour + 50_000) > 0.96 { 1.5 } else { 0.0 };
    let shape = 0.8 + peak * (-(((hour % 24) as f64 - 19.0) / 2.5).powi(2)).exp();
    (shape + wander + 0.35 * (noise(hour) - 0.5) + spike).max(0.05)
}

/// A roof of 4 kW under clouds that last for days and hours.
fn roof(hour: i64) -> f64 {
    let sun = ((hour % 24) as f64 - 6.0).clamp(0.0, 12.0) * std::f64::consts::PI / 12.0;
    let day = |k: i64| noise(hour / 24 - k + 90_000);
    let cloud = 0.35 * (day(0) + day(1)) + 0.3 * noise(hour / 3 + 70_000);
    3.6 * sun.sin().max(0.0) * (1.0 - 0.85 * cloud).max(0.0)
}

struct Outcome {
    mae: f64,
    refits: usize,
    asked: usize,
}

/// Forecasts a day each hour over the hours `judged`; with `ask` a refit is asked for each day.
fn run(
    character: Character,
    value: &dyn Fn(i64) -> Option<f64>,
    (from, judged): (i64, std::ops::Range<i64>),
    full: bool,
    ask: bool,
) -> Outcome {
    let config = ForecastConfig::new(character, HOUR, TimeZone::UTC);
    let mut f = Forecaster::new(if full { config.full() } else { config }).unwrap();
    let (mut sum, mut n, mut refits, mut asked) = (0.0, 0.0, 0, 0);
    for hour in from..judged.end {
        if hour % 24 == 0 && hour > judged.start && ask {
            asked += 1;
            refits += usize::from(f.refit(at(hour)).adopted);
        }
        if !full || hour % 24 == 0 {
            let made = f.forecast(at(hour), 24);
            if judged.contains(&hour) {
                for (mean, came) in made.mean.iter().zip((hour..).map(value)) {
                    if let Some(came) = came {
                        sum += (mean - came).abs();
                        n += 1.0;
                    }
                }
            }
        }
        if let Some(value) = value(hour) {
            f.observe(at(hour), at(hour + 1), Ok(value));
        }
    }
    Outcome { mae: sum / n, refits, asked }
}

type Law = fn(i64, bool) -> f64;

fn played(full: bool) {
    let laws: [(&str, Character, Law); 4] = [
        ("level + 2 kW", Character::Load, |h, changed| home(h) + if changed { 2.0 } else { 0.0 }),
        ("heat pump 0–6 h, 2.5 kW", Character::Load, |h, changed| {
            home(h) + if changed && h % 24 < 6 { 2.5 } else { 0.0 }
        }),
        ("half of the panels", Character::Solar, |h, changed| roof(h) * if changed { 0.5 } else { 1.0 }),
        ("no change", Character::Load, |h, _| home(h)),
    ];
    for (name, character, law) in laws {
        let (mut kept, mut refitted, mut refits, mut asked) = (0.0, 0.0, 0, 0);
        let runs = if full { 3 } else { 10 };
        for n in 0..runs {
            let change = BEFORE + 24 * 5 * n;
            let value = |hour: i64| Some(law(hour, hour >= change));
            let hours = (change - BEFORE, change..change + AFTER);
            kept += run(character, &value, hours.clone(), full, false).mae / runs as f64;
            let with = run(character, &value, hours, full, true);
            refitted += with.mae / runs as f64;
            (refits, asked) = (refits + with.refits, asked + with.asked);
        }
        let change = (refitted / kept - 1.0) * 100.0;
        println!("| {name} | {kept:.3} | {refitted:.3} | {change:+.0} % | {refits} of {asked} |");
    }
}

/// Hourly values of a column, the first being hour 0; missing cells are none.
fn column(file: &str, name: &str, per_hour: usize) -> Vec<Option<f64>> {
    let mut reader = csv::Reader::from_path(file).unwrap();
    let at = reader.headers().unwrap().iter().position(|h| h == name).unwrap();
    let cells: Vec<Option<f64>> = reader.records().map(|row| row.unwrap()[at].parse().ok()).collect();
    let mean = |part: &[Option<f64>]| {
        Some(part.iter().copied().collect::<Option<Vec<_>>>()?.iter().sum::<f64>() / part.len() as f64)
    };
    cells.chunks(per_hour).map(mean).collect()
}

fn measured(data: &str) {
    let de = format!("{data}/de-lu-2020/de_lu_2020_hourly.csv");
    let ontario = format!("{data}/ontario-2016/ontario_2016_hourly.csv");
    let home = format!("{data}/household-fr/household_fr_30min.csv");
    let mut series = vec![
        ("Luxembourg load".to_owned(), Character::Load, column(&de, "lu_load_mw", 1)),
        ("Luxembourg solar".to_owned(), Character::Solar, column(&de, "lu_pv_mw", 1)),
        ("Luxembourg wind".to_owned(), Character::Wind, column(&de, "lu_wind_mw", 1)),
        ("Ontario load".to_owned(), Character::Load, column(&ontario, "load_mw", 1)),
        ("Ontario wind".to_owned(), Character::Wind, column(&ontario, "wind_mw", 1)),
        ("French home".to_owned(), Character::Load, column(&home, "load_w", 2)),
    ];
    for n in 1..=5 {
        let file = format!("{data}/fontana-2016/Building_{n}.csv");
        series.push((
            format!("Fontana home {n}"),
            Character::Load,
            column(&file, "Equipment Electric Power [kWh]", 1),
        ));
        series.push((
            format!("Fontana roof {n}"),
            Character::Solar,
            column(&file, "Solar Generation [W/kW]", 1),
        ));
    }
    for (name, character, values) in series {
        let end = values.len() as i64 - 24;
        let hours = ((end - 24 * 180).max(0), (end - 24 * 120).max(24 * 30)..end);
        let value = |hour: i64| values.get(usize::try_from(hour).ok()?).copied().flatten();
        let kept = run(character, &value, hours.clone(), false, false);
        let asked = run(character, &value, hours, false, true);
        let change = (asked.mae / kept.mae - 1.0) * 100.0;
        println!(
            "| {name} | {:.3} | {:.3} | {change:+.1} % | {} of {} |",
            kept.mae, asked.mae, asked.refits, asked.asked
        );
    }
}

fn main() {
    println!("series | as it was | with refits | change | adopted of asked");
    played(false);
    match std::env::args().nth(1) {
        Some(data) => measured(&data),
        None => {
            println!("all members:");
            played(true);
        }
    }
}
