//! `sos query`: PromQL over everything stored.

use serde_json::Value;

use super::block_on;
use crate::client::ServerArgs;
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, OutputArgs, Table};

/// Arguments of `sos query`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A query in PromQL, such as 'sum by (site) (asset_power_kw)'
    #[arg(value_name = "PROMQL")]
    query: String,
    /// Evaluate it at this time: RFC 3339 or seconds since 1970 [default: now; where all sites replay, their time]
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    at: Option<String>,
    /// Evaluate it at each step from this time on
    #[arg(long, value_name = "TIME", requires = "to")]
    from: Option<String>,
    /// Last time, inclusive
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// Time between two evaluations
    #[arg(long, value_name = "DURATION", default_value = "1m", requires = "from")]
    step: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks the server and shows the answer: a row a series, over a range a row a value.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    let query = ("query", args.query.clone());
    let (path, params) = match (&args.from, &args.to) {
        (Some(from), Some(to)) => (
            "query_range",
            vec![query, ("start", from.clone()), ("end", to.clone()), ("step", args.step.clone())],
        ),
        _ => ("query", std::iter::once(query).chain(args.at.clone().map(|at| ("time", at))).collect()),
    };
    block_on(async {
        let answer: Value = client.get(&[path], &params).await?;
        let table = table(&answer["data"])?;
        let format = args.output.format();
        if table.is_empty() && format == Format::Table {
            output::note("no series has a value there");
        }
        output::answer(format, &table, &answer["data"])
    })
}

fn table(data: &Value) -> Result<Table, Failure> {
    let mut table = Table::new(&["SERIES", "TIME", "VALUE"]);
    let unexpected = || Failure::unsuccessful("the server answered something else than a query gives");
    match data["resultType"].as_str() {
        Some("vector" | "matrix") => {
            for series in data["result"].as_array().ok_or_else(unexpected)? {
                let name = name(&series["metric"]);
                let points = series["values"].as_array().into_iter().flatten();
                for point in points.chain(series.get("value")) {
                    table.row(vec![name.clone(), time(&point[0]), text(&point[1])]);
                }
            }
        }
        Some("scalar" | "string") => {
            table.row(vec![String::new(), time(&data["result"][0]), text(&data["result"][1])]);
        }
        _ => return Err(unexpected()),
    }
    Ok(table)
}

/// A series as a selector would name it.
fn name(metric: &Value) -> String {
    let labels: Vec<String> = metric
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}={:?}", text(value)))
        .collect();
    format!("{}{{{}}}", metric["__name__"].as_str().unwrap_or_default(), labels.join(", "))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn time(seconds: &Value) -> String {
    let ms = seconds.as_f64().map(|seconds| (seconds * 1000.0).round() as i64);
    let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_answer_is_a_table() {
        let metric = json!({ "__name__": "asset_soc", "asset": "a", "site": "s\"x" });
        let vector =
            json!({ "resultType": "vector", "result": [{ "metric": metric, "value": [1.5, "0.25"] }] });
        assert_eq!(
            table(&vector).unwrap().aligned(),
            "SERIES                              TIME                     VALUE\nasset_soc{asset=\"a\", site=\"s\\\"x\"}   1970-01-01T00:00:01.5Z   0.25\n"
        );
        let matrix =
            json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": [[0, "1"], [60, "2"]] }] });
        assert_eq!(table(&matrix).unwrap().aligned().lines().count(), 3);
        let scalar = json!({ "resultType": "scalar", "result": [0, "1"] });
        assert!(!table(&scalar).unwrap().is_empty());
        assert!(table(&json!({})).is_err());
    }
}
