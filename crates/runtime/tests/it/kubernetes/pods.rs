//! Real pods on a real node.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use sos_runtime::kubernetes::{PodTable, UsageSource, WorkloadKind, WorkloadRef};

use super::cluster::TestCluster;
use super::cluster::image::IMAGE;
use super::cluster::node::NODE;
use super::cluster::programs::wait_until;
use super::objects;
use super::watching::follow;

/// What a web server answers.
fn fetch(address: &str, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[tokio::test]
async fn two_pods_of_a_deployment_run_with_addresses_of_their_own_and_are_scaled() {
    let Some(test) = TestCluster::with_node() else { return };
    test.make_namespace("shop");
    test.kubectl(
        &["apply", "--server-side", "--field-manager=helm", "-f", "-"],
        &objects::deployment("shop", "web", 2),
    );
    let cluster = test.connect().await;
    let mut events = Box::pin(cluster.watch_pods("shop", "app=web").unwrap());
    let mut table = PodTable::default();
    let ready = |table: &PodTable, count: usize| {
        table.pods.len() == count
            && table.pods.values().all(|pod| pod.ready && pod.node.as_deref() == Some(NODE))
    };
    follow(&mut table, &mut events, "two pods are ready", |table| ready(table, 2)).await;
    let addresses: Vec<_> = table.pods.values().map(|pod| pod.address.clone().unwrap()).collect();
    assert_ne!(addresses[0], addresses[1]);
    for address in &addresses {
        assert!(fetch(address, 8080).unwrap().contains("it works"));
    }
    let web = WorkloadRef { kind: WorkloadKind::Deployment, namespace: "shop".into(), name: "web".into() };
    cluster.scale(&web, 1, &["helm".into()]).await.unwrap();
    follow(&mut table, &mut events, "one pod is left", |table| ready(table, 1)).await;

    let node = UsageSource::Kubelet { node: NODE.into() };
    let name = table.pods.keys().next().unwrap();
    let mut found = vec![];
    for _ in 0..300 {
        found = cluster.usage("shop", &node).await.unwrap();
        if found.iter().any(|usage| usage.pod == *name && usage.memory_bytes.is_some_and(|bytes| bytes > 0)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // between two looks
    }
    let usage = found.iter().find(|usage| usage.pod == *name && usage.container == "web").unwrap();
    assert!(
        usage.cpu_seconds.is_some() && usage.memory_bytes.is_some_and(|bytes| bytes < 32 << 20),
        "{usage:?}"
    );
}

#[tokio::test]
#[ignore = "slow: pods that crash, run out of memory and find no image"]
async fn why_a_pod_does_not_run_is_told() {
    let Some(test) = TestCluster::with_node() else { return };
    test.make_namespace("ill");
    let pod = |name: &str, image: &str, command: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, namespace: ill }}\nspec:\n  containers:\n  - name: main\n    image: {image}\n    \
             imagePullPolicy: Never\n    command: [sh, -c, {command:?}]\n    resources: {{ limits: {{ memory: 24Mi }} }}\n"
        )
    };
    wait_until("the account of the namespace is there", || {
        test.try_kubectl(&["-n", "ill", "get", "serviceaccount", "default"], "").ok()
    });
    test.apply(&pod("leaver", IMAGE, "exit 7"));
    test.apply(&pod("eater", IMAGE, "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"));
    test.apply(&pod("unknown", "localhost/unknown:1", "exit 0"));
    test.apply(&pod("greedy", IMAGE, "exit 0").replace("memory: 24Mi", "cpu: '1000'"));
    let cluster = test.connect().await;
    let mut events = Box::pin(cluster.watch_pods("ill", "").unwrap());
    let mut table = PodTable::default();
    follow(&mut table, &mut events, "the crash loop is told", |table| {
        table.pods.get("leaver").is_some_and(|pod| {
            pod.restarts > 0
                && pod.stuck().is_some_and(|(_, waiting)| waiting.reason == "CrashLoopBackOff")
                && pod.last_end().is_some_and(|(_, end)| end.exit_code == 7 && end.reason == "Error")
        })
    })
    .await;
    follow(&mut table, &mut events, "the end at the memory limit is told", |table| {
        table
            .pods
            .get("eater")
            .is_some_and(|pod| pod.last_end().is_some_and(|(_, end)| end.is_out_of_memory()))
    })
    .await;
    follow(&mut table, &mut events, "the missing image is told", |table| {
        let reason =
            table.pods.get("unknown").and_then(|pod| pod.stuck().map(|(_, waiting)| waiting.reason.clone()));
        reason.is_some_and(|reason| reason == "ErrImageNeverPull")
    })
    .await;
    follow(&mut table, &mut events, "the pod without a node is told", |table| {
        table
            .pods
            .get("greedy")
            .and_then(|pod| pod.unschedulable.clone())
            .is_some_and(|why| why.contains("cpu"))
    })
    .await;
}
