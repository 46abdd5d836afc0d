//! Prints accuracy, calibration and speed of the forecasters on the five homes in Fontana.
//!
//! `cargo run --release -p sos-forecast --example fontana -- FOLDER [STEP_MINUTES]`, FOLDER holding `Building_1.csv` …
#![allow(clippy::print_stdout, reason = "an example program: its answer goes to stdout")]

use std::time::Instant;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use sos_forecast::{Character, ForecastConfig, Forecaster, Hours, SumForecaster, metrics};

type Failure = Box<dyn std::error::Error>;
/// Leads reported, in hours after issue: first and last, both included.
const BANDS: [(usize, usize); 4] = [(0, 0), (1, 3), (4, 11), (12, 23)];
/// PV sizes of the homes, kW (schema.json).
const PV_KW: [f64; 5] = [4.0, 4.0, 4.0, 5.0, 4.0];

fn column(path: &str, name: &str) -> Result<Vec<f64>, Failure> {
    let mut reader = csv::Reader::from_path(path)?;
    let at = reader
        .headers()?
        .iter()
        .position(|h| h == name)
        .ok_or_else(|| format!("{path}: no column `{name}`"))?;
    reader.records().map(|r| Ok(r?.get(at).unwrap_or_default().parse::<f64>()?)).collect()
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("give the folder that holds Building_1.csv")?;
    let minutes: i64 = args.next().map_or(Ok(60), |m| m.parse())?;
    let per_hour = usize::try_from(60 / minutes.max(1))?.max(1);
    let spread =
        |v: Vec<f64>| v.into_iter().flat_map(|x| std::iter::repeat_n(x, per_hour)).collect::<Vec<f64>>();
    let mut load = Vec::new();
    let mut solar = Vec::new();
    for (n, size) in PV_KW.iter().enumerate() {
        let file = format!("{folder}/Building_{}.csv", n + 1);
        load.push(spread(column(&file, "Equipment Electric Power [kWh]")?));
        let pv = column(&file, "Solar Generation [W/kW]")?;
        solar.push(spread(pv.into_iter().map(|v| v * size / 1000.0).collect()));
    }
    let carbon = spread(column(&format!("{folder}/carbon_intensity.csv"), "kg_CO2/kWh")?);
    let total =
        |s: &[Vec<f64>]| (0..s[0].len()).map(|i| s.iter().map(|v| v[i]).sum::<f64>()).collect::<Vec<f64>>();
    let (load_sum, solar_sum) = (total(&load), total(&solar));
    let net: Vec<f64> = load_sum.iter().zip(&solar_sum).map(|(l, p)| l - p).collect();

    println!(
        "{:<12} {:>7} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7}",
        "series", "lead h", "MAE", "naive", "skill", "q0.1", "q0.5", "q0.9"
    );
    let step = SignedDuration::from_mins(minutes);
    report("load home 1", Character::Load, &load[0], step)?;
    report("solar home 1", Character::Solar, &solar[0], step)?;
    report("load", Character::Load, &load_sum, step)?;
    report("solar", Character::Solar, &solar_sum, step)?;
    report("carbon", Character::Carbon, &carbon, step)?;
    report("net", Character::Net, &net, step)?;
    report_sum(&load_sum, &solar_sum, &net, step)?;
    report_next(&net, step)?;
    Ok(())
}

fn start() -> Result<Timestamp, Failure> {
    Ok("2016-07-31T23:00-08:00".parse()?)
}

fn config(character: Character, step: SignedDuration) -> ForecastConfig {
    ForecastConfig::new(character, step, TimeZone::fixed(jiff::tz::offset(-8)))
}

#[derive(Default)]
struct Scores {
    mean: Vec<Vec<(f64, f64)>>,
    naive: Vec<Vec<(f64, f64)>>,
    quantiles: Vec<[Vec<(f64, f64)>; 3]>,
}

impl Scores {
    fn add(&mut self, f: &sos_forecast::Forecast, values: &[f64], now: usize, per_hour: usize) {
        self.mean.resize_with(BANDS.len(), Vec::new);
        self.naive.resize_with(BANDS.len(), Vec::new);
        self.quantiles.resize_with(BANDS.len(), Default::default);
        for (band, (from, to)) in BANDS.iter().enumerate() {
            for k in from * per_hour..(to + 1) * per_hour {
                let (Some(actual), Some(day)) = (values.get(now + k), (now + k).checked_sub(24 * per_hour))
                else {
                    continue;
                };
                self.mean[band].push((f.mean[k], *actual));
                self.naive[band].push((values[day], *actual));
                for (q, (_, v)) in f.quantiles.iter().enumerate() {
                    // Night tells nothing about calibration.
                    if f.quantiles[2].1[k] > 0.0 {
                        self.quantiles[band][q].push((v[k], *actual));
                    }
                }
            }
        }
    }

