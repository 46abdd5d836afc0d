//! What the driver holds, and how a replica is resolved and deployed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::logs::Copies;
use super::names::{INSTANCE, check, deployment_name, ports, selector};
use super::objects::Objects;
use super::{ClusterStep, KubernetesOptions, Own, PodRef, Record};
use crate::kubernetes::cache::Cache;
use crate::kubernetes::meter::Meter;
use crate::kubernetes::names::check_namespace;
use crate::kubernetes::{Cluster, KubernetesError};
use crate::shared::{check_secrets, file_error, instance_of, listed_logs, make_private};
use crate::{
    Capabilities, Deployment, DriverError, Enforcement, Exit, Handle, InPlaceLimits, LimitEnforcement,
    Limits, LogSource, Metadata, Phase, ReplicaConfig, SecretValues,
};

/// Everything that the driver holds.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) options: KubernetesOptions,
    /// Tells this data directory from others of the cluster.
    pub(super) instance: String,
    pub(super) run: PathBuf,
    pub(super) logs: PathBuf,
    /// One lock: what is asked of the cluster in between has its time.
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) records: BTreeMap<String, Record>,
    pub(super) launches: u64,
    link: Option<Link>,
    /// How many pods each Deployment was told to have; it is told again where that is not known.
    pub(super) applied: BTreeMap<String, u32>,
    /// What each service was last given besides, as text.
    furnished: BTreeMap<String, String>,
    /// What starts that take long wait for, and when that was looked at.
    pub(super) waiting: BTreeMap<String, (Timestamp, Option<String>)>,
    pub(super) copies: Copies,
}

/// A connection that was found to be with the right cluster.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) cluster: Cluster,
    pub(super) objects: Objects,
    pub(super) cache: Arc<Cache>,
    /// What its pods use.
    pub(super) meter: Arc<Meter>,
}

impl Link {
    pub(super) fn namespaced(&self, api: &str, plural: &str, name: &str) -> String {
        let namespace = &self.objects.namespace;
        format!("/{api}/namespaces/{namespace}/{plural}/{name}")
    }

    pub(super) fn pod(&self, name: &str) -> String {
        self.namespaced("api/v1", "pods", name)
    }
}

impl Worker {
    pub(super) fn new(options: KubernetesOptions) -> Result<Self, DriverError> {
        let (run, logs) = (options.folder(), options.data_dir.join("logs"));
        make_private(&options.data_dir.join("run"))?;
        make_private(&logs)?;
        make_private(&run)?;
        let machine = instance_of(&options.data_dir)?;
        let instance = options.name.as_ref().map_or(machine.clone(), |name| format!("{machine}-{name}"));
        // Absolute, so that the paths of logs stay true.
        let logs = logs.canonicalize().map_err(file_error("find", &logs))?;
        Ok(Self { options, instance, run, logs, state: Mutex::default() })
    }

    pub(super) fn record_path(&self, replica: &str) -> PathBuf {
        self.run.join(format!("{replica}.json"))
    }

    pub(super) fn log_path(&self, replica: &str) -> PathBuf {
        self.logs.join(format!("{replica}.log"))
    }

    pub(super) fn cursor_path(&self, replica: &str) -> PathBuf {
        self.run.join(format!("{replica}.cursor"))
    }

