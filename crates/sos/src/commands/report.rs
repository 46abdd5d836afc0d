//! `sos report`: what a site cost, emitted and saved, since its start or in each period.

use serde::Serialize;
use sos_api::wire::{PeriodTotals, SiteLive, SiteReport, Totals};

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
    /// One row for each day, week, month or year instead of the sums since the start
    #[arg(long, value_name = "day|week|month|year")]
    period: Option<Period>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Length of the periods.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Period {
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// As the API calls it.
    const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
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

/// Shows the sums since the start of the site, or those of each period.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    if let Some(period) = args.period {
        return block_on(async {
            let query = [("period", period.word().to_owned())];
            let report: SiteReport = client.get(&["sites", &args.site, "report"], &query).await?;
            let format = args.output.format();
            if format == Format::Table {
                output::note(format!(
                    "{} in {}; the last {} is not over",
                    report.site,
                    report.currency,
                    period.word()
                ));
            }
            output::answer(format, &rows(&report, format == Format::Csv), &report)
        });
    }
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

/// One row for each period.
fn rows(report: &SiteReport, plain: bool) -> Table {
    let heads = if plain {
        [
            "first_day",
            "last_day",
            "cost",
            "baseline_cost",
            "saving",
            "emissions_kg",
            "baseline_emissions_kg",
            "import_kwh",
            "export_kwh",
            "self_consumption",
            "limit_violations",
            "baseline_limit_violations",
        ]
    } else {
        [
            "FROM",
            "TO",
            "COST",
            "UNCONTROLLED",
            "SAVED",
            "KG CO2",
            "UNCONTROLLED",
            "IMPORT KWH",
            "EXPORT KWH",
            "SELF-CONSUMPTION",
            "OVER LIMIT",
            "UNCONTROLLED",
        ]
    };
    let mut table = Table::new(&heads);
    let number = |value: f64| if plain { value.to_string() } else { format!("{:.2}", value + 0.0) };
    for PeriodTotals { first, last, totals: t } in &report.periods {
        let own =
            t.self_consumption.map(|share| if plain { share.to_string() } else { words::percent(share) });
        table.row(vec![
            first.clone(),
            last.clone(),
            number(t.cost.actual),
            number(t.cost.baseline),
            number(t.saving),
            number(t.emissions_kg.actual),
            number(t.emissions_kg.baseline),
            number(t.import_kwh),
            number(t.export_kwh),
            own.unwrap_or_default(),
            t.limit_violations.actual.to_string(),
            t.limit_violations.baseline.to_string(),
        ]);
    }
    table
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
