//! The commands: this registry, and a file for each.

mod apply;
mod data;
mod explain;
mod get;
mod internal;
mod parts;
mod plan;
mod service;
mod up;
mod validate;

use std::io::IsTerminal;

use crate::outcome::{Failure, Outcome};

/// What `sos` can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Load every manifest under a folder, start what they declare, run the loop
    Up(Box<up::Args>),
    /// Check manifests: every problem at once
    Validate(validate::Args),
    /// Say what a kind or field is, its unit, range and default
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of a kind
    Schema(explain::SchemaArgs),
    /// Declare resources on a running server
    Apply(apply::ApplyArgs),
    /// Show what an apply would change
    Diff(apply::DiffArgs),
    /// List resources
    Get(get::GetArgs),
    /// Everything about one resource, with the decisions taken and why
    Describe(get::OneArgs),
    /// Delete a resource and what runs for it
    Delete(get::OneArgs),
    /// What happened
    Events(get::EventArgs),
    /// Captured output of a service
    Logs(service::LogArgs),
    /// Set the number of replicas of a service
    Scale(service::ScaleArgs),
    /// How far a change of a service is; return to an earlier one
    #[command(subcommand)]
    Rollout(service::Rollout),
    /// What services use
    Top(service::TopArgs),
    /// The schedule of a site in force, with reasons
    Plan(plan::Args),
    /// The record of every command
    #[command(subcommand)]
    Audit(data::Audit),
    /// Write a consistent copy of a data directory
    Backup(data::BackupArgs),
    /// Make a data directory from a backup
    Restore(data::RestoreArgs),
    /// Values in the encrypted store
    #[command(subcommand)]
    Secret(data::Secret),
    /// Access tokens
    #[command(subcommand)]
    Token(data::Token),
    /// A device that is played, for trials and tests
    #[command(subcommand)]
    Device(parts::Device),
    /// An adapter between the engine and field devices
    #[command(subcommand)]
    Adapter(parts::Adapter),
    /// A batch job that uses real power, for trials and tests
    #[command(subcommand)]
    Job(parts::Job),
    #[command(subcommand, hide = true)]
    Internal(internal::Internal),
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Up(args) => up::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Schema(args) => explain::schema(&args),
        Command::Apply(args) => apply::apply(&args),
        Command::Diff(args) => apply::diff(&args),
        Command::Get(args) => get::get(&args),
        Command::Describe(args) => get::describe(&args),
        Command::Delete(args) => get::delete(&args),
        Command::Events(args) => get::list_events(&args),
        Command::Logs(args) => service::logs(&args),
        Command::Scale(args) => service::scale(&args),
        Command::Rollout(rollout) => service::rollout(&rollout),
        Command::Top(args) => service::top(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Audit(audit) => data::audit(&audit),
        Command::Backup(args) => data::backup(&args),
        Command::Restore(args) => data::restore(&args),
        Command::Secret(secret) => data::secret(&secret),
        Command::Token(token) => data::token(&token),
        Command::Device(device) => parts::device(device),
        Command::Adapter(adapter) => parts::adapter(adapter),
        Command::Job(job) => parts::job(job),
        Command::Internal(internal) => internal::run(&internal),
    }
}

/// Runs async work on one thread: enough for a client or a device.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::unsuccessful(format!("no runtime: {error}")))?.block_on(work)
}

/// Logs go to stderr: `SOS_LOG` chooses what (`info`, `sos_engine=debug` …), `SOS_LOG_FORMAT=json` how.
pub(crate) fn start_logging(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("SOS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = builder.with_ansi(colour);
    let set = match std::env::var("SOS_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().try_init(),
        _ => builder.with_target(false).try_init(),
    };
    // A second start within one process keeps the first.
    drop(set);
}
