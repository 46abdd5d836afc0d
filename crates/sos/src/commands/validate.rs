//! `sos validate`: every problem of a set of manifests, without a server.

use std::path::PathBuf;

use crate::outcome::{Failure, Outcome};
use crate::output;

/// Arguments of `sos validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files or folders with manifests
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Checks manifests, their references and the series files they name.
pub(crate) fn run(args: &Args) -> Outcome {
    let declared = sos_engine::folder::read(&args.paths, &[])
        .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
    let count = declared.len();
    output::text(&format!("{count} {} valid\n", if count == 1 { "resource is" } else { "resources are" }))
}
