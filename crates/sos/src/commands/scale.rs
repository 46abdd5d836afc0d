//! `sos scale`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use reqwest::Method;
use serde_json::json;
use sos_api::wire::Scale;
use sos_control::scale::replay::{CarbonValue, RecentDemand, ReplayReport, Trace, replay};
use sos_engine::policy::replay_policy;
use sos_model::series::{Columns, read_table};
use sos_model::{CarbonFile, Problem, ReplayCarbon, read_replay};

use super::block_on;
use crate::client::{Body, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, note};

/// Arguments of `sos scale`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Name of the service
    #[arg(required = true)]
    service: Option<String>,
    /// How many replicas are to run, whatever the manifest's scaling says
    #[arg(long, value_name = "N", required_unless_present = "auto")]
    replicas: Option<u32>,
    /// Give the decision back to the manifest
    #[arg(long, conflicts_with = "replicas")]
    auto: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Play a policy over recorded load and print replicas, violations and emissions as JSON; no server needed
    Replay(ReplayArgs),
}

/// Arguments of `sos scale replay`.
#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// The policy: capacity and power of a replica, its start-up time, the carbon series, how it is scaled
    policy: PathBuf,
    /// The load: a CSV file with the columns time and requests; a time without offset is UTC
    trace: PathBuf,
}

/// Sets the number of replicas beside the manifest, whose owner stays; or plays a policy.
pub(crate) fn run(args: &Args) -> Outcome {
    match (&args.what, &args.service) {
        (Some(What::Replay(replay)), _) => play(replay),
        (None, Some(service)) => set(args, service),
        (None, None) => Err(Failure::input("expected the name of a service, or replay")),
    }
}

fn set(args: &Args, service: &str) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let path = ["services", service, "scale"];
        let body = Body::Json(json!({ "replicas": args.replicas }));
        let Scale { replicas } = client.send(Method::PUT, &path, &[], body).await?;
        output::text(&match replicas {
            Some(replicas) => format!("Service/{service} scaled to {replicas}\n"),
            None => format!("Service/{service} is scaled as its manifest says\n"),
        })
    })
}

fn play(args: &ReplayArgs) -> Outcome {
    let path = args.policy.display().to_string();
    let spec = read_replay(&path, &read(&args.policy)?).map_err(|problems| listed(&problems))?;
    let text = String::from_utf8(read(&args.trace)?)
        .map_err(|_| Failure::input(format!("{}: it is not UTF-8 text", args.trace.display())))?;
    let trace =
        Trace::read(&text).map_err(|error| Failure::input(format!("{}: {error}", args.trace.display())))?;
    let carbon = match &spec.carbon {
        ReplayCarbon::Fixed(intensity) => {
            vec![CarbonValue { time: trace.start, grams_per_kwh: intensity.as_kg_per_kwh() * 1000.0 }]
        }
        ReplayCarbon::File(file) => carbon(file, &args.policy)?,
    };
    let policy = replay_policy(&spec, carbon);
    let report = replay(&policy, &trace, &mut RecentDemand::default())
        .map_err(|error| Failure::input(format!("{path}: {error}")))?;
    note(summary(&report));
    let json = serde_json::to_string_pretty(&report).map_err(Failure::unsuccessful)?;
    output::text(&format!("{json}\n"))
}

fn summary(report: &ReplayReport) -> String {
    format!(
        "{:.1} replica-hours, {:.0} s with less ready capacity than demand ({:.3} % of the time held), {:.0} requests \
         unserved, {:.3} kg CO2",
        report.replica_hours,
        report.slo_violation_seconds,
        report.held_share * 100.0,
        report.unserved_requests,
        report.emissions_kg
    )
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::input(format!("{} cannot be read: {error}", path.display())))
}

fn listed(problems: &[Problem]) -> Failure {
    Failure::input(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The carbon series; a value holds until the next, over gaps too.
fn carbon(file: &CarbonFile, policy: &Path) -> Result<Vec<CarbonValue>, Failure> {
    let path = policy.parent().unwrap_or_else(|| Path::new(".")).join(&file.path);
    let shown = path.display().to_string();
    let opened =
        File::open(&path).map_err(|error| Failure::input(format!("{shown} cannot be read: {error}")))?;
    let columns = Columns {
        path: &shown,
        time: &file.time,
        values: &[&file.column],
        zone: Some(&TimeZone::UTC),
        step: None,
    };
    let table = read_table(&columns, BufReader::new(opened)).map_err(|problems| listed(&problems))?;
    let values = table.columns.get(&file.column).map(Vec::as_slice).unwrap_or_default();
    let value = |(index, value): (usize, &sos_units::Reading<f64>)| {
        let grams_per_kwh = (*value).ok()? * file.unit.scale * 1000.0;
        Some(CarbonValue { time: table.grid.at(index), grams_per_kwh })
    };
    Ok(values.iter().enumerate().filter_map(value).collect())
}
