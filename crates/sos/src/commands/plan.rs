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
    /// Whether there is no connection to a grid.
    #[serde(default)]
    island: bool,
    import_limit_kw: Option<f64>,
    export_limit_kw: Option<f64>,
    #[serde(default)]
    feeders: Vec<Feeder>,
    #[serde(default)]
    charges: Vec<Charge>,
    steps: Vec<Step>,
}

/// A part of the site behind a meter or a fuse of its own, with its limits now.
#[derive(Debug, Deserialize, Serialize)]
struct Feeder {
    name: String,
    import_limit_kw: Option<f64>,
    export_limit_kw: Option<f64>,
}

/// What is charged for a peak or an amount.
#[derive(Debug, Deserialize, Serialize)]
struct Charge {
    name: String,
    feeder: Option<String>,
    /// `kW` of a peak, `kWh` of an amount.
    unit: String,
    /// Of the running period, in that unit.
    so_far: f64,
    /// Since the site's start.
    cost: f64,
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
    /// Flow into each feeder.
    #[serde(default)]
    feeders_kw: BTreeMap<String, f64>,
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
            plan.charges.iter().for_each(|charge| output::note(counted(charge, &plan.currency)));
        }
        output::answer(format, &table(&plan, format == Format::Csv), &plan)
    })
}

/// What a charge has come to.
fn counted(charge: &Charge, currency: &str) -> String {
    let Charge { name, unit, so_far, .. } = charge;
    let place = charge.feeder.as_ref().map(|feeder| format!(" of feeder {feeder}")).unwrap_or_default();
    format!(
        "{name}{place}: {so_far:.2} {unit} so far, {} since the start",
        words::money(charge.cost, currency)
    )
}

fn table(plan: &Plan, plain: bool) -> Table {
    let mut heads: Vec<String> = if plain {
        ["TIME", "GRID_KW", "SOC", "PRICE_PER_KWH"].map(str::to_owned).to_vec()
    } else {
        ["TIME", "GRID", "STORED", "PRICE"].map(str::to_owned).to_vec()
    };
    let head = |feeder: &Feeder| {
        if plain { format!("{}_KW", feeder.name) } else { feeder.name.to_uppercase() }
    };
    heads.extend(plan.feeders.iter().map(head));
    heads.extend([if plain { "LIMITS" } else { "LIMIT" }, "BECAUSE"].map(str::to_owned));
    let mut table = Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for step in &plan.steps {
        let because = words::reasons(step.because.iter().map(|(name, why)| (name.as_str(), why.as_str())));
        let soc = |plain: fn(f64) -> String| step.soc.map(plain).unwrap_or_default();
        let (grid, soc, price) = if plain {
            (step.grid_kw.to_string(), soc(|soc| soc.to_string()), step.price_per_kwh.to_string())
        } else {
            let price = format!("{:.3} {}/kWh", step.price_per_kwh, plan.currency);
            let price = if plan.island { String::new() } else { price };
            (words::connection(plan.island)(step.grid_kw), soc(words::percent), price)
        };
        let flow = |feeder: &Feeder| match step.feeders_kw.get(&feeder.name) {
            Some(kw) if plain => kw.to_string(),
            Some(kw) => format!("{kw:.1} kW"),
            None => String::new(),
        };
        let mut row = vec![step.time.clone(), grid, soc, price];
        row.extend(plan.feeders.iter().map(flow));
        row.extend([step.binding_limits.join("; "), because]);
        table.row(row);
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
        let mut plan = plan;
        plan.status.feeders =
            vec![Feeder { name: "street".into(), import_limit_kw: Some(3.0), export_limit_kw: None }];
        plan.status.steps[0].feeders_kw.insert("street".into(), 1.5);
        let people = table(&plan.status, false).aligned();
        assert!(people.contains("STREET") && people.contains("0.220 USD/kWh   1.5 kW   full: a"), "{people}");
        let value = serde_json::to_value(&plan.status).unwrap();
        assert_eq!(
            (&value["steps"][0]["power_kw"]["a"], &value["made_at"]),
            (&json!(-1.5), &json!("2016-08-01T00:00:00-08:00"))
        );
    }
}
