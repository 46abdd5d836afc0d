//! `sos channels`: who hears what, how far behind, and what was put aside.

use reqwest::Method;
use serde_json::{Value, json};
use sos_api::wire::{ChannelView, DeadLetter, GroupView};

use super::block_on;
use crate::client::{Body, ServerArgs};
use crate::outcome::Outcome;
use crate::output::{self, OutputArgs, Table};

/// Arguments of `sos channels`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

/// What can be done about channels.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the events that were put aside, bring them back, or throw them away
    DeadLetters(DeadLetters),
    /// Move a group: what it has settled comes again, or what waits is left out
    Seek(Seek),
    /// Forget a group: nothing is kept for it any more
    Forget(Forget),
}

/// Arguments of the list.
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos channels dead-letters`.
#[derive(Debug, clap::Args)]
struct DeadLetters {
    /// Name of the channel
    channel: String,
    /// Ids of single ones [default: all]
    ids: Vec<u64>,
    /// Bring them back into the channel
    #[arg(long, conflicts_with = "discard")]
    redrive: bool,
    /// Throw them away
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos channels seek`.
#[derive(Debug, clap::Args)]
struct Seek {
    /// Name of the channel
    channel: String,
    /// Name of the group
    group: String,
    /// earliest, latest, a position, or a time (RFC 3339)
    from: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos channels forget`.
#[derive(Debug, clap::Args)]
struct Forget {
    /// Name of the channel
    channel: String,
    /// Name of the group
    group: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does it.
pub(crate) fn run(args: &Args) -> Outcome {
    match &args.command {
        None => list(&args.list),
        Some(Command::DeadLetters(args)) => dead_letters(args),
        Some(Command::Seek(args)) => seek(args),
        Some(Command::Forget(args)) => forget(args),
    }
}

fn list(args: &List) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let channels: Vec<ChannelView> = client.get(&["channels"], &[]).await?;
        let mut table = Table::new(&[
            "CHANNEL",
            "OVER",
            "STATE",
            "EVENTS",
            "DEAD",
            "GROUP",
            "LAG",
            "IN FLIGHT",
            "OLDEST",
        ]);
        for channel in &channels {
            let state = channel
                .problem
                .clone()
                .unwrap_or_else(|| if channel.connected { "connected" } else { "not connected" }.to_owned());
            let kept = if channel.first == 0 { 0 } else { channel.last + 1 - channel.first };
            let first = [
                channel.name.clone(),
                channel.over.clone(),
                state,
                kept.to_string(),
                channel.dead_letters.to_string(),
            ];
            let mut head = first.to_vec();
            for group in &channel.groups {
                let row = std::mem::replace(&mut head, vec![String::new(); 5]);
                table.row(row.into_iter().chain(cells(group)).collect());
            }
            if channel.groups.is_empty() {
                table.row(head.into_iter().chain(std::iter::repeat_n(String::new(), 4)).collect());
            }
        }
        if channels.is_empty() {
            output::note("no channel is declared");
        }
        output::answer(args.output.format(), &table, &channels)
    })
}

fn cells(group: &GroupView) -> [String; 4] {
    [
        group.name.clone(),
        group.lag.to_string(),
        group.in_flight.to_string(),
        group.oldest.clone().unwrap_or_default(),
    ]
}

fn dead_letters(args: &DeadLetters) -> Outcome {
    let client = args.server.client()?;
    let path = ["channels", &args.channel, "dead-letters"];
    block_on(async {
        if args.redrive || args.discard {
            let body = Body::Json(json!({ "ids": args.ids, "discard": args.discard }));
            let count: u64 = client.send(Method::POST, &path, &[], body).await?;
            let what = if args.discard { "thrown away" } else { "brought back" };
            return output::text(&format!("Channel/{}: {count} {what}\n", args.channel));
        }
        let mut letters: Vec<DeadLetter> = client.get(&path, &[]).await?;
        letters.retain(|letter| args.ids.is_empty() || args.ids.contains(&letter.id));
        let mut table = Table::new(&["ID", "TIME", "GROUP", "REASON", "EVENT"]);
        for letter in &letters {
            table.row(vec![
                letter.id.to_string(),
                letter.time.clone(),
                letter.group.clone().unwrap_or_default(),
                letter.reason.clone(),
                short(&letter.event),
            ]);
        }
        if letters.is_empty() {
            output::note("nothing was put aside");
        }
        output::answer(args.output.format(), &table, &letters)
    })
}

/// An event in a cell.
fn short(event: &Value) -> String {
    let text = event.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(79).chain(['…']).collect() }
}

fn seek(args: &Seek) -> Outcome {
    let client = args.server.client()?;
    let path = ["channels", &args.channel, "groups", &args.group];
    block_on(async {
        let body = Body::Json(json!({ "from": args.from }));
        let group: GroupView = client.send(Method::PUT, &path, &[], body).await?;
        output::text(&format!("Channel/{}: {} events wait for {}\n", args.channel, group.lag, group.name))
    })
}

fn forget(args: &Forget) -> Outcome {
    let client = args.server.client()?;
    let path = ["channels", &args.channel, "groups", &args.group];
    block_on(async {
        let _nothing: Value = client.send(Method::DELETE, &path, &[], Body::None).await?;
        output::text(&format!("Channel/{}: group {} forgotten\n", args.channel, args.group))
    })
}
