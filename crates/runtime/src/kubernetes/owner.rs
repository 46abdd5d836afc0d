//! Who decides about the number of replicas of a workload.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cluster::FIELD_MANAGER;
use super::service::{WorkloadKind, timestamp};

/// Who decides about `spec.replicas`. Of several the first of this order is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "owner")]
pub enum ReplicaOwner {
    /// A ScaledObject of KEDA.
    ScaledObject {
        /// Its name.
        name: String,
    },
    /// A HorizontalPodAutoscaler.
    HorizontalPodAutoscaler {
        /// Its name.
        name: String,
    },
    /// The object that the workload is a part of, such as one of an operator.
    Controller {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Someone who has set the field: a person with `kubectl`, Helm, a pipeline, another autoscaler.
    FieldManager {
        /// The name that the cluster has noted.
        manager: String,
        /// `Apply` (server-side apply, set again with each run) or `Update`.
        operation: String,
        /// Whether it was set through the scale subresource, as autoscalers do.
        by_scaling: bool,
        /// When it was last set.
        since: Option<Timestamp>,
    },
    /// `sos` has set it.
    Ours,
    /// Nobody is noted: it is at its default, or was set through the scale subresource only. The cluster notes such a
    /// setting, ours too, only where somebody had been noted before (`skipNonAppliedManager` of its field manager).
    Nobody,
    /// There is nothing to set: one replica runs on each node.
    EveryNode,
    /// It cannot be seen whether an autoscaler decides.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl ReplicaOwner {
    /// Whether the number may be set by us: it is ours, nobody's, or of a field manager that is accepted.
    #[must_use]
    pub fn allows(&self, accepted: &[String]) -> bool {
        match self {
            Self::Ours | Self::Nobody => true,
            Self::FieldManager { manager, .. } => accepted.contains(manager),
            _ => false,
        }
    }

    /// What to do so that `sos` can decide.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::ScaledObject { name } => {
                format!("delete ScaledObject {name}, or leave this service at attach: recommend")
            }
            Self::HorizontalPodAutoscaler { name } => {
                format!("delete HorizontalPodAutoscaler {name}, or leave this service at attach: recommend")
            }
            Self::Controller { kind, name } => {
                format!("set the number at {kind} {name}, which would set it back")
            }
            Self::FieldManager { manager, .. } => format!(
                "take replicas out of what {manager} sets, or say that its setting may be changed (accept {manager})"
            ),
            Self::EveryNode => "a DaemonSet follows the nodes of the cluster".into(),
            Self::Unknown { .. } => "give the account the right to list autoscalers".into(),
            Self::Ours | Self::Nobody => "nothing is in the way".into(),
        }
    }
}

impl fmt::Display for ReplicaOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScaledObject { name } => write!(f, "ScaledObject {name} of KEDA decides"),
            Self::HorizontalPodAutoscaler { name } => write!(f, "HorizontalPodAutoscaler {name} decides"),
            Self::Controller { kind, name } => write!(f, "the workload is a part of {kind} {name}"),
            Self::FieldManager { manager, operation, by_scaling, since } => {
                let how = if *by_scaling { "by scaling" } else { operation };
                write!(f, "field manager {manager} has set them ({how}")?;
                since.map_or(Ok(()), |at| write!(f, ", {at}"))?;
                f.write_str(")")
            }
            Self::Ours => f.write_str("sos has set them"),
            Self::Nobody => f.write_str("nobody is noted to have set them"),
            Self::EveryNode => f.write_str("one runs on each node"),
            Self::Unknown { why } => write!(f, "it cannot be seen who decides: {why}"),
        }
    }
}

/// Something that scales a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scaler {
    pub(super) name: String,
    /// `Kind/name` of what it scales.
    target: (String, String),
    /// The ScaledObject that made it.
    made_by: Option<String>,
}

