//! `sos subscribe`: events of a channel as they come.

use std::io::Write as _;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use sos_api::wire::{EventOutcome, EventPage, HandedEvent, SettledEvent};

use super::block_on;
use crate::client::{Body, Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output;

/// Seconds that the server waits for the next event before it answers that there is none.
const WAIT: f64 = 20.0;
/// Events that are asked for at once.
const AT_ONCE: usize = 100;

/// Arguments of `sos subscribe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the channel
    channel: String,
    /// Hear as one of this group: each event goes to one of its members, and is not given again once it is done
    #[arg(long)]
    group: Option<String>,
    /// Where to begin: earliest, latest, a position, or a time (RFC 3339). With --group this moves the group
    /// [default: latest; with --group where it is, a new one at the earliest]
    #[arg(long, value_name = "POINT")]
    from: Option<String>,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    max: Option<usize>,
    /// Stop when there are no more for now
    #[arg(long)]
    no_follow: bool,
    /// Run this for each event, with the event on stdin; an exit code but 0 means that it failed and comes again
    #[arg(long, value_name = "COMMAND", requires = "group")]
    exec: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints each event as a line of JSON, or has a command work on it.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        match &args.group {
            None => look(args, &client).await,
            Some(group) => work(args, &client, group).await,
        }
    })
}

/// Reads without taking anything from anybody.
async fn look(args: &Args, client: &Client) -> Outcome {
    let mut from = args.from.clone().unwrap_or_else(|| "latest".to_owned());
    let mut left = args.max.unwrap_or(usize::MAX);
    while left > 0 {
        let wait = if args.no_follow { 0.0 } else { WAIT };
        let query = [("from", from), ("limit", left.min(AT_ONCE).to_string()), ("wait", wait.to_string())];
        let page: EventPage = client.get(&["channels", &args.channel, "events"], &query).await?;
        for one in &page.events {
            print(&one.event)?;
        }
        left -= page.events.len().min(left);
        if page.events.is_empty() && args.no_follow {
            break;
        }
        from = page.next.to_string();
    }
    Ok(())
}

/// Takes events for a group and settles them one by one.
async fn work(args: &Args, client: &Client, group: &str) -> Outcome {
    let path = |last: &'static str| ["channels", &args.channel, "groups", group, last];
    if let Some(from) = &args.from {
        let group = ["channels", &args.channel, "groups", group];
        let _moved: Value =
            client.send(Method::PUT, &group, &[], Body::Json(json!({ "from": from }))).await?;
    }
    let mut left = args.max.unwrap_or(usize::MAX);
    while left > 0 {
        // What a command works on is taken one by one, so that no other event's time runs out meanwhile.
        let max = if args.exec.is_some() { 1 } else { left.min(AT_ONCE) };
        let wait = if args.no_follow { 0.0 } else { WAIT };
        let wish = Body::Json(json!({ "max": max, "waitSeconds": wait }));
        let handed: Vec<HandedEvent> = client.send(Method::POST, &path("take"), &[], wish).await?;
        if handed.is_empty() && args.no_follow {
            break;
        }
        let settled = handed.iter().map(|one| outcome(args, one)).collect::<Result<Vec<_>, _>>()?;
        left -= settled.len().min(left);
        let _nothing: Value =
            client.send(Method::POST, &path("settle"), &[], Body::Json(json!(settled))).await?;
    }
    Ok(())
}

fn outcome(args: &Args, one: &HandedEvent) -> Result<SettledEvent, Failure> {
    let failed = match &args.exec {
        None => {
            print(&one.event)?;
            None
        }
        Some(command) => execute(command, one).err(),
    };
    if let Some(reason) = &failed {
        output::note(format!("position {}, attempt {}: {reason}", one.position, one.attempt));
    }
    let outcome = if failed.is_none() { EventOutcome::Done } else { EventOutcome::Failed };
    Ok(SettledEvent { position: one.position, attempt: one.attempt, outcome, reason: failed })
}

/// Runs a command by the shell; what it prints goes where ours goes.
fn execute(command: &str, one: &HandedEvent) -> Result<(), String> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("SOS_EVENT_POSITION", one.position.to_string())
        .env("SOS_EVENT_ATTEMPT", one.attempt.to_string())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("sh cannot be started: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input may still have done its work.
        let _ = writeln!(stdin, "{}", one.event);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("the command ended with {status}")) }
}

fn print(event: &Value) -> Outcome {
    output::text(&format!("{event}\n"))
}
