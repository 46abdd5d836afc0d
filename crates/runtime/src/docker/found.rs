//! What the daemon says there is.

use std::collections::BTreeMap;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum as State};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
};
use futures::TryStreamExt;
use jiff::Timestamp;

use super::daemon::{Daemon, Fault, LOOK, unless_missing};
use super::names::{LAUNCH, REPLICA, filter};
use crate::Exit;

/// Codes above this one stand for signals.
const SIGNALS: i64 = 128;
const SIGKILL: i64 = 9;

/// A container of the data directory.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) life: Life,
    /// Whether its image brings a health check.
    pub(super) checked: bool,
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Made and never started.
    Made,
    Runs,
    Ended,
}

impl Found {
    fn of(summary: ContainerSummary) -> Option<Self> {
        let life = match summary.state {
            Some(State::CREATED) => Life::Made,
            Some(State::EXITED | State::DEAD | State::REMOVING) => Life::Ended,
            _ => Life::Runs,
        };
        // Older daemons say it in words only: "Up 5 minutes (healthy)".
        let words = summary.status.unwrap_or_default();
        let checked = words.ends_with("healthy)") || words.ends_with("(health: starting)");
        let labels = summary.labels.unwrap_or_default().into_iter().collect();
        Some(Self { id: summary.id?, labels, life, checked })
    }

    pub(super) fn replica(&self) -> &str {
        self.labels.get(REPLICA).map_or("", String::as_str)
    }

    /// Whether it is of a certain start of a replica.
    pub(super) fn is_of(&self, replica: &str, launch: &str) -> bool {
        self.replica() == replica && self.labels.get(LAUNCH).is_some_and(|label| label == launch)
    }
}

/// All containers of a data directory.
pub(super) async fn list(daemon: &Daemon, instance: &str) -> Result<Vec<Found>, Fault> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter(instance)).build();
    let look = |docker: Docker| async move { docker.list_containers(Some(options)).await };
    Ok(daemon.ask(LOOK, look).await?.into_iter().filter_map(Found::of).collect())
}

/// All about one container, or that it is gone.
pub(super) async fn inspect(daemon: &Daemon, id: &str) -> Result<Option<ContainerInspectResponse>, Fault> {
    let id = id.to_owned();
    let look =
        |docker: Docker| async move { docker.inspect_container(&id, None::<InspectContainerOptions>).await };
    unless_missing(daemon.ask(LOOK, look).await)
}

/// How a container ended. An end by a signal is told by the daemon as code 128 + signal, as shells do.
pub(super) fn exit_of(inspected: &ContainerInspectResponse) -> Exit {
    let Some(state) = &inspected.state else { return Exit::Unknown };
    let code = match state.exit_code {
        _ if state.oom_killed == Some(true) && state.exit_code != Some(0) => return Exit::OutOfMemory,
        Some(code) => code,
        None => return Exit::Unknown,
    };
    match (code - SIGNALS, i32::try_from(code)) {
        (1..=64, Ok(code)) => Exit::Signal(code - SIGNALS as i32),
        (_, Ok(code)) => Exit::Code(code),
        (_, Err(_)) => Exit::Unknown,
    }
}

pub(super) fn was_killed(exit: &Exit) -> bool {
    *exit == Exit::Signal(SIGKILL as i32)
}

/// Whether somebody asked the daemon to kill a container between two times.
pub(super) async fn somebody_killed(
    daemon: &Daemon,
    id: &str,
    since: Timestamp,
    until: Timestamp,
) -> Result<bool, Fault> {
    let wanted = [("container", vec![id.to_owned()]), ("event", vec!["kill".to_owned()])];
    let wanted = wanted.map(|(key, value)| (key.to_owned(), value)).into();
    // What was done at the time of the look has to be in it; the daemon answers when that second is over.
    let options = EventsOptionsBuilder::new()
        .since(&(since.as_second() - 1).to_string())
        .until(&(until.as_second() + 1).to_string())
        .filters(&wanted)
        .build();
    let look = |docker: Docker| async move { docker.events(Some(options)).try_collect::<Vec<_>>().await };
    Ok(!daemon.ask(LOOK, look).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_of_processes() {
        let exit = |state: &str| exit_of(&serde_json::from_str(&format!(r#"{{"State":{state}}}"#)).unwrap());
        assert_eq!(exit(r#"{"ExitCode":0}"#), Exit::Code(0));
        assert_eq!(exit(r#"{"ExitCode":7,"OOMKilled":false}"#), Exit::Code(7));
        assert_eq!(exit(r#"{"ExitCode":143}"#), Exit::Signal(15));
        assert_eq!(exit(r#"{"ExitCode":137,"OOMKilled":true}"#), Exit::OutOfMemory);
        // A part of it was killed and it ended well all the same.
        assert_eq!(exit(r#"{"ExitCode":0,"OOMKilled":true}"#), Exit::Code(0));
        assert_eq!(exit(r#"{"ExitCode":255}"#), Exit::Code(255));
        assert_eq!(exit("{}"), Exit::Unknown);
    }

    #[test]
    fn a_health_check_is_seen_in_the_words_of_older_daemons() {
        let checked = |status: &str| {
            let text = format!(r#"{{"Id":"x","State":"running","Status":"{status}"}}"#);
            Found::of(serde_json::from_str(&text).unwrap()).unwrap().checked
        };
        assert!(checked("Up 5 minutes (healthy)") && checked("Up 1 second (health: starting)"));
        assert!(
            checked("Up 5 minutes (unhealthy)")
                && !checked("Up 5 minutes")
                && !checked("Up 5 minutes (Paused)")
        );
    }
}