impl Scaler {
    /// From a HorizontalPodAutoscaler or a ScaledObject, whose reference has the same shape; KEDA's kind has a default.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let name = text("/spec/scaleTargetRef/name")?;
        let group = text("/spec/scaleTargetRef/apiVersion").unwrap_or("apps/v1").split('/').next();
        // Another group may have kinds of the same names.
        if !matches!(group, Some("apps" | "extensions")) {
            return None;
        }
        let kind = text("/spec/scaleTargetRef/kind").unwrap_or("Deployment");
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let made_by = owners.into_iter().flatten().find(|owner| owner["kind"] == "ScaledObject");
        Some(Self {
            name: text("/metadata/name")?.to_owned(),
            target: (kind.to_owned(), name.to_owned()),
            made_by: made_by.and_then(|owner| owner["name"].as_str()).map(str::to_owned),
        })
    }

    fn scales(&self, kind: WorkloadKind, name: &str) -> bool {
        self.target.0 == kind.as_str() && self.target.1 == name
    }
}

/// The scalers of a namespace, as far as they can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scalers {
    pub(super) autoscalers: Vec<Scaler>,
    pub(super) scaled_objects: Vec<Scaler>,
    /// Why not all can be seen.
    pub(super) hidden: Option<String>,
}

impl Scalers {
    /// Who decides about the replicas of a workload.
    pub(super) fn owner(&self, kind: WorkloadKind, metadata: &ObjectMeta) -> ReplicaOwner {
        let name = metadata.name.as_deref().unwrap_or_default();
        if kind == WorkloadKind::DaemonSet {
            return ReplicaOwner::EveryNode;
        }
        if let Some(found) = self.scaled_objects.iter().find(|scaler| scaler.scales(kind, name)) {
            return ReplicaOwner::ScaledObject { name: found.name.clone() };
        }
        if let Some(found) = self.autoscalers.iter().find(|scaler| scaler.scales(kind, name)) {
            return match &found.made_by {
                Some(name) => ReplicaOwner::ScaledObject { name: name.clone() },
                None => ReplicaOwner::HorizontalPodAutoscaler { name: found.name.clone() },
            };
        }
        if let Some(why) = &self.hidden {
            return ReplicaOwner::Unknown { why: why.clone() };
        }
        let parts = metadata.owner_references.iter().flatten();
        if let Some(owner) = parts.into_iter().find(|owner| owner.controller == Some(true)) {
            return ReplicaOwner::Controller { kind: owner.kind.clone(), name: owner.name.clone() };
        }
        field_owner(metadata.managed_fields.as_deref().unwrap_or_default())
    }
}

