//! `sos alerts`: what fires, who looks after it, who is told.

mod handle;
mod list;
mod pack;
mod test;

use crate::client::ServerArgs;
use crate::outcome::Outcome;
use crate::output::OutputArgs;

/// Arguments of `sos alerts`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: list::Args,
}

/// What can be done about alerts.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the rules that are evaluated, with their health
    Rules(List),
    /// Say that you look after an alert: it is neither repeated nor escalated
    Ack(handle::Ack),
    /// Tell nobody of alerts that match, for a time
    Silence(handle::Silence),
    /// Show the silences
    Silences(List),
    /// End a silence
    Expire(handle::Expire),
    /// Show what was told to whom, and what waits
    Notifications(List),
    /// Run unit tests of rules in promtool's format; no server needed
    Test(test::Args),
    /// List the ready rules, or print those of one name; no server needed
    Pack(pack::Args),
    /// Print the runbook of a ready rule; no server needed
    Runbook(pack::Runbook),
}

/// Arguments of what only lists.
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does it.
pub(crate) fn run(args: &Args) -> Outcome {
    match &args.command {
        None => list::alerts(&args.list),
        Some(Command::Rules(args)) => list::rules(args),
        Some(Command::Ack(args)) => handle::acknowledge(args),
        Some(Command::Silence(args)) => handle::silence(args),
        Some(Command::Silences(args)) => list::silences(args),
        Some(Command::Expire(args)) => handle::expire(args),
        Some(Command::Notifications(args)) => list::notifications(args),
        Some(Command::Test(args)) => test::run(args),
        Some(Command::Pack(args)) => pack::pack(args),
        Some(Command::Runbook(args)) => pack::runbook(args),
    }
}
