//! `sos plan`: the schedule in force, with the reason for each step.

use serde_json::Value;

use super::block_on;
use crate::client::ServerArgs;
use crate::outcome::Outcome;
use crate::output::{self, Format, Table};

/// Arguments of `sos plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the site
    site: String,
    /// Form of the answer
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints the plan in force.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    let live = block_on(client.get(&format!("/api/v1/sites/{}/live", args.site)))?;
    let mut table = Table::new(&["TIME", "GRID", "CHARGE", "PRICE", "BECAUSE"]);
    let number = |value: &Value, digits: usize, unit: &str| {
        value.as_f64().map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}{unit}"))
    };
    for step in live["plan"]["steps"].as_array().into_iter().flatten() {
        let soc = step["soc"].as_f64().map_or_else(|| "-".to_owned(), |soc| format!("{:.0} %", soc * 100.0));
        table.row(vec![
            step["time"].as_str().unwrap_or_default().to_owned(),
            number(&step["grid_kw"], 2, " kW"),
            soc,
            number(&step["price_per_kwh"], 3, ""),
            step["because"].as_str().unwrap_or_default().to_owned(),
        ]);
    }
    output::answer(args.output, &table, &live["plan"])
}
