//! Stopping, forgetting, and taking over what an earlier `sos` left.

use std::collections::BTreeSet;
use std::path::Path;

use bollard::Docker;
use bollard::query_parameters::KillContainerOptionsBuilder;
use jiff::{SignedDuration, Timestamp};
use tokio::task::spawn_blocking;

use super::Record;
use super::daemon::CHANGE;
use super::names::network_name;
use super::start;
use super::worker::Worker;
use crate::shared::{file_error, recorded, remove_if_there};
use crate::{ContainerNetwork, DriverError, Phase, RecoveryReport};

impl Worker {
    pub(super) async fn stop(
        &self,
        replica: &str,
        grace: SignedDuration,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        self.end(replica, now, |phase| match phase {
            Phase::Running => Some(Phase::Stopping { since: now, grace, cause: cause.into(), killed: false }),
            _ => None,
        })
        .await
    }

    pub(super) async fn kill(&self, replica: &str, now: Timestamp) -> Result<(), DriverError> {
        self.end(replica, now, |phase| {
            let (since, grace, cause) = match phase {
                Phase::Stopping { since, grace, cause, .. } => (*since, *grace, cause.clone()),
                _ => (now, SignedDuration::ZERO, "killed".to_owned()),
            };
            Some(Phase::Stopping { since, grace, cause, killed: true })
        })
        .await
    }

    /// Notes the request first: whoever dies before it was sent leaves it to the next look.
    async fn end(
        &self,
        replica: &str,
        now: Timestamp,
        next: impl FnOnce(&Phase) -> Option<Phase>,
    ) -> Result<(), DriverError> {
        let mut state = self.state.lock().await;
        if state.records.get(replica).is_some_and(|record| record.phase == Phase::Starting) {
            self.look(&mut state, now, &mut RecoveryReport::default()).await?;
        }
        let Some(record) = state.records.get_mut(replica).filter(|record| record.is_live()) else {
            return Ok(());
        };
        let Some(phase) = next(&record.phase) else { return Ok(()) };
        record.phase = phase;
        record.own.signalled = false;
        self.save(record).await;
        self.signal(record).await
    }

    /// Sends the signal of a request to stop.
    pub(super) async fn signal(&self, record: &mut Record) -> Result<(), DriverError> {
        let Some(id) = record.own.container.clone() else { return Ok(()) };
        let killed = matches!(record.phase, Phase::Stopping { killed: true, .. });
        let name = if killed { "SIGKILL" } else { record.own.stop_signal.as_deref().unwrap_or("SIGTERM") };
        let options = KillContainerOptionsBuilder::new().signal(name).build();
        let send = |docker: Docker| async move { docker.kill_container(&id, Some(options)).await };
        match self.daemon.ask(CHANGE, send).await {
            Ok(()) => {}
            // It has ended or is gone: the next look says how.
            Err(fault) if fault.is_missing() || fault.is_conflict() => {}
            Err(fault) => return Err(self.daemon.error("signal a container", fault)),
        }
        record.own.signalled = true;
        self.save(record).await;
        Ok(())
    }

    pub(super) async fn adopt(&self, replica: &str, generation: u64) -> Result<(), DriverError> {
        let mut state = self.state.lock().await;
        let record =
            state.records.get_mut(replica).ok_or_else(|| DriverError::Unknown(replica.to_owned()))?;
        record.deployment_mut().generation = generation;
        self.write(record).await
    }

    pub(super) async fn forget(&self, replica: &str) -> Result<(), DriverError> {
        let mut state = self.state.lock().await;
        if state.records.get(replica).is_some_and(Record::is_live) {
            return Err(DriverError::StillRunning(replica.into()));
        }
        state.promised.remove(replica);
        let Some(record) = state.records.get(replica).cloned() else { return Ok(()) };
        let Phase::Exited { at, .. } = record.phase else { return Ok(()) };
        self.clear(&mut state, &record, at).await?;
        state.copies.forget(replica, None).await;
        let cursor = self.cursor_path(replica);
        let lock = cursor.with_extension("cursor.lock");
        for path in [self.record_path(replica), cursor, lock] {
            remove_if_there(&path)?;
        }
        state.records.remove(replica);
        let needed = state.records.values().filter_map(|record| record.deployment.container.as_ref());
        let needed = needed.map(|container| network_name(&self.instance, &container.network)).collect();
        let made = record.deployment.container.as_ref().is_some_and(|container| {
            !matches!(container.network, ContainerNetwork::Host | ContainerNetwork::Off)
        });
        if made {
            start::remove_networks(&self.daemon, &self.instance, &needed).await;
        }
        Ok(())
    }

    pub(super) async fn recover(&self, now: Timestamp) -> Result<RecoveryReport, DriverError> {
        let mut state = self.state.lock().await;
        let mut report = RecoveryReport::default();
        let run = self.run.clone();
        let loaded = spawn_blocking(move || load(&run)).await;
        let loaded = loaded.unwrap_or_else(|error| Err(DriverError::Worker(error.to_string())))?;
        report.unreadable = loaded.unreadable;
        let before: BTreeSet<String> = loaded
            .records
            .iter()
            .filter(|record| record.is_live())
            .map(|r| r.deployment.replica.clone())
            .collect();
        for mut record in loaded.records {
            // The request may have been recorded and not sent.
            record.own.signalled = false;
            state.records.insert(record.deployment.replica.clone(), record);
        }
        match self.look(&mut state, now, &mut report).await {
            Ok(_) => {}
            // Nothing is known that could be there.
            Err(DriverError::Daemon { why, .. }) if state.records.is_empty() => {
                tracing::debug!(socket = %self.daemon.socket().display(), why, "no containers to take over");
            }
            Err(error) => return Err(error),
        }
        for (replica, record) in &state.records {
            if record.is_live() {
                report.adopted.push(replica.clone());
            } else if before.contains(replica) {
                report.ended.push(replica.clone());
            }
        }
        Ok(report)
    }
}

/// What is left of an earlier `sos`.
struct Loaded {
    records: Vec<Record>,
    unreadable: Vec<String>,
}

fn load(run: &Path) -> Result<Loaded, DriverError> {
    let mut loaded = Loaded { records: vec![], unreadable: vec![] };
    for replica in recorded(run)? {
        let path = run.join(format!("{replica}.json"));
        match Record::load(&path, &replica) {
            Ok(record) => loaded.records.push(record),
            Err(why) => {
                loaded.unreadable.push(format!("{}: {why}", path.display()));
                let aside = run.join(format!("{replica}.json.invalid"));
                std::fs::rename(&path, &aside).map_err(file_error("set aside", &path))?;
            }
        }
    }
    Ok(loaded)
}
