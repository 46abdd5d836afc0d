//! The commands: this registry, and a file for each.

mod alerts;
mod apply;
mod audit;
mod backup;
mod call;
mod channels;
mod control;
mod data_dir;
mod delete;
mod describe;
mod events;
mod explain;
mod forecast;
mod generate;
mod get;
mod import;
mod internal;
mod logs;
mod optimize;
mod parts;
mod people;
mod plan;
mod publish;
mod query;
mod report;
mod resource;
mod rollout;
mod run;
mod runs;
mod scale;
mod secret;
mod subscribe;
mod token;
mod top;
mod up;
mod validate;
mod verify;

use crate::outcome::{Failure, Outcome};

/// What `sos` can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Load every manifest under a folder, start what they declare, run the loop
    Up(Box<up::Args>),
    /// Check manifests: every problem with file, line and column; no server needed
    Validate(validate::Args),
    /// Explain a kind or one of its fields; no server needed
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of a kind; no server needed
    Schema(explain::SchemaArgs),
    /// Declare the resources of manifests: all of them or none
    Apply(apply::ApplyArgs),
    /// Show what an apply would change; exit code 1 when that is something
    Diff(apply::DiffArgs),
    /// Show resources of a kind
    Get(get::Args),
    /// Tell everything about one resource, ending with the decisions taken and the reason for each
    Describe(describe::Args),
    /// Remove a resource and what runs for it
    Delete(delete::Args),
    /// Show what happened
    Events(events::Args),
    /// Print the log of a service
    Logs(logs::Args),
    /// Set how many replicas of a service run
    Scale(scale::Args),
    /// Look after the revisions of a service
    Rollout(rollout::Args),
    /// Show what services use
    Top(top::Args),
    /// Call an operation of a service, or list what can be called
    Call(Box<call::Args>),
    /// Declare a service or channels from the document that describes them; no server needed
    #[command(subcommand)]
    Import(Box<import::Import>),
    /// Print what would be deployed, or the rights that `sos` needs in a cluster; no server needed
    Generate(generate::Args),
    /// Publish events into a channel
    Publish(Box<publish::Args>),
    /// Hear events of a channel
    Subscribe(subscribe::Args),
    /// Show channels, who hears them, and what was put aside
    Channels(channels::Args),
    /// Show the schedule in force of a site, with reasons and binding limits
    Plan(plan::Args),
    /// Order a power of an asset up to an end, end such an order, or list them
    Override(people::OverrideArgs),
    /// Keep everything off an asset's device for maintenance, end that, or list it
    Hold(people::HoldArgs),
    /// Ask for series in PromQL
    Query(query::Args),
    /// Show what fires, look after it, test rules
    Alerts(alerts::Args),
    /// Show what a site cost, emitted and saved since its start
    Report(report::Args),
    /// Forecast a column of a CSV file, with quantiles; no server needed
    Forecast(Box<forecast::Args>),
    /// Plan a site as cheaply as can be, with a bound and reasons; no server needed
    Optimize(optimize::Args),
    /// Answer measurements on stdin with set-points on stdout, a JSON object a line; no server needed
    Control(control::Args),
    /// Run a workflow document to its end; no server needed
    Run(Box<run::Args>),
    /// Start a run of a workflow on the server
    Start(Box<runs::StartArgs>),
    /// End runs of workflows; what they did is undone as they say
    Cancel(runs::OrderArgs),
    /// Have runs of workflows rest until they are resumed
    Suspend(runs::OrderArgs),
    /// Have runs of workflows go on that rest
    Resume(runs::OrderArgs),
    /// Have runs of workflows go on that faulted, with the step that failed
    Retry(runs::OrderArgs),
    /// Send an event to a run of a workflow
    Signal(runs::SignalArgs),
    /// Show what runs ask people to do, and do it
    Tasks(runs::TasksArgs),
    /// Check a plan of `optimize` without the solver that made it; no server needed
    Verify(verify::Args),
    /// Check the record of commands
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Write everything of a data directory into one file
    Backup(backup::BackupArgs),
    /// Make a data directory from a backup
    Restore(backup::RestoreArgs),
    /// Keep secret values
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Say who may use the server
    #[command(subcommand)]
    Token(token::Token),
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
        Command::Get(args) => get::run(&args),
        Command::Describe(args) => describe::run(&args),
        Command::Delete(args) => delete::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Rollout(args) => rollout::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Import(import) => import::run(&import),
        Command::Generate(args) => generate::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Subscribe(args) => subscribe::run(&args),
        Command::Channels(args) => channels::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Override(args) => people::run_override(&args),
        Command::Hold(args) => people::run_hold(&args),
        Command::Query(args) => query::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Forecast(args) => forecast::run(&args),
        Command::Control(args) => control::run(&args),
        Command::Optimize(args) => optimize::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Start(args) => runs::start(&args),
        Command::Cancel(args) => runs::order("cancel", &args),
        Command::Suspend(args) => runs::order("suspend", &args),
        Command::Resume(args) => runs::order("resume", &args),
        Command::Retry(args) => runs::order("retry", &args),
        Command::Signal(args) => runs::signal(&args),
        Command::Tasks(args) => runs::tasks(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Audit(audit) => audit::run(&audit),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Secret(secret) => secret::run(&secret),
        Command::Token(token) => token::run(&token),
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

/// Logs of a command that runs for a while, on stderr.
pub(crate) fn start_logging(default: &str) {
    crate::logging::start(default, "off");
}
