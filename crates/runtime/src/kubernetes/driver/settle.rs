//! Comparing records with pods: what became of runs, which pod is which replica, and what the cluster is asked for.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::names::{MAIN, REPLICA, REVISION, SERVICE, TRAFFIC, deployment_name, revision};
use super::pod::{Life, health, is_over, last_exit, life};
use super::worker::{Link, State, Worker, handle, held};
use super::{PodRef, Record};
use crate::kubernetes::{KubernetesError, PodState};
use crate::{DriverError, Exit, Phase, ReplicaState};

/// A start that takes longer is looked at more closely, and again after as long.
const PATIENCE: SignedDuration = SignedDuration::from_millis(1500);

impl Worker {
    pub(super) async fn observe(&self, now: Timestamp) -> Result<Vec<ReplicaState>, DriverError> {
        let mut state = self.state.lock().await;
        if state.records.is_empty() {
            // Where no service runs in a cluster, none is needed.
            return Ok(vec![]);
        }
        let pods = self.settle(&mut state, now).await?;
        let meter = state.linked().map(|link| link.meter);
        let told = state.records.values().map(|record| {
            let live = record.is_live();
            let pod = record.own.pod.as_ref().filter(|_| live);
            let pod = pod.and_then(|own| pods.iter().find(|pod| pod.uid == own.uid));
            let waiting = state.waiting.get(&record.deployment.replica).and_then(|(_, why)| why.as_ref());
            let health = health(pod, is_probed(record), waiting).filter(|_| live);
            let address: Option<IpAddr> = pod.and_then(|pod| pod.address.as_ref()?.parse().ok());
            let usage = pod.and_then(|pod| meter.as_ref()?.of(&pod.name));
            ReplicaState { address, ..record.state(live.then(|| handle(record)), usage, health) }
        });
        Ok(told.collect())
    }

    /// Brings records and cluster together, as far as both can be asked now.
    pub(super) async fn settle(
        &self,
        state: &mut State,
        now: Timestamp,
    ) -> Result<Vec<PodState>, DriverError> {
        let link = self.link(state, now).await?;
        let pods = match link.cache.pods().await {
            Ok(pods) => pods,
            Err(error) => return Err(self.noted(state, error)),
        };
        for replica in state.records.keys().cloned().collect::<Vec<_>>() {
            if let Some(mut record) = state.records.get(&replica).cloned() {
                let result = self.attend(state, &link, &mut record, &pods, now).await;
                state.records.insert(replica, record);
                result?;
            }
        }
        self.assign(state, &link, &pods).await?;
        for (name, count) in state.counts() {
            if state.applied.get(&name) != Some(&count) {
                self.apply(state, &link, &name, now).await?;
            }
        }
        self.examine(state, &link, &pods, now).await?;
        self.distribute(state, &link, &pods).await?;
        Ok(pods)
    }

    /// Brings one record up to what is known of its pod.
    async fn attend(
        &self,
        state: &mut State,
        link: &Link,
        record: &mut Record,
        pods: &[PodState],
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let before = record.clone();
        let there = |own: &PodRef| pods.iter().find(|pod| pod.uid == own.uid);
        if record.own.leaving.as_ref().is_some_and(|own| there(own).is_none()) {
            record.own.leaving = None;
        }
        let pod = record.own.pod.as_ref().and_then(there);
        match pod {
            _ if matches!(record.phase, Phase::Stopping { .. }) => {
                self.attend_stopping(state, link, record, pod, now).await?;
            }
            _ if !record.own.wanted => {}
            Some(pod) if is_over(pod) => {
                // Only its object is left; the Deployment replaces it.
                let own = PodRef { name: pod.name.clone(), uid: pod.uid.clone() };
                self.delete_pod(link, &own, 1).await?;
                self.replaced(state, record, last_exit(pod), now);
            }
            Some(pod) => self.follow(state, record, pod, now),
            None => {
                if let Some(own) = record.own.pod.clone() {
                    let seen = link.cache.last_seen(&own.uid);
                    let exit = seen.as_ref().map_or(Exit::Unknown, last_exit);
                    self.replaced(state, record, exit, now);
                }
            }
        }
        if let Some(pod) = pod {
            state.copies.tend(self, link, record, pod, now).await;
        }
        if *record != before {
            if before.is_live() && !record.is_live() {
                state.copies.last_lines(&record.deployment.replica).await;
            }
            self.save(record).await;
        }
        Ok(())
    }

