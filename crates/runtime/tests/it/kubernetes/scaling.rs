//! Setting the replicas of what others deployed.

use sos_runtime::kubernetes::{
    ContainerUsage, KubernetesError, ReplicaOwner, UsageSource, WorkloadKind, WorkloadRef,
};

use super::cluster::TestCluster;
use super::objects;

fn workload(namespace: &str, name: &str) -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, namespace: namespace.into(), name: name.into() }
}

fn owner(error: KubernetesError) -> ReplicaOwner {
    match error {
        KubernetesError::Owned { owner, .. } => *owner,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn replicas_are_set_where_nobody_else_sets_them_and_nothing_else_is() {
    let Some(test) = TestCluster::shared() else { return };
    test.make_namespace("free");
    // Applied on the server without a number, as those do who leave it to an autoscaler.
    let text = objects::deployment("free", "shop", 1).replace("  replicas: 1\n", "");
    test.kubectl(&["apply", "--server-side", "-f", "-"], &text);
    let cluster = test.connect().await;
    let shop = workload("free", "shop");
    let before =
        test.kubectl(&["-n", "free", "get", "deployment", "shop", "-o", "jsonpath={.spec.template}"], "");
    let scaled = cluster.scale(&shop, 3, &[]).await.unwrap();
    assert_eq!((scaled.from, scaled.to, &scaled.owner), (1, 3, &ReplicaOwner::Nobody));
    // The cluster keeps no note of scaling where nobody had set the field before.
    assert_eq!(cluster.replica_owner(&shop).await.unwrap(), ReplicaOwner::Nobody);
    let version = || {
        test.kubectl(
            &[
                "-n",
                "free",
                "get",
                "deployment",
                "shop",
                "-o",
                "jsonpath={.spec.replicas} {.metadata.resourceVersion}",
            ],
            "",
        )
    };
    let first = version();
    assert!(first.starts_with("3 "), "{first}");
    cluster.scale(&shop, 3, &[]).await.unwrap();
    assert_eq!(version(), first, "the same number again was written");
    cluster.scale(&shop, 0, &[]).await.unwrap();
    let after =
        test.kubectl(&["-n", "free", "get", "deployment", "shop", "-o", "jsonpath={.spec.template}"], "");
    assert_eq!(before, after);
}

#[tokio::test]
async fn whoever_else_decides_about_replicas_is_named_and_left_alone() {
    let Some(test) = TestCluster::shared() else { return };
    test.make_namespace("owned");
    let cluster = test.connect().await;
    test.apply(&objects::deployment("owned", "auto", 2));
    test.apply(&objects::autoscaler("owned", "auto-scaler", "auto"));
    let error = cluster
        .scale(&workload("owned", "auto"), 3, &["kubectl-client-side-apply".into()])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("auto-scaler") && error.advice().contains("auto-scaler"), "{error}");
    assert_eq!(owner(error), ReplicaOwner::HorizontalPodAutoscaler { name: "auto-scaler".into() });

    test.kubectl(
        &["apply", "--server-side", "--field-manager=flux", "-f", "-"],
        &objects::deployment("owned", "applied", 2),
    );
    let applied = workload("owned", "applied");
    let ReplicaOwner::FieldManager { manager, operation, by_scaling, since } =
        owner(cluster.scale(&applied, 3, &[]).await.unwrap_err())
    else {
        panic!("another owner")
    };
    assert_eq!(
        (manager.as_str(), operation.as_str(), by_scaling, since.is_some()),
        ("flux", "Apply", false, true)
    );
    let replicas = |name: &str| {
        test.kubectl(&["-n", "owned", "get", "deployment", name, "-o", "jsonpath={.spec.replicas}"], "")
    };
    assert_eq!((replicas("auto"), replicas("applied")), ("2".into(), "2".into()));

    // Who accepts it takes it over; who sets it again afterwards is seen again.
    cluster.scale(&applied, 3, &["flux".into()]).await.unwrap();
    assert_eq!(cluster.replica_owner(&applied).await.unwrap(), ReplicaOwner::Ours);
    test.kubectl(&["-n", "owned", "scale", "deployment", "applied", "--replicas=5"], "");
    let ReplicaOwner::FieldManager { manager, by_scaling, .. } =
        owner(cluster.scale(&applied, 3, &["flux".into()]).await.unwrap_err())
    else {
        panic!("another owner")
    };
    assert_eq!((manager.as_str(), by_scaling), ("kubectl", true));
}

#[tokio::test]
async fn keda_and_the_metrics_api_are_recognised_once_they_are_there() {
    let Some(test) = TestCluster::alone() else { return };
    test.make_namespace("keda");
    test.kubectl(
        &["apply", "--server-side", "-f", "-"],
        &objects::deployment("keda", "shop", 1).replace("  replicas: 1\n", ""),
    );
    let cluster = test.connect().await;
    let shop = workload("keda", "shop");
    cluster.scale(&shop, 2, &[]).await.unwrap();
    test.apply(objects::KEDA);
    test.kubectl(&["wait", "--for=condition=Established", "crd/scaledobjects.keda.sh", "--timeout=60s"], "");
    test.apply("apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: { name: by-queue, namespace: keda }\nspec: { scaleTargetRef: { name: shop } }\n");
    let error = cluster.scale(&shop, 3, &[]).await.unwrap_err();
    assert_eq!(owner(error), ReplicaOwner::ScaledObject { name: "by-queue".into() });

    assert!(matches!(
        cluster.usage("keda", &UsageSource::MetricsApi).await,
        Err(KubernetesError::Missing(_))
    ));
    test.apply(objects::METRICS);
    test.kubectl(&["wait", "--for=condition=Established", "crd/pods.metrics.k8s.io", "--timeout=60s"], "");
    test.kubectl(&["create", "-f", "-"], objects::POD_METRICS);
    let usage = cluster.usage("keda", &UsageSource::MetricsApi).await.unwrap();
    let told = |usage: &ContainerUsage| {
        (usage.pod.clone(), usage.container.clone(), usage.cpu_cores, usage.memory_bytes)
    };
    let expected = [("shop-1".to_owned(), "web".to_owned(), Some(0.25), Some(32 << 20))];
    assert_eq!(usage.iter().map(told).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_cannot_be_scaled_is_refused_before_or_by_the_cluster() {
    let Some(test) = TestCluster::shared() else { return };
    test.make_namespace("none");
    let cluster = test.connect().await;
    let error = cluster.scale(&workload("none", "shop"), 1, &[]).await.unwrap_err();
    assert!(matches!(error, KubernetesError::Missing(_)) && error.to_string().contains("shop"), "{error:?}");
    for (name, replicas) in [("shop", 1001), ("Shop", 1), ("a/b", 1), ("", 1)] {
        let error = cluster.scale(&workload("none", name), replicas, &[]).await.unwrap_err();
        assert!(matches!(error, KubernetesError::Refused { .. }), "{error:?}");
    }
    let daemon = WorkloadRef { kind: WorkloadKind::DaemonSet, ..workload("none", "agent") };
    assert_eq!(owner(cluster.scale(&daemon, 1, &[]).await.unwrap_err()), ReplicaOwner::EveryNode);
}
