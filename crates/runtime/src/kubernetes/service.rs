//! A workload of a cluster as plain metadata.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, Probe, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

use super::owner::ReplicaOwner;
use super::quantity::{millis, whole};

/// Kinds of workloads that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// Replicas that are alike.
    Deployment,
    /// Replicas with names and disks of their own.
    StatefulSet,
    /// One replica on each node.
    DaemonSet,
}

impl WorkloadKind {
    /// Its name in Kubernetes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// Its name in addresses.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }
}

/// Names one workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// What was found in a namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamespaceImport {
    /// The namespace.
    pub namespace: String,
    /// Its workloads, by kind and name.
    pub services: Vec<ImportedService>,
    /// Its Services that lead to no workload of the namespace, such as names of servers outside.
    pub addresses: Vec<ImportedAddress>,
    /// What could not be seen, and what that means.
    pub notes: Vec<String>,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedService {
    /// Kind, namespace and name.
    pub workload: WorkloadRef,
    /// The cluster's own id of this very object.
    pub uid: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Selects its pods, such as `app=shop,tier in (web)`.
    pub selector: String,
    /// Its containers in their order; the first is the program itself, where nothing else is said.
    pub containers: Vec<ImportedContainer>,
    /// How many replicas there are.
    pub replicas: ReplicaCounts,
    /// Who decides how many.
    pub replica_owner: ReplicaOwner,
    /// The Services that lead to it, by name.
    pub addresses: Vec<ImportedAddress>,
    /// Where its pods tell their measures, by the annotations `prometheus.io/…`: port and path.
    pub metrics: Option<(u16, String)>,
    /// How long a pod may take to stop.
    pub stop_timeout: SignedDuration,
}

impl ImportedService {
    /// How old it is.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        self.created_at.map(|created| now.duration_since(created))
    }

    /// The container that is the program: the one that `kubectl` takes by default, else the first.
    #[must_use]
    pub fn main_container(&self) -> Option<&ImportedContainer> {
        self.containers.iter().find(|container| container.is_default).or(self.containers.first())
    }
}

/// How many replicas a workload has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaCounts {
    /// How many there shall be; for a DaemonSet the nodes that need one.
    pub declared: u32,
    /// How many there are.
    pub existing: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// How many are of the newest template.
    pub updated: u32,
}

/// A container of the pods of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedContainer {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Whether an annotation names it as the default one.
    pub is_default: bool,
    /// Ports it says it listens on.
    pub ports: Vec<ImportedPort>,
    /// Its probes.
    pub probes: ImportedProbes,
    /// What it asks for and what it may use.
    pub resources: ImportedResources,
    /// Names of its variables, never their values.
    pub env: Vec<ImportedEnv>,
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedPort {
    /// Its name, empty where it has none.
    pub name: String,
    /// Its number, 1 … 65535.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// The probes of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedProbes {
    /// Until it succeeds the others wait.
    pub startup: Option<ImportedProbe>,
    /// While it fails the pod is not used.
    pub readiness: Option<ImportedProbe>,
    /// When it fails the container is started again.
    pub liveness: Option<ImportedProbe>,
}

/// A probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedProbe {
    /// How it asks.
    pub kind: ProbeKind,
    /// Time between two questions.
    pub period: SignedDuration,
    /// Time to answer.
    pub timeout: SignedDuration,
    /// Wait before the first question.
    pub initial_delay: SignedDuration,
    /// Failures in a row that count, 1 or more.
    pub failure_threshold: u32,
    /// Successes in a row that count, 1 or more.
    pub success_threshold: u32,
}

/// How a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ProbeKind {
    /// An HTTP GET.
    Http {
        /// Its path.
        path: String,
        /// Name or number of the port.
        port: String,
        /// Whether over TLS.
        tls: bool,
    },
    /// A connection.
    Tcp {
        /// Name or number of the port.
        port: String,
    },
    /// The health service of gRPC.
    Grpc {
        /// The port.
        port: u16,
    },
    /// A command in the container; it may hold a secret, so it is not read.
    Exec,
}

/// What a container asks for and may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedResources {
    /// Thousandths of a processor that are set aside.
    pub cpu_request_millis: Option<u64>,
    /// The most thousandths of a processor.
    pub cpu_limit_millis: Option<u64>,
    /// Bytes of memory that are set aside.
    pub memory_request_bytes: Option<u64>,
    /// The most bytes of memory.
    pub memory_limit_bytes: Option<u64>,
}

/// A variable of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedEnv {
    /// Its name; for all keys of a map or secret their prefix and `*`.
    pub name: String,
    /// Where its value comes from.
    pub origin: EnvOrigin,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum EnvOrigin {
    /// It is written in the workload. It is not read: passwords are written there, too.
    Written,
    /// A key of a ConfigMap.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key, empty for all.
        key: String,
    },
    /// A key of a Secret.
    Secret {
        /// Its name.
        name: String,
        /// The key, empty for all.
        key: String,
    },
    /// A field of the pod, such as its address.
    Pod,
}

