//! `sos rollout`.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use sos_api::wire::{Revision, RolloutOrder, RolloutStatus};

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
    /// Go no further with a rollout for now; a failure still leads back
    Pause {
        /// Name of the service
        service: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Go on with a rollout
    Resume {
        /// Name of the service
        service: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// End the present wait: the next step of a canary, the switch of blue/green
    Promote {
        /// Name of the service
        service: String,
        /// Skip all remaining steps, without judging them
        #[arg(long)]
        full: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Give a new revision up and bring the last good one back
    Abort {
        /// Name of the service
        service: String,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "no reason was given")]
        reason: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Try again what is declared, though it was given up or undone
    Retry {
        /// Name of the service
        service: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Bring an earlier revision back, until another one is declared
    Undo {
        /// Name of the service
        service: String,
        /// The revision to return to [default: the good one before the present]
        #[arg(long, value_name = "REVISION")]
        to: Option<u32>,
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
            What::Pause { service, output } => order(&client, service, &RolloutOrder::Pause, *output).await,
            What::Resume { service, output } => order(&client, service, &RolloutOrder::Resume, *output).await,
            What::Promote { service, full, output } => {
                order(&client, service, &RolloutOrder::Promote { full: *full }, *output).await
            }
            What::Abort { service, reason, output } => {
                order(&client, service, &RolloutOrder::Abort { reason: reason.clone() }, *output).await
            }
            What::Retry { service, output } => order(&client, service, &RolloutOrder::Retry, *output).await,
            What::Undo { service, to, output } => {
                order(&client, service, &RolloutOrder::Undo { to: *to }, *output).await
            }
            What::Restart { service, output } => {
                let path = ["services", service, "rollout", "restart"];
                show(&client.send(Method::POST, &path, &[], Body::None).await?, *output)
            }
        }
    })
}

async fn order(client: &Client, service: &str, order: &RolloutOrder, output: OutputArgs) -> Outcome {
    let path = ["services", service, "rollout"];
    show(&client.send(Method::POST, &path, &[], Body::Json(json!(order))).await?, output)
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
    let mut table =
        Table::new(&["SERVICE", "REVISION", "UPDATED", "READY", "TRAFFIC", "STEP", "DONE", "MESSAGE"]);
    table.row(vec![
        status.service.clone(),
        status.revision.to_string(),
        format!("{}/{}", status.updated, status.replicas),
        format!("{}/{}", status.ready, status.replicas),
        format!("{} %", status.weight),
        status.step.map_or_else(String::new, |(number, of)| format!("{number}/{of}")),
        (if status.done { "yes" } else { "no" }).to_owned(),
        status.message.clone(),
    ]);
    output::answer(output.format(), &table, status)
}

async fn history(client: &Client, service: &str, output: OutputArgs) -> Outcome {
    let revisions: Vec<Revision> = client.get(&["services", service, "rollout", "history"], &[]).await?;
    let mut table = Table::new(&["REVISION", "TIME", "CURRENT", "OUTCOME", "CHANGE", "REASON"]);
    for revision in &revisions {
        let current = if revision.current { "yes" } else { "" };
        table.row(vec![
            revision.revision.to_string(),
            revision.time.clone(),
            current.to_owned(),
            revision.outcome.clone(),
            revision.change.clone(),
            revision.reason.clone(),
        ]);
    }
    output::answer(output.format(), &table, &revisions)
}
