//! From a description to the objects of a cluster.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::names::{
    DESCRIPTION, INSTANCE, MAIN, MANAGED_BY, REVISION, SERVICE, TRAFFIC, check, deployment_name, numbers,
    ports, revision,
};
use crate::{
    ContainerCheck, ContainerConfig, ContainerNetwork, ContainerProbe, Deployment, DescribeError,
    DriverError, EnvValue, EnvVar, ImageSource, Limits, PullPolicy, ReplicaConfig, SecretValues,
    VolumeSource, WorkdirMount,
};

/// The objects of a service, as they would be applied; `describe` makes its description, given its ports.
pub(crate) fn objects_of(
    config: &ReplicaConfig,
    namespace: &str,
    replicas: u32,
    describe: impl FnOnce(BTreeMap<String, u16>) -> Result<Deployment, DescribeError>,
) -> Result<Vec<Value>, DriverError> {
    check(config)?;
    let deployment = describe(ports(config))?;
    // Each data directory has an id of its own.
    let objects = Objects { instance: "generated".into(), namespace: namespace.to_owned() };
    let container = deployment.container.as_ref();
    let own = container.map(|container| objects.deployment(&deployment, container, replicas));
    let budget = objects.disruption_budget(&deployment);
    let policy = objects.network_policy(&deployment);
    let more = objects.config_map(&deployment).into_iter().chain(objects.service(&deployment));
    Ok(more.chain(own).chain([budget, policy]).collect())
}

/// Everything that objects of one data directory have in common.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) instance: String,
    pub(super) namespace: String,
}

impl Objects {
    fn labels(&self, service: &str) -> Map<String, Value> {
        let pairs = [(MANAGED_BY, "sos"), (INSTANCE, &self.instance), (SERVICE, service)];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
    }

    fn metadata(&self, name: &str, service: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": self.labels(service)})
    }

    /// What the pods of a revision, and no others, have as labels.
    fn of_revision(&self, deployment: &Deployment) -> Value {
        json!({INSTANCE: self.instance, SERVICE: deployment.service, REVISION: revision(deployment)})
    }

    /// The Deployment of a revision. It is the same for all its replicas: what differs between them is left out.
    pub(super) fn deployment(
        &self,
        deployment: &Deployment,
        container: &ContainerConfig,
        replicas: u32,
    ) -> Value {
        let name = deployment_name(deployment);
        let mut metadata = self.metadata(&name, &deployment.service);
        metadata["labels"][REVISION] = revision(deployment).into();
        // Plain data always serialises.
        let description = serde_json::to_string(deployment).unwrap_or_default();
        metadata["annotations"] = json!({DESCRIPTION: description});
        let mut labels = self.labels(&deployment.service);
        labels.insert(REVISION.into(), revision(deployment).into());
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": replicas,
                "revisionHistoryLimit": 0,
                // Should the description of pods ever change, such as by a newer sos: none beside the old ones.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": self.of_revision(deployment)},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": pod_spec(deployment, container),
                },
            },
        })
    }

    /// The values of plain variables, for the pods of a revision.
    pub(super) fn config_map(&self, deployment: &Deployment) -> Option<Value> {
        let values: BTreeMap<_, _> = shared(deployment)
            .filter_map(|var| match &var.value {
                EnvValue::Plain(text) => Some((&var.name, text)),
                EnvValue::Secret { .. } => None,
            })
            .collect();
        (!values.is_empty()).then(|| {
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": self.metadata(&deployment_name(deployment), &deployment.service),
                "data": values,
            })
        })
    }

    /// The values of secret variables, for the pods of a revision.
    pub(super) fn secret(&self, deployment: &Deployment, secrets: &SecretValues) -> Option<Value> {
        let secret = |var: &&EnvVar| matches!(var.value, EnvValue::Secret { .. });
        let values: BTreeMap<_, _> = deployment
            .env
            .iter()
            .filter(secret)
            .filter_map(|var| Some((var.name.clone(), secrets.get(&var.name)?)))
            .collect();
        (!values.is_empty()).then(|| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": self.metadata(&deployment_name(deployment), &deployment.service),
                "type": "Opaque",
                "stringData": values,
            })
        })
    }

    /// The Service that distributes traffic to replicas that get some; none without ports.
    pub(super) fn service(&self, deployment: &Deployment) -> Option<Value> {
        let ports: Vec<_> = deployment
            .ports
            .iter()
            .map(|(name, port)| json!({"name": name, "port": port, "targetPort": port, "protocol": "TCP"}))
            .collect();
        (!ports.is_empty()).then(|| {
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": self.metadata(&deployment.service, &deployment.service),
                "spec": {
                    "selector": {INSTANCE: self.instance, SERVICE: deployment.service, TRAFFIC: "on"},
                    "ports": ports,
                },
            })
        })
    }

    /// Nodes are emptied one replica after the other.
    pub(super) fn disruption_budget(&self, deployment: &Deployment) -> Value {
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.metadata(&deployment.service, &deployment.service),
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": {INSTANCE: self.instance, SERVICE: deployment.service}},
            },
        })
    }

    /// Nothing but the declared ports is reached from outside a pod.
    pub(super) fn network_policy(&self, deployment: &Deployment) -> Value {
        let ports: Vec<_> =
            deployment.ports.values().map(|port| json!({"protocol": "TCP", "port": port})).collect();
        let ingress = if ports.is_empty() { json!([]) } else { json!([{"ports": ports}]) };
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(&deployment.service, &deployment.service),
            "spec": {
                "podSelector": {"matchLabels": {INSTANCE: self.instance, SERVICE: deployment.service}},
                "policyTypes": ["Ingress"],
                "ingress": ingress,
            },
        })
    }
}

