//! `sos backup` and `sos restore`.

use std::path::PathBuf;

use super::data_dir::{DataDir, store_failure};
use crate::outcome::Outcome;
use crate::{output, words};

/// Arguments of `sos backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist yet. It holds the key of the secrets too: keep it safe
    file: PathBuf,
    #[command(flatten)]
    data: DataDir,
}

/// Arguments of `sos restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    data: DataDir,
    /// Replace a data directory that is not empty; what it held is moved beside it
    #[arg(long)]
    force: bool,
}

/// Writes a backup, also while a server uses the data directory.
pub(crate) fn backup(args: &BackupArgs) -> Outcome {
    let store = args.data.open_read_only()?;
    let summary = store.backup(&args.file).map_err(store_failure)?;
    output::text(&format!(
        "{}: {}, {} audit entries\n",
        args.file.display(),
        words::bytes(summary.bytes as f64),
        summary.audit.entries
    ))
}

/// Puts a backup in place of a data directory that nobody uses.
pub(crate) fn restore(args: &RestoreArgs) -> Outcome {
    let summary = sos_store::restore(&args.file, args.data.path(), args.force).map_err(store_failure)?;
    output::text(&format!(
        "{} was restored to {}: {} audit entries\n",
        args.file.display(),
        args.data.path().display(),
        summary.audit.entries
    ))?;
    if let Some(replaced) = summary.replaced {
        output::note(format!("what was there is now in {}", replaced.display()));
    }
    Ok(())
}
