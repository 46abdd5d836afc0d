//! `sos audit`: the record of commands.

use sos_store::{StoreError, verify_audit};

use super::data_dir::{DataDir, store_failure};
use crate::outcome::{Failure, Outcome};
use crate::output;

/// The record of commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Audit {
    /// Check that the record of commands is complete and unchanged, also while the server is stopped
    Verify {
        #[command(flatten)]
        data: DataDir,
    },
}

/// Runs it.
pub(crate) fn run(audit: &Audit) -> Outcome {
    let Audit::Verify { data } = audit;
    match verify_audit(data.existing()?) {
        Ok(found) => output::text(&format!(
            "the audit record is unchanged: {} entries, last hash {}\n",
            found.entries, found.last_hash
        )),
        Err(StoreError::Audit(bad)) => {
            output::text(&format!("the first bad entry is {}: {}\n", bad.seq, bad.why))?;
            Err(Failure::unsuccessful(format!(
                "the audit record in {} was changed: {bad}",
                data.path().display()
            )))
        }
        Err(error) => Err(store_failure(error)),
    }
}
