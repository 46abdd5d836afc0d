//! From what runs in a cluster to declared services: text alone, no question to anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use super::error::shortened;
use super::names::is_label;
use super::owner::ReplicaOwner;
use super::service::{
    EnvOrigin, ImportedContainer, ImportedProbe, ImportedService, NamespaceImport, ProbeKind, WorkloadRef,
};

/// What `sos` does with a workload that somebody else deployed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// It says what it would do.
    #[default]
    Recommend,
    /// It sets the number of replicas.
    Scale,
}

impl Attach {
    fn as_str(self) -> &'static str {
        match self {
            Self::Recommend => "recommend",
            Self::Scale => "scale",
        }
    }
}

/// How manifests are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestOptions {
    /// What is done with the workloads.
    pub attach: Attach,
    /// The kubeconfig, where another than the usual one is meant.
    pub config: Option<String>,
    /// The context of the kubeconfig, where another than the current one is meant.
    pub context: Option<String>,
}

/// Manifests of kind `Service` for all workloads of a namespace, as one text of several documents. What has no word in a
/// manifest stands beside it as a comment. The same import gives the same text.
#[must_use]
pub fn manifests(import: &NamespaceImport, options: &ManifestOptions) -> String {
    let mut taken = BTreeSet::new();
    let documents: Vec<_> = import
        .services
        .iter()
        .map(|service| {
            let name = unique_name(&service.workload, &mut taken);
            manifest(&name, service, options)
        })
        .collect();
    let mut text = format!(
        "# What runs in namespace {} of a Kubernetes cluster; nothing of it was deployed by sos.\n",
        import.namespace
    );
    for note in &import.notes {
        comment(&mut text, "", note);
    }
    for address in &import.addresses {
        comment(&mut text, "", &format!("Service {} leads to no workload of this namespace", address.name));
    }
    text + &documents.join("---\n")
}

/// A name that a manifest may have, not given before: the workload's own where that is one.
fn unique_name(workload: &WorkloadRef, taken: &mut BTreeSet<String>) -> String {
    let own = workload.name.clone();
    let with_kind = format!("{own}-{}", workload.kind.as_str().to_lowercase());
    let hash = Sha256::digest(workload.to_string().as_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let plain: String = own.chars().map(|c| if c == '.' { '-' } else { c }).take(54).collect();
    let hashed = format!("{}-{hash}", plain.trim_matches('-'));
    let fits = |name: &&String| is_label(name) && !taken.contains(*name);
    let name = [&own, &with_kind, &hashed].into_iter().find(fits).unwrap_or(&hashed).clone();
    taken.insert(name.clone());
    name
}

fn manifest(name: &str, service: &ImportedService, options: &ManifestOptions) -> String {
    let mut text =
        format!("apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata:\n  name: {}\n", quoted(name));
    write_map(&mut text, "  ", "labels", &service.labels);
    text.push_str("spec:\n  runtime: kubernetes\n");
    write_replica_note(&mut text, service);
    let WorkloadRef { kind, namespace, name } = &service.workload;
    text.push_str("  kubernetes:\n");
    for (key, value) in [("config", &options.config), ("context", &options.context)] {
        if let Some(value) = value {
            let _ = writeln!(text, "    {key}: {}", quoted(value));
        }
    }
    let _ = writeln!(
        text,
        "    namespace: {}\n    attach: {{ kind: {}, name: {}, mode: {} }}",
        quoted(namespace),
        word(kind.as_str()),
        quoted(name),
        options.attach.as_str()
    );
    let _ = writeln!(text, "  replicas: {}", service.replicas.declared);
    if let Some(main) = service.main_container() {
        write_container(&mut text, main, service);
    }
    for beside in service.containers.iter().filter(|one| Some(*one) != service.main_container()) {
        comment(&mut text, "  ", &format!("beside it: container {} of image {}", beside.name, beside.image));
    }
    for address in &service.addresses {
        let ports: Vec<_> = address.ports.iter().map(|port| port.port.to_string()).collect();
        comment(
            &mut text,
            "  ",
            &format!("reached as Service {} on port {}", address.name, ports.join(", ")),
        );
    }
    let _ = writeln!(text, "  stopTimeout: {}", seconds(service.stop_timeout));
    text
}

/// Words of a manifest begin with a small letter.
fn word(kind: &str) -> String {
    kind.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_lowercase() } else { c }).collect()
}

fn write_replica_note(text: &mut String, service: &ImportedService) {
    match &service.replica_owner {
        ReplicaOwner::Ours | ReplicaOwner::Nobody => {}
        owner => comment(text, "  ", &format!("its replicas: {owner}")),
    }
}

