//! The commands: this registry, and a file for each.

mod internal;
mod parts;
mod up;

use crate::outcome::{Failure, Outcome};

/// What `sos` can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Load every manifest under a folder, start what they declare, run the loop
    Up(Box<up::Args>),
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
    let set = match std::env::var("SOS_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().try_init(),
        _ => builder.with_target(false).try_init(),
    };
    // A second start within one process keeps the first.
    drop(set);
}