    async fn attend_stopping(
        &self,
        state: &State,
        link: &Link,
        record: &mut Record,
        pod: Option<&PodState>,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        match (pod, record.own.pod.clone()) {
            (Some(_), Some(_)) if !record.own.asked => self.ask_to_end(link, record).await,
            (Some(pod), Some(_)) if !is_over(pod) => Ok(()),
            (_, Some(own)) => {
                let seen = link.cache.last_seen(&own.uid);
                let seen = pod.or(seen.as_ref());
                let exit = seen.map_or(Exit::Unknown, last_exit);
                self.over(record, exit, now);
                Ok(())
            }
            (_, None) => {
                // Whether a pod was made in between is known when the Deployment has seen its new number.
                let name = deployment_name(&record.deployment);
                let lowered =
                    state.counts().get(&name).is_none_or(|count| state.applied.get(&name) == Some(count));
                if lowered && self.is_obeyed(link, &name).await? {
                    let why = "it was asked to stop before its pod was made".to_owned();
                    self.over(record, Exit::NotStarted(why), now);
                }
                Ok(())
            }
        }
    }

    fn over(&self, record: &mut Record, exit: Exit, now: Timestamp) {
        record.phase = Phase::Exited { exit, at: now, asked: record.asked() };
        record.own.pod = None;
    }

    /// Takes over what the node says of a pod that is to be.
    fn follow(&self, state: &mut State, record: &mut Record, pod: &PodState, now: Timestamp) {
        let (life, restarts) = life(pod);
        let again = restarts > record.own.restarts;
        match life {
            Life::Waits(_) => {}
            Life::Runs => {
                let ended = matches!(record.phase, Phase::Exited { .. });
                if ended || (again && record.phase == Phase::Running) {
                    let exit = pod.last_end().map_or(Exit::Unknown, |_| last_exit_before(pod));
                    self.rerun(state, record, exit, now);
                }
                record.own.restarts = restarts;
                record.phase = Phase::Running;
            }
            Life::Ended(exit) => {
                if again && matches!(record.phase, Phase::Exited { .. }) {
                    self.rerun(state, record, Exit::Unknown, now);
                }
                record.own.restarts = restarts;
                match (&record.phase, &exit) {
                    // Said in other words.
                    (Phase::Exited { exit: Exit::NotStarted(_), .. }, Exit::NotStarted(_)) => {}
                    (Phase::Exited { exit: known, .. }, _) if *known == exit => {}
                    _ => record.phase = Phase::Exited { exit, at: now, asked: None },
                }
            }
        }
    }

    /// The pod of a replica is gone, and the cluster makes another one.
    fn replaced(&self, state: &mut State, record: &mut Record, exit: Exit, now: Timestamp) {
        self.rerun(state, record, exit, now);
        record.own.pod = None;
        record.own.restarts = 0;
        if let Some(declared) = record.own.declared.take() {
            record.deployment_mut().limits = declared;
            record.limits = held(&declared);
        }
    }

    /// A new run that nobody here asked for; `exit` is how the one before ended, unless that is known already.
    fn rerun(&self, state: &mut State, record: &mut Record, exit: Exit, now: Timestamp) {
        if record.is_live() {
            record.phase = Phase::Exited { exit, at: now, asked: None };
        }
        let launch = self.launch(state, now);
        let (deployment, limits, own) =
            (record.deployment.clone(), record.limits.clone(), record.own.clone());
        let past_runs = record.clone().into_past_runs();
        *record = Record::new(deployment, now, launch, limits, past_runs);
        record.own = own;
    }

