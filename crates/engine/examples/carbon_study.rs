//! Nightly jobs that may move eight hours either way: what our forecast saves of what a perfect one saves.
//!
//! ```sh
//! cargo xtask bench carbon --data FOLDER   # --full: with all members of the family of forecasters too, which takes half an hour
//! ```
//! FOLDER holds `ontario-2016/ontario_2016_hourly.csv` and `fontana-2016/carbon_intensity.csv`. A job begins at one o'clock at night unless it is moved. From
//! eight hours before on, a plan is made every hour as the loop of a site does: a forecast of the intensity of carbon by what was known then, and
//! `dispatch::solve` with the job as flexible work. What may pause is planned anew for what is left of it. The perfect case is one plan that knew
//! the intensities. Nothing is judged before the forecaster has seen two weeks.
//!
//! What a forecast is worth that comes from elsewhere is measured beside it: the intensities with normal errors of 5 % of their mean, which is what
//! the study assumes that the setting is taken from (Wiesner et al., "Let's Wait Awhile", 2021).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a measurement: prints its figures")]

use std::process::ExitCode;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sos_dispatch::{Budget, Connection, Problem, Step, solve};
use sos_forecast::{Character, ForecastConfig, Forecaster};
use sos_units::{CarbonIntensity, CarbonPrice, Energy, FlexibleWork, Hours, Money, Power, Price};

/// When jobs begin unless they are moved, and how far they may move.
const NOMINAL_HOUR: i8 = 1;
const MOVES: i64 = 8;
/// Hours of work at one kilowatt.
const LENGTHS: [i64; 3] = [1, 2, 4];
/// Hours that are seen before anything is judged.
const WARM_UP: usize = 14 * 24;
/// The error of a forecast from elsewhere, in parts of the mean intensity.
const GIVEN_ERROR: f64 = 0.05;
/// What our forecast is to save of what a perfect one saves.
const GOAL: f64 = 0.8;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Intensities of hours that follow each other, kg per kWh.
struct Series {
    name: &'static str,
    zone: TimeZone,
    begin: Timestamp,
    values: Vec<f64>,
}

impl Series {
    fn time(&self, hour: usize) -> Timestamp {
        self.begin + SignedDuration::from_hours(hour as i64)
    }

    fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The hours at which jobs begin unless they are moved, far enough from both ends.
    fn nights(&self) -> Vec<usize> {
        let last = self.values.len() - (MOVES + LENGTHS[LENGTHS.len() - 1]) as usize;
        let at_night = |hour: &usize| self.zone.to_datetime(self.time(*hour)).hour() == NOMINAL_HOUR;
        (WARM_UP + MOVES as usize..last).filter(at_night).collect()
    }
}

fn column(text: &str, name: &str) -> Outcome<Vec<f64>> {
    let mut lines = text.lines();
    let header = lines.next().ok_or("an empty file")?;
    let at = header.split(',').position(|column| column.trim() == name).ok_or(format!("no column {name}"))?;
    let value =
        |line: &str| -> Outcome<f64> { Ok(line.split(',').nth(at).ok_or("a short row")?.trim().parse()?) };
    lines.map(value).collect()
}

fn read(folder: &str) -> Outcome<Vec<Series>> {
    let text = |path: &str| {
        std::fs::read_to_string(format!("{folder}/{path}")).map_err(|error| format!("{path}: {error}"))
    };
    let ontario =
        column(&text("ontario-2016/ontario_2016_hourly.csv")?, "carbon_gco2_per_kwh_generation_mix")?;
    let fontana = column(&text("fontana-2016/carbon_intensity.csv")?, "kg_CO2/kWh")?;
    Ok(vec![
        Series {
            name: "Ontario, January to August 2016",
            zone: TimeZone::fixed(jiff::tz::offset(-5)),
            begin: "2016-01-01T05:00:00Z".parse()?,
            values: ontario.into_iter().map(|grams| grams / 1000.0).collect(),
        },
        Series {
            name: "Fontana, August 2016 to July 2017",
            zone: TimeZone::fixed(jiff::tz::offset(-8)),
            // The first row is the hour that ends with the 31st of July.
            begin: "2016-07-31T23:00:00-08:00".parse()?,
            values: fontana,
        },
    ])
}

