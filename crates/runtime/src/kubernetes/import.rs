//! Listing what runs in a namespace.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::Value;

use super::cluster::Cluster;
use super::error::KubernetesError;
use super::names::{check_name, check_namespace};
use super::owner::{Scaler, Scalers};
use super::service::{
    ImportedAddress, ImportedService, NamespaceImport, ReplicaCounts, ServicePort, WorkloadKind, WorkloadRef,
    containers, count, port, reference, timestamp,
};

/// The time that Kubernetes gives a pod to stop by default.
const STOP_TIMEOUT: i64 = 30;

impl Cluster {
    /// What runs in a namespace. Values of variables and secrets are not taken over.
    ///
    /// # Errors
    /// When the namespace does not exist, the cluster cannot be reached or the workloads may not be listed. What else cannot be
    /// seen is told in [`NamespaceImport::notes`].
    pub async fn import(&self, namespace: &str) -> Result<NamespaceImport, KubernetesError> {
        check_namespace(namespace)?;
        let mut notes = vec![];
        self.check_exists(namespace, &mut notes).await?;
        let apps = format!("/apis/apps/v1/namespaces/{namespace}");
        let deployments: Vec<Deployment> =
            self.list(&format!("{apps}/deployments"), "list deployments").await?;
        let stateful: Vec<StatefulSet> =
            self.list(&format!("{apps}/statefulsets"), "list statefulsets").await?;
        let daemons: Vec<DaemonSet> = self.list(&format!("{apps}/daemonsets"), "list daemonsets").await?;
        let services = self.services(namespace, &mut notes).await?;
        let scalers = self.scalers(namespace).await?;
        notes.extend(scalers.hidden.clone());

        let parts = deployments.iter().map(of_deployment).chain(stateful.iter().map(of_stateful_set));
        let parts = parts.chain(daemons.iter().map(of_daemon_set));
        let mut found: Vec<_> = parts.map(|part| part.service(namespace, &services, &scalers)).collect();
        found.sort_by(|a, b| a.workload.cmp(&b.workload));
        let used =
            |address: &ImportedAddress| found.iter().any(|service| service.addresses.contains(address));
        let addresses = services.iter().filter(|address| !used(address)).cloned().collect();
        Ok(NamespaceImport { namespace: namespace.into(), services: found, addresses, notes })
    }

    /// One workload of a namespace, without the Services that lead to it.
    ///
    /// # Errors
    /// When it does not exist, may not be looked at, or the cluster cannot be reached.
    pub async fn workload(&self, workload: &WorkloadRef) -> Result<ImportedService, KubernetesError> {
        let WorkloadRef { kind, namespace, name } = workload;
        check_namespace(namespace)?;
        check_name(kind.as_str(), name)?;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{}/{name}", kind.plural());
        let what = format!("get {} {name} in namespace {namespace}", kind.plural());
        let scalers = self.scalers(namespace).await?;
        Ok(match kind {
            WorkloadKind::Deployment => {
                of_deployment(&self.get(&path, &what).await?).service(namespace, &[], &scalers)
            }
            WorkloadKind::StatefulSet => {
                of_stateful_set(&self.get(&path, &what).await?).service(namespace, &[], &scalers)
            }
            WorkloadKind::DaemonSet => {
                of_daemon_set(&self.get(&path, &what).await?).service(namespace, &[], &scalers)
            }
        })
    }

