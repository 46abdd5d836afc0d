//! `sos start`, `sos cancel`, `suspend`, `resume`, `retry`, `signal`, `tasks`: runs of workflows on a server, and what they ask of people.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sos_api::wire::{RunBegun, RunOrder, RunOrdered};
use sos_model::read_duration;

use super::{block_on, run};
use crate::client::{Body, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, OutputArgs, Table};

/// Arguments of `sos start`.
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// Name of the workflow
    workflow: String,
    /// Its input: JSON, @FILE (YAML or JSON), or - for stdin [default: an empty object]
    #[arg(long, short, value_name = "JSON")]
    input: Option<String>,
    /// Start it once only, however often this is repeated with the same key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A label of the run, also several times
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Wait for its end, at most so long, up to 5 min; its output is printed
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "5 min", value_parser = waiting)]
    wait: Option<Duration>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of an order to runs.
#[derive(Debug, clap::Args)]
pub(crate) struct OrderArgs {
    /// Names of the runs
    names: Vec<String>,
    /// All whose labels match, e.g. tier=test
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "names")]
    selector: Option<String>,
    /// All in this state, also several times
    #[arg(long, value_name = "STATE", conflicts_with = "names")]
    state: Vec<String>,
    /// All of this workflow
    #[arg(long, value_name = "NAME", conflicts_with = "names")]
    workflow: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos signal`.
#[derive(Debug, clap::Args)]
pub(crate) struct SignalArgs {
    /// Name of the run
    run: String,
    /// Type of the event
    event: String,
    /// Its data: JSON
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos tasks`.
#[derive(Debug, clap::Args)]
pub(crate) struct TasksArgs {
    #[command(subcommand)]
    command: Option<TaskCommand>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What can be done about a task.
#[derive(Debug, clap::Subcommand)]
enum TaskCommand {
    /// Say that you will do it
    Claim(TaskArgs),
    /// Say that it is done, with data that fits its form
    Complete {
        #[command(flatten)]
        task: TaskArgs,
        /// What it gives: JSON, @FILE (YAML or JSON), or - for stdin [default: an empty object]
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
    /// Say that it cannot be done; the step that asked for it fails
    Refuse {
        #[command(flatten)]
        task: TaskArgs,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// A task.
#[derive(Debug, clap::Args)]
struct TaskArgs {
    /// Its number
    id: String,
}

fn waiting(text: &str) -> Result<Duration, String> {
    let wait = read_duration(text)?;
    let wait = Duration::try_from(wait).map_err(|_| "expected 0 s or more".to_owned())?;
    if wait > Duration::from_mins(5) { Err("expected at most 5 min".to_owned()) } else { Ok(wait) }
}

/// Starts a run.
pub(crate) fn start(args: &StartArgs) -> Outcome {
    let mut labels = BTreeMap::new();
    for text in &args.label {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::input("--label: expected NAME=VALUE"));
        };
        labels.insert(name.to_owned(), value.to_owned());
    }
    let wait = args.wait.unwrap_or_default();
    let body = json!({
        "input": run::input(args.input.as_deref())?,
        "key": args.key,
        "labels": labels,
        "waitSeconds": wait.as_secs_f64(),
    });
    let client = args.server.client()?;
    let begun: RunBegun = block_on(async {
        let path = ["workflows", &args.workflow, "runs"];
        client.send_within(Method::POST, &path, Body::Json(body), wait).await
    })?;
    if !begun.new {
        output::note(format!("a run with this key had begun before: {}", begun.name));
    }
    if let Some(fault) = &begun.fault {
        output::note(format!("run {}", begun.name));
        return Err(run::faulted(fault));
    }
    if let Some(result) = &begun.output {
        output::note(format!("run {}", begun.name));
        return output::text(&format!("{result}\n"));
    }
    if args.wait.is_some() {
        output::note("it has not ended yet; `sos get runs` shows how it stands");
    }
    let mut table = Table::new(&["RUN"]);
    table.row(vec![begun.name.clone()]);
    match args.output.or_text() {
        output::Format::Table => output::text(&format!("{}\n", begun.name)),
        format => output::answer(format, &table, &begun),
    }
}

/// Gives an order to runs.
pub(crate) fn order(order: &str, args: &OrderArgs) -> Outcome {
    if args.names.is_empty() && args.selector.is_none() && args.state.is_empty() && args.workflow.is_none() {
        return Err(Failure::input(
            "which runs? Give their names, or --workflow, --state or --selector".to_owned(),
        ));
    }
    let body = RunOrder {
        order: order.to_owned(),
        names: args.names.clone(),
        workflow: args.workflow.clone(),
        states: args.state.clone(),
        selector: args.selector.clone(),
    };
    let client = args.server.client()?;
    let ordered = block_on(async {
        let mut all = RunOrdered::default();
        loop {
            let next: RunOrdered = client.send(Method::POST, &["runs"], &[], Body::Json(json!(body))).await?;
            // What an order never fits would come again and again.
            let over = !next.more || next.done.is_empty();
            all.done.extend(next.done);
            all.passed.extend(next.passed);
            if over {
                return Ok::<_, Failure>(all);
            }
        }
    })?;
    for passed in &ordered.passed {
        output::note(format!("passed over: {}", passed.why));
    }
    if ordered.done.is_empty() {
        output::note("no run is meant");
    }
    let mut table = Table::new(&["RUN", "ORDER"]);
    for name in &ordered.done {
        table.row(vec![name.clone(), order.to_owned()]);
    }
    output::answer(args.output.format(), &table, &ordered)
}

/// Sends an event to a run.
pub(crate) fn signal(args: &SignalArgs) -> Outcome {
    let data: Option<Value> = match &args.data {
        None => None,
        Some(text) => Some(
            serde_json::from_str(text)
                .map_err(|error| Failure::input(format!("--data is no JSON: {error}")))?,
        ),
    };
    let client = args.server.client()?;
    let body = json!({ "type": args.event, "data": data });
    block_on(async {
        let path = ["runs", &args.run, "signal"];
        client.send::<Value>(Method::POST, &path, &[], Body::Json(body)).await.map(drop)
    })
}

/// Shows what people are asked to do, or does something about it.
pub(crate) fn tasks(args: &TasksArgs) -> Outcome {
    let client = args.server.client()?;
    let (id, body) = match &args.command {
        None => {
            let tasks: Vec<Value> = block_on(client.get(&["tasks"], &[]))?;
            if tasks.is_empty() {
                output::note("nobody is asked to do anything");
            }
            return output::answer(args.output.format(), &task_table(&tasks), &tasks);
        }
        Some(TaskCommand::Claim(task)) => (&task.id, json!({ "action": "claim" })),
        Some(TaskCommand::Complete { task, data }) => {
            (&task.id, json!({ "action": "complete", "data": run::input(data.as_deref())? }))
        }
        Some(TaskCommand::Refuse { task, reason }) => {
            (&task.id, json!({ "action": "refuse", "reason": reason }))
        }
    };
    block_on(async {
        client.send::<Value>(Method::POST, &["tasks", id], &[], Body::Json(body)).await.map(drop)
    })
}

fn task_table(tasks: &[Value]) -> Table {
    let mut table = Table::new(&["TASK", "TITLE", "FOR", "CLAIMED BY", "DUE", "WORKFLOW", "RUN"]);
    for task in tasks {
        let text = |part: &str, key: &str| task[part][key].as_str().unwrap_or_default().to_owned();
        let of = match (text("spec", "assignee"), text("spec", "role")) {
            (assignee, _) if !assignee.is_empty() => assignee,
            (_, role) if !role.is_empty() => format!("role {role}"),
            _ => "anybody".to_owned(),
        };
        table.row(vec![
            text("metadata", "name"),
            text("spec", "title"),
            of,
            text("status", "claimedBy"),
            text("status", "due"),
            text("spec", "workflow"),
            text("spec", "run"),
        ]);
    }
    table
}