/// A Service of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedAddress {
    /// Its name.
    pub name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub kind: String,
    /// Its address in the cluster, or the name it stands for.
    pub address: Option<String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Labels of the pods it leads to; none for one whose ends are set by hand.
    pub selector: BTreeMap<String, String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its name, empty where it has none.
    pub name: String,
    /// Its number, 1 … 65535.
    pub port: u16,
    /// Name or number of the port of the pods.
    pub target: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A time of the cluster in our type.
pub(super) fn timestamp(time: &Time) -> Option<Timestamp> {
    Timestamp::new(time.0.as_second(), time.0.subsec_nanosecond()).ok()
}

pub(super) fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}

pub(super) fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

pub(super) fn reference(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

/// The containers of a pod. Those that only prepare it are left out, but not those that run beside it.
pub(super) fn containers(pod: &PodSpec, default: Option<&str>) -> Vec<ImportedContainer> {
    let beside = pod.init_containers.iter().flatten();
    let beside = beside.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    pod.containers.iter().chain(beside).map(|inner| container(inner, default)).collect()
}

fn container(inner: &Container, default: Option<&str>) -> ImportedContainer {
    let ports = inner.ports.iter().flatten().filter_map(|declared| {
        let name = declared.name.clone().unwrap_or_default();
        let protocol = declared.protocol.clone().unwrap_or_else(|| "TCP".into());
        Some(ImportedPort { name, port: port(declared.container_port)?, protocol })
    });
    let all = inner.env_from.iter().flatten().filter_map(|source| {
        let name = format!("{}*", source.prefix.as_deref().unwrap_or_default());
        let map = source
            .config_map_ref
            .as_ref()
            .map(|from| EnvOrigin::ConfigMap { name: from.name.clone(), key: String::new() });
        let secret = source
            .secret_ref
            .as_ref()
            .map(|from| EnvOrigin::Secret { name: from.name.clone(), key: String::new() });
        Some(ImportedEnv { name, origin: map.or(secret)? })
    });
    ImportedContainer {
        name: inner.name.clone(),
        image: inner.image.clone().unwrap_or_default(),
        is_default: default == Some(inner.name.as_str()),
        ports: ports.collect(),
        probes: ImportedProbes {
            startup: inner.startup_probe.as_ref().and_then(probe),
            readiness: inner.readiness_probe.as_ref().and_then(probe),
            liveness: inner.liveness_probe.as_ref().and_then(probe),
        },
        resources: inner.resources.as_ref().map(resources).unwrap_or_default(),
        env: inner.env.iter().flatten().map(variable).chain(all).collect(),
    }
}

fn variable(declared: &EnvVar) -> ImportedEnv {
    let from = declared.value_from.as_ref();
    let origin = match from {
        None => EnvOrigin::Written,
        Some(from) => match (&from.config_map_key_ref, &from.secret_key_ref) {
            (Some(map), _) => EnvOrigin::ConfigMap { name: map.name.clone(), key: map.key.clone() },
            (_, Some(secret)) => EnvOrigin::Secret { name: secret.name.clone(), key: secret.key.clone() },
            _ => EnvOrigin::Pod,
        },
    };
    ImportedEnv { name: declared.name.clone(), origin }
}

fn resources(declared: &ResourceRequirements) -> ImportedResources {
    let limit = |name: &str| declared.limits.as_ref()?.get(name).map(|quantity| quantity.0.as_str());
    let request = |name: &str| declared.requests.as_ref()?.get(name).map(|quantity| quantity.0.as_str());
    ImportedResources {
        cpu_request_millis: request("cpu").and_then(millis),
        cpu_limit_millis: limit("cpu").and_then(millis),
        memory_request_bytes: request("memory").and_then(whole),
        memory_limit_bytes: limit("memory").and_then(whole),
    }
}

/// Where the cluster has not written a default, the one of Kubernetes is taken.
fn probe(declared: &Probe) -> Option<ImportedProbe> {
    let kind = match (&declared.http_get, &declared.tcp_socket, &declared.grpc, &declared.exec) {
        (Some(http), ..) => ProbeKind::Http {
            path: http.path.clone().unwrap_or_else(|| "/".into()),
            port: reference(&http.port),
            tls: http.scheme.as_deref() == Some("HTTPS"),
        },
        (_, Some(tcp), ..) => ProbeKind::Tcp { port: reference(&tcp.port) },
        (_, _, Some(grpc), _) => ProbeKind::Grpc { port: port(grpc.port)? },
        (.., Some(_)) => ProbeKind::Exec,
        _ => return None,
    };
    let seconds =
        |value: Option<i32>, default: i32| SignedDuration::from_secs(value.unwrap_or(default).into());
    Some(ImportedProbe {
        kind,
        period: seconds(declared.period_seconds, 10),
        timeout: seconds(declared.timeout_seconds, 1),
        initial_delay: seconds(declared.initial_delay_seconds, 0),
        failure_threshold: count(declared.failure_threshold.or(Some(3))).max(1),
        success_threshold: count(declared.success_threshold.or(Some(1))).max(1),
    })
}
