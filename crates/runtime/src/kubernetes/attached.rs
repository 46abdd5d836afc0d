//! A workload that somebody else deployed: its pods as replicas, what they use, and its number.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::cache::Cache;
use super::cluster::Cluster;
use super::error::KubernetesError;
use super::kubeconfig::KubeconfigSource;
use super::meter::Meter;
use super::owner::ReplicaOwner;
use super::pods::{PodPhase, PodState};
use super::scale::Scaled;
use super::service::{ImportedService, WorkloadKind, WorkloadRef};
use crate::{
    Deployment, Enforcement, Exit, Handle, Health, HealthStatus, LimitEnforcement, Limits, LogRotation,
    OlderRuns, PastRun, Phase, ReplicaState,
};

/// How often the workload itself is looked at; its pods are watched.
const LOOK: SignedDuration = SignedDuration::from_secs(5);

/// A connection to a workload.
#[derive(Debug)]
pub struct Attached {
    cluster: Cluster,
    workload: WorkloadRef,
    cache: Arc<Cache>,
    meter: Meter,
    /// The workload as it was looked at last.
    seen: (Timestamp, ImportedService),
}

/// A workload as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachedState {
    /// How many replicas are declared in the cluster.
    pub declared: u32,
    /// Who decides about that number.
    pub owner: ReplicaOwner,
    /// Its pods, by name. The limits in their descriptions are what they request, of which utilization is a share.
    pub replicas: Vec<ReplicaState>,
}

impl Attached {
    /// Connects, and finds the workload.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used, the cluster cannot be reached, the workload does not exist or may not be looked at.
    pub async fn connect(
        source: &KubeconfigSource,
        workload: &WorkloadRef,
        now: Timestamp,
    ) -> Result<Self, KubernetesError> {
        let cluster = Cluster::connect(source, now).await?;
        let found = cluster.workload(workload).await?;
        let cache = Arc::new(Cache::start(&cluster, &workload.namespace, &found.selector)?);
        let pods = Arc::clone(&cache);
        let meter = Meter::start(&cluster, &workload.namespace, move || pods.nodes());
        Ok(Self { cluster, workload: workload.clone(), cache, meter, seen: (now, found) })
    }

    /// The workload as it is now; `service` is what it is called here.
    ///
    /// # Errors
    /// When it is gone, may not be looked at, or the cluster cannot be reached.
    pub async fn look(&mut self, service: &str, now: Timestamp) -> Result<AttachedState, KubernetesError> {
        if !(SignedDuration::ZERO..LOOK).contains(&now.duration_since(self.seen.0)) {
            self.seen = (now, self.cluster.workload(&self.workload).await?);
        }
        let found = &self.seen.1;
        let pods = self.cache.pods().await?;
        let mine = pods.iter().filter(|pod| self.is_of_workload(pod));
        let replicas = mine.map(|pod| {
            let usage = self.meter.of(&pod.name);
            ReplicaState { usage, ..state(pod, service, found, now) }
        });
        Ok(AttachedState {
            declared: found.replicas.declared,
            owner: found.replica_owner.clone(),
            replicas: replicas.collect(),
        })
    }

    /// Another workload may select the same labels. Pods of a Deployment belong to its ReplicaSets, which have its name.
    fn is_of_workload(&self, pod: &PodState) -> bool {
        let WorkloadRef { kind, name, .. } = &self.workload;
        match (kind, &pod.controller) {
            (WorkloadKind::Deployment, Some((controller, set))) => {
                controller == "ReplicaSet" && set.rsplit_once('-').is_some_and(|(of, _)| of == name)
            }
            (_, Some((controller, of))) => controller == kind.as_str() && of == name,
            (_, None) => false,
        }
    }

