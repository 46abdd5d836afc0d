//! Setting the number of replicas of a workload that somebody else deployed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cluster::{Cluster, FIELD_MANAGER, refused};
use super::error::KubernetesError;
use super::names::{check_name, check_namespace};
use super::owner::ReplicaOwner;
use super::service::{WorkloadKind, WorkloadRef};

/// The most replicas that are asked for.
pub const MAX_REPLICAS: u32 = 1000;
/// How often a change by somebody else in between is looked at again.
const TRIES: usize = 3;

/// What became of a request for a number of replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// How many were declared before.
    pub from: u32,
    /// How many are declared now.
    pub to: u32,
    /// Who had decided about them.
    pub owner: ReplicaOwner,
}

/// What is read of a workload to scale it: the same for all kinds.
#[derive(Deserialize)]
struct Scalable {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ScalableSpec,
}

#[derive(Default, Deserialize)]
struct ScalableSpec {
    replicas: Option<u32>,
}

impl Cluster {
    /// Sets the number of replicas through the scale subresource and nothing else. Who else decides about it is looked at
    /// first; `accepted` are the field managers whose setting may be changed, such as `helm`. The number is set only if the
    /// workload is still the one that was looked at. When it is declared already nothing is written.
    ///
    /// # Errors
    /// [`KubernetesError::Owned`] where an autoscaler, an operator or another field manager decides; when the workload is none
    /// that can be scaled, does not exist, or the cluster refuses.
    pub async fn scale(
        &self,
        workload: &WorkloadRef,
        replicas: u32,
        accepted: &[String],
    ) -> Result<Scaled, KubernetesError> {
        check_namespace(&workload.namespace)?;
        check_name(workload.kind.as_str(), &workload.name)?;
        if replicas > MAX_REPLICAS {
            return Err(refused(
                &format!("{replicas} replicas of {workload}"),
                &format!("expected 0 to {MAX_REPLICAS}"),
            ));
        }
        if workload.kind == WorkloadKind::DaemonSet {
            return Err(KubernetesError::Owned {
                workload: workload.to_string(),
                owner: Box::new(ReplicaOwner::EveryNode),
            });
        }
        for _ in 0..TRIES {
            match self.try_scale(workload, replicas, accepted).await {
                Err(KubernetesError::Conflict(_)) => {}
                other => return other,
            }
        }
        Err(KubernetesError::Conflict(workload.to_string()))
    }

    /// Who decides about the replicas of a workload now.
    ///
    /// # Errors
    /// When the workload does not exist, may not be looked at, or the cluster cannot be reached.
    pub async fn replica_owner(&self, workload: &WorkloadRef) -> Result<ReplicaOwner, KubernetesError> {
        check_namespace(&workload.namespace)?;
        check_name(workload.kind.as_str(), &workload.name)?;
        let found: Scalable = self.get(&path(workload), &format!("get {workload}")).await?;
        Ok(self.scalers(&workload.namespace).await?.owner(workload.kind, &found.metadata))
    }

    async fn try_scale(
        &self,
        workload: &WorkloadRef,
        replicas: u32,
        accepted: &[String],
    ) -> Result<Scaled, KubernetesError> {
        let what = format!("scale {workload} to {replicas}");
        let found: Scalable = self.get(&path(workload), &format!("get {workload}")).await?;
        if found.metadata.deletion_timestamp.is_some() {
            return Err(refused(&what, "it is being deleted"));
        }
        let owner = self.scalers(&workload.namespace).await?.owner(workload.kind, &found.metadata);
        if !owner.allows(accepted) {
            return Err(KubernetesError::Owned { workload: workload.to_string(), owner: Box::new(owner) });
        }
        let from = found.spec.replicas.unwrap_or(1);
        if from != replicas {
            let body = json!({
                "apiVersion": "autoscaling/v1",
                "kind": "Scale",
                "metadata": {"name": workload.name, "namespace": workload.namespace,
                    "resourceVersion": found.metadata.resource_version},
                "spec": {"replicas": replicas},
            });
            let path = format!("{}/scale?fieldManager={FIELD_MANAGER}", path(workload));
            let _scale: Value = self.put(&path, &body, &what).await?;
        }
        Ok(Scaled { from, to: replicas, owner })
    }
}

fn path(workload: &WorkloadRef) -> String {
    let WorkloadRef { kind, namespace, name } = workload;
    format!("/apis/apps/v1/namespaces/{namespace}/{}/{name}", kind.plural())
}
