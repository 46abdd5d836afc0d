//! `sos top`: what services use.

use serde::Serialize;
use serde_json::Value;

use super::block_on;
use super::resource::text;
use crate::client::ServerArgs;
use crate::outcome::Outcome;
use crate::output::{self, Format, OutputArgs, Table};
use crate::words;

/// Arguments of `sos top`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What one service uses, over its replicas; none where the runtime does not know it.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    service: String,
    phase: String,
    replicas: usize,
    restarts: u64,
    /// Processor time of the present runs.
    cpu_seconds: Option<f64>,
    /// Resident memory.
    memory_bytes: Option<f64>,
    /// Power that is taken now.
    watts: Option<f64>,
    /// Energy taken so far.
    kwh: Option<f64>,
    /// Requests at the gateway since `sos` started, and those that failed.
    requests: Option<u64>,
    errors: Option<u64>,
}

/// Shows processor time and memory of all services.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let services: Vec<Value> = client.get(&["resources", "Service"], &[]).await?;
        let rows: Vec<Row> = services.iter().map(row).collect();
        let format = args.output.format();
        output::answer(format, &table(&rows, format == Format::Csv), &rows)
    })
}

fn row(service: &Value) -> Row {
    let status = &service["status"];
    let replicas = status["replicaStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |key: &str| -> Option<f64> {
        let known: Vec<f64> = replicas.iter().filter_map(|replica| replica["usage"][key].as_f64()).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    };
    Row {
        service: text(service, &["metadata", "name"]).to_owned(),
        phase: text(status, &["phase"]).to_owned(),
        replicas: replicas.iter().filter(|replica| replica["pid"].is_number()).count(),
        restarts: status["restarts"].as_u64().unwrap_or(0),
        cpu_seconds: sum("cpuSeconds"),
        memory_bytes: sum("memoryBytes"),
        watts: status["energy"]["watts"].as_f64(),
        kwh: status["energy"]["kwh"].as_f64(),
        requests: status["gateway"]["requests"].as_u64(),
        errors: status["gateway"]["errors"].as_u64(),
    }
}

fn table(rows: &[Row], plain: bool) -> Table {
    let mut table = if plain {
        let names =
            ["SERVICE", "PHASE", "REPLICAS", "RESTARTS", "CPU_SECONDS", "MEMORY_BYTES", "WATTS", "KWH"];
        Table::new(&[&names[..], &["REQUESTS", "ERRORS"]].concat())
    } else {
        let names = ["SERVICE", "PHASE", "REPLICAS", "RESTARTS", "CPU TIME", "MEMORY", "POWER", "ENERGY"];
        Table::new(&[&names[..], &["REQUESTS", "ERRORS"]].concat())
    };
    let cpu = |seconds: f64| if plain { seconds.to_string() } else { format!("{seconds:.1} s") };
    let memory = |bytes: f64| if plain { bytes.to_string() } else { words::bytes(bytes) };
    let watts = |watts: f64| if plain { watts.to_string() } else { format!("{watts:.1} W") };
    let kwh = |kwh: f64| if plain { kwh.to_string() } else { format!("{:.2} Wh", kwh * 1000.0) };
    let unknown = || if plain { String::new() } else { "–".to_owned() };
    for row in rows {
        table.row(vec![
            row.service.clone(),
            row.phase.clone(),
            row.replicas.to_string(),
            row.restarts.to_string(),
            row.cpu_seconds.map_or_else(unknown, cpu),
            row.memory_bytes.map_or_else(unknown, memory),
            row.watts.map_or_else(unknown, watts),
            row.kwh.map_or_else(unknown, kwh),
            row.requests.map_or_else(unknown, |count| count.to_string()),
            row.errors.map_or_else(unknown, |count| count.to_string()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_replicas_use_is_added_up_and_unknown_stays_unknown() {
        let replica = |cpu: f64| json!({"pid": 1, "usage": {"cpuSeconds": cpu, "memoryBytes": 1024}});
        let service = json!({
            "metadata": {"name": "web"},
            "status": {"phase": "Running", "restarts": 2, "replicaStatuses": [replica(1.5), replica(2.0)]},
        });
        let row = row(&service);
        assert_eq!((row.replicas, row.cpu_seconds, row.memory_bytes), (2, Some(3.5), Some(2048.0)));
        let none = super::row(&json!({"metadata": {"name": "idle"}}));
        assert_eq!((none.replicas, none.cpu_seconds), (0, None));
        assert!(table(&[row, none], false).aligned().contains("3.5 s      2.0 KiB"));
    }
}
