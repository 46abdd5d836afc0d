//! `sos validate`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::outcome::{Failure, Outcome};
use crate::output;

/// Arguments of `sos validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests, or folders of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Reads all manifests and the series they name, and lists every problem.
pub(crate) fn run(args: &Args) -> Outcome {
    let declared = sos_engine::folder::read(&args.paths, &[])
        .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
    let mut kinds = BTreeMap::new();
    for one in &declared {
        *kinds.entry(one.kind()).or_insert(0) += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    output::text(&format!("{} resources are valid: {}\n", declared.len(), kinds.join(", ")))
}