    /// Gives pods that belong to nobody to replicas that have none, the oldest first.
    async fn assign(&self, state: &mut State, link: &Link, pods: &[PodState]) -> Result<(), DriverError> {
        let mut taken = state.taken();
        let mut waiting: Vec<_> = state
            .records
            .values()
            .filter(|record| {
                record.own.wanted
                    && record.own.prepared
                    && record.own.pod.is_none()
                    && record.own.leaving.is_none()
            })
            .cloned()
            .collect();
        waiting.sort_by_key(|record| record.started_at);
        for mut record in waiting {
            let replica = record.deployment.replica.clone();
            let mine = |pod: &&PodState| {
                let label = |key: &str| pod.labels.get(key).map(String::as_str);
                let right = label(SERVICE) == Some(&record.deployment.service)
                    && label(REVISION) == Some(revision(&record.deployment));
                let named = label(REPLICA).is_none_or(|name| name == replica);
                right && named && pod.deleted_at.is_none() && !is_over(pod) && !taken.contains(&pod.uid)
            };
            // One that is labelled already comes first.
            let found = pods
                .iter()
                .filter(mine)
                .min_by_key(|pod| (!pod.labels.contains_key(REPLICA), pod.created_at));
            let Some(pod) = found else { continue };
            let own = PodRef { name: pod.name.clone(), uid: pod.uid.clone() };
            if !pod.labels.contains_key(REPLICA)
                && !self.label(link, &own, &[(REPLICA, Some(&replica))]).await?
            {
                continue;
            }
            taken.insert(own.uid.clone());
            (record.own.restarts, record.own.pod) = (life(pod).1, Some(own));
            self.save(&record).await;
            state.records.insert(replica, record);
        }
        Ok(())
    }