    /// A list of a namespace that does not exist is empty, so it is asked for itself.
    async fn check_exists(&self, namespace: &str, notes: &mut Vec<String>) -> Result<(), KubernetesError> {
        match self.get::<Value>(&format!("/api/v1/namespaces/{namespace}"), "get the namespace").await {
            Ok(_) => Ok(()),
            Err(KubernetesError::Missing(_)) => {
                Err(KubernetesError::Missing(format!("namespace {namespace}")))
            }
            Err(KubernetesError::Denied { .. }) => {
                notes.push(format!(
                    "namespace {namespace} may not be looked at, so a wrong name would look empty"
                ));
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    async fn services(
        &self,
        namespace: &str,
        notes: &mut Vec<String>,
    ) -> Result<Vec<ImportedAddress>, KubernetesError> {
        let path = format!("/api/v1/namespaces/{namespace}/services");
        match self.list::<Service>(&path, "list services").await {
            Ok(all) => Ok(all.iter().map(address).collect()),
            Err(KubernetesError::Denied { why, .. }) => {
                notes.push(format!("addresses are not known: {why}"));
                Ok(vec![])
            }
            Err(other) => Err(other),
        }
    }

    /// All that scales workloads of a namespace. Where KEDA is not installed there is none of it.
    pub(super) async fn scalers(&self, namespace: &str) -> Result<Scalers, KubernetesError> {
        let mut scalers = Scalers::default();
        let path = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers");
        match self.list::<Value>(&path, "list horizontalpodautoscalers").await {
            Ok(all) => scalers.autoscalers = all.iter().filter_map(Scaler::read).collect(),
            Err(KubernetesError::Denied { why, .. }) => scalers.hidden = Some(why),
            Err(other) => return Err(other),
        }
        let path = format!("/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects");
        match self.list::<Value>(&path, "list scaledobjects").await {
            Ok(all) => scalers.scaled_objects = all.iter().filter_map(Scaler::read).collect(),
            Err(KubernetesError::Missing(_)) => {}
            Err(KubernetesError::Denied { why, .. }) => scalers.hidden = Some(why),
            Err(other) => return Err(other),
        }
        Ok(scalers)
    }
}

/// What the kinds of workloads have in common.
struct Part<'a> {
    kind: WorkloadKind,
    metadata: &'a ObjectMeta,
    selector: Option<&'a LabelSelector>,
    template: Option<&'a PodTemplateSpec>,
    replicas: ReplicaCounts,
}

fn of_deployment(object: &Deployment) -> Part<'_> {
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    Part {
        kind: WorkloadKind::Deployment,
        metadata: &object.metadata,
        selector: spec.map(|spec| &spec.selector),
        template: spec.map(|spec| &spec.template),
        replicas: ReplicaCounts {
            declared: count(spec.and_then(|spec| spec.replicas).or(Some(1))),
            existing: count(status.and_then(|status| status.replicas)),
            ready: count(status.and_then(|status| status.ready_replicas)),
            updated: count(status.and_then(|status| status.updated_replicas)),
        },
    }
}

fn of_stateful_set(object: &StatefulSet) -> Part<'_> {
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    Part {
        kind: WorkloadKind::StatefulSet,
        metadata: &object.metadata,
        selector: spec.map(|spec| &spec.selector),
        template: spec.map(|spec| &spec.template),
        replicas: ReplicaCounts {
            declared: count(spec.and_then(|spec| spec.replicas).or(Some(1))),
            existing: count(status.map(|status| status.replicas)),
            ready: count(status.and_then(|status| status.ready_replicas)),
            updated: count(status.and_then(|status| status.updated_replicas)),
        },
    }
}

fn of_daemon_set(object: &DaemonSet) -> Part<'_> {
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    Part {
        kind: WorkloadKind::DaemonSet,
        metadata: &object.metadata,
        selector: spec.map(|spec| &spec.selector),
        template: spec.map(|spec| &spec.template),
        replicas: ReplicaCounts {
            declared: count(status.map(|status| status.desired_number_scheduled)),
            existing: count(status.map(|status| status.current_number_scheduled)),
            ready: count(status.map(|status| status.number_ready)),
            updated: count(status.and_then(|status| status.updated_number_scheduled)),
        },
    }
}

impl Part<'_> {
    fn service(&self, namespace: &str, services: &[ImportedAddress], scalers: &Scalers) -> ImportedService {
        let pod = self.template.and_then(|template| template.spec.as_ref());
        let marks = self.template.and_then(|template| template.metadata.as_ref());
        let labels = marks.and_then(|marks| marks.labels.clone()).unwrap_or_default();
        let note = |name: &str| marks?.annotations.as_ref()?.get(name).map(String::as_str);
        let leads_here = |address: &&ImportedAddress| {
            !address.selector.is_empty() && address.selector.iter().all(|(k, v)| labels.get(k) == Some(v))
        };
        let grace = pod.and_then(|pod| pod.termination_grace_period_seconds).unwrap_or(STOP_TIMEOUT);
        ImportedService {
            workload: WorkloadRef {
                kind: self.kind,
                namespace: namespace.into(),
                name: self.metadata.name.clone().unwrap_or_default(),
            },
            uid: self.metadata.uid.clone().unwrap_or_default(),
            created_at: self.metadata.creation_timestamp.as_ref().and_then(timestamp),
            labels: self.metadata.labels.clone().unwrap_or_default(),
            selector: self.selector.map(selector).unwrap_or_default(),
            containers: pod
                .map(|pod| containers(pod, note("kubectl.kubernetes.io/default-container")))
                .unwrap_or_default(),
            replicas: self.replicas,
            replica_owner: scalers.owner(self.kind, self.metadata),
            addresses: services.iter().filter(leads_here).cloned().collect(),
            metrics: metrics(note),
            stop_timeout: SignedDuration::from_secs(grace.max(0)),
        }
    }
}

