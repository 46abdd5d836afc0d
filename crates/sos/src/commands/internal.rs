//! Commands that `sos` runs of itself, in processes of their own.

use std::path::PathBuf;

use sos_engine::site::reference::{Period, perfect_case};
use sos_store::Store;

use crate::outcome::{Failure, Outcome};
use crate::output;

/// Work in a process of its own.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Internal {
    /// Computes the reference case `perfect` of a site from what was measured
    Perfect {
        /// The data directory
        #[arg(long)]
        data_dir: PathBuf,
        /// Name of the site
        #[arg(long)]
        site: String,
        /// Where the run began and ended, as JSON
        #[arg(long)]
        period: String,
    },
}

/// Runs it.
pub(crate) fn run(internal: &Internal) -> Outcome {
    let Internal::Perfect { data_dir, site, period } = internal;
    let period: Period =
        serde_json::from_str(period).map_err(|error| Failure::input(format!("period: {error}")))?;
    let store = Store::open_read_only(data_dir).map_err(Failure::unsuccessful)?;
    let mut prepared = sos_engine::sites::prepare(&store).map_err(Failure::unsuccessful)?;
    let prepared = prepared.remove(site).ok_or_else(|| Failure::input(format!("there is no site {site}")))?;
    let prepared = prepared.map_err(Failure::Unsuccessful)?;
    let case =
        perfect_case(&store, &prepared.model, &prepared.work, &period).map_err(Failure::Unsuccessful)?;
    output::json(&case)
}