/// A job of one night.
#[derive(Clone, Copy)]
struct Job {
    nominal: usize,
    hours: i64,
    interruptible: bool,
}

impl Job {
    fn earliest(self) -> usize {
        self.nominal - MOVES as usize
    }

    /// The first hour in which it must not run.
    fn end(self) -> usize {
        self.nominal + (MOVES + self.hours) as usize
    }
}

/// Power in each hour from `now` to the end of the job's window, by intensities of these hours; `left` hours of work are to be done.
fn plan(
    series: &Series,
    job: Job,
    now: usize,
    left: f64,
    running: bool,
    intensity: &[f64],
) -> Outcome<Vec<f64>> {
    let hour = Hours::new(1.0);
    let n = job.end() - now;
    let work = FlexibleWork {
        id: "job".into(),
        energy: Energy::kwh(left),
        earliest: series.time(job.earliest()),
        deadline: series.time(job.end()),
        min_power: Power::kw(1.0),
        max_power: Power::kw(1.0),
        interruptible: job.interruptible,
        running,
        value: Money::new(1e3),
        required: true,
    };
    let problem = Problem {
        steps: (now..job.end()).map(|t| Step { start: series.time(t), duration: hour }).collect(),
        connection: Connection {
            import_limit: vec![None; n],
            export_limit: vec![None; n],
            import_price: vec![Price::ZERO; n],
            export_price: vec![Price::ZERO; n],
            carbon_intensity: intensity.iter().map(|kg| CarbonIntensity::kg_per_kwh(kg.max(0.0))).collect(),
            carbon_price: CarbonPrice::per_kg(1.0),
            breach_price: Price::per_kwh(5.0),
            charges: Vec::new(),
            ramping: None,
        },
        feeders: Vec::new(),
        carbon_cap: None,
        fixed: vec![Power::ZERO; n],
        pessimistic: None,
        reserve: None,
        spinning: None,
        curtailable: Vec::new(),
        storages: Vec::new(),
        generators: Vec::new(),
        work: vec![work],
        zone: series.zone.clone(),
    };
    // To the last digit: a gap would leave some of what is compared to chance.
    let solved = solve(&problem, &Budget { gap: 1e-9, ..Budget::default() })?;
    let powers = solved.schedule.work.get("job").ok_or("the job is not in its plan")?;
    Ok(powers.iter().map(|power| power.as_kw()).collect())
}

/// kg of power in hours from `first` on.
fn emitted(series: &Series, first: usize, powers: &[f64]) -> f64 {
    powers.iter().zip(&series.values[first..]).map(|(power, kg)| power * kg).sum()
}

/// What a job emits that is planned hour by hour with forecasts, each a list of intensities from its hour on.
fn planned(series: &Series, job: Job, forecasts: &[Vec<f64>]) -> Outcome<f64> {
    let (mut left, mut running, mut kg) = (job.hours as f64, false, 0.0);
    for (now, forecast) in (job.earliest()..job.end()).zip(forecasts) {
        if left <= 1e-9 {
            break;
        }
        let powers = plan(series, job, now, left, running, &forecast[..job.end() - now])?;
        // What is planned for this hour is done, whatever its intensity turns out to be.
        kg += emitted(series, now, &powers[..1]);
        left -= powers[0];
        running = powers[0] > 1e-9;
    }
    if left > 1e-6 { Err("a job was not done by its deadline".into()) } else { Ok(kg) }
}

/// Where forecasts come from.
enum Source {
    /// Ours, and how many hours it has seen.
    Own(Box<Forecaster>, usize),
    /// From elsewhere: a value for each hour.
    Given(Vec<f64>),
}

impl Source {
    fn own(config: ForecastConfig) -> Outcome<Self> {
        Ok(Self::Own(Box::new(Forecaster::new(config)?), 0))
    }

