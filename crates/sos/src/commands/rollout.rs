//! `sos rollout`.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use sos_api::wire::{Revision, RolloutStatus};

use super::block_on;
use crate::client::{Body, Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, OutputArgs, Table};

/// How often a rollout that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `sos rollout`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// How far a service is on the way to its newest revision
    Status {
        /// Name of the service
        service: String,
        /// Wait until it is done, at most this many seconds
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Revisions of a service, oldest first
    History {
        /// Name of the service
        service: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Return to an earlier revision
    Undo {
        /// Name of the service
        service: String,
        /// The revision to return to [default: the one before the current]
        #[arg(long, value_name = "REVISION")]
        to: Option<u64>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Replace all replicas, one after the other
    Restart {
        /// Name of the service
        service: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        match &args.what {
            What::Status { service, wait, output } => status(&client, service, *wait, *output).await,
            What::History { service, output } => history(&client, service, *output).await,
            What::Undo { service, to, output } => {
                let body = Body::Json(json!({ "to": to }));
                let path = ["services", service, "rollout", "undo"];
                show(&client.send(Method::POST, &path, &[], body).await?, *output)
            }
            What::Restart { service, output } => {
                let path = ["services", service, "rollout", "restart"];
                show(&client.send(Method::POST, &path, &[], Body::None).await?, *output)
            }
        }
    })
}

async fn status(client: &Client, service: &str, wait: Option<u64>, output: OutputArgs) -> Outcome {
    let began = Instant::now();
    loop {
        let status: RolloutStatus = client.get(&["services", service, "rollout"], &[]).await?;
        let over = wait.is_none_or(|seconds| began.elapsed() >= Duration::from_secs(seconds));
        if status.done || over {
            show(&status, output)?;
            return match wait {
                Some(seconds) if !status.done => Err(Failure::unsuccessful(format!(
                    "not rolled out within {seconds} s: {}",
                    status.message
                ))),
                _ => Ok(()),
            };
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn show(status: &RolloutStatus, output: OutputArgs) -> Outcome {
    let mut table = Table::new(&["SERVICE", "REVISION", "UPDATED", "READY", "DONE", "MESSAGE"]);
    table.row(vec![
        status.service.clone(),
        status.revision.to_string(),
        format!("{}/{}", status.updated, status.replicas),
        format!("{}/{}", status.ready, status.replicas),
        (if status.done { "yes" } else { "no" }).to_owned(),
        status.message.clone(),
    ]);
    output::answer(output.format(), &table, status)
}

async fn history(client: &Client, service: &str, output: OutputArgs) -> Outcome {
    let revisions: Vec<Revision> = client.get(&["services", service, "rollout", "history"], &[]).await?;
    let mut table = Table::new(&["REVISION", "TIME", "CURRENT", "CHANGE"]);
    for revision in &revisions {
        let current = if revision.current { "yes" } else { "" };
        let time = revision.time.clone().unwrap_or_default();
        table.row(vec![revision.revision.to_string(), time, current.to_owned(), revision.change.clone()]);
    }
    output::answer(output.format(), &table, &revisions)
}
