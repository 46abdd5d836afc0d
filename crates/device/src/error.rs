//! Why a device or an adapter cannot run.

use std::io;

/// Why a device, a job or an adapter cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// An argument, an environment variable or a file is wrong; one line per problem.
    #[error("{0}")]
    BadInput(String),
    /// The machine refused something that is needed.
    #[error("cannot {action}")]
    Io {
        /// What was tried, e.g. "listen on 127.0.0.1:1502".
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl DeviceError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// The exit code of a process that ends with this error: 2 for bad input, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::BadInput(_) => 2,
            Self::Io { .. } => 1,
        }
    }
}