    fn given(series: &Series) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let spread = GIVEN_ERROR * series.mean();
        // Box and Muller.
        let mut normal = || {
            let (u, v): (f64, f64) = (random.random(), random.random());
            (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        Self::Given(series.values.iter().map(|kg| kg + spread * normal()).collect())
    }

    /// Intensities of the hours from `now` on.
    fn forecast(&mut self, series: &Series, now: usize, hours: usize) -> Vec<f64> {
        match self {
            Self::Own(forecaster, seen) => {
                while *seen < now {
                    let end = series.time(*seen + 1);
                    forecaster.observe(series.time(*seen), end, Ok(series.values[*seen]));
                    *seen += 1;
                }
                forecaster.forecast(series.time(now), hours).mean
            }
            Self::Given(values) => values[now..now + hours].to_vec(),
        }
    }
}

/// Forecasts of a night, one for each hour from the earliest of a job to the last in which the longest may begin.
fn forecasts(series: &Series, source: &mut Source, night: usize) -> Vec<Vec<f64>> {
    let longest = Job { nominal: night, hours: LENGTHS[LENGTHS.len() - 1], interruptible: false };
    let one = |now: usize| source.forecast(series, now, longest.end() - now);
    (longest.earliest()..longest.end()).map(one).collect()
}

/// kg of all nights: not moved, as planned, and as a perfect forecast would have it.
#[derive(Clone, Copy, Default)]
struct Sums {
    nominal: f64,
    planned: f64,
    perfect: f64,
}

impl Sums {
    fn share(self) -> f64 {
        (self.nominal - self.planned) / (self.nominal - self.perfect)
    }
}

/// Prints what forecasts of a source save. Returns whether every row reaches the goal.
fn study(series: &Series, whose: &str, mut source: Source) -> Outcome<bool> {
    let nights = series.nights();
    let mut errors = [0.0; 24];
    let mut sums = vec![Sums::default(); LENGTHS.len() * 2];
    for &night in &nights {
        let forecasts = forecasts(series, &mut source, night);
        for (lead, error) in errors.iter_mut().enumerate().take(forecasts[0].len()) {
            *error += (forecasts[0][lead] - series.values[night - MOVES as usize + lead]).abs();
        }
        for (which, sum) in sums.iter_mut().enumerate() {
            let job = Job { nominal: night, hours: LENGTHS[which / 2], interruptible: which % 2 == 1 };
            let known = &series.values[job.earliest()..job.end()];
            let best = plan(series, job, job.earliest(), job.hours as f64, false, known)?;
            sum.nominal += series.values[night..night + job.hours as usize].iter().sum::<f64>();
            sum.planned += planned(series, job, &forecasts)?;
            sum.perfect += emitted(series, job.earliest(), &best);
        }
    }
    println!("{}, {} nights, {whose}:", series.name, nights.len());
    println!("  hours  may pause  not moved, kg  planned, kg  perfect, kg  saved, kg  of perfect");
    for (which, sum) in sums.iter().enumerate() {
        let (hours, pauses) = (LENGTHS[which / 2], if which % 2 == 1 { "yes" } else { "no" });
        let saved = sum.nominal - sum.planned;
        println!(
            "  {hours:>5}  {pauses:>9}  {:>13.2}  {:>11.2}  {:>11.2}  {saved:>9.2}  {:>8.1} %",
            sum.nominal,
            sum.planned,
            sum.perfect,
            100.0 * sum.share()
        );
    }
    let error = |lead: usize| 100.0 * errors[lead] / nights.len() as f64 / series.mean();
    println!(
        "  mean error of the first forecast of a night, 1, 8, 16 h ahead: {:.1}, {:.1}, {:.1} % of the mean",
        error(0),
        error(7),
        error(15)
    );
    Ok(sums.iter().all(|sum| sum.share() >= GOAL))
}

fn run(folder: &str, full: bool) -> Outcome<bool> {
    let mut met = true;
    for series in read(folder)? {
        study(&series, "a forecast with errors of 5 %", Source::given(&series))?;
        let config =
            ForecastConfig::new(Character::Carbon, SignedDuration::from_hours(1), series.zone.clone());
        met &= study(&series, "the loop's own model", Source::own(config.clone())?)?;
        if full {
            study(&series, "all members of the family", Source::own(config.full())?)?;
        }
    }
    let verdict = if met { "met" } else { "NOT met" };
    println!("goal, with the loop's own model: at least {:.0} % in every row: {verdict}", 100.0 * GOAL);
    Ok(met)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [data, folder] if data == "--data" => run(folder, false),
        [data, folder, full] if data == "--data" && full == "--full" => run(folder, true),
        _ => Err("expected --data FOLDER [--full]".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