fn pod_spec(deployment: &Deployment, container: &ContainerConfig) -> Value {
    let (volumes, mounts) = volumes(deployment, container);
    let mut main = json!({
        "name": MAIN,
        "image": match &container.image { ImageSource::Reference(reference) => reference, ImageSource::Build(_) => "" },
        "imagePullPolicy": match container.pull {
            PullPolicy::Missing => "IfNotPresent",
            PullPolicy::Always => "Always",
            PullPolicy::Never => "Never",
        },
        "args": deployment.args.iter().map(|arg| literal(arg)).collect::<Vec<_>>(),
        "env": env(deployment),
        "ports": deployment.ports.iter().map(|(name, port)| json!({"name": name, "containerPort": port, "protocol": "TCP"}))
            .collect::<Vec<_>>(),
        "resources": resources(&deployment.limits),
        "volumeMounts": mounts,
        "securityContext": security(container),
    });
    let program = deployment.program.to_string_lossy();
    if !program.is_empty() {
        main["command"] = json!([literal(&program)]);
    }
    let probes = &container.probes;
    for (key, probe, steady) in [
        ("startupProbe", &probes.startup, true),
        ("readinessProbe", &probes.readiness, false),
        ("livenessProbe", &probes.liveness, true),
    ] {
        if let Some(wanted) = probe {
            main[key] = self::probe(wanted, steady);
        }
    }
    if container.workdir != WorkdirMount::No {
        main["workingDir"] = deployment.workdir.to_string_lossy().into();
    }
    json!({
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": deployment.stop_timeout.as_secs().max(1),
        // A program with number 1 would not be ended by signals that it does not handle.
        "shareProcessNamespace": container.init,
        "hostNetwork": container.network == ContainerNetwork::Host,
        // What a service does with the cluster's API is no concern of this.
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "containers": [main],
        "volumes": volumes,
    })
}