fn write_container(text: &mut String, main: &ImportedContainer, service: &ImportedService) {
    let _ = writeln!(text, "  image: {}", quoted(&main.image));
    let ports = port_names(main);
    write_ports(text, main, &ports);
    write_probes(text, main, &ports);
    let cpu =
        main.resources.cpu_limit_millis.or(main.resources.cpu_request_millis).filter(|millis| *millis > 0);
    let memory =
        main.resources.memory_limit_bytes.or(main.resources.memory_request_bytes).filter(|bytes| *bytes > 0);
    if cpu.is_some() || memory.is_some() {
        text.push_str("  resources:\n");
    }
    if let Some(millis) = cpu {
        let _ = writeln!(text, "    cpu: {millis}m");
    }
    if let Some(bytes) = memory {
        let _ = writeln!(text, "    memory: {bytes} B");
    }
    if let Some((port, path)) = &service.metrics {
        let _ = writeln!(text, "  metrics:\n    port: {port}\n    path: {}", quoted(path));
    }
    for variable in &main.env {
        let from = match &variable.origin {
            EnvOrigin::Written => "written in the workload".to_owned(),
            EnvOrigin::ConfigMap { name, key } => format!("ConfigMap {name} {key}"),
            EnvOrigin::Secret { name, key } => format!("Secret {name} {key}"),
            EnvOrigin::Pod => "a field of the pod".to_owned(),
        };
        comment(text, "  ", &format!("variable {}: {}", variable.name, from.trim_end()));
    }
}

/// The names of the TCP ports of a container: their own where they are names, else `p` and the number.
fn port_names(main: &ImportedContainer) -> BTreeMap<String, u16> {
    let mut names = BTreeMap::new();
    for port in main.ports.iter().filter(|port| port.protocol == "TCP") {
        let own = is_label(&port.name) && !names.contains_key(&port.name);
        let name = if own { port.name.clone() } else { format!("p{}", port.port) };
        names.entry(name).or_insert(port.port);
    }
    names
}

fn write_ports(text: &mut String, main: &ImportedContainer, names: &BTreeMap<String, u16>) {
    if !names.is_empty() {
        text.push_str("  ports:\n");
    }
    for (name, port) in names {
        let _ = writeln!(text, "  - {{ name: {}, port: {port} }}", quoted(name));
    }
    for other in main.ports.iter().filter(|port| port.protocol != "TCP") {
        comment(text, "  ", &format!("also listens on {} {}", other.protocol, other.port));
    }
}

fn write_probes(text: &mut String, main: &ImportedContainer, ports: &BTreeMap<String, u16>) {
    let all = [
        ("startup", &main.probes.startup),
        ("readiness", &main.probes.readiness),
        ("liveness", &main.probes.liveness),
    ];
    let mut lines = String::new();
    for (key, probe) in all.into_iter().filter_map(|(key, probe)| Some((key, probe.as_ref()?))) {
        match action(probe, ports) {
            Ok(action) => {
                let _ = writeln!(lines, "    {key}:\n      {action}\n{}", timing(probe));
            }
            Err(why) => {
                comment(text, "  ", &format!("its {key} probe {why}, for which a manifest has no word"))
            }
        }
    }
    if !lines.is_empty() {
        let _ = write!(text, "  probes:\n{lines}");
    }
}

fn action(probe: &ImportedProbe, ports: &BTreeMap<String, u16>) -> Result<String, String> {
    // The name of a port counts only where the manifest has it, else its number is not known.
    let known = |port: &String| match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number.to_string()),
        _ if ports.contains_key(port) => Ok(quoted(port)),
        _ => Err(format!("asks port {port:?}, which is not declared")),
    };
    match &probe.kind {
        ProbeKind::Http { tls: true, .. } => Err("speaks TLS".into()),
        ProbeKind::Http { path, port, .. } => {
            Ok(format!("http: {{ path: {}, port: {} }}", quoted(path), known(port)?))
        }
        ProbeKind::Tcp { port } => Ok(format!("tcp: {{ port: {} }}", known(port)?)),
        ProbeKind::Grpc { port } => Err(format!("speaks gRPC on port {port}")),
        ProbeKind::Exec => Err("runs a command in the container".into()),
    }
}

fn timing(probe: &ImportedProbe) -> String {
    let mut lines =
        format!("      period: {}\n      timeout: {}\n", seconds(probe.period), seconds(probe.timeout));
    let _ = write!(lines, "      failureThreshold: {}", probe.failure_threshold);
    if probe.success_threshold != 1 {
        let _ = write!(lines, "\n      successThreshold: {}", probe.success_threshold);
    }
    if probe.initial_delay.is_positive() {
        let _ = write!(lines, "\n      initialDelay: {}", seconds(probe.initial_delay));
    }
    lines
}

fn seconds(duration: SignedDuration) -> String {
    format!("{} s", duration.as_secs())
}

fn write_map(text: &mut String, indent: &str, key: &str, map: &BTreeMap<String, String>) {
    if !map.is_empty() {
        let _ = writeln!(text, "{indent}{key}:");
    }
    for (key, value) in map {
        let _ = writeln!(text, "{indent}  {}: {}", quoted(key), quoted(value));
    }
}

