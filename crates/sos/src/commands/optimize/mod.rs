//! `sos optimize`: the cheapest schedule of a declared site, with its bound and its reasons.

pub(crate) mod answer;
mod pareto;
mod search;
mod show;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use sos_dispatch::PlanSource;
use sos_engine::site::case::{self, Case};
use sos_model::read_duration;

use self::answer::{Answer, Found, Seconds, Status, seconds};
use self::search::Deadline;
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, OutputArgs, note};

/// Arguments of `sos optimize`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests of one site with its assets and signals: a file of several documents, or a folder
    file: PathBuf,
    /// Begin of the plan: RFC 3339, or a local time of the site [default: replay.from of the site, else the first time at which
    /// all its signals have a value]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// How near to the bound the plan has to be, as a share of its costs
    #[arg(long, value_name = "SHARE", default_value = "1e-3", value_parser = share)]
    gap: f64,
    /// When the search ends; the best plan by then is the answer
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = limit)]
    time_limit: Duration,
    /// Most threads to use [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Instead of one plan, N of them from the cheapest to the one with the fewest emissions: what fewer emissions cost
    #[arg(long, value_name = "N")]
    pareto: Option<NonZeroUsize>,
    #[command(flatten)]
    output: OutputArgs,
}

fn share(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "expected a share of 0…1, such as 1e-3".to_owned())
}

fn limit(text: &str) -> Result<Duration, String> {
    let limit = read_duration(text)?;
    // Longer than a year is no limit, and would leave the range of the clock.
    if limit <= SignedDuration::ZERO || limit > SignedDuration::from_hours(8784) {
        return Err("expected more than 0 s and at most a year".to_owned());
    }
    Duration::try_from(limit).map_err(|error| error.to_string())
}

/// Reads, plans, answers.
pub(crate) fn run(args: &Args) -> Outcome {
    let began = Instant::now();
    let manifests = case::read(std::slice::from_ref(&args.file)).map_err(bad)?;
    let read = began.elapsed();
    let case = case::case(&manifests, args.from.as_deref()).map_err(bad)?;
    let build = began.elapsed() - read;
    // Manifests of thousands of assets are as large as the plan.
    drop(manifests);
    case.notes.iter().for_each(note);
    if let Some(points) = args.pareto {
        return pareto::run(&case, points, args.gap, args.time_limit, &args.output);
    }
    let answer = solve(args, &case, read, build)?;
    let tell = match args.output.format() {
        Format::Table => {
            let shown = show::summary(&answer) + "\n" + &show::table(&answer, &case).aligned();
            output::text(&shown)
        }
        Format::Csv => output::csv(&show::rows(&answer)),
        format => output::structured(format, &answer),
    };
    tell?;
    if answer.status == Status::Infeasible { Err(Failure::Told) } else { Ok(()) }
}

fn solve(args: &Args, case: &Case, read: Duration, build: Duration) -> Result<Answer, Failure> {
    let began = Instant::now();
    let deadline = Deadline::after(args.time_limit);
    let problem = Arc::clone(&case.problem);
    let threads = args.threads.map_or(0, NonZeroUsize::get);
    let (planned, verification) = search::plan(&problem, args.gap, threads, &deadline)?;
    if planned.source != PlanSource::Solver {
        note(format!("the plan comes from {}", sos_engine::site::plan::source_text(&planned.source)));
    }
    let exceeded = answer::exceeds(&problem, &planned.schedule);
    let (conflict, known) = if exceeded { search::conflicting(&problem, &deadline) } else { (None, true) };
    if !known {
        note("limits are exceeded; whether another plan would hold them was not found out in time");
    }
    let seconds = Seconds { read: seconds(read), build: seconds(build), solve: seconds(began.elapsed()) };
    Ok(Answer::new(case, Found { planned, verification, conflict, wanted_gap: args.gap, seconds }))
}

/// The problem that a file declares, as `sos verify` needs it.
pub(crate) fn case_of(file: &Path, from: Option<&str>) -> Result<Case, Failure> {
    let manifests = case::read(&[file.to_owned()]).map_err(bad)?;
    case::case(&manifests, from).map_err(bad)
}

fn bad(problems: Vec<sos_model::Problem>) -> Failure {
    Failure::BadInput(problems.iter().map(ToString::to_string).collect())
}
