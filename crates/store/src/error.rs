//! What can go wrong in the store, as types a caller can act on.

use std::path::{Path, PathBuf};

/// Result of every method of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a call of the store did not succeed. When a call returns an error, nothing of it was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk, a quota or the configured size limit is exhausted. The call may be repeated once space is free.
    #[error("the data directory is full: free space on its disk or raise the size limit, then try again")]
    Full,
    /// Stored bytes cannot be what this program wrote.
    #[error("the store is damaged: {what}; restore a backup with `sos restore FILE`")]
    Corrupt {
        /// Which part is damaged and how.
        what: String,
    },
    /// Another connection held the write lock for longer than the busy time-out. The call may be repeated.
    #[error("the store is busy: another process kept it locked; try again")]
    Busy,
    /// Another process holds the data directory.
    #[error("the data directory is held by {}; stop it or use another --data-dir", holder(*.pid))]
    Locked {
        /// The process that holds it, when it could be read.
        pid: Option<u32>,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The resource or the status field belongs to someone else.
    #[error("{kind}/{name} is managed by `{owner}`: change it there, or take it over with --force")]
    Conflict {
        /// Kind of the resource.
        kind: String,
        /// Name of the resource.
        name: String,
        /// The manager (or, for a status field, the writer) that owns it.
        owner: String,
    },
    /// The resource changed since the caller read it.
    #[error(
        "{kind}/{name} has version {found} now, expected {expected}: read it again and repeat the change"
    )]
    VersionMismatch {
        /// Kind of the resource.
        kind: String,
        /// Name of the resource.
        name: String,
        /// The version the caller had read.
        expected: u64,
        /// The version stored now; 0 when the resource does not exist.
        found: u64,
    },
    /// There is no such thing.
    #[error("{what} does not exist")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The file was written by a newer program.
    #[error(
        "the store has schema {found}, this program knows up to {known}: use the newer `sos`, or restore a backup made by this one"
    )]
    NewerSchema {
        /// Schema number in the file.
        found: u32,
        /// Newest schema number this program knows.
        known: u32,
    },
    /// The file is older than this program and was opened for reading only.
    #[error("the store has schema {found}, this program needs {known}: start `sos up` once to migrate it")]
    OlderSchema {
        /// Schema number in the file.
        found: u32,
        /// Schema number that is needed.
        known: u32,
    },
    /// A schema change failed; the old file is untouched.
    #[error("migration to schema {version} failed; the old store is untouched")]
    Migration {
        /// Schema number that could not be reached.
        version: u32,
        /// Why.
        source: Box<StoreError>,
    },
    /// The audit record is not what was written.
    #[error("the audit record was changed: {0}; look with `sos audit verify`, then restore a backup")]
    Audit(crate::FirstBad),
    /// An argument is outside what is accepted.
    #[error("{what}")]
    Invalid {
        /// What was wrong and what was expected.
        what: String,
    },
    /// A channel holds as much as its consumers may leave unsettled. The call may be repeated once they have caught up.
    #[error(
        "channel {channel} is full: {found} {what} with this, {allowed} are allowed; let its consumers catch up, or raise the limit"
    )]
    Backlog {
        /// Name of the channel.
        channel: String,
        /// What there is too much of: `unsettled messages`, `bytes`, `dead letters`.
        what: &'static str,
        /// How much there would be.
        found: u64,
        /// How much is allowed.
        allowed: u64,
    },
    /// A query would read more samples than its caller allows.
    #[error(
        "the query would read at least {samples} samples, {allowed} are allowed: narrow its labels or its time"
    )]
    TooMany {
        /// How many were counted.
        samples: u64,
        /// How many are allowed.
        allowed: u64,
    },
    /// A secret cannot be decrypted: the key file is another one, or the ciphertext was changed.
    #[error("secret {name}/{key} cannot be decrypted: the file `key` of the data directory does not fit it")]
    Undecryptable {
        /// Name of the secret.
        name: String,
        /// Key within the secret.
        key: String,
    },
    /// The store was opened for reading only.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// An error injected by a test.
    #[error("injected fault")]
    Injected,
    /// Any other error of SQLite.
    #[error("the database reported an error")]
    Sqlite(#[source] rusqlite::Error),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}"))
}

impl StoreError {
    /// Whether the caller's request was at fault and the storage itself is sound. After any other error inside a
    /// transaction the whole transaction is rolled back.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::VersionMismatch { .. }
                | Self::NotFound { .. }
                | Self::Invalid { .. }
                | Self::Backlog { .. }
        )
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => Self::Full,
            _ => Self::Io { action, path, source },
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ffi::{self, ErrorCode};
        let rusqlite::Error::SqliteFailure(code, _) = &error else {
            return match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..) => Self::corrupt(error.to_string()),
                other => Self::Sqlite(other),
            };
        };
        match code.code {
            ErrorCode::DiskFull => Self::Full,
            // A write that fails for lack of space below a file-size limit arrives as a plain write error.
            ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_WRITE => Self::Full,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::corrupt(error.to_string()),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::ReadOnly => Self::ReadOnly,
            _ => Self::Sqlite(error),
        }
    }
}