    /// Labels a pod; false when it is gone or going.
    async fn label(
        &self,
        link: &Link,
        pod: &PodRef,
        labels: &[(&str, Option<&str>)],
    ) -> Result<bool, DriverError> {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let change = json!({"metadata": {"uid": pod.uid, "labels": labels}});
        let what = format!("patch pods {} in namespace {}", pod.name, link.objects.namespace);
        match link.cluster.merge::<Value>(&link.pod(&pod.name), &change, &what).await {
            Ok(pod) => Ok(pod.pointer("/metadata/deletionTimestamp").is_none()),
            Err(KubernetesError::Missing(_) | KubernetesError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells a Deployment how many pods it is to have; with all else, so that one that is not there is made.
    pub(super) async fn apply(
        &self,
        state: &mut State,
        link: &Link,
        name: &str,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let count = state.counts().get(name).copied().unwrap_or_default();
        let Some(deployment) = state.describing(name) else { return Ok(()) };
        let Some(container) = &deployment.container else { return Ok(()) };
        if !state.applied.contains_key(name) {
            self.check_ours(link, ("apis/apps/v1", "deployments", name)).await?;
        }
        let object = link.objects.deployment(&deployment, container, count);
        match self.apply_object(link, ("apis/apps/v1", "deployments", name), &object).await {
            Ok(()) => {
                state.applied.insert(name.to_owned(), count);
                Ok(())
            }
            Err(DriverError::Cluster(error)) => Err(self.noted(state, error)),
            Err(error) => {
                tracing::debug!(name, %now, error = error.full(), "a Deployment could not be applied");
                Err(error)
            }
        }
    }

    /// Whether the controller of a Deployment has seen its number and made or ended pods for it.
    async fn is_obeyed(&self, link: &Link, name: &str) -> Result<bool, DriverError> {
        let Some(found) = self.look_at(link, name).await? else { return Ok(true) };
        let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        Ok(number("/status/observedGeneration") >= number("/metadata/generation")
            && number("/status/replicas") <= number("/spec/replicas"))
    }

    async fn look_at(&self, link: &Link, name: &str) -> Result<Option<Value>, DriverError> {
        let path = link.namespaced("apis/apps/v1", "deployments", name);
        let what = format!("get deployments.apps {name} in namespace {}", link.objects.namespace);
        match link.cluster.get::<Value>(&path, &what).await {
            Ok(found) => Ok(Some(found)),
            Err(KubernetesError::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks why starts take long, seldom: what only the cluster's events and conditions tell.
    async fn examine(
        &self,
        state: &mut State,
        link: &Link,
        pods: &[PodState],
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let records = &state.records;
        let open = |record: &Record| {
            let ready = || {
                record
                    .own
                    .pod
                    .as_ref()
                    .is_some_and(|own| pods.iter().any(|pod| pod.uid == own.uid && pod.ready))
            };
            record.phase == Phase::Starting
                || (record.phase == Phase::Running && is_probed(record) && !ready())
        };
        state.waiting.retain(|replica, _| records.get(replica).is_some_and(open));
        let slow = state.records.values().filter(|record| {
            let looked =
                state.waiting.get(&record.deployment.replica).map_or(record.started_at, |(at, _)| *at);
            open(record) && now.duration_since(looked) >= PATIENCE
        });
        for mut record in slow.cloned().collect::<Vec<_>>() {
            let pod = record.own.pod.as_ref().and_then(|own| pods.iter().find(|pod| pod.uid == own.uid));
            let why = match pod {
                Some(pod) => self.events(link, pod).await?,
                None => self.missing(state, link, &record).await?,
            };
            let replica = record.deployment.replica.clone();
            if let Some(why) = why.as_ref().filter(|why| record.phase == Phase::Starting && hopeless(why)) {
                let exit = Exit::NotStarted(why.clone());
                record.phase = Phase::Exited { exit, at: now, asked: None };
                self.save(&record).await;
                state.records.insert(replica.clone(), record);
            }
            state.waiting.insert(replica, (now, why));
        }
        Ok(())
    }

    /// What the cluster last warned of about a pod.
    async fn events(&self, link: &Link, pod: &PodState) -> Result<Option<String>, DriverError> {
        let path = link.namespaced("api/v1", "events", "");
        let path =
            format!("{}?limit=50&fieldSelector=involvedObject.uid%3D{}", path.trim_end_matches('/'), pod.uid);
        let what = format!("list events in namespace {}", link.objects.namespace);
        let found: Value = link.cluster.get(&path, &what).await?;
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let warnings =
            found["items"].as_array().into_iter().flatten().filter(|event| event["type"] == "Warning");
        let last = warnings.max_by_key(|event| text(event, "lastTimestamp"));
        Ok(last.map(|event| format!("{}: {}", text(event, "reason"), text(event, "message"))))
    }

    /// Why there is no pod: the Deployment was changed by somebody else, or its pods are refused.
    async fn missing(
        &self,
        state: &mut State,
        link: &Link,
        record: &Record,
    ) -> Result<Option<String>, DriverError> {
        let name = deployment_name(&record.deployment);
        let Some(found) = self.look_at(link, &name).await? else {
            state.applied.remove(&name);
            return Ok(Some("its Deployment was deleted; it is made again".into()));
        };
        let count = found.pointer("/spec/replicas").and_then(Value::as_u64);
        if count != state.applied.get(&name).map(|count| u64::from(*count)) {
            state.applied.remove(&name);
            return Ok(Some("somebody else changed the number of its pods; it is set again".into()));
        }
        let conditions = found.pointer("/status/conditions").and_then(Value::as_array);
        let failed = conditions.into_iter().flatten().find(|one| one["type"] == "ReplicaFailure");
        Ok(failed.map(|one| format!("ReplicaFailure: {}", one["message"].as_str().unwrap_or_default())))
    }

    /// Labels pods as their replicas get traffic or none.
    async fn distribute(&self, state: &mut State, link: &Link, pods: &[PodState]) -> Result<(), DriverError> {
        for record in state.records.values() {
            let Some(own) = &record.own.pod else { continue };
            let Some(pod) = pods.iter().find(|pod| pod.uid == own.uid && pod.deleted_at.is_none()) else {
                continue;
            };
            let on = pod.labels.get(TRAFFIC).is_some_and(|value| value == "on");
            if on != record.own.traffic {
                self.label(link, own, &[(TRAFFIC, record.own.traffic.then_some("on"))]).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn route(&self, service: &str, replicas: &[String]) -> Result<(), DriverError> {
        let mut state = self.state.lock().await;
        let changed: Vec<_> = state
            .records
            .values()
            .filter(|record| record.deployment.service == service)
            .filter(|record| record.own.traffic != replicas.contains(&record.deployment.replica))
            .cloned()
            .collect();
        for mut record in changed {
            record.own.traffic = !record.own.traffic;
            self.write(&record).await?;
            state.records.insert(record.deployment.replica.clone(), record);
        }
        // Its labels follow with the next look.
        Ok(())
    }
}

/// How the run before the present one ended.
fn last_exit_before(pod: &PodState) -> Exit {
    let mut over = pod.clone();
    over.containers.iter_mut().filter(|one| one.name == MAIN).for_each(|one| one.running_since = None);
    last_exit(&over)
}

fn is_probed(record: &Record) -> bool {
    record.deployment.container.as_ref().is_some_and(|container| !container.probes.is_empty())
}

/// What does not pass by itself.
fn hopeless(why: &str) -> bool {
    why.contains("hostPath type check failed") || why.starts_with("ReplicaFailure")
}