    fn print(&self, name: &str) {
        for (band, (from, to)) in BANDS.iter().enumerate() {
            let (Some(mae), Some(naive)) = (metrics::mae(&self.mean[band]), metrics::mae(&self.naive[band]))
            else {
                continue;
            };
            let cover = |q: usize| metrics::coverage(&self.quantiles[band][q]).unwrap_or(f64::NAN);
            let skill = metrics::skill(mae, naive).unwrap_or(f64::NAN);
            let lead = format!("{}-{}", from + 1, to + 1);
            println!(
                "{name:<12} {lead:>7} {mae:>8.4} {naive:>8.4} {skill:>7.3} {:>7.3} {:>7.3} {:>7.3}",
                cover(0),
                cover(1),
                cover(2)
            );
        }
    }
}

fn report(name: &str, character: Character, values: &[f64], step: SignedDuration) -> Result<(), Failure> {
    let per_hour = usize::try_from(3600 / step.as_secs())?;
    let mut f = Forecaster::new(config(character, step))?;
    let mut scores = Scores::default();
    let (mut time, mut seconds, mut calls) = (start()?, 0.0, 0_u32);
    for (i, value) in values.iter().enumerate() {
        if i % per_hour == 0 {
            let clock = Instant::now();
            let forecast = f.forecast(time, 36 * per_hour);
            seconds += clock.elapsed().as_secs_f64();
            calls += 1;
            if i > 30 * 24 * per_hour {
                scores.add(&forecast, values, i, per_hour);
            }
        }
        f.observe(time, time + step, Ok(*value));
        time += step;
    }
    scores.print(name);
    println!("{name:<12} {:.1} µs per planning of {} steps", 1e6 * seconds / f64::from(calls), 36 * per_hour);
    Ok(())
}

fn report_sum(load: &[f64], solar: &[f64], net: &[f64], step: SignedDuration) -> Result<(), Failure> {
    let per_hour = usize::try_from(3600 / step.as_secs())?;
    let mut loads = Forecaster::new(config(Character::Load, step))?;
    let mut suns = Forecaster::new(config(Character::Solar, step))?;
    let mut sums = SumForecaster::new(config(Character::Net, step))?;
    let mut scores = Scores::default();
    let mut time = start()?;
    for i in 0..net.len() {
        if i % per_hour == 0 {
            let (l, s) = (loads.forecast(time, 36 * per_hour), suns.forecast(time, 36 * per_hour));
            let forecast = sums.forecast(time, 36 * per_hour, &[(&l, 1.0), (&s, -1.0)]);
            if i > 30 * 24 * per_hour {
                scores.add(&forecast, net, i, per_hour);
            }
        }
        loads.observe(time, time + step, Ok(load[i]));
        suns.observe(time, time + step, Ok(solar[i]));
        sums.observe(time, time + step, Ok(net[i]));
        time += step;
    }
    scores.print("net as sum");
    Ok(())
}

fn report_next(net: &[f64], step: SignedDuration) -> Result<(), Failure> {
    let mut f = Forecaster::new(config(Character::Net, step))?;
    let warm = usize::try_from(30 * 86_400 / step.as_secs())?;
    let mut pairs: [Vec<(f64, f64)>; 3] = Default::default();
    let mut centre = Vec::new();
    let mut last = Vec::new();
    let (mut time, mut seconds) = (start()?, 0.0);
    for (i, value) in net.iter().enumerate() {
        let clock = Instant::now();
        let next = f.next_step(time, 0.95, Hours::Near);
        seconds += clock.elapsed().as_secs_f64();
        if i > warm {
            let all = f.next_step(time, 1.0, Hours::All).quantile;
            for (at, q) in
                [next.quantile, f.next_step(time, 1.0, Hours::Near).quantile, all].into_iter().enumerate()
            {
                pairs[at].push((q, *value));
            }
            centre.push((next.estimate, *value));
            last.push((net[i - 1], *value));
        }
        f.observe(time, time + step, Ok(*value));
        time += step;
    }
    let cover: Vec<f64> = pairs.iter().filter_map(|p| metrics::coverage(p)).collect();
    let (mae, naive) = (metrics::mae(&centre).unwrap_or(f64::NAN), metrics::mae(&last).unwrap_or(f64::NAN));
    println!(
        "next step    MAE {mae:.4} (last value {naive:.4}); coverage q0.95 near {:.4}, q1 near {:.4}, q1 all {:.4}; {:.1} µs per tick",
        cover[0],
        cover[1],
        cover[2],
        1e6 * seconds / net.len() as f64
    );
    Ok(())
}
