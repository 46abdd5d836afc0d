//! `sos forecast`: a column of a CSV file, forecast from nothing but what was known at each issue time.

mod chart;
mod input;
mod judge;
mod rows;
mod siblings;

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use sos_forecast::{Character, Covariate, Forecast, ForecastConfig, Forecaster};
use sos_model::{duration_text, read_duration};

use self::input::Input;
use self::judge::Judge;
use self::siblings::Siblings;
use crate::outcome::{Failure, Outcome};
use crate::output::OutputArgs;

/// Issue times of one call, at most.
const MOST_ISSUES: usize = 1_000_000;
/// Steps of one forecast, at most.
const MOST_STEPS: i64 = 20_000;

/// Arguments of `sos forecast`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sos forecast load.csv --target load_mw --horizon 24h
  sos forecast prices.csv --target price --known wind_forecast,load_forecast --from 2020-06-01T23:00:00Z --every 24h
  sos forecast homes.csv --target new_home --siblings home_1,home_2,home_3
  sos forecast requests.csv --target count --horizon 10min --svg fan.svg")]
pub(crate) struct Args {
    /// CSV file with a header; `-` for standard input
    file: PathBuf,
    /// Column to forecast
    #[arg(long, value_name = "COL")]
    target: String,
    /// How far ahead
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = read_duration)]
    horizon: SignedDuration,
    /// Column with the start of each step [default: one named like a time, else the first]
    #[arg(long, value_name = "COL")]
    time: Option<String>,
    /// Columns whose values are known ahead: weather forecasts, calendars, published prices
    #[arg(long, value_name = "COL,…", value_delimiter = ',')]
    known: Vec<String>,
    /// Columns that are not looked at [default: all other columns of numbers may help, up to the issue time]
    #[arg(long, value_name = "COL,…", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Columns of similar series, such as other homes: while the target is young, its day begins as theirs. Up to the issue time, and for nothing else
    #[arg(long, value_name = "COL,…", value_delimiter = ',')]
    siblings: Vec<String>,
    /// Level to start from while nothing is measured: rated power of solar or wind, mean of all else, in the unit of the target
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    prior: Option<f64>,
    /// Last completed row that is seen [default: the last row]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    at: Option<String>,
    /// First of several issue times, each the time of the last row seen
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Last issue time at most [default: as long as the file has rows]
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// Distance of issue times
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = read_duration)]
    every: SignedDuration,
    /// Quantiles, each between 0 and 1
    #[arg(long, value_name = "Q,…", value_delimiter = ',', default_value = "0.1,0.5,0.9")]
    quantiles: Vec<f64>,
    /// What is forecast [default: seen in the values]
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Option<Kind>,
    /// Zone of the people behind the series, and of times without offset, such as Europe/Luxembourg [default: UTC]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Country whose public holidays count as Sundays, as two letters such as LU
    #[arg(long, value_name = "CC")]
    country: Option<String>,
    /// Latitude of solar panels in degrees, north positive [default: learned from the series]
    #[arg(long, value_name = "DEGREES", allow_hyphen_values = true)]
    latitude: Option<f64>,
    /// Draw the forecasts, their widest interval and what came into an SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is forecast.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// Consumption, 0 or above
    Load,
    /// Solar generation, none at night
    Solar,
    /// Wind generation, 0 or above
    Wind,
    /// A price, any sign
    Price,
    /// Carbon intensity, 0 or above
    Carbon,
    /// Requests or events per step, 0 or above
    Rate,
    /// Anything, any sign
    Any,
}

impl Kind {
    const fn character(self) -> Character {
        match self {
            Self::Load => Character::Load,
            Self::Solar => Character::Solar,
            Self::Wind => Character::Wind,
            Self::Price => Character::Price,
            Self::Carbon => Character::Carbon,
            Self::Rate => Character::Rate,
            Self::Any => Character::Any,
        }
    }
}

/// A forecast and the row it was issued at.
#[derive(Debug)]
pub(crate) struct Issued {
    /// Time of the last row that was seen.
    pub(crate) at: Timestamp,
    pub(crate) forecast: Forecast,
}