/// A probe in whole seconds, as nodes have them. With `steady` one success is enough: the cluster wants it so.
fn probe(wanted: &ContainerProbe, steady: bool) -> Value {
    let seconds = |duration: SignedDuration| (duration.as_millis().max(0) + 999) / 1000;
    let mut probe = match &wanted.check {
        ContainerCheck::Http { port, path } => json!({"httpGet": {"port": port, "path": path}}),
        ContainerCheck::Tcp { port } => json!({"tcpSocket": {"port": port}}),
        ContainerCheck::Exec { command } => json!({"exec": {"command": command}}),
    };
    probe["initialDelaySeconds"] = json!(seconds(wanted.delay));
    probe["periodSeconds"] = json!(seconds(wanted.every).max(1));
    probe["timeoutSeconds"] = json!(seconds(wanted.timeout).max(1));
    probe["failureThreshold"] = json!(wanted.failures.max(1));
    probe["successThreshold"] = json!(if steady { 1 } else { wanted.successes.max(1) });
    probe
}

/// The cluster replaces `$(NAME)` once more, and `$$` by `$`; here all is replaced already.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// The variables that all pods of a revision have alike.
fn shared(deployment: &Deployment) -> impl Iterator<Item = &EnvVar> {
    deployment.env.iter().filter(|var| !matches!(var.name.as_str(), "SOS_REPLICA" | "SOS_ORDINAL"))
}

