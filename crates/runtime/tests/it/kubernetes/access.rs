//! Which kubeconfigs are taken, and what an account with the printed role may do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use jiff::Timestamp;
use sos_runtime::kubernetes::{
    Cluster, KubernetesError, Permission, PodEvent, UsageSource, WorkloadKind, WorkloadRef, rbac,
};

use super::cluster::TestCluster;
use super::objects;
use super::watching::next;

#[tokio::test]
async fn a_cluster_tells_who_we_are() {
    let Some(test) = TestCluster::shared() else { return };
    let cluster = test.connect().await;
    assert_eq!(
        (cluster.user(), cluster.context(), cluster.default_namespace()),
        ("admin", "test", "default")
    );
    assert_eq!(cluster.server(), test.server());
    let (certificate, key) = test.client_certificate("operator", 1);
    let user = format!("{{ client-certificate-data: {certificate}, client-key-data: {key} }}");
    assert_eq!(test.connect_with(&test.kubeconfig_text(&user)).await.unwrap().user(), "operator");
    let answer =
        r#"{"apiVersion":"client.authentication.k8s.io/v1","status":{"token":"token-of-the-administrator"}}"#;
    let user = format!(
        "{{ exec: {{ apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['{answer}'] }} }}"
    );
    assert_eq!(test.connect_with(&test.kubeconfig_text(&user)).await.unwrap().user(), "admin");
}

#[tokio::test]
async fn a_wrong_expired_or_foreign_kubeconfig_is_told_apart_with_advice() {
    let Some(test) = TestCluster::shared() else { return };
    let good = std::fs::read_to_string(test.kubeconfig()).unwrap();
    let refused = async |text: &str| test.connect_with(text).await.unwrap_err();

    let error = refused(&test.kubeconfig_text("{ token: wrong }")).await;
    assert!(matches!(error, KubernetesError::Unauthorized { expired_at: None, .. }), "{error:?}");
    assert!(error.advice().contains("expired"), "{}", error.advice());

    // A token with {"exp":1700000000}; who signed it does not matter any more.
    let error = refused(&test.kubeconfig_text("{ token: e30.eyJleHAiOjE3MDAwMDAwMDB9.c2ln }")).await;
    let KubernetesError::Unauthorized { expired_at, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*expired_at, Timestamp::from_second(1_700_000_000).ok());

    let (certificate, key) = test.client_certificate("past", -1);
    let user = format!("{{ client-certificate-data: {certificate}, client-key-data: {key} }}");
    let error = refused(&test.kubeconfig_text(&user)).await;
    assert!(matches!(error, KubernetesError::Unauthorized { .. }), "{error:?}");

    // The authority of another cluster: any certificate that did not sign the server's.
    let foreign = good.replace(&test.authority(), &test.client_certificate("other", 1).0);
    let error = refused(&foreign).await;
    assert!(matches!(error, KubernetesError::OtherCluster { .. }), "{error:?}");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let error = refused(&good.replace(&test.server(), &address)).await;
    assert!(matches!(error, KubernetesError::Unreachable { .. }) && error.is_temporary(), "{error:?}");
    assert!(error.to_string().contains(&address) && !error.to_string().contains("ServiceError"), "{error}");
}

#[tokio::test]
async fn what_is_no_kubernetes_is_told_apart() {
    let Some(test) = TestCluster::shared() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _length = stream.read(&mut request).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\n<html>log in</h>")
            .unwrap();
    });
    let good = std::fs::read_to_string(test.kubeconfig()).unwrap();
    let error = test.connect_with(&good.replace(&test.server(), &plain)).await.unwrap_err();
    served.join().unwrap();
    assert!(
        matches!(error, KubernetesError::Answer { .. } | KubernetesError::NotKubernetes { .. }),
        "{error:?}"
    );
    assert!(!error.to_string().contains("html"), "{error}");
}

#[tokio::test]
async fn an_account_with_the_printed_role_can_do_all_of_it_and_nothing_more() {
    let Some(test) = TestCluster::shared() else { return };
    for namespace in ["role", "role-other"] {
        test.make_namespace(namespace);
        test.kubectl(
            &["-n", namespace, "create", "secret", "generic", "api", "--from-literal=token=hunter2"],
            "",
        );
        test.kubectl(
            &["apply", "--server-side", "--field-manager=helm", "-f", "-"],
            &objects::deployment(namespace, "shop", 1),
        );
    }
    test.apply(&rbac("role", "sos", &Permission::USUAL).unwrap());
    let cluster = test.connect_as("role", "sos").await;
    assert_eq!(cluster.user(), "system:serviceaccount:role:sos");

    all_of_it(&cluster).await;
    let may = |verb: &str, what: &str, namespace: &str| {
        let (resource, sub) = what.split_once('/').unwrap_or((what, ""));
        let sub = format!("--subresource={sub}");
        test.try_kubectl(
            &["auth", "can-i", verb, resource, &sub, "-n", namespace, "--as", cluster.user()],
            "",
        )
        .is_ok()
    };
    for (verb, what) in [("list", "pods"), ("update", "deployments/scale"), ("get", "deployments.apps")] {
        assert!(may(verb, what, "role") && !may(verb, what, "role-other"), "{verb} {what}");
    }
    for (verb, what) in NOT_ALLOWED {
        assert!(!may(verb, what, "role") && !may(verb, what, "role-other"), "{verb} {what} is allowed");
    }
    nothing_more(&cluster).await;
}

const NOT_ALLOWED: [(&str, &str); 10] = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("list", "configmaps"),
    ("create", "pods"),
    ("delete", "pods"),
    ("update", "deployments"),
    ("patch", "deployments"),
    ("create", "pods/exec"),
    ("get", "pods/log"),
    ("create", "serviceaccounts/token"),
];

async fn all_of_it(cluster: &Cluster) {
    let import = cluster.import("role").await.unwrap();
    assert_eq!((import.services.len(), import.notes.as_slice()), (1, [].as_slice()), "{import:?}");
    let mut events = Box::pin(cluster.watch_pods("role", "").unwrap());
    assert_eq!(next(&mut events).await, PodEvent::All(vec![]));
    let shop = import.services[0].workload.clone();
    let scaled = cluster.scale(&shop, 2, &["helm".into()]).await.unwrap();
    assert_eq!((scaled.from, scaled.to), (1, 2));
    // This cluster has no metrics server; that is what is told, not that it may not be asked.
    let usage = cluster.usage("role", &UsageSource::MetricsApi).await.unwrap_err();
    assert!(matches!(usage, KubernetesError::Missing(_)), "{usage:?}");
}

async fn nothing_more(cluster: &Cluster) {
    let error = cluster.import("role-other").await.unwrap_err();
    assert!(matches!(error, KubernetesError::Denied { .. }), "{error:?}");
    assert!(
        error.to_string().contains("deployments")
            && error.to_string().contains("system:serviceaccount:role:sos"),
        "{error}"
    );
    let other =
        WorkloadRef { kind: WorkloadKind::Deployment, namespace: "role-other".into(), name: "shop".into() };
    assert!(matches!(cluster.scale(&other, 2, &[]).await.unwrap_err(), KubernetesError::Denied { .. }));
    let kubelet = UsageSource::Kubelet { node: "n1".into() };
    assert!(matches!(cluster.usage("role", &kubelet).await.unwrap_err(), KubernetesError::Denied { .. }));
    let mut events = Box::pin(cluster.watch_pods("role-other", "").unwrap());
    let event = next(&mut events).await;
    assert!(matches!(event, PodEvent::Interrupted(KubernetesError::Denied { .. })), "{event:?}");
}
