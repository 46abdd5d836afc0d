//! Stopping, forgetting, and taking over what an earlier `sos` left.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::names::{DESCRIPTION, REPLICA, REVISION, deployment_name, selector};
use super::worker::{Link, State, Worker, held};
use super::{Own, Record};
use crate::kubernetes::PodState;
use crate::shared::{file_error, recorded, remove_if_there};
use crate::{Deployment, DriverError, Exit, OlderRuns, Phase, RecoveryReport};

impl Worker {
    pub(super) async fn stop(
        &self,
        replica: &str,
        grace: SignedDuration,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        self.end(replica, now, |phase| match phase {
            Phase::Running | Phase::Starting => {
                Some(Phase::Stopping { since: now, grace, cause: cause.into(), killed: false })
            }
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
        let Some(record) = state.records.get_mut(replica).filter(|record| record.is_live()) else {
            return Ok(());
        };
        let Some(phase) = next(&record.phase) else { return Ok(()) };
        record.phase = phase;
        record.own.wanted = false;
        record.own.asked = false;
        let mut record = record.clone();
        self.save(&record).await;
        let link = self.link(&mut state, now).await?;
        self.lower(&mut state, &link, &mut record, now).await
    }

    /// Ends the pod of a replica that is not wanted any more, and lowers the number of its Deployment.
    async fn lower(
        &self,
        state: &mut State,
        link: &Link,
        record: &mut Record,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let name = deployment_name(&record.deployment);
        let last = state.counts().get(&name).is_none_or(|count| *count == 0);
        // The cluster chooses which pod goes by rules of its own, so the one that is meant goes first. Of the last one
        // there is no choice, and no replacement is begun.
        if last {
            self.apply(state, link, &name, now).await?;
        }
        if record.own.pod.is_some() {
            self.ask_to_end(link, record).await?;
            state.records.insert(record.deployment.replica.clone(), record.clone());
        }
        if last { Ok(()) } else { self.apply(state, link, &name, now).await }
    }

    /// Asks for the end of the pod of a record.
    pub(super) async fn ask_to_end(&self, link: &Link, record: &mut Record) -> Result<(), DriverError> {
        let Some(pod) = record.own.pod.clone() else { return Ok(()) };
        let grace = match record.phase {
            Phase::Stopping { killed: false, grace, .. } => grace.as_secs(),
            _ => 1,
        };
        self.delete_pod(link, &pod, grace).await?;
        record.own.asked = true;
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
        let Some(mut record) = state.records.get(replica).cloned() else { return Ok(()) };
        let Phase::Exited { at, .. } = record.phase else {
            return Err(DriverError::StillRunning(replica.into()));
        };
        if record.own.prepared {
            let link = self.link(&mut state, at).await?;
            record.own.wanted = false;
            state.records.insert(replica.to_owned(), record.clone());
            self.write(&record).await?;
            self.lower(&mut state, &link, &mut record, at).await?;
            self.tidy(&mut state, &link, &record.deployment).await?;
        }
        state.copies.forget(replica).await;
        let cursor = self.cursor_path(replica);
        let lock = cursor.with_extension("cursor.lock");
        for path in [self.record_path(replica), cursor, lock] {
            remove_if_there(&path)?;
        }
        state.records.remove(replica);
        state.waiting.remove(replica);
        Ok(())
    }

    /// The variables of a revision, plain and secret.
    async fn delete_variables(&self, link: &Link, name: &str) -> Result<(), DriverError> {
        self.delete(link, "api/v1", "configmaps", name).await?;
        self.delete(link, "api/v1", "secrets", name).await
    }

    /// Removes what only the replica that is being forgotten needed.
    async fn tidy(&self, state: &mut State, link: &Link, deployment: &Deployment) -> Result<(), DriverError> {
        let name = deployment_name(deployment);
        let others = state.records.values().map(|record| &record.deployment);
        let others: Vec<_> = others.filter(|other| other.replica != deployment.replica).cloned().collect();
        if !others.iter().any(|other| deployment_name(other) == name) {
            self.delete(link, "apis/apps/v1", "deployments", &name).await?;
            self.delete_variables(link, &name).await?;
            state.applied.remove(&name);
        }
        if !others.iter().any(|other| other.service == deployment.service) {
            self.clear_out(state, link, &deployment.service).await?;
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
        let live = |record: &&Record| record.is_live();
        let before: BTreeSet<String> =
            loaded.records.iter().filter(live).map(|record| record.deployment.replica.clone()).collect();
        for mut record in loaded.records {
            // The request may have been recorded and not sent.
            record.own.asked = false;
            if record.is_live() && !record.own.prepared {
                let why = "the start was broken off before the cluster was asked for its pod".to_owned();
                record.phase = Phase::Exited { exit: Exit::NotStarted(why), at: now, asked: record.asked() };
                self.save(&record).await;
            }
            state.records.insert(record.deployment.replica.clone(), record);
        }
        match self.take_over(&mut state, now, &mut report).await {
            // Nothing is known that could be there.
            Err(DriverError::Away(error)) if state.records.is_empty() => {
                tracing::debug!(%error, "no pods to take over");
            }
            other => other?,
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

    /// Looks at all Deployments of this data directory: those without records are adopted where that can be, else ended.
    async fn take_over(
        &self,
        state: &mut State,
        now: Timestamp,
        report: &mut RecoveryReport,
    ) -> Result<(), DriverError> {
        let link = self.link(state, now).await?;
        let path = link.namespaced("apis/apps/v1", "deployments", "");
        let what = format!("list deployments.apps in namespace {}", link.objects.namespace);
        let mine = format!(
            "{}?labelSelector={}",
            path.trim_end_matches('/'),
            super::super::cluster::form(&selector(&self.instance))
        );
        let found: Found = link.cluster.get(&mine, &what).await?;
        let pods = link.cache.pods().await?;
        let known = state.counts();
        for one in found.items {
            let (name, count) = (one.metadata.name, one.spec.replicas);
            let read = one.metadata.annotations.get(DESCRIPTION).and_then(Value::as_str);
            let description: Option<Deployment> = read.and_then(|text| serde_json::from_str(text).ok());
            let adopted = description.as_ref().is_some_and(|description| {
                deployment_name(description) == name && self.adopt_lost(state, description, &pods, now)
            });
            if known.contains_key(&name) || adopted {
                // Set again by the next look where it is another number.
                state.applied.insert(name, count.unwrap_or(1));
            } else {
                self.delete(&link, "apis/apps/v1", "deployments", &name).await?;
                self.delete_variables(&link, &name).await?;
                report.orphans.push(format!("Deployment {name}"));
            }
        }
        self.settle(state, now).await?;
        Ok(())
    }

    /// Makes records of labelled pods whose records were lost; true when there was one.
    fn adopt_lost(
        &self,
        state: &mut State,
        description: &Deployment,
        pods: &[PodState],
        now: Timestamp,
    ) -> bool {
        let mut any = false;
        let revision = super::names::revision(description);
        let mine = pods.iter().filter(|pod| {
            pod.deleted_at.is_none() && pod.labels.get(REVISION).is_some_and(|label| label == revision)
        });
        for pod in mine {
            let Some(replica) = pod.labels.get(REPLICA).filter(|name| !state.records.contains_key(*name))
            else {
                continue;
            };
            let number = replica.strip_prefix(&format!("{}-", description.service));
            let Some(ordinal) = number.and_then(|number| number.parse().ok()) else { continue };
            let deployment = Deployment {
                replica: replica.clone(),
                ordinal,
                log: self.log_path(replica),
                ..description.clone()
            };
            let (launch, limits) = (self.launch(state, now), held(&deployment.limits));
            let started_at = pod.started_at.unwrap_or(now);
            let mut record =
                Record::new(deployment, started_at, launch, limits, (vec![], OlderRuns::default()));
            record.own = Own { wanted: true, prepared: true, ..Own::default() };
            state.records.insert(replica.clone(), record);
            any = true;
        }
        any
    }
}

/// The Deployments of a data directory, as far as they are looked at.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    items: Vec<FoundOne>,
}

#[derive(Deserialize)]
struct FoundOne {
    metadata: FoundMetadata,
    spec: FoundSpec,
}

#[derive(Deserialize)]
struct FoundMetadata {
    name: String,
    #[serde(default)]
    annotations: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct FoundSpec {
    replicas: Option<u32>,
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
