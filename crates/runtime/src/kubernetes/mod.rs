//! A cluster of Kubernetes as it is: what runs there as metadata, its pods in plain states, its usage, and the number of
//! replicas, set where nobody else sets it; and in `driver/` the [`KubernetesDriver`], which deploys services of our own.
//!
//! [`Cluster::connect`] → [`Cluster::import`] → [`manifests`] is the way from a kubeconfig to declared services;
//! [`Attached`] is what follows: a workload that runs there already, watched and scaled. [`rbac`] prints what an account needs
//! for that. Names of secrets may be read, values of variables never are.

mod attached;
mod cache;
mod cluster;
mod driver;
mod error;
mod exec;
mod import;
mod kubeconfig;
mod manifest;
mod meter;
mod names;
mod owner;
mod pods;
pub(crate) mod quantity;
mod rbac;
mod scale;
mod service;
mod usage;
mod watch;

pub use attached::{Attached, AttachedState};
pub use cluster::{Cluster, FIELD_MANAGER};
pub(crate) use driver::objects_of;
pub use driver::{ClusterStep, KubernetesDriver, KubernetesOptions};
pub use error::KubernetesError;
pub use kubeconfig::KubeconfigSource;
pub use manifest::{Attach, ManifestOptions, manifests};
pub use owner::ReplicaOwner;
pub use pods::{ContainerCondition, PodPhase, PodState, Termination, Waiting};
pub use rbac::{Permission, rbac};
pub use scale::{MAX_REPLICAS, Scaled};
pub use service::{
    EnvOrigin, ImportedAddress, ImportedContainer, ImportedEnv, ImportedPort, ImportedProbe, ImportedProbes,
    ImportedResources, ImportedService, NamespaceImport, ProbeKind, ReplicaCounts, ServicePort, WorkloadKind,
    WorkloadRef,
};
pub use usage::{ContainerUsage, UsageSource};
pub use watch::{PodEvent, PodTable};