    /// Sets its number of replicas; see [`Cluster::scale`]. A number that somebody else has set by hand or with a tool is
    /// taken over when it is declared here that this scales the workload; an autoscaler's is not.
    ///
    /// # Errors
    /// As [`Cluster::scale`].
    pub async fn scale(&mut self, replicas: u32) -> Result<Scaled, KubernetesError> {
        let accepted = match &self.seen.1.replica_owner {
            ReplicaOwner::FieldManager { manager, operation, .. } if operation == "Update" => {
                vec![manager.clone()]
            }
            _ => vec![],
        };
        let scaled = self.cluster.scale(&self.workload, replicas, &accepted).await?;
        self.seen.1.replicas.declared = scaled.to;
        Ok(scaled)
    }
}

/// A pod as a replica.
fn state(pod: &PodState, service: &str, found: &ImportedService, now: Timestamp) -> ReplicaState {
    let started_at = pod.started_at.or(pod.created_at).unwrap_or(now);
    let phase = phase(pod, now);
    let live = !matches!(phase, Phase::Exited { .. });
    let status = if pod.ready { HealthStatus::Healthy } else { HealthStatus::Unhealthy };
    let output = pod.stuck().map_or(String::new(), |(_, waiting)| waiting.message.clone());
    ReplicaState {
        deployment: Arc::new(description(pod, service, found)),
        started_at,
        phase,
        handle: live.then(|| Handle { replica: pod.name.clone(), id: pod.uid.clone(), pid: None }),
        usage: None,
        health: live.then_some(Health { status, failures: 0, output, since: pod.ready_since }),
        address: pod.address.as_ref().and_then(|address| address.parse().ok()),
        limits: LimitEnforcement { memory: Enforcement::Node, cpu: Enforcement::Node },
        past_runs: past_runs(pod),
        older_runs: OlderRuns::default(),
    }
}

fn phase(pod: &PodState, now: Timestamp) -> Phase {
    match pod.phase {
        PodPhase::Succeeded => Phase::Exited { exit: Exit::Code(0), at: now, asked: None },
        PodPhase::Failed => {
            let code = pod.last_end().map_or(Exit::Unknown, |(_, end)| Exit::Code(end.exit_code));
            Phase::Exited { exit: code, at: now, asked: None }
        }
        _ => match pod.deleted_at {
            Some(since) => Phase::Stopping {
                since,
                grace: SignedDuration::ZERO,
                cause: "the cluster ends it".into(),
                killed: false,
            },
            None if pod.phase == PodPhase::Pending => Phase::Starting,
            None => Phase::Running,
        },
    }
}

/// The end of the run before the present one, where there was one.
fn past_runs(pod: &PodState) -> Vec<PastRun> {
    let end = pod.last_end().filter(|_| pod.restarts > 0);
    let run = end.and_then(|(_, end)| {
        let exit = if end.is_out_of_memory() { Exit::OutOfMemory } else { Exit::Code(end.exit_code) };
        let ended_at = end.ended_at?;
        let started_at = pod.started_at.unwrap_or(ended_at);
        Some(PastRun { started_at, ended_at, description_hash: String::new(), run: None, exit, asked: None })
    });
    run.into_iter().collect()
}

fn description(pod: &PodState, service: &str, found: &ImportedService) -> Deployment {
    let main = found.main_container();
    let resources = main.map(|main| main.resources).unwrap_or_default();
    let ports = main.into_iter().flat_map(|main| &main.ports);
    Deployment {
        service: service.to_owned(),
        replica: pod.name.clone(),
        ordinal: 0,
        generation: 0,
        description_hash: String::new(),
        run: None,
        program: std::path::PathBuf::new(),
        version: main.map(|main| main.image.clone()).unwrap_or_default(),
        args: vec![],
        env: vec![],
        workdir: std::path::PathBuf::new(),
        ports: ports
            .filter(|port| !port.name.is_empty())
            .map(|port| (port.name.clone(), port.port))
            .collect(),
        limits: Limits {
            cpu_millis: resources.cpu_request_millis.or(resources.cpu_limit_millis),
            memory_bytes: resources.memory_request_bytes.or(resources.memory_limit_bytes),
        },
        log: std::path::PathBuf::new(),
        logs: LogRotation::default(),
        depends_on: vec![],
        stop_timeout: found.stop_timeout,
        labels: pod.labels.clone(),
        container: None,
    }
}
