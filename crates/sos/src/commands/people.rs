//! `sos override` and `sos hold`: what people order of assets, with an end.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use sos_api::wire::AssetOrdered;
use sos_units::Power;

use super::block_on;
use super::resource::text;
use crate::client::{Body, Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, OutputArgs, Table};
use crate::words;

/// Arguments of `sos override`.
#[derive(Debug, clap::Args)]
pub(crate) struct OverrideArgs {
    /// Power such as '-2 kW', above zero from the asset into the site: '-2 kW' charges a battery; for a solar plant the
    /// most that it may give
    #[arg(long, value_name = "POWER", value_parser = sos_model::read_power, allow_hyphen_values = true, requires = "asset")]
    power: Option<Power>,
    #[command(flatten)]
    order: OrderArgs,
}

/// Arguments of `sos hold`.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    #[command(flatten)]
    order: OrderArgs,
}

/// What both take.
#[derive(Debug, clap::Args)]
struct OrderArgs {
    /// Name of the asset; without one, what is ordered is listed
    asset: Option<String>,
    /// For how long, in the time of the site
    #[arg(long = "for", value_name = "DURATION", value_parser = sos_model::read_duration, requires = "asset")]
    length: Option<SignedDuration>,
    /// Until when (RFC 3339), in the time of the site
    #[arg(long, value_name = "TIME", conflicts_with = "length", requires = "asset")]
    until: Option<Timestamp>,
    /// Why, for those who see it
    #[arg(long, value_name = "TEXT", requires = "asset")]
    reason: Option<String>,
    /// End it now
    #[arg(long, conflicts_with_all = ["length", "until"], requires = "asset")]
    clear: bool,
    /// Take over what another manager owns
    #[arg(long, requires = "asset")]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Orders a power, ends such an order, or lists them.
pub(crate) fn run_override(args: &OverrideArgs) -> Outcome {
    let Some(asset) = &args.order.asset else { return list(&args.order, false) };
    match (args.order.clear, args.power) {
        (true, Some(_)) => Err(Failure::input("--power with --clear: expected one of them")),
        (true, None) => clear(&args.order, asset, "override"),
        (false, None) => Err(Failure::input("expected --power, such as --power '-2 kW', or --clear")),
        (false, Some(power)) => order(&args.order, asset, "override", json!({ "power_kw": power.as_kw() })),
    }
}

/// Orders a hold, ends one, or lists them.
pub(crate) fn run_hold(args: &HoldArgs) -> Outcome {
    match &args.order.asset {
        None => list(&args.order, true),
        Some(asset) if args.order.clear => clear(&args.order, asset, "hold"),
        Some(asset) => order(&args.order, asset, "hold", json!({})),
    }
}

fn order(args: &OrderArgs, asset: &str, what: &str, mut body: Value) -> Outcome {
    let reason = args.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    let reason = reason.ok_or_else(|| Failure::input("expected --reason: why, for those who see it"))?;
    if args.length.is_none() && args.until.is_none() {
        return Err(Failure::input("expected --for or --until: an order has an end, such as --for 2h"));
    }
    body["order"] = json!({
        "until": args.until, "for_seconds": args.length.map(|length| length.as_secs()), "reason": reason,
        "force": args.force,
    });
    let client = args.server.client()?;
    block_on(async {
        let path = ["assets", asset, what];
        let AssetOrdered { order, replaced } = client.send(Method::PUT, &path, &[], Body::Json(body)).await?;
        let mut told =
            format!("{}/{}: {asset} is {}\n", text(&order, &["kind"]), name(&order), words_of(&order));
        if let Some(replaced) = replaced {
            told.push_str(&format!("  replaces {} (by {})\n", words_of(&replaced), author(&replaced)));
        }
        output::text(&told)
    })
}

fn clear(args: &OrderArgs, asset: &str, what: &str) -> Outcome {
    let client = args.server.client()?;
    let query: Vec<(&str, String)> = args.reason.iter().map(|reason| ("reason", reason.clone())).collect();
    block_on(async {
        let _: Value = client.send(Method::DELETE, &["assets", asset, what], &query, Body::None).await?;
        output::text(&format!("{asset}: the {what} has ended\n"))
    })
}

fn list(args: &OrderArgs, holds: bool) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let mut orders = overrides(&client).await?;
        orders.retain(|order| is_hold(order) == holds);
        if orders.is_empty() {
            output::note(format!("no {} found", if holds { "hold" } else { "override" }));
        }
        output::answer(args.output.format(), &table(&orders), &orders)
    })
}

async fn overrides(client: &Client) -> Result<Vec<Value>, Failure> {
    client.get(&["resources", "Override"], &[]).await
}

fn table(orders: &[Value]) -> Table {
    let mut table = Table::new(&["ASSET", "ORDER", "UNTIL", "BY", "STATE", "REASON", "NOW"]);
    for order in orders {
        let state = |key: &str| text(order, &["status", key]).to_owned();
        let cell = |key: &str| text(order, &["spec", key]).to_owned();
        let (asset, reason) = (cell("asset"), cell("reason"));
        table.row(vec![
            asset,
            ordered(order),
            until(order),
            author(order),
            state("state"),
            reason,
            state("now"),
        ]);
    }
    table
}

/// What is ordered and until when, such as `charging 2.0 kW until 2016-08-01T18:00:00-07:00`.
fn words_of(order: &Value) -> String {
    format!("{} until {}", ordered(order), until(order))
}

/// What is ordered in words.
pub(crate) fn ordered(order: &Value) -> String {
    if is_hold(order) {
        return "on hold".to_owned();
    }
    let power = sos_model::read_power(text(order, &["spec", "power"]));
    let power = power.map_or(0.0, Power::as_kw);
    match text(order, &["status", "type"]) {
        "solar" | "wind" => format!("at most {}", words::kw(power)),
        // A server that does not say what it is.
        "" => words::battery(power),
        kind => words::asset(kind, power),
    }
}

/// Its end in the time of the site.
pub(crate) fn until(order: &Value) -> String {
    let shown = text(order, &["status", "until"]);
    if shown.is_empty() { text(order, &["spec", "until"]) } else { shown }.to_owned()
}

/// Who ordered it.
pub(crate) fn author(order: &Value) -> String {
    text(order, &["status", "orderedBy"]).to_owned()
}

fn is_hold(order: &Value) -> bool {
    order["spec"]["hold"] == true
}

fn name(order: &Value) -> &str {
    text(order, &["metadata", "name"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_told_in_words() {
        let order = |what: Value| {
            let mut order = json!({ "kind": "Override", "metadata": { "name": "b" },
                "spec": { "asset": "b", "until": "2016-08-02T01:00:00Z", "reason": "inspection" },
                "status": { "orderedBy": "anna", "until": "2016-08-01T18:00:00-07:00", "state": "acting" } });
            order["spec"].as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
            order
        };
        let charge = order(json!({ "power": "-2 kW" }));
        assert_eq!(words_of(&charge), "charging 2.0 kW until 2016-08-01T18:00:00-07:00");
        let hold = order(json!({ "hold": true }));
        assert_eq!(words_of(&hold), "on hold until 2016-08-01T18:00:00-07:00");
        let table = table(&[charge, hold]).aligned();
        assert!(table.contains("on hold") && table.contains("anna") && table.contains("acting"), "{table}");
    }
}