/// Where measures are told, by the annotations that Prometheus' examples have spread.
fn metrics<'a>(note: impl Fn(&str) -> Option<&'a str>) -> Option<(u16, String)> {
    let port = note("prometheus.io/port")?.parse().ok().filter(|port| *port > 0)?;
    let path = note("prometheus.io/path").filter(|path| path.starts_with('/')).unwrap_or("/metrics");
    (note("prometheus.io/scrape") == Some("true")).then(|| (port, path.to_owned()))
}

/// A selector as it is written in a query.
fn selector(declared: &LabelSelector) -> String {
    let equal = declared.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = declared.match_expressions.iter().flatten().filter_map(|one| {
        let values = one.values.as_deref().unwrap_or_default().join(",");
        Some(match one.operator.as_str() {
            "In" => format!("{} in ({values})", one.key),
            "NotIn" => format!("{} notin ({values})", one.key),
            "Exists" => one.key.clone(),
            "DoesNotExist" => format!("!{}", one.key),
            _ => return None,
        })
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}

fn address(service: &Service) -> ImportedAddress {
    let spec = service.spec.as_ref();
    let ports =
        spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default().iter().filter_map(|declared| {
            Some(ServicePort {
                name: declared.name.clone().unwrap_or_default(),
                port: port(declared.port)?,
                target: declared.target_port.as_ref().map_or_else(|| declared.port.to_string(), reference),
                protocol: declared.protocol.clone().unwrap_or_else(|| "TCP".into()),
            })
        });
    let selector: BTreeMap<_, _> = spec.and_then(|spec| spec.selector.clone()).unwrap_or_default();
    let address = spec.and_then(|spec| spec.external_name.clone().or_else(|| spec.cluster_ip.clone()));
    ImportedAddress {
        name: service.metadata.name.clone().unwrap_or_default(),
        kind: spec.and_then(|spec| spec.type_.clone()).unwrap_or_else(|| "ClusterIP".into()),
        address: address.filter(|address| address != "None" && !address.is_empty()),
        ports: ports.collect(),
        selector,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_is_written_as_a_query_has_it() {
        let declared = serde_json::from_value(json!({
            "matchLabels": {"app": "shop"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["web", "api"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        }));
        assert_eq!(selector(&declared.unwrap()), "app=shop,tier in (web,api),!old");
    }

    #[test]
    fn services_are_joined_by_the_labels_of_the_pods_and_values_of_variables_are_left_out() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "shop", "uid": "u-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "shop"}}, "template": {
                "metadata": {"labels": {"app": "shop", "v": "1"}, "annotations": {
                    "prometheus.io/scrape": "true", "prometheus.io/port": "9000",
                    "kubectl.kubernetes.io/default-container": "web"}},
                "spec": {"containers": [
                    {"name": "proxy", "image": "proxy:1"},
                    {"name": "web", "image": "web:1",
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"path": "/ok", "port": "http"}, "periodSeconds": 2},
                        "livenessProbe": {"exec": {"command": ["check", "--password=hunter2"]}},
                        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
                        "env": [{"name": "PASSWORD", "value": "hunter2"},
                            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}}],
                        "envFrom": [{"prefix": "C_", "configMapRef": {"name": "conf"}}]}]}}},
            "status": {"replicas": 3, "readyReplicas": 2}
        }))
        .unwrap();
        let to = |name: &str, selector: &[(&str, &str)]| ImportedAddress {
            name: name.into(),
            kind: "ClusterIP".into(),
            address: None,
            ports: vec![],
            selector: selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let all =
            [to("shop", &[("app", "shop")]), to("other", &[("app", "shop"), ("v", "2")]), to("by-hand", &[])];
        let found = of_deployment(&deployment).service("default", &all, &Scalers::default());
        assert_eq!(found.addresses.iter().map(|address| address.name.as_str()).collect::<Vec<_>>(), ["shop"]);
        assert_eq!(found.replicas, ReplicaCounts { declared: 3, existing: 3, ready: 2, updated: 0 });
        assert_eq!(found.main_container().unwrap().name, "web");
        assert_eq!(found.metrics, Some((9000, "/metrics".into())));
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains("hunter2") && text.contains("PASSWORD") && text.contains("C_*"), "{text}");
    }
}
