//! Asking the daemon: its connection, the time an answer may take, and what its refusals mean.

use std::error::Error as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::DriverError;

/// How long a look may take: others wait behind it.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// How long a change may take: making a container writes files, starting one makes networks and mounts.
pub(super) const CHANGE: Duration = Duration::from_secs(60);

/// The daemon behind a socket. Being away is a state of it: it is connected to when it is asked.
#[derive(Debug)]
pub(super) struct Daemon {
    socket: PathBuf,
    /// The connection with the version of the interface that both sides know.
    known: Mutex<Option<Docker>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The daemon cannot be asked, or its answer did not come: what was asked may have happened.
    Away(String),
    /// It answered with a refusal.
    Refused {
        /// The status of the answer; 0 when the refusal came later.
        status: u16,
        /// Its words.
        message: String,
    },
}

impl Fault {
    /// What was asked about does not exist.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// What was asked for is so already, or contradicts what is.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    pub(super) fn of(error: &Error) -> Self {
        match error {
            // It is shutting down.
            Error::DockerResponseServerError { status_code: 503, message } => Self::Away(message.clone()),
            Error::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: *status_code, message: message.clone() }
            }
            Error::DockerStreamError { error } => Self::Refused { status: 0, message: error.clone() },
            Error::JsonDataError { message, .. } => {
                Self::Refused { status: 0, message: format!("an answer that is not understood: {message}") }
            }
            Error::SocketNotFoundError(_) => Self::Away("there is no such socket".into()),
            other => Self::Away(full(other)),
        }
    }
}

impl Daemon {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, known: Mutex::default() }
    }

    /// Asks for something that is to be answered within `time`.
    pub(super) async fn ask<T, F>(&self, time: Duration, what: impl FnOnce(Docker) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let asked = async {
            let docker = self.connected().await?;
            what(docker).await
        };
        let result = match tokio::time::timeout(time, asked).await {
            Ok(result) => result.map_err(|error| Fault::of(&error)),
            Err(_) => Err(Fault::Away(format!("no answer within {} s", time.as_secs()))),
        };
        if matches!(result, Err(Fault::Away(_))) {
            // The one that comes back may know other versions.
            *self.lock() = None;
        }
        result
    }

    /// The connection, for what goes on for longer.
    pub(super) async fn connection(&self) -> Result<Docker, Fault> {
        self.ask(LOOK, |docker| async { Ok(docker) }).await
    }

    async fn connected(&self) -> Result<Docker, Error> {
        if let Some(docker) = self.lock().clone() {
            return Ok(docker);
        }
        let path = self.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, CHANGE.as_secs(), API_DEFAULT_VERSION)?;
        let docker = docker.negotiate_version().await?;
        *self.lock() = Some(docker.clone());
        Ok(docker)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Docker>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a caller of the driver is told.
    pub(super) fn error(&self, what: &'static str, fault: Fault) -> DriverError {
        match fault {
            Fault::Away(why) => DriverError::Daemon { socket: self.socket.clone(), why },
            Fault::Refused { message, .. } => DriverError::Refused { what, why: message },
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Takes "it is not there" for an answer.
pub(super) fn unless_missing<T>(result: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// An error with its causes.
fn full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some name their cause themselves.
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_away_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let daemon = Daemon::new(socket.clone());
        let look = |docker: Docker| async move { docker.ping().await };
        let fault = daemon.ask(LOOK, look).await.unwrap_err();
        assert_eq!(fault, Fault::Away("there is no such socket".into()));
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let fault = daemon.ask(LOOK, look).await.unwrap_err();
        let message = daemon.error("be asked", fault).to_string();
        assert!(message.contains("docker.sock") && message.contains("refused"), "{message}");
        assert!(message.contains("start it"), "{message}");
        // Somebody listens and never answers.
        std::fs::remove_file(&socket).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let fault = daemon.ask(Duration::from_millis(50), look).await.unwrap_err();
        assert!(matches!(&fault, Fault::Away(why) if why.contains("no answer")), "{fault:?}");
    }
}