/// Reads the file, forecasts at each issue time and prints what came out.
pub(crate) fn run(args: &Args) -> Outcome {
    let input = Input::read(args)?;
    let issues = issue_rows(args, &input)?;
    let steps = horizon(args, &input)?;
    let mut forecaster = Forecaster::new(config(args, &input, issues[0])?)
        .map_err(|error| Failure::input(format!("{}: {error}", input.path)))?;
    let mut judge = Judge::new(&input);
    let mut issued = Vec::with_capacity(issues.len());
    // Older rows than a forecaster keeps need not be told.
    let oldest = issues[0].saturating_sub(forecaster.config().history);
    let mut fed = Fed { row: oldest, ahead: oldest };
    let mut siblings = Siblings::new(forecaster.config(), &input, oldest)?;
    for row in issues {
        fed.up_to(&mut forecaster, &input, row, steps);
        siblings.lend(&mut forecaster, &input, row);
        let forecast = forecaster.forecast(input.time(row + 1), steps);
        judge.add(row, &forecast);
        issued.push(Issued { at: input.time(row), forecast });
    }
    if let Some(file) = &args.svg {
        let drawn = chart::draw(&input, &issued);
        std::fs::write(file, drawn)
            .map_err(|error| Failure::unsuccessful(format!("cannot write {}: {error}", file.display())))?;
    }
    rows::print(args.output.or_csv(), &issued)?;
    judge.tell(&issued);
    Ok(())
}

fn config(args: &Args, input: &Input, first_issue: usize) -> Result<ForecastConfig, Failure> {
    // Guessed from what was known at the first issue time only.
    let character = args
        .kind
        .map_or_else(|| Character::guessed(input.telling(first_issue), input.per_day()), Kind::character);
    let mut config = ForecastConfig::new(character, input.step(), input.zone.clone()).full();
    config.quantiles.clone_from(&args.quantiles);
    config.prior = args.prior;
    config.latitude = args.latitude;
    config.country.clone_from(&args.country);
    config.covariates = input
        .covariates
        .iter()
        .map(|c| Covariate { name: c.name.clone(), known_ahead: c.known_ahead })
        .collect();
    Ok(config)
}

fn horizon(args: &Args, input: &Input) -> Result<usize, Failure> {
    let (horizon, step) = (args.horizon.as_secs(), input.step().as_secs().max(1));
    let steps = (horizon + step - 1) / step;
    if horizon <= 0 || steps > MOST_STEPS {
        let length = duration_text(input.step());
        return Err(Failure::input(format!(
            "--horizon {}: expected more than 0 and at most {MOST_STEPS} steps of {length}",
            duration_text(args.horizon)
        )));
    }
    Ok(usize::try_from(steps).unwrap_or(1))
}

/// Rows at which forecasts are issued.
fn issue_rows(args: &Args, input: &Input) -> Result<Vec<usize>, Failure> {
    let Some(from) = &args.from else {
        let row = match &args.at {
            Some(at) => input.row_at("--at", at)?,
            None => input.last_row(),
        };
        return Ok(vec![row]);
    };
    let first = input.row_at("--from", from)?;
    let last = match &args.to {
        Some(to) => input.row_at("--to", to)?,
        None => input.last_row(),
    };
    let (every, step) = (args.every.as_secs(), input.step().as_secs().max(1));
    let stride = every / step;
    if stride < 1 || every % step != 0 {
        return Err(Failure::input(format!(
            "--every {}: expected a multiple of the file's step of {}",
            duration_text(args.every),
            duration_text(input.step())
        )));
    }
    if last < first {
        return Err(Failure::input(format!(
            "--to {} is before --from {from}",
            args.to.as_deref().unwrap_or("the end")
        )));
    }
    let rows: Vec<usize> = (first..=last).step_by(usize::try_from(stride).unwrap_or(1)).collect();
    if rows.len() > MOST_ISSUES {
        return Err(Failure::input(format!("{} issue times; expected at most {MOST_ISSUES}", rows.len())));
    }
    Ok(rows)
}

/// How far the forecaster has been told of the file's rows.
#[derive(Debug)]
struct Fed {
    row: usize,
    ahead: usize,
}

impl Fed {
    /// Tells everything that was known when `row` was complete, and what is known ahead of the steps after it.
    fn up_to(&mut self, forecaster: &mut Forecaster, input: &Input, row: usize, steps: usize) {
        let step = input.step();
        for row in self.row..=row {
            let time = input.time(row);
            forecaster.observe(time, time + step, input.reading(row));
            for (position, column) in input.covariates.iter().enumerate().filter(|(_, c)| !c.known_ahead) {
                forecaster.observe_covariate(position, time, time + step, column.values[row]);
            }
        }
        self.row = self.row.max(row + 1);
        let until = (row + steps + input.per_day() + 1).min(input.rows());
        for ahead in self.ahead..until {
            for (position, column) in input.covariates.iter().enumerate().filter(|(_, c)| c.known_ahead) {
                forecaster.observe_covariate(
                    position,
                    input.time(ahead),
                    Timestamp::MIN,
                    column.values[ahead],
                );
            }
        }
        self.ahead = self.ahead.max(until);
    }
}
