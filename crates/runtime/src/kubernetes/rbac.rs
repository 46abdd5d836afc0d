//! What an account needs for what is asked of a cluster, and nothing more.

use std::collections::{BTreeMap, BTreeSet};

use super::error::KubernetesError;
use super::names::{check_name, check_namespace};

/// What is asked of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// [`super::Cluster::import`] and [`super::Cluster::workload`].
    Import,
    /// [`super::Cluster::watch_pods`].
    Watch,
    /// [`super::Cluster::scale`].
    Scale,
    /// [`super::Cluster::usage`] by the metrics API.
    Usage,
    /// [`super::Cluster::usage`] by the kubelet. It holds for all nodes, and whoever may ask a kubelet can do much there: where
    /// a metrics server runs, [`Permission::Usage`] is the better one.
    KubeletUsage,
    /// [`super::KubernetesDriver`]. It may write secrets of the namespace and read none; beyond the namespace it may read
    /// `kube-system`, by whose id one cluster is told from another.
    Deploy,
}

/// Group, resource and verbs.
type Rule = (&'static str, &'static str, &'static [&'static str]);

const APPS: &str = "apps";
const AUTOSCALERS: [Rule; 2] =
    [("autoscaling", "horizontalpodautoscalers", &["list"]), ("keda.sh", "scaledobjects", &["list"])];

/// What is needed beyond the namespace, and the end of the name of its role.
const BEYOND: [(Permission, &str, &str); 2] = [
    (
        Permission::KubeletUsage,
        "kubelet",
        "- { apiGroups: [\"\"], resources: [nodes/proxy], verbs: [get] }\n",
    ),
    (
        Permission::Deploy,
        "identity",
        "- { apiGroups: [\"\"], resources: [namespaces], resourceNames: [kube-system], verbs: [get] }\n",
    ),
];

impl Permission {
    /// All of them, but for the kubelet's.
    pub const USUAL: [Self; 4] = [Self::Import, Self::Watch, Self::Scale, Self::Usage];

    /// What it needs within the namespace.
    fn rules(self) -> Vec<Rule> {
        let own: &[Rule] = match self {
            Self::Import => &[
                (APPS, "deployments", &["get", "list"]),
                (APPS, "statefulsets", &["get", "list"]),
                (APPS, "daemonsets", &["get", "list"]),
                ("", "services", &["list"]),
                ("", "namespaces", &["get"]),
            ],
            Self::Watch => &[("", "pods", &["list", "watch"])],
            Self::Scale => &[
                (APPS, "deployments", &["get"]),
                (APPS, "statefulsets", &["get"]),
                (APPS, "deployments/scale", &["update"]),
                (APPS, "statefulsets/scale", &["update"]),
            ],
            Self::Usage => &[("metrics.k8s.io", "pods", &["list"])],
            Self::KubeletUsage => &[],
            Self::Deploy => &[
                (APPS, "deployments", &["get", "list", "create", "patch", "delete"]),
                ("", "pods", &["get", "list", "watch", "patch", "delete"]),
                ("", "pods/resize", &["patch"]),
                ("", "pods/log", &["get"]),
                ("", "events", &["list"]),
                ("", "configmaps", &["create", "patch", "delete"]),
                ("", "secrets", &["create", "patch", "delete"]),
                ("", "services", &["get", "create", "patch", "delete"]),
                ("policy", "poddisruptionbudgets", &["create", "patch", "delete"]),
                ("networking.k8s.io", "networkpolicies", &["create", "patch", "delete"]),
            ],
        };
        let scalers: &[Rule] = if matches!(self, Self::Import | Self::Scale) { &AUTOSCALERS } else { &[] };
        own.iter().chain(scalers).copied().collect()
    }
}

/// The objects that give `account` of a namespace what it needs there, as YAML for `kubectl apply -f -`: a ServiceAccount, a
/// Role and a RoleBinding; for [`Permission::KubeletUsage`] and [`Permission::Deploy`] also a ClusterRole and its binding.
///
/// # Errors
/// When a name cannot be one.
pub fn rbac(namespace: &str, account: &str, what: &[Permission]) -> Result<String, KubernetesError> {
    check_namespace(namespace)?;
    check_name("ServiceAccount", account)?;
    let metadata = format!("metadata: {{ name: {account}, namespace: {namespace} }}");
    let mut documents = vec![format!("apiVersion: v1\nkind: ServiceAccount\n{metadata}\n")];
    let rules = rules(what);
    if !rules.is_empty() {
        documents.push(format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n{metadata}\nrules:\n{rules}"
        ));
        documents.push(binding("RoleBinding", "Role", &metadata, account, account, namespace));
    }
    for (one, end, rule) in BEYOND {
        if !what.contains(&one) {
            continue;
        }
        // Names of cluster roles are shared by all namespaces.
        let name = format!("{account}:{namespace}:{end}");
        let metadata = format!("metadata: {{ name: \"{name}\" }}");
        documents.push(format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n{metadata}\nrules:\n{rule}"
        ));
        documents.push(binding("ClusterRoleBinding", "ClusterRole", &metadata, &name, account, namespace));
    }
    Ok(documents.join("---\n"))
}

fn binding(
    kind: &str,
    role_kind: &str,
    metadata: &str,
    role: &str,
    account: &str,
    namespace: &str,
) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\n{metadata}\n\
         roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: {role_kind}, name: \"{role}\" }}\n\
         subjects:\n- {{ kind: ServiceAccount, name: {account}, namespace: {namespace} }}\n"
    )
}

/// One line for each group and set of verbs.
fn rules(what: &[Permission]) -> String {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (group, resource, more) in what.iter().flat_map(|one| one.rules()) {
        verbs.entry((group, resource)).or_default().extend(more);
    }
    let mut lines: BTreeMap<(&str, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        lines.entry((group, verbs.into_iter().collect())).or_default().push(resource);
    }
    let line = |((group, verbs), resources): ((&str, Vec<&str>), Vec<&str>)| {
        format!(
            "- {{ apiGroups: [\"{group}\"], resources: [{}], verbs: [{}] }}\n",
            resources.join(", "),
            verbs.join(", ")
        )
    };
    lines.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rule_has_a_wildcard_writes_anything_but_scale_or_reads_a_secret() {
        let text = rbac("shop", "sos", &Permission::USUAL).unwrap();
        assert!(!text.contains('*') && !text.contains("secrets") && !text.contains("Cluster"), "{text}");
        for verb in ["create", "delete", "patch"] {
            assert!(!text.contains(verb), "{verb} in {text}");
        }
        let update: Vec<_> = text.lines().filter(|line| line.contains("update")).collect();
        assert_eq!(
            update,
            [
                "- { apiGroups: [\"apps\"], resources: [deployments/scale, statefulsets/scale], verbs: [update] }"
            ]
        );
    }

    #[test]
    fn only_what_is_asked_for_is_given_and_names_are_checked() {
        let text = rbac("shop", "sos", &[Permission::Watch]).unwrap();
        assert!(text.contains("verbs: [list, watch]") && !text.contains("apps"), "{text}");
        assert!(rbac("shop", "sos", &[Permission::KubeletUsage]).unwrap().contains("nodes/proxy"));
        assert!(!rbac("shop", "sos", &[]).unwrap().contains("kind: Role\n"));
        assert!(rbac("a\nb", "sos", &[]).is_err() && rbac("shop", "a: b", &[]).is_err());
    }
}