    pub(super) async fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        let mut sources = listed_logs(&self.logs, zone).await?;
        let state = self.state.lock().await;
        for (replica, source) in &mut sources {
            if let Some(record) = state.records.get(replica) {
                record.describe_log(source);
            }
        }
        Ok(sources.into_values().collect())
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            driver: "kubernetes".into(),
            memory_limit: Enforcement::Node,
            cpu_limit: Enforcement::Node,
            in_place_limits: InPlaceLimits { cpu: true, memory: true, why_not: None },
            exit_code_after_adoption: true,
            host_network: false,
        }
    }

    // ---- the connection ----

    /// The connection; made when there is none.
    pub(super) async fn link(&self, state: &mut State, now: Timestamp) -> Result<Link, DriverError> {
        if let Some(link) = &state.link {
            return Ok(link.clone());
        }
        let cluster = Cluster::connect(&self.options.source, now).await?;
        let namespace = self.options.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| cluster.default_namespace().to_owned());
        check_namespace(&namespace)?;
        self.check_cluster(&cluster).await?;
        let cache = Arc::new(Cache::start(&cluster, &namespace, &selector(&self.instance))?);
        let pods = Arc::clone(&cache);
        let meter = Arc::new(Meter::start(&cluster, &namespace, move || pods.nodes()));
        let objects = Objects { instance: self.instance.clone(), namespace };
        let link = Link { cluster, objects, cache, meter };
        state.link = Some(link.clone());
        Ok(link)
    }

    /// After an error of credentials the next call connects anew: a token may have been exchanged meanwhile.
    pub(super) fn noted(&self, state: &mut State, error: KubernetesError) -> DriverError {
        if matches!(error, KubernetesError::Unauthorized { .. } | KubernetesError::OtherCluster { .. }) {
            state.link = None;
        }
        error.into()
    }

    /// Refuses another cluster than the one that the data directory is about.
    async fn check_cluster(&self, cluster: &Cluster) -> Result<(), DriverError> {
        #[derive(Deserialize)]
        struct Named {
            metadata: Identified,
        }
        #[derive(Deserialize)]
        struct Identified {
            uid: String,
        }
        let what = "get namespaces kube-system";
        let found: Named = cluster.get("/api/v1/namespaces/kube-system", what).await?;
        let (found, path) = (found.metadata.uid, self.run.join("cluster"));
        match std::fs::read_to_string(&path) {
            Ok(expected) if expected.trim() == found => Ok(()),
            Ok(expected) => Err(DriverError::WrongCluster {
                server: cluster.server().to_owned(),
                data_dir: self.options.data_dir.clone(),
                found,
                expected: expected.trim().to_owned(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::write(&path, &found).map_err(file_error("write", &path))
            }
            Err(error) => Err(file_error("read", &path)(error)),
        }
    }

    // ---- records ----

    /// Writes a record, on a thread where that disturbs nobody.
    pub(super) async fn write(&self, record: &Record) -> Result<(), DriverError> {
        let (path, record) = (self.record_path(&record.deployment.replica), record.clone());
        let written = spawn_blocking(move || record.save(&path).map_err(file_error("write", &path))).await;
        written.unwrap_or_else(|error| Err(DriverError::Worker(error.to_string())))
    }

    /// Writes a record whose truth lies in the cluster; a failure is reported and repaired by the next one.
    pub(super) async fn save(&self, record: &Record) {
        if let Err(error) = self.write(record).await {
            tracing::error!(error = error.full(), "the state of a replica could not be written");
        }
    }

    pub(super) fn launch(&self, state: &mut State, now: Timestamp) -> String {
        state.launches += 1;
        // Unlike any other, after a restart too.
        format!("{}-{}-{}", now.as_nanosecond(), std::process::id(), state.launches)
    }

    // ---- resolving and deploying ----

    pub(super) fn resolve(&self, config: &ReplicaConfig) -> Result<Metadata, DriverError> {
        check(config)?;
        let service = &config.service;
        let mut labels = service.labels.clone();
        labels.insert("sos.energy/driver".into(), "kubernetes".into());
        labels.insert("sos.energy/instance".into(), self.instance.clone());
        // Which image a reference means is decided by each node.
        let version = service.container.as_ref().map(|container| container.image.shown()).unwrap_or_default();
        Ok(Metadata {
            ports: ports(config),
            program: service.program.clone().into(),
            version,
            log: self.log_path(&config.replica),
            labels,
        })
    }

    pub(super) async fn deploy(
        &self,
        deployment: &Deployment,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<Handle, DriverError> {
        let mut state = self.state.lock().await;
        let replica = &deployment.replica;
        let old = state.records.get(replica).cloned();
        if let Some(record) = old.as_ref().filter(|record| record.is_live()) {
            return if record.runs(deployment) {
                Ok(handle(record))
            } else {
                Err(DriverError::AlreadyRunning(replica.clone()))
            };
        }
        let launch = self.launch(&mut state, now);
        let past_runs = old.clone().map(Record::into_past_runs).unwrap_or_default();
        let mut record = Record::new(deployment.clone(), now, launch, held(&deployment.limits), past_runs);
        let before = old.as_ref().map(|record| record.own.clone()).unwrap_or_default();
        record.own =
            Own { leaving: before.pod.or(before.leaving), traffic: before.traffic, ..Own::default() };
        check_secrets(deployment, secrets)?;
        let link = self.link(&mut state, now).await?;
        self.write(&record).await?;
        self.interrupt(ClusterStep::Intent, "writing the intent")?;
        match self.launch_pod(&mut state, &link, &mut record, secrets, now).await {
            Ok(()) if self.options.interrupt_after == Some(ClusterStep::Apply) => {
                Err(DriverError::Interrupted("applying the Deployment"))
            }
            Ok(()) => {
                let handle = handle(&record);
                self.save(&record).await;
                state.records.insert(replica.clone(), record);
                Ok(handle)
            }
            Err(error @ DriverError::Interrupted(_)) => Err(error),
            // All it needs is there, and the next look asks for its pod again.
            Err(error @ DriverError::Away(_)) if record.own.prepared => {
                self.save(&record).await;
                state.records.insert(replica.clone(), record);
                Err(error)
            }
            Err(error) => {
                self.abandon(&mut state, record, &error, now).await;
                Err(error)
            }
        }
    }

    async fn launch_pod(
        &self,
        state: &mut State,
        link: &Link,
        record: &mut Record,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        self.furnish(state, link, &record.deployment, secrets).await?;
        self.interrupt(ClusterStep::Objects, "preparing what it needs")?;
        record.own.prepared = true;
        record.own.wanted = true;
        self.write(record).await?;
        let replica = record.deployment.replica.clone();
        let old = state.records.insert(replica.clone(), record.clone());
        let done = self.apply(state, link, &deployment_name(&record.deployment), now).await;
        match old {
            Some(old) => state.records.insert(replica, old),
            None => state.records.remove(&replica),
        };
        done?;
        if let Some(leaving) = &record.own.leaving {
            // It has ended by itself, and the node would start it again.
            self.delete_pod(link, leaving, 1).await?;
        }
        Ok(())
    }

    /// What the pods of a service need besides: applied when it is new or has changed.
    async fn furnish(
        &self,
        state: &mut State,
        link: &Link,
        deployment: &Deployment,
        secrets: &SecretValues,
    ) -> Result<(), DriverError> {
        let Link { objects, .. } = link;
        let service = &deployment.service;
        let wanted: Vec<(&str, &str, String, Option<Value>)> = vec![
            ("api/v1", "services", service.clone(), objects.service(deployment)),
            (
                "apis/policy/v1",
                "poddisruptionbudgets",
                service.clone(),
                Some(objects.disruption_budget(deployment)),
            ),
            (
                "apis/networking.k8s.io/v1",
                "networkpolicies",
                service.clone(),
                Some(objects.network_policy(deployment)),
            ),
        ];
        let name = deployment_name(deployment);
        if !state.applied.contains_key(&name) {
            self.check_ours(link, ("apis/apps/v1", "deployments", &name)).await?;
        }
        if let Some(map) = objects.config_map(deployment) {
            self.apply_object(link, ("api/v1", "configmaps", &name), &map).await?;
        }
        if let Some(secret) = objects.secret(deployment, secrets) {
            self.apply_object(link, ("api/v1", "secrets", &name), &secret).await?;
        }
        let text = format!("{wanted:?}");
        if state.furnished.get(service) == Some(&text) {
            return Ok(());
        }
        if !state.furnished.contains_key(service) {
            self.check_ours(link, ("api/v1", "services", service)).await?;
        }
        for (api, plural, name, object) in wanted {
            if let Some(object) = object {
                self.apply_object(link, (api, plural, &name), &object).await?;
            }
        }
        state.furnished.insert(service.clone(), text);
        Ok(())
    }

    /// Refuses an object that somebody else has made, before anything of it is changed.
    pub(super) async fn check_ours(
        &self,
        link: &Link,
        (api, plural, name): (&str, &str, &str),
    ) -> Result<(), DriverError> {
        let what = format!("get {plural} {name} in namespace {}", link.objects.namespace);
        let found = match link.cluster.get::<Value>(&link.namespaced(api, plural, name), &what).await {
            Ok(found) => found,
            Err(KubernetesError::Missing(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if found["metadata"]["labels"][INSTANCE] == json!(self.instance) {
            return Ok(());
        }
        let why = "it belongs to somebody else; name the service otherwise, or choose another namespace";
        Err(DriverError::Cluster(KubernetesError::Refused {
            what: format!("{plural} {name} in namespace {}", link.objects.namespace),
            why: why.into(),
        }))
    }

    /// Applies an object.
    pub(super) async fn apply_object(
        &self,
        link: &Link,
        (api, plural, name): (&str, &str, &str),
        object: &Value,
    ) -> Result<(), DriverError> {
        let path = link.namespaced(api, plural, name);
        let what = format!("patch {plural} {name} in namespace {}", link.objects.namespace);
        // Nothing of the answer is kept: it holds what was sent.
        let _applied: Value = link.cluster.apply(&path, object, &what).await?;
        Ok(())
    }

    /// The service is gone: so is what it was given.
    pub(super) async fn clear_out(
        &self,
        state: &mut State,
        link: &Link,
        service: &str,
    ) -> Result<(), DriverError> {
        state.furnished.remove(service);
        for (api, plural) in [
            ("api/v1", "services"),
            ("apis/policy/v1", "poddisruptionbudgets"),
            ("apis/networking.k8s.io/v1", "networkpolicies"),
        ] {
            self.delete(link, api, plural, service).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(
        &self,
        link: &Link,
        api: &str,
        plural: &str,
        name: &str,
    ) -> Result<(), DriverError> {
        let path = link.namespaced(api, plural, name);
        let what = format!("delete {plural} {name} in namespace {}", link.objects.namespace);
        let options = json!({"propagationPolicy": "Background"});
        Ok(link.cluster.delete(&path, &options, &what).await?)
    }

    /// Asks for the end of a pod. One second is the least after which the cluster takes a pod for gone only when its node
    /// says so; with none it would forget what may still run.
    pub(super) async fn delete_pod(&self, link: &Link, pod: &PodRef, grace: i64) -> Result<(), DriverError> {
        let options = json!({"gracePeriodSeconds": grace.max(1), "preconditions": {"uid": pod.uid}});
        let what = format!("delete pods {} in namespace {}", pod.name, link.objects.namespace);
        match link.cluster.delete(&link.pod(&pod.name), &options, &what).await {
            // Another pod has its name by now.
            Ok(()) | Err(KubernetesError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn abandon(
        &self,
        state: &mut State,
        mut record: Record,
        error: &DriverError,
        now: Timestamp,
    ) {
        record.phase = Phase::Exited { exit: Exit::NotStarted(error.full()), at: now, asked: None };
        record.own.wanted = false;
        self.save(&record).await;
        state.applied.remove(&deployment_name(&record.deployment));
        state.records.insert(record.deployment.replica.clone(), record);
    }

    fn interrupt(&self, step: ClusterStep, what: &'static str) -> Result<(), DriverError> {
        if self.options.interrupt_after == Some(step) {
            return Err(DriverError::Interrupted(what));
        }
        Ok(())
    }
}

impl State {
    pub(super) fn linked(&self) -> Option<Link> {
        self.link.clone()
    }

    /// The Deployments that are to be there, and how many pods each is to have.
    pub(super) fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for record in self.records.values().filter(|record| record.own.prepared) {
            let count = counts.entry(deployment_name(&record.deployment)).or_default();
            *count += u32::from(record.own.wanted && record.own.leaving.is_none());
        }
        counts
    }

    /// The description of which a Deployment is made: that of the record that is there longest, so that a later one with
    /// other labels does not replace what runs.
    pub(super) fn describing(&self, name: &str) -> Option<Deployment> {
        let mine = self.records.values().filter(|record| record.own.prepared);
        let mine = mine.filter(|record| deployment_name(&record.deployment) == name);
        let first = mine.min_by_key(|record| (!record.own.wanted, record.started_at))?;
        // Limits that were changed since are of its pod alone.
        let limits = first.own.declared.unwrap_or(first.deployment.limits);
        Some(Deployment { limits, ..Deployment::clone(&first.deployment) })
    }

    /// Pods that belong to a record.
    pub(super) fn taken(&self) -> BTreeSet<String> {
        let own = self.records.values().flat_map(|record| [&record.own.pod, &record.own.leaving]);
        own.flatten().map(|pod| pod.uid.clone()).collect()
    }
}

pub(super) fn held(limits: &Limits) -> LimitEnforcement {
    let by = |limit: Option<u64>| limit.map_or(Enforcement::NotRequested, |_| Enforcement::Node);
    LimitEnforcement { memory: by(limits.memory_bytes), cpu: by(limits.cpu_millis) }
}

/// A run is told by its start: its pod has a name only later.
pub(super) fn handle(record: &Record) -> Handle {
    Handle { replica: record.deployment.replica.clone(), id: record.launch.clone(), pid: None }
}