fn env(deployment: &Deployment) -> Vec<Value> {
    let told = shared(deployment).map(|var| {
        let source = match &var.value {
            EnvValue::Plain(_) => "configMapKeyRef",
            EnvValue::Secret { .. } => "secretKeyRef",
        };
        let key = json!({"name": deployment_name(deployment), "key": var.name});
        json!({"name": var.name, "valueFrom": {source: key}})
    });
    let name = json!({"name": "SOS_REPLICA", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    told.chain([name]).collect()
}

/// What a container may use, and is given: the same, so that its class of service does not change with them.
pub(super) fn resources(limits: &Limits) -> Value {
    let mut bounds = Map::new();
    if let Some(millis) = limits.cpu_millis {
        bounds.insert("cpu".into(), format!("{millis}m").into());
    }
    if let Some(bytes) = limits.memory_bytes {
        bounds.insert("memory".into(), bytes.to_string().into());
    }
    json!({"limits": bounds, "requests": bounds})
}

fn security(container: &ContainerConfig) -> Value {
    let mut context =
        json!({"readOnlyRootFilesystem": container.read_only_root, "allowPrivilegeEscalation": false});
    if let Some((user, group)) = container.user.as_deref().and_then(numbers) {
        context["runAsUser"] = user.into();
        if let Some(group) = group {
            context["runAsGroup"] = group.into();
        }
    }
    context
}

/// Paths of the node.
fn volumes(deployment: &Deployment, container: &ContainerConfig) -> (Vec<Value>, Vec<Value>) {
    let (mut volumes, mut mounts) = (vec![], vec![]);
    let mut add =
        |name: String, path: &std::path::Path, kind: &str, target: &std::path::Path, read_only: bool| {
            volumes.push(json!({"name": name, "hostPath": {"path": path.to_string_lossy(), "type": kind}}));
            mounts.push(json!({"name": name, "mountPath": target.to_string_lossy(), "readOnly": read_only}));
        };
    let workdir = &deployment.workdir;
    match container.workdir {
        WorkdirMount::No => {}
        WorkdirMount::ReadOnly => add("workdir".into(), workdir, "Directory", workdir, true),
        WorkdirMount::ReadWrite => add("workdir".into(), workdir, "Directory", workdir, false),
    }
    for (index, volume) in container.volumes.iter().enumerate() {
        if let VolumeSource::Path(path) = &volume.source {
            add(format!("volume-{index}"), path, "", &volume.target, volume.read_only);
        }
    }
    (volumes, mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogRotation, Metadata, PortRequest, ServiceConfig, describe_deployment, load_configuration};

    fn deployment(ordinal: u32, change: impl Fn(&mut ServiceConfig, &mut ContainerConfig)) -> Deployment {
        let token = EnvValue::Secret { secret: "api".into(), key: "token".into() };
        let mut service = ServiceConfig {
            service: "web".into(),
            program: "sh".into(),
            args: vec!["-c".into(), "serve $(PORT) $$(raw) $x".into()],
            env: vec![EnvVar { name: "TOKEN".into(), value: token }],
            workdir: "/srv/web".into(),
            ports: vec![PortRequest { name: "http".into(), port: None }],
            limits: Limits { cpu_millis: Some(250), memory_bytes: Some(64 << 20) },
            logs: LogRotation::default(),
            depends_on: vec![],
            stop_timeout: SignedDuration::from_secs(10),
            labels: BTreeMap::new(),
            container: None,
            place: None,
        };
        let mut container = ContainerConfig::new(ImageSource::Reference("registry.example/web:1".into()));
        change(&mut service, &mut container);
        service.container = Some(container);
        let config = load_configuration(&service, ordinal, 1, None).unwrap();
        let metadata = Metadata {
            ports: super::super::names::ports(&config),
            program: service.program.clone().into(),
            version: String::new(),
            log: "/log".into(),
            labels: BTreeMap::new(),
        };
        describe_deployment(&config, &metadata).unwrap()
    }

    fn template(deployment: &Deployment) -> Value {
        let objects = Objects { instance: "abc".into(), namespace: "shop".into() };
        let container = deployment.container.as_ref().unwrap();
        objects.deployment(deployment, container, 1)["spec"]["template"].clone()
    }

    #[test]
    fn all_replicas_of_a_revision_have_the_same_template() {
        let (first, second) = (deployment(0, |_, _| {}), deployment(7, |_, _| {}));
        assert_ne!(first.replica, second.replica);
        assert_eq!(template(&first), template(&second));
        assert_eq!(deployment_name(&first), deployment_name(&second));
    }

    #[test]
    fn texts_arrive_as_they_are_and_secrets_by_reference_only() {
        let deployment = deployment(0, |_, _| {});
        let template = template(&deployment);
        let main = &template["spec"]["containers"][0];
        // The cluster makes `$` of `$$`.
        assert_eq!(main["args"][1], "serve 8080 $$(raw) $$x");
        let name = deployment_name(&deployment);
        let token = main["env"].as_array().unwrap().iter().find(|var| var["name"] == "TOKEN").unwrap();
        assert_eq!(token["valueFrom"]["secretKeyRef"], json!({"name": name, "key": "TOKEN"}));
        let objects = Objects { instance: "abc".into(), namespace: "shop".into() };
        let secret = objects.secret(&deployment, &SecretValues::new().with("TOKEN", "hunter2")).unwrap();
        assert_eq!(secret["stringData"], json!({"TOKEN": "hunter2"}));
        assert_eq!(objects.service(&deployment).unwrap()["spec"]["ports"][0]["port"], 8080);
    }

    #[test]
    fn probes_are_in_whole_seconds_and_within_what_a_node_takes() {
        let http = ContainerCheck::Http { port: "http".into(), path: "/ready".into() };
        let wanted = ContainerProbe {
            every: SignedDuration::from_millis(1500),
            timeout: SignedDuration::from_millis(100),
            successes: 3,
            ..ContainerProbe::new(http)
        };
        let deployment = deployment(0, |_, container| {
            container.probes.readiness = Some(wanted.clone());
            container.probes.liveness = Some(wanted.clone());
        });
        let main = template(&deployment)["spec"]["containers"][0].clone();
        let ready = &main["readinessProbe"];
        assert_eq!((&ready["periodSeconds"], &ready["timeoutSeconds"]), (&json!(2), &json!(1)));
        assert_eq!(ready["httpGet"], json!({"port": "http", "path": "/ready"}));
        assert_eq!(
            (&ready["successThreshold"], &main["livenessProbe"]["successThreshold"]),
            (&json!(3), &json!(1))
        );
        assert!(main.get("startupProbe").is_none());
    }
}