/// Who has set `spec.replicas`, by what the cluster notes of each field. Of several who agree another one than us is named,
/// one that applies first: it sets the field again.
fn field_owner(entries: &[ManagedFieldsEntry]) -> ReplicaOwner {
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    };
    let owners: Vec<_> = entries.iter().filter(owns).collect();
    let others = owners.iter().filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER));
    let applies = |entry: &ManagedFieldsEntry| entry.operation.as_deref() == Some("Apply");
    match others.max_by_key(|entry| (applies(entry), entry.time.as_ref().map(|time| time.0))) {
        Some(other) => ReplicaOwner::FieldManager {
            manager: other.manager.clone().unwrap_or_default(),
            operation: other.operation.clone().unwrap_or_default(),
            by_scaling: other.subresource.as_deref() == Some("scale"),
            since: other.time.as_ref().and_then(timestamp),
        },
        None if owners.is_empty() => ReplicaOwner::Nobody,
        None => ReplicaOwner::Ours,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(json: Value) -> ObjectMeta {
        serde_json::from_value(json).unwrap()
    }

    fn set_by(manager: &str, operation: &str, subresource: &str, time: &str) -> Value {
        json!({"manager": manager, "operation": operation, "subresource": subresource, "time": time,
            "fieldsType": "FieldsV1", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {"f:replicas": {}}}})
    }

    #[test]
    fn an_autoscaler_is_found_by_kind_and_name_of_its_target_only() {
        let hpa = |kind: &str, api: &str| {
            Scaler::read(&json!({"metadata": {"name": "h"},
                "spec": {"scaleTargetRef": {"kind": kind, "name": "shop", "apiVersion": api}}}))
        };
        assert_eq!(hpa("Deployment", "example.org/v1"), None, "another group");
        let scalers =
            Scalers { autoscalers: vec![hpa("Deployment", "apps/v1").unwrap()], ..Scalers::default() };
        let shop = metadata(json!({"name": "shop"}));
        let owner = scalers.owner(WorkloadKind::Deployment, &shop);
        assert_eq!(owner, ReplicaOwner::HorizontalPodAutoscaler { name: "h".into() });
        assert!(!owner.allows(&["h".into()]));
        assert_eq!(scalers.owner(WorkloadKind::StatefulSet, &shop), ReplicaOwner::Nobody);
        assert_eq!(
            scalers.owner(WorkloadKind::Deployment, &metadata(json!({"name": "other"}))),
            ReplicaOwner::Nobody
        );
    }

    #[test]
    fn keda_is_named_for_the_autoscaler_that_it_made_and_its_kind_has_a_default() {
        let made = json!({"metadata": {"name": "keda-hpa-s", "ownerReferences": [{"kind": "ScaledObject", "name": "s"}]},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "shop", "apiVersion": "apps/v1"}}});
        let scaled = json!({"metadata": {"name": "s"}, "spec": {"scaleTargetRef": {"name": "shop"}}});
        let shop = metadata(json!({"name": "shop"}));
        let expected = ReplicaOwner::ScaledObject { name: "s".into() };
        let by = Scalers { autoscalers: vec![Scaler::read(&made).unwrap()], ..Scalers::default() };
        assert_eq!(by.owner(WorkloadKind::Deployment, &shop), expected);
        let by = Scalers { scaled_objects: vec![Scaler::read(&scaled).unwrap()], ..Scalers::default() };
        assert_eq!(by.owner(WorkloadKind::Deployment, &shop), expected);
    }

    #[test]
    fn the_field_manager_that_sets_it_again_is_named() {
        let fields = json!([
            set_by("kubectl-client-side-apply", "Update", "", "2026-01-03T00:00:00Z"),
            set_by("flux", "Apply", "", "2026-01-01T00:00:00Z"),
            set_by("sos", "Update", "scale", "2026-01-04T00:00:00Z"),
        ]);
        let shop = metadata(json!({"name": "shop", "managedFields": fields}));
        let owner = Scalers::default().owner(WorkloadKind::Deployment, &shop);
        let ReplicaOwner::FieldManager { manager, .. } = &owner else { panic!("{owner:?}") };
        assert_eq!(manager, "flux");
        assert!(owner.allows(&["flux".into()]) && !owner.allows(&["helm".into()]));
        assert!(owner.to_string().contains("flux") && owner.advice().contains("flux"));
    }

    #[test]
    fn what_we_have_set_or_nobody_may_be_set() {
        let ours = json!([set_by("sos", "Update", "scale", "2026-01-04T00:00:00Z"),
            {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}}]);
        let ours = metadata(json!({"name": "shop", "managedFields": ours}));
        assert_eq!(Scalers::default().owner(WorkloadKind::Deployment, &ours), ReplicaOwner::Ours);
        assert_eq!(
            Scalers::default().owner(WorkloadKind::Deployment, &ObjectMeta::default()),
            ReplicaOwner::Nobody
        );
    }

    #[test]
    fn what_cannot_be_seen_is_not_taken_for_nobody() {
        let scalers = Scalers { hidden: Some("not allowed".into()), ..Scalers::default() };
        let owner = scalers.owner(WorkloadKind::Deployment, &ObjectMeta::default());
        assert!(matches!(owner, ReplicaOwner::Unknown { .. }) && !owner.allows(&[]));
        let part = metadata(json!({"name": "a", "ownerReferences":
            [{"apiVersion": "v1", "kind": "Shop", "name": "b", "uid": "u", "controller": true}]}));
        let owner = Scalers::default().owner(WorkloadKind::StatefulSet, &part);
        assert_eq!(owner, ReplicaOwner::Controller { kind: "Shop".into(), name: "b".into() });
    }
}
