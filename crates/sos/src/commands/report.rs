//! `sos report`: what a site cost, emitted and saved since its start.

use serde::Serialize;
use sos_api::wire::{SiteLive, Totals};

use super::block_on;
use crate::client::ServerArgs;
use crate::outcome::Outcome;
use crate::output::{self, Format, OutputArgs, Table};
use crate::words;

/// Arguments of `sos report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the site
    site: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The answer as a value.
#[derive(Debug, Serialize)]
struct Report {
    site: String,
    /// Site time of the latest tick.
    to: String,
    currency: String,
    ticks: u64,
    totals: Totals,
}

/// Shows the sums since the start of the site.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let live: SiteLive = client.get(&["sites", &args.site, "live"], &[]).await?;
        let SiteLive { site, time: to, currency, tick: ticks, totals, .. } = live;
        let report = Report { site, to, currency, ticks, totals };
        let format = args.output.format();
        if format == Format::Table {
            output::note(format!("{} since its start, up to {}", report.site, report.to));
        }
        output::answer(format, &table(&report, format == Format::Csv), &report)
    })
}

fn table(report: &Report, plain: bool) -> Table {
    let mut table = Table::new(&["FIGURE", "UNIT", "ACTUAL", "WITHOUT CONTROL"]);
    let t = &report.totals;
    let number = |value: f64| if plain { value.to_string() } else { format!("{:.2}", value + 0.0) };
    let mut row = |figure: &str, unit: &str, actual: String, baseline: String| {
        table.row(vec![figure.to_owned(), unit.to_owned(), actual, baseline]);
    };
    let currency = report.currency.as_str();
    row("cost", currency, number(t.cost.actual), number(t.cost.baseline));
    row("emissions", "kg CO2", number(t.emissions_kg.actual), number(t.emissions_kg.baseline));
    row("objective", currency, number(t.objective.actual), number(t.objective.baseline));
    row("saving", currency, number(t.saving), String::new());
    row("import", "kWh", number(t.import_kwh), String::new());
    row("export", "kWh", number(t.export_kwh), String::new());
    row("shared", "kWh", number(t.shared_kwh), String::new());
    let own = t.self_consumption.map(|share| if plain { share.to_string() } else { words::percent(share) });
    row("self-consumption", if plain { "share" } else { "" }, own.unwrap_or_default(), String::new());
    let violations = t.limit_violations;
    row("limit violations", "steps", violations.actual.to_string(), violations.baseline.to_string());
    table
}
