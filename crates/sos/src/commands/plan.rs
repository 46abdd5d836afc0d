//! `sos plan`: the schedule in force, with its reasons and the limits that bind it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::block_on;
use crate::client::ServerArgs;
use crate::outcome::Outcome;
use crate::output::{self, Format, OutputArgs, Table};
use crate::words;

/// Arguments of `sos plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the site
    site: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The API's resource of kind Plan.
#[derive(Debug, Deserialize)]
struct Resource {
    status: Plan,
}

#[derive(Debug, Deserialize, Serialize)]
struct Plan {
    #[serde(default)]
    site: String,
    #[serde(rename(deserialize = "madeAt"))]
    made_at: String,
    source: String,
    currency: String,
    import_limit_kw: Option<f64>,
    export_limit_kw: Option<f64>,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Step {
    time: String,
    /// Import above zero.
    grid_kw: f64,
    soc: Option<f64>,
    price_per_kwh: f64,
    /// Batteries and work of services, above zero into the site.
    power_kw: BTreeMap<String, f64>,
    because: BTreeMap<String, String>,
    /// Limits that the step is at.
    #[serde(default)]
    binding_limits: Vec<String>,
}

/// Shows the plan in force.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let Resource { status: mut plan } = client.get(&["resources", "Plan", &args.site], &[]).await?;
        plan.site.clone_from(&args.site);
        let format = args.output.format();
        if format == Format::Table {
            output::note(format!("plan of {}, made at {} by {}", plan.site, plan.made_at, plan.source));
        }
        output::answer(format, &table(&plan, format == Format::Csv), &plan)
    })
}

fn table(plan: &Plan, plain: bool) -> Table {
    let mut table = if plain {
        Table::new(&["TIME", "GRID_KW", "SOC", "PRICE_PER_KWH", "LIMITS", "BECAUSE"])
    } else {
        Table::new(&["TIME", "GRID", "STORED", "PRICE", "LIMIT", "BECAUSE"])
    };
    for step in &plan.steps {
        let because = words::reasons(step.because.iter().map(|(name, why)| (name.as_str(), why.as_str())));
        let soc = |plain: fn(f64) -> String| step.soc.map(plain).unwrap_or_default();
        let (grid, soc, price) = if plain {
            (step.grid_kw.to_string(), soc(|soc| soc.to_string()), step.price_per_kwh.to_string())
        } else {
            let price = format!("{:.3} {}/kWh", step.price_per_kwh, plan.currency);
            (words::exchange(step.grid_kw), soc(words::percent), price)
        };
        table.row(vec![step.time.clone(), grid, soc, price, step.binding_limits.join("; "), because]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_is_told_in_words_and_in_numbers() {
        let plan: Resource = serde_json::from_value(json!({"status": {
            "madeAt": "2016-08-01T00:00:00-08:00", "source": "solver", "currency": "USD",
            "import_limit_kw": 12.0, "export_limit_kw": null,
            "steps": [{
                "time": "2016-08-01T00:00:00-08:00", "grid_kw": 2.0, "soc": 0.52, "price_per_kwh": 0.22,
                "power_kw": {"a": -1.5, "b": -1.5}, "because": {"a": "sun", "b": "sun"},
                "binding_limits": ["full: a", "empty: b"],
            }],
        }}))
        .unwrap();
        let people = table(&plan.status, false).aligned();
        assert!(
            people.contains("imports 2.0 kW   52 %     0.220 USD/kWh   full: a; empty: b   sun"),
            "{people}"
        );
        let value = serde_json::to_value(&plan.status).unwrap();
        assert_eq!(
            (&value["steps"][0]["power_kw"]["a"], &value["made_at"]),
            (&json!(-1.5), &json!("2016-08-01T00:00:00-08:00"))
        );
    }
}
