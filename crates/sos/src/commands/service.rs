//! Commands on services: `logs`, `scale`, `rollout`, `top`.

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::block_on;
use crate::client::{Body, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, Table};

/// Arguments of `sos logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// Name of the service
    service: String,
    /// Go on as lines come
    #[arg(short = 'f', long)]
    follow: bool,
    /// How many of the last lines
    #[arg(long, default_value_t = 100)]
    lines: usize,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos scale`.
#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// Name of the service
    service: String,
    /// How many copies
    #[arg(long)]
    replicas: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// How far a change of a service is.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Rollout {
    /// How far the newest revision is
    Status(RolloutArgs),
    /// Revisions
    History(RolloutArgs),
    /// Return to an earlier revision
    Undo {
        #[command(flatten)]
        args: RolloutArgs,
        /// Which one [default: the one before]
        #[arg(long)]
        to_revision: Option<u64>,
    },
    /// Restart all replicas
    Restart(RolloutArgs),
}

/// A service of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct RolloutArgs {
    /// Name of the service
    service: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos top`.
#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// Form of the answer
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints captured output.
pub(crate) fn logs(args: &LogArgs) -> Outcome {
    let client = args.server.client()?;
    let path = format!("/api/v1/services/{}/logs?lines={}&follow={}", args.service, args.lines, args.follow);
    block_on(async {
        let mut stream = client.response(Method::GET, &path, None).await?.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Failure::Unreachable(format!("the log ended: {error}")))?;
            output::text(&String::from_utf8_lossy(&chunk))?;
        }
        Ok(())
    })
}

/// Sets the number of replicas.
pub(crate) fn scale(args: &ScaleArgs) -> Outcome {
    let client = args.server.client()?;
    let path = format!("/api/v1/services/{}/scale", args.service);
    let body = Body::Json(json!({ "replicas": args.replicas }));
    let scale = block_on(client.send(Method::PUT, &path, Some(body)))?;
    output::text(&format!("service/{} scaled to {}\n", args.service, scale["replicas"]))
}

/// Runs `sos rollout …`.
pub(crate) fn rollout(rollout: &Rollout) -> Outcome {
    let (args, method, path, body) = match rollout {
        Rollout::Status(args) => (args, Method::GET, "rollout", None),
        Rollout::History(args) => return history(args),
        Rollout::Undo { args, to_revision } => {
            (args, Method::POST, "rollout/undo", Some(Body::Json(json!({ "to": to_revision }))))
        }
        Rollout::Restart(args) => (args, Method::POST, "rollout/restart", None),
    };
    let client = args.server.client()?;
    let status = block_on(client.send(method, &format!("/api/v1/services/{}/{path}", args.service), body))?;
    output::text(&format!("{}\n", status["message"].as_str().unwrap_or_default()))
}

fn history(args: &RolloutArgs) -> Outcome {
    let client = args.server.client()?;
    let revisions = block_on(client.get(&format!("/api/v1/services/{}/rollout/history", args.service)))?;
    let mut table = Table::new(&["REVISION", "TIME", "CURRENT", "CHANGE"]);
    for one in revisions.as_array().into_iter().flatten() {
        let part = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let current = if one["current"] == true { "*" } else { "" };
        table.row(vec![one["revision"].to_string(), part("time"), current.into(), part("change")]);
    }
    output::answer(Format::Table, &table, &revisions)
}

/// What services use.
pub(crate) fn top(args: &TopArgs) -> Outcome {
    let client = args.server.client()?;
    let services = block_on(client.get("/api/v1/resources/Service"))?;
    let mut table = Table::new(&["SERVICE", "REPLICA", "PHASE", "PID", "CPU SECONDS", "MEMORY MB"]);
    for service in services.as_array().into_iter().flatten() {
        for replica in service.pointer("/status/live").and_then(Value::as_array).into_iter().flatten() {
            let number = |pointer: &str, scale: f64| {
                let found = replica.pointer(pointer).and_then(Value::as_f64);
                found.map_or_else(|| "-".to_owned(), |value| format!("{:.1}", value / scale))
            };
            let part = |key: &str| replica[key].as_str().unwrap_or_default().to_owned();
            table.row(vec![
                service["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                part("replica"),
                part("phase"),
                replica["pid"].as_i64().map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                number("/usage/cpu_seconds", 1.0),
                number("/usage/memory_bytes", 1e6),
            ]);
        }
    }
    output::answer(args.output, &table, &services)
}