/// A text in double quotes, as JSON and YAML both have it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A comment of one line, whatever the text holds.
fn comment(text: &mut String, indent: &str, what: &str) {
    let _ = writeln!(text, "{indent}# {}", shortened(what, 300));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::service::{
        ImportedPort, ImportedProbes, ImportedResources, ReplicaCounts, WorkloadKind,
    };

    fn service(kind: WorkloadKind, name: &str) -> ImportedService {
        ImportedService {
            workload: WorkloadRef { kind, namespace: "shop".into(), name: name.into() },
            uid: "u".into(),
            created_at: None,
            labels: BTreeMap::from([("app.kubernetes.io/name".into(), "yes: \"no\" # x".into())]),
            selector: "app=shop".into(),
            containers: vec![ImportedContainer {
                name: "web".into(),
                image: "registry.example.org:5000/shop@sha256:ab".into(),
                is_default: false,
                ports: vec![
                    ImportedPort { name: "http".into(), port: 8080, protocol: "TCP".into() },
                    ImportedPort { name: String::new(), port: 9000, protocol: "TCP".into() },
                    ImportedPort { name: "dns".into(), port: 53, protocol: "UDP".into() },
                ],
                probes: ImportedProbes {
                    startup: Some(probe(ProbeKind::Exec)),
                    readiness: Some(probe(ProbeKind::Http {
                        path: "/ok?a=b".into(),
                        port: "http".into(),
                        tls: false,
                    })),
                    liveness: Some(probe(ProbeKind::Tcp { port: "9000".into() })),
                },
                resources: ImportedResources {
                    cpu_limit_millis: Some(1500),
                    memory_limit_bytes: Some(100_000_001),
                    ..ImportedResources::default()
                },
                env: vec![crate::kubernetes::ImportedEnv {
                    name: "A\nspec: {}".into(),
                    origin: EnvOrigin::Secret { name: "s".into(), key: "k".into() },
                }],
            }],
            replicas: ReplicaCounts { declared: 2, ..ReplicaCounts::default() },
            replica_owner: ReplicaOwner::HorizontalPodAutoscaler { name: "h".into() },
            addresses: vec![],
            metrics: Some((9000, "/metrics".into())),
            stop_timeout: SignedDuration::from_secs(30),
        }
    }

    fn probe(kind: ProbeKind) -> ImportedProbe {
        ImportedProbe {
            kind,
            period: SignedDuration::from_secs(2),
            timeout: SignedDuration::from_secs(1),
            initial_delay: SignedDuration::from_secs(3),
            failure_threshold: 5,
            success_threshold: 1,
        }
    }

    fn import(services: Vec<ImportedService>) -> NamespaceImport {
        NamespaceImport { namespace: "shop".into(), services, addresses: vec![], notes: vec!["a\nb".into()] }
    }

    /// What `sos` itself objects to in the text.
    fn objections(text: &str) -> Vec<String> {
        let problems = sos_model::load(&[("m.yaml".to_owned(), text.into())]).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_manifest_says_what_runs_and_sos_can_read_it() {
        let text =
            manifests(&import(vec![service(WorkloadKind::Deployment, "shop")]), &ManifestOptions::default());
        assert_eq!(objections(&text), Vec::<String>::new(), "{text}");
        for line in [
            "    attach: { kind: deployment, name: \"shop\", mode: recommend }",
            "  replicas: 2",
            "  - { name: \"http\", port: 8080 }",
            "    cpu: 1500m",
            "    memory: 100000001 B",
            "  # its replicas: HorizontalPodAutoscaler h decides",
            "  # also listens on UDP 53",
            "  stopTimeout: 30 s",
        ] {
            assert!(text.lines().any(|one| one == line), "{line:?} is not in\n{text}");
        }
        assert!(text.contains("its startup probe runs a command"), "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with("spec: {}")),
            "a name broke out of its comment:\n{text}"
        );
    }

    #[test]
    fn names_are_unique_and_ones_that_a_manifest_may_have() {
        let long = "a".repeat(100);
        let all = [
            service(WorkloadKind::Deployment, "shop"),
            service(WorkloadKind::StatefulSet, "shop"),
            service(WorkloadKind::Deployment, "shop.v1"),
            service(WorkloadKind::Deployment, "shop-v1"),
            service(WorkloadKind::Deployment, &long),
        ];
        let text = manifests(
            &import(all.to_vec()),
            &ManifestOptions { attach: Attach::Scale, config: Some("/k".into()), context: Some("c".into()) },
        );
        assert_eq!(objections(&text), Vec::<String>::new(), "{text}");
        let names: BTreeSet<_> = text.lines().filter(|line| line.starts_with("  name: ")).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        assert!(
            names.contains("  name: \"shop\"") && names.contains("  name: \"shop-statefulset\""),
            "{names:?}"
        );
        assert!(text.contains("mode: scale") && text.contains("config: \"/k\"\n    context: \"c\""));
    }
}
