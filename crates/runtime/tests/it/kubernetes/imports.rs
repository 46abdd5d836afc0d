//! What is found in a namespace, and what becomes of it.

use sos_runtime::kubernetes::{
    EnvOrigin, KubernetesError, ManifestOptions, ReplicaOwner, WorkloadKind, manifests,
};

use super::cluster::TestCluster;
use super::objects;

#[tokio::test]
async fn what_runs_in_a_namespace_is_listed_with_who_decides_about_it() {
    let Some(test) = TestCluster::shared() else { return };
    test.make_namespace("found");
    test.apply(&objects::deployment("found", "shop", 2));
    test.kubectl(&["-n", "found", "expose", "deployment", "shop", "--port=80", "--target-port=http"], "");
    test.kubectl(
        &["-n", "found", "create", "service", "externalname", "bank", "--external-name=bank.example.org"],
        "",
    );
    test.apply(&objects::deployment("found", "auto", 1));
    test.apply(&objects::autoscaler("found", "auto-scaler", "auto"));
    let set = objects::deployment("found", "shop", 1).replace("kind: Deployment", "kind: StatefulSet");
    test.apply(&set.replace("  replicas: 1", "  serviceName: shop\n  replicas: 1"));
    let daemon = objects::deployment("found", "agent", 1).replace("kind: Deployment", "kind: DaemonSet");
    test.apply(&daemon.replace("  replicas: 1\n", ""));

    let import = test.connect().await.import("found").await.unwrap();
    let names: Vec<_> = import.services.iter().map(|service| service.workload.to_string()).collect();
    assert_eq!(
        names,
        ["Deployment found/auto", "Deployment found/shop", "StatefulSet found/shop", "DaemonSet found/agent"]
    );
    let [auto, shop, _, agent] = import.services.as_slice() else { panic!("{names:?}") };
    assert_eq!(auto.replica_owner, ReplicaOwner::HorizontalPodAutoscaler { name: "auto-scaler".into() });
    assert_eq!(agent.replica_owner, ReplicaOwner::EveryNode);
    let ReplicaOwner::FieldManager { manager, .. } = &shop.replica_owner else {
        panic!("{:?}", shop.replica_owner)
    };
    assert_eq!(manager, "kubectl-client-side-apply");
    assert_eq!((shop.replicas.declared, shop.selector.as_str(), shop.uid.len()), (2, "app=shop", 36));
    assert!(shop.age(crate::rig::clock()).unwrap().as_secs() < 600);
    assert_eq!(shop.addresses[0].ports[0].target, "http");
    let main = shop.main_container().unwrap();
    assert_eq!((main.ports[0].port, main.resources.memory_limit_bytes), (8080, Some(32 << 20)));
    assert_eq!(main.env[1].origin, EnvOrigin::Secret { name: "api".into(), key: "token".into() });
    let addresses: Vec<_> =
        import.addresses.iter().map(|address| (&*address.name, address.address.as_deref())).collect();
    assert_eq!(addresses, [("bank", Some("bank.example.org"))]);
    assert!(!format!("{import:?}").contains("hunter2"), "a value of a variable was taken over");

    let text = manifests(&import, &ManifestOptions::default());
    assert_eq!(text.matches("kind: Service\n").count(), 4, "{text}");
    assert!(text.contains("auto-scaler decides") && !text.contains("hunter2"), "{text}");
    assert_eq!(
        text,
        manifests(&test.connect().await.import("found").await.unwrap(), &ManifestOptions::default())
    );
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_or_cannot_is_no_empty_one() {
    let Some(test) = TestCluster::shared() else { return };
    let cluster = test.connect().await;
    let error = cluster.import("nowhere").await.unwrap_err();
    assert_eq!(error, KubernetesError::Missing("namespace nowhere".into()));
    assert!(matches!(cluster.import("../../x").await.unwrap_err(), KubernetesError::Refused { .. }));
}

#[tokio::test]
async fn more_objects_than_fit_on_a_page_are_all_found() {
    let Some(test) = TestCluster::shared() else { return };
    test.make_namespace("many");
    let mut text = String::new();
    for number in 0..620 {
        text.push_str(&format!("---\napiVersion: v1\nkind: Service\nmetadata: {{ name: s{number}, namespace: many }}\nspec: {{ type: ExternalName, externalName: s.example.org }}\n"));
    }
    test.kubectl(&["create", "-f", "-"], &text);
    let import = test.connect().await.import("many").await.unwrap();
    assert_eq!(import.addresses.len(), 620);
    assert!(import.services.iter().all(|service| service.workload.kind == WorkloadKind::Deployment));
}
