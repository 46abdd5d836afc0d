//! Commands that work on a data directory itself, with the server stopped or running.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sos_engine::clock::wall_now;
use sos_store::{AuditEntry, Options, Store, StoreError};

use crate::outcome::{Failure, causes};

/// Which data directory.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DataDir {
    /// The data directory
    #[arg(long, global = true, value_name = "DIR", default_value = ".sos")]
    data_dir: PathBuf,
}

impl DataDir {
    /// The directory, there or not.
    pub(crate) fn path(&self) -> &Path {
        &self.data_dir
    }

    /// The directory, which has to hold a store.
    pub(crate) fn existing(&self) -> Result<&Path, Failure> {
        let store = self.data_dir.join("sos.db");
        match std::fs::metadata(&store) {
            Ok(_) => Ok(&self.data_dir),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::input(format!(
                "there is no data directory at {}: run this in the folder that `sos up` runs, or give --data-dir",
                self.data_dir.display()
            ))),
            Err(error) => Err(refused(&error, format!("cannot read {}: {error}", store.display()))),
        }
    }

    /// The store for writing; made when there is none yet.
    pub(crate) fn open_or_create(&self) -> Result<Store, Failure> {
        Store::open(&self.data_dir, Options::default()).map_err(store_failure)
    }

    /// The store for writing, which has to be there.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        Store::open(self.existing()?, Options::default()).map_err(store_failure)
    }

    /// The store for reading.
    pub(crate) fn open_read_only(&self) -> Result<Store, Failure> {
        Store::open_read_only(self.existing()?).map_err(store_failure)
    }
}

fn refused(error: &std::io::Error, text: String) -> Failure {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        Failure::NotPermitted(text)
    } else {
        Failure::Unsuccessful(text)
    }
}

/// What the store refuses, as the command ends.
pub(crate) fn store_failure(error: StoreError) -> Failure {
    let text = causes(&error);
    match error {
        StoreError::Invalid { .. } => Failure::input(text),
        StoreError::Io { source, .. } => refused(&source, text),
        _ => Failure::Unsuccessful(text),
    }
}

/// An audit entry of a command that was given on this machine, beside the server.
pub(crate) fn local_entry(what: &str, target: String, after: Option<Value>) -> AuditEntry {
    let uid = std::fs::metadata("/proc/self").map(|own| own.uid());
    AuditEntry {
        time: wall_now(),
        who: uid.map_or_else(|_| "local user".to_owned(), |uid| format!("local user {uid}")),
        what: what.to_owned(),
        target,
        why: "asked for on the command line".to_owned(),
        before: None,
        after,
    }
}
